"""What a run says to others names nobody: no subject, no birthday, no home folder, no machine."""

from __future__ import annotations

import getpass
import html
import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import braindecode_hub as bdh
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.manager import Manager
from braindecode_hub.notebook import run_html
from braindecode_hub.prediction import Fits
from braindecode_hub.privacy import Names, codes, neutral
from braindecode_hub.rerender import render_run
from braindecode_hub.runfolder import Run

PEOPLE = ("Jane Doe 1980-01-01", "Möller_Karl")
SECRETS = ("Jane", "Doe", "1980", "Möller", "Karl", "janes-home", "Dr Smith")
SHAREABLE = ("report.html", "metrics.json", "env.json", "details.safetensors")
"""Files of a run folder that docs/run-folder.md calls safe to share; and the folders artifacts, media and tb."""


@pytest.mark.parametrize(
    "name", ["sub-01", "P3", "S01", "12", "s0", "s0-r1", "sub-01_ses-02", "patient", "p1_sEEG", "subject 7", "run-3",
             "my_recording", "VP07", "sub-01/run-1", "012a"],
)  # fmt: skip
def test_names_that_tell_nothing_are_neutral(name: str) -> None:
    assert neutral(name)


@pytest.mark.parametrize(
    "name", [*PEOPLE, "", "Jane", "JD", "19800101", "1980-01-01", "01.01.80", "1-1-80", "12345678", "sub-jane",
             "P3 Doe", "sub-1980", "jane.doe@clinic.org", "../../x", "<b>", "S1\n", "s-1980-01-01", "sub-01;Doe",
             "ward 1984"],
)  # fmt: skip
def test_names_that_may_tell_something_are_not(name: str) -> None:
    assert not neutral(name)


def test_codes_follow_the_order_of_names_and_meet_no_other() -> None:
    assert codes(["b", "a", "sub-01", "b"]) == {"a": "S1", "b": "S2", "sub-01": "sub-01"}
    assert codes(["Zoe", "S1", "Al"]) == {"Al": "S2", "S1": "S1", "Zoe": "S3"}
    assert codes(["", "01"]) == {"": "", "01": "01"}
    for hostile in ("../../up", "a/b", "x\ny", "C:\\x", ".", "..", "\x1b[31m", "sub-01/run-1"):
        [code] = codes([hostile]).values()
        assert re.fullmatch(r"S\d", code)


TEXTS = {
    "/srv/janes-home/data/scan.npy has 4 axes": "….npy has 4 axes",
    "/srv/janes-home/Dr Smith/my scan.npy: no rate": "….npy: no rate",
    "the file '/srv/Dr Smith/x.wav' is empty": "the file '….wav' is empty",
    "C:\\Users\\janes-home\\x.npy is damaged": "….npy is damaged",
    "~/studies/Doe.npy cannot be read": "….npy cannot be read",
    "file:///srv/janes-home/x.npy does not exist": "….npy does not exist",
    "there is no subject 'Jane Doe 1980-01-01'": "there is no subject 'S1'",
    "Möller_Karl: 3 of 5 trials": "S2: 3 of 5 trials",
    "audio_seeg/mcd needs 1/3 of them": "audio_seeg/mcd needs 1/3 of them",
}


@pytest.mark.parametrize("text", TEXTS)
def test_messages_keep_what_happened_and_lose_where(text: str) -> None:
    assert Names(codes(PEOPLE), PEOPLE).text(text) == TEXTS[text]


def test_a_configuration_shows_file_names_and_of_own_data_only_neutral_ones() -> None:
    names = Names(codes(PEOPLE), PEOPLE)
    config: dict[str, Any] = {
        "pipeline": "audio_seeg",
        "source": {"paper": "https://doi.org/10.1/x", "data": "osf://7wf6n/p1"},
        "dataset": {"use": "core/folder", "path": "/srv/janes-home/Jane Doe 1980-01-01.npy", "sound": "../sub-01.wav"},
        "renderer": {"use": "audio_seeg/waveglow", "weights": "/srv/janes-home/waveglow_256.pt"},
        "encoder": [{"use": "a/b", "table": "C:\\Users\\jane\\table.csv", "band": [70, 170], "deep": {"x": ["~/k"]}}],
        "decoder": {"use": "c/d", "url": "https://jane:secret@example.org/w.pt?token=1"},
        "run": {"subjects": ["Möller_Karl", "nobody"], "seed": 0},
    }  # fmt: skip
    before = json.dumps(config)
    shown = names.config(config)
    assert json.dumps(config) == before
    assert shown == {
        "pipeline": "audio_seeg",
        "source": config["source"],
        "dataset": {"use": "core/folder", "path": "….npy", "sound": "sub-01.wav"},
        "renderer": {"use": "audio_seeg/waveglow", "weights": "waveglow_256.pt"},
        "encoder": [{"use": "a/b", "table": "table.csv", "band": [70, 170], "deep": {"x": ["k"]}}],
        "decoder": {"use": "c/d", "url": "https://example.org/w.pt"},
        "run": {"subjects": ["S2", "…"], "seed": 0},
    }


def test_html_loses_names_in_text_and_labels_and_keeps_its_data() -> None:
    names = Names({"a<b": "S1", "Ann": "S2"}, ["Ann", "a<b"])
    page = '<p class="Ann">Ann, a&lt;b; Anna</p><img alt="Ann" src="data:x;base64,Ann/Ann+"><i title=\'Ann\'>x</i>'
    assert names.html(page) == (
        '<p class="Ann">S2, S1; Anna</p><img alt="S2" src="data:x;base64,Ann/Ann+"><i title=\'S2\'>x</i>'
    )


# A whole run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with two people's recordings, each named by the person."""
    folder = tmp_path_factory.mktemp("x") / "janes-home" / "Dr Smith"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in PEOPLE:
        np.save(folder / f"{name}.npy", rng.standard_normal((6, 512 * 40)).astype(np.float32))
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(22050 * 40), 22050)
    return folder


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home.parent))
        sets = {
            "dataset.rate": 512, "renderer.iterations": 2, "encoder.0.high": 150, "unit_s": 2.0,
            "decoder.alphas": [1.0], "metrics": ["audio_seeg/mel_correlation"],
        }  # fmt: skip
        out = tmp_path_factory.mktemp("out")
        return bdh.run("audio_seeg", preset="ridge", data=str(home), set=sets, subjects=PEOPLE, dev=True, out=out)


def said(path: Path) -> str:
    """All that a file says: its name, its bytes as text, its HTML unescaped."""
    raw = path.read_bytes()
    text = "\n".join(raw.decode(code, "ignore") for code in ("utf-8", "latin-1", "utf-16-le"))
    plain = re.sub(r"data:[\w/+-]+;base64,[A-Za-z0-9+/=]+", "", text)
    return path.name + plain + html.unescape(plain)


def shared(run: Run) -> list[Path]:
    folders = [path for name in ("artifacts", "media", "tb") for path in (run.path / name).rglob("*")]
    return [*(run.path / name for name in SHAREABLE), *(path for path in folders if path.is_file())]


def test_nothing_that_is_shared_names_a_person_a_folder_or_this_machine(run: Run, home: Path) -> None:
    render_run(run.path, Manager(), seconds=1.0)
    files = shared(run)
    assert {path.parent.name for path in files} >= {"artifacts", "media", "tb"}
    texts = {str(path.relative_to(run.path)): said(path) for path in files}
    texts["in a notebook"] = re.sub(r"base64,[A-Za-z0-9+/=]+", "", run_html(run))
    machine = [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 5]
    for where, text in texts.items():
        for secret in (*SECRETS, *PEOPLE, str(home), str(run.path.parent.parent), str(Path.home()), *machine):
            if where.endswith(("html", "json", "notebook")) or len(secret) > 5:  # media may hold any four letters
                assert secret not in text, (where, secret)
    page = texts["report.html"]
    assert "S1" in page
    assert "S2" in page


def test_the_codes_stand_where_the_names_would(run: Run) -> None:
    assert set(run.metrics["by_subject"]) == {"S1", "S2"}
    states = sorted(path.name for path in (run.path / "fold-0").glob("*.safetensors"))
    assert states == ["S1.state.safetensors", "S2.state.safetensors"]
    assert {path.name.split("-")[2] for path in run.artifacts()} == {"S1", "S2"}
    assert list(run.split["codes"].values()) == ["S1", "S2"]


def test_what_is_needed_to_repeat_a_run_is_still_there(run: Run, home: Path) -> None:
    assert run.config["dataset"]["path"] == str(home)
    assert run.config["run"]["subjects"] == list(PEOPLE)
    again = bdh.run(run.path, dev=True, until="prepare", out=run.path.parent.parent)
    assert again.split == run.split


def test_a_fit_is_found_by_the_name_and_by_the_code(run: Run) -> None:
    fits = Fits(run, 0)
    dataset = fits.pipeline.dataset
    dataset.prepare(context())
    recording = dataset.recording(dataset.trials()[0].recording)
    for subject in (PEOPLE[0], "S1", None):
        assert fits.of(recording, subject).facts["channels"] == 6
    with pytest.raises(HubError, match="no fit of subject 'Ann'"):
        fits.of(recording, "Ann")


def test_a_failed_run_says_why_without_saying_where(home: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="janes-home"):
        bdh.run("audio_seeg", data=str(home), set={"dataset.rate": 512, "dataset.bads": ["no"]}, dev=True, out=tmp_path)
    [path] = tmp_path.glob("audio_seeg/*/status")
    text = path.read_text()
    assert text.startswith("failed: ")
    assert "no channel 'no'" in text
    for secret in (*SECRETS, *PEOPLE, str(home)):
        assert secret not in text

"""Verwoert et al. 2022 in its published layout, written by the test: never the data themselves."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import nwb as made
import pytest

import braindecode_hub as bdh
from braindecode_hub.errors import HubError
from braindecode_hub.phantom import speech
from braindecode_hub.types import Context, Space
from braindecode_hub_audio_seeg.verwoert2022 import FOLDER, Verwoert2022

AUDIO = Space("audio", ("time",), "*")
RATE, AUDIO_RATE, SECONDS, CHANNELS, START = 1024, 48000, 12, 5, 71234.5
DRIFT = 4e-5
NAMES = ["LA1", "LA2", "LA3", "LB1", "LB2"]


def patient(root: Path, subject: str, *, electrical: bool = True, seconds: float = SECONDS, heard: Any = None) -> Path:
    """Write one patient: float64 microvolts and int-like sound, each with timestamps of one absolute clock."""
    folder = root / f"sub-{subject}" / "ieeg"
    folder.mkdir(parents=True)
    stem = f"sub-{subject}_task-wordProduction"
    rng = np.random.default_rng(int(subject))
    at = np.arange(round(seconds * RATE)) / RATE
    times = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    loud = np.zeros(len(times)) if heard is None else heard
    smooth = np.interp(at + 0.1, times, np.convolve(np.abs(loud), np.ones(2400) / 2400, "same"))
    brain = 50 * rng.standard_normal((len(at), CHANNELS)) * (0.05 + smooth[:, None])
    file = made.Nwb(None, None, f"{subject}-id").electrodes(labels=None, groups=("probe",) * CHANNELS)
    if electrical:
        file.brain(data=brain, timestamps=START + at, conversion=1e-6)
    else:
        file.audio("iEEG", data=brain, timestamps=START + at, unit="uV")
    said = (rng.uniform(-0.2, 0.2, len(times)) if heard is None else heard) * 20000
    file.audio(data=said, timestamps=START + 0.05 + times * (1 + DRIFT), unit="n/a")
    words = np.where(at % 3 < 2, b"woord", b"+")
    file.audio("Stimulus", data=words, timestamps=START + at, unit="n/a")
    file.save(folder / f"{stem}_ieeg.nwb")
    rows = "".join(f"{name}\tSEEG\tuV\t0\t512\tctx_lh_G_temp_sup-Lateral\n" for name in NAMES)
    (folder / f"{stem}_channels.tsv").write_text("name\ttype\tunits\tlow_cutoff\thigh_cutoff\tdescription\n" + rows)
    events = "".join(f"{3 * n}.0\t2.0\tword\twoord{n}\t{3 * n * RATE}\n" for n in range(round(seconds) // 3))
    (folder / f"{stem}_events.tsv").write_text("onset\tduration\ttrial_type\tvalue\tsample\n" + events)
    rows = "".join(f"{name}\t-{40 + n}.5\t{n}\t12\t5\n" for n, name in enumerate([*NAMES[::-1], "LC1"]))
    (folder / f"{stem}_space-ACPC_electrodes.tsv").write_text("name\tx\ty\tz\tsize\n" + rows)
    about = {"iEEGCoordinateSystem": "ACPC", "iEEGCoordinateUnits": "mm"}
    (folder / f"{stem}_space-ACPC_coordsystem.json").write_text(json.dumps(about))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("osf") / FOLDER
    patient(patient(root, "01"), "02", electrical=False)
    (root / "dataset_description.json").write_text('{"Name": "made up", "BIDSVersion": "1.4.0"}')
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t30\tF\nsub-02\t31\tM\n")
    return root


def prepared(**parameters: Any) -> Verwoert2022:
    dataset = Verwoert2022(**parameters)
    dataset.prepare(Context())
    return dataset


@pytest.mark.parametrize(("subject", "unit", "scale"), [("01", "V", 1e-6), ("02", "uV", 1.0)])
def test_a_session_is_read_as_published(folder: Path, subject: str, unit: str, scale: float) -> None:
    dataset = prepared(path=str(folder), subjects=[subject])
    [trial] = dataset.trials()
    recording, sound = dataset.recording(trial.recording), dataset.stimulus(str(trial.stimulus), AUDIO)
    assert (recording.subject, recording.brain.rate, recording.brain.units) == (subject, RATE, unit)
    assert recording.brain.channels == tuple(NAMES)
    assert (recording.line_freq, recording.position_frame, recording.brain.modality) == (50.0, "ACPC", "seeg")
    np.testing.assert_allclose(recording.positions[0], [-0.0445, 0.004, 0.012])  # LA1 is the fifth in electrodes.tsv
    expected = 50 * np.random.default_rng(int(subject)).standard_normal((SECONDS * RATE, CHANNELS)) * 0.05 * scale
    np.testing.assert_allclose(recording.brain.data[:, 500:600], expected[500:600].T, rtol=1e-5)
    assert [(event["onset"], event["value"]) for event in recording.events][:2] == [
        ("0.0", "woord0"),
        ("3.0", "woord1"),
    ]
    assert sound.rate == AUDIO_RATE
    assert np.abs(np.asarray(sound.data)).max() == pytest.approx(1.0)
    assert (trial.start, trial.stop, trial.stimulus_start) == pytest.approx((0.05, SECONDS, 0.0), abs=1e-6)
    assert trial.stimulus_stop == pytest.approx((SECONDS - 0.05) / (1 + DRIFT), abs=1e-6)
    assert trial.groups == {"subject": subject, "session": "1"}


def test_both_patients_are_subjects(folder: Path) -> None:
    assert {trial.groups["subject"] for trial in prepared(path=str(folder)).trials()} == {"01", "02"}


def test_the_archive_is_fetched_and_unpacked_once(folder: Path, tmp_path: Path) -> None:
    archive, asked = tmp_path / f"{FOLDER}.zip", []
    with zipfile.ZipFile(archive, "w") as box:
        for path in folder.rglob("*"):
            box.write(path, path.relative_to(folder.parent))
        box.writestr(f"{FOLDER}/derivatives/dataset_description.json", "{}")
        box.writestr(f"{FOLDER}/derivatives/huge.mgz", b"0" * 100)
        box.writestr(f"{FOLDER}/../../evil.txt", "evil")

    def downloads(uri: str, sha256: str | None, ctx: Context) -> Path:
        asked.append(uri)
        return archive

    for _ in range(2):
        dataset = Verwoert2022()
        dataset.prepare(Context(downloads=downloads))
        assert len(dataset.trials()) == 2
    assert asked == ["osf://nrgx6/SingleWordProductionDutch-iBIDS.zip"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [FOLDER, f"{FOLDER}.zip"]
    assert not (tmp_path / FOLDER / "derivatives").exists()
    assert Verwoert2022(**dataset.configuration()).path is None


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"hello")
    with pytest.raises(HubError, match="no zip archive"):
        Verwoert2022().prepare(Context(downloads=lambda *about: tmp_path / "a.zip"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as box:
        box.writestr("x.txt", "x")
    with pytest.raises(HubError, match="no BIDS folder"):
        Verwoert2022().prepare(Context(downloads=lambda *about: tmp_path / "b.zip"))
    with pytest.raises(HubError, match="not prepared"):
        Verwoert2022().trials()


def test_it_says_that_it_was_never_seen_to_work() -> None:
    assert Verwoert2022.unverified is True
    assert Verwoert2022.simulated is False
    assert (Verwoert2022.__doc__ or "").startswith("UNVERIFIED")


@pytest.mark.slow
def test_a_run_says_unverified_and_finds_what_was_planted(tmp_path: Path) -> None:
    heard = np.concatenate([speech.audio("ferry"), speech.audio("bread")])
    seconds = len(heard) / speech.RATE
    times = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    heard = np.interp(times, np.arange(len(heard)) / speech.RATE, heard)
    root = patient(tmp_path / FOLDER, "01", seconds=seconds, heard=heard)
    (root / "dataset_description.json").write_text("{}")
    quick = {
        "dataset.path": str(root),
        "renderer.iterations": 2,
        "metrics": ["audio_seeg/mel_correlation"],
        "split.gap_s": 0.5,
        "split.blocks": 1,
    }
    run = bdh.run("audio_seeg", preset="verwoert2022", set=quick, dev=True, jobs=1, out=tmp_path / "runs")
    assert "UNVERIFIED" in run.metrics["flags"]
    assert run.metrics["simulated"] is False
    assert run.metrics["scores"]["mel_correlation"]["value"] > 0.2

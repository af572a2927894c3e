"""`predict`: a run of one's own recording decodes new ones without their sound, or says in one line why not."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_embeddings import REGISTRY, images

import braindecode_hub as bdh
from braindecode_hub import api, predict_run
from braindecode_hub.cli import main
from braindecode_hub.facts import fitted_to
from braindecode_hub.files import load_arrays
from braindecode_hub.phantom import speech
from braindecode_hub.predict_run import new_folder
from braindecode_hub.runfolder import Run
from braindecode_hub.types import Artifact, Context, Recording, Signal
from braindecode_hub_audio_seeg.phantom import Phantom

RATE, CHANNELS = 512.0, 6
NAMES = [f"A{k}" for k in range(1, CHANNELS + 1)]
LIGHT: dict[str, Any] = {
    "decoder.alphas": [1.0],
    "baseline": None,
    "renderer.iterations": 1,
    "metrics": ["audio_seeg/mel_correlation"],
}
OWN: dict[str, Any] = {"dataset.rate": RATE, "dataset.line_freq": 50.0, "dataset.channels": NAMES}
MEL_RATE = 22050 / 256


@pytest.fixture(scope="module")
def patient() -> tuple[np.ndarray, np.ndarray]:
    """A simulated patient: brain (channels, samples) in V, and what was heard (samples,)."""
    dataset = Phantom(contacts=CHANNELS, shafts=1, stories=3, snr=3.0, rate=RATE, bads=0)
    dataset.prepare(Context())
    recording = dataset.recording("01")
    heard = np.zeros(round(recording.seconds * speech.RATE), np.float32)
    for trial in dataset.trials():
        story = speech.audio(str(trial.stimulus))
        at = round(trial.start * speech.RATE)
        heard[at : at + len(story)] = story[: len(heard) - at]
    return np.asarray(recording.brain.data), heard


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, patient: tuple[np.ndarray, np.ndarray]) -> Path:
    """The files of a lab: `mine/` with brain and sound, `new/` with ten more seconds of brain alone."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("mine", "new"):
        (folder / name).mkdir()
    brain, heard = patient
    np.save(folder / "mine" / "anna.npy", brain)
    soundfile.write(folder / "mine" / "anna.wav", heard, speech.RATE)
    np.save(folder / "new" / "later.npy", brain[:, : round(10 * RATE)])
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    """A run on `mine/`, up to its predictions."""
    done = bdh.run("audio_seeg", preset="ridge", data=str(home / "mine"), set=OWN | LIGHT, out=home / "runs",
                   until="predict", jobs=1)  # fmt: skip
    assert done.status == "predicted"
    return done


Told = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def hub(capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a command in this process; return its exit code and the lines of stdout and stderr."""

    def told(*words: Any) -> tuple[int, list[str], list[str]]:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out.splitlines(), err.splitlines()

    return told


@pytest.fixture
def refused(hub: Told, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Return the cause and the remedy of a `predict` that is refused, and that left nothing behind."""

    def told(run: Path, *words: Any) -> tuple[str, str]:
        before = everything(run)
        out = tmp_path / "not" / "here"
        code, shown, lines = hub("predict", run, "--out", out, *words)
        assert code in (1, 2)
        assert shown == []
        cause, remedy = [line for line in lines if line.startswith(("Error: ", "  Try: "))]
        assert not any("Traceback" in line for line in lines)
        assert not out.parent.exists()
        assert everything(run) == before
        return cause.removeprefix("Error: "), remedy.removeprefix("  Try: ")

    return told


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def new(folder: Path, values: np.ndarray, name: str = "later") -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", values)
    return folder


# What it gives


def test_a_folder_without_any_sound_is_decoded_and_rendered(run: Run, home: Path, hub: Told, tmp_path: Path) -> None:
    out = tmp_path / "decoded"
    code, shown, said = hub("predict", run.path, "--data", home / "new", "--out", out)
    assert code == 0, said
    assert shown[-1] == str(out)
    assert f"later: mel {int(10 * MEL_RATE)} × 80 at 86.13 Hz" in shown
    assert any("the run is only predicted" in line for line in shown)
    assert not any("SIMULATED" in line for line in shown)
    assert {path.name for path in out.iterdir()} == {"predictions.safetensors", "about.json", "later.predicted.flac"}
    sound = soundfile.info(out / "later.predicted.flac")
    assert sound.duration == pytest.approx(10.0, abs=0.1)
    arrays, about = load_arrays(out / "predictions.safetensors")
    assert list(arrays) == ["later/mel/predicted"]
    assert about == json.loads((out / "about.json").read_text("utf-8"))
    assert about["run"] == run.path.name
    assert about["simulated"] is False
    [item] = about["items"]
    assert item["name"] == "later"
    assert item["rate"] == pytest.approx(MEL_RATE)


def test_python_gives_the_same_numbers_as_the_command_line(run: Run, home: Path, tmp_path: Path) -> None:
    done = api.predict(run, data=home / "new", out=tmp_path / "decoded", media=False)
    assert done.media == []
    assert [path.name for path in done.folder.iterdir() if path.suffix == ".flac"] == []
    [saved] = load_arrays(done.folder / "predictions.safetensors")[0].values()
    values = np.load(home / "new" / "later.npy")
    mel = run.predict(recording_of(values))["mel"]
    np.testing.assert_array_equal(saved, mel)
    assert done.shapes == {"later": {"mel": mel.shape}}


def recording_of(values: np.ndarray, **changed: Any) -> Recording:
    given: dict[str, Any] = {"line_freq": 50.0} | changed
    names, rate, units = (given.pop(key, usual) for key, usual in
                          (("names", tuple(NAMES)), ("rate", RATE), ("units", "")))  # fmt: skip
    return Recording("later", "anna", "1", Signal(values, rate, "seeg", names, units), **given)


def test_the_test_side_decoded_again_is_what_the_run_predicted(run: Run, home: Path, tmp_path: Path) -> None:
    done = api.predict(run, data=home / "mine", out=tmp_path / "again", media=False)
    assert done.truth  # a.wav lies there
    assert any("the data that the run was fitted on" in note for note in done.notes)
    whole = load_arrays(done.folder / "predictions.safetensors")[0]["anna/mel/predicted"]
    assert len(whole) == int(np.load(home / "mine" / "anna.npy").shape[1] / RATE * MEL_RATE)
    items, same = run.items(), []
    assert items
    for item in items:
        predicted, first = item.predicted["mel"], int(np.ceil(item.about["start"] * MEL_RATE - 1e-6))
        edge = round(2.0 * MEL_RATE)  # filters of the run began and ended with its side
        assert len(predicted) > 3 * edge
        again = whole[first + edge : first + len(predicted) - edge]
        apart = np.abs(again - predicted[edge:-edge])
        same.append(float(np.mean(apart < 0.02)))  # windows begin elsewhere, by up to a sample of the encoded brain
        assert np.median(apart) < 0.05 * predicted.std()
        assert np.corrcoef(again.ravel(), predicted[edge:-edge].ravel())[0, 1] > 0.995
    assert max(same) > 0.9


def test_sound_that_lies_beside_is_named_and_never_opened(
    run: Run, home: Path, hub: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new(tmp_path / "data", np.load(home / "new" / "later.npy"))
    (folder / "later.wav").write_bytes(b"no sound at all")
    monkeypatch.setattr(soundfile, "SoundFile", lambda *given, **more: pytest.fail("a sound was opened"))
    code, shown, said = hub("predict", run.path, "--data", folder, "--out", tmp_path / "out", "--no-media")
    assert code == 0, said
    assert shown[-2].startswith("what was presented is there too, and was not looked at")


def test_the_same_samples_in_an_npz_without_sound_are_decoded_the_same(run: Run, home: Path, tmp_path: Path) -> None:
    values = np.load(home / "new" / "later.npy")
    np.savez(tmp_path / "later.npz", brain=values, rate=RATE, channels=np.array(NAMES), line_freq=50.0)
    for data in (tmp_path / "later.npz", tmp_path):
        done = api.predict(run, data=data, out=tmp_path / f"out-{data.suffix}", media=False)
        np.testing.assert_array_equal(
            load_arrays(done.folder / "predictions.safetensors")[0]["later/mel/predicted"],
            run.predict(recording_of(values))["mel"],
        )
        shutil.rmtree(done.folder)


def test_what_the_new_recording_does_not_know_is_taken_from_the_run_and_said(run: Run, home: Path) -> None:
    values = np.load(home / "new" / "later.npy")
    named = run.predict(recording_of(values))["mel"]
    invented = recording_of(values, names=tuple(f"ch{k}" for k in range(1, CHANNELS + 1)), line_freq=None)
    np.testing.assert_array_equal(run.predict(invented)["mel"], named)


def test_without_out_every_prediction_has_a_folder_in_the_run(run: Run, home: Path) -> None:
    done = api.predict(run, data=home / "new", media=False)
    assert done.folder.parent == run.path / "predictions"
    shutil.rmtree(done.folder.parent)


def test_two_predictions_within_a_second_have_two_folders(tmp_path: Path) -> None:
    """A loop over recordings is faster than the clock."""
    folders = []
    for _ in range(5):
        folders.append(new_folder(tmp_path))
        folders[-1].mkdir()
    assert len(set(folders)) == 5
    assert sorted(folders) == folders


def test_a_break_restarts_filters_and_no_frame_is_lost(run: Run, home: Path) -> None:
    values = np.load(home / "new" / "later.npy")
    whole, broken = (run.predict(recording_of(values, breaks=at))["mel"] for at in ((), (5.0,)))
    assert broken.shape == whole.shape
    apart = np.abs(broken - whole).max(axis=1)
    assert apart[: round(2.0 * MEL_RATE)].max() < 0.02
    assert apart.max() > 0
    halves = [run.predict(recording_of(part))["mel"] for part in np.split(values, 2, axis=1)]
    np.testing.assert_allclose(broken[: len(halves[0])], halves[0], atol=1e-4)


def test_recordings_whose_names_differ_in_signs_only_are_kept_apart(run: Run, home: Path, tmp_path: Path) -> None:
    values = np.load(home / "new" / "later.npy")
    folder = new(tmp_path / "data", values, "a;b")
    new(folder, values[:, : round(6 * RATE)], "a#b")
    done = api.predict(run, data=folder, out=tmp_path / "out")
    arrays = load_arrays(done.folder / "predictions.safetensors")[0]
    assert {name: len(array) for name, array in arrays.items()} == {
        "a;b/mel/predicted": int(10 * MEL_RATE),
        "a#b/mel/predicted": int(6 * MEL_RATE),
    }
    assert len({*done.media}) == 2
    assert sorted(round(soundfile.info(path).duration) for path in done.media) == [6, 10]


# What it refuses


def test_other_sensors_are_refused_in_one_line_each(
    run: Run, home: Path, refused: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    values = np.load(home / "new" / "later.npy")
    reordered = [NAMES[1], NAMES[0], *NAMES[2:]]
    renamed = [*NAMES[:-1], "Z9"]
    broken = values.copy()
    broken[2, round(3.5 * RATE)] = np.nan
    cases: list[tuple[np.ndarray, list[str], str, str]] = [
        (values[:4], [f"dataset.channels={json.dumps(NAMES[:4])}"], "later has 4 channels, this run was fitted on 6",
         "same montage"),
        (values, ["dataset.rate=256"], "later has 256 Hz, this run was fitted at 512 Hz", "resample"),
        (values, [f"dataset.channels={json.dumps(reordered)}"], "channels in another order: number 1 is A2, not A1",
         "sort them"),
        (values, [f"dataset.channels={json.dumps(renamed)}"], "Z9 and not A6", "same montage"),
        (values * 1e6, [], "has an SD of", "units"),
        (broken, [], "later is not finite in A3 at 3.500 s", "mark the channel bad"),
        (values[:, :4], ["dataset.axis=channels_first"], "later is too short to decode", "more of it"),
        (values, ["dataset.bads=[B1]"], "no channel 'B1'", "known: A1, A2"),
        (values, ["dataset.rat=1"], "no parameter 'rat'", "did you mean rate?"),
    ]  # fmt: skip
    for number, (array, sets, cause, remedy) in enumerate(cases):
        folder = new(tmp_path / f"case{number}", array)
        told = refused(run.path, "--data", folder, *(word for one in sets for word in ("--set", one)))
        assert cause in told[0]
        assert remedy in told[1], told
    facts = {"channels": 6, "rate": RATE, "units": "V", "names": NAMES}
    with pytest.raises(bdh.HubError, match="is in uV, this run was fitted in V"):
        fitted_to(recording_of(values, units="uV"), facts)


def test_data_that_is_none_is_refused(
    run: Run, home: Path, refused: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no recording" in refused(run.path, "--data", tmp_path / "empty")[0]
    assert "does not exist" in refused(run.path, "--data", tmp_path / "nowhere")[0]
    shutil.copy(home / "mine" / "anna.wav", tmp_path / "empty")
    assert "holds no recording" in refused(run.path, "--data", tmp_path / "empty")[0]
    assert "anna.wav" in refused(run.path, "--data", tmp_path / "empty" / "anna.wav")[0]
    assert refused(run.path)[0] == "there is nothing to predict from"


def test_a_run_that_is_none_or_not_finished_or_lacks_its_plugin_is_refused(
    run: Run, home: Path, refused: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    data = ("--data", home / "new")
    (tmp_path / "none").mkdir()
    assert "is not a run folder" in refused(tmp_path / "none", *data)[0]
    assert refused(run.path, *data, "--fold", 3) == (
        f"{run.path.name} has no fitted fold 3: it is predicted", "it has fold-0")  # fmt: skip
    assert refused(run.path, *data, "--subject", "bertha")[0].endswith("has no fit of subject 'bertha'")
    for status in ("running", "interrupted", "failed: the disk is full"):
        copy = shutil.copytree(run.path, tmp_path / "copy")
        (copy / "status").write_text(f"{status}\n")
        assert refused(copy, *data) == (f"copy is unfinished: it is {status}", "finish it: `run … --resume`")
        shutil.rmtree(copy)
    copy = shutil.copytree(run.path, tmp_path / "copy")
    shutil.rmtree(copy / "fold-0")
    (copy / "status").write_text("prepared\n")
    assert refused(copy, *data) == ("copy has no fitted fold 0: it is prepared", "finish it: `run … --resume`")
    config = (run.path / "config.yaml").read_text("utf-8")
    (copy / "config.yaml").write_text(config.replace("core/ridge", "elsewhere/ridge"))
    assert "plugin 'elsewhere', which is not installed" in refused(copy, *data)[0]


def test_a_folder_that_holds_something_is_left_as_it_is(run: Run, home: Path, hub: Told, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "full", tmp_path / "file", run.path):
        before = everything(tmp_path)
        code, shown, said = hub("predict", run.path, "--data", home / "new", "--out", out)
        assert code == 2
        assert shown == []
        assert f"{out} is there already, and not empty" in said[0]
        assert everything(tmp_path) == before
    (tmp_path / "empty").mkdir()
    api.predict(run, data=home / "new", out=tmp_path / "empty", media=False)
    assert (tmp_path / "empty" / "predictions.safetensors").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError("any")])
def test_whatever_stops_the_writing_leaves_no_folder(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def stopped(*given: Any) -> None:
        assert list(tmp_path.rglob(".tmp-*"))  # it was being written
        raise error

    monkeypatch.setattr(predict_run, "join_arrays", stopped)
    expected = bdh.HubError if isinstance(error, OSError) else type(error) if isinstance(error, Exception) else error
    with pytest.raises(expected):
        api.predict(run, data=home / "new", out=tmp_path / "a" / "b", media=False)
    assert everything(tmp_path) == []


KILLED = """
import os, signal, sys
from braindecode_hub import api, predict_run

predict_run._finish = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
out = sys.argv[3] if len(sys.argv) > 3 else None
api.predict(sys.argv[1], data=sys.argv[2], out=out, media=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("own", [True, False])
def test_what_a_killed_predict_left_is_swept_by_the_next_one(
    run: Run, home: Path, hub: Told, tmp_path: Path, own: bool
) -> None:
    place = run.path / "predictions" if own else tmp_path
    words = [] if own else [str(place / "out")]
    done = subprocess.run([sys.executable, "-c", KILLED, str(run.path), str(home / "new"), *words])
    assert done.returncode == -signal.SIGKILL
    [half] = place.glob(".tmp-*")
    assert list(half.glob("*.f4"))
    code, _, _ = hub("predict", run.path, "--data", home / "new", *(["--out", *words] if words else []), "--no-media")
    assert code == 0
    assert list(place.glob(".tmp-*")) == []
    assert all((folder / "predictions.safetensors").is_file() for folder in place.iterdir())


def test_two_fits_need_a_subject_and_are_named(home: Path, hub: Told, tmp_path: Path) -> None:
    mine = home / "two"
    mine.mkdir()
    values = np.load(home / "mine" / "anna.npy")
    for name in ("sub-01", "kurt"):
        np.save(mine / f"{name}.npy", values)
        shutil.copy(home / "mine" / "anna.wav", mine / f"{name}.wav")
    two = bdh.run("audio_seeg", preset="ridge", data=str(mine), set=OWN | LIGHT, out=tmp_path / "runs", until="fit",
                  jobs=1)  # fmt: skip
    data = ("predict", two.path, "--no-media", "--data", home / "new")
    code, shown, said = hub(*data)
    assert code == 2
    assert shown == []
    fits = sorted(path.name.split(".")[0] for path in (two.path / "fold-0").glob("*.safetensors"))
    assert len(fits) == 2
    assert "kurt" not in fits
    assert f"has a fit for each of {', '.join(fits)}, and none of 'later'" in said[0]
    assert "--subject" in said[1]
    for subject in ("kurt", fits[0]):
        code, shown, said = hub(*data, "--subject", subject, "--out", tmp_path / subject)
        assert code == 0, said
        assert any(line.startswith("note: later: subject later was not in the run") for line in shown)
    whose = new(tmp_path / "whose", np.load(home / "new" / "later.npy"), "kurt")
    code, shown, said = hub(*data[:-1], whose, "--out", tmp_path / "his")
    assert code == 0, said
    assert not any("was not in the run" in line for line in shown)


# Simulated, static, long


def test_simulated_recordings_are_called_simulated_and_play(hub: Told, tmp_path: Path) -> None:
    sets = LIGHT | {"dataset.contacts": 6, "dataset.shafts": 1, "dataset.stories": 2, "dataset.bads": 0}
    done = bdh.run("audio_seeg", preset="smoke", set=sets, out=tmp_path / "runs", until="fit", jobs=1)
    code, shown, said = hub("predict", done.path, "--set", "dataset.seed=7", "--out", tmp_path / "out")
    assert code == 0, said
    assert shown[0].startswith("SIMULATED: ")
    media = [path for path in (tmp_path / "out").iterdir() if path.suffix not in (".json", ".safetensors")]
    assert media
    for path in media:
        assert path.name.startswith("SIMULATED-01.predicted")
        assert soundfile.info(path).duration > 5
        assert np.abs(soundfile.read(path)[0]).max() > 0.001
    assert json.loads((tmp_path / "out" / "about.json").read_text())["simulated"] is True


class Endless:
    """(channels, samples) of noise that is made when it is sliced, and counts what is asked for at once."""

    def __init__(self, samples: int) -> None:
        self.shape, self.ndim, self.dtype, self.most = (CHANNELS, samples), 2, np.dtype("float32"), 0

    def __len__(self) -> int:
        return CHANNELS

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key
        start, stop, step = columns.indices(self.shape[1])
        self.most = max(self.most, stop - start)
        block = np.random.default_rng(0).standard_normal((CHANNELS, 4096)).astype(np.float32) * 1e-4
        return block[:, np.arange(start, stop, step) % 4096][rows]


def test_an_hour_is_decoded_piece_by_piece(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from braindecode_hub import prediction
    from braindecode_hub.cache import Cache

    monkeypatch.setattr(prediction, "LARGE_BYTES", 1)
    scale = float(np.median(np.load(run.config["dataset"]["path"] + "/anna.npy").std(axis=1)))
    peaks, frames = [], []
    for minutes in (8, 24):
        data = Endless(round(minutes * 60 * RATE))
        recording = recording_of(data)  # type: ignore[arg-type]
        fit = prediction.Fits(run, 0).of(recording, None)
        fit.facts["scale"] = None if abs(np.log(scale / 1e-4)) > 4 else fit.facts["scale"]
        alone = prediction._Alone(fit.pipeline.dataset.brain, recording)
        with prediction.preparing(recording) as cache:
            assert isinstance(cache, Cache)
            assert cache.folder is not None  # what filters make of it lies on disk
            pieces = prediction.pieces_of(fit, recording, alone, cache)
            first = next(pieces)
            tracemalloc.start()
            lengths = [len(first[3]), *(len(values) for *_, values in pieces)]
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        frames.append(sum(lengths))
        assert max(lengths) < 200 * MEL_RATE
        assert data.most < 200 * RATE  # never the whole of it
    assert frames == [int(minutes * 60 * MEL_RATE) for minutes in (8, 24)]
    assert peaks[1] < 1.3 * peaks[0]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a third party's pipeline whose targets do not run in time."""
    (tmp_path / "braindecode_hub_local.py").write_text("")
    (tmp_path / "braindecode_hub_local.yaml").write_text(REGISTRY)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("braindecode_hub_local", None)


def test_targets_that_do_not_run_in_time_have_one_value_a_trial(registry: Path, hub: Told) -> None:
    images(registry / "data", snr=2.0, stimuli=20)
    images(registry / "more", snr=2.0, stimuli=5)
    done = bdh.run("images", set={"decoder.lags_s": [0.0, 0.0]}, until="predict")
    code, shown, said = hub("predict", done.path, "--set", "dataset.path=data", "--out", "again")
    assert code == 0, said
    assert shown[0].startswith("SIMULATED: ")
    assert any("the data that the run was fitted on" in line for line in shown)
    arrays, about = load_arrays(registry / "again" / "predictions.safetensors")
    test = [piece["id"] for piece in done.split["folds"][0]["sides"]["test"]]
    assert len(arrays) == len(about["items"]) == 40
    assert len(test) == len(done.items()) > 5
    for trial, item in zip(test, done.items(), strict=True):
        np.testing.assert_allclose(arrays[f"{trial}/clip/predicted"], item.predicted["clip"], atol=1e-5)
    code, shown, said = hub("predict", done.path, "--set", "dataset.path=more", "--out", "new")
    assert code == 0, said
    assert len(load_arrays(registry / "new" / "predictions.safetensors")[0]) == 10
    broken = Recording("r", "p1", "0", Signal(np.ones((8, 500), np.float32), 50.0, "eeg"), breaks=(5.0,))
    with pytest.raises(bdh.HubError, match="r has breaks, and what this run predicts does not run in time"):
        done.predict(broken)


def test_long_predictions_are_rendered_in_parts(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_run, "MEDIA_S", 4.0)
    done = api.predict(run, data=home / "new", out=tmp_path / "out")
    assert [path.name for path in done.media] == [f"later.{part:04d}.predicted.flac" for part in range(3)]
    lengths = [soundfile.info(path).duration for path in done.media]
    np.testing.assert_allclose(lengths, [4.0, 4.0, 2.0], atol=0.1)


def test_a_renderer_that_fails_leaves_nothing(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braindecode_hub_audio_seeg.vocoder import GriffinLim

    def fails(self: Any, prediction: Any, ctx: Any) -> list[Artifact]:
        raise bdh.HubError("it cannot be rendered", "leave it")

    monkeypatch.setattr(GriffinLim, "render", fails)
    with pytest.raises(bdh.HubError, match="cannot be rendered"):
        api.predict(run, data=home / "new", out=tmp_path / "out")
    assert everything(tmp_path) == []

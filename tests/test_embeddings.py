"""core/embeddings: arrays and precomputed features run through a third party's pipeline; what does not fit is said."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub import refits
from braindecode_hub.errors import HubError
from braindecode_hub.parts.embeddings import Embeddings
from braindecode_hub.splits import Split
from braindecode_hub.types import Context, Space

RATE = 50.0
REGISTRY = """
api: "1"
pipelines:
  images:
    summary: Image embeddings from a cap of made-up channels
    flow: [eeg, clip]
    dataset: {use: core/embeddings, path: data, rate: 50, space: clip, simulated: true}
    targets: {clip: [{use: core/zscore}]}
    encoder: [{use: core/zscore}]
    decoder: {use: core/ridge, lags_s: [0.0, 0.2], alphas: [0.1, 10.0]}
    window: {length_s: 0.4, context_s: 0.0}
    split: {by: stimulus, folds: 4}
    metrics: [core/correlation]
"""


def write(folder: Path, rows: list[dict[str, Any]] | None = None, **arrays: np.ndarray) -> Path:
    """Save arrays and a table of trials as a person would."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    if rows is not None:
        with (folder / "trials.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def images(folder: Path, *, snr: float, stimuli: int = 80, repeats: int = 2, dim: int = 6, seed: int = 0) -> Path:
    """Trials of 20 samples, 8 channels; embeddings reach the channels 60 ms after onset if `snr` is not 0."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((stimuli, dim)).astype(np.float32)
    order = np.concatenate([rng.permutation(stimuli) for _ in range(repeats)])
    x = rng.standard_normal((len(order), 8, 20))
    x[:, :, 3:] += snr * (table[order] @ rng.standard_normal((dim, 8)) / np.sqrt(dim))[:, :, None]
    rows = [
        {"stimulus": f"img{n}", "subject": "p1", "session": str(k // stimuli), "target": n} for k, n in enumerate(order)
    ]
    return write(folder, rows, X=x.astype(np.float32), targets=table)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a plugin file and its registry: a third party's pipeline on core's parts."""
    (tmp_path / "braindecode_hub_local.py").write_text("")
    (tmp_path / "braindecode_hub_local.yaml").write_text(REGISTRY)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    refits._studies.clear()
    sys.modules.pop("braindecode_hub_local", None)


def dataset(folder: Path, **options: Any) -> Embeddings:
    made = Embeddings(path=str(folder), **{"rate": RATE, **options})
    made.prepare(Context())
    return made


# The whole way


@pytest.mark.slow
def test_planted_embeddings_are_found_and_no_control_finds_any(registry: Path) -> None:
    images(registry / "data", snr=2.0)
    metrics = bdh.run("images").metrics
    assert metrics["scores"]["correlation"]["value"] > 0.5
    assert metrics["scores"]["correlation"]["p"] < 0.01
    assert metrics["scores"]["identification_rank"]["value"] > 0.8
    assert metrics["scores"]["identification"]["unit"] == "1 of 20"  # 80 images, 4 folds; 40 presentations
    assert metrics["unit"]["n"] == 40
    assert metrics["baselines"]["mean"]["correlation"] == 0
    assert metrics["flags"] == ["SIMULATED"]
    for kind in ("shuffled", "relabelled", "noise"):
        assert abs(metrics["controls"][kind]["correlation"]) < 0.15


def test_nothing_is_found_where_nothing_was_planted(registry: Path) -> None:
    images(registry / "data", snr=0.0)
    metrics = bdh.run("images", set={"decoder.lags_s": [0.0, 0.0]}, dev=True).metrics
    low, high = metrics["scores"]["correlation"]["ci95"]
    assert low < 0 < high
    assert metrics["scores"]["correlation"]["p"] > 0.05
    assert metrics["scores"]["identification_rank"]["p"] > 0.05


def test_features_over_time_beside_a_continuous_recording(registry: Path) -> None:
    rng = np.random.default_rng(1)
    white = rng.standard_normal((9020, 3))
    features = sum(white[k : 9000 + k] for k in range(20)) / np.sqrt(20)
    brain = features @ rng.standard_normal((3, 5)) + 2 * rng.standard_normal((9000, 5))
    write(registry / "data", X=np.roll(brain, 5, axis=0).astype(np.float32), targets=features.astype(np.float32))
    sets = {
        "dataset.target_rate": 50,
        "split": {"by": "time_block", "folds": 4, "gap_s": 1.0},
        "window": {"length_s": 2.0, "context_s": 0.3},
    }
    metrics = bdh.run("images", set=sets, dev=True).metrics
    assert metrics["unit"]["name"] == "5 s block"
    assert metrics["scores"]["correlation"]["value"] > 0.5
    assert metrics["scores"]["correlation"]["p"] < 0.05


# What it makes of files


def test_epochs_of_a_session_lie_end_to_end_with_breaks_and_are_read_lazily(tmp_path: Path) -> None:
    made = dataset(images(tmp_path, snr=1.0), onset_s=0.1)
    x = np.load(tmp_path / "X.npy")
    recording = made.recording("p1-1")
    assert recording.brain.data.shape == (8, 80 * 20)
    assert np.array_equal(recording.brain.data[:, 20 * 3 + 5 : 20 * 5 + 1], np.concatenate(x[80:], axis=1)[:, 65:101])
    assert np.array_equal(recording.brain.data[2:4, :], np.concatenate(x[80:], axis=1)[2:4])
    assert np.array_equal(np.asarray(recording.brain.data), np.concatenate(x[80:], axis=1))
    assert recording.brain.data[:, 7:7].shape == (8, 0)
    assert recording.breaks[:2] == (0.4, 0.8)
    assert len(recording.breaks) == 79
    trial = [trial for trial in made.trials() if trial.recording == "p1-1"][3]
    assert (trial.start, trial.stop) == pytest.approx((1.3, 1.6))
    assert trial.groups == {"subject": "p1", "session": "1"}
    assert isinstance(made._parts()[0].brain, np.memmap)


def test_repeats_of_a_stimulus_are_one_stimulus_by_id_and_without_ids_by_content(tmp_path: Path) -> None:
    made = dataset(images(tmp_path / "a", snr=0.0))
    assert len({trial.stimulus for trial in made.trials()}) == 80
    x, y = np.load(tmp_path / "a" / "X.npy"), np.load(tmp_path / "a" / "targets.npy")
    order = [int(str(trial.stimulus)[3:]) for trial in made.trials()]
    bare = dataset(write(tmp_path / "b", X=x, targets=y[order]))
    assert len({trial.stimulus for trial in bare.trials()}) == 80
    stimulus = str(bare.trials()[5].stimulus)
    assert np.array_equal(bare.stimulus(stimulus, Space("embedding", ("features",))).data, y[order[5]])
    for fold in Split(("stimulus",), folds=4).make(bare.trials()):
        assert not {t.stimulus for t in fold.train} & {t.stimulus for t in fold.test}


def test_a_folder_a_subject_shares_the_targets_above_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path, targets=rng.standard_normal((6, 4)))
    for name in ("anna", "berta"):
        rows = [
            {"image": f"i{n}", "target": n, "split": "training" if n < 4 else "test" if n < 5 else "val"}
            for n in range(6)
        ]
        write(tmp_path / name, rows, X=rng.standard_normal((6, 3, 10)))
    made = dataset(tmp_path)
    assert {trial.groups["subject"] for trial in made.trials()} == {"anna", "berta"}
    assert len({trial.stimulus for trial in made.trials()}) == 6
    [fold] = Split(("official",), folds=1).make(made.trials())
    assert [len(fold.train), len(fold.val), len(fold.test)] == [8, 2, 2]


def test_trials_of_a_continuous_recording_come_from_the_table(tmp_path: Path) -> None:
    rows = [
        {"stimulus": f"s{n % 3}", "onset": 2.0 * n, "duration": 1.5, "target": n % 3, "mood": "calm"} for n in range(9)
    ]
    write(tmp_path, rows, brain=np.zeros((1000, 4), np.float32), targets=np.eye(3))
    made = dataset(tmp_path)
    trial = made.trials()[4]
    assert (trial.start, trial.stop, trial.stimulus, trial.stimulus_start) == (8.0, 9.5, "s1", None)
    assert trial.groups["mood"] == "calm"
    assert made.recording(trial.recording).brain.data.shape == (4, 1000)


def test_targets_of_every_trial_may_run_in_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path, X=rng.standard_normal((5, 3, 100)), targets=rng.standard_normal((5, 30, 4)))
    made = dataset(tmp_path, target_rate=20.0)
    trial = made.trials()[2]
    assert trial.stop - trial.start == pytest.approx(1.5)  # the features end before the epoch does
    assert (trial.stimulus_start, trial.stimulus_stop) == (0.0, 1.5)
    signal = made.stimulus(str(trial.stimulus), made.stimuli_spaces[0])
    assert (signal.data.shape, signal.rate) == ((30, 4), 20.0)


def test_the_fingerprint_follows_the_contents_and_the_configuration_builds_the_same(tmp_path: Path) -> None:
    made = dataset(images(tmp_path, snr=0.0))
    before = made.fingerprint()
    assert Embeddings(**made.configuration()).fingerprint() == before
    y = np.load(tmp_path / "targets.npy")
    np.save(tmp_path / "targets.npy", y + 1)
    assert dataset(tmp_path).fingerprint() != before
    assert dataset(tmp_path, onset_s=0.1).fingerprint() != dataset(tmp_path).fingerprint()


# What does not fit


def broken(folder: Path, change: str) -> dict[str, Any]:
    """Write files of which one thing is wrong; returns the options."""
    x, y = np.zeros((4, 2, 10)), np.arange(8.0).reshape(4, 2)
    rows: list[dict[str, Any]] | None = [{"stimulus": n, "subject": "a"} for n in range(4)]
    options: dict[str, Any] = {}
    if change == "rows":
        rows = (rows or [])[:3]
    elif change == "targets":
        y = y[:3]
    elif change == "nan":
        y[1, 1] = np.nan
    elif change == "contradiction":
        rows = [{"stimulus": "same"} for _ in range(4)]
    elif change == "axes":
        x = np.zeros((4, 2, 10, 2))
    elif change == "time":
        y = np.zeros((4, 5, 2))
    elif change == "side":
        rows = [{"stimulus": n, "split": "nowhere"} for n in range(4)]
    elif change == "index":
        rows = [{"stimulus": n, "target": 9} for n in range(4)]
    elif change == "continuous":
        x, rows = np.zeros((2, 100)), None
    elif change == "outside":
        x, rows = np.zeros((2, 100)), [{"stimulus": n, "start": n, "stop": n + 1} for n in range(4)]
    elif change == "rate":
        options["rate"] = None
    elif change == "onset":
        options["onset_s"] = 1.0
    elif change == "unclear":
        rows = [{"image": n, "clip": n} for n in range(4)]
    write(folder, rows, X=x, targets=y)
    return options


FAULTS = {
    "rows": "3 rows for 4 trials",
    "targets": "3 rows for 4 trials",
    "nan": "NaN",
    "contradiction": "'same' has two different embeddings",
    "axes": "has shape \\(4, 2, 10, 2\\)",
    "time": "give dataset.target_rate",
    "side": "'nowhere'",
    "index": "row 9 of 4 targets",
    "continuous": "no table says when",
    "outside": "the recording has 2 s",
    "rate": "does not say its sampling rate",
    "onset": "an epoch has 0.2 s",
    "unclear": "image or clip",
}


@pytest.mark.parametrize("change", FAULTS)
def test_what_does_not_fit_is_said_in_two_lines(tmp_path: Path, change: str) -> None:
    with pytest.raises(HubError, match=FAULTS[change]) as error:
        dataset(tmp_path, **broken(tmp_path, change)).trials()
    assert "\n" not in error.value.cause
    assert error.value.remedy


def test_an_empty_folder_and_pickled_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"holds no X\.npy"):
        dataset(tmp_path)
    with pytest.raises(HubError, match="is not a folder"):
        dataset(tmp_path / "nowhere")
    np.save(tmp_path / "X.npy", np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "targets.npy", np.zeros((1, 2)))
    with pytest.raises(HubError, match="pickled"):
        dataset(tmp_path)

"""Anybody's predictions are judged as a run's are: the same units, nulls and identification; no flaw passes unsaid."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

import braindecode_hub as bdh
from braindecode_hub import metrics
from braindecode_hub.errors import HubError
from braindecode_hub.files import save_arrays
from braindecode_hub.judging import Scores, score
from braindecode_hub.metrics import correlation_over_presentations, presentation_pairs
from braindecode_hub.reading import open_arrays, read_table
from braindecode_hub.runfolder import Run
from braindecode_hub.scorefile import score_file

RATE = 20.0


def smooth(rng: np.random.Generator, frames: int, bins: int = 4, width: int = 10) -> np.ndarray:
    white = rng.standard_normal((frames + width, bins))
    return np.asarray(sum(white[k : frames + k] for k in range(width)) / np.sqrt(width), np.float32)


def pair(seed: int = 0, frames: int = 2000, snr: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A continuous prediction (frames, bins) and its target; `snr` 0: they have nothing in common."""
    rng = np.random.default_rng(seed)
    target = smooth(rng, frames)
    return snr * target + smooth(rng, frames), target


def said(scores: Scores, text: str) -> bool:
    return any(text in line for line in scores.warnings)


def hub(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "braindecode_hub.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


# What is scored


def test_a_planted_signal_is_found_and_none_where_there_is_none() -> None:
    found, none = score(*pair(snr=1.0), rate=RATE), score(*pair(snr=0.0), rate=RATE)
    assert found["correlation"]["value"] > 0.5
    assert found["correlation"]["p"] < 0.05
    assert found["identification_rank"]["p"] < 0.01
    assert found.metrics["unit"]["name"] == "5 s block"
    assert found.metrics["unit"]["n"] == 20
    low, high = none["correlation"]["ci95"]
    assert low < 0 < high
    assert none["correlation"]["p"] > 0.05


def test_static_targets_are_correlated_over_presentations_and_chance_is_measured() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((60, 12)) + 5.0
    predicted = target + rng.standard_normal((60, 12))
    found = score(predicted, target, train=rng.standard_normal((40, 12)) + 5.0)
    by_hand = np.mean([np.corrcoef(target[:, k], predicted[:, k])[0, 1] for k in range(12)])
    assert found["correlation"]["value"] == pytest.approx(by_hand)
    assert found.metrics["baselines"]["mean"] == {"correlation": 0.0, "identification": 0.0, "identification_rank": 0.0}
    assert found["identification"]["chance"] == 1 / 50
    low, high = found["correlation"]["ci95"]
    assert low < by_hand < high
    assert 0.02 < high - low < 0.2


def test_the_parts_of_presentations_give_the_correlation_and_its_standard_error() -> None:
    rng = np.random.default_rng(1)
    target = rng.standard_normal((400, 1))
    values = []
    for _ in range(200):
        target = rng.standard_normal((100, 1))
        values.append(correlation_over_presentations(target, target + rng.standard_normal((100, 1))))
    r = np.array([some.mean() for some in values])
    told = np.mean([some.std(ddof=1) / 10 for some in values])
    assert told == pytest.approx(r.std(), rel=0.2)  # without the influence term it would be twice as large
    predicted = rng.standard_normal((100, 3))
    target = rng.standard_normal((100, 3))
    pairs = presentation_pairs(target, predicted)
    order = rng.permutation(100)
    moved = np.mean([np.corrcoef(target[:, k], predicted[order, k])[0, 1] for k in range(3)])
    assert pairs[np.arange(100), order].mean() == pytest.approx(moved)
    constant = np.column_stack([np.ones(100), predicted[:, 1:]])
    assert (
        correlation_over_presentations(target, constant).mean() < correlation_over_presentations(target, target).mean()
    )
    assert not correlation_over_presentations(target[:, :1], constant[:, :1]).any()


def test_without_training_targets_nothing_is_subtracted_and_that_is_said() -> None:
    rng = np.random.default_rng(0)
    mean = 20 * rng.standard_normal(16)
    target = rng.standard_normal((60, 16)) + mean
    predicted = 0.2 * (target - mean) + 0.2 * rng.standard_normal((60, 16)) + mean
    blind = score(predicted, target)
    told = score(predicted, target, train=rng.standard_normal((400, 16)) + mean)
    given = score(predicted, target, center=mean)
    assert said(blind, "zero centre")
    assert blind.metrics["center"] == "none (zero)"
    assert blind.metrics["reasons"]["baselines.mean"]
    assert not said(told, "zero centre")
    assert given["identification"]["value"] > 0.2 > 5 * 0.02
    assert told["identification"]["value"] == pytest.approx(given["identification"]["value"], abs=0.1)


def test_sides_choose_what_is_scored_and_the_training_side_gives_the_centre() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((90, 8)) + 3
    predicted = target + rng.standard_normal((90, 8))
    side = ["train"] * 50 + ["validation"] * 10 + ["test"] * 30
    found = score(predicted, target, side=side)
    alone = score(predicted[60:], target[60:], train=target[:50])
    assert found.metrics["unit"]["n"] == 30
    assert found.metrics["scores"] == alone.metrics["scores"]


def test_equal_stimuli_are_one_candidate_by_name_and_by_content() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((10, 8))[np.repeat(np.arange(10), 3)]
    predicted = target + rng.standard_normal(target.shape)
    named = score(predicted, target, stimulus=np.repeat(np.arange(10), 3))
    bare = score(predicted, target)
    assert named.metrics["unit"]["candidates"] == bare.metrics["unit"]["candidates"] == 10
    assert named["identification"] == bare["identification"]
    assert said(bare, "20 targets repeat")


def test_subjects_are_blocks_of_the_exchange_and_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    subject = np.repeat([f"s{n}" for n in range(6)], 10)
    offset = np.repeat(3 * rng.standard_normal((6, 4)), 10, axis=0)
    target, predicted = offset + rng.standard_normal((60, 4)), offset + rng.standard_normal((60, 4))
    assert score(predicted, target, subject=subject)["correlation"]["p"] > 0.05  # subjects differ, stimuli do not tell
    assert score(predicted, target)["correlation"]["p"] < 0.01
    assert score(predicted, target, subject=subject).metrics["subjects"] == 6


# What weakens a score


def windows(x: np.ndarray, length: int, hop: int) -> np.ndarray:
    return np.stack([x[k : k + length] for k in range(0, len(x) - length + 1, hop)])


@pytest.mark.parametrize("told", [True, False], ids=["start seconds", "by content"])
def test_overlapping_windows_are_cut_again_and_score_as_the_stretch_they_came_from(told: bool) -> None:
    predicted, target = pair(snr=1.0, frames=2000)
    starts = np.arange(0, 2000 - 80 + 1, 10) / RATE
    options: dict[str, Any] = {"start": starts} if told else {}
    found = score(windows(predicted, 80, 10), windows(target, 80, 10), rate=RATE, **options)
    whole = score(predicted, target, rate=RATE)
    assert found.metrics["unit"] == whole.metrics["unit"]
    assert found["correlation"]["value"] == pytest.approx(whole["correlation"]["value"])
    assert found["correlation"]["p"] == whole["correlation"]["p"]
    assert said(found, "windows overlap: 87 %")


@pytest.mark.slow
def test_overlap_does_not_make_noise_significant() -> None:
    """As separate trials, 88 % overlap finds signal-free data far too often; cut again, it does not."""
    naive, cut = 0, 0
    for seed in range(24):
        predicted, target = pair(seed, frames=800, snr=0.0)
        guess, true = windows(predicted, 80, 10), windows(target, 80, 10)
        cut += score(guess, true, rate=RATE, start=np.arange(len(true)) * 0.5)["correlation"]["p"] <= 0.05
        apart = score(guess, true, rate=RATE, recording=np.arange(len(true)).astype(str))  # hides that they touch
        low, high = apart["correlation"]["ci95"]
        naive += not low <= 0 <= high
    assert cut <= 4
    assert naive >= 6


def test_starts_in_milliseconds_are_refused_where_the_targets_overlap() -> None:
    predicted, target = pair()
    cut = [windows(x, 80, 10) for x in (predicted, target)]
    starts = np.arange(len(cut[0])) * 10 / RATE
    assert said(score(*cut, rate=RATE, start=starts), "windows overlap")
    with pytest.raises(HubError, match="share 88 % of their targets"):
        score(*cut, rate=RATE, start=1000 * starts)
    apart = [windows(x, 80, 100) for x in (predicted, target)]
    assert score(*apart, rate=RATE, start=np.arange(len(apart[0])) * 100 / RATE).metrics["unit"]["n"] == len(apart[0])


def test_windows_that_follow_each_other_are_one_stretch() -> None:
    predicted, target = pair(snr=1.0, frames=2000)
    found = score(predicted.reshape(200, 10, 4), target.reshape(200, 10, 4), rate=RATE)
    assert found.metrics["unit"] == score(predicted, target, rate=RATE).metrics["unit"]
    assert any("follow each other" in line for line in found.notes)


def test_starts_on_each_stimulus_own_clock_are_no_overlap() -> None:
    rng = np.random.default_rng(0)
    target = np.stack([smooth(rng, 200) for _ in range(12)])
    found = score(
        target + np.stack([smooth(rng, 200) for _ in range(12)]),
        target,
        rate=RATE,
        start=np.zeros(12),
        stimulus=np.arange(12),
    )
    assert not said(found, "overlap")
    assert found.metrics["unit"]["n"] == 24


def test_static_trials_that_overlap_are_left_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 4))
    found = score(x + rng.standard_normal(x.shape), x, start=np.arange(40) * 0.5, stop=np.arange(40) * 0.5 + 1)
    assert found.metrics["unit"]["n"] == 20
    assert said(found, "20 of 40 trials overlap")


def test_a_copied_target_a_constant_and_too_few_units_are_said() -> None:
    predicted, target = pair()
    assert said(score(target, target, rate=RATE), "LEAK? in 1 of 1")
    assert score(target, target, rate=RATE).metrics["flags"] == ["LEAK"]
    assert score(predicted, target, rate=RATE).metrics["flags"] == []
    still = score(np.broadcast_to(target.mean(axis=0), target.shape), target, rate=RATE)
    assert said(still, "constant over time")
    assert still["correlation"]["value"] == 0
    assert still["correlation"]["p"] == 1
    few = score(predicted[:600], target[:600], rate=RATE)
    assert few["correlation"]["ci95"] is None
    assert "under 10" in few.metrics["reasons"]["scores.ci95"]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4))
    assert said(score(x + 1 * rng.standard_normal(x.shape), x, train=x), "30 of 30 test targets are among the training")


@pytest.mark.parametrize("scale", [1e-13, 1e-6, 1e6])
def test_teslas_score_like_any_other_unit(scale: float) -> None:
    """What is equal, and what overlaps, is told by the targets' own spread."""
    rng = np.random.default_rng(0)
    target = np.stack([smooth(rng, 60) for _ in range(20)])
    predicted = target + np.stack([2 * smooth(rng, 60) for _ in range(20)])
    one, other = score(predicted, target, rate=RATE), score(scale * predicted, scale * target, rate=RATE)
    assert other.warnings == one.warnings
    assert other.metrics["unit"]["n"] == one.metrics["unit"]["n"] == 20
    np.testing.assert_allclose(other["correlation"]["value"], one["correlation"]["value"], atol=1e-4)
    assert other["correlation"]["p"] == one["correlation"]["p"]
    assert said(score(scale * target, scale * target, rate=RATE), "LEAK? in 20 of 20")


def test_a_classifiers_choices_are_no_copied_targets() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 60)
    chosen = np.where(rng.random(60) < 0.4, true, rng.integers(0, 10, 60))
    found = score(np.eye(10)[chosen], np.eye(10)[true])
    assert found.metrics["flags"] == []
    assert any("a choice" in note for note in found.notes)
    assert score(np.eye(10)[chosen] == 1, np.eye(10)[true] == 1).metrics["scores"] == found.metrics["scores"]


def test_a_target_without_contrast_and_turned_axes_are_said() -> None:
    predicted, target = pair()
    assert said(score(predicted, np.full_like(target, 3.0), rate=RATE), "constant in 1 of 1")
    lost = score(predicted + 1e9, target + 1e9, rate=RATE)
    assert said(lost, "constant in 1 of 1")
    assert lost.metrics["flags"] == []
    assert said(score(predicted.T, target.T, rate=RATE), "axes turned")


def test_the_judge_claims_nothing_about_what_it_cannot_see() -> None:
    assert any("Hungarian" in line and line.startswith("not visible") for line in score(*pair(), rate=RATE).notes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "lengths": ({"predicted": np.zeros((9, 4)), "rate": RATE}, "shape \\(9, 4\\) and target \\(10, 4\\)"),
    "counts": ({"predicted": np.zeros((9, 4))}, "9 predictions for 10 targets"),
    "nan": ({"predicted": np.full((10, 4), np.nan)}, "predicted holds NaN"),
    "target nan": ({"target": np.full((10, 4), np.inf)}, "target holds NaN or infinity in 10 of 10"),
    "text": ({"target": np.array([["a"] * 4] * 10)}, "not real numbers"),
    "empty": ({"predicted": np.zeros((0, 4))}, "is empty"),
    "no rate": ({"predicted": np.zeros((5, 8, 4)), "target": np.ones((5, 8, 4))}, "frames per second are not given"),
    "rate": ({"rate": -1.0}, "the rate is -1"),
    "labels": ({"subject": ["a", "b"]}, "2 values of subject for 10"),
    "side": ({"side": ["nowhere"] * 10}, "'nowhere'"),
    "no test": ({"side": ["train"] * 10}, "no trial is on the test side"),
    "center": ({"center": np.zeros(3)}, "3 values for 4 bins"),
    "metric": ({"metrics": ["core/corelation"]}, "unknown metric"),
    "media": ({"metrics": ["audio_seeg/stoi"]}, "needs sound or pictures"),
    "both": ({"rate": RATE, "static": True}, "both a rate and static"),
    "start": ({"start": ["soon"] * 10}, "start holds <U4, not numbers"),
    "stop": ({"start": np.arange(10.0), "stop": np.arange(10.0) - 1}, "stops before it starts"),
    "train": ({"train": np.ones((5, 3))}, "training targets have 3 bins, the test side 4"),
    "center nan": ({"center": np.full(4, np.nan)}, "centre holds NaN"),
    "unit": ({"rate": RATE, "unit_s": np.inf}, "a unit has inf s"),
    "seed": ({"seed": -1}, "the seed is -1"),
    "huge": ({"target": np.full((10, 4), 1e300)}, "target reaches 1e\\+300"),
    "tiny": ({"predicted": np.full((10, 4), 1e-300)}, "predicted reaches 1e-300"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_scored_is_an_error_of_two_lines(fault: str) -> None:
    changed, text = REFUSED[fault]
    rng = np.random.default_rng(0)
    given = {"predicted": rng.standard_normal((10, 4)), "target": rng.standard_normal((10, 4)), **changed}
    with pytest.raises(HubError, match=text) as error:
        score(given.pop("predicted"), given.pop("target"), **given)
    assert "\n" not in error.value.cause
    assert error.value.remedy


# Files


def saved(folder: Path, kind: str, arrays: dict[str, Any]) -> Path:
    """Write arrays as other tools do."""
    path = folder / f"p.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "mat":
        scipy.io.savemat(
            path, {k: np.array(v, object) if np.asarray(v).dtype.kind == "U" else v for k, v in arrays.items()}
        )
    elif kind == "v73.mat":
        with h5py.File(path, "w", userblock_size=512) as file:
            for key, value in arrays.items():
                array = np.asarray(value)
                if array.dtype.kind == "U":
                    refs = np.empty((1, len(array)), h5py.ref_dtype)
                    for n, text in enumerate(array):
                        node = file.create_dataset(
                            f"#refs#/{key}{n}", data=np.array([[ord(c)] for c in text], np.uint16)
                        )
                        node.attrs["MATLAB_class"] = np.bytes_("char")
                        refs[0, n] = node.ref
                    file.create_dataset(key, data=refs).attrs["MATLAB_class"] = np.bytes_("cell")
                else:
                    file.create_dataset(key, data=np.atleast_2d(array).T).attrs["MATLAB_class"] = np.bytes_("double")
        path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512, b" ") + path.read_bytes()[512:])
    elif kind == "safetensors":
        save_arrays(path, {k: np.ascontiguousarray(v) for k, v in arrays.items()}, {})
    else:
        path = folder / "p"
        path.mkdir()
        for key, value in arrays.items():
            np.save(path / f"{key}.npy", value)
    return path


@pytest.mark.parametrize("kind", ["npz", "mat", "v73.mat", "safetensors", "folder"])
def test_every_kind_of_file_gives_what_the_arrays_give(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_normal((30, 40, 4))
    arrays: dict[str, Any] = {
        "Y_pred": true + rng.standard_normal(true.shape), "y_true": true, "fs": RATE,
        "y_train": rng.standard_normal((7, 40, 4)),
        "stimulus_id": np.array([f"story {n % 10}" for n in range(30)]), "subject": np.repeat([1.0, 2.0], 15),
    }  # fmt: skip
    if kind == "safetensors":
        arrays["stimulus_id"] = np.arange(30) % 10
        arrays["fs"] = np.array([RATE])
    found = score_file(saved(tmp_path, kind, arrays))
    plain = score(
        arrays["Y_pred"],
        true,
        rate=RATE,
        train=arrays["y_train"],
        stimulus=np.arange(30) % 10,
        subject=arrays["subject"],
    )
    assert found["correlation"] == plain["correlation"]
    assert found["identification"] == plain["identification"]
    assert found.metrics["unit"]["candidates"] == 10


def test_names_that_are_not_clear_are_listed_and_can_be_chosen(tmp_path: Path) -> None:
    predicted, target = pair()
    path = tmp_path / "p.npz"
    np.savez(path, model_a=predicted, mel=target, other=target[:5])
    with pytest.raises(HubError, match=r"model_a \(2000 × 4\), mel \(2000 × 4\)") as error:
        score_file(path, rate=RATE)
    assert error.value.remedy == "name them: --predicted KEY --target KEY"
    found = score_file(path, rate=RATE, fields={"predicted": "model_a", "target": "mel"})
    assert found["correlation"] == score(predicted, target, rate=RATE)["correlation"]
    np.savez(path, pred=predicted, prediction=predicted, target=target)
    with pytest.raises(HubError, match="predicted could be pred or prediction"):
        score_file(path, rate=RATE)


@pytest.mark.parametrize("rate", ["fast", [20.0, 50.0]])
def test_a_rate_that_is_no_number_is_named(tmp_path: Path, rate: Any) -> None:
    predicted, target = pair()
    np.savez(tmp_path / "p.npz", predicted=predicted, target=target, rate=rate)
    with pytest.raises(HubError, match="'rate' is not one number"):
        score_file(tmp_path / "p.npz")


def test_many_pairs_in_one_file_are_many_stretches(tmp_path: Path) -> None:
    parts = {f"s{n}": pair(n, frames=400 + 50 * n) for n in range(3)}
    np.savez(
        tmp_path / "p.npz",
        **{f"{n}_{side}": a for n, some in parts.items() for side, a in zip(("pred", "true"), some, strict=True)},
    )
    found = score_file(tmp_path / "p.npz", rate=RATE)
    plain = score([p for p, _ in parts.values()], [t for _, t in parts.values()], rate=RATE)
    assert found.metrics["scores"] == plain.metrics["scores"]


def test_pickles_structs_and_cells_of_arrays_are_refused_in_one_line(tmp_path: Path) -> None:
    cell = np.empty(2, object)
    cell[:] = [np.zeros((3, 4)), np.zeros((5, 4))]
    scipy.io.savemat(tmp_path / "a.mat", {"predicted": cell, "target": cell, "info": {"lab": "ours"}})
    with pytest.raises(HubError, match="cell of arrays") as error:
        score_file(tmp_path / "a.mat")
    assert "cell2mat" in error.value.remedy
    assert "struct" in open_arrays(tmp_path / "a.mat").refused["info"]
    np.savez(tmp_path / "b.npz", predicted=cell, target=np.zeros((2, 4)))
    with pytest.raises(HubError, match="never loaded"):
        score_file(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"PK no zip")
    with pytest.raises(HubError, match="cannot be read"):
        score_file(tmp_path / "c.npz")
    with pytest.raises(HubError, match="not a file of arrays"):
        score_file(read_table.__code__.co_filename)


def test_links_out_of_an_hdf5_file_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.mat", "w") as file:
        file["x"] = np.ones((3, 3))
    with h5py.File(tmp_path / "p.mat", "w") as file:
        file["predicted"] = h5py.ExternalLink("secret.mat", "x")
        file["target"] = np.ones((3, 3))
    assert "not followed" in open_arrays(tmp_path / "p.mat").refused["predicted"]


def test_a_split_file_tells_the_sides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((30, 6)) + 2
    predicted = target + rng.standard_normal(target.shape)
    sides = {"train": range(15), "val": range(15, 18), "test": range(18, 30)}
    made = {
        side: [
            {
                "id": f"t{n}",
                "recording": "r",
                "start": n,
                "stop": n + 1,
                "stimulus": f"i{n}",
                "groups": {"subject": "a"},
            }
            for n in some
        ]
        for side, some in sides.items()
    }
    (tmp_path / "split.json").write_text(json.dumps({"folds": [{"fold": 0, "sides": made}]}))
    np.savez(tmp_path / "p.npz", predicted=predicted, target=target, trial_id=[f"t{n}" for n in range(30)])
    found = score_file(tmp_path / "p.npz", split=tmp_path / "split.json")
    assert found.metrics["scores"] == score(predicted[18:], target[18:], train=target[:15]).metrics["scores"]
    with pytest.raises(HubError, match="no fold 3"):
        score_file(tmp_path / "p.npz", split=tmp_path / "split.json", fold=3)
    np.savez(tmp_path / "p.npz", predicted=predicted, target=target)
    with pytest.raises(HubError, match="30 trials without ids"):
        score_file(tmp_path / "p.npz", split=tmp_path / "split.json")
    np.savez(tmp_path / "p.npz", predicted=predicted[:12], target=target[:12])
    assert said(score_file(tmp_path / "p.npz", split=tmp_path / "split.json"), "in the order of the test side")
    np.savez(tmp_path / "p.npz", predicted=predicted, target=target, trial_id=[f"t{n + 5}" for n in range(30)])
    assert said(score_file(tmp_path / "p.npz", split=tmp_path / "split.json"), "5 of 30 trials are not in split.json")


def test_a_stimulus_that_is_on_several_sides_tells_no_side(tmp_path: Path) -> None:
    """One long story, split by time: its name is that of training and of test."""
    rng = np.random.default_rng(0)
    made = {
        side: [
            {
                "id": f"r/{side}",
                "recording": "r",
                "start": 0,
                "stop": 1,
                "stimulus": "story",
                "groups": {"subject": "a"},
            }
        ]
        for side in ("train", "val", "test")
    }
    (tmp_path / "split.json").write_text(json.dumps({"folds": [{"fold": 0, "sides": made}]}))
    np.savez(tmp_path / "p.npz", predicted=rng.random((9, 4)), target=rng.random((9, 4)), stimulus=["story"] * 9)
    with pytest.raises(HubError, match="'story' on several sides"):
        score_file(tmp_path / "p.npz", split=tmp_path / "split.json")
    with pytest.raises(HubError, match="fold 1 of no split"):
        score_file(tmp_path / "p.npz", fold=1)
    with pytest.raises(HubError, match="a unit has 0 s"):
        score_file(tmp_path / "p.npz", unit_s=0.0)


# Runs and the command line


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    sets = {
        "dataset.contacts": 12,
        "dataset.shafts": 2,
        "dataset.stories": 3,
        "metrics": ["audio_seeg/mel_correlation", "audio_seeg/mcd"],
    }
    out = tmp_path_factory.mktemp("runs")
    return bdh.run("audio_seeg", preset="smoke", set={**sets, "decoder.alphas": [0.1]}, out=out, dev=True)


@pytest.mark.slow
def test_our_own_run_scores_as_its_metrics_say(run: Run, tmp_path: Path) -> None:
    done = hub("score", str(run.path / "predictions.safetensors"), "--json", str(tmp_path / "s.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "s.json").read_text())
    assert len(found["scores"]) == 6
    for name, entry in found["scores"].items():
        assert entry == run.metrics["scores"][name]
        assert found["baselines"]["mean"][name] == run.metrics["baselines"]["mean"][name]
    assert "SIMULATED" in done.stdout
    assert found["unit"]["n"] == run.metrics["unit"]["n"]


@pytest.mark.slow
def test_a_run_whose_data_are_gone_is_scored_without_its_centre_and_says_so(run: Run, tmp_path: Path) -> None:
    text = (run.path / "config.yaml").read_text().replace("use: audio_seeg/phantom", "use: audio_seeg/gone")
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "predictions.safetensors").write_bytes((run.path / "predictions.safetensors").read_bytes())
    found = score_file(tmp_path / "predictions.safetensors")
    assert said(found, "cannot be opened, so these are not its scores")
    assert said(found, "zero centre")
    assert found["correlation"]["value"] == pytest.approx(run.metrics["scores"]["mel_correlation"]["value"])


def test_the_command_line_prints_the_table_and_writes_json(tmp_path: Path) -> None:
    predicted, target = pair()
    np.savez(tmp_path / "p.npz", out=predicted, mel=target, mu=np.zeros(4))
    given = ["--predicted", "out", "--target", "mel", "--center", "mu", "--rate", "20", "--unit", "10", "--seed", "3"]
    done = hub("score", str(tmp_path / "p.npz"), *given, "--json", str(tmp_path / "s.json"))
    assert done.returncode == 0, done.stderr
    assert "10 units (10 s block)" in done.stdout
    assert "95 % interval" in done.stdout
    stored = json.loads((tmp_path / "s.json").read_text())
    assert stored["seed"] == 3
    assert stored["scores"]["correlation"]["value"] > 0.5
    wrong = hub("score", str(tmp_path / "p.npz"))
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    assert "out (2000 × 4)" in wrong.stderr


def test_many_trials_need_no_memory_by_the_square_and_no_other_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((600, 8))
    predicted = target + 2 * rng.standard_normal(target.shape)
    predicted[5] = 0.0
    ids = [str(n % 500) for n in range(600)]
    pools = metrics._draw_pools(500, 3, 0)[:60]
    own, first = metrics._candidates(ids, 600)
    candidates, middle = metrics._directions(target[first], np.zeros(8)), np.zeros(8)
    whole = metrics._ranks(metrics._directions(predicted, middle), candidates, own, pools)
    assert np.array_equal(metrics._few_ranks(predicted, middle, candidates, own, pools), whole)

    full = score(predicted, target)
    monkeypatch.setattr("braindecode_hub.scoring.MOST_EXCHANGED", 100)
    fewer = score(predicted, target)
    assert any("p is of 100 of the 600 units" in note for note in fewer.notes)
    for name in ("correlation", "identification", "identification_rank"):
        assert fewer[name]["value"] == full[name]["value"]
        assert fewer[name]["ci95"] == full[name]["ci95"]
        assert fewer[name]["p"] <= 0.001


def test_p_of_some_units_is_no_smaller_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braindecode_hub.scoring.MOST_EXCHANGED", 40)
    found = []
    for seed in range(40):
        rng = np.random.default_rng([7, seed])
        target, predicted = rng.standard_normal((2, 80, 6))
        found.append(score(predicted, target, seed=seed)["correlation"]["p"])
    assert sum(p <= 0.1 for p in found) <= 9  # expected 4
    assert sum(p <= 0.5 for p in found) <= 29

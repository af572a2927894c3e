"""Controls are at chance on an honest pipeline, and above it where a leak was planted."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import RATE, Toy, toy_fold, toy_study

from braindecode_hub import refits
from braindecode_hub.controls import KINDS, Noise, above_chance, relabel, shuffle_targets
from braindecode_hub.errors import HubError
from braindecode_hub.jobs import Job, perform, run_local
from braindecode_hub.manager import Manager
from braindecode_hub.refits import predict_side, study_of
from braindecode_hub.splits import Split
from braindecode_hub.stretches import Prepared
from braindecode_hub.types import Context, Recording, Signal, Space, Trial
from braindecode_hub.view import View, Window, make_item

PLUGIN = """
from braindecode_hub import hookimpl

@hookimpl
def register_components(register):
    register.dataset("local/toy", "toy:Toy")
    register.metric("local/cosine", "toy:Cosine")
"""
REFITS = 8


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy as the plugin of a working directory, so that jobs in other processes find it too."""
    (tmp_path / "braindecode_hub_local.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    yield
    refits._studies.clear()
    sys.modules.pop("braindecode_hub_local", None)


def config(*, target: str = "features", **dataset: Any) -> dict[str, Any]:
    """A run's configuration: ridge on the toy."""
    static = bool(dataset.get("static"))
    return {
        "pipeline": "toy",
        "plugin": "local",
        "flow": ["toy", target],
        "dataset": {"use": "local/toy", **dataset},
        "targets": {"label" if static else "features": [{"use": "core/zscore"}]},
        "encoder": [{"use": "core/zscore"}],
        "decoder": {"use": "core/ridge", "lags_s": [0.0, 0.2], "alphas": [0.01, 1.0]},
        "window": {"length_s": 0.5 if static else 2.0, "context_s": 0.3},
        "split": {"by": "stimulus", "folds": 3, "gap_s": 0.0 if static else 0.5},
        "metrics": ["local/cosine" if static else "core/correlation"],
        "unit_s": 2.0,
        "run": {"subjects": None},
    }


def jobs(of: dict[str, Any], kinds: tuple[str, ...] = KINDS, times: int = REFITS, **changed: Any) -> list[Job]:
    common = {"config": of, "cache": None, "seed": 0, "device": "cpu", "fold": 0} | changed
    names = [(kind, number) for number in range(times) for kind in kinds]
    return [Job(f"{k}-{n}", "braindecode_hub.refits:refit", {**common, "kind": k, "number": n}) for k, n in names]


def refitted(of: dict[str, Any], metric: str, kinds: tuple[str, ...] = KINDS) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for result in map(perform, jobs(of, kinds)):
        found[result.name.split("-")[0]].append(result.value["scores"][metric])
    return found


def pipeline_score(of: dict[str, Any]) -> float:
    study = study_of(of, None, 0, "cpu")
    scores = []
    for group in study.groups():
        fold = study.of_group(toy_fold(study), group)
        for some in predict_side(study, fold, study.fit(fold, study.ctx), "test").values():
            pairs = [(np.asarray(item.target)[None], np.asarray(item.predicted)[None]) for item in some]
            scores += [float(study.pipeline.metrics[0].per_unit(*pair)[0]) for pair in pairs]
    return float(np.mean(scores))


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("dataset", "metric"),
    [
        ({"stimuli": 9}, "correlation"),
        ({"stimuli": 5, "recordings": 2, "seconds": 13.0, "drift": 1e-3}, "correlation"),
        ({"stimuli": 150, "static": True, "seconds": 0.5, "channels": 8}, "cosine"),
    ],
    ids=["continuous", "two drifting recordings", "static"],
)
def test_refits_are_at_chance_and_the_pipeline_is_far_above(dataset: dict[str, Any], metric: str) -> None:
    score = pipeline_score(config(**dataset))
    assert score > 0.7
    for kind, scores in refitted(config(**dataset), metric).items():
        assert above_chance(scores, 0.0, 0.1) is False, (kind, scores)
        assert max(scores) < score - 0.1, (kind, scores)
        assert len({round(score, 12) for score in scores}) > REFITS / 2, (kind, scores)


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("wander", [0.0, 3.0], ids=["white", "wandering"])
def test_without_a_planted_signal_everything_is_at_chance(wander: float) -> None:
    honest = config(stimuli=9, snr=0.0, wander=wander)
    assert abs(pipeline_score(honest)) < 0.15
    for kind, scores in refitted(honest, "correlation").items():
        assert above_chance(scores, 0.0, 0.1) is False, (kind, scores)


LEAKY = {"static": True, "stimuli": 120, "classes": 8, "seconds": 0.5, "channels": 8, "snr": 0.0, "wander": 4.0}


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
def test_a_block_design_that_leaks_is_caught_by_relabelled_and_by_noise_and_not_by_shuffled() -> None:
    """No stimulus is in this brain: it drifts, and each class was shown in one block, so that time tells the class.

    Images never stand on two sides, so the split is honest by its own rules; only the design gives it away.
    """
    leaky = config(**LEAKY)
    assert pipeline_score(leaky) > 0.4
    found = refitted(leaky, "cosine")
    assert above_chance(found["relabelled"], 0.0, 0.1), found["relabelled"]
    assert above_chance(found["noise"], 0.0, 0.1), found["noise"]
    assert above_chance(found["shuffled"], 0.0, 0.1) is False, found["shuffled"]


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
def test_the_same_design_without_drift_is_clean() -> None:
    clean = config(**{**LEAKY, "wander": 0.0})
    assert abs(pipeline_score(clean)) < 0.25
    for kind, scores in refitted(clean, "cosine").items():
        assert above_chance(scores, 0.0, 0.1) is False, (kind, scores)


def stories(lengths: list[float], recording: str = "r") -> list[Trial]:
    found, at = [], 0.0
    for n, length in enumerate(lengths):
        groups = {"subject": "s", "story": f"{n}", "time_block": "0"}
        found.append(
            Trial(f"{recording}{n}", recording, at, at + length, f"x{recording}{n}", 3.0, 3.0 + length * 1.01, groups)
        )
        at += length + 1.0
    return found


def heard(trials: list[Trial]) -> Counter[tuple[Any, ...]]:
    return Counter((t.stimulus, t.stimulus_start and round(t.stimulus_start, 6)) for t in trials)


def test_relabelling_permutes_blocks_of_ten_seconds_and_keeps_places_and_durations() -> None:
    trials = stories([35.0, 60.0, 20.0])
    out = relabel(trials, np.random.default_rng(0))
    blocks = [(t.id, 10.0 * k) for t in trials for k in range(int(t.seconds // 10))]
    assert [t.id for t in out] == [f"{name}+{start / 10:.0f}" for name, start in blocks]
    assert heard(out) == Counter(
        (t.stimulus, round(3.0 + 10.1 * k, 6)) for t in trials for k in range(int(t.seconds // 10))
    )
    whole = {t.id: t for t in trials}
    for piece, (name, start) in zip(out, blocks, strict=True):
        assert (piece.start, piece.seconds) == (pytest.approx(whole[name].start + start), pytest.approx(10.0))
        assert piece.stimulus_stop - piece.stimulus_start == pytest.approx(10.1)  # type: ignore[operator]
        assert (piece.stimulus, piece.stimulus_start) != (whole[name].stimulus, pytest.approx(3.0 + 1.01 * start))
        assert piece.groups == {"subject": "s", "story": piece.stimulus[2:], "time_block": "0"}  # type: ignore[index]


def test_relabelling_exchanges_sentences_of_unequal_length_too() -> None:
    """No two are alike; still none keeps its own, and seconds of brain and of stimulus go together at one speed."""
    trials = stories([3.1, 4.7, 5.3, 6.9, 12.2])
    out = relabel(trials, np.random.default_rng(1))
    assert [t.id for t in out] == [t.id for t in trials]
    assert {t.stimulus for t in out} == {t.stimulus for t in trials}
    for before, after in zip(trials, out, strict=True):
        source = next(t for t in trials if t.stimulus == after.stimulus)
        assert after.stimulus != before.stimulus
        assert (after.start, after.seconds) == (before.start, pytest.approx(min(before.seconds, source.seconds)))
        assert (after.stimulus_stop - after.stimulus_start) / after.seconds == pytest.approx(1.01)  # type: ignore[operator]


def test_relabelling_moves_whole_blocks_where_the_dataset_names_them() -> None:
    trials = Toy(static=True, stimuli=40, classes=8, seconds=0.5).trials()
    class_of = {t.stimulus: t.groups["block"] for t in trials}
    out = relabel(trials, np.random.default_rng(2))
    assert Counter(t.stimulus for t in out) == Counter(t.stimulus for t in trials)
    given: dict[str, set[str]] = {}
    for before, after in zip(trials, out, strict=True):
        assert (after.id, after.start, after.stop, after.groups["block"]) == (
            before.id,
            before.start,
            before.stop,
            before.groups["block"],
        )
        assert after.groups["story"] == after.stimulus
        given.setdefault(before.groups["block"], set()).add(class_of[after.stimulus])
    assert all(len(classes) == 1 for classes in given.values())
    assert all(classes != {block} for block, classes in given.items())


def test_relabelling_exchanges_between_recordings_that_hold_one_block_each() -> None:
    trials = [*stories([5.0], "a"), *stories([5.0], "b"), *stories([5.0], "c"), *stories([6.0, 7.0], "d")]
    out = relabel(trials, np.random.default_rng(3))
    for before, after in zip(trials, out, strict=True):
        assert before.stimulus != after.stimulus
        assert (before.stimulus[1] == "d") == (after.stimulus[1] == "d")  # type: ignore[index]


def test_relabelling_leaves_out_what_presented_nothing_and_is_the_seeds() -> None:
    trials = [*stories([30.0, 40.0]), Trial("silence", "r", 100.0, 130.0)]
    a, b, c = (relabel(trials, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert a == b
    assert a != c
    assert "silence" not in {t.id.split("+")[0] for t in a}


def test_a_relabelled_dataset_can_be_split_without_a_leak() -> None:
    trials = [t for r in "abc" for t in stories([35.0, 60.0, 20.0], r)]
    for seed in range(5):
        folds = Split(("stimulus",), 3, gap_s=1.0).make(relabel(trials, np.random.default_rng(seed)))
        assert len(folds) == 3


def two_targets(stimuli: int = 6) -> View:
    """Items with one target over time and one that is static."""
    nothing = Prepared(np.zeros((1, 5000), np.float32), RATE, 0.0)
    spaces: dict[str, Space] = {"mel": Space("mel", ("time", 1), 10.0), "word": Space("word", (1,))}
    items = [
        make_item(
            Trial(f"t{n}", f"r{n % 2}", 8.0 * n, 8.0 * n + 7, f"x{n % stimuli}", 0.0, 7.0),
            brain=nothing,
            recording=Recording("r", "s", "0", Signal(None, RATE, "toy")),
            spaces={"mel": 10.0, "word": None},
            stimuli={
                "mel": Prepared(np.full((70, 1), n, np.float32) + np.arange(70)[:, None] / 100, 10.0, 0.0),
                "word": Prepared(np.array([float(n % stimuli)], np.float32), None, 0.0),
            },
        )
        for n in range(12)
    ]
    brain = Space("brain", ("channels", "time"), RATE)
    return View(items, window=Window(1.0), space=brain, targets=spaces, subjects=["s"])


def test_shuffling_rolls_what_runs_in_time_by_ten_seconds_or_more_within_each_recording() -> None:
    view = two_targets()
    for seed in range(10):
        out = shuffle_targets(view, np.random.default_rng(seed))
        for recording in ("r0", "r1"):
            pairs = [(a, b) for a, b in zip(view.items, out.items, strict=True) if a.trial.recording == recording]
            before, after = (np.concatenate([pair[k].targets["mel"] for pair in pairs])[:, 0] for k in (0, 1))
            shift = int(np.flatnonzero(after == before[0])[0])
            np.testing.assert_array_equal(np.roll(before, shift), after)
            assert 100 <= shift <= len(before) - 100
            assert all(len(a.targets["mel"]) == len(b.targets["mel"]) for a, b in pairs)  # type: ignore[arg-type]


def test_shuffling_exchanges_static_targets_too_and_the_same_way_for_a_repeated_stimulus() -> None:
    view = two_targets(stimuli=4)
    out = shuffle_targets(view, np.random.default_rng(0))
    given: dict[Any, set[float]] = {}
    for before, after in zip(view.items, out.items, strict=True):
        given.setdefault((before.trial.recording, before.trial.stimulus), set()).add(float(after.targets["word"][0]))  # type: ignore[index]
    for (_, stimulus), words in given.items():
        assert len(words) == 1
        assert f"x{words.pop():.0f}" != stimulus
    np.testing.assert_array_equal(view.items[0].targets["word"], [0.0])


def test_shuffling_leaves_the_brain_and_the_view_it_was_given_alone() -> None:
    study = toy_study(stimuli=3)
    view = study.view(toy_fold(study), "train")
    before = [np.array(b.brain) for b in view.batches(9)], [np.array(b.target["features"]) for b in view.batches(9)]
    out = shuffle_targets(view, np.random.default_rng(0))
    for a, b, x, y in zip(view.batches(9), out.batches(9), *before, strict=True):
        np.testing.assert_array_equal(a.brain, b.brain)
        np.testing.assert_array_equal(a.brain, x)
        np.testing.assert_array_equal(a.target["features"], y)
        assert not np.array_equal(b.target["features"], y)


def test_surrogates_keep_spectra_and_cross_spectra_and_no_time() -> None:
    data = Toy(stimuli=3, wander=1.0)
    noise = Noise(data, Context(seed=1), 0)
    true, made = (np.asarray(d.recording("s0-r0").brain.data, np.float64) for d in (data, noise))
    a, b = np.fft.rfft(true), np.fft.rfft(made)
    np.testing.assert_allclose(np.abs(b), np.abs(a), atol=2e-3 * np.abs(a).max())
    for one in range(1, 4):
        np.testing.assert_allclose(b[0] * b[one].conj(), a[0] * a[one].conj(), atol=1e-3 * np.abs(a).max() ** 2)
    fast = slice(200, None)  # above the slow drift, where a few waves would agree by accident
    apart = (
        np.fft.irfft(np.where(np.arange(a.shape[1]) >= fast.start, a, 0)),
        np.fft.irfft(np.where(np.arange(a.shape[1]) >= fast.start, b, 0)),
    )
    assert abs(np.corrcoef(apart[0][0], apart[1][0])[0, 1]) < 0.1


def test_a_surrogate_is_its_own_data_and_otherwise_the_dataset_underneath() -> None:
    data = Toy(stimuli=3, breaks=(7.0,))
    one, other = (Noise(data, Context(seed=1), number) for number in (0, 1))
    assert len({data.fingerprint(), one.fingerprint(), other.fingerprint()}) == 3
    assert not np.array_equal(one.recording("s0-r0").brain.data, other.recording("s0-r0").brain.data)
    np.testing.assert_array_equal(one.recording("s0-r0").brain.data, one.recording("s0-r0").brain.data)
    assert one.trials() == data.trials()
    before, after = data.recording("s0-r0"), one.recording("s0-r0")
    about = [dataclasses.replace(r.about(), positions=None) for r in (before, after)]
    assert about[0] == about[1]
    np.testing.assert_array_equal(
        one.stimulus("s0-r0-1", one.stimuli_spaces[0]).data, data.stimulus("s0-r0-1", None).data
    )  # type: ignore[arg-type]


@pytest.mark.usefixtures("plugin")
def test_the_same_seed_refits_alike_and_another_does_not() -> None:
    (job,) = jobs(config(stimuli=3), ("relabelled",), 1)
    assert perform(job) == perform(job)
    (other,) = jobs(config(stimuli=3), ("relabelled",), 1, seed=1)
    assert perform(other).value != perform(job).value


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
def test_two_workers_give_what_one_gives() -> None:
    some = jobs(config(stimuli=3), times=2)
    alone, together = (run_local(some, "local", {"workers": workers}) for workers in (1, 2))
    assert alone is not None
    assert together is not None
    first, second = ({r.name: r.value for r in results} for results in (alone, together))
    assert first == second
    assert len(first) == 6
    assert json.loads(json.dumps(first)) == first


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_expected_error_comes_back_from_a_worker_as_it_was(workers: int) -> None:
    some = jobs(config(stimuli=2), ("shuffled",), 2)
    with pytest.raises(HubError, match="split by stimulus: there are only 2") as caught:
        list(run_local(some, "local", {"workers": workers}) or [])
    assert caught.value.remedy.startswith("train, val and test need one each")


def test_another_backend_is_left_to_others() -> None:
    assert run_local([], "slurm", {}) is None
    assert list(run_local([], "local", {"workers": 4}) or []) == []
    assert Manager().first("run_jobs", jobs=[], backend="nobody", options={}) is None

"""Cut first, then filter: what one side holds never reaches another through a filter, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import BRAIN, RATE, Decimate, Doctored, MovingAverage, Toy, Whiten, toy_fold, toy_study

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.splits import SIDES, Fold, Side
from braindecode_hub.stretches import Prepared, Stretch, prepare_brain, prepare_stimulus, stimulus_stretches, stretches
from braindecode_hub.study import Study
from braindecode_hub.types import ANY, Array, Batch, Recording, Signal, Space, Trial

SPLITS = {
    "stories": {"by": "stimulus", "folds": 3, "gap_s": 0.5},
    "time": {"by": "time_block", "folds": 3, "gap_s": 0.5, "blocks": 1},
}
CHAINS: dict[str, list[Encoder]] = {
    "finite": [MovingAverage(half_s=0.5)],
    "decimated": [MovingAverage(half_s=0.3), Decimate()],
    "whole": [Whiten()],
}


def yielded(study: Study, fold: Fold, side: Side) -> list[Array]:
    """Everything that a component is fed of one side."""
    view = study.view(fold, side)
    return [array for b in (*view.batches(8), *view.segments()) for array in (b.brain, *b.target.values())]


def without(study: Study, fold: Fold, *sides: Side) -> Study:
    """The same study, but the samples and the stimuli of some sides are noise."""
    brain: dict[str, list[tuple[float, float]]] = {}
    heard: dict[str, list[tuple[float, float]]] = {}
    for trial in (t for side in sides for t in fold.side(side)):
        brain.setdefault(trial.recording, []).append((trial.start, trial.stop))
        heard.setdefault(str(trial.stimulus), []).append((trial.stimulus_start or 0.0, trial.stimulus_stop or 0.0))
    doctored = Doctored(study.pipeline.dataset, brain, heard)  # type: ignore[arg-type]
    return toy_study(doctored, encoder=study.pipeline.encoder.steps, split=study.pipeline.config["split"])


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("noisy", SIDES)
def test_noise_on_one_side_changes_no_bit_on_another(chain: str, split: str, noisy: Side) -> None:
    study = toy_study(stimuli=3, seconds=30.0, encoder=CHAINS[chain], split=SPLITS[split])
    fold = toy_fold(study)
    other = without(study, fold, noisy)
    for side in SIDES:
        same = [
            np.array_equal(a, b) for a, b in zip(yielded(study, fold, side), yielded(other, fold, side), strict=True)
        ]
        assert all(same) if side != noisy else not any(same), f"{noisy} reached {side}"


def test_filtering_first_would_have_leaked() -> None:
    """The check above is able to fail: the same filter over the whole recording carries the test side into training."""
    study = toy_study(stimuli=3, seconds=30.0)
    fold = toy_fold(study)
    other = without(study, fold, "test")
    whole = [
        prepare_brain(s.pipeline.dataset, [Whiten()], Stretch("s0-r0", 0.0, 94.0), Cache(None)).data
        for s in (study, other)
    ]
    trial = fold.train[0]
    inside = slice(round(trial.start * RATE), round(trial.stop * RATE))
    assert not np.allclose(whole[0][:, inside], whole[1][:, inside], atol=1e-3)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    pieces=st.lists(
        st.tuples(st.floats(0.5, 20), st.sampled_from([0.5, 2.0, 30.0]), st.sampled_from(SIDES)),
        min_size=3,
        max_size=12,
    ),
    breaks=st.lists(st.floats(0, 300), max_size=3),
)
def test_stretches_of_all_sides_are_disjoint_and_hold_every_trial(
    pieces: list[tuple[float, float, Side]], breaks: list[float]
) -> None:
    sides: dict[Side, list[Trial]] = {side: [] for side in SIDES}
    at = 0.0
    for number, (length, pause, side) in enumerate(pieces):
        sides[side].append(Trial(f"t{number}", "r", at, at + length, f"x{number}", 0.0, length))
        at += length + pause
    fold = Fold(0, tuple(sides["train"]), tuple(sides["val"]), tuple(sides["test"]), 0.0)
    found = {side: stretches(fold, side, {"r": at}, {"r": breaks}, 0.5) for side in SIDES}
    everything = sorted((s.start, s.stop, side) for side, some in found.items() for s in some)
    for (_, stop, side), (start, _, other) in itertools.pairwise(everything):
        assert start >= stop + (0.0 if side == other else 0.5) - 1e-9
    for side in SIDES:
        for trial in sides[side]:
            covered = sum(max(0.0, min(s.stop, trial.stop) - max(s.start, trial.start)) for s in found[side])
            assert covered == pytest.approx(trial.seconds)
    for one in breaks:
        assert not any(start + 1e-9 < one < stop - 1e-9 for start, stop, _ in everything)


def test_a_stretch_reaches_into_idle_time_at_most_five_seconds_and_half_way() -> None:
    a, b = Trial("a", "r", 20.0, 40.0, "a", 0, 20), Trial("b", "r", 44.0, 60.0, "b", 0, 16)
    c = Trial("c", "r", 100.0, 120.0, "c", 0, 20)
    fold = Fold(0, (a,), (b,), (c,), 0.0)
    spans = {side: [(s.start, s.stop) for s in stretches(fold, side, {"r": 122.0}, {}, 1.0)] for side in SIDES}
    assert spans == {"train": [(15.0, 41.5)], "val": [(42.5, 65.0)], "test": [(95.0, 122.0)]}


def test_a_filter_restarts_at_a_break() -> None:
    """Across the seam, one side says nothing about the other; away from it, nothing changes."""
    whole = Stretch("s0-r0", 0.0, 40.0)
    data = Toy(stimuli=2, breaks=(20.0,))
    fold = Fold(0, tuple(data.trials()), (), (), 0.0)
    cut = stretches(fold, "train", {"s0-r0": 43.0}, {"s0-r0": data.breaks}, 0.0)
    assert [(s.start, s.stop) for s in cut] == [(0.0, 20.0), (20.0, 43.0)]
    steps = [MovingAverage(half_s=0.5)]
    before, after = (prepare_brain(data, steps, s, Cache(None)).data for s in cut)
    changed = Doctored(data, {"s0-r0": [(20.0, 43.0)]}, {})
    np.testing.assert_array_equal(before, prepare_brain(changed, steps, cut[0], Cache(None)).data)
    unbroken = prepare_brain(data, steps, whole, Cache(None)).data
    np.testing.assert_array_equal(before[:, :1950], unbroken[:, :1950])
    np.testing.assert_array_equal(after[:, 50:1000], unbroken[:, 2050:3000])
    assert not np.allclose(before[:, 1950:], unbroken[:, 1950:2000], atol=1e-3)


class Long(Toy):
    """Ten minutes of one recording."""

    def recording(self, id: str) -> Recording:
        data = np.random.default_rng(3).standard_normal((2, 60_050)).astype(np.float32)
        return Recording("long", "s0", "0", Signal(data, RATE, "toy", ("A1", "A2")))


@pytest.mark.parametrize("chain", ["finite", "decimated"])
@pytest.mark.parametrize("start", [0.0, 3.33])
def test_chunks_equal_one_run_over_the_whole_stretch(chain: str, start: float) -> None:
    data, steps = Long(), CHAINS[chain]
    MovingAverage.calls = 0
    found = prepare_brain(data, steps, Stretch("long", start, 600.5), Cache(None))
    assert MovingAverage.calls >= 8
    x = data.recording("long").brain.data[None, :, round(start * RATE) :]
    for step in steps:
        x = step.encode(x, Batch(x, [], RATE))
    assert found.origin == pytest.approx(start)
    assert found.rate == (RATE if chain == "finite" else RATE / 4)
    np.testing.assert_array_equal(found.data, x[0])


def test_an_encoder_of_unlimited_support_runs_once_over_the_whole_stretch() -> None:
    data = Long()
    found = prepare_brain(data, [Whiten()], Stretch("long", 0.0, 600.5), Cache(None))
    np.testing.assert_array_equal(found.data, Whiten().encode(data.recording("long").brain.data[None])[0])


def test_an_encoder_of_unlimited_support_refuses_a_short_stretch() -> None:
    with pytest.raises(HubError, match=r"a stretch of 9.0 s of long is too short for an encoder of unlimited support"):
        prepare_brain(Long(), [Whiten()], Stretch("long", 5.0, 14.0), Cache(None))


class Counted(MovingAverage):
    calls = 0


class Bumped(Counted):
    version = "2"


def test_a_higher_version_of_the_same_class_computes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (Toy(stimuli=1), [Counted(half_s=0.1)], Stretch("s0-r0", 0.0, 20.0))
    prepare_brain(*asked, Cache(tmp_path))
    monkeypatch.setattr(Counted, "version", "2")
    Counted.calls = 0
    prepare_brain(*asked, Cache(tmp_path))
    assert Counted.calls == 1


class Other(Toy):
    def fingerprint(self) -> str:
        return "other data"


def test_what_decides_the_numbers_is_in_the_cache_key(tmp_path: Path) -> None:
    """The same again computes nothing; another configuration, version, class, stretch or data computes anew."""
    steps = [Counted(half_s=0.1)]
    data, stretch = Toy(stimuli=1), Stretch("s0-r0", 0.0, 20.0)
    variants: list[tuple[Toy, Sequence[Encoder], Stretch]] = [
        (data, steps, stretch),
        (data, [Counted(half_s=0.2)], stretch),
        (data, [Bumped(half_s=0.1)], stretch),
        (data, [*steps, *steps], stretch),
        (data, steps, Stretch("s0-r0", 0.0, 20.01)),
        (data, steps, Stretch("s0-r0", 0.01, 20.0)),
        (Other(stimuli=1), steps, stretch),
        (Toy(stimuli=1, seed=1), steps, stretch),
    ]
    found = []
    for variant in variants:
        Counted.calls = Bumped.calls = 0
        found.append(np.array(prepare_brain(*variant, Cache(tmp_path)).data))
        assert Counted.calls + Bumped.calls > 0
    assert len(Cache(tmp_path).entries()) == len(variants)
    for variant, before in zip(variants, found, strict=True):
        Counted.calls = Bumped.calls = 0
        again = prepare_brain(*variant, Cache(tmp_path))
        assert Counted.calls + Bumped.calls == 0
        np.testing.assert_array_equal(again.data, before)


class Slow(Encoder):
    """A stimulus encoder: a quarter of the frames, in another space."""

    calls = 0

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return Space("slow", ("time", 2), 25.0)

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        type(self).calls += 1
        return np.asarray(x[:, ::4], np.float32)


def test_a_stimulus_is_encoded_once_for_each_stretch_and_lies_on_the_frame_grid(tmp_path: Path) -> None:
    data = Toy(stimuli=2)
    space = data.stimuli_spaces[0]
    whole = data.stimulus("s0-r0-0", space).data
    Slow.calls = 0
    for _ in range(2):
        found = prepare_stimulus(data, space, [Slow()], Stretch("s0-r0-0", 3.33, 10.0), Cache(tmp_path))
        assert (found.rate, found.origin) == (25.0, pytest.approx(3.36))
        np.testing.assert_array_equal(found.data, whole[336:1000:4])
    assert Slow.calls == 1
    prepare_stimulus(data, space, [Slow()], Stretch("s0-r0-0", 3.33, 11.0), Cache(tmp_path))
    assert Slow.calls == 2
    with pytest.raises(HubError, match=r"stimulus s0-r0-0 ends at 20.00 s, before 20.01 s"):
        prepare_stimulus(data, space, [Slow()], Stretch("s0-r0-0", 20.01, 21.0), Cache(None))


def test_stimulus_stretches_are_the_merged_seconds_that_were_presented() -> None:
    trials = [
        Trial("a", "r", 0, 10, "x", 0.0, 10.0),
        Trial("b", "r", 20, 30, "x", 10.0, 20.0),
        Trial("c", "r", 40, 50, "x", 40.0, 50.0),
        Trial("d", "r", 60, 70, "w", 5.0, 15.0),
        Trial("e", "r", 80, 90),
    ]
    assert stimulus_stretches(trials, True) == [
        Stretch("w", 5.0, 15.0),
        Stretch("x", 0.0, 20.0),
        Stretch("x", 40.0, 50.0),
    ]
    with pytest.raises(HubError, match="trial f does not say which seconds of x were heard"):
        stimulus_stretches([Trial("f", "r", 0, 1, "x")], True)
    assert stimulus_stretches([Trial("f", "r", 0, 1, "x")], False) == [Stretch("x", 0.0, 0.0)]


class Broken(Toy):
    """One recording with one NaN."""

    bads: tuple[str, ...] = ()

    def recording(self, id: str) -> Recording:
        recording = super().recording(id)
        recording.brain.data[2, 1234] = np.nan
        return dataclasses.replace(recording, bads=self.bads)


def test_a_value_that_is_not_finite_is_named_by_channel_and_time() -> None:
    with pytest.raises(HubError) as caught:
        prepare_brain(Broken(), [MovingAverage()], Stretch("s0-r0", 2.0, 20.0), Cache(None))
    assert caught.value.cause == "recording s0-r0 is not finite in C2 at 12.340 s"


def test_a_bad_channel_may_hold_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the remedy says: mark the channel bad."""
    monkeypatch.setattr(Broken, "bads", ("C2",))
    found = prepare_brain(Broken(), [], Stretch("s0-r0", 0.0, 20.0), Cache(None))
    expected = Toy().recording("s0-r0").brain.data[:, :2000]
    expected[2, 1234] = 0.0
    np.testing.assert_array_equal(found.data, expected)


def test_a_recording_without_a_rate_is_named() -> None:
    recording = Recording("r", "s0", "0", Signal(np.zeros((1, 10)), None, "toy"))
    with pytest.raises(HubError, match="recording r has no rate"):
        prepare_brain(Toy(), [], Stretch("r", 0.0, 1.0), Cache(None), recording)


def test_what_is_prepared_says_where_it_begins() -> None:
    found = prepare_brain(Toy(), [], Stretch("s0-r0", 1.004, 2.0), Cache(None))
    assert isinstance(found, Prepared)
    assert (found.origin, found.rate, found.data.shape) == (1.01, BRAIN.rate, (4, 99))

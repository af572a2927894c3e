"""A chain learns stage by stage, from the training side only, and can be undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toy import BRAIN, Decimate, Doctored, MovingAverage, Whiten, toy_fold, toy_study

from braindecode_hub.chain import Chain, is_frozen
from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, save_arrays
from braindecode_hub.interfaces import Encoder
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.types import ANY, Array, Batch, Context, Space
from braindecode_hub.view import View


class Shift(Encoder):
    """Adds the largest absolute value of the training side: anything later sees that it was fitted before."""

    def __init__(self, *, times: float = 1.0) -> None:
        self.times = times

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    def fit(self, train: View, val: View, ctx: Context) -> None:
        self.largest_ = float(max(np.abs(b.brain).max() for b in train.segments()))

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        return np.asarray(x + np.float32(self.times * self.largest_), np.float32)

    def invert(self, x: Array) -> Array:
        return np.asarray(x - np.float32(self.times * self.largest_), np.float32)


class Tail(Shift):
    """A step that a decoder trains."""

    trains_jointly = True
    module = "a module"  # type: ignore[assignment]


class Fed(Encoder):
    """Takes one space and makes another."""

    def __init__(self, *, takes: str = "a", makes: str = "b") -> None:
        self.takes, self.makes = takes, makes

    @property
    def consumes(self) -> Space:
        return Space(self.takes)

    @property
    def produces(self) -> Space:
        return Space(self.makes)

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        return x


def fitted(chain: Chain, **options: Any) -> tuple[Chain, View]:
    study = toy_study(stimuli=3, **options)
    fold = toy_fold(study)
    train = study.view(fold, "train")
    chain.fit(train, study.view(fold, "val"), study.ctx)
    return chain, train


def test_each_step_is_fitted_on_what_the_earlier_ones_make() -> None:
    chain, train = fitted(Chain([ZScore(), Shift(), Shift()]))
    x = np.concatenate([b.brain[0] for b in train.segments()], axis=-1)
    z = chain.steps[0].encode(x[None])
    np.testing.assert_allclose(z[0].mean(axis=-1), 0.0, atol=1e-4)
    first, second = chain.steps[1], chain.steps[2]
    assert first.largest_ == pytest.approx(float(np.abs(z).max()))  # type: ignore[attr-defined]
    assert second.largest_ == pytest.approx(float(np.abs(z + first.largest_).max()))  # type: ignore[attr-defined]


@pytest.mark.parametrize("noisy", ["val", "test"])
def test_other_sides_change_no_bit_of_what_is_learned(noisy: str) -> None:
    study = toy_study(stimuli=3)
    fold = toy_fold(study)
    brain = {"s0-r0": [(t.start, t.stop) for t in fold.side(noisy)]}  # type: ignore[arg-type]
    other = toy_study(Doctored(study.pipeline.dataset, brain, {}))  # type: ignore[arg-type]
    states = []
    for one in (study, other):
        chain = Chain([ZScore(), Shift()])
        chain.fit(one.view(fold, "train"), one.view(fold, "val"), one.ctx)
        states.append(chain.state())
    assert states[0][1] == states[1][1]
    for name, array in states[0][0].items():
        np.testing.assert_array_equal(array, states[1][0][name])


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(x=hnp.arrays(np.float32, (2, 4, 7), elements=st.floats(-50, 50, width=32)), times=st.floats(-2, 2))
def test_invert_undoes_encode(x: Array, times: float) -> None:
    chain, _ = FITTED
    chain.steps[1].times = times  # type: ignore[attr-defined]
    np.testing.assert_allclose(chain.invert(chain.encode(x)), x, atol=2e-3)


FITTED = fitted(Chain([ZScore(), Shift(), ZScore()]))


def test_a_chain_saved_and_loaded_encodes_alike(tmp_path: Any) -> None:
    """Eleven steps: the state of step 1 is not that of step 10."""
    steps = [Shift(times=0.01 * k) for k in range(10)]
    chain, train = fitted(Chain([*steps, ZScore()]))
    arrays, values = chain.state()
    save_arrays(tmp_path / "x.safetensors", arrays, {"values": values})
    again = Chain([*[Shift(times=0.01 * k) for k in range(10)], ZScore()])
    read, info = load_arrays(tmp_path / "x.safetensors")
    again.load_state(read, info["values"])
    batch = next(train.batches(4))
    np.testing.assert_array_equal(chain.encode(batch.brain), again.encode(batch.brain))


def test_a_step_that_cannot_be_inverted_says_so() -> None:
    with pytest.raises(HubError, match="MovingAverage cannot be inverted"):
        Chain([MovingAverage()]).invert(np.zeros((1, 2, 3)))


def test_the_parts_of_a_chain_are_what_their_names_say() -> None:
    chain = Chain([MovingAverage(), Decimate(), ZScore(), Fed(), Tail()], ["a", "b", "c", "d", "e"])
    assert chain.continuous_part().names == ["a", "b"]
    assert chain.frozen_part().names == ["a", "b"]
    assert chain.after(chain.continuous_part()).names == ["c", "d", "e"]
    frozen, tail = chain.split()
    assert (frozen.names, tail.names) == (["a", "b", "c", "d"], ["e"])
    assert chain.module == ["a module"]
    assert frozen.module is None
    assert [is_frozen(step) for step in chain.steps] == [True, True, False, True, False]


def test_an_empty_chain_changes_nothing() -> None:
    empty, x = Chain(), np.ones((1, 2, 3))
    assert empty.encode(x) is x
    assert empty.invert(x) is x
    assert empty.state() == ({}, {})
    assert empty.check(BRAIN, "dataset") == BRAIN
    assert empty.continuous_part().steps == []


def test_parts_that_do_not_fit_are_both_named() -> None:
    with pytest.raises(HubError) as caught:
        Chain([Fed(takes="brain", makes="mel"), Fed(takes="words")], ["toy/one", "toy/two"]).check(
            Space("brain"), "toy/data"
        )
    assert caught.value.cause == "toy/two does not fit behind toy/one: it needs words, gets mel"
    with pytest.raises(HubError, match="toy/one does not fit behind toy/data: it needs brain, gets music"):
        Chain([Fed(takes="brain")], ["toy/one"]).check(Space("music"), "toy/data")


def test_spaces_flow_through_steps_that_take_anything() -> None:
    chain = Chain([MovingAverage(), Decimate(), ZScore()])
    assert chain.check(BRAIN, "dataset") == Space("slow_brain", ("channels", "time"), 25.0)


def test_a_continuous_step_stands_before_all_others_and_learns_nothing() -> None:
    with pytest.raises(HubError, match="late is continuous, but stands behind z"):
        Chain([Whiten(), ZScore(), MovingAverage()], ["w", "z", "late"]).continuous_part()

    class Learns(MovingAverage):
        def fit(self, train: View, val: View, ctx: Context) -> None:
            self.learned_ = 1.0

    with pytest.raises(HubError, match="ica is continuous, and learns: nothing would fit it"):
        Chain([Learns()], ["ica"]).continuous_part()

"""Subjects with other montages: one width for all sides, a mask that is right, nothing learned from the padding."""

from __future__ import annotations

import numpy as np
import pytest
from toy import RATE, MovingAverage, Toy, toy_study

from braindecode_hub.interfaces import Encoder
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.refits import predict_side
from braindecode_hub.study import Study
from braindecode_hub.types import ANY, Array, Batch, Space

LEAVE_ONE_OUT = {"by": ["subject", "stimulus"], "folds": 3, "gap_s": 0.5}


class Across(Ridge):
    """Ridge that serves all subjects with one fit."""

    across_subjects = True


class Pairs(Encoder):
    """Differences of neighbouring channels: one channel fewer, as a bipolar reference makes."""

    continuous = True
    support_s = 0.0  # type: ignore[assignment]

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        return np.diff(x, axis=1)


def study(*encoder: Encoder, subjects: int = 3, **options: object) -> Study:
    options = {"stimuli": 6, "seconds": 10.0, "extra": 3, "shared": True} | options
    return toy_study(
        encoder=encoder, decoder=Across(lags_s=(0.0, 0.2)), split=LEAVE_ONE_OUT, subjects=subjects, **options
    )


@pytest.mark.parametrize("fold", [0, 1, 2])
@pytest.mark.parametrize("steps", [(), (Pairs(), MovingAverage())], ids=["plain", "bipolar"])
def test_leaving_one_subject_out_works_whoever_has_the_widest_montage(fold: int, steps: tuple[Encoder, ...]) -> None:
    some = study(*steps, ZScore())
    one = some.folds()[fold]
    fewer = 1 if steps else 0
    for side in ("train", "val", "test"):
        view = some.view(one, side, hidden=side == "test")
        for batch in (*view.batches(16), *view.segments()):
            assert batch.brain.shape[1] == batch.channel_mask.shape[1] == 10 - fewer
            for x, mask, whose in zip(batch.brain, batch.channel_mask, batch.subject, strict=True):
                own = 4 + 3 * int(view.subjects[whose][1:]) - fewer
                np.testing.assert_array_equal(mask, np.arange(10 - fewer) < own)
                assert not x[own:].any()
    items = predict_side(some, one, some.fit(one, some.ctx), "test")["features"]
    assert all(np.isfinite(item.predicted).all() for item in items)


def test_a_subject_with_more_channels_is_decoded_by_those_it_shares() -> None:
    """All subjects share the first four channels' mixing, so the one who was left out is decoded all the same."""
    some = study(ZScore())
    for fold in some.folds():
        items = predict_side(some, fold, some.fit(fold, some.ctx), "test")["features"]
        r = [np.corrcoef(item.target[:, 0], item.predicted[:, 0])[0, 1] for item in items]
        assert np.mean(r) > 0.6, (fold.number, r)


def test_what_is_learned_of_a_channel_comes_from_those_who_have_it() -> None:
    some = study()
    fold = some.folds()[0]
    train = some.view(fold, "train")
    scaler = ZScore()
    scaler.fit(train, train, some.ctx)
    samples: list[list[Array]] = [[] for _ in range(10)]
    for batch in train.segments():
        for channel in np.flatnonzero(batch.channel_mask[0]):
            samples[channel].append(batch.brain[0, channel])
    for channel, found in enumerate(samples):
        if found:
            assert scaler.mean_[channel] == pytest.approx(np.concatenate(found).mean(), abs=1e-4)
            assert scaler.sd_[channel] == pytest.approx(np.concatenate(found).std(), rel=1e-3)
        else:
            assert channel in scaler.dropped_
    for batch in train.through(scaler).batches(9):
        assert not batch.brain[~batch.channel_mask].any()
        assert np.isfinite(batch.brain).all()
        assert batch.brain[batch.channel_mask].any(axis=-1).all()


def test_the_width_of_the_test_side_is_known_without_reading_it() -> None:
    class Guarded(Toy):
        """A dataset of which only sensors are known for the last subject: its samples raise."""

        def recording(self, id: str):  # type: ignore[no-untyped-def]
            recording = super().recording(id)
            if id.startswith("s2"):
                object.__setattr__(recording.brain, "data", Sealed(recording.brain.data.shape))
            return recording

    class Sealed:
        def __init__(self, shape: tuple[int, ...]) -> None:
            self.shape = shape

        def __getitem__(self, key: object) -> Array:
            raise AssertionError("the samples of the last subject were read")

    dataset = Guarded(subjects=3, extra=3, shared=True, stimuli=6, seconds=10.0)
    some = toy_study(dataset, encoder=[Pairs()], split=LEAVE_ONE_OUT, decoder=Across())
    fold = next(fold for fold in some.folds() if {t.groups["subject"] for t in fold.test} == {"s2"})
    assert next(some.view(fold, "train").batches(4)).brain.shape[1] == 9
    with pytest.raises(AssertionError, match="were read"):
        some.view(fold, "test", hidden=True)


def test_a_step_that_changes_the_rate_tells_the_next_one() -> None:
    """Window by window as in stretches: `batch.rate` is the rate of what the step is fed."""
    seen: list[float | None] = []

    class Halve(Encoder):
        """Every second sample of a window."""

        @property
        def consumes(self) -> Space:
            return ANY

        @property
        def produces(self) -> Space:
            return Space("slower", ("channels", "time"), RATE / 2)

        def encode(self, x: Array, batch: Batch | None = None) -> Array:
            return x[..., ::2]

    class Note(Halve):
        """Changes nothing, and notes rate and length."""

        @property
        def produces(self) -> Space:
            return ANY

        def encode(self, x: Array, batch: Batch | None = None) -> Array:
            assert batch is not None
            assert x.shape == batch.brain.shape
            seen.append(batch.rate)
            return x

    some = toy_study(encoder=[Note(), Halve(), Note(), ZScore()])
    fold = some.folds()[0]
    fitted = some.fit(fold, some.ctx)
    assert set(seen) == {RATE, RATE / 2}
    assert seen[:2] == [RATE, RATE / 2]
    seen.clear()
    fitted.predict(some.view(fold, "test", hidden=True))
    assert seen[::2] == [RATE] * (len(seen) // 2)
    assert seen[1::2] == [RATE / 2] * (len(seen) // 2)
    through = some.view(fold, "train").through(*fitted.frozen.steps)
    assert through.space.rate == RATE / 2
    assert next(through.batches(3)).rate == RATE / 2

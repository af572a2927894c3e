"""What a component is fed when it is checked: data of the smoke preset that uses it, else made-up data of its Space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braindecode_hub.chain import Chain, is_frozen
from braindecode_hub.conformance.checks import NothingToTest
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.manager import Registered
from braindecode_hub.splits import Fold
from braindecode_hub.stretches import Prepared
from braindecode_hub.study import Study
from braindecode_hub.types import TIME, Array, Batch, Context, Recording, Signal, Space, Trial
from braindecode_hub.view import View, Window, make_item

SECONDS = 12.0
"""How much of a continuous signal an encoder is fed, or more if it looks far."""
WINDOWS = 4
BRAIN_RATE, SOUND_RATE, FRAME_RATE = 1024.0, 16000.0, 50.0
"""Hz of made-up data whose Space leaves the rate open."""
CHANNELS, FRAMES_S = 6, 4.0


@dataclass(frozen=True)
class Feed:
    """An encoder, fitted if it learns, and an input for it: x (batch, *space.dims) float32 with its Batch.

    `target_side`: it makes the target; `learns`: it is fitted on the training side.
    """

    encoder: Encoder
    x: Array
    batch: Batch
    space: Space
    target_side: bool
    learns: bool

    def encode(self, x: Array | None = None) -> Array:
        """Encode the input, or another one in its place; the encoder gets a copy of its own."""
        given = np.array(self.x if x is None else x)
        about = Batch(
            given,
            self.batch.trials[: len(given)],
            self.batch.rate,
            recording=self.batch.recording,
            subject=_first(self.batch.subject, len(given)),
            positions=_first(self.batch.positions, len(given)),
            channel_mask=_first(self.batch.channel_mask, len(given)),
        )
        return self.encoder.encode(given, about)


def feed(subject: Subject, entry: Registered) -> Feed:
    """Return what an encoder is checked on, made once. Raises NothingToTest where there is nothing to feed it."""
    return subject.once(("feed", entry.name), lambda: _feed(subject, entry))


def _feed(subject: Subject, entry: Registered) -> Feed:
    encoder: Encoder = subject.make(entry)
    found = subject.place(entry)
    if found is None:
        return _made_up(encoder)
    pipeline, where = found
    side, *rest = where.split(".")
    study, fold = subject.fold(pipeline)
    if side == "targets":
        return _target_side(subject.fitted(pipeline).targets[rest[0]], study, fold, rest[0], int(rest[1]))
    number, continuous = int(rest[0]), study.pipeline.encoder.continuous_part()
    if number < len(continuous.steps):
        return _continuous(continuous, study, fold, number)
    fitted = subject.fitted(pipeline)
    steps = [*fitted.frozen.steps, *fitted.tail.steps]
    view, own = study.view(fold, "train"), steps[number - len(continuous.steps)]
    batch = next(view.through(*steps[: number - len(continuous.steps)]).batches(WINDOWS))
    space = view.through(*steps[: number - len(continuous.steps)]).space
    return Feed(own, batch.brain, batch, space, False, not is_frozen(own))


def _target_side(fitted: Chain, study: Study, fold: Fold, name: str, number: int) -> Feed:
    frozen = study.pipeline.targets[name].frozen_part()
    if number >= len(frozen.steps):
        view = study.view(fold, "train")
        before = fitted.steps[: number - len(frozen.steps)]
        own = view.with_targets(name, *before)
        batch = next(own.batches(WINDOWS))
        batch.brain, batch.rate = batch.target[name], own.rates[name]
        step = fitted.steps[number - len(frozen.steps)]
        return Feed(step, batch.brain, batch, own.targets[name], True, True)
    space = study.pipeline.stimulus_space(name)
    signal = study.pipeline.dataset.stimulus(str(fold.train[0].stimulus), space)
    x = np.asarray(signal.data if signal.rate is None else signal.data[: round(SECONDS * signal.rate)])[None]
    return _behind(frozen.steps, x, Space(space.name, space.dims, signal.rate), number, None, target_side=True)


def _continuous(chain: Chain, study: Study, fold: Fold, number: int) -> Feed:
    recording = study.pipeline.dataset.recording(fold.train[0].recording)
    rate = float(recording.brain.rate or 1.0)
    length = max(SECONDS, 4.0 * sum(step.support_s or 0.0 for step in chain.steps))
    first = round(fold.train[0].start * rate)
    x = np.asarray(recording.brain.data[:, first : first + round(length * rate)], np.float32)[None]
    space = study.pipeline.dataset.brain
    return _behind(chain.steps, x, Space(space.name, space.dims, rate), number, recording.about())


def _behind(
    steps: Sequence[Encoder], x: Array, at: Space, number: int, sensors: Recording | None, *, target_side: bool = False
) -> Feed:
    """Return the feed of step `number` of frozen steps, for an input of the first."""
    for step in steps[:number]:
        x = step.encode(x, Batch(x, [], _rate(at), recording=sensors))
        at = step.produces.after(at)
    return Feed(steps[number], x, Batch(x, [], _rate(at), recording=sensors), at, target_side, False)


def _made_up(encoder: Encoder) -> Feed:
    if encoder.trains_jointly:
        raise NothingToTest("a decoder trains it, and no smoke preset has both")
    space = made_up_space(encoder.consumes)
    try:
        if is_frozen(encoder):
            seconds = max(SECONDS, 4.0 * (encoder.support_s or 0.0))
            x = made_up_array(space, 2, seconds)
            out = Feed(encoder, x, Batch(x, [], _rate(space)), space, False, False)
            out.encode()
            return out
        if space.time_axis != len(space.dims) - 1:
            raise NothingToTest("it learns, and no smoke preset uses it: add it to one")
        view = made_up_view(space)
        encoder.fit(view, view, Context())
        batch = next(view.batches(WINDOWS))
        return Feed(encoder, batch.brain, batch, space, False, True)
    except HubError as error:
        raise NothingToTest(f"no smoke preset uses it, and made-up data will not do: {error.cause}") from error


def made_up_space(consumes: Space) -> Space:
    """Return a Space with a rate and axes that `consumes` takes; NothingToTest if it names no axes."""
    if consumes.name == "*" and not consumes.dims:
        return Space("made_up", ("channels", TIME), FRAME_RATE * 2)
    if not consumes.dims:
        raise NothingToTest(f"its input {consumes} has no axes, and no smoke preset uses it")
    rate = consumes.rate
    if rate == "*":
        rate = BRAIN_RATE if "channels" in consumes.dims else SOUND_RATE
    return Space("made_up" if consumes.name == "*" else consumes.name, consumes.dims, rate)


def made_up_array(space: Space, count: int, seconds: float) -> Array:
    """Return noise (count, *space.dims) float32, its axes filled in."""
    rng = np.random.default_rng(0)
    sizes = [_size(axis, space, seconds) for axis in space.dims]
    return (0.1 * rng.standard_normal((count, *sizes))).astype(np.float32)


def made_up_view(space: Space) -> View:
    """Return a view of six made-up trials whose brain is noise in `space`, with a target (time, 2) at 50 Hz."""
    rng, items = np.random.default_rng(1), []
    samples = made_up_array(space, 6, FRAMES_S + 2.0)
    rate = float(space.rate if isinstance(space.rate, float) else 1.0)
    recording = Recording("made_up", "1", "1", Signal(None, rate, "made_up"))
    for number, x in enumerate(samples):
        start = 10.0 * number
        trial = Trial(f"{number}", "made_up", start, start + FRAMES_S, f"s{number}", 0.0, FRAMES_S)
        heard = rng.standard_normal((round(FRAMES_S * FRAME_RATE) + 1, 2)).astype(np.float32)
        items.append(
            make_item(
                trial,
                brain=Prepared(x, rate, start - 1.0),
                recording=recording,
                spaces={"made_up_target": FRAME_RATE},
                stimuli={"made_up_target": Prepared(heard, FRAME_RATE, 0.0)},
            )
        )
    targets = {"made_up_target": Space("made_up_target", (TIME, 2), FRAME_RATE)}
    return View(items, window=Window(2.0, 1.0, 0.3), space=space, targets=targets, subjects=["1"])


def _size(axis: str | int, space: Space, seconds: float) -> int:
    if isinstance(axis, int):
        return axis
    if axis == TIME:
        return round(seconds * float(space.rate if isinstance(space.rate, int | float) else 1.0))
    return CHANNELS


def _rate(space: Space) -> float | None:
    return float(space.rate) if isinstance(space.rate, int | float) else None


def _first(values: Array | None, count: int) -> Array | None:
    return None if values is None else values[:count]

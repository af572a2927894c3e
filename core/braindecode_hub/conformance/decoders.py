"""The Decoder contract: every target it promises, as many frames as a window has, finite, each window by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from braindecode_hub.chain import Chain
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.feeds import WINDOWS, made_up_space, made_up_view
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Decoder
from braindecode_hub.manager import Registered
from braindecode_hub.types import Array, Context, Prediction

ALIKE = 1e-3
"""Of the prediction's SD: what may differ by rounding between a window alone and among others."""


@dataclass(frozen=True)
class Fed:
    """A fitted decoder and windows for it: `z` and `x` as `decode` takes them, and the targets of those windows."""

    decoder: Decoder
    z: Array
    x: Array
    targets: Prediction


def check_decoder(subject: Subject, entry: Registered) -> None:
    """decode() predicts every target with the shape of its windows, finite, and each window as if it were alone.

    What it predicts in a learned space has the shape that embed() gives the targets there.
    """
    fed = subject.once(("fed", entry.name), lambda: _fed(subject, entry))
    before = fed.z.copy(), fed.x.copy()
    out = fed.decoder.decode(fed.z, fed.x)
    none_of(_wrong_output(fed, out), "return {name: (batch, frames, …)} for every target, without NaN")
    if not all(np.array_equal(one, other) for one, other in zip(before, (fed.z, fed.x), strict=True)):
        raise Unconforming("decode() changes its input", "work on a copy")
    alone = fed.decoder.decode(fed.z[:1], fed.x[:1])
    for name, values in out.items():
        apart = np.abs(np.asarray(alone[name][0], np.float64) - values[0]).max(initial=0.0)
        if apart > ALIKE * (float(np.std(values)) or 1.0):
            raise Unconforming(
                f"a window's {name} is predicted otherwise alone than among others",
                "use no statistics of a batch in decode(): at test they are statistics of the test set",
            )


def _fed(subject: Subject, entry: Registered) -> Fed:
    place = subject.place(entry)
    if place is None or place[1] != "decoder":
        return _made_up(subject.make(entry))
    fitted = subject.fitted(place[0])
    study, fold = subject.fold(place[0])
    view = study.view(fold, "train")
    for name, chain in fitted.targets.items():
        view = view.with_targets(name, *chain.steps)
    batch = next(view.batches(WINDOWS))
    x = fitted.frozen.encode(batch.brain, batch)
    return Fed(fitted.decoder, fitted.tail.encode(x, batch), x, batch.target)


def _made_up(decoder: Decoder) -> Fed:
    if decoder.trains_encoder or any(space.name != "*" for space in decoder.produces):
        raise NothingToTest("no smoke preset uses it, and it wants an encoder or a target of its own")
    space = made_up_space(decoder.consumes)
    view = made_up_view(space)
    try:
        decoder.fit(view, view, Context(), encoder=Chain())
    except HubError as error:
        raise NothingToTest(f"no smoke preset uses it, and made-up data will not do: {error.cause}") from error
    batch = next(view.batches(WINDOWS))
    return Fed(decoder, batch.brain, batch.brain, batch.target)


def _wrong_output(fed: Fed, out: Prediction) -> Iterator[str]:
    if not isinstance(out, dict):
        yield f"decode() returns {type(out).__name__}"
        return
    promised = {space.name for space in fed.decoder.produces}
    wanted = set(fed.targets) if "*" in promised else promised
    expected = {name: np.shape(values) for name, values in fed.targets.items() if name in wanted}
    learned = fed.decoder.learned_space
    if learned is not None:
        placed = fed.decoder.embed(next(iter(fed.targets.values())))
        wanted = wanted | {learned.name}
        expected |= {name: np.shape(values) for name, values in placed.items()}
    if set(out) != wanted:
        yield f"it predicts {', '.join(sorted(out)) or 'nothing'}, and promises {', '.join(sorted(wanted))}"
        return
    for name, values in out.items():
        shape = expected.get(name)
        if np.shape(values) != shape:
            yield f"it predicts {name} of shape {np.shape(values)} for windows of {shape}"
        elif np.asarray(values).dtype.kind != "f" or not np.isfinite(values).all():
            yield f"its prediction of {name} is not finite, or no floating-point number"

"""The Encoder contract: shape and Space as declared, finite float32, as far-sighted as it says, undone by invert()."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from braindecode_hub.chain import is_frozen
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.feeds import Feed, feed
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.interfaces import Encoder, Streams
from braindecode_hub.manager import Registered
from braindecode_hub.types import Array, Space

TOLERANCE = 1e-3
"""Of the output's SD: what may differ by rounding, in convolutions by FFT too."""
LOST = 0.5
"""How much of the variance an inverted representation may lack (a PCA keeps what it keeps)."""
CHUNK_S = 0.08


def check_encoder(subject: Subject, entry: Registered) -> None:
    """The output has the declared shape and Space, float32 and finite; items do not depend on their batch."""
    fed = feed(subject, entry)
    before = fed.x.copy()
    out = fed.encode()
    none_of(_wrong_output(fed, out), "make encode() return what `produces` says, as float32")
    if not np.array_equal(out, fed.encode()):
        raise Unconforming("encoding twice, it differs", "draw nothing at random in encode(), and keep nothing from it")
    if len(fed.x) > 1 and not _alike(fed.encode(fed.x[:1]), out[:1], out):
        raise Unconforming(
            "an item is encoded otherwise alone than among others",
            "use no statistics of a batch in encode(): learn them in fit()",
        )
    fed.encoder.encode(fed.x, fed.batch)
    if not np.array_equal(before, fed.x):
        raise Unconforming("encode() changes its input", "work on a copy")


def check_support(subject: Subject, entry: Registered) -> None:
    """A sample farther away than `support_s` changes nothing, in either direction."""
    fed = feed(subject, entry)
    axis = fed.space.time_axis
    reach = fed.encoder.support_s
    if reach is None or axis is None or fed.learns:
        told = "it looks over everything" if fed.encoder.continuous else "it works on windows, and is not continuous"
        raise NothingToTest(f"{told}: support_s is None")
    out, made = fed.encode(), fed.encoder.produces.after(fed.space)
    rate, frames = float(made.rate or 1.0), out.shape[1 + (made.time_axis or 0)]  # type: ignore[arg-type]
    times, middle = np.arange(frames) / rate, frames / rate / 2
    slack = 1.0 / rate + 1.0 / float(fed.batch.rate or 1.0)
    samples = np.arange(fed.x.shape[1 + axis]) / float(fed.batch.rate or 1.0)
    for name, changed, kept in (
        ("later", samples >= middle, times < middle - reach - slack),
        ("earlier", samples < middle, times > middle + reach + slack),
    ):
        if not kept.any():
            raise NothingToTest(f"{samples[-1]:.0f} s are too short for a support of {reach:g} s")
        other = fed.encode(_noisy(fed.x, changed, 1 + axis))
        moved = np.compress(kept, np.abs(other - out), axis=1 + (made.time_axis or 0)).max()
        if moved > TOLERANCE * _sd(out):
            raise Unconforming(
                f"samples {name} than {reach:g} s away change it by {moved / _sd(out):.2g} SD",
                "declare a larger support_s, or None where it looks over the whole stretch",
            )


def check_invert(subject: Subject, entry: Registered) -> None:
    """invert() undoes encode(), up to what the representation leaves out; fitted steps of a target must have it."""
    found = subject.kind_of(entry)
    assert issubclass(found, Encoder)
    place = subject.place(entry)
    has = found.invert is not Encoder.invert
    if not has and place is not None and place[1].startswith("targets") and not is_frozen(subject.make(entry)):
        raise Unconforming(f"it learns on the target side ({place[1]}) and has no invert()", "give it an invert()")
    if not has:
        raise NothingToTest("it has no invert(), and needs none")
    fed = feed(subject, entry)
    undone(fed.encoder, fed.x, fed.encode())


def undone(step: Encoder, x: Array, encoded: Array) -> None:
    """Raise Unconforming unless `step.invert` gives x (batch, …) back from what was encoded of it."""
    remedy = "invert() must give back, in the input's units, what encode() was given"
    again = np.asarray(step.invert(encoded))
    if again.shape != x.shape:
        raise Unconforming(f"invert() gives shape {again.shape} for an input of {x.shape}", remedy)
    lost = float(np.mean((again - x) ** 2)) / (float(np.var(x)) or 1.0)
    if not lost <= LOST:
        raise Unconforming(f"invert() misses {lost:.0%} of the input's variance", remedy)
    other = step.encode(np.asarray(again, np.float32))
    if not _alike(other, encoded, encoded, 10.0):
        raise Unconforming("encoded again, what invert() gives is something else", remedy)


def check_streams(subject: Subject, entry: Registered) -> None:
    """Fed in chunks of 80 ms, a component makes what it makes of the whole, and forgets it on reset()."""
    if not issubclass(subject.kind_of(entry), Streams):
        raise NothingToTest("it does not implement Streams")
    if entry.kind != "encoder":
        raise NothingToTest(f"a {entry.kind} has no offline output to compare with, apart from a pipeline")
    fed = feed(subject, entry)
    axis, made = fed.space.time_axis, fed.encoder.produces.after(fed.space)
    if axis is None or made.time_axis is None or fed.batch.rate is None:
        raise NothingToTest("its input or its output does not run in time")
    whole = fed.encode(fed.x[:1])[0]
    for attempt in ("", " after reset()"):
        streamed = _streamed(fed, axis, made)
        count = streamed.shape[made.time_axis]
        missing = (whole.shape[made.time_axis] - count) / float(made.rate or 1.0)  # type: ignore[arg-type]
        offline = np.take(whole, np.arange(min(count, whole.shape[made.time_axis])), axis=made.time_axis)
        if missing > CHUNK_S + (fed.encoder.support_s or 0.0) + 1.0 / float(made.rate or 1.0):  # type: ignore[arg-type]
            raise Unconforming(f"streamed{attempt}, {missing:.2f} s of its output never come", "keep no frame back")
        if streamed.shape != offline.shape or not _alike(streamed, offline, whole):
            raise Unconforming(
                f"streamed{attempt}, it differs from the whole",
                "make encode() causal and step() equal to it; reset() must forget everything",
            )


def _streamed(fed: Feed, axis: int, made: Space) -> Array:
    """Return what step() makes of the first item, chunk by chunk, after a reset."""
    stream, parts = fed.encoder, []
    assert isinstance(stream, Streams)
    stream.reset()
    chunk = max(1, round(CHUNK_S * float(fed.batch.rate or 1.0)))
    for start in range(0, fed.x.shape[1 + axis], chunk):
        piece = np.take(fed.x[0], np.arange(start, min(start + chunk, fed.x.shape[1 + axis])), axis=axis)
        out = stream.step(piece)
        if out is not None:
            parts.append(np.asarray(out))
    if not parts:
        raise Unconforming("step() never returns anything", "return the frames that are ready, None before the first")
    return np.concatenate(parts, axis=made.time_axis or 0)


def _wrong_output(fed: Feed, out: Array) -> Iterator[str]:
    if not isinstance(out, np.ndarray) or out.dtype != np.float32:
        yield f"encode() returns {getattr(out, 'dtype', type(out).__name__)}, not float32"
        return
    made = fed.encoder.produces.after(fed.space)
    if made.dims and (out.ndim != 1 + len(made.dims) or len(out) != len(fed.x)):
        yield f"it makes {out.shape} of {fed.x.shape}, and declares (batch, {', '.join(map(str, made.dims))})"
        return
    for size, axis in zip(out.shape[1:], made.dims, strict=False):
        if isinstance(axis, int) and size != axis:
            yield f"it makes {out.shape}, and declares {made}"
    if not np.isfinite(out).all():
        yield "it makes NaN or infinity of finite input"
    if made.time_axis is not None and fed.space.time_axis is not None and fed.batch.rate:
        frames = out.shape[1 + made.time_axis]
        seconds = fed.x.shape[1 + fed.space.time_axis] / fed.batch.rate
        rate = float(made.rate or 1.0)  # type: ignore[arg-type]
        if abs(frames - seconds * rate) > 2.0 + 2.0 * rate * (fed.encoder.support_s or 0.0):
            yield f"it makes {frames} frames of {seconds:g} s, and declares {rate:g} Hz"


def _noisy(x: Array, where: Array, axis: int) -> Array:
    """Return x with noise of three times its SD where `where` (samples,) says."""
    noise = np.random.default_rng(0).standard_normal(x.shape) * 3.0 * _sd(x)
    mask = where.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
    return np.where(mask, noise, x).astype(np.float32)


def _alike(a: Array, b: Array, scale: Array, times: float = 1.0) -> bool:
    return bool(np.abs(np.asarray(a, np.float64) - b).max(initial=0.0) <= times * TOLERANCE * _sd(scale))


def _sd(x: Array) -> float:
    return float(np.std(x)) or 1.0

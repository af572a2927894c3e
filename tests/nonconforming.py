"""Parts that break one promise each, for test_conformance.py, and a small pipeline that keeps all of them."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import numpy as np
from toy import RATE, Cosine, MovingAverage, Toy

from braindecode_hub import Artifact, Context, Encoder, Metric, Recording, Renderer, Signal, Space, Trial
from braindecode_hub.media import audio_bytes
from braindecode_hub.parts.correlation import Correlation
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.types import Prediction

SMALL = {"stimuli": 6, "seconds": 12.0, "snr": 3.0}
"""The data of every smoke preset here."""

# Parts that conform


class Quick(Ridge):
    """Ridge with the fewest refits that are judged."""

    control_refits = 3

    def __init__(self, *, lags_s: tuple[float, float] = (0.0, 0.2), alphas: tuple[float, ...] = (0.01, 1.0)) -> None:
        self.lags_s = lags_s
        self.alphas = alphas
        self.lag_step_s = 0.04


class Hum(Renderer):
    """Two features become the loudness of a hum."""

    consumes = (Space("features", ("time", 2), RATE),)

    def render(self, prediction: Prediction, ctx: Context) -> list[Artifact]:
        loudness = np.repeat(np.tanh(np.abs(prediction["features"][:, 0])), 80)
        sound = (0.5 * loudness * np.sin(2 * np.pi * 200 * np.arange(len(loudness)) / 8000)).astype(np.float32)
        return [Artifact("hum", "audio/flac", self.encoded(sound), sound, 8000.0)]

    def encoded(self, sound: Any) -> bytes:
        return audio_bytes(sound, 8000)


class Causal(Encoder):
    """The mean of the last 5 samples, of a whole signal or chunk by chunk."""

    continuous = True
    consumes = Space("toy_brain", ("channels", "time"), RATE)
    produces = Space("toy_brain", ("channels", "time"), RATE)
    support_s = 5 / RATE
    _past: Any = None

    def encode(self, x: Any, batch: Any = None) -> Any:
        padded = np.pad(x, ((0, 0), (0, 0), (4, 0)))
        return np.mean([padded[..., k : k + x.shape[-1]] for k in range(5)], axis=0, dtype=np.float32)

    def reset(self) -> None:
        self._past = None

    def step(self, x: Any) -> Any:
        past = np.zeros((len(x), 4), np.float32) if self._past is None else self._past
        joined = np.concatenate([past, x], axis=-1)
        self._past = joined[:, -4:]
        return self.encode(joined[None])[0, :, 4:]


class TopOne(Metric):
    """1 for a unit whose own target is nearest to its prediction."""

    def per_unit(self, target: Any, predicted: Any) -> Any:
        t, p = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (target, predicted))
        scores = p @ t.T
        own = np.diagonal(scores)[:, None]
        rivals = self.beaten(scores, own).sum(axis=1) - self.beaten(own, own)[:, 0]
        return (rivals == 0).astype(float) * (len(t) > 1)

    def beaten(self, scores: Any, own: Any) -> Any:
        return scores >= own - 1e-9


# Constructors


class Positional(ZScore):
    def __init__(self, clip: float | None = None) -> None:
        super().__init__(clip=clip)


class Unplain(ZScore):
    def __init__(self, *, clip: Any = Ridge) -> None:
        self.clip = clip


class Renaming(ZScore):
    def __init__(self, *, limit: float | None = None) -> None:
        self.clip = limit

    limit = None


class Thinking(ZScore):
    def __init__(self, *, clip: float = 3.0) -> None:
        self.clip = max(clip, 1.0)


class Mistyped(ZScore):
    def __init__(self, *, clip: int = 2.5) -> None:  # type: ignore[assignment]
        self.clip = clip


# Datasets


class SameIds(Toy):
    def trials(self) -> list[Trial]:
        first, *rest = super().trials()
        return [first, *(Trial(first.id, *list(vars(trial).values())[1:]) for trial in rest)]


class Sessionless(Toy):
    def trials(self) -> list[Trial]:
        made = super().trials()
        for trial in made:
            trial.groups.pop("session")  # type: ignore[attr-defined]
        return made


class Peeking(Toy):
    def trials(self) -> list[Trial]:
        made = Toy.trials(self)
        for trial in made:
            self.stimulus(str(trial.stimulus), self.stimuli_spaces[0])
        return made

    def recording(self, id: str) -> Recording:
        return Toy(**self.configuration()).recording(id)


class Short(Toy):
    def stimulus(self, id: str, space: Space) -> Signal:
        signal = super().stimulus(id, space)
        return Signal(signal.data[: len(signal.data) // 2], signal.rate, signal.modality)


class Eager(Toy):
    """A recording of 5 MB, made when it is asked for."""

    def recording(self, id: str) -> Recording:
        made = super().recording(id)
        return Recording(id, made.subject, made.session, Signal(np.tile(made.brain.data, (200, 1)), RATE, "toy"))


class Hashing(Toy):
    def fingerprint(self) -> str:
        return str(hash(str(self.configuration())))


class Forgetful(Toy):
    def fingerprint(self) -> str:
        return Toy(**{**self.configuration(), "seed": 0}).fingerprint()


class Downloading(Toy):
    """Looks for a newer file, and goes on without one."""

    def prepare(self, ctx: Context) -> None:
        with contextlib.suppress(OSError):
            socket.create_connection(("203.0.113.1", 80), timeout=0.1)


# Encoders


class Double(MovingAverage):
    def encode(self, x: Any, batch: Any = None) -> Any:
        return super().encode(x, batch).astype(np.float64)


class Crowded(MovingAverage):
    """Subtracts the mean of all items of the batch."""

    def encode(self, x: Any, batch: Any = None) -> Any:
        return np.asarray(x - x.mean(axis=(0, 2), keepdims=True), np.float32)


class Undefined(MovingAverage):
    def encode(self, x: Any, batch: Any = None) -> Any:
        out = super().encode(x, batch)
        out[..., 0] = np.nan
        return out


class Slower(MovingAverage):
    def encode(self, x: Any, batch: Any = None) -> Any:
        return super().encode(x, batch)[..., ::2]


class Farsighted(MovingAverage):
    """Looks three times as far as it says."""

    def encode(self, x: Any, batch: Any = None) -> Any:
        return MovingAverage(half_s=3 * self.half_s).encode(x, batch)


class OneWay(ZScore):
    def invert(self, x: Any) -> Any:
        return np.asarray(x, np.float32)


class Halting(Causal):
    """Chunk by chunk, it forgets what came before."""

    def step(self, x: Any) -> Any:
        return self.encode(x[None])[0]


class Remembering(Causal):
    def reset(self) -> None:
        pass


# Decoders


class TestStatistics(Quick):
    def decode(self, z: Any, x: Any) -> Prediction:
        return super().decode(z - z.mean(axis=(0, 2), keepdims=True), x)


class WarmStart(Quick):
    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        before = getattr(self, "weights_", None)
        super().fit(train, val, ctx, encoder=encoder)
        if before is not None and before.shape == self.weights_.shape:
            self.weights_ = (0.9 * self.weights_ + 0.1 * before).astype(np.float32)


class Hiding(Quick):
    """What it needs is not in its state."""

    _offset = 0.0

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        self._offset, self.intercept_ = self.intercept_ + 0.5, np.zeros_like(self.intercept_)

    def decode(self, z: Any, x: Any) -> Prediction:
        return {name: value + self._offset for name, value in super().decode(z, x).items()}


class Running(Quick):
    """A running mean of whatever passes, as batch normalisation keeps one in training mode."""

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        self.running_ = np.zeros(1, np.float32)

    def decode(self, z: Any, x: Any) -> Prediction:
        self.running_ = (0.9 * self.running_ + 0.1 * z.mean() + 1e-3).astype(np.float32)
        return super().decode(z, x)


class PerProcess(Quick):
    """Its weights depend on Python's hash of a text: the same here, another in the next process."""

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        self.weights_ = (self.weights_ * (1 + 1e-4 * (hash("a text") % 997))).astype(np.float32)


class Knowing(Quick):
    """Learns nothing: it knows how Toy mixes, as weights would that were trained on the same stimuli."""

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        self.lag_ = round((train.window.context_s + 0.12) * RATE)

    def decode(self, z: Any, x: Any) -> Prediction:
        [(name, value)] = super().decode(z, x).items()
        heard = np.einsum("fc,bct->btf", np.linalg.pinv(Toy().mixing(4)), z)
        return {name: heard[:, self.lag_ : self.lag_ + value.shape[1]].astype(np.float32)}


class TwoRefits(Quick):
    control_refits = 2


class WholeRecording(Quick):
    """Scales by the SD of a whole recording, which it opens itself."""

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        self.sd_ = np.float32(np.std(np.asarray(Toy(**SMALL).recording("s0-r0").brain.data[:, :])))


class WholeRecordingEncoder(MovingAverage):
    """Divides by the SD of the whole recording, which it opens itself."""

    def encode(self, x: Any, batch: Any = None) -> Any:
        sd = np.std(np.asarray(Toy(**SMALL).recording("s0-r0").brain.data[:, :]))
        return np.asarray(super().encode(x, batch) / sd, np.float32)


class Elsewhere(MovingAverage):
    @property
    def consumes(self) -> Space:
        return Space("another_brain", ("channels", "time"), RATE)


# Renderers


class Garbage(Hum):
    def encoded(self, sound: Any) -> bytes:
        return b"not a sound"


class LongGarbage(Hum):
    """Fails only on what is longer than the suite's own example."""

    def encoded(self, sound: Any) -> bytes:
        return b"not a sound" if len(sound) > 3 * 8000 else super().encoded(sound)


class Moody(Hum):
    def encoded(self, sound: Any) -> bytes:
        return super().encoded(sound) + bytes(np.random.default_rng().integers(0, 255, 4).astype(np.uint8))


# Metrics


class Upside(Correlation):
    higher_is_better = False


class Undefinable(Metric):
    """Pearson r as numpy gives it: NaN where nothing varies."""

    def per_unit(self, target: Any, predicted: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.array([np.corrcoef(t.ravel(), p.ravel())[0, 1] for t, p in zip(target, predicted, strict=True)])


class OneNumber(Cosine):
    def per_unit(self, target: Any, predicted: Any) -> Any:
        return super().per_unit(target, predicted).mean()


class ConstantIsPerfect(Metric):
    """NaN becomes 1."""

    def per_unit(self, target: Any, predicted: Any) -> Any:
        return np.nan_to_num(Undefinable().per_unit(target, predicted), nan=1.0)


class TiesAreHits(TopOne):
    def beaten(self, scores: Any, own: Any) -> Any:
        return scores > own + 1e-9

"""A dataset small enough to know by heart: a few channels at 100 Hz that follow the stimulus by a known lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.chain import Chain
from braindecode_hub.interfaces import Dataset, Encoder, Metric
from braindecode_hub.parts.correlation import Correlation
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.pipeline import Pipeline
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.types import ANY, Array, Batch, Context, Recording, Signal, Space, Trial
from braindecode_hub.view import Window

RATE = 100.0
BRAIN = Space("toy_brain", ("channels", "time"), RATE)
FEATURES = Space("features", ("time", 2), RATE)
LABEL = Space("label", (6,))
IDLE_S = 1.0
"""Seconds of recording before, between and after trials."""


class Toy(Dataset):
    """`recordings` for each of `subjects`, each with `stimuli` (every one presented `repeats` times) of `seconds`.

    Brain = `snr` · mixing @ (what was presented `lag_s` earlier) + noise of unit variance; `snr=0` plants nothing.
    `static`: the stimulus is a vector without a clock, present from onset to the end of the trial. `drift`: the
    stimulus clock runs so much slower. `breaks`: seconds. `wander`: SD of a slow random drift in every channel.
    `classes`: the trials' targets come in blocks of one class each (static only). `extra`: every further subject
    has so many channels more. `shared`: all recordings present the same stimuli.
    """

    simulated: ClassVar[bool] = True

    def __init__(
        self,
        *,
        recordings: int = 1,
        subjects: int = 1,
        stimuli: int = 6,
        repeats: int = 1,
        seconds: float = 20.0,
        channels: int = 4,
        extra: int = 0,
        lag_s: float = 0.12,
        snr: float = 3.0,
        static: bool = False,
        drift: float = 0.0,
        breaks: Sequence[float] = (),
        wander: float = 0.0,
        classes: int = 0,
        shared: bool = False,
        seed: int = 0,
    ) -> None:
        self.recordings = recordings
        self.subjects = subjects
        self.stimuli = stimuli
        self.repeats = repeats
        self.seconds = seconds
        self.channels = channels
        self.extra = extra
        self.lag_s = lag_s
        self.snr = snr
        self.static = static
        self.drift = drift
        self.breaks = breaks
        self.wander = wander
        self.classes = classes
        self.shared = shared
        self.seed = seed

    @property
    def brain(self) -> Space:
        return BRAIN

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        return (LABEL,) if self.static else (FEATURES,)

    def trials(self) -> list[Trial]:
        found = []
        for subject in range(self.subjects):
            for session in range(self.recordings):
                found += self._trials_of(f"s{subject}", f"s{subject}-r{session}", session)
        return found

    def recording(self, id: str) -> Recording:
        subject = id.split("-")[0]
        channels = self.channels + self.extra * int(subject[1:])
        trials = [trial for trial in self.trials() if trial.recording == id]
        rng = self._rng("recording", id)
        samples = round((trials[-1].stop + IDLE_S) * RATE)
        data = rng.standard_normal((channels, samples))
        if self.wander:
            walk = np.cumsum(rng.standard_normal((channels, samples)), axis=1)
            data += self.wander * walk / walk.std(axis=1, keepdims=True)
        times = np.arange(samples) / RATE
        for trial in trials:
            first, last = (max(0, int((at + self.lag_s) * RATE)) for at in (trial.start - 0.1, trial.stop + 0.1))
            heard = self._heard(trial, times[first:last] - self.lag_s)
            data[:, first:last] += self.snr * self.mixing(channels) @ heard
        return Recording(
            id,
            subject,
            trials[0].groups["session"],
            Signal(data.astype(np.float32), RATE, "toy", tuple(f"C{k}" for k in range(channels)), "V"),
            positions=np.arange(3 * channels, dtype=np.float32).reshape(channels, 3),
            breaks=tuple(self.breaks),
        )

    def stimulus(self, id: str, space: Space) -> Signal:
        if self.static:
            if self.classes:  # one vector for each class, their mean 0: nothing is gained by guessing the mean
                table = self._rng("classes").standard_normal((self.classes, 6))
                target = (table - table.mean(axis=0))[int(id.split("-k")[-1].split("#")[0])]
            else:
                target = self._rng("label", id).standard_normal(6)
            target = target.astype(np.float32)
            return Signal(target, None, "label")
        white = self._rng("features", id).standard_normal((round(self.seconds * RATE) + 20, 2))
        smooth = sum(white[k : len(white) - 20 + k] for k in range(20)) / np.sqrt(20)
        return Signal(smooth.astype(np.float32), RATE, "features")

    def fingerprint(self) -> str:
        return Cache.key(kind=type(self).__qualname__, **self.configuration() | {"breaks": list(self.breaks)})

    def mixing(self, channels: int) -> Array:
        """(channels, stimulus dimensions): the planted linear relation; static labels reach channels one to one."""
        wide = LABEL.dims[0] if self.static else 2
        return self._rng("mixing").standard_normal((64, wide))[:channels] / np.sqrt(wide)

    def _trials_of(self, subject: str, recording: str, session: int) -> list[Trial]:
        owner = "" if self.shared else f"{recording}-"
        order = [f"{owner}{n}" for _ in range(self.repeats) for n in range(self.stimuli)]
        if self.classes:
            each = self.stimuli // self.classes
            order = [f"{recording}-k{n // each}#{n}" for n in range(self.stimuli)]
        found, at = [], IDLE_S
        for number, stimulus in enumerate(order):
            length = self.seconds * (1.0 + self.drift)
            clock = (None, None) if self.static else (0.0, self.seconds)
            groups = {"subject": subject, "session": f"{session}", "story": stimulus}
            if self.classes:
                groups["block"] = stimulus.split("#")[0]
            found.append(Trial(f"{recording}-t{number}", recording, at, at + length, stimulus, *clock, groups))
            at += length + (0.0 if self.static else IDLE_S)
        return found

    def _heard(self, trial: Trial, times: Array) -> Array:
        """(dimensions, samples) of the stimulus at recording seconds `times`, zero outside the trial."""
        inside = (times >= trial.start) & (times < trial.stop)
        signal = self.stimulus(str(trial.stimulus), self.stimuli_spaces[0])
        if self.static:
            return np.outer(signal.data, inside)
        clock = (times - trial.start) / (1.0 + self.drift)
        heard = [np.interp(clock, np.arange(len(signal.data)) / RATE, column) for column in signal.data.T]
        return np.stack(heard) * inside

    def _rng(self, *key: Any) -> np.random.Generator:
        return Context(seed=self.seed).rng("toy", *key)


class Doctored(Dataset):
    """Another dataset, some seconds of whose recordings and stimuli were overwritten: {id: [(start, stop)]}."""

    def __init__(
        self, dataset: Toy, brain: dict[str, list[tuple[float, float]]], heard: dict[str, list[tuple[float, float]]]
    ) -> None:
        self.dataset, self.changed_brain, self.changed_stimuli = dataset, brain, heard

    def configuration(self) -> dict[str, Any]:
        return {}

    @property
    def brain(self) -> Space:
        return self.dataset.brain

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        return self.dataset.stimuli_spaces

    def trials(self) -> list[Trial]:
        return self.dataset.trials()

    def recording(self, id: str) -> Recording:
        recording = self.dataset.recording(id)
        overwrite(recording.brain.data.T, self.changed_brain.get(id, []), RATE)
        return recording

    def stimulus(self, id: str, space: Space) -> Signal:
        signal = self.dataset.stimulus(id, space)
        if signal.rate is None:
            signal.data[:] = 1e3 if id in self.changed_stimuli else signal.data
        else:
            overwrite(signal.data, self.changed_stimuli.get(id, []), signal.rate)
        return signal

    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint()} doctored"


def overwrite(data: Array, seconds: Sequence[tuple[float, float]], rate: float) -> None:
    """Put large noise in place of those seconds of (samples, …)."""
    rng = np.random.default_rng(99)
    for start, stop in seconds:
        first, last = int(np.ceil(start * rate - 1e-6)), int(np.ceil(stop * rate - 1e-6))
        data[first:last] = 50.0 * rng.standard_normal(data[first:last].shape)


class MovingAverage(Encoder):
    """The mean over `support_s` to either side: continuous, of finite support. `calls` counts every encode()."""

    continuous = True
    calls: ClassVar[int] = 0

    def __init__(self, *, half_s: float = 0.05) -> None:
        self.half_s = half_s

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    @property
    def support_s(self) -> float:
        return self.half_s

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        type(self).calls += 1
        assert batch is not None
        assert batch.rate is not None
        half = round(self.half_s * batch.rate)
        padded = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (half, half)), mode="edge")
        out = sum(padded[..., k : k + x.shape[-1]] for k in range(2 * half + 1)) / (2 * half + 1)
        return np.asarray(out, np.float32)


class Decimate(Encoder):
    """The mean of every 4 samples, at a quarter of the rate."""

    continuous = True

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return Space("slow_brain", ("channels", "time"), RATE / 4)

    @property
    def support_s(self) -> float:
        return 4 / RATE

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        whole = x[..., : x.shape[-1] // 4 * 4]
        return np.asarray(whole.reshape(*x.shape[:-1], -1, 4).mean(axis=-1), np.float32)


class Whiten(Encoder):
    """Divide the spectrum of the whole stretch by its magnitude: every sample depends on every other one."""

    continuous = True

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        spectrum = np.fft.rfft(x, axis=-1)
        return np.fft.irfft(spectrum / (np.abs(spectrum) + 1.0), n=x.shape[-1], axis=-1).astype(np.float32)


class Cosine(Metric):
    """Cosine between a unit's target and its prediction, everything in a unit taken as one vector."""

    unit = "cos"

    def per_unit(self, target: Array, predicted: Array) -> Array:
        a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (target, predicted))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return np.where(norms > 0, (a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0), 0.0)


def toy_study(
    dataset: Dataset | None = None,
    *,
    encoder: Sequence[Encoder] = (),
    targets: Sequence[Encoder] | None = None,
    decoder: Any = None,
    window: Window | None = None,
    split: dict[str, Any] | None = None,
    cache: Cache | None = None,
    seed: int = 0,
    **options: Any,
) -> Study:
    """A Study of a toy: ridge from z-scored channels to z-scored features."""
    dataset = Toy(**options) if dataset is None else dataset
    space = dataset.stimuli_spaces[0]
    static = space.rate is None
    pipeline = Pipeline(
        name="toy",
        config={
            "dataset": {"use": "toy/toy"},
            "metrics": ["toy/cosine" if static else "toy/correlation"],
            "split": split or {"by": "stimulus", "folds": 3, "gap_s": 0.0 if static else 0.5},
        },
        dataset=dataset,
        targets={space.name: Chain([ZScore()] if targets is None else targets)},
        encoder=Chain(encoder),
        decoder=Ridge(lags_s=(0.0, 0.2), lag_step_s=0.02) if decoder is None else decoder,
        renderer=None,
        baseline=None,
        metrics=[Cosine() if static else Correlation()],
        window=window or Window(dataset.trials()[0].seconds if static else 2.0, None if static else 1.0, 0.3),
    )
    return Study(pipeline, Context(seed=seed, cache=cache or Cache(None)))


def toy_fold(study: Study) -> Fold:
    """The first fold of a study."""
    return study.folds()[0]

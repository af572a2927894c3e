"""Memory of a long recording against a short one: prepare, a pass of training batches, ridge, prediction, noise.

    python benchmarks/memory.py [--minutes 10 480] [--channels 32] [--rate 256] [--bins 16]

Each length runs in a process of its own, on a recording and features (100 Hz) that lie on disk as .npy and are read
lazily. Two figures are sampled every 20 ms, the largest in each stage is printed, and their ratio between lengths:

* anonymous: private memory that the system cannot take back without swapping (Anonymous in /proc/self/smaps_rollup);
  what is meant by "memory" in our claims
* resident: all that is mapped in, pages of the cached files among them, which the system takes back when it wants

`predict` holds the predictions and the truth of the test side (a fifth of the recording), and `noise` a surrogate of
the whole recording, one after the other: these two grow, by what the last column says. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.chain import Chain
from braindecode_hub.interfaces import Dataset
from braindecode_hub.parts.correlation import Correlation
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.pipeline import Pipeline
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial
from braindecode_hub.view import Window

FEATURE_RATE = 100.0
STAGES = ("start", "prepare", "batches", "fit", "predict", "noise")


class Long(Dataset):
    """One recording (channels, samples) and its features (frames, bins), both memory-mapped .npy files."""

    simulated = True

    def __init__(self, *, folder: str, rate: float = 256.0) -> None:
        self.folder = folder
        self.rate = rate

    @property
    def brain(self) -> Space:
        return Space("eeg", ("channels", "time"), self.rate)

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        return (Space("features", ("time", self._load("features").shape[1]), FEATURE_RATE),)

    def trials(self) -> list[Trial]:
        seconds = len(self._load("features")) / FEATURE_RATE
        groups = {"subject": "s", "session": "1", "story": "x"}
        return [Trial("t", "r", 0.0, seconds, "x", 0.0, seconds, groups)]

    def recording(self, id: str) -> Recording:
        return Recording("r", "s", "1", Signal(self._load("brain"), self.rate, "eeg"))

    def stimulus(self, id: str, space: Space) -> Signal:
        return Signal(self._load("features"), FEATURE_RATE, "features")

    def fingerprint(self) -> str:
        return Cache.key(**self.configuration())

    def _load(self, name: str) -> Array:
        return np.load(Path(self.folder) / f"{name}.npy", mmap_mode="r")


def make(folder: Path, minutes: float, channels: int, rate: float, bins: int) -> None:
    """Write noise in which the features are planted, a minute at a time."""
    rng = np.random.default_rng(0)
    samples, frames = round(60 * minutes * rate), round(60 * minutes * FEATURE_RATE)
    brain = np.lib.format.open_memmap(folder / "brain.npy", "w+", np.float32, (channels, samples))
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (frames, bins))
    mixing = rng.standard_normal((channels, bins)).astype(np.float32)
    for minute in range(int(np.ceil(minutes))):
        some = features[round(60 * minute * FEATURE_RATE) : round(60 * (minute + 1) * FEATURE_RATE)]
        some[:] = rng.standard_normal(some.shape, np.float32)
        part = brain[:, round(60 * minute * rate) : round(60 * (minute + 1) * rate)]
        heard = np.minimum((np.arange(part.shape[1]) / rate * FEATURE_RATE).astype(int), len(some) - 1)
        part[:] = rng.standard_normal(part.shape, np.float32) + mixing @ some[heard].T
    brain.flush()
    features.flush()


def study_of(folder: Path, rate: float) -> Study:
    """Ridge from z-scored channels to z-scored features, on time blocks."""
    dataset = Long(folder=str(folder), rate=rate)
    pipeline = Pipeline(
        name="long",
        config={"dataset": {"use": "long/long"}, "metrics": ["core/correlation"], "split": {"by": "time_block"}},
        dataset=dataset,
        targets={"features": Chain([ZScore()])},
        encoder=Chain([ZScore()]),
        decoder=Ridge(lags_s=(0.0, 0.3), lag_step_s=0.1),
        renderer=None,
        baseline=None,
        metrics=[Correlation()],
        window=Window(2.0, 1.0, 0.3),
    )
    return Study(pipeline, Context(cache=Cache(folder / "cache")))


class Sampler(threading.Thread):
    """Keeps the largest anonymous and resident memory, in MB, of each stage."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stage, self.peaks = STAGES[0], {}  # type: ignore[var-annotated]

    def run(self) -> None:
        while True:
            self.sample()
            time.sleep(0.02)

    def sample(self) -> None:
        told = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
        now = [int(told[name].split()[0]) / 1024 for name in ("Anonymous", "Rss")]
        before = self.peaks.get(self.stage, [0.0, 0.0])
        self.peaks[self.stage] = [max(pair) for pair in zip(now, before, strict=True)]

    def begin(self, stage: str) -> None:
        self.sample()
        self.stage = stage


def measure(folder: Path, rate: float, stages: tuple[str, ...]) -> dict[str, Any]:
    """Run the stages; returns for each the largest anonymous and resident memory in MB."""
    from braindecode_hub.controls import Noise

    sampler = Sampler()
    sampler.start()
    study = study_of(folder, rate)
    fold = study.folds()[0]
    fitted: Any = None

    def prepare() -> None:
        for side in ("train", "val"):
            study.view(fold, side)  # type: ignore[arg-type]

    def batches() -> None:
        for _ in study.view(fold, "train").batches(64, np.random.default_rng(0)):
            pass

    def fit() -> None:
        nonlocal fitted
        fitted = study.fit(fold, study.ctx)

    def predict() -> None:
        predictions = fitted.predict(study.view(fold, "test", hidden=True))
        study.scored(fold, "test", predictions, study.truth(fold, "test"))

    def noise() -> None:
        Noise(study.pipeline.dataset, study.ctx, 0).recording("r")

    work = {"prepare": prepare, "batches": batches, "fit": fit, "predict": predict, "noise": noise}
    for stage in stages:
        sampler.begin(stage)
        work[stage]()
    sampler.begin("end")
    return sampler.peaks


def in_a_process(minutes: float, given: argparse.Namespace) -> dict[str, list[float]]:
    """Make a recording of so many minutes, and measure in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        make(Path(place), minutes, given.channels, given.rate, given.bins)
        command = [sys.executable, __file__, "--measure", place, "--rate", str(given.rate), "--stages", *given.stages]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs=2, default=[10.0, 480.0])
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rate", type=float, default=256.0)
    parser.add_argument("--bins", type=int, default=16)
    parser.add_argument("--stages", nargs="*", choices=STAGES[1:], default=list(STAGES[1:]))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(Path(given.measure), given.rate, tuple(given.stages))))
        return
    short, long = (in_a_process(minutes, given) for minutes in given.minutes)
    told = " and ".join(f"{minutes:g}" for minutes in given.minutes)
    print(
        f"{given.channels} channels at {given.rate:g} Hz, {given.bins} features at 100 Hz: {told} minutes, peak in MB"
    )
    print(f"{'':12}{'anonymous':>22}{'ratio':>8}{'resident':>20}{'ratio':>8}{'MB an hour more':>18}")
    hours = (given.minutes[1] - given.minutes[0]) / 60
    for stage in ("start", *given.stages):
        (anonymous, resident), (more, seen) = short[stage], long[stage]
        growth = (more - anonymous) / hours
        print(
            f"{stage:12}{anonymous:>12.0f}{more:>10.0f}{more / anonymous:>8.2f}{resident:>10.0f}{seen:>10.0f}"
            f"{seen / resident:>8.2f}{growth:>18.1f}"
        )


if __name__ == "__main__":
    main()

"""Windows a second, shuffled: our View against a loader that makes them one by one, and against MNE's Epochs.

    python benchmarks/windows.py [--minutes 20] [--rate 256] [--batch 64]

Windows of 32 channels × 2 s, at every second, in a random order, stacked into batches of float32. All read the same
samples from disk (its cache, after a first pass that is not timed); CPU seconds of one thread, best of three passes.

* View: what a decoder is fed here (it also hands over the targets, positions and masks; the others only the brain)
* one by one: a dataset whose `__getitem__` cuts one window of a memory-mapped array, and torch's DataLoader with its
  default collation and no workers
* the same over an MNE Raw that reads from its file, as loaders of braindecode's kind do
* MNE Epochs: loaded at once into memory, and read lazily from the file
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch

from braindecode_hub.stretches import Prepared
from braindecode_hub.types import Array, Recording, Signal, Space, Trial
from braindecode_hub.view import View, Window, make_item

CHANNELS, LENGTH_S, HOP_S = 32, 2.0, 1.0


def view_of(data: Array, rate: float, seconds: float) -> View:
    """A View of one recording with a feature of one bin at 50 Hz."""
    trial = Trial("t", "r", 0.0, seconds, "s", 0.0, seconds, {"subject": "s"})
    features = Prepared(np.zeros((int(seconds * 50), 1), np.float32), 50.0, 0.0)
    about = Recording("r", "s", "1", Signal(None, rate, "eeg"))
    item = make_item(
        trial,
        brain=Prepared(data, rate, 0.0),
        recording=about,
        spaces={"feature": 50.0},
        stimuli={"feature": features},
    )
    space = Space("eeg", ("channels", "time"), rate)
    targets = {"feature": Space("feature", ("time", 1), 50.0)}
    return View([item], window=Window(LENGTH_S, HOP_S), space=space, targets=targets, subjects=["s"])


class OneByOne(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """One window at a time from anything that slices (channels, samples)."""

    def __init__(self, cut: Callable[[int, int], Array], starts: Array, samples: int) -> None:
        self.cut, self.starts, self.samples = cut, starts, samples

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> torch.Tensor:
        start = int(self.starts[number])
        return torch.from_numpy(np.array(self.cut(start, start + self.samples), dtype=np.float32))


def cpu_seconds(batches: Callable[[], Iterator[Any]], windows: int) -> float:
    """Return the CPU seconds of the best of three passes, after one that is not timed."""
    taken = []
    for _ in range(4):
        began = time.process_time()
        seen = sum(len(batch) for batch in batches())
        taken.append(time.process_time() - began)
        if seen != windows:
            raise SystemExit(f"{seen} windows, not {windows}")
    return min(taken[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=256.0)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    mne.set_log_level("ERROR")
    seconds, samples = 60.0 * given.minutes, round(LENGTH_S * given.rate)
    starts = np.arange(0, int(seconds - LENGTH_S) + 1) * round(HOP_S * given.rate)
    with tempfile.TemporaryDirectory() as place:
        x = np.random.default_rng(0).standard_normal((CHANNELS, round(seconds * given.rate))).astype(np.float32)
        np.save(Path(place) / "x.npy", x)
        mapped = np.load(Path(place) / "x.npy", mmap_mode="r")
        info = mne.create_info(CHANNELS, given.rate, "eeg")
        mne.io.RawArray(x, info).save(Path(place) / "x_raw.fif")
        raw = mne.io.read_raw_fif(Path(place) / "x_raw.fif", preload=False)
        marks = np.stack([starts, np.zeros_like(starts), np.ones_like(starts)], axis=1)
        view = view_of(mapped, given.rate, seconds)

        def loader(cut: Callable[[int, int], Array]) -> Iterator[Any]:
            dataset = OneByOne(cut, starts, samples)
            return iter(torch.utils.data.DataLoader(dataset, given.batch, shuffle=True))

        def epochs(preload: bool) -> Callable[[], Iterator[Any]]:
            made = mne.Epochs(
                raw, marks, tmin=0, tmax=LENGTH_S - 1 / given.rate, baseline=None, preload=preload, decim=1
            )

            def batches() -> Iterator[Any]:
                order = np.random.default_rng(0).permutation(len(starts))
                for at in range(0, len(order), given.batch):
                    yield made[order[at : at + given.batch]].get_data(copy=False).astype(np.float32)

            return batches

        ways: dict[str, Callable[[], Iterator[Any]]] = {
            "View": lambda: view.batches(given.batch, np.random.default_rng(0)),
            "one by one, memory-mapped": lambda: loader(lambda start, stop: mapped[:, start:stop]),
            "one by one, MNE Raw on disk": lambda: loader(lambda start, stop: raw[:, start:stop][0]),
            "MNE Epochs, in memory": epochs(preload=True),
            "MNE Epochs, on disk": epochs(preload=False),
        }
        print(f"{len(starts)} windows of {CHANNELS} channels x {LENGTH_S:g} s at {given.rate:g} Hz, shuffled")
        print(f"{'':30}{'windows a CPU-second':>22}{'View is so many times faster':>32}")
        base = 0.0
        for name, batches in ways.items():
            rate = len(starts) / cpu_seconds(batches, len(starts))
            base = base or rate
            print(f"{name:30}{rate:>22.0f}{base / rate:>32.1f}", flush=True)


if __name__ == "__main__":
    main()

"""Samples of a series in an NWB file, read when they are sliced: (channels, samples), or one sound (samples,)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.parts.nwb_file import opened, reading
from braindecode_hub.types import Array

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Channels:
    """(channels, samples) float32: stored number × `gain` of its channel + `offset`; only what is sliced is read.

    `time_first`: how it lies in the file, (samples, channels) as NWB asks or the other way round; a series of one axis
    is one channel.
    """

    path: Path
    series: str
    shape: tuple[int, int]
    time_first: bool
    gain: tuple[float, ...]
    offset: float = 0.0

    ndim = 2
    dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        rows, time = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        if not isinstance(time, slice) or (time.step or 1) < 0:
            return self[:, :][rows, time]
        start, stop, step = time.indices(self.shape[1])
        return self._read(start, max(start, stop))[:, ::step][rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:, :], dtype)

    def _read(self, start: int, stop: int) -> Array:
        with opened(self.path) as file, reading(self.path, self.series):
            data = file[self.series]["data"]
            part = np.asarray(data[:, start:stop] if not self.time_first and data.ndim == 2 else data[start:stop])
        part = part[None] if part.ndim == 1 else part.T if self.time_first else part
        if self.offset == 0.0 and all(gain == 1.0 for gain in self.gain):
            return part.astype(np.float32)
        return (part * np.asarray(self.gain)[:, None] + self.offset).astype(np.float32)


@dataclass(frozen=True)
class Mono:
    """A sound (samples,) float32: the mean of `channels`, times `scale`, or a part of it from sample `first`."""

    channels: Channels
    scale: float = 1.0
    first: int = 0
    count: int = -1

    ndim = 1
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int]:
        """How many samples."""
        return (self.channels.shape[1] - self.first if self.count < 0 else self.count,)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        if not isinstance(key, slice) or (key.step or 1) < 0:
            return self[:][key]
        start, stop, step = key.indices(len(self))
        part = self.channels[:, self.first + start : self.first + max(start, stop)]
        mono = part[0] if len(part) == 1 else part.mean(axis=0, dtype=np.float64)
        return np.asarray(mono[::step] * self.scale, np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def part(self, start: int, count: int) -> Mono:
        """Return `count` samples from `start`, as lazy as the whole."""
        return dataclasses.replace(self, first=self.first + start, count=min(count, len(self) - start))

    def peak(self) -> float:
        """Return the largest magnitude of what is finite, read in blocks."""
        largest = 0.0
        for start in range(0, len(self), _BLOCK):
            block = np.abs(self[start : start + _BLOCK])
            finite = block[np.isfinite(block)]
            largest = max(largest, float(finite.max()) if len(finite) else 0.0)
        return largest


def full_scale(dtype: Any, gain: float, offset: float) -> float | None:
    """Return what to multiply sound by so that it lies in [-1, 1], as far as its stored type tells; None: measure it.

    Signed integers without a conversion are divided by full scale. Raises HubError for unsigned ones.
    """
    kind = np.dtype(dtype)
    if kind.kind == "u" and gain == 1.0 and offset == 0.0:
        raise HubError(
            f"sound stored as {kind} has no conversion to signed values", "give it a conversion and an offset"
        )
    if kind.kind != "i":
        return None
    largest = -float(np.iinfo(kind).min)
    if gain == 1.0 and offset == 0.0:
        return 1.0 / largest
    return 1.0 if largest * abs(gain) + abs(offset) <= 1.0 + 1e-6 else None

"""Long arrays that are never in memory whole: joined or clipped without copying, their file pages given back.

What is read of a memory-mapped file counts as this process's until the system wants it back; `give_back` does not
wait for that, so that eight hours take no more room than ten minutes.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from braindecode_hub.types import Array

BLOCK = 1 << 24
"""Bytes that are read in one go where a long array is walked through."""
RESIDENT = 1 << 25
"""Bytes of memory-mapped files that stay resident while windows are cut from them."""
AROUND = 1 << 16
"""Bytes that a system maps in around the byte that was asked for."""
CHUNK = 1 << 19
"""float64 values held in one working array (4 MB)."""
LARGE = 1 << 26
"""Bytes above which an array that is only needed for a while lies in a temporary file."""


class Clipped:
    """`count` frames of an array from frame `first` on; beyond its ends, its edge frames are repeated."""

    def __init__(self, data: Array, first: int, count: int) -> None:
        self._data, self._first = data, first
        self.shape: tuple[int, ...] = (count, *data.shape[1:])
        self.ndim, self.dtype = data.ndim, data.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice) -> Array:
        start, stop, step = key.indices(len(self))
        index = np.clip(np.arange(self._first + start, self._first + stop, step), 0, len(self._data) - 1)
        if not len(index):
            return np.empty((0, *self.shape[1:]), self.dtype)
        low, high = int(index.min()), int(index.max())
        part = np.asarray(self._data[low : high + 1])
        return part if len(part) == len(index) and step == 1 else part[index - low]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


class Joined:
    """Arrays (frames, …) one behind the other, `shift` frames rolled; what is sliced is copied, nothing else read."""

    def __init__(self, parts: Sequence[Array], shift: int = 0) -> None:
        self.parts = list(parts)
        self._starts = [0, *accumulate(len(part) for part in self.parts)]
        self.shape: tuple[int, ...] = (self._starts[-1], *self.parts[0].shape[1:])
        self.ndim, self.dtype = self.parts[0].ndim, self.parts[0].dtype
        self._shift = shift % max(1, len(self))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice) -> Array:
        start, stop, step = key.indices(len(self))
        found = list(self._runs((start - self._shift) % max(1, len(self)), max(0, stop - start)))
        values = np.concatenate(found) if found else np.empty((0, *self.shape[1:]), self.dtype)
        return values[::step] if step != 1 else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def _runs(self, at: int, count: int) -> Iterator[Array]:
        """Yield the pieces of `count` frames from frame `at` on, round the end if need be."""
        while count > 0:
            number = bisect_right(self._starts, at) - 1
            low = at - self._starts[number]
            some = np.asarray(self.parts[number][low : low + count])
            yield some
            count -= len(some)
            at = (at + len(some)) % len(self)


def blocks(array: Array) -> Iterator[Array]:
    """Yield an array (frames, …) in consecutive pieces of some MB, and give their pages back."""
    row = max(1, int(np.prod(array.shape[1:], dtype=np.int64))) * array.dtype.itemsize
    step = max(1, BLOCK // row)
    for start in range(0, len(array), step):
        yield np.asarray(array[start : start + step])
        give_back([array])


def row_blocks(rows: int, width: int) -> list[slice]:
    """Return slices that cut `rows` rows of `width` values into working arrays of at most CHUNK values, or a row."""
    step = max(1, CHUNK // width)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def mean(array: Array) -> Array:
    """Return the mean over the first axis, float64, piece by piece."""
    total = np.zeros(array.shape[1:], np.float64)
    for some in blocks(array):
        total += some.sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(1, len(array)))


def give_back(arrays: Iterable[Array]) -> None:
    """Let the system have the memory of memory-mapped arrays; what is read again comes from the file again."""
    for one in _maps(arrays):
        if hasattr(one, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            one.madvise(mmap.MADV_DONTNEED)


class Residents:
    """Keeps count of what cutting from memory maps makes resident, and gives it back now and then."""

    def __init__(self, arrays: Iterable[Array]) -> None:
        self._maps = _maps(arrays)
        self.large = sum(len(one) for one in self._maps) > RESIDENT
        self._read = 0

    def count(self, pieces: int, bytes: int) -> None:
        """Note that so many contiguous pieces were cut, together so many bytes."""
        self._read += bytes + pieces * AROUND
        if self._read > RESIDENT:
            give_back(self._maps)
            self._read = 0


def scratch(shape: tuple[int, ...], dtype: Any = "float32") -> Array:
    """Return a zeroed, writable array; a large one lies in a file without a name, which ends with the array."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= LARGE:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # a full disk must be an error now, not a signal later
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype, "r+", shape=shape)


def _maps(arrays: Iterable[Array]) -> list[Any]:
    """Return the memory maps under arrays, each once."""
    found: dict[int, Any] = {}
    for array in arrays:
        for one in _parts(array):
            while one is not None and not isinstance(one, mmap.mmap):
                one = getattr(one, "_mmap", None) or getattr(one, "base", None)
            if one is not None:
                found[id(one)] = one
    return list(found.values())


def _parts(array: Array) -> list[Any]:
    if isinstance(array, Joined):
        return [one for part in array.parts for one in _parts(part)]
    return [array._data] if isinstance(array, Clipped) else [array]

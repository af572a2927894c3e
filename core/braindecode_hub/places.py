"""Where windows stand: how trials are tiled, in whole frames of the target that has a clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindecode_hub.types import Array


@dataclass(frozen=True)
class Places:
    """(windows,) int arrays of item, first frame on the clock target, and how many frames."""

    item: Array
    frame: Array
    count: Array

    def __len__(self) -> int:
        return len(self.item)

    def __getitem__(self, some: Any) -> Places:
        return Places(self.item[some], self.frame[some], self.count[some])

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Yield them one by one as plain numbers."""
        return zip(self.item.tolist(), self.frame.tolist(), self.count.tolist(), strict=True)


def one_each(count: int) -> Places:
    """Return one window for each of `count` items that do not run in time."""
    ones = np.ones(count, np.int64)
    return Places(np.arange(count), 0 * ones, ones)


def tiled(totals: Sequence[int], rate: float, length_s: float | None, hop_s: float | None, *, cover: bool) -> Places:
    """Tile items of so many frames (`totals`, at `rate` Hz) by windows of `length_s` (None: whole) every `hop_s`.

    `cover` moves the last window back so that all are whole; else the last is short.
    """
    item, frame, counts = ([np.zeros(0, np.int64)] for _ in range(3))
    for number, total in enumerate(totals):
        count = total if length_s is None else max(1, round(length_s * rate))
        hop = count if hop_s is None else max(1, round(hop_s * rate))
        if total <= 0:
            continue
        starts = np.arange(0, max(1, total - count + 1) if cover else total, hop)
        if cover and starts[-1] + count < total:
            starts = np.append(starts, total - count)
        item.append(np.full(len(starts), number))
        frame.append(starts)
        counts.append(np.full(len(starts), count) if cover else np.minimum(count, total - starts))
    return Places(np.concatenate(item), np.concatenate(frame), np.concatenate(counts))

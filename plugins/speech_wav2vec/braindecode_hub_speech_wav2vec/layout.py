"""Where sensors are: positions in metres become places in the unit square, and groups of rows that share them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Space

FLAT = 1e-3
"""A layout whose height is less than this share of its width is flat already."""
GRID = 5
"""Points of the common grid on each side."""
WIDTH = 0.15
"""SD of the bell by which a sensor reaches the grid's points, in the unit square."""


def places(positions: Array) -> Array:
    """Return places (channels, 2) float32 in [0, 1]² for positions (channels, 3) in metres; NaN stays NaN.

    Positions on a head are projected azimuthally (equal distances along the meridians from the top); a flat layout
    is taken as it is. Each axis is then stretched from 0 to 1, as in Défossez et al. 2023.
    """
    xyz = np.asarray(positions, np.float64)
    known = np.isfinite(xyz).all(axis=1)
    out = np.full((len(xyz), 2), np.nan)
    if known.any():
        flat = _projected(xyz[known])
        low, span = flat.min(axis=0), np.ptp(flat, axis=0)
        out[known] = np.where(span > 0, (flat - low) / np.where(span > 0, span, 1.0), 0.5)
    return out.astype(np.float32)


def _projected(xyz: Array) -> Array:
    height, width = np.ptp(xyz[:, 2]), np.ptp(xyz[:, :2], axis=0).max()
    if height <= FLAT * max(width, 1e-12):
        return xyz[:, :2]
    polar = np.arctan2(np.hypot(xyz[:, 0], xyz[:, 1]), xyz[:, 2])
    turn = np.arctan2(xyz[:, 1], xyz[:, 0])
    return np.stack([polar * np.cos(turn), polar * np.sin(turn)], axis=1)


def in_a_row(count: int, channels: int) -> Array:
    """Return places (channels, 2) of `count` sensors whose positions nobody knows: spread evenly by their number.

    A sunflower's spiral (Vogel 1979): the same number means the same place, as far as montages are the same.
    """
    number = np.arange(count) + 0.5
    radius, turn = 0.5 * np.sqrt(number / max(count, 1)), np.pi * (3.0 - np.sqrt(5.0)) * number
    out = np.full((channels, 2), np.nan, np.float32)
    out[:count] = 0.5 + np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    return out


def layouts(x: Array, batch: Batch | None) -> tuple[Array, Array]:
    """Return the distinct layouts of a batch (layouts, channels, 2), and which of them each row has (rows,) int64.

    NaN: no such sensor in the montage, no position, or a channel that is 0 throughout the window (marked bad). A
    montage without a single position is placed by `in_a_row`.
    """
    rows, channels = x.shape[:2]
    there = (np.asarray(x) != 0).any(axis=2)
    mask = np.ones((rows, channels), bool)
    if batch is not None and batch.channel_mask is not None:
        mask = np.asarray(batch.channel_mask, bool)
    known = np.full((rows, channels, 3), np.nan, np.float32)
    if batch is not None and batch.positions is not None:
        known = np.where(mask[:, :, None], np.asarray(batch.positions, np.float32), np.float32(np.nan))
    found: dict[bytes, int] = {}
    distinct: list[Array] = []
    which = np.zeros(rows, np.int64)
    for row in range(rows):
        key = known[row].tobytes() + mask[row].tobytes() + there[row].tobytes()
        if key not in found:
            found[key] = len(distinct)
            placed = places(known[row])
            if not np.isfinite(placed).any():
                placed = in_a_row(int(mask[row].sum()), channels)
            distinct.append(np.where((there & mask)[row][:, None], placed, np.float32(np.nan)))
        which[row] = found[key]
    return np.stack(distinct), which


def grid_weights(placed: Array) -> Array:
    """Return (grid points, channels) float32: how a layout (channels, 2) reaches the common grid; rows sum to 1.

    Sensors whose place is NaN have no weight; a layout without any gives 0.
    """
    along = (np.arange(GRID) + 0.5) / GRID
    points = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
    known = np.isfinite(placed).all(axis=1)
    apart = ((points[:, None] - np.where(known[:, None], placed, 0.0)[None]) ** 2).sum(axis=2)
    nearest = np.where(known[None], apart, np.inf).min(axis=1, keepdims=True, initial=1e9)
    bell = np.where(known[None], np.exp(-np.maximum(apart - nearest, 0.0) / (2 * WIDTH**2)), 0.0)
    total = bell.sum(axis=1, keepdims=True)
    return np.where(total > 0, bell / np.where(total > 0, total, 1.0), 0.0).astype(np.float32)


class OnGrid(Encoder):
    """What reaches each point of the common grid: (batch, channels, time) → (batch, grid points, time)."""

    @property
    def consumes(self) -> Space:
        """Channels over time, with positions."""
        return Space("*", ("channels", "time"), "*")

    @property
    def produces(self) -> Space:
        """The grid's points in their place."""
        return Space("grid", ("channels", "time"), "*")

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Interpolate (batch, channels, time) by `grid_weights` of each row's own layout, float32."""
        distinct, which = layouts(x, batch)
        weights: Sequence[Array] = [grid_weights(one) for one in distinct]
        return np.stack([weights[layout] @ np.nan_to_num(row) for layout, row in zip(which, x, strict=True)])

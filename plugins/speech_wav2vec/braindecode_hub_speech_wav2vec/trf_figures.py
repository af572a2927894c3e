"""The plots of a TRF: where it predicts the scalp, how its kernels run over lags and sensors, what a feature adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from braindecode_hub.figures import BLUE, GREEN, GREY, INK, ORANGE, PINK, SKY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from braindecode_hub.types import Array

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY)
GRID = 80
FEWEST_PLACES = 4
"""Sensors that a map needs; fewer become bars."""


def topography_figure(
    r: Array, positions: Array, significant: Array, names: list[str], *, label: str = "r", signed: bool = True
) -> Figure:
    """Draw r (channels,) on the head seen from above, nose up; dots: sensors, large ones where p ≤ .05.

    `positions`: (channels, 3) metres, x to the right and y to the nose; with none of them, bars by channel. `label`:
    what r is; `signed`: colours are centred at 0, else they run from the smallest to the largest value.
    """
    if len(positions) != len(r) or len(r) < FEWEST_PLACES:
        return _bars(r, significant, names)
    from scipy.interpolate import RBFInterpolator

    figure, axes = new_figure(width=3.8, height=3.2)
    places = flat(positions)
    radius = 1.08 * float(np.linalg.norm(places, axis=1).max())
    ticks = np.linspace(-radius, radius, GRID)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    apart = places + 1e-6 * np.random.default_rng(0).standard_normal(places.shape)  # two sensors may share a place
    values = RBFInterpolator(apart, r, smoothing=1e-3)(grid)
    values[np.linalg.norm(grid, axis=1) > radius] = np.nan
    most = max(float(np.abs(r).max()), 1e-6)
    low, high = (-most, most) if signed else (float(r.min()), max(float(r.max()), float(r.min()) + 1e-6))
    colours = "RdBu_r" if signed else "viridis"
    image = axes.pcolormesh(
        ticks, ticks, values.reshape(GRID, GRID), cmap=colours, vmin=low, vmax=high, rasterized=True
    )
    axes.scatter(*places.T, s=np.where(significant, 22, 5), color=INK, linewidths=0)
    round_ = np.linspace(0, 2 * np.pi, 200)
    axes.plot(radius * np.sin(round_), radius * np.cos(round_), color=GREY, linewidth=1.0)
    axes.plot(radius * np.array([-0.1, 0.0, 0.1]), radius * np.array([1.0, 1.1, 1.0]), color=GREY, linewidth=1.0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    figure.colorbar(image, ax=axes, shrink=0.8, label=label)
    return figure


def flat(positions: Array) -> Array:
    """Return (sensors, 3) as seen from above, unrolled: (sensors, 2), the angle from the vertex as distance."""
    places = np.asarray(positions, np.float64)
    centre = np.array([0.0, 0.0, 0.0]) if places[:, 2].min() >= 0 else np.array([0.0, 0.0, places[:, 2].min() / 2])
    away = places - centre
    across = np.linalg.norm(away[:, :2], axis=1)
    angle = np.arctan2(across, away[:, 2])
    return away[:, :2] * np.divide(angle, across, out=np.zeros_like(angle), where=across > 0)[:, None]


def kernels_figure(kernels: Array, lags: Array, name: str) -> Figure:
    """Draw kernels (lags, channels), a line a channel, and their spread over channels in orange."""
    figure, axes = new_figure(width=4.2, height=2.5)
    axes.plot(1e3 * lags, kernels, color=BLUE, linewidth=0.6, alpha=0.5)
    axes.plot(1e3 * lags, kernels.std(axis=1), color=ORANGE, linewidth=1.8)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.axvline(0.0, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xlabel("brain after sound (ms)")
    axes.set_ylabel(f"{name} kernel")
    return figure


def sensors_figure(kernels: Array, lags: Array, rows: list[str], what: str) -> Figure:
    """Draw kernels (lags, rows) as an image, a row a sensor or a frequency bin."""
    figure, axes = new_figure(width=4.6, height=max(2.4, min(5.0, 0.12 * len(rows) + 1.2)))
    most = max(float(np.abs(kernels).max()), 1e-30)
    image = axes.pcolormesh(
        1e3 * lags,
        range(len(rows)),
        kernels.T,
        cmap="RdBu_r",
        vmin=-most,
        vmax=most,
        shading="nearest",
        rasterized=True,
    )
    step = max(1, len(rows) // 16)
    axes.set_yticks(range(0, len(rows), step), rows[::step])
    axes.set_xlabel("brain after sound (ms)")
    axes.set_ylabel(what)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def unique_figure(unique: Mapping[str, Array]) -> Figure:
    """Draw what each feature adds to r: a dot a channel (channels,), a bar for their mean."""
    figure, axes = new_figure(width=3.6, height=2.5)
    for at, values in enumerate(unique.values()):
        colour = COLOURS[at % len(COLOURS)]
        axes.bar(at, float(np.mean(values)), color=colour, width=0.6, alpha=0.6)
        axes.scatter(at + np.linspace(-0.2, 0.2, len(values)), values, s=5, color=colour)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(unique)), list(unique))
    axes.set_ylabel("r with, less r without")
    return figure


def null_figure(r: Array, null: Array) -> Figure:
    """Draw the null of the largest r over channels as a histogram, and every channel's r as a line above it."""
    figure, axes = new_figure(width=4.2, height=2.3)
    axes.hist(null, bins=30, color=GREY)
    top = axes.get_ylim()[1]
    axes.vlines(r, 0, 0.6 * top, color=BLUE, linewidth=0.8)
    axes.axvline(float(np.quantile(null, 0.95)), color=ORANGE, linewidth=1.2, linestyle="--")
    axes.set_xlabel("r (histogram: largest of all channels, by chance)")
    axes.set_ylabel("draws")
    return figure


def _bars(r: Array, significant: Array, names: list[str]) -> Figure:
    figure, axes = new_figure(width=max(3.6, min(7.0, 0.25 * len(r) + 1.5)), height=2.5)
    axes.bar(range(len(r)), r, color=np.where(significant, BLUE, GREY).tolist())
    step = max(1, len(names) // 20)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=90 if len(names) > 8 else 0)
    axes.set_ylabel("r")
    return figure

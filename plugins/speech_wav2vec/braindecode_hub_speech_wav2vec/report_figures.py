"""The plots of a retrieval: the rank curve against chance, every subject, and how alike everything is to everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from braindecode_hub.figures import BLUE, GREY, INK, ORANGE, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from braindecode_hub.types import Array


def rank_figure(ranks: Array, candidates: int) -> Figure:
    """Draw the share of windows whose own candidate is among the nearest k, and k / N, which a guess reaches."""
    figure, axes = new_figure(width=4.4, height=3.0)
    k = np.arange(1, candidates + 1)
    axes.plot(k, 100 * np.array([(ranks <= one).mean() for one in k]), color=BLUE, linewidth=2.0, label="decoded")
    axes.plot(k, 100 * k / candidates, color=GREY, linestyle="--", label="chance, k / N")
    axes.set_xlim(1, max(2, candidates))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(0, 103)
    axes.set_xlabel(f"nearest k of {candidates}")
    axes.set_ylabel("windows found (%)")
    axes.legend(frameon=False, loc="lower right")
    return figure


def subjects_figure(shares: Mapping[str, tuple[float, tuple[float, float]]], chance: float, k: int) -> Figure:
    """Draw each subject's share of windows found among the nearest k, its interval, and chance."""
    figure, axes = new_figure(width=max(3.2, 0.6 * len(shares) + 1.4), height=2.8)
    places = np.arange(len(shares))
    axes.bar(places, [100 * value for value, _ in shares.values()], color=BLUE, width=0.65)
    for place, (value, ends) in zip(places, shares.values(), strict=True):
        axes.plot([place, place], [100 * end for end in ends], color=INK, linewidth=1.4)
        axes.plot(place, 100 * value, marker="_", color=INK)
    axes.axhline(100 * chance, color=ORANGE, linestyle="--", linewidth=1.2)
    axes.set_xticks(
        places,
        [plain(name if len(name) < 15 else name[:13] + "…") for name in shares],
        rotation=0 if all(len(name) < 5 for name in shares) and len(shares) < 17 else 90,
    )
    axes.set_ylim(0, 103)
    axes.set_ylabel("right one first (%)" if k == 1 else f"right one among {k} (%)")
    return figure


def similarity_figure(scores: Array, own: Array) -> Figure:
    """Draw cosines (queries, candidates), queries in the order of their own candidates: the right ones in a line."""
    order = np.argsort(own, kind="stable")
    figure, axes = new_figure(width=4.6, height=max(2.6, min(6.0, 2.2 + 0.01 * len(scores))))
    most = float(np.abs(scores).max()) or 1.0
    image = axes.imshow(scores[order], aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    axes.plot(own[order], np.arange(len(own)), color=INK, linewidth=0.6, alpha=0.6)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("candidate")
    axes.set_ylabel("window of brain")
    figure.colorbar(image, ax=axes, label="cosine")
    return figure

"""The plots of a report, each a small matplotlib figure that reads well on white, on black and on a phone.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from braindecode_hub.verdict import finite, interval, label, number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PAPER = "#1a2233", "#ffffff"
DARK_INK, DARK_PAPER = "#e4e8f0", "#171c27"
GREY, BLUE, ORANGE, GREEN, SKY, PINK = "#8a93a5", "#2f7fc1", "#d9661f", "#0f9d78", "#56b4e9", "#cc79a7"
DPI = 160
CONTROL_MARKS = "oD^vs"
MOST_ROWS = 24
"""Rows of the split's timeline."""


def new_figure(width: float = 4.2, height: float = 2.8) -> tuple[Figure, Axes]:
    """Return an empty figure of `width` × `height` inches and its axes, in the report's style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAPER)
    axes = figure.add_subplot()
    axes.set_facecolor(PAPER)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
        axis.label.set_fontsize(9.5)
    return figure, axes


def png(figure: Figure, *, dark: bool = False) -> bytes:
    """Return `figure` as a PNG; `dark`: with the ink and paper of a dark page. The figure stays as it was."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    undo = list(_repaint(figure)) if dark else []
    file = io.BytesIO()
    try:
        figure.savefig(file, format="png", dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})
    finally:
        for setter, old in undo:
            setter(old)
    return file.getvalue()


def _repaint(figure: Figure) -> Iterator[tuple[Any, Any]]:
    """Exchange ink and paper in every artist; yield each setter with the colour it had."""
    import numpy as np
    from matplotlib.colors import to_rgba, to_rgba_array

    figure.draw_without_rendering()
    exchange = {"#000000": DARK_INK, INK: DARK_INK, PAPER: DARK_PAPER}
    pairs = [(np.array(to_rgba(old)[:3]), to_rgba(new)[:3]) for old, new in exchange.items()]
    for artist in figure.findobj():
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            getter, setter = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
            if getter is None or setter is None:
                continue
            old = getter()
            if old is None or (isinstance(old, str) and old in ("auto", "none")):
                continue
            colours = to_rgba_array(old)
            new = colours.copy()
            for ink, other in pairs:
                drawn = colours[:, 3] > 0
                new[drawn & (np.abs(colours[:, :3] - ink) < 1e-3).all(axis=1), :3] = other
            if not np.array_equal(new, colours):
                setter(new if len(new) > 1 else new[0])
                yield setter, old


def null_figure(null: np.ndarray, entry: Mapping[str, Any], name: str) -> Figure:
    """Draw what chance gives (`null`, any shape) and where the observed score `entry` stands."""
    import numpy as np

    values = np.asarray(null, float).ravel()
    values = values[np.isfinite(values)]
    figure, axes = new_figure(height=3.1)
    axes.hist(values, bins=min(60, max(10, int(np.sqrt(values.size)))), color=GREY, alpha=0.75)
    observed = finite(entry.get("value"))
    top = axes.get_ylim()[1]
    if observed is not None:
        axes.axvline(observed, color=ORANGE, linewidth=2.2)
        left = observed > float(np.mean(axes.get_xlim()))
        axes.annotate(
            f"observed {number(observed)}", (observed, top * 0.94), xytext=(-6 if left else 6, 0),
            textcoords="offset points", color=ORANGE,
            ha="right" if left else "left", va="top", fontsize=9.5, weight="bold",
        )  # fmt: skip
    axes.set(xlabel=_with_unit(name, entry), ylabel="count by chance")
    axes.margins(x=0.05)
    return figure


def ladder_figure(
    name: str, entry: Mapping[str, Any], refits: Mapping[str, Sequence[float]],
    baselines: Mapping[str, float], ceiling: float | None,
) -> Figure:  # fmt: skip
    """Draw one score from chance to ceiling: every control refit, the baselines, the pipeline."""
    rows = [*refits, *baselines, "pipeline"]
    figure, axes = new_figure(height=1.1 + 0.3 * len(rows))
    for height, (kind, mark) in enumerate(zip(refits, CONTROL_MARKS * 9, strict=False)):
        points = [value for value in map(finite, map(float, refits[kind])) if value is not None]
        jitter = [height + 0.22 * ((i * 0.618) % 1 - 0.5) * (len(points) > 1) for i in range(len(points))]
        axes.scatter(points, jitter, s=30, marker=mark, color=BLUE, alpha=0.9, linewidths=0, zorder=3)
        if points:
            axes.vlines(sum(points) / len(points), height - 0.3, height + 0.3, color=BLUE, linewidth=2, zorder=4)
    for height, reached in enumerate(baselines.values(), len(refits)):
        axes.scatter([reached], [height], s=46, marker="s", color=GREEN, zorder=3)
    value, ends, last = finite(entry.get("value")), interval(entry), len(rows) - 1
    if ends:
        axes.hlines(last, *ends, color=ORANGE, linewidth=4, alpha=0.45, zorder=3)
    if value is not None:
        axes.scatter([value], [last], s=80, marker="D", color=ORANGE, zorder=5)
    chance = finite(entry.get("chance"))
    _upright(axes, chance, "chance", (0, (4, 3)), last)
    _upright(axes, ceiling, "ceiling", (0, (1, 1.5)), last)
    axes.set_yticks(range(len(rows)), [plain(label(row)) for row in rows])
    axes.set_ylim(-0.6, last + 0.6)
    axes.margins(x=0.08)
    axes.set_xlabel(_with_unit(name, entry))
    return figure


def _upright(axes: Axes, value: float | None, text: str, dashes: Any, last: int) -> None:
    if value is not None:
        axes.axvline(value, color=INK, linewidth=1.2, linestyle=dashes, zorder=2)
        axes.annotate(
            text,
            (value, last + 0.62),
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
        )


def subjects_figure(by_subject: Mapping[str, float], entry: Mapping[str, Any], name: str) -> Figure:
    """Draw one bar per subject, from chance up (or down), best first."""
    worst_last = sorted(
        by_subject.items(), key=lambda pair: pair[1], reverse=entry.get("higher_is_better") is not False
    )
    chance = finite(entry.get("chance")) or 0.0
    figure, axes = new_figure(width=min(6.5, 2.4 + 0.36 * len(worst_last)))
    heights = [value - chance for _, value in worst_last]
    axes.bar(range(len(heights)), heights, bottom=chance, color=BLUE, width=0.7)
    axes.axhline(chance, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    mean = finite(entry.get("value"))
    if mean is not None:
        axes.axhline(mean, color=ORANGE, linewidth=1.5)
    turned = len(heights) > 8 or any(len(subject) > 7 for subject, _ in worst_last)
    names = [plain(subject if len(subject) < 15 else subject[:13] + "…") for subject, _ in worst_last]
    axes.set_xticks(range(len(heights)), names, rotation=90 if turned else 0)
    axes.margins(y=0.08)
    axes.use_sticky_edges = False
    axes.set_ylabel(_with_unit(name, entry))
    return figure


def paired_figure(units: np.ndarray, baseline: np.ndarray, entry: Mapping[str, Any], name: str, beside: str) -> Figure:
    """Draw each unit's score against a baseline's: above the diagonal, the pipeline is higher."""
    import numpy as np

    both = np.stack([np.asarray(baseline, float).ravel(), np.asarray(units, float).ravel()])
    both = both[:, np.isfinite(both).all(axis=0)]
    figure, axes = new_figure(width=4.0, height=3.2)
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    ends = (low - 0.06 * (high - low or 1), high + 0.06 * (high - low or 1))
    axes.plot(ends, ends, color=GREY, linewidth=1)
    axes.scatter(both[0], both[1], s=28, color=ORANGE, alpha=0.75, linewidths=0)
    axes.set(
        xlim=ends,
        ylim=ends,
        aspect="equal",
        xlabel=f"{plain(label(beside))}: {_with_unit(name, entry)}",
        ylabel="pipeline",
    )
    return figure


def _with_unit(name: str, entry: Mapping[str, Any]) -> str:
    return plain(label(name) + (f" ({entry['unit']})" if entry.get("unit") else ""))


def plain(text: str) -> str:
    """Return `text` for a plot: short, without control characters, and no mathematics is read into it."""
    shown = "".join(letter for letter in text if letter.isprintable())
    return (shown if len(shown) <= 48 else shown[:47] + "…").replace("$", r"\$")


def timeline(split: Mapping[str, Any]) -> dict[str, Any]:
    """Return the split as bars: `rows` of (fold, recording, seconds, marks, totals); `left`: rows left out.

    A mark is (side, start, width) in thousandths of the recording's used stretch; a total is seconds by side.
    """
    by_row: dict[tuple[Any, str], list[tuple[float, float, str]]] = {}
    for fold in split.get("folds") or ():
        for side, pieces in (fold.get("sides") or {}).items():
            for piece in pieces:
                row = by_row.setdefault((fold.get("fold"), str(piece["recording"])), [])
                row.append((float(piece["start"]), float(piece["stop"]), str(side)))
    rows = [_bar(fold, recording, sorted(pieces)) for (fold, recording), pieces in sorted(by_row.items(), key=str)]
    return {"rows": rows[:MOST_ROWS], "left": max(0, len(rows) - MOST_ROWS)}


def _bar(fold: Any, recording: str, pieces: list[tuple[float, float, str]]) -> dict[str, Any]:
    first, last = pieces[0][0], max(stop for _, stop, _ in pieces)
    length = (last - first) or 1.0
    merged: list[list[Any]] = []
    totals: dict[str, float] = {}
    for start, stop, side in pieces:
        totals[side] = totals.get(side, 0.0) + stop - start
        if merged and merged[-1][0] == side and start - merged[-1][2] < length / 2000:
            merged[-1][2] = max(stop, merged[-1][2])
        else:
            merged.append([side, start, stop])
    marks = [(side, 1000 * (start - first) / length, 1000 * (stop - start) / length) for side, start, stop in merged]
    totals["not used"] = max(0.0, last - first - sum(totals.values()))
    return {
        "fold": fold,
        "recording": recording,
        "first": first,
        "last": last,
        "marks": marks,
        "totals": totals,
    }


def pair_png(target: np.ndarray, predicted: np.ndarray) -> tuple[bytes, int, int]:
    """Return two (frames, bins) arrays as one PNG, the first above the second, with its height and width."""
    from io import BytesIO

    import numpy as np
    from matplotlib import image

    low, high = float(np.min(target)), float(np.max(target))
    gap = np.full((2, len(target)), high)
    pixels = np.concatenate([np.asarray(target).T[::-1], gap, np.asarray(predicted).T[::-1]])
    sink = BytesIO()
    image.imsave(sink, pixels, vmin=low, vmax=max(high, low + 1e-6), cmap="magma", format="png")
    return sink.getvalue(), pixels.shape[0], pixels.shape[1]

"""The curve over minutes of a new subject: as lines for a terminal, as a figure, as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from braindecode_hub.embed import figure_html, report_environment, template
from braindecode_hub.figures import BLUE, GREEN, INK, ORANGE, PINK, SKY, new_figure, plain
from braindecode_hub.scoretable import flags
from braindecode_hub.text import visible
from braindecode_hub.verdict import finite, interval, label, number, probability

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

SCHEMA = "braindecode-hub/adaptation/1"
DASH = "–"


class Curve:
    """What adaptation.json says, one score at a time."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.about = about
        self.main: str = about["main"]
        self.rungs: list[dict[str, Any]] = about["curve"]
        self.alone = list(dict.fromkeys(name for rung in self.rungs for name in rung["baselines"]))

    def names(self) -> list[str]:
        """Return every score, the main one first."""
        found = [name for rung in self.rungs for name in rung["scores"]]
        return sorted(dict.fromkeys(found), key=lambda name: name != self.main)

    def rows(self, name: str) -> list[list[str]]:
        """Return one row a rung: minutes, how, score, interval, chance, p, baseline, difference with its interval."""
        return [self._row(rung, name) for rung in self.rungs]

    def _row(self, rung: Mapping[str, Any], name: str) -> list[str]:
        entry = rung["scores"].get(name) or {}
        ends = interval(entry)
        value, chance, p = (finite(entry.get(key)) for key in ("value", "chance", "p"))
        return [
            f"{rung['minutes']:.3g}",
            rung["how"],
            DASH if value is None else number(value, 3),
            f"{number(ends[0], 3)} to {number(ends[1], 3)}" if ends else DASH,
            DASH if chance is None else number(chance, 3),
            DASH if p is None else probability(p),
            *(self._beside(rung, alone, name) for alone in self.alone),
        ]

    def _beside(self, rung: Mapping[str, Any], alone: str, name: str) -> str:
        """Return what a baseline reaches, and by how much the rung is above it, with the interval of that."""
        value = finite((rung["baselines"].get(alone) or {}).get(name))
        apart = (rung["differences"].get(alone) or {}).get(name) or {}
        more, ends = finite(apart.get("value")), interval(apart)
        if value is None or more is None:
            return DASH if value is None else number(value, 3)
        sign = "+" if more >= 0 else ""
        return f"{number(value, 3)}, {sign}{number(more)}" + (
            f" ({number(ends[0])} to {number(ends[1])})" if ends else ""
        )

    def columns(self) -> list[str]:
        """Return the titles of `rows`."""
        return ["minutes", "how", "value", "95 % interval", "chance", "p", *(f"{name} alone" for name in self.alone)]


def plain_curve(curve: Curve) -> list[str]:
    """Return the main score's curve as lines for a terminal."""
    about, test = curve.about, curve.about["test"]
    head = f"{label(curve.main)} of subject {about['subject']} on {test['units']} test units ({test['seconds']:.0f} s)"
    rows = [curve.columns(), *curve.rows(curve.main)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*(f"{flag}: {meaning}" for flag, meaning in flags(about)), head, *lines]


def curve_figure(curve: Curve) -> Figure:
    """Draw the main score over minutes with its intervals, the linear baseline's on the same minutes, and chance."""
    figure, axes = new_figure(5.6, 3.2)
    places = range(len(curve.rungs))
    entries = [rung["scores"].get(curve.main) or {} for rung in curve.rungs]
    told = [(k, finite(entry.get("value"))) for k, entry in zip(places, entries, strict=True)]
    drawn = [(k, value) for k, value in told if value is not None]
    for k, entry in zip(places, entries, strict=True):
        ends = interval(entry)
        if ends:
            axes.vlines(k, *ends, color=ORANGE, linewidth=4, alpha=0.35)
    axes.plot([k for k, _ in drawn], [v for _, v in drawn], color=ORANGE, marker="D", label=curve.rungs[-1]["how"])
    for alone, colour, mark in zip(curve.alone, (GREEN, SKY, PINK, BLUE) * 9, "s^vo" * 9, strict=False):
        reached = [finite((rung["baselines"].get(alone) or {}).get(curve.main)) for rung in curve.rungs]
        known = [(k, value) for k, value in enumerate(reached) if value is not None]
        named = plain(f"{label(alone)}, these minutes alone")
        axes.plot([k for k, _ in known], [v for _, v in known], color=colour, marker=mark, label=named)
    chance = finite(entries[-1].get("chance"))
    if chance is not None:
        axes.axhline(chance, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    axes.set_xticks(list(places), [f"{rung['minutes']:.3g}" for rung in curve.rungs])
    axes.set(xlabel="minutes of the new subject", ylabel=plain(label(curve.main)))
    axes.margins(x=0.06, y=0.12)
    legend = axes.legend(fontsize=8.5, frameon=False)
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


def adaptation_page(curve: Curve) -> str:
    """Return a page that refers to nothing outside itself, in the style of the report."""
    macros: Any = template().module
    said = "; ".join(
        ", ".join([f"{row[0]} minutes {row[2]}", *(f"{n} {c}" for n, c in zip(curve.alone, row[6:], strict=True))])
        for row in curve.rows(curve.main)
    )
    picture = figure_html(
        curve_figure(curve),
        f"{label(curve.main)} over minutes: {said}.",
        "Bars: 95 % intervals. All rungs are scored on the same test side.",
    )
    tables = [(name, curve.rows(name)) for name in curve.names()]
    raised = flags(curve.about)
    return visible(
        _page().render(
            style=macros.stylesheet(), about=curve.about, flags=raised, picture=picture, tables=tables,
            columns=curve.columns(), main=curve.main,
        )
    )  # fmt: skip


@cache
def _page() -> jinja2.Template:
    from importlib.resources import files

    text = files("braindecode_hub").joinpath("adaptation.html.j2").read_text("utf-8")
    return report_environment().from_string(text)

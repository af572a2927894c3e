"""The page of a run: one self-contained HTML file with what was decoded, how well, and against what."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from braindecode_hub import figures
from braindecode_hub.embed import audio_html, figure_html, template
from braindecode_hub.privacy import Shareable
from braindecode_hub.scoretable import flags, score_table, tiles
from braindecode_hub.text import visible
from braindecode_hub.verdict import finite, headline, interval, judge, label, number, probability

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Item",
    "Reported",
    "Section",
    "audio_html",
    "checked_sections",
    "figure_html",
    "main_score",
    "render_report",
]

MOST_DRAWN = 4
"""Scores that are drawn; the table has them all."""
KINDS = {
    "shuffled": "Trained on exchanged stimuli: what the score gives when there was nothing to learn.",
    "relabelled": "Stimuli exchanged between blocks, in training and test: above chance by drift or time.",
    "noise": "Noise of the same spectrum in place of the brain: above chance by something else.",
    "prestimulus": "The window before the stimulus: above chance if the answer was there before it.",
}


@dataclass(frozen=True)
class Section:
    """A part of the report; low `order` comes first, `html` is put in as it is: escape what is not yours.

    The verdict stands above all; Scores have order 20, Controls 30, Subjects 40, The split 50, How it was
    scored 60, Timings 70, Reproduce 80, Configuration 90.
    """

    title: str
    html: str
    order: int = 50


def checked_sections(answer: object) -> list[Section]:
    """Return what a plugin's `report_sections` gave as a list; TypeError where that is anything but Sections."""
    found = [] if answer is None else list(answer)  # type: ignore[call-overload]
    for one in found:
        if not isinstance(one, Section):
            raise TypeError(f"report_sections returned a {type(one).__name__}, not a Section")
        whole = isinstance(one.title, str) and isinstance(one.html, str)
        if not whole or isinstance(one.order, bool) or not isinstance(one.order, int | float):
            raise TypeError("a Section has a text as title, a text as html and a number as order")
    return found


class Item(Protocol):
    """A scored test stretch: arrays (frames, bins) by target name, `rate` in frames per second."""

    @property
    def name(self) -> str:
        """Name of the stretch, as its artifacts begin."""
        ...

    @property
    def target(self) -> dict[str, np.ndarray]:
        """What was presented: (frames, bins) by target name."""
        ...

    @property
    def predicted(self) -> dict[str, np.ndarray]:
        """What was decoded, in the same shapes."""
        ...

    @property
    def rate(self) -> float | None:
        """Frames per second; None for what does not run in time."""
        ...


class Reported(Protocol):
    """What the report reads of a finished run."""

    @property
    def path(self) -> Path:
        """The run folder."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """The resolved pipeline."""
        ...

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds."""
        ...

    @property
    def split(self) -> dict[str, Any]:
        """What split.json holds."""
        ...

    @property
    def env(self) -> dict[str, Any]:
        """Machine and versions."""
        ...

    @property
    def retrieval(self) -> list[dict[str, Any]]:
        """What was looked up in each fit."""
        ...

    @property
    def details(self) -> dict[str, np.ndarray]:
        """Arrays behind the scores: units/<score>, null/<score>, controls/<kind>/<score>, bins/<score>."""
        ...

    def artifacts(self) -> list[Path]:
        """Return the files of rendered media."""
        ...

    def items(self) -> Sequence[Item]:
        """Return the scored test stretches."""
        ...


def render_report(run: Reported, plugin_sections: Sequence[Section] = ()) -> str:
    """Return the whole page as HTML that refers to nothing outside itself and runs no script."""
    macros: Any = template().module
    shown = Shareable(run)
    sections = [
        replace(one, title=shown.names.names(one.title), html=shown.names.html(one.html)) for one in plugin_sections
    ]
    return visible(str(macros.page(page(shown, sections))))


def page(run: Reported, plugin_sections: Sequence[Section]) -> dict[str, Any]:
    """Return everything the template shows, by name."""
    metrics, main = _whole(run.metrics), main_score(run)
    pictures = {
        "controls": list(_control_pictures(run, main)),
        "subjects": list(_subject_pictures(run, main)),
    }
    parts: list[tuple[int, str, str | Section]] = [
        (20, "Scores", "scores"), (50, "The split", "split"), (60, "How it was scored", "scoring"),
        (70, "Timings", "timings"), (80, "Reproduce", "reproduce"),
        (90, "Configuration and environment", "configuration"),
    ]  # fmt: skip
    if pictures["controls"]:
        parts.append((30, "Controls and chance", "controls"))
    if pictures["subjects"]:
        parts.append((40, "Subjects", "subjects"))
    parts += [(section.order, section.title, section) for section in plugin_sections]
    by = run.split.get("by") or []
    smallest = finite(metrics["unit"].get("smallest_p"))
    return {
        "run": run, "config": run.config, "env": run.env, "metrics": metrics, "main": main, "kinds": KINDS,
        "parts": sorted(parts, key=lambda part: part[0]), "flags": flags(metrics),
        "verdict": judge(metrics, main), "tiles": tiles(metrics, main), "table": score_table(metrics),
        "pictures": pictures, "extras": _extras(metrics), "timeline": figures.timeline(run.split),
        "split": {**run.split, "by": [by] if isinstance(by, str) else by},
        "folds": len(run.split.get("folds") or ()), "command": command(run.config),
        "preset": how(run.config)["preset"],
        "smallest": None if smallest is None else probability(smallest),
        "times": {stage: finite(time) or 0.0 for stage, time in metrics["seconds"].items()},
        "files": [path.name for path in run.artifacts()],
    }  # fmt: skip


def _whole(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which every table of metrics.json is a table: empty where it is null or missing."""
    tables = (
        "unit",
        "dataset",
        "scores",
        "baselines",
        "controls",
        "control_refits",
        "ceiling",
        "reasons",
        "seconds",
    )
    whole = {**metrics, **{name: dict(metrics.get(name) or {}) for name in tables}}
    whole["dataset"]["trials"] = whole["dataset"].get("trials") or {}
    return whole


def main_score(run: Reported) -> str | None:
    """Return the score that the verdict is about: the first of the pipeline's metrics that was reported."""
    scores = run.metrics.get("scores") or {}
    for given in run.config.get("metrics") or ():
        name = str(given.get("use", "") if isinstance(given, Mapping) else given).rsplit("/", 1)[-1]
        if name in scores:
            return name
    return headline(run.metrics)


def how(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options a run was made with: preset, seed, folds, dev."""
    return {"preset": None, "seed": 0, "folds": 1, "dev": False, **config, **(config.get("run") or {})}


def command(config: Mapping[str, Any]) -> str:
    """Return the command line that makes a run like this one from the catalogue."""
    options = how(config)
    words = ["braindecode-hub", "run", str(config.get("pipeline", ""))]
    words += ["--preset", str(options["preset"])] if options["preset"] else []
    words += ["--seed", str(options["seed"])]
    words += ["--folds", str(options["folds"])] if options["folds"] not in (None, 1) else []
    words += ["--dev"] if options["dev"] else []
    return shlex.join(words)


def _drawn(run: Reported, main: str | None) -> list[str]:
    scores = run.metrics.get("scores") or {}
    valued = [name for name, entry in scores.items() if finite((entry or {}).get("value")) is not None]
    return sorted(valued, key=lambda name: name != main)[:MOST_DRAWN]


def _control_pictures(run: Reported, main: str | None) -> Iterator[tuple[str, list[str]]]:
    """Draw each score from chance to ceiling, what chance gives, and the main score unit by unit."""
    for name in _drawn(run, main):
        drawn = [*_ladder(run, name), *_null(run, name), *(_paired(run, name) if name == main else ())]
        if drawn:
            yield name, drawn


def _ladder(run: Reported, name: str) -> Iterator[str]:
    metrics, entry = run.metrics, run.metrics["scores"][name]
    refits = {kind: values for kind in metrics.get("controls") or {} if (values := _refits(run, kind, name))}
    reached = {kind: finite((by or {}).get(name)) for kind, by in (metrics.get("baselines") or {}).items()}
    baselines = {kind: value for kind, value in reached.items() if value is not None}
    if refits or baselines:
        figure = figures.ladder_figure(name, entry, refits, baselines, finite((metrics.get("ceiling") or {}).get(name)))
        alt = _alt(name, entry, {**{kind: sum(v) / len(v) for kind, v in refits.items()}, **baselines})
        bar = " with its 95 % interval" if interval(entry) else ""
        controls = "Controls (a mark for each refit, a bar for their mean), baselines" if refits else "Baselines"
        yield figure_html(figure, alt, f"{controls}, and the pipeline{bar}")


def _null(run: Reported, name: str) -> Iterator[str]:
    null, entry = run.details.get(f"null/{name}"), run.metrics["scores"][name]
    if null is not None and null.size:
        alt = f"Histogram of {label(name)} in {null.size:,} draws by chance; observed {number(entry['value'])}."
        caption = f"What {null.size:,} exchanges of units, or circular shifts, give by chance"
        yield figure_html(figures.null_figure(null, entry, name), alt, caption)


def _paired(run: Reported, name: str) -> Iterator[str]:
    units, ridge = run.details.get(f"units/{name}"), run.details.get(f"units/baseline/ridge/{name}")
    if units is not None and ridge is not None and units.size == ridge.size > 1:
        figure = figures.paired_figure(units, ridge, run.metrics["scores"][name], name, "linear baseline")
        alt = f"Scatter of {label(name)} in {units.size} units: pipeline against the linear baseline."
        yield figure_html(
            figure,
            alt,
            "Unit by unit: above the diagonal the pipeline's number is larger than the linear baseline's",
        )


def _refits(run: Reported, kind: str, name: str) -> list[float]:
    """Return the scores of a control's refits; where only their mean was kept, that."""
    kept = run.details.get(f"controls/{kind}/{name}")
    mean = ((run.metrics.get("controls") or {}).get(kind) or {}).get(name)
    values = [finite(float(value)) for value in kept.ravel()] if kept is not None else [finite(mean)]
    return [value for value in values if value is not None]


def _alt(name: str, entry: Mapping[str, Any], beside: Mapping[str, float]) -> str:
    ends, chance = interval(entry), finite(entry.get("chance"))
    parts = [f"{kind} {number(value)}" for kind, value in beside.items()]
    parts.append(f"pipeline {number(entry['value'])}" + (f" ({number(ends[0])} to {number(ends[1])})" if ends else ""))
    start = "" if chance is None else f" ({number(chance)})"
    return f"{label(name)} from chance{start} up: {', '.join(parts)}."


def _subject_pictures(run: Reported, main: str | None) -> Iterator[str]:
    """Draw the drawn scores by subject, where there is more than one."""
    given = run.metrics.get("by_subject") or {}
    for name in _drawn(run, main):
        values = {}
        for subject, scores in given.items():
            one = (scores or {}).get(name)
            value = finite(one.get("value") if isinstance(one, Mapping) else one)
            if value is not None:
                values[str(subject)] = value
        if len(values) > 1:
            entry = run.metrics["scores"][name]
            alt = f"{label(name)} by subject: " + ", ".join(f"{who} {number(value)}" for who, value in values.items())
            yield figure_html(
                figures.subjects_figure(values, entry, name), alt, f"{label(name)}: chance dashed, mean solid"
            )


def _extras(metrics: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return what a score says of itself beyond the fixed fields: its pool, the seconds of its candidates."""
    fixed = {"value", "ci95", "chance", "p", "higher_is_better", "unit", "smallest_p"}
    scores = (metrics.get("scores") or {}).items()
    return [(name, key, value) for name, entry in scores for key, value in (entry or {}).items() if key not in fixed]

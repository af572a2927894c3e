"""The scores of a run as rows to print: flags, the first few numbers, the table with what stands beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from braindecode_hub.verdict import amount, finite, interval, label, number, probability, reason, symbolless

UNKNOWN = "no reason was recorded"
FLAGS = {
    "LEAK": "Something that should be at chance is not: the answer reaches the decoder by another way than "
    "the brain. None of the scores below can be trusted.",
    "CHANCE": "Trained on exchanged stimuli, the pipeline still beats the stated level of chance: that level "
    "is too low, and so is every p.",
    "SIMULATED": "No brain was recorded. A computer model made these recordings, so the scores show that "
    "the pipeline works, not that a brain can be read.",
    "CLOSED SET": "The targets are a fixed set that training has seen too. The scores say which known one "
    "it was, not that a new one could be decoded.",
    "UNVERIFIED": "The loader of this data set was tested on made-up files only, never on real recordings.",
    "DEV": "Scored on the validation side, where choices were made. The test side was not looked at.",
}


def flags(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each flag of a run with the sentence that says what it means, the gravest first."""
    raised = {str(flag).replace("_", " ") for flag in metrics.get("flags") or ()}
    raised |= {"SIMULATED"} if metrics.get("simulated") else set()
    raised |= {"CLOSED SET"} if metrics.get("closed_set") else set()
    order = list(FLAGS)
    known = {flag: next((f for f in order if flag.upper().startswith(f)), "") for flag in raised}
    graded = sorted(raised, key=lambda flag: (order.index(known[flag]) if known[flag] else -1, flag))
    return [(flag, FLAGS.get(known[flag], "Raised by this pipeline; see its documentation.")) for flag in graded]


def tiles(metrics: Mapping[str, Any], main: str | None) -> list[tuple[str, str, str]]:
    """Return the few numbers at the top: name, value, small print."""
    entry = (metrics.get("scores") or {}).get(main) or {}
    beside = {name: (by or {}).get(main) for name, by in (metrics.get("baselines") or {}).items()}
    value, chance, p, ends = (
        finite(entry.get("value")),
        finite(entry.get("chance")),
        finite(entry.get("p")),
        interval(entry),
    )
    ridge, ceiling = finite(beside.get("ridge")), finite((metrics.get("ceiling") or {}).get(main))
    found = []
    if value is not None and main:
        small = f"95 % interval {number(ends[0])} to {number(ends[1])}" if ends else "no interval"
        found.append((label(main), amount(value, entry), small))
    if chance is not None:
        found.append(("chance", number(chance), f"p = {probability(p)}" if p is not None else "not tested"))
    if ridge is not None:
        found.append(("linear baseline", number(ridge), "ridge, on the same data"))
    if ceiling is not None:
        found.append(("ceiling", number(ceiling), "knows the true forward model"))
    return found


def score_table(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score table: `groups` of columns, `columns` (group, title), `rows` (name, cells), `notes`.

    A group is (style, title, number of columns); a cell is (text, small print, note number or None), and a
    row where nothing was computed has one cell that says why; a note is (why values are missing, which).
    """
    baselines, controls = list(metrics.get("baselines") or {}), list(metrics.get("controls") or {})
    notes: dict[str, list[str]] = {}
    rows: list[tuple[str, list[tuple[str, str, int | None]]]] = []
    for name in metrics.get("scores") or {}:
        cells = [*_own_cells(metrics, name), *_beside_cells(metrics, name, baselines, controls)]
        if all(text is None for text, _, _ in cells):
            rows.append((name, [(f"not computed: {reason(metrics, 'scores', name) or UNKNOWN}", "", None)]))
        else:
            rows.append((name, [_noted(metrics, notes, *cell) for cell in cells]))
    columns = [("pipeline", title) for title in ("value", "95 % interval", "chance", "p")]
    columns += [("baseline", "linear (ridge)" if name == "ridge" else label(name)) for name in baselines]
    columns += [("control", label(name)) for name in controls] + [("bound", "ceiling")]
    groups = [("pipeline", "Pipeline", 4), ("baseline", "Baselines", len(baselines)),
              ("control", "Controls, to be at chance", len(controls)), ("bound", "Bound", 1)]  # fmt: skip
    return {
        "groups": [group for group in groups if group[2]], "columns": columns, "rows": rows,
        "notes": [(why, ", ".join(dict.fromkeys(where))) for why, where in notes.items()],
    }  # fmt: skip


Cell = tuple[str | None, str, tuple[str, ...]]
"""What is printed (None: missing), its small print, and its path in metrics.json."""


def _own_cells(metrics: Mapping[str, Any], name: str) -> Iterator[Cell]:
    """Yield a score's value, interval, chance and p."""
    entry = metrics["scores"][name] or {}
    value, chance, p, ends = (
        finite(entry.get("value")),
        finite(entry.get("chance")),
        finite(entry.get("p")),
        interval(entry),
    )
    smallest = finite(entry.get("smallest_p", (metrics.get("unit") or {}).get("smallest_p")))
    small = [symbolless(entry), "lower is better" if entry.get("higher_is_better") is False else ""]
    yield (
        None if value is None else amount(value, entry, 3),
        ", ".join(filter(None, small)),
        ("scores", name, "value"),
    )
    yield f"{number(ends[0], 3)} to {number(ends[1], 3)}" if ends else None, "", ("scores", name, "ci95")
    yield None if chance is None else number(chance, 3), "", ("scores", name, "chance")
    attainable = f"smallest possible {probability(smallest)}" if smallest is not None else ""
    yield None if p is None else probability(p), attainable, ("scores", name, "p")


def _beside_cells(metrics: Mapping[str, Any], name: str, baselines: list[str], controls: list[str]) -> Iterator[Cell]:
    """Yield what the baselines, the controls and the ceiling reach in a score."""
    refits = metrics.get("control_refits") or {}
    for kind in baselines:
        reached = finite((metrics["baselines"][kind] or {}).get(name))
        yield None if reached is None else number(reached, 3), "", ("baselines", kind, name)
    for kind in controls:
        reached = finite((metrics["controls"][kind] or {}).get(name))
        small = f"mean of {refits[kind]} refits" if refits.get(kind) else ""
        yield None if reached is None else number(reached, 3), small, ("controls", kind, name)
    ceiling = finite((metrics.get("ceiling") or {}).get(name))
    yield None if ceiling is None else number(ceiling, 3), "", ("ceiling", name)


def _noted(
    metrics: Mapping[str, Any],
    notes: dict[str, list[str]],
    text: str | None,
    small: str,
    path: tuple[str, ...],
) -> tuple[str, str, int | None]:
    """Return a cell for print; a missing one refers to a note, one for each reason."""
    if text is not None:
        return text, small, None
    why = reason(metrics, *path) or UNKNOWN
    which = " ".join(label(step) for step in path if step not in ("scores", "baselines", "controls"))
    notes.setdefault(why, []).append(which)
    return "–", "", list(notes).index(why) + 1


def plain_table(metrics: Mapping[str, Any]) -> str:
    """Return the scores as lines of text for a terminal: one row a score, what stands beside it in columns."""
    baselines: Mapping[str, Any] = metrics.get("baselines") or {}
    controls: Mapping[str, Any] = metrics.get("controls") or {}
    beside = {**baselines, "ceiling": metrics.get("ceiling") or {}, **controls}
    rows = [["score", "value", "95 % interval", "chance", "p", *(name.replace("_", " ") for name in beside)]]
    for name, entry in (metrics.get("scores") or {}).items():
        ends = interval(entry)
        p = finite(entry.get("p"))
        numbers = [finite((column or {}).get(name)) for column in beside.values()]
        rows.append(
            [
                name,
                _shown(finite(entry.get("value"))),
                f"{number(ends[0])} to {number(ends[1])}" if ends else "none",
                _shown(finite(entry.get("chance"))),
                "–" if p is None else probability(p),
                *map(_shown, numbers),
            ]
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else number(value)

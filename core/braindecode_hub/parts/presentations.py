"""What was presented when: a table of rows becomes trials, and every row that cannot be is named with its number."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.splits import SHORTEST_CUT_S
from braindecode_hub.stretches import LONGEST_MISSING_S
from braindecode_hub.types import Trial

COLUMNS = ("recording", "onset", "duration", "stimulus", "stimulus_start")
"""Columns with a meaning of their own; all others are groups. BIDS calls `stimulus` `stim_file`."""
NOTHING = ("", "n/a", "nan", "none")
NOT_GROUPS = ("value", "sample", "response_time", "hed")
"""Columns of BIDS that change with every row: nothing to split by."""
SLACK_S = 0.05
"""A row may end so much behind the recording: it is cut there."""
ROUNDING_S = 0.005
"""A row may begin so much before the last one ends: tables are rounded to milliseconds."""


@dataclass(frozen=True)
class Row:
    """One presentation; `where` names its file and row. Seconds; `duration` None: to the end of the sound."""

    where: str
    onset: float
    duration: float | None
    stimulus: str
    stimulus_start: float = 0.0
    recording: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


def read_table(path: Path) -> list[Row]:
    """Return the rows of a .csv or .tsv in which something was presented.

    The first line names the columns: `onset` and `stimulus`, and as needed `duration`, `stimulus_start`, `recording`,
    and groups such as story, block, subject, session, run. Raises HubError naming file, row and column.
    """
    columns, lines = _cells(path)
    rows = []
    for number, cells in lines:
        if len(cells) != len(columns):
            raise HubError(
                f"{path.name}, row {number} has {len(cells)} values for {len(columns)} columns",
                "give every column one value; n/a where there is none",
            )
        given = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        if given["stimulus"].lower() not in NOTHING:
            rows.append(_row(given, f"{path.name}, row {number}"))
    if not rows:
        raise HubError(f"{path} has no row with a stimulus", "add a row for every presentation: onset, stimulus")
    return rows


def rows_of(columns: Mapping[str, Sequence[Any]], where: str) -> list[Row]:
    """Return the rows of a table given as columns of equal length; `stimulus` may be left out (the only sound)."""
    names = _known_columns([*columns], where, needed=("onset",))
    lengths = {name: len(values) for name, values in zip(names, columns.values(), strict=True)}
    if len(set(lengths.values())) != 1 or not lengths["onset"]:
        told = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise HubError(f"{where}: the columns have different lengths, or none ({told})", "give one value for each row")
    return [
        _row({"stimulus": "", **dict(zip(names, map(_text, cells), strict=True))}, f"{where}, row {number}")
        for number, cells in enumerate(zip(*columns.values(), strict=True), 1)
    ]


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def has_stimuli(path: Path) -> bool:
    """Return whether a table has a column of stimuli: BIDS events of button presses have none."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = file.readline().strip().lower().replace(",", "\t").replace(";", "\t").split("\t")
    return bool({"stimulus", "stim_file"} & {name.strip().strip('"') for name in names})


def trials_of(
    rows: Iterable[Row],
    recording: str,
    seconds: float,
    sounds: Mapping[str, float],
    groups: Mapping[str, str],
) -> list[Trial]:
    """Return the rows of one recording (`seconds` long) as trials, in order of onset.

    `sounds`: seconds of every stimulus; `groups`: those that rows need not name. Raises HubError naming the row for
    one that lies outside the recording or its sound, or that overlaps another by more than rounding does (see
    `without_rounding`).
    """
    ordered = sorted(rows, key=lambda row: row.onset)
    spans = [_span(row, seconds, sounds[row.stimulus]) for row in ordered]
    for (row, (_, stop)), (after, (start, end)) in pairwise(zip(ordered, spans, strict=True)):
        if start < stop - 1e-6 and not _rounded(stop, start, end):
            raise HubError(
                f"{after.where} begins at {start:g} s, while {row.where} lasts until {stop:g} s",
                "correct an onset or a duration: presentations of one recording may not overlap",
            )
    return [
        Trial(
            f"{recording}/{number}",
            recording,
            start,
            stop,
            row.stimulus,
            row.stimulus_start,
            row.stimulus_start + stop - start,
            {"story": Path(row.stimulus).stem, **groups, **row.groups},
        )
        for number, (row, (start, stop)) in enumerate(zip(ordered, spans, strict=True), 1)
    ]


def without_rounding(trials: Iterable[Trial]) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """Return the trials of a recording, and a note, if any began up to 5 ms before the last one ended: cut there.

    Their stimulus is cut alike. What overlaps by more is left as it is.
    """
    made = list(trials)
    order = sorted(range(len(made)), key=lambda k: (made[k].start, made[k].stop))
    cut: list[str] = []
    for before, k in pairwise(order):
        trial, stop = made[k], made[before].stop
        if trial.start < stop - 1e-6 and _rounded(stop, trial.start, trial.stop):
            made[k] = trial.cut(stop, trial.stop, trial.id)
            cut.append(trial.id)
    if not cut:
        return tuple(made), ()
    which = f"trial {cut[0]} begins" if len(cut) == 1 else f"{len(cut)} trials, the first of them {cut[0]}, begin"
    return tuple(made), (f"{which} up to {1000 * ROUNDING_S:g} ms before the last one ends (rounding), cut there",)


def _rounded(stop: float, start: float, end: float) -> bool:
    """Say whether a trial from `start` to `end` overlaps one that lasts until `stop` by no more than rounding does."""
    return stop - start <= ROUNDING_S + 1e-9 and end - stop > ROUNDING_S


def one_person(rows: Iterable[Row], recording: str) -> dict[str, str]:
    """Return the subject and session that the rows of one recording name; HubError if they name several."""
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        for key in ("subject", "session"):
            if key in row.groups:
                first, where = found.setdefault(key, (row.groups[key], row.where))
                if row.groups[key] != first:
                    raise HubError(
                        f"{row.where}: recording '{recording}' has {key} '{row.groups[key]}', but '{first}' in {where}",
                        f"a recording has one {key}: correct the table, or save one file for each",
                    )
    return {key: value for key, (value, _) in found.items()}


def around_gaps(trials: Iterable[Trial], gaps: Sequence[tuple[float, float]]) -> list[Trial]:
    """Return the trials cut so that none holds a gap (start, stop); pieces below a second are left out."""
    found: list[Trial] = []
    for trial in trials:
        inside = sorted(gap for gap in gaps if gap[1] > trial.start and gap[0] < trial.stop)
        if not inside:
            found.append(trial)
            continue
        pieces, at = [], trial.start
        for start, stop in [*inside, (trial.stop, trial.stop)]:
            if start - at >= SHORTEST_CUT_S:
                pieces.append((at, start))
            at = max(at, stop)
        found += [trial.cut(low, high, f"{trial.id}/{n}") for n, (low, high) in enumerate(pieces)]
    return found


def _span(row: Row, seconds: float, sound_s: float) -> tuple[float, float]:
    rest = sound_s - row.stimulus_start
    duration = rest if row.duration is None else row.duration
    stop = row.onset + duration
    if rest <= 0 or duration - rest > LONGEST_MISSING_S:
        raise HubError(
            f"{row.where} presents '{row.stimulus}' from {row.stimulus_start:g} to {row.stimulus_start + duration:g} s,"
            f" but it lasts {sound_s:.2f} s",
            "correct duration or stimulus_start (seconds)",
        )
    if stop > seconds + SLACK_S:
        raise HubError(
            f"{row.where} lasts from {row.onset:g} to {stop:g} s, but the recording ends at {seconds:.2f} s",
            "give onset and duration in seconds from the recording's first sample, or take the row out",
        )
    return row.onset, min(stop, seconds)


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HubError(f"{path} cannot be read as text", "save the table as UTF-8 .csv or .tsv") from error
    usual = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    delimiter = max(usual, key=text.partition("\n")[0].count)  # what the header holds most of, first the usual one
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except csv.Error as error:
        raise HubError(f"{path} is not a table: {error}", "give one short value a cell") from error
    if not lines or not any(lines[0]):
        raise HubError(f"{path} is empty", "its first line names the columns: onset, duration, stimulus")
    columns = _known_columns(lines[0], str(path), needed=("onset", "stimulus"))
    return columns, [(number, cells) for number, cells in enumerate(lines[1:], 2) if any(c.strip() for c in cells)]


def _known_columns(given: Sequence[str], where: str, needed: Sequence[str]) -> list[str]:
    names = ["stimulus" if name.strip().lower() == "stim_file" else name.strip().lower() for name in given]
    for name in names:
        if names.count(name) > 1:
            raise HubError(f"{where} has the column '{name}' twice", "keep one of them")
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.8)
        if near and name not in COLUMNS:
            raise HubError(f"{where} has a column '{name}'", f"did you mean {near[0]}? A group needs another name")
    for name in needed:
        if name not in names:
            cause = f"{where} has no column '{name}'; it has {', '.join(names)}"
            raise HubError(cause, "its first line names the columns: onset, duration, stimulus")
    return names


def _row(given: Mapping[str, str], where: str) -> Row:
    onset = _seconds(given, "onset", where)
    if onset is None:
        raise HubError(f"{where} has no onset", "give the seconds from the recording's first sample")
    duration = _seconds(given, "duration", where)
    if duration == 0:
        raise HubError(f"{where} has the duration 0", "give its seconds, or n/a for the whole sound")
    groups = {
        name: value
        for name, value in given.items()
        if name and name not in (*COLUMNS, *NOT_GROUPS) and value.lower() not in NOTHING
    }
    start = _seconds(given, "stimulus_start", where) or 0.0
    return Row(where, onset, duration, given["stimulus"], start, given.get("recording", ""), groups)


def _seconds(given: Mapping[str, str], name: str, where: str) -> float | None:
    text = given.get(name, "")
    if text.lower() in NOTHING:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise HubError(f"{where}: {name} is '{text}'", "give seconds, 0 or more, such as 12.5")
    return value


def sound_file(row: Row, folder: Path) -> Path:
    """Return the sound that a row names, from beside its table or from `stimuli/` there; HubError if it is nowhere."""
    for place in (folder, folder / "stimuli"):
        if (place / row.stimulus).is_file():
            return place / row.stimulus
    known = [path.name for place in (folder, folder / "stimuli") if place.is_dir() for path in place.iterdir()]
    near = difflib.get_close_matches(Path(row.stimulus).name, known, n=3, cutoff=0.6)
    remedy = did_you_mean(row.stimulus, near) if near else f"put it into {folder}, or correct the row"
    raise HubError(f"{row.where} presents '{row.stimulus}', which does not exist", remedy)

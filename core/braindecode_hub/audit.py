"""The audit of a split: ours, or anybody's table, run or arrays. One line for every leak, and what it affects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.copies import duplicates, few_rows
from braindecode_hub.design import Entry, Finding, entries_of_fold, entries_of_table, findings, unread
from braindecode_hub.errors import HubError
from braindecode_hub.files import write_whole
from braindecode_hub.form import wrong_in_split
from braindecode_hub.leakfits import Check, check_refits
from braindecode_hub.reading import ARRAYS, Foreign, Row, as_text, open_arrays, read_json, read_table, table_of
from braindecode_hub.roles import find_roles
from braindecode_hub.splits import SIDES
from braindecode_hub.types import Array

NEAR_S = 1.0
REFITS = 20
LONG_S = 200.0
"""A trial of so many whole seconds may be one of milliseconds."""


@dataclass(frozen=True)
class Audit:
    """What was found: `findings` by fold, `checks` of refits, trials of each side, and what could not be seen."""

    findings: tuple[tuple[int, Finding], ...]
    checks: tuple[Check, ...]
    counts: Mapping[str, int]
    unseen: tuple[str, ...] = ()

    @property
    def leaks(self) -> list[str]:
        """One line for every leak; empty where none was found."""
        several = len({fold for fold, _ in self.findings}) > 1
        lines = [
            (f"fold {fold}: " if several else "") + f"{one.text} [{one.sides[0]}/{one.sides[1]}: {_part(one)}]"
            for fold, one in self.findings
            if one.level == "leak"
        ]
        for check in self.checks:
            if check.above:
                rank = float(np.mean(check.ranks))
                lines.append(f"{check.name}, {check.decoder}: rank {rank:.2f} where nothing can be decoded (chance .5)")
        return lines

    def as_data(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "schema": 1,
            "leaks": self.leaks,
            "sides": dict(self.counts),
            "findings": [{"fold": fold, **asdict(one)} for fold, one in self.findings],
            "checks": [asdict(check) for check in self.checks],
            "unseen": list(self.unseen),
        }

    def save(self, path: Path | str) -> None:
        """Write `as_data` as JSON."""
        write_whole(path, json.dumps(self.as_data(), indent=1, allow_nan=False) + "\n")

    def __str__(self) -> str:
        rows = [["fold", "level", "sides", "rule", "affected", "what"]]
        order = {"leak": 0, "warning": 1, "fact": 2}
        for fold, one in sorted(self.findings, key=lambda pair: (order[pair[1].level], pair[0])):
            rows.append([str(fold), one.level.upper(), "/".join(one.sides), one.rule, _part(one), one.text])
        lines = [", ".join(f"{side}: {count}" for side, count in self.counts.items()) + " trials"]
        lines += _columns(rows) if len(rows) > 1 else ["the sides share nothing that was told"]
        if self.checks:
            table = [["refit check", "decoder", "rank (chance .5)", "refits", "above chance"]]
            told = {None: "not judged", True: "LEAK", False: "no"}
            for check in self.checks:
                mean = f"{np.mean(check.ranks):.2f}"
                table.append([check.name, check.decoder, mean, str(len(check.ranks)), told[check.above]])
            lines += ["", *_columns(table)]
        lines += [f"Not seen: {text}" for text in self.unseen]
        lines += [f"LEAK: {text}" for text in self.leaks]
        return "\n".join(lines) + ("" if self.leaks else "\nno leak was found in what was told")


def audit(
    path: Path | str | None = None,
    *,
    split: Path | str | None = None,
    features: Path | str | None = None,
    fields: Mapping[str, str] | None = None,
    near_s: float = NEAR_S,
    closed_set: bool = False,
    refits: int = REFITS,
    seed: int = 0,
) -> Audit:
    """Audit a run folder, a split.json, a CSV, TSV or JSON table, or a file of arrays with the sides of its trials.

    `path`: arrays, or the same as `split`; `features`: a file whose X (trials, …) decoders are refitted on; `fields`:
    role → column or array; `near_s`: seconds that count as neighbouring; `closed_set`: stimuli may repeat. Raises
    HubError where no sides are told, and what the files raise.
    """
    given = dict(fields or {})
    if not near_s >= 0:
        raise HubError(f"{near_s:g} s are near", "give seconds, 0 or more", usage=True)
    if path is None and split is None:
        raise HubError("nothing to audit", "name a run folder, a table or arrays, or --split split.json", usage=True)
    arrays = None if path is None or not _is_arrays(Path(path)) else open_arrays(path)
    table = Path(split if split is not None else path)  # type: ignore[arg-type]
    unseen: list[str] = []
    if arrays is not None and split is None:
        folds, allowed = {0: entries_of_table(*_labels(arrays, given))}, False
    else:
        folds, allowed, unseen = _folds(table, {k: v for k, v in given.items() if arrays is None})
    found = [
        (fold, one)
        for fold, entries in folds.items()
        for one in findings(entries, near_s=near_s, closed_set=closed_set or allowed)
    ]
    first = next(iter(folds.values()))
    checks: list[Check] = []
    if arrays is not None or features is not None:
        content, checks = _content(arrays, features, given, first, seed, refits, unseen, closed_set or allowed)
        found += [(next(iter(folds)), one) for one in content]
    run = table if table.is_dir() else table.parent
    found += [(0, one) for one in _flags_of(run)] if (run / "metrics.json").is_file() and split is None else []
    counts: dict[str, int] = {side: sum(entry.side == side for entry in first) for side in SIDES}
    if not counts["test"] or not counts["train"]:
        raise HubError(f"the sides are {counts}", "there must be trials to train on and to test", usage=True)
    return Audit(tuple(found), tuple(checks), counts, (*unseen, *_unseen(first)))


def _is_arrays(path: Path) -> bool:
    if not path.exists():
        raise HubError(f"{path} does not exist", "check the path", usage=True)
    return path.suffix.lower() in ARRAYS or (path.is_dir() and not (path / "split.json").is_file())


def _folds(path: Path, given: Mapping[str, str]) -> tuple[dict[int, list[Entry]], bool, list[str]]:
    """Return the entries of every fold, whether stimuli may repeat, and what could not be read."""
    if path.is_dir():
        path = path / "split.json"
    if path.suffix.lower() == ".json":
        data = read_json(path)
        if isinstance(data, dict) and isinstance(data.get("folds"), list) and data["folds"]:
            why = wrong_in_split(data)
            if why is not None:
                raise HubError(f"{path} {why}", "give the split.json of a run folder, or a table")
            try:
                folds = {int(fold["fold"]): entries_of_fold(fold) for fold in data["folds"]}
            except KeyError as error:
                raise HubError(
                    f"{path} is no split.json of a run: {error} is missing", "give a table instead"
                ) from error
            return folds, bool(data.get("closed_set")), []
        rows = table_of(data, str(path))
    else:
        rows = read_table(path)
    entries = entries_of_table(rows, given, str(path))
    ignored = [name for name in unread(rows) if name not in given.values()]
    return {0: entries}, False, [f"columns {', '.join(ignored)}"] if ignored else []


def _labels(opened: Foreign, given: Mapping[str, str]) -> tuple[list[Row], dict[str, str], str]:
    """Return the labels of arrays as a table: every one-dimensional field with one value a trial."""
    labels = {k: f for k, f in opened.fields.items() if f.text or sum(n > 1 for n in f.shape) <= 1}
    found = find_roles(
        labels, _ROLES, {k: v for k, v in given.items() if k in _ROLES}, str(opened.path), opened.listing()
    )
    columns = {role: as_text(opened.read(key)) for role, key in found.items()}
    if "side" not in columns:
        raise HubError(
            f"{opened.path}: no field says on which side a trial is", "give --split, or --field side=KEY", usage=True
        )
    for role in ("start", "stop", "seconds", "stimulus_start", "stimulus_stop"):
        if role in found:
            columns[role] = [repr(float(v)) for v in opened.read(found[role]).reshape(-1)]
    count = len(columns["side"])
    wrong = [found[role] for role, values in columns.items() if len(values) not in (1, count)]
    if wrong:
        raise HubError(f"{opened.path}: {wrong[0]} has another length than the sides", "give one value for each trial")
    rows = [{role: values[n if len(values) == count else 0] for role, values in columns.items()} for n in range(count)]
    return rows, {}, str(opened.path)


_ROLES = (
    *("trial", "side", "subject", "session", "recording", "start", "stop", "seconds", "stimulus", "stimulus_start"),
    *("stimulus_stop", "text", "label", "story", "block"),
)


def _content(
    opened: Foreign | None,
    features: Path | str | None,
    given: Mapping[str, str],
    entries: Sequence[Entry],
    seed: int,
    refits: int,
    unseen: list[str],
    closed_set: bool,
) -> tuple[list[Finding], list[Check]]:
    """Look at what targets and features hold: duplicates across sides, and refits."""
    other = None if features is None else open_arrays(features)
    target = _array("target", [o for o in (opened, other) if o is not None], given, len(entries))
    x = _array("features", [o for o in (other, opened) if o is not None], given, len(entries))
    if features is not None and x is None:
        raise HubError(f"{features} has no array of {len(entries)} trials", "name it: --field features=KEY", usage=True)
    found: list[Finding] = []
    if target is not None:
        known = closed_set or _are_classes(target, entries)
        few = None if known else few_rows(target, entries)
        found += [few] if few is not None else duplicates("target", target, entries, "fact" if known else "leak")
    if x is not None:
        found += duplicates("features", x, entries, "leak")
    else:
        unseen.append("copies of features, and refits on them: no array of features was given")
    for some in (opened, other):
        unseen.extend(f"{key}: it {why}" for key, why in (some.refused if some is not None else {}).items())
    if target is None:
        unseen.append("refits: no array of targets was given")
        return found, []
    return found, list(check_refits(x, target, entries, seed=seed, refits=refits))


def _array(role: str, files: Iterable[Foreign], given: Mapping[str, str], count: int) -> Array | None:
    """Return the array of one role, one row a trial, from the first file that has it."""
    for opened in files:
        wanted = {role: given[role]} if given.get(role) in opened.fields else {}
        found = find_roles(opened.fields, [role], wanted, str(opened.path), opened.listing())
        rows = [key for key, field in opened.fields.items() if not field.text and field.shape[:1] == (count,)]
        if role not in found and role == "features" and len(rows) == 1 and len(opened.fields) == 1:
            found[role] = rows[0]
        if role in found:
            array = opened.read(found[role])
            if len(array) != count:
                raise HubError(
                    f"{opened.path}: {found[role]} has {len(array)} rows for {count} trials", "give one for each"
                )
            if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
                raise HubError(f"{opened.path}: {found[role]} is not finite numbers", "leave those trials out")
            return array
    return None


def _are_classes(target: Array, entries: Sequence[Entry]) -> bool:
    """Say whether targets stand for classes: labels are told, and each has one target."""
    if any("label" not in entry.groups for entry in entries):
        return False
    first = {entry.groups["label"]: n for n, entry in enumerate(entries)}
    return all(np.array_equal(target[n], target[first[e.groups["label"]]]) for n, e in enumerate(entries))


def _flags_of(run: Path) -> list[Finding]:
    """Return what a run's own controls have flagged."""
    told = read_json(run / "metrics.json")
    flags = told.get("flags") if isinstance(told, dict) else None
    text = "the run's own controls are above chance, or its score above the ceiling (flag LEAK)"
    return [Finding("run's controls", "leak", ("train", "test"), 0, 1.0, text)] if "LEAK" in (flags or ()) else []


def _unseen(entries: Sequence[Entry]) -> list[str]:
    found = []
    if all(entry.start is None or entry.stop is None for entry in entries):
        found.append("overlap of brain seconds: no start and stop were given")
    lengths = [entry.stop - entry.start for entry in entries if entry.start is not None and entry.stop is not None]
    if lengths and float(np.median(lengths)) >= LONG_S and all(float(length).is_integer() for length in lengths):
        found.append(f"what is near in time, if these are milliseconds: a trial lasts {np.median(lengths):g} s")
    if all(entry.stimulus is None for entry in entries):
        found.append("repeated stimuli: no stimulus was given")
    if not any(entry.side == "val" for entry in entries):
        found.append("validation: no trial is on that side (was anything chosen on the test side?)")
    return found


def _part(one: Finding) -> str:
    return f"{one.affected} ({100 * one.share:.0f} %)"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

"""A BIDS folder as files: which recordings there are, chosen by entity, and the tables and sidecars beside them."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.reading import first_line

DATATYPES = ("ieeg", "eeg", "meg")
FORMATS = (".vhdr", ".edf", ".bdf", ".set", ".fif", ".ds", ".con", ".sqd", ".mefd", ".nwb")
"""Formats of BIDS recordings that are read: NWB by h5py, all others by MNE-BIDS."""

MISSING = ("", "n/a")
Row = Mapping[str, str]


@dataclass(frozen=True)
class BidsFile:
    """One recording of a BIDS folder: its path, its datatype, and the entities in its name (sub, ses, task, run …)."""

    root: Path
    path: Path
    datatype: str
    entities: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its entities as BIDS writes them, without suffix: sub-01_task-listen_run-1."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items() if key != "split")

    def applying(self, suffix: str, extension: str = ".tsv", *, space: str | None = None) -> list[Path]:
        """Return the files of that suffix that hold for this recording, the nearest last: BIDS's inheritance principle.

        They lie in its folder or above, up to the root, and all their entities are its own; of several in one folder
        the one with most entities is the nearest. `space`: that of a coordsystem; electrodes are taken in whichever
        space they are, the first by name.
        """
        found: list[Path] = []
        inside = self.path.parent.relative_to(self.root).parts
        for folder in (self.root.joinpath(*inside[:depth]) for depth in range(len(inside) + 1)):
            fitting = [path for path in folder.glob(f"*{suffix}{extension}") if self._fits(path, suffix, space)]
            found += sorted(sorted(fitting, reverse=True), key=lambda path: len(entities_of(path)))
        return found

    def beside(self, suffix: str, extension: str = ".tsv", *, space: str | None = None) -> Path | None:
        """Return the nearest of the files that `applying` finds: a table holds alone, whatever lies above it."""
        found = self.applying(suffix, extension, space=space)
        return found[-1] if found else None

    def _fits(self, path: Path, suffix: str, space: str | None) -> bool:
        stem, own = path.name.split(".")[0], entities_of(path)
        place = own.pop("space", None)
        right = place is None or suffix == "electrodes" or place == space
        return (
            right
            and (stem == suffix or stem.endswith(f"_{suffix}"))
            and all(self.entities.get(key) == value for key, value in own.items())
        )

    def sidecar(self, suffix: str, *, space: str | None = None) -> dict[str, Any]:
        """Return the JSON of that suffix, key by key from the nearest file that has the key; {} if there is none.

        Raises HubError, naming the file, for one that is no JSON mapping.
        """
        merged: dict[str, Any] = {}
        for path in self.applying(suffix, ".json", space=space):
            merged |= _mapping(path)
        return merged

    def table(self, suffix: str) -> list[Row]:
        """Return the rows of the .tsv of that suffix; [] if there is none."""
        path = self.beside(suffix)
        return [] if path is None else read_tsv(path)


def entities_of(path: Path) -> dict[str, str]:
    """Return the entities in a BIDS file name: {"sub": "01", "task": "listen"}."""
    parts = [part.partition("-") for part in path.name.split(".")[0].split("_")]
    return {key: value for key, mark, value in parts if mark}


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise HubError(f"{path} cannot be read as JSON: {first_line(error)}", "repair it") from error
    if not isinstance(found, dict):
        raise HubError(f"{path} holds no keys and values", "repair it: a sidecar is one JSON object")
    return found


def read_tsv(path: Path) -> list[Row]:
    """Return the rows of a BIDS table as text by column; HubError if it is no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error) as error:
        raise HubError(f"{path} cannot be read as a table: {error}", "save it as tab-separated UTF-8 text") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise HubError(f"{path}, line {number} has not as many fields as the header", "repair that line")
    return [{key.strip(): value.strip() for key, value in row.items()} for row in rows]


def number(row: Row, column: str, path: Path | None, line: int) -> float:
    """Return a number of a row, NaN for n/a; HubError, naming the line, for what is none."""
    value = row.get(column, "n/a")
    if value in MISSING:
        return math.nan
    try:
        return float(value)
    except ValueError as error:
        raise HubError(f"{path}, line {line}: {column} is {value!r}, not a number", "repair that line") from error


def find(
    root: Path,
    *,
    subjects: Sequence[str],
    task: str | None,
    session: str | None,
    datatype: str | None,
) -> list[BidsFile]:
    """Return the recordings asked for; no more than one task and one datatype.

    Raises HubError (usage) for a folder that is not BIDS, for entities that are not there, with the nearest names, and
    for several tasks or datatypes of which none was chosen.
    """
    if not root.is_dir():
        raise HubError(f"{root} is no folder", "give the root of a BIDS data set: --data PATH", usage=True)
    if not (root / "dataset_description.json").is_file():
        raise HubError(
            f"{root} is no BIDS data set: it has no dataset_description.json",
            "give the folder that holds it",
            usage=True,
        )
    files = list(_recordings(root))
    if not files:
        known = ", ".join(DATATYPES)
        raise HubError(f"{root} holds no recording ({known}) in a known format", "check that the data were downloaded")
    for subject in subjects:
        _known("subject", subject, {one.entities["sub"] for one in files}, "sub-")
    wanted = {subject.removeprefix("sub-") for subject in subjects}
    files = [one for one in files if not wanted or one.entities["sub"] in wanted]
    if datatype is not None:
        _known("datatype", datatype, {one.datatype for one in files})
        files = [one for one in files if one.datatype == datatype]
    files = _only("datatype", files, [one.datatype for one in files])
    if session is not None:
        _known("session", session, {one.entities.get("ses", "") for one in files}, "ses-")
        files = [one for one in files if one.entities.get("ses", "") == session.removeprefix("ses-")]
    if task is not None:
        _known("task", task, {one.entities.get("task", "") for one in files}, "task-")
        files = [one for one in files if one.entities.get("task", "") == task.removeprefix("task-")]
    return _only("task", files, [one.entities.get("task", "") for one in files])


def _recordings(root: Path) -> Iterator[BidsFile]:
    for datatype in DATATYPES:
        for path in sorted(root.glob(f"sub-*/**/{datatype}/*_{datatype}.*")):
            entities = entities_of(path)
            inside = path.relative_to(root).parts[0] == f"sub-{entities.get('sub', '')}"
            if path.suffix.lower() in FORMATS and inside and entities.get("split", "01") in ("01", "1"):
                yield BidsFile(root, path, datatype, entities)


def _known(what: str, asked: str, known: set[str], prefix: str = "") -> None:
    if asked.removeprefix(prefix) not in known:
        raise HubError(f"there is no {what} '{asked}'", did_you_mean(asked.removeprefix(prefix), known), usage=True)


def _only(what: str, files: list[BidsFile], values: list[str]) -> list[BidsFile]:
    names = sorted(set(values))
    if len(names) > 1:
        raise HubError(
            f"there are {len(names)} {what}s: {', '.join(names)}",
            f"choose one: --set dataset.{what}={names[0]}",
            usage=True,
        )
    return files


def fill(template: str, row: Row) -> str | None:
    """Return a template such as "{trial_type}.wav" with the row's columns put in; None where one of them is n/a.

    Raises KeyError for a column that the row does not have.
    """
    names = re.findall(r"{([^{}]+)}", template)
    if any(row[name] in MISSING for name in names):
        return None
    return re.sub(r"{([^{}]+)}", lambda found: row[found[1]], template)

"""The files behind core/embeddings: a brain array, targets, and a table of trials, opened and held to each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.parts.opening import Axis, open_npy, time_last
from braindecode_hub.reading import TABLES, Row, read_table
from braindecode_hub.roles import plain, role_of
from braindecode_hub.types import Array

BRAINS, TARGETS, LISTS = ("X.npy", "brain.npy"), ("targets.npy", "embeddings.npy", "features.npy"), ("trials", "events")
ROLES = (
    *("trial", "subject", "session", "stimulus", "block", "side", "start", "stop", "seconds", "stimulus_start"),
    *("stimulus_stop", "label", "story"),
)


@dataclass(frozen=True)
class Part:
    """The opened files of one folder: brain (trials, channels, time) or (channels, samples), targets, rows of trials.

    `rows`: what the table says of every trial, by role; other columns under their own names. `listed`: there is a
    table; `alone`: targets run beside one continuous recording.
    """

    name: str
    files: tuple[Path, ...]
    brain: Array
    targets: Array
    rows: list[dict[str, str]]
    listed: bool
    alone: bool

    @cached_property
    def contents(self) -> list[str]:
        """A name for each row of the targets, the same for equal rows: what identifies a stimulus without an id."""
        rows = (np.asarray(row, np.float32) for row in self.targets)
        return [hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()[:12] for row in rows]


class EndToEnd:
    """Epochs (trials, channels, time) as one signal (channels, samples), read where it is sliced; float32.

    `mapped`: a slice costs no more than copying it, so that no other copy on disk is needed.
    """

    ndim, dtype, mapped = 2, np.dtype(np.float32), True

    def __init__(self, epochs: Array, chosen: tuple[int, ...]) -> None:
        self._epochs, self._chosen = epochs, chosen
        self._length = int(epochs.shape[2])
        self.shape = int(epochs.shape[1]), self._length * len(chosen)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        rows, times = key if isinstance(key, tuple) else (key, slice(None))
        if not isinstance(times, slice):
            return self[rows, :][..., times]
        start, stop, step = times.indices(self.shape[1])
        if step != 1 or stop <= start:
            return np.asarray(self[rows, :][..., times]) if step != 1 else self._joined([], 0, 0)[rows]
        first, last = start // self._length, (stop - 1) // self._length
        some = [self._epochs[self._chosen[n]] for n in range(first, last + 1)]
        return self._joined(some, start - first * self._length, stop - first * self._length)[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:, :], dtype)

    def _joined(self, some: Sequence[Array], start: int, stop: int) -> Array:
        if not some:
            return np.zeros((self.shape[0], 0), np.float32)
        return np.concatenate([np.asarray(one, np.float32) for one in some], axis=1)[:, start:stop]


def open_parts(path: str, axis: Axis, target_rate: float | None) -> list[Part]:
    """Open the folder `path`, or the folders in it; raises HubError for what is missing or does not fit together."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise HubError(f"{folder} is not a folder", "give the folder that holds X.npy and targets.npy", usage=True)
    if _one_of(folder, BRAINS) is not None:
        return [_part(folder, folder, axis, target_rate)]
    below = [one for one in sorted(folder.iterdir()) if one.is_dir() and _one_of(one, BRAINS)]
    if not below:
        raise HubError(f"{folder} holds no {' or '.join(BRAINS)}", "save the brain there with numpy.save", usage=True)
    return [_part(one, folder, axis, target_rate) for one in below]


def _part(folder: Path, above: Path, axis: Axis, target_rate: float | None) -> Part:
    brain = cast(Path, _one_of(folder, BRAINS))
    targets = _one_of(folder, TARGETS) or _one_of(above, TARGETS)
    if targets is None:
        raise HubError(f"{folder} holds no {TARGETS[0]}", "save the embeddings there, one row a trial", usage=True)
    table = _one_of(folder, [f"{name}{end}" for name in LISTS for end in TABLES])
    x, y = open_npy(brain), open_npy(targets)
    if x.ndim == 2:
        x, _ = time_last(x, axis, str(brain))
    elif x.ndim != 3:
        raise HubError(f"{brain} has shape {x.shape}", "save (trials, channels, time), or (channels, samples)")
    alone = x.ndim == 2 and target_rate is not None and y.ndim == 2
    wanted = 2 if target_rate is None else 3
    if not alone and y.ndim != wanted:
        hint = "give dataset.target_rate" if y.ndim == 3 else "leave dataset.target_rate out"
        axes = "(trials, dim)" if wanted == 2 else "(trials, frames, dim)"
        raise HubError(f"{targets} has shape {y.shape}, not {axes}", hint, usage=True)
    files = (brain, targets) if table is None else (brain, targets, table)
    rows = _unlisted(files, x, y, alone) if table is None else _listed(files, x, y, alone, read_table(table))
    return Part(folder.name, files, x, y, rows, table is not None, alone)


def _unlisted(files: tuple[Path, ...], x: Array, y: Array, alone: bool) -> list[dict[str, str]]:
    """Return one empty row a trial, where the arrays alone say what belongs together."""
    if alone:
        return [{}]
    if x.ndim == 2:
        raise HubError(f"{files[0]} is continuous, and no table says when trials were", "add trials.csv: start, stop")
    if len(y) != len(x):
        raise HubError(f"{files[1]} has {len(y)} rows for {len(x)} trials", "add trials.csv with a column `target`")
    return [{} for _ in range(len(x))]


def _listed(files: tuple[Path, ...], x: Array, y: Array, alone: bool, table: list[Row]) -> list[dict[str, str]]:
    if not table:
        raise HubError(f"{files[2]} has no rows", "give one for each trial")
    if x.ndim == 3 and len(table) != len(x):
        raise HubError(f"{files[2]} has {len(table)} rows for {len(x)} trials in {files[0].name}", "give one for each")
    names = _named(table[0], files[2])
    rows = [{names[key]: str(value) for key, value in row.items() if str(value) not in ("", "None")} for row in table]
    if not alone and len(y) != len(rows) and any("target" not in row for row in rows):
        raise HubError(
            f"{files[1]} has {len(y)} rows for {len(rows)} trials, and {files[2].name} no column `target`",
            "say in `target` which row of the targets each trial presents, counted from 0",
        )
    return rows


def _named(columns: Row, where: Path) -> dict[str, str]:
    """Return what every column means: its role where that is clear, else its own name."""
    names = {column: column for column in columns}
    for role in ROLES:
        some = [c for c in columns if plain(c) == plain(role)] or [c for c in columns if role_of(c) == role]
        if len(some) > 1 and role in ("stimulus", "subject", "side"):
            raise HubError(f"{where}: the {role} could be {' or '.join(some)}", f"call one of them `{role}`")
        if len(some) == 1 and names[some[0]] == some[0]:
            names[some[0]] = role
    return names


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise HubError(f"{folder} holds {' and '.join(path.name for path in found)}", "leave one of them", usage=True)
    return found[0] if found else None

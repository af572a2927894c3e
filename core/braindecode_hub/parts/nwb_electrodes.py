"""The electrode table of an NWB file: names, positions in metres, shafts, bad channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.parts.nwb_file import texts
from braindecode_hub.types import Array

NAMES = ("label", "channel_name", "name", "channel", "electrode_name")
"""Columns that name a channel, the first that does so without repeating itself is taken."""

UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6}
NEAREST_M, FARTHEST_M = 0.005, 0.3
"""The electrode farthest from the origin is between 5 mm and 30 cm from it: that tells metres, mm and µm apart."""


@dataclass(frozen=True)
class Electrodes:
    """What is known of the channels, in their order; `notes` say what was guessed."""

    names: tuple[str, ...]
    positions: Array | None = None
    shafts: tuple[str, ...] = ()
    bads: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def electrodes_of(file: Any, group: Any, channels: int, unit: str, where: str) -> Electrodes:
    """Return the electrodes of an ElectricalSeries group; numbered channels where no table describes them.

    `unit`: that of the positions (m, cm, mm, um), or "auto". Raises HubError for a table that does not fit.
    """
    if "electrodes" not in group:
        return Electrodes(numbered(channels))
    rows = np.asarray(group["electrodes"][()], np.int64).reshape(-1)
    if len(rows) != channels:
        raise HubError(
            f"{where} has {channels} channels, but refers to {len(rows)} electrodes", "repair its electrodes"
        )
    reference = group["electrodes"].attrs.get("table")
    table = file[reference] if reference else file.get("general/extracellular_ephys/electrodes")
    if table is None:
        return Electrodes(numbered(channels))
    count = len(table["id"]) if "id" in table else None
    if count is not None and len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise HubError(f"{where} refers to electrode {rows.max()} of a table of {count}", "repair its electrodes")
    columns = _Columns(file, table, rows)
    groups = columns.groups()
    names = _names(columns, groups, channels)
    positions, notes = positions_in_m(columns.positions(), unit)
    return Electrodes(names, positions, shafts_of(names, groups), _bads(columns, names), notes)


def numbered(channels: int) -> tuple[str, ...]:
    """Return ch1, ch2 … with as many digits as the last one needs."""
    return tuple(f"ch{number:0{len(str(channels))}d}" for number in range(1, channels + 1))


def shafts_of(names: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """Return the shaft of each channel from its group; () where groups do not tell more than numbered names do."""
    if not groups or not all(groups):
        return ()
    if len(set(groups)) == 1 and all(re.search(r"\D\d+$", name) for name in names):
        return ()
    return tuple(groups)


def positions_in_m(values: Array | None, unit: str) -> tuple[Array | None, tuple[str, ...]]:
    """Return positions (channels, 3) float64 in metres, and what to say of them; None where the unit is not clear.

    NWB says micrometres, and files hold metres, millimetres and micrometres. Raises HubError for an unknown `unit`.
    """
    if unit != "auto" and unit not in UNITS:
        raise HubError(f"there is no unit '{unit}' of positions", f"use auto or {', '.join(UNITS)}", usage=True)
    if values is None or not np.isfinite(values).all(axis=1).any():
        return None, ()
    values = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)
    if unit != "auto":
        return values * UNITS[unit], ()
    farthest = float(np.nanmax(np.linalg.norm(values, axis=1)))
    if farthest == 0:
        return None, ("all electrodes are at 0, so positions are not known",)
    for name, long in (("m", "metres"), ("mm", "millimetres"), ("um", "micrometres")):
        if NEAREST_M <= farthest * UNITS[name] <= FARTHEST_M:
            told = () if name == "m" else (f"positions up to {farthest:.4g} are taken for {long}",)
            return values * UNITS[name], told
    note = f"positions up to {farthest:.4g} are in no unit that fits a head, and are left out"
    return None, (f"{note}; --set dataset.position_unit=mm says it",)


class _Columns:
    """Columns of the table, for the rows of one series."""

    def __init__(self, file: Any, table: Any, rows: Array) -> None:
        self._file, self._table, self._rows = file, table, rows

    def get(self, name: str) -> Array | None:
        if name not in self._table or not hasattr(self._table[name], "shape"):
            return None
        values = self._table[name][()]
        return (
            values[self._rows] if getattr(values, "ndim", 0) >= 1 and len(values) > self._rows.max(initial=-1) else None
        )

    def texts(self, name: str) -> list[str]:
        values = self.get(name)
        return [] if values is None else texts(values)

    def groups(self) -> list[str]:
        named = self.texts("group_name")
        if named:
            return named
        references = self.get("group")
        return [] if references is None else [self._file[one].name.rsplit("/", 1)[-1] for one in references]

    def positions(self) -> Array | None:
        values = [self.get(axis) for axis in "xyz"]
        if any(one is None for one in values):
            return None
        return np.stack([np.asarray(one, np.float64) for one in values], axis=1)


def _names(columns: _Columns, groups: Sequence[str], channels: int) -> tuple[str, ...]:
    for column in NAMES:
        named = columns.texts(column)
        if named and all(named) and len(set(named)) == channels:
            return tuple(named)
        joined = [f"{group}-{name}" for group, name in zip(groups, named, strict=True)] if groups and named else []
        if joined and all(named) and len(set(joined)) == channels:
            return tuple(joined)
    return numbered(channels)


def _bads(columns: _Columns, names: Sequence[str]) -> tuple[str, ...]:
    marks = [mark.lower() in ("true", "1", "bad", "yes") for mark in columns.texts("bad")]
    marks = marks or [mark.lower() == "bad" for mark in columns.texts("status")]
    return tuple(name for name, bad in zip(names, marks, strict=True) if bad) if marks else ()

"""What each contact is measured against: nothing, the common average, or its neighbour on the shaft."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array, Recording


@dataclass(frozen=True)
class Reference:
    """A re-referencing of good channels that keeps the number and order of all of them.

    "car": minus the mean of the good channels. "bipolar": minus the next good contact on the same shaft; the
    last contact of a shaft minus the one before it (so its envelope repeats that one's). `good`: rows not
    marked bad; `alive`: rows that have a signal afterwards (a contact alone on its shaft has none);
    `partner`: (channels,) row, or -1.
    """

    kind: Literal["none", "car", "bipolar"]
    names: tuple[str, ...]
    good: Array
    alive: Array
    partner: Array

    @classmethod
    def of(cls, kind: Literal["none", "car", "bipolar"], channels: int, sensors: Recording | None) -> Reference:
        """Return the reference for a recording; raises HubError where contacts or shafts for it are
        lacking.
        """
        names = sensors.brain.channels if sensors else ()
        if names and len(names) != channels:
            raise HubError(f"{len(names)} channel names for {channels} channels", "name each channel once, or none")
        bads = set(sensors.bads) if sensors else set()
        if bads and not names:
            raise HubError("channels are marked bad, but no channel has a name", "give the recording its channel names")
        good = np.array([row for row in range(channels) if not names or names[row] not in bads], np.int64)
        partner = np.full(channels, -1, np.int64)
        if kind == "bipolar":
            _pair(partner, good, names, shafts_of(sensors))
            return cls(kind, names, good, good[partner[good] >= 0], partner)
        if kind == "car" and len(good) < 2:
            raise HubError(f"a common average of {len(good)} good channel leaves nothing", "set reference: none")
        if kind not in ("none", "car"):
            raise HubError(f"reference {kind!r} is unknown", "choose none, car or bipolar")
        return cls(kind, names, good, good, partner)

    def common(self, x: Array) -> Array | None:
        """Return the mean (time,) of the good channels of x (channels, time) for "car", else None;
        float64.
        """
        if self.kind != "car":
            return None
        total = np.zeros(x.shape[-1])
        for row in self.good:
            total += x[row]
        return total / len(self.good)

    def apply(self, x: Array, rows: Array, common: Array | None) -> Array:
        """Return `rows` of x (channels, time) re-referenced; in float64 where something is subtracted."""
        if self.kind == "bipolar":
            return x[rows].astype(np.float64) - x[self.partner[rows]]
        return x[rows] if common is None else x[rows] - common


def shafts_of(sensors: Recording | None) -> tuple[str, ...]:
    """Return each channel's shaft, as recorded or read off its name ("LA7" is on LA); raises HubError."""
    names = sensors.brain.channels if sensors else ()
    shafts = sensors.shafts if sensors else ()
    if shafts and len(shafts) == len(names):
        return shafts
    numbered = [_numbered(name) for name in names]
    if not names or shafts or any(number is None for _, number in numbered):
        raise HubError(
            "bipolar needs to know which contacts share a shaft",
            "name channels like LA1, LA2 or set reference: car",
        )
    return tuple(stem for stem, _ in numbered)


def _numbered(name: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.*?)(\d+)", name)
    return (found[1], int(found[2])) if found else (name, None)


def _pair(partner: Array, good: Array, names: tuple[str, ...], shafts: Sequence[str]) -> None:
    for shaft in dict.fromkeys(shafts):
        contacts = [int(row) for row in good if shafts[row] == shaft]
        numbers = [_numbered(names[row])[1] for row in contacts]
        if None not in numbers and len(set(numbers)) == len(numbers):
            contacts.sort(key=lambda row: _numbered(names[row])[1] or 0)
        for here, there in pairwise(contacts):
            partner[here] = there
        if len(contacts) > 1:
            partner[contacts[-1]] = contacts[-2]

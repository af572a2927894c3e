"""Are a recording's sensor positions what they should be, metres? In another unit, or unknown, they are named.

Attention by position and maps of the head read metres. A length says its unit well enough: no sensor of a head is
farther than 0.5 m from its origin, and no cap, grid or shaft is smaller than a millimetre.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from braindecode_hub.findings import Finding, count_of, named
from braindecode_hub.types import Array, Recording

FARTHEST_M, SMALLEST_M = 0.5, 1e-3
"""Metres from the origin to the farthest sensor, at most; metres that sensors span, at least."""

LIKELY = ((2.0, 25.0, "centimetres", 100), (25.0, 500.0, "millimetres", 1000), (2e4, 5e5, "micrometres", 1_000_000))
"""From, to (of the farthest sensor), the unit that it then is in, and how many of it are a metre."""

UNIT_SPHERE = (0.5, 2.0)
"""A farthest sensor at about 1 belongs to a drawing of a head whose radius is 1."""


def position_findings(recording: Recording) -> Iterator[Finding]:
    """Yield what deserves a look in a recording's positions; nothing where it has none, or all are metres."""
    if recording.positions is None:
        return
    count = int(recording.brain.data.shape[0])
    positions = np.asarray(recording.positions, np.float64)
    if positions.shape != (count, 3):
        told = f"positions of shape {positions.shape} for {count_of(count, 'channel')}: nothing uses them"
        yield Finding("problem", told, f"give ({count}, 3), in metres, NaN where nobody knows")
        return
    names = recording.brain.channels if len(recording.brain.channels) == count else [str(n) for n in range(count)]
    yield from _unknown(positions, names)
    known = positions[np.isfinite(positions).all(axis=1)]
    if len(known):
        yield from _unit(known)


def position_notes(recordings: Iterable[Recording]) -> list[str]:
    """Return one line for everything that deserves a look in the positions of recordings, with whose they are."""
    found: dict[Finding, list[str]] = {}
    for recording in recordings:
        for finding in position_findings(recording):
            found.setdefault(finding, []).append(recording.id)
    return [f"{named(ids, 3)}: {finding.what}; {finding.advice}" for finding, ids in found.items()]


def _unknown(positions: Array, names: Iterable[str]) -> Iterator[Finding]:
    nan, finite = np.isnan(positions), np.isfinite(positions)
    torn = ~finite.all(axis=1) & ~nan.all(axis=1)
    if torn.any():
        some = [name for name, is_torn in zip(names, torn, strict=True) if is_torn]
        told = f"positions that are infinite, or known by half: of {named(some)}"
        yield Finding("problem", told, "give three numbers in metres, or three NaN for unknown")
    if nan.all():
        yield Finding("check", "positions are all NaN: no sensor has a known one", "leave them out, or give metres")
    elif nan.all(axis=1).any():
        some = [name for name, is_nan in zip(names, nan.all(axis=1), strict=True) if is_nan]
        told = f"unknown positions (NaN) of {len(some)} of {len(positions)} sensors: {named(some)}"
        yield Finding("check", told, "maps and attention by position leave these out")


def _unit(known: Array) -> Iterator[Finding]:
    farthest = float(np.linalg.norm(known, axis=1).max())
    span = float(np.ptp(known, axis=0).max())
    if len(known) > 1 and span == 0:
        yield Finding("problem", "positions are one and the same for all sensors", "leave them out where nobody knows")
        return
    if farthest <= FARTHEST_M:
        if len(known) > 1 and span < SMALLEST_M:
            told = f"positions span {span:.3g}: no metres of a head"
            yield Finding("problem", told, "give metres (were they divided by 1000 twice?)")
        return
    told = f"positions reach {farthest:.4g} from the origin: no metres of a head"
    for low, high, unit, each in LIKELY:
        if low <= farthest < high:
            yield Finding("problem", f"{told}, they look like {unit}", f"divide them by {each:,}".replace(",", " "))
            return
    if UNIT_SPHERE[0] <= farthest < UNIT_SPHERE[1]:
        yield Finding(
            "problem", f"{told}, they look like a head of radius 1", "multiply them by the head's radius in m"
        )
        return
    yield Finding("problem", f"{told}, and in no unit that fits one", "give them in metres, or leave them out")

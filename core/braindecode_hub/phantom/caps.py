"""EEG caps by name: which sites, in which order, under which names; and how a cap sits on one head."""

from __future__ import annotations

import numpy as np

from braindecode_hub.phantom.noise import Reals

Site = tuple[str, int, int]
"""Name, inclination from Cz and azimuth in degrees (x right, y front)."""

CAP: tuple[Site, ...] = (
    ("Fp1", -92, -72), ("Fp2", 92, 72), ("AF3", -74, -65), ("AF4", 74, 65), ("F7", -92, -36),
    ("F3", -60, -51), ("Fz", 46, 90), ("F4", 60, 51), ("F8", 92, 36), ("FC5", -72, -21),
    ("FC1", -32, -45), ("FC2", 32, 45), ("FC6", 72, 21), ("T7", -92, 0), ("C3", -46, 0),
    ("Cz", 0, 0), ("C4", 46, 0), ("T8", 92, 0), ("CP5", -72, 21), ("CP1", -32, 45),
    ("CP2", 32, -45), ("CP6", 72, -21), ("P7", -92, 36), ("P3", -60, 51), ("Pz", 46, -90),
    ("P4", 60, -51), ("P8", 92, -36), ("PO3", -74, 65), ("O1", -92, 72), ("Oz", 92, -90),
    ("O2", 92, -72), ("PO4", 74, -65),
)  # fmt: skip
"""Name, inclination from Cz and azimuth in degrees (x right, y front) of BioSemi's 32-channel cap."""

_PLACES = {name: (tilt, turn) for name, tilt, turn in CAP}
_SIXTEEN = frozenset("Fp1 Fp2 F3 Fz F4 T7 C3 Cz C4 T8 P3 Pz P4 O1 Oz O2".split())  # noqa: SIM905
_TEN_TWENTY = (
    *("Fp1", "F7", "T3/T7", "T5/P7", "O1", "F3", "C3", "P3", "Fz", "Cz"),
    *("Pz", "F4", "C4", "P4", "Fp2", "F8", "T4/T8", "T6/P8", "O2"),
)
"""The clinical 10-20 system, chain by chain, with its old names (T3, T4, T5, T6) for T7, T8, P7 and P8."""
_LOST = frozenset("AF3 FC6 CP1 PO4 O1".split())  # noqa: SIM905


def _named(names: tuple[str, ...]) -> tuple[Site, ...]:
    """Return sites by name; "T3/T7" is called T3 and lies where T7 does."""
    pairs = [(name.partition("/")[0], name.rpartition("/")[2]) for name in names]
    return tuple((own, *_PLACES[place]) for own, place in pairs)


LAYOUTS: dict[str, tuple[Site, ...]] = {
    "cap32": CAP,
    "cap16": tuple(site for site in CAP if site[0] in _SIXTEEN),
    "clinical19": _named(_TEN_TWENTY),
    "lost27": tuple(site for site in CAP if site[0] not in _LOST),
    "numbered28": tuple(
        (f"E{number:02d}", tilt + (4 if tilt > 0 else -4), turn)
        for number, (_, tilt, turn) in enumerate(sorted(CAP[2:30]), start=1)
    ),
}
"""cap32, cap16: BioSemi's caps. clinical19: the 10-20 system under its old names, chain by chain. lost27: cap32
without five sensors. numbered28: sites without Fp1, Fp2, O2 and PO4, four degrees further from Cz, only numbered."""

SEAT_DEGREES = 3.0
"""SD of the turns about three axes by which a cap sits differently: some 5 mm at the rim."""


def directions(sites: tuple[Site, ...]) -> tuple[tuple[str, ...], Reals]:
    """Return the names of sites, and unit vectors (sites, 3) from the head's centre (right, front, up)."""
    tilt, turn = np.radians([site[1] for site in sites]), np.radians([site[2] for site in sites])
    unit = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], axis=1)
    return tuple(site[0] for site in sites), unit


def seated(unit: Reals, rng: np.random.Generator) -> Reals:
    """Return unit vectors (sites, 3) turned about x, y and z by some `SEAT_DEGREES` each."""
    for axis, angle in enumerate(np.radians(SEAT_DEGREES) * rng.standard_normal(3)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[one, two], [one, two]] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        unit = unit @ turn.T
    return unit

"""Rows of targets or features that are on two sides, as they are or nearly, whatever their ids say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from braindecode_hub.design import Entry, Finding, Level
from braindecode_hub.types import Array

ALIKE = 0.9
"""Rows of a lower cosine are no near-duplicates."""
AROUND = 10
"""A row's nearest other is held against the tenth nearest, which tells how far apart rows are just there."""
BY_CHANCE = 0.001
"""So many near-duplicates are expected where there are none."""
SMALLEST_ANGLE = 1e-3
LEVELS = 64
"""Counts and labels lie on a grid, where rows point the same way by nature: fewer values than this are only equal."""
ROWS = 512
BLOCK = 1 << 24
"""Products of rows held at once."""
PRODUCTS = 1 << 29
"""Products of a test with a training row, at most: of more test rows so many are looked at, evenly spread."""

REPEATED = 5
"""Rows that come so often in training on average, and twice at test, are classes …"""
MOSTLY = 0.9
"""Share of the test rows that are in training, too, at least."""
TWO_VALUED = 3
"""… and rows of two values only, as of labels, if each comes so often altogether."""


def duplicates(name: str, array: Array, entries: Sequence[Entry], level: str = "leak") -> list[Finding]:
    """Return equal and nearly equal rows of `array` (trials, …) on two sides, the test side's counted.

    Equal: the same bytes. Nearly equal: much nearer to a training row than chance allows, as with noise added, another
    gain or offset, or moved by a sample. In few dimensions rows are near by chance; how many dimensions there are is
    told by the training rows' own neighbours (Levina and Bickel 2004). Trials whose stimulus has the same name on both
    sides are left to the rule for stimuli.
    """
    flat = np.asarray(array, np.float64).reshape(len(array), -1)
    flat = np.asarray(flat / (np.abs(flat).max(initial=0.0) or 1.0), np.float32)  # teslas are looked at like counts
    sides = np.array([entry.side for entry in entries])
    train, test = np.flatnonzero(sides != "test"), np.flatnonzero(sides == "test")
    train = train[np.isin(sides[train], ("train", "val"))]
    if flat.shape[1] < 2 or not len(train) or not len(test):
        return []
    digest = [hashlib.sha256(row.tobytes()).digest() for row in flat]
    known = {digest[n] for n in train}
    same = {int(n) for n in test if digest[n] in known}
    train = np.array(list({digest[n]: n for n in train}.values()))  # repeats within training say nothing
    looked, near = _thinned(test, max(ROWS, PRODUCTS // len(train))), set[int]()
    levels = len(np.unique(flat[_thinned(train)]))
    for wave in () if levels < LEVELS else (flat - flat[train].mean(axis=0), flat - flat.mean(axis=1, keepdims=True)):
        near |= {int(n) for n in looked[_stand_out(wave, looked, train)]} - same
    found = []
    for what, hit, of in (("equal", same, test), ("nearly equal", near, looked)):
        if hit:
            text = f"{what} {name} on both sides, whatever their ids say"
            text += f" (among {len(of)} of {len(test)} test rows)" if len(of) < len(test) else ""
            found.append(Finding(f"{what} {name}", level, ("train", "test"), len(hit), len(hit) / len(of), text))  # type: ignore[arg-type]
    return found


def few_rows(target: Array, entries: Sequence[Entry]) -> Finding | None:
    """Return a finding if few distinct rows of `target` (trials, …), each repeated on both sides, are all there is.

    One-hot rows are classes however often they come; of real numbers it is a warning, for repeated stimuli look alike.
    """
    flat = np.asarray(target).reshape(len(target), -1)
    sides = np.array([entry.side for entry in entries])
    ours, theirs = np.isin(sides, ("train", "val")), sides == "test"
    digest = np.array([hashlib.sha256(row.tobytes()).digest() for row in flat], dtype="S32")
    train, test = (Counter(digest[side].tolist()) for side in (ours, theirs))
    known = sum(count for row, count in test.items() if row in train)
    if not test or not train or known < MOSTLY * theirs.sum():
        return None
    values = np.unique(flat[_thinned(np.arange(len(flat)))])
    labels = len(values) <= 2 and len(np.unique(flat)) <= 2
    one_hot = labels and set(values.tolist()) <= {0, 1} and bool((flat.sum(axis=1) == 1).all())
    distinct = len(train | test)
    often = ours.sum() >= REPEATED * distinct and theirs.sum() >= 2 * len(test)
    if not (one_hot or often or (labels and len(flat) >= TWO_VALUED * distinct)):
        return None
    text = f"a closed set: the targets are {distinct} different rows, each repeated on both sides (classes)"
    if not labels:
        text += "; a leak if they stand for stimuli that are to be new at test"
    level: Level = "fact" if labels else "warning"
    return Finding("closed set", level, ("train", "test"), known, known / int(theirs.sum()), text)


def _thinned(rows: Array, most: int = ROWS) -> Array:
    """Return at most so many of some rows, evenly spread."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)])


def _stand_out(wave: Array, test: Array, train: Array) -> Array:
    """Say which test rows of `wave` are much nearer to one training row, or some, than those around it are.

    If points are spread evenly over d dimensions about a row, (r1 / r10)^d is the smallest of nine uniform numbers.
    """
    norm = np.linalg.norm(wave, axis=1, keepdims=True)
    pointing = norm > 1e-6 * norm.max()
    wave = np.where(pointing, wave / np.where(pointing, norm, 1.0), 0.0)
    if len(train) <= AROUND:
        return np.zeros(len(test), np.bool_)
    some = _thinned(train)
    own = _nearest(wave, some, train, skip=1)
    apart = own[own[:, 0] > SMALLEST_ANGLE]
    median = float(np.median(np.log(apart[:, 0] / apart[:, 1]))) if len(apart) else 0.0
    dimensions = np.log(1 - 0.5 ** (1 / (AROUND - 1))) / median if median < 0 else 1.0
    carried = np.minimum(dimensions, _carrying(wave) - 1.0)
    hit = _is_copy(_nearest(wave, test, train), carried[test], len(test))
    usual = _is_copy(own, carried[some], len(test))  # rows in clumps are near each other on one side, too
    return hit if hit.mean() > 4 * usual.mean() else np.zeros(len(test), np.bool_)


def _carrying(wave: Array) -> Array:
    """Return how many columns carry each row (rows,): all alike, their number; one alone, 1 (participation ratio).

    Rows with one large value, as of heavy tails or sparse features, point the same way without being copies.
    """
    power = np.square(wave, dtype=np.float64)
    total = power.sum(axis=1)
    return np.where(total > 0, total**2 / np.maximum(np.square(power).sum(axis=1), 1e-300), 1.0)


def _is_copy(angles: Array, dimensions: Array, count: int) -> Array:
    share = np.clip((angles[:, 0] / angles[:, 1]) ** dimensions, 0.0, 1.0 - 1e-9)
    chance = -np.expm1((AROUND - 1) * np.log1p(-share))
    return np.asarray((np.cos(angles[:, 0]) > ALIKE) & (chance * count < BY_CHANCE))


def _nearest(wave: Array, rows: Array, train: Array, skip: int = 0) -> Array:
    """Return the angles of rows with their nearest and tenth nearest training row (rows, 2); `skip`: first ones."""
    last = min(skip + AROUND, len(train)) - 1
    found = []
    others, block = wave[train].T, max(1, BLOCK // len(train))
    for start in range(0, len(rows), block):
        apart = wave[rows[start : start + block]] @ others
        np.negative(apart, out=apart)
        apart.partition((skip, last), axis=1)
        found.append(np.arccos(np.clip(-apart[:, [skip, last]], -1.0, 1.0)))
    return np.maximum(np.concatenate(found).astype(np.float64), SMALLEST_ANGLE)

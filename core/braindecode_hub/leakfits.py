"""Does a score survive where nothing can be decoded? Simple decoders on relabelled blocks, surrogates, and time alone.

Ridge regression and the nearest training trial are refitted on somebody else's features. With the targets exchanged
between blocks before the split, or the features replaced by a surrogate of their own spectrum, what is still found is
drift, block design or time. The rule is that of a run's controls: `controls.above_chance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from braindecode_hub.controls import RELABEL_BLOCK_S, above_chance, relabel
from braindecode_hub.design import Entry, presentation_blocks
from braindecode_hub.errors import HubError
from braindecode_hub.metrics import identification
from braindecode_hub.surrogates import surrogate
from braindecode_hub.types import Array, Context, Trial

MARGIN = 0.1
"""How far above .5 a rank must be, besides two standard errors."""
MOST_ROWS = 1000
"""Trials of a side that are used: more are thinned out evenly, in order."""
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
WINDOWS = 10
"""Trials in a block where neither blocks nor seconds are known."""


@dataclass(frozen=True)
class Check:
    """One refit check: the identification rank (chance .5) of every refit, and whether it is above chance."""

    name: str
    decoder: str
    ranks: tuple[float, ...]
    above: bool | None


def check_refits(
    features: Array | None, targets: Array, entries: Sequence[Entry], *, seed: int, refits: int
) -> Iterator[Check]:
    """Yield the checks; `features` (trials, …) in the order of `entries`, `targets` (trials, …).

    "as given" is one fit and never judged. Without features only time alone is tried. Raises HubError where a side is
    missing or the trials have one target only.
    """
    y = np.asarray(targets, np.float64).reshape(len(targets), -1)
    rows = _rows(entries)
    if not len(rows["train"]) or not len(rows["test"]):
        raise HubError("refits need a train and a test side", "give the side of every trial", usage=True)
    if len(np.unique(y[rows["test"]], axis=0)) < 2:
        raise HubError("all test trials have the same target", "give at least two", usage=True)
    if all(entry.start is not None for entry in entries):
        yield _time_alone(y, entries, rows, seed)
    if features is None:
        return
    x = np.asarray(features, np.float32)
    fits = _decoders(_flat(x), rows)
    for name, fit in fits.items():
        yield Check("as given", name, (_rank(fit(y), y, rows),), None)
    found: dict[str, list[float]] = {name: [] for name in fits}
    for number in range(refits):
        moved = y[_relabelled(entries, Context(seed=seed).rng("audit", "relabelled", number))]
        for name, fit in fits.items():
            found[name].append(_rank(fit(moved), moved, rows))
    yield from (_judged("relabelled", name, ranks) for name, ranks in found.items())
    found = {name: [] for name in fits}
    for number in range(refits):
        other = _surrogate(x, entries, Context(seed=seed).rng("audit", "surrogate", number))
        for name, fit in _decoders(_flat(other), rows).items():
            found[name].append(_rank(fit(y), y, rows))
    yield from (_judged("surrogate", name, ranks) for name, ranks in found.items())


def _judged(name: str, decoder: str, ranks: list[float]) -> Check:
    return Check(name, decoder, tuple(ranks), above_chance(ranks, 0.5, MARGIN))


def _rows(entries: Sequence[Entry]) -> dict[str, Array]:
    """Return the rows of each side, evenly thinned out to `MOST_ROWS`."""
    found = {}
    for side in ("train", "val", "test"):
        own = np.array([n for n, entry in enumerate(entries) if entry.side == side], dtype=int)
        found[side] = own if len(own) <= MOST_ROWS else own[np.linspace(0, len(own) - 1, MOST_ROWS).astype(int)]
    return found


def _rank(predicted: Array, y: Array, rows: dict[str, Array]) -> float:
    """Return the identification rank of predictions of the test rows; equal targets are one candidate."""
    true = y[rows["test"]]
    ids = np.unique(true, axis=0, return_inverse=True)[1].reshape(-1).tolist()
    if len(set(ids)) < 2:
        return 0.5
    return identification(true, predicted, center=y[rows["train"]].mean(axis=0), ids=ids)["rank_percentile"]


# Decoders


def _decoders(x: Array, rows: dict[str, Array]) -> dict[str, _Ridge | _Nearest]:
    x = x / (np.abs(x).max(initial=0.0) or 1.0)  # teslas are looked at like counts
    scale = x[rows["train"]].std(axis=0)
    x = (x - x[rows["train"]].mean(axis=0)) / np.where(scale > 1e-12, scale, 1.0)
    return {"ridge": _Ridge(x, rows), "nearest": _Nearest(x, rows)}


class _Ridge:
    """Ridge regression in its dual form; the penalty by validation, else by leaving one out."""

    def __init__(self, x: Array, rows: dict[str, Array]) -> None:
        self.rows = rows
        train = x[rows["train"]]
        self.values, self.vectors = scipy.linalg.eigh(train @ train.T)
        self.values = np.maximum(self.values, 0.0)
        self.held = {side: x[rows[side]] @ train.T @ self.vectors for side in ("val", "test")}
        self.scale = float(self.values.mean()) or 1.0

    def __call__(self, y: Array) -> Array:
        """Return the predictions of the test rows."""
        train = y[self.rows["train"]]
        mean = train.mean(axis=0)
        turned = self.vectors.T @ (train - mean)
        shrunken = [turned / (self.values + alpha * self.scale)[:, None] for alpha in ALPHAS]
        if len(self.rows["val"]):
            held = y[self.rows["val"]] - mean
            errors = [float(((self.held["val"] @ some - held) ** 2).sum()) for some in shrunken]
        else:
            errors = [self._left_out(train - mean, some, alpha) for some, alpha in zip(shrunken, ALPHAS, strict=True)]
        return np.asarray(self.held["test"] @ shrunken[int(np.argmin(errors))] + mean)

    def _left_out(self, y: Array, shrunken: Array, alpha: float) -> float:
        kept = self.values / (self.values + alpha * self.scale)
        fitted = self.vectors @ (self.values[:, None] * shrunken)
        leverage = np.minimum((self.vectors**2) @ kept, 1 - 1e-6)
        return float((((y - fitted) / (1 - leverage)[:, None]) ** 2).sum())


class _Nearest:
    """The target of the nearest training trial: what a memorising network would find."""

    def __init__(self, x: Array, rows: dict[str, Array]) -> None:
        train, test = x[rows["train"]], x[rows["test"]]
        apart = (train**2).sum(axis=1)[None] - 2 * test @ train.T
        self.found = rows["train"][apart.argmin(axis=1)]

    def __call__(self, y: Array) -> Array:
        """Return the predictions of the test rows."""
        return np.asarray(y[self.found])


def _time_alone(y: Array, entries: Sequence[Entry], rows: dict[str, Array], seed: int) -> Check:
    """Predict the target of the training trial nearest in time: no brain at all. Judged against exchanged targets."""
    starts = np.array([entry.start for entry in entries], np.float64)
    places = np.array([entry.place for entry in entries])
    train, test = rows["train"], rows["test"]
    apart = np.abs(starts[test][:, None] - starts[train][None])
    apart = np.where(places[test][:, None] == places[train][None], apart, np.inf)
    known = np.isfinite(apart.min(axis=1))
    if known.sum() < 2:
        return Check("time alone", "no brain", (0.5,), None)
    own = {"train": train, "test": test[known]}
    guess = y[train[apart[known].argmin(axis=1)]]
    rank = _rank(guess, y, own)
    rng = np.random.default_rng(seed)
    null = [_rank(guess[rng.permutation(len(guess))], y, own) for _ in range(99)]
    return Check("time alone", "no brain", (rank,), rank > 0.5 + MARGIN and rank > max(null))


# What is exchanged


def _relabelled(entries: Sequence[Entry], rng: np.random.Generator) -> Array:
    """Return, for every row, the row whose target it gets: blocks exchanged before the split, by `controls.relabel`."""
    blocks = _blocks(entries)
    trials = [
        Trial(
            str(n),
            entry.place,
            float(n if entry.start is None else entry.start),
            float(n + 1 if entry.start is None else (entry.stop or entry.start + 1.0)),
            str(n),
            groups={"block": str(blocks[n])},
        )
        for n, entry in enumerate(entries)
    ]
    given = {int(trial.id): int(str(trial.stimulus)) for trial in relabel(trials, rng)}
    return np.array([given[n] for n in range(len(entries))])


def _blocks(entries: Sequence[Entry]) -> list[int]:
    """Return presentation blocks, long ones of a place that has few cut into pieces of 10 s (or of 10 trials)."""
    found = presentation_blocks(entries)
    if len(set(found)) > 2 * len({entry.place for entry in entries}):
        return found
    order = sorted(range(len(entries)), key=lambda n: (entries[n].place, entries[n].start or 0.0, n))
    cut = [0] * len(entries)
    numbers: dict[tuple[int, int], int] = {}
    for place, n in enumerate(order):
        start = entries[n].start
        piece = place // WINDOWS if start is None else int(start // RELABEL_BLOCK_S)
        cut[n] = numbers.setdefault((found[n], piece), len(numbers))
    return cut


def _surrogate(x: Array, entries: Sequence[Entry], rng: np.random.Generator) -> Array:
    """Return features of the same spectra over time and trials, without any stimulus in them.

    (trials, channels, time) is laid end to end in the order of recording; of (trials, features) the trials are time.
    """
    wide = x if x.ndim == 3 else x.reshape(len(x), -1, 1)
    out = np.empty_like(wide)
    for place in sorted({entry.place for entry in entries}):
        own = [n for n, entry in enumerate(entries) if entry.place == place]
        own.sort(key=lambda n: (entries[n].start or 0.0, n))
        if len(own) < 2 and wide.shape[2] < 2:
            out[own] = wide[own]
            continue
        line = np.moveaxis(wide[own], 0, 1).reshape(wide.shape[1], -1)
        mixed = surrogate(line, rng).reshape(wide.shape[1], len(own), wide.shape[2])
        out[own] = np.moveaxis(mixed, 1, 0)
    return out


def _flat(x: Array) -> Array:
    return np.asarray(x, np.float64).reshape(len(x), -1)

"""Splits: which seconds are trained on, validated on and tested on. Core makes them; datasets only give groups.

The rules (docs/decisions/0004-splits.md): identity is the stimulus interval; no trial, stimulus interval or second
of brain stands on two sides; validation is purged from both; a gap is purged between sides in a recording.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from braindecode_hub.errors import HubError
from braindecode_hub.text import plain
from braindecode_hub.types import Trial

Side = Literal["train", "val", "test"]
SIDES: tuple[Side, Side, Side] = ("train", "val", "test")
Interval = tuple[float, float]
EPSILON = 1e-6
SHORTEST_CUT_S = 1.0
"""A continuous piece shorter than this is not worth keeping after a cut."""
TEXTS = frozenset(("sentence", "text"))
"""Groups that are texts: case, punctuation and white space make no other sentence."""
OWN_RULES = frozenset(("official", "stimulus", "time_block"))
"""Criteria that are no key of `Trial.groups`."""


@dataclass(frozen=True)
class Fold:
    """One fold: the trials of each side, and how many presented seconds belong to none."""

    number: int
    train: tuple[Trial, ...]
    val: tuple[Trial, ...]
    test: tuple[Trial, ...]
    purged_s: float

    def side(self, name: Side) -> tuple[Trial, ...]:
        """Return the trials of one side."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def as_data(self) -> dict[str, Any]:
        """Return what `split.json` says of this fold."""
        sides = {side: [_as_data(trial) for trial in self.side(side)] for side in SIDES}
        return {"fold": self.number, "purged_s": round(self.purged_s, 3), "sides": sides}


@dataclass(frozen=True)
class Split:
    """How to split: `by` one or several of time_block, stimulus, official, or any key of `Trial.groups`.

    `folds`: how many parts; part k is tested, part k+1 validates. `gap_s`: seconds of brain purged between sides.
    `blocks`: time blocks of each recording per fold. `closed_set`: stimuli may repeat across sides.
    """

    by: tuple[str, ...]
    folds: int = 5
    gap_s: float = 0.0
    blocks: int = 2
    closed_set: bool = False
    seed: int = 0

    def make(self, trials: Sequence[Trial]) -> list[Fold]:
        """Split `trials`; every fold returned has passed `check_fold`.

        Raises HubError when a key is unknown, there are too few groups, or a side would be empty.
        """
        self._check()
        _check_trials(trials)
        pieces = [piece for piece in _cut_into_blocks(trials, self) if piece.stimulus is not None]
        parts = [self._parts(criterion, pieces) for criterion in self.by]
        count = 1 if self.by == ("official",) else min(self.folds, *(len(set(part)) for part in parts if part[0] != ""))
        return [self._fold(number, count, pieces, parts) for number in range(count)]

    def _check(self) -> None:
        if not self.by:
            raise HubError("split.by is empty", "such as `by: stimulus`, or `by: time_block`", usage=True)
        if self.folds < 3 and self.by != ("official",):
            raise HubError(
                f"split.folds is {self.folds}", "train, val and test need one part each: 3 or more", usage=True
            )
        if self.blocks < 1 or not self.gap_s >= 0:
            raise HubError(
                f"split.blocks is {self.blocks}, split.gap_s {self.gap_s:g}", "blocks ≥ 1, gap_s ≥ 0", usage=True
            )

    def _parts(self, criterion: str, pieces: Sequence[Trial]) -> list[Any]:
        if criterion == "time_block":
            return [int(piece.groups["time_block"]) % self.folds for piece in pieces]
        if criterion == "official":
            return _official(pieces)
        groups = _stimulus_groups(pieces) if criterion == "stimulus" else _named_groups(criterion, pieces)
        return _balanced(groups, pieces, self.folds, criterion, self.seed)

    def _fold(self, number: int, count: int, pieces: Sequence[Trial], parts: list[list[Any]]) -> Fold:
        sides: dict[Side, list[Trial]] = {"train": [], "val": [], "test": []}
        for index, piece in enumerate(pieces):
            asked = {_side_of(part[index], number, count) for part in parts}
            if len(asked) == 1:
                sides[asked.pop()].append(piece)
        presented = sum(piece.seconds for piece in pieces)
        asked_for = {side: bool(sides[side]) for side in SIDES}
        if not self.closed_set:
            sides["val"] = _without_stimuli(sides["val"], sides["test"])
            sides["train"] = _without_stimuli(sides["train"], sides["test"] + sides["val"])
        shared = [side for side in SIDES if asked_for[side] and not sides[side] and not {*self.by} & OWN_RULES]
        if shared:
            raise HubError(
                f"split by {', '.join(self.by)}: all that the {shared[0]} side of fold {number} presents is presented "
                "on another side, too",
                f"hold out what is presented as well: --set 'split.by=[{', '.join((*self.by, 'stimulus'))}]'",
            )
        sides["val"] = _without_seconds(sides["val"], sides["test"], self.gap_s)
        sides["train"] = _without_seconds(sides["train"], sides["test"] + sides["val"], self.gap_s)
        kept = sum(piece.seconds for side in SIDES for piece in sides[side])
        train, val, test = (tuple(sides[side]) for side in SIDES)
        fold = Fold(number, train, val, test, presented - kept)
        for side in SIDES:
            if not fold.side(side):
                raise HubError(
                    f"split by {', '.join(self.by)}: the {side} side of fold {number} is empty",
                    f"use fewer folds (now {self.folds}), a smaller gap_s (now {self.gap_s:g}) or another `split.by`",
                )
        check_fold(fold, self.gap_s, closed_set=self.closed_set)
        return fold


def check_fold(fold: Fold, gap_s: float = 0.0, *, closed_set: bool = False) -> None:
    """Raise HubError if a trial, a second of brain (with its gap) or a stimulus interval stands on two sides."""
    for side, other in (("train", "val"), ("train", "test"), ("val", "test")):
        ours, theirs = fold.side(side), fold.side(other)  # type: ignore[arg-type]
        where = f"fold {fold.number}: {side} and {other}"
        if {trial.id for trial in ours} & {trial.id for trial in theirs}:
            raise HubError(f"{where} share a trial", "give every trial its own id")
        seconds = _Intervals(_brain_seconds(theirs))
        if any(seconds.touches(trial.recording, trial.start - gap_s, trial.stop + gap_s) for trial in ours):
            raise HubError(f"{where} share seconds of brain", "split with a larger gap_s, or by another key")
        stimuli = _Intervals(_stimulus_seconds(theirs))
        if not closed_set and any(stimuli.touches(*_stimulus_interval(trial)) for trial in ours):
            raise HubError(f"{where} share a stimulus", "split by stimulus, or declare closed_set: true")


def split_from_config(config: Mapping[str, Any], *, seed: int, closed_set: bool) -> Split:
    """Build a Split from the pipeline's `split:` mapping."""
    given: dict[str, Any] = {
        "by": "stimulus",
        "folds": 5,
        "gap_s": 0.0,
        "blocks": 2,
        "closed_set": closed_set,
        **config,
    }
    names = [given["by"]] if isinstance(given["by"], str) else given["by"]
    wanted: dict[str, tuple[bool, str]] = {
        "by": (
            isinstance(names, list | tuple) and all(isinstance(name, str) for name in names),
            "a name or a list of names",
        ),
        "folds": (type(given["folds"]) is int, "a whole number"),
        "gap_s": (type(given["gap_s"]) in (int, float), "a number of seconds"),
        "blocks": (type(given["blocks"]) is int, "a whole number"),
        "closed_set": (type(given["closed_set"]) is bool, "true or false"),
    }
    for key, (right, kind) in wanted.items():
        if not right:
            raise HubError(f"split.{key} is {given[key]!r}, which is not {kind}", f"--set split.{key}=…", usage=True)
    return Split(tuple(names), given["folds"], float(given["gap_s"]), given["blocks"], given["closed_set"], seed)


class _Intervals:
    """Intervals by key, merged, for overlap questions."""

    def __init__(self, intervals: Iterable[tuple[str, float, float]]) -> None:
        collected: dict[str, list[Interval]] = defaultdict(list)
        for key, start, stop in intervals:
            collected[key].append((start, stop))
        self.merged = {key: merge(some) for key, some in collected.items()}
        self._stops = {key: [stop for _, stop in some] for key, some in self.merged.items()}

    def touches(self, key: str, start: float, stop: float) -> bool:
        some = self.merged.get(key, [])
        first = bisect.bisect_right(self._stops.get(key, []), start + EPSILON)
        return first < len(some) and some[first][0] < stop - EPSILON

    def rest(self, key: str, start: float, stop: float) -> list[Interval]:
        """Return what is left of [start, stop] outside these intervals."""
        left = []
        for low, high in self.merged.get(key, []):
            if high <= start + EPSILON or low >= stop - EPSILON:
                continue
            if low > start + EPSILON:
                left.append((start, low))
            start = max(start, high)
        if stop > start + EPSILON:
            left.append((start, stop))
        return left


def merge(intervals: Iterable[Interval], join: float = EPSILON) -> list[Interval]:
    """Merge intervals that overlap or lie within `join` seconds of each other; sorted."""
    merged: list[Interval] = []
    for start, stop in sorted(intervals):
        if merged and start <= merged[-1][1] + join:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def left_of(trial: Trial, others: Iterable[Trial]) -> list[Interval]:
    """Return the stimulus seconds of a trial that no other trial presents; (-inf, inf): all, without a clock."""
    key, start, stop = _stimulus_interval(trial)
    return _Intervals(_stimulus_seconds(others)).rest(key, start, stop)


def apart(trials: Iterable[Trial], others: Sequence[Trial], gap_s: float, *, closed_set: bool = False) -> list[Trial]:
    """Return what is left of `trials` without the stimulus seconds of `others` and brain within `gap_s` of them.

    `closed_set`: stimuli may be shared. Ids are kept where nothing is cut.
    """
    kept = list(trials) if closed_set else _without_stimuli(list(trials), list(others))
    return _without_seconds(kept, list(others), gap_s)


def presented_by(trials: Iterable[Trial]) -> Callable[[Trial], bool]:
    """Return a function that says whether a trial presents a stimulus second that any of `trials` presents."""
    taken = _Intervals(_stimulus_seconds(trials))
    return lambda trial: taken.touches(*_stimulus_interval(trial))


def _as_data(trial: Trial) -> dict[str, Any]:
    names = ("id", "recording", "start", "stop", "stimulus", "stimulus_start", "stimulus_stop")
    return {name: getattr(trial, name) for name in names} | {"groups": dict(trial.groups)}


def _check_trials(trials: Sequence[Trial]) -> None:
    if not trials:
        raise HubError("the dataset has no trials", "check its path and its filters")
    seen: set[str] = set()
    for trial in trials:
        if trial.id in seen:
            raise HubError(f"two trials are called '{trial.id}'", "give every trial its own id")
        seen.add(trial.id)
        if not trial.stop > trial.start:
            raise HubError(f"trial '{trial.id}' ends at {trial.stop:g} s, before it starts", "check its start and stop")
        clock = (trial.stimulus_start, trial.stimulus_stop)
        if (clock[0] is None) != (clock[1] is None) or (None not in clock and not clock[1] > clock[0]):  # type: ignore[operator]
            raise HubError(
                f"trial '{trial.id}' presents {trial.stimulus} from {clock[0]} to {clock[1]} s",
                "give stimulus_start and a later stimulus_stop, or neither",
            )
    if all(trial.stimulus is None for trial in trials):
        raise HubError("no trial has a stimulus", "give the dataset a stimulus table")


def _cut_into_blocks(trials: Sequence[Trial], split: Split) -> list[Trial]:
    if "time_block" not in split.by:
        return list(trials)
    cut: list[Trial] = []
    for recording in sorted({trial.recording for trial in trials}):
        own = [trial for trial in trials if trial.recording == recording]
        start, stop = min(trial.start for trial in own), max(trial.stop for trial in own)
        count = split.folds * split.blocks
        borders = [start + (stop - start) * k / count for k in range(1, count)]
        for trial in own:
            cut.extend(_at_borders(trial, borders))
    return cut


def _at_borders(trial: Trial, borders: Sequence[float]) -> list[Trial]:
    low, high = trial.start + SHORTEST_CUT_S, trial.stop - SHORTEST_CUT_S  # no sliver without a single frame
    inside = [border for border in borders if low <= border <= high]
    if trial.stimulus_start is None:  # cannot be cut: it belongs to the block that holds its middle
        return [_in_block(trial, bisect.bisect_right(borders, (trial.start + trial.stop) / 2))]
    edges = [trial.start, *inside, trial.stop]
    pieces = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        name = trial.id if not inside else f"{trial.id}/{number}"
        pieces.append(_in_block(trial.cut(start, stop, name), bisect.bisect_right(borders, (start + stop) / 2)))
    return pieces


def _in_block(trial: Trial, block: int) -> Trial:
    groups = {**trial.groups, "time_block": str(block)}
    return Trial(
        trial.id,
        trial.recording,
        trial.start,
        trial.stop,
        trial.stimulus,
        trial.stimulus_start,
        trial.stimulus_stop,
        groups,
    )


def _official(pieces: Sequence[Trial]) -> list[Any]:
    sides = [piece.groups.get("split", "") for piece in pieces]
    unknown = sorted(set(sides) - set(SIDES))
    if unknown:
        raise HubError(
            f"split by official: a trial's group 'split' is '{unknown[0]}'",
            "the dataset must say train, val or test",
        )
    return sides


def _side_of(part: Any, number: int, count: int) -> Side:
    if isinstance(part, str):
        return part  # type: ignore[return-value]
    if part == number:
        return "test"
    return "val" if part == (number + 1) % count else "train"


def _named_groups(key: str, pieces: Sequence[Trial]) -> list[str]:
    missing = [piece.id for piece in pieces if key not in piece.groups]
    if missing:
        known = sorted({name for piece in pieces for name in piece.groups} | {"time_block", "stimulus", "official"})
        raise HubError(
            f"split by '{key}': trial '{missing[0]}' has no such group",
            f"--set split.by=time_block, which needs no groups; known: {', '.join(known)}",
            usage=True,
        )
    return [group_of(piece, key) for piece in pieces]


def group_of(trial: Trial, key: str) -> str:
    """Return what a split by `key` goes by; texts are folded, so that one sentence in two spellings is one."""
    value = str(trial.groups[key])
    return (plain(value) or value) if key in TEXTS else value


def _stimulus_groups(pieces: Sequence[Trial]) -> list[str]:
    """Name, for each piece, the connected run of overlapping stimulus seconds that it belongs to."""
    merged = _Intervals(_stimulus_seconds(pieces)).merged
    groups = []
    for piece in pieces:
        key, start, _ = _stimulus_interval(piece)
        runs = merged[key]
        groups.append(f"{key}#{bisect.bisect_right([low for low, _ in runs], start + EPSILON)}")
    return groups


def _balanced(groups: list[str], pieces: Sequence[Trial], folds: int, criterion: str, seed: int) -> list[Any]:
    """Give each group a part, so that the parts hold about equally many seconds; the order is the seed's."""
    seconds: dict[str, float] = defaultdict(float)
    for group, piece in zip(groups, pieces, strict=True):
        seconds[group] += piece.seconds
    if len(seconds) < 3:
        raise HubError(
            f"split by {criterion}: there {'is' if len(seconds) == 1 else 'are'} only {len(seconds)}",
            "train, val and test need one each: use another `split.by`, such as time_block",
        )
    names = sorted(seconds)
    random.Random(f"{seed} {criterion}").shuffle(names)
    names.sort(key=lambda name: -round(seconds[name], 3))
    load = [0.0] * min(folds, len(names))
    part: dict[str, int] = {}
    for name in names:
        lightest = min(range(len(load)), key=lambda k: (load[k], k))
        part[name] = lightest
        load[lightest] += seconds[name]
    return [part[group] for group in groups]


def _stimulus_interval(trial: Trial) -> tuple[str, float, float]:
    if trial.stimulus_start is None or trial.stimulus_stop is None:
        return str(trial.stimulus), -math.inf, math.inf  # without a clock, all of it
    return str(trial.stimulus), trial.stimulus_start, trial.stimulus_stop


def _stimulus_seconds(trials: Iterable[Trial]) -> list[tuple[str, float, float]]:
    return [_stimulus_interval(trial) for trial in trials]


def _brain_seconds(trials: Iterable[Trial]) -> list[tuple[str, float, float]]:
    return [(trial.recording, trial.start, trial.stop) for trial in trials]


def _without_stimuli(trials: list[Trial], others: list[Trial]) -> list[Trial]:
    """Cut away, from `trials`, every stimulus second that `others` present too."""
    taken = _Intervals(_stimulus_seconds(others))
    kept: list[Trial] = []
    for trial in trials:
        key, start, stop = _stimulus_interval(trial)
        if not taken.touches(key, start, stop):
            kept.append(trial)
        elif trial.stimulus_start is not None:
            per_second = trial.seconds / (stop - start)
            left = [
                (trial.start + (low - start) * per_second, trial.start + (high - start) * per_second)
                for low, high in taken.rest(key, start, stop)
            ]
            kept.extend(_cuts(trial, left))
    return kept


def _without_seconds(trials: list[Trial], others: list[Trial], gap_s: float) -> list[Trial]:
    """Cut away, from `trials`, every second of brain within `gap_s` of `others`."""
    wide = [(key, start - gap_s, stop + gap_s) for key, start, stop in _brain_seconds(others)]
    taken = _Intervals(wide)
    kept: list[Trial] = []
    for trial in trials:
        if not taken.touches(trial.recording, trial.start, trial.stop):
            kept.append(trial)
        elif trial.stimulus_start is not None:
            kept.extend(_cuts(trial, taken.rest(trial.recording, trial.start, trial.stop)))
    return kept


def _cuts(trial: Trial, intervals: Sequence[Interval]) -> list[Trial]:
    long_enough = [(start, stop) for start, stop in intervals if stop - start >= SHORTEST_CUT_S]
    return [trial.cut(start, stop, f"{trial.id}/{number}") for number, (start, stop) in enumerate(long_enough)]

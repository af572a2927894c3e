"""The design of an experiment as rows: which seconds, stimuli and groups stand on which side, and what they share.

Rows come from our split.json, from a table, or from the labels beside arrays. A rule looks at two sides and returns
findings; nothing is fitted here.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, Literal

from braindecode_hub.errors import HubError
from braindecode_hub.roles import find_roles, role_of
from braindecode_hub.splits import EPSILON, SIDES, Interval, merge
from braindecode_hub.submission import side_name
from braindecode_hub.text import plain

Level = Literal["leak", "warning", "fact"]
GROUPS = ("subject", "session", "recording", "story", "block", "label")
COLUMNS = (
    *("trial", "side", "subject", "session", "recording", "start", "stop", "seconds"),
    *("stimulus", "stimulus_start", "stimulus_stop", "text", "label", "story", "block"),
)
MOST = 0.5
"""Share of the test seconds above which neighbouring windows of one presentation are a leak."""
LONGEST_BREAK_S = 1.0


@dataclass(frozen=True)
class Entry:
    """One window or trial: its side, where it stands in its recording, what it presents; None: not told."""

    side: str
    number: int
    trial: str | None = None
    start: float | None = None
    stop: float | None = None
    stimulus: str | None = None
    stimulus_start: float | None = None
    stimulus_stop: float | None = None
    text: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The recording that its seconds count in."""
        known = self.groups
        return known.get("recording") or "/".join(known[key] for key in ("subject", "session") if key in known)

    @property
    def seconds(self) -> float:
        """Its length, 0 where it is not told."""
        return 0.0 if self.start is None or self.stop is None else self.stop - self.start

    @property
    def presented(self) -> Interval:
        """The seconds of its stimulus; all of it where there is no clock."""
        if self.stimulus_start is None or self.stimulus_stop is None:
            return -math.inf, math.inf
        return self.stimulus_start, self.stimulus_stop

    @property
    def kind(self) -> str | None:
        """What class it shows: its label, else a stimulus that has no clock."""
        return self.groups.get("label") or (self.stimulus if self.stimulus_start is None else None)


@dataclass(frozen=True)
class Finding:
    """What a rule found: how many trials of the later side it concerns, and what share of that side."""

    rule: str
    level: Level
    sides: tuple[str, str]
    affected: int
    share: float
    text: str


def entries_of_table(rows: Sequence[Mapping[str, Any]], given: Mapping[str, str], where: str) -> list[Entry]:
    """Return a table's rows as entries, columns recognised by name or `given` (role → column).

    Raises HubError where no column tells the sides, and for seconds that are no numbers.
    """
    names = list(rows[0]) if rows else []
    found = find_roles(names, COLUMNS, given, where)
    if "side" not in found:
        raise HubError(
            f"{where}: no column says on which side a trial is; it has {', '.join(names)}",
            "name it: --field side=COLUMN, with train, val and test in it",
            usage=True,
        )
    return [
        _entry(number, {role: row.get(key) for role, key in found.items()}, where) for number, row in enumerate(rows)
    ]


def entries_of_fold(fold: Mapping[str, Any]) -> list[Entry]:
    """Return the trials of one fold of a split.json."""
    told = [(side, trial) for side in SIDES for trial in fold["sides"].get(side, [])]
    found = []
    for number, (side, trial) in enumerate(told):
        groups = {key: str(value) for key, value in trial["groups"].items() if key != "time_block"}
        groups["recording"] = str(trial["recording"])
        text = groups.pop("text", None) or groups.pop("sentence", None)
        clock = trial["stimulus_start"], trial["stimulus_stop"]
        found.append(
            Entry(
                side,
                number,
                str(trial["id"]),
                trial["start"],
                trial["stop"],
                str(trial["stimulus"]),
                *clock,
                text,
                groups,
            )
        )
    return found


def findings(entries: Sequence[Entry], *, near_s: float, closed_set: bool) -> Iterator[Finding]:
    """Yield what every pair of sides shares, by all rules; `near_s`: seconds that count as neighbouring."""
    by_side: dict[str, list[Entry]] = {side: [entry for entry in entries if entry.side == side] for side in SIDES}
    for first, second in (("train", "test"), ("val", "test"), ("train", "val")):
        ours, theirs = by_side[first], by_side[second]
        if ours and theirs:
            pair = _Pair(first, second, ours, theirs, near_s, closed_set)
            yield from pair.findings(entries)


class _Pair:
    """Two sides beside each other: what of the second one the first one has seen."""

    def __init__(
        self, first: str, second: str, ours: list[Entry], theirs: list[Entry], near_s: float, closed_set: bool
    ) -> None:
        self.sides = (first, second)
        self.ours, self.theirs, self.near_s, self.closed_set = ours, theirs, near_s, closed_set
        self.bad: Level = "leak" if second == "test" else "warning"

    def findings(self, entries: Sequence[Entry]) -> Iterator[Finding]:
        """Yield the findings of every rule."""
        yield from self._same("trial", {e.trial for e in self.ours if e.trial}, "trial", "is on both sides")
        yield from self._brain()
        yield from self._stimuli()
        yield from self._texts()
        yield from self._neighbours()
        yield from self._blocks(entries)
        yield from self._groups()

    def _found(self, rule: str, level: Level, hit: Sequence[Entry], text: str) -> Iterator[Finding]:
        if hit:
            share = len(hit) / len(self.theirs)
            yield Finding(rule, level, self.sides, len(hit), share, text)

    def _same(self, rule: str, known: set[str | None], what: str, says: str) -> Iterator[Finding]:
        hit = [entry for entry in self.theirs if entry.trial is not None and entry.trial in known]
        yield from self._found(rule, self.bad, hit, f"the same {what} {says}" + _example(hit, lambda e: e.trial))

    def _brain(self) -> Iterator[Finding]:
        taken = _Taken((e.place, e.start, e.stop) for e in self.ours if e.start is not None and e.stop is not None)
        hit = [
            (e, taken.shared(e.place, e.start, e.stop))
            for e in self.theirs
            if e.start is not None and e.stop is not None
        ]
        hit = [(entry, seconds) for entry, seconds in hit if seconds > EPSILON]
        total = sum(entry.seconds for entry in self.theirs)
        seconds = sum(seconds for _, seconds in hit)
        whole = self.sides == ("val", "test") and total > 0 and seconds > 0.95 * total
        rule = "validation = test" if whole else "brain seconds"
        text = f"{seconds:.4g} of {total:.4g} {self.sides[1]} seconds of brain are on the {self.sides[0]} side too"
        yield from self._found(rule, self.bad, [entry for entry, _ in hit], text)

    def _stimuli(self) -> Iterator[Finding]:
        taken = _Taken((e.stimulus, *e.presented) for e in self.ours if e.stimulus is not None)
        hit = [e for e in self.theirs if e.stimulus is not None and taken.touches(e.stimulus, *e.presented)]
        level: Level = "fact" if self.closed_set else self.bad
        text = (
            "CLOSED SET: the same stimuli are on both sides"
            if self.closed_set
            else "the same stimulus interval is on both sides"
        )
        yield from self._found("stimulus", level, hit, text + _example(hit, lambda e: e.stimulus))

    def _texts(self) -> Iterator[Finding]:
        known: dict[str, set[str | None]] = defaultdict(set)
        for entry in self.ours:
            if entry.text:
                known[plain(entry.text)].add(entry.stimulus)
        hit = [e for e in self.theirs if e.text and plain(e.text) in known]
        level: Level = "fact" if self.closed_set else self.bad
        text = "the same sentence (case and punctuation aside) is on both sides"
        yield from self._found("text", level, hit, text + _example(hit, lambda e: e.text))

    def _neighbours(self) -> Iterator[Finding]:
        """Windows of one presentation on both sides, closer than `near_s`: what drifts slowly tells which it was."""
        timed = [(e, e.start, e.stop) for e in self.ours if e.start is not None and e.stop is not None]
        if not timed or not any(entry.seconds for entry in self.theirs):
            return
        everybody = (*self.ours, *self.theirs)
        bare = all(e.stimulus is None and e.text is None and "label" not in e.groups for e in everybody)
        reach = self.near_s
        near = _Taken(((e.place, e.stimulus), start - reach, stop + reach) for e, start, stop in timed)
        own = _Taken(((e.place, e.stimulus), start, stop) for e, start, stop in timed)
        any_near = _Taken((e.place, start - reach, stop + reach) for e, start, stop in timed)
        seconds, hit, beside = 0.0, [], 0
        for entry in self.theirs:
            if entry.start is None or entry.stop is None:
                continue
            beside += any_near.touches(entry.place, entry.start, entry.stop)
            key = (entry.place, entry.stimulus)
            close = near.shared(key, entry.start, entry.stop) - own.shared(key, entry.start, entry.stop)
            if close > EPSILON and (bare or entry.stimulus is not None):
                seconds += close
                hit.append(entry)
        total = sum(entry.seconds for entry in self.theirs)
        what = "windows whose stimulus is not told" if bare else "windows of one presentation"
        text = (
            f"{what} are permuted into both sides: {100 * seconds / total:.0f} % of the {self.sides[1]} seconds lie "
            f"within {self.near_s:g} s of {self.sides[0]}"
        )
        if seconds > MOST * total:
            yield from self._found("neighbours", self.bad, hit, text)
        gap = _smallest_gap(self.ours, self.theirs)
        if gap is not None:
            share = beside / len(self.theirs)
            told = (
                f"the smallest gap is {gap:.4g} s; {100 * share:.0f} % of {self.sides[1]} trials have "
                f"{self.sides[0]} within {self.near_s:g} s"
            )
            yield Finding("gap", "fact", self.sides, beside, share, told)

    def _blocks(self, entries: Sequence[Entry]) -> Iterator[Finding]:
        """A block that shows one class, and is on both sides: when it was tells what it was."""
        blocks = presentation_blocks(entries, by_class=True)
        members: dict[int, list[Entry]] = defaultdict(list)
        for entry, block in zip(entries, blocks, strict=True):
            members[block].append(entry)
        several = [some for some in members.values() if len(some) > 2 and all(e.kind is not None for e in some)]
        pure = [some for some in several if len({entry.kind for entry in some}) == 1]
        if len(pure) < 2 or len(pure) < 0.9 * len(several) or len({some[0].kind for some in pure}) < 2:
            return
        hit = [
            entry
            for some in pure
            if {e.side for e in some} >= set(self.sides)
            for entry in some
            if entry.side == self.sides[1]
        ]
        if len(hit) > 0.1 * len(self.theirs):
            text = "block design: a block presents one class only, and is on both sides, so that time tells the class"
            yield from self._found("block design", self.bad, hit, text)

    def _groups(self) -> Iterator[Finding]:
        for name in GROUPS:
            known = {e.groups[name] for e in self.ours if name in e.groups}
            theirs = {e.groups[name] for e in self.theirs if name in e.groups}
            hit = [e for e in self.theirs if e.groups.get(name) in known]
            text = f"{len(known & theirs)} of {len(theirs)} values of {name} are on the {self.sides[0]} side too"
            yield from self._found(f"shared {name}", "fact", hit, text)


def presentation_blocks(entries: Sequence[Entry], *, by_class: bool = False) -> list[int]:
    """Return the presentation block of every entry: as its group `block` says, else runs of the same in time.

    A run is of one stimulus (`by_class`: of one class) without a break; entries without times stand in their order.
    """
    order = sorted(range(len(entries)), key=lambda n: (entries[n].place, _at(entries[n]), n))
    found = [0] * len(entries)
    block = -1
    last: tuple[Any, ...] | None = None
    end = -math.inf
    numbers: dict[tuple[str, str], int] = {}
    for n in order:
        entry = entries[n]
        if "block" in entry.groups:
            key = (entry.place, entry.groups["block"])
            if key not in numbers:
                block += 1
                numbers[key] = block
            found[n] = numbers[key]
            continue
        mark = (entry.place, entry.kind if by_class else (entry.stimulus or entry.groups.get("label")))
        apart = entry.start is not None and entry.start > end + LONGEST_BREAK_S and not by_class
        if mark != last or mark[1] is None or apart:
            block += 1
        found[n], last = block, mark
        end = entry.stop if entry.stop is not None else math.inf
    return found


class _Taken:
    """Seconds by key, merged: what of an interval they hold."""

    def __init__(self, intervals: Iterable[tuple[Any, Any, Any]]) -> None:
        collected: dict[Any, list[Interval]] = defaultdict(list)
        for key, start, stop in intervals:
            collected[key].append((start, stop))
        self._merged = {key: merge(some) for key, some in collected.items()}

    def shared(self, key: Any, start: float | None, stop: float | None) -> float:
        """Return how many seconds of [start, stop] are held."""
        assert start is not None and stop is not None
        some = self._merged.get(key, [])
        total, at = 0.0, max(0, bisect.bisect_right(some, (start, math.inf)) - 1)
        while at < len(some) and some[at][0] < stop:
            total += max(0.0, min(stop, some[at][1]) - max(start, some[at][0]))
            at += 1
        return total

    def touches(self, key: Any, start: float, stop: float) -> bool:
        """Say whether any second of [start, stop] is held."""
        some = self._merged.get(key, [])
        return any(low < stop - EPSILON and high > start + EPSILON for low, high in some)


def _smallest_gap(ours: Sequence[Entry], theirs: Sequence[Entry]) -> float | None:
    marks = [
        (e.place, e.start, e.stop, side) for side, some in ((0, ours), (1, theirs)) for e in some if e.start is not None
    ]
    gaps = []
    for _, group in groupby(sorted(marks, key=lambda m: m[:2]), key=lambda m: m[0]):  # type: ignore[arg-type,return-value]
        gaps += [
            max(0.0, b[1] - a[2]) for a, b in pairwise(group) if a[3] != b[3] and a[2] is not None and b[1] is not None
        ]
    return min(gaps, default=None)


def _entry(number: int, row: Mapping[str, Any], where: str) -> Entry:
    def seconds(role: str) -> float | None:
        value = row.get(role)
        if value is None or str(value).strip().lower() in ("", "nan", "n/a", "none"):
            return None
        try:
            found = float(value)
        except (TypeError, ValueError) as error:
            raise HubError(f"{where}, row {number + 1}: {role} is '{value}'", "give seconds as a number") from error
        if not math.isfinite(found):
            raise HubError(f"{where}, row {number + 1}: {role} is {found}", "give seconds as a number")
        return found

    def text(role: str) -> str | None:
        value = row.get(role)
        return None if value is None or str(value).strip() in ("", "n/a") else str(value).strip()

    side = side_name(text("side") or "")
    if side not in (*SIDES, "unused"):
        raise HubError(
            f"{where}, row {number + 1}: the side is '{side}'",
            "name the sides train, val, test (or unused)",
            usage=True,
        )
    start, stop, length = seconds("start"), seconds("stop"), seconds("seconds")
    if start is not None and stop is None and length is not None:
        stop = start + length
    if start is not None and stop is not None and stop <= start:
        raise HubError(f"{where}, row {number + 1} ends at {stop:g} s, before it starts", "check start and stop")
    groups = {name: value for name in GROUPS if (value := text(name)) is not None}
    clock = seconds("stimulus_start"), seconds("stimulus_stop")
    if clock[0] is not None and clock[1] is None and start is not None and stop is not None:
        clock = clock[0], clock[0] + stop - start
    return Entry(side, number, text("trial"), start, stop, text("stimulus"), *clock, text("text"), groups)


def unread(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns whose names mean nothing here."""
    return [name for name in (rows[0] if rows else {}) if role_of(name) not in COLUMNS]


def _at(entry: Entry) -> float:
    return math.inf if entry.start is None else entry.start


def _example(hit: Sequence[Entry], what: Any) -> str:
    return f", for example '{what(hit[0])}'" if hit else ""

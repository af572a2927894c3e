"""Two thousand random designs, split by every kind of key and by lists of them: not one leak.

The oracle knows nothing of how splits are made. It asks, of every pair of trials on two sides, whether there is an
instant of brain or of stimulus that both contain.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.splits import Fold, Split
from braindecode_hub.types import Trial

BY = [
    ("time_block",),
    ("stimulus",),
    ("subject",),
    ("session",),
    ("story",),
    ("block",),
    ("official",),
    ("subject", "stimulus"),
    ("session", "stimulus"),
    ("subject", "session"),
    ("time_block", "stimulus"),
    ("story", "time_block"),
    ("subject", "session", "stimulus"),
]
DESIGNS = 2000
SECOND = 1_000_000
"""The oracle counts in whole microseconds, so that it has no rounding of its own; sides may touch within 20."""
TOUCH = 20

Instants = tuple[int, int]


def design(rng: random.Random) -> list[Trial]:
    """Subjects, sessions, stories in parts that overlap, repeats, gaps, drift, and trials at the same time."""
    found = []
    subjects, sessions, per = rng.randint(1, 4), rng.randint(1, 3), rng.randint(2, 9)
    stories, drift = rng.randint(2, 14), rng.choice([0.0, 0.0, 1e-3, -0.02])
    clocked, pause = rng.choice([0.0, 0.6, 1.0, 1.0]), rng.choice([0.0, 0.5, 6.0])
    overlap, shared = rng.choice([0.0, 0.0, 0.5, 0.9]), rng.random() < 0.5
    for subject, session in itertools.product(range(subjects), range(sessions)):
        at = rng.uniform(0, 5)
        for number in range(per):
            clock = rng.random() < clocked
            length = rng.uniform(1.5, 40) if clock else rng.uniform(0.2, 3)
            story = f"story{rng.randrange(stories)}" if shared else f"s{subject}story{rng.randrange(stories)}"
            begins = rng.choice([0.0, 0.0, rng.uniform(0, 30)])
            heard = (begins, begins + length * (1 + drift)) if clock else (None, None)
            groups = {
                "subject": f"s{subject}",
                "session": str(session),
                "story": story,
                "block": str(number // 2),
                "split": rng.choice(["train", "train", "train", "val", "test"]),
            }
            name = f"s{subject}r{session}"
            presents = None if rng.random() < 0.03 else story
            found.append(Trial(f"{name}t{number}", name, at, at + length, presents, *heard, groups))
            at += length * (1.0 - overlap) + rng.choice([0.0, pause])
    rng.shuffle(found)
    return found


def instants(start: float, stop: float) -> Instants:
    return round(start * SECOND), round(stop * SECOND)


def apart(a: Instants, b: Instants, gap: int) -> bool:
    """No instant of `a` lies within `gap` of one of `b`."""
    return a[1] + gap <= b[0] + TOUCH or b[1] + gap <= a[0] + TOUCH


def leaks(fold: Fold, gap_s: float, closed_set: bool) -> list[str]:
    found = []
    for (side, ours), (other, theirs) in itertools.combinations(
        {"train": fold.train, "val": fold.val, "test": fold.test}.items(), 2
    ):
        brains: dict[str, list[tuple[Trial, Instants]]] = {}
        stimuli: dict[str, list[tuple[Trial, Instants | None]]] = {}
        for b in theirs:
            clock = None if b.stimulus_start is None else instants(b.stimulus_start, b.stimulus_stop or 0.0)
            brains.setdefault(b.recording, []).append((b, instants(b.start, b.stop)))
            stimuli.setdefault(str(b.stimulus), []).append((b, clock))
        for a in ours:
            mine = instants(a.start, a.stop)
            for b, seconds in brains.get(a.recording, []):
                if not apart(mine, seconds, round(gap_s * SECOND)):
                    found.append(f"brain: {side} {a.id}, {other} {b.id}")
            if closed_set:
                continue
            heard = None if a.stimulus_start is None else instants(a.stimulus_start, a.stimulus_stop or 0.0)
            for b, seconds in stimuli.get(str(a.stimulus), []):
                if heard is None or seconds is None or not apart(heard, seconds, 0):
                    found.append(f"stimulus: {side} {a.id}, {other} {b.id}")
        found += [f"trial: {one}" for one in {a.id for a in ours} & {b.id for b in theirs}]
    return found


def test_two_thousand_random_designs_have_no_leak() -> None:
    """`check_fold` is switched off by nothing here: what it lets through, the oracle sees again."""
    rng = random.Random(20)
    split: Counter[tuple[str, ...]] = Counter()
    folds = tried = 0
    refused: list[str] = []
    while sum(split.values()) < DESIGNS:
        by = BY[tried % len(BY)]
        tried += 1
        assert tried < 10 * DESIGNS, f"too few designs can be split: {split}"
        trials = design(rng)
        gap_s, closed_set = rng.choice([0.0, 0.5, 2.0]), rng.random() < 0.25
        try:
            made = Split(by, rng.randint(3, 6), gap_s, rng.randint(1, 3), closed_set, rng.randrange(5)).make(trials)
        except HubError as error:
            refused.append(error.cause)
            continue
        split[by] += 1
        whole = {trial.id: trial for trial in trials}
        for fold in made:
            folds += 1
            assert leaks(fold, gap_s, closed_set) == [], (by, gap_s, closed_set)
            for piece in (*fold.train, *fold.val, *fold.test):
                own = whole[piece.id.split("/")[0]]
                assert (piece.recording, piece.stimulus) == (own.recording, own.stimulus)
                assert own.start - 1e-5 <= piece.start < piece.stop <= own.stop + 1e-5
            for key in set(by) - {"stimulus", "time_block", "official"}:
                tested = {trial.groups[key] for trial in fold.test}
                assert not tested & {trial.groups[key] for trial in (*fold.train, *fold.val)}
    assert not [cause for cause in refused if "share" in cause]  # purging prevents leaks, not the check behind it
    assert set(split) == set(BY)
    assert min(split.values()) >= 20, split
    assert folds > 3 * DESIGNS


@pytest.mark.parametrize(
    ("b", "found"),
    [
        (Trial("b", "r", 10.0, 20.0, "y", 0.0, 10.0), []),
        (Trial("b", "r", 9.9, 20.0, "y", 0.0, 10.0), ["brain"]),
        (Trial("b", "q", 10.0, 20.0, "x", 9.9, 20.0), ["stimulus"]),
        (Trial("b", "q", 10.0, 20.0, "x"), ["stimulus"]),
        (Trial("a", "q", 10.0, 20.0, "y"), ["trial"]),
    ],
)
def test_the_oracle_sees_each_kind_of_leak(b: Trial, found: list[str]) -> None:
    fold = Fold(0, (Trial("a", "r", 0.0, 10.0, "x", 0.0, 10.0),), (), (b,), 0.0)
    assert [line.split(":")[0] for line in leaks(fold, 0.0, False)] == found
    assert "brain" in [line.split(":")[0] for line in leaks(fold, 0.5, False)] or b.recording == "q"

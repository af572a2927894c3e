"""A new subject's minutes: what is tested, what may be learned from, and how much of it is used.

Tested is only what a shared fit has never been given, neither to learn nor to choose by. Minutes are counted in the
order of time, as they would be recorded, and validation is paid for out of the same minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from braindecode_hub.errors import HubError
from braindecode_hub.splits import SHORTEST_CUT_S, Fold, Split, apart, check_fold, group_of, presented_by
from braindecode_hub.types import Trial

OF_THE_BRAIN = frozenset(("subject", "session", "run", "block", "recording", "time_block", "official", "stimulus"))
"""Criteria of a split that say nothing of what was presented, or are no group of a trial."""
FALLBACKS = (("stimulus",), ("time_block",))
STEPS = (1.0, 2.0, 5.0)
FEWEST_RUNGS = 3
"""Where fewer minutes than ten are asked for, the ladder still has so many rungs below the last one."""
LONG_S = 20.0
"""Trials longer than this are cut where minutes or sides end; shorter ones belong to one side as a whole."""
HELD_OUT = 0.25
"""Share of the minutes that validates."""


@dataclass(frozen=True)
class Minutes:
    """One new subject's trials: `pool` may be learned from, in the order of time; `test` is scored.

    `candidates`: trials there were; `heard`: those of them whose stimulus a shared fit has been given; `by`: how the
    test side was chosen.
    """

    pool: tuple[Trial, ...]
    test: tuple[Trial, ...]
    candidates: int
    heard: int
    by: tuple[str, ...]

    @property
    def available(self) -> float:
        """Presented minutes that may be learned from."""
        return seconds(self.pool) / 60.0


def seconds(trials: Sequence[Trial]) -> float:
    """Return the presented seconds of trials."""
    return sum(trial.seconds for trial in trials)


def divide(
    trials: Sequence[Trial], split: Split, given: Sequence[Trial], also: Callable[[Trial], bool] = lambda trial: False
) -> Minutes:
    """Divide a new subject's trials; `given`: what the shared fit has been given, none if nothing is shared.

    `also`: says of a trial that its stimulus was given, whatever it is called there. What was given is learned from
    only. HubError if nothing is left to test, or to learn from.
    """
    trials = [trial for trial in trials if trial.stimulus is not None]
    if not trials:
        raise HubError("the new subject's trials have no stimulus", "give what was presented, as for `run`")
    heard = [False] * len(trials)
    if not split.closed_set:
        named = _heard(trials, split, given)
        heard = [known or also(trial) for known, trial in zip(named, trials, strict=True)]
    fresh = [trial for trial, known in zip(trials, heard, strict=True) if not known]
    if not fresh:
        raise HubError(
            f"0 of {len(trials)} candidates can be tested: the run was fitted on all that the new subject was given",
            "hold out stimuli too when you run: --set 'split.by=[subject, stimulus]' (or sentence, story …)",
        )
    if len(fresh) == len(trials):
        fold, by = _first_fold(trials, split)
        pool, test = [*fold.train, *fold.val], list(fold.test)
    else:
        by, test = split.by, fresh
        if seconds(fresh) > 2.0 / split.folds * seconds(trials):
            fold, by = _first_fold(fresh, split)
            test = list(fold.test)
        tested = {trial.id for trial in test}
        pool = apart(
            [trial for trial in trials if trial.id not in tested], test, split.gap_s, closed_set=split.closed_set
        )
    if not pool:
        raise HubError("nothing is left to learn the new subject from", "give more trials, or a smaller split.gap_s")
    pool.sort(key=lambda trial: (trial.recording, trial.start))
    return Minutes(tuple(pool), tuple(test), len(trials), sum(heard), by)


def ladder(asked: float, available: float) -> list[float]:
    """Return the minutes to learn from, rising, in steps 1, 2, 5, 10 …, up to what is asked for, or there."""
    top = min(asked, available)
    powers = [10.0**power for power in range(-3, 5)]
    below = [step * power for power in powers for step in STEPS if step * power < 0.95 * top]
    kept = [minutes for minutes in below if minutes >= 1.0]
    kept = kept if len(kept) >= FEWEST_RUNGS else below[-FEWEST_RUNGS:]
    return [*(round(minutes, 6) for minutes in kept), top]


def rung(minutes: Minutes, count: float, window_s: float, split: Split) -> Fold:
    """Return the fold that learns from the first `count` minutes, the last quarter of which validates.

    Every trial holds a window. HubError if so few minutes give no two windows to learn from and one to validate on.
    """
    used = [trial for trial in _first(minutes.pool, 60.0 * count, window_s) if _holds(trial, window_s)]
    train, val = _held_out(used, HELD_OUT * seconds(used), window_s, repeats=split.closed_set)
    train = apart(train, val, split.gap_s, closed_set=split.closed_set)
    train, val = ([trial for trial in some if _holds(trial, window_s)] for some in (train, val))
    if seconds(train) + 1e-6 < 2 * window_s or not val:
        raise HubError(
            f"{count:.3g} minutes hold too few windows of {window_s:g} s to learn from and to validate on",
            "give more: --minutes",
        )
    fold = Fold(0, tuple(train), tuple(val), minutes.test, 0.0)
    check_fold(fold, split.gap_s, closed_set=split.closed_set)
    return fold


def _heard(trials: Sequence[Trial], split: Split, given: Sequence[Trial]) -> list[bool]:
    """Say of each trial whether its stimulus, or what a key of the split says is the same, was given before."""
    presented = presented_by(given)
    keys = [key for key in split.by if key not in OF_THE_BRAIN]
    values = {(key, group_of(trial, key)) for key in keys for trial in given if key in trial.groups}
    return [presented(t) or any(key in t.groups and (key, group_of(t, key)) in values for key in keys) for t in trials]


def _first_fold(trials: Sequence[Trial], split: Split) -> tuple[Fold, tuple[str, ...]]:
    """Split one subject's trials as the run's were, without its subjects; else by stimulus, else by time."""
    own = tuple(key for key in split.by if key != "subject")
    problems = []
    for by in dict.fromkeys([*([own] if own else []), *FALLBACKS]):
        try:
            return replace(split, by=by).make(trials)[0], by
        except HubError as problem:
            problems.append(problem)
    raise problems[0]


def _first(trials: Sequence[Trial], wanted: float, window_s: float) -> list[Trial]:
    """Return the first `wanted` seconds of trials: whole ones, and of a long one a part."""
    found: list[Trial] = []
    left = wanted
    for trial in trials:
        if trial.seconds <= left + 1e-6:
            found.append(trial)
        elif trial.seconds > LONG_S and trial.stimulus_start is not None and left >= max(window_s, SHORTEST_CUT_S):
            found.append(trial.cut(trial.start, trial.start + left, f"{trial.id}/first"))
            break
        else:  # the minutes are over: a shorter trial behind this one does not make up for it
            break
        left -= trial.seconds
    return found


def _held_out(
    trials: Sequence[Trial], wanted: float, window_s: float, *, repeats: bool
) -> tuple[list[Trial], list[Trial]]:
    """Return trials without the last `wanted` seconds, and those, with what presented the same before.

    `repeats`: the same may be presented on both sides.
    """
    left, held = list(trials), list[Trial]()
    while left and wanted - seconds(held) > 1e-6:
        last, lacking = left.pop(), max(wanted - seconds(held), window_s)
        if last.seconds > max(LONG_S, lacking) and last.stimulus_start is not None:
            left.append(last.cut(last.start, last.stop - lacking, f"{last.id}/first"))
            held.append(last.cut(last.stop - lacking, last.stop, f"{last.id}/rest"))
            break
        same = presented_by([] if repeats else [last])
        held += [last, *(trial for trial in left if same(trial))]
        left = [trial for trial in left if not same(trial)]
    return left, held


def _holds(trial: Trial, window_s: float) -> bool:
    return trial.seconds >= window_s - 0.02

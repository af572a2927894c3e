"""No second of brain, no stimulus interval and no trial stands on two sides, whatever the design."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braindecode_hub.errors import HubError
from braindecode_hub.splits import SIDES, Fold, Split, check_fold, merge, split_from_config
from braindecode_hub.types import Trial

BY = [
    ("time_block",),
    ("stimulus",),
    ("session",),
    ("subject",),
    ("official",),
    ("subject", "stimulus"),
    ("time_block", "stimulus"),
    ("session", "time_block"),
]
TINY = 1e-5


def leaks(fold: Fold, gap_s: float, closed_set: bool = False) -> list[str]:
    """Compare every trial of a side with every trial of the others, by nothing but the four numbers of each."""
    found = []
    sides = {"train": fold.train, "val": fold.val, "test": fold.test}
    for (side, ours), (other, theirs) in itertools.combinations(sides.items(), 2):
        for a, b in itertools.product(ours, theirs):
            where = f"{side} {a.id} / {other} {b.id}"
            if a.id == b.id:
                found.append(f"same id: {where}")
            if a.recording == b.recording and max(a.start, b.start) - min(a.stop, b.stop) < gap_s - TINY:
                found.append(f"same brain: {where}")
            if closed_set or a.stimulus != b.stimulus:
                continue
            if a.stimulus_start is None or b.stimulus_start is None:
                found.append(f"same stimulus: {where}")
            elif min(a.stimulus_stop, b.stimulus_stop) - max(a.stimulus_start, b.stimulus_start) > TINY:
                found.append(f"same stimulus seconds: {where}")
    return found


def design(
    *, seed: int, recordings: int, subjects: int, trials: int, stories: int, clocked: float, drift: float, pause: float
) -> list[Trial]:
    """Trials one after the other; stories, or any parts of them, come back within and across recordings."""
    rng = random.Random(seed)
    found = []
    for subject, recording in itertools.product(range(subjects), range(recordings)):
        at = rng.uniform(0, 5)
        for number in range(trials):
            at += rng.choice([0.0, pause])
            has_clock = rng.random() < clocked
            length = rng.uniform(1, 40) if has_clock else rng.uniform(0.2, 3)
            story = f"story{rng.randrange(stories)}"
            start = rng.choice([0.0, 0.0, rng.uniform(0, 60)])
            clock = (start, start + length * (1 + drift)) if has_clock else (None, None)
            groups = {
                "subject": f"s{subject}",
                "session": f"{recording}",
                "split": ["train", "val", "test", "train", "train"][rng.randrange(5)],
            }
            name = f"s{subject}r{recording}t{number}"
            nothing = rng.random() < 0.05
            found.append(
                Trial(name, f"s{subject}r{recording}", at, at + length, None if nothing else story, *clock, groups)
            )
            at += length
    return found


designs = st.builds(
    design,
    seed=st.integers(0, 10**6),
    recordings=st.integers(1, 4),
    subjects=st.integers(1, 4),
    trials=st.integers(1, 9),
    stories=st.integers(1, 30),
    clocked=st.sampled_from([0.0, 0.5, 1.0, 1.0]),
    drift=st.sampled_from([0.0, 0.0, 1e-3, -0.02]),
    pause=st.sampled_from([0.0, 0.5, 6.0]),
)


def made(split: Split, trials: list[Trial]) -> list[Fold]:
    """The folds, or none where the split says in one line why this design cannot be split so."""
    try:
        return split.make(trials)
    except HubError as error:
        why = error
    assert str(why).count("\n") == 1
    return []


many = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
count: dict[tuple[str, ...], int] = {}


@pytest.mark.parametrize("by", BY, ids="+".join)
@many
@given(
    trials=designs,
    folds=st.integers(3, 6),
    gap_s=st.sampled_from([0.0, 0.5, 2.0]),
    blocks=st.integers(1, 3),
    closed_set=st.booleans(),
    seed=st.integers(0, 5),
)
def test_nothing_stands_on_two_sides(
    by: tuple[str, ...], trials: list[Trial], folds: int, gap_s: float, blocks: int, closed_set: bool, seed: int
) -> None:
    split = Split(by, folds, gap_s, blocks, closed_set, seed)
    done = made(split, trials)
    count[by] = count.get(by, 0) + bool(done)
    whole = {trial.id: trial for trial in trials}
    for fold in done:
        assert leaks(fold, gap_s, closed_set) == []
        pieces = [*fold.train, *fold.val, *fold.test]
        assert len({piece.id for piece in pieces}) == len(pieces)
        assert fold.purged_s >= -TINY
        for piece in pieces:
            part_of_what_was_presented(piece, whole[piece.id.split("/")[0]])
    assert [fold.as_data() for fold in done] == [fold.as_data() for fold in made(split, trials)]


def test_most_of_these_designs_could_be_split() -> None:
    """The property above says something only about designs that were split: hundreds were, by every key."""
    if set(count) != set(BY):
        pytest.skip("needs all of the tests above")
    assert all(some >= 50 for some in count.values()), count
    assert sum(count.values()) >= 1000, count


def part_of_what_was_presented(piece: Trial, trial: Trial) -> None:
    """A cut trial pairs each second of brain with the second of stimulus that the whole trial pairs it with."""
    assert piece.recording == trial.recording
    assert piece.stimulus == trial.stimulus
    assert trial.start - TINY <= piece.start < piece.stop <= trial.stop + TINY
    assert {key: piece.groups[key] for key in trial.groups} == trial.groups
    if trial.stimulus_start is None or trial.stimulus_stop is None:
        assert (piece.start, piece.stop) == (trial.start, trial.stop)
        assert piece.stimulus_start is None
        return
    speed = (trial.stimulus_stop - trial.stimulus_start) / (trial.stop - trial.start)
    assert piece.stimulus_start == pytest.approx(trial.stimulus_start + (piece.start - trial.start) * speed, abs=1e-6)
    assert piece.stimulus_stop == pytest.approx(trial.stimulus_start + (piece.stop - trial.start) * speed, abs=1e-6)


@many
@given(trials=designs, folds=st.integers(3, 6), by=st.sampled_from(BY[:4]), seed=st.integers(0, 5))
def test_over_all_folds_every_presented_second_is_tested_exactly_once(
    trials: list[Trial], folds: int, by: tuple[str, ...], seed: int
) -> None:
    done = made(Split(by, folds, gap_s=0.5, closed_set=True, seed=seed), trials)
    if not done:
        return
    tested = [piece for fold in done for piece in fold.test]
    presented = {trial.id: trial for trial in trials if trial.stimulus is not None}
    assert len({piece.id for piece in tested}) == len(tested)
    assert {piece.id.split("/")[0] for piece in tested} == set(presented)
    assert sum(p.seconds for p in tested) == pytest.approx(sum(t.seconds for t in presented.values()))


@many
@given(
    trials=designs, seed=st.integers(0, 5), by=st.sampled_from([("subject",), ("session",), ("subject", "stimulus")])
)
def test_a_group_that_is_tested_is_never_trained_on(trials: list[Trial], seed: int, by: tuple[str, ...]) -> None:
    for fold in made(Split(by, 3, seed=seed), trials):
        for key in set(by) - {"stimulus"}:
            names = [{piece.groups[key] for piece in side} for side in (fold.train, fold.val, fold.test)]
            assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])


def test_official_sides_are_those_of_the_dataset() -> None:
    trials = [
        Trial(f"t{n}", "r", 10.0 * n, 10.0 * n + 8, f"s{n}", 0.0, 8.0, {"split": side})
        for n, side in enumerate(["train", "val", "train", "test"])
    ]
    (fold,) = Split(("official",)).make(trials)
    assert [[t.id for t in side] for side in (fold.train, fold.val, fold.test)] == [["t0", "t2"], ["t1"], ["t3"]]
    trials[1] = dataclasses.replace(trials[1], groups={"split": "dev"})
    with pytest.raises(HubError, match="a trial's group 'split' is 'dev'"):
        Split(("official",)).make(trials)


def stories(number: int, seconds: float = 20.0, pause: float = 1.0) -> list[Trial]:
    return [
        Trial(f"t{n}", "r", n * (seconds + pause), n * (seconds + pause) + seconds, f"story{n}", 0.0, seconds)
        for n in range(number)
    ]


def test_the_seed_decides_and_nothing_else_does() -> None:
    trials = stories(12)
    tests = {seed: [t.id for t in Split(("stimulus",), seed=seed).make(trials)[0].test] for seed in range(6)}
    assert len({tuple(some) for some in tests.values()}) > 1
    reversed_order = Split(("stimulus",), seed=3).make(trials[::-1])[0].test
    assert {t.id for t in reversed_order} == set(tests[3])


def test_parts_hold_about_equally_many_seconds() -> None:
    rng = random.Random(0)
    trials, at = [], 0.0
    for n in range(40):
        seconds = rng.uniform(5, 60)
        trials.append(Trial(f"t{n}", "r", at, at + seconds, f"story{n}", 0.0, seconds))
        at += seconds + 1
    tested = [sum(piece.seconds for piece in fold.test) for fold in Split(("stimulus",)).make(trials)]
    assert max(tested) - min(tested) < 15


def test_overlapping_parts_of_one_story_are_one_stimulus() -> None:
    trials = [
        Trial(f"t{n}", "r", 20.0 * n, 20.0 * n + 10, "story", start, start + 10)
        for n, start in enumerate([0.0, 5.0, 12.0, 40.0, 60.0, 80.0])
    ]
    together = {"t0", "t1", "t2"}
    for fold in Split(("stimulus",), 4).make(trials):
        for side in (fold.train, fold.val, fold.test):
            assert len(together & {t.id for t in side}) in (0, 3)


def test_a_stimulus_without_a_clock_is_all_of_it() -> None:
    """The image and any seconds of the film are the same stimulus, so they are never on two sides."""
    trials = [
        Trial("still", "r", 0.0, 1.0, "film"),
        Trial("late", "r", 10.0, 20.0, "film", 100.0, 110.0),
        *[Trial(f"t{n}", "r", 30.0 + 10 * n, 35.0 + 10 * n, f"other{n}", 0.0, 5.0) for n in range(6)],
    ]
    for fold in Split(("stimulus",), 3).make(trials):
        for side in (fold.train, fold.val, fold.test):
            assert len({"still", "late"} & {t.id for t in side}) in (0, 2)


def test_closed_set_lets_stimuli_return_and_nothing_else() -> None:
    trials = [Trial(f"t{n}", "r", 2.0 * n, 2.0 * n + 1, f"target{n % 4}") for n in range(40)]
    with pytest.raises(HubError, match="side of fold 0 is empty"):
        Split(("time_block",)).make(trials)
    for fold in Split(("time_block",), gap_s=1.5, closed_set=True).make(trials):
        assert {t.stimulus for t in fold.train} == {t.stimulus for t in fold.test}
        assert leaks(fold, 1.5, closed_set=True) == []


def test_validation_is_purged_from_both_sides() -> None:
    """With time blocks train | val | test, a gap is missing at both borders of the validation side."""
    trials = [Trial("all", "r", 0.0, 300.0, "story", 0.0, 300.0)]
    fold = Split(("time_block",), 3, gap_s=4.0, blocks=1).make(trials)[1]
    edges = {
        name: [(t.start, t.stop) for t in side]
        for name, side in zip("rvt", (fold.train, fold.val, fold.test), strict=True)
    }
    assert edges == {"r": [(0.0, 96.0)], "t": [(100.0, 200.0)], "v": [(204.0, 300.0)]}
    assert fold.purged_s == pytest.approx(8.0)
    fold = Split(("time_block",), 3, gap_s=4.0, blocks=1).make(trials)[0]
    assert [(t.start, t.stop) for t in fold.test] == [(0.0, 100.0)]
    assert [(t.start, t.stop) for t in fold.val] == [(104.0, 200.0)]
    assert [(t.start, t.stop) for t in fold.train] == [(204.0, 300.0)]


def test_a_border_near_the_end_of_a_trial_leaves_no_sliver() -> None:
    """A piece of 50 ms may hold no target frame at all: such a border does not cut the trial."""
    trials = [Trial("a", "r", 0.0, 60.05, "a", 0.0, 60.05), Trial("b", "r", 61.0, 180.0, "b", 0.0, 119.0)]
    for fold in Split(("time_block",), 3, blocks=1).make(trials):
        assert min(piece.seconds for piece in (*fold.train, *fold.val, *fold.test)) >= 1.0


@pytest.mark.parametrize(
    ("a", "b", "gap_s", "found"),
    [
        (("r", 0.0, 10.0, "x", 0.0, 10.0), ("r", 10.0, 20.0, "y", 0.0, 10.0), 0.0, None),
        (("r", 0.0, 10.1, "x", 0.0, 10.0), ("r", 10.0, 20.0, "y", 0.0, 10.0), 0.0, "seconds of brain"),
        (("r", 0.0, 10.0, "x", 0.0, 10.0), ("r", 11.0, 20.0, "y", 0.0, 9.0), 2.0, "seconds of brain"),
        (("r", 0.0, 10.0, "x", 0.0, 10.0), ("q", 0.0, 10.0, "x", 9.5, 19.5), 0.0, "a stimulus"),
        (("r", 0.0, 10.0, "x", 0.0, 10.0), ("q", 0.0, 10.0, "x", 10.0, 20.0), 0.0, None),
        (("r", 0.0, 1.0, "x", None, None), ("q", 0.0, 1.0, "x", None, None), 0.0, "a stimulus"),
        (("r", 0.0, 1.0, "x", None, None), ("q", 0.0, 9.0, "x", 50.0, 59.0), 0.0, "a stimulus"),
    ],
)
def test_check_fold_sees_each_kind_of_leak(a: tuple, b: tuple, gap_s: float, found: str | None) -> None:
    fold = Fold(0, (Trial("a", *a),), (Trial("v", "v", 0, 9, "v", 0, 9),), (Trial("b", *b),), 0.0)
    if found is None:
        check_fold(fold, gap_s)
    else:
        with pytest.raises(HubError, match=f"train and test share {found}"):
            check_fold(fold, gap_s)


def test_check_fold_sees_a_shared_id() -> None:
    fold = Fold(0, (Trial("a", "r", 0, 1, "x"),), (Trial("v", "v", 0, 9, "v"),), (Trial("a", "q", 0, 1, "y"),), 0.0)
    with pytest.raises(HubError, match="train and test share a trial"):
        check_fold(fold)


@pytest.mark.parametrize(
    ("split", "trials", "cause"),
    [
        (Split(("stimulus",)), [], "the dataset has no trials"),
        (Split(("stimulus",)), [*stories(4), stories(1)[0]], "two trials are called 't0'"),
        (Split(("stimulus",)), stories(2), "split by stimulus: there are only 2"),
        (Split(("stimulus",)), stories(1), "split by stimulus: there is only 1"),
        (Split(("concept",)), stories(5), "split by 'concept': trial 't0' has no such group"),
        (Split(("stimulus",)), [Trial("t", "r", 5.0, 5.0, "x")], "trial 't' ends at 5 s, before it starts"),
        (Split(("stimulus",)), [Trial("t", "r", 5.0, math.nan, "x")], "trial 't' ends at nan s, before it starts"),
        (Split(("stimulus",)), [Trial("t", "r", 0.0, 5.0, "x", 9.0, 4.0)], "trial 't' presents x from 9.0 to 4.0 s"),
        (Split(("stimulus",)), [Trial("t", "r", 0.0, 5.0, "x", 9.0)], "trial 't' presents x from 9.0 to None s"),
        (Split(("stimulus",)), [Trial("t", "r", 0.0, 5.0)], "no trial has a stimulus"),
        (Split(("time_block",), gap_s=500.0), stories(9), "split by time_block: the .* side of fold 0 is empty"),
        (
            Split(
                (),
            ),
            stories(9),
            "split.by is empty",
        ),
        (Split(("stimulus",), folds=2), stories(9), "split.folds is 2"),
        (Split(("time_block",), folds=0), stories(9), "split.folds is 0"),
        (Split(("time_block",), blocks=0), stories(9), "split.blocks is 0"),
        (Split(("time_block",), gap_s=-1.0), stories(9), "split.gap_s -1"),
    ],
)
def test_what_cannot_be_split_is_one_line(split: Split, trials: list[Trial], cause: str) -> None:
    with pytest.raises(HubError, match=cause) as caught:
        split.make(trials)
    assert "\n" not in caught.value.cause


def test_an_unknown_key_names_those_that_there_are() -> None:
    trials = [dataclasses.replace(t, groups={"run": "1"}) for t in stories(5)]
    with pytest.raises(HubError) as caught:
        Split(("runn",)).make(trials)
    known = "known: official, run, stimulus, time_block"
    assert caught.value.remedy == f"--set split.by=time_block, which needs no groups; {known}"
    assert caught.value.usage


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"folds": "five"}, "split.folds is 'five', which is not a whole number"),
        ({"closed_set": "no"}, "split.closed_set is 'no', which is not true or false"),
        ({"gap_s": None}, "split.gap_s is None, which is not a number of seconds"),
        ({"by": 3}, "split.by is 3, which is not a name or a list of names"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(config: dict, cause: str) -> None:
    with pytest.raises(HubError) as caught:
        split_from_config(config, seed=0, closed_set=False)
    assert caught.value.cause == cause


def test_settings_are_read_as_written() -> None:
    split = split_from_config({"by": ["subject", "stimulus"], "folds": 4, "gap_s": 2}, seed=7, closed_set=True)
    assert split == Split(("subject", "stimulus"), 4, 2.0, 2, True, 7)
    assert split_from_config({}, seed=0, closed_set=False).by == ("stimulus",)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 20)), max_size=12))
def test_merged_intervals_cover_the_same_seconds_and_do_not_overlap(pairs: list[tuple[float, float]]) -> None:
    some = [(start, start + length) for start, length in pairs]
    merged = merge(some)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    for start, stop in some:
        assert any(low <= start and stop <= high for low, high in merged)
    assert {edge for pair in merged for edge in pair} <= {edge for pair in some for edge in pair}


def test_a_sentence_is_the_same_in_whatever_case_and_punctuation_a_table_writes_it() -> None:
    """Two spellings of one sentence, spoken twice: they must not stand on two sides."""
    spellings = ["{} cats sat.", "{} CATS sat", "\u201c{} cats, sat!\u201d", "  {} cats\tsat"]
    said = [way.format(name) for name in ("Two", "Six", "Ten", "No", "All", "Our") for way in spellings]
    found = [
        Trial(f"t{k}", "r", 4.0 * k, 4.0 * k + 3.0, f"sound{k}", 0.0, 3.0, {"subject": "a", "sentence": text})
        for k, text in enumerate(said)
    ]
    for fold in Split(("sentence",), folds=4).make(found):
        sides = [{trial.groups["sentence"].strip(' "\u201c')[:2].lower() for trial in fold.side(s)} for s in SIDES]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 6

"""speech_wav2vec/phantom: simulated listeners with caps of their own; sentences as trials, split by their text."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.phantom import caps, eeg, speech
from braindecode_hub.splits import SIDES, Fold, Split
from braindecode_hub.stretches import Stretch, prepare_brain, prepare_stimulus
from braindecode_hub.types import Context, Event, Space, Trial
from braindecode_hub.view import View, Window, make_item
from braindecode_hub_speech_wav2vec.phantom import Phantom
from braindecode_hub_speech_wav2vec.sentences import Sentence, Word, from_words, normalised, spans

WORDS = Space("words")


@cache
def two() -> Phantom:
    """Two listeners of two stories, simulated once."""
    dataset = Phantom(subjects=2, stories=2, snr=1.0)
    dataset.prepare(Context())
    return dataset


class TestCaps:
    def test_every_layout_is_another_cap(self) -> None:
        made = {name: eeg.EegModel(layout=name).geometry() for name in caps.LAYOUTS}
        assert {name: len(names) for name, (_, names, _) in made.items()} == {
            "cap32": 32, "cap16": 16, "clinical19": 19, "lost27": 27, "numbered28": 28,
        }  # fmt: skip
        for places, names, bads in made.values():
            assert len(set(names)) == len(names) == len(places)
            assert set(bads) < set(names)
            assert np.linalg.norm(places, axis=1) == pytest.approx(eeg.SHELLS[-1])
        for one, other in combinations(made, 2):
            assert made[one][1] != made[other][1]
        clinical = made["clinical19"]
        assert "T3" in clinical[1]
        assert "T7" not in clinical[1]

    def test_a_cap_sits_on_every_head_in_its_own_way(self) -> None:
        plain = eeg.EegModel().geometry()[0]
        heads = [eeg.EegModel(layout="cap32", subject=subject).geometry()[0] for subject in range(4)]
        moved = [np.linalg.norm(one - plain, axis=1).mean() for one in heads]
        assert all(0.001 < metres < 0.015 for metres in moved)
        for one, other in combinations(heads, 2):
            assert np.abs(one - other).max() > 0.001
        turned = heads[0].T @ np.linalg.pinv(plain.T)
        assert turned @ turned.T == pytest.approx(np.eye(3), abs=1e-9)

    def test_what_was_there_is_as_it_was(self) -> None:
        positions, names, bads = eeg.EegModel(bads=2).geometry()
        assert names == tuple(site[0] for site in caps.CAP)
        assert positions[names.index("Cz")] == pytest.approx([0, 0, 0.092])
        assert bads == eeg.EegModel(bads=2, layout="cap32").geometry()[2]

    def test_an_unknown_layout_is_named(self) -> None:
        with pytest.raises(ValueError, match="cap33"):
            eeg.EegModel(layout="cap33").geometry()


class TestSentences:
    def test_case_punctuation_and_spaces_do_not_make_another_sentence(self) -> None:
        said = "  “Don’t—ever!”  she\tsaid (twice)… "
        assert normalised(said) == normalised("DON'T EVER, she said; twice") == "dont ever she said twice"
        assert normalised("Çà et là") == "çà et là"
        assert normalised("?!") == ""

    def test_runs_of_words_are_sentences(self) -> None:
        words = [Word("a", 0.0, 0.5), Word("b", 0.5, 1.0), Word("c", 1.5, 2.0), Word("a", 2.0, 3.0)]
        assert from_words(words, [1, 1, 2, 1]) == [
            Sentence("a b", 0.0, 1.0),
            Sentence("c", 1.5, 2.0),
            Sentence("a", 2.0, 3.0),
        ]
        assert from_words([], []) == []

    def test_a_short_sentence_takes_of_the_pauses_and_never_of_a_neighbour(self) -> None:
        said = [Sentence("one", 1.0, 5.0), Sentence("two", 5.5, 7.9), Sentence("three", 8.31, 12.0)]
        assert spans(said, 12.5, 3.0) == [(1.0, 5.0), (5.28, 8.3), (8.3, 12.0)]
        assert spans(said, 12.5, 3.5) == [(1.0, 5.0), None, (8.3, 12.0)]
        assert spans([Sentence("end", 9.5, 12.0)], 12.3, 3.0) == [(9.28, 12.3)]
        assert spans([Sentence("all", 0.0, 2.0)], 2.0, 3.0) == [None]


class TestTrials:
    def test_every_sentence_of_every_subject_holds_a_window_and_touches_no_other(self) -> None:
        trials = Phantom(repeats=2).trials()
        assert len(trials) == 4 * 2 * 80
        for one in trials:
            assert one.seconds >= 3.0
            assert one.stimulus_stop is not None
            assert one.stimulus_start is not None
            assert one.stimulus_stop - one.stimulus_start >= 3.0 + 0.02 - 1e-9
        for one, after in pairwise(trials):
            if one.recording == after.recording:
                assert after.start >= one.stop - 1e-9
        assert set(trials[0].groups) == {"subject", "session", "story", "voice", "sentence"}
        assert {trial.groups["session"] for trial in trials} == {"1", "2"}

    def test_a_trial_has_the_words_of_its_sentence_and_no_others(self) -> None:
        dataset = Phantom(subjects=1)
        for trial in dataset.trials():
            said = dataset.stimulus(str(trial.stimulus), WORDS).data
            own = [text for text, start, stop in said if inside(trial, start, stop)]
            assert normalised(" ".join(own)) == trial.groups["sentence"]

    def test_both_clocks_run_through_a_trial(self) -> None:
        for trial in Phantom(subjects=1, stories=2, drift=1e-3).trials():
            assert trial.stimulus_start is not None
            assert trial.stimulus_stop is not None
            assert trial.seconds == pytest.approx(1.001 * (trial.stimulus_stop - trial.stimulus_start), abs=1e-6)

    @pytest.mark.parametrize("rate", [50.0, 100.0, 120.0, 128.0])
    def test_one_fixed_window_fits_at_any_rate(self, rate: float) -> None:
        for trial in Phantom(subjects=1).trials():
            frames = np.floor(trial.stimulus_stop * rate + 1e-6) - np.ceil(trial.stimulus_start * rate - 1e-6)
            assert frames >= round(3.0 * rate)


class TestRecordings:
    def test_subjects_differ_in_all_that_subjects_differ_in(self) -> None:
        dataset = Phantom()
        sensors = [dataset.sensors(subject) for subject in ("01", "02", "03", "04")]
        assert [len(one["channels"]) for one in sensors] == [32, 19, 27, 28]
        assert len({one["bads"] for one in sensors}) > 1
        for one, other in combinations([dataset.model(subject) for subject in ("01", "02", "03", "04")], 2):
            assert np.abs(one.dipoles()[0] - other.dipoles()[0]).max() > 1e-3
            assert np.abs(one.kernels() - other.kernels()).max() > 0.01

    def test_a_repeat_is_another_session_with_other_noise_and_the_same_response(self) -> None:
        once, again = (Phantom(subjects=1, stories=1, repeats=2, snr=snr) for snr in (0.0, 4.0))
        silent, heard = (
            np.stack([np.asarray(one.recording(id).brain.data) for id in ("01", "01-2")]) for one in (once, again)
        )
        assert again.recording("01-2").session == "2"
        assert again.recording("01-2").subject == "01"
        assert np.abs(silent[0] - silent[1]).max() > 1e-5
        response = heard - silent
        assert np.abs(response[0] - response[1]).max() < 1e-3 * np.abs(response).max()

    def test_the_first_session_does_not_hang_on_the_number_of_sessions(self) -> None:
        alone, twice = (Phantom(subjects=1, stories=1, repeats=repeats).recording("01") for repeats in (1, 2))
        assert np.array_equal(alone.brain.data, twice.brain.data)

    def test_who_knows_the_model_hears_the_speech(self) -> None:
        oracle = two().oracle("02")
        assert oracle.data.shape[0] == len(eeg.FEATURES)
        model = two().model("02")
        drives = np.asarray(two()._drives())
        true = model.features(drives, 100.0)
        n = min(true.shape[1], oracle.data.shape[1])
        found = [np.corrcoef(true[k, :n], oracle.data[k, :n])[0, 1] for k in range(3)]
        assert min(found) > 0.3

    def test_it_says_that_it_is_simulated(self) -> None:
        assert Phantom.simulated


class TestConfiguration:
    @pytest.mark.parametrize(
        ("wrong", "cause"),
        [
            ({"subjects": 0}, "subjects is 0"),
            ({"repeats": 0}, "repeats is 0"),
            ({"layouts": ["cap33"]}, "cap33"),
            ({"layouts": []}, "no layout"),
            ({"snr": -1.0}, "snr is -1"),
            ({"shortest_s": 0.0}, "shortest_s is 0"),
            ({"shortest_s": 9.0, "subjects": 1, "stories": 1}, "no sentence can make a trial of 9 s"),
            ({"stories": 9}, "8 stories"),
        ],
    )
    def test_what_makes_no_sense_costs_two_lines(self, wrong: dict[str, Any], cause: str) -> None:
        with pytest.raises(HubError, match=cause) as told:
            Phantom(**wrong).prepare(Context())
        assert told.value.usage

    def test_sentences_that_are_too_short_are_counted(self) -> None:
        logged: list[Event] = []
        dataset = Phantom(subjects=1, stories=2, shortest_s=3.8)
        dataset.prepare(Context(log=logged.append))
        left = 20 - len(dataset.trials())
        assert left > 0
        assert [event["text"] for event in logged if event["kind"] == "note"] == [
            f"{left} of 20 sentences are shorter than 3.8 s"
        ]


class TestSplits:
    """Nothing that was heard stands on two sides, whoever heard it."""

    @pytest.mark.parametrize(
        ("by", "dataset"),
        [
            (("sentence",), Phantom(repeats=2)),
            (("story",), Phantom()),
            (("subject", "sentence"), Phantom()),
            (("subject", "story"), Phantom()),
            (("session", "sentence"), Phantom(repeats=3, subjects=2)),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
    )
    def test_no_sentence_text_and_no_second_of_speech_stands_on_two_sides(
        self, by: tuple[str, ...], dataset: Phantom
    ) -> None:
        folds = Split(by).make(dataset.trials())
        assert len(folds) >= 3
        for fold in folds:
            assert leaks(fold, "sentence") == []
            for name in by:
                assert leaks(fold, name) == []
            for side in SIDES:
                assert all(trial.seconds >= 3.0 for trial in fold.side(side))

    def test_by_sentence_all_subjects_and_seconds_are_used(self) -> None:
        trials = Phantom().trials()
        for fold in Split(("sentence",)).make(trials):
            assert sum(len(fold.side(side)) for side in SIDES) == len(trials)
            assert {trial.groups["subject"] for trial in fold.test} == {"01", "02", "03", "04"}

    def test_equal_sentences_of_two_stories_are_one(self) -> None:
        trials = [
            Trial(f"{story}{n}", "r", 100.0 * at + 4 * n, 100.0 * at + 4 * n + 3, story, 4.0 * n, 4.0 * n + 3, said(n))
            for at, story in enumerate(("a", "b"))
            for n in range(6)
        ]
        for fold in Split(("sentence",), folds=3).make(trials):
            assert leaks(fold, "sentence") == []
            assert len(fold.test) % 2 == 0

    @pytest.mark.parametrize("by", ["subject", "session"])
    def test_one_subject_cannot_be_held_out(self, by: str) -> None:
        with pytest.raises(HubError, match=f"split by {by}: there is only 1"):
            Split((by,)).make(Phantom(subjects=1).trials())

    def test_new_subjects_who_heard_the_same_need_new_sentences_too(self) -> None:
        with pytest.raises(HubError, match=r"split.by=\[subject, stimulus\]"):
            Split(("subject",)).make(Phantom().trials())


def test_windows_of_all_caps_come_in_one_batch() -> None:
    dataset = two()
    audio = Space("audio", ("time",), float(speech.RATE))
    trials = [trial for trial in dataset.trials() if trial.stimulus == "ferry"][::10]
    items = []
    for trial in trials:
        recording = dataset.recording(trial.recording)
        brain = prepare_brain(dataset, [], Stretch(trial.recording, 0.0, recording.seconds), empty())
        sound = prepare_stimulus(dataset, audio, [], Stretch("ferry", 0.0, 38.0), empty())
        items.append(
            make_item(trial, brain=brain, recording=recording, spaces={"audio": audio.rate}, stimuli={"audio": sound})
        )
    view = View(
        items,
        window=Window(3.0, None, 0.5),
        space=dataset.brain,
        targets={"audio": audio},
        subjects=["01", "02"],
    )
    batch = next(view.batches(8))
    assert batch.positions is not None
    assert batch.channel_mask is not None
    counts = {subject: set() for subject in (0, 1)}
    for row, subject in enumerate(batch.subject.tolist()):
        counts[subject].add(int(batch.channel_mask[row].sum()))
        assert np.isfinite(batch.positions[row][batch.channel_mask[row]]).all()
    assert counts == {0: {32}, 1: {19}}
    assert batch.brain.shape[1] == 32


def empty() -> Any:
    from braindecode_hub.cache import Cache

    return Cache(None)


def inside(trial: Trial, start: float, stop: float) -> bool:
    assert trial.stimulus_start is not None
    assert trial.stimulus_stop is not None
    return start >= trial.stimulus_start - 1e-6 and stop <= trial.stimulus_stop + 1e-6


def said(number: int) -> dict[str, str]:
    return {"subject": "s", "sentence": normalised(f"Sentence, number {number}!")}


def leaks(fold: Fold, group: str) -> list[str]:
    """Return the values of a group that stand on two sides."""
    found: list[str] = []
    for one, other in combinations(SIDES, 2):
        ours, theirs = ({trial.groups[group] for trial in fold.side(side)} for side in (one, other))
        found += sorted(ours & theirs)
    return found

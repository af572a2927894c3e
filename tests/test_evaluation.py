"""What is scored beside correlation: words, sound, distortion, and the rules that judge controls and the ceiling."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from braindecode_hub.evaluation import Judge
from braindecode_hub.metrics import identification
from braindecode_hub.parts.correlation import Correlation
from braindecode_hub.results import Beside, Outcome
from braindecode_hub.scoring import Scored, _pairings, cut_units, score, score_identification, word_units
from braindecode_hub_audio_seeg.intelligibility import Estoi, Stoi
from braindecode_hub_audio_seeg.scores import Mcd, cepstra

RNG = np.random.default_rng(0)


def item(target: np.ndarray, predicted: np.ndarray, stimulus: str = "a", start: float = 0.0) -> Scored:
    return Scored("fold-0-000", "01", stimulus, start, target, predicted)


def test_blocks_do_not_cross_pieces_and_what_is_left_over_is_counted() -> None:
    pieces = [item(np.zeros((n, 2)) + RNG.normal(size=(n, 2)), np.zeros((n, 2))) for n in (1050, 730)]
    units = cut_units(pieces, 100.0, 5.0)
    assert units.target.shape == (3, 500, 2)
    assert units.name == "5 s block"
    assert units.dropped_s == pytest.approx(0.5 + 2.3)


def test_a_block_is_at_least_twice_the_autocorrelation_time() -> None:
    slow = np.repeat(RNG.normal(size=(60, 1)), 300, axis=0)  # holds a value for 3 s
    units = cut_units([item(slow, slow)], 100.0, 1.0)
    assert units.frames > 2 * 200


def test_words_are_one_candidate_however_often_they_are_said() -> None:
    shape = {word: RNG.normal(size=(16, 8)) for word in ("fog", "sea", "boat", "wind")}
    said = ["fog", "sea", "fog", "boat", "wind", "sea"]
    target = np.concatenate([shape[word] for word in said])
    words = [(word.upper() if k == 2 else word, 0.16 * k, 0.16 * (k + 1)) for k, word in enumerate(said)]
    units = word_units([item(target, target + 0.1 * RNG.normal(size=target.shape))], 100.0, {"a": words})
    assert units is not None
    assert units.ids == said
    entries, _ = score_identification(units, np.zeros(8), 0, "word_identification")
    assert entries["word_identification"]["value"] == 1.0
    assert entries["word_identification"]["chance"] == 0.25


def test_words_outside_the_test_piece_are_left_out() -> None:
    target = RNG.normal(size=(100, 4))
    words = [("early", 0.9, 1.1), ("in", 1.2, 1.4), ("on", 1.5, 1.7), ("late", 1.9, 2.1)]
    units = word_units([item(target, target, start=1.0)], 100.0, {"a": words})
    assert units is not None
    assert units.ids == ["in", "on"]


@pytest.mark.parametrize("trial_s", [1.0, 2.5])
def test_what_all_subjects_get_alike_by_accident_is_one_accident(trial_s: float) -> None:
    """Presentations and blocks: exchanging, or shifting, each subject by itself would call an accident a finding."""
    correlation, found = Correlation(), []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        stories = [
            (rng.normal(size=(round(100 * trial_s), 4)), rng.normal(size=(round(100 * trial_s), 4))) for _ in range(10)
        ]
        items = [
            Scored(f"{who}-{k}", who, f"s{k}", 0.0, target, predicted + 0.1 * rng.normal(size=target.shape))
            for who in "abcd"
            for k, (target, predicted) in enumerate(stories)
        ]
        units = cut_units(items, 100.0, 1.25)
        entry, _, null = score(correlation, units, 100.0, seed)
        identified, _ = score_identification(units, np.zeros(4), seed)
        assert null[0] == pytest.approx(entry["value"])
        found.append((entry["p"], identified["identification_rank"]["p"]))
    assert (np.mean(np.array(found) <= 0.05, axis=0) <= 0.11).all()
    assert (np.abs(np.mean(found, axis=0) - 0.5) < 0.11).all()


def test_repeats_of_one_subject_are_chances_of_their_own() -> None:
    target = np.repeat(np.eye(2), 20, axis=0)
    items = [Scored(f"t{k}", "a", f"class {k % 2}", 0.0, target[k % 2 * 20], target[k % 2 * 20]) for k in range(40)]
    identified, _ = score_identification(cut_units(items, None, 0.0), np.full(2, 0.5), 0)
    assert identified["identification"]["p"] < 0.001


def test_the_exact_null_of_identification_agrees_with_seeded_pools() -> None:
    target = RNG.normal(size=(80, 30))
    predicted = target + 3.0 * RNG.normal(size=target.shape)
    from braindecode_hub.metrics import similarity

    top1, rank = _pairings(similarity(target, predicted), [str(k) for k in range(80)], 50)
    sampled = identification(target, predicted)
    assert top1.diagonal().mean() == pytest.approx(sampled["top1"], abs=0.03)
    assert rank.diagonal().mean() == pytest.approx(sampled["rank_percentile"], abs=0.01)


def test_distortion_ignores_loudness_and_knows_a_cosine() -> None:
    mel = RNG.normal(size=(2, 50, 80))
    metric = Mcd()
    assert metric.per_unit(mel, mel + 1.5) == pytest.approx(0.0, abs=1e-9)
    ripple = 0.3 * np.cos(np.pi * 4 * (np.arange(80) + 0.5) / 80)  # c4 = 0.3
    expected = 10 / np.log(10) * np.sqrt(2 * 0.3**2)
    assert metric.per_unit(mel, mel + ripple) == pytest.approx(expected, rel=1e-6)
    assert cepstra(mel + ripple)[0, 0, 3] - cepstra(mel)[0, 0, 3] == pytest.approx(0.3, rel=1e-6)


def test_shifts_of_distortion_begin_with_the_score_itself() -> None:
    mel = np.cumsum(RNG.normal(size=(300, 80)), axis=0) * 0.1
    predicted = mel + RNG.normal(size=mel.shape)
    null = Mcd().shifted(mel, predicted, 100)
    own = Mcd().per_unit(mel.reshape(3, 100, 80), predicted.reshape(3, 100, 80)).mean()
    assert null[0] == pytest.approx(own)
    assert null[0] < np.quantile(null, 0.1)


def test_intelligibility_of_the_sound_itself_is_one_and_falls_with_noise() -> None:
    from scipy.signal import resample_poly

    from braindecode_hub.phantom.speech import audio, stories

    clean = resample_poly(audio(stories()[0].id)[: 22050 * 4], 200, 441)[None]
    noisy = clean + 0.2 * RNG.normal(size=clean.shape)
    for metric in (Stoi(), Estoi()):
        assert metric.per_unit(clean, clean)[0] == pytest.approx(1.0, abs=1e-3)
        assert metric.per_unit(clean, noisy)[0] < 0.9
        assert metric.per_unit(clean, noisy)[0] == metric.per_unit(clean, noisy)[0]
        assert metric.per_unit(np.zeros((1, 2000)), clean[:, :2000])[0] == pytest.approx(0.0, abs=1e-3)


def test_a_distance_is_tested_the_right_way_round() -> None:
    mel = RNG.normal(size=(2000, 80))
    units = cut_units([item(mel, mel + 0.5 * RNG.normal(size=mel.shape))], 100.0, 2.0)
    entry, _, null = score(Mcd(), units, 100.0, 0)
    assert entry["value"] < entry["chance"]
    assert entry["p"] < 0.01
    assert null[0] == pytest.approx(entry["value"])


def outcome(
    name: str, *, controls: list[float], chance: float, mean: float, higher: bool, rank: list[float]
) -> Outcome:
    entry = {"chance": chance, "higher_is_better": higher}
    scores = {name: entry, f"{name}_rank": {"chance": 0.5, "higher_is_better": True}}
    judge = Judge.__new__(Judge)
    judge.main, judge.metrics = "mel", {}
    done: Any = SimpleNamespace(scores=scores, per_unit={name: np.full(12, mean)}, units={})
    refits = {"noise": {name: controls, f"{name}_rank": rank}}
    beside = Beside(baselines={"mean": {name: np.full(12, mean)}}, controls=refits)
    nothing: Any = None
    return Outcome(nothing, [], "test", judge, {}, done, beside, 1, {})


@pytest.mark.parametrize(
    ("name", "controls", "chance", "mean", "higher", "rank", "leak"),
    [
        ("mel_correlation", [0.3, 0.32, 0.28], 0.0, 0.0, True, [], True),
        ("mel_correlation", [0.05, 0.06, 0.04], 0.0, 0.0, True, [], False),
        ("mel_correlation", [0.5, -0.4, 0.5], 0.0, 0.0, True, [], False),
        ("mel_correlation", [0.3, 0.3], 0.0, 0.0, True, [], False),
        ("identification", [0.3, 0.3, 0.3], 0.08, 0.0, True, [0.5, 0.5, 0.5], False),
        ("identification", [0.3, 0.3, 0.3], 0.08, 0.0, True, [0.8, 0.8, 0.8], True),
        ("mcd", [9.8, 9.8, 9.8], 10.9, 9.8, False, [], False),
        ("mcd", [8.0, 8.1, 8.0], 10.9, 9.8, False, [], True),
    ],
)
def test_a_control_is_above_chance_by_the_written_rule(
    name: str, controls: list[float], chance: float, mean: float, higher: bool, rank: list[float], leak: bool
) -> None:
    made = outcome(name, controls=controls, chance=chance, mean=mean, higher=higher, rank=rank)
    assert made.control_above_chance(name, "noise") is leak


def test_a_control_with_fewer_candidates_is_judged_by_its_own_chance() -> None:
    made = outcome("identification", controls=[0.7, 0.7, 0.7], chance=0.25, mean=0.0, higher=True, rank=[0.8, 0.8, 0.8])
    assert made.control_above_chance("identification", "noise")
    made.beside.chances["noise"] = {"identification": [0.5, 0.5, 0.5]}
    assert not made.control_above_chance("identification", "noise")


def test_three_refits_need_more_than_two_standard_errors() -> None:
    from braindecode_hub.controls import above_chance

    ranks = [0.697, 0.530, 0.576]  # of three noise refits of a network, in which nothing leaked
    assert above_chance(ranks, 0.45, 0.1) is False
    assert above_chance([0.70, 0.69, 0.71], 0.45, 0.1) is True

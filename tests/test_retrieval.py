"""Retrieval: exact ranks and chance, one candidate a stimulus, ties miss; learned spaces are compared where learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy import Toy, toy_study

from braindecode_hub import retrieval
from braindecode_hub.comparisons import in_order, no_fit
from braindecode_hub.evaluation import Judge
from braindecode_hub.interfaces import RETRIEVAL, Candidate
from braindecode_hub.metrics import similarity
from braindecode_hub.parts import ranks
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.refits import predict_side, training_targets
from braindecode_hub.scoring import Scored, Units, difference
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Context, Prediction, Space

METRICS: dict[str, retrieval.RankMetric] = {
    "top1": ranks.Top1(),
    "top5": ranks.Top5(),
    "mean_rank": ranks.MeanRank(),
}


def units(
    target: Array,
    predicted: Array,
    *,
    ids: list[str] | None = None,
    subjects: list[str] | None = None,
    fits: list[str] | None = None,
    trials: list[tuple[str, str]] | None = None,
) -> Units:
    n = len(target)
    return Units(
        name="3 s block",
        frames=target.shape[1],
        target=target.astype(np.float32),
        predicted=predicted.astype(np.float32),
        subjects=subjects or ["a"] * n,
        ids=ids or [f"s@{k}" for k in range(n)],
        seconds=3.0,
        effective=float(n),
        fits=fits or ["fold-0"] * n,
        presentations=trials or [(f"t{k}", f"s{k}") for k in range(n)],
    )


def noisy(rng: np.random.Generator, count: int, noise: float) -> tuple[Array, Array]:
    target = rng.standard_normal((count, 10, 3))
    return target, target + noise * rng.standard_normal(target.shape)


def test_ranks_count_who_is_at_least_as_near_so_that_ties_miss() -> None:
    table = retrieval.ranks(np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [1.0, 1.0, 0.0]]))
    assert table.tolist() == [[1, 3, 2], [3, 3, 3], [2, 2, 3]]


def test_a_constant_prediction_is_never_right() -> None:
    target, _ = noisy(np.random.default_rng(0), 20, 0.0)
    [pool] = retrieval.pools(units(target, np.zeros_like(target)), np.zeros(()))
    for name, expected in (("top1", 0.0), ("top5", 0.0), ("mean_rank", 20.0)):
        assert retrieval.values(METRICS[name], [pool]).mean() == expected


def test_chance_is_k_of_n_exactly_and_the_mean_rank_of_a_guess() -> None:
    target, predicted = noisy(np.random.default_rng(0), 20, 1.0)
    asked = retrieval.pools(units(target, predicted), np.zeros(()))
    assert retrieval.chance(METRICS["top1"], asked) == pytest.approx(1 / 20)
    assert retrieval.chance(METRICS["top5"], asked) == pytest.approx(5 / 20)
    assert retrieval.chance(METRICS["mean_rank"], asked) == pytest.approx(10.5)
    assert retrieval.chance(ranks.Top10(), retrieval.pools(units(target[:4], predicted[:4]), np.zeros(()))) == 1.0


def test_a_metric_is_what_numpy_says() -> None:
    target, predicted = noisy(np.random.default_rng(1), 30, 6.0)
    scores = similarity(target, predicted)
    rank = np.array([1 + (np.delete(row, k) >= row[k]).sum() for k, row in enumerate(scores)])
    asked = retrieval.pools(units(target, predicted), np.zeros(()))
    assert retrieval.values(METRICS["mean_rank"], asked).tolist() == rank.tolist()
    assert retrieval.values(METRICS["top5"], asked).tolist() == (rank <= 5).astype(float).tolist()
    assert METRICS["top5"].per_unit(target, predicted).tolist() == (rank <= 5).astype(float).tolist()


def test_what_several_subjects_heard_is_one_candidate() -> None:
    rng = np.random.default_rng(2)
    target = np.tile(rng.standard_normal((8, 10, 3)), (3, 1, 1))
    ids = [f"s@{k}" for k in range(8)] * 3
    subjects = [name for name in "abc" for _ in range(8)]
    [pool] = retrieval.pools(units(target, target, ids=ids, subjects=subjects), np.zeros(()))
    assert pool.scores.shape == (24, 8)
    assert retrieval.values(METRICS["top1"], [pool]).mean() == 1.0


def test_every_fit_looks_up_in_its_own_candidates() -> None:
    target, predicted = noisy(np.random.default_rng(3), 20, 0.5)
    fits = ["fold-0"] * 5 + ["fold-1"] * 15
    asked = retrieval.pools(units(target, predicted, fits=fits), np.zeros(()))
    assert [pool.scores.shape for pool in asked] == [(5, 5), (15, 15)]
    assert retrieval.chance(METRICS["top1"], asked) == pytest.approx((5 / 5 + 15 / 15) / 20)
    assert retrieval.score(METRICS["top1"], asked, 0)[0]["unit"] == "of 5 or 15 candidates"


def test_one_candidate_is_no_choice() -> None:
    target, predicted = noisy(np.random.default_rng(3), 4, 0.5)
    assert retrieval.pools(units(target, predicted, ids=["s@0"] * 4), np.zeros(())) == []


def test_p_is_uniform_without_signal_although_subjects_hear_the_same() -> None:
    """All subjects err alike here: exchanging each by itself would call a shared accident a finding."""
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        target = np.tile(rng.standard_normal((10, 4, 2)), (4, 1, 1))
        predicted = np.tile(rng.standard_normal((10, 4, 2)), (4, 1, 1))
        some = units(
            target, predicted, ids=[f"s@{k}" for k in range(10)] * 4, subjects=[n for n in "abcd" for _ in range(10)]
        )
        found.append(retrieval.score(METRICS["mean_rank"], retrieval.pools(some, np.zeros(())), seed)[0]["p"])
    assert np.mean(np.array(found) <= 0.05) <= 0.1
    assert 0.4 <= np.mean(found) <= 0.6


def test_a_planted_signal_has_a_small_p_and_an_interval_around_its_value() -> None:
    target, predicted = noisy(np.random.default_rng(4), 40, 2.0)
    entry, per_unit, null = retrieval.score(METRICS["top1"], retrieval.pools(units(target, predicted), np.zeros(())), 0)
    assert entry["p"] < 0.001
    low, high = entry["ci95"]
    assert low < entry["value"] < high
    assert entry["value"] == per_unit.mean() == null[0]
    assert abs(null[1:].mean() - 1 / 40) < 0.01


def test_no_interval_of_a_rank_begins_above_the_first_place() -> None:
    target, predicted = noisy(np.random.default_rng(4), 40, 1.5)
    entry, _, _ = retrieval.score(METRICS["mean_rank"], retrieval.pools(units(target, predicted), np.zeros(())), 0)
    assert 1.0 <= entry["ci95"][0] < entry["value"] < entry["ci95"][1] < 3.0
    few = units(target, target + (np.arange(40) == 3)[:, None, None] * (target[4] - target[3]))
    assert retrieval.score(METRICS["mean_rank"], retrieval.pools(few, np.zeros(())), 0)[0]["ci95"][0] == 1.0


def test_averaging_over_subjects_helps_and_keeps_one_query_a_stimulus() -> None:
    rng = np.random.default_rng(5)
    target = np.tile(rng.standard_normal((30, 10, 3)), (6, 1, 1))
    predicted = target + 8.0 * rng.standard_normal(target.shape)
    some = units(target, predicted, ids=[f"s@{k}" for k in range(30)] * 6)
    each = retrieval.values(ranks.Top1(), retrieval.ask("each", some, np.zeros(())))
    mean = retrieval.values(ranks.Top1Averaged(), retrieval.ask("averaged", some, np.zeros(())))
    assert (len(each), len(mean)) == (180, 30)
    assert mean.mean() > each.mean() + 0.2


def test_context_helps_where_windows_share_a_presentation_and_never_without() -> None:
    rng = np.random.default_rng(6)
    target, predicted = noisy(rng, 40, 5.0)
    trials = [(f"t{k // 8}", f"s{k // 8}") for k in range(40)]
    hits = {}
    for name, shared in (("shared", trials), ("alone", None)):
        some = units(target, predicted, trials=shared)
        hits[name] = [
            retrieval.values(metric, retrieval.ask(metric.queries, some, np.zeros(()))).mean()
            for metric in (ranks.Top1(), ranks.Top1Context())
        ]
    assert hits["shared"][1] > hits["shared"][0] + 0.1
    assert hits["alone"][1] == hits["alone"][0]


def signal_free(seed: int, lengths: list[int], flavour: float = 0.0) -> Units:
    """Presentations of so many windows; those of one have a flavour in common, and so have their predictions."""
    rng = np.random.default_rng(seed)
    trials = [(f"t{k}", f"s{k}") for k, count in enumerate(lengths) for _ in range(count)]

    def windows() -> Array:
        own = [rng.standard_normal((10, 3)) * flavour + rng.standard_normal((count, 10, 3)) for count in lengths]
        return np.concatenate(own)

    return units(windows(), windows(), trials=trials)


def test_context_gives_nothing_to_long_presentations_for_being_long() -> None:
    """The best of ten windows is better than the best of one, without any brain: that must not count as a hit."""
    found = []
    for seed in range(60):
        asked = retrieval.ask("context", signal_free(seed, [10] + [1] * 10), np.zeros(()))
        entry, _, _ = retrieval.score(ranks.Top10Context(), asked, seed)
        found.append(entry["value"] - entry["chance"])
    assert abs(np.mean(found)) < 0.08, "0.25 when the best windows are compared as they are"


def test_context_is_right_or_wrong_by_presentations_and_so_are_its_p_and_its_interval() -> None:
    """Signal-free windows of one trial err alike: exchanged one by one, a quarter of such data had p up to .05."""
    found, covered = [], []
    for seed in range(80):
        asked = retrieval.ask("context", signal_free(seed, [10] * 5, flavour=0.7), np.zeros(()))
        entry, per_query, null = retrieval.score(ranks.Top10Context(), asked, seed)
        assert null[0] == pytest.approx(entry["value"]) == per_query.mean()
        assert entry["ci95"] is None
        found.append(entry["p"])
        asked = retrieval.ask("context", signal_free(seed, [6] * 12, flavour=0.7), np.zeros(()))
        low, high = retrieval.score(ranks.Top10Context(), asked, seed)[0]["ci95"] or (0.0, 1.0)
        covered.append(low <= 10 / 72 <= high)
    assert np.mean(np.array(found) <= 0.05) <= 0.13
    assert np.mean(covered) >= 0.9


def test_few_presentations_bound_the_p_of_context_and_give_no_interval() -> None:
    target, predicted = noisy(np.random.default_rng(4), 40, 1.0)
    some = units(target, predicted, trials=[(f"t{k // 20}", f"s{k // 20}") for k in range(40)])
    asked = retrieval.ask("context", some, np.zeros(()))
    entry, per_query, _ = retrieval.score(ranks.Top1Context(), asked, 0)
    assert entry["value"] > 0.9
    assert entry["p"] == entry["smallest_p"] == pytest.approx(0.5)
    assert entry["ci95"] is None
    assert len(set(retrieval.clusters(asked) or ())) == 2
    assert difference(per_query, 1 - per_query, None, 0, clusters=retrieval.clusters(asked))["ci95"] is None
    assert retrieval.clusters(retrieval.ask("each", some, np.zeros(()))) is None


def test_words_add_up_the_probability_of_equal_words() -> None:
    scores = np.array([[0.5, 0.4, 0.45, 0.0]])
    pool = retrieval.Pool("f", scores, np.array([1]), list("abcd"), np.arange(4), ["s"], np.arange(1))
    found = retrieval.words_of(pool, ["dog", "cat", "cat", "owl"])
    assert found.ids == ["cat", "dog", "owl"]
    assert found.scores.sum() == pytest.approx(1.0)
    assert found.scores.argmax() == found.own[0] == 0, "dog is the nearest window, cat the most probable word"


def test_the_chance_of_words_knows_that_some_are_said_more_often() -> None:
    """Without any brain, the word that is said most often is the best guess: its share, and not 1 / N, is chance."""
    rng = np.random.default_rng(8)
    target = rng.standard_normal((40, 10, 3))
    said = ["the"] * 20 + [f"word{k}" for k in range(20)]
    guess = rng.standard_normal((1, 10, 3)) + 1e-6 * rng.standard_normal(target.shape)
    ids = [f"s@{k} {text}" for k, text in enumerate(said)]
    some = units(target, guess, ids=ids, trials=[("t", text) for text in said])
    asked = retrieval.ask("words", some, np.zeros(()))
    entry, per_query, null = retrieval.score(ranks.WordTop1(), asked, 0)
    assert entry["value"] == per_query.mean() == 0.5
    assert entry["chance"] == pytest.approx(0.5)
    assert null[1:].mean() == pytest.approx(0.5)
    assert entry["p"] > 0.5
    assert entry["unit"] == "of 21 words"


def test_word_windows_begin_before_the_word_and_lie_on_the_test_side() -> None:
    frames = np.arange(300, dtype=np.float32)[:, None]
    item = Scored("t", "s", "story", 10.0, frames, frames, "fold-0")
    words = {"story": [("early", 10.1, 10.3), ("One", 11.0, 11.2), ("two", 12.0, 12.3), ("late", 15.0, 15.2)]}
    found = retrieval.word_windows([item], words, 50.0, 150)
    assert found is not None
    assert [id.split(" ")[1] for id in found.ids] == ["one", "two"]
    assert [text for _, text in found.presentations] == ["one", "two"]
    assert found.target[0, 0, 0] == 50 - 25
    assert retrieval.word_windows([item], {}, 50.0, 150) is None


def test_words_are_words_whatever_the_stimulus_is_called() -> None:
    """Files of one's own have names with spaces and signs; equal words of two files must still be one candidate."""
    frames = np.random.default_rng(9).standard_normal((400, 3)).astype(np.float32)
    items = [
        Scored(f"t{n}", "s", name, 0.0, frames, frames, "fold-0") for n, name in enumerate(("my story.wav", "a@b c"))
    ]
    words = {item.stimulus: [("the end", 1.0, 1.2), ("dog", 3.0, 3.2)] for item in items}
    windows = retrieval.word_windows(items, words, 50.0, 50)
    assert windows is not None
    [pool] = retrieval.ask("words", windows, np.zeros(()))
    assert pool.ids == ["dog", "the end"]


class Turned(Ridge):
    """Ridge whose predictions and targets are compared in a rotated space that differs from fit to fit."""

    across_subjects = True

    @property
    def learned_space(self) -> Space:
        return Space("turned", ("time", "dims"), "*")

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Any) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        self.rotation_ = np.linalg.qr(ctx.rng("turned", train.trials[0].id).standard_normal((3, 3)))[0][:2]

    def embed(self, target: Array) -> Prediction:
        return {"turned": (target @ self.rotation_).astype(np.float32)}

    def decode(self, z: Array, x: Array) -> Prediction:
        found = super().decode(z, x)
        return found | self.embed(next(iter(found.values())))


def judged(decoder: Any, folds: int = 2) -> tuple[Study, Judge, dict[str, list[Scored]]]:
    study = toy_study(Toy(subjects=2, shared=True, stimuli=6, seconds=12.0), decoder=decoder)
    study.pipeline.config["metrics"] = ["core/top1", "core/mean_rank"]
    study.pipeline.metrics = [ranks.Top1(), ranks.MeanRank()]
    items: dict[str, list[Scored]] = {}
    for fold in study.folds()[:folds]:
        for group in study.groups():
            part = study.of_group(fold, group)
            fitted = study.fit(part, study.ctx)
            name = f"fold-{fold.number}/{group[0]}"
            for target, some in predict_side(study, part, fitted, "test", fit=name).items():
                items.setdefault(target, []).extend(some)
    return study, Judge(study, training_targets(study, *study.folds()[:folds]), 0), items


def test_what_a_decoder_learned_is_compared_in_its_own_space_and_fit() -> None:
    _, judge, items = judged(Turned(lags_s=(0.0, 0.2), lag_step_s=0.02))
    assert list(items) == ["features", "turned"]
    assert judge.retrieval(items) == "turned"
    assert items["turned"][0].target.shape == (1200, 3)
    asked = judge.pools(items)
    assert [pool.fit for pool in asked] == ["fold-0/s0", "fold-1/s0"]
    done = judge.evaluate(items)
    assert done.scores["top1"]["value"] == 1.0
    assert done.scores["top1"]["chance"] == pytest.approx(1 / asked[0].scores.shape[1])
    assert done.scores["identification"]["value"] == 1.0, "and identified in the frozen space"
    assert judge.values(judge.mean(items))["top1"].max() == 0.0
    assert judge.chances(items)["top1"] == done.scores["top1"]["chance"]


def test_a_frozen_space_is_shared_by_the_fits_of_a_fold() -> None:
    _, judge, items = judged(None, folds=1)
    assert {item.fit for item in items["features"]} == {"fold-0/s0", "fold-0/s1"}
    [pool] = judge.pools(items)
    assert len(set(pool.subjects)) == 2
    assert len(pool.own) == 2 * len(pool.ids), "two subjects heard each candidate"


def test_a_target_is_embedded_by_windows_that_know_no_more_than_a_window() -> None:
    study, _, _ = judged(Turned(lags_s=(0.0, 0.2), lag_step_s=0.02), folds=1)
    fold = study.folds()[0]
    fitted = study.fit(study.of_group(fold, study.groups()[0]), study.ctx)
    seen: list[tuple[int, ...]] = []
    embed = fitted.decoder.embed
    fitted.decoder.embed = lambda target: seen.append(target.shape) or embed(target)  # type: ignore[method-assign, func-returns-value]
    target = study.truth(fold, "test")[0]["features"][:550]
    placed = fitted.embed(target, "features", study.window(), 100.0)["turned"]
    assert seen == [(5, 200, 2)], "windows of 2 s every second, the last moved back"
    assert placed.shape == (550, 3)
    np.testing.assert_allclose(placed, embed(fitted.targets["features"].encode(target[None]))["turned"][0], atol=1e-5)


def test_others_are_compared_trial_by_trial_in_the_same_order() -> None:
    def item(number: int, subject: str, stimulus: str) -> Scored:
        return Scored(f"fold-0-{subject}-{number:03d}", subject, stimulus, 0.0, np.zeros((1, 1)), np.zeros((1, 1)))

    like = [item(0, "a", "x"), item(1, "b", "x"), item(2, "a", "y"), item(3, "a", "x")]
    mixed = [item(0, "a", "x"), item(1, "a", "y"), item(2, "a", "x"), item(0, "b", "x")]
    found = in_order(mixed, like)
    assert [(one.subject, one.stimulus) for one in found] == [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")]
    assert found[0] is mixed[0]
    assert found[3] is mixed[2]


def test_a_decoder_of_one_subject_says_why_it_cannot_stand_beside_a_held_out_subject() -> None:
    study = toy_study(Toy(subjects=3), decoder=Turned(), split={"by": "subject", "folds": 3})
    assert (
        no_fit(study, study.folds(), Ridge())
        == "it is fitted for each subject, and the split leaves whole subjects out"
    )
    assert no_fit(study, study.folds(), Turned()) is None


def test_candidates_say_where_they_are_from() -> None:
    one = Candidate(np.zeros((2, 2), np.float32), "story", 1.0, 4.0)
    assert (one.media, one.text, RETRIEVAL) == (None, "", "retrieval")


@pytest.mark.parametrize(("name", "enough"), [("top1", 2), ("top5", 6), ("mean_rank", 2)])
def test_a_share_of_hits_can_fail_only_among_more_candidates_than_count_as_hits(name: str, enough: int) -> None:
    assert METRICS[name].can_fail(enough)
    assert not METRICS[name].can_fail(enough - 1)

"""Ten ways to a better score than is true, each a small plugin in `cheats`, and what catches it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindecode_hub import HubError
from braindecode_hub.cache import Cache
from braindecode_hub.canaries import check_learning, check_support
from braindecode_hub.catalogue import Catalogue, Plugin
from braindecode_hub.manager import Manager
from braindecode_hub.metric_checks import check_metric, check_metrics
from braindecode_hub.parts.correlation import Correlation
from braindecode_hub.pipeline import build
from braindecode_hub.runner import Options, run_pipeline
from braindecode_hub.splits import Fold, check_fold
from braindecode_hub.study import Study
from braindecode_hub.types import Context
from braindecode_hub_audio_seeg.scores import Mcd, MelCorrelationSpeech

CHEATS = sorted(path.stem for path in (Path(__file__).parent / "cheats").glob("*.py"))
TOY = {"stimuli": 6, "seconds": 5.0}
CTX = Context(cache=Cache(None))


@pytest.fixture(scope="module")
def manager() -> Manager:
    """Every cheat as an installed plugin."""
    return Manager(Catalogue({name: Plugin(name, f"cheats.{name}", "cheats") for name in CHEATS}))


def config(cheat: str, **changed: Any) -> dict[str, Any]:
    """Ridge from the toy's channels to its features, and what a cheat changes in it."""
    return {
        "pipeline": cheat,
        "plugin": cheat,
        "flow": ["toy", "features"],
        "dataset": {"use": "honest/toy", **TOY},
        "targets": {"features": [{"use": "core/zscore"}]},
        "encoder": [{"use": "core/zscore"}],
        "decoder": {"use": "core/ridge", "lags_s": [0.0, 0.2]},
        "window": {"length_s": 2.0, "context_s": 0.3},
        "split": {"by": "stimulus", "folds": 3, "gap_s": 0.5},
        "metrics": ["core/correlation"],
        "unit_s": 2.0,
    } | changed


def study(given: dict[str, Any], manager: Manager) -> Study:
    parts = {key: value for key, value in given.items() if key != "pipeline"}
    return Study(build(given["pipeline"], parts, manager), CTX)


def test_the_honest_pipeline_is_clean(manager: Manager) -> None:
    honest = config("honest")
    assert check_learning(honest, manager, CTX) == []
    assert check_support(honest, manager, CTX) == []
    assert check_metrics(honest, manager, CTX) == []


# 1. z-score over all data


def test_zscore_over_all_data_is_caught_by_canary_a(manager: Manager) -> None:
    step = {"use": "zscore_over_all_data/step", "data": TOY}
    [problem] = check_learning(config("zscore_over_all_data", encoder=[step]), manager, CTX)
    assert problem.startswith("leak: what is learned changes (encoder/0.mean_, encoder/0.sd_, decoder/")
    assert "when raw samples and stimuli of the test side are replaced: it reads them past its views" in problem


def test_a_dataset_scaled_as_a_whole_is_seen_by_its_exact_mean_and_sd(manager: Manager) -> None:
    scaled = {"use": "zscore_over_all_data/scaled", **TOY}
    [problem] = check_support(config("zscore_over_all_data", dataset=scaled), manager, CTX)
    assert problem.startswith("recording s0-r0 was scaled as a whole, test side included: mean 0 and SD 1")


# 2. best epoch on test


def test_best_epoch_on_test_is_caught_by_canary_a(manager: Manager) -> None:
    decoder = {"use": "best_epoch_on_test/descent", "data": TOY}
    [problem] = check_learning(config("best_epoch_on_test", decoder=decoder), manager, CTX)
    assert problem.startswith("leak: what is learned changes (decoder/weights_, predictions of validation) when raw")


# 3. teacher forcing at test


def test_teacher_forcing_at_test_finds_no_target_in_the_test_view(manager: Manager) -> None:
    forced = config("teacher_forcing_at_test", encoder=[{"use": "teacher_forcing_at_test/forced"}])
    some = study(forced, manager)
    fold = some.folds()[0]
    fitted = some.fit(fold, CTX)
    with pytest.raises(HubError, match="a test batch has no target 'features': nothing of the answer is shown"):
        fitted.predict(some.view(fold, "test", hidden=True))
    with pytest.raises(HubError, match="a test batch has no target 'features'"):
        check_learning(forced, manager, CTX)


# 4. windows over the boundary


def test_a_filter_over_the_boundary_is_caught_by_canary_b(manager: Manager) -> None:
    step = {"use": "windows_over_the_boundary/filter", "data": TOY}
    problems = check_support(config("windows_over_the_boundary", encoder=[step]), manager, CTX)
    assert problems == [
        f"leak: what the {side} view yields changes (features) when raw samples and stimuli of the test side are "
        "replaced"
        for side in ("train", "val")
    ]


def test_overlapping_windows_on_two_sides_are_caught_by_the_split(manager: Manager) -> None:
    windows = {"use": "windows_over_the_boundary/overlapping", **TOY}
    given = config("windows_over_the_boundary", dataset=windows, split={"by": "official"})
    some = study(given, manager)
    with pytest.raises(HubError, match="split by official: the train side of fold 0 is empty"):
        some.folds()
    sides = {s: tuple(t for t in some.trials if t.groups["split"] == s) for s in ("train", "val", "test")}
    with pytest.raises(HubError, match="train and val share seconds of brain"):
        check_fold(Fold(0, sides["train"], sides["val"], sides["test"], 0.0))


# 5. a stimulus interval repeated across the split


def test_a_stimulus_repeated_across_the_split_is_caught_by_the_split(manager: Manager) -> None:
    repeated = {"use": "stimulus_interval_repeated/repeated", **TOY, "repeats": 3}
    given = config("stimulus_interval_repeated", dataset=repeated, split={"by": "official"})
    some = study(given, manager)
    with pytest.raises(HubError, match="split by official: the train side of fold 0 is empty"):
        some.folds()
    sides = {s: tuple(t for t in some.trials if t.groups["split"] == s) for s in ("train", "val", "test")}
    with pytest.raises(HubError, match="train and val share a stimulus"):
        check_fold(Fold(0, sides["train"], sides["val"], sides["test"], 0.0))
    for fold in study(given | {"split": {"by": "stimulus", "folds": 3, "gap_s": 0.5}}, manager).folds():
        for a, b in itertools.combinations((fold.train, fold.val, fold.test), 2):
            assert not {t.stimulus for t in a} & {t.stimulus for t in b}


def test_a_stimulus_under_two_names_is_caught_by_what_it_holds(manager: Manager) -> None:
    renamed = {"use": "stimulus_interval_repeated/renamed", **TOY, "repeats": 3}
    problems = check_support(config("stimulus_interval_repeated", dataset=renamed), manager, CTX)
    assert problems
    assert all(problem.endswith("one stimulus needs one name") for problem in problems)
    assert problems[0].startswith("stimulus s0-r0-")
    assert "(test) is the same as s0-r0-" in problems[0]


# 6. block or time index as a feature


def test_a_block_index_as_a_feature_is_flagged_by_the_relabelled_control(manager: Manager, tmp_path: Path) -> None:
    dataset = {"static": True, "stimuli": 60, "classes": 6, "snr": 0.0, "seconds": 0.5}
    given = config(
        "block_index_as_a_feature",
        dataset={"use": "block_index_as_a_feature/blocks", **dataset},
        targets={"label": [{"use": "core/zscore"}]},
        decoder={"use": "honest/ridge", "lags_s": [0.0, 0.2], "alphas": [1.0]},
        window={"length_s": 0.5, "context_s": 0.3},
        split={"by": "stimulus", "folds": 3, "gap_s": 0.0},
        metrics=["honest/cosine"],
    )
    run = run_pipeline(given, Options(out=tmp_path, jobs=1), manager)
    assert run.metrics["flags"] == ["SIMULATED", "LEAK"]  # test_run: an honest run is not flagged
    assert run.metrics["controls"]["relabelled"]["cosine"] > 0.8


# 7. warm start from another fold


def test_a_warm_start_from_memory_is_caught_by_canary_a(manager: Manager) -> None:
    given = config("warm_start_from_another_fold", decoder={"use": "warm_start_from_another_fold/remembered"})
    problems = check_learning(given, manager, CTX)
    learned = "leak: what is learned changes (decoder/weights_, predictions of validation) when"
    assert problems[0] == f"{learned} the same fit is made again in one process: it remembers an earlier fit"
    assert any("when another fold was fitted before in the same run" in problem for problem in problems[1:])
    assert not any("not deterministic" in problem for problem in problems)


def test_a_warm_start_from_the_run_folder_is_caught_by_canary_a(manager: Manager) -> None:
    given = config("warm_start_from_another_fold", decoder={"use": "warm_start_from_another_fold/loaded"})
    [problem] = check_learning(given, manager, CTX)
    assert problem.startswith(
        "leak: what is learned changes (decoder/weights_, predictions of validation) when another"
    )
    assert problem.endswith("it starts from what that one learned")


# 8. a metric that counts ties


def test_a_metric_that_counts_ties_is_caught_by_its_own_check(manager: Manager) -> None:
    given = config("metric_that_counts_ties", metrics=["metric_that_counts_ties/top1", "core/correlation"])
    problems = check_metrics(given, manager, CTX)
    assert problems
    assert problems[0].startswith(
        "metric_that_counts_ties/top1: ties count as hits: a prediction of 0 for every unit scores 1, and"
    )
    assert all(problem.startswith("metric_that_counts_ties/top1") for problem in problems)
    assert check_metrics(given | {"metrics": ["metric_that_counts_ties/strict_top1"]}, manager, CTX) == []


@pytest.mark.parametrize("units", [2, 3, 40])
def test_honest_metrics_pass_and_a_wrong_sign_does_not(units: int) -> None:
    rng = np.random.default_rng(units)
    mel = rng.standard_normal((units, 60, 20)) - 4.0
    for metric in (Correlation(), MelCorrelationSpeech(), Mcd()):
        assert check_metric(metric, mel) == []

    class Wrong(Mcd):
        higher_is_better = True

    assert all("is higher_is_better right?" in problem for problem in check_metric(Wrong(), mel))
    assert check_metric(Wrong(), mel)


# 9. test labels in `groups`, read by the encoder


def test_labels_in_groups_are_not_shown_at_test(manager: Manager) -> None:
    told = config("labels_in_groups", encoder=[{"use": "labels_in_groups/told"}])
    some = study(told, manager)
    fold = some.folds()[0]
    fitted = some.fit(fold, CTX)
    with pytest.raises(HubError, match="a test trial does not show its group 'story': it may hold the answer"):
        fitted.predict(some.view(fold, "test", hidden=True))
    with pytest.raises(HubError, match="a test trial does not show its group 'story'"):
        check_learning(told, manager, CTX)


# 10. targets standardised with the test set


def test_targets_standardised_with_the_test_set_are_caught_by_canary_a(manager: Manager) -> None:
    scaler = {"use": "targets_standardised_with_the_test_set/scaler", "data": TOY}
    given = config("targets_standardised_with_the_test_set", targets={"features": [scaler]})
    [problem] = check_learning(given, manager, CTX)
    assert problem.startswith("leak: what is learned changes (target.features/0.mean_, target.features/0.sd_, ")
    assert "it reads them past its views" in problem

"""The verdict never claims more than the numbers do."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from braindecode_hub.verdict import amount, headline, judge, label, number, probability, reason, verdict

GOOD: dict[str, Any] = {
    "flags": [],
    "unit": {"name": "5 s block", "n": 12, "smallest_p": 0.0025},
    "test_looks": 1,
    "scores": {
        "mel_correlation": {
            "value": 0.61,
            "ci95": [0.55, 0.66],
            "chance": 0.0,
            "p": 0.005,
            "higher_is_better": True,
            "unit": "",
        }
    },
    "baselines": {"mean": {"mel_correlation": 0.0}, "ridge": {"mel_correlation": 0.61}},
    "controls": {"shuffled": {"mel_correlation": 0.01}, "noise": {"mel_correlation": -0.02}},
    "control_refits": {"shuffled": 3, "noise": 3},
    "differences": {},
    "reasons": {},
}


@pytest.fixture
def metrics() -> dict[str, Any]:
    """Numbers that allow the strongest claim."""
    return copy.deepcopy(GOOD)


@pytest.fixture
def score(metrics: dict[str, Any]) -> dict[str, Any]:
    """The one score of `metrics`."""
    return metrics["scores"]["mel_correlation"]  # type: ignore[no-any-return]


def test_the_strongest_claim_states_all_its_numbers(metrics: dict[str, Any]) -> None:
    assert judge(metrics).level == "above"
    assert verdict(metrics) == (
        "Decoded above chance: mel correlation 0.61 (95 % interval 0.55 to 0.66), chance 0.00, p = 0.005, "
        "12 units (5 s block); the linear baseline reaches 0.61."
    )


def test_no_p_is_not_tested(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    score["p"] = None
    metrics["reasons"]["scores.mel_correlation.p"] = "only one unit."
    assert judge(metrics).level == "none"
    assert verdict(metrics).startswith("Not tested against chance: ")
    assert "no p value (only one unit)" in verdict(metrics)


@pytest.mark.parametrize("p", [0.0501, 0.4, 1.0])
def test_p_above_the_threshold_is_no_evidence(metrics: dict[str, Any], score: dict[str, Any], p: float) -> None:
    score["p"] = p
    assert judge(metrics).level == "none"
    assert verdict(metrics).startswith("No evidence of decoding: ")
    assert "p = 0.05," not in verdict(metrics)


def test_p_at_the_threshold_counts(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    score["p"] = 0.05
    assert judge(metrics).level == "above"


def test_a_test_that_could_not_find_anything_says_so(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    score["p"] = metrics["unit"]["smallest_p"] = 0.2
    assert "could not have found any (smallest p attainable 0.2)" in verdict(metrics)


def test_worse_than_chance_is_no_evidence_whatever_p_says(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    score.update(value=-0.3, ci95=[-0.4, -0.2])
    assert judge(metrics).level == "none"
    assert "mel correlation −0.30" in verdict(metrics)


def test_a_leak_voids_everything(metrics: dict[str, Any]) -> None:
    metrics["flags"] = ["SIMULATED", "LEAK"]
    assert judge(metrics).level == "void"
    assert verdict(metrics).startswith("Not a result: ")
    assert "above chance" not in verdict(metrics)


def test_a_wrong_level_of_chance_voids_everything(metrics: dict[str, Any]) -> None:
    metrics["flags"] = ["CHANCE"]
    assert verdict(metrics).startswith("Not a result: the shuffled control beats the stated chance")


def test_a_dev_run_says_it_is_about_validation(metrics: dict[str, Any]) -> None:
    metrics["flags"] = ["DEV"]
    assert verdict(metrics).startswith("With validation scores only, decoded above chance")


def test_a_unit_is_printed_only_if_it_is_a_symbol() -> None:
    assert amount(5.314, {"unit": "dB"}) == "5.31 dB"
    assert amount(0.61, {"unit": "r"}) == "0.61"
    assert amount(0.31, {"unit": "1 of 50, 5 s each"}) == "0.31"


@pytest.mark.parametrize("n", [1, 6, 9, None])
def test_few_units_are_tentative(metrics: dict[str, Any], score: dict[str, Any], n: int | None) -> None:
    metrics["unit"]["n"] = n
    score["ci95"] = None
    assert judge(metrics).level == "tentative"
    assert verdict(metrics).startswith("Above chance, but tentatively: ")
    assert ("fewer than 10 units" in verdict(metrics)) == (n is not None)


def test_ten_units_without_an_interval_are_tentative(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    metrics["unit"]["n"], score["ci95"] = 10, None
    metrics["reasons"]["mel_correlation.ci95"] = "units overlap"
    assert judge(metrics).level == "tentative"
    assert "there is no interval (units overlap)" in verdict(metrics)


def test_an_interval_that_reaches_chance_is_tentative(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    score["ci95"] = [-0.01, 0.8]
    assert judge(metrics).level == "tentative"
    assert "the interval reaches chance" in verdict(metrics)


@pytest.mark.parametrize("broken", [{}, {"shuffled": {"mel_correlation": None}}, None])
def test_no_control_is_tentative(metrics: dict[str, Any], broken: Any) -> None:
    metrics["controls"] = broken
    assert judge(metrics).level == "tentative"
    assert "no control was run" in verdict(metrics)


def test_controls_with_few_refits_are_not_judged(metrics: dict[str, Any]) -> None:
    metrics["control_refits"] = {"shuffled": 3, "noise": 2}
    assert judge(metrics).level == "tentative"
    assert "too few refits to judge the noise control" in verdict(metrics)
    assert "shuffled" not in verdict(metrics)


def test_a_control_near_the_score_is_named(metrics: dict[str, Any]) -> None:
    metrics["controls"]["noise"]["mel_correlation"] = 0.5
    assert judge(metrics).level == "tentative"
    assert "the noise control reaches 0.50, more than half way from chance" in verdict(metrics)


def test_no_better_than_the_mean_is_tentative(metrics: dict[str, Any]) -> None:
    metrics["baselines"]["mean"]["mel_correlation"] = 0.61
    assert judge(metrics).level == "tentative"
    assert "predicting the mean does as well (0.61)" in verdict(metrics)


def test_a_baseline_that_is_better_is_said_to_be(metrics: dict[str, Any]) -> None:
    metrics["baselines"]["ridge"]["mel_correlation"] = 0.7
    assert "the linear baseline reaches 0.70, numerically better" in verdict(metrics)


@pytest.mark.parametrize(
    ("ends", "higher", "words"),
    [
        ([-0.12, -0.06], True, "and is better (paired difference −0.120 to −0.060)"),
        ([0.06, 0.12], True, "and is worse (paired difference 0.060 to 0.120)"),
        ([-0.12, -0.06], False, "and is worse"),
        ([0.06, 0.12], False, "and is better"),
        ([-0.004, 0.01], True, "no clear difference (paired difference −0.004 to 0.010)"),
        ([0.0, 0.01], True, "no clear difference"),
    ],
)
def test_the_paired_difference_decides(
    metrics: dict[str, Any], score: dict[str, Any], ends: list[float], higher: bool, words: str
) -> None:
    score["higher_is_better"] = higher
    metrics["differences"] = {"pipeline-ridge": {"mel_correlation": {"value": 0.0, "ci95": ends}}}
    score.update({} if higher else {"chance": 1.0})
    assert words in verdict(metrics)


def test_no_baseline_is_said(metrics: dict[str, Any]) -> None:
    metrics["baselines"] = {"ridge": None}
    metrics["reasons"] = {"baselines.ridge": "--no-baseline"}
    assert "no linear baseline beside it (--no-baseline)" in verdict(metrics)


def test_an_oracle_that_is_better_is_named(metrics: dict[str, Any]) -> None:
    metrics["baselines"]["loudness_oracle"] = {"mel_correlation": 0.72}
    assert "the loudness oracle reaches 0.72" in verdict(metrics)


def test_lower_can_be_better(metrics: dict[str, Any], score: dict[str, Any]) -> None:
    score.update(value=5.3, chance=8.9, ci95=[5.0, 5.7], higher_is_better=False, unit="dB")
    metrics["baselines"] = {"mean": {"mel_correlation": 8.1}, "ridge": {"mel_correlation": 5.4}}
    metrics["controls"] = {"shuffled": {"mel_correlation": 8.8}}
    assert judge(metrics).level == "above"
    assert "5.30 dB" in verdict(metrics)
    score["value"] = 9.5
    assert judge(metrics).level == "none"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", True])
def test_a_value_that_is_none_is_no_result(metrics: dict[str, Any], score: dict[str, Any], value: Any) -> None:
    score["value"] = value
    metrics["reasons"]["scores.mel_correlation"] = "the fit was interrupted"
    assert verdict(metrics) == ("No result: mel correlation was not computed (the fit was interrupted).")


@pytest.mark.parametrize("empty", [{}, {"scores": {}}, {"scores": None}, {"scores": {"x": None}}])
def test_nothing_scored_is_no_result(empty: dict[str, Any]) -> None:
    assert verdict(empty).startswith("No result: ")


@pytest.mark.parametrize(("looks", "words"), [(7, "scored 7 times"), (0, "was not looked at")])
def test_looks_at_the_test_side_are_told(metrics: dict[str, Any], looks: int, words: str) -> None:
    metrics["test_looks"] = looks
    assert f"the test side {'was ' if looks else ''}{words}" in verdict(metrics)


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"simulated": True}, "With simulated data, decoded above chance: "),
        ({"flags": ["SIMULATED", "CLOSED_SET"]}, "With simulated data and a closed set of targets, decoded"),
        (
            {"flags": ["UNVERIFIED"], "closed_set": True, "simulated": True},
            "With simulated data, a closed set of targets and an unverified loader, decoded",
        ),
    ],
)
def test_the_kind_of_data_comes_first(metrics: dict[str, Any], given: dict[str, Any], start: str) -> None:
    metrics.update(given)
    assert verdict(metrics).startswith(start)


@pytest.mark.parametrize("missing", sorted(GOOD))
@pytest.mark.parametrize("gone", [True, False])
def test_any_part_may_be_missing_or_null(metrics: dict[str, Any], missing: str, gone: bool) -> None:
    if gone:
        del metrics[missing]
    else:
        metrics[missing] = None
    sentence = verdict(metrics)
    assert sentence.endswith(".")
    assert not re.search(r"None|nan|\(\)", sentence)


@pytest.mark.parametrize("missing", sorted(GOOD["scores"]["mel_correlation"]))
def test_any_field_of_a_score_may_be_null(metrics: dict[str, Any], score: dict[str, Any], missing: str) -> None:
    score[missing] = None
    assert not re.search(r"None|nan", verdict(metrics))


def test_the_headline_is_the_one_asked_for_or_the_first_with_a_value() -> None:
    scores = {"a": {"value": None}, "b": {"value": 0.1}, "c": {"value": 0.9}}
    assert headline({"scores": scores}) == "b"
    assert headline({"scores": scores}, "c") == "c"
    assert headline({"scores": scores}, "unknown") == "b"
    assert headline({"scores": {"a": {"value": None}}}) == "a"
    assert headline({}) is None


def test_the_most_specific_reason_wins() -> None:
    metrics = {"reasons": {"scores": "all", "scores.a.p": "exact", "noise": "no recording"}}
    assert reason(metrics, "scores", "a", "p") == "exact"
    assert reason(metrics, "scores", "a", "ci95") == "all"
    assert reason(metrics, "controls", "noise", "a") == "no recording"
    assert reason(metrics, "ceiling", "a") is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (-0.001, "0.00"), (-0.5, "−0.50"), (0.999, "1.00"), (12345.6, "12346")]
)
def test_numbers_are_printed_without_a_negative_zero(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0504, "0.0504"), (0.0496, "0.0496"), (0.005, "0.005"), (0.0123, "0.012"), (1.0, "1")]
)
def test_no_p_is_rounded_across_the_threshold(p: float, text: str) -> None:
    assert probability(p) == text


def test_names_are_prose() -> None:
    assert [label(name) for name in ("mel_correlation", "mcd", "n_way_2")] == [
        "mel correlation",
        "MCD",
        "N way 2",
    ]

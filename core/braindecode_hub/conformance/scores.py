"""The Metric contract: a perfect prediction is best, a constant one is at chance, ties are no hits, NaN never."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from braindecode_hub import metric_checks
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Metric
from braindecode_hub.manager import Registered
from braindecode_hub.scoring import cut_units
from braindecode_hub.types import Array

UNITS, FRAMES, BINS, WIDTH = 12, 100, 8, 16
SOUND_S = 1.5
SHARE = 0.5
"""How much of the way from chance to perfect a constant prediction may score."""


def check_metric(subject: Subject, entry: Registered) -> None:
    """One finite score a unit, the same again; perfect is best and noise is worse, as `higher_is_better` says."""
    metric, target = _tried(subject, entry)
    none_of(_wrong_scores(metric, target), "return (units,) finite numbers for any finite input, silence included")
    sign = 1.0 if metric.higher_is_better else -1.0
    perfect = sign * _mean(metric, target, target)
    noise = _noise(target)
    little, much = (sign * _mean(metric, target, target + amount * noise) for amount in (0.3, 10.0))
    other = sign * _mean(metric, target, np.roll(target, 1, axis=0))
    word = f"higher_is_better is {metric.higher_is_better}"
    if not (perfect >= max(little, much, other) - 1e-9 and perfect > min(much, other)):
        raise Unconforming(
            f"{word}, and a perfect prediction scores {sign * perfect:.3g}, noise {sign * much:.3g}, another unit's "
            f"target {sign * other:.3g}",
            "nothing may score better than the target itself: correct the score, or higher_is_better",
        )
    if much > little + 1e-9:
        raise Unconforming(
            f"{word}, and much noise scores {sign * much:.3g}, little noise {sign * little:.3g}",
            "a worse prediction must score worse: correct the score, or higher_is_better",
        )


def check_constant(subject: Subject, entry: Registered) -> None:
    """A constant prediction scores near mismatched pairs, not near a perfect one."""
    metric, target = _tried(subject, entry)
    perfect, chance = _ends(metric, target)
    if _compares(metric, target, perfect - chance):
        raise NothingToTest(f"its units are one another's candidates: see ties-{entry.name}")
    mean = np.broadcast_to(target.mean(axis=tuple(range(target.ndim - 1))), target.shape)
    for name, constant in (("nothing but zeros", np.zeros_like(target)), ("the mean", np.array(mean))):
        share = (_mean(metric, target, constant) - chance) / (perfect - chance or 1.0)
        if share > SHARE:
            raise Unconforming(
                f"predicting {name} goes {share:.0%} of the way from chance ({chance:.3g}) to perfect ({perfect:.3g})",
                "correlate over time within each bin, and score what does not vary 0: braindecode_hub.metrics",
            )


def check_ties(subject: Subject, entry: Registered) -> None:
    """Where units are one another's candidates, tied ones are no hits: breaking the ties by a hair costs nothing."""
    metric, target = _tried(subject, entry)
    perfect, chance = _ends(metric, target)
    if not _compares(metric, target, perfect - chance):
        raise NothingToTest("it scores each unit by itself, and tells no candidates apart")
    none_of(
        metric_checks.check_metric(metric, target),
        "count only candidates that are strictly worse: braindecode_hub.metrics",
    )


def _wrong_scores(metric: Metric, target: Array) -> Iterator[str]:
    quiet = np.zeros_like(target)
    flat = np.array(np.broadcast_to(target[:, :1], target.shape)) if target.ndim > 2 else quiet
    pairs = {
        "a perfect prediction": (target, target),
        "a constant prediction": (target, quiet),
        "a constant target": (flat, target),
        "two constants": (quiet, quiet),
        "one unit": (target[:1], target[1:2]),
        "a loud prediction": (target, 1e3 * target),
    }
    for name, (true, made) in pairs.items():
        before = true.copy(), made.copy()
        try:
            scores = np.asarray(metric.per_unit(true, made))
        except HubError as error:
            yield f"{name} raises: {error.cause}"
            continue
        if scores.shape != (len(true),) or scores.dtype.kind not in "fiub":
            yield f"{name} gives {scores.dtype} of shape {scores.shape} for {len(true)} units"
        elif not np.isfinite(scores).all():
            yield f"{name} gives NaN or infinity"
        elif not np.array_equal(scores, np.asarray(metric.per_unit(true, made))):
            yield f"{name}, scored twice, differs"
        if not (np.array_equal(before[0], true) and np.array_equal(before[1], made)):
            yield f"{name} is changed by per_unit()"


def _tried(subject: Subject, entry: Registered) -> tuple[Metric, Array]:
    """Return the metric and target units that it takes: the smoke preset's own, else made-up ones."""
    metric: Metric = subject.make(entry)

    def units() -> Array:
        place = subject.place(entry)
        if place is not None and metric.needs == "prediction":
            study, fold = subject.fold(place[0])
            name = next(iter(study.pipeline.targets)) if metric.space == "*" else metric.space
            items = study.scored(fold, "train", study.truth(fold, "train"), study.truth(fold, "train"))[name]
            found = cut_units(items, study.rate(name), study.pipeline.unit_s).target[:UNITS]
            if len(found) > 2:
                return found
        for made in _made_up(metric):
            try:
                metric.per_unit(made, made)
            except (HubError, ValueError, IndexError) as error:
                why = error
                continue
            return made
        raise NothingToTest(f"it takes no made-up units, and no smoke preset uses it: {why}")

    return metric, subject.once(("units", entry.name), units)


def _made_up(metric: Metric) -> Iterator[Array]:
    """Yield units that a metric may take: sound, pictures, frames of a few bins, or vectors; float32."""
    rng = np.random.default_rng(0)
    if metric.needs == "media" and metric.media_rate:
        times = np.arange(round(SOUND_S * metric.media_rate)) / metric.media_rate
        beats = 1.0 + np.sin(2 * np.pi * (times * rng.uniform(2, 6, (UNITS, 1)) + rng.random((UNITS, 1))))
        yield (0.1 * beats * rng.standard_normal(beats.shape)).astype(np.float32)
        return
    if metric.needs == "media":
        yield rng.random((UNITS, 32, 32, 3)).astype(np.float32)
        yield rng.random((UNITS, 6, 32, 32, 3)).astype(np.float32)
        return
    white = rng.standard_normal((UNITS, FRAMES + 4, BINS))
    yield (sum(white[:, k : k + FRAMES] for k in range(5)) / np.sqrt(5)).astype(np.float32)
    yield rng.standard_normal((UNITS, WIDTH)).astype(np.float32)


def _compares(metric: Metric, target: Array, span: float) -> bool:
    """Return whether a unit is told from other units: then its score changes when a rival leaves."""
    between = np.array(target)
    between[0] = 0.45 * target[0] + 0.55 * target[1]
    without = np.array(target)
    without[1] = target[2]
    scores = [float(np.asarray(metric.per_unit(one, between))[0]) for one in (target, without)]
    return abs(scores[0] - scores[1]) > 0.25 * abs(span)


def _ends(metric: Metric, target: Array) -> tuple[float, float]:
    """Return the scores of a perfect prediction and of mismatched pairs."""
    shifts = [_mean(metric, target, np.roll(target, shift, axis=0)) for shift in range(1, len(target))]
    return _mean(metric, target, target), float(np.mean(shifts))


def _mean(metric: Metric, target: Array, predicted: Array) -> float:
    return float(np.mean(metric.per_unit(target, np.asarray(predicted, target.dtype))))


def _noise(target: Array) -> Array:
    return np.random.default_rng(2).standard_normal(target.shape) * (float(target.std()) or 1.0)

"""Is a metric honest? Ties are no hits, a perfect prediction beats a constant one, and every unit has a score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braindecode_hub import scoring
from braindecode_hub.interfaces import Metric
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import Config, build, pipeline_part
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Context

HAIR = 1e-6
"""Ties are broken by noise of this size, in SDs of the target."""
DRAWS = 10
"""Times that they are broken."""
SLACK = 0.05
"""What a tie may add, as a share of the way from chance to a perfect score."""
MOST = 16
"""Units of the training side that are scored."""


def check_metric(metric: Metric, target: Array) -> list[str]:
    """Return what is wrong with a metric, a line each; [] if nothing is.

    target: (units, …) true values as the metric gets them, two units or more that differ. A constant prediction
    must not score better than the same one with its ties broken by a hair of noise: a tie counted as a hit does.
    A perfect prediction must score better than every constant one. Each unit gets a finite score.
    """
    target = np.asarray(target, np.float32)
    sign = 1.0 if metric.higher_is_better else -1.0
    perfect = np.asarray(metric.per_unit(target, target.copy()), np.float64)
    if perfect.shape != (len(target),) or not np.isfinite(perfect).all():
        return [f"scores of shape {perfect.shape} for {len(target)} units, or not finite: give one number for each"]
    found = []
    rng = np.random.default_rng(0)
    for name, constant in _constants(target).items():
        hair = HAIR * max(float(target.std()), 10.0 * float(np.abs(constant).max()))
        noise = hair * rng.standard_normal((DRAWS, *target.shape))
        score = sign * float(np.mean(metric.per_unit(target, constant)))
        broken = [sign * float(np.mean(metric.per_unit(target, np.float32(constant + one)))) for one in noise]
        if not np.isfinite([score, *broken]).all():
            found.append(f"{name} for every unit has a score that is not finite")
            continue
        best, chance = sign * float(perfect.mean()), float(np.mean(broken))
        if score > chance + 3.0 * float(np.std(broken)) / DRAWS**0.5 + SLACK * abs(best - chance):
            found.append(
                f"ties count as hits: {name} for every unit scores {sign * score:.3g}, and {sign * chance:.3g} when "
                "its ties are broken by a hair"
            )
        if score >= best and not np.array_equal(constant, target):
            found.append(
                f"{name} for every unit scores {sign * score:.3g}, and a perfect prediction no better "
                f"({sign * best:.3g}): is higher_is_better right?"
            )
    return found


def check_metrics(config: Config, manager: Manager, ctx: Context) -> list[str]:
    """Check every metric of a resolved configuration on the true targets of training; problems, [] is clean.

    Metrics of rendered media are left out: what they are fed depends on a renderer. Raises HubError where the data
    cannot be read.
    """
    pipeline = build(str(config["pipeline"]), pipeline_part(config), manager)
    pipeline.dataset.prepare(ctx)
    study = Study(pipeline, ctx, subjects=(config.get("run") or {}).get("subjects"))
    fold = study.folds()[0]
    truth = study.truth(fold, "train")
    items = study.scored(fold, "train", truth, truth)
    found = []
    for part, metric in zip(config.get("metrics") or [], pipeline.metrics, strict=True):
        if metric.needs == "prediction":
            target = next(iter(items)) if metric.space == "*" else metric.space
            units = scoring.cut_units(items[target], study.rate(target), pipeline.unit_s)
            use = part if isinstance(part, str) else part["use"]
            found += [f"{use}: {line}" for line in check_metric(metric, units.target[:MOST])]
    return found


def _constants(target: Array) -> Mapping[str, Array]:
    mean = target.mean(axis=0, dtype=np.float64)
    return {
        "a prediction of 0": np.zeros_like(target),
        "a prediction of 1": np.ones_like(target),
        "the mean over units": np.broadcast_to(mean, target.shape).astype(np.float32),
        "the mean over everything": np.full_like(target, target.mean(dtype=np.float64)),
    }

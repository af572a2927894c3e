"""What is scored beside a pipeline, on the same units: the training mean, a linear baseline, the oracle's ceiling."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from braindecode_hub.chain import Chain
from braindecode_hub.controls import Oracle
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.interfaces import Decoder
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.results import Beside
from braindecode_hub.splits import Fold, Side
from braindecode_hub.study import Study
from braindecode_hub.types import Context

ORACLE_LAGS_S = (-0.12, 0.12)


def predictions(study: Study, folds: Sequence[Fold]) -> int:
    """Count what is scored on the test side: the pipeline, the mean, the baseline, the oracle."""
    return 2 + (study.pipeline.baseline is not None) + _has_oracle(study, folds)


def compare(
    study: Study, folds: Sequence[Fold], side: Side, items: Items, judge: Judge, ctx: Context, baseline: str
) -> Beside:
    """Score what stands beside `items`, the pipeline's own predictions; `baseline` names the linear one."""
    beside = Beside()
    beside.baselines["mean"] = judge.values(judge.mean(items))
    if study.pipeline.baseline is not None:
        linear = _refit_with(study, folds, side, ctx, study.pipeline.baseline, None)
        beside.baselines[baseline] = judge.values(linear)
    beside.baselines |= judge.references(items)
    if _has_oracle(study, folds):
        oracle = Oracle(study.pipeline.dataset)
        beside.ceiling = judge.values(_refit_with(study, folds, side, ctx, Ridge(lags_s=ORACLE_LAGS_S), oracle))
    return beside


def _has_oracle(study: Study, folds: Sequence[Fold]) -> bool:
    return study.pipeline.dataset.oracle(folds[0].train[0].recording) is not None


def _refit_with(
    study: Study, folds: Sequence[Fold], side: Side, ctx: Context, decoder: Decoder, oracle: Oracle | None
) -> Items:
    """Fit another decoder on the same views, from the continuous part of the chain (or the oracle's sources)."""
    chain = None if oracle is None else Chain()
    silent = dataclasses.replace(ctx, out=None, log=lambda event: None)
    items: Items = {}
    for fold in folds:
        for group in study.groups():
            part = study.of_group(fold, group)
            train, val = (study.view(part, one, oracle, chain) for one in ("train", "val"))  # type: ignore[arg-type]
            fitted = study.fit_views(train, val, silent, type(decoder)(**decoder.configuration()), Chain())
            predicted = fitted.predict(study.view(part, side, oracle, chain, hidden=True))
            for target, some in study.scored(part, side, predicted, study.truth(part, side)).items():
                items.setdefault(target, []).extend(some)
    return items

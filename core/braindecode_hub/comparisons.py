"""What is scored beside a pipeline, on the same units: the training mean, other decoders, the oracle's ceiling."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from braindecode_hub.chain import Chain
from braindecode_hub.controls import Oracle
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.interfaces import Decoder
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.pipeline import short
from braindecode_hub.refits import predict_side
from braindecode_hub.results import Beside
from braindecode_hub.scoring import Scored
from braindecode_hub.splits import Fold, Side
from braindecode_hub.study import Study
from braindecode_hub.types import Context

ORACLE_LAGS_S = (-0.12, 0.12)


def predictions(study: Study, folds: Sequence[Fold]) -> int:
    """Count what is scored on the test side: the pipeline, the mean, the other decoders, the untrained, the oracle."""
    untrained = study.pipeline.decoder.untrained() is not None
    return 2 + len(others(study)) + untrained + _has_oracle(study, folds)


def others(study: Study) -> dict[str, Decoder]:
    """Return the decoders that stand beside the pipeline's by name: the linear baseline first."""
    pipeline = study.pipeline
    linear = {} if pipeline.baseline is None else {short(pipeline.config["baseline"]): pipeline.baseline}
    return linear | pipeline.beside


def compare(study: Study, folds: Sequence[Fold], side: Side, items: Items, judge: Judge, ctx: Context) -> Beside:
    """Score what stands beside `items`, the pipeline's own predictions."""
    beside = Beside()
    beside.baselines["mean"] = judge.values(judge.mean(items))
    for name, decoder in others(study).items():
        why = no_fit(study, folds, decoder)
        if why is None:
            beside.baselines[name] = judge.values(_refit_with(study, folds, side, ctx, decoder, None, items))
        else:
            beside.missing[name] = why
    untrained = study.pipeline.decoder.untrained()
    if untrained is not None:
        beside.baselines["untrained"] = judge.values(_untrained(study, folds, side, ctx, untrained, items))
    beside.baselines |= judge.references(items)
    if _has_oracle(study, folds):
        oracle = Oracle(study.pipeline.dataset)
        known = _refit_with(study, folds, side, ctx, Ridge(lags_s=ORACLE_LAGS_S), oracle, items)
        beside.ceiling = judge.values(known)
    return beside


def no_fit(study: Study, folds: Sequence[Fold], decoder: Decoder) -> str | None:
    """Say why a decoder cannot be fitted beside the pipeline: a subject that it must know has no training side."""
    for fold in folds:
        for group in study.groups(decoder):
            sides = (fold.train, fold.val)
            if any(not any(trial.groups.get("subject", "") in group for trial in side) for side in sides):
                return "it is fitted for each subject, and the split leaves whole subjects out"
    return None


def in_order(items: Sequence[Scored], like: Sequence[Scored]) -> list[Scored]:
    """Return items in the order of others of the same trials, whichever fits they come from."""

    def keyed(some: Sequence[Scored]) -> list[tuple[Any, ...]]:
        seen: Counter[tuple[Any, ...]] = Counter()
        keys = []
        for one in some:
            key = (one.name.split("-")[1], one.subject, one.stimulus, one.start)
            keys.append((*key, seen[key]))
            seen[key] += 1
        return keys

    places = {key: place for place, key in enumerate(keyed(items))}
    return [items[places[key]] for key in keyed(like)]


def _has_oracle(study: Study, folds: Sequence[Fold]) -> bool:
    return study.pipeline.dataset.oracle(folds[0].train[0].recording) is not None


def _refit_with(
    study: Study,
    folds: Sequence[Fold],
    side: Side,
    ctx: Context,
    decoder: Decoder,
    oracle: Oracle | None,
    like: Items,
) -> Items:
    """Fit another decoder on the same views, behind all of the chain but what is trained jointly (or on the oracle)."""
    chain = None if oracle is None else Chain()
    groups = study.groups(decoder)
    if oracle is not None and no_fit(study, folds, decoder) is not None:
        everybody = [subject for group in groups for subject in group]
        groups = [everybody]  # the sources are the same in all: what some of them tell holds for those left out

    def predicted(part: Fold, fit: str) -> Items:
        train, val = (study.view(part, one, oracle, chain) for one in ("train", "val"))  # type: ignore[arg-type]
        steps = Chain() if oracle is not None else study.fitted_steps()
        fitted = study.fit_views(train, val, _silent(ctx), decoder.fresh(), steps)
        made = fitted.predict(study.view(part, side, oracle, chain, hidden=True))
        return study.scored(part, side, made, study.truth(part, side), fit)

    return _gathered(study, folds, groups, predicted, like)


def _untrained(study: Study, folds: Sequence[Fold], side: Side, ctx: Context, decoder: Decoder, like: Items) -> Items:
    """Put the pipeline's untrained decoder behind its own encoder, and predict with it."""

    def predicted(part: Fold, fit: str) -> Items:
        fitted = study.fit(part, _silent(ctx), decoder=decoder.fresh())
        return predict_side(study, part, fitted, side, fit=fit)

    return _gathered(study, folds, study.groups(decoder), predicted, like)


def _gathered(
    study: Study,
    folds: Sequence[Fold],
    groups: Sequence[Sequence[str]],
    predicted: Callable[[Fold, str], Items],
    like: Items,
) -> Items:
    """Return what is predicted of every fold and group of subjects, in the order of what it is compared with."""
    items: Items = {}
    for fold in folds:
        for group in groups:
            part = study.of_group(fold, group)
            for target, some in predicted(part, f"fold-{fold.number}/{group[0]}").items():
                items.setdefault(target, []).extend(some)
    return {target: in_order(some, like[target]) for target, some in items.items()}


def _silent(ctx: Context) -> Context:
    return dataclasses.replace(ctx, out=None, log=lambda event: None)

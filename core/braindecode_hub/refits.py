"""One refit of a pipeline on data that must not be decodable: a job that any process can do."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.controls import Noise, relabel, shuffle_targets
from braindecode_hub.environment import context
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.fitted import Fitted
from braindecode_hub.interfaces import Dataset
from braindecode_hub.lazy import Joined
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import build, pipeline_part
from braindecode_hub.splits import Fold, Side
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Context

_studies: dict[str, Study] = {}


def study_of(config: Mapping[str, Any], cache: str | None, seed: int, device: str) -> Study:
    """Return the study of a run's configuration, built once in each process."""
    key = json.dumps([config, cache, seed, device], sort_keys=True)
    if key not in _studies:
        manager = Manager()
        pipeline = build(config["pipeline"], pipeline_part(dict(config)), manager)
        kept = Cache(Path(cache) if cache else None)
        ctx = context(seed=seed, device=device, cache=kept, manager=manager, network=False)
        pipeline.dataset.prepare(ctx)
        remember(config, cache, seed, device, Study(pipeline, ctx, subjects=config["run"]["subjects"]))
    return _studies[key]


def remember(config: Mapping[str, Any], cache: str | None, seed: int, device: str, study: Study) -> None:
    """Keep a built study for the refits of this process; only the newest is kept."""
    _studies.clear()
    _studies[json.dumps([config, cache, seed, device], sort_keys=True)] = study


def refit(
    *, config: dict[str, Any], cache: str | None, seed: int, device: str, fold: int, kind: str, number: int
) -> dict[str, dict[str, float]]:
    """Fit and score one control on one fold: the mean over units of every score, and its own chance."""
    study = copy.copy(study_of(config, cache, seed, device))
    ctx = Context(seed=_seed(seed, kind, number), device=device, cache=study.brain_cache, network=False)
    rng = ctx.rng("control")
    dataset: Dataset = study.pipeline.dataset
    trials = study.trials
    change = None
    if kind == "shuffled":
        change = lambda view: shuffle_targets(view, rng)  # noqa: E731
    elif kind == "relabelled":
        study.stimulus_cache = Cache(None)
        trials = relabel(trials, rng)
    else:
        study.brain_cache = Cache(None)
        dataset = Noise(dataset, ctx, number)
    whole = study.folds(trials)[fold]
    items: Items = {}
    for group in study.groups():
        part = study.of_group(whole, group)
        fitted = study.fit(part, ctx, dataset, change, control=True)
        for target, some in predict_side(study, part, fitted, "test", dataset).items():
            items.setdefault(target, []).extend(some)
    judge = Judge(study, training_targets(study, whole), seed)
    scores = {name: float(np.mean(values)) for name, values in judge.values(items, media=False).items()}
    return {"scores": scores, "chance": judge.chances(items)}


def predict_side(
    study: Study, fold: Fold, fitted: Fitted, side: Side, dataset: Dataset | None = None, fit: str = ""
) -> Items:
    """Predict a side whose targets are hidden, and only then look at the truth, and place it in the learned space."""
    predictions = fitted.predict(study.view(fold, side, dataset, hidden=True))
    truth: list[dict[str, Array]] = study.truth(fold, side)
    if fitted.decoder.learned_space is not None:
        main, window = next(iter(study.pipeline.targets)), study.window()
        truth = [one | fitted.embed(one[main], main, window, study.rate(main) or 0.0) for one in truth]
    return study.scored(fold, side, predictions, truth, fit)


def training_targets(study: Study, *folds: Fold) -> dict[str, Array]:
    """Return the training targets of folds, (frames, …), by target; those that run in time are not read."""
    found: dict[str, Array] = {}
    for name in study.pipeline.targets:
        parts = [study.training_targets(fold, name) for fold in folds]
        found[name] = np.concatenate(parts) if study.rate(name) is None else Joined(parts)
    return found


def jobs_for(kinds: Sequence[str], refits: int) -> list[tuple[str, int]]:
    """Return every (kind, number) of the controls, interleaved, so that each is judged early."""
    return [(kind, number) for number in range(refits) for kind in kinds]


def _seed(seed: int, kind: str, number: int) -> int:
    return int(Context(seed=seed).rng("control", kind, number).integers(2**31))

"""A run's fit, predictions, first refits and first rendering again, hashed piece by piece, to be compared with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from braindecode_hub import refits
from braindecode_hub.cache import Cache
from braindecode_hub.environment import context
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.files import load_arrays
from braindecode_hub.fitted import STATE
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import build, pipeline_part
from braindecode_hub.refits import predict_side, training_targets
from braindecode_hub.rendering import EXCERPT_S, excerpts, render_items
from braindecode_hub.retrieved import look_up
from braindecode_hub.runfolder import Run
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.types import Array

Pieces = dict[str, str]
"""A hash by what it is of: "learned decoder/weights_", "predicted fold-0-01-000/mel", "score mel_correlation" …"""


def pieces_of(run: Run) -> Pieces:
    """Return the hashes of what a finished run's folder holds of its first fold and first refits."""
    found: Pieces = {"split": _hash(run.split["folds"][0])}
    for path in sorted((run.path / "fold-0").glob(f"*{STATE}")):
        arrays, info = load_arrays(path)
        for name, value in {**arrays, **info["values"]}.items():
            found[f"learned {path.name.removesuffix(STATE)} {name}"] = _hash(value)
    for name, array in load_arrays(run.path / "predictions.safetensors")[0].items():
        found[f"predicted {name}"] = _hash(array)
    for name, array in load_arrays(run.path / "details.safetensors")[0].items():
        if name.startswith("units/") and name.count("/") == 1:
            found[f"score {name.removeprefix('units/')}"] = _hash(array)
    for path in sorted((run.path / "fold-0" / "controls").glob("*-000.json")):
        found[f"control {path.stem}"] = _hash(json.loads(path.read_text("utf-8")))
    for path in run.artifacts():
        found[f"media {path.name}"] = _hash(path.read_bytes())
    return found


def replay(config: dict[str, Any], folder: str, kinds: list[str]) -> Pieces:
    """Do again what a run of `config` (its config.yaml) did, from nothing; returns hashes as `pieces_of` does.

    What costs most is left out: all refits but the first of each of `kinds`, metrics of rendered media, and all but
    one rendering. `folder`: an empty one, for a cache of its own and what is rendered.
    """
    manager = Manager()
    with threadpool_limits(1):
        pipeline = build(config["pipeline"], pipeline_part(config), manager)
        cache = str(Path(folder) / "cache")
        ctx = context(seed=0, device="cpu", cache=Cache(Path(cache)), manager=manager, network=False)
        pipeline.dataset.prepare(ctx)
        study = Study(pipeline, ctx)
        fold = study.folds()[0]
        found: Pieces = {"split": _hash(fold.as_data())}
        items = _fitted(study, fold, found)
        judge = Judge(study, training_targets(study, fold), 0)
        found |= {f"score {name}": _hash(values) for name, values in judge.values(items, media=False).items()}
        refits.remember(config, cache, 0, "cpu", study)
        for kind in kinds:
            told = refits.refit(config=config, cache=cache, seed=0, device="cpu", fold=0, kind=kind, number=0)
            found[f"control {kind}-000"] = _hash(told)
        for path in _media(study, judge, items, Path(folder) / "media"):
            found[f"media {path.name}"] = _hash(path.read_bytes())
    return found


def _media(study: Study, judge: Judge, items: Items, folder: Path) -> list[Path]:
    """Render what a run renders: one excerpt of it, or all that is retrieved."""
    if study.pipeline.renderer is not None and study.pipeline.renderer.retrieves:
        return look_up(study, judge, items, folder, study.ctx).files
    first = {name: some[:1] for name, some in excerpts(items).items()}
    return render_items(study, first, folder, study.ctx, seconds=EXCERPT_S)


def _fitted(study: Study, fold: Fold, found: Pieces) -> Items:
    """Fit and predict every group of the fold, and hash what was learned and predicted."""
    items: Items = {}
    for group in study.groups():
        part = study.of_group(fold, group)
        fitted = study.fit(part, study.ctx)
        name = (group[0] or "all") if len(group) == 1 else "all"
        arrays, values = fitted.state()
        found |= {f"learned {name} {key}": _hash(value) for key, value in {**arrays, **values}.items()}
        if fitted.renderer is not None:
            study.renderers[f"fold-{fold.number}/{group[0]}"] = fitted.renderer
        for target, some in predict_side(study, part, fitted, "test", fit=f"fold-{fold.number}/{group[0]}").items():
            items.setdefault(target, []).extend(some)
    for target, some in items.items():
        for one in some:
            found[f"predicted {one.name}/{target}/target"] = _hash(one.target)
            found[f"predicted {one.name}/{target}/predicted"] = _hash(one.predicted)
    return items


def _hash(value: Array | bytes | Any) -> str:
    if isinstance(value, np.ndarray):
        head = f"{value.dtype} {value.shape}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

"""What a run writes down on its way: split, what it is made of, fits, predictions. Nothing that is not finite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Items
from braindecode_hub.facts import facts_of
from braindecode_hub.files import load_arrays, save_arrays, write_whole
from braindecode_hub.fitted import STATE, Fitted, unfitted
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.types import Array
from braindecode_hub.version import __version__


def as_json(data: Any) -> str:
    """Return data as JSON text; numpy's scalars are numbers, NaN is a ValueError."""
    return json.dumps(data, indent=1, allow_nan=False, default=_plain) + "\n"


def read_mapping(path: Path) -> dict[str, Any] | None:
    """Return the mapping in a JSON file of this run; None if it is not there, or damaged."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def split_record(study: Study, folds: Sequence[Fold]) -> dict[str, Any]:
    """Return what `split.json` holds: the rules, and the trials of each side of each fold."""
    split = study.split
    coded = {name: code for name, code in study.codes.items() if name != code}
    return ({"codes": coded} if coded else {}) | {
        "by": list(split.by),
        "gap_s": split.gap_s,
        "closed_set": split.closed_set,
        "seed": split.seed,
        "rules": [
            "no trial, second of brain or stimulus interval stands on two sides",
            f"{split.gap_s:g} s are purged between sides of a recording; validation is purged from both",
        ],
        "folds": [fold.as_data() for fold in folds],
    }


def check_unchanged(run: Path, study: Study) -> None:
    """Refuse to go on with what other data or other versions began; note what this run is made of."""
    path, made = run / "made-of.json", _made_of(study)
    known = read_mapping(path)
    if known is None:
        write_whole(path, as_json(made))
    elif known != made:
        what = "the data" if known.get("dataset") != made["dataset"] else "the software"
        raise HubError(f"{what} changed since {run.name} began", "run without --resume")


def fit_file(run: Path, study: Study, fold: Fold, group: Sequence[str]) -> Path:
    """Return the file of one fit: named by its subject, or "all"."""
    name = (study.codes.get(group[0], "") or "all") if len(group) == 1 else "all"
    return run / f"fold-{fold.number}" / f"{name}{STATE}"


def load_fit(path: Path, study: Study) -> Fitted:
    """Return the fit that `save_fit` wrote."""
    arrays, info = load_arrays(path)
    fitted = unfitted(study.pipeline)
    fitted.load_state(arrays, info["values"])
    return fitted


def save_fit(path: Path, study: Study, part: Fold, group: Sequence[str], fitted: Fitted) -> None:
    """Write what was learned on `part` (the fold of these subjects), with facts of its data that a prediction checks.

    Raises HubError if anything that was learned is not finite.
    """
    arrays, values = fitted.state()
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise HubError(
                f"{path.name}: what {key} learned is not finite",
                "check the input for extreme values, or lower the learning rate",
            )
    rates = {name: study.rate(name) for name in study.pipeline.targets}
    each = {}
    for trial in part.train:
        who = trial.groups.get("subject", "")
        if who not in each:
            recording = study.pipeline.dataset.recording(trial.recording)
            each[who] = facts_of(recording, (trial.start, trial.stop), rates, group)
    facts, *others = each.values()
    save_arrays(path, arrays, {"values": values, "facts": {**facts, "montages": each} if others else facts})


def check_predicted(items: Items) -> None:
    """Raise HubError if a prediction or a target is not finite."""
    for target, some in items.items():
        for one in some:
            if not np.isfinite(one.predicted).all():
                raise HubError(
                    f"the prediction of {target} in {one.name} is not finite",
                    "check the input for extreme values",
                )
            if not np.isfinite(one.target).all():
                raise HubError(f"the target {target} in {one.name} is not finite", "check the stimulus files")


def save_predictions(path: Path, study: Study, items: Items) -> None:
    """Write targets and predictions (frames, …) of every item, and which stretch each is."""
    main = next(iter(items))
    arrays: dict[str, Array] = {
        f"{one.name}/{target}/{side}": getattr(one, side)
        for target, some in items.items()
        for one in some
        for side in ("target", "predicted")
    }
    about: list[Mapping[str, Any]] = [
        {
            "name": one.name,
            "subject": one.subject,
            "stimulus": one.stimulus,
            "start": one.start,
            "rate": study.rate(main),
            "fit": one.fit,
        }
        for one in items[main]
    ]
    save_arrays(path, arrays, {"items": about})


def _made_of(study: Study) -> dict[str, Any]:
    """Return what decides the numbers of a run beside its configuration: data and versions."""
    pipeline = study.pipeline
    chains = [pipeline.encoder, *pipeline.targets.values()]
    parts = [pipeline.dataset, *(step for chain in chains for step in chain.steps), pipeline.decoder]
    parts += [part for part in (pipeline.renderer, pipeline.baseline, *pipeline.beside.values()) if part is not None]
    return {
        "braindecode_hub": __version__,
        "dataset": pipeline.dataset.fingerprint(),
        "parts": [[f"{type(p).__module__}:{type(p).__qualname__}", p.version] for p in [*parts, *pipeline.metrics]],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")

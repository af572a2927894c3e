"""Predictions in a file or a run folder, told apart by the names of their fields, and scored."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.cache import default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Judge, items_of
from braindecode_hub.form import wrong_in_split
from braindecode_hub.judging import DEFAULT, UNIT_S, Scores, as_metrics, check_seed, check_unit, metrics_named, score
from braindecode_hub.lazy import mean
from braindecode_hub.reading import Foreign, open_arrays, read_json
from braindecode_hub.refits import study_of, training_targets
from braindecode_hub.roles import PAIRED, find_pairs, find_roles
from braindecode_hub.runfolder import Run, is_item
from braindecode_hub.study import Study
from braindecode_hub.submission import LABELS, Submission


def score_file(
    path: Path | str,
    *,
    split: Path | str | None = None,
    fold: int | None = None,
    metrics: Sequence[str] = (),
    rate: float | None = None,
    static: bool = False,
    fields: Mapping[str, str] | None = None,
    unit_s: float | None = None,
    seed: int | None = None,
) -> Scores:
    """Score a file (.npz, .mat, .safetensors), a folder of .npy, or a run's predictions.

    `fields`: role → field, where names do not say it; `split`: a split.json that tells the sides of the trials, by
    their ids. Predictions in a run folder are scored with that run's settings. Raises HubError for what is not clear.
    """
    path = Path(path)
    if fold is not None and split is None:
        raise HubError(f"fold {fold} of no split", "give --split split.json too", usage=True)
    if unit_s is not None:
        check_unit(unit_s)
    check_seed(seed or 0)
    if path.is_dir() and (path / "config.yaml").is_file():
        path = path / "predictions.safetensors"
    plain = not (fields or split or rate or static)
    opened = open_arrays(path)
    warnings = []
    if path.name == "predictions.safetensors" and (path.parent / "config.yaml").is_file() and plain:
        try:
            study = _study(Run(path.parent))
        except HubError as error:
            warnings.append(f"the run's own data cannot be opened, so these are not its scores: {error.cause}")
        else:
            return _score_run(Run(path.parent), study, metrics, unit_s, seed)
    given = _items_of(opened) if opened.info.get("items") and not fields else _fields_of(opened, dict(fields or {}))
    if rate is not None:
        given["rate"] = rate
    if static:
        given |= {"static": True, "rate": None}
    if split is not None:
        warnings += _add_sides(given, split, fold)
    scores = score(
        **given,
        metrics=metrics or DEFAULT,
        unit_s=UNIT_S if unit_s is None else unit_s,
        seed=0 if seed is None else seed,
    )
    scores.metrics["judged"] = path.name
    scores.metrics["warnings"] += warnings
    return scores


def _fields_of(opened: Foreign, given: dict[str, str]) -> dict[str, Any]:
    """Return what `score` is to be called with, by the names of a file's fields."""
    names = list(opened.fields)
    where, listing = str(opened.path), opened.listing()
    optional = [*LABELS, "train", "center", "rate"]
    pairs = {}
    try:
        found = find_roles(names, (*PAIRED, *optional), given, where, listing)
    except HubError:
        pairs = find_pairs(names)
        if not pairs:
            raise
        found = find_roles(
            [name for name in names if name not in {n for p in pairs.values() for n in p}],
            optional,
            given,
            where,
            listing,
        )
    if not set(PAIRED) <= set(found):
        pairs = pairs or find_pairs(names)
        if not pairs:
            missing = next(role for role in PAIRED if role not in found)
            raise HubError(
                f"{where}: no field is clearly the {missing}; it holds {listing}",
                "name them: --predicted KEY --target KEY",
                usage=True,
            )
        rows: dict[str, Any] = {
            "predicted": [opened.read(guess) for guess, _ in pairs.values()],
            "target": [opened.read(true) for _, true in pairs.values()],
        }
        if len({array.shape[1:] for array in rows["target"]}) > 1:
            raise HubError(
                f"{where} holds several kinds of target: {', '.join(pairs)}",
                "name one: --predicted KEY --target KEY",
                usage=True,
            )
        if len(pairs) == 1:
            rows = {role: some[0] for role, some in rows.items()}
    else:
        rows = {role: opened.read(found[role]) for role in PAIRED}
    rows |= {role: opened.read(key) for role, key in found.items() if role in optional}
    if "rate" in rows:
        values = np.unique(np.asarray(rows["rate"]))
        if values.size != 1 or values.dtype.kind not in "iuf":
            told = f"field '{found['rate']}' is not one number of frames per second"
            raise HubError(f"{where}: {told}", "say it: --rate HZ", usage=True)
        rows["rate"] = float(values[0])
    return rows


def _items_of(opened: Foreign) -> dict[str, Any]:
    """Return the same for a run's predictions.safetensors away from its run folder: its first target."""
    items = opened.info["items"]
    if not isinstance(items, list) or not all(map(is_item, items)):
        raise HubError(f"{opened.path} does not say what its arrays are", "name them: --predicted KEY --target KEY")
    first = [key.split("/") for key in opened.fields if key.startswith(items[0]["name"] + "/")]
    target = next((parts[1] for parts in first if len(parts) == 3 and parts[-1] == "target"), None)
    if target is None:
        raise HubError(f"{opened.path} has no target of '{items[0]['name']}'", "predict again: `run … --resume`")
    sides = {side: [opened.read(f"{one['name']}/{target}/{side}") for one in items] for side in PAIRED}
    rows = {"subject": "subject", "stimulus": "stimulus", "stimulus_start": "start"}
    labels: dict[str, Any] = {role: [one[key] for one in items] for role, key in rows.items()}
    if items[0]["rate"] is None:
        sides = {side: np.stack(some) for side, some in sides.items()}  # type: ignore[misc]
    return {**sides, **labels, "rate": items[0]["rate"], "static": items[0]["rate"] is None}


def _add_sides(given: dict[str, Any], path: Path | str, fold: int | None) -> list[str]:
    """Look up every trial's side, and what else is known of it, in a split.json; return what weakens that."""
    data = read_json(path)
    folds = data.get("folds") if isinstance(data, dict) else None
    if not isinstance(folds, list) or not folds:
        raise HubError(
            f"{path} is no split.json", "give the one of a run folder, or a field with the sides", usage=True
        )
    why = wrong_in_split(data)
    if why is not None:
        raise HubError(f"{path} {why}", "give the split.json of a run folder")
    chosen = [one for one in folds if fold is None or one.get("fold") == fold]
    if not chosen:
        raise HubError(
            f"{path} has no fold {fold}", f"it has {', '.join(str(one.get('fold')) for one in folds)}", usage=True
        )
    trials = [(side, trial) for side, some in chosen[0]["sides"].items() for trial in some]
    lacking = [key for key in ("id", "stimulus", "recording", "groups") if any(key not in t for _, t in trials)]
    if lacking:
        raise HubError(f"{path} has a trial without {lacking[0]}", "give the split.json of a run folder")
    sides = {str(trial["id"]): (side, trial) for side, trial in trials}
    by_stimulus = {str(t["stimulus"]): (side, t) for side, t in sides.values()}
    pairs = {(side, str(t["stimulus"])) for side, t in trials}
    both = {name for name, many in Counter(name for _, name in pairs).items() if many > 1}
    count, said = len(given["target"]), list[str]()
    names = [str(n) for n in given["trial"]] if "trial" in given else None
    known = sides
    if names is None and "stimulus" in given:
        names, known = [str(n) for n in np.ravel(given["stimulus"])], by_stimulus
        if both & set(names):
            raise HubError(
                f"{path} has parts of '{min(both & set(names))}' on several sides: its name does not tell which",
                "give a field with the trials' ids: --field trial=KEY",
                usage=True,
            )
    if names is None:
        test = [t for side, t in sides.values() if side == "test"]
        if len(test) != count:
            raise HubError(
                f"{count} trials without ids, but {path} has {len(test)} on the test side",
                "give a field with the trials' ids: --field trial=KEY",
                usage=True,
            )
        names = [str(t["id"]) for t in test]
        said.append(f"no trial has an id: they are taken in the order of the test side of {Path(path).name}")
    if not any(name in known for name in names):
        raise HubError(
            f"no trial of the file is in {path}, for example '{names[0]}'", "give that split's ids", usage=True
        )
    strange = [name for name in names if name not in known]
    if strange:
        told = f"{len(strange)} of {len(names)} trials are not in {Path(path).name}, for example '{strange[0]}'"
        said.append(f"{told}: they are not scored")
    given["side"] = [known[name][0] if name in known else "unused" for name in names]
    for role, read in (
        ("subject", lambda t: t["groups"].get("subject", "")),
        ("stimulus", lambda t: str(t["stimulus"])),
        ("recording", lambda t: t["recording"]),
    ):
        if role not in given:
            given[role] = [read(known[name][1]) if name in known else "" for name in names]
    given.pop("trial", None)
    return said


# Our own runs


def _study(run: Run) -> Study:
    """Build the study of a run again."""
    return study_of(run.config, str(default_folder()), run.config["run"]["seed"], "cpu")


def _score_run(run: Run, study: Study, metrics: Sequence[str], unit_s: float | None, seed: int | None) -> Scores:
    """Score a run's predictions by its own study: the same values as its metrics.json."""
    config, how = run.config, run.config["run"]
    if unit_s is not None:
        study = copy.copy(study)
        study.pipeline = replace(study.pipeline, config={**study.pipeline.config, "unit_s": unit_s})
    folds = study.folds()[: how["folds"]]
    judged = Judge(study, training_targets(study, *folds), how["seed"] if seed is None else seed)
    judged.metrics = {name: pair for name, pair in judged.metrics.items() if pair[1].needs != "media"}
    if metrics:
        judged.metrics = {name: (judged.main, metric) for name, metric in metrics_named(metrics).items()}
    items = items_of(run, study.pipeline)
    done = judged.evaluate(items)
    baseline = judged.values(judged.mean(items))
    units = done.units[judged.main]
    center = mean(judged.train[judged.main])
    made = Submission([], study.rate(judged.main), center=center)
    spared = [name for name, (_, metric) in Judge(study, judged.train, 0).metrics.items() if metric.needs == "media"]
    made.notes += [f"{', '.join(spared)} need rendering; see metrics.json"] if spared else []
    made.notes.append(f"a run of {config['pipeline']}: its split, units and training targets")
    found = as_metrics(made, units, done, baseline, judged.seed)
    return Scores(
        found | {"judged": run.path.name, "flags": list(run.metrics["flags"]) if run.status == "done" else []}
    )

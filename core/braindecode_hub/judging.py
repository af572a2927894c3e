"""The judge for anybody's output: the units, nulls, intervals and identification that a run gets, for any arrays."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub import scoring
from braindecode_hub.cache import default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Evaluation, Judge, items_of
from braindecode_hub.files import write_whole
from braindecode_hub.form import wrong_in_split
from braindecode_hub.interfaces import Metric
from braindecode_hub.intervals import FEWEST_UNITS, interval
from braindecode_hub.lazy import mean
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import check_part
from braindecode_hub.reading import Foreign, open_arrays, read_json
from braindecode_hub.refits import study_of, training_targets
from braindecode_hub.roles import PAIRED, find_pairs, find_roles
from braindecode_hub.runfolder import Run, is_item
from braindecode_hub.scoretable import flags, plain_table
from braindecode_hub.scoring import Units
from braindecode_hub.study import Study
from braindecode_hub.submission import LABELS, Submission, submit
from braindecode_hub.types import Array
from braindecode_hub.verdict import probability

UNIT_S = 5.0
DEFAULT = ("core/correlation",)
CANNOT_SEE = (
    "not visible here: choices made on the test side, one-to-one (Hungarian) matching, test-set statistics, and how "
    "the data were split (`braindecode-hub audit` looks at that)"
)


@dataclass(frozen=True)
class Scores:
    """What predictions are worth. `metrics` has the fields of a run's metrics.json that arrays alone can fill."""

    metrics: dict[str, Any]

    def __getitem__(self, name: str) -> dict[str, Any]:
        return dict(self.metrics["scores"][name])

    @property
    def warnings(self) -> list[str]:
        """What weakens these scores, or makes them void."""
        return list(self.metrics["warnings"])

    @property
    def notes(self) -> list[str]:
        """How what was handed in was read."""
        return list(self.metrics["notes"])

    def save(self, path: Path | str) -> None:
        """Write `metrics` as JSON."""
        write_whole(path, json.dumps(self.metrics, indent=1, allow_nan=False) + "\n")

    def __str__(self) -> str:
        unit = self.metrics["unit"]
        about = f"{unit['n']} units ({unit['name']}), {unit['effective_shifts']:.4g} effective"
        if unit["smallest_p"] is not None:
            about += f"; smallest possible p {probability(unit['smallest_p'])}"
        lines = [plain_table(self.metrics), about, *(f"{k}: {why}" for k, why in self.metrics["reasons"].items())]
        lines += [f"{flag}: {meaning}" for flag, meaning in flags(self.metrics)]
        lines += [f"Read: {text}" for text in self.notes]
        lines += [f"Warning: {text}" for text in self.warnings]
        return "\n".join(lines)


def score(
    predicted: Array | Sequence[Array],
    target: Array | Sequence[Array],
    *,
    rate: float | None = None,
    static: bool = False,
    train: Array | Sequence[Array] | None = None,
    center: Array | None = None,
    subject: Any = None,
    recording: Any = None,
    stimulus: Any = None,
    trial: Any = None,
    start: Any = None,
    stop: Any = None,
    stimulus_start: Any = None,
    side: Any = None,
    metrics: Sequence[str] = DEFAULT,
    unit_s: float = UNIT_S,
    seed: int = 0,
) -> Scores:
    """Score predictions as a run's are scored; nothing is fitted.

    `predicted`, `target`: (trials, frames, bins), a list of (frames, bins), or one (frames, bins), with `rate` in Hz;
    without a rate (trials, features), and with `static` any axes behind the first are features. With a rate and a
    label for each row, a two-dimensional array is (trials, frames). `train`: the training targets, of the same axes;
    `center`: (bins,), in place of their mean. One value a trial: `subject`, `recording`, `stimulus` (equal names are
    one candidate), `start` and `stop` (seconds in the recording), `stimulus_start`, `side` (train, val, test: test is
    scored, train gives the centre). `metrics`: registered names; `unit_s`: seconds of a block.

    Raises HubError for shapes that differ, NaN, and metrics that need media.
    """
    labels = {
        "subject": subject, "recording": recording, "stimulus": stimulus, "trial": trial, "start": start,
        "stop": stop, "stimulus_start": stimulus_start, "side": side,
    }  # fmt: skip
    if rate is not None and not (np.isfinite(rate) and rate > 0):
        raise HubError(f"the rate is {rate:g} Hz", "give frames per second", usage=True)
    if rate is not None and static:
        raise HubError("both a rate and static are given", "give one of them", usage=True)
    if not unit_s > 0:
        raise HubError(f"a unit has {unit_s:g} s", "give more than 0", usage=True)
    made = submit(predicted, target, rate=rate, static=static, train=train, center=center, labels=labels)
    return judge(made, metrics_named(metrics), unit_s=unit_s, seed=seed)


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
        _add_sides(given, split, fold)
    scores = score(**given, metrics=metrics or DEFAULT, unit_s=unit_s or UNIT_S, seed=seed or 0)
    scores.metrics["judged"] = path.name
    scores.metrics["warnings"] += warnings
    return scores


def metrics_named(names: Sequence[str], manager: Manager | None = None) -> dict[str, Metric]:
    """Return metrics by short name; HubError for an unknown one, and for one that needs media."""
    manager = Manager() if manager is None else manager
    found: dict[str, Metric] = {}
    for name in names:
        metric = check_part(manager, "metric", "--metric", {"use": name})()
        assert isinstance(metric, Metric)
        if metric.needs == "media":
            raise HubError(f"{name} needs sound or pictures, not their features", "leave it out", usage=True)
        found[name.split("/")[-1]] = metric
    return found


def judge(made: Submission, metrics: Mapping[str, Metric], *, unit_s: float = UNIT_S, seed: int = 0) -> Scores:
    """Score a submission: every metric, identification, and the mean predictor beside them."""
    units = scoring.cut_units(made.items(), made.rate, unit_s)
    if units.frames < 2 and made.rate is not None:
        raise HubError("the shortest trial has one frame", "leave it out")
    ids = _one_name_a_content(units)
    twins = len(set(units.ids)) - len(set(ids))
    if twins:
        made.warnings.append(f"{twins} targets repeat another one's content under another name: one candidate each")
    units = replace(units, ids=ids)
    done = Evaluation(units={"target": units})
    center = np.zeros(units.target.shape[-1]) if made.center is None else made.center
    mean = None if made.center is None else np.broadcast_to(center.astype(np.float32), units.target.shape)
    baseline: dict[str, Array] = {}
    for name, metric in metrics.items():
        done.scores[name], done.per_unit[name], _ = scoring.score(metric, units, made.rate, seed)
        if mean is not None:
            baseline[name] = scoring.values(metric, units, mean)
    if len(set(ids)) < 2:
        done.reasons |= {f"scores.identification{end}": "only one test candidate" for end in ("", "_rank")}
    else:
        entries, per_unit = scoring.score_identification(units, center, seed)
        done.scores |= entries
        done.per_unit |= per_unit
        if mean is not None:
            baseline |= scoring.identification_values(replace(units, predicted=mean), center, seed)
    if mean is None:
        done.reasons["baselines.mean"] = "no training targets, so their mean is not known"
    if units.dropped_s > 0.05:
        done.reasons["unit.dropped"] = f"{units.dropped_s:.1f} s at the ends of stretches are shorter than a unit"
    _why_no_interval(done, len(units))
    return Scores(_metrics(made, units, done, baseline, seed))


def _why_no_interval(done: Evaluation, count: int) -> None:
    missing = [name for name, entry in done.scores.items() if entry["ci95"] is None]
    if missing and count < FEWEST_UNITS:
        done.reasons["scores.ci95"] = f"{count} units: no interval is given under {FEWEST_UNITS}"
    elif missing:
        done.reasons |= {f"scores.{name}.ci95": "all units score the same" for name in missing}


def _metrics(
    made: Submission, units: Units, done: Evaluation, baseline: Mapping[str, Array], seed: int
) -> dict[str, Any]:
    whose = {name: units.subjects if len(some) == len(units) else None for name, some in baseline.items()}
    ends = {name: interval(some, seed=seed, subjects=whose[name]) for name, some in baseline.items()}
    return {
        "schema": 1,
        "judged": "arrays",
        "seed": seed,
        "flags": ["LEAK"] if any(text.startswith("LEAK") for text in made.warnings) else [],
        "rate": made.rate,
        "center": "none (zero)" if made.center is None else "training targets' mean, or as given",
        "subjects": len(set(units.subjects)),
        "unit": {
            "name": units.name,
            "n": len(units),
            "candidates": len(set(units.ids)),
            "effective_shifts": units.effective,
            "smallest_p": max((entry["smallest_p"] for entry in done.scores.values()), default=None),
        },
        "scores": done.scores,
        "baselines": {"mean": {name: float(some.mean()) for name, some in baseline.items()}} if baseline else {},
        "intervals": {"baselines": {"mean": {n: None if e is None else [*map(float, e)] for n, e in ends.items()}}},
        "reasons": done.reasons,
        "warnings": list(made.warnings),
        "notes": [*made.notes, CANNOT_SEE],
    }


def _one_name_a_content(units: Units) -> list[str]:
    """Return the units' ids, those of equal targets made equal: duplicates of a stimulus are one candidate."""
    first: dict[bytes, str] = {}
    return [first.setdefault(row.tobytes(), name) for row, name in zip(units.target, units.ids, strict=True)]


# Files


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
        rows["rate"] = float(np.asarray(rows["rate"]).reshape(-1)[0])
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


def _add_sides(given: dict[str, Any], path: Path | str, fold: int | None) -> None:
    """Look up every trial's side, and what else is known of it, in a split.json."""
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
    count = len(given["target"])
    names = [str(n) for n in given["trial"]] if "trial" in given else None
    known = sides
    if names is None and "stimulus" in given:
        names, known = [str(n) for n in given["stimulus"]], by_stimulus
    if names is None:
        test = [t for side, t in sides.values() if side == "test"]
        if len(test) != count:
            raise HubError(
                f"{count} trials without ids, but {path} has {len(test)} on the test side",
                "give a field with the trials' ids: --field trial=KEY",
                usage=True,
            )
        names = [str(t["id"]) for t in test]
    if not any(name in known for name in names):
        raise HubError(
            f"no trial of the file is in {path}, for example '{names[0]}'", "give that split's ids", usage=True
        )
    given["side"] = [known[name][0] if name in known else "unused" for name in names]
    for role, read in (
        ("subject", lambda t: t["groups"].get("subject", "")),
        ("stimulus", lambda t: str(t["stimulus"])),
        ("recording", lambda t: t["recording"]),
    ):
        if role not in given:
            given[role] = [read(known[name][1]) if name in known else "" for name in names]
    given.pop("trial", None)


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
    found = _metrics(made, units, done, baseline, judged.seed)
    return Scores(
        found | {"judged": run.path.name, "flags": list(run.metrics["flags"]) if run.status == "done" else []}
    )

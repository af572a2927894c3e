"""The judge for anybody's output: the units, nulls, intervals and identification that a run gets, for any arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub import scoring
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Evaluation
from braindecode_hub.files import write_whole
from braindecode_hub.interfaces import Metric
from braindecode_hub.intervals import FEWEST_UNITS, interval
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import check_part
from braindecode_hub.scoretable import flags, plain_table
from braindecode_hub.scoring import Units
from braindecode_hub.submission import Submission, submit
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
    check_unit(unit_s)
    check_seed(seed)
    made = submit(predicted, target, rate=rate, static=static, train=train, center=center, labels=labels)
    return judge(made, metrics_named(metrics), unit_s=unit_s, seed=seed)


def check_unit(unit_s: float) -> None:
    """Raise HubError unless a unit has a length."""
    if not 0 < unit_s < np.inf:
        raise HubError(f"a unit has {unit_s:g} s", "give seconds, more than 0", usage=True)


def check_seed(seed: int) -> None:
    """Raise HubError for a seed that no generator takes."""
    if seed < 0:
        raise HubError(f"the seed is {seed}", "give 0 or more", usage=True)


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
    if len(units) > scoring.MOST_EXCHANGED and units.name == "presentation":
        some = f"{scoring.MOST_EXCHANGED} of the {len(units)} units, drawn by the seed"
        made.notes.append(f"p is of {some}; scores and intervals are of all")
    _why_no_interval(done, len(units))
    return Scores(as_metrics(made, units, done, baseline, seed))


def _why_no_interval(done: Evaluation, count: int) -> None:
    missing = [name for name, entry in done.scores.items() if entry["ci95"] is None]
    if missing and count < FEWEST_UNITS:
        done.reasons["scores.ci95"] = f"{count} units: no interval is given under {FEWEST_UNITS}"
    elif missing:
        done.reasons |= {f"scores.{name}.ci95": "all units score the same" for name in missing}


def as_metrics(
    made: Submission, units: Units, done: Evaluation, baseline: Mapping[str, Array], seed: int
) -> dict[str, Any]:
    """Return what a run's metrics.json would say of an evaluation; `baseline`: the mean's per-unit scores."""
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

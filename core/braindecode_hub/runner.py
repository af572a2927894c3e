"""A run: prepare, fit, predict, compare, control, score, render, report. Every stage leaves a file, so it resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

import braindecode_hub
from braindecode_hub import fetch, refits, scoring
from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.chain import Chain
from braindecode_hub.controls import KINDS, Oracle
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Evaluation, Items, Judge
from braindecode_hub.files import load_arrays, save_arrays, writable_folder, write_whole, write_yaml
from braindecode_hub.jobs import Job
from braindecode_hub.manager import Manager
from braindecode_hub.metrics import constant_bins, correlations
from braindecode_hub.observers import TensorBoard
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.pipeline import build, pipeline_part
from braindecode_hub.refits import predict_side, training_targets
from braindecode_hub.rendering import EXCERPT_S, excerpts, render_items
from braindecode_hub.report import render_report
from braindecode_hub.runfolder import Run
from braindecode_hub.scoring import Scored
from braindecode_hub.splits import Fold, Side
from braindecode_hub.statistics import above_chance, interval
from braindecode_hub.study import STATE, Fitted, Study, unfitted
from braindecode_hub.types import Array, Context, Event

Until = Literal["prepare", "fit", "predict"]
STAGES: tuple[Until, Until, Until] = ("prepare", "fit", "predict")
PACKAGES = ("numpy", "scipy", "librosa", "soundfile", "mne", "h5py", "torch", "safetensors", "pluggy", "click")


@dataclass(frozen=True)
class Options:
    """How to run, apart from what the pipeline is."""

    seed: int = 0
    folds: int = 1
    subjects: tuple[str, ...] | None = None
    device: str = "auto"
    out: Path = Path("runs")
    resume: bool = False
    dev: bool = False
    until: Until | None = None
    jobs: int = 1
    backend: str = "local"
    network: bool = True
    preset: str | None = None
    cache: Path | None = None


def run_pipeline(config: Mapping[str, Any], options: Options, manager: Manager | None = None) -> Run:
    """Run a resolved configuration to its report; returns the run folder.

    Raises HubError for every expected mistake; the folder then says `failed` and why.
    """
    manager = Manager() if manager is None else manager
    recorded = _recorded(config, options)
    writable_folder(options.out, "choose another folder: --out FOLDER")
    path = _folder(recorded, options)
    runner = _Runner(path, recorded, options, manager)
    try:
        runner.go()
    except HubError as error:
        runner.status(f"failed: {error.cause}")
        raise
    finally:
        runner.close()
    return Run(path)


def device_of(asked: str) -> str:
    """Return the device that "auto" means: a GPU if torch is there and sees one, else the CPU."""
    if asked != "auto":
        return asked
    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"


def context(
    *, seed: int = 0, device: str = "cpu", out: Path = Path("runs"), cache: Cache | None = None, manager: Manager | None = None,
    network: bool = True, log: Callable[[Event], None] = lambda event: None,
) -> Context:
    """Return a Context whose `fetch` knows every scheme that the installed plugins know."""
    manager = Manager() if manager is None else manager
    fetchers = partial(manager.first, "fetch")
    return Context(
        seed=seed, device=device, out=out, cache=Cache(default_folder()) if cache is None else cache, log=log, network=network,
        downloads=lambda uri, sha256, ctx: fetch.fetch(uri, sha256, ctx, fetchers),
    )


@dataclass
class _Beside:
    """What stands beside the pipeline's scores: per-unit scores of baselines, control refits, the ceiling."""

    baselines: dict[str, dict[str, Array]] = field(default_factory=dict)
    controls: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    ceiling: dict[str, Array] = field(default_factory=dict)


class _Runner:
    def __init__(self, path: Path, config: dict[str, Any], options: Options, manager: Manager) -> None:
        self.path, self.config, self.options, self.manager = path, config, options, manager
        self.seconds: dict[str, float] = dict.fromkeys(("prepare", "fit", "controls", "test", "render"), 0.0)
        self.side: Side = "val" if options.dev else "test"
        self.tensorboard = TensorBoard(path / "tb") if TensorBoard.installed() else None
        if self.tensorboard is not None:
            manager.register(self.tensorboard, f"tensorboard {path.name}")
        self.events = (path / "events.jsonl").open("a", encoding="utf-8")
        cache = Cache(options.cache if options.cache is not None else default_folder())
        self.ctx = context(
            seed=options.seed, device=device_of(options.device), out=path, cache=cache, manager=manager,
            network=options.network, log=self.log,
        )

    def go(self) -> None:
        write_yaml(self.path / "config.yaml", self.config)
        write_whole(self.path / "env.json", _json(_environment(self.ctx.device)))
        self.status("running")
        with self.stage("prepare"):
            study = self.prepare()
            folds = study.folds()[: self.options.folds]
            write_whole(self.path / "split.json", _json(_split(study, folds)))
            for fold in folds:
                study.view(fold, "train"), study.view(fold, "val")
        if self.stop_after("prepare"):
            return
        with self.stage("fit"):
            fits = {(fold.number, group[0]): self.fit(study, fold, group) for fold in folds for group in study.groups()}
        if self.stop_after("fit"):
            return
        with self.stage("test"):
            items = self.predict(study, folds, fits)
        if self.stop_after("predict"):
            return
        with self.stage("test"):
            judge = Judge(study, training_targets(study, *folds), self.ctx.seed)
            done = judge.evaluate(items)
            beside = self.beside(study, folds, items, judge)
        with self.stage("controls"):
            refit_counts = self.controls(study, folds, beside)
        with self.stage("render"):
            render_items(study, excerpts(items), self.path / "artifacts", self.ctx, seconds=EXCERPT_S)
        self.write_scores(study, folds, judge, items, done, beside, refit_counts)
        self.log_scores(done)
        self.status("done")
        with self.stage("report"):
            write_report(Run(self.path), self.manager)

    # Stages

    def prepare(self) -> Study:
        pipeline = build(self.config["pipeline"], pipeline_part(self.config), self.manager)
        pipeline.dataset.prepare(self.ctx)
        study = Study(pipeline, self.ctx, subjects=self.config["run"]["subjects"])
        cache = self.ctx.cache.folder if self.ctx.cache is not None else None
        self.cache_name = None if cache is None else str(cache)
        refits.remember(self.config, self.cache_name, self.ctx.seed, self.ctx.device, study)
        return study

    def fit(self, study: Study, fold: Fold, group: Sequence[str]) -> Fitted:
        path = self.path / f"fold-{fold.number}" / f"{_group_name(study, group)}{STATE}"
        part = study.of_group(fold, group)
        if path.is_file():
            arrays, info = load_arrays(path)
            fitted = unfitted(study.pipeline)
            fitted.load_state(arrays, info["values"])
            return fitted
        fitted = study.fit(part, self.ctx)
        arrays, values = fitted.state()
        _check_learned(arrays, path.name)
        recording = study.pipeline.dataset.recording(part.train[0].recording)
        facts = {
            "channels": int(recording.brain.data.shape[0]),
            "rate": recording.brain.rate,
            "rates": {name: study.rate(name) for name in study.pipeline.targets},
        }
        save_arrays(path, arrays, {"values": values, "facts": facts})
        return fitted

    def predict(self, study: Study, folds: Sequence[Fold], fits: Mapping[tuple[int, str], Fitted]) -> Items:
        if self.side == "test":
            self.look(study, folds)
        items: Items = {}
        for fold in folds:
            for group in study.groups():
                part = study.of_group(fold, group)
                for target, some in predict_side(study, part, fits[fold.number, group[0]], self.side).items():
                    items.setdefault(target, []).extend(some)
        _check_predicted(items)
        arrays = {f"{one.name}/{target}/{side}": getattr(one, side) for target, some in items.items() for one in some for side in ("target", "predicted")}
        main = next(iter(items))
        about = [
            {"name": one.name, "subject": one.subject, "stimulus": one.stimulus, "start": one.start, "rate": study.rate(main)}
            for one in items[main]
        ]
        save_arrays(self.path / "predictions.safetensors", arrays, {"items": about})
        return items

    def beside(self, study: Study, folds: Sequence[Fold], items: Items, judge: Judge) -> _Beside:
        beside = _Beside()
        beside.baselines["mean"] = judge.values(judge.mean(items))
        pipeline = study.pipeline
        if pipeline.baseline is not None:
            name = str(self.config["baseline"]["use"]).split("/")[-1]
            linear = self.refit_with(study, folds, pipeline.baseline, None)
            beside.baselines[name] = judge.values(linear)
        beside.baselines |= judge.references(items)
        if pipeline.dataset.oracle(folds[0].train[0].recording) is not None:
            beside.ceiling = judge.values(self.refit_with(study, folds, Ridge(lags_s=(-0.12, 0.12)), Oracle(pipeline.dataset)))
        return beside

    def refit_with(self, study: Study, folds: Sequence[Fold], decoder: Any, oracle: Oracle | None) -> Items:
        """Fit another decoder on the same views, from the continuous part of the chain (or the oracle's sources)."""
        chain = None if oracle is None else Chain()
        items: Items = {}
        for fold in folds:
            for group in study.groups():
                part = study.of_group(fold, group)
                train, val = (study.view(part, side, oracle, chain) for side in ("train", "val"))  # type: ignore[arg-type]
                fresh = type(decoder)(**decoder.configuration())
                fitted = study.fit_views(train, val, dataclasses.replace(self.ctx, log=lambda event: None), fresh, Chain())
                predictions = fitted.predict(study.view(part, self.side, oracle, chain, hidden=True))
                for target, some in study.scored(part, self.side, predictions, study.truth(part, self.side)).items():
                    items.setdefault(target, []).extend(some)
        return items

    def controls(self, study: Study, folds: Sequence[Fold], beside: _Beside) -> dict[str, int]:
        if self.side != "test":
            return {}
        folder = self.path / f"fold-{folds[0].number}" / "controls"
        wanted = refits.jobs_for(KINDS, study.pipeline.decoder.control_refits)
        done = {name: json.loads((folder / f"{name}.json").read_text()) for name in (f"{k}-{n:03d}" for k, n in wanted) if (folder / f"{name}.json").is_file()}
        jobs = [
            Job(f"{kind}-{number:03d}", "braindecode_hub.refits:refit", {
                "config": self.config, "cache": self.cache_name, "seed": self.ctx.seed, "device": self.ctx.device,
                "fold": folds[0].number, "kind": kind, "number": number,
            })
            for kind, number in wanted if f"{kind}-{number:03d}" not in done
        ]
        results = self.manager.first("run_jobs", jobs=jobs, backend=self.options.backend, options={"workers": self.options.jobs})
        if results is None:
            raise HubError(f"no job backend is called '{self.options.backend}'", "use --backend local", usage=True)
        for result in results:
            write_whole(folder / f"{result.name}.json", _json(result.value))
            done[result.name] = result.value
            self.progress("controls", len(done), len(wanted))
        for name in sorted(done):
            kind = name.rsplit("-", 1)[0]
            for metric, value in done[name].items():
                beside.controls.setdefault(kind, {}).setdefault(metric, []).append(value)
        return {kind: study.pipeline.decoder.control_refits for kind in KINDS}

    # What is written

    def write_scores(
        self, study: Study, folds: Sequence[Fold], judge: Judge, items: Items, done: Evaluation, beside: _Beside, refit_counts: dict[str, int]
    ) -> None:
        details = {f"units/{name}": values for name, values in done.per_unit.items()}
        details |= {f"null/{name}": values for name, values in done.nulls.items()}
        details |= {f"units/baseline/{b}/{name}": v for b, some in beside.baselines.items() for name, v in some.items()}
        details |= {f"controls/{kind}/{name}": np.asarray(v) for kind, some in beside.controls.items() for name, v in some.items()}
        for name, (target, _) in judge.metrics.items():
            units = done.units[target]
            if units.target.ndim == 3:
                details[f"bins/{name}"] = correlations(units.target, units.predicted)[0].mean(axis=0)
        metrics = self.metrics(study, folds, judge, items, done, beside, refit_counts)
        metrics["digest"] = self.digest(metrics)
        save_arrays(self.path / "details.safetensors", details, {})
        write_whole(self.path / "metrics.json", _json(metrics))

    def metrics(
        self, study: Study, folds: Sequence[Fold], judge: Judge, items: Items, done: Evaluation, beside: _Beside, refit_counts: dict[str, int]
    ) -> dict[str, Any]:
        units, seed = done.units[judge.main], self.ctx.seed
        reasons = dict(done.reasons)
        dataset = study.pipeline.dataset
        subjects = sorted(set(units.subjects))
        if self.side != "test":
            reasons["controls"] = "a --dev run scores validation only; controls belong to the test"
        if not beside.ceiling:
            reasons["ceiling"] = "the forward model is not known: real recordings have no oracle"
        if study.pipeline.baseline is None:
            reasons["baselines.ridge"] = "the pipeline names no baseline"
        means = {name: {m: float(v.mean()) for m, v in some.items()} for name, some in beside.baselines.items()}
        dropped = constant_bins(units.target) if units.target.ndim == 3 else np.zeros(0, bool)
        if dropped.any():
            reasons["scores.excluded_bins"] = f"{int(dropped.sum())} of {dropped.size} target bins never vary on this side"
        flags = self.flags(study, judge, done, beside)
        scores = {name: dict(entry) for name, entry in done.scores.items()}
        return {
            "schema": 1,
            "pipeline": self.config["pipeline"],
            "seed": seed,
            "simulated": dataset.simulated,
            "closed_set": study.split.closed_set,
            "flags": flags,
            "digest": None,
            "dataset": {
                "use": self.config["dataset"]["use"],
                "fingerprint": dataset.fingerprint(),
                "subjects": len(subjects),
                "trials": {side: sum(len(fold.side(side)) for fold in folds) for side in ("train", "val", "test")},
            },
            "split": {"by": list(study.split.by), "gap_s": study.split.gap_s},
            "side": self.side,
            "unit": {
                "name": units.name,
                "n": len(units),
                "effective_shifts": units.effective,
                "smallest_p": max((entry["smallest_p"] for entry in scores.values()), default=None),
            },
            "test_looks": self.looks(study, folds),
            "scores": scores,
            "baselines": means,
            "controls": {kind: {m: float(np.mean(v)) for m, v in some.items()} for kind, some in beside.controls.items()},
            "intervals": {
                "baselines": {n: {m: _pair(v, seed, units.subjects) for m, v in some.items()} for n, some in beside.baselines.items()},
                "controls": {kind: {m: [min(v), max(v)] for m, v in some.items()} for kind, some in beside.controls.items()},
            },
            "control_refits": refit_counts,
            "differences": {
                f"pipeline-{name}": {
                    m: scoring.difference(done.per_unit[m], v, units, seed) for m, v in some.items() if m in done.per_unit
                }
                for name, some in beside.baselines.items()
            },
            "ceiling": {m: float(v.mean()) for m, v in beside.ceiling.items()} or None,
            "by_subject": {
                s: {m: float(v[np.array(units.subjects) == s].mean()) for m, v in done.per_unit.items()} for s in subjects if s
            },
            "folds": [self.by_fold(fold, judge, items) for fold in folds],
            "reasons": reasons,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def by_fold(self, fold: Fold, judge: Judge, items: Items) -> dict[str, Any]:
        own = {t: [one for one in some if one.name.startswith(f"fold-{fold.number}-")] for t, some in items.items()}
        return {"fold": fold.number, **{name: float(v.mean()) for name, v in judge.values(own).items()}}

    def flags(self, study: Study, judge: Judge, done: Evaluation, beside: _Beside) -> list[str]:
        flags = ["SIMULATED"] if study.pipeline.dataset.simulated else []
        flags += ["CLOSED SET"] if study.split.closed_set else []
        flags += ["UNVERIFIED"] if getattr(study.pipeline.dataset, "unverified", False) else []
        flags += ["DEV"] if self.side != "test" else []
        for kind, some in beside.controls.items():
            if any(self.judged_above(name, some, done, judge) for name in some):
                flags.append("CHANCE" if kind == "shuffled" else "LEAK")
        for name, values in beside.ceiling.items():
            high = interval(values, seed=self.ctx.seed)
            if high is not None and done.per_unit[name].mean() > high[1]:
                flags.append("LEAK")
        return list(dict.fromkeys(flags))

    def judged_above(self, name: str, refits: Mapping[str, Sequence[float]], done: Evaluation, judge: Judge) -> bool:
        """Say whether a control's refits exceed chance by the rule of `statistics.above_chance`.

        Top-1 counts only where the rank agrees: docs/decisions/0007-control-rule.md.
        """
        entry = done.scores.get(name)
        if entry is None or entry["chance"] is None:
            return False
        sign = 1.0 if entry["higher_is_better"] else -1.0
        margin = entry["chance"] if name == "identification" else judge.margin(name)
        above = bool(above_chance(sign * np.asarray(refits[name]), sign * entry["chance"], margin))
        if name == "identification":
            return above and self.judged_above("identification_rank", refits, done, judge)
        return above

    def digest(self, metrics: Mapping[str, Any]) -> str:
        """Hash what was learned, predicted, scored and split; not times, paths, events or the report."""
        found = hashlib.sha256()
        for path in [*sorted(self.path.glob(f"fold-*/*{STATE}")), self.path / "predictions.safetensors"]:
            arrays, _ = load_arrays(path)
            for name, array in sorted(arrays.items()):
                found.update(f"{path.name} {name} {array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array).tobytes())
        told = {name: metrics[name] for name in ("scores", "baselines", "controls", "ceiling", "folds", "flags", "unit")}
        found.update(json.dumps(told, sort_keys=True).encode())
        found.update((self.path / "split.json").read_bytes())
        return found.hexdigest()

    # Looks at the test side

    def look(self, study: Study, folds: Sequence[Fold]) -> None:
        folder = self._looks_folder(study, folds)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.path.name).touch()

    def looks(self, study: Study, folds: Sequence[Fold]) -> int:
        folder = self._looks_folder(study, folds)
        return len(list(folder.iterdir())) if folder.is_dir() else 0

    def _looks_folder(self, study: Study, folds: Sequence[Fold]) -> Path:
        told = json.dumps([study.pipeline.dataset.fingerprint(), [fold.as_data()["sides"]["test"] for fold in folds]], sort_keys=True)
        return self.path.parent / ".test-looks" / hashlib.sha256(told.encode()).hexdigest()[:16]

    # Telling

    def stop_after(self, stage: Until) -> bool:
        if self.options.until != stage:
            return False
        self.status({"prepare": "prepared", "fit": "fitted", "predict": "predicted"}[stage])
        return True

    def status(self, text: str) -> None:
        write_whole(self.path / "status", text + "\n")

    def log(self, event: Event) -> None:
        """Write an event to events.jsonl and show it to every observer."""
        plain = {key: value for key, value in event.items() if not isinstance(value, bytes)}
        self.events.write(json.dumps({"time": round(time.time(), 3), **plain}, default=str) + "\n")
        self.events.flush()
        known = len(self.manager.problems)
        for _ in self.manager.each("observe", event=event):
            pass
        for problem in self.manager.problems[known:]:
            print(problem, file=sys.stderr)

    def progress(self, stage: str, done: float, total: float) -> None:
        self.log({"kind": "progress", "stage": stage, "done": done, "total": total})

    def log_scores(self, done: Evaluation) -> None:
        for name, entry in done.scores.items():
            self.log({"kind": "scalar", "tag": f"{self.side}/{name}", "step": 0, "value": entry["value"]})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.log({"kind": "stage", "stage": name, "state": "begins"})
        began = time.monotonic()
        yield
        taken = time.monotonic() - began
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        self.log({"kind": "stage", "stage": name, "state": "done", "seconds": round(taken, 2)})

    def close(self) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close()
            self.manager.unregister(self.tensorboard)
        self.events.close()


def write_report(run: Run, manager: Manager) -> Path:
    """Write (again) the report of a finished run; returns its path."""
    plugin = run.config.get("plugin")
    if plugin and plugin in manager.catalogue.plugins:
        manager.load(plugin)
    sections = [section for _, some in manager.each("report_sections", run=run) for section in some or []]
    path = run.path / "report.html"
    write_whole(path, render_report(run, sections))
    return path


def _recorded(config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    how = {
        "preset": options.preset,
        "seed": options.seed,
        "folds": options.folds,
        "subjects": list(options.subjects) if options.subjects is not None else None,
        "device": options.device,
        "dev": options.dev,
    }
    return {**config, "run": how}


def _folder(config: dict[str, Any], options: Options) -> Path:
    """Return a new run folder, or with `resume` the newest unfinished one of the same configuration."""
    name = str(config["pipeline"])
    text = json.dumps(config, sort_keys=True, default=str)
    tail = hashlib.sha256(text.encode()).hexdigest()[:8]
    home = options.out / name
    if options.resume:
        alike = [path for path in sorted(home.glob(f"*-{tail}")) if Run(path).status != "done"]
        if alike:
            return alike[-1]
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    path = home / f"{stamp}-{tail}"
    number = 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
            path = home / f"{stamp}.{number}-{tail}"
        except OSError as error:
            raise HubError(f"{home} is not writable: {error.strerror}", "choose another folder: --out FOLDER") from error


def _group_name(study: Study, group: Sequence[str]) -> str:
    return (group[0] or "all") if len(group) == 1 else "all"


def _split(study: Study, folds: Sequence[Fold]) -> dict[str, Any]:
    split = study.split
    return {
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


def _environment(device: str) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "braindecode_hub": braindecode_hub.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "device": device,
        "packages": versions,
    }


def _check_learned(arrays: Mapping[str, Array], name: str) -> None:
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise HubError(f"{name}: what {key} learned is not finite", "check the input for extreme values, or lower the learning rate")


def _check_predicted(items: Items) -> None:
    for target, some in items.items():
        for one in some:
            if not np.isfinite(one.predicted).all():
                raise HubError(f"the prediction of {target} in {one.name} is not finite", "check the input for extreme values")
            if not np.isfinite(one.target).all():
                raise HubError(f"the target {target} in {one.name} is not finite", "check the stimulus files")


def _pair(values: Array, seed: int, subjects: Sequence[str]) -> list[float] | None:
    found = interval(values, seed=seed, subjects=list(subjects))
    return None if found is None else [float(found[0]), float(found[1])]


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")

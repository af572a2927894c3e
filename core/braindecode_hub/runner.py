"""A run: prepare, fit, predict, compare, control, score, render, report. Every stage leaves a file, so it resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindecode_hub import refits
from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.chain import Chain
from braindecode_hub.controls import KINDS, Oracle, can_relabel
from braindecode_hub.environment import context, describe_environment
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.figures import pair_png
from braindecode_hub.files import load_arrays, save_arrays, writable_folder, write_whole, write_yaml
from braindecode_hub.interfaces import Decoder
from braindecode_hub.jobs import Job
from braindecode_hub.manager import Manager
from braindecode_hub.observers import TensorBoard
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.pipeline import build, pipeline_part, plugins_of
from braindecode_hub.refits import predict_side, training_targets
from braindecode_hub.rendering import EXCERPT_S, excerpts, render_items
from braindecode_hub.report import render_report
from braindecode_hub.results import Beside, Looks, Outcome, digest
from braindecode_hub.runfolder import Run
from braindecode_hub.scoring import Scored
from braindecode_hub.splits import Fold, Side
from braindecode_hub.study import STATE, Fitted, Study, unfitted
from braindecode_hub.types import Array, Event

Until = Literal["prepare", "fit", "predict"]
STAGES: tuple[Until, Until, Until] = ("prepare", "fit", "predict")


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
    jobs: int = 0
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
    except Exception as error:
        runner.status(f"failed: {type(error).__name__}")
        raise
    finally:
        runner.close()
    return Run(path)


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
            seed=options.seed,
            device=options.device,
            out=path,
            cache=cache,
            manager=manager,
            network=options.network,
            log=self.log,
        )

    def go(self) -> None:
        write_yaml(self.path / "config.yaml", self.config)
        write_whole(self.path / "env.json", _json(describe_environment(self.ctx.device)))
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
        with self.stage("predict", "test"):
            items = self.predict(study, folds, fits)
        if self.stop_after("predict"):
            return
        with self.stage("score", "test"):
            judge = Judge(study, training_targets(study, *folds), self.ctx.seed)
            judge.renderings = len(items[judge.main]) * self.predictions(study, folds)
            done = judge.evaluate(items)
            beside = self.beside(study, folds, items, judge)
        with self.stage("controls"):
            self.controls(study, folds, beside)
        with self.stage("render"):
            render_items(study, excerpts(items), self.path / "artifacts", self.ctx, seconds=EXCERPT_S)
        looks = Looks(self.path.parent, study, folds).count()
        self.write(Outcome(study, folds, self.side, judge, items, done, beside, looks, self.seconds))
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
        own = path.parent / path.name.removesuffix(STATE)
        fitted = study.fit(part, dataclasses.replace(self.ctx, out=own))
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
            Looks(self.path.parent, study, folds).add(self.path.name)
        items: Items = {}
        for fold in folds:
            for group in study.groups():
                part = study.of_group(fold, group)
                fitted, name = fits[fold.number, group[0]], f"fold-{fold.number}/{group[0]}"
                if fitted.renderer is not None:
                    study.renderers[name] = fitted.renderer
                for target, some in predict_side(study, part, fitted, self.side, fit=name).items():
                    items.setdefault(target, []).extend(some)
        _check_predicted(items)
        arrays = {
            f"{one.name}/{target}/{side}": getattr(one, side)
            for target, some in items.items()
            for one in some
            for side in ("target", "predicted")
        }
        main = next(iter(items))
        self.show(main, items[main][0])
        about = [
            {
                "name": one.name,
                "subject": one.subject,
                "stimulus": one.stimulus,
                "start": one.start,
                "rate": study.rate(main),
            }
            for one in items[main]
        ]
        save_arrays(self.path / "predictions.safetensors", arrays, {"items": about})
        return items

    def predictions(self, study: Study, folds: Sequence[Fold]) -> int:
        """Count what is scored on the test side: the pipeline, the mean, the baseline, the oracle."""
        oracle = study.pipeline.dataset.oracle(folds[0].train[0].recording)
        return 2 + (study.pipeline.baseline is not None) + (oracle is not None)

    def beside(self, study: Study, folds: Sequence[Fold], items: Items, judge: Judge) -> Beside:
        beside = Beside()
        beside.baselines["mean"] = judge.values(judge.mean(items))
        pipeline = study.pipeline
        if pipeline.baseline is not None:
            name = str(self.config["baseline"]["use"]).split("/")[-1]
            linear = self.refit_with(study, folds, pipeline.baseline, None)
            beside.baselines[name] = judge.values(linear)
        beside.baselines |= judge.references(items)
        if pipeline.dataset.oracle(folds[0].train[0].recording) is not None:
            beside.ceiling = judge.values(
                self.refit_with(study, folds, Ridge(lags_s=(-0.12, 0.12)), Oracle(pipeline.dataset))
            )
        return beside

    def refit_with(self, study: Study, folds: Sequence[Fold], decoder: Decoder, oracle: Oracle | None) -> Items:
        """Fit another decoder on the same views, from the continuous part of the chain (or the oracle's sources)."""
        chain = None if oracle is None else Chain()
        items: Items = {}
        for fold in folds:
            for group in study.groups():
                part = study.of_group(fold, group)
                train, val = (study.view(part, side, oracle, chain) for side in ("train", "val"))  # type: ignore[arg-type]
                fresh = type(decoder)(**decoder.configuration())
                fitted = study.fit_views(
                    train, val, dataclasses.replace(self.ctx, out=None, log=lambda event: None), fresh, Chain()
                )
                predictions = fitted.predict(study.view(part, self.side, oracle, chain, hidden=True))
                for target, some in study.scored(part, self.side, predictions, study.truth(part, self.side)).items():
                    items.setdefault(target, []).extend(some)
        return items

    def controls(self, study: Study, folds: Sequence[Fold], beside: Beside) -> None:
        if self.side != "test":
            return
        folder = self.path / f"fold-{folds[0].number}" / "controls"
        if not can_relabel(study.trials):
            beside.left_out["relabelled"] = "there are no two presentation blocks to exchange"
        elif any(step.support_s is None for step in study.pipeline.encoder.continuous_part().steps):
            beside.left_out["relabelled"] = "an encoder of unlimited support cannot run on exchanged 10 s blocks"
        kinds = [kind for kind in KINDS if kind not in beside.left_out]
        wanted = refits.jobs_for(kinds, study.pipeline.decoder.control_refits)
        done = {
            name: json.loads((folder / f"{name}.json").read_text())
            for name in (f"{k}-{n:03d}" for k, n in wanted)
            if (folder / f"{name}.json").is_file()
        }
        jobs = [
            Job(
                f"{kind}-{number:03d}",
                "braindecode_hub.refits:refit",
                {
                    "config": self.config,
                    "cache": self.cache_name,
                    "seed": self.ctx.seed,
                    "device": self.ctx.device,
                    "fold": folds[0].number,
                    "kind": kind,
                    "number": number,
                },
            )
            for kind, number in wanted
            if f"{kind}-{number:03d}" not in done
        ]
        results = self.manager.first(
            "run_jobs", jobs=jobs, backend=self.options.backend, options={"workers": self.options.jobs}
        )
        if results is None:
            raise HubError(f"no job backend is called '{self.options.backend}'", "use --backend local", usage=True)
        for result in results:
            write_whole(folder / f"{result.name}.json", _json(result.value))
            done[result.name] = result.value
            self.progress("controls", len(done), len(wanted))
        for name in sorted(done):
            kind = name.rsplit("-", 1)[0]
            for told, kept in (("scores", beside.controls), ("chance", beside.chances)):
                for metric, value in done[name][told].items():
                    kept.setdefault(kind, {}).setdefault(metric, []).append(value)

    def show(self, target: str, one: Scored) -> None:
        """Send the first test stretch as a picture, truth above prediction, to whoever observes."""
        if one.target.ndim == 2:
            picture, height, width = pair_png(one.target, one.predicted)
            tag = f"{self.side}/{target}"
            self.log({"kind": "image", "tag": tag, "step": 0, "png": picture, "height": height, "width": width})

    def write(self, outcome: Outcome) -> None:
        metrics = outcome.metrics()
        metrics["digest"] = digest(self.path, metrics)
        save_arrays(self.path / "details.safetensors", outcome.details(), {})
        write_whole(self.path / "metrics.json", _json(metrics))
        for name, entry in outcome.done.scores.items():
            self.log({"kind": "scalar", "tag": f"{self.side}/{name}", "step": 0, "value": entry["value"]})

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
        self.manager.tell(event)
        for problem in self.manager.problems[known:]:
            print(problem, file=sys.stderr)

    def progress(self, stage: str, done: float, total: float) -> None:
        self.log({"kind": "progress", "stage": stage, "done": done, "total": total})

    @contextmanager
    def stage(self, name: str, counts_as: str | None = None) -> Iterator[None]:
        self.log({"kind": "stage", "stage": name, "state": "begins"})
        began = time.monotonic()
        yield
        taken = time.monotonic() - began
        self.seconds[counts_as or name] = self.seconds.get(counts_as or name, 0.0) + taken
        self.log({"kind": "stage", "stage": name, "state": "done", "seconds": round(taken, 2)})

    def close(self) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close()
            self.manager.unregister(self.tensorboard)
        self.events.close()


def write_report(run: Run, manager: Manager) -> Path:
    """Write (again) the report of a finished run; returns its path."""
    for plugin in plugins_of(run.config):
        if plugin in manager.catalogue.plugins:
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
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
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
            raise HubError(
                f"{home} is not writable: {error.strerror}", "choose another folder: --out FOLDER"
            ) from error


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


def _check_learned(arrays: Mapping[str, Array], name: str) -> None:
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise HubError(
                f"{name}: what {key} learned is not finite",
                "check the input for extreme values, or lower the learning rate",
            )


def _check_predicted(items: Items) -> None:
    for target, some in items.items():
        for one in some:
            if not np.isfinite(one.predicted).all():
                raise HubError(
                    f"the prediction of {target} in {one.name} is not finite",
                    "check the input for extreme values",
                )
            if not np.isfinite(one.target).all():
                raise HubError(f"the target {target} in {one.name} is not finite", "check the stimulus files")


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")

"""A run: prepare, fit, predict, compare, control, score, render, report. Every stage leaves a file, so it resumes."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from braindecode_hub import comparisons, refits
from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.controlstage import run_controls
from braindecode_hub.environment import context, describe_environment
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.figures import pair_png
from braindecode_hub.files import save_arrays, write_error, write_whole, write_yaml
from braindecode_hub.fitted import STATE, Fitted
from braindecode_hub.jobs import Job, JobResult
from braindecode_hub.manager import Manager
from braindecode_hub.observers import TensorBoard
from braindecode_hub.openrun import OpenRun, open_run
from braindecode_hub.overlap import check_overlap
from braindecode_hub.pipeline import build, pipeline_part, plugins_of
from braindecode_hub.privacy import Names, reasons
from braindecode_hub.refits import predict_side, training_targets
from braindecode_hub.rendering import EXCERPT_S, excerpts, render_items
from braindecode_hub.report import checked_sections, render_report
from braindecode_hub.results import Beside, Looks, Outcome, digest
from braindecode_hub.retrieval import RankMetric
from braindecode_hub.retrieved import Retrieved, look_up
from braindecode_hub.runfolder import Run
from braindecode_hub.runwriting import (
    as_json,
    check_predicted,
    check_unchanged,
    fit_file,
    load_fit,
    save_fit,
    save_predictions,
    split_record,
)
from braindecode_hub.scoring import Scored
from braindecode_hub.splits import Fold, Side
from braindecode_hub.study import Study
from braindecode_hub.types import Event

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
    if options.seed < 0:
        raise HubError(f"the seed is {options.seed}", "give 0 or more: --seed 0", usage=True)
    _backend(manager, options, ())
    recorded = _recorded(config, options)
    folder = open_run(recorded, options.out, resume=options.resume)
    try:
        runner = _Runner(folder, recorded, options, manager)
        try:
            runner.go()
        finally:
            runner.close()
    except HubError as error:
        folder.status(f"failed: {error.cause}")
        raise
    except KeyboardInterrupt:
        folder.status("interrupted")
        raise
    except OSError as error:
        told = write_error(error, folder.path, *_written(error, folder.path))
        folder.status(f"failed: {type(error).__name__ if told is None else told.cause}")
        if told is None:
            raise
        raise told from error
    except Exception as error:
        folder.status(f"failed: {type(error).__name__}")
        raise
    finally:
        folder.close()
    return Run(folder.path)


def _backend(manager: Manager, options: Options, jobs: Sequence[Job]) -> Iterable[JobResult]:
    """Hand jobs to the backend of the options; HubError where there is none of that name (no jobs: only that)."""
    how = {"workers": options.jobs}
    results: Iterable[JobResult] | None = manager.first("run_jobs", jobs=jobs, backend=options.backend, options=how)
    if results is None:
        raise HubError(f"no job backend is called '{options.backend}'", "use --backend local", usage=True)
    return results


class _Runner:
    def __init__(self, folder: OpenRun, config: dict[str, Any], options: Options, manager: Manager) -> None:
        self.folder, self.path = folder, folder.path
        self.config, self.options, self.manager = config, options, manager
        self.seconds: dict[str, float] = dict.fromkeys(("prepare", "fit", "controls", "test", "render"), 0.0)
        self.side: Side = "val" if options.dev else "test"
        self.tensorboard = TensorBoard(self.path / "tb") if TensorBoard.installed() else None
        if self.tensorboard is not None:
            manager.register(self.tensorboard, f"tensorboard {self.path.name}")
        cache = Cache(options.cache if options.cache is not None else default_folder())
        self.ctx = context(
            seed=options.seed,
            device=options.device,
            out=self.path,
            cache=cache,
            manager=manager,
            network=options.network,
            log=self.log,
        )

    def go(self) -> None:
        write_yaml(self.path / "config.yaml", self.config)
        write_whole(self.path / "env.json", as_json(describe_environment(self.ctx.device)))
        with self.stage("prepare"):
            study = self.prepare()
            folds = study.folds()[: self.options.folds]
            split = split_record(study, folds)
            self.folder.names = Names.of_split(split)
            write_whole(self.path / "split.json", as_json(split))
            check_overlap(study.pipeline, folds, self.side)
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
            judge.renderings = len(items[judge.main]) * comparisons.predictions(study, folds)
            done = judge.evaluate(items)
            beside = self.compare(study, folds, items, judge)
        with self.stage("controls"):
            self.controls(study, folds, beside)
        with self.stage("render"):
            found = self.render(study, judge, items)
        looks = Looks(self.path.parent, study, folds).count()
        self.write(Outcome(study, folds, self.side, judge, items, done, beside, looks, self.seconds), found)
        with self.stage("report"):
            write_report(Run(self.path), self.manager)
        self.folder.status("done")

    # Stages

    def prepare(self) -> Study:
        pipeline = build(self.config["pipeline"], pipeline_part(self.config), self.manager)
        pipeline.dataset.prepare(self.ctx)
        study = Study(pipeline, self.ctx, subjects=self.config["run"]["subjects"])
        for note in study.notes():
            self.ctx.log({"kind": "note", "text": note})
        cache = self.ctx.cache.folder if self.ctx.cache is not None else None
        self.cache_name = None if cache is None else str(cache)
        check_unchanged(self.path, study)
        refits.remember(self.config, self.cache_name, self.ctx.seed, self.ctx.device, study)
        return study

    def fit(self, study: Study, fold: Fold, group: Sequence[str]) -> Fitted:
        path = fit_file(self.path, study, fold, group)
        if path.is_file():
            return load_fit(path, study)
        part = study.of_group(fold, group)
        own = path.parent / path.name.removesuffix(STATE)
        fitted = study.fit(part, dataclasses.replace(self.ctx, out=own))
        save_fit(path, study, part, group, fitted)
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
        check_predicted(items)
        main = next(iter(items))
        self.show(main, items[main][0])
        save_predictions(self.path / "predictions.safetensors", study, items)
        return items

    def compare(self, study: Study, folds: Sequence[Fold], items: Items, judge: Judge) -> Beside:
        return comparisons.compare(study, folds, self.side, items, judge, self.ctx)

    def controls(self, study: Study, folds: Sequence[Fold], beside: Beside) -> None:
        if self.side != "test":
            return
        task = {
            "config": self.config,
            "cache": self.cache_name,
            "seed": self.ctx.seed,
            "device": self.ctx.device,
            "fold": folds[0].number,
        }
        folder = self.path / f"fold-{folds[0].number}" / "controls"
        run_controls(study, folder, task, beside, self.submit, lambda *counts: self.progress("controls", *counts))

    def submit(self, jobs: Sequence[Job]) -> Iterable[JobResult]:
        """Hand jobs to the backend that was asked for."""
        return _backend(self.manager, self.options, jobs)

    def show(self, target: str, one: Scored) -> None:
        """Send the first test stretch as a picture, truth above prediction, to whoever observes."""
        if one.target.ndim == 2:
            picture, height, width = pair_png(one.target, one.predicted)
            tag = f"{self.side}/{target}"
            self.log({"kind": "image", "tag": tag, "step": 0, "png": picture, "height": height, "width": width})

    def render(self, study: Study, judge: Judge, items: Items) -> Retrieved:
        """Write media of some of the test side; of all of it where candidates are retrieved."""
        folder, renderer = self.path / "artifacts", study.pipeline.renderer
        if renderer is not None and not renderer.retrieves:
            render_items(study, excerpts(items), folder, self.ctx, seconds=EXCERPT_S)
        looked_up = any(isinstance(metric, RankMetric) for _, metric in judge.metrics.values())
        if looked_up or (renderer is not None and renderer.retrieves):
            return look_up(study, judge, items, folder, self.ctx)
        return Retrieved()

    def write(self, outcome: Outcome, found: Retrieved) -> None:
        metrics = outcome.metrics()
        metrics["reasons"] = reasons(metrics["reasons"], self.folder.names)
        metrics["digest"] = digest(self.path, metrics)
        save_arrays(self.path / "details.safetensors", outcome.details() | found.arrays, {"retrieval": found.about})
        write_whole(self.path / "metrics.json", as_json(metrics))
        for name, entry in outcome.done.scores.items():
            self.log({"kind": "scalar", "tag": f"{self.side}/{name}", "step": 0, "value": entry["value"]})

    # Telling

    def stop_after(self, stage: Until) -> bool:
        if self.options.until != stage:
            return False
        self.folder.status({"prepare": "prepared", "fit": "fitted", "predict": "predicted"}[stage])
        return True

    def log(self, event: Event) -> None:
        """Write an event to events.jsonl and show it to every observer."""
        self.folder.event(event)
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


def write_report(run: Run, manager: Manager) -> Path:
    """Write (again) the report of a finished run; returns its path."""
    for plugin in plugins_of(run.config):
        if plugin in manager.catalogue.plugins:
            manager.load(plugin)
    known = len(manager.problems)
    answers = manager.each("report_sections", read=checked_sections, run=run)
    sections = [section for _, some in answers for section in some]
    for problem in manager.problems[known:]:
        print(problem, file=sys.stderr)
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


def _written(error: OSError, path: Path) -> list[Path]:
    """Return the file that an error names, if it lies in the run folder or beside it."""
    named = error.filename
    found = Path(named) if isinstance(named, str | os.PathLike) else None
    return [found] if found is not None and found.is_relative_to(path.parent) else []

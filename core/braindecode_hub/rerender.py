"""`render RUN`: the whole test side of a finished run as media, from its saved predictions."""

from __future__ import annotations

from pathlib import Path

from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Judge, items_of
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import build, pipeline_part
from braindecode_hub.refits import training_targets
from braindecode_hub.rendering import render_items
from braindecode_hub.retrieved import look_up
from braindecode_hub.runfolder import Run
from braindecode_hub.study import Study


def render_run(folder: Path, manager: Manager, seconds: float | None = None) -> list[Path]:
    """Render every scored item of a run into its `media` folder; returns the files.

    Raises HubError if the run has no predictions yet, or its pipeline no renderer.
    """
    run = Run(folder)
    if not run.items():
        raise HubError(f"{run.path.name} has no predictions: it is {run.status}", "finish it with `run … --resume`")
    pipeline = build(run.config["pipeline"], pipeline_part(run.config), manager)
    if pipeline.renderer is None:
        raise HubError(f"{run.path.name} names no renderer", "run it with --set renderer='{use: plugin/part}'")
    ctx = context(seed=int(run.config["run"]["seed"]), manager=manager)
    pipeline.dataset.prepare(ctx)
    study = Study(pipeline, ctx, subjects=run.config["run"]["subjects"])
    scored = items_of(run, pipeline)
    if not pipeline.renderer.retrieves:
        return render_items(study, scored, run.path / "media", ctx, seconds=seconds)
    folds = study.folds()[: int(run.config["run"]["folds"])]
    judge = Judge(study, training_targets(study, *folds), ctx.seed)
    return look_up(study, judge, scored, run.path / "media", ctx).files

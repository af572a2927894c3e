"""The Python interface: `run` a pipeline as the command line does, `load` what a run left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from braindecode_hub.adapt_run import Adapted, adapt_run
from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.form import OPTIONS, read_config
from braindecode_hub.inspection import READ_S, Inspection, inspect_dataset
from braindecode_hub.manager import Manager
from braindecode_hub.observers import Progress
from braindecode_hub.pipeline import KEYS, Config, build_dataset, dataset_only, pipeline_part, resolve
from braindecode_hub.predict_run import Predicted, predict_run
from braindecode_hub.runfolder import Run
from braindecode_hub.runner import Options, Until, run_pipeline
from braindecode_hub.types import Event


def run(
    name: str | Path,
    *,
    preset: str | None = None,
    data: str | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    subjects: Sequence[str] | None = None,
    seed: int | None = None,
    folds: int | None = None,
    device: str = "auto",
    out: str | Path = "runs",
    resume: bool = False,
    dev: bool = False,
    until: Until | None = None,
    jobs: int = 1,
    backend: str = "local",
    network: bool = True,
    progress: bool = False,
    manager: Manager | None = None,
) -> Run:
    """Run a pipeline by name (or a config.yaml by path) and return its Run; the arguments are the CLI's options.

    `seed` and `folds`: by default what a config.yaml says, else 0 and 1. `jobs`: processes for the controls; more than
    one needs the caller's script to be importable (Python's `if __name__ == "__main__":`). `set`:
    {"decoder.lags_s": [0, 0.2]}, or the CLI's "key=value" texts. Raises HubError for every expected mistake.
    """
    manager = Manager() if manager is None else manager
    config, options = configure(
        name, manager, preset=preset, data=data, sets=_assignments(set), subjects=subjects, seed=seed, folds=folds,
        device=device, out=Path(out), resume=resume, dev=dev, until=until, jobs=jobs, backend=backend, network=network,
    )  # fmt: skip
    if not progress:
        return run_pipeline(config, options, manager)
    shown = Progress()
    manager.register(shown, "progress")
    try:
        return run_pipeline(config, options, manager)
    finally:
        shown.close()
        manager.unregister(shown)


def inspect(
    name: str | Path,
    *,
    pipeline: str | None = None,
    preset: str | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    subjects: Sequence[str] | None = None,
    seconds: float = READ_S,
    network: bool = True,
    manager: Manager | None = None,
    log: Callable[[Event], None] = lambda event: None,
) -> Inspection:
    """Look at recordings before anything is fitted: a path or URI of your own data, or a pipeline's dataset by name.

    `pipeline`: whose flow says what was recorded (of a path; by default the first in the catalogue); `set`: changes
    of the dataset, as in `run`; `seconds`: how much of each recording is read (math.inf: all). Raises HubError for
    every expected mistake.
    """
    manager = Manager() if manager is None else manager
    entry, data = _named(str(name), pipeline, manager)
    config = resolve(dataset_only(entry), manager, preset=preset, data=data, sets=_assignments(set))
    dataset = build_dataset(config, manager)
    dataset.prepare(context(manager=manager, network=network, log=log))
    where = f"{config['dataset']['use']}" + (f" {data}" if data is not None else "")
    return inspect_dataset(dataset, where, seconds=seconds, subjects=subjects, log=log)


def load(path: str | Path) -> Run:
    """Return the run in a run folder."""
    return Run(path)


def predict(
    run: str | Path | Run,
    *,
    data: str | Path | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    subject: str | None = None,
    fold: int = 0,
    state: str | Path | None = None,
    out: str | Path | None = None,
    media: bool = True,
    network: bool = True,
    manager: Manager | None = None,
    log: Callable[[Event], None] = lambda event: None,
) -> Predicted:
    """Apply a finished run to new recordings, and write a folder of predictions and media; the CLI's options.

    `data`: as in `run`, but no sound is needed; None: the run's own dataset, changed by `set`. `out`: the folder, by
    default a new one in the run's `predictions`. `state`: a file of `adapt`, in place of the run's own fit. Nothing is
    scored. Raises HubError for every expected mistake.
    """
    return predict_run(
        run if isinstance(run, Run) else Run(run),
        data=None if data is None else str(data),
        sets=_assignments(set),
        subject=subject,
        fold=fold,
        state=None if state is None else Path(state),
        out=None if out is None else Path(out),
        media=media,
        network=network,
        manager=Manager() if manager is None else manager,
        log=log,
    )


def adapt(
    run: str | Path | Run,
    *,
    data: str | Path | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    subject: str | None = None,
    minutes: float = 10.0,
    fold: int | None = None,
    out: str | Path | None = None,
    network: bool = True,
    manager: Manager | None = None,
    log: Callable[[Event], None] = lambda event: None,
) -> Adapted:
    """Learn a new subject beside a finished run from `minutes` of it and from less; the CLI's options.

    `data`: the new subject's recordings with their stimuli, as in `run`; None: the run's own dataset, changed by `set`,
    of which `subject` was held out. `fold`: by default the first that has not been given the subject. `out`: the
    folder, by default a new one in the run's `adaptations`. Raises HubError for every expected mistake.
    """
    return adapt_run(
        run if isinstance(run, Run) else Run(run),
        data=None if data is None else str(data),
        sets=_assignments(set),
        subject=subject,
        minutes=minutes,
        fold=fold,
        out=None if out is None else Path(out),
        network=network,
        manager=Manager() if manager is None else manager,
        log=log,
    )


def configure(
    name: str | Path,
    manager: Manager,
    *,
    preset: str | None,
    data: str | None,
    sets: Sequence[str],
    **options: Any,
) -> tuple[Config, Options]:
    """Return the resolved configuration and the options of a run, for a pipeline's name or a config.yaml."""
    path = Path(name)
    known = str(name) in manager.catalogue.pipelines
    if path.suffix in (".yaml", ".yml") or (path.is_dir() and not known):
        path = path / "config.yaml" if path.is_dir() else path
        stored = read_config(path)
        how = stored.pop("run", {}) or {}
        if preset is not None:
            raise HubError(
                f"{path} is a whole configuration: no preset can change it", "leave --preset out", usage=True
            )
        for given, keys, where in ((stored, ("pipeline", *KEYS), ""), (how, OPTIONS, "run.")):
            for key in given:
                if key not in keys:
                    raise HubError(f"{path}: unknown key '{where}{key}'", did_you_mean(key, keys), usage=True)
        entry = manager.catalogue.pipeline(stored["pipeline"])
        config = resolve(entry, manager, data=data, sets=sets, base=pipeline_part(stored))
        options |= {key: how[key] for key in ("seed", "folds") if options.get(key) is None and key in how}
        options["dev"] = options.get("dev") or how.get("dev", False)
        options["subjects"] = options["subjects"] or how.get("subjects")
        preset = how.get("preset")
    else:
        config = resolve(manager.catalogue.pipeline(str(name)), manager, preset=preset, data=data, sets=sets)
        stored = {"pipeline": str(name)}
    subjects = options.pop("subjects")
    options = {key: value for key, value in options.items() if value is not None}
    chosen = tuple(subjects) if subjects is not None else None
    return {"pipeline": stored["pipeline"], **config}, Options(preset=preset, subjects=chosen, **options)


def _named(name: str, pipeline: str | None, manager: Manager) -> tuple[PipelineEntry, str | None]:
    """Return the pipeline whose dataset `name` is and None, or the one that reads data and the data `name`."""
    known = manager.catalogue.pipelines
    if name in known and pipeline is None:
        return known[name], None
    if "://" not in name and not Path(name).expanduser().exists():
        raise HubError(f"'{name}' is neither a file, a folder nor a pipeline", did_you_mean(name, known), usage=True)
    return manager.catalogue.pipeline(pipeline if pipeline is not None else next(iter(sorted(known)), "")), name


def _assignments(changes: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Return changes as the command line's KEY=VALUE texts."""
    if not isinstance(changes, Mapping):
        return list(changes)
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]

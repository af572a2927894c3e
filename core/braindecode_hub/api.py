"""The Python interface: `run` a pipeline as the command line does, `load` what a run left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from braindecode_hub.files import read_yaml
from braindecode_hub.manager import Manager
from braindecode_hub.observers import Progress
from braindecode_hub.pipeline import Config, pipeline_part, resolve
from braindecode_hub.runfolder import Run
from braindecode_hub.runner import Options, Until, run_pipeline


def run(
    name: str | Path,
    *,
    preset: str | None = None,
    data: str | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    subjects: Sequence[str] | None = None,
    seed: int = 0,
    folds: int = 1,
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

    `jobs`: processes for the controls; more than one needs the caller's script to be importable (Python's
    `if __name__ == "__main__":`). `set`: {"decoder.lags_s": [0, 0.2]}, or the CLI's "key=value" texts. Raises
    HubError for every expected mistake.
    """
    manager = Manager() if manager is None else manager
    sets = [f"{key}={_as_yaml(value)}" for key, value in set.items()] if isinstance(set, Mapping) else list(set)
    config, options = configure(
        name, manager, preset=preset, data=data, sets=sets, subjects=subjects, seed=seed, folds=folds, device=device,
        out=Path(out), resume=resume, dev=dev, until=until, jobs=jobs, backend=backend, network=network,
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


def load(path: str | Path) -> Run:
    """Return the run in a run folder."""
    return Run(path)


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
        stored = dict(read_yaml(path))
        how = stored.pop("run", {}) or {}
        entry = manager.catalogue.pipeline(stored["pipeline"])
        config = resolve(entry, manager, data=data, sets=sets, base=pipeline_part(stored))
        options |= {key: how[key] for key in ("seed", "folds", "dev") if key in how}
        options["subjects"] = options["subjects"] or how.get("subjects")
        preset = how.get("preset")
    else:
        config = resolve(manager.catalogue.pipeline(str(name)), manager, preset=preset, data=data, sets=sets)
        stored = {"pipeline": str(name)}
    subjects = options.pop("subjects")
    chosen = tuple(subjects) if subjects is not None else None
    return {"pipeline": stored["pipeline"], **config}, Options(preset=preset, subjects=chosen, **options)


def _as_yaml(value: Any) -> str:
    import json

    return json.dumps(value)

"""`predict RUN`: a finished run applied to new recordings; a folder with predictions and media, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.facts import fitted_to
from braindecode_hub.files import TEMPORARY, file_name, join_arrays, write_whole
from braindecode_hub.interfaces import Dataset
from braindecode_hub.manager import Manager
from braindecode_hub.media import SIMULATED
from braindecode_hub.pipeline import Config, build_dataset, dataset_only, pipeline_part, resolve
from braindecode_hub.prediction import (
    Fit,
    Fits,
    check_plugins,
    pieces_of,
    preparing,
    rates_of,
    states_of,
    trials_by_recording,
)
from braindecode_hub.runfolder import Run
from braindecode_hub.sensor_positions import position_findings
from braindecode_hub.types import Array, Context, Event, Recording
from braindecode_hub.wholefolder import new_folder, refuse_full, whole_folder

MEDIA_S = 120.0
"""Longer predictions are rendered into several files of this length: renderers hold a whole file in memory."""

FITTED = ("fitted", "predicted", "done")
FOLDER = "core/folder"
SOUNDLESS = (FOLDER, "core/arrays")
"""Datasets of one's own files that `core/brain_only` reads without any sound."""
ITS_OWN = ("rate", "axis", "line_freq", "bads", "channels")
"""Settings of core/folder that new data in a folder has from the run, unless they are set."""


@dataclass
class Predicted:
    """What `predict` made: its `folder`, (frames, …) by item and target, notes, and whether the truth lies beside."""

    folder: Path
    shapes: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    rates: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    media: list[Path] = field(default_factory=list)
    simulated: bool = False
    truth: bool = False


def predict_run(
    run: Run,
    *,
    data: str | None,
    sets: Sequence[str],
    subject: str | None,
    fold: int,
    state: Path | None = None,
    out: Path | None,
    media: bool,
    network: bool,
    manager: Manager,
    log: Callable[[Event], None],
) -> Predicted:
    """Predict from every recording of new data and write a folder; nothing is scored, and no truth is opened.

    Raises HubError, before anything is decoded, if the run is unfinished or a plugin is missing, and at the first
    recording whose sensors are not the run's; nothing is left behind then.
    """
    check_plugins(run, manager)
    states_of(run, fold)
    if run.status not in FITTED:
        raise HubError(f"{run.path.name} is unfinished: it is {run.status}", "finish it: `run … --resume`")
    target = out if out is not None else new_folder(run.path / "predictions")
    refuse_full(target)
    config = new_data(run, data, sets, manager)
    fits = Fits(run, fold, manager, state)
    dataset = build_dataset(config, manager)
    fits.pipeline.encoder.check(dataset.brain, config["dataset"]["use"])
    ctx = context(seed=int(run.config["run"]["seed"]), manager=manager, network=network, log=log)
    dataset.prepare(ctx)
    done = Predicted(target)
    done.simulated = dataset.simulated or fits.pipeline.dataset.simulated
    done.truth = truth_is_there(dataset)
    if same_data(config["dataset"], run.config["dataset"]):
        done.notes.append("this is the data that the run was fitted on: most of it is its training side")
    if run.status != "done":
        done.notes.append(f"the run is only {run.status}: no score says how good its predictions are")
    with whole_folder(done.folder) as folder:
        writer = _Writer(folder, done, ctx, media)
        writer.all(fits, dataset, subject)
        info = {
            "run": run.path.name,
            "pipeline": run.config["pipeline"],
            "fold": fold,
            "dataset": config["dataset"],
            "simulated": done.simulated,
        }
        _finish(folder, done, info, writer.raw)
    done.media = [done.folder / path.name for path in done.media]
    return done


def new_data(run: Run, data: str | None, sets: Sequence[str], manager: Manager, *, stimuli: bool = False) -> Config:
    """Return the configuration of the data to predict from: `data`, or the run's own dataset, changed by `sets`.

    A folder needs no sounds, unless the `stimuli` are wanted too. It has rate, axis, mains, bads and names from the
    run, if that was fitted on one too.
    """
    entry = dataset_only(manager.catalogue.pipeline(run.config["pipeline"]))
    own = dataset_only(entry._replace(spec=pipeline_part(run.config))).spec
    config = resolve(entry, manager, data=data, base=dict(own))
    if data is not None and config["dataset"]["use"] == own["dataset"]["use"] == FOLDER:
        config["dataset"] |= {key: own["dataset"][key] for key in ITS_OWN if key in own["dataset"]}
    config = resolve(entry, manager, sets=sets, base=config)
    if config["dataset"]["use"] in SOUNDLESS and not stimuli:
        known = manager.component("dataset", "core/brain_only").parameters()
        kept = {key: value for key, value in config["dataset"].items() if key in known}
        config["dataset"] = {"use": "core/brain_only", **kept}
    return config


def same_data(new: Config, own: Config) -> bool:
    """Say whether two configurations of a dataset read the same recordings."""
    if "path" in new and "path" in own and "://" not in f"{new['path']}{own['path']}":
        return Path(new["path"]).expanduser().resolve() == Path(own["path"]).expanduser().resolve()
    return new == own or (new.get("path") is not None and new.get("path") == own.get("path"))


def truth_is_there(dataset: Dataset) -> bool:
    """Say whether what was presented is known: trials name it, or sounds lie beside the arrays."""
    return any(trial.stimulus is not None for trial in dataset.trials()) or bool(getattr(dataset, "sounds", ()))


class _Writer:
    """Writes each recording's predictions as raw files, and renders them, in a folder that is not shown yet."""

    def __init__(self, folder: Path, done: Predicted, ctx: Context, media: bool) -> None:
        self.folder, self.done, self.ctx, self.media = folder, done, ctx, media
        self.raw: dict[tuple[str, str], Path] = {}

    def all(self, fits: Fits, dataset: Dataset, subject: str | None) -> None:
        by_recording = trials_by_recording(dataset)
        for number, (id, trials) in enumerate(by_recording.items()):
            self.ctx.log({"kind": "progress", "stage": "predict", "done": number, "total": len(by_recording)})
            recording = dataset.recording(id)
            fit = fits.of(recording, subject)
            self.done.rates = rates_of(fit)
            self.done.notes += [f"{id}: {note}" for note in self._noted(recording, fit)]
            with preparing(recording, self.folder) as cache:
                for item, name, _, values in pieces_of(fit, recording, dataset, cache, trials):
                    self._append(item, name, values)
                    if self.media and self.done.rates[name] is None:
                        self._render(fit, item, {name: values})
            if self.media:
                self._render_long(fit, id)
        self.ctx.log({"kind": "progress", "stage": "predict", "done": 1, "total": 1})

    def _noted(self, recording: Recording, fit: Fit) -> list[str]:
        notes = [
            *fitted_to(recording, fit.facts)[1],
            *(f"{one.what}; {one.advice}" for one in position_findings(recording)),
        ]
        served = fit.facts.get("subjects") or []
        if served and recording.subject not in served:
            notes.append(f"subject {recording.subject} was not in the run: decoded as {fit.name}")
        return notes

    def _append(self, item: str, name: str, values: Array) -> None:
        values = np.asarray(values, "<f4")
        known = self.done.shapes.setdefault(item, {})
        if self.done.rates[name] is None:
            known[name] = values.shape
        else:
            known[name] = (known.get(name, (0,))[0] + len(values), *values.shape[1:])
        if not np.isfinite(values).all():
            raise HubError(f"the prediction of {name} in {item} is not finite", "look at it: `braindecode-hub inspect`")
        path = self.raw.setdefault((item, name), self.folder / f"{TEMPORARY}{len(self.raw)}.f4")
        with path.open("ab") as file:
            file.write(values.tobytes())

    def _render_long(self, fit: Fit, item: str) -> None:
        """Render what runs in time, in files of `MEDIA_S`."""
        shapes = self.done.shapes.get(item, {})
        clocked = {name: shape for name, shape in shapes.items() if self.done.rates[name] is not None}
        renderer = fit.fitted.renderer
        if renderer is None or not all(space.name in clocked for space in renderer.consumes):
            return
        names = [space.name for space in renderer.consumes]
        arrays = {name: np.memmap(self.raw[item, name], "<f4", "r", shape=clocked[name]) for name in names}
        seconds = min(len(array) / float(self.done.rates[name] or 1.0) for name, array in arrays.items())
        count = max(1, int(np.ceil(seconds / MEDIA_S - 1e-9)))
        for part in range(count):
            cut = {}
            for name, array in arrays.items():
                first, last = (round(k * MEDIA_S * float(self.done.rates[name] or 1.0)) for k in (part, part + 1))
                cut[name] = np.array(array[first:last])
            if all(len(one) for one in cut.values()):
                self._render(fit, item if count == 1 else f"{item}.{part:04d}", cut)

    def _render(self, fit: Fit, item: str, prediction: dict[str, Array]) -> None:
        renderer = fit.fitted.renderer
        if renderer is None or {space.name for space in renderer.consumes} != set(prediction):
            return
        prefix = SIMULATED if self.done.simulated else ""
        for place, artifact in enumerate(renderer.render(prediction, self.ctx)):
            part = f".{place}" if place else ""
            path = self.folder / f"{prefix}{file_name(item)}.predicted{part}{artifact.suffix}"
            if path.exists():  # two ids that differ in signs that no file name has
                path = path.with_name(f"{prefix}{len(self.done.media)}-{path.name.removeprefix(prefix)}")
            write_whole(path, artifact.data)
            self.done.media.append(path)


def _finish(folder: Path, done: Predicted, info: dict[str, Any], raw: Mapping[tuple[str, str], Path]) -> None:
    """Join the raw files to predictions.safetensors, beside it the same facts as JSON, and remove them."""
    main = next(iter(done.rates))
    info["items"] = [
        {"name": item, "start": 0.0, "rate": done.rates[main], "rates": done.rates} for item in done.shapes
    ]
    info["notes"] = done.notes
    parts = {
        f"{item}/{name}/predicted": (raw[item, name], shape)
        for item, by in done.shapes.items()
        for name, shape in by.items()
    }
    join_arrays(folder / "predictions.safetensors", parts, info)
    write_whole(folder / "about.json", json.dumps(info, indent=1, ensure_ascii=False) + "\n")
    for path, _ in parts.values():
        path.unlink()

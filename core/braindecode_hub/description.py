"""What `describe` and `run --dry-run` print."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from braindecode_hub.files import yaml_text
from braindecode_hub.manager import KINDS, Manager
from braindecode_hub.pipeline import Config, build, parts_of, pipeline_part, resolve

if TYPE_CHECKING:
    from braindecode_hub.interfaces import Component
    from braindecode_hub.runner import Options
    from braindecode_hub.splits import Fold
    from braindecode_hub.study import Study


def describe_pipeline(name: str, preset: str | None, manager: Manager) -> str:
    """Return a pipeline's purpose, presets, and every parameter of every part with its present value."""
    entry = manager.catalogue.pipeline(name)
    config = resolve(entry, manager, preset=preset)
    lines = [
        f"{name}: {config.get('summary', '')}",
        f"flow: {' → '.join(map(str, config.get('flow') or []))}",
    ]
    source: Mapping[str, Any] = config.get("source") or {}
    lines += [f"{key.replace('_', ' ')}: {value}" for key, value in source.items()]
    lines += [f"presets: {', '.join(entry.presets)}", ""]
    for kind, where, part in parts_of(config):
        found = manager.component(kind, part["use"])
        lines.append(f"{where}: {part['use']} — {_first_line(found)}")
        lines += [f"    {key} = {part.get(key, default)!r}" for key, default in _parameters(found)]
    rest = {key: value for key, value in config.items() if key in ("window", "split", "unit_s")}
    return "\n".join([*lines, "", yaml_text(rest).rstrip(), "", "Change any of these with --set where.parameter=value"])


def describe_component(name: str, manager: Manager) -> str:
    """Return a component's documentation and parameters."""
    plugin = name.split("/")[0]
    if plugin in manager.catalogue.plugins:
        manager.load(plugin)
    kinds = [kind for kind, known in manager.components if known == name]
    found = manager.component(kinds[0] if kinds else next(iter(KINDS)), name)
    parameters = [f"    {key} = {default!r}" for key, default in _parameters(found)]
    needs = [f"needs: {', '.join(found.requires)}"] if found.requires else []
    return "\n".join([f"{name} ({kinds[0]})", inspect.getdoc(found) or "", *needs, *parameters])


def dry_run(config: Config, options: Options, manager: Manager) -> str:
    """Return trials, splits, rates, units and the lag between brain and stimulus; nothing is fitted or written."""
    from braindecode_hub.environment import context
    from braindecode_hub.study import Study

    ctx = context(seed=options.seed, device=options.device, manager=manager, network=options.network)
    pipeline = build(config["pipeline"], pipeline_part(config), manager)
    pipeline.dataset.prepare(ctx)
    study = Study(pipeline, ctx, subjects=options.subjects)
    folds = study.folds()[: options.folds]
    return "\n".join([*_data_lines(study), *(line for fold in folds for line in _fold_lines(study, fold))])


def _data_lines(study: Study) -> Iterator[str]:
    dataset = study.pipeline.dataset
    if dataset.simulated:
        yield "SIMULATED: no brain was recorded"
    yield f"dataset: {study.pipeline.config['dataset']['use']} ({dataset.licence or 'licence unknown'})"
    for id in sorted({trial.recording for trial in study.trials}):
        recording = dataset.recording(id)
        own = [trial for trial in study.trials if trial.recording == id]
        channels, rate = recording.brain.data.shape[0], recording.brain.rate
        yield (
            f"recording {id}: {channels} channels at {rate:g} Hz, {recording.seconds:.1f} s, "
            f"{len(own)} trials of {sum(trial.seconds for trial in own):.1f} s"
            + (f", bad: {', '.join(recording.bads)}" if recording.bads else "")
        )
        drifts = [
            (trial.seconds / (trial.stimulus_stop - trial.stimulus_start) - 1) * 1e6
            for trial in own
            if trial.stimulus_start is not None and trial.stimulus_stop is not None
        ]
        if drifts:
            yield f"  clock drift, brain against stimulus: {min(drifts):.0f} to {max(drifts):.0f} parts per million"
    for name in study.pipeline.targets:
        rate = study.rate(name)
        yield f"target {name}: {study.pipeline.frozen_target_space(name)}" + (
            f", frames at {rate:.2f} Hz" if rate else ""
        )
    unit = (
        f"{study.pipeline.unit_s:g} s block" if any(study.rate(n) for n in study.pipeline.targets) else "presentation"
    )
    yield f"unit of every interval and p: {unit}"


def _fold_lines(study: Study, fold: Fold) -> Iterator[str]:
    sides = {"train": fold.train, "val": fold.val, "test": fold.test}
    told = ", ".join(f"{name} {len(some)} pieces {sum(t.seconds for t in some):.1f} s" for name, some in sides.items())
    by = ", ".join(study.split.by)
    yield f"fold {fold.number} by {by}, gap {study.split.gap_s:g} s: {told}, purged {fold.purged_s:.1f} s"
    for group in study.groups():
        found = training_lag(study, study.of_group(fold, group))
        if found is not None:
            lag, r = found
            whose = f" of subject {group[0]}" if len(group) == 1 and group[0] else ""
            order = f"brain {'follows' if lag >= 0 else 'leads'} the stimulus by {abs(lag) * 1000:.0f} ms"
            yield f"  lag{whose}: {order} (best channel, r = {r:.2f}, training side)"


def training_lag(study: Study, fold: Fold, reach_s: float = 0.5) -> tuple[float, float] | None:
    """Return (lag in s, |r|) at which one channel follows the target's mean best, on the training side.

    None where the target does not run in time.
    """
    import numpy as np

    view = study.view(fold, "train")
    if view.clock is None or view.space.rate is None:
        return None
    rate, context = float(view.space.rate), view.window.context_s
    lags = np.arange(-round(reach_s * rate), round(reach_s * rate) + 1)
    total, count = 0.0, 0
    for batch in view.segments():
        x, target = batch.brain[0], batch.target[view.clock][0]
        loudness = target.reshape(len(target), -1).mean(axis=1)
        at = np.rint(view.frame_times(view.clock, len(loudness)) * rate).astype(int)
        inside = (at + lags[0] >= 0) & (at + lags[-1] < x.shape[1])
        if inside.sum() < 10 or context < 0:
            continue
        seen = x[:, at[inside][:, None] + lags[None]]
        seen = seen - seen.mean(axis=1, keepdims=True)
        heard = loudness[inside] - loudness[inside].mean()
        scale = np.sqrt((seen**2).sum(axis=1) * (heard**2).sum())
        total = total + np.einsum("ctl,t->cl", seen, heard) / np.where(scale > 0, scale, np.inf)
        count += 1
    if not count:
        return None
    r = np.abs(np.asarray(total)) / count
    channel, lag = np.unravel_index(int(r.argmax()), r.shape)
    return float(lags[lag] / rate), float(r[channel, lag])


def _parameters(found: type[Component]) -> list[tuple[str, Any]]:
    return [(key, _Default(parameter.default)) for key, parameter in found.parameters().items()]


class _Default:
    """A parameter's default as it is shown."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "(required)" if self.value is inspect.Parameter.empty else repr(self.value)


def _first_line(found: type[Component]) -> str:
    paragraph = (inspect.getdoc(found) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def registry_table(manager: Manager) -> str:
    """Return the README's table of pipelines, in Markdown, from the catalogue."""
    rows = ["| pipeline | what it does | flow | presets |", "|---|---|---|---|"]
    for name, entry in sorted(manager.catalogue.pipelines.items()):
        if entry.plugin.reference:
            flow = " → ".join(map(str, entry.spec.get("flow") or []))
            presets = ", ".join(f"`{preset}`" for preset in entry.presets)
            rows.append(f"| `{name}` | {entry.spec.get('summary', '')} | {flow} | {presets} |")
    return "\n".join(rows)

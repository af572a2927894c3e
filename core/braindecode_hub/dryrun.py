"""`run --dry-run`: what a run would do, from the data itself, before anything is fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.chain import Chain, is_frozen
from braindecode_hub.controls import KINDS, left_out
from braindecode_hub.environment import context
from braindecode_hub.interfaces import Renderer
from braindecode_hub.manager import Manager
from braindecode_hub.overlap import check_overlap
from braindecode_hub.pipeline import Config, build, pipeline_part
from braindecode_hub.runner import Options
from braindecode_hub.splits import SIDES, Fold
from braindecode_hub.stretches import CHUNK_S
from braindecode_hub.study import Study


def dry_run(config: Config, options: Options, manager: Manager) -> str:
    """Return trials, splits, rates, units, lag, windows, what would be fitted, and memory; nothing is fitted.

    Nothing is written but the cache, which the run then reads.
    """
    ctx = context(
        seed=options.seed,
        device=options.device,
        cache=None if options.cache is None else Cache(options.cache),
        manager=manager,
        network=options.network,
        log=manager.tell,
    )
    pipeline = build(config["pipeline"], pipeline_part(config), manager)
    pipeline.dataset.prepare(ctx)
    study = Study(pipeline, ctx, subjects=options.subjects)
    folds = study.folds()[: options.folds]
    check_overlap(pipeline, folds, "val" if options.dev else "test")
    lines = [*_data_lines(study), *(line for fold in folds for line in _fold_lines(study, fold))]
    return "\n".join([*lines, *_work_lines(study, folds, dev=options.dev)])


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
            f"recording {id}: {channels} channels in {recording.brain.units or 'unknown units'} at {rate:g} Hz, "
            f"{recording.seconds:.1f} s, "
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
    yield from (f"note: {note}" for note in study.notes())
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
            order = f"brain {'follows' if lag >= 0 else 'leads'} the stimulus by {abs(lag) * 1000:.0f} ms"
            yield f"  lag{_of_subject(group)}: {order} (best channel, r = {r:.2f}, training side)"
        part = study.of_group(fold, group)
        views = {side: study.view(part, side, hidden=side == "test") for side in SIDES}
        counts = ", ".join(f"{side} {len(view)}" for side, view in views.items())
        yield f"  windows{_of_subject(group)}: {counts}{_window_told(study)}"


def _of_subject(group: Sequence[str]) -> str:
    return f" of subject {group[0]}" if len(group) == 1 and group[0] else ""


def _window_told(study: Study) -> str:
    window = study.pipeline.window
    if window.length_s is None:
        return " (one a trial)"
    hop = window.length_s if window.hop_s is None else window.hop_s
    return f" (of {window.length_s:g} s every {hop:g} s, {window.context_s:g} s of context to both sides)"


def _work_lines(study: Study, folds: Sequence[Fold], *, dev: bool) -> Iterator[str]:
    """Yield what a run would fit, and about how much memory and disk its arrays take."""
    config, pipeline = study.pipeline.config, study.pipeline
    learned = [f"targets.{name}.{n} ({use})" for name, chain in pipeline.targets.items() for n, use in _learning(chain)]
    learned += [f"encoder.{n} ({use})" for n, use in _learning(pipeline.encoder)]
    learned.append(f"decoder ({config['decoder']['use']})")
    if pipeline.renderer is not None and type(pipeline.renderer).fit is not Renderer.fit:
        learned.append(f"renderer ({config['renderer']['use']})")
    times = len(folds) * len(study.groups())
    how = f"{times} fits: " if times > 1 else ""
    yield f"would be fitted: {how}{', '.join(learned)}"
    if pipeline.baseline is not None:
        yield f"beside it: the baseline ({config['baseline']['use']}), on the same views"
    if pipeline.beside:
        yield f"beside it: {', '.join(pipeline.beside)}, on the same views"
    if dev:
        yield "controls: none (--dev)"
    else:
        without = left_out(study.trials, pipeline.encoder.continuous_part().steps)
        kinds = [kind for kind in KINDS if kind not in without]
        yield f"controls: {pipeline.decoder.control_refits} refits each of {', '.join(kinds)}, on the first fold"
        yield from (f"  not {kind}: {why}" for kind, why in without.items())
    yield from _memory_lines(study, folds[0])


def _learning(chain: Chain) -> list[tuple[int, str]]:
    steps = zip(chain.names, chain.steps, strict=True)
    return [(number, name) for number, (name, step) in enumerate(steps) if not is_frozen(step)]


def _memory_lines(study: Study, fold: Fold) -> Iterator[str]:
    """Yield bytes that are known before a fit: prepared arrays on disk, one batch, the longest chunk of a recording."""
    part = study.of_group(fold, study.groups()[0])
    views = [study.view(part, side, hidden=side == "test") for side in SIDES]
    arrays = {id(item.brain.data): item.brain.data for view in views for item in view.items}
    disk = sum(4.0 * math.prod(array.shape) for array in arrays.values())
    batch = next(views[0].batches(min(64, len(views[0]))))
    held = batch.brain.nbytes + sum(array.nbytes for array in batch.target.values())
    recordings = {trial.recording for trial in part.train}
    widest = max(
        4.0 * brain.data.shape[0] * min(brain.data.shape[-1], CHUNK_S * 2 * (brain.rate or 1.0))
        for brain in (study.pipeline.dataset.recording(id).brain for id in recordings)
    )
    whole = batch.brain.nbytes / len(batch) * len(views[0])
    yield f"memory, at least: {_size(widest)} of raw signal at a time while encoding, {_size(held)} for 64 windows"
    yield f"  all training windows at once would be {_size(whole)}; encoded brain on disk (cache): {_size(disk)}"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def training_lag(study: Study, fold: Fold, reach_s: float = 0.5) -> tuple[float, float] | None:
    """Return (lag in s, |r|) at which one channel follows the target's mean best, on the training side.

    None where the target does not run in time.
    """
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

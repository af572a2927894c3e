"""What anybody hands in to be judged: predictions beside targets, checked, and cut so that no second counts twice.

Overlapping windows are found by their start seconds, or by what their targets share; they become one stretch in which
predictions are averaged. What cannot be scored is an error; what weakens a score is a warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.flaws import EQUAL, equal, flaws, spread
from braindecode_hub.reading import NUMBERS, as_text
from braindecode_hub.scoring import Scored
from braindecode_hub.splits import SIDES
from braindecode_hub.types import Array

PROBES = 40
"""Pairs of neighbouring windows that are looked at for an overlap."""
FEWEST_SHARED = 4
"""Frames that two windows must share to be called overlapping by their content."""
SIDE_NAMES = {"training": "train", "tr": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
SMALLEST, LARGEST = 1e-30, 1e30
"""Between these, float32 keeps every digit, and squares stay finite in float64."""
LABELS = ("subject", "recording", "stimulus", "trial", "side", "start", "stop", "stimulus_start")
"""What may be given for every trial."""


@dataclass(frozen=True)
class Window:
    """One trial as it was handed in: (frames, bins), or (features,) where static. Seconds where they are known."""

    predicted: Array
    target: Array
    subject: str = ""
    recording: str = ""
    stimulus: str | None = None
    start: float | None = None
    stop: float | None = None
    stimulus_start: float | None = None


@dataclass
class Submission:
    """Checked windows, frames per second (None: static), the training targets' mean, and what is to be said."""

    windows: list[Window]
    rate: float | None
    train: Array | None = None
    center: Array | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def items(self) -> list[Scored]:
        """Return the stretches that are scored."""
        found = []
        for number, one in enumerate(self.windows):
            start = one.stimulus_start if one.stimulus is not None or one.start is None else one.start
            name = one.stimulus if one.stimulus is not None else one.recording or f"trial {number}"
            found.append(Scored(f"trial-{number:04d}", one.subject, name, start or 0.0, one.target, one.predicted))
        return found


def submit(
    predicted: Array | Sequence[Array],
    target: Array | Sequence[Array],
    *,
    rate: float | None = None,
    static: bool = False,
    train: Array | Sequence[Array] | None = None,
    center: Array | None = None,
    labels: Mapping[str, Any] | None = None,
) -> Submission:
    """Check what was handed in and make it a Submission; see `judging.score` for the arguments.

    Raises HubError for shapes that differ, values that are not finite, and labels of another length.
    """
    given = {name: value for name, value in (labels or {}).items() if value is not None}
    notes: list[str] = []
    guesses, truths = _trials(predicted, "predicted", rate, static, given), None
    truths = _trials(target, "target", rate, static, given)
    _check_shapes(guesses, truths)
    _check_finite(truths, "target")
    columns = _columns(given, len(truths))
    sides = _sides(columns.pop("side", None))
    trial = columns.pop("trial", None)
    if trial is not None and "stimulus" not in columns:
        columns["stimulus"] = trial
    kept = [n for n in range(len(truths)) if sides is None or sides[n] == "test"]
    if not kept:
        raise HubError("no trial is on the test side", "check the sides: train, val and test", usage=True)
    _check_finite([guesses[n] for n in kept], "predicted")
    trained = None if train is None else _rows(train, "train", rate, static)
    if sides is not None:
        notes.append(f"{len(kept)} of {len(sides)} trials are on the test side and are scored")
        own = [truths[n] for n in range(len(truths)) if sides[n] == "train"]
        if trained is None and own:
            trained = np.stack(own) if rate is None else np.concatenate(own)
            notes.append(f"the centre is the mean target of the {len(own)} training trials")
    windows = [Window(guesses[n], truths[n], **{name: values[n] for name, values in columns.items()}) for n in kept]
    made = Submission(windows, rate, trained, notes=notes)
    made.center = _center(center, made)
    found = flaws([one.predicted for one in windows], [one.target for one in windows], rate, made.train)
    made.warnings += found[0]
    made.notes += found[1]
    _cut_overlaps(made)
    return made


def side_name(value: str) -> str:
    """Return train, val or test for the usual ways to write them; other names stay."""
    plain = value.strip().lower()
    return SIDE_NAMES.get(plain, plain)


# Shapes and values


def _trials(x: Any, name: str, rate: float | None, static: bool, given: Mapping[str, Any]) -> list[Array]:
    """Return one array a trial: (frames, bins), or (features,) where nothing runs in time."""
    if isinstance(x, list | tuple) and x and all(np.ndim(one) > 0 for one in x):
        parts = [_numbers(one, name) for one in x]
    else:
        array = _numbers(x, name)
        if array.ndim == 0:
            raise HubError(f"{name} is one value", "give an array with one row a trial", usage=True)
        if rate is None:
            if array.ndim > 2 and not static:
                raise HubError(
                    f"{name} has shape {array.shape}, and its frames per second are not given",
                    "give the rate in Hz (--rate), or say that nothing runs in time (--static)",
                    usage=True,
                )
            return list(array.reshape(len(array), -1))
        labelled = any(np.ndim(v) and np.size(v) == len(array) > 1 for k, v in given.items() if k in LABELS)
        parts = list(array[..., None]) if array.ndim == 2 and labelled else list(array)
        if array.ndim <= 2 and not labelled:
            parts = [array]
    if rate is None:
        return [row.reshape(-1) for part in parts for row in (part if part.ndim > 1 else part[None])]
    return [part.reshape(len(part), -1) for part in parts]


def _rows(x: Any, name: str, rate: float | None, static: bool) -> Array:
    """Return training targets as (frames, bins), or (trials, features)."""
    parts = _trials(x, name, rate, static, {})
    _check_finite(parts, name)
    return np.concatenate(parts) if rate is not None else np.stack(parts)


def _numbers(x: Any, name: str) -> Array:
    array = np.asarray(x)
    if array.dtype.kind not in NUMBERS or array.size == 0:
        what = "is empty" if array.size == 0 else f"holds {array.dtype}, not real numbers"
        raise HubError(f"{name} {what}", "give an array of numbers, one row a trial", usage=True)
    return array.astype(np.float32) if array.dtype.kind == "b" else array


def _check_shapes(predicted: Sequence[Array], target: Sequence[Array]) -> None:
    if len(predicted) != len(target):
        raise HubError(f"{len(predicted)} predictions for {len(target)} targets", "give each target its prediction")
    for number, (guess, true) in enumerate(zip(predicted, target, strict=True)):
        if guess.shape != true.shape:
            raise HubError(
                f"trial {number}: predicted has shape {guess.shape} and target {true.shape}",
                "cut both to the same frames and bins; nothing is stretched or padded",
            )
        if true.shape[1:] != target[0].shape[1:] or (true.ndim == 1 and true.shape != target[0].shape):
            raise HubError(f"trial {number} has {true.shape[-1]} bins, trial 0 {target[0].shape[-1]}", "give one space")
        if true.ndim == 2 and len(true) < 2:
            raise HubError(
                f"trial {number} has one frame", "give longer trials, or say that they are static (--static)"
            )


def _check_finite(arrays: Sequence[Array], name: str) -> None:
    bad = [number for number, array in enumerate(arrays) if not np.isfinite(array).all()]
    if bad:
        raise HubError(
            f"{name} holds NaN or infinity in {len(bad)} of {len(arrays)} trials, first in trial {bad[0]}",
            "leave those trials out of predictions and targets alike, or repair them",
        )
    most = max(float(np.abs(array.astype(np.float64)).max(initial=0.0)) for array in arrays)
    if not most == 0 and not SMALLEST < most < LARGEST:
        raise HubError(f"{name} reaches {most:.3g}, and scores are computed in float32", "give it in another unit")


def _columns(given: Mapping[str, Any], count: int) -> dict[str, list[Any]]:
    """Return labels as one value a trial: text, or seconds."""
    found: dict[str, list[Any]] = {}
    for name, value in given.items():
        seconds = name in ("start", "stop", "stimulus_start")
        flat = np.asarray(value).reshape(-1)
        if flat.size == 1 and count > 1:
            flat = np.repeat(flat, count) if not seconds else flat
        if flat.size != count:
            raise HubError(f"{flat.size} values of {name} for {count} trials", "give one for each trial", usage=True)
        if seconds and flat.dtype.kind not in NUMBERS:
            raise HubError(f"{name} holds {flat.dtype}, not numbers", "give seconds for every trial", usage=True)
        found[name] = [float(v) for v in flat] if seconds else as_text(flat)
        if seconds and not np.isfinite(found[name]).all():
            raise HubError(f"{name} holds NaN or infinity", "give seconds for every trial, or leave the field out")
    if {"start", "stop"} <= set(found) and any(b <= a for a, b in zip(found["start"], found["stop"], strict=True)):
        raise HubError("a trial stops before it starts", "give start and stop in seconds", usage=True)
    return found


def _sides(values: Sequence[str] | None) -> list[str] | None:
    if values is None:
        return None
    named = [side_name(value) for value in values]
    unknown = sorted(set(named) - {*SIDES, "unused"})
    if unknown:
        raise HubError(f"a trial's side is '{unknown[0]}'", "name the sides train, val and test", usage=True)
    return named


def _center(center: Array | None, made: Submission) -> Array | None:
    """Return what identification subtracts, (bins,) or (features,); never anything of the test side."""
    wanted = made.windows[0].target.shape[-1]
    if center is None:
        if made.train is None:
            made.warnings.append(
                "no training targets were given: identification subtracts nothing (a zero centre). The test side's "
                "own mean is never used. Give train targets, sides, or --center"
            )
            return None
        if made.train.shape[-1] != wanted:
            raise HubError(
                f"the training targets have {made.train.shape[-1]} bins, the test side {wanted}", "give one space"
            )
        return np.asarray(made.train, np.float64).mean(axis=0)
    flat = np.asarray(center, np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        raise HubError("the centre holds NaN or infinity", "give the training targets' mean")
    if flat.size != wanted:
        raise HubError(f"the centre has {flat.size} values for {wanted} bins", "give the training targets' mean")
    return flat


# Overlap


def _cut_overlaps(made: Submission) -> None:
    """Join windows that share seconds (or follow each other unasked) into stretches in which none counts twice."""
    if made.rate is None:
        made.windows = _apart(made)
        return
    windows = _with_starts(made)
    if windows is None:
        return
    stretches: list[list[tuple[int, Window]]] = []
    last: tuple[str, str] | None = None
    end = 0
    shared = 0
    for at, window in sorted(
        ((round((w.start or 0.0) * made.rate), w) for w in windows), key=lambda p: (p[1].subject, p[1].recording, p[0])
    ):
        owner = (window.subject, window.recording)
        joins = owner == last and (at < end or (at == end and _goes_on(stretches[-1][-1][1], window)))
        if joins:
            shared += max(0, min(end - at, len(window.target)))
            stretches[-1].append((at, window))
        else:
            stretches.append([(at, window)])
        end = max(end, at + len(window.target)) if joins else at + len(window.target)
        last = owner
    total = sum(len(window.target) for window in windows)
    if shared:
        made.warnings.append(
            f"windows overlap: {100 * shared / total:.0f} % of their frames are counted before. They were joined to "
            f"{len(stretches)} stretches, predictions averaged: as separate trials they would make p too small"
        )
    joined = [_joined(some, made.rate) for some in stretches]
    apart = sum(disagree for _, disagree in joined)
    if apart:
        made.warnings.append(
            f"{apart} overlapping windows hold other targets for the same second: are the start seconds and the rate "
            "right, or are targets normalised window by window?"
        )
    made.windows = [window for window, _ in joined]


def _goes_on(before: Window, after: Window) -> bool:
    """Say whether a window that follows directly presents more of the same."""
    return before.stimulus == after.stimulus


def _joined(some: Sequence[tuple[int, Window]], rate: float) -> tuple[Window, int]:
    """Return one window in place of overlapping ones, and how many of them contradict the earlier targets."""
    first, origin = some[0][1], some[0][0]
    if len(some) == 1:
        return first, 0
    frames = max(at + len(window.target) for at, window in some) - origin
    shape = (frames, first.target.shape[1])
    target, total, weight = np.zeros(shape, np.float32), np.zeros(shape), np.zeros((frames, 1))
    scale = float(np.std(np.concatenate([window.target for _, window in some]))) or 1.0
    disagree = 0
    for at, window in some:
        where = slice(at - origin, at - origin + len(window.target))
        known = weight[where, 0] > 0
        disagree += bool(known.any() and np.abs(target[where][known] - window.target[known]).max() > 1e-3 * scale)
        target[where] = np.where(known[:, None], target[where], window.target)
        total[where] += window.predicted
        weight[where] += 1
    names = {window.stimulus for _, window in some}
    stimulus = first.stimulus if len(names) == 1 else f"{first.recording or first.subject}@{origin / rate:.2f}"
    return replace(first, target=target, predicted=(total / weight).astype(np.float32), stimulus=stimulus), disagree


def _with_starts(made: Submission) -> list[Window] | None:
    """Return the windows with the seconds at which they start; None where nothing says that they touch."""
    windows = made.windows
    if all(window.start is not None for window in windows):
        places = {(w.subject, w.recording, w.start) for w in windows}
        several = len({w.stimulus for w in windows}) > 1
        if several and len(places) < len(windows) and len({(*_owner(w), w.start) for w in windows}) == len(windows):
            made.notes.append("different stimuli start at the same second: starts are read as seconds of each stimulus")
            return [replace(w, recording=f"{w.recording}/{w.stimulus}", stimulus_start=w.start) for w in windows]
        _check_starts(windows, made.rate or 1.0)
        return windows
    if len(windows) < 3 or len({len(window.target) for window in windows}) > 1:
        return None
    hop, touching = _hop(windows)
    if hop is None:
        return None
    frames = len(windows[0].target)
    how = f"share {100 * (1 - hop / frames):.0f} % of their targets" if hop < frames else "follow each other in time"
    made.notes.append(f"no start seconds were given, but neighbouring windows {how}: read as {hop} frames apart")
    found, at, piece = [], 0, 0
    for number, window in enumerate(windows):
        if number:
            at, piece = (at + hop, piece) if touching[number - 1] else (0, piece + 1)
        found.append(replace(window, start=at / (made.rate or 1.0), recording=f"{window.recording}/piece {piece}"))
    return found


def _check_starts(windows: Sequence[Window], rate: float) -> None:
    """Raise HubError for windows that are apart by their starts, but share their targets: milliseconds, or samples."""
    frames = len(windows[0].target)
    if len(windows) < 3 or any(len(window.target) != frames for window in windows):
        return
    ordered = sorted(windows, key=lambda w: (w.subject, w.recording, w.start or 0.0))
    pairs = [(a, b) for a, b in pairwise(ordered) if (a.subject, a.recording) == (b.subject, b.recording)]
    if any(((b.start or 0.0) - (a.start or 0.0)) * rate < frames - 0.5 for a, b in pairs):
        return
    hop, _ = _hop(ordered)
    if hop is not None and hop < frames:
        raise HubError(
            f"neighbouring windows share {100 * (1 - hop / frames):.0f} % of their targets, but by their starts they "
            "are apart",
            "give the starts in seconds of the recording: are these milliseconds, or samples?",
            usage=True,
        )


def _owner(window: Window) -> tuple[str, str, str | None]:
    return window.subject, window.recording, window.stimulus


def _hop(windows: Sequence[Window]) -> tuple[int | None, Array]:
    """Return how many frames apart neighbouring windows begin, by their targets, and which pairs touch so."""
    stack = np.stack([window.target for window in windows])
    same = np.array([_owner(a)[:2] == _owner(b)[:2] for a, b in pairwise(windows)])
    pairs = np.flatnonzero(same)
    if not len(pairs):
        return None, same
    probes = pairs[np.unique(np.linspace(0, len(pairs) - 1, PROBES).astype(int))]
    frames, near = stack.shape[1], EQUAL * spread(stack)
    for hop in range(1, frames - FEWEST_SHARED + 1):
        hits = [k for k in probes if equal(stack[k, hop], stack[k + 1, 0], near)]
        if 2 * len(hits) > len(probes) and 2 * sum(_shares(stack, k, hop, near) for k in hits) > len(probes):
            return hop, same & np.array([_shares(stack, k, hop, near) for k in range(len(stack) - 1)])
    named = any(window.stimulus is not None for window in windows)
    if not named and len(pairs) >= 10 and _continues(stack, pairs):
        return frames, same
    return None, same


def _shares(stack: Array, k: int, hop: int, near: float) -> bool:
    shared = stack[k, hop:]
    return bool(np.ptp(shared) > 0 and equal(shared, stack[k + 1, : len(shared)], near))


def _continues(stack: Array, pairs: Array) -> bool:
    """Say whether windows begin where the one before ended: last and first frames as alike as any two neighbours."""
    within = _alike(stack[pairs, -2], stack[pairs, -1])
    across = _alike(stack[pairs, -1], stack[pairs + 1, 0])
    return across > 0.3 and across > 0.5 * within


def _alike(a: Array, b: Array) -> float:
    """Return the mean over bins of the correlation over rows."""
    a, b = (np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(np.mean(np.where(norm > 0, (a * b).sum(axis=0) / np.where(norm > 0, norm, 1.0), 0.0)))


def _apart(made: Submission) -> list[Window]:
    """Return static trials without those that begin before an earlier one of their recording has ended."""
    if any(window.start is None for window in made.windows):
        return made.windows
    if any(window.stop is None for window in made.windows):
        made.warnings.append("start seconds without stop: whether trials overlap cannot be seen")
        return made.windows
    kept: list[int] = []
    ends: dict[tuple[str, str], float] = {}
    for number in sorted(range(len(made.windows)), key=lambda n: made.windows[n].start or 0.0):
        window = made.windows[number]
        owner = (window.subject, window.recording)
        if (window.start or 0.0) >= ends.get(owner, -math.inf) - 1e-6:
            kept.append(number)
            ends[owner] = window.stop or 0.0
    left = len(made.windows) - len(kept)
    if left:
        made.warnings.append(f"{left} of {len(made.windows)} trials overlap an earlier one and are left out")
    return [made.windows[number] for number in sorted(kept)]

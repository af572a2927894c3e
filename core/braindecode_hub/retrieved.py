"""What was retrieved, to hear and to see: the test side as its nearest candidates, and the tables behind it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.evaluation import WORDS, Items, Judge
from braindecode_hub.files import file_name, write_whole
from braindecode_hub.interfaces import RETRIEVAL, Candidate, Renderer
from braindecode_hub.media import SIMULATED, as_media
from braindecode_hub.retrieval import Pool
from braindecode_hub.scoring import Units
from braindecode_hub.splits import TEXTS
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Context, Signal, Space

SHOWN = 12
"""Test windows whose nearest candidates are written as clips."""
BEST = 5
"""Candidates of each."""
TOUCHING = 0.05
"""Seconds of a neighbouring trial that do not make its text that of a window."""


@dataclass
class Retrieved:
    """`arrays` and `about`, for details.safetensors; `files`: the media that were written.

    arrays: for every fit n, retrieval/n/scores (queries, candidates) float32, retrieval/n/own (queries,) int64,
    retrieval/n/shown (≤ 12,) int64, which queries have clips. about: of every fit its subjects (codes) a query, the
    seconds of a window, the space that was compared, and text and clip (a file in artifacts, or null) a candidate.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    about: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def look_up(study: Study, judge: Judge, items: Items, folder: Path, ctx: Context) -> Retrieved:
    """Write every subject's test side as it was and as it was retrieved, and clips of the nearest candidates."""
    done = Retrieved()
    space = judge.retrieval(items)
    units, center = judge.units(items)[space], judge.center(space)
    for number, pool in enumerate(judge.pools(items)):
        candidates = _candidates(study, judge, pool, units, center)
        shown = _shown(pool)
        done.arrays |= {
            f"retrieval/{number}/scores": pool.scores.astype(np.float32),
            f"retrieval/{number}/own": pool.own.astype(np.int64),
            f"retrieval/{number}/shown": shown,
        }
        label = file_name(pool.fit.split("/")[0]) if pool.fit else f"fit-{number}"
        wanted = sorted(
            {int(k) for row in shown for k in np.argsort(-pool.scores[row], kind="stable")[:BEST]}
            | {*pool.own[shown].tolist()}
        )
        clips = {k: _clip(study, label, k, one, folder, done) for k, one in enumerate(candidates) if k in wanted}
        done.about.append(
            {
                "space": space,
                "seconds": units.seconds,
                "subjects": [study.codes.get(name, name) for name in pool.subjects],
                "candidates": [{"text": one.text, "clip": clips.get(k)} for k, one in enumerate(candidates)],
            }
        )
        renderer = study.renderer(units.fits[int(pool.rows[0])])
        if renderer is not None and renderer.retrieves:
            _play(study, renderer, pool, units, center, candidates, label, folder, ctx, done)
    return done


def _candidates(study: Study, judge: Judge, pool: Pool, units: Units, center: Array) -> list[Candidate]:
    space = study.pipeline.stimulus_space(judge.main)
    timed = WORDS in [one.name for one in study.pipeline.dataset.stimuli_spaces]
    found = []
    for k in pool.first:
        row = int(pool.rows[k])
        stimulus, _, at = units.ids[row].rpartition("@")
        start, stop = float(at), float(at) + units.seconds
        words = study.pipeline.dataset.stimulus(stimulus, Space(WORDS)).data if timed else []
        text = " ".join(str(word) for word, low, high in words if low < stop and high > start)
        text = text or ("" if timed else _told(study, stimulus, start, stop))
        media = _stretch(study.pipeline.dataset.stimulus(stimulus, space), start, stop)
        found.append(Candidate(np.asarray(units.target[row] - center, np.float32), stimulus, start, stop, media, text))
    return found


def _told(study: Study, stimulus: str, start: float, stop: float) -> str:
    """Return the texts of the trials that present these seconds of a stimulus, where they have any as a group."""
    found: list[tuple[float, str]] = []
    for trial in study.trials:
        low, high = trial.stimulus_start, trial.stimulus_stop
        if (
            trial.stimulus != stimulus
            or low is None
            or high is None
            or low >= stop - TOUCHING
            or high <= start + TOUCHING
        ):
            continue
        text = next((str(trial.groups[key]).strip() for key in sorted(TEXTS) if key in trial.groups), "")
        found += [(low, text)] if text else []
    return " / ".join(dict.fromkeys(text for _, text in sorted(found)))


def _stretch(signal: Signal, start: float, stop: float) -> Signal:
    if signal.rate is None:
        return signal
    first, last = round(start * signal.rate), round(stop * signal.rate)
    return dataclasses.replace(signal, data=np.asarray(signal.data[first:last]))


def _shown(pool: Pool) -> Array:
    """Return evenly spread queries, (≤ `SHOWN`,)."""
    count = min(SHOWN, len(pool.own))
    return np.unique(np.linspace(0, len(pool.own) - 1, count).round().astype(np.int64))


def _clip(study: Study, label: str, number: int, one: Candidate, folder: Path, done: Retrieved) -> str | None:
    if one.media is None:
        return None
    for artifact in as_media("candidate", one.media):
        path = folder / f"{_prefix(study)}{label}.candidate-{number:04d}{artifact.suffix}"
        write_whole(path, artifact.data)
        done.files.append(path)
        return path.name
    return None


def _play(
    study: Study,
    renderer: Renderer,
    pool: Pool,
    units: Units,
    center: Array,
    candidates: list[Candidate],
    label: str,
    folder: Path,
    ctx: Context,
    done: Retrieved,
) -> None:
    """Write, for each subject, what was presented and what was retrieved instead, in the order of the test side."""
    renderer.index(dict(zip(pool.ids, candidates, strict=True)))
    for subject in sorted(set(pool.subjects)):
        own = [k for k, name in enumerate(pool.subjects) if name == subject]
        rows = pool.rows[own]
        sides = {
            "original": np.stack([candidates[pool.own[k]].place for k in own]),
            "retrieved": np.asarray(units.predicted[rows] - center, np.float32),
        }
        for side, values in sides.items():
            for place, artifact in enumerate(renderer.render({RETRIEVAL: values}, ctx)):
                part = f".{place}" if place else ""
                name = f"{_prefix(study)}{label}-{study.codes.get(subject, subject) or 'all'}.{side}{part}"
                path = folder / file_name(name + artifact.suffix)
                write_whole(path, artifact.data)
                done.files.append(path)


def _prefix(study: Study) -> str:
    return SIMULATED if study.pipeline.dataset.simulated else ""

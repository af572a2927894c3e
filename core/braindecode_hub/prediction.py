"""A fitted run applied to recordings it has never seen: piece by piece, so that length costs no memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.facts import fitted_to, width_of
from braindecode_hub.files import TEMPORARY, load_arrays
from braindecode_hub.fitted import STATE, Fitted, unfitted
from braindecode_hub.interfaces import Dataset
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import Pipeline, build, pipeline_part, plugins_of
from braindecode_hub.stretches import Stretch, prepare_brain
from braindecode_hub.types import Array, Prediction, Recording, Space, Trial
from braindecode_hub.view import View, make_item

if TYPE_CHECKING:
    from braindecode_hub.runfolder import Run

LARGE_BYTES = 1 << 28
"""Recordings above this are prepared in a temporary folder, others in memory."""

Piece = tuple[str, str, int, Array]
"""What is yielded: the item's name, the target, the first frame, and values (frames, …) in the target's own units."""


@dataclass(frozen=True)
class Fit:
    """One fit of a run: what it learned, the facts it was fitted on, its pipeline, and its name (a subject, or all)."""

    name: str
    fitted: Fitted
    facts: dict[str, Any]
    pipeline: Pipeline


class Fits:
    """The fits of one fold of a run, loaded when they are asked for; or the one in the file `state`, that was adapted.

    Raises HubError if a plugin is not installed, or the run did not get as far as a fit.
    """

    def __init__(self, run: Run, fold: int, manager: Manager | None = None, state: Path | None = None) -> None:
        manager = Manager() if manager is None else manager
        check_plugins(run, manager)
        self.run, self.fold = run, fold
        self.pipeline = build(run.config["pipeline"], pipeline_part(run.config), manager)
        self.states = states_of(run, fold) if state is None else {_adapted_name(run, state): state}
        self._codes = (run.split.get("codes") or {}) if (run.path / "split.json").is_file() else {}
        self._loaded: dict[str, Fit] = {}

    def of(self, recording: Recording, subject: str | None) -> Fit:
        """Return the fit of `subject`; by default that of the recording's own subject, or the only one.

        Raises HubError if there is no such fit, or several that would do.
        """
        known = list(self.states)
        subject = self._codes.get(subject, subject) if subject is not None else None
        if subject is None:
            own = self._codes.get(recording.subject, recording.subject)
            subject = own if own in self.states else known[0] if len(known) == 1 else None
        if subject is None:
            raise HubError(
                f"{self.run.path.name} has a fit for each of {', '.join(known)}, and none of '{recording.subject}'",
                f"say whose to use: --subject {known[0]}",
                usage=True,
            )
        if subject not in self.states:
            raise HubError(
                f"{self.run.path.name} has no fit of subject '{subject}'", f"it has {', '.join(known)}", usage=True
            )
        if subject not in self._loaded:
            arrays, info = load_arrays(self.states[subject])
            fitted = unfitted(self.pipeline)
            fitted.load_state(arrays, info["values"])
            self._loaded[subject] = Fit(subject, fitted, info["facts"], self.pipeline)
        return self._loaded[subject]


def _adapted_name(run: Run, state: Path) -> str:
    wrong = f"name one whose name ends in {STATE}"
    if not state.is_file() or not state.name.endswith(STATE):
        raise HubError(f"{state} is no file that `adapt` wrote", wrong, usage=True)
    of = load_arrays(state)[1].get("of")
    if of is None:
        raise HubError(f"{state} is no file that `adapt` wrote", wrong, usage=True)
    if of != mark_of(run):
        raise HubError(f"{state} was adapted from another run than {run.path.name}", "name that run", usage=True)
    return state.name.removesuffix(STATE)


def mark_of(run: Run) -> str:
    """Return a hash of what a run is made of, its configuration and split, by which its adaptations know it."""
    told = json.dumps([run.config, run.split], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def states_of(run: Run, fold: int) -> dict[str, Path]:
    """Return the files of a fold's fits by name; HubError saying how far the run got if there are none."""
    folder = run.path / f"fold-{fold}"
    found = {path.name.removesuffix(STATE): path for path in sorted(folder.glob(f"*{STATE}"))}
    if not found:
        cause = f"{run.path.name} has no fitted fold {fold}: it is {run.status}"
        there = sorted(path.parent.name for path in run.path.glob(f"fold-*/*{STATE}"))
        raise HubError(cause, f"it has {', '.join(dict.fromkeys(there))}" if there else "finish it: `run … --resume`")
    return found


def check_plugins(run: Run, manager: Manager) -> None:
    """Raise HubError, naming it, if a plugin that a run was made with is not installed."""
    for plugin in plugins_of(run.config):
        if plugin != "core" and plugin not in manager.catalogue.plugins:
            why = manager.catalogue.broken.get(plugin)
            told = f"cannot be used: {why}" if why else "is not installed"
            raise HubError(
                f"{run.path.name} was made with plugin '{plugin}', which {told}",
                "see `braindecode-hub doctor`" if why else f"install {plugin}, or put its file in this folder",
            )


def predict_recording(run: Run, recording: Recording, *, fold: int, subject: str | None) -> Prediction:
    """Decode the whole of `recording` with the run's fit; see `Run.predict`."""
    fits = Fits(run, fold)
    alone = _Alone(fits.pipeline.dataset.brain, recording)
    with preparing(recording) as cache:
        [found] = _assembled(pieces_of(fits.of(recording, subject), recording, alone, cache)).values()
    return found


def predict_dataset(run: Run, dataset: Dataset, *, fold: int, subject: str | None) -> dict[str, Prediction]:
    """Decode every recording of a prepared dataset: {recording (or trial, for what does not run in time): arrays}."""
    fits = Fits(run, fold)
    found: dict[str, Prediction] = {}
    for id, trials in trials_by_recording(dataset).items():
        recording = dataset.recording(id)
        with preparing(recording) as cache:
            pieces = pieces_of(fits.of(recording, subject), recording, dataset, cache, trials)
            found |= _assembled(pieces)
    return found


def pieces_of(
    fit: Fit, recording: Recording, dataset: Dataset, cache: Cache, trials: Sequence[Trial] = ()
) -> Iterator[Piece]:
    """Decode a recording and yield its pieces in order of time, as soon as each is final.

    Frame n of a target is at n / its rate seconds of the recording; filters restart at breaks, and a frame that a
    break cuts repeats the one before. A pipeline whose targets do not run in time decodes `trials`, one value each.
    Raises HubError if the sensors are not the fit's, or the recording is not finite.
    """
    recording, _ = fitted_to(recording, fit.facts)
    rates: dict[str, float | None] = fit.facts["rates"]
    clocked = any(rate is not None for rate in rates.values())
    stretches = _unbroken(recording)
    if not clocked:
        _check_trials(recording, stretches, trials)
    items = []
    for stretch in stretches:
        inside = [_timed(stretch, recording)] if clocked or not trials else [t for t in trials if _within(t, stretch)]
        if clocked and not any(_frames(stretch, rate) for rate in rates.values()):
            continue
        chain = fit.pipeline.encoder.continuous_part()
        prepared = prepare_brain(dataset, chain.steps, stretch, cache, recording)
        items += [
            make_item(t, brain=prepared, recording=recording.about(), spaces=rates, stimuli=None, hidden_as=n)
            for n, t in enumerate(inside)
        ]
    if not items:
        raise HubError(
            f"recording {recording.id} is too short to decode ({recording.seconds:.3g} s)", "give more of it"
        )
    view = _view(fit, dataset.brain, items, recording)
    made = rates_of(fit)
    reached: dict[str, tuple[int, Array | None]] = dict.fromkeys(made, (0, None))
    for number, name, first, values in view.flow(fit.fitted.decode):
        if name in fit.fitted.targets:
            values = np.asarray(fit.fitted.targets[name].invert(values[None])[0], np.float32)
        rate = made[name]
        if rate is None:
            yield (items[number].trial.id if trials and not clocked else recording.id), name, 0, values
            continue
        at = first + _first_frame(items[number].trial.start, rate)
        done, last = reached[name]
        if at > done:
            yield recording.id, name, done, np.repeat(values[:1] if last is None else last, at - done, axis=0)
        if len(values):
            yield recording.id, name, at, values
            reached[name] = at + len(values), values[-1:]


def rates_of(fit: Fit) -> dict[str, float | None]:
    """Return the frame rate of everything that a fit predicts: the targets, and the space that it has learned."""
    rates: dict[str, float | None] = fit.facts["rates"]
    learned = fit.fitted.decoder.learned_space
    return rates if learned is None else {**rates, learned.name: next(iter(rates.values()))}


def trials_by_recording(dataset: Dataset) -> dict[str, list[Trial]]:
    """Return the trials of each recording; HubError if there is none."""
    found: dict[str, list[Trial]] = {}
    for trial in dataset.trials():
        found.setdefault(trial.recording, []).append(trial)
    if not found:
        raise HubError("there is no recording to predict from", "check the data's files")
    return dict(sorted(found.items()))


@contextmanager
def preparing(recording: Recording, folder: Path | None = None) -> Iterator[Cache]:
    """Give a cache to prepare one recording in: memory, or for a large one a temporary folder in `folder`."""
    if 4 * float(np.prod(recording.brain.data.shape)) <= LARGE_BYTES:
        yield Cache(None)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as temporary:
        yield Cache(Path(temporary))


class _Alone(Dataset):
    """One recording that belongs to no dataset."""

    def __init__(self, brain: Space, recording: Recording) -> None:
        self._brain, self._recording = brain, recording

    def configuration(self) -> dict[str, Any]:
        return {}

    @property
    def brain(self) -> Space:
        return self._brain

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        return ()

    def trials(self) -> Sequence[Trial]:
        return []

    def recording(self, id: str) -> Recording:
        return self._recording

    def stimulus(self, id: str, space: Space) -> Any:
        raise HubError(f"nothing was presented in {id}", "give a dataset")

    def fingerprint(self) -> str:
        return "one recording, kept nowhere"


def _view(fit: Fit, brain: Space, items: Sequence[Any], recording: Recording) -> View:
    chain = fit.pipeline.encoder.continuous_part()
    space = chain.check(replace(brain, rate="*" if brain.rate is not None else None), "recording")
    rates = fit.facts["rates"]
    served = fit.facts.get("subjects") or []
    return View(
        items,
        window=fit.pipeline.window,
        space=replace(space, rate=items[0].brain.rate) if space.rate is not None else space,
        targets={name: replace(fit.pipeline.frozen_target_space(name), rate=rate) for name, rate in rates.items()},
        subjects=served if recording.subject in served else [recording.subject],
        channels=width_of(fit.facts),
    )


def _unbroken(recording: Recording) -> list[Stretch]:
    edges = [0.0, *sorted(at for at in recording.breaks if 0 < at < recording.seconds), recording.seconds]
    return [Stretch(recording.id, low, high) for low, high in pairwise(edges)]


def _timed(stretch: Stretch, recording: Recording) -> Trial:
    """Return the stretch as a trial whose stimulus has the recording's own clock."""
    known = {"subject": recording.subject, "session": recording.session}
    clock = stretch.start, stretch.stop
    return Trial("recording", stretch.source, *clock, "unknown", *clock, {k: v for k, v in known.items() if v})


def _within(trial: Trial, stretch: Stretch) -> bool:
    return stretch.start - 1e-6 <= trial.start and trial.stop <= stretch.stop + 1e-6


def _check_trials(recording: Recording, stretches: Sequence[Stretch], trials: Sequence[Trial]) -> None:
    """Refuse what would be decoded in pieces or left out: targets that do not run in time have one value a trial."""
    if not trials and len(stretches) > 1:
        raise HubError(
            f"recording {recording.id} has breaks, and what this run predicts does not run in time",
            "give a dataset, whose trials say what to decode",
        )
    for trial in trials:
        if not any(_within(trial, stretch) for stretch in stretches):
            broken = len(stretches) > 1 and trial.start >= -1e-6 and trial.stop <= recording.seconds + 1e-6
            where = f"runs across a break of {recording.id}" if broken else f"lies outside recording {recording.id}"
            raise HubError(f"trial {trial.id} {where}", "check its start and stop, in seconds")


def _first_frame(start: float, rate: float) -> int:
    return int(np.ceil(start * rate - 1e-6))


def _frames(stretch: Stretch, rate: float | None) -> int:
    if rate is None:
        return 0
    return max(0, int(np.floor(stretch.stop * rate + 1e-6)) - _first_frame(stretch.start, rate))


def _assembled(pieces: Iterator[Piece]) -> dict[str, Prediction]:
    found: dict[str, dict[str, list[Array]]] = {}
    for item, name, _, values in pieces:
        found.setdefault(item, {}).setdefault(name, []).append(values)
    return {
        item: {name: some[0] if len(some) == 1 else np.concatenate(some) for name, some in by.items()}
        for item, by in found.items()
    }

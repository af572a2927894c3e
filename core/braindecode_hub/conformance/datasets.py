"""The Dataset contract: cheap trials, lazy recordings, unique ids, stimuli as long as the trials say, a fingerprint."""

from __future__ import annotations

import json
import time
import tracemalloc
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.fresh import ask
from braindecode_hub.conformance.offline import blocked
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Dataset
from braindecode_hub.manager import Manager, Registered
from braindecode_hub.pipeline import fits
from braindecode_hub.stretches import LONGEST_MISSING_S
from braindecode_hub.types import Recording, Trial

TRIALS_S = 1.0
"""CPU seconds that listing the trials of prepared data may take."""
LAZY_BYTES = 1_000_000
"""Recordings below this may be made in memory: nobody would notice."""
SAMPLE = 8
"""Recordings, and stimuli, that are looked at: the first and last ones."""


def check_dataset(subject: Subject, entry: Registered) -> None:
    """Trials are cheap, unique and within their recordings; recordings are lazy; stimuli match; sensors agree."""
    dataset = prepared(subject, entry)
    trials = _cheap_trials(dataset)
    none_of(
        _wrong_trials(trials), "give every trial its own id, a start before its stop, and groups subject and session"
    )
    none_of(_wrong_recordings(dataset, trials), "describe in Recording what its samples are; all times are in seconds")
    none_of(_wrong_stimuli(dataset, trials), "give each stimulus in every one of stimuli_spaces, on the trials' clock")


def check_lazy(subject: Subject, entry: Registered) -> None:
    """recording() reads no samples: they are read where they are sliced."""
    dataset = prepared(subject, entry)
    ids = list(dict.fromkeys(trial.recording for trial in dataset.trials()))
    seen = 0
    for id in _some(ids):
        tracemalloc.start()
        try:
            recording = dataset.recording(id)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        size = 4 * int(np.prod(recording.brain.data.shape))
        if size < LAZY_BYTES:
            continue
        seen += 1
        if peak > size / 2:
            raise Unconforming(
                f"recording '{id}' takes {peak / 1e6:.0f} MB before anything of its {size / 1e6:.0f} MB is read",
                "give `data` an array that reads when it is sliced: a memmap, or an object with shape and __getitem__",
            )
    if not seen:
        raise NothingToTest(f"its recordings are smaller than {LAZY_BYTES / 1e6:g} MB")


def check_fingerprint(subject: Subject, entry: Registered) -> None:
    """The fingerprint is the same in another process, and another one for every other configuration."""
    dataset = prepared(subject, entry)
    own = dataset.fingerprint()
    if not (isinstance(own, str) and own):
        raise Unconforming(f"the fingerprint is {own!r}", "return a text that says which data this is")
    if own != dataset.fingerprint():
        raise Unconforming("asked twice, the fingerprint differs", "hash the data and the configuration, nothing else")
    told = {"plugin": entry.plugin.name, "name": entry.name, "configuration": dataset.configuration()}
    elsewhere = ask(f"{__name__}:fingerprint_alone", **told, cache=str(subject.folder / "cache"))
    if elsewhere != own:
        raise Unconforming(
            f"the fingerprint is {own[:40]} here and {elsewhere[:40]} in another process",
            "use Cache.key(…) or hashlib: Python's hash() and id() differ between processes",
        )
    same = [name for name, other in _varied(dataset) if _fingerprint_of(subject, type(dataset)(**other)) == own]
    if same:
        raise Unconforming(
            f"the fingerprint is the same for another value of {', '.join(same)}",
            "put the whole configuration() into it: it decides what is taken from the cache",
        )


def fingerprint_alone(plugin: str, name: str, configuration: dict[str, Any], cache: str) -> str:
    """Return the fingerprint of a dataset as a process computes it that has just begun."""
    manager = Manager()
    dataset = typing.cast(Any, manager.component("dataset", name))(**configuration)
    dataset.prepare(context(device="cpu", cache=Cache(Path(cache)), manager=manager, network=False))
    return str(dataset.fingerprint())


def prepared(subject: Subject, entry: Registered) -> Dataset:
    """Return a prepared dataset, made once; NothingToTest where its data needs a network or files."""

    def make() -> Dataset:
        dataset: Dataset = subject.make(entry)
        with blocked() as reached:
            try:
                dataset.prepare(subject.context())
            except HubError as error:
                raise NothingToTest(f"its data is not here: {error.cause}; {error.remedy}") from error
            except OSError as error:
                if not reached:
                    raise
                raise NothingToTest(f"its data is not here: {error}") from error
        return dataset

    return subject.once(("dataset", entry.name), make)


def _cheap_trials(dataset: Dataset) -> list[Trial]:
    """List the trials while nothing of the data can be asked for."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise Unconforming("trials() asks for a recording or a stimulus", "list trials from what prepare() has read")

    covered: Any = dataset
    covered.recording = covered.stimulus = refuse
    try:
        began = time.process_time()
        trials = list(dataset.trials())
        seconds = time.process_time() - began
    finally:
        del covered.recording, covered.stimulus
    if seconds > TRIALS_S:
        raise Unconforming(
            f"trials() takes {seconds:.1f} s of CPU", "read no signal in it; prepare() may take its time"
        )
    if not trials:
        raise Unconforming("there are no trials", "give a trial for each presentation")
    return trials


def _wrong_trials(trials: Sequence[Trial]) -> Iterator[str]:
    ids = [trial.id for trial in trials]
    twice = sorted({id for id in ids if ids.count(id) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        yield f"the id '{twice[0]}' is there {ids.count(twice[0])} times"
    for trial in trials:
        if not 0 <= trial.start < trial.stop:
            yield f"trial {trial.id} goes from {trial.start:g} to {trial.stop:g} s"
        lacking = [key for key in ("subject", "session") if not isinstance(trial.groups.get(key), str)]
        if lacking:
            yield f"trial {trial.id} has no group '{lacking[0]}'"
        if (trial.stimulus_start is None) != (trial.stimulus_stop is None):
            yield f"trial {trial.id} has only one end of its stimulus"


def _wrong_recordings(dataset: Dataset, trials: Sequence[Trial]) -> Iterator[str]:
    for id in _some(list(dict.fromkeys(trial.recording for trial in trials))):
        recording = dataset.recording(id)
        yield from _wrong_sensors(recording, dataset)
        own = [trial for trial in trials if trial.recording == id]
        if recording.id != id:
            yield f"recording '{id}' calls itself '{recording.id}'"
        late = [trial for trial in own if trial.stop > recording.seconds + 1.0 / (recording.brain.rate or 1.0)]
        if late:
            yield f"trial {late[0].id} stops at {late[0].stop:g} s, recording '{id}' at {recording.seconds:g} s"
        for trial in own:
            told = (trial.groups.get("subject"), trial.groups.get("session"))
            if told != (recording.subject, recording.session):
                yield f"trial {trial.id} is of {told}, its recording of {(recording.subject, recording.session)}"
                break


def _wrong_sensors(recording: Recording, dataset: Dataset) -> Iterator[str]:
    brain, where = recording.brain, f"recording '{recording.id}'"
    shape = tuple(brain.data.shape)
    if len(shape) != 2:
        yield f"{where} has samples of shape {shape}, not (channels, samples)"
        return
    if brain.rate is None or not brain.rate > 0:
        yield f"{where} has the rate {brain.rate}"
    elif (
        dataset.brain.rate not in ("*", None) and abs(float(dataset.brain.rate or 0.0) - brain.rate) > 1e-6 * brain.rate
    ):
        yield f"{where} runs at {brain.rate:g} Hz, its Space at {dataset.brain.rate:g} Hz"
    if brain.channels and len(brain.channels) != shape[0]:
        yield f"{where} has {shape[0]} channels and {len(brain.channels)} names"
    if recording.positions is not None and tuple(np.shape(recording.positions)) != (shape[0], 3):
        yield f"{where} has positions of shape {np.shape(recording.positions)}, not {(shape[0], 3)}"
    unknown = set(recording.bads) - set(brain.channels)
    if unknown:
        yield f"{where} calls {', '.join(sorted(unknown))} bad, which it does not have"
    part = np.asarray(brain.data[:, : min(16, shape[1])])
    if part.shape != (shape[0], min(16, shape[1])) or part.dtype.kind not in "iuf":
        yield f"{where}, sliced, gives {part.dtype} of shape {part.shape}"


def _wrong_stimuli(dataset: Dataset, trials: Sequence[Trial]) -> Iterator[str]:
    last = {trial.stimulus: trial for trial in sorted(trials, key=lambda one: one.stimulus_stop or 0.0)}
    for id in _some([id for id in last if id is not None]):
        for space in dataset.stimuli_spaces:
            signal = dataset.stimulus(str(id), space)
            if space.rate is None and signal.rate is not None:
                yield f"stimulus '{id}' runs at {signal.rate:g} Hz, its Space {space} has no rate"
            if space.rate is None or signal.rate is None:
                if space.rate is not None:
                    yield f"stimulus '{id}' has no rate, its Space is {space}"
                continue
            if space.rate != "*" and abs(space.rate - signal.rate) > 1e-6 * signal.rate:
                yield f"stimulus '{id}' runs at {signal.rate:g} Hz, its Space is {space}"
            if len(signal.data.shape) != len(space.dims):
                yield f"stimulus '{id}' has shape {tuple(signal.data.shape)}, its Space is {space}"
            length, stop = signal.data.shape[0] / signal.rate, last[id].stimulus_stop
            if stop is not None and stop > length + LONGEST_MISSING_S:
                yield f"trial {last[id].id} presents '{id}' until {stop:g} s, which is {length:g} s long"


def _varied(dataset: Dataset) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield, for every parameter that is a number, a choice or true or false, a configuration with another value."""
    configuration = json.loads(json.dumps(dataset.configuration()))
    hints = typing.get_type_hints(type(dataset).__init__)
    for name, value in configuration.items():
        choices = [c for c in _choices(hints.get(name)) if c != value]
        others: list[Any] = [not value] if isinstance(value, bool) else choices
        if not others and isinstance(value, int | float):
            others = [one for one in (value + 1, value * 0.5) if fits(one, hints.get(name, Any))]
        if others:
            yield name, {**configuration, name: others[0]}


def _choices(hint: Any) -> list[Any]:
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    return [choice for one in typing.get_args(hint) for choice in _choices(one)]


def _fingerprint_of(subject: Subject, dataset: Dataset) -> str | None:
    """Return the fingerprint of another configuration, prepared only if need be; None where it has no data."""
    try:
        return dataset.fingerprint()
    except HubError:
        pass
    with blocked():
        try:
            dataset.prepare(subject.context())
            return dataset.fingerprint()
        except (HubError, OSError):
            return None


def _some(ids: Sequence[Any]) -> list[Any]:
    return list(ids) if len(ids) <= SAMPLE else [*ids[: SAMPLE - 1], ids[-1]]

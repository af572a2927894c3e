"""The fields of an .npz with recordings: which there are, what they must hold, and how they become recordings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.npz import Npz
from braindecode_hub.parts.opening import CLEAR_RATIO, Brain, Floats, real_numbers, sound_of, time_last
from braindecode_hub.parts.pairs import check_lengths
from braindecode_hub.parts.presentations import Row, one_person, rows_of, trials_of
from braindecode_hub.parts.recordings import Opened, outside_gaps, recording_of
from braindecode_hub.types import Array, Signal, Trial

FIELDS = (
    *("brain", "rate", "audio", "audio_rate", "targets", "targets_rate", "channels", "positions", "position_frame"),
    *("bads", "breaks", "line_freq", "units", "subject", "session", "simulated"),
)
"""Every field but the table's columns, `events/COLUMN`; `audio` and `targets` may also be several: `audio/NAME`."""

MANY = ("events", "audio", "targets")
KEYS = "rate, audio_rate"


@dataclass(frozen=True)
class Given:
    """What is said besides the file: the modality, what its targets are (None: its sound is used), rates in Hz.

    `brain_only`: what was presented is not looked at.
    """

    modality: str
    targets: str | None = None
    rate: float | None = None
    audio_rate: float | None = None
    targets_rate: float | None = None
    line_freq: float | None = None
    bads: list[str] = field(default_factory=list)
    brain_only: bool = False


def recordings_in(file: Npz, name: str, given: Given, *, fetched: bool = False) -> Iterator[Opened]:
    """Open every recording of a file; `name`: what the only one is called.

    Raises HubError naming the file and the field for one that is missing, unknown, or does not hold what it should.
    """
    several = [one.removesuffix("/brain") for one in file.names if one.endswith("/brain")]
    if not several and "brain" not in file.names:
        held = ", ".join(file.names[:8]) or "nothing"
        raise HubError(f"{file.where} has no field 'brain'; it holds {held}", "save brain (channels, time) and rate")
    for prefix in several or [""]:
        start = f"{prefix}/" if prefix else ""
        fields = _Fields(file, {one.removeprefix(start): one for one in file.names if one.startswith(start)}, prefix)
        yield replace(_opened(fields, prefix or name, given), fetched=fetched)
    known = several and [one for one in file.names if one.split("/")[0] not in several]
    if known:
        raise HubError(f"{file.where} has '{known[0]}', which belongs to no recording", f"name it {several[0]}/…")


class _Fields:
    """The fields of one recording by name, without what they have in common in a file of several."""

    def __init__(self, file: Npz, members: Mapping[str, str], prefix: str) -> None:
        self.file, self.members = file, members
        self.where = f"{file.where}: {prefix}" if prefix else file.where
        for name in members:
            if name not in FIELDS and name.split("/")[0] not in MANY:
                raise HubError(f"{self.where} has an unknown field '{name}'", did_you_mean(name, (*FIELDS, "events")))

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def array(self, name: str) -> Array:
        """Return a field of real numbers."""
        return real_numbers(self.file[self.members[name]], f"{self.where}: {name}")

    def below(self, name: str) -> dict[str, str]:
        """Return the fields `name`/X by X."""
        return {one.removeprefix(f"{name}/"): one for one in self.members if one.startswith(f"{name}/")}

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field of text, or nothing."""
        if name not in self:
            return ()
        found = self.file[self.members[name]]
        if found.dtype.kind not in "US" and found.size:
            raise self.wrong(name, f"holds {found.dtype}, not text", "save it as text")
        try:
            return tuple(one.decode() if isinstance(one, bytes) else str(one) for one in found.ravel().tolist())
        except UnicodeDecodeError as error:
            raise self.wrong(name, "holds bytes that are no UTF-8", "save it as text") from error

    def text(self, name: str) -> str:
        """Return a field of one text, or ""."""
        found = self.texts(name)
        if len(found) > 1:
            raise self.wrong(name, f"is {len(found)} texts, not one", "save one, or each recording with its own")
        return "".join(found)

    def number(self, name: str) -> float | None:
        """Return a single number, or None."""
        if name not in self:
            return None
        found = self.file[self.members[name]]
        if found.size != 1 or found.dtype.kind not in "iufb":
            raise self.wrong(name, "is not one number", "save one number")
        return float(found.ravel()[0])

    def hertz(self, name: str, given: float | None) -> float:
        """Return a rate in Hz, as it was given, else as the file says it."""
        rate = self.number(name) if given is None else given
        if rate is None or not (math.isfinite(rate) and rate > 0):
            problem = "does not say" if rate is None else f"says {rate:g} Hz as"
            raise HubError(
                f"{self.where} {problem} '{name}'", f"save it in Hz, or --set dataset.{name}=1024", usage=True
            )
        return rate

    def wrong(self, name: str, problem: str, remedy: str) -> HubError:
        return HubError(f"{self.where}: {name} {problem}", remedy)


def _opened(fields: _Fields, name: str, given: Given) -> Opened:
    brain = _brain(fields, given)
    sounds, notes = ({}, list[str]()) if given.brain_only else _presented(fields, name, given)
    rows = [] if given.brain_only else _rows(fields, name, sounds)
    groups = {
        "subject": fields.text("subject") or name,
        "session": fields.text("session") or "1",
        **one_person(rows, name),
    }
    recording = recording_of(
        name, brain, given.modality, groups, where=fields.where, bads=given.bads, line_freq=given.line_freq
    )
    lengths = {id: one.data.shape[0] / (one.rate or 1.0) for id, one in sounds.items()}
    trials = trials_of(rows, name, brain.seconds, lengths, groups)
    if given.brain_only:
        trials = [Trial(name, name, 0.0, brain.seconds, groups=groups)]
    elif not rows:
        if len(sounds) > 1:
            told = ", ".join(sounds)
            raise fields.wrong("events", f"are needed to say when each was heard: {told}", "save onset and stimulus")
        [(id, sound_s)] = lengths.items()
        check_lengths(f"{fields.where}: brain", brain, "audio" if given.targets is None else "targets", sound_s, KEYS)
        seconds = min(brain.seconds, sound_s)
        trials = [Trial(name, name, 0.0, seconds, id, 0.0, seconds, {**groups, "story": id})]
    return Opened(
        recording,
        outside_gaps(trials, brain, fields.where),
        sounds,
        (fields.file.path,),
        notes=tuple(f"{Path(fields.where).name}: {note}" for note in (*brain.notes, *notes)),
        simulated=bool(fields.number("simulated")),
    )


def _brain(fields: _Fields, given: Given) -> Brain:
    array, notes = fields.array("brain"), tuple[str, ...]()
    if array.ndim != 2 or array.shape[0] >= CLEAR_RATIO * array.shape[1]:
        array, notes = time_last(array, "auto", f"{fields.where}: brain")
    count, names, bads = len(array), fields.texts("channels"), fields.texts("bads")
    if names and len(names) != count:
        raise fields.wrong("channels", f"names {len(names)}, but brain has {count}", "name each of them, in order")
    for bad in bads:
        if names and bad not in names:
            raise fields.wrong("bads", f"names '{bad}', which is no channel", did_you_mean(bad, names))
    positions = np.asarray(fields.array("positions"), np.float32) if "positions" in fields else None
    if positions is not None and positions.shape != (count, 3):
        raise fields.wrong("positions", f"has shape {positions.shape}", f"save ({count}, 3), in metres")
    rate = fields.hertz("rate", given.rate)
    breaks = sorted(map(float, fields.array("breaks").ravel())) if "breaks" in fields else []
    for at in breaks:
        if not 0 <= at <= array.shape[1] / rate:
            raise fields.wrong(
                "breaks", f"has one at {at:g} s of {array.shape[1] / rate:.2f}", "save them in seconds of the recording"
            )
    return Brain(
        Floats(array),
        rate,
        names,
        fields.text("units"),
        positions,
        fields.text("position_frame") or None,
        bads,
        fields.number("line_freq"),
        tuple((at, at) for at in breaks),
        notes=notes,
    )


def _presented(fields: _Fields, name: str, given: Given) -> tuple[dict[str, Signal], list[str]]:
    """Return the sounds, or the targets, by stimulus id: the recording's name for the only one."""
    kind = "audio" if given.targets is None else "targets"
    members = ({name: kind} if kind in fields else {}) | fields.below(kind)
    if not members:
        other = "targets" if "targets" in fields or fields.below("targets") else ""
        remedy = "say what its targets are: --set dataset.targets=mel" if other and kind == "audio" else ""
        raise HubError(f"{fields.where} has no field '{kind}'", remedy or f"save {kind} and {kind}_rate", usage=True)
    rate = fields.hertz(f"{kind}_rate", given.audio_rate if given.targets is None else given.targets_rate)
    found: dict[str, Signal] = {}
    notes: list[str] = []
    for id, member in members.items():
        array = fields.array(member)
        if given.targets is None:
            sound = sound_of(array, f"{fields.where}: {member}")
            notes += [f"{member}: {note}" for note in sound.notes]
            found[id] = Signal(sound, rate, "audio")
            continue
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise fields.wrong(member, f"has shape {array.shape}", "save (frames, bins)")
        found[id] = Signal(Floats(array), rate, given.targets)
    return found, notes


def _rows(fields: _Fields, name: str, sounds: Mapping[str, Any]) -> list[Row]:
    columns = {column: fields.file[fields.members[member]] for column, member in fields.below("events").items()}
    for column, values in columns.items():
        if values.ndim != 1:
            raise fields.wrong(f"events/{column}", f"has shape {values.shape}", "save one value for each row")
    found = []
    for row in rows_of(columns, f"{Path(fields.where).name}, events") if columns else []:
        stimulus = row.stimulus or (next(iter(sounds)) if len(sounds) == 1 else "")
        if stimulus not in sounds:
            remedy = did_you_mean(stimulus, sounds) if stimulus else f"add a column stimulus: {', '.join(sounds)}"
            raise HubError(f"{row.where} presents '{stimulus}', which is not there", remedy)
        found.append(replace(row, stimulus=stimulus))
    return found

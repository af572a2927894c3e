"""core/nwb: recordings and the sound that goes with them in Neurodata Without Borders files, read lazily by h5py."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.parts.fingerprints import Hashes
from braindecode_hub.parts.nwb_clock import Meeting, meetings
from braindecode_hub.parts.nwb_samples import Mono
from braindecode_hub.parts.nwb_session import Session, clean, has_table, open_session, table
from braindecode_hub.parts.twins import renamed, twins
from braindecode_hub.types import Context, Recording, Signal, Space, Trial

TABLE = "/intervals/trials"

SAME_S = 0.05
"""Presentations of one stimulus may differ in length by this much."""


@dataclass(frozen=True)
class Opened:
    """A session under its names, its sound within [-1, 1], and what was presented when."""

    session: Session
    id: str
    subject: str
    trials: tuple[Trial, ...]
    stimuli: dict[str, tuple[Mono, float]]


class Nwb(Dataset):
    """NWB 2 files (HDF5): an ElectricalSeries, and a sound in the same file, on its clock.

    `path`: a file, or a folder of .nwb files. `brain`, `audio`: HDF5 paths such as /acquisition/iEEG; unset, the only
    ElectricalSeries and the only sound (4 kHz or more) are taken. `trials`: "table" (/intervals/trials), the path of
    another table of intervals, "whole" (the file as one trial), or "auto": the table if there is one, else the whole.
    `stimulus`: the column of that table that names what was *played*: rows of one name are one stimulus, with the
    sound of the first; leave it unset where people speak. `modality`: the brain's Space. `subject`: the name where
    files have none. `axis`: which axis of the data is time. `position_unit`: of the electrode table (auto, m, mm, um).
    Timestamps with gaps become breaks; channels and bads come from the electrode table, `bads` adds to them.
    """

    licence = "your own"
    source = "NWB files of your own"
    requires = ("h5py",)

    _opened: dict[str, Opened] | None = None
    _cache: Cache | None = None
    _hashes: Hashes | None = None

    def __init__(
        self,
        *,
        path: str,
        brain: str | None = None,
        audio: str | None = None,
        trials: str = "auto",
        stimulus: str | None = None,
        modality: str = "seeg",
        subject: str | None = None,
        axis: Literal["auto", "time_first", "channels_first"] = "auto",
        position_unit: Literal["auto", "m", "cm", "mm", "um"] = "auto",
        line_freq: float | None = None,
        bads: list[str] = [],  # noqa: B006 (never changed: configuration)
    ) -> None:
        self.path = path
        self._brain = brain
        self.audio = audio
        self._trials = trials
        self._stimulus = stimulus
        self.modality = modality
        self.subject = subject
        self.axis = axis
        self.position_unit = position_unit
        self.line_freq = line_freq
        self.bads = bads

    @property
    def brain(self) -> Space:
        """Every channel of the series; only the file knows its rate."""
        return Space(self.modality, ("channels", "time"), "*")

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound, at its own rate."""
        return (Space("audio", ("time",), "*"),)

    def prepare(self, ctx: Context) -> None:
        """Find the files and read their headers; what was guessed is logged.

        Sound in floats is read once for its peak. Raises HubError for what is missing, damaged or not clear.
        """
        self._cache = ctx.cache
        self._opened = self._open()
        for one in self._opened.values():
            sound = one.session.sound
            notes = [f"{sound.series}: {note}" for note in sound.notes] if sound is not None else []
            for note in (*one.session.electrodes.notes, *notes):
                ctx.log({"kind": "note", "text": f"{one.session.path.name}: {note}"})

    def trials(self) -> Sequence[Trial]:
        """Return what was presented when: rows of the table or the whole, each cut where brain or sound has a gap."""
        return [trial for one in self._all().values() for trial in one.trials]

    def recording(self, id: str) -> Recording:
        """Return the series (channels, samples) in volts, float32 when sliced, with what the electrode table says."""
        if id not in self._all():
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, self._all()))
        one = self._all()[id]
        return one.session.recording(id, one.subject, self.modality, self.bads, self.line_freq)

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the sound (samples,), float32 in [-1, 1] when sliced."""
        known = {name: found for one in self._all().values() for name, found in one.stimuli.items()}
        if id not in known:
            raise HubError(f"there is no stimulus '{id}'", did_you_mean(id, known))
        mono, rate = known[id]
        return Signal(mono, rate, "audio")

    def fingerprint(self) -> str:
        """Return a hash of the configuration and of every file's size, time of change and contents (sampled)."""
        files = self._hashed().all(one.session.path for one in self._all().values())
        kind = type(self).__qualname__
        return Cache.key(kind=kind, version=self.version, configuration=self.configuration(), files=files)

    def _hashed(self) -> Hashes:
        if self._hashes is None:
            self._hashes = Hashes()
        return self._hashes

    def _all(self) -> dict[str, Opened]:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> dict[str, Opened]:
        paths = list(nwb_files(Path(self.path).expanduser()))
        sessions = [
            open_session(path, self._brain, self.audio, axis=self.axis, unit=self.position_unit) for path in paths
        ]
        known: dict[str, tuple[Mono, float]] = {}
        found: dict[str, Opened] = {}
        for session, (id, subject) in zip(sessions, self._names(sessions), strict=True):
            found[id] = self._one(session, id, subject, known)
        sounds = {id: Signal(*sound, "audio") for one in found.values() for id, sound in one.stimuli.items()}
        first = twins(sounds)
        return {id: dataclasses.replace(one, trials=renamed(one.trials, first)) for id, one in found.items()}

    def _names(self, sessions: Sequence[Session]) -> list[tuple[str, str]]:
        """Return id and subject of each session, from metadata; HubError where they do not tell them apart."""
        subjects = []
        for one in sessions:
            if not one.subject and self.subject is None and len(sessions) > 1:
                raise HubError(
                    f"{one.path} does not say whose it is (no subject_id)",
                    "write it into the file, or --set dataset.subject=NAME if all are of one person",
                    usage=True,
                )
            subjects.append(one.subject or clean(self.subject or "1"))
        ids = [f"{subject}/{one.session}" for subject, one in zip(subjects, sessions, strict=True)]
        if len(set(ids)) < len(ids):
            ids = [f"{id}/{one.identifier}" for id, one in zip(ids, sessions, strict=True)]
        for id in ids:
            if ids.count(id) > 1:
                same = " and ".join(str(one.path) for one, other in zip(sessions, ids, strict=True) if other == id)
                raise HubError(f"{same} are the same session ({id})", "keep one, or give each its session_id")
        return list(zip(ids, subjects, strict=True))

    def _one(self, session: Session, id: str, subject: str, known: dict[str, tuple[Mono, float]]) -> Opened:
        assert session.sound is not None
        sound = session.sound.scaled(self._cache, self._hashed().of(session.path))
        session = dataclasses.replace(session, sound=sound)
        groups = {"subject": subject, "session": session.session}
        trials: list[Trial] = []
        stimuli: dict[str, tuple[Mono, float]] = {}
        for name, meeting, number in self._presented(session):
            heard = name or id
            if not name:
                stimuli[id] = (sound.mono, sound.clock.rate)
                start, stop, own = meeting.sound_start, meeting.sound_stop, groups
            else:
                rate = sound.clock.rate
                first = round(meeting.sound_start * rate)
                count = round((meeting.sound_stop - meeting.sound_start) * rate)
                if name not in known:
                    known[name] = stimuli[name] = (sound.mono.part(first, count), rate)
                length = len(known[name][0]) / known[name][1]
                if abs(length - count / rate) > SAME_S:
                    raise HubError(
                        f"{session.path}: '{name}' lasts {count / rate:.2f} s in trial {number}, {length:.2f} s before",
                        "leave dataset.stimulus unset if it was not the same sound",
                    )
                start, stop, own = 0.0, min(length, count / rate), {**groups, "story": name}
            label = f"{id}/{number}"
            trials.append(Trial(label, id, meeting.start, meeting.stop, heard, start, stop, own))
        if not trials:
            raise HubError(
                f"{session.path}: brain, sound and trials share no time",
                "check starting_time, timestamps and the table of trials: all are seconds on the file's clock",
            )
        return Opened(session, id, subject, tuple(trials), stimuli)

    def _presented(self, session: Session) -> Iterator[tuple[str, Meeting, str]]:
        """Yield (stimulus or "", where brain and sound meet, number) of each presentation."""
        assert session.sound is not None
        interval = self._table(session.path)
        rows = [(-math.inf, math.inf, "")]
        if interval is not None:
            rows = table(session.path, interval, self._stimulus)
        for number, (start, stop, name) in enumerate(rows):
            pieces = list(meetings(session.clock, session.sound.clock, start, stop))
            if name and len(pieces) > 1:
                pieces = []  # a stimulus with a hole in it is not that stimulus
            for piece, meeting in enumerate(pieces):
                yield name, meeting, f"{number}" if len(pieces) == 1 else f"{number}.{piece}"

    def _table(self, path: Path) -> str | None:
        if self._trials == "auto":
            wanted = TABLE if has_table(path, TABLE) else None
        else:
            wanted = {"whole": None, "table": TABLE}.get(self._trials, self._trials)
        if wanted is None and self._stimulus is not None:
            raise HubError(
                f"{path}: without a table of trials there is no column '{self._stimulus}'",
                "leave dataset.stimulus unset, or name the table: --set dataset.trials=/intervals/…",
                usage=True,
            )
        return wanted


def nwb_files(path: Path) -> Iterator[Path]:
    """Yield one file, or the .nwb files below a folder; HubError if there is none."""
    if not path.exists():
        raise HubError(f"{path} does not exist", "give an .nwb file or a folder of them: --data PATH", usage=True)
    if path.is_file() or path.suffix == ".nwb":
        yield path
        return
    found = sorted(one for one in path.rglob("*.nwb") if not one.name.startswith("."))
    if not found:
        raise HubError(f"{path} holds no .nwb file", "give an .nwb file or a folder of them: --data PATH", usage=True)
    yield from found

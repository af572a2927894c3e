"""core/bids: EEG, iEEG and MEG in BIDS folders, with the sounds that their events.tsv says were presented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.parts import bids_files
from braindecode_hub.parts.bids_files import BidsFile, entities_of, fill, number
from braindecode_hub.parts.bids_recording import Opened, open_bids
from braindecode_hub.parts.fingerprints import Hashes
from braindecode_hub.parts.nwb_clock import Clock, Meeting, Run, meetings
from braindecode_hub.parts.opening import SOUNDS, Sound
from braindecode_hub.parts.presentations import without_rounding
from braindecode_hub.parts.twins import renamed, twins
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

SPACES = {"ieeg": "seeg", "eeg": "eeg", "meg": "meg"}
"""What the brain's Space is called for each datatype: grids and strips are called seeg, too."""


@dataclass(frozen=True)
class Heard:
    """A sound, its rate in Hz, the file that it is in, and what was changed to bring it into one channel within 1."""

    data: Array
    rate: float
    path: Path
    notes: tuple[str, ...] = ()


class Bids(Dataset):
    """A BIDS folder: recordings of one task and datatype (ieeg, eeg, meg), and the sounds that were presented.

    `path`: its root. `subjects`, `session`, `task`, `datatype`: which recordings (several tasks or datatypes: choose).
    `stimuli`: which sound an event presents: columns of events.tsv in braces, such as "{stim_file}" (the default) or
    "{trial_type}.wav", give a file under stimuli/, and rows with n/a there present nothing; "_audio" is the sound file
    beside the recording with that suffix in place of its own, from start to end; "/acquisition/Audio" is a
    series in the recording's own NWB file. `trial_types`: only events of these types count. `brain`: the series, if
    recordings are NWB. `modality`: the brain's Space, else by datatype. `bads` adds to what channels.tsv marks.
    """

    licence = "see its dataset_description.json"
    source = "a BIDS folder of your own"
    requires = ("mne", "mne_bids", "h5py", "soundfile")

    _opened: dict[str, Opened] | None = None
    _sounds: dict[str, Heard] | None = None
    _trials: tuple[Trial, ...] = ()
    _notes: tuple[str, ...] = ()
    _paths: tuple[Path, ...] = ()
    _cache: Cache | None = None
    _hashes: Hashes | None = None

    def __init__(
        self,
        *,
        path: str,
        subjects: list[str] = [],  # noqa: B006 (never changed: configuration)
        session: str | None = None,
        task: str | None = None,
        datatype: Literal["ieeg", "eeg", "meg"] | None = None,
        stimuli: str = "{stim_file}",
        trial_types: list[str] = [],  # noqa: B006
        brain: str | None = None,
        modality: str | None = None,
        bads: list[str] = [],  # noqa: B006
    ) -> None:
        self.path: str | None = path
        self.subjects = subjects
        self.session = session
        self.task = task
        self.datatype = datatype
        self.stimuli = stimuli
        self.trial_types = trial_types
        self._brain = brain
        self.modality = modality
        self.bads = bads

    @property
    def root(self) -> Path:
        """The folder that holds dataset_description.json."""
        return Path(str(self.path)).expanduser()

    @property
    def brain(self) -> Space:
        """The channels of the datatype; only the files know their rate."""
        datatype = self.datatype if self.datatype or self.modality else self.files()[0].datatype
        return Space(self.modality or SPACES[str(datatype)], ("channels", "time"), "*")

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sounds, each at its own rate."""
        return (Space("audio", ("time",), "*"),)

    def files(self) -> list[BidsFile]:
        """Return the recordings asked for; HubError as `bids_files.find` raises it."""
        return bids_files.find(
            self.root, subjects=self.subjects, task=self.task, session=self.session, datatype=self.datatype
        )

    def prepare(self, ctx: Context) -> None:
        """Read the headers and tables of all recordings; what was guessed is logged.

        Raises HubError for what is not BIDS, missing, or not clear.
        """
        self._cache = ctx.cache
        self._open()
        for note in self._notes:
            ctx.log({"kind": "note", "text": note})

    def trials(self) -> Sequence[Trial]:
        """Return one trial for each presentation, cut where a recording has a gap; `story` is its sound."""
        self._all()
        return list(self._trials)

    def recording(self, id: str) -> Recording:
        """Return a recording (channels, samples) in volts (MEG: tesla), float32 when sliced, with its sensors."""
        if id not in self._all():
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, self._all()))
        return self._all()[id].recording

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return a sound (samples,), float32 in [-1, 1] when sliced."""
        self._all()
        sounds = self._sounds or {}
        if id not in sounds:
            raise HubError(f"there is no stimulus '{id}'", did_you_mean(id, sounds))
        return Signal(sounds[id].data, sounds[id].rate, "audio")

    def fingerprint(self) -> str:
        """Return a hash of the configuration, of recordings and sounds (sampled), and of the tables beside them."""
        self._all()
        kind, files = type(self).__qualname__, self._hashed().all(self._paths)
        return Cache.key(kind=kind, version=self.version, configuration=self.configuration(), files=files)

    def _hashed(self) -> Hashes:
        if self._hashes is None:
            self._hashes = Hashes()
        return self._hashes

    def _all(self) -> dict[str, Opened]:
        if self._opened is None:
            self._open()
        return self._opened or {}

    def _open(self) -> None:
        files = self.files()
        audio = self.stimuli if self.stimuli.startswith("/") else None
        modality = self.brain.name
        opened = {
            file.name: open_bids(file, modality, brain=self._brain, audio=audio, bads=self.bads) for file in files
        }
        sounds: dict[str, Heard] = {}
        trials: list[Trial] = []
        rounded: list[str] = []
        for name, one in opened.items():
            own, told_of = without_rounding(self._presented(name, one, sounds))
            trials += own
            rounded += told_of
        if not trials:
            raise HubError(
                f"no event of {len(files)} recordings presents a sound by {self.stimuli}",
                "name the column: --set 'dataset.stimuli={trial_type}.wav', and check dataset.trial_types",
                usage=True,
            )
        first = twins({id: Signal(heard.data, heard.rate, "audio") for id, heard in sounds.items()})
        self._opened, self._sounds, self._trials = opened, sounds, renamed(trials, first)
        paths = {path for one in opened.values() for path in _files_of(one.file)}
        self._paths = tuple(sorted(paths | {heard.path for heard in sounds.values()}))
        told = [(heard.path, note) for heard in sounds.values() for note in heard.notes]
        told += [(one.file.path, note) for one in opened.values() for note in one.notes]
        said = [f"sound '{id}' is that of '{other}': to every split they are one" for id, other in first.items()]
        self._notes = (*(f"{path.name}: {note}" for path, note in told), *rounded, *said)

    def _presented(self, name: str, one: Opened, sounds: dict[str, Heard]) -> Iterator[Trial]:
        entities = one.file.entities
        groups = {"subject": entities["sub"], "session": entities.get("ses", "1")}
        groups |= {"run": entities["run"]} if "run" in entities else {}
        for at, (id, clock, start, stop) in enumerate(self._heard(name, one, sounds)):
            own = groups if id == name else {**groups, "story": id}
            pieces = list(meetings(one.clock, clock, start, stop))
            for piece, where in enumerate(pieces):
                label = f"{name}/{at}" if len(pieces) == 1 else f"{name}/{at}.{piece}"
                yield _trial(label, name, where, id, own)

    def _heard(self, name: str, one: Opened, sounds: dict[str, Heard]) -> Iterator[tuple[str, Clock, float, float]]:
        """Yield (stimulus, its clock, start, stop) of each presentation, in seconds of the file's clock."""
        begin, end = one.clock.runs[0].start, one.clock.runs[-1].stop
        if self.stimuli.startswith("/"):
            if one.session is None or one.session.sound is None:
                raise HubError(
                    f"{one.file.path} is not NWB, and has no {self.stimuli}",
                    "--set dataset.stimuli={stim_file}",
                    usage=True,
                )
            sound = one.session.sound.scaled(self._cache, self._hashed().of(one.file.path))
            sounds[name] = Heard(sound.mono, sound.clock.rate, one.file.path, sound.notes)
            yield name, sound.clock, begin, end
        elif "{" not in self.stimuli:
            heard = sounds[name] = self._beside(one.file)
            yield name, _placed(heard, begin), begin, end
        else:
            for id, onset, seconds in self._events(one.file):
                if id not in sounds:
                    path = self._sound_path(id, one.file)
                    data = Sound(path)
                    sounds[id] = Heard(data, data.rate, path, data.notes)
                yield id, _placed(sounds[id], begin + onset), begin + onset, begin + onset + seconds

    def _events(self, file: BidsFile) -> Iterator[tuple[str, float, float]]:
        """Yield (sound, onset, duration or infinity) of the events that present one."""
        path, rows = file.beside("events"), file.table("events")
        if path is None:
            raise HubError(f"{file.path.name} has no events.tsv", "add it, or --set dataset.stimuli=_audio")
        for line, row in enumerate(rows, start=2):
            if self.trial_types and row.get("trial_type") not in self.trial_types:
                continue
            try:
                sound = fill(self.stimuli, row)
            except KeyError as error:
                raise HubError(
                    f"{path} has no column {error}",
                    f"--set 'dataset.stimuli={{trial_type}}.wav', or another of: {', '.join(row)}",
                    usage=True,
                ) from error
            onset, seconds = number(row, "onset", path, line), number(row, "duration", path, line)
            if sound is None:
                continue
            if onset != onset:
                raise HubError(f"{path}, line {line} presents {sound}, but has no onset", "repair that line")
            yield _inside(sound), onset, seconds if seconds > 0 else float("inf")

    def _sound_path(self, sound: str, file: BidsFile) -> Path:
        """Return the file of a sound under stimuli/; HubError if it is not there."""
        path = self.root / "stimuli" / sound
        if ".." in Path(sound).parts or Path(sound).is_absolute():
            raise HubError(f"{file.path.name}: {sound} is no path inside stimuli/", "name files under stimuli/")
        if not path.is_file():
            folder = self.root / "stimuli"
            known = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
            raise HubError(
                f"{path} does not exist, but {file.name} presents it",
                did_you_mean(sound, known)
                if known
                else "put the sounds into stimuli/, or choose events by trial_types",
            )
        return path

    def _beside(self, file: BidsFile) -> Heard:
        """Return the sound file beside a recording, its suffix in place of the recording's."""
        stem = file.path.name.split(".")[0].removesuffix(f"_{file.datatype}")
        paths = [file.path.parent / f"{stem}{self.stimuli}{ending}" for ending in SOUNDS]
        found = [path for path in paths if path.is_file()]
        if not found:
            raise HubError(f"{paths[0]} does not exist", "put the sound there, or name events: dataset.stimuli")
        data = Sound(found[0])
        return Heard(data, data.rate, found[0], data.notes)


def _inside(sound: str) -> str:
    """Return a path under stimuli/ in one spelling, so that one sound is one stimulus."""
    return PurePosixPath(sound.removeprefix("/").removeprefix("stimuli/")).as_posix()


def _placed(sound: Heard, start: float) -> Clock:
    """Return the clock of a sound that begins at `start`: its seconds are taken to be as long as the recording's."""
    return Clock(sound.rate, (Run(0, len(sound.data), start, 1.0 / sound.rate),))


def _trial(label: str, recording: str, where: Meeting, stimulus: str, groups: dict[str, str]) -> Trial:
    return Trial(label, recording, where.start, where.stop, stimulus, where.sound_start, where.sound_stop, groups)


def _files_of(file: BidsFile) -> list[Path]:
    """Return the files that a recording is made of, and the tables and sidecars that were read with it."""
    tables = [file.beside(suffix) for suffix in ("channels", "events", "electrodes")]
    space = entities_of(tables[2]).get("space") if tables[2] is not None else None
    sidecars = [*file.applying(file.datatype, ".json"), *file.applying("coordsystem", ".json", space=space)]
    stem = file.path.name.split(".")[0]
    if file.path.is_dir():
        own = [path for path in file.path.rglob("*") if path.is_file()]
    else:
        own = [path for path in file.path.parent.glob(f"{stem}.*") if path.is_file()]
    return [*own, *(path for path in (*tables, *sidecars) if path is not None)]

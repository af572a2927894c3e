"""core/brain_only: recordings without any sound, for a finished run to predict from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from braindecode_hub.errors import HubError
from braindecode_hub.parts.folder import local_path
from braindecode_hub.parts.matching import READ_BY_MNE, ending, entities, name_of, only_sounds, recordings_in, visible
from braindecode_hub.parts.npz import Npz
from braindecode_hub.parts.pairs import Pair, Pairs
from braindecode_hub.parts.recording_fields import Given
from braindecode_hub.parts.recording_fields import recordings_in as recordings_of
from braindecode_hub.parts.recordings import Opened, recording_of
from braindecode_hub.types import Context, Space, Trial


class BrainOnly(Pairs):
    """Recordings without what was presented: `path` is one (.npy, .npz, EDF, FIF …), a folder of them, or a URI.

    Files and parameters as in `core/folder`, and in `core/arrays` for .npz. One trial is the whole of a recording,
    and nothing was presented in it. Sounds that lie beside are not opened: `sounds` names them.
    """

    requires = ()
    licence = "your own"
    source = "files of your own"
    audio_rate = None

    def __init__(
        self,
        *,
        path: str,
        brain: str = "eeg",
        rate: float | None = None,
        axis: Literal["auto", "time_first", "channels_first"] = "auto",
        line_freq: float | None = None,
        bads: list[str] = [],  # noqa: B006 (never changed: configuration)
        channels: list[str] = [],  # noqa: B006
    ) -> None:
        self.path = path
        self._brain = brain
        self.rate = rate
        self.axis = axis
        self.line_freq = line_freq
        self.bads = bads
        self.channels = channels

    @property
    def simulated(self) -> bool:  # type: ignore[override]
        """Whether any of the files says that no brain was recorded."""
        return any(one.simulated for one in self._all().values())

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """Nothing was presented."""
        return ()

    @property
    def sounds(self) -> list[Path]:
        """The files that know what was presented: sounds beside the recordings, and .npz that hold one."""
        paths = [path for one in self._all().values() for path in one.files[:1]]
        heard = [path for path in paths if path.suffix.lower() == ".npz" and _holds_sound(path)]
        return heard or [sound for folder in dict.fromkeys(path.parent for path in paths) for sound in _sounds(folder)]

    def pairs(self, ctx: Context | None) -> Sequence[Pair]:
        """Return the recordings that `path` names, none with a sound; HubError when it names none."""
        if "://" in self.path and not self.path.startswith("file://"):
            if ctx is None:
                raise HubError(f"{self.path} was not fetched yet", "call prepare(ctx) first")
            name = name_of(Path(self.path.partition("#")[0].rsplit("/", 1)[-1]))
            return [Pair(name, ctx.fetch(self.path), None, fetched=True)]
        path = local_path(self.path)
        if not path.exists():
            raise HubError(f"{path} does not exist", "give a folder, a recording or a URI: --data PATH", usage=True)
        if path.is_file() or ending(path) in READ_BY_MNE:
            return [Pair(name_of(path), path, None)]
        found = recordings_in(path, [one for one in visible(path) if _is_sound(one)])
        found += [one for one in visible(path) if one.suffix.lower() == ".npz"]
        if not found:
            raise HubError(f"{path} holds no recording", "put a recording (a.npy, a.edf …) there", usage=True)
        return [Pair(name_of(one), one, None) for one in sorted(found)]

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every recording by its header."""
        for pair in self.pairs(ctx):
            if pair.brain.suffix.lower() == ".npz":
                given = Given(self.modality, None, self.rate, None, None, self.line_freq, self.bads, brain_only=True)
                yield from recordings_of(Npz(pair.brain, str(pair.brain)), pair.name, given, fetched=pair.fetched)
                continue
            brain = self._brain_of(pair)
            groups = {"subject": pair.name, "session": "1", **entities(pair.name)}
            where = str(pair.brain)
            recording = recording_of(
                pair.name, brain, self.modality, groups, where=where, bads=self.bads, line_freq=self.line_freq
            )
            trial = Trial(pair.name, pair.name, 0.0, brain.seconds, groups=groups)
            notes = tuple(f"{pair.brain.name}: {note}" for note in brain.notes)
            yield Opened(recording, (trial,), {}, brain.files or (pair.brain,), pair.fetched, notes)


def _sounds(folder: Path) -> list[Path]:
    return [*only_sounds(folder), *(path for path in visible(folder) if _is_sound(path))]


def _is_sound(path: Path) -> bool:
    """Say whether an array is called after a sound: a_audio.npy, p1_audio_final.npy."""
    return path.suffix.lower() == ".npy" and path.stem.lower().endswith(("_audio", "_audio_final"))


def _holds_sound(path: Path) -> bool:
    parts = {part for name in Npz(path, str(path)).names for part in name.split("/")}
    return bool(parts & {"audio", "targets", "events"})

"""core/folder: one's own recordings, in .npy or any format that MNE reads, with the sounds that go with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from braindecode_hub.errors import HubError
from braindecode_hub.parts.matching import (
    READ_BY_MNE,
    ending,
    name_of,
    no_single_sound,
    only_sounds,
    recordings_in,
    sounds_of,
    tables_in,
    tables_of,
    visible,
)
from braindecode_hub.parts.opening import SOUNDS
from braindecode_hub.parts.pairs import Pair, Pairs, with_table
from braindecode_hub.parts.presentations import has_stimuli, read_table, sound_file
from braindecode_hub.types import Context


class Folder(Pairs):
    """Your own recordings, as files: `path` is a folder of recordings and sounds, or one recording, or its URI.

    A recording is an array (.npy) or any file that MNE reads (EDF, BDF, GDF, BrainVision, FIF, EEGLAB, CNT …). Its
    sound has the same name (`a.npy` + `a.wav`, .flac, .ogg …, or `a_audio.npy`; `p1_sEEG.npy` + `p1_audio_final.npy`),
    or is the only one there; or a table says which sounds were heard when: `stimuli.csv` (.tsv) for the folder, or
    `NAME_stimuli.tsv` or `NAME_events.tsv` for one recording, with the columns onset, duration, stimulus, and as
    needed stimulus_start, recording, and groups (story, block, subject, session, run …); seconds throughout.

    `brain`: what was recorded (seeg, eeg, meg …); `rate`: its Hz in .npy; `audio_rate`: Hz of sound in .npy; `axis`:
    which axis of an array is time, "auto" the longer one; `line_freq` Hz; `channels`: names of an array's channels in
    order, or which channels of another file to keep; `bads`: those to leave out; `sound`: the sound of the one
    recording. Nothing is unpickled.
    """

    licence = "your own"
    source = "files of your own"

    def __init__(
        self,
        *,
        path: str,
        brain: str = "eeg",
        rate: float | None = None,
        audio_rate: float | None = None,
        axis: Literal["auto", "time_first", "channels_first"] = "auto",
        line_freq: float | None = None,
        bads: list[str] = [],  # noqa: B006 (never changed: configuration)
        channels: list[str] = [],  # noqa: B006
        sound: str | None = None,
    ) -> None:
        self.path = path
        self._brain = brain
        self.rate = rate
        self.audio_rate = audio_rate
        self.axis = axis
        self.line_freq = line_freq
        self.bads = bads
        self.channels = channels
        self.sound = sound

    def pairs(self, ctx: Context | None) -> Sequence[Pair]:
        """Return the pairs that `path` names; raises HubError when it names none, or not clearly."""
        if "://" in self.path and not self.path.startswith("file://"):
            return [self._fetched(ctx)]
        path = local_path(self.path)
        if not path.exists():
            raise HubError(f"{path} does not exist", "give a folder, a recording or a URI: --data PATH", usage=True)
        if path.is_dir() and ending(path) not in READ_BY_MNE:
            if self.sound is not None:
                raise HubError(
                    f"`sound` is one file, but {path} is a folder", "let `path` name one recording", usage=True
                )
            return pairs_in(path)
        if path.suffix.lower() in SOUNDS or not path.suffix:
            raise HubError(
                f"{path} is no recording: no .npy, .edf, .vhdr, .fif …",
                "give the recording; its sound is found beside it",
                usage=True,
            )
        return [self._alone(path)]

    def _alone(self, path: Path) -> Pair:
        pair = Pair(name_of(path), path, None)
        if self.sound is not None:
            return Pair(pair.name, path, local_path(self.sound))
        table = own_table(path)
        if table is not None:
            return with_table([pair], read_table(table), table)[0]
        for table in tables_in(path.parent):
            rows = [row for row in read_table(table) if row.recording in ("", pair.name, path.name)]
            if rows:
                return with_table([pair], rows, table)[0]
        found = sounds_of(path) or only_sounds(path.parent)
        if len(found) != 1:
            raise no_single_sound(path, found, alone=True)
        return Pair(pair.name, path, found[0])

    def _fetched(self, ctx: Context | None) -> Pair:
        if ctx is None:
            raise HubError(f"{self.path} was not fetched yet", "call prepare(ctx) first")
        body, mark, fragment = self.path.partition("#")
        if not body.lower().endswith(".npy"):
            raise HubError(
                f"{self.path} is no .npy file",
                "give the URI of an array, or fetch other formats first: braindecode-hub fetch URI",
                usage=True,
            )
        beside = re.sub(r"_seeg\.npy$", "_audio_final.npy", body, flags=re.IGNORECASE)
        sound = self.sound or (beside if beside != body else body[:-4] + ".wav") + mark + fragment
        name = name_of(Path(body.rsplit("/", 1)[-1]))
        return Pair(name, ctx.fetch(self.path), ctx.fetch(sound) if "://" in sound else local_path(sound), fetched=True)


def pairs_in(folder: Path) -> list[Pair]:
    """Return the pairs of a folder, by table or by name; HubError where a sound is missing or not clear."""
    tables = tables_in(folder)
    if len(tables) > 1:
        raise HubError(f"{folder} has both stimuli.csv and stimuli.tsv", "keep one of them")
    rows = read_table(tables[0]) if tables else []
    recordings = recordings_in(folder, [sound_file(row, folder) for row in rows])
    own = {path: table for path in recordings if (table := own_table(path)) is not None}
    told = {path: read_table(table) for path, table in own.items()}
    heard = {sound_file(row, folder).resolve() for some in told.values() for row in some}
    recordings = [path for path in recordings if path.resolve() not in heard]
    if not recordings:
        below = [path.name for path in visible(folder) if path.is_dir()]
        remedy = f"folders inside it are not searched: give one of them, such as {folder / below[0]}" if below else ""
        raise HubError(
            f"{folder} holds no recording", remedy or "put a recording (a.npy, a.edf …) and a.wav there", usage=True
        )
    pairs = [with_table([Pair(name_of(path), path, None)], told[path], own[path])[0] for path in told]
    rest = [path for path in recordings if path not in told]
    if rows and rest:
        return [*pairs, *with_table([Pair(name_of(path), path, None) for path in rest], rows, tables[0])]
    return [*pairs, *_by_name(rest, only_sounds(folder), alone=len(recordings) == 1)]


def _by_name(recordings: Sequence[Path], sounds: list[Path], *, alone: bool) -> list[Pair]:
    pairs = []
    for path in recordings:
        found = sounds_of(path) or (sounds if alone and len(sounds) == 1 else [])
        if len(found) != 1:
            raise no_single_sound(path, found, alone=alone)
        pairs.append(Pair(name_of(path), path, found[0]))
    return pairs


def own_table(path: Path) -> Path | None:
    """Return the table of one recording, if it has one: NAME_stimuli, or NAME_events with a column of stimuli."""
    found = [table for table in tables_of(path) if "_stimuli." in table.name or has_stimuli(table)]
    return found[0] if found else None


def local_path(path: str) -> Path:
    """Return the path of a local file, given as such or as a file:// URI."""
    if path.startswith("file://"):
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(path).path))
    return Path(path).expanduser()

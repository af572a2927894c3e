"""speech_wav2vec/schoffelen2019: MEG of people who heard Dutch sentences one by one (MOUS, BIDS, CTF).

UNVERIFIED: written after published descriptions and tested on files made in that layout, never on the data. From the
data paper (its Table 3) and other people's published readers of these files: `sub-A2002/meg/…_task-auditory_meg.ds`,
events.tsv with `type` and `value`, a row of type Sound with "Start File 186.wav" for each sound, followed by "Audio
onset", rows of type Picture with ZINNEN (sentences) or WOORDEN (words in random order) before each block, sounds called
stimuli/audio_files/EQ_Ramp_Int2_Int1LPF186.wav, and stimuli/stimuli.txt with "186 text". Not checked: which of the two
rows is the sound's first sample (here: "Audio onset", where it follows within a second). The collection has no word
times: there is a transcript of each sound, and no "words".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from braindecode_hub.errors import HubError
from braindecode_hub.parts import bids_files
from braindecode_hub.parts.bids_files import BidsFile, number
from braindecode_hub.parts.bids_recording import open_bids
from braindecode_hub.parts.recordings import Opened
from braindecode_hub.types import Context, Space
from braindecode_hub_speech_wav2vec.heard import Heard, Playback, Said, sound_signal
from braindecode_hub_speech_wav2vec.sentences import Sentence

SOUND = "stimuli/audio_files/EQ_Ramp_Int2_Int1LPF{}.wav"
TEXTS = "stimuli/stimuli.txt"
STARTED = re.compile(r"(\d{1,3})\.wav$")
BLOCKS = {"ZINNEN": "sentence", "WOORDEN": "word_list"}
ONSET_WITHIN_S = 1.0


class Schoffelen2019(Heard):
    """UNVERIFIED loader: the auditory MEG of the Mother Of all Unification Studies: 102 Dutch listeners, 273 sensors.

    `path`: the BIDS folder; `subjects`: such as [A2002], none: all with an auditory MEG; `conditions`: "sentence",
    "word_list"; `shortest_s`: sounds shorter than that are left out. A trial is one sound; Space "transcript" has its
    text. Schoffelen et al. 2019, Scientific Data 6:17.
    """

    licence = "Donders data use agreement (log in to read it)"
    source = "Schoffelen et al. 2019, Donders Repository, doi:10.34973/37n0-yc51 (10.1038/s41597-019-0020-y)"
    how = (
        "log in at data.ru.nl, accept the terms of collection DSC_3011020.09_236, download sub-A*/meg and stimuli/, and"
        " --set dataset.path=FOLDER"
    )
    requires = ("mne", "mne_bids", "soundfile")
    modality = "meg"

    def __init__(
        self,
        *,
        path: str | None = None,
        subjects: list[str] = [],  # noqa: B006 (never changed: configuration)
        conditions: list[str] = ["sentence"],  # noqa: B006
        shortest_s: float = 3.0,
    ) -> None:
        self.path = path
        self.subjects = subjects
        self.conditions = conditions
        self.shortest_s = shortest_s

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound at each file's own rate, and what is said in it as one text."""
        return (Space("audio", ("time",), "*"), Space("transcript"))

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every auditory recording by its header and events; HubError naming what is wrong, and where."""
        files = bids_files.find(
            self.root, subjects=self.subjects, task="auditory", session=None, datatype=self.modality
        )
        played = {file.name: self._played(file) for file in files}
        texts = _texts(self.root / TEXTS)
        sounds, said = {}, {}
        for name in sorted({playback.stimulus for some in played.values() for playback in some}):
            if name not in texts:
                raise HubError(f"{self.root / TEXTS} has no text of sound {name}", "download it again")
            sounds[name] = sound_signal(self.root / SOUND.format(name), "download stimuli/audio_files")
            seconds = sounds[name].data.shape[0] / (sounds[name].rate or 1.0)
            said[name] = Said((Sentence(texts[name], 0.0, seconds),))
        for file in files:
            one = open_bids(file, self.modality, brain=None, audio=None, bads=())
            own = played[file.name]
            wavs = [self.root / SOUND.format(playback.stimulus) for playback in own]
            read = [*_files_of(file), self.root / TEXTS, *wavs]
            yield self.opened(one.recording, own, sounds, said, files=read, notes=one.notes)

    def _played(self, file: BidsFile) -> list[Playback]:
        path = file.beside("events")
        if path is None:
            raise HubError(f"{file.path.name} has no events.tsv", "download it from the same place")
        rows = sorted(
            ((number(row, "onset", path, line), line, row) for line, row in enumerate(bids_files.read_tsv(path), 2)),
            key=lambda one: one[0],
        )
        found, condition = [], ""
        for at, (onset, line, row) in enumerate(rows):
            kind, value = row.get("type", ""), row.get("value", "")
            if kind == "Picture":
                condition = next((name for mark, name in BLOCKS.items() if mark in value), condition)
            match = STARTED.search(value) if kind == "Sound" else None
            if match is None or condition not in self.conditions:
                continue
            if onset != onset:
                raise HubError(f"{path}, line {line}: {value} has no onset", "repair that line")
            after = [
                when for when, _, other in rows[at + 1 : at + 4] if "audio onset" in other.get("value", "").lower()
            ]
            start = after[0] if after and after[0] - onset <= ONSET_WITHIN_S else onset
            name = f"{int(match[1]):03d}"
            found.append(Playback(name, start, {"condition": condition}))
        if not found:
            raise HubError(
                f"{path} starts no sound of condition {', '.join(self.conditions)}",
                "--set dataset.conditions=[sentence, word_list]",
                usage=True,
            )
        return found


def _texts(path: Path) -> dict[str, str]:
    """Return what is said in every sound by its number of three digits."""
    if not path.is_file():
        raise HubError(f"{path} does not exist", "download stimuli/ from the same place")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HubError(f"{path} cannot be read as text: {error}", "download it again") from error
    found = {}
    for line, text in enumerate(lines, start=1):
        first, _, rest = text.strip().partition(" ")
        if text.strip() and not (first.isdigit() and rest.strip()):
            raise HubError(f"{path}, line {line} is not a number and a text: {text[:60]}", "download it again")
        if text.strip():
            found[f"{int(first):03d}"] = rest.strip()
    return found


def _files_of(file: BidsFile) -> list[Path]:
    events = file.beside("events")
    own = [path for path in file.path.rglob("*") if path.is_file()] if file.path.is_dir() else [file.path]
    return [*own, *([events] if events is not None else [])]

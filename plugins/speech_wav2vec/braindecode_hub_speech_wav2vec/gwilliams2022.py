"""speech_wav2vec/gwilliams2022: MEG of people who heard four stories twice (MEG-MASC, BIDS, OSF ag3kj, h2tzn, u5327).

UNVERIFIED: written after published descriptions and tested on files made in that layout, never on the data. From the
data paper and other people's published readers: 27 subjects, 208 KIT sensors at 1000 Hz, `task` 0 to 3 is the story,
`trial_type` holds a Python dictionary with `kind` (sound, word, phoneme), `condition` (sentence, word_list,
pseudo_words), `story`, `sequence_id`, `word`, `sound` and `start` (seconds of that sound), and a sound may be named
lw1_0.0.wav where the file is lw1_0.wav. Not checked: that every word names its sound (else it is the last one begun).
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts import bids_files
from braindecode_hub.parts.bids_files import BidsFile, entities_of, number
from braindecode_hub.parts.bids_recording import open_bids
from braindecode_hub.parts.recordings import Opened
from braindecode_hub.types import Context
from braindecode_hub_speech_wav2vec.heard import Heard, Playback, Said, sound_signal
from braindecode_hub_speech_wav2vec.sentences import Word, from_words

APART_S = 0.1
"""A word may lie so far from where its sound has it, in the median of a recording."""
NAN = ("nan", "NaN", "inf")
DOUBLES = ("pseudo_words",)
"""Rows of this condition repeat the place of a real word."""


@dataclass(frozen=True)
class Spoken:
    """A word of a recording: `onset` and `stop` in its seconds, `start` in seconds of its sound, where that is told."""

    text: str
    onset: float
    stop: float
    start: float | None
    condition: str
    sequence: object


@dataclass(frozen=True)
class Told:
    """What events.tsv tells: when each sound began, its story, and the words in it."""

    begins: Mapping[str, float]
    story: Mapping[str, str]
    words: Mapping[str, Sequence[Spoken]]


class Gwilliams2022(Heard):
    """UNVERIFIED loader: `sub-01/ses-0/meg/sub-01_ses-0_task-0_meg.con`, `…_events.tsv`, `stimuli/audio/lw1_0.wav`.

    `path`: the BIDS folder, all three OSF projects in one; `subjects`: such as [01, 02], `tasks`: such as ["0"], none:
    all; `conditions`: "sentence" (the stories), "word_list"; `shortest_s`: every trial holds a window of so many
    seconds. Words have the times that they have in their sound, the same for every listener.
    Gwilliams et al. 2023, Scientific Data 10:862.
    """

    licence = "CC0"
    source = "Gwilliams et al. 2023 (2022), MEG-MASC, OSF ag3kj, h2tzn and u5327 (doi:10.1038/s41597-023-02752-5)"
    how = (
        "pip install osfclient, then `osf -p ag3kj clone`, and h2tzn and u5327; move them into one folder, and --set"
        " dataset.path=FOLDER"
    )
    requires = ("mne", "mne_bids", "soundfile")
    modality = "meg"

    def __init__(
        self,
        *,
        path: str | None = None,
        subjects: list[str] = [],  # noqa: B006 (never changed: configuration)
        tasks: list[str] = [],  # noqa: B006
        conditions: list[str] = ["sentence"],  # noqa: B006
        shortest_s: float = 3.0,
    ) -> None:
        self.path = path
        self.subjects = subjects
        self.tasks = tasks
        self.conditions = conditions
        self.shortest_s = shortest_s

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every recording by its header and events; HubError naming file and line of what is wrong."""
        files = self._files()
        told = {file.name: _told(file) for file in files}
        self._check_conditions(told.values())
        said = _said(told.values())
        audio = {path.name.lower(): path for path in (self.root / "stimuli" / "audio").glob("*") if path.is_file()}
        places = {name: _sound_file(name, audio, self.root) for name in said}
        sounds = {name: sound_signal(path, "put it there") for name, path in places.items()}
        for file in files:
            own = told[file.name]
            one = open_bids(file, self.modality, brain=None, audio=None, bads=())
            heard = sorted(own.words, key=lambda name: own.begins[name])
            story = {name: own.story[name] or f"task {file.entities['task']}" for name in heard}
            played = [Playback(name, own.begins[name], {"story": story[name]}) for name in heard]
            read = [*_files_of(file), *(places[name] for name in heard)]
            yield self.opened(one.recording, played, sounds, said, files=read, notes=one.notes)

    def _check_conditions(self, every: Iterable[Told]) -> None:
        known = {word.condition for told in every for words in told.words.values() for word in words}
        for condition in self.conditions:
            if condition not in known:
                raise HubError(f"no word is of condition '{condition}'", did_you_mean(condition, known), usage=True)

    def _files(self) -> list[BidsFile]:
        present = {entities_of(path).get("task", "") for path in self.root.glob("sub-*/**/meg/*_meg.*")}
        for task in self.tasks:
            if task not in present:
                raise HubError(f"there is no task '{task}'", did_you_mean(task, present), usage=True)
        found = []
        tasks: list[str | None] = [*(self.tasks or sorted(present))]
        for story in tasks or [None]:
            found += bids_files.find(self.root, subjects=self.subjects, task=story, session=None, datatype="meg")
        return sorted(found, key=lambda file: file.name)


def _said(every: Iterable[Told]) -> dict[str, Said]:
    """Return what is said in each sound, from whichever recording tells most words of it."""
    most: dict[str, tuple[Sequence[Spoken], float]] = {}
    for told in every:
        for sound, words in told.words.items():
            if sound not in most or len(words) > len(most[sound][0]):
                most[sound] = (words, told.begins[sound])
    found = {}
    for sound, (words, begin) in most.items():
        timed = sorted(((_start(word, begin), word) for word in words), key=lambda pair: pair[0])
        heard = [Word(word.text, start, start + word.stop - word.onset) for start, word in timed]
        ids = [(word.condition, word.sequence) for _, word in timed]
        sentences = from_words(heard, ids, [word.condition for _, word in timed])
        found[sound] = Said(tuple(sentences), tuple(heard))
    return found


def _told(file: BidsFile) -> Told:
    path = file.beside("events")
    if path is None:
        raise HubError(f"{file.path.name} has no events.tsv", "download it from the same place")
    begins: dict[str, float] = {}
    story: dict[str, str] = {}
    words: dict[str, list[Spoken]] = {}
    last = ""
    for line, row in enumerate(bids_files.read_tsv(path), start=2):
        about = literal(row.get("trial_type", ""), path, line)
        kind, onset = about.get("kind"), number(row, "onset", path, line)
        if kind not in ("sound", "word"):
            continue
        if onset != onset:
            raise HubError(
                f"{path}, line {line}: a {kind} has no onset", "words without times make no trials: repair it"
            )
        sound = PurePosixPath(str(about.get("sound") or last)).name.lower()
        start = about.get("start")
        start = float(start) if isinstance(start, int | float) and start == start else None
        if kind == "sound":
            begins.setdefault(sound, onset - (start or 0.0))
            story[sound], last = str(about.get("story", "")), sound
        elif str(about.get("word", "")).strip() and about.get("condition") not in DOUBLES:
            length = number(row, "duration", path, line)
            stop = onset + (length if length == length else 0.0)
            condition = str(about.get("condition") or "sentence")
            word = Spoken(str(about["word"]).strip(), onset, stop, start, condition, about.get("sequence_id"))
            words.setdefault(sound, []).append(word)
    for sound in set(words) - set(begins):
        raise HubError(f"{path} has words of '{sound}', but not when that sound began", "repair its sound events")
    _check_alignment(path, begins, words)
    return Told(begins, story, words)


def _check_alignment(path: Path, begins: Mapping[str, float], words: Mapping[str, Sequence[Spoken]]) -> None:
    for sound, some in words.items():
        apart = [abs(word.onset - word.start - begins[sound]) for word in some if word.start is not None]
        if apart and statistics.median(apart) > APART_S:
            raise HubError(
                f"{path}: words of {sound} lie {statistics.median(apart):.2f} s from where the sound has them",
                "correct the onsets, or take this recording out",
            )


def literal(text: str, path: Path, line: int) -> dict[str, Any]:
    """Return the dictionary that a text holds, nothing of it being executed; HubError naming the line if it is none."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')  # as tables write a field that holds quotes
    try:
        tree = ast.parse(text, mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                node.values = [_not_a_number(value) for value in node.values]
        found = ast.literal_eval(tree)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise HubError(f"{path}, line {line}: trial_type is no dictionary: {text[:60]}", "repair that line") from error
    if not isinstance(found, dict):
        raise HubError(f"{path}, line {line}: trial_type is no dictionary: {text[:60]}", "repair that line")
    return found


def _not_a_number(node: ast.expr) -> ast.expr:
    return ast.Constant(None) if isinstance(node, ast.Name) and node.id in NAN else node


def _start(word: Spoken, begin: float) -> float:
    return word.start if word.start is not None else max(0.0, word.onset - begin)


def _sound_file(name: str, audio: Mapping[str, Path], root: Path) -> Path:
    for known in (name, name.replace(".0.wav", ".wav")):
        if known in audio:
            return audio[known]
    raise HubError(
        f"{root / 'stimuli' / 'audio' / name} does not exist", did_you_mean(name, audio) if audio else "get it"
    )


def _files_of(file: BidsFile) -> list[Path]:
    events = file.beside("events")
    own = [path for path in file.path.rglob("*") if path.is_file()] if file.path.is_dir() else [file.path]
    return [*own, *([events] if events is not None else [])]

"""speech_wav2vec/broderick2019: EEG of people who heard The Old Man and the Sea (Dryad 070jc, "Natural Speech").

UNVERIFIED: written after published descriptions and tested on files made in that layout, never on the data. From other
people's published readers of these files: folders and file names, `eegData` (time × 128), `mastoids`, `fs` 128 Hz;
`wordVec`, `onset_time`, `offset_time`, `sentence_boundaries`; `env` at 128 Hz; that sound and EEG of a run begin
together; that the archive holds no sound. Not checked: the unit of the EEG (none is stated), that channels stand in the
order of BioSemi's 128-cap, and whether `sentence_boundaries` marks first or last words (told apart by the file itself).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.parts.opening import Brain
from braindecode_hub.parts.recordings import Opened, recording_of
from braindecode_hub.types import Array, Context, Signal, Space
from braindecode_hub_speech_wav2vec import matfiles
from braindecode_hub_speech_wav2vec.heard import Heard, Playback, Said, sound_signal
from braindecode_hub_speech_wav2vec.sentences import Word, from_words

FILE = re.compile(r"Subject(\d+)_Run(\d+)\.mat")
SENSORS = 128
ENVELOPE_RATE = 128.0
AUDIO = ("{}", "Stimuli/Audio/{}", "Audio/{}", "../private/{}")
"""Where the sound of a run, audio1.wav, is looked for, from the folder "Natural Speech"."""


class Broderick2019(Heard):
    """UNVERIFIED loader: `EEG/Subject1/Subject1_Run1.mat` …, `Stimuli/Text/Run1.mat`, `Stimuli/Envelopes/…_128Hz.mat`.

    19 subjects, 20 runs of about three minutes, 128 channels at 128 Hz. `path`: the folder "Natural Speech" or the one
    that holds it; `subjects`: such as [1, 2], none: all; `stimuli`: "audio" (audio1.wav …, which the archive does not
    hold), or "envelope", the published one (frames, 1) at 128 Hz; `shortest_s`: every trial holds a window of so many
    seconds. Broderick et al. 2018, Current Biology 28:803.
    """

    licence = "CC0 1.0 (EEG and annotations); the sound is not in the archive"
    source = "Broderick et al. 2018, Dryad, doi:10.5061/dryad.070jc"
    how = (
        'download "Natural Speech.zip" from datadryad.org/dataset/doi:10.5061/dryad.070jc (free login), unpack it, and'
        " --set dataset.path=FOLDER"
    )
    modality = "eeg"

    def __init__(
        self,
        *,
        path: str | None = None,
        subjects: list[int] = [],  # noqa: B006 (never changed: configuration)
        stimuli: Literal["audio", "envelope"] = "audio",
        shortest_s: float = 3.0,
    ) -> None:
        self.path = path
        self.subjects = subjects
        self.stimuli = stimuli
        self.shortest_s = shortest_s

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound at each file's own rate, or the envelope, and the words."""
        envelope = Space("envelope", ("time", 1), ENVELOPE_RATE)
        return (envelope if self.stimuli == "envelope" else Space("audio", ("time",), "*"), Space("words"))

    @property
    def root(self) -> Path:
        """The folder "Natural Speech"."""
        folder = super().root
        return folder / "Natural Speech" if (folder / "Natural Speech").is_dir() else folder

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every run of every subject by its header; HubError naming the file and what is wrong with it."""
        files = {}
        for path in (self.root / "EEG").glob("Subject*/Subject*_Run*.mat"):
            if match := FILE.fullmatch(path.name):
                files[int(match[1]), int(match[2])] = path
        if not files:
            raise HubError(f"{self.root} holds no EEG/Subject1/Subject1_Run1.mat …", self.how)
        known = {subject for subject, _ in files}
        for subject in self.subjects:
            if subject not in known:
                raise HubError(
                    f"there is no subject {subject}", f"known: {', '.join(map(str, sorted(known)))}", usage=True
                )
        wanted = sorted(key for key in files if not self.subjects or key[0] in self.subjects)
        runs = sorted({run for _, run in wanted})
        said = {f"audio{run}": _said(self.root / "Stimuli" / "Text" / f"Run{run}.mat") for run in runs}
        heard = {f"audio{run}": self._heard(run) for run in runs}
        sounds = {id: signal for id, (signal, _) in heard.items()}
        for subject, run in wanted:
            id = f"audio{run}"
            path = files[subject, run]
            groups = {"subject": f"{subject:02d}", "session": "1"}
            recording = recording_of(f"{subject:02d}-run{run:02d}", _brain(path), "eeg", groups, where=str(path))
            played = [Playback(id, 0.0, {"run": str(run), "story": f"run{run:02d}"})]
            text = self.root / "Stimuli" / "Text" / f"Run{run}.mat"
            yield self.opened(recording, played, sounds, said, files=[path, text, heard[id][1]])

    def _heard(self, run: int) -> tuple[Signal, Path]:
        if self.stimuli == "envelope":
            path = self.root / "Stimuli" / "Envelopes" / f"audio{run}_128Hz.mat"
            values = np.asarray(matfiles.load(path, "env")["env"], np.float32).reshape(-1, 1)
            return Signal(values, ENVELOPE_RATE, "envelope"), path
        places = [self.root / place.format(f"audio{run}.wav") for place in AUDIO]
        path = next((place for place in places if place.is_file()), places[1])
        remedy = "Dryad has no sound: ask the authors for audio1.wav …, or --set dataset.stimuli=envelope"
        return sound_signal(path, remedy), path


def _brain(path: Path) -> Brain:
    shape = matfiles.sizes(path).get("eegData")
    if shape is None or len(shape) != 2 or shape[1] != SENSORS:
        told = "no eegData" if shape is None else f"eegData of {' × '.join(map(str, shape))}, not time × {SENSORS}"
        raise HubError(f"{path} has {told}", "use the file as it was published")
    import mne

    montage = mne.channels.make_standard_montage("biosemi128")
    places = np.array([montage.get_positions()["ch_pos"][name] for name in montage.ch_names], np.float32)
    data = matfiles.MatSamples(path, _eeg, (SENSORS, shape[0]))
    rate = float(matfiles.load(path, "fs")["fs"])
    return Brain(data, rate, tuple(montage.ch_names), "", places, "head", line_freq=50.0)


def _eeg(path: Path) -> Array:
    return np.asarray(matfiles.load(path, "eegData")["eegData"]).T


def _said(path: Path) -> Said:
    """Return words and sentences of a run; HubError for words without times."""
    names = ("wordVec", "onset_time", "offset_time", "sentence_boundaries")
    found = matfiles.load(path, names[0])
    told = matfiles.texts(found["wordVec"])
    missing = [name for name in names[1:] if name not in matfiles.sizes(path)]
    if missing:
        raise HubError(f"{path} has words, but no {missing[0]}", "use the file as it was published: it has times")
    rest = matfiles.load(path, *names[1:])
    start, stop = (np.atleast_1d(np.asarray(rest[name], float)) for name in names[1:3])
    if not len(told) == start.size == stop.size:
        raise HubError(
            f"{path} has {len(told)} words, {start.size} onsets and {stop.size} offsets", "download it again"
        )
    words = [Word(text, float(a), float(b)) for text, a, b in zip(told, start, stop, strict=True)]
    numbers = _numbers(rest["sentence_boundaries"], len(words), path)
    return Said(tuple(from_words(words, numbers)), tuple(words))


def _numbers(boundaries: Any, count: int, path: Path) -> list[int]:
    """Return the number of each word's sentence, from flags of each word, or 1-based numbers of words.

    Boundaries that hold the first word are taken as first words of sentences, else as last ones.
    """
    values = np.atleast_1d(np.asarray(boundaries)).ravel()
    flags = values.size == count and set(np.unique(values).tolist()) <= {0, 1}
    marked = np.flatnonzero(values) if flags else values.astype(int) - 1
    if not marked.size or marked.min() < 0 or marked.max() >= count:
        raise HubError(f"{path}: sentence_boundaries does not fit its {count} words", "download it again")
    first = np.zeros(count, int)
    if 0 in marked:
        first[marked] = 1
    else:
        first[marked[marked + 1 < count] + 1] = 1
    return [int(number) for number in np.cumsum(first)]

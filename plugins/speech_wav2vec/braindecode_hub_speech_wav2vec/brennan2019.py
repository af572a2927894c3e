"""speech_wav2vec/brennan2019: EEG of people who heard the first chapter of Alice in Wonderland (Deep Blue Data).

UNVERIFIED: written after published descriptions and tested on files made in that layout, never on the data. From other
people's published readers of these files: the fields of `raw` and `proc`, 500 Hz, the 62 channels and their unit, the
twelve segments, the montage easycap-M10, and that a word's onset is (first sample − offset) of its row in `proc.trl`,
whose `Order` is the table's. Not checked: that onsets in the table are seconds of the segment's sound file (the loader
compares them with the recording's and refuses what does not agree).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.opening import Brain
from braindecode_hub.parts.recordings import Opened, recording_of
from braindecode_hub.types import Array, Context, Signal
from braindecode_hub_speech_wav2vec import matfiles
from braindecode_hub_speech_wav2vec.heard import Heard, Playback, Said, sound_signal
from braindecode_hub_speech_wav2vec.sentences import Word, from_words

TABLE = "AliceChapterOne-EEG.csv"
SOUND = "audio/DownTheRabbitHoleFinal_SoundFile{}.wav"
COLUMNS = ("Word", "Segment", "onset", "offset", "Order", "Sentence")
APART_S = 0.1
"""Words of a segment may lie so far from where the table has them, in the median."""


class Misaligned(HubError):  # noqa: N818
    """A subject whose words do not lie where the table has them: left out unless it was asked for."""


class Brennan2019(Heard):
    """UNVERIFIED loader: `S01.mat` … (60 EEG channels, 500 Hz), `proc/S01.mat`, `audio/`, `AliceChapterOne-EEG.csv`.

    `path`: the folder with all of that, zips unpacked; `subjects`: such as [S01, S03], none: all that are there but
    those whose words do not fit; `shortest_s`: every trial holds a window of so many seconds. Brennan & Hale 2019,
    PLoS ONE 14:e0207741.
    """

    licence = "CC BY 4.0"
    source = "Brennan & Hale 2019, doi:10.7302/Z29C6VNH (10.1371/journal.pone.0207741)"
    how = (
        "download it from deepblue.lib.umich.edu/data/concern/data_sets/bg257f92t (4 GB; by Globus if it refuses),"
        " unpack audio.zip and proc.zip there, and --set dataset.path=FOLDER"
    )
    modality = "eeg"

    def __init__(self, *, path: str | None = None, subjects: list[str] = [], shortest_s: float = 3.0) -> None:  # noqa: B006
        self.path = path
        self.subjects = subjects
        self.shortest_s = shortest_s

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every subject's recording; HubError naming the file and what is wrong with it."""
        said, times = _table(self.root / TABLE)
        sounds = {id: sound_signal(self.root / SOUND.format(id), "unpack audio.zip there") for id in said}
        known = sorted(path.stem for path in (self.root / "proc").glob("S[0-9]*.mat"))
        for subject in self.subjects:
            if subject not in known:
                raise HubError(f"there is no subject '{subject}'", did_you_mean(subject, known), usage=True)
        if not known:
            raise HubError(f"{self.root / 'proc'} holds no S01.mat …", "unpack proc.zip there")
        found = 0
        for subject in self.subjects or known:
            try:
                yield self._subject(subject, said, times, sounds, ctx)
                found += 1
            except Misaligned as error:
                if self.subjects:
                    raise
                if ctx is not None:
                    ctx.log({"kind": "note", "text": f"{subject} is left out: {error.cause}"})
        if not found:
            raise HubError("no subject's words lie where the table has them", "check that the files belong together")

    def _subject(
        self,
        subject: str,
        said: dict[str, Said],
        times: dict[int, tuple[str, float]],
        sounds: dict[str, Signal],
        ctx: Context | None,
    ) -> Opened:
        path, about = self.root / f"{subject}.mat", self.root / "proc" / f"{subject}.mat"
        raw = matfiles.load(path, "raw")["raw"]
        proc = matfiles.load(about, "proc")["proc"]
        labels, rate = _labels(raw, path)
        names = tuple(name for name in labels if name.isdigit())
        if not names:
            raise HubError(f"{path} has no EEG channel: {', '.join(labels[:5])} …", "use the file as it was published")
        samples = _matrix(raw, path).shape[1]
        read = partial(_microvolts, tuple(labels.index(name) for name in names))
        marked = {*_bads(proc, "impedence", "bads"), *_bads(proc, "rejections", "badchans")}
        brain = Brain(
            matfiles.MatSamples(path, read, (len(names), samples)),
            rate,
            names,
            "V",
            _positions(names),
            "head",
            tuple(name for name in names if name in marked),
            60.0,
        )
        groups = {"subject": subject, "session": "1"}
        recording = recording_of(subject, brain, self.modality, groups, where=str(path))
        starts = _segment_starts(proc, about, rate, times)
        played = [Playback(id, at, {"story": f"alice-{id}"}) for id, at in starts.items()]
        wavs = [self.root / SOUND.format(id) for id in starts]
        return self.opened(recording, played, sounds, said, files=[path, about, self.root / TABLE, *wavs])


def _table(path: Path) -> tuple[dict[str, Said], dict[int, tuple[str, float]]]:
    """Return what is said in every segment, and (segment, onset in it) of every word by its Order."""
    if not path.is_file():
        raise HubError(f"{path} does not exist", "download it from the same place as the recordings")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, ValueError, csv.Error) as error:
        raise HubError(f"{path} cannot be read as a table: {error}", "download it again") from error
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise HubError(
            f"{path} has no column '{missing[0]}'", "the table of words needs their times: download it again"
        )
    words: dict[str, list[tuple[Word, str]]] = {}
    times: dict[int, tuple[str, float]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            segment, order = str(int(float(row["Segment"]))), int(float(row["Order"]))
            word = Word(row["Word"], float(row["onset"]), float(row["offset"]))
        except (TypeError, ValueError) as error:
            raise HubError(f"{path}, line {line}: {error}", "repair that line, or download the table again") from error
        words.setdefault(segment, []).append((word, row["Sentence"]))
        times[order] = (segment, word.start)
    said = {}
    for segment, pairs in words.items():
        own = sorted(pairs, key=lambda pair: pair[0].start)
        heard = [word for word, _ in own]
        said[segment] = Said(tuple(from_words(heard, [number for _, number in own])), tuple(heard))
    return said, times


def _labels(raw: Any, path: Path) -> tuple[list[str], float]:
    header = matfiles.field(raw, "hdr", path)
    labels = matfiles.texts(matfiles.field(header, "label", path))
    rate = float(matfiles.field(header, "Fs", path))
    rows = len(_matrix(raw, path))
    if rows != len(labels):
        raise HubError(f"{path} has {rows} rows of samples, but {len(labels)} labels", "download it again")
    return labels, rate


def _matrix(raw: Any, path: Path) -> Array:
    trial = matfiles.field(raw, "trial", path)
    if isinstance(trial, list) or (isinstance(trial, np.ndarray) and trial.dtype == object):
        trial = trial[0] if len(trial) == 1 else np.zeros(0)
    trial = np.asarray(trial)
    if trial.ndim != 2 or trial.dtype.kind not in "iuf":
        raise HubError(f"{path} holds no one stretch of samples (channels, time)", "use the file as it was published")
    return trial


def _microvolts(rows: tuple[int, ...], path: Path) -> Array:
    """Return volts (channels, samples) of the file's microvolts."""
    return _matrix(matfiles.load(path, "raw")["raw"], path)[list(rows)] * 1e-6


def _positions(names: tuple[str, ...]) -> Array:
    """Return metres (channels, 3) of easycap-M10, NaN for a channel that it does not have."""
    import mne

    places = mne.channels.make_standard_montage("easycap-M10").get_positions()["ch_pos"]
    return np.array([places.get(name, np.full(3, np.nan)) for name in names], np.float32)


def _bads(proc: Any, group: str, name: str) -> list[str]:
    found = proc.get(group) if isinstance(proc, dict) else None
    return matfiles.texts(found[name]) if isinstance(found, dict) and name in found else []


def _segment_starts(proc: Any, path: Path, rate: float, times: dict[int, tuple[str, float]]) -> dict[str, float]:
    """Return when each segment's sound begins, in seconds of the recording, in order of time."""
    rows = np.atleast_2d(np.asarray(matfiles.field(proc, "trl", path), float))
    names = matfiles.texts(matfiles.field(proc, "varnames", path))[-max(0, rows.shape[1] - 3) :]
    if "Order" not in names or rows.shape[1] != 3 + len(names):
        raise HubError(f"{path}: trl does not say the Order of its words", "use the file as it was published")
    begins: dict[str, list[float]] = {}
    for row in rows:
        order = row[3 + names.index("Order")]
        if np.isfinite(row).all() and int(order) in times:
            segment, onset = times[int(order)]
            begins.setdefault(segment, []).append((row[0] - 1 - row[2]) / rate - onset)
    if not begins:
        raise Misaligned(f"{path} knows none of the words of {TABLE}", "leave this subject out: dataset.subjects")
    starts = {segment: float(np.median(some)) for segment, some in begins.items()}
    apart = {s: float(np.median(np.abs(np.asarray(begins[s]) - starts[s]))) for s in starts}
    worst = max(apart, key=lambda segment: apart[segment])
    if apart[worst] > APART_S:
        raise Misaligned(
            f"{path}: words of segment {worst} lie {apart[worst]:.2f} s from where {TABLE} has them",
            "leave this subject out: --set dataset.subjects=[…]",
        )
    return dict(sorted(starts.items(), key=lambda pair: pair[1]))

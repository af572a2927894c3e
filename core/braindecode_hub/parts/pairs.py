"""Recordings that are pairs of files, brain and sound; or one recording with a table of several sounds."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.matching import entities, in_utf8
from braindecode_hub.parts.opening import Axis, Brain, Floats, Sound, open_npy, open_sound, time_last
from braindecode_hub.parts.presentations import Row, one_person, sound_file, trials_of
from braindecode_hub.parts.recordings import Opened, Recordings, outside_gaps, recording_of
from braindecode_hub.rates import fitting_rates
from braindecode_hub.types import Context, Signal, Space, Trial

APART = (0.01, 0.5)
"""Brain and sound may differ in length by this share of it, or by so many seconds: then both are cut to the shorter."""


@dataclass(frozen=True)
class Pair:
    """The files of one recording: its brain, and one sound, or the rows of a `table` that names several.

    `fetched`: they lie among the downloads, by their hash or their URI.
    """

    name: str
    brain: Path
    sound: Path | None
    fetched: bool = False
    rows: tuple[Row, ...] = ()
    table: Path | None = None


class Pairs(Recordings):
    """Recordings that are pairs of files: what `Folder` and loaders of such public data share.

    A subclass says which `pairs`, and has these attributes: `rate` Hz, `audio_rate` Hz (of sound in .npy), `axis`,
    `line_freq` Hz, `bads` and `channels` (names), `modality`. Without a table, one trial is the whole of a pair,
    brain and sound starting together; `subject` and `story` are its name, unless that says sub-…, ses-…, run-….
    """

    requires: ClassVar[tuple[str, ...]] = ("soundfile",)

    rate: float | None
    audio_rate: float | None
    axis: Axis
    line_freq: float | None
    bads: list[str]
    channels: list[str]

    @abstractmethod
    def pairs(self, ctx: Context | None) -> Sequence[Pair]:
        """Return the pairs of files; without a context nothing may be fetched."""

    @property
    def brain(self) -> Space:
        """Every channel; its rate is the one that was given, else the file's."""
        return Space(self.modality, ("channels", "time"), float(self.rate) if self.rate else "*")

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open both files of every pair by their headers, and check that they fit each other."""
        for pair in self.pairs(ctx):
            for path in (pair.brain, pair.sound):
                if path is not None:
                    in_utf8(path)
            brain = self._brain_of(pair)
            groups = {"subject": pair.name, "session": "1", **entities(pair.name), **one_person(pair.rows, pair.name)}
            recording = recording_of(
                pair.name,
                brain,
                self.modality,
                groups,
                where=str(pair.brain),
                bads=self.bads,
                line_freq=self.line_freq,
            )
            sounds, trials, files = self._presented(pair, brain, groups)
            notes = [f"{pair.brain.name}: {note}" for note in brain.notes]
            notes += [f"{name}: {note}" for name, sound in files.items() for note in sound.notes]
            read = (*brain.files, *(path for _, path in sorted(self._sound_files(pair).items())))
            yield Opened(
                recording,
                outside_gaps(trials, brain, str(pair.brain)),
                sounds,
                (*read, *([pair.table] if pair.table else [])),
                pair.fetched,
                tuple(notes),
            )

    def _presented(
        self, pair: Pair, brain: Brain, groups: Mapping[str, str]
    ) -> tuple[dict[str, Signal], list[Trial], dict[str, Floats | Sound]]:
        """Return a pair's sounds by stimulus id, its trials, and the opened sounds by file name."""
        opened = {id: (path, *open_sound(path, self.audio_rate)) for id, path in self._sound_files(pair).items()}
        sounds = {id: Signal(sound, rate, "audio") for id, (_, sound, rate) in opened.items()}
        lengths = {id: sound.shape[0] / rate for id, (_, sound, rate) in opened.items()}
        if pair.rows:
            trials = trials_of(pair.rows, pair.name, brain.seconds, lengths, groups)
        else:
            assert pair.sound is not None
            check_lengths(str(pair.brain), brain, pair.sound.name, lengths[pair.name])
            seconds = min(brain.seconds, lengths[pair.name])
            trials = [
                Trial(pair.name, pair.name, 0.0, seconds, pair.name, 0.0, seconds, {**groups, "story": pair.name})
            ]
        return sounds, trials, {path.name: sound for path, sound, _ in opened.values()}

    def _sound_files(self, pair: Pair) -> dict[str, Path]:
        if pair.table is not None:
            return {row.stimulus: sound_file(row, pair.table.parent) for row in pair.rows}
        return {} if pair.sound is None else {pair.name: pair.sound}

    def _brain_of(self, pair: Pair) -> Brain:
        if pair.brain.suffix.lower() != ".npy":
            from braindecode_hub.parts.mne_files import open_with_mne

            brain = open_with_mne(pair.brain, self.modality, self.channels)
            if self.rate is not None and not math.isclose(self.rate, brain.rate, rel_tol=1e-6):
                raise HubError(
                    f"{pair.brain} is sampled at {brain.rate:g} Hz, but dataset.rate is {self.rate:g}",
                    "leave dataset.rate out: the file knows it",
                    usage=True,
                )
            return brain
        rate = self._rate(pair)
        array, notes = time_last(open_npy(pair.brain), self.axis, str(pair.brain))
        if self.channels and len(self.channels) != len(array):
            raise HubError(
                f"{pair.brain} has {len(array)} channels, but {len(self.channels)} are named",
                "name each of them, in order",
            )
        return Brain(Floats(array), float(rate), tuple(self.channels), files=(pair.brain,), notes=notes)

    def _rate(self, pair: Pair) -> float:
        if not self.rate or not (math.isfinite(self.rate) and self.rate > 0):
            problem = (
                "does not say its sampling rate" if self.rate is None else f"cannot be sampled at {self.rate:g} Hz"
            )
            remedy = f"give it in Hz: --set dataset.rate=1024{self._fitting(pair)}"
            raise HubError(f"{pair.brain} {problem}", remedy, usage=True)
        return self.rate

    def _fitting(self, pair: Pair) -> str:
        """Say which usual rate would make an array as long as its sound; "" if none does, or if it has no sound."""
        if pair.sound is None:
            return ""
        array, _ = time_last(open_npy(pair.brain), self.axis, str(pair.brain))
        sound, rate = open_sound(pair.sound, self.audio_rate)
        found = fitting_rates(array.shape[1], sound.shape[0] / rate)
        return f"; {found[0][0]:g} would make it as long as {pair.sound.name}" if found else ""


def check_lengths(where: str, brain: Brain, sound: str, sound_s: float, keys: str = "dataset.rate, audio_rate") -> None:
    """Raise HubError, with the rate that would fit, if brain and sound that begin together do not end together."""
    apart, longer = abs(brain.seconds - sound_s), max(brain.seconds, sound_s)
    if apart > APART[0] * longer and apart > APART[1]:
        ratio = brain.seconds / sound_s
        raise HubError(
            f"{where} lasts {brain.seconds:.2f} s ({brain.data.shape[0]} channels), but {sound} {sound_s:.2f} s: "
            f"{ratio:.4g} times as long",
            f"check {keys} and axis (a brain rate of {brain.rate * ratio:.6g} Hz would fit), "
            "or cut both to the same start and end",
        )


def with_table(pairs: Sequence[Pair], rows: Sequence[Row], table: Path) -> list[Pair]:
    """Give each recording its rows of a table that serves a whole folder.

    Raises HubError for a row that names no recording, or an unknown one, and for a recording without a row.
    """
    names = {pair.name for pair in pairs} | {pair.brain.name for pair in pairs}
    for row in rows:
        if row.recording and row.recording not in names:
            raise HubError(
                f"{row.where} names the recording '{row.recording}', which is not there",
                did_you_mean(row.recording, names),
            )
        if not row.recording and len(pairs) > 1:
            raise HubError(f"{row.where} does not say which recording", "add a column 'recording': the file's name")
    found = []
    for pair in pairs:
        own = tuple(row for row in rows if row.recording in ("", pair.name, pair.brain.name))
        if not own:
            raise HubError(
                f"{table} has no row for recording '{pair.name}'", f"add its rows, or move {pair.brain.name} away"
            )
        found.append(Pair(pair.name, pair.brain, None, pair.fetched, own, table))
    return found

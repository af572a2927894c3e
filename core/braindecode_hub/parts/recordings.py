"""What datasets of opened files share: trials, recordings, sounds and a fingerprint, from headers alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.parts.fingerprints import sampled_hash
from braindecode_hub.parts.opening import Brain, channel_names
from braindecode_hub.parts.presentations import around_gaps, without_rounding
from braindecode_hub.parts.twins import renamed, twins
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

LOOKS = 16
"""At so many places, of up to a second each, a recording is looked at for channels that stand still."""

HIGHEST_MAINS_HZ = 1000.0
"""Aircraft have 400 Hz."""


@dataclass(frozen=True)
class Opened:
    """A recording whose headers were read, what was presented in it, and the sounds by id.

    `files` it was read from; `fetched`: they lie among the downloads, by their hash or their URI; `notes` in words;
    `simulated`: no brain was recorded.
    """

    recording: Recording
    trials: tuple[Trial, ...]
    sounds: Mapping[str, Signal]
    files: tuple[Path, ...]
    fetched: bool = False
    notes: tuple[str, ...] = ()
    simulated: bool = False


class Recordings(Dataset):
    """Recordings that are opened from files of one's own; a subclass says how, in `open`, and stores `_brain`."""

    _brain: str
    _opened: dict[str, Opened] | None = None
    _hash: tuple[Any, str] | None = None

    @property
    def modality(self) -> str:
        """The name of the brain's space, as the argument `brain` says: seeg, eeg, meg …"""
        return self._brain

    @abstractmethod
    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every recording by its headers; without a context nothing may be fetched."""

    @property
    def brain(self) -> Space:
        """Every channel; its rate is the recording's."""
        return Space(self.modality, ("channels", "time"), "*")

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound, at each file's own rate."""
        return (Space("audio", ("time",), "*"),)

    def prepare(self, ctx: Context) -> None:
        """Find (and for a URI fetch) the files, look at their headers, and log what the user should know.

        That is: sound that is averaged or scaled, an array that is turned, channels that are left out or stand still.
        Raises HubError for what is missing, unreadable, ambiguous, or too different in length.
        """
        self._opened = self._distinct(ctx)
        for one in self._opened.values():
            for note in (*one.notes, *still(one.recording)):
                ctx.log({"kind": "note", "text": note})

    def trials(self) -> Sequence[Trial]:
        """Return what was presented when; a trial is cut where the recording has a gap."""
        return [trial for one in self._all().values() for trial in one.trials]

    def recording(self, id: str) -> Recording:
        """Return the recording, (channels, samples), float32 when sliced."""
        if id not in self._all():
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, self._all()))
        return self._all()[id].recording

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the sound (samples,), float32 in [-1, 1] when sliced."""
        sounds = {name: sound for one in self._all().values() for name, sound in one.sounds.items()}
        if id not in sounds:
            raise HubError(f"there is no stimulus '{id}'", did_you_mean(id, sounds))
        return sounds[id]

    def fingerprint(self) -> str:
        """Return a hash of every file's size, time of change and contents (up to 64 blocks of 64 KiB spread over it).

        Downloads are known by their contents alone.
        """
        files = [(path, one.fetched) for one in self._all().values() for path in one.files]
        stats = [(path, path.stat(), fetched) for path, fetched in files]
        seen = [[path.name, stat.st_size, 0 if fetched else stat.st_mtime_ns] for path, stat, fetched in stats]
        if self._hash is None or self._hash[0] != seen:
            self._hash = (seen, Cache.key(files=seen, contents=[sampled_hash(path) for path, _ in files]))
        kind = type(self).__qualname__
        return Cache.key(kind=kind, version=self.version, configuration=self.configuration(), files=self._hash[1])

    def _all(self) -> dict[str, Opened]:
        if self._opened is None:
            self._opened = self._distinct(None)
        return self._opened

    def _distinct(self, ctx: Context | None) -> dict[str, Opened]:
        found: dict[str, Opened] = {}
        for one in self.open(ctx):
            name = one.recording.id
            if name in found:
                both = f"{found[name].files[0].name} and {one.files[0].name}"
                raise HubError(f"two recordings are called '{name}': {both}", "rename one of the files")
            trials, told = without_rounding(one.trials)
            found[name] = replace(one, trials=trials, notes=(*one.notes, *told))
        return _one_name_a_sound(found)


def _one_name_a_sound(found: dict[str, Opened]) -> dict[str, Opened]:
    """Return what was opened with equal sounds under one name, and a note where that is another than the file's."""
    first = twins({name: sound for one in found.values() for name, sound in one.sounds.items()})
    made: dict[str, Opened] = {}
    for name, one in found.items():
        own = sorted(set(one.sounds) & set(first))
        told = tuple(f"{name}: its sound '{id}' is that of '{first[id]}': to every split they are one" for id in own)
        sounds = {first.get(id, id): sound for id, sound in one.sounds.items()}
        made[name] = replace(one, trials=renamed(one.trials, first), sounds=sounds, notes=(*one.notes, *told))
    return made


def recording_of(
    name: str,
    brain: Brain,
    modality: str,
    groups: Mapping[str, str],
    *,
    where: str,
    bads: Sequence[str] = (),
    line_freq: float | None = None,
) -> Recording:
    """Return an opened brain as a Recording; `bads` and `line_freq` go over the file's own.

    Raises HubError for a bad channel that is not there, and for two channels of one name.
    """
    names = brain.channels or channel_names(brain.data.shape[0])
    twice = [channel for channel in names if names.count(channel) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise HubError(f"{where} has two channels called '{twice[0]}'", "give every channel its own name")
    for bad in bads:
        if bad not in names:
            raise HubError(f"{where} has no channel '{bad}', which is to be bad", did_you_mean(bad, names), usage=True)
    line = brain.line_freq if line_freq is None else line_freq
    if line is not None and not 0 < line < HIGHEST_MAINS_HZ:
        raise HubError(f"{where} has mains of {line:g} Hz", "give dataset.line_freq in Hz: 50, or 60", usage=True)
    return Recording(
        name,
        groups["subject"],
        groups["session"],
        Signal(brain.data, brain.rate, modality, tuple(names), brain.units),
        positions=brain.positions,
        position_frame=brain.frame,
        bads=tuple(dict.fromkeys([*brain.bads, *bads])),
        line_freq=line,
        breaks=tuple(sorted({edge for gap in brain.gaps for edge in gap})),
    )


def outside_gaps(trials: Sequence[Trial], brain: Brain, where: str) -> tuple[Trial, ...]:
    """Return the trials cut at the recording's gaps; HubError if nothing is left."""
    kept = around_gaps(trials, brain.gaps)
    if not kept:
        raise HubError(f"every trial of {where} lies in a stretch that is marked bad", "correct the marks (BAD_…)")
    return tuple(kept)


def still(recording: Recording) -> list[str]:
    """Say which channels never change, looked at in 16 places of up to a second; HubError if all of them do not."""
    data, rate = recording.brain.data, recording.brain.rate or 1.0
    samples = int(data.shape[1])
    width = max(2, min(samples, int(rate)))
    starts = sorted({round(at) for at in np.linspace(0, max(0, samples - width), LOOKS)})
    low = high = np.asarray(data[:, :1], np.float32)[:, 0]
    for start in starts:
        part = np.asarray(data[:, start : start + width])
        low, high = np.minimum(low, part.min(axis=1)), np.maximum(high, part.max(axis=1))
    names = [name for name, flat in zip(recording.brain.channels, low == high, strict=True) if flat]
    names = [name for name in names if name not in recording.bads]
    if names and len(names) + len(recording.bads) == len(recording.brain.channels) and _never_changes(data):
        raise HubError(f"recording {recording.id} is flat: no channel ever changes", "check the file, and its scale")
    if not names:
        return []
    told = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    verb = "stands" if len(names) == 1 else "stand"
    return [f"{recording.id}: {told} {verb} still wherever looked at: scaling drops that; mark it bad if it is dead"]


def _never_changes(data: Array, block: int = 1 << 16) -> bool:
    first = np.asarray(data[:, :1])
    return all(bool((np.asarray(data[:, at : at + block]) == first).all()) for at in range(0, data.shape[1], block))

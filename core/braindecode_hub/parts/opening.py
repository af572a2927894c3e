"""Files of samples are opened, not read: arrays as memory maps, sound decoded only where it is sliced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.lazy import CHUNK, blocks, give_back
from braindecode_hub.reading import NOT_WHOLE, first_line
from braindecode_hub.types import Array

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff")
"""Sound files that are looked for beside a recording; a sound may also be an .npy."""

RUN_UP = {".mp3": 16 * 1152}
"""So many samples are decoded before those that are wanted: a frame of MP3 builds on up to eleven before it."""

CLEAR_RATIO = 4.0
"""How many times longer than the other axis the longer one must be to be taken for time unasked."""

Axis = Literal["auto", "time_first", "channels_first"]


@dataclass(frozen=True)
class Brain:
    """A recording whose header was read: `data` (channels, samples), lazy, and what the file says of its sensors.

    `positions` (channels, 3) metres in `frame`; `gaps`: (start, stop) seconds that no trial may hold, of no length
    where two pieces were only joined; `files`: what it was read from; `notes`: what the user should know.
    """

    data: Array
    rate: float
    channels: tuple[str, ...] = ()
    units: str = ""
    positions: Array | None = None
    frame: str | None = None
    bads: tuple[str, ...] = ()
    line_freq: float | None = None
    gaps: tuple[tuple[float, float], ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length in seconds, without what is marked bad at the end (EDF fills its last record)."""
        length = float(self.data.shape[1]) / self.rate
        return min([length, *(start for start, stop in self.gaps if 0 < start < stop and stop >= length - 1e-3)])


class Floats:
    """An array that becomes float32 where it is sliced, times `gain`; nothing else is read.

    `averaged`: it is the mean of several channels of sound.
    """

    def __init__(self, data: Array, gain: float = 1.0, notes: tuple[str, ...] = (), *, averaged: bool = False) -> None:
        self._data, self._gain, self.notes, self.averaged = data, gain, notes, averaged
        self.shape: tuple[int, ...] = data.shape
        self.ndim, self.dtype = len(self.shape), np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        part = np.asarray(self._data[key])
        read = part.astype(np.float32) if self._gain == 1.0 else (part * self._gain).astype(np.float32)
        give_back([self._data])
        return read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


class Sound:
    """A sound file's samples, its channels averaged; only the part that is sliced is decoded: (samples,) float32."""

    ndim, dtype = 1, np.dtype(np.float32)

    def __init__(self, path: Path) -> None:
        import soundfile

        try:
            info = soundfile.info(str(path))
        except (soundfile.SoundFileError, OSError) as error:
            raise HubError(
                f"{path} cannot be read as sound: {first_line(error)}", "save it as .wav or .flac"
            ) from error
        self._path, self.rate = path, float(info.samplerate)
        self.shape: tuple[int, ...] = (int(info.frames),)
        self.averaged = info.channels > 1
        self.notes: tuple[str, ...] = (f"its {info.channels} channels are averaged",) if self.averaged else ()
        self._gain = 1.0
        peak = self._peak() if info.subtype in ("FLOAT", "DOUBLE") else 0.0
        if peak > 1.0:
            self._gain = 1.0 / peak
            self.notes += (f"it reaches {peak:.4g}, and is divided by that",)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice) -> Array:
        import soundfile

        start, stop, step = key.indices(len(self))
        before = min(start, RUN_UP.get(self._path.suffix.lower(), 0))
        wanted = max(0, stop - start) + before
        try:
            read, _ = soundfile.read(str(self._path), wanted, start - before, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise self._broken(first_line(error)) from error
        if len(read) < wanted:
            raise self._broken(f"{wanted - len(read)} samples are missing")
        read = read[before:]
        mono = read.mean(axis=1, dtype=np.float32)[::step]
        return mono if self._gain == 1.0 else (mono * self._gain).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def _peak(self) -> float:
        """Return the largest magnitude of floats, which alone may lie beyond 1; what is not finite is named later."""
        parts = (self[at : at + CHUNK] for at in range(0, len(self), CHUNK))
        return max((float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in parts), default=0.0)

    def _broken(self, problem: str) -> HubError:
        return HubError(f"{self._path} cannot be read to its end: {problem}", "save it again as .wav or .flac")


def open_npy(path: Path) -> Array:
    """Open an .npy file of plain numbers as a read-only memmap; HubError if it is damaged, pickled or no numbers."""
    form: Any = np.lib.format
    try:
        array: Array = form.open_memmap(path, mode="r")
    except NOT_WHOLE as error:
        objects = "object" in str(error).lower()
        problem = (
            "holds pickled Python objects, which are never loaded"
            if objects
            else f"is no whole .npy file ({first_line(error)})"
        )
        raise HubError(f"{path} {problem}", "save a plain array again, with numpy.save") from error
    return real_numbers(array, str(path))


def real_numbers(array: Array, where: str) -> Array:
    """Return `array` if it holds real numbers, and some; else HubError, naming `where`."""
    if array.dtype.kind not in "iuf" or array.size == 0:
        problem = "is empty" if array.size == 0 else f"holds {array.dtype}, not real numbers"
        raise HubError(f"{where} {problem}", "save the samples as float32 or integers")
    return array


def time_last(
    array: Array, axis: str, where: str, remedy: str = "say it: --set dataset.axis=time_first, or channels_first"
) -> tuple[Array, tuple[str, ...]]:
    """Return a view (channels, samples) of a recording, without reading it, and a note if it was turned unasked.

    Raises HubError for an array that has not two axes, and, with "auto", if neither is 4 times as long as the other.
    """
    if array.ndim != 2:
        raise HubError(
            f"{where} has shape {array.shape}, not channels and time", "save it as one array (channels, samples)"
        )
    long, short = max(array.shape), min(array.shape)
    if axis == "auto" and long < CLEAR_RATIO * short:
        raise HubError(f"{where} has shape {array.shape}: which axis is time is not clear", remedy, usage=True)
    if axis == "auto" and array.shape[0] == long:
        return array.T, (f"its shape {array.shape} is taken as time × channels",)
    return (array.T if axis == "time_first" else array), ()


def open_sound(path: Path, audio_rate: float | None) -> tuple[Floats | Sound, float]:
    """Return a sound (samples,), lazy, and its rate in Hz, from a sound file or an .npy; HubError if it is neither.

    Integers in .npy are divided by their type's full scale; floats beyond 1 by their peak.
    """
    if not path.is_file():
        raise HubError(f"{path} does not exist", "check `sound`", usage=True)
    if path.suffix.lower() != ".npy":
        sound = Sound(path)
        if not len(sound):
            raise HubError(f"{path} is empty", "give a sound with samples")
        return sound, sound.rate
    if audio_rate is None or not (math.isfinite(audio_rate) and audio_rate > 0):
        raise HubError(
            f"{path} does not say its sampling rate", "give it in Hz: --set dataset.audio_rate=22050", usage=True
        )
    return sound_of(open_npy(path), str(path)), audio_rate


def sound_of(array: Array, where: str) -> Floats:
    """Return an array of sound as (samples,) float32 in [-1, 1], lazy; HubError if it is no sound, or not finite.

    Takes (samples,), or two channels on either side, averaged. Signed integers are divided by their type's full
    scale; floats beyond 1 by their peak.
    """
    kind, scale, notes, averaged = array.dtype.kind, 1.0, [], array.ndim == 2 and min(array.shape) == 2
    if kind == "u":
        raise HubError(f"{where} holds {array.dtype}", "save the sound as floats in [-1, 1] or signed integers")
    if kind == "i":
        scale = -1.0 / float(np.iinfo(array.dtype).min)
    if array.ndim == 2 and min(array.shape) <= 2:
        channels = array if array.shape[0] <= 2 else array.T
        notes += ["its 2 channels are averaged"] if len(channels) == 2 else []
        array = channels.mean(axis=0) if len(channels) == 2 else channels[0]
    if array.ndim != 1:
        raise HubError(f"{where} has shape {array.shape}: that is no sound", "save one channel of samples (samples,)")
    peak = float(np.max([max(some.max(), -some.min()) for some in blocks(array)])) if kind == "f" else 0.0
    if not math.isfinite(peak):
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise HubError(f"{where} is not finite at sample {first}", "repair or cut the sound")
    if peak > 1.0:
        scale = 1.0 / peak
        notes.append(f"it reaches {peak:.4g}, and is divided by that")
    return Floats(array, scale, tuple(notes), averaged=averaged)


def channel_names(count: int) -> tuple[str, ...]:
    """Return names for channels that have none: ch1 … ch9, or ch01 … ch16."""
    return tuple(f"ch{n:0{len(str(count))}d}" for n in range(1, count + 1))

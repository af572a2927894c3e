"""core/folder: one's own recordings, each an array in .npy with the sound that goes with it, read lazily."""

from __future__ import annotations

import hashlib
import math
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff")
"""Sound files that are looked for beside an array; a sound may also be an .npy."""

CLEAR_RATIO = 4.0
"""How many times longer than the other axis the longer one must be to be taken for time unasked."""

APART = (0.01, 0.5)
"""Brain and sound may differ in length by this share of it, or by so many seconds: then both are cut to the shorter."""

Axis = Literal["auto", "time_first", "channels_first"]

_BLOCK = 1 << 16
_BLOCKS = 64


@dataclass(frozen=True)
class Pair:
    """The two files of one recording; `fetched`: they lie among the downloads, by their hash or their URI."""

    name: str
    brain: Path
    sound: Path
    fetched: bool = False


@dataclass(frozen=True)
class Opened:
    """A pair whose headers were read: `brain` (channels, samples), `sound` (samples,), `seconds` of the shorter."""

    pair: Pair
    brain: Floats
    sound: Floats | Sound
    sound_rate: float
    seconds: float


class Pairs(Dataset):
    """Recordings that are pairs of files: what `Folder` and loaders of such public data share.

    A subclass says which `pairs`, and has these attributes: `rate` Hz, `audio_rate` Hz (of sound in .npy), `axis`,
    `line_freq` Hz, `bads` and `channels` (names), `modality`. One trial is the whole of a pair, brain and sound
    starting together; `subject` and `story` are its name.
    """

    requires = ("soundfile",)

    rate: float | None
    audio_rate: float | None
    axis: Axis
    line_freq: float | None
    bads: list[str]
    channels: list[str]

    _opened: dict[str, Opened] | None = None
    _hash: tuple[Any, str] | None = None

    @property
    @abstractmethod
    def modality(self) -> str:
        """The name of the brain's space: seeg, eeg, meg …"""

    @abstractmethod
    def pairs(self, ctx: Context | None) -> Sequence[Pair]:
        """Return the pairs of files; without a context nothing may be fetched."""

    @property
    def brain(self) -> Space:
        """Every channel of the array; its rate is the one that was given."""
        return Space(self.modality, ("channels", "time"), float(self.rate) if self.rate else "*")

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound, at each file's own rate."""
        return (Space("audio", ("time",), "*"),)

    def prepare(self, ctx: Context) -> None:
        """Find (and for a URI fetch) the files, and look at their headers.

        Stereo sound is averaged and sound beyond [-1, 1] divided by its peak; both are logged. Raises HubError for
        what is missing, unreadable, ambiguous, or too different in length.
        """
        self._opened = self._open(ctx)
        for one in self._opened.values():
            for note in one.sound.notes:
                ctx.log({"kind": "note", "text": f"{one.pair.sound.name}: {note}"})

    def trials(self) -> Sequence[Trial]:
        """Return one trial for each pair, as long as the shorter of brain and sound."""
        found = []
        for name, one in self._all().items():
            groups = {"subject": name, "session": "1", "story": name}
            found.append(Trial(name, name, 0.0, one.seconds, name, 0.0, one.seconds, groups))
        return found

    def recording(self, id: str) -> Recording:
        """Return the array (channels, samples), float32 when sliced, in whatever units the file has."""
        one = self._one(id)
        count = one.brain.shape[0]
        if self.channels and len(self.channels) != count:
            raise HubError(
                f"{one.pair.brain} has {count} channels, but {len(self.channels)} are named",
                "name each of them, in order",
            )
        names = tuple(self.channels) or tuple(f"ch{n:0{len(str(count))}d}" for n in range(1, count + 1))
        for bad in self.bads:
            if bad not in names:
                raise HubError(
                    f"{one.pair.brain} has no channel '{bad}', which is to be bad", did_you_mean(bad, names), usage=True
                )
        signal = Signal(one.brain, float(self._rate(one.pair)), self.modality, names)
        return Recording(id, id, "1", signal, bads=tuple(self.bads), line_freq=self.line_freq)

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the sound (samples,), float32 in [-1, 1] when sliced."""
        one = self._one(id)
        return Signal(one.sound, one.sound_rate, "audio")

    def fingerprint(self) -> str:
        """Return a hash of every file's size, time of change and contents (up to 64 blocks of 64 KiB spread over it).

        Downloads are known by their contents alone.
        """
        files = [(path, one.pair.fetched) for one in self._all().values() for path in (one.pair.brain, one.pair.sound)]
        stats = [(path, path.stat(), fetched) for path, fetched in files]
        seen = [[path.name, stat.st_size, 0 if fetched else stat.st_mtime_ns] for path, stat, fetched in stats]
        if self._hash is None or self._hash[0] != seen:
            self._hash = (seen, Cache.key(files=seen, contents=[_sampled_hash(path) for path, _ in files]))
        kind = type(self).__qualname__
        return Cache.key(kind=kind, version=self.version, configuration=self.configuration(), files=self._hash[1])

    def _all(self) -> dict[str, Opened]:
        if self._opened is None:
            self._opened = self._open(None)
        return self._opened

    def _one(self, id: str) -> Opened:
        if id not in self._all():
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, self._all()))
        return self._all()[id]

    def _rate(self, pair: Pair) -> float:
        if not self.rate or not (math.isfinite(self.rate) and self.rate > 0):
            problem = (
                "does not say its sampling rate" if self.rate is None else f"cannot be sampled at {self.rate:g} Hz"
            )
            raise HubError(f"{pair.brain} {problem}", "give it in Hz: --set dataset.rate=1024", usage=True)
        return self.rate

    def _open(self, ctx: Context | None) -> dict[str, Opened]:
        found: dict[str, Opened] = {}
        for pair in self.pairs(ctx):
            rate = self._rate(pair)
            brain = Floats(time_last(open_npy(pair.brain), self.axis, pair.brain))
            sound, sound_rate = open_sound(pair.sound, self.audio_rate)
            lengths = brain.shape[1] / rate, sound.shape[0] / sound_rate
            _check_lengths(pair, brain.shape, *lengths)
            found[pair.name] = Opened(pair, brain, sound, sound_rate, min(lengths))
        return found


class Folder(Pairs):
    """Your own recordings, as files: `path` is a folder with one array and one sound for each recording.

    They belong together by name (`a.npy` + `a.wav`, .flac, .ogg …, or `a_audio.npy`; `p1_sEEG.npy` +
    `p1_audio_final.npy`), or because there is only one of each. `path` may also name one .npy, whose sound stands
    beside it, or be the URI of one (file, https, osf …): its sound is `sound`, or the same name with .wav. `brain`:
    what was recorded (seeg, eeg, meg …); `rate`: its Hz; `audio_rate`: Hz of sound in .npy; `axis`: which axis of
    the array is time, "auto" the longer one; `line_freq` Hz; `channels`: their names in order; `bads`: those to leave
    out. Nothing is unpickled.
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

    def configuration(self) -> dict[str, Any]:
        """Return the constructor's arguments; `brain` is there the name, and as an attribute the Space."""
        return {name: self._brain if name == "brain" else getattr(self, name) for name in type(self).parameters()}

    @property
    def modality(self) -> str:
        """What was recorded, as `brain` says."""
        return self._brain

    def pairs(self, ctx: Context | None) -> Sequence[Pair]:
        """Return the pairs that `path` names; raises HubError when it names none, or not clearly."""
        if "://" in self.path and not self.path.startswith("file://"):
            return [self._fetched(ctx)]
        path = _local(self.path)
        if not path.exists():
            raise HubError(f"{path} does not exist", "give a folder, an .npy file or a URI: --data PATH", usage=True)
        if path.is_dir():
            if self.sound is not None:
                raise HubError(f"`sound` is one file, but {path} is a folder", "let `path` name one .npy", usage=True)
            return list(pairs_in(path))
        if path.suffix.lower() != ".npy":
            raise HubError(
                f"{path} is no .npy file", "save the recording with numpy.save, or give its folder", usage=True
            )
        return [Pair(_stem(path), path, _local(self.sound) if self.sound is not None else sound_beside(path))]

    def _fetched(self, ctx: Context | None) -> Pair:
        if ctx is None:
            raise HubError(f"{self.path} was not fetched yet", "call prepare(ctx) first")
        body, mark, fragment = self.path.partition("#")
        if not body.lower().endswith(".npy"):
            raise HubError(f"{self.path} is no .npy file", "give the URI of an array saved with numpy.save", usage=True)
        beside = re.sub(r"_seeg\.npy$", "_audio_final.npy", body, flags=re.IGNORECASE)
        sound = self.sound or (beside if beside != body else body[:-4] + ".wav") + mark + fragment
        name = _stem(Path(body.rsplit("/", 1)[-1]))
        return Pair(name, ctx.fetch(self.path), ctx.fetch(sound) if "://" in sound else _local(sound), fetched=True)


class Floats:
    """An array that becomes float32 where it is sliced, times `gain`; nothing else is read."""

    def __init__(self, data: Array, gain: float = 1.0, notes: tuple[str, ...] = ()) -> None:
        self._data, self._gain, self.notes = data, gain, notes
        self.shape: tuple[int, ...] = data.shape
        self.ndim, self.dtype = len(self.shape), np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        part = np.asarray(self._data[key])
        return part.astype(np.float32) if self._gain == 1.0 else (part * self._gain).astype(np.float32)

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
            raise HubError(f"{path} cannot be read as sound: {error}", "save it as .wav or .flac") from error
        self._path, self.rate = path, float(info.samplerate)
        self.shape: tuple[int, ...] = (int(info.frames),)
        self.notes = (f"its {info.channels} channels are averaged",) if info.channels > 1 else ()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice) -> Array:
        import soundfile

        start, stop, step = key.indices(len(self))
        try:
            read, _ = soundfile.read(str(self._path), max(0, stop - start), start, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise HubError(
                f"{self._path} cannot be read to its end: {error}", "save it again as .wav or .flac"
            ) from error
        return read.mean(axis=1, dtype=np.float32)[::step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


def pairs_in(folder: Path) -> Iterator[Pair]:
    """Yield the pairs of a folder, by name; raises HubError for an array whose sound is missing or not clear."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    npy = [path for path in files if path.suffix.lower() == ".npy"]
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    arrays = [path for path in npy if not any(_belongs(other, path) for other in npy)]
    if not arrays:
        raise HubError(f"{folder} holds no recording", "put an array (a.npy) and its sound (a.wav) there", usage=True)
    matches = {path: [other for other in (*npy, *sounds) if _belongs(path, other)] for path in arrays}
    if len(arrays) == 1 and len(sounds) == 1 and not matches[arrays[0]]:
        matches[arrays[0]] = sounds
    for path, some in matches.items():
        if len(some) != 1:
            raise _no_single_sound(path, some, alone=len(arrays) == 1)
        yield Pair(_stem(path), path, some[0])


def sound_beside(path: Path) -> Path:
    """Return the sound that belongs to an array by name, or the only sound file in its folder; else HubError."""
    beside = sorted(other for other in path.parent.iterdir() if other.is_file() and not other.name.startswith("."))
    found = [other for other in beside if _belongs(path, other)] or [o for o in beside if o.suffix.lower() in SOUNDS]
    if len(found) != 1:
        raise _no_single_sound(path, found, alone=True)
    return found[0]


def open_npy(path: Path) -> Array:
    """Open an .npy file of plain numbers as a read-only memmap; HubError if it is damaged, pickled or no numbers."""
    form: Any = np.lib.format
    try:
        array: Array = form.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError) as error:
        objects = "object" in str(error).lower()
        problem = (
            "holds pickled Python objects, which are never loaded" if objects else f"is no whole .npy file ({error})"
        )
        raise HubError(f"{path} {problem}", "save a plain array again, with numpy.save") from error
    if array.dtype.kind not in "iuf" or array.size == 0:
        problem = "is empty" if array.size == 0 else f"holds {array.dtype}, not real numbers"
        raise HubError(f"{path} {problem}", "save the samples as float32 or integers")
    return array


def time_last(array: Array, axis: str, path: Path) -> Array:
    """Return a view (channels, samples) of a recording, without reading it.

    Raises HubError for an array that has not two axes, and, with "auto", if neither is 4 times as long as the other.
    """
    if array.ndim != 2:
        raise HubError(
            f"{path} has shape {array.shape}, not channels and time", "save it as one array (channels, samples)"
        )
    long, short = max(array.shape), min(array.shape)
    if axis == "auto" and long < CLEAR_RATIO * short:
        remedy = "say it: --set dataset.axis=time_first, or channels_first"
        raise HubError(f"{path} has shape {array.shape}: which axis is time is not clear", remedy, usage=True)
    time_first = axis == "time_first" or (axis == "auto" and array.shape[0] == long)
    return array.T if time_first else array


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
    array = open_npy(path)
    kind, scale, notes = array.dtype.kind, 1.0, []
    if kind == "u":
        raise HubError(f"{path} holds {array.dtype}", "save the sound as floats in [-1, 1] or signed integers")
    if kind == "i":
        scale = -1.0 / float(np.iinfo(array.dtype).min)
    if array.ndim == 2 and min(array.shape) <= 2:
        channels = array if array.shape[0] <= 2 else array.T
        notes += ["its 2 channels are averaged"] if len(channels) == 2 else []
        array = channels.mean(axis=0) if len(channels) == 2 else channels[0]
    if array.ndim != 1:
        raise HubError(f"{path} has shape {array.shape}: that is no sound", "save one channel of samples (samples,)")
    peak = float(max(array.max(), -array.min())) if kind == "f" else 0.0
    if 1.0 < peak < math.inf:
        scale = 1.0 / peak
        notes.append(f"it reaches {peak:.4g}, and is divided by that")
    return Floats(array, scale, tuple(notes)), audio_rate


def _check_lengths(pair: Pair, shape: tuple[int, ...], brain_s: float, sound_s: float) -> None:
    apart = abs(brain_s - sound_s)
    if apart > APART[0] * max(brain_s, sound_s) and apart > APART[1]:
        raise HubError(
            f"{pair.brain} lasts {brain_s:.2f} s ({shape[0]} channels), but {pair.sound.name} {sound_s:.2f} s",
            "check dataset.rate, audio_rate and axis, or cut both to the same start and end",
        )


def _belongs(brain: Path, sound: Path) -> bool:
    """Say whether a sound belongs to an array by its name."""
    if brain == sound:
        return False
    stem, other = brain.stem.lower(), sound.stem.lower()
    if sound.suffix.lower() == ".npy":
        return other == f"{stem}_audio" or (
            stem.endswith("_seeg") and other == f"{stem.removesuffix('_seeg')}_audio_final"
        )
    return sound.suffix.lower() in SOUNDS and other == stem


def _stem(path: Path) -> str:
    """Return the name of a recording: the file's, without _sEEG."""
    return re.sub(r"_seeg$", "", path.stem, flags=re.IGNORECASE) or path.stem


def _no_single_sound(path: Path, found: Sequence[Path], *, alone: bool) -> HubError:
    if found:
        named = ", ".join(other.name for other in found)
        return HubError(f"{path} has {len(found)} sounds: {named}", "leave one, or name it: --set dataset.sound=FILE")
    remedy = f"put {path.stem}.wav beside it" + (
        ", or --set dataset.sound=FILE" if alone else ", or move the array away"
    )
    return HubError(f"{path} has no sound of its own", remedy)


def _local(path: str) -> Path:
    """Return the path of a local file, given as such or as a file:// URI."""
    if path.startswith("file://"):
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(path).path))
    return Path(path).expanduser()


def _sampled_hash(path: Path) -> str:
    """Return the SHA-256 of up to 64 blocks of 64 KiB, the first and the last among them: all of a file below 4 MiB."""
    found = hashlib.sha256()
    size = path.stat().st_size
    blocks = -(-size // _BLOCK)
    with path.open("rb") as handle:
        for number in range(min(blocks, _BLOCKS)):
            handle.seek(min(_BLOCK * (number if blocks <= _BLOCKS else number * (blocks - 1) // (_BLOCKS - 1)), size))
            found.update(handle.read(_BLOCK))
    return found.hexdigest()

"""audio_seeg/naplib: a real audiobook and ten electrodes that were simulated from it, out of naplib's wheel.

SIMULATED: naplib's authors made the responses from the audio, with spectro-temporal filters and noise; no brain
was recorded. The audio is real and copyrighted: it is fetched by the user's own pip, and never shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

URI = (
    "pypi://naplib==2.6.0/naplib/io/sample_data/demo_data.mat"
    "#sha256=c61deebe618e94052714352786fd5bbc58d13becbfcc7a19eb40aaf00c7a308b"
)
SHA256 = "b45d3d347baf6644dd016b76a4702c006e8e3ac9dac4f2b5d93870186be11d7d"

AUDIO_RATE = 11025.0
BRAIN_RATE = 100.0
FIELDS = ("name", "sound", "soundf", "resp", "dataf", "script", "chname")


class Naplib(Dataset):
    """Ten stretches of an audiobook (644 s), and ten SIMULATED electrodes at 100 Hz (naplib 2.6.0's demo data).

    `noise`: Gaussian noise added to every electrode, in SDs of its response in that trial (0: as published);
    `seed`: which noise. Audio (samples,) float32 at 11,025 Hz: nothing lies above 5512 Hz, so mel wants
    `fmax: 5512`. Mischler et al. 2023, naplib-python.
    """

    simulated = True
    licence = "naplib: MIT; the audiobook in it is copyrighted, for your own use only"
    source = "naplib 2.6.0 on PyPI, naplib/io/sample_data/demo_data.mat; responses simulated by its authors"
    requires = ("h5py",)

    _path: Path | None = None
    _listed: list[Trial] | None = None

    def __init__(self, *, noise: float = 0.0, seed: int = 0) -> None:
        self.noise = noise
        self.seed = seed

    @property
    def brain(self) -> Space:
        """High-gamma envelopes of ten simulated electrodes, arbitrary units."""
        return Space("high_gamma", ("channels", "time"), BRAIN_RATE)

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The audio, and what was read, as upper-case text without times."""
        return (Space("audio", ("time",), AUDIO_RATE), Space("transcript"))

    def prepare(self, ctx: Context) -> None:
        """Fetch the file (56 MB, once) and check its layout; HubError for a negative noise or another layout."""
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise HubError(f"noise is {self.noise:g}", "give 0 or more SDs: --set dataset.noise=3", usage=True)
        self.read(ctx.fetch(URI, SHA256))

    def read(self, path: Path) -> None:
        """Take a file of naplib's layout (HDF5, MATLAB 7.3) instead of fetching it; HubError for any other."""
        self._path, self._listed = Path(path), None
        try:
            self._listed = self._trials()
        except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            cause = f"{path} has not the layout of naplib's demo data: {type(error).__name__}: {error}"
            raise HubError(
                cause, "use the file that `braindecode-hub fetch audio_seeg --preset naplib` gets"
            ) from error

    def trials(self) -> Sequence[Trial]:
        """Return one trial for each of the ten stretches; `story` is its name."""
        self._file()
        return list(self._listed or [])

    def recording(self, id: str) -> Recording:
        """Return the responses of one stretch: (10, frames) float32, read when sliced."""
        number = self._number(id)
        rate = round(float(self._value(number, "dataf").item()), 6)
        names = tuple(str(name) for name in self._value(number, "chname"))
        signal = Signal(_Responses(self, number), rate, "high_gamma", names, "a.u.")
        return Recording(id, "naplib", "1", signal)

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the audio (samples,) float32 in [-1, 1], or the transcript (one text) for Space "transcript"."""
        number = self._number(id)
        if space.name == "transcript":
            return Signal(_text(self._value(number, "script")), None, "transcript")
        if space.name != "audio":
            raise HubError(f"audio_seeg/naplib has no {space.name}", did_you_mean(space.name, ("audio", "transcript")))
        rate = round(float(self._value(number, "soundf").item()), 6)
        return Signal(self._value(number, "sound").reshape(-1).astype(np.float32), rate, "audio")

    def fingerprint(self) -> str:
        """Return a hash of the pinned file (of its name and size, if `read` gave another) and the configuration."""
        path = self._file()
        which = SHA256 if SHA256 in path.parts else [str(path), path.stat().st_size, path.stat().st_mtime_ns]
        return Cache.key(kind="naplib", version=self.version, file=which, configuration=self.configuration())

    def _file(self) -> Path:
        if self._path is None:
            raise HubError("audio_seeg/naplib was not prepared", "call prepare(ctx), or read(path), first")
        return self._path

    def _trials(self) -> list[Trial]:
        found = []
        for number in range(self._count()):
            name = _text(self._value(number, "name"))
            frames, samples = (self._shape(number, field) for field in ("resp", "sound"))
            brain_s = max(frames) / round(float(self._value(number, "dataf").item()), 6)
            stop = min(brain_s, max(samples) / float(self._value(number, "soundf").item()))
            groups = {"subject": "naplib", "session": "1", "story": name}
            found.append(Trial(name, name, 0.0, stop, name, 0.0, stop, groups))
        return found

    def _number(self, id: str) -> int:
        names = [trial.id for trial in self.trials()]
        if id not in names:
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, names))
        return names.index(id)

    def _count(self) -> int:
        import h5py

        with h5py.File(self._file(), "r") as file:
            missing = [field for field in FIELDS if field not in file["out"]]
            if missing:
                raise KeyError(f"no field {missing[0]}")
            return int(file["out/sound"].shape[0])

    def _shape(self, number: int, field: str) -> tuple[int, ...]:
        import h5py

        with h5py.File(self._file(), "r") as file:
            return tuple(file[file[f"out/{field}"][number, 0]].shape)

    def _value(self, number: int, field: str, part: Any = ()) -> Array:
        """Read one field of one trial; references in it (the channels' names) are followed."""
        import h5py

        with h5py.File(self._file(), "r") as file:
            found = file[file[f"out/{field}"][number, 0]]
            if found.dtype == h5py.ref_dtype:
                return np.array([_text(file[reference][()]) for reference in found[()].ravel()])
            return np.asarray(found[part])

    def _responses(self, number: int, part: slice) -> Array:
        """Return responses (frames, channels) float32, with the noise that was asked for."""
        if self.noise == 0:
            return self._value(number, "resp", part).astype(np.float32)
        clean = self._value(number, "resp")
        drawn = Context(seed=self.seed).rng("naplib", "noise", number).standard_normal(clean.shape)
        return (clean + self.noise * clean.std(axis=0) * drawn)[part].astype(np.float32)


class _Responses:
    """(channels, frames) float32 of one trial; the file is opened when this is sliced."""

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, dataset: Naplib, number: int) -> None:
        self._dataset, self._number = dataset, number
        frames, channels = dataset._shape(number, "resp")
        self.shape = (channels, frames)

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], slice):
            return self._dataset._responses(self._number, key[1]).T[key[0]]
        return self._dataset._responses(self._number, slice(None)).T[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:, :], dtype)


def _text(codes: Array) -> str:
    """Return the text of MATLAB's character codes (n, 1) uint16."""
    return "".join(chr(int(code)) for code in np.asarray(codes).ravel())

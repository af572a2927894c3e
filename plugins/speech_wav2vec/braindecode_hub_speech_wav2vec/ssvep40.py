"""speech_wav2vec/ssvep40: real EEG of one person who looks at forty flickering targets, out of meegkit's sdist.

No speech: it is the real signal on which retrieval by contrast is tried. Nothing of it is shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

URI = (
    "pypi://meegkit==0.1.9/meegkit-0.1.9/tests/data/trcadata.mat"
    "#sha256=5032dfaf10725f22c02bea5f4ec9ef150b0f11e9297eac8c5d56cac87da5d282"
)
SHA256 = "1d2cf6fe0b73c614cfb200f930aa700e56afaef33733afc537217e249d01396d"

RATE = 250.0
CHANNELS = ("Pz", "PO5", "PO3", "POz", "PO4", "PO6", "O1", "Oz", "O2")
FREQUENCIES = tuple(round(8.0 + number % 8 + 0.2 * (number // 8), 1) for number in range(40))
"""Hz of the flicker of each target, in the file's order."""

LATENCY_S = 0.14
"""From the onset of the flicker to the steady response of the visual cortex (Chen et al. 2015)."""


class Ssvep40(Dataset):
    """EEG over the occiput (9 channels, 250 Hz) while one person looks at 40 targets, each in six blocks.

    A target flickers at its own 8.0 to 15.8 Hz for the whole 5 s (1250 samples) that the file holds of it, from the
    onset on. A trial is the `seconds` after a visual latency of 0.14 s. A block is a recording of its 40
    presentations, in the file's order: it was cut apart by whoever published it, so filters restart at each.
    The stimulus is the frequency in Hz; its phase is not told. Nakanishi et al. 2018, IEEE Trans Biomed Eng
    65:104-112; the flicker of Chen et al. 2015, PNAS 112:E6058-E6067.
    """

    closed_set = True
    licence = "BSD-3-Clause (meegkit), which took the file over from TRCA-SSVEP (MIT); nothing is said of the EEG alone"
    source = "meegkit 0.1.9 on PyPI (sdist), tests/data/trcadata.mat; the sample data of M. Nakanishi's TRCA-SSVEP"

    _eeg: Array | None = None
    _file: str = ""

    def __init__(self, *, seconds: float = 2.0) -> None:
        self.seconds = seconds

    @property
    def brain(self) -> Space:
        """EEG as published, without units."""
        return Space("eeg", ("channels", "time"), RATE)

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The frequency of the flicker that was looked at, in Hz."""
        return (Space("flicker", (1,)),)

    def prepare(self, ctx: Context) -> None:
        """Fetch the file (a 25 MB archive, once) and read it. For an sdist, pip runs meegkit's build backend."""
        self.read(ctx.fetch(URI, SHA256))

    def read(self, path: Path) -> None:
        """Take a MATLAB file (version 5) with `eeg` (40 targets, 9 channels, samples, blocks) instead of fetching it.

        Raises HubError for another layout, values that are not finite, and `seconds` longer than a presentation.
        """
        import scipy.io

        try:
            eeg = np.asarray(scipy.io.loadmat(path, variable_names=["eeg"])["eeg"], np.float32)
        except (OSError, KeyError, ValueError, TypeError, NotImplementedError) as error:
            raise _layout(path, f"{type(error).__name__}: {error}") from error
        if eeg.ndim != 4 or eeg.shape[:2] != (len(FREQUENCIES), len(CHANNELS)):
            raise _layout(path, f"eeg has shape {eeg.shape}, not (40, 9, samples, blocks)")
        if not np.isfinite(eeg).all():
            raise _layout(path, "eeg holds NaN or infinity")
        longest = eeg.shape[2] / RATE - LATENCY_S
        if not 0 < self.seconds <= longest + 1e-6:
            cause = f"a trial of {self.seconds:g} s does not fit into a presentation"
            raise HubError(cause, f"--set dataset.seconds=… more than 0, at most {longest:g}", usage=True)
        self._eeg = eeg
        self._file = SHA256 if SHA256 in path.parts else Cache.key(read=[str(path), path.stat().st_mtime_ns])

    def trials(self) -> Sequence[Trial]:
        """Return one trial a presentation; groups subject, session, block and target (its frequency)."""
        length = self._given().shape[2] / RATE
        found = []
        for block in self._blocks():
            for number, frequency in enumerate(FREQUENCIES):
                start = number * length + LATENCY_S
                groups = {"subject": "ssvep40", "session": "1", "block": block, "target": _name(frequency)}
                id = f"{block}/{_name(frequency)}"
                found.append(Trial(id, block, start, start + self.seconds, _name(frequency), groups=groups))
        return found

    def recording(self, id: str) -> Recording:
        """Return one block: (9, 40 · samples) float32, filters restarting at every presentation."""
        if id not in self._blocks():
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, self._blocks()))
        block = self._given()[..., self._blocks().index(id)]
        data = np.ascontiguousarray(np.moveaxis(block, 0, 1).reshape(len(CHANNELS), -1))
        breaks = tuple(number * block.shape[2] / RATE for number in range(1, len(FREQUENCIES)))
        return Recording(id, "ssvep40", "1", Signal(data, RATE, "eeg", CHANNELS), breaks=breaks)

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the frequency of a target: (1,) float32, Hz."""
        known = {_name(frequency): frequency for frequency in FREQUENCIES}
        if space.name != "flicker" or id not in known:
            wrong = f"{space.name} of {id}"
            raise HubError(f"speech_wav2vec/ssvep40 has no {wrong}", "it has the flicker of " + ", ".join(known))
        return Signal(np.array([known[id]], np.float32), None, "flicker", units="Hz")

    def fingerprint(self) -> str:
        """Return a hash of the pinned file (of path and time, if `read` gave another) and the configuration."""
        self._given()
        return Cache.key(kind="ssvep40", version=self.version, file=self._file, configuration=self.configuration())

    def _blocks(self) -> list[str]:
        return [f"block-{number + 1}" for number in range(self._given().shape[3])]

    def _given(self) -> Array:
        if self._eeg is None:
            raise HubError("speech_wav2vec/ssvep40 was not prepared", "call prepare(ctx), or read(path), first")
        return self._eeg


def _name(frequency: float) -> str:
    return f"{frequency:.1f} Hz"


def _layout(path: Path, why: str) -> HubError:
    cause = f"{path} has not the layout of meegkit's trcadata.mat: {why}"
    return HubError(cause, "use the file that `braindecode-hub fetch speech_wav2vec --preset ssvep40` gets")

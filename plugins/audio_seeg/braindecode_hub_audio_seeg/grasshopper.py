"""audio_seeg/grasshopper: real spikes of a locust's auditory receptor, and the sound that made them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

WHEEL = (
    "#sha256=19442111829b94fa9aa9849bdfb6aa92bc5467ba74194b18450728e432086882"
    "&platform=manylinux1_x86_64&python=3.11&abi=abi3"
)
MEMBERS = {
    "grasshopper_spike_times1.txt": "840014ad9a8f591d02ab108bcbd46715badb3459e0ef7eac95fdd661ff134e3d",
    "grasshopper_spike_times2.txt": "389e5dccb709fbe0552589ff2e0b64e15d46665e4d2d4172071f2175c8641541",
    "grasshopper_stimulus1.txt": "4b47a4cbca8c5f694f87dd510db608a868dffbaba96845199c8afa545a4c37fa",
    "grasshopper_stimulus2.txt": "69f257a8e7a5019897111b07f9cd317b136357d256e99682d40c09d5add18e6a",
}
"""The files in nitime 0.12.1, nitime/data, and their SHA-256."""

RECORDINGS = {"cutoff-200": "1", "cutoff-800": "2"}
"""Each recording by the cut-off of its stimulus in Hz, and the number in its files' names."""

STIMULUS_RATE = 20000
SECONDS = 10.0
TRIAL_S = 1.0
PAUSE_S = 0.05
"""The presentation goes on for 10 s. It is told in trials of 1 s, so that the `relabelled` control has some to permute,
and each leaves out its last 50 ms, ten times the envelope's memory, so that trials never touch."""


class Grasshopper(Dataset):
    """Spikes of an auditory receptor of Locusta migratoria, and the amplitude modulation of the tone it heard.

    Two recordings of 10 s (about 900 spikes each) under Gaussian modulation, SD 6 dB, of a 2.5 kHz tone; cut-offs
    200 and 800 Hz. `rate`: Hz of both the spike counts and the envelope, a divisor of 20,000; the receptor
    locks to fast changes, and below 500 Hz they are averaged away. `scale`: the envelope as "linear" amplitude
    in (0, 1] or in "db" below full scale. The files do not say whether both come from one cell, so each
    recording is a subject, decoded by itself. Rokem et al. 2006, J Neurophysiol 95:2541-2552; distributed with
    nitime (BSD-3).
    """

    licence = "BSD-3-Clause (nitime)"
    source = "nitime 0.12.1 on PyPI, nitime/data/grasshopper_*.txt; intracellular recordings of Rokem et al. 2006"

    _read: dict[tuple[str, str], Array] | None = None
    _hash: str = ""

    def __init__(self, *, rate: float = 1000.0, scale: Literal["linear", "db"] = "linear") -> None:
        self.rate = rate
        self.scale = scale

    @property
    def brain(self) -> Space:
        """Spikes in each frame, one channel."""
        return Space("spikes", ("channels", "time"), float(self.rate))

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The envelope of the tone, averaged over each frame."""
        return (Space("envelope", ("time", 1), float(self.rate)),)

    def prepare(self, ctx: Context) -> None:
        """Fetch the four files (7 MB, once) and read them; HubError for a rate that does not divide 20,000 Hz."""
        self.read(
            {name: ctx.fetch(f"pypi://nitime==0.12.1/nitime/data/{name}{WHEEL}", pin) for name, pin in MEMBERS.items()}
        )

    def read(self, files: dict[str, Path]) -> None:
        """Take files of the same names (keys as in MEMBERS) and layout instead of fetching them.

        Raises HubError, naming file and line, for what is no such text, and for an impossible rate.
        """
        self._samples_per_frame()
        self._read = {}
        for id, number in RECORDINGS.items():
            self._read["spikes", id] = spike_times(files[f"grasshopper_spike_times{number}.txt"])
            self._read["envelope", id] = amplitudes(files[f"grasshopper_stimulus{number}.txt"])
        self._hash = hashlib.sha256(b"".join(values.tobytes() for values in self._read.values())).hexdigest()

    def trials(self) -> Sequence[Trial]:
        """Return ten trials of 0.95 s, one each second, of each recording; `subject` is the recording."""
        found = []
        for id in RECORDINGS:
            for number in range(round(SECONDS / TRIAL_S)):
                start, stop = number * TRIAL_S, (number + 1) * TRIAL_S - PAUSE_S
                groups = {"subject": id, "session": "1"}
                found.append(Trial(f"{id}/{number}", id, start, stop, id, start, stop, groups))
        return found

    def recording(self, id: str) -> Recording:
        """Return spike counts (1, 10 * rate) float32: frame n holds the spikes from n / rate to (n + 1) / rate."""
        frames = round(SECONDS * self.rate)
        at = np.minimum((self._given("spikes", id) * 1e-6 * self.rate + 1e-9).astype(int), frames - 1)
        counts = np.bincount(at, minlength=frames).astype(np.float32)[None]
        return Recording(id, id, "1", Signal(counts, float(self.rate), "spikes", ("receptor",), "spikes"))

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the envelope (10 * rate, 1) float32, averaged over the same frames as the spikes."""
        if space.name != "envelope":
            raise HubError(
                f"audio_seeg/grasshopper has no {space.name}, only the envelope of a tone", "target: envelope"
            )
        amplitude = self._given("envelope", id)
        values = 20 * np.log10(amplitude) if self.scale == "db" else amplitude
        frames = values.reshape(-1, self._samples_per_frame()).mean(axis=1)
        return Signal(
            frames.astype(np.float32)[:, None], float(self.rate), "envelope", units="dB" if self.scale == "db" else ""
        )

    def fingerprint(self) -> str:
        """Return a hash of what was read and of the configuration."""
        self._given("spikes", next(iter(RECORDINGS)))
        return Cache.key(kind="grasshopper", version=self.version, configuration=self.configuration(), read=self._hash)

    def _given(self, what: str, id: str) -> Array:
        if self._read is None:
            raise HubError("audio_seeg/grasshopper was not prepared", "call prepare(ctx) first")
        if id not in RECORDINGS:
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, RECORDINGS))
        return self._read[what, id]

    def _samples_per_frame(self) -> int:
        samples = STIMULUS_RATE / self.rate if self.rate > 0 else 0.0
        if samples < 1 or abs(samples - round(samples)) > 1e-9:
            raise HubError(
                f"{self.rate:g} Hz does not divide the stimulus's {STIMULUS_RATE} Hz",
                "--set dataset.rate=1000",
                usage=True,
            )
        return round(samples)


def spike_times(path: Path) -> Array:
    """Read spike times (spikes,) float64 in microseconds, ascending: one a line, `#` begins a comment.

    Raises HubError, naming the line, for what is no time within the 10 s or comes before the one above it.
    """
    times = _numbers(path, 1)[:, 0]
    wrong = (times < 0) | (times > SECONDS * 1e6) | (np.diff(times, prepend=-1.0) <= 0)
    if len(times) == 0 or wrong.any():
        where = (
            f"spike {int(wrong.argmax()) + 1} is out of order or outside the 10 s" if len(times) else "it has no spikes"
        )
        raise HubError(f"{path}: {where}", "fetch the file again")
    return times


def amplitudes(path: Path) -> Array:
    """Read the amplitude modulation (200000,) float64 at 20 kHz: rows of microseconds and amplitude above 0.

    Raises HubError for rows that are not 50 microseconds apart, another number of them, or an amplitude of 0 or less.
    """
    rows = _numbers(path, 2)
    wanted = np.arange(round(SECONDS * STIMULUS_RATE)) * (1e6 / STIMULUS_RATE)
    if rows.shape[0] != len(wanted) or not np.array_equal(rows[:, 0], wanted):
        raise HubError(f"{path} is not 10 s at 20 kHz: it has {len(rows)} rows", "fetch the file again")
    if not (rows[:, 1] > 0).all():
        raise HubError(
            f"{path}: the amplitude in row {int((rows[:, 1] <= 0).argmax()) + 1} is not above 0", "fetch the file again"
        )
    return rows[:, 1]


def _numbers(path: Path, columns: int) -> Array:
    """Read a text table of so many columns; comments and empty lines are skipped."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise HubError(f"{path} cannot be read as text: {error}", "fetch the file again") from error
    lines = [line.partition("#")[0] for line in lines]
    if not any(map(str.strip, lines)):
        return np.zeros((0, columns))
    try:
        table: Array = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except ValueError:
        table = np.full((1, columns), np.nan)
    if table.shape[1] != columns or not np.isfinite(table).all():
        raise HubError(f"{path}, line {_wrong_line(lines, columns)}: not {columns} numbers", "fetch the file again")
    return table


def _wrong_line(lines: Sequence[str], columns: int) -> int:
    """Return the number of the first line that holds something but so many finite numbers."""
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        try:
            right = len(fields) in (0, columns) and all(math.isfinite(float(field)) for field in fields)
        except ValueError:
            right = False
        if not right:
            return number
    return len(lines)

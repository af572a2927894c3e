"""NWB files as the tests write them: with pynwb, as any laboratory would."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.ecephys import ElectricalSeries
from pynwb.file import Subject

RATE, AUDIO_RATE, SECONDS, CHANNELS = 500.0, 8000.0, 10.0, 6


def volts(seconds: float = SECONDS, channels: int = CHANNELS, rate: float = RATE, seed: int = 0) -> np.ndarray:
    """Numbers (samples, channels), as int16."""
    rng = np.random.default_rng(seed)
    return rng.integers(-3000, 3000, (round(seconds * rate), channels)).astype(np.int16)


def sound(seconds: float = SECONDS, rate: float = AUDIO_RATE, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


class Nwb:
    """A file in the making: `file` is pynwb's; `brain` and `audio` add series, `save` writes it."""

    def __init__(self, subject: str | None = "P01", session: str | None = "s1", identifier: str = "id1") -> None:
        start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        self.file = NWBFile("made by a test", identifier, start, session_id=session)
        if subject is not None:
            self.file.subject = Subject(subject_id=subject, species="Homo sapiens")
        self.region: Any = None

    def electrodes(
        self,
        positions: np.ndarray | None = None,
        *,
        labels: Sequence[str] | None = ("LA1", "LA2", "LA3", "RB1", "RB2", "RB3"),
        groups: Sequence[str] = ("LA", "LA", "LA", "RB", "RB", "RB"),
        bad: Sequence[bool] | None = None,
    ) -> Nwb:
        device = self.file.create_device("amplifier")
        made = {
            name: self.file.create_electrode_group(name, "depth", "brain", device) for name in dict.fromkeys(groups)
        }
        if labels is not None:
            self.file.add_electrode_column("label", "its label")
        if bad is not None:
            self.file.add_electrode_column("bad", "whether it is bad")
        for row, name in enumerate(groups):
            more: dict[str, Any] = {} if labels is None else {"label": labels[row]}
            more |= {} if bad is None else {"bad": bad[row]}
            more |= {} if positions is None else dict(zip("xyz", map(float, positions[row]), strict=True))
            self.file.add_electrode(group=made[name], location="unknown", **more)
        self.region = self.file.create_electrode_table_region(list(range(len(groups))), "all")
        return self

    def brain(self, name: str = "iEEG", data: Any = None, **timing: Any) -> Nwb:
        if self.region is None:
            self.electrodes()
        timing = timing or {"rate": RATE}
        timing |= {} if "timestamps" in timing or "rate" in timing else {"rate": RATE}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pynwb warns of turned data, which are written on purpose
            series = ElectricalSeries(
                name=name, data=volts() if data is None else data, electrodes=self.region, **timing
            )
        self.file.add_acquisition(series)
        return self

    def audio(self, name: str = "Audio", data: Any = None, **timing: Any) -> Nwb:
        timing |= {} if "timestamps" in timing or "rate" in timing else {"rate": AUDIO_RATE}
        timing = {"unit": "a.u.", **timing}
        self.file.add_acquisition(TimeSeries(name=name, data=sound() if data is None else data, **timing))
        return self

    def trial(self, start: float, stop: float, **columns: str) -> Nwb:
        for name in columns:
            if self.file.trials is None or name not in self.file.trials.colnames:
                self.file.add_trial_column(name, "what was played")
        self.file.add_trial(start_time=float(start), stop_time=float(stop), **columns)
        return self

    def save(self, path: Path) -> Path:
        with NWBHDF5IO(path, "w") as io:
            io.write(self.file)
        return path


def plain(path: Path) -> Path:
    """Six channels and a sound, both from 0 to 10 s."""
    return Nwb().brain(conversion=1e-7).audio().save(path)


def change(path: Path, **data: Any) -> Path:
    """Change a saved file through HDF5: `acquisition__iEEG__data=array` puts an array in the place of that dataset."""
    with h5py.File(path, "r+") as file:
        for key, values in data.items():
            name = key.replace("__", "/")
            kept = dict(file[name].attrs) if name in file else {}
            if name in file:
                del file[name]
            if values is not None:
                made = file.create_dataset(name, data=values)
                made.attrs.update(kept)
    return path

"""One NWB file as a session: who, which recording, which sound, on which clocks, and what its tables say."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.nwb_clock import Clock, clock_of
from braindecode_hub.parts.nwb_electrodes import Electrodes, electrodes_of
from braindecode_hub.parts.nwb_file import Series, chosen, opened, reading, scalar, series_in, texts
from braindecode_hub.parts.nwb_samples import Channels, Mono, full_scale
from braindecode_hub.reading import COMPRESSED_BYTES, MOST_PACKED
from braindecode_hub.types import Array, Recording, Signal

Axis = Literal["auto", "time_first", "channels_first"]


@dataclass(frozen=True)
class Sound:
    """A sound, its clock, and whether its loudest sample must be looked for to bring it into [-1, 1]."""

    mono: Mono
    clock: Clock
    series: str
    unscaled: bool
    notes: tuple[str, ...] = ()

    def scaled(self, cache: Cache | None, key: Sequence[Any]) -> Sound:
        """Return the sound within [-1, 1], divided by its peak if that is more; the peak is kept under `key`."""
        if not self.unscaled:
            return self
        kept = (cache or Cache(None)).array(
            {"peak": list(key), "series": self.series}, lambda allocate: np.array([self.mono.peak()])
        )
        peak = float(kept[0])
        if peak <= 1.0:
            return dataclasses.replace(self, unscaled=False)
        told = (*self.notes, f"it reaches {peak:.4g}, and is divided by that")
        return dataclasses.replace(
            self, mono=dataclasses.replace(self.mono, scale=1 / peak), unscaled=False, notes=told
        )


@dataclass(frozen=True)
class Session:
    """What was understood of one file; no samples were read. `subject` is "" where the file names none."""

    path: Path
    subject: str
    session: str
    identifier: str
    series: str
    brain: Channels
    clock: Clock
    unit: str
    electrodes: Electrodes
    sound: Sound | None

    def recording(
        self, id: str, subject: str, modality: str, bads: Sequence[str], line_freq: float | None
    ) -> Recording:
        """Return the recording; `bads` besides those the table marks. HubError for one that is no channel."""
        found = self.electrodes
        for bad in bads:
            if bad not in found.names:
                raise HubError(
                    f"{self.path} has no channel '{bad}', which is to be bad",
                    did_you_mean(bad, found.names),
                    usage=True,
                )
        signal = Signal(self.brain, self.clock.rate, modality, found.names, self.unit)
        return Recording(
            id,
            subject,
            self.session,
            signal,
            positions=found.positions,
            bads=tuple(name for name in found.names if name in {*found.bads, *bads}),
            shafts=found.shafts,
            line_freq=line_freq,
            breaks=self.clock.breaks,
        )


def open_session(
    path: Path, brain: str | None, audio: str | None, *, axis: Axis = "auto", unit: str = "auto", sound: bool = True
) -> Session:
    """Read the headers of a file; `sound` False: its sound is elsewhere. HubError for what is not clear."""
    with opened(path) as file, reading(path, "its layout"):
        known = series_in(file)
        series = chosen(path, known, brain, "brain")
        where = f"{path}: {series.path}"
        _check_numbers(series, where)
        group = file[series.path]
        _check_stored(group["data"], where)
        time_first = _time_first(group, series, axis, where)
        samples, channels = _sizes(series, time_first)
        subject, session, identifier = _who(file)
        return Session(
            path,
            subject,
            session or identifier or "1",
            identifier,
            series.path,
            _channels(path, group, series, time_first),
            clock_of(group, samples, where),
            "V" if series.electrical else series.unit,
            electrodes_of(file, group, channels, unit, where),
            _sound(path, file, known, audio) if sound else None,
        )


def table(path: Path, interval: str, column: str | None) -> list[tuple[float, float, str]]:
    """Return (start, stop, name) of each row of a TimeIntervals table, in file seconds; "" without a `column`.

    Raises HubError for a table or column that is not there, and for a row that ends before it starts.
    """
    with opened(path) as file, reading(path, interval):
        if interval not in file or "start_time" not in file[interval] or "stop_time" not in file[interval]:
            raise HubError(f"{path} has no table {interval}", did_you_mean(interval, tables(file)), usage=True)
        group = file[interval]
        columns = [name for name in group if getattr(group[name], "ndim", 0) == 1 and name not in _TIMES]
        if column is not None and column not in columns:
            raise HubError(f"{interval} of {path} has no column '{column}'", did_you_mean(column, columns), usage=True)
        starts, stops = (np.asarray(group[name][()], np.float64) for name in ("start_time", "stop_time"))
        names = texts(group[column][()]) if column is not None else [""] * len(starts)
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if not (math.isfinite(start) and stop > start):
            raise HubError(f"{path}: row {number} of {interval} lasts from {start:g} to {stop:g} s", "repair that row")
    return [(float(start), float(stop), name) for start, stop, name in zip(starts, stops, names, strict=True)]


_TIMES = ("start_time", "stop_time", "id")


def tables(file: Any) -> list[str]:
    """Return the paths of the file's TimeIntervals tables."""
    return [f"/intervals/{name}" for name in file.get("intervals", ()) if "start_time" in file["intervals"][name]]


def has_table(path: Path, interval: str) -> bool:
    """Say whether the file has that table, with at least one row."""
    with opened(path) as file:
        return interval in tables(file) and len(file[interval]["start_time"]) > 0


def clean(name: str) -> str:
    """Return a name that is safe in the names of files."""
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-")


def _who(file: Any) -> tuple[str, str, str]:
    told = (scalar(file, "general/subject/subject_id"), scalar(file, "general/session_id"), scalar(file, "identifier"))
    return clean(told[0]), clean(told[1]), clean(told[2])


def _check_numbers(series: Series, where: str) -> None:
    if series.dtype.kind not in "iuf" or math.prod(series.shape) == 0 or len(series.shape) > 2:
        shape = " × ".join(map(str, series.shape))
        raise HubError(
            f"{where} is {shape} of {series.dtype}, not (samples, channels) of numbers", "choose another series"
        )


def _check_stored(data: Any, where: str) -> None:
    """Refuse a series so long that nothing of it can have been stored: its seconds would fill memory."""
    told = math.prod(data.shape) * data.dtype.itemsize
    if told > max(COMPRESSED_BYTES, MOST_PACKED * data.id.get_storage_size()):
        stored = data.id.get_storage_size() / 1e6
        raise HubError(f"{where} says {told / 1e9:.3g} GB, and {stored:.3g} MB are stored", "copy the file again")


def _sizes(series: Series, time_first: bool) -> tuple[int, int]:
    if len(series.shape) == 1:
        return series.shape[0], 1
    return (series.shape[0], series.shape[1]) if time_first else (series.shape[1], series.shape[0])


def _time_first(group: Any, series: Series, axis: Axis, where: str) -> bool:
    """Say whether the first axis is time: as asked, as timestamps or electrodes tell, else as NWB asks."""
    if len(series.shape) == 1 or axis != "auto":
        return axis != "channels_first"
    first, second = series.shape
    if "timestamps" in group and first != second and len(group["timestamps"]) in series.shape:
        return len(group["timestamps"]) == first
    if "electrodes" in group and first != second and group["electrodes"].shape[0] in series.shape:
        return int(group["electrodes"].shape[0]) == second
    if first < second:
        raise HubError(
            f"{where} is {first} × {second}, and NWB puts time first: which axis is time is not clear",
            "say it: --set dataset.axis=channels_first, or time_first",
            usage=True,
        )
    return True


def _channels(path: Path, group: Any, series: Series, time_first: bool) -> Channels:
    samples, count = _sizes(series, time_first)
    data = group["data"]
    gain = float(data.attrs.get("conversion", 1.0)) * np.ones(count)
    if "channel_conversion" in group:
        own: Array = np.asarray(group["channel_conversion"][()], np.float64).reshape(-1)
        if len(own) != count:
            raise HubError(
                f"{path}: {series.path} has {count} channels, but {len(own)} channel_conversions", "repair the file"
            )
        gain = gain * own
    offset = float(data.attrs.get("offset", 0.0))
    if not (np.isfinite(gain).all() and math.isfinite(offset)):
        raise HubError(f"{path}: the conversion of {series.path} is not finite", "repair its conversion and offset")
    return Channels(path, series.path, (count, samples), time_first, tuple(gain.tolist()), offset)


def _sound(path: Path, file: Any, known: Sequence[Series], audio: str | None) -> Sound:
    series = chosen(path, known, audio, "audio")
    where = f"{path}: {series.path}"
    _check_numbers(series, where)
    time_first = len(series.shape) == 1 or series.shape[0] >= series.shape[1]
    channels = _channels(path, file[series.path], series, time_first)
    if channels.shape[0] > 2:
        raise HubError(f"{where} has {channels.shape[0]} channels: that is no sound", "choose another series for audio")
    scale = full_scale(series.dtype, channels.gain[0], channels.offset)
    notes = ("its 2 channels are averaged",) if channels.shape[0] == 2 else ()
    clock = clock_of(file[series.path], channels.shape[1], where)
    return Sound(Mono(channels, 1.0 if scale is None else scale), clock, series.path, scale is None, notes)

"""One recording of a BIDS folder, opened: MNE-BIDS reads it, or h5py if it is NWB; the sidecars say the rest."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.bids_files import MISSING, BidsFile, Row, entities_of, number
from braindecode_hub.parts.mne_headers import check_fdt, header_of
from braindecode_hub.parts.nwb_clock import Clock, Run
from braindecode_hub.parts.nwb_electrodes import UNITS
from braindecode_hub.parts.nwb_session import Session, open_session
from braindecode_hub.types import Array, Recording, Signal

TYPES = {"ieeg": ("seeg", "ecog", "dbs"), "eeg": ("eeg",), "meg": ("mag", "grad")}
"""MNE's channel types that are the brain in each datatype; the others (EOG, triggers, sound …) are left out."""

COORDINATES = {"ieeg": "iEEG", "eeg": "EEG", "meg": "MEG"}
BREAKS = ("boundary", "new segment", "bad_acq_skip")


@dataclass(frozen=True)
class RawChannels:
    """(channels, samples) float32 in volts (MEG: tesla) of an MNE recording; only what is sliced is read."""

    raw: Any
    picks: tuple[int, ...]

    ndim = 2
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""
        return len(self.picks), int(self.raw.n_times)

    def __len__(self) -> int:
        return len(self.picks)

    def __getitem__(self, key: Any) -> Array:
        rows, time = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        if not isinstance(time, slice) or (time.step or 1) < 0:
            return self[:, :][rows, time]
        start, stop, step = time.indices(self.shape[1])
        if stop <= start:
            return np.zeros((len(self), 0), np.float32)[rows]
        with quietly():
            part = self.raw.get_data(list(self.picks), start, stop)
        return np.asarray(part[:, ::step][rows], np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:, :], dtype)


@dataclass(frozen=True)
class Opened:
    """A recording whose headers and sidecars were read; `session`: the NWB file behind it, if it is one."""

    file: BidsFile
    recording: Recording
    clock: Clock
    notes: tuple[str, ...]
    session: Session | None = None


class quietly(warnings.catch_warnings):  # noqa: N801 (reads as a word)
    """A context in which MNE does not print: what matters in a file is checked here, and is a HubError."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        self._level = logging.getLogger("mne").level
        logging.getLogger("mne").setLevel(logging.ERROR)
        return entered

    def __exit__(self, *about: Any) -> None:
        logging.getLogger("mne").setLevel(self._level)
        super().__exit__(*about)


def open_bids(file: BidsFile, modality: str, *, brain: str | None, audio: str | None, bads: Sequence[str]) -> Opened:
    """Read headers and sidecars of a recording; `brain`, `audio`: HDF5 paths in it, if it is NWB.

    Raises HubError for a file that cannot be read, and for sidecars that do not fit it.
    """
    subject, session = file.entities["sub"], file.entities.get("ses", "1")
    events = _events(file)  # before MNE-BIDS reads them, whose errors name no line
    channels = {row["name"]: row for row in file.table("channels") if "name" in row}
    if file.path.suffix.lower() == ".nwb":
        found = open_session(file.path, brain, audio, sound=audio is not None)
        signal, sensors, clock = _from_nwb(found, channels, modality, file)
    else:
        found = None
        signal, sensors, clock = _from_mne(file, modality, channels)
    names = signal.channels
    for bad in bads:
        if bad not in names:
            raise HubError(
                f"{file.path} has no channel '{bad}', which is to be bad", did_you_mean(bad, names), usage=True
            )
    marked = {name for name, row in channels.items() if row.get("status", "").lower() == "bad"} | {*bads}
    electrodes, frame, notes = _electrodes(file, names)
    notes += found.electrodes.notes if found is not None and electrodes is None else ()
    shafts = _shafts(names, channels, file.table("electrodes"))
    recording = Recording(
        file.name,
        subject,
        session,
        signal,
        positions=electrodes if electrodes is not None else sensors.get("positions"),
        position_frame=frame if electrodes is not None else sensors.get("frame"),
        bads=tuple(name for name in names if name in marked | set(sensors.get("bads", ()))),
        shafts=shafts or sensors.get("shafts", ()),
        events=events,
        line_freq=_line(file),
        breaks=tuple(sorted({*clock.breaks, *_breaks(file, clock), *sensors.get("breaks", ())})),
    )
    return Opened(file, recording, clock, notes, found)


def _from_mne(file: BidsFile, modality: str, channels: dict[str, Row]) -> tuple[Signal, dict[str, Any], Clock]:
    header_of(file.path)  # what was cut off is refused before MNE reads on
    with quietly():
        import mne_bids

        path = mne_bids.BIDSPath(
            root=file.root, datatype=file.datatype, suffix=file.datatype, extension=file.path.suffix
        )
        long = {"sub": "subject", "ses": "session", "acq": "acquisition", "proc": "processing", "rec": "recording"}
        path.update(**{long.get(key, key): value for key, value in file.entities.items()})
        try:
            raw = mne_bids.read_raw_bids(path, verbose="error")
        except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, NotImplementedError) as error:
            first = " ".join(str(error).split())[:300]
            first = f"{first} is not in the one file where MNE-BIDS looks for it" if type(error) is KeyError else first
            raise HubError(f"{file.path} cannot be read: {first}", "check the file and its channels.tsv") from error
        check_fdt(raw)
        kinds = _kinds(file, raw, channels)
        table, events = (_foreign(path, file, suffix) for suffix in ("channels", "events"))
    if table is not None and not channels:
        raise HubError(f"{file.path} has no channels.tsv of its own: {table.name} is not for it", "add it")
    picks = tuple(n for n, kind in enumerate(kinds) if kind in TYPES[file.datatype])
    if not picks:
        told = ", ".join(sorted(set(kinds)))
        raise HubError(
            f"{file.path} has no channel of {file.datatype}: it has {told}", "check types in its channels.tsv"
        )
    names = tuple(raw.ch_names[n] for n in picks)
    rate = float(raw.info["sfreq"])
    signal = Signal(RawChannels(raw, picks), rate, modality, names, "T" if file.datatype == "meg" else "V")
    sensors: dict[str, Any] = {
        "bads": raw.info["bads"] if table is None else [],
        "breaks": [
            float(at) for at, text in zip(raw.annotations.onset, raw.annotations.description, strict=True)
            if events is None and at > 0 and text.lower().startswith(BREAKS)
        ],
    }  # fmt: skip
    if file.datatype == "meg":
        sensors |= {
            "positions": np.array([raw.info["chs"][n]["loc"][:3] for n in picks], np.float64),
            "frame": "device",
        }
    return signal, sensors, Clock(rate, (Run(0, int(raw.n_times), 0.0, 1.0 / rate),))


def _kinds(file: BidsFile, raw: Any, channels: dict[str, Row]) -> list[str]:
    """Return MNE's type of each channel, by the nearest channels.tsv: MNE-BIDS may have taken another, or none.

    MEG has its types from the recording itself. Raises HubError if the table names other channels.
    """
    if len(channels) == len(raw.ch_names) and set(channels) != set(raw.ch_names):
        other = next(name for name in channels if name not in raw.ch_names)
        raise HubError(f"{file.path} has no channel '{other}', but its channels.tsv has", "make them agree")
    kinds = list(raw.get_channel_types())
    if file.datatype == "meg":
        return kinds
    told = [channels.get(name, {}).get("type", "n/a") for name in raw.ch_names]
    return [kind if text in MISSING else text.lower() for kind, text in zip(kinds, told, strict=True)]


def _foreign(path: Any, file: BidsFile, suffix: str) -> Path | None:
    """Return the table of that suffix that MNE-BIDS read although another is nearer, or none holds here; else None.

    MNE-BIDS goes by entities before depth, and takes entities that the recording has not for its own.
    """
    taken, nearest = path.find_matching_sidecar(suffix, ".tsv", on_error="ignore"), file.beside(suffix)
    return None if taken is None or (nearest is not None and nearest.samefile(taken)) else Path(taken)


def _from_nwb(
    found: Session, channels: dict[str, Row], modality: str, file: BidsFile
) -> tuple[Signal, dict[str, Any], Clock]:
    """Return what NWB tells; channels are named by channels.tsv: by name where both have the same, else in order."""
    electrodes = found.electrodes
    names = electrodes.names
    if channels and set(channels) != set(names):
        if len(channels) != len(names):
            raise HubError(
                f"{file.path} has {len(names)} channels, but its channels.tsv {len(channels)}", "make them agree"
            )
        names = tuple(channels)
    renamed = dict(zip(electrodes.names, names, strict=True))
    sensors = {
        "positions": electrodes.positions,
        "bads": [renamed[bad] for bad in electrodes.bads],
        "shafts": electrodes.shafts,
    }
    return Signal(found.brain, found.clock.rate, modality, names, found.unit), sensors, found.clock


def _electrodes(file: BidsFile, names: Sequence[str]) -> tuple[Array | None, str | None, tuple[str, ...]]:
    """Return positions (channels, 3) in metres from electrodes.tsv, their frame, and what to say of them."""
    rows = {row["name"]: row for row in file.table("electrodes") if "name" in row}
    path = file.beside("electrodes")
    if not rows or path is None:
        return None, None, ()
    about = file.sidecar("coordsystem", space=entities_of(path).get("space"))
    kind = COORDINATES[file.datatype]
    unit = str(about.get(f"{kind}CoordinateUnits", "n/a"))
    frame = str(about.get(f"{kind}CoordinateSystem", "")) or None
    if unit not in UNITS:
        return None, None, (f"positions of {path.name} are in '{unit}', and are left out",)
    values = np.full((len(names), 3), np.nan)
    for row, name in enumerate(names):
        xyz = [rows.get(name, {}).get(axis, "n/a") for axis in "xyz"]
        if not any(value in MISSING for value in xyz):
            try:
                values[row] = [float(value) * UNITS[unit] for value in xyz]
            except ValueError as error:
                raise HubError(f"{path}: {name} is at {', '.join(xyz)}, not at numbers", "repair that line") from error
    return (values, frame, ()) if np.isfinite(values).any() else (None, None, ())


def _shafts(names: Sequence[str], channels: dict[str, Row], electrodes: Sequence[Row]) -> tuple[str, ...]:
    """Return the `group` of each channel, from channels.tsv or electrodes.tsv; () unless all have one."""
    for rows in (channels, {row["name"]: row for row in electrodes if "name" in row}):
        groups = [rows.get(name, {}).get("group", "n/a") for name in names]
        if not any(group in MISSING for group in groups):
            return tuple(groups)
    return ()


def _line(file: BidsFile) -> float | None:
    told = file.sidecar(file.datatype).get("PowerLineFrequency")
    return float(told) if isinstance(told, int | float) and told > 0 else None


def _events(file: BidsFile) -> tuple[dict[str, Any], ...]:
    rows, path = file.table("events"), file.beside("events")
    for line, row in enumerate(rows, start=2):
        number(row, "onset", path, line), number(row, "duration", path, line)
    return tuple(dict(row) for row in rows)


def _breaks(file: BidsFile, clock: Clock) -> list[float]:
    """Return the recording's seconds at which events.tsv says that it was interrupted."""
    found = []
    for line, row in enumerate(file.table("events"), start=2):
        if row.get("trial_type", "").lower().startswith(BREAKS):
            onset = number(row, "onset", file.beside("events"), line)
            found.append(clock.own(clock.runs[0], clock.runs[0].start + onset))
    return [at for at in found if at > 0]  # NaN is not

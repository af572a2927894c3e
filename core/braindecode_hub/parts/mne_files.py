"""Recordings in the formats that MNE reads (EDF, BDF, GDF, BrainVision, FIF, EEGLAB, CNT …), chunk by chunk."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.matching import READ_BY_MNE, ending
from braindecode_hub.parts.mne_headers import check_fdt, header_of, is_ant
from braindecode_hub.parts.opening import Brain
from braindecode_hub.types import Array

WANTED = {
    "seeg": ("seeg", "ecog", "dbs"),
    "ecog": ("ecog", "seeg", "dbs"),
    "ieeg": ("seeg", "ecog", "dbs"),
    "meg": ("mag", "grad"),
    "eeg": ("eeg",),
}
"""MNE's channel types by what was recorded; formats that know only EEG call depth electrodes EEG too."""

UNITS = {"mag": "T", "grad": "T/m"}
COMPANIONS = (".eeg", ".vmrk", ".dat", ".fdt", ".amrk")
_QUIET = (
    *("does not conform to MNE naming", "'boundary' events", "Not setting position", "Unsupported physical dimension"),
    "invalid value encountered in divide",  # electrodes of a CNT that have no places
)
_NEW_SEGMENT = "32766"
"""GDF's code 0x7ffe: a new segment begins, after a break."""
_REMEDIES = {
    "read_epochs": "save it as one continuous recording, not as epochs",
    "ALLEEG": "save each recording as a file of its own",
    "matlab v7.3": "pip install pymatreader, or save it in EEGLAB without -v7.3",
    ".dat detected": "save it again with a newer EEGLAB",
    ".fdt": "put the .fdt beside it, under the same name",
}
"""What to do where an EEGLAB file is not damaged, by what MNE says."""


class MneSamples:
    """Samples (channels, time) of an MNE raw file: float32, in SI units; only what is sliced is read."""

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, raw: Any, picks: list[int], path: Path) -> None:
        self._raw, self._picks, self._path = raw, picks, path
        self.shape = (len(picks), int(raw.n_times))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if not isinstance(columns, slice):
            return self[:, :][rows, columns]
        start, stop, step = columns.indices(self.shape[1])
        if step < 0:
            return self[:, :][rows, columns]
        if stop <= start:
            return np.zeros((len(self._picks), 0), np.float32)[rows]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self._raw.get_data(self._picks, start, stop, verbose="ERROR")
        except Exception as error:  # each format's reader raises what it likes
            raise HubError(
                f"{self._path} cannot be read from sample {start}: {_line(error)}", "export it again: it is damaged"
            ) from error
        return np.asarray(found[:, ::step], np.float32)[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


def open_with_mne(path: Path, modality: str, wanted: list[str]) -> Brain:
    """Open a recording lazily; `wanted`: the channels to keep, in this order ([]: all of the modality).

    Takes names, positions in metres, bad channels, line frequency and gaps (annotations BAD_…, EDGE, boundary, New
    Segment) from the file. Other channels are left out, and named in `notes`. Raises HubError for what MNE cannot
    read, for a truncated file, for units that MNE does not scale to volts, and for a channel that is not there.
    """
    header = header_of(path)
    raw, warned = _raw(path)
    names, types = list(raw.ch_names), list(raw.get_channel_types())
    picks, told = _chosen(path, names, types, modality, [names[k] for k in header.slow if k < len(names)])
    if wanted:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise HubError(f"{path} has no channel '{missing[0]}'", did_you_mean(missing[0], names), usage=True)
        picks, told = [names.index(name) for name in wanted], []
    kept = [names[k] for k in picks]
    positions, frame = _positions(raw, picks, types)
    _check_units(path, {names[k]: header.units[k] for k in picks if header.units.get(k)})
    said = getattr(raw, "_orig_units", None) or {}
    unknown = [names[k] for k in picks if said.get(names[k]) == "n/a" or header.units.get(k) == ""]
    notes = header.notes
    if unknown:
        notes = (*notes, f"the file does not say the unit of {_named(unknown)}: taken as it is")
    return Brain(
        MneSamples(raw, picks, path),
        float(raw.info["sfreq"]),
        tuple(kept),
        "" if unknown else _units({types[k] for k in picks}),
        positions,
        frame,
        tuple(name for name in raw.info["bads"] if name in kept),
        None if raw.info["line_freq"] is None else float(raw.info["line_freq"]),
        _gaps(raw, new_segment=_NEW_SEGMENT if ending(path) == ".gdf" else None),
        _files(path, raw),
        (*notes, *warned, *told),
    )


def _raw(path: Path) -> tuple[Any, list[str]]:
    try:
        import mne
    except ImportError as error:
        raise HubError(f"{path} needs mne", "pip install 'braindecode-hub[io]'") from error
    if not path.exists():
        raise HubError(f"{path} does not exist", "check the path")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            try:
                raw = mne.io.read_raw(path, preload=False, verbose="WARNING")
            except UnicodeDecodeError:
                raw = mne.io.read_raw(path, preload=False, verbose="WARNING", encoding="latin1")
        except Exception as error:  # each format's reader raises what it likes
            raise HubError(f"{path} cannot be read: {_line(error)}", _remedy(path, error)) from error
    if raw.n_times < 1:
        raise HubError(f"{path} holds no samples", "export it again")
    if not (math.isfinite(raw.info["sfreq"]) and raw.info["sfreq"] > 0):
        raise HubError(f"{path} says that it is sampled at {raw.info['sfreq']} Hz", "export it again")
    check_fdt(raw)
    told = dict.fromkeys(" ".join(str(one.message).split()) for one in caught)
    return raw, [text for text in told if not any(quiet in text for quiet in _QUIET)]


def _remedy(path: Path, error: Exception) -> str:
    """Say what to do about a file that MNE did not read."""
    if ending(path) not in READ_BY_MNE:
        return f"known: .npy {' '.join(READ_BY_MNE)}, and what else mne.io.read_raw reads"
    if ending(path) == ".set":
        for sign, remedy in _REMEDIES.items():
            if sign in str(error):
                return remedy
    if ending(path) == ".cnt" and is_ant(path):
        return "it is a file of ANT Neuro: pip install antio, or export it as EDF"
    return "export it again: it is damaged, or half a file"


def _check_units(path: Path, units: dict[str, str]) -> None:
    """Raise HubError for a channel whose unit MNE does not know: it would be taken for volts."""
    for name, unit in units.items():
        raise HubError(
            f"{path}: {name} is in '{unit}', which MNE takes for volts",
            "save it in uV, or name the channels to keep: --set dataset.channels=[…]",
        )


def _chosen(
    path: Path, names: list[str], types: list[str], modality: str, slow: list[str]
) -> tuple[list[int], list[str]]:
    """Return the indices of the brain's channels, and notes on those that are left out."""
    notes = []
    right = WANTED.get(modality, (modality,))
    if not any(kind in right for kind in types) and "eeg" in types and modality != "meg":
        notes.append(f"no channel is marked as {modality}: its {types.count('eeg')} EEG channels are taken for it")
        right = ("eeg",)
    picks = [k for k, kind in enumerate(types) if kind in right and names[k] not in slow]
    if not picks:
        told = ", ".join(f"{count} {kind}" for kind, count in Counter(types).items())
        raise HubError(
            f"{path} has no {modality} channel: it holds {told or 'nothing'}",
            "name what was recorded, as --set dataset.brain=meg, or the channels: --set dataset.channels=[…]",
        )
    left = [f"{name} ({'slower' if name in slow else types[k]})" for k, name in enumerate(names) if k not in picks]
    return picks, [*notes, f"channels left out: {_named(left)}"] if left else notes


def _positions(raw: Any, picks: list[int], types: list[str]) -> tuple[Array | None, str | None]:
    """Return (channels, 3) metres, NaN where a channel has none, and the frame; (None, None) without any."""
    names = [raw.ch_names[k] for k in picks]
    if any(types[k] in ("mag", "grad") for k in picks):
        return np.array([raw.info["chs"][k]["loc"][:3] for k in picks], np.float32), "meg_device"
    montage = raw.get_montage()
    if montage is None:
        return None, None
    found = montage.get_positions()
    nowhere = np.full(3, np.nan)
    places = np.array([found["ch_pos"].get(name, nowhere) for name in names], np.float32)
    there = np.isfinite(places).all(axis=1) & (places != 0).any(axis=1)
    places[~there] = np.nan
    return (places, str(found["coord_frame"])) if there.any() else (None, None)


def _units(types: set[str]) -> str:
    units = {UNITS.get(kind, "V") for kind in types}
    return units.pop() if len(units) == 1 else ""


def _gaps(raw: Any, new_segment: str | None) -> tuple[tuple[float, float], ...]:
    """Return (start, stop) seconds of what is marked bad, and of no length where pieces were joined.

    `new_segment`: how the format marks that, where it has its own code.
    """
    length = raw.n_times / raw.info["sfreq"]
    found = []
    for one in raw.annotations:
        kind = str(one["description"]).upper().removeprefix("COMMENT/")  # as BrainVision files have it
        start = float(one["onset"]) - float(raw.first_time)
        stop = start
        if kind.startswith("BAD"):
            stop = start + float(one["duration"])
        elif not kind.startswith(("EDGE", "BOUNDARY", "NEW SEGMENT")) and kind != new_segment:
            continue
        start, stop = max(0.0, start), min(length, stop)
        if start <= length and stop > 0 and not (start == stop and start in (0.0, length)):
            found.append((round(start, 6), round(stop, 6)))
    return tuple(sorted(set(found)))


def _files(path: Path, raw: Any) -> tuple[Path, ...]:
    """Return every file that the samples and the header came from."""
    named = [Path(name) for name in raw.filenames if name]
    beside = [path.with_name(path.stem + suffix) for suffix in COMPANIONS]
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    every = dict.fromkeys([path, *named, *beside, *inside])
    return tuple(one for one in every if one.is_file())


def _named(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _line(error: BaseException) -> str:
    """Return in one line what an error says; one of MNE's own code says little to who has the file."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    odd = isinstance(error, AttributeError | LookupError | AssertionError) or "Could not read file using any" in text
    return f"it is not as its format should be ({text})" if odd else text

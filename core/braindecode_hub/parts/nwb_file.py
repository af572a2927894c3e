"""One NWB file, read as the HDF5 that it is: what series it holds, and which of them is meant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.types import Array

SOUND_HZ = 4000.0
"""What is sampled faster than this, and is no electrode, may be sound."""

PLACES = ("acquisition", "stimulus", "processing", "analysis")
DEPTH = 8


@dataclass(frozen=True)
class Series:
    """A TimeSeries as its headers tell: HDF5 path, neurodata type, shape, dtype, Hz (about), unit."""

    path: str
    kind: str
    shape: tuple[int, ...]
    dtype: Any
    rate: float
    unit: str

    @property
    def electrical(self) -> bool:
        """Whether it was recorded from electrodes that a table describes."""
        return self.kind == "ElectricalSeries"

    @property
    def sound(self) -> bool:
        """Whether it can be sound: numbers, fast, of one or a few channels."""
        narrow = len(self.shape) == 1 or (len(self.shape) == 2 and min(self.shape) <= 2)
        return not self.electrical and self.dtype.kind in "iuf" and narrow and self.rate >= SOUND_HZ

    def __str__(self) -> str:
        shape = " × ".join(map(str, self.shape))
        return f"{self.path} ({shape}, {self.rate:g} Hz, {self.unit or 'no unit'})"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the open file; HubError if it is not there, no HDF5, truncated, Zarr, or no NWB 2."""
    import h5py

    if path.is_dir():
        raise HubError(f"{path} is a folder (NWB in Zarr?), not an HDF5 file", "save it as HDF5 with pynwb")
    if not path.is_file():
        raise HubError(f"{path} does not exist", "check the path", usage=True)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if not h5py.is_hdf5(path):
            raise HubError(f"{path} is no HDF5 file", "give a file that was written as NWB 2", usage=True) from error
        problem = "is truncated" if "truncated" in str(error) else f"cannot be opened: {_first(error)}"
        raise HubError(f"{path} {problem}", "copy or download it again") from error
    with file:
        version = text(file.attrs.get("nwb_version", ""))
        if not version:
            raise HubError(f"{path} is HDF5, but no NWB 2 file", "export it as NWB 2", usage=True)
        yield file


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what HDF5 cannot read (damaged chunks, a filter that is not installed) into a HubError."""
    try:
        yield
    except (OSError, KeyError) as error:
        cause = f"{path}: {what} cannot be read: {_first(error)}"
        raise HubError(cause, "the file is damaged, or compressed by a filter that h5py lacks") from error


def series_in(file: Any) -> list[Series]:
    """Return every TimeSeries outside /general, each once although links may lead to it; broken links are skipped."""
    found: list[Series] = []
    seen: set[Any] = set()
    for place in PLACES:
        if place in file:
            _walk(file[place], f"/{place}", found, seen, 0)
    return found


def _walk(group: Any, path: str, found: list[Series], seen: set[Any], depth: int) -> None:
    import h5py

    about = h5py.h5o.get_info(group.id)
    if (about.fileno, about.addr) in seen or depth > DEPTH:
        return
    seen.add((about.fileno, about.addr))
    if isinstance(_child(group, "data"), h5py.Dataset) and "neurodata_type" in group.attrs:
        found.append(_series(group, path))
        return
    for name in group:
        child = _child(group, name)
        if isinstance(child, h5py.Group):
            _walk(child, f"{path}/{name}", found, seen, depth + 1)


def _child(group: Any, name: str) -> Any:
    try:
        return group.get(name)
    except (OSError, KeyError):
        return None


def _series(group: Any, path: str) -> Series:
    data = group["data"]
    unit = text(data.attrs.get("unit", ""))
    return Series(path, text(group.attrs["neurodata_type"]), tuple(data.shape), data.dtype, _about_rate(group), unit)


def _about_rate(group: Any) -> float:
    """Return the rate in Hz as far as a glance tells; NaN where there is none."""
    stamps = _child(group, "timestamps")
    if stamps is not None and len(stamps) > 1:
        many = min(len(stamps), 1000)
        passed = float(stamps[many - 1]) - float(stamps[0])
        return round((many - 1) / passed, 3) if passed > 0 else math.nan
    start = _child(group, "starting_time")
    return math.nan if start is None else float(start.attrs.get("rate", math.nan))


def chosen(path: Path, known: Sequence[Series], asked: str | None, role: str) -> Series:
    """Return the series that `asked` names, or the only one that can be the `role` ("brain" or "audio").

    Raises HubError (usage) that lists the candidates by path, shape, rate and unit where none or several are there.
    """
    if asked is not None:
        by_path = {one.path: one for one in known}
        name = "/" + asked.strip("/")
        if name not in by_path:
            raise HubError(f"{path} has no series {name}", did_you_mean(name, by_path), usage=True)
        return by_path[name]
    fitting = [one for one in known if (one.electrical if role == "brain" else one.sound)]
    if len(fitting) == 1:
        return fitting[0]
    what = "ElectricalSeries" if role == "brain" else "sound"
    listed = "; ".join(str(one) for one in fitting or known) or "no series at all"
    example = (fitting or known)[0].path if known else f"/acquisition/{role}"
    there = f"holds {len(fitting)} {what}" if fitting else f"holds no {what} that is one without saying; it has"
    many = f"{path} {there}: {listed}" if fitting else f"{path} {there} {listed}"
    raise HubError(many, f"choose one: --set dataset.{role}={example}", usage=True)


def text(value: Any) -> str:
    """Return HDF5 text (bytes, str, or an array of one) as str."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return text(value.reshape(-1)[0]) if value.size else ""
    return str(value)


def texts(values: Array) -> list[str]:
    """Return a column of text, or of numbers, as a list of str."""
    return [text(value).strip() for value in values]


def scalar(file: Any, path: str) -> str:
    """Return the text of a dataset of one value; "" if it is not there."""
    return text(file[path][()]).strip() if path in file else ""


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

"""What headers say that MNE passes over: how long a file should be, slower channels, units that are not scaled."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from braindecode_hub.errors import HubError
from braindecode_hub.parts.matching import ending


@dataclass(frozen=True)
class Header:
    """`notes` for the user; `slow`: indices of channels slower than the fastest, which MNE stretches to its rate.

    `units` by index of channel: those that MNE takes for volts although they are not; "" where the file says none.
    """

    notes: tuple[str, ...] = ()
    slow: tuple[int, ...] = ()
    units: Mapping[int, str] = field(default_factory=dict)


def header_of(path: Path) -> Header:
    """Return what the header of an EDF, BDF, GDF or CNT file says, and nothing of any other.

    Raises HubError for a file that is shorter than its header promises: MNE reads on where it was cut off.
    """
    read = _READERS.get(ending(path))
    if read is None or not path.is_file():
        return Header()
    try:
        return read(path)
    except (ValueError, struct.error) as error:
        raise HubError(f"{path} cannot be read: its header is damaged, or cut off", "export it again") from error


def check_whole(path: Path, promised: int) -> None:
    """Raise HubError if a file is shorter than what its header promises, in bytes."""
    if (size := path.stat().st_size) < promised:
        raise HubError(
            f"{path} is cut off: it holds {size} of the {promised} bytes that its header promises",
            "copy or export it again",
        )


def check_fdt(raw: Any) -> None:
    """Raise HubError unless EEGLAB's .fdt holds just what its .set says: samples of another shape are scrambled."""
    for path in (Path(name) for name in raw.filenames if name and str(name).lower().endswith(".fdt")):
        channels, samples = len(raw.ch_names), int(raw.n_times)
        if (size := path.stat().st_size) != 4 * channels * samples:
            said = f"its .set says {channels} channels × {samples} samples, {4 * channels * samples} bytes"
            raise HubError(f"{path} holds {size} bytes, but {said}", "copy or save both files again")


def is_ant(path: Path) -> bool:
    """Say whether a .cnt is one of ANT Neuro, a RIFF, and not of Neuroscan."""
    with path.open("rb") as file:
        return file.read(4) in (b"RIFF", b"RF64")


def _edf(path: Path) -> Header:
    with path.open("rb") as file:
        head = file.read(256)
        size, records, count = int(head[184:192]), int(head[236:244]), int(head[252:256])
        more = file.read(256 * count)
    labels = [more[16 * k : 16 * (k + 1)] for k in range(count)]
    samples = [int(more[216 * count + 8 * k : 216 * count + 8 * (k + 1)]) for k in range(count)]
    check_whole(path, size + records * sum(samples) * (3 if ending(path) == ".bdf" else 2))
    signals = [n for n, label in zip(samples, labels, strict=True) if b"Annotations" not in label]
    notes = () if records >= 0 else ("its header does not say how long it is: taken from the file's size",)
    return Header(notes, _slower(signals))


_GDF_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 16: 4, 17: 8}
"""GDF's codes of number types, and the bytes of a number."""
_GDF_UNITS = {0: "", 512: "", 4256: "V", 4274: "mV", 4275: "uV", 4276: "nV", 4277: "pV"}
"""GDF 2's codes of physical dimensions (ISO/IEEE 11073-10101); GDF 1 writes them out."""


def _gdf(path: Path) -> Header:
    """Read GDF 1.x and 2.x (A. Schlögl, GDF: a general dataformat for biosignals, arXiv cs/0608052)."""
    with path.open("rb") as file:
        head = file.read(256)
        if not head.startswith(b"GDF "):
            raise ValueError("another format")
        version = float(head[4:8])
        newer = version >= 1.9
        [size] = (
            (256 * n for n in struct.unpack_from("<H", head, 184)) if newer else struct.unpack_from("<q", head, 184)
        )
        [records] = struct.unpack_from("<q", head, 236)
        [count] = struct.unpack_from("<H" if newer else "<I", head, 252)
        more = file.read(256 * count) if count <= 1 << 16 else b""
        samples = struct.unpack_from(f"<{count}i", more, 216 * count)
        kinds = struct.unpack_from(f"<{count}i", more, 220 * count)
        if records < 0:
            raise HubError(f"{path} does not say how many records it holds", "export it again")
        end = size + records * sum(_GDF_BYTES.get(kind, 0) * n for kind, n in zip(kinds, samples, strict=True))
        check_whole(path, end)
        file.seek(end)
        table = file.read(8)
    if table or not newer:
        if not table:
            raise HubError(
                f"{path} has no table of events, without which MNE reads no GDF 1", "save it as GDF 2 or EDF"
            )
        events = int.from_bytes(table[1:4] if version >= 1.94 else table[4:8], "little")
        check_whole(path, end + 8 + events * (12 if table[0] == 3 else 6))
    if newer:
        codes = struct.unpack_from(f"<{count}H", more, 102 * count)
        units = [_GDF_UNITS.get(code, f"unit {code} of GDF") for code in codes]
    else:
        fields = [more[96 * count + 8 * k : 96 * count + 8 * (k + 1)] for k in range(count)]
        units = [text.decode("latin-1").strip(" \0") for text in fields]
    scaled = ("V", "mV", "uV") if newer else ("V", "uV")
    return Header((), _slower(samples), {k: unit for k, unit in enumerate(units) if unit not in scaled})


def _cnt(path: Path) -> Header:
    """Check a Neuroscan CNT (SETUP, ELECTLOC and TEEG as in paulbourke.net/dataformats/eeg)."""
    if is_ant(path):
        return Header()
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(900)
        [table] = struct.unpack_from("<i", head, 886)
        if 0 < table < size < 2**31:  # in longer files the place of the table does not fit its field
            file.seek(table)
            [length] = struct.unpack_from("<i", file.read(9).ljust(9, b"\0"), 1)
            check_whole(path, table + 9 + max(0, length))
        elif size < 2**31:
            check_whole(path, max(0, table) + 9)
    return Header()


_READERS: dict[str, Callable[[Path], Header]] = {".edf": _edf, ".bdf": _edf, ".gdf": _gdf, ".cnt": _cnt}


def _slower(samples: tuple[int, ...] | list[int]) -> tuple[int, ...]:
    return tuple(k for k, n in enumerate(samples) if n < max(samples))

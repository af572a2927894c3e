"""EEGLAB, GDF and Neuroscan CNT files as the tests write them: by the published layouts, with no reader's help."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io


def eeglab(
    path: Path,
    volts: np.ndarray,
    rate: float,
    names: Sequence[str],
    *,
    fdt: bool = False,
    flat: bool = False,
    events: Sequence[tuple[float, str]] = (),
    types: Mapping[str, str] = {},
    positions: np.ndarray | None = None,
    **changed: Any,
) -> Path:
    """Write (channels, samples) V as an EEGLAB .set of µV, its samples in it or in an .fdt of float32, by sample.

    `flat`: the fields of EEG lie at the top of the file, as EEGLAB saves them today. `events`: (seconds, type).
    `positions`: (channels, 3) metres; EEGLAB's X points to the nose and Y to the left, in mm here.
    """
    microvolts = np.asarray(volts * 1e6, np.float32)
    places = [{}] * len(names)
    if positions is not None:
        places = [{"X": 1e3 * y, "Y": -1e3 * x, "Z": 1e3 * z} for x, y, z in positions]
    record: dict[str, Any] = {
        "setname": "made by a test",
        "nbchan": len(names),
        "trials": 1,
        "pnts": volts.shape[1],
        "srate": float(rate),
        "xmin": 0.0,
        "xmax": (volts.shape[1] - 1) / rate,
        "data": path.with_suffix(".fdt").name if fdt else microvolts,
        "chanlocs": _structs(
            [{"labels": n, "type": types.get(n, "EEG")} | at for n, at in zip(names, places, strict=True)]
        ),
        "event": _structs([{"type": kind, "latency": at * rate + 1, "duration": 0.0} for at, kind in events]),
        "ref": "common",
        **changed,
    }
    if fdt:
        microvolts.T.astype("<f4").tofile(path.with_suffix(".fdt"))
    scipy.io.savemat(path, record if flat else {"EEG": record}, appendmat=False)
    return path


def _structs(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return rows as a MATLAB struct array (1, rows)."""
    if not rows:
        return np.zeros((0, 0))
    found = np.zeros((1, len(rows)), [(key, object) for key in rows[0]])
    for place, row in enumerate(rows):
        found[0, place] = tuple(row.values())
    return found


UNITS = {"uV": 4275, "mV": 4274, "V": 4256, "nV": 4276, "": 0, "-": 512}
"""GDF 2's codes of physical dimensions (ISO/IEEE 11073)."""


def gdf(
    path: Path,
    volts: np.ndarray,
    rate: int,
    names: Sequence[str],
    *,
    version: str = "1.25",
    unit: str = "uV",
    scale: float = 1e-6,
    events: Sequence[tuple[float, int]] = (),
    slow: Mapping[str, int] = {},
) -> Path:
    """Write (channels, samples) V as GDF 1.25 or 2.20: int16 in records of a second, ±1000 of `unit` (`scale` V) wide.

    `events`: (seconds, code), in an event table of mode 1. `slow`: channels of zeros beside them, by their rate in Hz.
    """
    records, labels = volts.shape[1] // rate, [*names, *slow]
    per, count, newer = [rate] * len(names) + list(slow.values()), len(names) + len(slow), version >= "2"
    digital = np.round(volts / scale / 1000 * 32767).astype("<i2").reshape(len(names), records, rate)
    limits = struct.pack(f"<{count}d", *[-1000.0] * count) + struct.pack(f"<{count}d", *[1000.0] * count)
    number = "d" if newer else "q"
    limits += struct.pack(f"<{count}{number}", *[-32767] * count) + struct.pack(f"<{count}{number}", *[32767] * count)
    counts = struct.pack(f"<{count}i", *per) + struct.pack(f"<{count}i", *[3] * count)  # 3: int16
    text = b"".join(label.encode().ljust(16, b" ") for label in labels) + b" " * 80 * count
    if newer:
        fixed = f"GDF {version}".ljust(8).encode() + b"X X".ljust(66) + bytes(14) + b"test".ljust(64) + bytes(32)
        fixed += struct.pack("<H", count + 1) + bytes(50)
        fixed += struct.pack("<q2I2H", records, 1, 1, count, 0)
        units = bytes(6 * count) + struct.pack(f"<{count}H", *[UNITS[unit]] * count)
        header = fixed + text + units + limits + bytes((68 + 12) * count) + counts + bytes((12 + 20) * count)
    else:
        fixed = f"GDF {version}".ljust(8).encode() + b"X X".ljust(80) + b"test".ljust(80) + b"2020010112000000"
        fixed += (
            struct.pack("<q", 256 * (count + 1)) + bytes(24) + bytes(20) + struct.pack("<q2II", records, 1, 1, count)
        )
        units = unit.encode("latin-1").ljust(8) * count
        header = fixed + text + units + limits + bytes(80 * count) + counts + bytes(32 * count)
    assert (len(fixed), len(header)) == (256, 256 * (count + 1))
    body = b"".join(digital[:, n].tobytes() + bytes(2 * sum(slow.values())) for n in range(records))
    at = struct.pack(f"<{len(events)}I", *[round(second * rate) + 1 for second, _ in events])
    codes = struct.pack(f"<{len(events)}H", *[code for _, code in events])
    if newer:
        table = struct.pack("<B", 1) + len(events).to_bytes(3, "little") + struct.pack("<f", rate)
    else:
        table = struct.pack("<B", 1) + int(rate).to_bytes(3, "little") + struct.pack("<I", len(events))
    path.write_bytes(header + body + table + at + codes)
    return path


def cnt(
    path: Path,
    volts: np.ndarray,
    rate: int,
    names: Sequence[str],
    *,
    wide: bool = True,
    bads: Sequence[str] = (),
    step: float = 1e-8,
    baseline: int = 7,
    events: Sequence[tuple[float, int]] = (),
) -> Path:
    """Write (channels, samples) V as a Neuroscan CNT of int32 (`wide`) or int16, a step of a number being `step` V.

    SETUP of 900 bytes, ELECTLOC of 75 for each channel, samples interleaved, an event table of type 1.
    """
    kind = np.dtype("<i4" if wide else "<i2")
    numbers = (np.round(volts / step) + baseline).astype(kind)
    head = bytearray(900)
    begin = 900 + 75 * len(names)
    table = begin + numbers.nbytes
    struct.pack_into("<12s", head, 0, b"Version 3.0")
    struct.pack_into("<10s12s", head, 225, b"01/02/20", b"12:00:00")
    struct.pack_into("<H", head, 370, len(names))
    struct.pack_into("<H", head, 376, rate)
    struct.pack_into("<i", head, 864, volts.shape[1])
    struct.pack_into("<i", head, 886, table)
    for name in names:
        one = bytearray(75)
        struct.pack_into("<10s", one, 0, name.encode())
        one[14] = name in bads
        struct.pack_into("<h", one, 47, baseline)
        struct.pack_into("<f", one, 59, step / 1e-6)
        struct.pack_into("<f", one, 71, 204.8)
        head += one
    size = kind.itemsize * len(names)
    rows = b"".join(struct.pack("<HBci", code, 0, b"\0", begin + round(at * rate) * size) for at, code in events)
    path.write_bytes(bytes(head) + numbers.T.tobytes() + struct.pack("<Bii", 1, len(rows), 0) + rows)
    return path

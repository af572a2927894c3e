"""Files of other projects, opened as plain arrays and tables: .npz, .npy, .mat, .safetensors; CSV, TSV, JSON.

Nothing is unpickled and no code of a file runs: MATLAB structs, objects and cells of arrays, Python objects and links
out of an HDF5 file are named and left alone. An array is read only when it is asked for.
"""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.types import Array

ARRAYS = (".npz", ".mat", ".safetensors")
TABLES = (".csv", ".tsv", ".txt", ".json")
COMPRESSED_BYTES = 2 * 10**9
"""A compressed member of an .npz is read whole into memory, up to this size; a stored one may have any."""
MOST_PACKED = 1032
"""No byte that deflate wrote stands for more than these."""
NOT_WHOLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, OverflowError, RuntimeError, MemoryError),
    *(TokenError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""What numpy, zipfile and h5py raise for a damaged file, and what numpy's header parser for a hostile one."""
NUMBERS = "biuf"
"""dtype kinds that are real numbers (and truth values)."""

Row = dict[str, Any]
"""One line of a table, by column."""


@dataclass(frozen=True)
class Field:
    """One array of a file: its shape, whether it is text, and how it is read."""

    shape: tuple[int, ...]
    text: bool
    read: Callable[[], Array]

    def __str__(self) -> str:
        return " × ".join(map(str, self.shape)) + (" text" if self.text else "") if self.shape else "one value"


@dataclass(frozen=True)
class Foreign:
    """An opened file: its arrays by name, what was refused and why, and what its header says."""

    path: Path
    fields: Mapping[str, Field]
    refused: Mapping[str, str] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)

    def read(self, key: str) -> Array:
        """Return one array, in memory; HubError if the file has none of that name, or it is not plain."""
        if key in self.refused:
            raise HubError(f"{self.path}: '{key}' {self.refused[key]}", "save it as a plain array of numbers")
        if key not in self.fields:
            raise HubError(f"{self.path} has no array '{key}'", did_you_mean(key, self.fields), usage=True)
        self._check_size(key)
        try:
            return self.fields[key].read()
        except HubError:
            raise
        except NOT_WHOLE as error:
            raise _damaged(self.path, f"'{key}': {first_line(error)}") from error

    def _check_size(self, key: str) -> None:
        """Refuse an array so large that nothing of it can have been stored in its file: it would fill memory."""
        told = 4 * math.prod(self.fields[key].shape)
        held = self.path.stat().st_size if self.path.is_file() else math.inf
        if told > max(COMPRESSED_BYTES, MOST_PACKED * held):
            cause = f"{self.path}: '{key}' says {told / 1e9:.3g} GB, and the file has {held / 1e6:.3g} MB"
            raise HubError(cause, "save the array again: it is damaged, or holds next to nothing")

    def listing(self) -> str:
        """Return what the file holds, for messages: names and shapes, then what was refused."""
        held = [f"{key} ({some})" for key, some in self.fields.items()]
        return ", ".join([*held, *(f"{key} ({why})" for key, why in self.refused.items())]) or "nothing"


def open_arrays(path: Path | str) -> Foreign:
    """Open a .npz, .mat (v5 or v7.3), .safetensors or a folder of .npy; no array is read yet.

    MATLAB text and cells of text are text arrays. Raises HubError for another kind of file and for a damaged one.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise HubError(f"{path} does not exist", "check the path", usage=True)
    readers = {".npz": _npz, ".mat": _mat, ".safetensors": _safetensors}
    if path.suffix.lower() not in readers:
        kinds = f"{', '.join(ARRAYS)} or a folder of .npy"
        raise HubError(f"{path} is not a file of arrays that can be read", f"give {kinds}", usage=True)
    try:
        return readers[path.suffix.lower()](path)
    except NOT_WHOLE as error:
        raise _damaged(path, first_line(error)) from error


def read_table(path: Path | str) -> list[Row]:
    """Return the rows of a CSV, TSV or JSON table (a list of mappings, or a mapping of equally long lists).

    CSV values stay text; the delimiter is the one of comma, semicolon and tab that the first line has most of.
    Raises HubError for a file that is neither.
    """
    path = Path(path)
    text = _text(path)
    if path.suffix.lower() == ".json":
        return table_of(read_json(path), str(path))
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise HubError(f"{path} is not a table: {error}", "give one short value a cell") from error
    if not rows or not any(name.strip() for name in rows[0]):
        raise HubError(f"{path} has no header line", "name the columns in the first line", usage=True)
    names = [name.strip() for name in rows[0]]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise HubError(f"{path} has two columns '{twice[0]}'", "give every column its own name", usage=True)
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names):
            raise HubError(f"{path}, line {number}: {len(row)} cells for {len(names)} columns", "repair that line")
        found.append({name: cell.strip() for name, cell in zip(names, row, strict=True) if name})
    return found


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file; HubError if it is none."""
    try:
        return json.loads(_text(Path(path)))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise HubError(f"{path} is not JSON: {why}", "write it again") from error


def table_of(data: Any, where: str) -> list[Row]:
    """Return plain data as rows: a list of mappings, or a mapping of equally long lists; else HubError."""
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return [{str(key): value for key, value in row.items()} for row in data]
    if isinstance(data, dict) and data and all(isinstance(column, list) for column in data.values()):
        lengths = {len(column) for column in data.values()}
        if len(lengths) == 1:
            return [{str(key): column[n] for key, column in data.items()} for n in range(lengths.pop())]
    raise HubError(f"{where} is not a table", "give a list of mappings, or a mapping of equally long lists", usage=True)


def as_text(array: Array) -> list[str]:
    """Return an array of names, one a row: text as it is, whole numbers without a point."""
    flat = np.asarray(array).reshape(-1)
    if flat.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in flat]
    if flat.dtype.kind == "f" and np.isfinite(flat).all() and (flat == np.round(flat)).all():
        flat = flat.astype(np.int64)
    return [str(value) for value in flat]


def first_line(error: BaseException) -> str:
    """Return what an error says first, and not all that a file may have made it say."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HubError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    except OSError as error:
        raise HubError(f"{path} cannot be read: {error.strerror}", "check the path", usage=True) from error


def _damaged(path: Path, why: str) -> HubError:
    return HubError(f"{path} cannot be read: {why}", "the file is damaged: write or fetch it again")


class _Collected:
    """Fields and refusals while a file is looked through."""

    def __init__(self) -> None:
        self.fields: dict[str, Field] = {}
        self.refused: dict[str, str] = {}

    def add(self, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[], Array]) -> None:
        if dtype.kind == "O":
            self.refused[key] = "holds pickled Python objects, which are never loaded"
        elif dtype.kind not in NUMBERS + "US":
            self.refused[key] = f"holds {dtype}, not numbers or text"
        else:
            self.fields[key] = Field(tuple(int(n) for n in shape), dtype.kind in "US", read)


def _folder(path: Path) -> Foreign:
    found = _Collected()
    for file in sorted(path.glob("*.npy")):
        try:
            with file.open("rb") as handle:
                shape, dtype = _header(handle)
        except NOT_WHOLE as error:
            raise _damaged(file, first_line(error)) from error
        found.add(file.stem, shape, dtype, lambda file=file: np.load(file, allow_pickle=False))  # type: ignore[misc]
    if not found.fields and not found.refused:
        raise HubError(f"{path} holds no .npy file", "save predictions and targets there with numpy.save", usage=True)
    return Foreign(path, found.fields, found.refused)


def _npz(path: Path) -> Foreign:
    found = _Collected()
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                if member.compress_type != zipfile.ZIP_STORED and member.file_size > COMPRESSED_BYTES:
                    raise HubError(
                        f"{path}: '{member.filename}' is compressed and {member.file_size / 1e9:.3g} GB large",
                        "save it uncompressed, with numpy.savez",
                    )
                with archive.open(member) as handle:
                    shape, dtype = _header(handle)
                key = member.filename.removesuffix(".npy")
                found.add(key, shape, dtype, lambda key=key: np.load(path, allow_pickle=False)[key])  # type: ignore[misc]
    return Foreign(path, found.fields, found.refused)


def _header(handle: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an .npy without reading its values."""
    form: Any = np.lib.format
    version = form.read_magic(handle)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an .npy of format {version[0]}.{version[1]}, which holds no plain numbers")
    shape, _, dtype = (form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0)(handle)
    return shape, dtype


def _safetensors(path: Path) -> Foreign:
    from safetensors import SafetensorError, safe_open

    found = _Collected()
    known = {"F64": "f8", "F32": "f4", "F16": "f2", "BOOL": "?"}
    known |= {f"{sign}{8 * size}": f"{sign.lower()}{size}" for sign in "IU" for size in (1, 2, 4, 8)}

    def tensor(key: str) -> Array:
        with safe_open(path, "numpy") as opened:
            return opened.get_tensor(key)

    try:
        with safe_open(path, "numpy") as opened:
            info = json.loads((opened.metadata() or {}).get("info", "{}"))
            for key in opened.keys():  # noqa: SIM118 (not a mapping)
                part = opened.get_slice(key)
                dtype = known.get(part.get_dtype())
                if dtype is None:
                    found.refused[key] = f"holds {part.get_dtype()}, which numpy does not know"
                else:
                    found.add(key, tuple(part.get_shape()), np.dtype(dtype), lambda key=key: tensor(key))  # type: ignore[misc]
    except SafetensorError as error:
        raise _damaged(path, first_line(error)) from error
    return Foreign(path, found.fields, found.refused, info if isinstance(info, dict) else {})


def _mat(path: Path) -> Foreign:
    import scipy.io

    with path.open("rb") as handle:
        newer = b"HDF" in handle.read(1024)
    if newer:
        from braindecode_hub.matlab73 import open_mat73

        fields, refused = open_mat73(path)
        return Foreign(path, {key: Field(*some) for key, some in fields.items()}, refused)
    found = _Collected()
    try:
        listed = scipy.io.whosmat(path)
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise _damaged(path, first_line(error)) from error
    for key, shape, kind in listed:
        if kind in ("struct", "object", "function", "opaque", "sparse", "unknown"):
            found.refused[key] = f"is a MATLAB {kind}, which is not read"
        elif kind == "cell":
            found.fields[key] = Field(tuple(shape), True, lambda key=key: _cell(path, key))  # type: ignore[misc]
        else:
            read = lambda key=key: scipy.io.loadmat(path, variable_names=[key])[key]  # noqa: E731
            found.fields[key] = Field(tuple(shape), kind == "char", read)
    return Foreign(path, found.fields, found.refused)


def _cell(path: Path, key: str) -> Array:
    """Return a cell of text as a text array; HubError for a cell of anything else."""
    import scipy.io

    values = [np.asarray(value) for value in scipy.io.loadmat(path, variable_names=[key])[key].reshape(-1)]
    if any(value.dtype.kind != "U" or value.size > 1 for value in values):
        raise HubError(
            f"{path}: '{key}' is a MATLAB cell of arrays, which is not read",
            "save one numeric array: cell2mat, or cat(3, …)",
        )
    return np.array([str(value.reshape(-1)[0]) if value.size else "" for value in values])

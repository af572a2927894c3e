"""MATLAB v7.3 files, which are HDF5: numeric arrays and text, axes in MATLAB's order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array

Found = tuple[tuple[int, ...], bool, Callable[[], Array]]
"""The shape of an array as MATLAB shows it, whether it is text, and how it is read."""


def open_mat73(path: Path) -> tuple[dict[str, Found], dict[str, str]]:
    """Return the arrays of a v7.3 file by name, and what was refused and why: structs, objects, links. Needs h5py."""
    try:
        import h5py
    except ImportError as error:
        raise HubError(
            f"{path} is MATLAB v7.3, which needs h5py",
            "pip install 'braindecode-hub[io]', or save it with -v7",
        ) from error
    fields: dict[str, Found] = {}
    refused: dict[str, str] = {}
    with h5py.File(path, "r") as file:
        for key in file:
            if key.startswith("#"):
                continue  # MATLAB's own: what references point at
            if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                refused[key] = "is a link to elsewhere, which is not followed"
                continue
            node = file[key]
            kind = _kind(node)
            if not isinstance(node, h5py.Dataset) or kind in ("struct", "object", "function_handle"):
                refused[key] = f"is a MATLAB {kind or 'struct'}, which is not read"
            elif kind in ("char", "cell"):
                fields[key] = (tuple(node.shape[::-1]), True, partial(_text, path, key))
            elif node.dtype.kind in "biuf":
                fields[key] = (tuple(node.shape[::-1]), False, partial(_numbers, path, key))
            else:
                refused[key] = f"holds {node.dtype}, not numbers"
    return fields, refused


def _numbers(path: Path, key: str) -> Array:
    """Return an array with its axes as MATLAB shows them (HDF5 stores them in reverse)."""
    import h5py

    with h5py.File(path, "r") as file:
        if "MATLAB_empty" in file[key].attrs:
            return np.zeros(tuple(int(n) for n in file[key][()]))
        return np.asarray(file[key][()]).T


def _text(path: Path, key: str) -> Array:
    """Return text, or a cell of text, as a text array; HubError for a cell of anything else."""
    import h5py

    with h5py.File(path, "r") as file:
        node = file[key]
        if _kind(node) == "char":
            return np.array([_characters(node)])
        values = [file[reference] for reference in np.asarray(node[()]).T.reshape(-1)]
        if any(_kind(value) != "char" for value in values):
            raise HubError(
                f"{path}: '{key}' is a MATLAB cell of arrays, which is not read",
                "save one numeric array: cell2mat, or cat(3, …)",
            )
        return np.array([_characters(value) for value in values])


def _characters(node: Any) -> str:
    return "" if "MATLAB_empty" in node.attrs else "".join(map(chr, np.asarray(node[()]).reshape(-1)))


def _kind(node: Any) -> str:
    kind = node.attrs.get("MATLAB_class", b"")
    return kind.decode() if isinstance(kind, bytes) else str(kind)

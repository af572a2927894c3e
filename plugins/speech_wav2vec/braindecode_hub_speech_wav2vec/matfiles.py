"""MATLAB files up to version 7: structs as dictionaries, and long arrays that are read when they are sliced."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array


def load(path: Path, *names: str) -> dict[str, Any]:
    """Return variables of a .mat file by name, structs as dictionaries, cells as lists.

    Raises HubError for a file that is not there, is damaged, is version 7.3, or lacks one of `names`.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise HubError(f"{path} does not exist", "check that the data were downloaded whole")
    try:
        found: dict[str, Any] = loadmat(path, simplify_cells=True, variable_names=list(names))
    except NotImplementedError as error:
        raise HubError(f"{path} is MATLAB v7.3", "save it again with -v7, as it was published") from error
    except Exception as error:  # scipy raises what it likes on half a file
        raise HubError(f"{path} cannot be read: {_line(error)}", "download it again: it is damaged") from error
    for name in names:
        if name not in found:
            raise HubError(f"{path} has no variable '{name}'", "use the file as it was published")
    return found


def sizes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a file's variables by name, without reading them; HubError as `load` raises it."""
    from scipy.io import whosmat

    if not path.is_file():
        raise HubError(f"{path} does not exist", "check that the data were downloaded whole")
    try:
        return {name: tuple(shape) for name, shape, _ in whosmat(path)}
    except Exception as error:  # scipy raises what it likes on half a file
        raise HubError(f"{path} cannot be read: {_line(error)}", "download it again: it is damaged") from error


def field(struct: Any, name: str, where: Path) -> Any:
    """Return a field of a struct; HubError if it has none of that name, or is no struct."""
    if not isinstance(struct, dict) or name not in struct:
        raise HubError(f"{where} has no field '{name}'", "use the file as it was published")
    return struct[name]


def texts(value: Any) -> list[str]:
    """Return a cell of texts, one text, or an empty array, as a list of texts."""
    if isinstance(value, str):
        return [value] if value else []
    return [str(one) for one in np.atleast_1d(np.asarray(value, dtype=object)).ravel() if np.size(one)]


class MatSamples:
    """(channels, samples) float32 of a file, read by `read(path)` when sliced; the last file read is kept."""

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, path: Path, read: Any, shape: tuple[int, int]) -> None:
        self._path, self._read, self.shape = path, read, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise HubError(f"{self._path} cannot be read any more: {error.strerror}", "put it back") from error
        return _samples(self._read, self._path, stat.st_size, stat.st_mtime_ns)[key].copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


@lru_cache(maxsize=1)
def _samples(read: Any, path: Path, size: int, changed: int) -> Array:
    return np.ascontiguousarray(read(path), np.float32)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

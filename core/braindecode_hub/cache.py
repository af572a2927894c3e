"""Arrays that are computed once and kept: looked up by a description of what they are, read as memmaps.

An entry is one `.npy` file, named by the SHA-256 of its description and followed by a trailer that holds the
description and a checksum; numpy reads it like any other. It is written whole or not at all, so two
processes that want the same entry may both compute it: the last one stays.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from braindecode_hub.errors import HubError
from braindecode_hub.files import TEMPORARY, whole, writable_folder
from braindecode_hub.manifests import cache_folder

if TYPE_CHECKING:
    import numpy as np

Allocate = Callable[..., Any]
"""`allocate(shape, dtype="float32")` returns the zeroed, writable array that becomes the entry, on disk."""

Build = Callable[[Allocate], Any]
"""Computes an entry: fills what `allocate` gives it (and returns that, or None), or returns its own array."""

REMEDY = "set BRAINDECODE_HUB_CACHE to a folder that you may write to"

_MAGIC = b"bdhcache"
_BLOCK = 1 << 20
_BLOCKS = 256
_HOUR = 3600.0


def default_folder() -> Path:
    """Return BRAINDECODE_HUB_CACHE, or the place where this platform keeps caches (Linux: under ~/.cache)."""
    return cache_folder()


@dataclass(frozen=True)
class Entry:
    """One kept array: its description, its file, the bytes of that, the last use (seconds since 1970)."""

    key: dict[str, Any]
    path: Path
    bytes: int
    used: float


class Cache:
    """Arrays by description, in `folder`; with `folder` None they are kept in RAM (allocated ones above 64 MiB in
    nameless temporary files) while the cache lives.

    Above `limit_gb` (10⁹ bytes) the entries used longest ago are removed. Downloads live beside them, in
    `folder`/downloads, and do not count.
    """

    def __init__(self, folder: Path | None, limit_gb: float | None = None) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.limit_gb = limit_gb
        self._memory: dict[str, Any] = {}
        self._checked: set[tuple[int, ...]] = set()
        self._swept = False

    @staticmethod
    def key(**parts: Any) -> str:
        """Return the SHA-256 of `parts` as canonical JSON; raises HubError for what is not JSON-able."""
        return hashlib.sha256(_canonical(parts).encode()).hexdigest()

    def array(self, key: Mapping[str, Any], build: Build) -> np.ndarray:
        """Return the array described by `key`, read-only; `build` computes it unless it is there, undamaged.

        Raises HubError for a key that is not JSON-able, a folder that is not writable, a full disk.
        """
        text = _canonical(key)
        name = hashlib.sha256(text.encode()).hexdigest()
        if self.folder is None:
            if name not in self._memory:
                self._memory[name] = _in_memory(build)
            found: np.ndarray = self._memory[name]
            return found
        path = self.folder / "arrays" / name[:2] / f"{name}.npy"
        for _ in range(3):
            kept = self._read(path, text)
            if kept is not None:
                return kept
            self._write(path, text, build)
        raise HubError(f"{path} is removed or damaged as soon as it is written", REMEDY)

    def entries(self) -> list[Entry]:
        """Return what is kept on disk, that used longest ago first."""
        found = []
        for path in self._files("arrays", "*/[!.]*.npy"):
            with (
                contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError),
                path.open("rb") as handle,
            ):
                stat = os.fstat(handle.fileno())
                found.append(Entry(json.loads(_trailer(handle)["key"]), path, stat.st_size, stat.st_mtime))
        return sorted(found, key=lambda entry: (entry.used, entry.path))

    def size(self, *, downloads: bool = False) -> int:
        """Return the bytes on disk of the entries (unfinished and damaged ones too), or of the downloads."""
        total = 0
        for path in self._files("downloads" if downloads else "arrays", "**/*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def clear(self, older_than_days: float | None = None, *, downloads: bool = False) -> int:
        """Remove the entries (or the downloads) not used for so many days, or all; return the bytes removed.

        Unfinished files stay for an hour: another process may be writing them.
        """
        if not downloads and older_than_days is None:
            self._memory.clear()
        newest = math.inf if older_than_days is None else time.time() - 86400 * older_than_days
        freed = 0
        for path in self._files("downloads" if downloads else "arrays", "**/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                unfinished = any(part.startswith(TEMPORARY) for part in path.parts[-3:])
                if stat.st_mtime < (min(newest, time.time() - _HOUR) if unfinished else newest):
                    path.unlink()
                    freed += stat.st_size
        return freed

    def _files(self, part: str, pattern: str) -> Iterator[Path]:
        if self.folder is not None:
            yield from sorted(path for path in (self.folder / part).glob(pattern) if path.is_file())

    def _read(self, path: Path, text: str) -> np.ndarray | None:
        try:
            if path.is_symlink():  # it leads somewhere that this cache does not look after
                return None
            with path.open("rb") as handle:
                stat = os.fstat(handle.fileno())
                about = _trailer(handle)
                if about["key"] != text:
                    return None
                seen = (stat.st_dev, stat.st_ino, stat.st_size, about["crc32"])
                if seen not in self._checked and _checksum(handle, about["bytes"]) != about["crc32"]:
                    return None
                array = _mapped(handle, about["bytes"])
            self._checked.add(seen)
            with contextlib.suppress(OSError):
                os.utime(path)
            return array
        except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError, SyntaxError):
            return None

    def _write(self, path: Path, text: str, build: Build) -> None:
        writable_folder(path.parent, REMEDY)
        self._sweep()
        with whole(path) as temporary:
            _build_into(temporary, build)
            _seal(temporary, text)
        self._shrink(path)

    def _sweep(self) -> None:
        """Remove, once, what processes that were killed a day ago or earlier left unfinished."""
        if not self._swept:
            self._swept = True
            for path in self._files("arrays", f"*/{TEMPORARY}*"):
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < time.time() - 24 * _HOUR:
                        path.unlink()

    def _shrink(self, keep: Path) -> None:
        if self.limit_gb is None:
            return
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            if total <= self.limit_gb * 1e9:
                break
            if entry.path != keep:
                with contextlib.suppress(OSError):
                    entry.path.unlink()
                total -= entry.bytes


def _canonical(parts: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(parts), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        cause = f"a cache key must be plain JSON values: {error}"
        raise HubError(cause, "describe the array by numbers, text, lists and mappings") from error


def _made(build: Build, make: Callable[[tuple[int, ...], Any], Any]) -> tuple[Any, bool]:
    """Return the array that `build` makes, and whether it is the one that it allocated with `make`."""
    allocated: list[Any] = []

    def allocate(shape: tuple[int, ...], dtype: Any = "float32") -> Any:
        if allocated:
            raise RuntimeError("a cache entry is one array: allocate it once")
        allocated.append(make(shape, dtype))
        return allocated[0]

    made = build(allocate)
    if made is None:
        if not allocated:
            raise RuntimeError("build neither returned an array nor filled an allocated one")
        made = allocated[0]
    return made, bool(allocated) and made is allocated[0]


def _in_memory(build: Build) -> np.ndarray:
    import numpy as np

    from braindecode_hub.lazy import scratch

    made, own = _made(build, scratch)
    array: np.ndarray = made if own else np.array(made, order="C")
    array.flags.writeable = False
    return array


def _build_into(path: Path, build: Build) -> None:
    """Write what `build` makes to `path` as .npy, in C order."""
    import numpy as np

    made, own = _made(build, lambda shape, dtype: _allocate(path, shape, dtype))
    if own:
        made.flush()
        return
    made = np.asarray(made)
    other = path.with_name(path.name + "2")  # a second file: `made` may be a view of the first
    try:
        out = _allocate(other, made.shape, made.dtype)
        out[...] = made
        out.flush()
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)


def _allocate(path: Path, shape: tuple[int, ...], dtype: Any) -> np.memmap[Any, Any]:
    """Return a zeroed memmap whose space on disk is taken now: later, a full disk would kill the process."""
    import numpy as np

    form: Any = np.lib.format
    array: np.memmap[Any, Any] = form.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    size = path.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as handle:
            os.posix_fallocate(handle.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return array


def _seal(path: Path, text: str) -> None:
    """Append the trailer: JSON, its length (8 bytes), a mark (8 bytes)."""
    with path.open("rb+") as handle:
        size = handle.seek(0, os.SEEK_END)
        about = json.dumps({"key": text, "bytes": size, "crc32": _checksum(handle, size)}).encode()
        handle.seek(size)
        handle.write(about + struct.pack("<Q", len(about)) + _MAGIC)


def _trailer(handle: BinaryIO) -> dict[str, Any]:
    """Return the trailer of an entry; raises ValueError or OSError if there is none that fits."""
    end = handle.seek(-16, os.SEEK_END)
    length, mark = struct.unpack("<Q8s", handle.read(16))
    if mark != _MAGIC or length > end:
        raise ValueError("no trailer")
    handle.seek(end - length)
    about: dict[str, Any] = json.loads(handle.read(length))
    if about["bytes"] != end - length:
        raise ValueError("truncated")
    return about


def _checksum(handle: BinaryIO, size: int) -> int:
    """Return the CRC-32 of the first `size` bytes; above 256 MiB, of 256 blocks of 1 MiB spread over them."""
    blocks = -(-size // _BLOCK)
    value = 0
    for number in range(min(blocks, _BLOCKS)):
        start = _BLOCK * (number if blocks <= _BLOCKS else number * (blocks - 1) // (_BLOCKS - 1))
        handle.seek(start)
        value = zlib.crc32(handle.read(min(_BLOCK, size - start)), value)
    return value


def _mapped(handle: BinaryIO, size: int) -> np.ndarray:
    """Return the .npy array at the start of `handle`, read-only; it must fill exactly `size` bytes."""
    import numpy as np

    handle.seek(0)
    form: Any = np.lib.format
    read = form.read_array_header_1_0 if form.read_magic(handle) == (1, 0) else form.read_array_header_2_0
    shape, fortran, dtype = read(handle)
    if fortran or dtype.hasobject or handle.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError("not what was written")
    return np.memmap(handle, dtype=dtype, mode="r", offset=handle.tell(), shape=shape)

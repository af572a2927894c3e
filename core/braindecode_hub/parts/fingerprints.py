"""A file known by its size, its time of change and blocks spread over it, so that hours of recording hash at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

BLOCK = 1 << 16
BLOCKS = 64


def sampled_hash(path: Path) -> str:
    """Return the SHA-256 of up to 64 blocks of 64 KiB, the first and the last among them: all of a file below 4 MiB."""
    found = hashlib.sha256()
    size = path.stat().st_size
    blocks = -(-size // BLOCK)
    with path.open("rb") as handle:
        for number in range(min(blocks, BLOCKS)):
            handle.seek(BLOCK * (number if blocks <= BLOCKS else number * (blocks - 1) // (BLOCKS - 1)))
            found.update(handle.read(BLOCK))
    return found.hexdigest()


class Hashes:
    """Hashes of files by path, made again only where size or time of change are others than before."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int, str]] = {}

    def of(self, path: Path) -> list[str | int]:
        """Return name, size, time of change in ns, and the sampled hash of a file."""
        stat = path.stat()
        known = self._known.get(path)
        if known is None or known[:2] != (stat.st_size, stat.st_mtime_ns):
            known = self._known[path] = (stat.st_size, stat.st_mtime_ns, sampled_hash(path))
        return [path.name, *known]

    def all(self, paths: Iterable[Path]) -> list[list[str | int]]:
        """Return the same of several files, in order of path."""
        return [self.of(path) for path in sorted(set(paths))]

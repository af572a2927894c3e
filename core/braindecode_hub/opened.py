"""Which files a dataset reads, and which a fit opens: what a fit learns must come through its views alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from braindecode_hub.cache import Cache

CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".dylib")
SYSTEM = ("/proc", "/sys", "/dev", "/etc")
"""Files and folders that hold no data of anybody's."""


class Files:
    """Notes which files are opened while a dataset answers, and which while something is fitted or predicts.

    Only Python's own `open` is seen: libraries that open files in C are not.
    """

    def __init__(self) -> None:
        self._inside = self._fitting = False
        self._dataset: set[str] = set()
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._own: tuple[str, ...] = ()
        self._kept_arrays = "\0"
        sys.addaudithook(self._hook)

    def within(self, inside: bool) -> None:
        """Say that a call into the dataset begins or ends."""
        self._inside = inside

    def own(self, folder: Path, user: Cache) -> None:
        """Say where a fit may write, and where the user's own cache keeps what earlier runs prepared."""
        self._own = (str(folder), str(folder.resolve()))
        if user.folder is not None:
            self._kept_arrays = str((user.folder / "arrays").resolve())

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """What is opened in this block is opened by a fit or a prediction."""
        self._fitting = True
        try:
            yield
        finally:
            self._fitting = False

    def wrong(self) -> tuple[list[str], list[str]]:
        """Return the data files that fits opened, and the files that they wrote elsewhere and read again."""
        data = {path for path in self._read if path in self._dataset or path.startswith(self._kept_arrays)}
        return sorted(data), sorted(self._read & self._written)

    def _hook(self, event: str, given: tuple[Any, ...]) -> None:
        if event != "open" or not (self._inside or self._fitting) or not isinstance(given[0], str | bytes):
            return
        path = os.path.abspath(os.fsdecode(given[0]))
        if path.endswith(CODE) or path.startswith((*SYSTEM, *self._own)):
            return
        mode, flags = given[1] or "", given[2] or 0
        if self._inside:
            self._dataset.add(path)
        elif any(letter in mode for letter in "wax+") or flags & (os.O_WRONLY | os.O_RDWR):
            self._written.add(path)
        else:
            self._read.add(path)

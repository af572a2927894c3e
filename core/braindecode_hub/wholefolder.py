"""Folders that are written whole or not at all; one that a killed process left is swept away by whoever comes next."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from braindecode_hub.errors import HubError
from braindecode_hub.files import TEMPORARY, writable_folder, write_error

try:
    import fcntl
except ImportError:  # Windows: nothing is held, and nothing is swept
    fcntl = None  # type: ignore[assignment]

HELD = f"{TEMPORARY}held"
"""The file in an unfinished folder that its process holds; the system lets it go, however the process ends."""

_UNFINISHED = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{8}}-.")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if the block succeeds, and is removed if it fails.

    What killed processes left beside `path` is removed first. Raises HubError if `path` is there and not empty, if it
    cannot be written, or if the disk is full.
    """
    refuse_full(path)
    new = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    home = writable_folder(path.parent, "choose another folder: --out FOLDER")
    sweep(home)
    try:
        with _held_folder(home, path.name) as temporary:
            yield temporary
            if path.exists():
                path.rmdir()
            (temporary / HELD).unlink(missing_ok=True)
            temporary.rename(path)
    except OSError as error:
        named = Path(error.filename) if isinstance(error.filename, str | os.PathLike) else path
        inside = any(part.startswith(TEMPORARY) for part in named.parts)
        expected = write_error(error, path, *([named] if inside else []))
        if expected is None:
            raise
        raise expected from error
    finally:
        with suppress(OSError):  # not empty: it is done
            for folder in new:
                folder.rmdir()


def refuse_full(path: Path) -> None:
    """Raise HubError if `path` is anything but an empty folder, or one that is not there yet."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise HubError(f"{path} is there already, and not empty", "choose another folder: --out FOLDER", usage=True)


def new_folder(parent: Path) -> Path:
    """Return a path in `parent` named after the time in UTC, with a number where that second has one already."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    names = (stamp if number == 1 else f"{stamp}-{number}" for number in count(1))
    return next(parent / name for name in names if not (parent / name).exists())


def sweep(folder: Path) -> None:
    """Remove the unfinished folders in `folder` whose process has ended.

    One that is being written stays, and so does what `whole_folder` did not make. Where files cannot be locked nobody
    can tell, and nothing is removed.
    """
    for path in folder.glob(f"{TEMPORARY}*"):
        if not _UNFINISHED.match(path.name) or path.is_symlink():
            continue
        with suppress(OSError):
            handle = os.open(path / HELD, os.O_RDWR)
            try:
                if hold(handle):
                    shutil.rmtree(path)
            finally:
                os.close(handle)


def hold(handle: int) -> bool | None:
    """Hold an open file until it is closed or the process ends; False if another process does, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


@contextmanager
def _held_folder(home: Path, name: str) -> Iterator[Path]:
    """Yield a new folder for `name`, held until the block ends; what is left of it then is removed."""
    temporary, handle = _made(home, name)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _made(home: Path, name: str) -> tuple[Path, int | None]:
    while True:
        temporary = home / f"{TEMPORARY}{secrets.token_hex(4)}-{name}"
        temporary.mkdir()
        if fcntl is None:  # an open file in it would keep it from being renamed
            return temporary, None
        handle = os.open(temporary / HELD, os.O_RDWR | os.O_CREAT, 0o666)
        if hold(handle) is not False and os.fstat(handle).st_nlink:
            return temporary, handle
        os.close(handle)  # whoever swept came between making and holding it: try again

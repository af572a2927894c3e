"""A run folder that is being written: chosen, held against other processes, with its status and its events.

Whatever kills the process, the folder can be gone on with: files are whole, a torn last event is cut off, and what
was half written is swept away by whoever resumes; what another living process is writing there is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from braindecode_hub.errors import HubError
from braindecode_hub.files import TEMPORARY, writable_folder, write_error, write_whole
from braindecode_hub.privacy import Names
from braindecode_hub.types import Event
from braindecode_hub.wholefolder import hold, sweep

REMEDY = "choose another folder: --out FOLDER"

_TAIL = 1 << 16


class OpenRun:
    """The folder `path` of a run under way, this process's own until `close`.

    `names`: who took part, as far as the run knows; the status shows their codes. Raises HubError if another process
    holds the folder, if it cannot be written, or if the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.names = path, Names({}, ())
        events = path / "events.jsonl"
        try:
            self._events = os.open(events, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise HubError(f"{events} is not writable: {error.strerror}", REMEDY) from error
        try:
            self._hold()
            _cut_torn_line(self._events)
            self.status("running")
        except BaseException:
            os.close(self._events)
            raise

    def status(self, text: str) -> None:
        """Write how far the run is; on a full disk a failure is written in place of what the file holds."""
        path, line = self.path / "status", (self.names.text(text).replace("\n", " ") + "\n").encode()
        try:
            write_whole(path, line)
        except HubError:
            if not text.startswith(("failed", "interrupted")):
                raise
            with contextlib.suppress(OSError), path.open("rb+") as handle:
                handle.write(line)
                handle.truncate()

    def event(self, event: Event) -> None:
        """Append an event, less its bytes, to events.jsonl: a whole line or nothing."""
        plain = {key: value for key, value in event.items() if not isinstance(value, bytes)}
        line = (json.dumps({"time": round(time.time(), 3), **plain}, default=str) + "\n").encode()
        size = os.fstat(self._events).st_size
        try:
            if os.write(self._events, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._events, size)
            expected = write_error(error, self.path / "events.jsonl")
            if expected is None:
                raise
            raise expected from error

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._events)

    def _hold(self) -> None:
        held = hold(self._events)
        if held is False:
            raise HubError(f"{self.path} is being written by another process", "wait for it, or run without --resume")
        if held is None:  # no locks (as on Windows): nobody is kept from a folder that is in use, and nothing is swept
            return
        for parent, folders, names in os.walk(self.path):
            sweep(Path(parent))
            folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]  # a `predict` may be in there
            for name in names:
                if name.startswith(TEMPORARY):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(parent, name))


def open_run(config: Mapping[str, Any], out: Path, *, resume: bool) -> OpenRun:
    """Return a new run folder `out`/<pipeline>/<utc>-<hash8>, or the newest unfinished one of this configuration.

    Two processes that begin in the same second get two folders. What a killed `predict` left in `out` is removed.
    """
    home = writable_folder(out, REMEDY) / str(config["pipeline"])
    sweep(out)
    text = json.dumps(config, sort_keys=True, default=str)
    tail = hashlib.sha256(text.encode()).hexdigest()[:8]
    if resume:
        unfinished = [path for path in sorted(home.glob(f"*-{tail}")) if _status(path) != "done"]
        if unfinished:
            return OpenRun(unfinished[-1])
    path = _new_folder(home, tail)
    try:
        return OpenRun(path)
    except HubError:  # nothing stands in it yet
        with contextlib.suppress(OSError):
            (path / "events.jsonl").unlink(missing_ok=True)
            path.rmdir()
        raise


def _status(path: Path) -> str:
    """Return the status of a run folder; a run that was killed at once has none."""
    try:
        return (path / "status").read_text("utf-8").strip()
    except OSError:
        return ""


def _new_folder(home: Path, tail: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    path = home / f"{stamp}-{tail}"
    number = 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
            path = home / f"{stamp}.{number}-{tail}"
        except OSError as error:
            raise HubError(f"{home} is not writable: {error.strerror}", REMEDY) from error


def _cut_torn_line(handle: int) -> None:
    """Cut off what a killed process left behind the last whole line."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - _TAIL)
        os.lseek(handle, start, os.SEEK_SET)
        newline = os.read(handle, end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < os.fstat(handle).st_size:
        os.ftruncate(handle, end)

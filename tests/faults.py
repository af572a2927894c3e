"""A run that is killed, interrupted, or whose disk fills up, at one write after the other; a process of its own.

    python tests/faults.py kill|interrupt|full|pair FOLDER JSON

JSON: `options` of braindecode_hub.run, `only` (patterns of the files that are points; all by default), `every` (of the
cache's many entries, one in so many is a point), `imports` (modules that are imported once, too).

Everything is imported once. Each attempt is a fork that goes on (`resume`) where the last one ended, and fails at the
first file that no attempt before it has written; the last one ends by itself. Prints a JSON line for each attempt:
`point` (the file; null for the last), `digest` or `error`, `statuses` of the run folders, `left`: unfinished files.

kill: SIGKILL when the file is half written. interrupt: KeyboardInterrupt. full: from the moment the file is opened
there is no space left: for good, if FOLDER is a file system of its own, else as an error of whatever opens a file.
pair: two runs at the same time on one cache, undisturbed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import os
import re
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401 (imported once, before the forks)
import scipy.linalg
import scipy.signal  # noqa: F401

import braindecode_hub as bdh
from braindecode_hub import runner
from braindecode_hub.errors import HubError
from braindecode_hub.parts.ridge import Ridge

FILLER = "filler"


class Faults:
    """Strikes once, at the first file under `home` that is a point and not in `seen`."""

    def __init__(self, kind: str, home: Path, plan: dict[str, Any], seen: list[str], pipe: int) -> None:
        self.kind, self.home, self.seen, self.pipe = kind, home, seen, pipe
        self.only, self.every = plan.get("only", ["*"]), plan.get("every", 1)
        self.struck, self.mounted = False, os.path.ismount(home)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at what is opened and renamed (an audit hook): a file is written under another name, then renamed."""
        if event == "os.rename" and self.kind in ("kill", "interrupt") and not self.struck:
            self.at(Path(os.fsdecode(arguments[1])), Path(os.fsdecode(arguments[0])))
        elif event == "open" and self.kind == "full" and isinstance(arguments[0], str | os.PathLike):
            path, writes = Path(arguments[0]), (arguments[2] or 0) & (os.O_CREAT | os.O_TRUNC)
            if writes and self.home in path.parents:
                if self.struck and not self.mounted:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                final = re.sub(r"^\.tmp-[0-9a-f]{8}-|(?<=npy)2$", "", path.name)
                if not self.struck and final != path.name:
                    self.at(path.with_name(final), path)

    def at(self, final: Path, half: Path) -> None:
        """Strike if `final` is the next point; `half` is what it is written as."""
        if self.home not in final.parents or final.name.startswith(".tmp-"):
            return
        point = re.sub(r"^runs/[^/]+/[^/]+/", "", str(final.relative_to(self.home)))
        chosen = not point.startswith("cache") or int(final.stem[:4], 16) % self.every == 0
        if point in self.seen or not chosen or not any(fnmatch(point, pattern) for pattern in self.only):
            return
        self.struck = True
        os.write(self.pipe, json.dumps({"point": point}).encode() + b"\n")
        if self.kind == "kill":
            os.truncate(half, half.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "interrupt":
            raise KeyboardInterrupt
        if not self.mounted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(half))
        fill(self.home / FILLER)


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as handle:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while handle.write(b"x" * size) == size:
                    pass


def begin(kind: str, home: Path, plan: dict[str, Any], seen: list[str]) -> tuple[int, int]:
    """Fork a run; returns its process, and the end of a pipe that says what became of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.close(reading)
    sys.addaudithook(Faults(kind, home, plan, seen, writing).watch)
    told: dict[str, Any] = {}
    try:
        run = bdh.run("audio_seeg", out=home / "runs", resume=kind != "pair", jobs=1, **plan["options"])
        states = b"".join(path.read_bytes() for path in sorted(run.path.glob("fold-*/*.safetensors")))
        told["digest"] = run.metrics["digest"] if run.status == "done" else hashlib.sha256(states).hexdigest()
    except HubError as error:
        told["error"] = error.cause
    except BaseException as error:
        told["error"] = f"{type(error).__name__}: {error}"
    os.write(writing, json.dumps(told).encode() + b"\n")
    os._exit(0)


def end(child: int, reading: int, home: Path) -> dict[str, Any]:
    """Wait for a run, and return what it told and left."""
    found: dict[str, Any] = {"point": None}
    with os.fdopen(reading) as pipe:
        for line in pipe:
            found |= json.loads(line)
    os.waitpid(child, 0)
    (home / FILLER).unlink(missing_ok=True)
    folders = sorted(home.glob("runs/*/2*"))
    found["statuses"] = [(one / "status").read_text().strip() for one in folders if (one / "status").is_file()]
    found["left"] = [path.name for one in folders for path in one.rglob(".tmp-*")]
    return found


def main() -> None:
    """Attempt until nothing strikes any more."""
    kind, home, plan = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    os.environ["BRAINDECODE_HUB_CACHE"] = str(home / "cache")
    for name in plan.get("imports", []):
        importlib.import_module(name)
    Ridge.control_refits = 1
    runner.EXCERPT_S = 1.0
    if kind == "pair":
        for one in [begin(kind, home, plan, []) for _ in range(2)]:
            print(json.dumps(end(*one, home)), flush=True)
        return
    seen: list[str] = []
    while True:
        told = end(*begin(kind, home, plan, seen), home)
        print(json.dumps(told), flush=True)
        if told["point"] is None:
            return
        seen.append(told["point"])


if __name__ == "__main__":
    main()

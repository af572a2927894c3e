"""A place where hostile files are opened: what happens outside its folders, and what is run, does not stay unseen."""

from __future__ import annotations

import os
import pickle
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from braindecode_hub.cli import main

RUN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class")
"""What Python says of itself (audit events) when a file has code run, or a pickle looks for a name."""
SECONDS = 20.0
MEGABYTES = 400.0
WRITTEN = 1_000_000

_seen: list[str] | None = None


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if _seen is not None and event in RUN:
        _seen.append(f"{event} {given!r}")


sys.addaudithook(_hook)


class Evil:
    """Makes `canary` when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Evil(canary))


class Place:
    """A folder `inside` for hostile files, `out` for runs; everything else around them must stay as it is."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.inside, self.out, self.cache = folder / "inside", folder / "runs", folder / "cache"
        self.canary = folder / "canary"
        for path in (self.inside, self.out, self.cache, folder / "elsewhere"):
            path.mkdir()
        (folder / "elsewhere" / "secret.txt").write_text("a secret")

    def around(self) -> dict[str, bytes]:
        """Everything but what may be written: by path, its bytes (or where a link leads)."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if not {self.out, self.cache} & {path, *path.parents}:
                held = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
                found[str(path.relative_to(self.folder))] = held
        return found

    @contextmanager
    def harmless(self, *may_change: str) -> Iterator[None]:
        """Nothing is run in this block, nothing written but below `out` and `cache`, and little time and memory used.

        `may_change`: names in `inside`, of files that the command is there to write.
        """
        global _seen
        before, began, held = self.around(), time.process_time(), _peak()
        _seen = []
        try:
            yield
        finally:
            run, _seen = _seen, None
        after = self.around()
        allowed = tuple(f"inside/{name}" for name in may_change)
        assert run == []
        assert not self.canary.exists()
        assert {k: v for k, v in after.items() if not k.startswith(allowed or "\0")} == {
            k: v for k, v in before.items() if not k.startswith(allowed or "\0")
        }
        written = [path for top in (self.out, self.cache) for path in top.rglob("*") if path.is_file()]
        assert not any(path.is_symlink() for path in written)
        assert sum(path.stat().st_size for path in written) < WRITTEN
        assert time.process_time() - began < SECONDS
        assert _peak() - held < MEGABYTES

    def hub(self, *words: str) -> tuple[int, str, str]:
        """Run the command line; returns the exit code, stdout and stderr, in which nothing is left to obey."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(list(words))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        plain(out + err)
        return int(left.value.code or 0), out, err

    def refused(self, *words: str) -> str:
        """Run what must be refused; returns its one line of cause."""
        cause = self.answered(*words)
        assert cause is not None
        return cause

    def answered(self, *words: str) -> str | None:
        """Run what is refused in two lines, or done (None)."""
        code, _, err = self.hub(*words)
        if "Error: " not in err:
            assert code == 0 or words[0] == "audit"  # which exits with 1 where it finds a leak
            return None
        assert code in (1, 2)
        lines = err.splitlines()
        assert len([line for line in lines if line.startswith("Error: ")]) == 1, err
        assert lines[-2].startswith("Error: ")
        assert lines[-1].startswith("  Try: ")
        assert len(lines[-1]) > 10
        return lines[-2].removeprefix("Error: ")


def plain(text: str) -> None:
    """Check that text moves no cursor, turns no writing, and colours nothing."""
    for sign in text:
        assert sign.isprintable() or sign in "\n\t", ascii(sign)


def _peak() -> float:
    """Return the most memory that this process ever had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@pytest.fixture(name="place")
def a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    """A fresh place, in which the command line works with a cache of its own."""
    made = Place(tmp_path, capsys)
    monkeypatch.chdir(made.out)
    monkeypatch.setenv("BRAINDECODE_HUB_CACHE", str(made.cache))
    monkeypatch.delenv("BRAINDECODE_HUB_PLUGINS", raising=False)
    return made

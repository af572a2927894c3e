"""A folder is whole or not there, whatever ends its process; what a dead one left is swept, a living one's stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from braindecode_hub import wholefolder
from braindecode_hub.openrun import open_run
from braindecode_hub.wholefolder import HELD, hold, sweep, whole_folder

WRITER = """
import sys
from pathlib import Path
from braindecode_hub.wholefolder import whole_folder

with whole_folder(Path(sys.argv[1])) as folder:
    (folder / ".tmp-0.f4").write_bytes(b"half")
    print(folder, flush=True)
    sys.stdin.read()
"""

Writer = Callable[[Path], tuple[subprocess.Popen[str], Path]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the locks and signals of POSIX")


@pytest.fixture
def writer() -> Iterator[Writer]:
    """Start a process that is in the middle of writing a folder until its stdin ends; return both."""
    begun: list[subprocess.Popen[str]] = []

    def start(path: Path) -> tuple[subprocess.Popen[str], Path]:
        one = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        begun.append(one)
        assert one.stdout is not None
        return one, Path(one.stdout.readline().strip())

    yield start
    for one in begun:
        one.kill()
        one.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".tmp-*"))


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path, writer: Writer) -> None:
    dead, half = writer(tmp_path / "a")
    living, writing = writer(tmp_path / "b")
    kill(dead)
    assert half.is_dir()
    with whole_folder(tmp_path / "c") as folder:
        (folder / "whole.txt").write_text("whole")
        assert not half.exists()
        assert sorted(path.name for path in writing.iterdir()) == [".tmp-0.f4", HELD]
    living.communicate("")
    assert living.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
    assert [path.name for path in (tmp_path / "b").iterdir()] == [".tmp-0.f4"]
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["whole.txt"]


def test_resuming_a_run_sweeps_what_is_dead_in_it_and_touches_nothing_that_is_being_written(
    tmp_path: Path, writer: Writer
) -> None:
    run = open_run({"pipeline": "toy"}, tmp_path, resume=False)
    run.close()
    dead, half = writer(run.path / "predictions" / "1")
    living, writing = writer(run.path / "predictions" / "2")
    beside, third = writer(tmp_path / "decoded")
    kill(dead)
    kill(beside)
    (run.path / "fold-0").mkdir()
    (run.path / "fold-0" / ".tmp-0123abcd-01.state.safetensors").write_bytes(b"half")
    open_run({"pipeline": "toy"}, tmp_path, resume=True).close()
    assert not half.exists()
    assert not third.exists()
    assert left(tmp_path) == sorted([writing.name, ".tmp-0.f4", HELD])
    living.communicate("")
    assert (run.path / "predictions" / "2" / ".tmp-0.f4").read_bytes() == b"half"


def test_only_what_it_made_itself_is_swept(tmp_path: Path) -> None:
    for name in (".tmp-mine", ".tmp-0123abcd-x", ".tmp-0123abcdef-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept.txt").write_text("kept")
    (tmp_path / ".tmp-mine" / HELD).touch()
    (tmp_path / ".tmp-0123abcdef-x" / HELD).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / HELD).touch()
    (tmp_path / ".tmp-89abcdef-link").symlink_to(elsewhere, target_is_directory=True)
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / ".tmp-0123abcd-x" / HELD).touch()  # now it is one that nobody holds
    sweep(tmp_path)
    assert not (tmp_path / ".tmp-0123abcd-x").exists()


def test_a_folder_that_is_swept_between_making_and_holding_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = []

    def late(handle: int) -> bool | None:
        if not swept:
            monkeypatch.setattr(wholefolder, "hold", hold)
            swept.extend(tmp_path.glob(".tmp-*"))
            sweep(tmp_path)
        return hold(handle)

    monkeypatch.setattr(wholefolder, "hold", late)
    with whole_folder(tmp_path / "a") as folder:
        assert [folder] != swept
        (folder / "whole.txt").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_where_there_are_no_locks_nothing_is_swept(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, half = writer(tmp_path / "a")
    kill(dead)
    with monkeypatch.context() as changed:
        changed.setattr(wholefolder, "fcntl", None)
        with whole_folder(tmp_path / "b") as folder:
            (folder / "whole.txt").write_text("whole")
        assert half.exists()
        assert [path.name for path in (tmp_path / "b").iterdir()] == ["whole.txt"]
    sweep(tmp_path)
    assert not half.exists()

"""Whatever ends a run (SIGKILL, Ctrl-C, a full disk), `--resume` gives the same digest and no file is half written."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rights import held_by_modes
from toy import MovingAverage, Toy, toy_fold, toy_study

import braindecode_hub as bdh
from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays
from braindecode_hub.openrun import OpenRun, open_run
from braindecode_hub.privacy import Names

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, signals and mounts of Linux")

TINY: dict[str, Any] = {
    "dataset.contacts": 6,
    "dataset.shafts": 1,
    "dataset.stories": 2,
    "dataset.bads": 0,
    "dataset.rate": 512.0,
    "metrics": ["audio_seeg/mel_correlation"],
}
RIDGE = TINY | {"decoder.alphas": [1.0], "baseline.alphas": [1.0], "renderer.iterations": 1}
ATTENTION = TINY | {"decoder.max_epochs": 2, "decoder.examples": 1, "encoder.2.hidden": 8}


def attempts(kind: str, home: Path, **plan: Any) -> list[dict[str, Any]]:
    """Run tests/faults.py and return what it says of every attempt."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("faults.py")), kind, str(home), json.dumps(plan)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def smoke(sets: dict[str, Any] = RIDGE, **more: Any) -> dict[str, Any]:
    return {"preset": "smoke", "set": sets, **more}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that began together on one empty cache, and that nothing disturbed."""
    home = tmp_path_factory.mktemp("pair")
    one, other = attempts("pair", home, options=smoke())
    assert one["digest"] == other["digest"]
    assert other["statuses"] == ["done", "done"]  # a folder for each, though they began in the same second
    kept = Cache(home / "cache").entries()
    assert len(kept) > 20
    assert len(kept) == len(list((home / "cache").rglob("*.npy")))
    for entry in kept:
        Cache(home / "cache").array(entry.key, lambda allocate: pytest.fail("a broken entry"))
    return home


@pytest.fixture(scope="module")
def digest(finished: Path) -> str:
    """The digest of the undisturbed."""
    return str(json.loads(next(finished.glob("runs/*/2*/metrics.json")).read_text())["digest"])


def whole(home: Path) -> None:
    """Read every file of the only run under `home`."""
    [run] = home.glob("runs/*/2*")
    for path in run.rglob("*.safetensors"):
        load_arrays(path)
    for path in run.rglob("*.json"):
        json.loads(path.read_text())
    for line in (run / "events.jsonl").read_text().splitlines():
        json.loads(line)
    assert (run / "report.html").read_text().rstrip().endswith("</html>")
    assert not list(run.rglob(".tmp-*"))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of so many MB on `folder` if that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


# Killed


@linux
@pytest.mark.slow
def test_a_run_killed_while_it_writes_any_of_its_files_goes_on_to_the_same_digest(tmp_path: Path, digest: str) -> None:
    files = ["status", "*.yaml", "*.json", "*.state.safetensors", "predictions.safetensors", "details.safetensors"]
    files += ["artifacts/*000.vocoded*", "report.html", "cache/arrays/*"]
    told = attempts("kill", tmp_path, options=smoke(), only=files, every=12)
    points = [one["point"] for one in told[:-1]]
    assert all("error" not in one and "digest" not in one for one in told[:-1])
    assert told[-1]["digest"] == digest
    assert told[-1]["statuses"] == ["done"]
    assert {"config.yaml", "env.json", "made-of.json", "split.json", "status", "fold-0/01.state.safetensors"} <= set(
        points
    )
    assert {"predictions.safetensors", "details.safetensors", "metrics.json", "report.html"} <= set(points)
    assert {f"fold-0/controls/{kind}-000.json" for kind in ("shuffled", "relabelled", "noise")} <= set(points)
    assert sum(point.startswith("artifacts/") for point in points) == 1
    assert sum(point.startswith("cache/") for point in points) >= 2
    whole(tmp_path)


@linux
@pytest.mark.slow
def test_a_decoder_killed_in_any_part_of_its_checkpoint_learns_the_same(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    options = {"set": ATTENTION, "until": "fit"}
    for name in ("killed", "unbroken"):
        (tmp_path / name).mkdir()
    [unbroken] = attempts("kill", tmp_path / "unbroken", options=options, only=["nothing"], imports=["torch"])
    files = ["*checkpoints*", "*.state.safetensors"]
    told = attempts("kill", tmp_path / "killed", options=options, only=files, imports=["torch"])
    assert "error" not in unbroken
    points = [Path(one["point"]).name for one in told[:-1]]
    assert {"last.safetensors", "best.json", "01.state.safetensors"} <= set(points)
    assert sum(point.startswith("step-") for point in points) == 2
    assert told[-1]["digest"] == unbroken["digest"]
    ends = [next((tmp_path / name).rglob("checkpoints")) for name in ("killed", "unbroken")]
    assert len({(folder / "best.json").read_text() for folder in ends}) == 1
    assert len({tuple(sorted(path.name for path in folder.iterdir())) for folder in ends}) == 1


@pytest.mark.slow
def test_the_tool_that_kills_at_random_times_sees_damage(finished: Path, tmp_path: Path) -> None:
    """Its own judgement is tried here: a file of each kind is cut short, and it must say so."""
    tool = Path(__file__).parents[1] / "tools" / "kill_and_resume.py"
    home = tmp_path / "home"
    shutil.copytree(finished, home)
    [*_, spare] = sorted(home.glob("runs/*/2*"))
    shutil.rmtree(spare)
    tried = runpy.run_path(str(tool))
    assert tried["damaged"](home, finished=True) == []
    assert tried["digest"](home) == json.loads(next(home.glob("runs/*/2*/metrics.json")).read_text())["digest"]
    whole_files = {path.suffix: path for path in sorted(home.rglob("*")) if path.is_file()}
    cut = [whole_files[end] for end in (".safetensors", ".json", ".jsonl", ".yaml", ".html", ".flac", ".npy")]
    for path in cut:
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        [found] = tried["damaged"](home, finished=True)
        assert str(path) in found
        path.write_bytes(raw)
    (spare.parent / ".tmp-0123abcd-metrics.json").write_bytes(b"half")
    assert len(tried["damaged"](home, finished=True)) == 1
    assert tried["damaged"](home, finished=False) == []


@linux
def test_workers_end_when_the_process_that_wants_their_results_is_killed() -> None:
    code = """
from braindecode_hub.jobs import Job, run_local
if __name__ == "__main__":
    list(run_local([Job(str(n), "time:sleep", {}) for n in range(2)], "local", {"workers": 2}))
"""
    code = code.replace('"time:sleep", {}', '"test_resume:sleep", {"seconds": 60}')
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(code)
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        process = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": path})
        workers: list[int] = []
        until = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < until:
            time.sleep(0.2)
            workers = [pid for pid in children(process.pid) if b"spawn_main" in command_of(pid)]
        assert len(workers) == 2
        time.sleep(3)
        process.kill()
        process.wait()
        until = time.monotonic() + 20
        while any(b"spawn_main" in command_of(pid) for pid in workers) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(b"spawn_main" in command_of(pid) for pid in workers)


def sleep(*, seconds: float) -> None:
    time.sleep(seconds)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# Interrupted


@linux
@pytest.mark.slow
def test_an_interrupted_run_says_so_and_goes_on(tmp_path: Path, finished: Path) -> None:
    options = smoke(until="predict")
    told = attempts("interrupt", tmp_path, options=options, only=["*.state.safetensors", "predictions.safetensors"])
    assert len(told) == 3
    for one in told[:-1]:
        assert one["error"].startswith("KeyboardInterrupt")
        assert one["statuses"] == ["interrupted"]
        assert one["left"] == []
    assert told[-1]["statuses"] == ["predicted"]
    [run], undisturbed = tmp_path.glob("runs/*/2*"), next(finished.glob("runs/*/2*"))
    for name in ("fold-0/01.state.safetensors", "predictions.safetensors"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes()


# A full disk, and one that cannot be written


@linux
@pytest.mark.slow
def test_a_full_disk_is_one_clear_line_in_every_stage_and_the_run_goes_on_when_there_is_space(
    tmp_path: Path, digest: str
) -> None:
    files = ["status", "config.yaml", "split.json", "*.state.safetensors", "predictions.safetensors", "metrics.json"]
    files += ["*noise-000.json", "artifacts/*000.vocoded*", "cache/arrays/*"]
    nameless = Names({}, ())
    with small_disk(tmp_path, 96):
        told = attempts("full", tmp_path, options=smoke(), only=files, every=12)
        assert told[-1]["digest"] == digest
        assert told[-1]["statuses"] == ["done"]
        assert len(told) > 9
        for one in told[:-1]:
            assert one["error"].startswith("no space left to write "), one
            assert one["left"] == [], one
            if one["point"] != "status":  # that is the first file of all: its folder is taken away again
                assert one["statuses"] == [f"failed: {nameless.text(one['error'])}"], one
        whole(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    run = open_run({"pipeline": "toy"}, home, resume=False)
    run.close()
    for path in (home, home / "toy", run.path, run.path / "events.jsonl"):
        path.chmod(0o444 if path.is_file() else 0o555)
    before = sorted(home.rglob("*"))
    with held_by_modes():
        with pytest.raises(HubError, match="is not writable: Permission denied"):
            bdh.run("audio_seeg", preset="smoke", set=RIDGE, out=home)
        with pytest.raises(HubError, match="is not writable: Permission denied") as caught:
            OpenRun(run.path)
    assert "--out FOLDER" in caught.value.remedy
    assert sorted(home.rglob("*")) == before
    for path in (home, home / "toy", run.path):
        path.chmod(0o755)


# The folder of a run


def test_a_folder_is_one_process_s_own(tmp_path: Path) -> None:
    first = open_run({"pipeline": "toy"}, tmp_path, resume=False)
    second = open_run({"pipeline": "toy"}, tmp_path, resume=False)
    assert first.path != second.path
    if sys.platform != "win32":
        with pytest.raises(HubError, match="is being written by another process"):
            open_run({"pipeline": "toy"}, tmp_path, resume=True)
    second.close()
    first.close()
    again = open_run({"pipeline": "toy"}, tmp_path, resume=True)
    assert again.path == max(first.path, second.path)
    again.close()


def test_what_a_killed_process_left_is_cut_off_and_swept_away(tmp_path: Path) -> None:
    run = open_run({"pipeline": "toy"}, tmp_path, resume=False)
    for number in range(3):
        run.event({"kind": "note", "text": str(number), "png": b"not written"})
    run.close()
    with (run.path / "events.jsonl").open("a") as events:
        events.write('{"time": 1.0, "kind": "no')
    (run.path / "fold-0").mkdir()
    (run.path / "fold-0" / ".tmp-0123abcd-01.state.safetensors").write_bytes(b"half")
    again = open_run({"pipeline": "toy"}, tmp_path, resume=True)
    again.event({"kind": "note", "text": "3"})
    again.close()
    assert again.path == run.path
    told = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    assert [event["text"] for event in told] == ["0", "1", "2", "3"]
    assert not list(run.path.rglob(".tmp-*"))


def test_a_run_killed_before_its_first_file_is_gone_on_with(tmp_path: Path) -> None:
    run = open_run({"pipeline": "toy"}, tmp_path, resume=False)
    run.close()
    for path in run.path.iterdir():
        path.unlink()
    again = open_run({"pipeline": "toy"}, tmp_path, resume=True)
    again.close()
    assert again.path == run.path


@pytest.mark.parametrize(("part", "what"), [("phantom:Phantom", "the data"), ("highgamma:HighGamma", "the software")])
def test_a_run_is_not_gone_on_with_on_other_data_or_other_software(
    part: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module, name = part.split(":")
    options: dict[str, Any] = {**smoke(), "out": tmp_path, "until": "prepare"}
    begun = bdh.run("audio_seeg", **options)
    assert bdh.run("audio_seeg", resume=True, **options).path == begun.path
    found = getattr(importlib.import_module(f"braindecode_hub_audio_seeg.{module}"), name)
    monkeypatch.setattr(found, "version", "another")
    with pytest.raises(HubError, match=f"{what} changed since"):
        bdh.run("audio_seeg", resume=True, **options)
    assert begun.status.startswith(f"failed: {what} changed")


# The cache under a study


@pytest.mark.parametrize("change", ["version", "parameter", "data", "damage", "nothing"])
def test_a_stale_or_damaged_entry_is_never_used(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def view(half_s: float = 0.05, seed: int = 0, cache: Cache | None = None) -> Any:
        study = toy_study(Toy(seconds=8.0, seed=seed), encoder=[MovingAverage(half_s=half_s)], cache=cache)
        return study.view(toy_fold(study), "train")

    view(cache=Cache(tmp_path))
    known = len(Cache(tmp_path).entries())
    calls, changed = MovingAverage.calls, {}
    if change == "version":
        monkeypatch.setattr(MovingAverage, "version", "2")
    elif change == "parameter":
        changed = {"half_s": 0.08}
    elif change == "data":
        changed = {"seed": 1}
    elif change == "damage":
        for entry in Cache(tmp_path).entries():
            raw = bytearray(entry.path.read_bytes())
            raw[len(raw) // 2] ^= 1
            entry.path.write_bytes(raw[: len(raw) if known % 2 else -7])
    again = view(cache=Cache(tmp_path), **changed)
    assert (MovingAverage.calls > calls) == (change != "nothing")
    fresh = view(**changed)
    for one, other in zip(again.batches(8), fresh.batches(8), strict=True):
        np.testing.assert_array_equal(one.brain, other.brain)
        np.testing.assert_array_equal(one.target["features"], other.target["features"])


def test_unfinished_entries_of_yesterday_are_swept_away_and_those_of_now_are_not(tmp_path: Path) -> None:
    old, new = tmp_path / "arrays" / "ab" / ".tmp-00000000-x.npy", tmp_path / "arrays" / "ab" / ".tmp-11111111-x.npy"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    Cache(tmp_path).array({"a": 1}, lambda allocate: np.zeros(3))
    assert new.exists()
    assert not old.exists()

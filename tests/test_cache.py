"""What is computed once is kept, and nothing stale, torn or damaged is ever given out."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindecode_hub import cache as cache_module
from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.errors import HubError

KEY = {"component": "core/test", "version": "1", "low": 70.0, "stretch": ["r1", 0, 1000]}


class Counted:
    """A build that says how often it ran."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.times = 0

    def __call__(self, allocate: Callable[..., Any]) -> Any:
        self.times += 1
        return self.array


def entry(folder: Path) -> Path:
    (path,) = folder.glob("arrays/*/*.npy")
    return path


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("folder", ["disk", None])
def test_an_array_is_computed_once_and_cannot_be_changed(tmp_path: Path, folder: str | None) -> None:
    cache = Cache(tmp_path / folder if folder else None)
    build = Counted(np.arange(12.0).reshape(3, 4))
    for _ in range(3):
        found = cache.array(KEY, build)
        np.testing.assert_array_equal(found, build.array)
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0] = 1.0
    assert build.times == 1
    assert (len(files(tmp_path)) == 1) == (folder is not None)


def test_another_process_finds_it(tmp_path: Path) -> None:
    Cache(tmp_path).array(KEY, Counted(np.ones(3)))
    build = Counted(np.zeros(3))
    np.testing.assert_array_equal(Cache(tmp_path).array(KEY, build), np.ones(3))
    assert build.times == 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4), "float32"),
        np.asarray(3.5),
        np.arange(6).reshape(2, 3).T,
        np.array([1 + 2j], "complex64"),
        np.arange(3, dtype=">i2"),
        np.array(["ab", "c"]),
    ],
)
def test_any_shape_and_number_comes_back(tmp_path: Path, array: np.ndarray) -> None:
    for found in (Cache(tmp_path).array(KEY, Counted(array)), Cache(tmp_path).array(KEY, Counted(None))):
        assert found.shape == array.shape
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("returns", ["nothing", "itself", "a view of it"])
@pytest.mark.parametrize("folder", ["disk", None])
def test_a_large_entry_is_filled_on_disk(tmp_path: Path, returns: str, folder: str | None) -> None:
    kinds = []

    def build(allocate: Callable[..., Any]) -> Any:
        out = allocate((4, 100), "float32")
        kinds.append(type(out))
        assert not out.any()
        for row in range(4):
            out[row] = row
        return {"nothing": None, "itself": out, "a view of it": out[:2]}[returns]

    found = Cache(tmp_path / folder if folder else None).array(KEY, build)
    assert found.shape == ((2, 100) if returns == "a view of it" else (4, 100))
    np.testing.assert_array_equal(found[:, 7], np.arange(len(found)))
    assert kinds == [np.memmap if folder else np.ndarray]


def test_numpy_reads_an_entry_by_itself(tmp_path: Path) -> None:
    Cache(tmp_path).array(KEY, Counted(np.arange(5)))
    np.testing.assert_array_equal(np.load(entry(tmp_path)), np.arange(5))


@pytest.mark.parametrize("change", [{"low": 65.0}, {"version": "2"}, {"stretch": ["r1", 0, 1001]}, {"new": None}])
def test_another_description_is_another_entry(tmp_path: Path, change: dict[str, Any]) -> None:
    cache = Cache(tmp_path)
    cache.array(KEY, Counted(np.zeros(2)))
    np.testing.assert_array_equal(cache.array({**KEY, **change}, Counted(np.ones(2))), np.ones(2))
    assert len(cache.entries()) == 2


def test_the_order_of_a_description_does_not_matter() -> None:
    assert Cache.key(a=1, b=[1, 2]) == Cache.key(b=(1, 2), a=1) != Cache.key(a=1.5, b=[1, 2])


@pytest.mark.parametrize("value", [{1}, np.float32(1), float("nan"), b"x", Path("x"), object])
def test_a_key_must_be_plain(tmp_path: Path, value: Any) -> None:
    with pytest.raises(HubError, match="plain JSON"):
        Cache.key(value=value)
    with pytest.raises(HubError, match="plain JSON"):
        Cache(tmp_path).array({"value": value}, Counted(np.ones(1)))


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"",
        lambda raw: raw[:100],
        lambda raw: raw[:-1],
        lambda raw: raw[:-16],
        lambda raw: raw[128:],
        lambda raw: flip(raw, 10),
        lambda raw: flip(raw, 200),
        lambda raw: flip(raw, len(raw) - 30),
        lambda raw: raw + raw[-16:],
        lambda raw: os.urandom(len(raw)),
        lambda raw: raw.replace(b"core/test", b"core/rest"),
    ],
    ids=[
        "empty",
        "half",
        "cut",
        "no-trailer",
        "no-header",
        "header",
        "data",
        "trailer",
        "longer",
        "noise",
        "other-key",
    ],
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    Cache(tmp_path).array(KEY, Counted(np.arange(500.0)))
    path = entry(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    build = Counted(np.arange(500.0))
    np.testing.assert_array_equal(Cache(tmp_path).array(KEY, build), build.array)
    assert build.times == 1
    again = Counted(None)
    Cache(tmp_path).array(KEY, again)
    assert again.times == 0


def test_an_entry_under_a_wrong_name_is_not_used(tmp_path: Path) -> None:
    """A whole, valid entry of another description, put where ours should be."""
    cache = Cache(tmp_path)
    cache.array({**KEY, "low": 1.0}, Counted(np.zeros(3)))
    stale = entry(tmp_path).read_bytes()
    cache.clear()
    cache.array(KEY, Counted(np.ones(3)))
    entry(tmp_path).write_bytes(stale)
    np.testing.assert_array_equal(Cache(tmp_path).array(KEY, Counted(np.ones(3))), np.ones(3))


def test_damage_is_found_in_large_entries_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_BLOCK", 64)
    monkeypatch.setattr(cache_module, "_BLOCKS", 8)
    Cache(tmp_path).array(KEY, Counted(np.arange(5000.0)))
    assert Cache(tmp_path).array(KEY, Counted(None))[4999] == 4999
    path = entry(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[128 + 8 * 5000 - 1] ^= 1  # the last byte of the data: always in a sampled block
    path.write_bytes(raw)
    build = Counted(np.arange(5000.0))
    Cache(tmp_path).array(KEY, build)
    assert build.times == 1


def slow(folder: str, value: float, started: Any, results: Any) -> None:
    """Fill the entry row by row, waiting for the other process to be at it too."""

    def build(allocate: Callable[..., Any]) -> None:
        out = allocate((50, 2000), "float64")
        started.wait(20)
        for row in range(50):
            out[row] = value
            time.sleep(0.002)

    found = Cache(Path(folder)).array(KEY, build)
    results.put((value, bool((found == found[0, 0]).all())))


def test_two_processes_may_make_the_same_entry(tmp_path: Path) -> None:
    context: Any = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    started, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=slow, args=(str(tmp_path), value, started, results)) for value in (1.0, 2.0)]
    for worker in workers:
        worker.start()
    whole = [results.get(timeout=20) for _ in workers]
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert sorted(whole) == [(1.0, True), (2.0, True)]
    build = Counted(None)
    found = Cache(tmp_path).array(KEY, build)
    assert build.times == 0
    assert float(found[0, 0]) in (1.0, 2.0)
    assert (found == found[0, 0]).all()
    assert len(files(tmp_path)) == 1


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(allocate: Callable[..., Any]) -> None:
        allocate((10, 10))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cache(tmp_path).array(KEY, build)
    assert files(tmp_path) == []


@pytest.mark.parametrize("folder", ["disk", None])
def test_a_build_that_makes_nothing_is_a_bug(tmp_path: Path, folder: str | None) -> None:
    cache = Cache(tmp_path / folder if folder else None)
    with pytest.raises(RuntimeError, match="neither"):
        cache.array(KEY, lambda allocate: None)
    with pytest.raises(RuntimeError, match="once"):
        cache.array(KEY, lambda allocate: (allocate((2,)), allocate((3,)))[1])
    assert files(tmp_path) == []


def test_objects_are_not_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="object"):
        Cache(tmp_path).array(KEY, Counted(np.array([{}])))
    assert files(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
@pytest.mark.parametrize("way", ["allocate((1000, 1000))", "np.ones((1000, 1000))"])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, way: str) -> None:
    """A real limit per file, in a process of its own: without reserved space a memmap would kill it."""
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
def build(allocate):
    out = {way}
    out[...] = 1
    return out
try:
    Cache(Path(sys.argv[1])).array({{"a": 1}}, build)
except HubError as error:
    print(error.cause)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("no space left to write")
    assert ".tmp-" not in done.stdout
    assert files(tmp_path) == []


def test_no_space_at_all_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(HubError, match="no space left"):
        Cache(tmp_path).array(KEY, Counted(np.ones(3)))
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_used_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    build = Counted(np.ones(3))
    with pytest.raises(HubError) as caught:
        Cache(tmp_path / "file").array(KEY, build)
    assert "BRAINDECODE_HUB_CACHE" in caught.value.remedy
    assert build.times == 0


def test_what_is_kept_can_be_listed_measured_and_cleared(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for number in range(3):
        cache.array({"n": number}, Counted(np.full(1000, number)))
    old = cache.entries()[0]
    os.utime(old.path, (0, time.time() - 10 * 86400))
    entries = cache.entries()
    assert entries[0].key == old.key
    assert len(entries) == 3
    assert cache.size() == sum(item.bytes for item in entries) > 3 * 8000
    assert cache.clear(older_than_days=9) == old.bytes
    assert old.key not in [item.key for item in cache.entries()]
    cache.clear()
    assert cache.entries() == []
    assert cache.size() == 0


def test_clearing_leaves_downloads_and_files_that_are_being_written(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.array(KEY, Counted(np.ones(3)))
    for name in ("downloads/ab/abc/file", "arrays/ab/.tmp-1-x.npy", "arrays/ab/.tmp-2-x.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    os.utime(tmp_path / "arrays/ab/.tmp-2-x.npy", (0, 0))
    cache.clear()
    assert {path.name for path in files(tmp_path)} == {"file", ".tmp-1-x.npy"}
    assert cache.size(downloads=True) == 4 == cache.clear(downloads=True)
    assert {path.name for path in files(tmp_path)} == {".tmp-1-x.npy"}


def test_the_limit_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_gb=3.5e-5)  # three entries of 10 kB and a bit
    for number in range(3):
        cache.array({"n": number}, Counted(np.full(1250, number)))
        os.utime(cache.entries()[-1].path, (0, time.time() - 100 + number))
    cache.array({"n": 0}, Counted(None))  # used again: now the newest
    cache.array({"n": 3}, Counted(np.zeros(1250)))
    assert sorted(item.key["n"] for item in cache.entries()) == [0, 2, 3]
    big = cache.array({"n": 4}, Counted(np.ones(100_000)))
    assert big.sum() == 100_000
    assert [item.key["n"] for item in cache.entries()] == [4]


def test_an_array_in_use_outlives_its_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    found = cache.array(KEY, Counted(np.arange(10_000)))
    cache.clear()
    assert found.sum() == 49_995_000


def test_the_default_place_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRAINDECODE_HUB_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.setenv("BRAINDECODE_HUB_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform.startswith("linux"):
        assert default_folder() == tmp_path / "xdg" / "braindecode-hub"
    assert default_folder().is_absolute()


def test_a_cache_travels_to_workers(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_gb=1.0)
    cache.array(KEY, Counted(np.ones(2)))
    there = pickle.loads(pickle.dumps(cache))
    assert (there.folder, there.limit_gb) == (tmp_path, 1.0)
    assert there.array(KEY, Counted(None)).sum() == 2


def test_numpy_is_not_loaded_with_the_module() -> None:
    code = (
        "import sys, braindecode_hub.cache, braindecode_hub.files, braindecode_hub.fetchers;"
        "print(sorted({'numpy', 'pooch', 'requests', 'yaml', 'safetensors', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_cache_that_is_removed_while_it_is_written_is_named(tmp_path: Path) -> None:
    def build(allocate: Any) -> Any:
        shutil.rmtree(tmp_path / "kept")
        return allocate((3,), "float32")

    with pytest.raises(HubError, match="was removed while"):
        Cache(tmp_path / "kept").array({"what": 1}, build)

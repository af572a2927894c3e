"""Long recordings need no more memory than short ones, and lazy arrays are what they stand for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import MovingAverage, Toy

from braindecode_hub import lazy, stretches
from braindecode_hub.cache import Cache
from braindecode_hub.lazy import Clipped, Joined, blocks, give_back, mean, scratch
from braindecode_hub.stretches import Stretch, prepare_brain, prepare_stimulus
from braindecode_hub.types import Array, Recording, Signal, Space
from braindecode_hub_audio_seeg.mel import Mel

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/smaps_rollup")


@linux
@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording() -> None:
    """Anonymous memory of 60 minutes against 5: at most 1.1 times as much, in everything up to the fit."""
    peaks = []
    for minutes in (5.0, 60.0):
        with tempfile.TemporaryDirectory() as place:
            code = f"import memory; from pathlib import Path; memory.make(Path({place!r}), {minutes}, 8, 128.0, 8)"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=BENCHMARKS)
            command = [sys.executable, "memory.py", "--measure", place, "--rate", "128"]
            stages = ["--stages", "prepare", "batches", "fit"]
            done = subprocess.run([*command, *stages], check=True, cwd=BENCHMARKS, capture_output=True, text=True)
            peaks.append({stage: told[0] for stage, told in json.loads(done.stdout).items()})
    short, long = peaks
    for stage in ("prepare", "batches", "fit"):
        assert long[stage] <= 1.1 * short[stage], (stage, peaks)


@given(st.data())
def test_clipped_repeats_the_edges(data: st.DataObject) -> None:
    x = np.arange(data.draw(st.integers(1, 12)) * 2, dtype=np.float32).reshape(-1, 2)
    first, count = data.draw(st.integers(-20, 20)), data.draw(st.integers(0, 20))
    expected = x[np.clip(np.arange(first, first + count), 0, len(x) - 1)]
    found = Clipped(x, first, count)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(found), expected)
    low, high = data.draw(st.integers(0, 25)), data.draw(st.integers(0, 25))
    np.testing.assert_array_equal(found[low:high], expected[low:high])
    np.testing.assert_array_equal(found[low:high:2], expected[low:high:2])


@given(st.data())
def test_joined_is_what_was_joined_and_rolled(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    whole = np.arange(3.0 * sum(lengths), dtype=np.float32).reshape(-1, 3)
    parts = np.split(whole, np.cumsum(lengths)[:-1])
    shift = data.draw(st.integers(-40, 40))
    rolled, found = np.roll(whole, shift, axis=0), Joined(parts, shift)
    assert (len(found), found.shape, found.dtype) == (len(whole), whole.shape, whole.dtype)
    np.testing.assert_array_equal(np.asarray(found), rolled)
    low, high = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
    np.testing.assert_array_equal(found[low:high], rolled[low:high])
    if low < len(whole):
        expected = rolled[np.clip(np.arange(low, low + 3), 0, len(whole) - 1)]
        np.testing.assert_array_equal(Clipped(found, low, 3)[:3], expected)


def test_long_arrays_are_walked_through_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "BLOCK", 4096)
    x = np.random.default_rng(0).standard_normal((10_000, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    joined = Joined([mapped[:4000], np.asarray(mapped)[4000:]])
    pieces = list(blocks(joined))
    assert max(piece.nbytes for piece in pieces) <= 4096
    np.testing.assert_array_equal(np.concatenate(pieces), x)
    np.testing.assert_allclose(mean(joined), x.mean(axis=0, dtype=np.float64), rtol=1e-12, atol=1e-12)
    give_back([joined, mapped.T, x])
    np.testing.assert_array_equal(mapped, x)


@linux
def test_what_is_given_back_no_longer_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(4_000_000, np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    view = np.asarray(mapped)[10:]
    assert view.sum() == 3_999_990
    before = resident(tmp_path / "x.npy")
    give_back([view])
    assert before > 15_000_000
    assert resident(tmp_path / "x.npy") < 100_000
    assert view.sum() == 3_999_990


def resident(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    text = Path("/proc/self/smaps").read_text()
    part = text[text.index(str(path)) :]
    return 1024 * int(part[part.index("Rss:") :].split()[1])


def test_a_large_scratch_array_lies_in_a_file_and_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isinstance(scratch((3, 4)), np.memmap)
    monkeypatch.setattr(lazy, "LARGE", 1000)
    large = scratch((30, 40), np.float64)
    assert isinstance(large, np.memmap)
    assert not large.any()
    large[3] = 1.0
    assert large.sum() == 40.0


class Counted:
    """An array that says how much of it was asked for at once."""

    def __init__(self, data: Array) -> None:
        self._data, self.shape, self.longest = data, data.shape, 0

    def __getitem__(self, key: Any) -> Array:
        part = self._data[key]
        self.longest = max(self.longest, max(part.shape))
        return part


@pytest.mark.parametrize("rate", [100.0, 22050 / 256, 1024.0, 44100.0, 1017.25, 48000 / 1001])
def test_chunks_hold_whole_samples_and_frames(rate: float) -> None:
    for out_rate in (rate, 100.0, 22050 / 256):
        samples = int(600 * rate)
        plan = stretches._Plan([], rate, out_rate, samples)
        assert plan.chunks[0][0] == 0 and plan.chunks[-1][1] == samples
        for low, _ in plan.chunks[1:]:
            frames = low / rate * out_rate
            assert abs(frames - round(frames)) < 1e-3
        unit = Fraction(out_rate / rate).limit_denominator(1_000_000).denominator
        shortest = math.ceil(int(60 * rate) / unit) * unit  # no chunk is longer than a minute of whole frames must be
        expected = {shortest} if samples > 2 * shortest else set()
        assert {high - low for low, high in plan.chunks[:-1]} == expected


def test_a_long_recording_is_encoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "CHUNK_S", 2.0)
    dataset, samples = Toy(), 3333
    x = Counted(np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32))
    recording = Recording("r", "s", "1", Signal(x, 100.0, "toy"))
    found = prepare_brain(dataset, [MovingAverage()], Stretch("r", 0.0, 33.33), Cache(None), recording)
    assert x.longest < 500
    monkeypatch.setattr(stretches, "CHUNK_S", 60.0)
    whole = prepare_brain(dataset, [MovingAverage()], Stretch("r", 0.0, 33.33), Cache(None), recording)
    assert x.longest == samples
    np.testing.assert_allclose(found.data, whole.data, atol=1e-6)


@pytest.mark.parametrize(("rate", "most_s"), [(22050.0, 10), (44100.0, 10), (16000.0, 16)])
def test_a_long_sound_becomes_mel_in_pieces(rate: float, most_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = Counted(np.random.default_rng(0).standard_normal(int(20.3 * rate)).astype(np.float32) / 10)

    class Heard(Toy):
        def stimulus(self, id: str, space: Space) -> Signal:
            return Signal(x, rate, "audio")

    audio = Space("audio", ("time",), "*")
    whole = prepare_stimulus(Heard(), audio, [Mel()], Stretch("s", 3.0, 20.0), Cache(None))
    assert x.longest > 16 * rate
    x.longest = 0
    monkeypatch.setattr(stretches, "CHUNK_S", 2.0)
    pieces = prepare_stimulus(Heard(), audio, [Mel()], Stretch("s", 3.0, 20.0), Cache(None))
    assert x.longest < most_s * rate
    assert (pieces.rate, pieces.origin) == (whole.rate, whole.origin)
    np.testing.assert_allclose(pieces.data, whole.data, atol=1e-4)

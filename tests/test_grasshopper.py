"""A locust's auditory receptor: files read to the microsecond, and the one real signal that a test can decode."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal

import braindecode_hub as bdh
from braindecode_hub.errors import HubError
from braindecode_hub.runfolder import Run
from braindecode_hub.runner import context
from braindecode_hub.types import Context, Space
from braindecode_hub_audio_seeg.grasshopper import MEMBERS, Grasshopper, amplitudes, spike_times

ENVELOPE = Space("envelope", ("time", 1), 1000.0)
HEADER = "# repro call number: 0\n# carrier freq (kHz): 2.5\n\n"


def modulation(seed: int, cutoff: float) -> np.ndarray:
    """Gaussian modulation in dB, mean -18, SD 6, clipped to [-36, 0], as amplitude (200000,) at 20 kHz."""
    low = scipy.signal.butter(4, cutoff, fs=20000, output="sos")
    noise = scipy.signal.sosfilt(low, np.random.default_rng(seed).standard_normal(200_000))
    return np.asarray(10 ** (np.clip(-18 + 6 * noise / noise.std(), -36, 0) / 20))


def spikes(amplitude: np.ndarray, seed: int) -> np.ndarray:
    """Spikes of a leaky integrator 6 ms late, about 90 a second: times in microseconds."""
    drive = scipy.signal.lfilter([0.05], [1, -0.95], amplitude**0.5)
    level = drive + 0.05 * np.random.default_rng(seed).standard_normal(len(drive))
    found, last = [], -1e9
    for sample in np.flatnonzero(level > np.quantile(level, 0.93)):
        if sample - last > 80 and sample + 120 < len(drive):
            found.append(round((sample + 120) * 50))
            last = sample
    return np.array(found)


def write(folder: Path, heard_seed: int) -> dict[str, Path]:
    """Write the four files in nitime's layout; the receptor heard what `heard_seed` made."""
    files = {name: folder / name for name in MEMBERS}
    for number, cutoff in (("1", 200.0), ("2", 800.0)):
        amplitude = modulation(int(number), cutoff)
        times = spikes(modulation(heard_seed + int(number), cutoff), 7)
        rows = "\n".join(f"{50 * n}  {value:.6g}" for n, value in enumerate(amplitude))
        files[f"grasshopper_stimulus{number}.txt"].write_text(rows + "\n")
        files[f"grasshopper_spike_times{number}.txt"].write_text(HEADER + "\n".join(map(str, times)) + "\n\n")
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write(tmp_path_factory.mktemp("grasshopper"), 0)


def read(files: dict[str, Path], **parameters: Any) -> Grasshopper:
    dataset = Grasshopper(**parameters)
    dataset.read(files)
    return dataset


def test_every_spike_is_counted_in_its_frame(files: dict[str, Path]) -> None:
    times = spike_times(files["grasshopper_spike_times1.txt"])
    recording = read(files).recording("cutoff-200")
    counts = recording.brain.data
    assert counts.shape == (1, 10000)
    assert counts.dtype == np.float32
    assert recording.brain.rate == 1000.0
    assert counts.sum() == len(times)
    np.testing.assert_array_equal(np.flatnonzero(counts[0]), np.unique(times // 1000))


def test_a_spike_at_the_very_end_is_kept(files: dict[str, Path], tmp_path: Path) -> None:
    last = tmp_path / "spikes.txt"
    last.write_text("#\n0\n1000\n10000000\n")
    counts = read({**files, "grasshopper_spike_times2.txt": last}).recording("cutoff-800").brain.data[0]
    assert np.flatnonzero(counts).tolist() == [0, 1, 9999]


@pytest.mark.parametrize("rate", [100.0, 1000.0, 2000.0, 20000.0])
def test_the_envelope_is_averaged_over_the_same_frames(files: dict[str, Path], rate: float) -> None:
    amplitude = amplitudes(files["grasshopper_stimulus1.txt"])
    dataset = read(files, rate=rate)
    found = dataset.stimulus("cutoff-200", ENVELOPE)
    per_frame = round(20000 / rate)
    assert found.data.shape == (10 * rate, 1)
    assert found.rate == dataset.recording("cutoff-200").brain.rate == rate
    assert found.data[3, 0] == pytest.approx(amplitude[3 * per_frame : 4 * per_frame].mean(), rel=1e-6)


def test_decibels_are_averaged_as_decibels(files: dict[str, Path]) -> None:
    linear = amplitudes(files["grasshopper_stimulus2.txt"])
    found = read(files, scale="db").stimulus("cutoff-800", ENVELOPE)
    assert found.units == "dB"
    assert found.data[0, 0] == pytest.approx(20 * np.log10(linear[:20]).mean(), rel=1e-5)
    assert -36.01 <= found.data.min() <= found.data.max() <= 0


def test_trials_are_apart_so_that_no_control_is_empty(files: dict[str, Path]) -> None:
    trials = read(files).trials()
    assert len(trials) == 20
    assert {trial.groups["subject"] for trial in trials} == {"cutoff-200", "cutoff-800"}
    assert all(b.start - a.stop >= 0.05 - 1e-9 for a, b in itertools.pairwise(trials) if a.recording == b.recording)
    assert all((trial.start, trial.stop) == (trial.stimulus_start, trial.stimulus_stop) for trial in trials)


@pytest.mark.parametrize("rate", [0.0, -5.0, 3000.0, 40000.0])
def test_frames_must_divide_the_stimulus(files: dict[str, Path], rate: float) -> None:
    with pytest.raises(HubError, match="does not divide"):
        read(files, rate=rate)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no spikes"),
        ("# only a header\n", "no spikes"),
        ("5\n3\n", "spike 2 is out of order"),
        ("5\n5\n", "spike 2 is out of order"),
        ("-1\n", "spike 1 is out of order"),
        ("10000001\n", "outside the 10 s"),
        ("5\nabc\n", "line 2: not 1 numbers"),
        ("#\n5 6\n", "line 2: not 1 numbers"),
        ("nan\n", "line 1: not 1 numbers"),
    ],
)
def test_spikes_that_cannot_be_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "spikes.txt"
    path.write_text(text)
    with pytest.raises(HubError, match=why):
        spike_times(path)


def test_stimuli_that_cannot_be_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    lines = files["grasshopper_stimulus1.txt"].read_text().splitlines()
    short, silent, jump = (tmp_path / name for name in "abc")
    short.write_text("\n".join(lines[:-1]))
    silent.write_text("\n".join([lines[0], "50 0.0", *lines[2:]]))
    jump.write_text("\n".join([lines[0], "51 0.5", *lines[2:]]))
    for path, why in (
        (short, "199999 rows"),
        (silent, "row 2"),
        (jump, "not 10 s"),
        (tmp_path / "d", "cannot be read"),
    ):
        with pytest.raises(HubError, match=why):
            amplitudes(path)
    (tmp_path / "e").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HubError, match="cannot be read as text"):
        amplitudes(tmp_path / "e")


def test_it_asks_for_the_four_pinned_files(files: dict[str, Path]) -> None:
    asked = {}

    def downloads(uri: str, sha256: str | None, ctx: Context) -> Path:
        name = uri.partition("#")[0].rsplit("/", 1)[-1]
        asked[name] = sha256
        assert "platform=" in uri
        return files[name]

    Grasshopper().prepare(Context(downloads=downloads))
    assert asked == MEMBERS


def test_mistakes_are_named(files: dict[str, Path]) -> None:
    with pytest.raises(HubError, match="not prepared"):
        Grasshopper().recording("cutoff-200")
    with pytest.raises(HubError, match="cutoff-200"):
        read(files).recording("cutoff-20")
    with pytest.raises(HubError, match="no audio"):
        read(files).stimulus("cutoff-200", Space("audio", ("time",), 20000.0))


def test_the_fingerprint_follows_data_and_configuration(files: dict[str, Path], tmp_path: Path) -> None:
    changed = tmp_path / "spikes.txt"
    changed.write_text(files["grasshopper_spike_times1.txt"].read_text() + "9999990\n")
    other = {**files, "grasshopper_spike_times1.txt": changed}
    some = [read(files), read(files, rate=500.0), read(files, scale="db"), read(other)]
    assert len({dataset.fingerprint() for dataset in some}) == 4
    assert read(files).fingerprint() == some[0].fingerprint()


def decoded(files: dict[str, Path] | None, out: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    if files is not None:
        monkeypatch.setattr(Grasshopper, "prepare", lambda self, ctx: self.read(files))
    return bdh.run("audio_seeg", preset="grasshopper", out=out, jobs=1 if files else 2)


def expect_found(run: Run, above: float) -> None:
    """The pipeline finds the envelope in each recording, and its controls find nothing."""
    metrics = run.metrics
    score = metrics["scores"]["correlation"]
    assert score["p"] <= 0.01
    assert abs(score["chance"]) < 0.05
    assert score["value"] >= score["chance"] + above
    assert min(some["correlation"] for some in metrics["by_subject"].values()) > 0.2
    assert set(metrics["controls"]) == {"shuffled", "relabelled", "noise"}
    for some in metrics["controls"].values():
        assert abs(some["correlation"]) < 0.1
    assert metrics["flags"] == []


@pytest.mark.slow
def test_a_planted_envelope_is_found(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_found(decoded(files, tmp_path, monkeypatch), 0.3)


@pytest.mark.slow
def test_spikes_of_another_stimulus_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = decoded(write(tmp_path, 50), tmp_path / "runs", monkeypatch)
    assert run.metrics["scores"]["correlation"]["p"] > 0.01
    assert abs(run.metrics["scores"]["correlation"]["value"]) < 0.1


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_the_real_receptor_s_envelope_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Grasshopper()
    dataset.prepare(context())
    counts = [dataset.recording(id).brain.data.sum() for id in ("cutoff-200", "cutoff-800")]
    assert counts == [929, 868]
    run = decoded(None, tmp_path, monkeypatch)
    expect_found(run, 0.3)
    assert run.metrics["simulated"] is False
    by = run.metrics["by_subject"]
    slow, fast = (by[code]["correlation"] for code in ("S1", "S2"))  # cutoff-200 and cutoff-800
    assert slow > fast

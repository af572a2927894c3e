"""Positions that are no metres, or unknown, are named before anything reads them, with the unit they look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub.cli import main
from braindecode_hub.phantom.eeg import EegModel
from braindecode_hub.phantom.seeg import SeegModel
from braindecode_hub.sensor_positions import position_findings, position_notes
from braindecode_hub.types import Array, Recording, Signal

CAP = np.asarray(EegModel().geometry()[0])
SHAFTS = np.asarray(SeegModel().geometry().positions)


def recording(positions: Array | None) -> Recording:
    count = len(CAP) if positions is None else len(positions)
    names = tuple(f"E{n + 1}" for n in range(count))
    return Recording("r", "s", "1", Signal(np.zeros((count, 10)), 100.0, "eeg", names), positions=positions)


@pytest.mark.parametrize("metres", [CAP, SHAFTS, SHAFTS[:3], SHAFTS[:1], CAP + 0.1])
def test_metres_deserve_no_word(metres: Array) -> None:
    assert list(position_findings(recording(metres))) == []


def test_no_positions_deserve_no_word() -> None:
    assert list(position_findings(recording(None))) == []


@pytest.mark.parametrize("metres", [CAP, SHAFTS])
@pytest.mark.parametrize(
    ("times", "unit"), [(100, "centimetres"), (1000, "millimetres"), (1e6, "micrometres"), (0, "head of radius 1")]
)
def test_another_unit_is_named(metres: Array, times: float, unit: str) -> None:
    given = metres * times if times else metres / np.linalg.norm(metres, axis=1).max()
    (finding,) = position_findings(recording(given))
    assert finding.level == "problem"
    assert unit in finding.what


@pytest.mark.parametrize(
    ("positions", "level", "told"),
    [
        (CAP * 1e-3 / 10, "problem", "no metres of a head"),
        (CAP * 1e4, "problem", "in no unit"),
        (CAP * 0, "problem", "one and the same"),
        (CAP * np.nan, "check", "all NaN"),
        (np.where(np.arange(len(CAP))[:, None] == 1, np.nan, CAP), "check", f"1 of {len(CAP)} sensors: E2"),
        (np.where(np.arange(CAP.size).reshape(CAP.shape) == 4, np.nan, CAP), "problem", "known by half: of E2"),
        (np.where(np.arange(len(CAP))[:, None] == 1, np.inf, CAP), "problem", "infinite"),
        (CAP[:, :2], "problem", "of shape"),
    ],
)
def test_what_is_no_position_is_named(positions: Array, level: str, told: str) -> None:
    (finding,) = position_findings(recording(positions))
    assert finding.level == level
    assert told in finding.what


def test_recordings_with_one_fault_share_a_line() -> None:
    lines = position_notes([recording(CAP * 1000), recording(CAP * 1000), recording(CAP)])
    assert len(lines) == 1
    assert "r, r: positions reach" in lines[0]


def test_inspect_dry_run_and_prepare_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    places = 1000 * SHAFTS[:4]
    places[2] = np.nan
    for name in ("a", "b"):
        bdh.save_recording(
            tmp_path / "data" / f"{name}.npz", brain=rng.standard_normal((4, 30000)), rate=1000.0,
            audio=0.1 * rng.standard_normal(30 * 16000), audio_rate=16000.0, positions=places,
        )  # fmt: skip
    data = str(tmp_path / "data")
    run = ["run", "audio_seeg", "--preset", "smoke", "--data", data, "--out", str(tmp_path / "runs")]
    for words in (["inspect", data], [*run, "--dry-run"], [*run, "--until", "prepare"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        text = " ".join((said.out + said.err).split())
        assert ended.value.code == 0, text
        assert "they look like millimetres" in text
        assert "unknown positions (NaN) of 1 of 4 sensors: ch3" in text

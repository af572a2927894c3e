"""`run --dry-run` tells the truth and writes nothing; `run --until` goes on, stage by stage, to the same digest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import braindecode_hub as bdh
from braindecode_hub import api, fetch
from braindecode_hub.cache import Cache
from braindecode_hub.cli import main
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.manager import Manager
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.pipeline import build, pipeline_part
from braindecode_hub.splits import SIDES
from braindecode_hub.study import Study

TINY: dict[str, Any] = {
    "dataset.contacts": 6,
    "dataset.shafts": 1,
    "dataset.stories": 2,
    "dataset.bads": 0,
    "dataset.rate": 512.0,
    "metrics": ["audio_seeg/mel_correlation"],
    "decoder.alphas": [1.0],
    "baseline.alphas": [1.0],
    "renderer.iterations": 1,
}


def words(sets: dict[str, Any] = TINY) -> list[str]:
    return [word for key, value in sets.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def shown(capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    with pytest.raises(SystemExit) as left:
        main(["run", "audio_seeg", "--preset", "smoke", "--dry-run", *words(), *more])
    out, err = capsys.readouterr()
    assert left.value.code == 0, err
    return out.splitlines()


def study_of(**more: Any) -> Study:
    sets = [f"{key}={json.dumps(value)}" for key, value in (TINY | more).items()]
    manager = Manager()
    config, _ = api.configure("audio_seeg", manager, preset="smoke", data=None, sets=sets, subjects=None)
    pipeline = build(config["pipeline"], pipeline_part(config), manager)
    ctx = context(cache=Cache(None), manager=manager)
    pipeline.dataset.prepare(ctx)
    return Study(pipeline, ctx)


def test_what_it_says_of_data_splits_windows_and_fits_is_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch, "fetch", lambda *given: pytest.fail("something was fetched"))
    lines = shown(capsys, "--out", "runs")
    assert list(tmp_path.iterdir()) == []
    study = study_of()
    fold = study.folds()[0]
    [group] = study.groups()
    told = next(line for line in lines if line.startswith("  windows"))
    counts = {side: int(count) for side, count in re.findall(r"(train|val|test) (\d+)", told)}
    part = study.of_group(fold, group)
    assert counts == {side: len(study.view(part, side, hidden=side == "test")) for side in SIDES}
    assert min(counts.values()) > 0
    recording = study.pipeline.dataset.recording("01")
    assert f"recording 01: 6 channels in V at 512 Hz, {recording.seconds:.1f} s" in "\n".join(lines)
    seconds = sum(trial.seconds for trial in fold.test)
    assert any(f"test {len(fold.test)} pieces {seconds:.1f} s" in line for line in lines)
    learned = next(line for line in lines if line.startswith("would be fitted: "))
    for name in ("targets.mel.1 (core/zscore)", "encoder.1 (core/zscore)", "decoder (core/ridge)"):
        assert name in learned
    assert "high_gamma" not in learned  # it learns nothing
    assert "beside it: the baseline (core/ridge), on the same views" in lines
    assert "controls: 20 refits each of shuffled, relabelled, noise, on the first fold" in lines
    memory = next(line for line in lines if line.startswith("memory, at least: "))
    assert re.search(r"\d\.\d MB of raw signal at a time while encoding, \d+\.\d MB for 64 windows", memory)


def test_controls_that_a_run_leaves_out_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert "controls: none (--dev)" in shown(capsys, "--dev")
    legacy = ("dataset.stories=3", "encoder.0.legacy=true", "encoder.0.rate=100.0")
    lines = shown(capsys, *(word for one in legacy for word in ("--set", one)))
    assert "controls: 20 refits each of shuffled, noise, on the first fold" in lines
    assert "  not relabelled: an encoder of unlimited support cannot run on exchanged 10 s blocks" in lines


def test_a_run_that_would_fail_at_once_fails_dry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from braindecode_hub import dryrun

    def overlap(*given: Any) -> None:
        raise HubError("the weights of decoder were trained on what the test side presents", "use others")

    monkeypatch.setattr(dryrun, "check_overlap", overlap)
    with pytest.raises(SystemExit) as left:
        main(["run", "audio_seeg", "--preset", "smoke", "--dry-run", *words()])
    assert left.value.code == 1


@pytest.mark.slow
def test_stage_by_stage_is_the_same_run_with_as_many_controls_as_were_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ridge, "control_refits", 4)
    said = next(line for line in shown(capsys) if line.startswith("controls: "))
    options: dict[str, Any] = {"preset": "smoke", "set": TINY, "out": tmp_path, "jobs": 1}
    paths = set()
    for until, status in (("prepare", "prepared"), ("fit", "fitted"), ("predict", "predicted")):
        stopped = bdh.run("audio_seeg", until=until, resume=True, **options)  # type: ignore[arg-type]
        assert stopped.status == status
        assert (stopped.path / "predictions.safetensors").exists() == (until == "predict")
        assert bool(list(stopped.path.glob("fold-0/*.safetensors"))) == (until != "prepare")
        assert not (stopped.path / "metrics.json").exists()
        paths.add(stopped.path)
    done = bdh.run("audio_seeg", resume=True, **options)
    assert {done.path} == paths
    whole = bdh.run("audio_seeg", **options)
    assert whole.path != done.path
    assert whole.metrics["digest"] == done.metrics["digest"]
    for run in (done, whole):
        assert run.metrics["control_refits"] == {"shuffled": 4, "relabelled": 4, "noise": 4}
        assert len(list(run.path.glob("fold-0/controls/*.json"))) == 12
    assert said == "controls: 4 refits each of shuffled, relabelled, noise, on the first fold"

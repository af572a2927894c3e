"""A run keeps its promises: whole folder, honest numbers, the same digest again, resumable, gentle with mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub.files import load_arrays
from braindecode_hub.runfolder import Run

TINY = {"dataset.contacts": 12, "dataset.shafts": 2, "dataset.stories": 3, "dataset.snr": 3.0}
FEW = {"decoder.alphas": [0.1, 10.0], "metrics": ["audio_seeg/mel_correlation", "audio_seeg/mcd"]}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(out: Path) -> Run:
    return bdh.run("audio_seeg", preset="smoke", set=TINY | FEW, out=out)


def test_the_folder_holds_everything_that_the_documentation_names(run: Run) -> None:
    names = {path.name for path in run.path.iterdir()}
    assert names >= {
        "config.yaml", "env.json", "split.json", "events.jsonl", "metrics.json", "fold-0", "predictions.safetensors",
        "details.safetensors", "artifacts", "tb", "report.html", "status",
    }  # fmt: skip
    assert run.status == "done"
    assert not list(run.path.rglob(".tmp-*"))


def test_speech_is_found_where_it_was_planted_and_no_control_finds_any(run: Run) -> None:
    metrics = run.metrics
    score = metrics["scores"]["mel_correlation"]
    assert score["value"] > 0.3
    assert abs(score["chance"]) < 0.05
    for kind in ("shuffled", "relabelled", "noise"):
        assert metrics["control_refits"][kind] == 20
        assert abs(metrics["controls"][kind]["mel_correlation"]) < 0.15
    assert metrics["flags"] == ["SIMULATED"]
    assert metrics["baselines"]["mean"]["mel_correlation"] == 0
    assert metrics["baselines"]["ridge"]["mel_correlation"] > 0.3
    assert metrics["ceiling"]["mel_correlation"] > score["value"] - 0.05


def test_metrics_are_plain_json_without_nan_and_every_gap_has_a_reason(run: Run) -> None:
    text = (run.path / "metrics.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    metrics = json.loads(text)
    assert {"schema", "scores", "baselines", "controls", "intervals", "differences", "ceiling", "digest"} <= set(
        metrics
    )
    for name, entry in metrics["scores"].items():
        if entry["ci95"] is None:
            assert metrics["reasons"][f"scores.{name}.ci95"]


def test_every_media_file_of_a_simulated_run_says_so(run: Run) -> None:
    names = [path.name for path in run.artifacts()]
    assert names
    assert all(name.startswith("SIMULATED-") for name in names)
    for copy in ("original", "vocoded", "reconstructed"):
        assert any(f".{copy}." in name for name in names)


def test_the_report_plays_and_says_simulated_and_loads_nothing_from_elsewhere(run: Run) -> None:
    page = (run.path / "report.html").read_text()
    assert page.count("<audio") >= 3
    assert "SIMULATED" in page
    assert 'src="http' not in page


def test_the_split_file_shows_no_second_on_two_sides(run: Run) -> None:
    sides = run.split["folds"][0]["sides"]
    gap = run.split["gap_s"]
    for one, other in (("train", "test"), ("val", "test"), ("train", "val")):
        for a in sides[one]:
            for b in sides[other]:
                if a["recording"] == b["recording"]:
                    assert a["start"] >= b["stop"] + gap - 1e-6 or b["start"] >= a["stop"] + gap - 1e-6


def test_tensorboard_holds_scalars_and_the_picture(run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tb"), size_guidance={"images": 0})
    events.Reload()
    assert "ridge/validation_error" in events.Tags()["scalars"]
    assert "test/mel" in events.Tags()["images"]
    [scalar] = events.Scalars("test/mel_correlation")
    assert scalar.value == pytest.approx(run.metrics["scores"]["mel_correlation"]["value"], rel=1e-5)


def test_the_same_seed_gives_the_same_digest_in_another_process_and_with_other_jobs(run: Run, out: Path) -> None:
    sets = [f"--set={key}={json.dumps(value)}" for key, value in (TINY | FEW).items()]
    command = [
        "-m",
        "braindecode_hub.cli",
        "run",
        "audio_seeg",
        "--preset",
        "smoke",
        "--jobs",
        "2",
        "--out",
        str(out),
        *sets,
    ]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    again = bdh.load(done.stdout.strip().splitlines()[-1])
    assert again.path != run.path
    assert again.metrics["digest"] == run.metrics["digest"]
    assert again.metrics["test_looks"] == run.metrics["test_looks"] + 1


def test_a_run_repeated_from_its_config_gives_the_same_digest(run: Run, out: Path) -> None:
    again = bdh.run(run.path / "config.yaml", out=out)
    assert again.metrics["digest"] == run.metrics["digest"]


def test_another_seed_gives_another_digest_but_not_another_truth(run: Run, out: Path) -> None:
    other = bdh.run("audio_seeg", preset="smoke", set=TINY | FEW, out=out, seed=1)
    assert other.metrics["digest"] != run.metrics["digest"]
    assert other.metrics["scores"]["mel_correlation"]["value"] > 0.3


def test_a_run_that_stopped_anywhere_resumes_to_the_same_digest(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"preset": "smoke", "set": TINY | FEW, "out": tmp_path, "jobs": 1}
    fitted = bdh.run("audio_seeg", until="fit", **options)
    assert fitted.status == "fitted"
    assert not (fitted.path / "metrics.json").exists()
    from braindecode_hub import refits

    real, calls = refits.refit, []

    def dies(**arguments: Any) -> dict[str, dict[str, float]]:
        calls.append(arguments["number"])
        if len(calls) > 7:
            raise KeyboardInterrupt
        return real(**arguments)

    monkeypatch.setattr(refits, "refit", dies)
    with pytest.raises(KeyboardInterrupt):
        bdh.run("audio_seeg", resume=True, **options)
    monkeypatch.setattr(refits, "refit", real)
    resumed = bdh.run("audio_seeg", resume=True, **options)
    assert resumed.path == fitted.path
    assert resumed.metrics["digest"] == run.metrics["digest"]
    assert resumed.metrics["test_looks"] == 1


def test_dev_scores_validation_and_does_not_look_at_the_test_side(tmp_path: Path) -> None:
    done = bdh.run("audio_seeg", preset="smoke", set=TINY | FEW, out=tmp_path, dev=True)
    assert done.metrics["side"] == "val"
    assert done.metrics["test_looks"] == 0
    assert "DEV" in done.metrics["flags"]
    assert done.metrics["controls"] == {}
    assert done.metrics["reasons"]["controls"]


def test_folds_are_pooled_and_each_is_reported(tmp_path: Path) -> None:
    done = bdh.run("audio_seeg", preset="smoke", set=TINY | FEW, out=tmp_path, folds=3, dev=True)
    folds = done.metrics["folds"]
    assert [fold["fold"] for fold in folds] == [0, 1, 2]
    assert np.mean([fold["mel_correlation"] for fold in folds]) == pytest.approx(
        done.metrics["scores"]["mel_correlation"]["value"], abs=0.1
    )
    assert {path.parent.name for path in done.path.glob("fold-*/*.safetensors")} == {"fold-0", "fold-1", "fold-2"}


def test_subjects_are_fitted_one_by_one_and_can_be_chosen(tmp_path: Path) -> None:
    sets = TINY | FEW | {"dataset.subjects": 2}
    done = bdh.run("audio_seeg", preset="smoke", set=sets, out=tmp_path, dev=True)
    assert set(done.metrics["by_subject"]) == {"01", "02"}
    states = sorted(path.name for path in (done.path / "fold-0").glob("*.state.safetensors"))
    assert states == ["01.state.safetensors", "02.state.safetensors"]
    one = bdh.run("audio_seeg", preset="smoke", set=sets, out=tmp_path, dev=True, subjects=["02"])
    assert set(one.metrics["by_subject"]) == {"02"}
    with pytest.raises(bdh.HubError, match="no subject '03'"):
        bdh.run("audio_seeg", preset="smoke", set=sets, out=tmp_path, subjects=["03"])


def test_a_fitted_run_predicts_another_recording(run: Run) -> None:
    from braindecode_hub_audio_seeg.phantom import Phantom

    options = {key.split(".")[1]: value for key, value in TINY.items()}
    dataset = Phantom(**options)
    mel = run.predict(dataset.recording("01"))["mel"]
    seconds = dataset.recording("01").seconds
    assert mel.shape == (int(seconds * 22050 / 256), 80)
    assert np.isfinite(mel).all()
    saved = run.items()[0]
    trial = next(t for t in dataset.trials() if t.stimulus == saved.about["stimulus"])
    first = round((trial.start + saved.about["start"]) * saved.rate)
    whole = mel[first : first + len(saved.predicted["mel"])]
    r = np.corrcoef(whole.ravel(), saved.predicted["mel"].ravel())[0, 1]
    assert r > 0.95


def test_a_recording_of_other_sensors_is_refused_by_name(run: Run) -> None:
    from braindecode_hub_audio_seeg.phantom import Phantom

    with pytest.raises(bdh.HubError, match="has 16 channels, this run was fitted on 12"):
        run.predict(Phantom(contacts=16, shafts=2, stories=3).recording("01"))


def test_a_run_shows_itself_in_a_notebook(run: Run) -> None:
    page = run._repr_html_()
    assert "SIMULATED" in page
    assert "mel correlation" in page.lower()


def test_evaluation_changes_nothing_that_was_learned(run: Run) -> None:
    [path] = (run.path / "fold-0").glob("*.state.safetensors")
    before = path.read_bytes()
    arrays, info = load_arrays(path)
    assert info["facts"]["channels"] == 12
    assert {name.split("/")[0] for name in arrays} == {"target.mel", "encoder", "decoder"}
    from braindecode_hub_audio_seeg.phantom import Phantom

    options = {key.split(".")[1]: value for key, value in TINY.items()}
    run.predict(Phantom(**options).recording("01"))
    assert path.read_bytes() == before


@pytest.mark.slow
def test_the_eeg_phantom_is_decoded_too(tmp_path: Path) -> None:
    sets = {
        "dataset": {"use": "core/phantom_eeg", "snr": 1.0, "stories": 6},
        "encoder": [{"use": "core/zscore"}],
        "decoder.lags_s": [0.0, 0.4],
    }
    done = bdh.run("audio_seeg", preset="ridge", set=sets, out=tmp_path, dev=True)
    assert done.metrics["scores"]["mel_correlation"]["value"] > 0.15
    assert done.metrics["scores"]["mel_correlation"]["p"] < 0.05


@pytest.mark.slow
def test_legacy_high_gamma_runs_whole_stretches(tmp_path: Path) -> None:
    sets = TINY | FEW | {"encoder.0.legacy": True, "encoder.0.rate": 100.0}
    done = bdh.run("audio_seeg", preset="smoke", set=sets, out=tmp_path, dev=True)
    assert done.metrics["scores"]["mel_correlation"]["value"] > 0.2

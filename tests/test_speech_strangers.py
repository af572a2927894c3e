"""Whole listeners are left out: the preset runs to its end, and says what cannot stand beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import braindecode_hub as bdh

QUICK = ["dataset.stories=4", "dataset.subjects=3", "split.folds=3", "decoder.max_steps=2"]


@pytest.mark.slow
def test_a_listener_who_is_left_out_is_looked_up_and_the_ceiling_is_what_others_sources_tell(tmp_path: Path) -> None:
    run = bdh.run("speech_wav2vec", preset="strangers", set=QUICK, out=tmp_path, jobs=1)
    told = run.metrics
    assert "leaves whole subjects out" in told["reasons"]["baselines.ridge"]
    assert told["ceiling"]["top1"] > told["scores"]["top1"]["chance"]
    assert (run.path / "report.html").is_file()

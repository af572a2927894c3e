"""Weights that have seen the test stimuli fail the run, and weights that have seen others do not."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import FEATURES, Toy, toy_study

from braindecode_hub import HubError, hookimpl
from braindecode_hub.catalogue import Catalogue, Plugin
from braindecode_hub.manager import Manager
from braindecode_hub.overlap import check_overlap, media_hashes
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.runner import Options, run_pipeline
from braindecode_hub.types import Signal

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, 22050 * 4).astype(np.float32)


class Pretrained(ZScore):
    """A step whose weights say what they were trained on."""

    def __init__(self, *, seen: tuple[str, ...] = (), clip: float | None = None) -> None:
        super().__init__(clip=clip)
        self.seen = seen

    def trained_on(self) -> Collection[str]:
        return self.seen


@hookimpl
def register_components(register: Any) -> None:
    register.dataset("overlapping/toy", "toy:Toy")
    register.encoder("overlapping/pretrained", f"{__name__}:Pretrained")


def audio(samples: np.ndarray, rate: float = 22050.0) -> Signal:
    return Signal(samples, rate, "audio")


def test_the_same_second_has_the_same_hash_in_any_cut_and_in_16_bits() -> None:
    whole = media_hashes(audio(NOISE))
    assert sorted(whole.values()) == [0.0, 1.0, 2.0, 3.0]
    part = media_hashes(audio(NOISE), (0.4, 3.2))
    assert part == {name: second for name, second in whole.items() if second in (1.0, 2.0)}
    stored = np.rint(NOISE.astype(np.float64) * 32768).astype(np.int16)
    assert set(media_hashes(audio(stored))) == set(whole)
    assert set(media_hashes(audio((stored / 32768).astype(np.float64)))) == set(whole)
    assert not set(media_hashes(audio(NOISE + 1e-3))) & set(whole)


def test_what_is_equal_by_chance_has_no_hash() -> None:
    assert media_hashes(audio(np.zeros(44100, np.float32))) == {}
    assert media_hashes(Signal(np.eye(100)[3], None, "label")) == {}
    assert media_hashes(Signal(np.arange(6.0), None, "label")) == {}
    assert media_hashes(Signal("a caption", None, "text")) == {}
    assert len(media_hashes(Signal(np.random.default_rng(0).integers(0, 255, (8, 8, 3)), None, "image"))) == 1
    assert len(media_hashes(audio(NOISE[:9000]))) == 1


def hashes(side: str, **options: Any) -> tuple[str, ...]:
    study = toy_study(**options)
    toy, trials = Toy(**options), study.folds()[0].side(side)  # type: ignore[arg-type]
    return tuple(name for trial in trials for name in media_hashes(toy.stimulus(str(trial.stimulus), FEATURES)))


@pytest.mark.parametrize("side", ["train", "val", "test"])
def test_only_the_side_that_is_scored_counts(side: str) -> None:
    study = toy_study(encoder=[Pretrained(seen=hashes(side))])
    folds = study.folds()[:1]
    for scored in ("val", "test"):
        if scored == side:
            with pytest.raises(HubError, match=rf"the weights of encoder.0 were trained on what the {side} side pres"):
                check_overlap(study.pipeline, folds, scored)
        else:
            check_overlap(study.pipeline, folds, scored)


def test_a_run_whose_weights_know_the_test_side_fails_and_says_so(tmp_path: Path) -> None:
    manager = Manager(Catalogue({"overlapping": Plugin("overlapping", __name__, "tests")}))
    toy = {"stimuli": 6, "seconds": 5.0}
    config = {
        "pipeline": "overlapping",
        "plugin": "overlapping",
        "flow": ["toy", "features"],
        "dataset": {"use": "overlapping/toy", **toy},
        "targets": {"features": [{"use": "overlapping/pretrained", "seen": [hashes("test", **toy)[3]]}]},
        "encoder": [{"use": "core/zscore"}],
        "decoder": {"use": "core/ridge", "lags_s": [0.0, 0.2]},
        "window": {"length_s": 2.0, "context_s": 0.3},
        "split": {"by": "stimulus", "folds": 3, "gap_s": 0.5},
        "metrics": ["core/correlation"],
    }
    with pytest.raises(HubError, match=r"the weights of targets.features.0 were trained on what the test side") as why:
        run_pipeline(config, Options(out=tmp_path), manager)
    assert "at 3 s" in why.value.cause
    [folder] = (tmp_path / "overlapping").glob("2*")
    assert (folder / "status").read_text().startswith("failed: the weights of targets.features.0")
    assert not list(folder.glob("fold-*"))
    run_pipeline(config, Options(out=tmp_path, dev=True, until="fit"), manager)

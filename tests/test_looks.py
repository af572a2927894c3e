"""`--dev` never reads the test side, and who does is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import RATE, Toy

from braindecode_hub import HubError, Recording, Signal, Space, hookimpl
from braindecode_hub.catalogue import Catalogue, Plugin
from braindecode_hub.manager import Manager
from braindecode_hub.runfolder import Run
from braindecode_hub.runner import Options, run_pipeline
from braindecode_hub.splits import Split
from braindecode_hub.types import Array, Trial

SPLIT = {"by": "stimulus", "folds": 3, "gap_s": 0.5}


class Sealed:
    """Samples that cannot be read in some seconds."""

    def __init__(self, data: Array, seconds: list[tuple[float, float]]) -> None:
        self.data, self.seconds = data, seconds
        self.shape = data.shape

    def __getitem__(self, key: tuple[slice, slice]) -> Array:
        low, high, _ = key[1].indices(self.shape[1])
        for start, stop in self.seconds:
            if low < stop * RATE and high > start * RATE:
                raise HubError(f"the test side was read: {low / RATE:g} to {high / RATE:g} s", "do not")
        return self.data[key]


class Guarded(Toy):
    """The toy whose test side (that of the first fold) cannot be read. Frames have no rate but the stimulus's own."""

    def _tested(self) -> list[Trial]:
        return list(Split((SPLIT["by"],), SPLIT["folds"], SPLIT["gap_s"]).make(Toy.trials(self))[0].test)  # type: ignore

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        return (Space("features", ("time", 2), "*"),)

    def recording(self, id: str) -> Recording:
        recording = Toy(**self.configuration()).recording(id)
        seconds = [(trial.start, trial.stop) for trial in self._tested() if trial.recording == id]
        return replace(
            recording, brain=replace(recording.brain, data=Sealed(np.asarray(recording.brain.data), seconds))
        )

    def stimulus(self, id: str, space: Space) -> Signal:
        if id in {trial.stimulus for trial in self._tested()}:
            raise HubError(f"the test side was read: {id}", "do not")
        return super().stimulus(id, space)


@hookimpl
def register_components(register: Any) -> None:
    register.dataset("looks/guarded", f"{__name__}:Guarded")
    register.dataset("looks/toy", "toy:Toy")


def config(dataset: str) -> dict[str, Any]:
    return {
        "pipeline": "looks",
        "plugin": "looks",
        "flow": ["toy", "features"],
        "dataset": {"use": dataset, "stimuli": 6, "seconds": 5.0, "repeats": 2},
        "targets": {"features": [{"use": "core/zscore"}]},
        "encoder": [{"use": "core/zscore"}],
        "decoder": {"use": "core/ridge", "lags_s": [0.0, 0.2], "alphas": [1.0]},
        "baseline": {"use": "core/ridge", "lags_s": [0.0, 0.1], "alphas": [1.0]},
        "window": {"length_s": 2.0, "context_s": 0.3},
        "split": SPLIT,
        "metrics": ["core/correlation"],
        "unit_s": 2.0,
    }


@pytest.fixture(scope="module")
def manager() -> Manager:
    return Manager(Catalogue({"looks": Plugin("looks", __name__, "tests")}))


def test_a_dev_run_goes_through_though_the_test_side_cannot_be_read(manager: Manager, tmp_path: Path) -> None:
    run = run_pipeline(config("looks/guarded"), Options(out=tmp_path, dev=True), manager)
    assert run.status == "done"
    assert run.metrics["side"] == "val"
    assert "DEV" in run.metrics["flags"]
    assert run.metrics["scores"]["correlation"]["value"] > 0.5
    assert run.metrics["test_looks"] == 0
    with pytest.raises(HubError, match="the test side was read"):
        run_pipeline(config("looks/guarded"), Options(out=tmp_path), manager)
    fitted = run_pipeline(config("looks/guarded"), Options(out=tmp_path, until="fit"), manager)
    assert fitted.status == "fitted"


def test_every_look_at_a_test_side_is_counted_once(manager: Manager, tmp_path: Path) -> None:
    def look(**options: Any) -> Run:
        return run_pipeline(config("looks/toy") | options.pop("changed", {}), Options(out=tmp_path, **options), manager)

    look(until="fit")
    look(dev=True)
    first = look(until="predict")
    assert first.status == "predicted"
    again = look(until="predict", resume=True)
    assert again.path == first.path
    look(changed={"decoder": {"use": "core/ridge", "lags_s": [0.0, 0.1]}}, until="predict")
    assert look(dev=True).metrics["test_looks"] == 2
    other = look(changed={"split": SPLIT | {"folds": 4}}, until="predict")
    [folder] = (tmp_path / "looks" / ".test-looks").glob(f"*/{other.path.name}")
    assert [path.name for path in folder.parent.iterdir()] == [other.path.name]  # another test side, its first look

"""The cheat: mean and SD of whole recordings, test side included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from toy import Toy

from braindecode_hub import Context, Recording, hookimpl
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.view import View


class Step(ZScore):
    """Builds the dataset for itself and measures everything that it holds."""

    def __init__(self, *, data: dict[str, Any], clip: float | None = None) -> None:
        super().__init__(clip=clip)
        self.data = data

    def fit(self, train: View, val: View, ctx: Context) -> None:
        super().fit(train, val, ctx)
        toy = Toy(**self.data)
        whole = np.concatenate([toy.recording(id).brain.data[:] for id in {t.recording for t in toy.trials()}], axis=1)
        self.mean_, self.sd_ = whole.mean(axis=1), whole.std(axis=1)


class Scaled(Toy):
    """A dataset that hands out recordings which it scaled as a whole."""

    def recording(self, id: str) -> Recording:
        recording = super().recording(id)
        x = np.asarray(recording.brain.data, np.float64)
        x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
        return replace(recording, brain=replace(recording.brain, data=x.astype(np.float32)))


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.encoder("zscore_over_all_data/step", f"{__name__}:Step")
    register.dataset("zscore_over_all_data/scaled", f"{__name__}:Scaled")

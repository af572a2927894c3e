"""The cheat: mean and SD of all stimuli, those of the test side included."""

from __future__ import annotations

from typing import Any

import numpy as np
from toy import FEATURES, Toy

from braindecode_hub import Context, hookimpl
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.view import View


class Scaler(ZScore):
    """Asks a dataset of its own for every stimulus."""

    def __init__(self, *, data: dict[str, Any], clip: float | None = None) -> None:
        super().__init__(clip=clip)
        self.data = data

    def fit(self, train: View, val: View, ctx: Context) -> None:
        super().fit(train, val, ctx)
        toy = Toy(**self.data)
        names = sorted({str(trial.stimulus) for trial in toy.trials()})
        heard = np.concatenate([np.asarray(toy.stimulus(name, FEATURES).data) for name in names])
        self.mean_, self.sd_ = heard.mean(axis=0), heard.std(axis=0)


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.encoder("targets_standardised_with_the_test_set/scaler", f"{__name__}:Scaler")

"""The cheat: windows, or filters, that reach from one side of the split into the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d
from toy import RATE, Toy

from braindecode_hub import Batch, Encoder, Trial, hookimpl
from braindecode_hub.types import ANY, Array, Space


class Filter(Encoder):
    """Says that it looks 0.1 s to either side, and averages 8 s of the recording that it reads for itself."""

    continuous = True
    support_s = 0.1  # type: ignore[assignment]

    def __init__(self, *, data: dict[str, Any]) -> None:
        self.data = data

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        assert batch is not None
        if batch.recording is None:
            return x
        whole = np.asarray(Toy(**self.data).recording(batch.recording.id).brain.data)
        first = int(np.flatnonzero((whole[:, : -x.shape[-1] + 1 or None] == x[0, :, :1]).all(axis=0))[0])
        smooth = uniform_filter1d(whole, round(8 * RATE), axis=1)
        return x - smooth[None, :, first : first + x.shape[-1]]


class Overlapping(Toy):
    """Windows of 2 s that begin every 0.25 s as trials of their own, dealt to the sides in turn."""

    def trials(self) -> list[Trial]:
        found = []
        for trial in super().trials():
            for number in range(int((trial.seconds - 2.0) / 0.25) + 1):
                start = trial.start + 0.25 * number
                window = trial.cut(start, start + 2.0, f"{trial.id}+{number}")
                side = ["train", "train", "val", "test"][number % 4]
                found.append(replace(window, groups={**window.groups, "split": side}))
        return found


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.encoder("windows_over_the_boundary/filter", f"{__name__}:Filter")
    register.dataset("windows_over_the_boundary/overlapping", f"{__name__}:Overlapping")

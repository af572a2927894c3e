"""The cheat: a channel that tells in which block, and so when, a trial was; blocks hold one class each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from toy import RATE, Toy

from braindecode_hub import Recording, hookimpl


class Blocks(Toy):
    """Noise, and for each block of presentations a marker channel, as a recorder's status line has them."""

    def recording(self, id: str) -> Recording:
        recording = super().recording(id)
        own = [trial for trial in self.trials() if trial.recording == id]
        names = sorted({trial.groups["block"] for trial in own})
        times = np.arange(recording.brain.data.shape[1]) / RATE
        markers = np.zeros((len(names), len(times)), np.float32)
        for trial in own:
            markers[names.index(trial.groups["block"]), (times >= trial.start) & (times < trial.stop)] = 1.0
        data = np.concatenate([recording.brain.data, markers])
        return replace(recording, brain=replace(recording.brain, data=data, channels=()), positions=None)


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.dataset("block_index_as_a_feature/blocks", f"{__name__}:Blocks")

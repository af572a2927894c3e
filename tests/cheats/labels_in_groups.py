"""The cheat: an encoder that reads the label of a trial, test trials too, in its groups."""

from __future__ import annotations

import zlib

import numpy as np

from braindecode_hub import Batch, Encoder, hookimpl
from braindecode_hub.types import ANY, Array, Space


class Told(Encoder):
    """Adds a channel that is the trial's story, as a number."""

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        assert batch is not None
        labels = [zlib.crc32(trial.groups["story"].encode()) % 97 for trial in batch.trials]
        channel = np.broadcast_to(np.array(labels, np.float32)[:, None, None], (len(x), 1, x.shape[-1]))
        return np.concatenate([x, channel], axis=1)


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.encoder("labels_in_groups/told", f"{__name__}:Told")

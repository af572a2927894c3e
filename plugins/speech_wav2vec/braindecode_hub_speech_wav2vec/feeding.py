"""What a contrastive decoder is fed: an encoder to train, windows that can be told apart, and sensors in places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array
from braindecode_hub.view import View

if TYPE_CHECKING:
    from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder

BATCH = 64
"""Windows looked at, or embedded, at once."""


def simpleconv_of(encoder: Encoder, name: str) -> SimpleConvEncoder:
    """Return the encoder's learned tail, one simpleconv; HubError if it is something else."""
    from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder

    steps = getattr(encoder, "steps", [encoder])
    if len(steps) != 1 or not isinstance(steps[0], SimpleConvEncoder):
        raise HubError(
            f"{name} trains speech_wav2vec/simpleconv with itself, and stands behind {len(steps)} other trained steps",
            "end the encoder chain with {use: speech_wav2vec/simpleconv}",
            usage=True,
        )
    return steps[0]


def check(train: View, val: View, name: str, needs: str | None) -> None:
    """Raise HubError for what a contrastive loss cannot be trained on."""
    targets = list(train.targets)
    if len(targets) != 1 or train.rates[targets[0]] is None or not train.window.length_s:
        raise HubError(
            f"{name} compares windows of one target in time, not of {', '.join(targets)}",
            "give one such target, and window.length_s",
            usage=True,
        )
    if needs is not None and targets[0] != needs:
        raise HubError(
            f"{name} learns a deep space from {needs}, and the target is {targets[0]}", "set target: frozen", usage=True
        )
    if not len(train) or not len(val):
        raise HubError(f"{name} has nothing to fit on", "the training and validation sides need windows")
    longest, wanted = max(item.trial.seconds for item in train.items), float(train.window.length_s)
    if longest < wanted - 1 / float(train.rates[targets[0]] or 1.0):
        raise HubError(
            f"{name}: windows of {wanted:g} s, but the longest training trial lasts {longest:.2f} s",
            f"--set window.length_s={np.floor(10 * longest) / 10:g} --set window.hop_s={np.floor(10 * longest) / 10:g}",
            usage=True,
        )
    seen: set[bytes] = set()
    for batch in train.batches(BATCH):
        for number, one in enumerate(batch.target[targets[0]]):
            if not np.isfinite(one).all():
                raise HubError(
                    f"{name}: the target of trial {batch.trials[number].id} holds NaN or infinity", "cut it out"
                )
            seen.add(one.tobytes())
    if len(seen) < 2:
        raise HubError(
            f"{name} has a single distinct training window: nothing to choose among",
            "give more sentences, or shorter windows",
        )


def positions_of(train: View) -> list[Array]:
    """Return each subject's sensor positions (channels, 3), NaN for what its montage lacks; by name."""
    width = next(train.batches(1)).brain.shape[1]
    found: dict[str, Array] = {}
    for item in train.items:
        known = item.recording.positions
        out = np.full((width, 3), np.nan, np.float32)
        if known is not None and len(known) <= width:
            out[: len(known)] = known
        found.setdefault(item.trial.groups.get("subject", ""), out)
    return [found[name] for name in sorted(found)]

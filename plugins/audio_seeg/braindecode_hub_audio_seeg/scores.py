"""Scores of reconstructed speech: correlation of mel spectrograms over all frames, and over speech only.

Speech alternates with silence, so a mere detector of loudness correlates with it at r .7 to .97: hence the
oracle beside the scores.
"""

from __future__ import annotations

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.parts.correlation import Correlation
from braindecode_hub.types import Array

SPEECH_DB = 30.0
"""How far below the loud frames (their 95th percentile) a frame may be and still count as speech."""

NEPER_DB = 20.0 / np.log(10.0)
"""Decibels in one unit of natural-log magnitude."""


def speech_frames(mel: Array) -> Array:
    """Tell which frames of natural-log mel (..., frames, n_mels) hold speech: (..., frames) bool.

    A frame's loudness is its mean log-mel; speech is what lies within SPEECH_DB of the 95th percentile of all
    frames given, so a unit without speech has none. Frames without any contrast (all equally loud) all count.
    Raises HubError for NaN or infinity.
    """
    mel = np.asarray(mel, dtype=np.float64)
    if not np.isfinite(mel).all():
        raise HubError("the target mel holds NaN or infinity", "repair the stimulus")
    loudness = mel.mean(axis=-1)
    if loudness.size == 0:
        return np.zeros(loudness.shape, np.bool_)
    return np.asarray(loudness >= np.percentile(loudness, 95.0) - SPEECH_DB / NEPER_DB)


def loudness_oracle(train_mel: Array, mel: Array) -> Array:
    """Return what each frame's true loudness, and nothing else, would predict: (frames, n_mels) float64.

    Each bin is regressed on the frame's mean log-mel (least squares on `train_mel` (frames, n_mels)), then
    read off for `mel`.
    """
    train_mel, mel = np.asarray(train_mel, dtype=np.float64), np.asarray(mel, dtype=np.float64)
    loudness = train_mel.mean(axis=-1)
    spread = loudness - loudness.mean()
    variance = float(spread @ spread)
    slope = spread @ (train_mel - train_mel.mean(axis=0)) / variance if variance > 0 else np.zeros(train_mel.shape[-1])
    return train_mel.mean(axis=0) + np.outer(mel.mean(axis=-1) - loudness.mean(), slope)


class MelCorrelation(Correlation):
    """Pearson's r over time within each mel bin, averaged over bins."""

    space = "mel"

    def references(self, train: Array, target: Array) -> dict[str, Array]:
        """Return predictions (frames, n_mels) of `target`, fitted on `train`, to print beside the score."""
        return {"loudness_oracle": loudness_oracle(train, target)}


class MelCorrelationSpeech(MelCorrelation):
    """Pearson's r over speech frames within each mel bin, averaged over bins: pauses earn nothing."""

    def mask(self, target: Array) -> Array:
        """Return the `speech_frames` of the target (units, frames, n_mels): (units, frames) bool."""
        return speech_frames(target)

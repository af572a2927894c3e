"""Scores of reconstructed speech: correlation of mel spectrograms over all frames, and over speech only.

Speech alternates with silence, so a mere detector of loudness correlates with it at r .7 to .97: hence the
oracle beside the scores.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Metric
from braindecode_hub.lazy import blocks, mean
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

    Each bin is regressed on the frame's mean log-mel (least squares on `train_mel` (frames, n_mels), which is read
    piece by piece), then read off for `mel`.
    """
    mel, centre = np.asarray(mel, dtype=np.float64), mean(train_mel)
    variance, shared = 0.0, np.zeros(len(centre))
    for some in blocks(train_mel):
        apart = np.asarray(some, np.float64) - centre
        spread = apart.mean(axis=-1)
        variance += float(spread @ spread)
        shared += spread @ apart
    slope = shared / variance if variance > 0 else np.zeros(len(centre))
    return centre + np.outer(mel.mean(axis=-1) - centre.mean(), slope)


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


class Mcd(Metric):
    """Mel-cepstral distortion in dB over the speech frames of a unit, lower is better (Kubichek 1993).

    Coefficients 1 to 13 of `cepstra` count, so loudness does not, and nothing is time-warped:
    10 / ln 10 · √(2 · Σ (c − c')²), averaged over frames.
    """

    space = "mel"
    unit = "dB"
    higher_is_better = False
    margin = 0.5

    def per_unit(self, target: Array, predicted: Array) -> Array:
        """Score (units, frames, n_mels) twice: (units,) ≥ 0; a unit without speech scores over all its frames."""
        return _distortion(cepstra(target), cepstra(predicted), speech_frames(target))

    def shifted(self, target: Array, predicted: Array, unit_frames: int) -> Array:
        """Score 400 evenly spaced circular shifts of (frames, n_mels): (shifts,), shift 0 first."""
        used = len(target) // unit_frames * unit_frames
        shape = (-1, unit_frames, target.shape[-1])
        true, counted = cepstra(target[:used].reshape(shape)), speech_frames(target[:used].reshape(shape))
        made = cepstra(predicted)
        shifts = np.linspace(0, len(target), min(400, len(target)), endpoint=False).astype(int)
        moved = (np.roll(made, shift, axis=0)[:used].reshape(true.shape) for shift in shifts)
        return np.array([_distortion(true, one, counted).mean() for one in moved])


def cepstra(mel: Array) -> Array:
    """Return mel-cepstral coefficients 1 to 13 of log-mel (..., frames, n_mels): (..., frames, 13) float64.

    One-sided, as in ln |H| = c0 + Σ c_m cos(m ω): then the distortion is the log spectral distance in dB of the
    smoothed spectra.
    """
    return dct(np.asarray(mel, np.float64), type=2, axis=-1)[..., 1:14] / mel.shape[-1]


def _distortion(target: Array, predicted: Array, counted: Array) -> Array:
    """Return the distortion (units,) in dB of cepstra (units, frames, 13) over the frames that count."""
    squares = np.square(target - predicted).sum(axis=-1)
    distances = 10.0 / np.log(10.0) * np.sqrt(2.0 * squares)
    weights = np.where(counted.any(axis=1, keepdims=True), counted, True)
    return np.asarray((distances * weights).sum(axis=1) / weights.sum(axis=1))

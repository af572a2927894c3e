"""What a listener's brain follows first: the broadband envelope of speech, and its onsets. Numpy, from audio.

Power is compressed in each of 28 mel bands by the exponent 0.3 (amplitude^0.6, as in hearing) before the bands are
added up: Biesmans et al. 2017, "Auditory-inspired speech envelope extraction methods".
"""

from __future__ import annotations

import numpy as np

from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Space
from braindecode_hub_speech_wav2vec.audio import RATE
from braindecode_hub_speech_wav2vec.mel import SUPPORT_S, mel_power

BANDS = 28
COMPRESSION = 0.3


def envelope(audio: Array, rate: float, *, frame_rate: float = 50.0) -> Array:
    """Return the broadband envelope of audio (samples,) or (samples, channels) at `rate` Hz: (frames, 1) float64.

    Frame k is centred on second k / `frame_rate`; 1 is about speech at −26 dB of full scale. Raises as `mel_power`.
    """
    power = mel_power(audio, rate, frame_rate=frame_rate, bins=BANDS)
    return (power**COMPRESSION).mean(axis=1, keepdims=True)


def onset(envelope: Array, frame_rate: float) -> Array:
    """Return how fast an envelope (frames, 1) rises, per second, and 0 where it falls: (frames, 1) float64.

    Frame k compares frames k and k − 1; the first, which has none before it, is 0.
    """
    return np.maximum(np.diff(envelope, axis=0, prepend=envelope[:1]), 0.0) * frame_rate


class Envelope(Encoder):
    """Audio becomes its broadband envelope: (batch, samples) → (batch, frames, 1) float32 at `rate` Hz."""

    continuous = True
    requires = ("librosa",)

    def __init__(self, *, rate: float = 50.0) -> None:
        self.rate = rate

    @property
    def consumes(self) -> Space:
        """Audio at any rate; channels are averaged."""
        return Space("audio", ("time",), "*")

    @property
    def produces(self) -> Space:
        """One number a frame."""
        return Space("envelope", ("time", 1), self.rate)

    @property
    def support_s(self) -> float:
        """As of a mel frame."""
        return SUPPORT_S

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map audio at `batch.rate` (unknown: 16 kHz) to (batch, frames, 1) float32; raises as `mel_power`."""
        rate = float((batch.rate if batch is not None else None) or RATE)
        return np.stack([envelope(audio, rate, frame_rate=self.rate) for audio in x]).astype(np.float32)


class Onset(Envelope):
    """Audio becomes its acoustic onsets: (batch, samples) → (batch, frames, 1) float32 at `rate` Hz."""

    @property
    def produces(self) -> Space:
        """One number a frame, 0 or more."""
        return Space("onset", ("time", 1), self.rate)

    @property
    def support_s(self) -> float:
        """As of a mel frame, and one frame back."""
        return SUPPORT_S + 1.0 / self.rate

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map audio at `batch.rate` (unknown: 16 kHz) to (batch, frames, 1) float32; raises as `mel_power`."""
        return np.stack([onset(one, self.rate) for one in super().encode(x, batch)]).astype(np.float32)

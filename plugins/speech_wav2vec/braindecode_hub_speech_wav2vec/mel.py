"""speech_wav2vec/mel: the log-mel spectrogram that brain and speech are compared in, at exact frame times."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Space
from braindecode_hub_speech_wav2vec.audio import RATE, RESAMPLER_S, at_16_khz

N_FFT = 512
FLOOR = 1e-5
NOMINAL_DB = -26.0
"""Level, in dB of full scale, at which speech is recorded by convention (ITU-T P.56): power 1 in a mel."""
BLOCK = 4096
"""Frames transformed at once: bounds memory on long audio."""
SUPPORT_S = N_FFT / 2 / RATE + RESAMPLER_S + 1.0 / RATE
"""Seconds to either side that one frame depends on."""


def mel_power(audio: Array, rate: float, *, frame_rate: float = 50.0, bins: int = 40) -> Array:
    """Return the mel power of audio (samples,) or (samples, channels) at `rate` Hz: (frames, bins) float64.

    Frame k is centred on second k / `frame_rate` (to the nearest sample at 16 kHz), from 0 up to the audio's end.
    A periodic Hann window of 512 samples, |FFT|² over the window's energy, triangles of height 1 on Slaney's mel
    scale (librosa) from 0 to 8 kHz; 1 is the power of a signal at −26 dB of full scale. Raises HubError for
    audio that is silent, not finite, or shorter than a window, and for rates and bins that cannot be.
    """
    _check(frame_rate, bins)
    samples = at_16_khz(audio, rate)
    if len(samples) < N_FFT:
        cause = f"audio of {len(samples) / RATE:.3f} s is shorter than a mel frame ({N_FFT / RATE:.3f} s)"
        raise HubError(cause, "leave this trial out, or give longer audio")
    padded = np.pad(samples * 10.0 ** (-NOMINAL_DB / 20.0), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)
    centres = np.rint(np.arange(int(len(samples) * frame_rate / RATE + 1e-6) + 1) * RATE / frame_rate).astype(int)
    window = scipy.signal.windows.hann(N_FFT, sym=False)
    window /= np.sqrt(np.sum(window**2))
    filters = mel_filters(bins).T
    out = np.empty((len(centres), bins))
    for start in range(0, len(centres), BLOCK):
        rows = frames[centres[start : start + BLOCK]]
        out[start : start + BLOCK] = np.abs(scipy.fft.rfft(rows * window, axis=-1)) ** 2 @ filters
    return out


@lru_cache(maxsize=4)
def mel_filters(bins: int) -> Array:
    """Return (bins, 257) float64, read-only: librosa's triangles of height 1 on Slaney's scale, 0 to 8 kHz."""
    import librosa

    filters = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=bins, norm=None, dtype=np.float64)
    filters.flags.writeable = False
    return filters


def _check(frame_rate: float, bins: int) -> None:
    if not 1.0 <= frame_rate <= 1000.0:
        raise HubError(f"mel frames at {frame_rate:g} Hz", "give a rate from 1 to 1000 Hz, such as 50", usage=True)
    if not 1 <= bins <= 120:
        cause = f"{bins} mel bins cannot be told apart in {N_FFT} samples"
        raise HubError(cause, "give 1 to 120 bins, such as 40", usage=True)


class Mel(Encoder):
    """Audio becomes log10(mel power + 1e-5): (batch, samples) or (batch, samples, channels) → (batch, frames, bins).

    float32. `rate`: frames per second, frame k at second k / rate; `bins`: mel bins (the paper has 120, at 120 Hz).
    Every frame depends on 25 ms of audio, so what is cut before it is cut for good; the paper instead divides the
    audio by its SD first, which our fixed reference level stands for. Défossez et al. 2023. See `mel_power`.
    """

    continuous = True
    requires = ("librosa",)

    def __init__(self, *, rate: float = 50.0, bins: int = 40) -> None:
        self.rate = rate
        self.bins = bins

    @property
    def consumes(self) -> Space:
        """Audio at any rate; channels are averaged."""
        return Space("audio", ("time",), "*")

    @property
    def produces(self) -> Space:
        """Log-mel frames. HubError for a rate and bins that cannot be."""
        _check(self.rate, self.bins)
        return Space("mel", ("time", self.bins), self.rate)

    @property
    def support_s(self) -> float:
        """Half a window, and the resampler's reach at the lowest rate it accepts."""
        return SUPPORT_S

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map audio at `batch.rate` (unknown: 16 kHz) to (batch, frames, bins) float32; raises as `mel_power`."""
        rate = float((batch.rate if batch is not None else None) or RATE)
        made = [mel_power(audio, rate, frame_rate=self.rate, bins=self.bins) for audio in x]
        return np.log10(np.stack(made) + FLOOR).astype(np.float32)

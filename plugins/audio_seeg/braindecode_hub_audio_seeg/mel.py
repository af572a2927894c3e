"""Log-mel spectrograms as pretrained vocoders were trained on, and the encoder that makes them the target.

The defaults are those of Tacotron 2 (Shen et al. 2018), WaveGlow and HiFi-GAN at 22,050 Hz.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.fft
import scipy.signal

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Space

BLOCK = 4096
"""Frames transformed at once: bounds memory on long recordings."""

LOWEST_RATE = 2000.0
"""Hz below which audio is refused: such a signal is no speech, and the resampler's reach is stated for it."""

ZERO_CROSSINGS = 16
"""Reach of the resampler to either side, in periods of the lower of the two rates."""


@dataclass(frozen=True)
class MelSpec:
    """What a mel spectrogram means: two spectrograms can be exchanged only if these are equal.

    `rate` Hz of the audio; `n_fft`, `hop`, `win` in samples; `fmin`, `fmax` Hz; `floor`: smallest magnitude
    before the logarithm; `scale`: the mel scale, Slaney's or HTK's; `norm`: "slaney" for triangles of equal
    area, or None. Raises HubError for values that do not fit together.
    """

    rate: int = 22050
    n_fft: int = 1024
    hop: int = 256
    win: int = 1024
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float = 8000.0
    floor: float = 1e-5
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney"] | None = "slaney"

    def __post_init__(self) -> None:
        if self.scale not in ("slaney", "htk") or self.norm not in ("slaney", None):
            raise HubError(
                f"mel filters {self.scale!r}/{self.norm!r} are unknown",
                "scale: slaney or htk; norm: slaney or null",
            )
        if not 0 <= self.fmin < self.fmax <= self.rate / 2:
            raise HubError(
                f"mel range {self.fmin:g}-{self.fmax:g} Hz does not fit audio at {self.rate} Hz",
                f"choose 0 <= fmin < fmax <= {self.rate / 2:g}",
            )
        if not (0 < self.win <= self.n_fft and self.hop > 0 and self.n_mels > 0 and self.floor > 0):
            raise HubError(f"{self} is impossible", "choose 0 < win <= n_fft, and hop, n_mels and floor above 0")

    @property
    def frame_rate(self) -> float:
        """Frames per second: frame n is centred on second n / frame_rate."""
        return self.rate / self.hop

    def differences(self, other: MelSpec) -> str:
        """Name the fields in which `other` differs ("scale slaney, not htk"); empty when they are equal."""
        fields = [field.name for field in dataclasses.fields(self)]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in fields]
        return "; ".join(f"{name} {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs)


def log_mel_spectrogram(audio: Array, spec: MelSpec | None = None) -> Array:
    """Return the log-mel of `audio` (samples,) at `spec.rate`: (1 + samples // hop, n_mels) float32.

    That is ln(max(mel magnitude, floor)). Frames are centred (reflect padding of n_fft / 2), the window is a
    periodic Hann, magnitudes are not squared. Integer audio is divided by its type's full scale (int16:
    32,768); floats are taken as they are. Raises HubError for audio that is not one channel, is empty, or
    holds NaN or infinity.
    """
    spec = spec or MelSpec()
    padded = np.pad(as_float(audio), spec.n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[:: spec.hop]
    frames = frames[: 1 + np.shape(audio)[0] // spec.hop]
    margin = (spec.n_fft - spec.win) // 2
    window = np.zeros(spec.n_fft)
    window[margin : margin + spec.win] = scipy.signal.windows.hann(spec.win, sym=False)
    filters = mel_filters(spec).T
    out = np.empty((len(frames), spec.n_mels), np.float32)
    for start in range(0, len(frames), BLOCK):
        magnitude = np.abs(scipy.fft.rfft(frames[start : start + BLOCK] * window, axis=-1))
        out[start : start + BLOCK] = np.log(np.maximum(magnitude @ filters, spec.floor))
    return out


def as_float(audio: Array) -> Array:
    """Return one channel of audio as float64, integers over full scale; raises HubError for what is none."""
    audio = np.asarray(audio)
    if audio.ndim != 1:
        raise HubError(
            f"audio has shape {audio.shape}, one channel is needed",
            "average its channels: audio.mean(axis=1)",
        )
    if audio.size == 0:
        raise HubError("audio is empty", "give at least one sample")
    if audio.dtype == np.uint8:
        return (audio.astype(np.float64) - 128.0) / 128.0
    if audio.dtype.kind == "i":
        return audio / -float(np.iinfo(audio.dtype).min)
    if audio.dtype.kind != "f":
        raise HubError(f"audio of type {audio.dtype} cannot be read", "give floats in [-1, 1] or signed integers")
    bad = np.flatnonzero(~np.isfinite(audio))
    if bad.size:
        raise HubError(
            f"audio holds {bad.size} samples that are NaN or infinite, first at {bad[0]}",
            "repair or cut them out",
        )
    return audio.astype(np.float64)


@lru_cache(maxsize=8)
def mel_filters(spec: MelSpec) -> Array:
    """Return the triangular filters of `spec` (Slaney 1998; HTK): (n_mels, 1 + n_fft // 2) float64,
    read-only.
    """
    edges = band_edges(spec)[:, None]
    bins = np.arange(1 + spec.n_fft // 2) * spec.rate / spec.n_fft
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if spec.norm == "slaney":
        filters *= 2.0 / (edges[2:] - edges[:-2])
    filters.flags.writeable = False
    return filters


def band_edges(spec: MelSpec) -> Array:
    """Return where the triangles begin, peak and end: (n_mels + 2,) Hz; filter i spans edges i to i + 2."""
    mels = np.linspace(_to_mel(spec.fmin, spec.scale), _to_mel(spec.fmax, spec.scale), spec.n_mels + 2)
    return np.array([_to_hz(mel, spec.scale) for mel in mels])


def _to_mel(hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    return hz * 3.0 / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def _to_hz(mel: float, scale: str) -> float:
    if scale == "htk":
        return 700.0 * (math.pow(10.0, mel / 2595.0) - 1.0)
    return mel * 200.0 / 3.0 if mel < 15.0 else 1000.0 * math.exp((mel - 15.0) * math.log(6.4) / 27.0)


def empty_bins(spec: MelSpec, source_rate: float) -> Array:
    """Tell which mel bins lie wholly above half of the audio's own rate, in Hz: (n_mels,) bool."""
    return band_edges(spec)[:-2] >= source_rate / 2


def resample(audio: Array, source_rate: float, rate: float) -> Array:
    """Resample (samples,) without delay: output sample k is at second k / rate; float64.

    Kaiser-windowed sinc (β = 9, about 90 dB), flat to 82 % of the lower Nyquist frequency. Raises HubError
    below 2 kHz.
    """
    if source_rate < LOWEST_RATE:
        raise HubError(
            f"audio at {source_rate:g} Hz is too slow for a mel spectrogram",
            f"give audio at {LOWEST_RATE:g} Hz or more",
        )
    audio = as_float(audio)
    if source_rate == rate:
        return audio
    ratio = (Fraction(rate) / Fraction(source_rate)).limit_denominator(20000)
    largest = max(ratio.numerator, ratio.denominator)
    taps = scipy.signal.firwin(2 * ZERO_CROSSINGS * largest + 1, 1.0 / largest, window=("kaiser", 9.0))
    return scipy.signal.resample_poly(audio, ratio.numerator, ratio.denominator, window=taps)


class Mel(Encoder):
    """Audio becomes its log-mel spectrogram: (batch, samples) → (batch, frames, n_mels) float32; see
    `MelSpec`.

    Audio at another rate (`batch.rate`; unknown: taken as `rate`) is resampled first; frame n is at second n
    · hop / rate.
    """

    continuous = True

    def __init__(
        self,
        *,
        rate: int = 22050,
        n_fft: int = 1024,
        hop: int = 256,
        win: int = 1024,
        n_mels: int = 80,
        fmin: float = 0.0,
        fmax: float = 8000.0,
        floor: float = 1e-5,
        scale: Literal["slaney", "htk"] = "slaney",
        norm: Literal["slaney"] | None = "slaney",
    ) -> None:
        self.rate = rate
        self.n_fft = n_fft
        self.hop = hop
        self.win = win
        self.n_mels = n_mels
        self.fmin = fmin
        self.fmax = fmax
        self.floor = floor
        self.scale = scale
        self.norm = norm

    @property
    def spec(self) -> MelSpec:
        """What the spectrogram means: a renderer compares it with its own."""
        return MelSpec(**self.configuration())

    @property
    def consumes(self) -> Space:
        """Audio of one channel, at any rate."""
        return Space("audio", ("time",), "*")

    @property
    def produces(self) -> Space:
        """Log-mel frames."""
        spec = self.spec
        return Space("mel", ("time", spec.n_mels), spec.rate / spec.hop)

    @property
    def support_s(self) -> float:
        """Half a window, and the resampler's reach at the lowest rate it accepts."""
        return self.spec.n_fft / 2 / self.spec.rate + ZERO_CROSSINGS / LOWEST_RATE

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map audio (batch, samples) to (batch, frames, n_mels) float32; raises HubError as
        `log_mel_spectrogram`.
        """
        rate = (batch.rate if batch is not None else None) or self.rate
        spec = self.spec
        return np.stack([log_mel_spectrogram(resample(audio, rate, self.rate), spec) for audio in x])

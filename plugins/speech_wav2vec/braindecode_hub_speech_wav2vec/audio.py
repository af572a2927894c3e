"""Sound as the target encoders want it: one channel, 16 kHz, checked; anything else is refused in one line."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import scipy.signal

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array

RATE = 16_000
"""Hz at which wav2vec 2.0 listens, and all that this plugin computes from sound."""

LOWEST_RATE = 2_000.0
"""Hz below which audio is refused: such a signal is no speech."""

ZERO_CROSSINGS = 16
"""Reach of the resampler to either side, in periods of the lower of the two rates."""

RESAMPLER_S = ZERO_CROSSINGS / LOWEST_RATE
"""Seconds to either side that one resampled sample depends on, at the lowest rate that is accepted."""


def mono(audio: Array) -> Array:
    """Return (samples,) or (samples, channels) as (samples,) float64, channels averaged.

    Integers are divided by their type's full scale. Raises HubError for audio that is empty, silent (constant),
    not finite, of another shape, or wider than long.
    """
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2) or 0 in audio.shape or (audio.ndim == 2 and audio.shape[1] > audio.shape[0]):
        raise HubError(f"audio has shape {audio.shape}", "give (samples,), or (samples, channels)")
    if audio.dtype == np.uint8:
        audio = (audio.astype(np.float64) - 128.0) / 128.0
    elif audio.dtype.kind == "i":
        audio = audio / -float(np.iinfo(audio.dtype).min)
    elif audio.dtype.kind != "f":
        raise HubError(f"audio of type {audio.dtype} cannot be read", "give floats in [-1, 1] or signed integers")
    one = audio.astype(np.float64)
    one = one.mean(axis=1) if one.ndim == 2 else one
    bad = np.flatnonzero(~np.isfinite(one))
    if bad.size:
        cause = f"audio holds {bad.size} samples that are NaN or infinite, first at {bad[0]}"
        raise HubError(cause, "repair or cut them out")
    if one.min() == one.max():
        raise HubError(
            "audio is silent: all samples are equal", "leave this trial out, or give the sound that was heard"
        )
    return one


def at_16_khz(audio: Array, rate: float) -> Array:
    """Return audio (samples,) or (samples, channels) at `rate` Hz as (samples,) float64 at 16 kHz.

    Sample k is at second k / 16000. Kaiser-windowed sinc (β = 9, about 90 dB), flat to 82 % of the lower Nyquist
    frequency. Raises HubError as `mono` does, and below 2 kHz.
    """
    if not rate >= LOWEST_RATE:
        cause = f"audio at {rate:g} Hz is too slow for speech"
        raise HubError(cause, f"give audio at {LOWEST_RATE:g} Hz or more")
    one = mono(audio)
    if rate == RATE:
        return one
    ratio = (Fraction(RATE) / Fraction(rate)).limit_denominator(20_000)
    largest = max(ratio.numerator, ratio.denominator)
    taps = scipy.signal.firwin(2 * ZERO_CROSSINGS * largest + 1, 1.0 / largest, window=("kaiser", 9.0))
    return np.asarray(scipy.signal.resample_poly(one, ratio.numerator, ratio.denominator, window=taps))

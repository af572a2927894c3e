"""Recordings that sound like a brain and know nothing: phase-randomised surrogates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from braindecode_hub.errors import HubError
from braindecode_hub.lazy import give_back, row_blocks


def surrogate(
    x: Any, rng: np.random.Generator, *, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """A phase-randomised recording: the spectra of x, and no memory of when anything happened.

    x: (channels, time), a whole recording, of which some channels are in memory at a time; `out`:
    where to put the result, such as a memmap. The same random phases are added in all channels, so
    spectra and cross-spectra are kept; DC and Nyquist stay as they are. Returns float32 of x's
    shape, any length. Raises HubError when x is empty or not finite. Prichard and Theiler 1994.
    """
    recording = x if hasattr(x, "shape") else np.asarray(x)
    if recording.ndim != 2 or 0 in recording.shape:
        raise HubError(f"the recording has shape {recording.shape}", "give (channels, time)")
    channels, time = recording.shape
    turn = np.exp(2j * np.pi * rng.random(time // 2 + 1))
    turn[0] = 1.0
    if time % 2 == 0:
        turn[-1] = 1.0
    kernel, size = fft.irfft(turn, n=time), time
    if fft.next_fast_len(time, real=True) != time:  # a prime length: convolve in a longer one and fold
        size = fft.next_fast_len(2 * time, real=True)
    turned = fft.rfft(kernel, n=size)
    out = np.empty((channels, time), dtype=np.float32) if out is None else out
    for rows in row_blocks(channels, time):
        spectrum = fft.rfft(recording[rows].astype(np.float64), n=size, axis=1)
        wave = fft.irfft(spectrum * turned, n=size, axis=1)
        wave[:, : min(time, size - time)] += wave[:, time : 2 * time]
        if not np.isfinite(wave).all():
            raise HubError("the recording holds NaN or infinity", "fill or drop those samples first")
        out[rows] = wave[:, :time]
        give_back([out])
    return out

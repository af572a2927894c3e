"""Which sampling rate would fit: a length in samples against a length in seconds."""

from __future__ import annotations

BRAIN_RATES = (
    *(100.0, 125.0, 128.0, 200.0, 250.0, 256.0, 300.0, 400.0, 500.0, 512.0, 600.0, 1000.0, 1024.0, 1200.0, 1250.0),
    *(2000.0, 2048.0, 2400.0, 2500.0, 3000.0, 4096.0, 4800.0, 5000.0, 8000.0, 10000.0, 16384.0, 20000.0, 24414.0625),
    *(25000.0, 30000.0, 32000.0),
)
"""Hz that amplifiers and downsampled public data have."""

SOUND_RATES = (8000.0, 11025.0, 12000.0, 16000.0, 22050.0, 24000.0, 32000.0, 44100.0, 48000.0, 96000.0)
"""Hz that sound is saved at."""

FITS = 0.005
"""A rate fits if the lengths then differ by less than this share."""


def fitting_rates(samples: int, seconds: float, known: tuple[float, ...] = BRAIN_RATES) -> list[tuple[float, float]]:
    """Return (Hz, parts per million by which `samples` at that rate are longer than `seconds`), the best fit first."""
    if samples <= 0 or seconds <= 0:
        return []
    found = [(rate, samples / rate / seconds - 1.0) for rate in known]
    near = [(rate, 1e6 * apart) for rate, apart in found if abs(apart) < FITS]
    return sorted(near, key=lambda pair: abs(pair[1]))


def rate_remedy(brain_samples: int, brain_s: float, sound_samples: int, sound_s: float, *, asks_sound: bool) -> str:
    """Return in words which rate of the brain would make both equally long; "" if no usual one does.

    `asks_sound`: the sound's rate was given too (it stands in no file), so that it may be the wrong one.
    """
    told = [f"--set dataset.rate={rate:g} would fit" for rate, _ in fitting_rates(brain_samples, sound_s)[:1]]
    if asks_sound:
        fitting = fitting_rates(sound_samples, brain_s, SOUND_RATES)[:1]
        told += [f"--set dataset.audio_rate={rate:g} would fit" for rate, _ in fitting]
    return ", or ".join(told)

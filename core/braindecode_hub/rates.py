"""Which sampling rate would fit: a length in samples against a length in seconds."""

from __future__ import annotations

BRAIN_RATES = (
    *(100.0, 125.0, 128.0, 200.0, 250.0, 256.0, 300.0, 400.0, 500.0, 512.0, 600.0, 1000.0, 1024.0, 1200.0, 1250.0),
    *(2000.0, 2048.0, 2400.0, 2500.0, 3000.0, 4096.0, 4800.0, 5000.0, 8000.0, 10000.0, 16384.0, 20000.0, 24414.0625),
    *(25000.0, 30000.0, 32000.0),
)
"""Hz that amplifiers and downsampled public data have."""

FITS = 0.005
"""A rate fits if the lengths then differ by less than this share."""


def fitting_rates(samples: int, seconds: float) -> list[tuple[float, float]]:
    """Return (Hz, parts per million by which `samples` at that rate are longer than `seconds`), the best fit first."""
    if samples <= 0 or seconds <= 0:
        return []
    found = [(rate, samples / rate / seconds - 1.0) for rate in BRAIN_RATES]
    near = [(rate, 1e6 * apart) for rate, apart in found if abs(apart) < FITS]
    return sorted(near, key=lambda pair: abs(pair[1]))

"""The null of a correlation: all circular shifts by FFT against a loop over 1000 of them, in one run.

30,000 frames × 23 bins, one unit over the whole stretch; prints CPU seconds, the ratio, and the largest difference
between the two on the shifts that both compute. Run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import time

import numpy as np

from braindecode_hub.metrics import correlation_per_unit
from braindecode_hub.nulls import shift_null

FRAMES, BINS, LOOP = 30_000, 23, 1000
REPEATS = 5


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    target = np.cumsum(rng.normal(size=(FRAMES, BINS)), axis=0)
    predicted = target + 50 * rng.normal(size=target.shape)
    taken = []
    for _ in range(REPEATS + 1):
        began = time.process_time()
        every = shift_null(target, predicted, FRAMES)
        taken.append(time.process_time() - began)
    ours = float(np.median(taken[1:]))
    shifts = np.linspace(0, FRAMES, LOOP, endpoint=False).astype(int)
    began = time.process_time()
    some = [correlation_per_unit(target[None], np.roll(predicted, shift, axis=0)[None])[0] for shift in shifts]
    loop = time.process_time() - began
    print(f"circular-shift null, {FRAMES} frames x {BINS} bins, CPU seconds")
    print(f"  all {FRAMES} shifts by FFT: {ours:.3f} (median of {REPEATS}, after a first call of {taken[0]:.3f})")
    print(f"  a loop over {LOOP} shifts: {loop:.2f}")
    print(f"  loop / ours: {loop / ours:.0f}")
    print(f"  largest difference: {np.abs(every[shifts] - some).max():.1e}")


if __name__ == "__main__":
    main()

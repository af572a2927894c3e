"""What weakens a score, and shows in the arrays alone: copies of the target, constants, turned axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braindecode_hub.types import Array

EQUAL = 1e-5
"""Values closer than this share of the targets' SD are equal: volts and teslas are told apart as well as counts."""


def flaws(
    guesses: Sequence[Array], truths: Sequence[Array], rate: float | None, train: Array | None
) -> tuple[list[str], list[str]]:
    """Return warnings and notes about predictions and targets, each (frames, bins), or (features,) without a rate."""
    warnings: list[str] = []
    notes: list[str] = []
    near = EQUAL * spread(truths)
    if rate is None:
        still = [not np.ptp(np.stack(truths).astype(np.float32), axis=0).any()] * len(truths)
    else:
        still = [not np.ptp(t.astype(np.float32), axis=0).any() for t in truths]
    same = sum(equal(g, t, near) for g, t, flat in zip(guesses, truths, still, strict=True) if not flat)
    if same and _are_choices(guesses, truths):
        notes.append(f"predictions are copies of targets, of their own in {same} of {len(truths)} trials: a choice")
    elif same:
        warnings.append(
            f"LEAK? in {same} of {len(truths)} trials the prediction equals the target: "
            "was the target copied, or fed to the decoder (teacher forcing)?"
        )
    if rate is None:
        flat = np.ptp(np.stack(guesses), axis=0) == 0
        what, constant, total = "the same for all trials in", int(flat.sum()), flat.size
    else:
        constant, total = sum(not np.ptp(g, axis=0).any() for g in guesses), len(guesses)
        what = "constant over time in"
    if constant:
        unit = "features" if rate is None else "trials"
        warnings.append(f"the prediction is {what} {constant} of {total} {unit}: there it correlates with nothing")
    if any(still):
        told = "is the same for all trials" if rate is None else f"is constant in {sum(still)} of {len(still)} trials"
        warnings.append(f"the target {told}, as far as float32 tells: there nothing can correlate with it")
    frames, bins = truths[0].shape if rate is not None else (0, 0)
    if len(truths) == 1 and bins > 4 * frames:
        warnings.append(f"the target has {frames} frames of {bins} bins: are the axes turned? Frames come first")
    if train is not None and rate is None:
        known = {row.tobytes() for row in np.asarray(train, np.float32)}
        seen = sum(np.asarray(t, np.float32).tobytes() in known for t in truths)
        if seen:
            warnings.append(f"{seen} of {len(truths)} test targets are among the training targets: a closed set?")
    return warnings, notes


def _are_choices(guesses: Sequence[Array], truths: Sequence[Array]) -> bool:
    """Say whether predictions are chosen among targets (classes, retrieved pictures): some are another trial's."""
    first, *_ = truths
    if any(t.shape != first.shape for t in truths):
        return False
    known = {np.asarray(t, np.float32).tobytes() for t in truths}
    rows = [
        (np.asarray(g, np.float32).tobytes(), np.asarray(t, np.float32).tobytes())
        for g, t in zip(guesses, truths, strict=True)
    ]
    return any(guess in known and guess != true for guess, true in rows)


def equal(a: Array, b: Array, near: float) -> bool:
    """Say whether two arrays are equal, but for `near` and what float32 rounds away."""
    rounded = 2 * float(np.finfo(np.float32).eps) * np.abs(b)
    return bool((np.abs(np.asarray(a, np.float64) - b) <= near + rounded).all())


def spread(targets: Sequence[Array] | Array) -> float:
    """Return the SD of all targets about the mean of their bin."""
    rows = np.concatenate([np.atleast_2d(one) for one in targets]).astype(np.float64)
    return float(np.sqrt(np.mean((rows - rows.mean(axis=0)) ** 2)))

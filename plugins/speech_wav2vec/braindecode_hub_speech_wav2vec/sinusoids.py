"""speech_wav2vec/sinusoids: a flicker as pairs of sine and cosine, and retrieval among such pairs whatever their phase.

How late the brain follows a flicker is not known to a fraction of its period, so a candidate is the *plane* that its
sine and cosine span, and EEG is scored by how much of it lies in that plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Space
from braindecode_hub.view import View

TARGET = "sinusoids"


class Sinusoids(Encoder):
    """Sine and cosine at the first `harmonics` multiples of a flicker's frequency, phase 0 at the window's start.

    `rate` (Hz) and `seconds`: of the windows of brain that they are compared with.
    """

    def __init__(self, *, harmonics: int = 5, seconds: float = 2.0, rate: float = 250.0) -> None:
        self.harmonics = harmonics
        self.seconds = seconds
        self.rate = rate

    @property
    def consumes(self) -> Space:
        """A frequency in Hz."""
        return Space("flicker", (1,))

    @property
    def produces(self) -> Space:
        """Rows sin, cos of the frequency itself, sin, cos of its double, …; static: the phase is nobody's clock."""
        return Space(TARGET, ("rows", "samples"))

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map frequencies (batch, 1) to (batch, 2 · harmonics, samples) float32, each row of mean square 1/2.

        Raises HubError for a harmonic that is not between 0 Hz and half the rate.
        """
        order = np.arange(1, self.harmonics + 1)
        frequencies = np.asarray(x, np.float64)[:, :1] * order
        wrong = frequencies[~((frequencies > 0) & (frequencies < self.rate / 2))]
        if self.harmonics < 1 or wrong.size or not self.seconds > 0:
            told = f"{wrong[0]:g} Hz at a rate of {self.rate:g} Hz" if wrong.size else "no harmonic, or no length"
            raise HubError(f"speech_wav2vec/sinusoids cannot make {told}", "give harmonics below rate / 2", usage=True)
        times = np.arange(round(self.seconds * self.rate)) / self.rate
        phase = 2 * np.pi * frequencies[:, :, None] * times
        rows = np.stack([np.sin(phase), np.cos(phase)], axis=2)
        return rows.reshape(len(frequencies), 2 * self.harmonics, -1).astype(np.float32)


@dataclass(frozen=True)
class Candidates:
    """The distinct training targets: `templates` (candidates, rows, samples), `counts` (candidates,) trials of each."""

    templates: Array
    counts: Array

    @classmethod
    def of(cls, view: View, name: str) -> Candidates:
        """Return those of a training view; HubError if its targets are no sinusoids as long as its windows."""
        if list(view.targets) != [TARGET]:
            cause = f"{name} chooses among sinusoids, and the targets are {', '.join(view.targets)}"
            raise HubError(cause, "targets: {sinusoids: [{use: speech_wav2vec/sinusoids}]}", usage=True)
        seen, samples = [], 0
        for batch in view.batches(64):
            seen.append(np.asarray(batch.target[TARGET], np.float32))
            samples = batch.brain.shape[-1]
        targets = np.concatenate(seen)
        if targets.shape[2] != samples:
            cause = f"{name}: a window has {samples} samples, its sinusoids have {targets.shape[2]}"
            remedy = "give dataset.seconds (or window.length_s), targets.sinusoids.0.seconds and .rate alike"
            raise HubError(cause, remedy, usage=True)
        flat, counts = np.unique(targets.reshape(len(targets), -1), axis=0, return_counts=True)
        if len(flat) < 2:
            raise HubError(f"{name} has only one candidate", "the training side needs two different targets")
        return cls(flat.reshape(-1, *targets.shape[1:]), counts)

    def numbers(self, targets: Array) -> Array:
        """Return which candidate each target (n, rows, samples) is, (n,); HubError for one that is none of them."""
        known = {template.tobytes(): number for number, template in enumerate(self.templates)}
        found = [known.get(np.ascontiguousarray(one, np.float32).tobytes()) for one in targets]
        if None in found:
            raise HubError("a target was never trained on", "the set of candidates is closed: split by block")
        return np.array(found, np.int64)

    def planes(self) -> Array:
        """Return an orthonormal basis of every harmonic's plane: (candidates, harmonics, 2, samples) float32."""
        count, rows, samples = self.templates.shape
        pairs = self.templates.reshape(count, rows // 2, 2, samples).astype(np.float64)
        basis, _ = np.linalg.qr(np.swapaxes(pairs, -1, -2))
        return np.ascontiguousarray(np.swapaxes(basis, -1, -2), np.float32)

    def placed(self, scores: Array) -> Array:
        """Return the points in target space whose centred cosine with candidate j is its score, up to one factor.

        scores: (n, candidates), higher is nearer; returns (n, rows, samples) float32. Core scores by the cosine of
        prediction and candidate, the mean c of the training targets subtracted from both. With t_j the candidates, the
        prediction is c + Σ a_k (t_k − c), where G a = d s for the Gram matrix G of the t_k − c and their lengths
        d: then ⟨prediction − c, t_j − c⟩ / d_j = s_j, less a constant that all candidates of one trial share (the
        t_k − c depend on one another, so scores are only told up to it). What is compared is therefore exactly the
        phase-invariant score, not the correlation with a sinusoid of phase 0.
        """
        shares = self.counts / self.counts.sum()
        flat = self.templates.reshape(len(self.templates), -1).astype(np.float64)
        center = shares @ flat
        away = flat - center
        lengths = np.linalg.norm(away, axis=1)
        wanted = np.asarray(scores, np.float64)
        wanted = wanted - (wanted @ (shares * lengths) / (shares @ lengths))[:, None]
        weights = (wanted * lengths) @ np.linalg.pinv(away @ away.T, rcond=1e-9, hermitian=True)
        return (center + weights @ away).reshape(-1, *self.templates.shape[1:]).astype(np.float32)

"""speech_wav2vec/cca: which flicker was looked at, by canonical correlation with each candidate; learns nothing."""

from __future__ import annotations

import numpy as np

from braindecode_hub.interfaces import Decoder, Encoder
from braindecode_hub.types import Array, Context, Prediction, Space
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.sinusoids import TARGET, Candidates

NAME = "speech_wav2vec/cca"


class Cca(Decoder):
    """The largest canonical correlation of a window with each candidate's sinusoids.

    Only which candidates there are is taken from the training side: spatial weights and phases are found anew in
    each window. Lin et al. 2006, IEEE Trans Biomed Eng 53:2610-2614.
    """

    control_refits = 10

    @property
    def consumes(self) -> Space:
        """EEG over time."""
        return Space("eeg", ("channels", "time"), "*")

    @property
    def produces(self) -> tuple[Space, ...]:
        """A place among the candidates' sinusoids: see `Candidates.placed`."""
        return (Space(TARGET, ("rows", "samples")),)

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Note the candidates. Raises HubError for targets that are no sinusoids as long as the windows."""
        candidates = Candidates.of(train, NAME)
        self.templates_, self.counts_ = candidates.templates, candidates.counts

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict {"sinusoids": (batch, rows, samples) float32} from z (batch, channels, samples)."""
        candidates = Candidates(self.templates_, self.counts_)
        bases = _basis(candidates.templates)
        scores = [np.linalg.svd(own.T @ bases, compute_uv=False)[:, 0] for own in _basis(z)]
        return {TARGET: candidates.placed(np.stack(scores))}


def _basis(rows: Array) -> Array:
    """Return an orthonormal basis of what (n, rows, samples) span without their means: (n, samples, rows)."""
    centred = np.asarray(rows, np.float64)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    return np.linalg.qr(np.swapaxes(centred, -1, -2))[0]

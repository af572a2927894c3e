"""speech_wav2vec/detrend: what drifts within a window is taken out of it, channel by channel."""

from __future__ import annotations

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import ANY, Array, Batch, Context, Space
from braindecode_hub.view import View

NAME = "speech_wav2vec/detrend"


class Detrend(Encoder):
    """Subtract from each channel of a window its least-squares polynomial of degree `degree` (0: its mean).

    Slow drift tells when a window was recorded. Where training windows lie close by, as in a split by sentence, that
    tells the story, the voice and the room: noise without any brain then finds the right window more often than
    chance. A polynomial looks no farther than the window itself, so nothing reaches over the border of the split.
    """

    def __init__(self, *, degree: int = 3) -> None:
        self.degree = degree

    @property
    def consumes(self) -> Space:
        """Channels over time."""
        return ANY

    @property
    def produces(self) -> Space:
        """The same."""
        return ANY

    def fit(self, train: View, val: View, ctx: Context) -> None:
        """Learn nothing; HubError for a negative degree, or what does not run in time."""
        if self.degree < 0:
            raise HubError(f"{NAME}: degree is {self.degree}", "give 0 (the mean) or more", usage=True)
        if train.space.time_axis != 1:
            raise HubError(f"{NAME} needs channels over time, and gets {train.space}", "put it first in the encoder")

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Return (batch, channels, time) float32 without its trend; exactly 0 where a channel stands still.

        What rounding leaves of such a channel would be scaled up to the size of the others.
        """
        x = np.asarray(x, np.float32)
        time = np.linspace(-1.0, 1.0, x.shape[-1])
        basis, _ = np.linalg.qr(np.polynomial.legendre.legvander(time, min(self.degree, x.shape[-1] - 1)))
        slow = (x.astype(np.float64) @ basis) @ basis.T
        still = x.max(axis=-1, keepdims=True) == x.min(axis=-1, keepdims=True)
        return np.where(still, np.float32(0.0), x - slow).astype(np.float32)

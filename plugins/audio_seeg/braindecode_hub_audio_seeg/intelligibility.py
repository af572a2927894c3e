"""Intelligibility of the rendered sound: STOI and its extended form, by the package pystoi."""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal

import numpy as np

from braindecode_hub.interfaces import Metric
from braindecode_hub.types import Array


class Stoi(Metric):
    """Short-time objective intelligibility of the rendered sound against the original (Taal et al. 2011).

    Its chance is not 0: look at it beside the score. A unit with too little sound to score (under 30 frames of 13 ms
    within 40 dB of the loudest) counts 0.
    """

    space = "mel"
    needs: ClassVar[Literal["prediction", "media"]] = "media"
    media_rate = 10_000.0
    requires = ("pystoi",)
    extended: ClassVar[bool] = False

    def per_unit(self, target: Array, predicted: Array) -> Array:
        """Score sound (units, samples) at 10 kHz against sound: (units,), at most 1."""
        pairs = zip(np.asarray(target, np.float64), np.asarray(predicted, np.float64), strict=True)
        return np.nan_to_num(np.array([self._one(clean, made) for clean, made in pairs]), nan=0.0)

    def _one(self, clean: Array, made: Array) -> float:
        """Score one unit; pystoi draws a little dither from numpy's global stream, which is put back afterwards."""
        from pystoi import stoi

        before = np.random.get_state()
        np.random.seed(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                return float(stoi(clean, made, int(self.media_rate), extended=self.extended))
        except RuntimeWarning:  # pystoi's way to say that too little of the original is sound
            return 0.0
        finally:
            np.random.set_state(before)


class Estoi(Stoi):
    """Extended STOI, which does not assume that bands are independent (Jensen & Taal 2016)."""

    extended = True

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
        from pystoi import stoi

        found = []
        for clean, made in zip(np.asarray(target, np.float64), np.asarray(predicted, np.float64), strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                try:
                    found.append(float(stoi(clean, made, int(self.media_rate), extended=self.extended)))
                except RuntimeWarning:  # pystoi's way to say that too little of the original is sound
                    found.append(0.0)
        return np.nan_to_num(np.array(found), nan=0.0)


class Estoi(Stoi):
    """Extended STOI, which does not assume that bands are independent (Jensen & Taal 2016)."""

    extended = True

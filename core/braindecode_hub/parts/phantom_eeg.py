"""core/phantom_eeg: simulated listeners with an EEG cap. SIMULATED: no brain was recorded."""

from __future__ import annotations

from typing import Any

from braindecode_hub.phantom.cochlea import DriveStatistics
from braindecode_hub.phantom.eeg import EegModel
from braindecode_hub.phantom.listening import FRAME_RATE, Listening
from braindecode_hub.types import Array


class PhantomEeg(Listening):
    """Listeners with an EEG cap (`phantom.eeg.EegModel`): `snr` as defined there, `channels` 32 or 16."""

    modality = "eeg"

    def __init__(
        self,
        *,
        snr: float = 0.3,
        channels: int = 32,
        stories: int = 8,
        subjects: int = 1,
        drift: float = 2e-5,
        seed: int = 0,
    ) -> None:
        self.snr = snr
        self.channels = channels
        self.stories = stories
        self.subjects = subjects
        self.drift = drift
        self.seed = seed

    def model(self, subject: str) -> EegModel:
        """Return the forward model of one subject."""
        return EegModel(channels=self.channels, snr=self.snr, subject=int(subject) - 1, seed=self.seed)

    def sensors(self, subject: str) -> dict[str, Any]:
        """Return cap positions, names and bads."""
        positions, names, bads = self.model(subject).geometry()
        return {
            "channels": names,
            "positions": positions,
            "position_frame": "head",
            "bads": bads,
            "line_freq": 50.0,
        }

    def statistics(self, drives: Array) -> DriveStatistics:
        """Return the statistics of the features that the cortex follows."""
        return self.model("01").statistics(drives, FRAME_RATE)

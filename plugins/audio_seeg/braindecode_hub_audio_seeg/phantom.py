"""audio_seeg/phantom: a simulated patient with depth electrodes who listens. SIMULATED: no brain was recorded."""

from __future__ import annotations

from typing import Any

from braindecode_hub.phantom.cochlea import DriveStatistics, drive_statistics
from braindecode_hub.phantom.listening import FRAME_RATE, Listening
from braindecode_hub.phantom.seeg import SeegModel
from braindecode_hub.types import Array


class Phantom(Listening):
    """Listeners with depth electrodes (`phantom.seeg.SeegModel`): `snr` and `contacts` as defined there."""

    modality = "seeg"

    def __init__(
        self,
        *,
        snr: float = 1.0,
        contacts: int = 48,
        shafts: int = 6,
        rate: float = 1024.0,
        line_freq: float = 50.0,
        bads: int = 2,
        stories: int = 8,
        subjects: int = 1,
        drift: float = 2e-5,
        seed: int = 0,
    ) -> None:
        self.snr = snr
        self.contacts = contacts
        self.shafts = shafts
        self.rate = rate
        self.line_freq = line_freq
        self.bads = bads
        self.stories = stories
        self.subjects = subjects
        self.drift = drift
        self.seed = seed

    def model(self, subject: str) -> SeegModel:
        """Return the forward model of one patient."""
        return SeegModel(
            contacts=self.contacts,
            shafts=self.shafts,
            rate=self.rate,
            snr=self.snr,
            line_freq=self.line_freq,
            bads=self.bads,
            seed=1000 * self.seed + int(subject),
        )

    def sensors(self, subject: str) -> dict[str, Any]:
        """Return contact positions, names, shafts and bads."""
        montage = self.model(subject).geometry()
        return {
            "channels": montage.names,
            "positions": montage.positions,
            "position_frame": "head",
            "bads": montage.bads,
            "shafts": montage.shafts,
            "line_freq": self.line_freq,
        }

    def statistics(self, drives: Array) -> DriveStatistics:
        """Return the statistics of the cochlea's drives."""
        return drive_statistics(drives, FRAME_RATE)

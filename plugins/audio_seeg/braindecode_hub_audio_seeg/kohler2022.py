"""audio_seeg/kohler2022: three patients with depth electrodes who listened to speech (OSF 7wf6n).

UNVERIFIED: written after the published description and tested on files made in that layout, never on the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from braindecode_hub.errors import HubError
from braindecode_hub.parts.pairs import Pair, Pairs
from braindecode_hub.types import Context

NODE = "osf://7wf6n"
PATIENTS = (1, 2, 3)


class Kohler2022(Pairs):
    """UNVERIFIED loader: `pN_sEEG.npy` (time × channels, 1024 Hz) and `pN_audio_final.npy` (22,050 Hz), N = 1, 2, 3.

    `patients`: which of them to fetch; `line_freq`: 50 Hz. The files' hashes are not known, so the first download is
    trusted, and checked from then on. Kohler et al. 2022, Neurons, Behavior, Data analysis, and Theory.
    """

    unverified: ClassVar[bool] = True
    licence = "see osf.io/7wf6n"
    source = "Kohler et al. 2022, OSF 7wf6n"

    rate = 1024.0
    audio_rate = 22050.0
    axis: Literal["auto", "time_first", "channels_first"] = "auto"

    def __init__(self, *, patients: list[int] = [1, 2, 3], line_freq: float = 50.0, bads: list[str] = []) -> None:  # noqa: B006
        self.patients = patients
        self.line_freq = line_freq
        self.bads = bads
        self.channels: list[str] = []

    @property
    def modality(self) -> str:
        """Depth electrodes; the published files do not say in which unit."""
        return "seeg"

    def pairs(self, ctx: Context | None) -> Sequence[Pair]:
        """Fetch both files of every patient asked for, once; HubError for a patient that there is not."""
        wrong = [number for number in self.patients if number not in PATIENTS]
        if wrong or not self.patients:
            cause = f"there is no patient {wrong[0]}" if wrong else "no patient is asked for"
            raise HubError(cause, "--set dataset.patients=[1,2,3]", usage=True)
        if ctx is None:
            raise HubError("audio_seeg/kohler2022 was not prepared", "call prepare(ctx) first")
        files = ("sEEG", "audio_final")
        found = {n: [ctx.fetch(f"{NODE}/p{n}_{file}.npy") for file in files] for n in sorted(set(self.patients))}
        return [Pair(f"p{n}", brain, sound, fetched=True) for n, (brain, sound) in found.items()]

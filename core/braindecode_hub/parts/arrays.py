"""core/arrays: one's own recordings as arrays in .npz files; `braindecode_hub.save_recording` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.parts.folder import local_path
from braindecode_hub.parts.matching import in_utf8, visible
from braindecode_hub.parts.npz import Npz
from braindecode_hub.parts.recording_fields import Given, recordings_in
from braindecode_hub.parts.recordings import Opened, Recordings
from braindecode_hub.types import Context, Signal, Space


class Arrays(Recordings):
    """Your own recordings as arrays: `path` is an .npz, a folder of them, or the URI of one; one recording each.

    Fields: `brain` (channels, time) and `rate` Hz, both needed; `audio` (samples,) and `audio_rate` Hz, or `targets`
    (frames, bins) and `targets_rate` Hz; as needed `channels` (channels,) names, `positions` (channels, 3) metres and
    `position_frame`, `bads` names, `breaks` seconds, `line_freq` Hz, `units`, `subject`, `session`, `simulated`.
    Several presentations: `events/onset`, `events/duration`, `events/stimulus_start` (seconds), `events/stimulus`,
    which names one of several `audio/NAME`, and groups such as `events/story`. Several recordings in one file:
    `NAME/brain`, `NAME/rate` … . Sounds of one name, in whichever recording, are one stimulus to every split.

    `brain`: what was recorded (seeg, eeg, meg …); `targets`: what the file's targets are (mel, envelope …), null to use
    its sound; `rate`, `audio_rate`, `targets_rate`, `line_freq` (Hz) go over the file's own, `bads` besides its own.
    Members are mapped into memory where they are stored uncompressed, else read whole up to 2 GB. Nothing is unpickled.
    """

    requires = ("soundfile",)
    licence = "your own"
    source = "arrays of your own"

    def __init__(
        self,
        *,
        path: str,
        brain: str = "eeg",
        targets: str | None = None,
        rate: float | None = None,
        audio_rate: float | None = None,
        targets_rate: float | None = None,
        line_freq: float | None = None,
        bads: list[str] = [],  # noqa: B006 (never changed: configuration)
    ) -> None:
        self.path = path
        self._brain = brain
        self.targets = targets
        self.rate = rate
        self.audio_rate = audio_rate
        self.targets_rate = targets_rate
        self.line_freq = line_freq
        self.bads = bads

    @property
    def brain(self) -> Space:
        """Every channel; its rate is the one that was given, else the file's."""
        return Space(self.modality, ("channels", "time"), float(self.rate) if self.rate else "*")

    @property
    def simulated(self) -> bool:  # type: ignore[override]
        """Whether any of the files says that no brain was recorded."""
        return any(one.simulated for one in self._all().values())

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound, or the targets, at the file's rate."""
        if self.targets is None:
            return (Space("audio", ("time",), "*"),)
        return (Space(self.targets, ("time", "bins"), "*"),)

    def open(self, ctx: Context | None) -> Iterator[Opened]:
        """Open every recording of every file by its headers."""
        given = Given(
            self.modality, self.targets, self.rate, self.audio_rate, self.targets_rate, self.line_freq, self.bads
        )
        heard: dict[str, Signal] = {}
        for path, where, fetched in self._files(ctx):
            name = Path(where.partition("#")[0]).stem
            for one in recordings_in(Npz(path, where), name, given, fetched=fetched):
                for id, sound in one.sounds.items():
                    if not _same(heard.setdefault(id, sound), sound):
                        raise HubError(f"{where} has another '{id}' than a recording before it", "rename one of them")
                yield one

    def _files(self, ctx: Context | None) -> list[tuple[Path, str, bool]]:
        if "://" in self.path and not self.path.startswith("file://"):
            if ctx is None:
                raise HubError(f"{self.path} was not fetched yet", "call prepare(ctx) first")
            return [(ctx.fetch(self.path), self.path, True)]
        path = local_path(self.path)
        found = [one for one in visible(path) if one.suffix.lower() == ".npz"] if path.is_dir() else [path]
        if not found:
            raise HubError(f"{path} holds no .npz", "write one with braindecode_hub.save_recording", usage=True)
        return [(in_utf8(one), str(one), False) for one in found]


def _same(one: Signal, other: Signal) -> bool:
    """Say whether two sounds of one name are one: then no split tells them apart."""
    return one is other or (one.rate == other.rate and np.array_equal(one.data, other.data))

"""The words that flow: Space, Signal, Recording, Trial, Batch, Artifact, Context.

Recording (lazy signals of one session) → Trial (a stretch of it; no data) → Batch (arrays) → Prediction
(named arrays) → Artifact (media). Nothing here imports numpy when the module is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from braindecode_hub.errors import HubError

if TYPE_CHECKING:
    import numpy as np

    from braindecode_hub.cache import Cache

Array = Any
"""Anything that slices like a numpy array; public functions say which shape and dtype they want."""

Prediction = dict[str, Array]
"""Arrays by Space name: `{"mel": (batch, frames, 80)}`."""

Event = dict[str, Any]
"""What happened, as plain data: always a `kind`, and whatever belongs to it."""

TIME = "time"
"""The name, in `Space.dims`, of the axis that runs at `Space.rate`."""


@dataclass(frozen=True)
class Space:
    """What an array means: a name, the axes of ONE item (no batch axis), and frames per second.

    `dims` holds axis names and fixed sizes: `("channels", "time")`, `("time", 80)`, `(512,)`. `rate` is in Hz,
    None for what does not run in time, and "*" for a rate that only the recording knows.
    """

    name: str
    dims: tuple[str | int, ...] = ()
    rate: float | Literal["*"] | None = None

    def __post_init__(self) -> None:
        if self.name == "*" or not self.dims:
            return
        if (TIME in self.dims) != (self.rate is not None):
            raise ValueError(f"{self}: a space has a rate if and only if it has a '{TIME}' axis")

    @property
    def time_axis(self) -> int | None:
        """The position of the time axis in `dims`, or None for a static space."""
        return self.dims.index(TIME) if TIME in self.dims else None

    def refuses(self, other: Space) -> str | None:
        """Say why an array of `other` cannot be fed to something that consumes this space; None if it can.

        The name "*" takes anything; an axis given by name takes any size; a size or a rate must be equal.
        """
        if self.name == "*":
            return None
        if self.name != other.name and other.name != "*":
            return f"needs {self.name}, gets {other.name}"
        if self.dims and other.dims:
            if len(self.dims) != len(other.dims):
                return f"needs axes {self.dims}, gets {other.dims}"
            for mine, theirs in zip(self.dims, other.dims, strict=True):
                both_named = isinstance(mine, str) and isinstance(theirs, str)
                both_sized = isinstance(mine, int) and isinstance(theirs, int)
                if (both_sized or (both_named and TIME in (mine, theirs))) and mine != theirs:
                    return f"needs axes {self.dims}, gets {other.dims}"
        if "*" not in (self.rate, other.rate) and self.rate != other.rate:
            return f"needs {_hz(self.rate)}, gets {_hz(other.rate)}"
        return None

    def after(self, incoming: Space) -> Space:
        """Return this produced space with what it leaves open ("*") filled in from what came in."""
        if self.name == "*":
            return incoming
        rate = incoming.rate if self.rate == "*" else self.rate
        return dataclasses.replace(self, rate=rate)

    def rate_behind(self, rate: float | None) -> float | None:
        """Return the rate, in Hz, of what makes this space out of something at `rate`."""
        return rate if self.name == "*" or self.rate == "*" else self.rate

    def __str__(self) -> str:
        axes = " × ".join(map(str, self.dims))
        return self.name + (f" ({axes})" if axes else "") + (f" at {_hz(self.rate)}" if self.rate else "")


def _hz(rate: float | str | None) -> str:
    if rate is None:
        return "no rate"
    return "any rate" if rate == "*" else f"{float(rate):g} Hz"


ANY = Space("*")
"""Consumed: whatever comes. Produced: the same as came in."""


@dataclass(frozen=True)
class Signal:
    """Samples with their meaning. `data` may be lazy: only slicing and `shape` are asked of it.

    A brain signal is (channels, samples); audio is (samples,); a stimulus feature is (frames, bins). An image, a
    caption or a set of labels has `rate` None.
    """

    data: Array
    rate: float | None
    modality: str
    channels: tuple[str, ...] = ()
    units: str = ""


@dataclass(frozen=True)
class Recording:
    """One session of one subject: its brain signal and what is known about the sensors.

    `positions` is (channels, 3) in metres in `position_frame`; `bads` are channel names; `shafts` names the shaft
    of each channel (depth electrodes); `line_freq` in Hz; `breaks` are the seconds where filters restart.
    """

    id: str
    subject: str
    session: str
    brain: Signal
    positions: Array | None = None
    position_frame: str | None = None
    bads: tuple[str, ...] = ()
    shafts: tuple[str, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    line_freq: float | None = None
    breaks: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the brain signal in seconds."""
        rate = self.brain.rate
        return float(self.brain.data.shape[-1]) / rate if rate else 0.0

    def about(self) -> Recording:
        """Return the sensors without the answers: no samples, no events. What an encoder may look at."""
        return dataclasses.replace(self, brain=dataclasses.replace(self.brain, data=None), events=())


@dataclass(frozen=True)
class Trial:
    """A stretch of a recording and the stretch of stimulus that goes with it; holds no data.

    `start`, `stop`: seconds in the recording. `stimulus_start`, `stimulus_stop`: seconds on the stimulus's own clock
    (drift is real: both ends are mapped linearly); None for a stimulus without a clock. `stimulus` None: nothing
    was presented. `groups`: subject, session, run, story, concept, block …, from which core makes the splits.
    """

    id: str
    recording: str
    start: float
    stop: float
    stimulus: str | None = None
    stimulus_start: float | None = None
    stimulus_stop: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Length in the recording, in seconds."""
        return self.stop - self.start

    def cut(self, start: float, stop: float, name: str) -> Trial:
        """Return the part of this trial between `start` and `stop` (recording seconds), its stimulus cut alike."""
        if self.stimulus_start is None or self.stimulus_stop is None:
            return dataclasses.replace(self, id=name, start=start, stop=stop)
        per_second = (self.stimulus_stop - self.stimulus_start) / self.seconds
        return dataclasses.replace(
            self,
            id=name,
            start=start,
            stop=stop,
            stimulus_start=self.stimulus_start + (start - self.start) * per_second,
            stimulus_stop=self.stimulus_start + (stop - self.start) * per_second,
        )

    def without_answers(self, number: int) -> Trial:
        """Return what a decoder may see of a test trial: a number, its length, subject and session."""
        known = {key: self.groups[key] for key in ("subject", "session") if key in self.groups}
        return Trial(f"test-{number:04d}", "", 0.0, self.seconds, groups=ShownGroups(known))


class ShownGroups(dict[str, str]):
    """The groups that a test trial shows; asking for another one is a HubError: it may hold the answer."""

    def __missing__(self, key: str) -> str:
        raise HubError(
            f"a test trial does not show its group '{key}': it may hold the answer",
            "learn and predict from the brain; only subject and session are known at test",
        )


class NoTargets(dict[str, Array]):
    """The targets of a test batch: none; asking for one is a HubError."""

    def __missing__(self, key: str) -> Array:
        raise HubError(
            f"a test batch has no target '{key}': nothing of the answer is shown at test",
            "predict from the brain alone (no teacher forcing, no test-set statistics)",
        )


@dataclass
class Batch:
    """Arrays of several windows.

    `brain`: (batch, …) in the space that the encoder chain has reached, float32; `target`: arrays by space name,
    none at test; `rate`: Hz of `brain`; `subject`: (batch,) index into the view's subjects; `positions`:
    (batch, channels, 3); `channel_mask`: (batch, channels), False where a montage has no such channel;
    `recording`: the sensors, when a continuous encoder runs over one stretch of one recording.
    """

    brain: Array
    trials: list[Trial]
    rate: float | None
    target: dict[str, Array] = field(default_factory=dict)
    subject: Array | None = None
    positions: Array | None = None
    channel_mask: Array | None = None
    recording: Recording | None = None

    def __len__(self) -> int:
        return len(self.trials)

    def behind(self, produces: Space, x: Array) -> Batch:
        """Return this batch as it stands behind a step that made `x`: its `brain` and its `rate`."""
        return dataclasses.replace(self, brain=x, rate=produces.rate_behind(self.rate))


@dataclass(frozen=True)
class Artifact:
    """A piece of media: its encoded bytes, and the array they were made from (metrics read that).

    `array`: audio (samples,) float32 in [-1, 1]; an image (height, width, 3); video (frames, height, width, 3).
    `rate`: Hz of audio or video. `media_type`: "audio/flac", "image/png" …
    """

    name: str
    media_type: str
    data: bytes
    array: Array
    rate: float | None = None

    @property
    def suffix(self) -> str:
        """The file name ending that belongs to `media_type`, with its dot."""
        known = {"audio/x-wav": ".wav", "audio/mpeg": ".mp3", "audio/flac": ".flac", "image/png": ".png"}
        return known.get(self.media_type, "." + self.media_type.rsplit("/", 1)[-1])


@dataclass(frozen=True)
class Context:
    """Everything a component may use that is not its own: passed, never global.

    `out`: the folder of this fit, for checkpoints and the like; None: write nothing (a control's refit);
    `cache`: what may be computed once and kept; `network`: may anything be downloaded; `log`: takes an `Event`;
    `downloads`: fetches a URI by its SHA-256 (see `fetch`).
    """

    seed: int = 0
    device: str = "cpu"
    out: Path | None = None
    cache: Cache | None = None
    log: Callable[[Event], None] = lambda event: None
    network: bool = True
    downloads: Callable[[str, str | None, Context], Path] | None = None

    def rng(self, *key: str | int) -> np.random.Generator:
        """Return the random stream of `key`: the same for the same seed and key, whatever else was drawn."""
        import numpy as np

        text = "\x1f".join([str(self.seed), *map(str, key)])
        digest = hashlib.sha256(text.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    def fetch(self, uri: str, sha256: str | None = None) -> Path:
        """Return a local path for `uri` (file, https, osf, pypi, …), downloaded once and checked against `sha256`.

        Raises HubError when there is no network, nobody knows the scheme, or the bytes are not the pinned ones.
        """
        if self.downloads is None:
            raise HubError(
                f"cannot fetch {uri}: no fetcher was given",
                "use braindecode_hub.context(), or the command line",
            )
        return self.downloads(uri, sha256, self)

"""A simulated listener: the shipped speech, the drives it causes, a forward model's recording of each subject.

SIMULATED: no brain was recorded. Subclasses say which forward model; the rest of a Dataset is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.phantom import speech
from braindecode_hub.phantom.cochlea import DriveStatistics, cochleagram
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial

FRAME_RATE = 100.0
SILENCE_S = 1.0
"""Seconds before, between and after the stories."""


class ForwardModel(Protocol):
    """What a phantom's model offers: see `phantom.seeg.SeegModel` and `phantom.eeg.EegModel`."""

    @property
    def rate(self) -> float:
        """Hz of the volts."""
        ...

    def simulate(
        self, drives: Array, frame_rate: float, rng: np.random.Generator, statistics: DriveStatistics | None = None
    ) -> Array:
        """Return volts (channels, samples)."""

    def oracle(self, x: Array, rate: float, statistics: DriveStatistics) -> Array:
        """Return the sources (sources, frames) as who knows the model estimates them from `x`."""


class Listening(Dataset):
    """Subjects hear the shipped stories one after the other, 1 s of silence between them.

    `stories`: how many, from the first; `subjects`: how many; `drift`: how much slower the recording's clock runs
    than the stimulus's (5e-5 is 15 ms in 5 minutes); `seed` makes other subjects and other noise.
    """

    simulated = True
    licence = "simulated; speech: see phantom/speech/LICENSE.md"
    source = "braindecode-hub's own forward model and shipped speech"
    requires = ("soundfile",)
    modality = ""

    stories: int
    subjects: int
    drift: float
    seed: int
    _cache: Cache | None = None

    @abstractmethod
    def model(self, subject: str) -> ForwardModel:
        """Return the forward model of one subject."""

    @abstractmethod
    def sensors(self, subject: str) -> dict[str, Any]:
        """Return what a Recording says of the sensors: channels, positions, bads, shafts, line_freq …"""

    @abstractmethod
    def statistics(self, drives: Array) -> DriveStatistics:
        """Return the statistics of a corpus's drives that the model wants."""

    @property
    def brain(self) -> Space:
        """Volts of every channel."""
        return Space(self.modality, ("channels", "time"), self.model("01").rate)

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The speech itself, and its words."""
        return (Space("audio", ("time",), float(speech.RATE)), Space("words"))

    def prepare(self, ctx: Context) -> None:
        """Simulate every subject once (kept in the cache)."""
        known = speech.stories()
        if not 1 <= self.stories <= len(known):
            raise HubError(
                f"there are {len(known)} stories, not {self.stories}",
                f"--set dataset.stories={len(known)}",
                usage=True,
            )
        self._cache = ctx.cache
        recordings = self._recordings()
        for number, recording in enumerate(recordings):
            ctx.log({"kind": "progress", "stage": "simulate", "done": number, "total": len(recordings)})
            try:
                self._volts(recording)
            except (ValueError, ArithmeticError, MemoryError) as error:  # numbers that no model can be built of
                cause = f"recording {recording} cannot be simulated: {error}"
                raise HubError(cause, "see `describe` for the dataset's usual numbers", usage=True) from error
        ctx.log({"kind": "progress", "stage": "simulate", "done": len(recordings), "total": len(recordings)})

    def trials(self) -> Sequence[Trial]:
        """Return one trial for each story and recording."""
        found = []
        for recording, (subject, session) in self._recordings().items():
            for story, start in self._schedule():
                groups = {"subject": subject, "session": session, "story": story.id, "voice": story.voice}
                stop = start + story.seconds * (1 + self.drift)
                name = f"{recording}/{story.id}"
                found.append(Trial(name, recording, start, stop, story.id, 0.0, story.seconds, groups))
        return found

    def recording(self, id: str) -> Recording:
        """Return a simulated recording; by default there is one of each subject, called as the subject is."""
        known = self._recordings()
        if id not in known:
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, known))
        subject, session = known[id]
        sensors = dict(self.sensors(subject))
        names = sensors.pop("channels")
        signal = Signal(self._volts(id), self.model(subject).rate, self.modality, names, "V")
        return Recording(id, subject, session, signal, **sensors)

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return a story's audio (samples,) float32, or its words as (text, start, stop) in seconds."""
        if space.name == "words":
            said = next(story.words for story in speech.stories() if story.id == id)
            return Signal([(word.text, word.start, word.stop) for word in said], None, "words")
        return Signal(speech.audio(id), float(speech.RATE), "audio")

    def oracle(self, id: str) -> Signal:
        """Return the drives as an observer of this recording estimates them who knows the whole forward model."""
        model = self.model(self._recordings()[id][0])
        sources = self._kept(
            {"oracle": id},
            lambda: model.oracle(np.asarray(self._volts(id), float), model.rate, self._corpus()),
        )
        rate = FRAME_RATE if self._corpus().frame_rate == FRAME_RATE else self._corpus().frame_rate
        return Signal(sources, rate, "oracle")

    def fingerprint(self) -> str:
        """Return a hash of the speech and of the whole configuration."""
        sounds = [(story.id, story.seconds) for story in speech.stories()[: self.stories]]
        return Cache.key(
            kind=type(self).__qualname__,
            version=self.version,
            configuration=self.configuration(),
            speech=sounds,
        )

    def _subjects(self) -> list[str]:
        return [f"{number:02d}" for number in range(1, self.subjects + 1)]

    def _recordings(self) -> dict[str, tuple[str, str]]:
        """Return subject and session of every recording by its id."""
        return {subject: (subject, "1") for subject in self._subjects()}

    def _schedule(self) -> list[tuple[speech.Story, float]]:
        at, found = SILENCE_S, []
        for story in speech.stories()[: self.stories]:
            found.append((story, at))
            at += story.seconds * (1 + self.drift) + SILENCE_S
        return found

    def _drives(self) -> Array:
        """Return the drives (bands, frames) of the whole recording, on its own clock."""

        def make() -> Array:
            schedule = self._schedule()
            last, start = schedule[-1]
            seconds = start + last.seconds * (1 + self.drift) + SILENCE_S
            drives: Array | None = None
            times = np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE
            for story, begins in schedule:
                heard = cochleagram(speech.audio(story.id), speech.RATE / (1 + self.drift), frame_rate=FRAME_RATE)
                drives = np.zeros((len(heard), len(times)), np.float32) if drives is None else drives
                own = begins + np.arange(heard.shape[1]) / FRAME_RATE
                inside = (times >= own[0]) & (times <= own[-1])
                for band, row in enumerate(heard):
                    drives[band, inside] = np.interp(times[inside], own, row)
            assert drives is not None
            return drives

        return self._kept({"drives": True}, make)

    def _corpus(self) -> DriveStatistics:
        return self.statistics(np.asarray(self._drives()))

    def _volts(self, recording: str) -> Array:
        def make() -> Array:
            rng = Context(seed=self.seed).rng(type(self).__qualname__, recording)
            model = self.model(self._recordings()[recording][0])
            return model.simulate(np.asarray(self._drives()), FRAME_RATE, rng, self._corpus())

        return self._kept({"volts": recording}, make)

    def _kept(self, what: dict[str, Any], make: Any) -> Array:
        if self._cache is None:
            self._cache = Cache(None)
        return self._cache.array(
            {"phantom": self.fingerprint(), **what}, lambda allocate: np.asarray(make(), np.float32)
        )

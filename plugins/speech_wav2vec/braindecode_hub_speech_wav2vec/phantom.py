"""speech_wav2vec/phantom: several simulated listeners, each with a cap of its own. SIMULATED: no brain was recorded.

Trials are sentences. The words of a trial are those of its stimulus (Space "words": text, start, stop) that lie
between the trial's `stimulus_start` and `stimulus_stop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.phantom_eeg import PhantomEeg
from braindecode_hub.phantom.caps import LAYOUTS
from braindecode_hub.phantom.eeg import EegModel
from braindecode_hub.phantom.speech import Story
from braindecode_hub.types import Context, Trial
from braindecode_hub_speech_wav2vec.sentences import Sentence, normalised, spans


class Phantom(PhantomEeg):
    """Listeners with EEG caps (`phantom.eeg.EegModel`), whose trials are the sentences of the shipped speech.

    `snr` as defined there; `layouts`: the caps (`phantom.caps.LAYOUTS`), dealt out to the subjects in turn: number,
    places, order and names of the sensors differ, as do bad channels, dipoles and latencies; `stories`: how many, from
    the first; `repeats`: how many sessions, in each of which every subject hears all of them again (other noise);
    `shortest_s`: every trial holds a window of so many seconds. Groups: subject, session, story, voice, and sentence
    (the text with case, punctuation and spaces folded).
    """

    def __init__(
        self,
        *,
        snr: float = 0.2,
        subjects: int = 4,
        layouts: list[str] = ["cap32", "clinical19", "lost27", "numbered28", "cap16"],  # noqa: B006 (never changed)
        stories: int = 8,
        repeats: int = 1,
        shortest_s: float = 3.0,
        drift: float = 2e-5,
        seed: int = 0,
    ) -> None:
        self.snr = snr
        self.subjects = subjects
        self.layouts = layouts
        self.stories = stories
        self.repeats = repeats
        self.shortest_s = shortest_s
        self.drift = drift
        self.seed = seed

    def model(self, subject: str) -> EegModel:
        """Return the forward model of one subject."""
        number = int(subject) - 1
        return EegModel(
            layout=self.layouts[number % len(self.layouts)], snr=self.snr, subject=number, seed=1000 + self.seed
        )

    def prepare(self, ctx: Context) -> None:
        """Simulate every session once (kept in the cache); HubError for a configuration that makes no sense."""
        self._check()
        super().prepare(ctx)
        kept = {trial.groups["sentence"] for trial in self.trials()}
        said = [normalised(sentence.text) for story, _ in self._schedule() for sentence in story.sentences]
        if not kept:
            raise HubError(
                f"no sentence can make a trial of {self.shortest_s:g} s",
                "--set dataset.shortest_s=3, which all but a few can",
                usage=True,
            )
        left = len({*said} - kept)
        if left:
            ctx.log({"kind": "note", "text": f"{left} of {len(said)} sentences are shorter than {self.shortest_s:g} s"})

    def trials(self) -> Sequence[Trial]:
        """Return one trial for each sentence of each story and session; no second belongs to two."""
        return [part for whole in super().trials() for part in self._sentences(whole)]

    def _sentences(self, whole: Trial) -> list[Trial]:
        story = next(story for story, _ in self._schedule() if story.id == whole.stimulus)
        per_second = whole.seconds / story.seconds
        found = []
        for number, (sentence, span) in enumerate(zip(story.sentences, self._spans(story), strict=True), start=1):
            if span is None:
                continue
            start, stop = (whole.start + second * per_second for second in span)
            cut = whole.cut(start, stop, f"{whole.id}/{number:02d}")
            groups = {**whole.groups, "sentence": normalised(sentence.text)}
            found.append(replace(cut, stimulus_start=span[0], stimulus_stop=span[1], groups=groups))
        return found

    def _spans(self, story: Story) -> list[tuple[float, float] | None]:
        said = [Sentence(one.text, one.start, one.stop) for one in story.sentences]
        return spans(said, story.seconds, self.shortest_s)

    def _recordings(self) -> dict[str, tuple[str, str]]:
        sessions = [str(number) for number in range(1, self.repeats + 1)]
        names = {(s, n): s if n == "1" else f"{s}-{n}" for s in self._subjects() for n in sessions}
        return {name: both for both, name in names.items()}

    def _check(self) -> None:
        for name in ("subjects", "repeats"):
            if getattr(self, name) < 1:
                raise HubError(f"{name} is {getattr(self, name)}", f"--set dataset.{name}=1 or more", usage=True)
        if not self.snr >= 0:
            raise HubError(f"snr is {self.snr:g}", "--set dataset.snr=0.3, or 0 for no response", usage=True)
        if not self.shortest_s > 0:
            raise HubError(f"shortest_s is {self.shortest_s:g} s", "--set dataset.shortest_s=3", usage=True)
        if not self.layouts:
            raise HubError("there is no layout", f"--set dataset.layouts=[{', '.join(LAYOUTS)}]", usage=True)
        for layout in self.layouts:
            if layout not in LAYOUTS:
                raise HubError(f"there is no layout '{layout}'", did_you_mean(layout, LAYOUTS), usage=True)

"""speech_wav2vec/retrieved_speech: each window of the brain played back as the candidate that it is nearest to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import RETRIEVAL, Candidate, Renderer
from braindecode_hub.media import audio_bytes
from braindecode_hub.metrics import similarity
from braindecode_hub.types import Array, Artifact, Context, Prediction, Space


class RetrievedSpeech(Renderer):
    """Joins, in order, the sound of the candidate nearest to each window (cosine), as one .wav.

    `fade_s`: how long each piece fades in and out, so that joints do not click; `pause_s`: silence between pieces.
    Nothing is synthesised: what is heard are stretches of the test side's own stimuli.
    """

    requires = ("soundfile",)
    retrieves = True

    _candidates: Mapping[str, Candidate] = {}

    def __init__(self, *, fade_s: float = 0.01, pause_s: float = 0.1) -> None:
        self.fade_s = fade_s
        self.pause_s = pause_s

    @property
    def consumes(self) -> tuple[Space, ...]:
        """Windows in the space that is compared."""
        return (Space(RETRIEVAL, ("units", "time", "dims"), "*"),)

    def index(self, candidates: Mapping[str, Candidate]) -> None:
        """Take what may be retrieved, by id; HubError if there is nothing, or nothing that can be heard."""
        if not candidates:
            raise HubError("there is nothing to retrieve from", "test on more than one window")
        silent = [name for name, one in candidates.items() if one.media is None or one.media.rate is None]
        if silent:
            raise HubError(f"candidate {silent[0]} has no sound", "retrieve from a dataset whose stimulus is audio")
        self._candidates = dict(candidates)

    def render(self, prediction: Prediction, ctx: Context) -> list[Artifact]:
        """Return the sound of {RETRIEVAL: (units, frames, dims)}; HubError before `index`."""
        if not self._candidates:
            raise HubError("speech_wav2vec/retrieved_speech has no candidates yet", "call index(candidates) first")
        known = list(self._candidates.values())
        places = np.stack([one.place for one in known])
        nearest = similarity(places, prediction[RETRIEVAL]).argmax(axis=1)
        rate = max(float(one.media.rate or 0.0) for one in known if one.media is not None)
        samples = np.concatenate([self._piece(known[k], rate) for k in nearest])
        return [Artifact("retrieved", "audio/wav", audio_bytes(samples, rate, ".wav"), samples, rate)]

    def _piece(self, one: Candidate, rate: float) -> Array:
        """Return one candidate's sound at `rate` Hz with faded ends, and the pause after it: (samples,) float32."""
        assert one.media is not None, "checked by index"
        sound = np.asarray(one.media.data, np.float32)
        if one.media.rate != rate:
            from scipy.signal import resample_poly

            sound = resample_poly(sound, round(rate), round(float(one.media.rate or rate))).astype(np.float32)
        count = min(round(self.fade_s * rate), len(sound) // 2)
        ramp = np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)
        faded = sound.copy()
        faded[:count] *= ramp
        faded[len(faded) - count :] *= ramp[::-1]
        return np.concatenate([faded, np.zeros(round(self.pause_s * rate), np.float32)])

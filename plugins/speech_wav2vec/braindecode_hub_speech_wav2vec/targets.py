"""speech_wav2vec/wav2vec2: what a frozen wav2vec 2.0 hears in speech, at 50 Hz on exact times, computed once.

Baevski et al. 2020; as the target of decoding, Défossez et al. 2023.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Space
from braindecode_hub_speech_wav2vec.audio import RATE, at_16_khz
from braindecode_hub_speech_wav2vec.wav2vec2_model import ModelFolder, load_model

PAPER_MODEL = "facebook/wav2vec2-large-xlsr-53"
PAPER_LAYERS = (14, 15, 16, 17, 18)
FRAME_RATE = 50.0
HOP = 320
CORE_S, CONTEXT_S = 20.0, 5.0
"""Audio is heard in windows of 30 s, 20 s apart; frames are taken from the middle of each."""
DTYPES = ("float32", "bfloat16")


class Wav2Vec2Features:
    """The mean of some hidden states of a wav2vec 2.0 model: audio → (frames, dims) float16 at 50 Hz.

    `model`: a hub name or a local folder; `layers`: hidden states that are averaged, 0 being what enters the
    transformer and n what its n-th layer gives (with stable layer norm the last one lacks the final norm);
    `dtype`: "float32" or "bfloat16", in which it computes; `network`: a hub name may be downloaded; `cache`: where
    features are kept, by the hashes of audio and model, so once for an audio file whoever heard it.

    Frame k is centred on second k / 50: the model sees 25 ms of audio there, cut so that no frame is interpolated.
    The first frame, and the last one or two, repeat their neighbours, as half of their audio does not exist. Audio
    is brought to mean 0 and variance 1 as a whole, if the model's preprocessor says so, and is never padded.

    Longer than 30 s, it is heard in overlapping windows of exactly 30 s, so a frame knows 5 s or more to either side
    (less at the audio's ends). How far that is from hearing it in one piece depends on the model: measured on 70 s
    of speech with small random ones, in units of each dimension's SD, RMS 1 % and 5 % at most with layer norm (as the
    paper's model has); 8 % and 92 % with group norm, whose first layer takes its statistics from the window. Where
    random weights are six times as wide, so that attention is sharp, 26 % and 62 %. Not measured on trained weights.
    """

    def __init__(
        self,
        model: str = PAPER_MODEL,
        layers: tuple[int, ...] = PAPER_LAYERS,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        network: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self.model, self.layers, self.dtype = model, tuple(layers), dtype
        self.device, self.network = device, network
        self.cache = Cache(default_folder()) if cache is None else cache

    def __call__(self, audio: Array, rate: float) -> Array:
        """Return (1 + seconds · 50, dims) float16, read-only, of audio (samples,) or (samples, channels) at `rate` Hz.

        HubError for absent weights, another kind of model, layers it has not, and audio as `audio.mono` refuses.
        """
        folder = self.folder()
        sha256 = folder.sha256(self.cache)
        given = np.ascontiguousarray(audio)
        key = {
            "kind": "wav2vec2",
            "audio": [hashlib.sha256(given).hexdigest(), str(given.dtype), list(given.shape), float(rate)],
            "model": sha256,
            "layers": list(self.layers),
            "computed": [self.dtype, self.device.split(":")[0], CORE_S, CONTEXT_S, Wav2Vec2.version_of_code],
        }
        return self.cache.array(key, lambda allocate: self._compute(at_16_khz(given, rate), folder, sha256))

    def folder(self) -> ModelFolder:
        """Return where the model lies, checked against what is asked of it; HubError as `__call__`."""
        folder = ModelFolder.find(self.model, network=self.network)
        if not self.layers or not all(0 <= layer <= folder.layers for layer in self.layers):
            cause = (
                f"layers {list(self.layers)} are asked of {self.model}, which has hidden states 0 to {folder.layers}"
            )
            middle = range(max(1, folder.layers // 2), max(1, folder.layers * 3 // 4) + 1)
            raise HubError(cause, f"choose among them, such as layers: {list(middle)}", usage=True)
        if folder.hop != HOP:
            cause = f"{self.model} makes a frame every {folder.hop} samples, not {HOP}"
            raise HubError(cause, "give a model of wav2vec 2.0's frame rate")
        if self.dtype not in DTYPES:
            raise HubError(f"dtype is {self.dtype!r}", f"choose {' or '.join(DTYPES)}", usage=True)
        return folder

    def _compute(self, samples: Array, folder: ModelFolder, sha256: str) -> Array:
        """Return (1 + samples // 320, dims) float16 of audio (samples,) float64 at 16 kHz."""
        half = folder.field // 2
        first, last = -(-half // HOP), (len(samples) - half) // HOP
        if last < first:
            cause = f"audio of {len(samples) / RATE:.3f} s is too short for wav2vec 2.0"
            raise HubError(cause, f"give {(first * HOP + half) / RATE:.4f} s or more")
        if folder.normalise:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        out: Array | None = None
        for begin, end, low, high in windows(first, last + 1):
            made = self._hear(samples[begin * HOP - half : (end - 1) * HOP - half + folder.field], folder, sha256)
            if len(made) != end - begin:
                raise HubError(
                    f"{self.model} makes {len(made)} frames where {end - begin} were due", "give another model"
                )
            if out is None:
                out = np.empty((1 + len(samples) // HOP, made.shape[1]), np.float16)
            out[low:high] = made[low - begin : high - begin]
        assert out is not None
        out[:first], out[last + 1 :] = out[first], out[last]
        if not np.isfinite(out).all():
            raise HubError(f"{self.model} gives features that are not finite in 16 bits", "choose other layers")
        return out

    def _hear(self, samples: Array, folder: ModelFolder, sha256: str) -> Array:
        import torch

        from braindecode_hub.torch import resolve_device, settings

        device = resolve_device(self.device)
        kept = min(folder.layers, max(self.layers) + 1)  # one more: the state asked for is then never the final one
        model = load_model(folder.path, sha256, kept, self.dtype, str(device))
        with settings(device), torch.inference_mode():
            given = torch.from_numpy(samples.astype(np.float32))[None].to(device, getattr(torch, self.dtype))
            states = model(given, output_hidden_states=True).hidden_states
            mean = torch.stack([states[layer][0].float() for layer in self.layers]).mean(dim=0)
        return np.asarray(mean.cpu().numpy())


def windows(first: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (begin, end, low, high): windows of frames that cover first … stop, and what is taken from each.

    All are of 30 s, the last one moved back to fit, unless one holds everything.
    """
    size, step = round((CORE_S + 2 * CONTEXT_S) * FRAME_RATE), round(CORE_S * FRAME_RATE)
    starts = [first] if stop - first <= size else [*range(first, stop - size, step), stop - size]
    low = first
    for number, begin in enumerate(starts):
        final = number == len(starts) - 1
        high = stop if final else (starts[number + 1] + begin + size) // 2
        yield begin, min(begin + size, stop), low, high
        low = high


class Wav2Vec2(Encoder):
    """Audio becomes wav2vec 2.0's hidden states: (batch, samples) → (batch, frames, dims) float32 at 50 Hz.

    `model`, `layers`, `dtype`: see `Wav2Vec2Features`; the defaults are the paper's. It looks over the whole of what
    it is given, which core cuts to one side of the split first: no context crosses that border. Nothing is ever
    downloaded here: get the weights beforehand with `hf download`. The hash of the weights is part of `version`.
    """

    continuous = True
    requires = ("torch", "transformers", "huggingface_hub")
    version_of_code = "1"

    def __init__(
        self,
        *,
        model: str = PAPER_MODEL,
        layers: tuple[int, ...] = PAPER_LAYERS,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.layers = layers
        self.dtype = dtype
        self.device = device

    @property
    def version(self) -> str:  # type: ignore[override]
        """Which code, and which weights: other files under the same name are another target."""
        features = self.features
        return f"{self.version_of_code} {features.folder().sha256(features.cache)}"

    @property
    def features(self) -> Wav2Vec2Features:
        """What does the work, with the user's cache."""
        return Wav2Vec2Features(self.model, tuple(self.layers), dtype=self.dtype, device=self.device)

    @property
    def consumes(self) -> Space:
        """Audio at any rate; channels are averaged."""
        return Space("audio", ("time",), "*")

    @property
    def produces(self) -> Space:
        """Hidden states; how many dimensions, the model knows (the paper's: 1024)."""
        return Space("wav2vec2", ("time", "dims"), FRAME_RATE)

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map audio at `batch.rate` (unknown: 16 kHz) to (batch, frames, dims) float32; raises as the features."""
        rate = float((batch.rate if batch is not None else None) or RATE)
        features = self.features
        made: list[Any] = [features(audio, rate) for audio in x]
        return np.stack(made).astype(np.float32)

"""Sound without any weights: Griffin-Lim for mel spectrograms, a modulated carrier for envelopes, and
`vocode` for files.
"""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder, Renderer
from braindecode_hub.media import AUDIO_FORMATS, audio_bytes
from braindecode_hub.types import Array, Artifact, Context, Prediction, Space
from braindecode_hub_audio_seeg.mel import Mel, MelSpec, log_mel_spectrogram, mel_filters, resample

LIMIT = 0.99
"""Largest sample that is written: what is louder is turned down as a whole, what is softer stays as it is."""

INVERSION_STEPS = 20
"""Richardson-Lucy steps from mel to linear magnitudes: the mel is then met with r above .999 (speech,
measured)."""

LOUDEST = 20.0
"""Log-mel above which a prediction is cut: a sine at full scale reaches 3."""


class MelVocoder(Renderer):
    """A renderer that understands one mel spectrogram, and refuses every other."""

    @property
    @abstractmethod
    def spec(self) -> MelSpec:
        """The mel spectrogram that it understands."""

    def check(self, spec: MelSpec) -> None:
        """Raise HubError, naming the fields, if a mel made by `spec` is not what this vocoder understands."""
        if differences := self.spec.differences(spec):
            raise HubError(
                f"this vocoder needs another mel spectrogram: {differences}", "give both the same parameters"
            )

    def refuses(self, target: Sequence[Encoder]) -> str | None:
        """Say in which fields the target's mel differs from this vocoder's; None if in none."""
        made = next((step.spec for step in target if isinstance(step, Mel)), None)
        return (self.spec.differences(made) or None) if made is not None else None


class GriffinLim(MelVocoder):
    """Log-mel frames become speech by fast Griffin-Lim (Griffin & Lim 1984; Perraudin et al. 2013, momentum
    .99).

    The fields of `MelSpec` say which mel it understands (`spec`); `iterations`: 32 as a rule, 60 sounds no
    better. The first phases are drawn from the run's seed. Another mel than its own is refused: see `check`.
    """

    requires = ("librosa", "soundfile")

    def __init__(
        self,
        *,
        iterations: int = 32,
        rate: int = 22050,
        n_fft: int = 1024,
        hop: int = 256,
        win: int = 1024,
        n_mels: int = 80,
        fmin: float = 0.0,
        fmax: float = 8000.0,
        floor: float = 1e-5,
        scale: Literal["slaney", "htk"] = "slaney",
        norm: Literal["slaney"] | None = "slaney",
    ) -> None:
        self.iterations = iterations
        self.rate = rate
        self.n_fft = n_fft
        self.hop = hop
        self.win = win
        self.n_mels = n_mels
        self.fmin = fmin
        self.fmax = fmax
        self.floor = floor
        self.scale = scale
        self.norm = norm

    @property
    def spec(self) -> MelSpec:
        """The mel spectrogram that it understands."""
        return MelSpec(**{name: getattr(self, name) for name in Mel.parameters()})

    @property
    def consumes(self) -> tuple[Space, ...]:
        """Log-mel frames at its own frame rate."""
        return (Space("mel", ("time", self.n_mels), self.rate / self.hop),)

    def sound(self, mel: Array, rng: np.random.Generator) -> Array:
        """Return (hop * (frames - 1),) float32 audio at `rate` for natural-log mel magnitudes (frames,
        n_mels).

        Raises HubError for fewer than 2 frames, another number of bins, and NaN or infinity (naming the first
        frame).
        """
        import librosa

        mel = checked_mel(mel, self.n_mels)
        magnitudes = linear_magnitudes(np.exp(np.minimum(mel, LOUDEST)), self.spec)
        audio = librosa.griffinlim(
            magnitudes.T.astype(np.float32),
            n_iter=self.iterations,
            hop_length=self.hop,
            win_length=self.win,
            n_fft=self.n_fft,
            momentum=0.99,
            random_state=rng,
        )
        return limited(audio)

    def render(self, prediction: Prediction, ctx: Context) -> list[Artifact]:
        """Make one artifact "speech" of `prediction["mel"]` (frames, n_mels); raises HubError as `sound`."""
        audio = self.sound(prediction["mel"], ctx.rng("griffin_lim", "phases"))
        return [Artifact("speech", "audio/flac", audio_bytes(audio, self.rate, ".flac"), audio, float(self.rate))]


class EnvelopeTone(Renderer):
    """A one-band envelope becomes a carrier that follows it; only the loudness is decoded, the carrier is
    ours.

    `carrier`: a "tone" of `frequency` Hz, or "noise" from the run's seed. `frame_rate`: Hz of the envelope;
    `rate`: Hz of the audio; `scale`: "linear" amplitude (below 0 is silence), or "db", relative to the
    loudest frame.
    """

    requires = ("soundfile",)

    def __init__(
        self,
        *,
        carrier: Literal["tone", "noise"] = "tone",
        frequency: float = 4000.0,
        frame_rate: float = 100.0,
        rate: int = 22050,
        scale: Literal["linear", "db"] = "linear",
    ) -> None:
        self.carrier = carrier
        self.frequency = frequency
        self.frame_rate = frame_rate
        self.rate = rate
        self.scale = scale

    @property
    def consumes(self) -> tuple[Space, ...]:
        """One band's envelope."""
        return (Space("envelope", ("time", 1), self.frame_rate),)

    def render(self, prediction: Prediction, ctx: Context) -> list[Artifact]:
        """Make one artifact "envelope" of `prediction["envelope"]` (frames, 1): round(frames * rate /
        frame_rate) samples.

        Raises HubError for another shape, NaN, or a frequency above half of `rate`.
        """
        if not 0 < self.frequency < self.rate / 2:
            raise HubError(f"a tone of {self.frequency:g} Hz does not fit audio at {self.rate} Hz", "lower frequency")
        envelope = checked_mel(prediction["envelope"], 1, "envelope")[:, 0]
        if self.scale == "db":
            envelope = 10.0 ** ((envelope - envelope.max()) / 20.0)
        seconds = np.arange(round(len(envelope) * self.rate / self.frame_rate)) / self.rate
        loudness = np.interp(seconds, np.arange(len(envelope)) / self.frame_rate, np.maximum(envelope, 0.0))
        if self.carrier == "noise":
            carrier = ctx.rng("envelope_tone", "noise").uniform(-1.0, 1.0, len(seconds))
        else:
            carrier = np.sin(2 * np.pi * self.frequency * seconds)
        audio = limited(loudness * carrier)
        return [Artifact("envelope", "audio/flac", audio_bytes(audio, self.rate, ".flac"), audio, float(self.rate))]


def checked_mel(mel: Array, bins: int, name: str = "mel") -> Array:
    """Return frames (frames, bins) in float64; raises HubError for another shape, and names the first NaN."""
    mel = np.asarray(mel, dtype=np.float64)
    if mel.ndim != 2 or mel.shape[1] != bins:
        turned = mel.ndim == 2 and mel.shape[0] == bins
        remedy = (
            "transpose it: time comes first" if turned else "give one item's frames, and a renderer of as many bins"
        )
        raise HubError(f"a {name} of shape {mel.shape} is not (frames, {bins})", remedy)
    if len(mel) < 2:
        raise HubError(f"a {name} of {len(mel)} frames makes no sound", "give at least 2 frames")
    bad = np.flatnonzero(~np.isfinite(mel).all(axis=1))
    if bad.size:
        raise HubError(
            f"frame {bad[0]} of the {name} holds NaN or infinity",
            "look into the decoder: its prediction is not finite",
        )
    return mel


def linear_magnitudes(mel: Array, spec: MelSpec) -> Array:
    """Return magnitudes (frames, 1 + n_fft // 2) whose mel is near the magnitudes `mel` (frames, n_mels).

    Richardson-Lucy steps (Richardson 1972; Lucy 1974), which weigh relative errors: soft bins count as loud
    ones do. Measured on speech: fit r .9997 against .991 for the pseudo-inverse and for least squares, which
    takes fifteen times as long.
    """
    filters = mel_filters(spec)
    weight = np.maximum(filters.sum(axis=0), 1e-12)
    area = np.maximum(filters.sum(axis=1, keepdims=True), 1e-12)
    magnitudes = mel @ (filters / area) + 1e-12
    for _ in range(INVERSION_STEPS):
        magnitudes *= ((mel / np.maximum(magnitudes @ filters.T, 1e-12)) @ filters) / weight
    return magnitudes


def limited(audio: Array) -> Array:
    """Return float32 audio, turned down as a whole if its peak exceeds LIMIT."""
    peak = float(np.abs(audio).max(initial=0.0))
    return (audio * (LIMIT / peak) if peak > LIMIT else audio).astype(np.float32)


def vocode(
    source: Path | str, out: Path | str, *, renderer: GriffinLim | None = None, ctx: Context | None = None
) -> Path:
    """Turn a log-mel file into a sound file, or a sound file into its copy synthesis; return `out`.

    `source`: .npy, .npz or .safetensors with natural-log mel (frames, n_mels) of the renderer's `spec`, in an
    array "mel" or the only one; or a sound file, whose channels are averaged. `out`: .wav, .flac, .mp3 or
    .ogg, written whole or not at all. Raises HubError for files of another kind, and as the renderer does.
    """
    from braindecode_hub.files import write_whole

    source, out = Path(source), Path(out)
    renderer, ctx = renderer or GriffinLim(), ctx or Context()
    if out.suffix.lower() not in AUDIO_FORMATS:
        raise HubError(
            f"{out.name} is no sound file that can be written", f"end its name in {', '.join(AUDIO_FORMATS)}"
        )
    if not source.is_file():
        raise HubError(f"{source} does not exist", "check the path")
    if out.exists() and out.samefile(source):
        raise HubError(f"{out} would take the place of what it is made from", "give another name", usage=True)
    stored = source.suffix.lower() in (".npy", ".npz", ".safetensors")
    mel = _stored_mel(source) if stored else log_mel_spectrogram(_stored_audio(source, renderer.rate), renderer.spec)
    [artifact] = renderer.render({"mel": mel}, ctx)
    write_whole(out, audio_bytes(artifact.array, renderer.rate, out.suffix.lower()))
    return out


def _stored_mel(path: Path) -> Array:
    if path.suffix.lower() == ".safetensors":
        from braindecode_hub.files import load_arrays

        arrays = load_arrays(path)[0]
    else:
        try:
            loaded = np.load(path, allow_pickle=False)
            arrays = {"mel": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise HubError(
                f"{path} cannot be read as arrays: {error}", "save it again with numpy.save, without objects"
            ) from error
    if "mel" not in arrays and len(arrays) != 1:
        raise HubError(f"{path} holds {sorted(arrays)}, but no 'mel'", "save the spectrogram under the name mel")
    mel = arrays.get("mel", next(iter(arrays.values())))
    if mel.dtype.kind not in "iuf":
        raise HubError(f"{path} holds {mel.dtype}, not numbers", "save the log-mel as float32")
    return mel[0] if mel.ndim == 3 and len(mel) == 1 else mel


def _stored_audio(path: Path, rate: float) -> Array:
    import soundfile

    try:
        audio, source_rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise HubError(
            f"{path} cannot be read as sound: {error}",
            "give a .wav, .flac, .ogg or .mp3 file, or a mel as .npy",
        ) from error
    return resample(audio.mean(axis=1), source_rate, rate)

"""WaveGlow and HiFi-GAN as renderers: pretrained weights from a file, the mel of Tacotron 2, sound like
Griffin-Lim's. Torch is imported when something is rendered.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.media import audio_bytes
from braindecode_hub.types import Array, Artifact, Context, Prediction, Space
from braindecode_hub_audio_seeg.mel import MelSpec
from braindecode_hub_audio_seeg.vocoder import MelVocoder, checked_mel, limited

if TYPE_CHECKING:
    from braindecode_hub_audio_seeg.hifigan import HifiGan
    from braindecode_hub_audio_seeg.waveglow import Denoiser, WaveGlow


class NeuralVocoder(MelVocoder):
    """What both share: the mel that they understand, one network per file and device, one artifact "speech"."""

    requires = ("torch", "soundfile")
    file: ClassVar[str] = ""
    path: str | None
    _loaded: tuple[Any, Any] | None = None

    @property
    def spec(self) -> MelSpec:
        """The mel spectrogram of the published weights: Tacotron 2's, natural logarithm."""
        return MelSpec()

    @property
    def rate(self) -> int:
        """Hz of the sound."""
        return self.spec.rate

    @property
    def consumes(self) -> tuple[Space, ...]:
        """Log-mel frames of Tacotron 2."""
        return (Space("mel", ("time", self.spec.n_mels), self.spec.frame_rate),)

    def render(self, prediction: Prediction, ctx: Context) -> list[Artifact]:
        """Make one artifact "speech" of `prediction["mel"]` (frames, 80): 256 * (frames - 1) samples at 22,050 Hz.

        Sample k is at the time of second k / rate of the mel, as with Griffin-Lim. Raises HubError for a mel of
        another shape or with NaN, without weights, and for weights that were trained on another mel.
        """
        mel = checked_mel(prediction["mel"], self.spec.n_mels)
        sound = self.sound(mel.T[None].astype(np.float32), ctx)
        if not np.isfinite(sound).all():
            raise HubError(
                "the vocoder made NaN or infinity of this mel", "look at the mel: is it natural-log and finite?"
            )
        audio = limited(sound[: self.spec.hop * (len(mel) - 1)])
        return [Artifact("speech", "audio/flac", audio_bytes(audio, self.rate, ".flac"), audio, float(self.rate))]

    @abstractmethod
    def sound(self, mel: Array, ctx: Context) -> Array:
        """Map a checked mel (1, 80, frames) float32 to sound that begins at frame 0's centre."""

    @abstractmethod
    def load(self, path: Path, device: str) -> tuple[Any, MelSpec]:
        """Return what `sound` needs of the weights in `path`, and the mel that they were trained on."""

    def network(self, ctx: Context) -> Any:
        """Return what `load` made of the weights, once per file and device."""
        if not self.path:
            raise HubError(
                f"{type(self).__name__} needs weights: {self.file}",
                "give its path (or a URI); Griffin-Lim (audio_seeg/griffin_lim) needs none",
            )
        from braindecode_hub.torch import resolve_device

        device = str(resolve_device(ctx.device))
        key = (self.configuration(), device)
        if self._loaded is None or self._loaded[0] != key:
            path = ctx.fetch(self.path) if "://" in self.path else Path(self.path)
            made, spec = self.load(path, device)
            if differences := self.spec.differences(spec):
                raise HubError(
                    f"{path} was trained on another mel spectrogram: {differences}",
                    f"use {self.file}",
                )
            self._loaded = key, made
        return self._loaded[1]


class WaveGlowRenderer(NeuralVocoder):
    """Log-mel frames become speech by WaveGlow (Prenger et al. 2018), from the published weights in `path`.

    `path`: a file of any published layout, or a URI; `sigma`: of the noise, 0.6 to 1 (the weights were trained at 1);
    `denoise`: how much of the network's own hum is taken out, 0 to 1; `chunk_frames`: computed at once, which bounds
    the memory. The noise is drawn from the run's seed, the same on every device.
    """

    file = "waveglow_256channels_universal_v5.pt or another published WaveGlow file (.pt or .safetensors)"

    def __init__(
        self, *, path: str | None = None, sigma: float = 0.9, denoise: float = 0.0, chunk_frames: int = 800
    ) -> None:
        self.path = path
        self.sigma = sigma
        self.denoise = denoise
        self.chunk_frames = chunk_frames

    def load(self, path: Path, device: str) -> tuple[tuple[WaveGlow, Denoiser | None], MelSpec]:
        """Return the network, and its denoiser if it is asked for."""
        from braindecode_hub_audio_seeg.waveglow import Denoiser, load_waveglow

        network = load_waveglow(path).to(device)
        return (network, Denoiser(network) if self.denoise else None), network.spec

    def sound(self, mel: Array, ctx: Context) -> Array:
        """Map a checked mel (1, 80, frames) to sound (256 * frames,) float32."""
        import torch

        if not (self.sigma >= 0 and self.denoise >= 0):
            raise HubError(f"sigma {self.sigma:g}, denoise {self.denoise:g}: below 0", "give 0 or more", usage=True)
        network, denoiser = self.network(ctx)
        rng = ctx.rng("waveglow", "noise")
        shapes = network.noise_shapes(1, mel.shape[2])
        noise = [torch.from_numpy(rng.standard_normal(shape, np.float32)) for shape in shapes]
        audio = network.infer(mel, self.sigma, noise, chunk=self.chunk_frames)
        return np.asarray((denoiser(audio, self.denoise) if denoiser else audio)[0].cpu())


class HifiGanRenderer(NeuralVocoder):
    """Log-mel frames become speech by HiFi-GAN (Kong et al. 2020), from the published generator in `path`.

    `path`: a checkpoint with its config.json beside it, .safetensors, or a URI; `config`: the path of that
    config.json, or v1 or v2.
    """

    file = "a published HiFi-GAN generator for 22,050 Hz (generator_v1 or generator_v2, with its config.json)"

    def __init__(self, *, path: str | None = None, config: str | None = None) -> None:
        self.path = path
        self.config = config

    def load(self, path: Path, device: str) -> tuple[HifiGan, MelSpec]:
        """Return the generator."""
        from braindecode_hub_audio_seeg.hifigan import load_hifigan

        network = load_hifigan(path, self.config).to(device)
        return network, network.spec

    def sound(self, mel: Array, ctx: Context) -> Array:
        """Map a checked mel (1, 80, frames) to sound; its first half hop is cut.

        HiFi-GAN was trained on frames centred half a hop later than Tacotron 2's, so its sound comes that much late.
        """
        network = self.network(ctx)
        return np.asarray(network.infer(mel)[0].cpu())[self.spec.hop // 2 :]

"""WaveGlow (Prenger, Valle & Catanzaro 2018): an invertible network that turns noise and a mel into speech.

Written from the paper and from Kingma & Dhariwal 2018 (Glow); it reads the published weights (`waveglow_files`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array
from braindecode_hub_audio_seeg.mel import MelSpec
from braindecode_hub_audio_seeg.waveglow_files import REMEDY, Shape, read_waveglow, write_waveglow

BIAS_FRAMES = 88
"""Length of the silent mel whose sound is the network's own hum."""


class WN(nn.Module):
    """What one coupling computes from half of the channels and the mel: a shift and a log scale for the other half.

    A WaveNet without causality: dilated convolutions with gated units, residual and skip connections.
    """

    def __init__(self, half: int, condition: int, shape: Shape) -> None:
        super().__init__()
        wide, layers = shape.channels, shape.layers
        self.start = nn.Conv1d(half, wide, 1)
        self.cond_layer = nn.Conv1d(condition, 2 * wide * layers, 1)
        self.in_layers = nn.ModuleList(
            nn.Conv1d(wide, 2 * wide, shape.kernel, dilation=2**i, padding=2**i * (shape.kernel - 1) // 2)
            for i in range(layers)
        )
        self.res_skip_layers = nn.ModuleList(
            nn.Conv1d(wide, 2 * wide if i < layers - 1 else wide, 1) for i in range(layers)
        )
        self.end = nn.Conv1d(wide, 2 * half, 1)
        for last in self.end.parameters():
            nn.init.zeros_(last)  # Kingma & Dhariwal: a new coupling changes nothing

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, half, steps) and (batch, n_mels * group, steps) to shift and log scale (batch, half, steps)."""
        x = self.start(x)
        wide, skipped = x.shape[1], 0
        # one layer's conditioning at a time: all layers' together would be the largest array by far
        parts = zip(*(whole.chunk(len(self.in_layers)) for whole in self.cond_layer.parameters()), strict=True)
        for inward, outward, (weight, bias) in zip(self.in_layers, self.res_skip_layers, parts, strict=True):
            gates = inward(x) + functional.conv1d(condition, weight, bias)
            out = outward(torch.tanh(gates[:, :wide]) * torch.sigmoid(gates[:, wide:]))
            if out.shape[1] > wide:
                x = x + out[:, :wide]
            skipped = skipped + out[:, -wide:]
        shift, log_scale = self.end(skipped).chunk(2, 1)
        return shift, log_scale


class Invertible1x1Conv(nn.Module):
    """Mixes the channels of each step by one invertible matrix (Kingma & Dhariwal 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 1, bias=False)
        nn.init.orthogonal_(self.conv.weight)

    def inverse(self) -> Tensor:
        """Return the weight (channels, channels, 1) that undoes this one; inverted in float64."""
        weight = self.conv.weight
        where = "cpu" if weight.device.type == "mps" else weight.device  # there is no float64 on mps
        inverse: Tensor = torch.linalg.inv(weight[..., 0].to(where, torch.float64))
        return inverse.to(weight.device, weight.dtype)[..., None]


class WaveGlow(nn.Module):
    """Noise and a log-mel become speech; speech and its log-mel become noise, and the change of volume.

    `shape`: its sizes; `spec`: the mel it was trained on. Natural logarithm of magnitudes, as `mel.MelSpec` says.
    """

    def __init__(self, shape: Shape | None = None, spec: MelSpec | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        self.spec = spec or MelSpec(n_mels=shape.n_mels, hop=shape.hop)
        if shape.hop % shape.group or shape.group % 2 or shape.early_size % 2 or shape.kernel % 2 == 0:
            raise HubError(f"{shape} is no WaveGlow", "group divides hop; group and early_size are even; kernel is odd")
        self.upsample = nn.ConvTranspose1d(shape.n_mels, shape.n_mels, shape.win, stride=shape.hop)
        sizes = [shape.group]
        for flow in range(1, shape.flows):
            sizes.append(sizes[-1] - shape.early_size * self.early(flow))
        if sizes[-1] < 2:
            raise HubError(f"{shape} has more early outputs than channels", "lower early_size, or raise early_every")
        self.left = sizes[-1]
        self.WN = nn.ModuleList(WN(size // 2, shape.n_mels * shape.group, shape) for size in sizes)
        self.convinv = nn.ModuleList(Invertible1x1Conv(size) for size in sizes)

    def early(self, flow: int) -> bool:
        """Tell whether `early_size` channels leave before this flow."""
        return flow > 0 and flow % self.shape.early_every == 0

    def steps(self) -> list[tuple[WN, Invertible1x1Conv]]:
        """Return the flows in the order from speech to noise: each one's coupling and mixing."""
        pairs = list(zip(self.WN, self.convinv, strict=True))
        return cast(list[tuple[WN, Invertible1x1Conv]], pairs)

    @property
    def reach(self) -> int:
        """Frames to either side that a sample depends on, through all flows and the upsampling."""
        each = (2**self.shape.layers - 1) * (self.shape.kernel - 1) // 2
        samples: int = self.shape.flows * each * self.shape.group
        return -(-samples // self.shape.hop) + -(-self.shape.win // self.shape.hop)

    def condition(self, mel: Tensor, samples: int) -> Tensor:
        """Upsample (batch, n_mels, frames) and group it: (batch, n_mels * group, samples // group)."""
        up: Tensor = self.upsample(mel)[..., :samples]
        if up.shape[-1] < samples:
            raise HubError(f"{mel.shape[-1]} frames of mel do not last for {samples} samples", "cut both alike")
        return up.reshape(*up.shape[:2], -1, self.shape.group).transpose(2, 3).flatten(1, 2)

    def forward(self, mel: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (batch, group, samples // group) and log |det dz/daudio| (batch,).

        mel: (batch, n_mels, frames); audio: (batch, samples), a multiple of `group`. z's channels stand in the
        order in which they leave: early ones first. The loss is z² / 2σ² summed, minus the log determinant.
        """
        if audio.shape[-1] % self.shape.group:
            raise HubError(f"{audio.shape[-1]} samples are no multiple of {self.shape.group}", "cut the audio")
        condition = self.condition(mel, audio.shape[-1])
        x = audio.reshape(len(audio), -1, self.shape.group).transpose(1, 2)
        outputs, log_det = [], audio.new_zeros(len(audio))
        for flow, (coupling, mixing) in enumerate(self.steps()):
            if self.early(flow):
                outputs.append(x[:, : self.shape.early_size])
                x = x[:, self.shape.early_size :]
            x = mixing.conv(x)
            kept, changed = x.chunk(2, 1)
            shift, log_scale = coupling(kept, condition)
            x = torch.cat([kept, changed * log_scale.exp() + shift], 1)
            log_det = log_det + log_scale.sum((1, 2))
            log_det = log_det + x.shape[-1] * torch.linalg.slogdet(mixing.conv.weight[..., 0])[1]
        return torch.cat([*outputs, x], 1), log_det

    def noise_shapes(self, batch: int, frames: int) -> list[tuple[int, int, int]]:
        """Return the shapes of the noise of `infer` in the order drawn.

        First (batch, 4, steps) for the last flow, then (batch, 2, steps) for each early output from the last to
        the first; steps = frames * hop // group; 4 and 2 in the published network.
        """
        steps = frames * self.shape.hop // self.shape.group
        early = sum(self.early(flow) for flow in range(self.shape.flows))
        return [(batch, size, steps) for size in (self.left, *[self.shape.early_size] * early)]

    def draw(self, batch: int, frames: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Draw the noise of `infer`, standard normal, on the CPU, in the order and shapes of `noise_shapes`."""
        return [torch.randn(shape, generator=generator) for shape in self.noise_shapes(batch, frames)]

    @torch.no_grad()
    def infer(
        self,
        mel: Tensor | Array,
        sigma: float = 1.0,
        noise: Sequence[Tensor] | None = None,
        *,
        seed: int | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        """Return speech (batch, hop * frames) float32 for log-mel (batch, n_mels, frames).

        `sigma` scales the noise: 0.6 to 1. `noise`: what `draw` returns; None draws it, from `seed` if there is one.
        `chunk`: frames computed at once, which bounds the memory; the neighbours that a sample depends on (`reach`)
        are computed with them, so the result is that of the whole. Raises HubError for a mel or noise of another
        shape, and for NaN.
        """
        mel = self._checked(mel)
        batch, _, frames = mel.shape
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        noise = self.draw(batch, frames, generator) if noise is None else list(noise)
        if [tuple(one.shape) for one in noise] != self.noise_shapes(batch, frames):
            raise HubError("the noise has another shape than the mel needs", "draw it by WaveGlow.draw")
        if chunk is None or chunk >= frames:
            return self._sound(mel, [one.to(mel) * sigma for one in noise])
        if chunk < 1:
            raise HubError(f"a chunk of {chunk} frames is none", "give 1 frame or more", usage=True)
        steps = self.shape.hop // self.shape.group
        out = mel.new_empty(batch, frames * self.shape.hop)
        for start in range(0, frames, chunk):
            stop = min(start + chunk, frames)
            first, last = max(0, start - self.reach), min(frames, stop + self.reach)
            part = [one[..., first * steps : last * steps].to(mel) * sigma for one in noise]
            sound = self._sound(mel[..., first:last], part)[:, (start - first) * self.shape.hop :]
            out[:, start * self.shape.hop : stop * self.shape.hop] = sound[:, : (stop - start) * self.shape.hop]
        return out

    def _sound(self, mel: Tensor, noise: list[Tensor]) -> Tensor:
        condition = self.condition(mel, mel.shape[-1] * self.shape.hop)
        x, *early = noise
        for flow, (coupling, mixing) in reversed(list(enumerate(self.steps()))):
            kept, changed = x.chunk(2, 1)
            shift, log_scale = coupling(kept, condition)
            x = torch.cat([kept, (changed - shift) * torch.exp(-log_scale)], 1)
            x = functional.conv1d(x, mixing.inverse())
            if self.early(flow):
                x = torch.cat([early.pop(0), x], 1)
        return x.transpose(1, 2).flatten(1)

    def _checked(self, mel: Tensor | Array) -> Tensor:
        mel = torch.as_tensor(mel, dtype=torch.float32, device=self.upsample.weight.device)
        if mel.ndim != 3 or mel.shape[1] != self.shape.n_mels or not mel.shape[2]:
            raise HubError(
                f"a mel of shape {tuple(mel.shape)} is not (batch, {self.shape.n_mels}, frames)",
                "bins come before time here; this network knows no other number of bins",
            )
        if not torch.isfinite(mel).all():
            raise HubError("the mel holds NaN or infinity", "look into the decoder: its prediction is not finite")
        return mel


def load_waveglow(path: Path | str) -> WaveGlow:
    """Return the network of a WaveGlow file of any published layout (`waveglow_files`), or of our .safetensors.

    On the CPU, in evaluation, weight norm folded in. Nothing in the file is run. Raises HubError, in one line, for a
    file that is missing, hostile (also a ValueError), truncated, or holds other shapes.
    """
    shape, spec, weights = read_waveglow(path)
    try:
        with torch.device("meta"):
            network = WaveGlow(shape, spec)
    except (RuntimeError, ValueError) as error:
        raise HubError(f"{path} holds no WaveGlow: {str(error).splitlines()[0][:120]}", REMEDY) from error
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name in sorted(wanted.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "absent"
        if found != wanted.get(name):
            raise HubError(f"{path}: {name} is {found}, not {wanted.get(name, 'known')}", REMEDY)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    for flow, (_, mixing) in enumerate(network.steps()):
        if not torch.linalg.cond(mixing.conv.weight.detach()[..., 0].double()) < 1e6:
            raise HubError(f"{path}: convinv.{flow} cannot be inverted", REMEDY)
    return network.eval().requires_grad_(False)


def save_waveglow(network: WaveGlow, path: Path | str) -> None:
    """Write a network to .safetensors; `load_waveglow` reads it back equal."""
    weights = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    write_waveglow(path, network.shape, network.spec, weights)


class Denoiser:
    """Takes the network's own hum out of its speech: what it makes of a silent mel without noise.

    Magnitudes (n_fft, hop and win of the mel) of frame 0 of infer(zeros(1, n_mels, 88), sigma=0) are subtracted from
    every frame, `strength` times, and not below zero; phases stay.
    """

    def __init__(self, network: WaveGlow) -> None:
        self.spec = network.spec
        silent = torch.zeros(1, network.shape.n_mels, BIAS_FRAMES)
        self.bias = self._transform(network.infer(silent, sigma=0.0))[:, :, :1].abs()

    def _transform(self, audio: Tensor) -> Tensor:
        spec = self.spec
        window = torch.hann_window(spec.win, device=audio.device)
        return torch.stft(audio, spec.n_fft, spec.hop, spec.win, window, return_complex=True)

    @torch.no_grad()
    def __call__(self, audio: Tensor, strength: float = 0.1) -> Tensor:
        """Return (batch, samples) without `strength` times the hum; 0 changes nothing."""
        if not strength:
            return audio
        samples = audio.shape[-1]
        spectrum = self._transform(functional.pad(audio, (0, max(0, self.spec.n_fft - samples))))
        softer = (spectrum.abs() - strength * self.bias.to(audio)).clamp(min=0.0)
        window = torch.hann_window(self.spec.win, device=audio.device)
        length = max(samples, self.spec.n_fft)
        out = torch.istft(
            torch.polar(softer, spectrum.angle()), self.spec.n_fft, self.spec.hop, self.spec.win, window, length=length
        )
        return out[..., :samples]

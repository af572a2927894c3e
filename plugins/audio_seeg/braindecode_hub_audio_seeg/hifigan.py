"""HiFi-GAN's generator (Kong, Kim & Bae 2020): a mel becomes speech, ten to a hundred times faster than WaveGlow.

Written from the paper; it reads the published checkpoints, `{"generator": state_dict}` with a config.json beside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, save_arrays
from braindecode_hub.pickles import read_torch
from braindecode_hub.types import Array
from braindecode_hub_audio_seeg.mel import MelSpec
from braindecode_hub_audio_seeg.waveglow_files import folded

SLOPE = 0.1
"""Of the leaky ReLUs; the one before the last convolution keeps torch's own, 0.01, as in the published weights."""

REMEDY = "get the published generator and its config.json again"


@dataclass(frozen=True)
class Config:
    """The sizes of a generator, under the names of its config.json; the defaults are V1's."""

    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    upsample_initial_channel: int = 512
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    num_mels: int = 80


V1 = Config()
V2 = Config(upsample_initial_channel=128)
VERSIONS = {"v1": V1, "v2": V2}


class ResBlock1(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair with a skip: (batch, channels, samples) stays so."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        half = (kernel - 1) // 2
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * half) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=half) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, samples) to the same shape."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            inner = dilated(functional.leaky_relu(x, SLOPE))
            x = x + plain(functional.leaky_relu(inner, SLOPE))
        return x


class HifiGan(nn.Module):
    """The generator: log-mel (batch, n_mels, frames) to speech (batch, hop * frames) in [-1, 1].

    Transposed convolutions upsample; after each, the mean of residual blocks with several receptive fields.
    """

    def __init__(self, config: Config = V1, spec: MelSpec | None = None) -> None:
        super().__init__()
        self.config = config
        self.hop = math.prod(config.upsample_rates)
        self.spec = spec or MelSpec(n_mels=config.num_mels, hop=self.hop)
        width = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.num_mels, width, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            width //= 2
            fields = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
            self.resblocks.extend(ResBlock1(width, size, dilations) for size, dilations in fields)
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mel (batch, n_mels, frames) to speech (batch, hop * frames)."""
        x = self.conv_pre(mel)
        fields = len(self.config.resblock_kernel_sizes)
        for index, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, SLOPE))
            blocks = self.resblocks[index * fields : (index + 1) * fields]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        return torch.tanh(self.conv_post(functional.leaky_relu(x)))[:, 0]

    @torch.no_grad()
    def infer(self, mel: Tensor | Array) -> Tensor:
        """Return speech (batch, hop * frames) float32; raises HubError for another shape, and for NaN."""
        mel = torch.as_tensor(mel, dtype=torch.float32, device=self.conv_pre.weight.device)
        if mel.ndim != 3 or mel.shape[1] != self.config.num_mels or not mel.shape[2]:
            raise HubError(
                f"a mel of shape {tuple(mel.shape)} is not (batch, {self.config.num_mels}, frames)",
                "bins come before time here; this network knows no other number of bins",
            )
        if not torch.isfinite(mel).all():
            raise HubError("the mel holds NaN or infinity", "look into the decoder: its prediction is not finite")
        sound: Tensor = self(mel)
        return sound


def load_hifigan(path: Path | str, config: Path | str | Mapping[str, Any] | None = None) -> HifiGan:
    """Return the generator of a public checkpoint: on the CPU, in evaluation, weight norm folded in.

    `config`: a config.json, its content, or "v1" or "v2"; None takes the config.json that lies beside the file. Also
    reads .safetensors as `save_hifigan` writes it. Nothing in the file is run. Raises HubError, in one line, for a
    file that is missing, hostile (also a ValueError), truncated, or holds other shapes than its configuration.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        arrays, info = load_arrays(path)
        config = config if config is not None else info.get("hifigan")
    else:
        content = read_torch(path)
        arrays = content["generator"] if isinstance(content.get("generator"), dict) else content
    sizes, spec = _config(path, config)
    try:
        named = {str(name): value for name, value in arrays.items() if isinstance(value, np.ndarray)}
        weights = folded(named)
        with torch.device("meta"):
            network = HifiGan(sizes, spec)
    except (ValueError, TypeError, RuntimeError) as error:
        raise HubError(f"{path} holds no HiFi-GAN generator: {str(error).splitlines()[0][:120]}", REMEDY) from error
    if network.hop != spec.hop:
        raise HubError(f"{path} upsamples by {network.hop}, but its mel has a hop of {spec.hop}", REMEDY)
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name in sorted(wanted.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "absent"
        if found != wanted.get(name):
            raise HubError(f"{path}: {name} is {found}, not {wanted.get(name, 'known')}", REMEDY)
        if not np.isfinite(weights[name]).all():
            raise HubError(f"{path}: {name} holds NaN or infinity", REMEDY)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    return network.eval().requires_grad_(False)


def save_hifigan(network: HifiGan, path: Path | str) -> None:
    """Write a generator to .safetensors; `load_hifigan` reads it back equal."""
    spec = network.spec
    info = {**vars(network.config), "hop_size": spec.hop, "sampling_rate": spec.rate, "n_fft": spec.n_fft}
    info |= {"win_size": spec.win, "fmin": spec.fmin, "fmax": spec.fmax}
    weights = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    save_arrays(path, weights, {"hifigan": info})


def _config(path: Path, given: Path | str | Mapping[str, Any] | None) -> tuple[Config, MelSpec]:
    if isinstance(given, str) and given.lower() in VERSIONS:
        return VERSIONS[given.lower()], MelSpec()
    if not isinstance(given, Mapping):
        place = Path(given) if given is not None else path.with_name("config.json")
        if not place.is_file():
            raise HubError(f"{place} does not exist", "put the checkpoint's config.json there, or say config=v1 or v2")
        try:
            given = json.loads(place.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise HubError(f"{place} cannot be read: {str(error).splitlines()[0]}", REMEDY) from error
    if not isinstance(given, Mapping):
        raise HubError(f"the configuration of {path} is no mapping", REMEDY)
    if str(given.get("resblock", "1")) != "1":
        raise HubError(
            f"{path} has residual blocks of type {given['resblock']!r:.20}", "use V1 or V2, which have type 1"
        )
    try:
        sizes = _sizes(given)
        theirs = {"sampling_rate": "rate", "n_fft": "n_fft", "hop_size": "hop", "win_size": "win", "fmin": "fmin"}
        theirs |= {"fmax": "fmax", "num_mels": "n_mels"}
        spec = MelSpec(**{ours: given[name] for name, ours in theirs.items() if given.get(name) is not None})
    except (TypeError, ValueError) as error:
        raise HubError(f"the configuration of {path} is wrong: {error}", REMEDY) from error
    return sizes, spec


def _sizes(given: Mapping[str, Any]) -> Config:
    """Return the checked sizes of a config.json; raises ValueError naming what is wrong."""
    read = {name: _frozen(given[name]) for name in vars(V1) if name in given}
    sizes = Config(**read)
    for name, value in vars(sizes).items():
        whole = isinstance(value, int) if isinstance(getattr(V1, name), int) else isinstance(value, tuple)
        if not whole or not all(type(one) is int and 0 < one <= 4096 for one in _leaves(value)):
            raise ValueError(f"{name} is {value!r:.40}")
    pairs = list(zip(sizes.upsample_rates, sizes.upsample_kernel_sizes, strict=True))
    if any(kernel < rate or (kernel - rate) % 2 for rate, kernel in pairs):
        raise ValueError("upsample_kernel_sizes do not fit upsample_rates")
    if sizes.upsample_initial_channel % 2 ** len(pairs):
        raise ValueError(f"{sizes.upsample_initial_channel} channels cannot be halved {len(pairs)} times")
    if any(kernel % 2 == 0 for kernel in sizes.resblock_kernel_sizes):
        raise ValueError("resblock_kernel_sizes are even")
    return sizes


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _leaves(value: Any) -> list[Any]:
    return [leaf for one in value for leaf in _leaves(one)] if isinstance(value, tuple) else [value]

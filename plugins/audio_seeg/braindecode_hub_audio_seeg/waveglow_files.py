"""Every layout in which WaveGlow weights were published becomes one: plain arrays under the release file's names.

* the release file: `{"model": a pickled glow.WaveGlow, …}`, read as inert shells, never as code;
* its plain twin, `{"state_dict": …, "config": …}`; the hub file, which puts `module.` before each name;
* older files, with `res_layers` and `skip_layers` apart; `cond_layer` whole or as `cond_layers.i`;
* our own .safetensors, written by `write_waveglow`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, save_arrays
from braindecode_hub.pickles import Shell, read_torch
from braindecode_hub_audio_seeg.mel import MelSpec

SHELLS = (
    *("glow.WaveGlow", "glow.WN", "glow.Invertible1x1Conv"),
    *("torch.nn.modules.conv.Conv1d", "torch.nn.modules.conv.ConvTranspose1d"),
    *("torch.nn.modules.container.ModuleList", "torch.nn.utils.weight_norm.WeightNorm"),
)
"""The classes of the release file: exact names, whose instances are read as what they held."""

REMEDY = "get the published WaveGlow file again"
_SETTINGS = {"n_flows": "flows", "n_group": "group", "n_early_every": "early_every", "n_early_size": "early_size"}
_SETTINGS |= {"n_mel_channels": "n_mels", "n_layers": "layers", "n_channels": "channels", "kernel_size": "kernel"}
_MEL = {"sampling_rate": "rate", "filter_length": "n_fft", "hop_length": "hop", "win_length": "win"}
_MEL |= {"mel_fmin": "fmin", "mel_fmax": "fmax", "n_mel_channels": "n_mels"}


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of a WaveGlow network; the defaults are the published ones (Prenger et al. 2018).

    `flows` steps on groups of `group` samples; every `early_every` of them `early_size` channels leave early; each
    coupling has `layers` dilated convolutions of `channels` channels and `kernel` taps; mels of `n_mels` bins are
    upsampled by `hop` with filters of `win` samples.
    """

    n_mels: int = 80
    flows: int = 12
    group: int = 8
    early_every: int = 4
    early_size: int = 2
    layers: int = 8
    channels: int = 256
    kernel: int = 3
    hop: int = 256
    win: int = 1024


def read_waveglow(path: Path | str) -> tuple[Shape, MelSpec, dict[str, np.ndarray]]:
    """Return the sizes, the mel and the float32 weights (weight norm folded in) of a WaveGlow file, of any layout.

    Raises HubError, in one line, for a file that is hostile, truncated, of another network, or not finite.
    """
    path = Path(path)
    ours = path.suffix.lower() == ".safetensors"
    arrays, info = load_arrays(path) if ours else ({}, read_torch(path, shells=SHELLS))
    try:
        if ours:
            given = info.get("waveglow", {})
        else:
            arrays, given = _from_checkpoint(info)
        if not isinstance(given, Mapping):
            raise ValueError("its configuration is no mapping")
        weights = _one_layout(folded(_plain_names(arrays)))
        shape = _shape(weights, given)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        what = error.args[0] if error.args else error
        raise HubError(f"{path} holds no WaveGlow: {str(what).splitlines()[0][:120]}", REMEDY) from error
    broken = next((name for name, value in weights.items() if not np.isfinite(value).all()), None)
    if broken is not None:
        raise HubError(f"{path}: {broken} holds NaN or infinity", REMEDY)
    for name, value in _flat(given).items():
        wanted = dataclasses.asdict(shape).get(_SETTINGS.get(name, name))
        if wanted is not None and value != wanted:
            raise HubError(f"{path} says {name} {value!r:.20}, but its weights say {wanted}", REMEDY)
    return shape, _mel(path, shape, _flat(given)), weights


def write_waveglow(path: Path | str, shape: Shape, spec: MelSpec, weights: Mapping[str, np.ndarray]) -> None:
    """Write weights under the release file's names to a .safetensors file, with their sizes and mel."""
    mel = dataclasses.asdict(spec)
    info = {**dataclasses.asdict(shape), **{theirs: mel[ours] for theirs, ours in _MEL.items()}}
    save_arrays(path, weights, {"waveglow": info})


def _from_checkpoint(content: dict[str, Any]) -> tuple[dict[str, np.ndarray], Any]:
    model = content.get("model")
    if isinstance(model, Shell):
        stride = getattr(model.state.get("_modules", {}).get("upsample"), "state", {}).get("stride")
        given = {"hop_length": stride[0]} if isinstance(stride, tuple) and stride else {}
        return _held(model, ""), given
    state = next((content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content)
    arrays = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, np.ndarray)}
    if not arrays:
        raise ValueError(f"there are {sorted(map(str, content))[:5]}, but no weights")
    return arrays, content.get("config", {})


def _held(shell: Any, prefix: str) -> dict[str, np.ndarray]:
    """Return the weights that a pickled module and the modules in it held, by their dotted names."""
    if not isinstance(shell, Shell):
        return {}
    own = shell.state.get("_parameters") or {}
    found = {prefix + name: value for name, value in own.items() if isinstance(value, np.ndarray)}
    for name, inner in (shell.state.get("_modules") or {}).items():
        found |= _held(inner, f"{prefix}{name}.")
    return found


def _plain_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("module."): value for name, value in arrays.items()}


def folded(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return float32 weights with weight normalisation (Salimans & Kingma 2016) folded in: w = g · v / ‖v‖.

    ‖v‖ is taken for each index of the first axis. Both of torch's spellings are known: `weight_g` and `weight_v`,
    and `parametrizations.weight.original0` and `original1`. Raises ValueError where one of the two is missing, and
    for arrays that are empty or not of floats.
    """
    named = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in arrays.items()
    }
    out: dict[str, np.ndarray] = {}
    for name, value in named.items():
        if value.dtype.kind != "f":
            raise ValueError(f"{name} holds {value.dtype}")
        if not value.size:
            raise ValueError(f"{name} is empty")
        if not name.endswith(("_g", "_v")):
            out[name] = np.array(value, np.float32)
        elif name.endswith("_v"):
            v, g = value.astype(np.float64), named.get(name[:-2] + "_g")
            if g is None or g.size != len(v):
                raise ValueError(f"{name} has no fitting {name[:-2]}_g")
            norm = np.sqrt((v**2).reshape(len(v), -1).sum(axis=1))
            scale = (g.reshape(-1) / norm).reshape(-1, *[1] * (v.ndim - 1))
            out[name[:-2]] = (scale * v).astype(np.float32)
        elif name[:-2] + "_v" not in named:
            raise ValueError(f"{name} has no {name[:-2]}_v")
    return out


def _one_layout(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join what older files keep apart: residual before skip, and the conditioning of all layers in their order."""
    for flow in sorted({int(found[1]) for name in weights if (found := re.match(r"WN\.(\d+)\.", name))}):
        here = f"WN.{flow}."
        for kind in ("weight", "bias"):
            skips = _numbered(weights, f"{here}skip_layers.", kind)
            residuals = _numbered(weights, f"{here}res_layers.", kind)
            conditions = _numbered(weights, f"{here}cond_layers.", kind)
            for layer, skip in enumerate(skips):
                both = [residuals[layer], skip] if layer < len(skips) - 1 else [skip]
                weights[f"{here}res_skip_layers.{layer}.{kind}"] = np.concatenate(both)
            if conditions:
                weights[f"{here}cond_layer.{kind}"] = np.concatenate(conditions)
    return weights


def _numbered(weights: dict[str, np.ndarray], prefix: str, kind: str) -> list[np.ndarray]:
    """Take `prefix`0.`kind`, `prefix`1.`kind` … out of `weights`."""
    out: list[np.ndarray] = []
    while (name := f"{prefix}{len(out)}.{kind}") in weights:
        out.append(weights.pop(name))
    return out


def _shape(weights: Mapping[str, np.ndarray], given: Mapping[str, Any]) -> Shape:
    """Read the sizes off the weights; what they do not show (the hop) comes from the file, or is the published."""
    sizes: list[int] = []
    while (name := f"convinv.{len(sizes)}.conv.weight") in weights:
        sizes.append(len(weights[name]))
    n_mels, _, win = weights["upsample.weight"].shape
    channels, _, kernel = weights["WN.0.in_layers.0.weight"].shape
    layers = sum(re.fullmatch(r"WN\.0\.in_layers\.\d+\.weight", name) is not None for name in weights)
    drops = [flow for flow in range(1, len(sizes)) if sizes[flow] < sizes[flow - 1]]
    flat = _flat(given)
    every = drops[0] if drops else int(flat.get("early_every", flat.get("n_early_every", len(sizes) or 1)))
    early = sizes[0] - sizes[drops[0]] if drops else int(flat.get("early_size", flat.get("n_early_size", 2)))
    hop = flat.get("hop", flat.get("hop_length", Shape.hop))
    if type(hop) is not int or not 0 < hop <= win:
        raise ValueError(f"its hop is {hop!r:.20}")
    return Shape(n_mels, len(sizes), sizes[0], every, early, layers, channels // 2, kernel, hop, win)


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without its levels (`WN_config`, `data_config`, `waveglow_config` …)."""
    out: dict[str, Any] = {}
    for name, value in given.items():
        out |= _flat(value) if isinstance(value, Mapping) else {str(name): value}
    return out


def _mel(path: Path, shape: Shape, given: Mapping[str, Any]) -> MelSpec:
    """Return the mel that the network was trained on: what the file says of it, Tacotron 2's for the rest."""
    known = {ours: given[theirs] for theirs, ours in _MEL.items() if isinstance(given.get(theirs), int | float)}
    return MelSpec(**{**known, "n_mels": shape.n_mels, "hop": shape.hop})

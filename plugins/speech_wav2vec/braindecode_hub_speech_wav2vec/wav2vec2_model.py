"""Where a wav2vec 2.0 model lies, what its files hash to, and the model itself: checked, never random, in eval mode."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.types import Array
from braindecode_hub_speech_wav2vec.audio import RATE

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
FILES = ("*.json", "model*.safetensors", "pytorch_model*.bin")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
UNUSED = {"masked_spec_embed"}
"""What only training needs: a model may lack it."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a wav2vec 2.0 model: what its configuration says, before anything heavy is imported.

    `layers`: of the transformer; `hop`, `field`: samples from one frame to the next, and that one frame sees;
    `normalise`: whether audio is brought to mean 0 and variance 1 first.
    """

    path: Path
    layers: int
    hop: int
    field: int
    normalise: bool

    @classmethod
    def find(cls, model: str, *, network: bool = False) -> ModelFolder:
        """Return the folder of `model`, a local folder or a hub name; HubError if it is absent or another model.

        `network`: a hub name whose files are not here yet is downloaded; else only what is here is looked at.
        """
        return _read(_folder(model, network), model)

    def sha256(self, cache: Cache) -> str:
        """Return one hash over configuration and weights; that of each file is kept until the file changes."""
        files = [path for pattern in FILES for path in sorted(self.path.glob(pattern))]
        return Cache.key(files={path.name: _hash(path, cache) for path in files})


def _folder(model: str, network: bool) -> Path:
    local = Path(model).expanduser()
    if local.is_dir():
        return local
    if not HUB_NAME.fullmatch(model) or model.startswith("."):
        raise HubError(
            f"there is no folder {model} with a wav2vec 2.0 model",
            "give a folder, or a name such as facebook/wav2vec2-base",
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, local_files_only=not network, allow_patterns=list(FILES)))
    except Exception as error:  # OSError, or one of many of the hub's and of the network's own
        cause = f"the weights of {model} are not on this machine"
        if network:
            cause += f", and cannot be fetched ({type(error).__name__})"
        raise HubError(cause, _how_to_get(model)) from error


def _how_to_get(model: str) -> str:
    return f"run once, with a network: hf download {model}; or give a local folder as `model`"


def _read(path: Path, model: str) -> ModelFolder:
    config, given = _json(path / CONFIG, model), _json(path / PREPROCESSOR, model)
    kind = config.get("model_type")
    if kind != "wav2vec2":
        raise HubError(f"{model} is a {kind or 'model of no type'}, not a wav2vec2", "give a wav2vec 2.0 model")
    if not any((path / name).is_file() for name in WEIGHTS):
        raise HubError(f"{path} holds no weights ({WEIGHTS[0]} or {WEIGHTS[2]})", _how_to_get(model))
    try:
        strides, kernels = [int(n) for n in config["conv_stride"]], [int(n) for n in config["conv_kernel"]]
        layers = int(config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError) as error:
        raise HubError(f"{path / CONFIG} does not say {error}", "take the file that belongs to the model") from error
    rate = given.get("sampling_rate", RATE)
    if rate != RATE:
        raise HubError(f"{model} listens at {rate} Hz", f"give a model for {RATE} Hz")
    hop, field = 1, 1
    for stride, kernel in zip(strides, kernels, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return ModelFolder(path, layers, hop, field, bool(given.get("do_normalize", True)))


def _json(path: Path, model: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise HubError(f"{model} has no {path.name}", _how_to_get(model)) from error
    except ValueError as error:
        raise HubError(f"{path} is no JSON: {error}", "take the file that belongs to the model") from error
    if not isinstance(found, dict):
        raise HubError(f"{path} is no table", "take the file that belongs to the model")
    return found


def _hash(path: Path, cache: Cache) -> str:
    status = path.stat()
    key = {"kind": "file sha256", "path": str(path), "bytes": status.st_size, "changed": status.st_mtime_ns}

    def build(allocate: Any) -> Array:
        with path.open("rb") as file:
            return np.frombuffer(hashlib.file_digest(file, "sha256").digest(), np.uint8)

    return bytes(cache.array(key, build)).hex()


@lru_cache(maxsize=1)
def load_model(path: Path, sha256: str, layers: int, dtype: str, device: str) -> Any:
    """Return the torch model in eval mode with its first `layers` layers, kept until another one is asked for.

    HubError where the files hold another model, or not all of its weights: nothing is ever left random.
    """
    import torch
    from transformers import Wav2Vec2Model
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, told = Wav2Vec2Model.from_pretrained(
            path, local_files_only=True, output_loading_info=True, dtype=getattr(torch, dtype)
        )
    except Exception as error:  # whatever broken files make of it: OSError, ValueError, SafetensorError …
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(f"{path} cannot be loaded: {line[:200]}", "download the model again") from error
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
    lacking = sorted(set(told["missing_keys"]) - UNUSED) + sorted(str(one[0]) for one in told["mismatched_keys"])
    if lacking:
        cause = f"{path} lacks {len(lacking)} of the model's weights, such as {lacking[0]}"
        raise HubError(cause, "download the model again: weights that are missing would be random")
    model.encoder.layers = model.encoder.layers[:layers]
    return model.eval().requires_grad_(False).to(device)

"""A new subject beside a trained contrastive decoder: a linear path and a row of its own, all that is shared frozen.

The linear path begins where an unknown subject's stands (weights on the common grid, brought to the new sensors), and
ridge explains what that leaves: with few minutes nearly nothing is added, with many it is the subject's own solution.
The subject's row of the network is then trained by the decoder's own loss, and stays as it was unless that validates
better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from braindecode_hub.errors import HubError
from braindecode_hub.torch import Training, fit_module, settings, tensor
from braindecode_hub.types import Array, Batch, Context
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.layout import grid_weights, layouts
from braindecode_hub_speech_wav2vec.losses import clip_loss, same_sound, siglip_loss, unit
from braindecode_hub_speech_wav2vec.personal_path import Windows, solve
from braindecode_hub_speech_wav2vec.target_tower import best_log_scale

if TYPE_CHECKING:
    from braindecode_hub_speech_wav2vec.contrastive import Contrastive
    from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder

NAME = "speech_wav2vec/contrastive: a new subject"
BATCH = 64
"""Windows at once."""
TRAINING = Training(
    batch_size=64, max_steps=40, rate=2e-3, weight_decay=1e-2, schedule="cosine", validate_every=5, patience=3
)
"""Of the subject's row."""
TABLES = ("layer.matrices", "embedding.vectors")
"""Parameters of the network with a row for each subject."""


def adapt(decoder: Contrastive, step: SimpleConvEncoder, train: View, val: View, ctx: Context) -> None:
    """Learn the one subject of `train` beside those that decoder and encoder know; they are changed in place.

    Raises HubError for several subjects, one that is known, a single distinct window, or sensors without positions
    where those of the trained subjects are known.
    """
    subject = _one(train, val, step)
    if np.any(decoder.attention_) and all(item.recording.positions is None for item in train.items):
        raise HubError(
            f"the montage of subject {subject} has no sensor positions, and the network attends by position",
            "give positions with the new recordings, as the run's have",
        )
    device = next(step.module.parameters()).device
    with settings(device):
        add_row(step, subject, next(train.batches(1)).brain.shape[1])
        if step.lags_:
            _linear(decoder, step, train, val, ctx)
        if _tables(step.module):
            _row(decoder, step, train, val, ctx, device)
    decoder.subjects_ = [*decoder.subjects_, subject]
    before = np.pad(decoder.attention_, [(0, 0), (0, step.channels_ - decoder.attention_.shape[1])])
    own = step.sensor_attention(_places(train, step.channels_))
    decoder.attention_ = np.concatenate([before, own[None]])


def add_row(step: SimpleConvEncoder, subject: str, channels: int) -> None:
    """Give the encoder a row for `subject`, equal to the unknown one's, and room for so many channels.

    The new linear path is 0: on its own channels nothing is known. All that was learned stays bit for bit.
    """
    old, count = step.module, len(step.subjects_)
    arrays = {name: value.detach().cpu().numpy() for name, value in old.state_dict().items()}
    wide = max(channels, step.channels_)
    for name in ("kernels", "changes", "sizes"):
        key = f"linear.{name}"
        if key in arrays:
            room = [(0, 1), (0, 0), (0, wide - step.channels_), (0, 0)]
            arrays[key] = np.pad(arrays[key], room)
    if "linear.offsets" in arrays:
        arrays["linear.offsets"] = np.insert(arrays["linear.offsets"], count, arrays["linear.offsets"][-1], axis=0)
    for name in TABLES:
        key = f"conv.{name}"
        if key in arrays:
            table = arrays[key]  # without a row of its own, the unknown subject is the mean of all
            row = table[-1] if len(table) > count else table.mean(axis=0)
            arrays[key] = np.insert(table, count, row, axis=0)
    step.rebuild([*step.subjects_, subject], wide, arrays)


def _linear(decoder: Contrastive, step: SimpleConvEncoder, train: View, val: View, ctx: Context) -> None:
    """Set the new subject's weights: the unknown subject's, brought to its sensors, and what ridge adds to them."""
    linear, number = step.module.linear, len(step.subjects_) - 1
    with torch.no_grad():
        linear.kernels[number].copy_(_on_sensors(step, next(train.batches(BATCH))))
    added = solve(_windows(decoder, step, train), _windows(decoder, step, val))
    with torch.no_grad():
        shape = (len(step.lags_), step.channels_, step.dims_)
        linear.kernels[number].add_(torch.from_numpy(added.weights.reshape(shape)).to(linear.kernels))
        linear.offsets[number].add_(torch.from_numpy(added.offset).to(linear.offsets))
    for after, value in enumerate((added.before, added.matched)):
        ctx.log({"kind": "scalar", "tag": "adapt/matched", "step": after, "value": value})


def _on_sensors(step: SimpleConvEncoder, batch: Batch) -> Tensor:
    """Return the unknown subject's weights on the common grid as weights on these sensors: (lags, channels, dims)."""
    linear = step.module.linear
    distinct, which = layouts(batch.brain, batch)
    usual = distinct[np.bincount(which).argmax()]
    usual = np.pad(usual, [(0, step.channels_ - len(usual)), (0, 0)], constant_values=np.nan)
    weights = linear.pooled + linear.pooled_sizes * linear.pooled_changes
    return torch.einsum("pc,lpd->lcd", torch.from_numpy(grid_weights(usual)).to(weights), weights.detach())


def _windows(decoder: Contrastive, step: SimpleConvEncoder, view: View) -> Iterator[Windows]:
    """Yield the view's windows as ridge wants them: inputs at every frame and lag, estimates, embedded targets."""
    index = np.add.outer(np.asarray(decoder.frame_index_), np.asarray(step.lags_))
    for batch in view.batches(BATCH):
        x = step.widened(batch.brain)
        inputs = np.moveaxis(x, 2, 1)[:, np.clip(index, 0, x.shape[2] - 1)]
        estimate = step.encode(batch.brain, batch)[:, :, decoder.frame_index_].transpose(0, 2, 1)
        mean = 0.0 if decoder.target == "frozen" else decoder.comparison.centre.mean.cpu().numpy()
        [target] = decoder.embed(batch.target[decoder.target_]).values()
        yield Windows(inputs.reshape(*inputs.shape[:2], -1), estimate - mean, target)


def _row(decoder: Contrastive, step: SimpleConvEncoder, train: View, val: View, ctx: Context, device: Any) -> None:
    """Train the subject's rows of the network, nothing else: the trunk stays in evaluation mode, its weights fixed."""
    number, tables = len(step.subjects_) - 1, _tables(step.module)
    own = {key.replace(".", "_"): nn.Parameter(value[number].detach().clone()) for key, value in tables.items()}
    rows = nn.ParameterDict(own)
    comparison = decoder.comparison.eval()
    frozen = {name: value.detach() for name, value in step.module.eval().named_parameters()}
    log_scale = comparison.log_scale.detach().clone()

    def with_rows() -> dict[str, Tensor]:
        return {
            key: torch.cat([value[:number], rows[key.replace(".", "_")][None], value[number + 1 :]])
            for key, value in tables.items()
        }

    def compared(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        target = tensor(batch.target[decoder.target_], device).transpose(1, 2)
        given = (tensor(step.widened(batch.brain), device), step.rows(batch.brain, batch, device))
        made = functional_call(step.module, frozen | with_rows(), given)
        estimate, candidate = comparison(made[:, :, decoder.frame_index_], target)
        return estimate, candidate, same_sound(target, target)

    def loss(batch: Batch) -> Tensor:
        estimate, candidate, same = compared(batch)
        if decoder.loss == "clip":
            return clip_loss(estimate, candidate, same, log_scale.exp())
        return siglip_loss(estimate, candidate, same, log_scale, comparison.bias)

    if decoder.loss == "clip" and decoder.temperature == "learned":
        with torch.no_grad():
            estimate, candidate, same = compared(next(train.batches(BATCH, ctx.rng(NAME, "scale"))))
            log_scale.fill_(best_log_scale(estimate.flatten(1) @ unit(candidate).t(), same))
    fit_module(rows, loss, train, val, replace(ctx, out=None), TRAINING, name=NAME)
    with torch.no_grad():
        for key, value in tables.items():
            value[number].copy_(rows[key.replace(".", "_")])


def _tables(module: Any) -> dict[str, Tensor]:
    """Return the network's parameters with a row for each subject, by their name in `module`."""
    if module.conv is None:
        return {}
    known = dict(module.named_parameters())
    return {f"conv.{name}": known[f"conv.{name}"].detach() for name in TABLES if f"conv.{name}" in known}


def _one(train: View, val: View, step: SimpleConvEncoder) -> str:
    """Return the one new subject of both views."""
    found = sorted({trial.groups.get("subject", "") for view in (train, val) for trial in view.trials})
    if len(found) != 1:
        raise HubError(f"{NAME} is given {len(found)}: {', '.join(found)}", "adapt to one after the other")
    if found[0] in step.subjects_:
        raise HubError(f"subject {found[0]} is known already", "predict with the run as it is")
    return found[0]


def _places(train: View, width: int) -> Array:
    """Return the subject's sensor positions (channels, 3), NaN for what is not there."""
    known = next((item.recording.positions for item in train.items if item.recording.positions is not None), None)
    out = np.full((width, 3), np.nan, np.float32)
    if known is not None and len(known) <= width:
        out[: len(known)] = known
    return out

"""speech_wav2vec/linear_contrastive: the linear baseline, ridge's weights trained on by a contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from braindecode_hub.interfaces import Decoder, Encoder, State
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.types import ANY, Array, Batch, Context, Prediction, Space
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.contrastive import CONTROL_STEPS
from braindecode_hub_speech_wav2vec.feeding import BATCH, check
from braindecode_hub_speech_wav2vec.layout import GRID
from braindecode_hub_speech_wav2vec.linear_start import frame_index, lag_samples, solve_one

if TYPE_CHECKING:
    from torch import Tensor

NAME = "speech_wav2vec/linear_contrastive"


class LinearContrastive(Decoder):
    """Each target frame from the brain at several lags, weights from ridge on to a contrastive loss.

    One fit for each subject, no network. `lags_s`, `lag_step_s`: as of `core/ridge`, where training begins, and
    stays if nothing validates better; `loss`: as of `speech_wav2vec/contrastive`. Weights change by shares of
    their typical size, so `rate` means the same whatever the units. A control's refit takes at most 20 steps.
    """

    requires = ("torch",)

    _module: Any = None

    def __init__(
        self,
        *,
        loss: Literal["clip", "siglip"] = "clip",
        lags_s: tuple[float, float] = (0.0, 0.3),
        lag_step_s: float = 0.04,
        batch_size: int = 64,
        max_steps: int = 100,
        rate: float = 1e-2,
        weight_decay: float = 1e-2,
        validate_every: int = 10,
        patience: int | None = 5,
    ) -> None:
        self.loss = loss
        self.lags_s = lags_s
        self.lag_step_s = lag_step_s
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.rate = rate
        self.weight_decay = weight_decay
        self.validate_every = validate_every
        self.patience = patience

    @property
    def consumes(self) -> Space:
        """Channels over time."""
        return Space("*", ("channels", "time"), "*")

    @property
    def produces(self) -> tuple[Space, ...]:
        """The one target of the pipeline."""
        return (ANY,)

    def for_controls(self) -> LinearContrastive:
        """Return an unfitted copy on at most 20 steps."""
        return type(self)(**{**self.configuration(), "max_steps": min(self.max_steps, CONTROL_STEPS)})

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Fit ridge, then train its weights. HubError for NaN, a target out of time, or a single distinct window."""
        import torch
        from torch import nn

        from braindecode_hub.torch import Training, fit_module, resolve_device, settings, tensor
        from braindecode_hub_speech_wav2vec.losses import clip_loss, same_sound, siglip_loss, unit
        from braindecode_hub_speech_wav2vec.target_tower import Comparison, TargetTower, best_log_scale

        check(train, val, NAME, None)
        self.target_ = next(iter(train.targets))
        first = next(train.batches(1))
        self.channels_, self.dims_ = int(first.brain.shape[1]), int(first.target[self.target_].shape[2])
        self.frame_index_ = frame_index(train, self.target_)
        ridge = Ridge(lags_s=tuple(self.lags_s), lag_step_s=self.lag_step_s)  # type: ignore[arg-type]
        self.lags_ = lag_samples(ridge, float(train.space.rate or 1.0))
        device = resolve_device(ctx.device)
        self._build(ctx)
        start = solve_one(train, val, ctx, ridge)
        tower = TargetTower(self.dims_, self.dims_, 0, 0, 1, deep=False, identity=True)
        compare = Comparison(tower, self.dims_, self.loss, learned=True, centred=False).to(device)

        def compared(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
            target = tensor(batch.target[self.target_], device).transpose(1, 2)
            return *compare(self._estimate(tensor(batch.brain, device)), target), same_sound(target, target)

        def loss(batch: Batch) -> Tensor:
            estimate, candidate, same = compared(batch)
            if self.loss == "clip":
                return clip_loss(estimate, candidate, same, compare.log_scale.exp())
            return siglip_loss(estimate, candidate, same, compare.log_scale, compare.bias)

        names = ("batch_size", "max_steps", "rate", "weight_decay", "validate_every", "patience")
        training = Training(**{name: getattr(self, name) for name in names}, schedule="cosine")
        with settings(device):
            self._module.start_from(*(torch.from_numpy(array) for array in vars(start).values()))
            both = nn.ModuleDict({"linear": self._module, "compare": compare})
            if self.loss == "clip":
                with torch.no_grad():
                    estimate, candidate, same = compared(next(val.batches(self.batch_size, ctx.rng(NAME, "scale"))))
                    compare.log_scale.fill_(best_log_scale(estimate.flatten(1) @ unit(candidate).t(), same))
            done = fit_module(both, loss, train, val, ctx, training, name=NAME)
        self.validation_, self.best_step_ = done.history, done.best_step

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict, from z (batch, channels, time), the target: (batch, frames, bins) float32. HubError for NaN."""
        import torch

        from braindecode_hub.torch import settings, tensor

        device = self._module.offsets.device
        parts = []
        with torch.inference_mode(), settings(device):
            for at in range(0, len(z), BATCH):
                parts.append(self._estimate(tensor(z[at : at + BATCH], device)).transpose(1, 2).cpu().numpy())
        return {self.target_: np.ascontiguousarray(np.concatenate(parts))}

    def state(self) -> State:
        """Return the weights and what `fit` noted."""
        from braindecode_hub.torch import module_state

        arrays, values = super().state()
        if self._module is not None:
            arrays |= {f"linear.{name}": value for name, value in module_state(self._module).items()}
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Take back what `state` returned; HubError if the weights are of another configuration."""
        from braindecode_hub.torch import load_module_state

        super().load_state({}, values)
        self._build(Context(device="cpu"))
        load_module_state(self._module, {name.removeprefix("linear."): value for name, value in arrays.items()})

    def _build(self, ctx: Context) -> None:
        from braindecode_hub.torch import resolve_device
        from braindecode_hub_speech_wav2vec.brain_network import LinearPath

        module = LinearPath(self.lags_, (1, self.channels_, GRID**2, self.dims_))
        self._module = module.to(resolve_device(ctx.device)).eval()

    def _estimate(self, x: Tensor) -> Tensor:
        """Return (batch, dims, frames) of x (batch, channels, time)."""
        import torch

        from braindecode_hub_speech_wav2vec.brain_network import Rows

        whose = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        nowhere = x.new_zeros(1, x.shape[1], 2), x.new_zeros(1, GRID**2, x.shape[1])
        made: Tensor = self._module(x, Rows(*nowhere, whose, whose))
        return made[:, :, self.frame_index_]

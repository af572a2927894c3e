"""speech_wav2vec/contrastive: brain and speech are brought to one space, in which each window finds its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Decoder, Encoder, State
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.types import ANY, Array, Batch, Context, Prediction, Space
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.feeding import BATCH, check, positions_of, simpleconv_of
from braindecode_hub_speech_wav2vec.linear_start import frame_index, lag_samples, solve
from braindecode_hub_speech_wav2vec.readout import fit_readout

if TYPE_CHECKING:
    from torch import Tensor

    from braindecode_hub.torch import Training
    from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder

NAME = "speech_wav2vec/contrastive"
DEEP = "deep_mel"
"""The name of the learned space."""
CONTROL_STEPS = 20
"""Most training steps of a control's refit."""


class Contrastive(Decoder):
    """Train a brain network and a tower over the target, so that each window's estimate chooses its own target.

    `target`: "deep", the space is learned with the loss (needs target mel); "frozen", it is the target's own.
    `loss`: "clip" as in Défossez et al. 2023, or "siglip" (Zhai et al. 2023); in both, windows of equal sound are no
    negatives. `start`: "ridge", the estimate begins at ridge's for each subject (lags `lags_s` in steps of
    `lag_step_s`), the tower as the target itself, and what nothing validates better than, stays; "none": from
    scratch, in `dims` dimensions. `temperature`: "learned" (clip: from where ridge's scores are best calibrated), or
    "none". `tower_hidden`, `tower_depth`: of the deep tower, dilations begin anew after `tower_period`. Training:
    AdamW as `braindecode_hub.torch.Training` says; a control's refit takes at most 20 steps.

    Learned besides the weights: `readout_` and `readout_offset_`, from a deep estimate to the target;
    `attention_` (subjects, channels), how much the network attends to each sensor, and `positions_` (subjects,
    channels, 3) metres, 0 for channels without a place or sensor, in the order of `subjects_`.
    """

    requires = ("torch",)
    across_subjects = True
    trains_encoder = True

    _comparison: Any = None

    def __init__(
        self,
        *,
        target: Literal["deep", "frozen"] = "deep",
        loss: Literal["clip", "siglip"] = "clip",
        start: Literal["ridge", "none"] = "ridge",
        dims: int = 128,
        lags_s: tuple[float, float] = (0.0, 0.3),
        lag_step_s: float = 0.04,
        temperature: Literal["learned", "none"] = "learned",
        tower_hidden: int = 48,
        tower_depth: int = 4,
        tower_period: int = 4,
        batch_size: int = 64,
        max_steps: int | None = 120,
        max_epochs: int | None = None,
        rate: float = 2e-3,
        weight_decay: float = 1e-2,
        clip: float = 2.0,
        schedule: Literal["constant", "steps", "cosine"] = "cosine",
        validate_every: int | None = 20,
        patience: int | None = 3,
    ) -> None:
        self.target = target
        self.loss = loss
        self.start = start
        self.dims = dims
        self.lags_s = lags_s
        self.lag_step_s = lag_step_s
        self.temperature = temperature
        self.tower_hidden = tower_hidden
        self.tower_depth = tower_depth
        self.tower_period = tower_period
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.max_epochs = max_epochs
        self.rate = rate
        self.weight_decay = weight_decay
        self.clip = clip
        self.schedule = schedule
        self.validate_every = validate_every
        self.patience = patience

    @property
    def consumes(self) -> Space:
        """An estimate over time."""
        return Space("estimate", ("dims", "time"), "*")

    @property
    def produces(self) -> tuple[Space, ...]:
        """The one target of the pipeline; a deep space is learned from mel."""
        return (Space("mel", ("time", "bins"), "*"),) if self.target == "deep" else (ANY,)

    @property
    def learned_space(self) -> Space | None:
        """Deep mel, frame by frame, or None."""
        return Space(DEEP, ("time", "dims"), "*") if self.target == "deep" else None

    def for_controls(self) -> Contrastive:
        """Return an unfitted copy on at most 20 steps."""
        return type(self)(**{**self.configuration(), "max_steps": min(self.max_steps or CONTROL_STEPS, CONTROL_STEPS)})

    def training(self) -> Training:
        """Return how it is trained."""
        from braindecode_hub.torch import Training

        names = ("batch_size", "max_steps", "max_epochs", "rate", "weight_decay", "clip", "schedule")
        return Training(
            **{name: getattr(self, name) for name in names},
            validate_every=self.validate_every,
            patience=self.patience,
        )

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Solve for the start, then train the encoder's learned tail and the tower together.

        Raises HubError for NaN, a target that does not fit, a single distinct training window, an encoder that
        cannot be trained, or a loss that is not finite.
        """
        from torch import nn

        from braindecode_hub.torch import fit_module, resolve_device, settings

        step = simpleconv_of(encoder, NAME)
        for name in ("dims", "tower_hidden", "tower_depth", "tower_period"):
            if getattr(self, name) < 1:
                raise HubError(f"{NAME}: {name} is {getattr(self, name)}", "give 1 or more", usage=True)
        training = self.training()
        check(train, val, NAME, "mel" if self.target == "deep" else None)
        device = resolve_device(ctx.device)
        self._describe(train)
        with settings(device):
            self._build_both(step, train, val, ctx)
            both = nn.ModuleDict({"encoder": step.module, "decoder": self._comparison})

            def loss(batch: Batch) -> Tensor:
                return self._loss(step, batch, device)

            done = fit_module(both, loss, train, val, ctx, training, name=NAME)
            self.validation_, self.best_step_ = done.history, done.best_step
            self._settle(step, train, val)
        places = positions_of(train)
        self.attention_ = np.stack([step.sensor_attention(positions) for positions in places])
        self.positions_ = np.nan_to_num(np.stack(places)).astype(np.float32)

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict, from the estimate z (batch, dims, time), the target and, if it is learned, deep mel.

        {"mel": (batch, frames, bins), "deep_mel": (batch, frames, dims)} float32, the latter centred as `embed` is.
        """
        estimate = np.ascontiguousarray(np.asarray(z, np.float32)[:, :, self.frame_index_].transpose(0, 2, 1))
        if self.target == "frozen":
            return {self.target_: estimate}
        mean = self._comparison.centre.mean.cpu().numpy()
        return {self.target_: estimate @ self.readout_ + self.readout_offset_, DEEP: estimate - mean}

    def embed(self, target: Array) -> Prediction:
        """Place targets (batch, frames, bins), in fitted units, in the space that is compared: same frames."""
        import torch

        from braindecode_hub.torch import settings, tensor

        if self.target == "frozen":
            return {self.target_: np.asarray(target, np.float32)}
        device = self._comparison.centre.mean.device
        self._comparison.eval()
        parts = []
        with torch.inference_mode(), settings(device):
            for at in range(0, len(target), BATCH):
                some = tensor(target[at : at + BATCH], device).transpose(1, 2)
                parts.append(self._comparison.centre(self._comparison.tower(some))[0].transpose(1, 2).cpu().numpy())
        return {DEEP: np.ascontiguousarray(np.concatenate(parts))}

    def adapt(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Learn one new subject, see `adaptation`; what all subjects share stays bit for bit."""
        from braindecode_hub_speech_wav2vec.adaptation import adapt

        adapt(self, simpleconv_of(encoder, NAME), train, val, ctx)

    @property
    def comparison(self) -> Any:
        """The torch module of the target's side, see `target_tower.Comparison`; None before `fit`."""
        return self._comparison

    def state(self) -> State:
        """Return the tower's weights and what `fit` noted."""
        from braindecode_hub.torch import module_state

        arrays, values = super().state()
        if self._comparison is not None:
            arrays |= {f"comparison.{name}": value for name, value in module_state(self._comparison).items()}
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Build the tower that was stored; HubError if the weights are of another configuration."""
        from braindecode_hub.torch import load_module_state

        own = {name: value for name, value in arrays.items() if "." not in name}
        super().load_state(own, values)
        self._build(Context(device="cpu"))
        lead = "comparison."
        load_module_state(self._comparison, {k.removeprefix(lead): v for k, v in arrays.items() if k.startswith(lead)})

    # What fit does

    def _describe(self, train: View) -> None:
        """Note what the modules are built from."""
        self.target_ = next(iter(train.targets))
        self.bins_ = int(next(train.batches(1)).target[self.target_].shape[2])
        self.dims_ = self.dims if self.target == "deep" and self.start == "none" else self.bins_
        self.frame_index_ = frame_index(train, self.target_)
        self.subjects_ = sorted({trial.groups.get("subject", "") for trial in train.trials})

    def _build(self, ctx: Context) -> None:
        from braindecode_hub.torch import resolve_device, seeded
        from braindecode_hub_speech_wav2vec.target_tower import Comparison, TargetTower

        shape = self.bins_, self.dims_, self.tower_hidden, self.tower_depth, self.tower_period
        with seeded(ctx, NAME, "weights"):
            tower = TargetTower(*shape, deep=self.target == "deep", identity=self.start == "ridge")
            comparison = Comparison(tower, self.dims_, self.loss, self.temperature == "learned", self.target == "deep")
        self._comparison = comparison.to(resolve_device(ctx.device)).eval()

    def _build_both(self, step: SimpleConvEncoder, train: View, val: View, ctx: Context) -> None:
        """Build encoder and tower, and let them begin at ridge."""
        import torch

        first = next(train.batches(1)).brain
        rate, channels = float(train.space.rate or 1.0), first.shape[1]
        ridge = Ridge(lags_s=tuple(self.lags_s), lag_step_s=self.lag_step_s)  # type: ignore[arg-type]
        lags = lag_samples(ridge, rate) if self.start == "ridge" else []
        step.build(channels, ctx, self.subjects_, dims=self.dims_, rate=rate, lags=lags)
        step.widened(first)  # says if a window is too short for it
        self._build(ctx)
        if not lags:
            return
        start = solve(train, val, ctx, self.subjects_, ridge)
        step.module.linear.start_from(*(torch.from_numpy(one) for one in vars(start).values()))
        if self.loss == "clip" and self.temperature == "learned":
            self._calibrate(step, next(val.batches(self.batch_size, ctx.rng(NAME, "scale"))))

    def _calibrate(self, step: SimpleConvEncoder, batch: Batch) -> None:
        """Set the temperature to what suits the scores before training."""
        import torch

        from braindecode_hub_speech_wav2vec.losses import same_sound, unit
        from braindecode_hub_speech_wav2vec.target_tower import best_log_scale

        device = self._comparison.log_scale.device
        with torch.no_grad():
            estimate, candidate, target = self._compared(step, batch, device)
            scores = estimate.flatten(1) @ unit(candidate).t()
            self._comparison.log_scale.fill_(best_log_scale(scores, same_sound(target, target)))

    def _compared(self, step: SimpleConvEncoder, batch: Batch, device: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return estimates and candidates (batch, dims, frames), and targets (batch, bins, frames)."""
        from braindecode_hub.torch import tensor

        target = tensor(batch.target[self.target_], device).transpose(1, 2)
        made = step.module(tensor(batch.brain, device), step.rows(batch.brain, batch, device))
        return *self._comparison(made[:, :, self.frame_index_], target), target

    def _loss(self, step: SimpleConvEncoder, batch: Batch, device: Any) -> Tensor:
        from braindecode_hub_speech_wav2vec.losses import clip_loss, same_sound, siglip_loss

        estimate, candidate, target = self._compared(step, batch, device)
        same, learned = same_sound(target, target), self._comparison
        if self.loss == "clip":
            return clip_loss(estimate, candidate, same, learned.log_scale.exp())
        return siglip_loss(estimate, candidate, same, learned.log_scale, learned.bias)

    def _settle(self, step: SimpleConvEncoder, train: View, val: View) -> None:
        """Centre the learned space on the training side, and read the target out of it."""
        import torch

        if self.target == "frozen":
            return
        with torch.no_grad():
            self._comparison.centre.mean.zero_()
            sums = [
                self.embed(batch.target[self.target_])[DEEP].sum(axis=(0, 1), dtype=np.float64)
                for batch in train.batches(BATCH)
            ]
            mean = np.sum(sums, axis=0) / (len(train) * len(self.frame_index_))
            self._comparison.centre.mean.copy_(torch.from_numpy(mean.astype(np.float32)))

        def pairs(view: View) -> Iterator[tuple[Array, Array]]:
            for batch in view.batches(BATCH):
                estimate = step.encode(batch.brain, batch)[:, :, self.frame_index_].transpose(0, 2, 1)
                yield estimate.reshape(-1, self.dims_), batch.target[self.target_].reshape(-1, self.bins_)

        prior = np.eye(self.bins_, dtype=np.float32) if self.start == "ridge" else None
        if prior is not None and self.best_step_ == 0:
            self.readout_, self.readout_offset_ = prior, np.zeros(self.bins_, np.float32)
        else:
            self.readout_, self.readout_offset_ = fit_readout(pairs(train), pairs(val), prior)

"""audio_seeg/attention: a mel spectrogram, frame by frame, by attention over what the brain did; ridge beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.figures import pair_png
from braindecode_hub.interfaces import Decoder, Encoder, State
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.types import Array, Batch, Context, Prediction, Space
from braindecode_hub.view import View
from braindecode_hub_audio_seeg.electrodes import LOOKED_AT, contribution, some_windows

if TYPE_CHECKING:
    from torch import Tensor

    from braindecode_hub.torch import Training

NAME = "audio_seeg/attention"
BATCH = 64
"""Windows decoded at once."""

CONTROL_STEPS = 50
"""Most training steps of a control's refit."""


class Attention(Decoder):
    """Mel frames one after the other, each from the place in the encoder's memory that it attends to.

    `kind`: "bahdanau" (location-sensitive: Chorowski et al. 2015) or "dot" attention. `skip`: "ridge" adds what is
    learned to `core/ridge` (fitted in closed form on the same features, lags `lags_s`): training begins exactly at
    ridge, and ridge stays if nothing validates better; "none": from scratch. `size`: "small", or "paper", the network
    of Kohler et al. 2022 with its faults corrected (8.63 M parameters with conv_gru's at 100 channels). `loss`: "mse"
    or "l1", in the target's fitted units. `teacher_forcing`: probability, for each training window, that frames
    follow the true ones; `noise`: SD of white noise added to the network's features in training. Training: AdamW
    with `rate`, `weight_decay`, gradients clipped at `clip`, `schedule` and `milestones` as
    `braindecode_hub.torch.Training` says, at most `max_steps` (a control's refit: 50).

    Learned besides the weights, unless `examples` is 0: `attention_` (examples, frames, steps), weights of so many
    validation windows that sum to 1 over steps; and `contribution_` (channels,): by how much the share of explained
    validation variance falls when a channel is silenced in ridge and network alike (1: all of it; 0: nothing), in
    the order of `channels_` and `shafts_`.
    """

    requires = ("torch",)
    trains_encoder = True
    control_refits = 3

    _network: Any = None
    _ridge: Ridge | None = None
    _control = False

    def __init__(
        self,
        *,
        kind: Literal["bahdanau", "dot"] = "bahdanau",
        size: Literal["small", "paper"] = "small",
        skip: Literal["ridge", "none"] = "ridge",
        lags_s: tuple[float, float] = (0.0, 0.3),
        loss: Literal["mse", "l1"] = "mse",
        teacher_forcing: float = 0.1,
        noise: float = 1.0,
        batch_size: int = 64,
        max_steps: int = 100,
        max_epochs: int | None = None,
        rate: float = 3e-3,
        weight_decay: float = 1e-2,
        clip: float = 2.0,
        schedule: Literal["constant", "steps", "cosine"] = "cosine",
        milestones: tuple[int, ...] = (),
        patience: int | None = None,
        examples: int = 4,
    ) -> None:
        self.kind = kind
        self.size = size
        self.skip = skip
        self.lags_s = lags_s
        self.loss = loss
        self.teacher_forcing = teacher_forcing
        self.noise = noise
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.max_epochs = max_epochs
        self.rate = rate
        self.weight_decay = weight_decay
        self.clip = clip
        self.schedule = schedule
        self.milestones = milestones
        self.patience = patience
        self.examples = examples

    @property
    def consumes(self) -> Space:
        """A memory, one row a step."""
        return Space("memory", ("steps", "units"))

    @property
    def produces(self) -> tuple[Space, ...]:
        """Log-mel frames."""
        return (Space("mel", ("time", "bins"), "*"),)

    def for_controls(self) -> Attention:
        """Return an unfitted copy on at most 50 steps, without maps and contributions."""
        steps = min(self.max_steps, CONTROL_STEPS)
        return type(self)(**{**self.configuration(), "max_steps": steps, "examples": 0})

    def training(self) -> Training:
        """Return how it is trained."""
        from braindecode_hub.torch import Training

        names = ("batch_size", "max_steps", "max_epochs", "rate", "weight_decay", "clip", "schedule", "patience")
        return Training(**{name: getattr(self, name) for name in names}, milestones=tuple(self.milestones))

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Fit ridge, then train the encoder's learned tail and the attention network together.

        Raises HubError for NaN, a target that is no mel, an untrainable encoder, or a loss that is not finite.
        """
        import torch
        from torch import nn

        from braindecode_hub.torch import fit_module, resolve_device, settings, tensor

        _check(train, val)
        device = resolve_device(ctx.device)
        if self.skip == "ridge":
            self._ridge = Ridge(lags_s=tuple(self.lags_s))  # type: ignore[arg-type]
            self._ridge.fit(train, val, ctx, encoder=encoder)
        with settings(device):
            step, memory = _built(encoder, next(train.batches(2)), ctx)
            self._describe(train, memory, step)
            self._build(ctx)
            both = nn.ModuleDict({"encoder": step.module, "decoder": self._network})
            away = nn.functional.l1_loss if self.loss == "l1" else nn.functional.mse_loss

            def loss(batch: Batch) -> Tensor:
                target = tensor(batch.target["mel"], device)
                x = tensor(batch.brain, device)
                if both.training and self.noise:
                    x = x + self.noise * torch.randn(x.shape).to(device)
                memory = both["encoder"](x)
                forced = torch.rand(len(target)).to(device) < self.teacher_forcing if both.training else None
                frames, first, _ = both["decoder"](memory, self._skip(batch.brain, device), target, forced)
                return away(frames, target) + (away(first, target) if both.training else 0.0)

            def watch(number: int) -> None:
                both.eval()
                with torch.inference_mode():
                    self._show(seen, step, ctx, number)

            seen = some_windows(val, max(1, self.examples))
            done = fit_module(both, loss, train, val, ctx, self.training(), name=NAME, watch=watch)
            self.validation_ = done.history
            self.best_step_ = done.best_step
            if self.examples:
                self.attention_ = self._run(step, seen.brain)[1]
                self.contribution_ = contribution(lambda x: self._run(step, x)[0], some_windows(val, LOOKED_AT))

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict {"mel": (batch, frames, bins) float32} from the memory z and, for ridge, the features x.

        z: (batch, rows + steps, units); x: (batch, channels, time). Raises HubError for NaN.
        """
        import torch

        from braindecode_hub.torch import settings, tensor

        device = next(self._network.parameters()).device
        parts = []
        with torch.inference_mode(), settings(device):
            for at in range(0, len(z), BATCH):
                rows = slice(at, at + BATCH)
                frames, _, _ = self._network(tensor(z[rows], device), self._skip(x[rows], device))
                parts.append(frames.cpu().numpy())
        return {"mel": np.concatenate(parts)}

    def state(self) -> State:
        """Return the network's weights, ridge's, and what `fit` noted."""
        from braindecode_hub.torch import module_state

        arrays, values = super().state()
        if self._network is not None:
            arrays |= {f"network.{name}": value for name, value in module_state(self._network).items()}
        if self._ridge is not None:
            learned, plain = self._ridge.state()
            arrays |= {f"ridge.{name}": value for name, value in learned.items()}
            values |= {f"ridge.{name}": value for name, value in plain.items()}
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Build the network that was stored; HubError if the weights are of another configuration."""
        from braindecode_hub.torch import load_module_state

        own = [{k: v for k, v in some.items() if "." not in k} for some in (arrays, values)]
        super().load_state(*own)
        if self.skip == "ridge":
            self._ridge = Ridge(lags_s=tuple(self.lags_s))  # type: ignore[arg-type]
            self._ridge.load_state(_under(arrays, "ridge."), _under(values, "ridge."))
        self._build(Context(device="cpu"))
        load_module_state(self._network, _under(arrays, "network."))

    # What fit does

    def _describe(self, train: View, memory: Array, step: Encoder) -> None:
        """Note the shapes and times that the network is built from."""
        self.rows_ = step.state_rows
        self.units_, self.bins_ = int(memory.shape[2]), int(next(train.batches(1)).target["mel"].shape[2])
        seconds = train.window.length_s + 2 * train.window.context_s  # type: ignore[operator]
        steps = memory.shape[1] - self.rows_
        self.step_times_ = [(number + 0.5) / steps * seconds for number in range(steps)]
        self.frame_times_ = [float(time) for time in train.frame_times("mel")]
        sensors = train.items[0].recording
        self.channels_, self.shafts_ = list(sensors.brain.channels), list(sensors.shafts)

    def _build(self, ctx: Context) -> None:
        """Make the network from what `_describe` noted; its first weights come from the context's own stream."""
        import torch

        from braindecode_hub.torch import resolve_device, seeded
        from braindecode_hub_audio_seeg.attention_network import PAPER, SMALL, AttentionNetwork

        times = torch.tensor(self.frame_times_), torch.tensor(self.step_times_)
        sizes = PAPER if self.size == "paper" else SMALL
        with seeded(ctx, NAME, "weights"):
            network = AttentionNetwork(
                self.units_, self.rows_, self.bins_, sizes, self.kind, self.skip == "ridge", times
            )
        self._network = network.to(resolve_device(ctx.device)).eval()

    def _skip(self, x: Array, device: Any) -> Tensor | None:
        """Return what ridge predicts from the features (batch, channels, time): (batch, frames, bins)."""
        from braindecode_hub.torch import tensor

        return None if self._ridge is None else tensor(self._ridge.decode(x, x)["mel"], device)

    def _run(self, step: Any, x: Array) -> tuple[Array, Array]:
        """Return frames and attention weights for features (batch, channels, time)."""
        import torch

        from braindecode_hub.torch import tensor

        device = next(self._network.parameters()).device
        with torch.inference_mode():
            frames, _, weights = self._network(step.module(tensor(x, device)), self._skip(x, device))
        return frames.cpu().numpy(), weights.cpu().numpy()

    def _show(self, seen: Batch, step: Any, ctx: Context, number: int) -> None:
        """Log the first example's mel, truth above prediction, and its attention map."""
        if self.examples == 0:
            return
        frames, weights = self._run(step, seen.brain[:1])
        for tag, pair in (("mel", (seen.target["mel"][0], frames[0])), ("attention", (weights[0], weights[0]))):
            png, height, width = pair_png(*pair)
            ctx.log(
                {"kind": "image", "tag": f"{NAME}/{tag}", "step": number, "png": png, "height": height, "width": width}
            )


def _built(encoder: Encoder, example: Batch, ctx: Context) -> tuple[Encoder, Array]:
    """Build the encoder's learned tail, one step, and return it with its memory of an example."""
    steps = getattr(encoder, "steps", [encoder])
    if len(steps) != 1 or not steps[0].trains_jointly:
        raise HubError(
            f"{NAME} trains one encoder with itself, and stands behind {len(steps)}",
            "end the encoder chain with audio_seeg/conv_gru, such as encoder: [..., {use: audio_seeg/conv_gru}]",
            usage=True,
        )
    steps[0].build(example.brain.shape[1], ctx)
    return steps[0], steps[0].encode(example.brain, example)


def _check(train: View, val: View) -> None:
    """Refuse what training would only stumble over: targets that are no mel, NaN in features or targets."""
    if list(train.targets) != ["mel"] or not train.window.length_s:
        raise HubError(
            f"{NAME} predicts mel in windows, and the targets are {', '.join(train.targets)}",
            "give one target, mel, and window.length_s",
            usage=True,
        )
    for side, view in (("training", train), ("validation", val)):
        for batch in view.segments():
            for what, array in (("features", batch.brain), ("target", batch.target["mel"])):
                if not np.isfinite(array).all():
                    raise HubError(
                        f"{NAME}: the {side} {what} hold NaN or infinity",
                        "mark bad channels, or cut that stretch out",
                    )


def _under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

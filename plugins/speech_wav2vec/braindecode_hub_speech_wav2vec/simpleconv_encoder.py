"""speech_wav2vec/simpleconv: the brain's side of an estimate, trained by a contrastive decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder, State
from braindecode_hub.types import Array, Batch, Context, Space
from braindecode_hub_speech_wav2vec.layout import GRID, grid_weights, layouts, places

if TYPE_CHECKING:
    from braindecode_hub_speech_wav2vec.brain_network import Rows
    from braindecode_hub_speech_wav2vec.simpleconv import Sizes

NAME = "speech_wav2vec/simpleconv"
BATCH = 64
"""Windows encoded at once."""


class SimpleConvEncoder(Encoder):
    """Channels over time become an estimate of what was heard: (batch, channels, time) → (batch, dims, time) float32.

    A linear lagged path for each subject (if the decoder gives one) plus the network of Défossez et al. 2023, see
    `simpleconv.SimpleConv`. `size`: "small", for a CPU, or "paper"; `subject`: what is learned of each, a "layer", an
    "embedding", "both" or "none"; `shift_s`: how much later the convolutions look than they estimate;
    `baseline_s`: the first seconds of a window, whose mean they subtract (0: none). `hidden`, `subject_dropout`,
    `dropout`: other than the size's. `network: false` leaves the linear path alone.

    Subjects go by name: one that was not trained on takes the row that was learned for the unknown one, and, in the
    linear path, weights on a common grid. Learns nothing by itself: a decoder trains its `module`.
    """

    requires = ("torch",)
    trains_jointly = True

    _module: Any = None

    def __init__(
        self,
        *,
        size: Literal["small", "paper"] = "small",
        subject: Literal["layer", "embedding", "both", "none"] = "layer",
        shift_s: float = 0.15,
        baseline_s: float = 0.5,
        hidden: int | None = None,
        subject_dropout: float | None = None,
        dropout: float | None = None,
        network: bool = True,
    ) -> None:
        self.size = size
        self.subject = subject
        self.shift_s = shift_s
        self.baseline_s = baseline_s
        self.hidden = hidden
        self.subject_dropout = subject_dropout
        self.dropout = dropout
        self.network = network

    @property
    def consumes(self) -> Space:
        """Channels over time."""
        return Space("*", ("channels", "time"), "*")

    @property
    def produces(self) -> Space:
        """An estimate at the brain's own rate, on the stimulus's clock."""
        return Space("estimate", ("dims", "time"), "*")

    @property
    def module(self) -> Any:
        """The torch module, see `brain_network.BrainNetwork`; None before `build`."""
        return self._module

    def build(
        self,
        channels: int,
        ctx: Context,
        subjects: Sequence[str] = (),
        *,
        dims: int = 64,
        rate: float = 50.0,
        lags: Sequence[int] = (),
    ) -> None:
        """Make the module, its first weights drawn from the context's own stream.

        `subjects`: the names it will be trained on; `dims`: of the estimate; `rate`: Hz of the brain; `lags`: of the
        linear path, in samples (none: no such path).
        """
        from braindecode_hub.torch import resolve_device, seeded
        from braindecode_hub_speech_wav2vec.brain_network import BrainNetwork, LinearPath
        from braindecode_hub_speech_wav2vec.simpleconv import SimpleConv

        if not self.network and not lags:
            raise HubError(f"{NAME} has neither a network nor a linear path", "leave network: true", usage=True)
        self._check()
        self.channels_, self.subjects_ = channels, [str(name) for name in subjects] or [""]
        self.dims_, self.rate_, self.lags_ = dims, float(rate), [int(lag) for lag in lags]
        count, sizes = len(self.subjects_), self._sizes()
        with seeded(ctx, NAME, "weights"):
            linear = LinearPath(self.lags_, (count, channels, GRID**2, dims)) if lags else None
            conv = SimpleConv(count, dims, sizes, self.subject) if self.network else None
            if conv is not None and linear is not None:
                conv.start_at_zero()
        shift, baseline = round(self.shift_s * rate), round(self.baseline_s * rate)
        network = BrainNetwork(linear, conv, shift, baseline, sizes.subject_dropout)
        self._module = network.to(resolve_device(ctx.device)).eval()

    def rebuild(self, subjects: Sequence[str], channels: int, arrays: Mapping[str, Array]) -> None:
        """Make the module anew for other subjects or more channels, with the weights given."""
        from braindecode_hub.torch import load_module_state

        device = next(self._module.parameters()).device
        self.build(channels, Context(device="cpu"), subjects, dims=self.dims_, rate=self.rate_, lags=self.lags_)
        load_module_state(self._module, arrays)
        self._module = self._module.to(device).eval()

    def rows(self, x: Array, batch: Batch | None, device: Any = "cpu") -> Rows:
        """Return where the sensors of each row of x (batch, channels, time) are, and whose it is."""
        import torch

        from braindecode_hub_speech_wav2vec.brain_network import Rows

        distinct, which = layouts(x, batch)
        lacking = [(0, 0), (0, max(0, self.channels_ - x.shape[1])), (0, 0)]
        distinct = np.pad(distinct, lacking, constant_values=np.nan)
        grids = np.stack([grid_weights(one) for one in distinct])
        number = {name: place for place, name in enumerate(self.subjects_)}
        trials = batch.trials if batch is not None and len(batch) == len(x) else [None] * len(x)
        subject = [len(number) if t is None else number.get(t.groups.get("subject", ""), len(number)) for t in trials]
        arrays = (distinct, grids, which, np.array(subject, np.int64))
        return Rows(*(torch.from_numpy(one).to(device) for one in arrays))

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map (batch, channels, time) to (batch, dims, time) float32; without a batch, as for an unknown subject.

        Raises HubError for NaN, more channels than it was trained on, or a window shorter than the shift.
        """
        import torch

        from braindecode_hub.torch import settings, tensor

        if self._module is None:
            raise HubError(f"{NAME} was not trained", "put it before speech_wav2vec/contrastive")
        narrow, x = x, self.widened(np.asarray(x, np.float32), batch)
        device = next(self._module.parameters()).device
        parts = []
        with torch.inference_mode(), settings(device):
            rows = self.rows(narrow, batch, device)
            for at in range(0, len(x), BATCH):
                some = rows._replace(which=rows.which[at : at + BATCH], subject=rows.subject[at : at + BATCH])
                parts.append(self._module(tensor(x[at : at + BATCH], device), some).cpu().numpy())
        return np.concatenate(parts)

    def sensor_attention(self, positions: Array) -> Array:
        """Return (channels,) float32: how much the network attends to each sensor, summing to 1.

        positions: (channels, 3) in metres; NaN where there is none, which gets 0. The mean over virtual channels.
        """
        import torch

        if self._module is None or self._module.conv is None:
            return np.zeros(len(positions), np.float32)
        attention = self._module.conv.attention
        with torch.inference_mode():
            weights = attention.eval().weights(torch.from_numpy(places(positions))[None].to(attention.heads.device))
        return np.asarray(weights[0].mean(dim=0).cpu().numpy(), np.float32)

    def state(self) -> State:
        """Return the module's weights and buffers, and what it was built for."""
        from braindecode_hub.torch import module_state

        if self._module is None:
            return {}, {}
        arrays, values = super().state()
        return arrays | {f"module.{name}": value for name, value in module_state(self._module).items()}, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Build the module that was stored; HubError if the weights are of another configuration."""
        from braindecode_hub.torch import load_module_state

        given = {name: values[f"{name}_"] for name in ("dims", "rate", "lags")}
        self.build(int(values["channels_"]), Context(device="cpu"), values["subjects_"], **given)
        load_module_state(self._module, {name.removeprefix("module."): value for name, value in arrays.items()})

    def _check(self) -> None:
        """Raise HubError for sizes and seconds of which no network can be made."""
        sizes = self._sizes()
        right = {
            "hidden": (sizes.hidden, sizes.hidden >= 1, "1 or more"),
            "dropout": (sizes.dropout, 0 <= sizes.dropout < 1, "a share from 0 to below 1"),
            "subject_dropout": (sizes.subject_dropout, 0 <= sizes.subject_dropout <= 1, "a share from 0 to 1"),
            "shift_s": (self.shift_s, self.shift_s >= 0, "seconds, 0 or more"),
            "baseline_s": (self.baseline_s, self.baseline_s >= 0, "seconds, 0 or more"),
        }
        for name, (value, fits, wanted) in right.items():
            if not fits:
                raise HubError(f"{NAME}: {name} is {value:g}", f"give {wanted}", usage=True)

    def _sizes(self) -> Sizes:
        from braindecode_hub_speech_wav2vec.simpleconv import SIZES

        given: dict[str, Any] = {name: getattr(self, name) for name in ("hidden", "subject_dropout", "dropout")}
        return replace(SIZES[self.size], **{name: value for name, value in given.items() if value is not None})

    def widened(self, x: Array, batch: Batch | None = None) -> Array:
        """Return x with as many channels as it was trained on, those that a montage lacks as 0.

        More channels are HubError, unless none of the batch's subjects is known: those go by where sensors are.
        """
        lacking = self.channels_ - x.shape[1]
        given = (
            {trial.groups.get("subject", "") for trial in batch.trials} if batch is not None else set(self.subjects_)
        )
        if lacking < 0 and given & {*self.subjects_}:
            raise HubError(
                f"{NAME} was trained on at most {self.channels_} channels and is given {x.shape[1]}",
                "leave channels out, or train it on that montage too",
            )
        if x.shape[2] <= round(self.shift_s * self.rate_):
            raise HubError(f"{NAME}: a window of {x.shape[2]} samples is shorter than shift_s", "use longer windows")
        return np.pad(x, ((0, 0), (0, lacking), (0, 0))) if lacking > 0 else x

"""audio_seeg/conv_gru: the front end of an attention decoder, trained with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder, State
from braindecode_hub.types import Array, Batch, Context, Space

BATCH = 64
"""Windows encoded at once."""


class ConvGru(Encoder):
    """Convolutions and a bidirectional GRU turn features over time into a memory that a decoder attends to.

    (batch, channels, time) → (batch, layers + steps, 2 · hidden) float32; the first `layers` rows are the last states
    of the GRU's layers, `state_rows` says how many. `size`: "small", for features at about 100 Hz (4 samples become
    a step), or "paper", the network of Kohler et al. 2022 for envelopes at 1024 Hz (1230 samples become 23 steps).
    `hidden`, `layers`, `dropout`: other than the size's. Learns nothing by itself: a decoder trains its `module`.
    """

    requires = ("torch",)
    trains_jointly = True

    _module: Any = None

    def __init__(
        self,
        *,
        size: Literal["small", "paper"] = "small",
        hidden: int | None = None,
        layers: int | None = None,
        dropout: float | None = None,
    ) -> None:
        self.size = size
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout

    @property
    def consumes(self) -> Space:
        """Any features over time, one row a channel."""
        return Space("*", ("channels", "time"), "*")

    @property
    def produces(self) -> Space:
        """The memory."""
        return Space("memory", ("steps", "units"))

    @property
    def module(self) -> Any:
        """The torch module (batch, channels, time) → (batch, layers + steps, 2 · hidden); None before `build`."""
        return self._module

    @property
    def state_rows(self) -> int:
        """How many of the first rows are states, and not steps."""
        return int(self._front().layers)

    def build(self, channels: int, ctx: Context, subjects: Sequence[str] = ()) -> None:
        """Make the module for so many channels, its first weights drawn from the context's own stream."""
        from braindecode_hub.torch import resolve_device, seeded
        from braindecode_hub_audio_seeg.conv_gru_network import ConvGruNetwork

        with seeded(ctx, "audio_seeg/conv_gru", "weights"):
            self._module = ConvGruNetwork(channels, self._front()).to(resolve_device(ctx.device)).eval()
        self.channels_ = channels

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map (batch, channels, time) to (batch, layers + steps, 2 · hidden) float32.

        Raises HubError for NaN, another number of channels, or a window shorter than one step.
        """
        import torch

        from braindecode_hub.torch import settings, tensor

        if self._module is None:
            raise HubError("audio_seeg/conv_gru was not trained", "put it before a decoder that trains its encoder")
        if x.shape[1] != self.channels_:
            raise HubError(
                f"audio_seeg/conv_gru was trained on {self.channels_} channels and is given {x.shape[1]}",
                "use the montage it was trained on",
            )
        device = next(self._module.parameters()).device
        with torch.inference_mode(), settings(device):
            parts = [self._module(tensor(x[at : at + BATCH], device)).cpu().numpy() for at in range(0, len(x), BATCH)]
        return np.concatenate(parts)

    def state(self) -> State:
        """Return the module's weights and buffers, and for how many channels it was built."""
        from braindecode_hub.torch import module_state

        if self._module is None:
            return {}, {}
        return {f"module.{k}": v for k, v in module_state(self._module).items()}, {"channels_": self.channels_}

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Build the module that was stored; HubError if the weights are of another configuration."""
        from braindecode_hub.torch import load_module_state

        self.build(int(values["channels_"]), Context(device="cpu"))
        load_module_state(self._module, {k.removeprefix("module."): v for k, v in arrays.items()})

    def _front(self) -> Any:
        from braindecode_hub_audio_seeg.conv_gru_network import PAPER, SMALL

        given: dict[str, Any] = {"hidden": self.hidden, "layers": self.layers, "dropout": self.dropout}
        return replace(PAPER if self.size == "paper" else SMALL, **{k: v for k, v in given.items() if v is not None})

"""What one fit learned: it decodes, embeds, and is saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindecode_hub.chain import Chain
from braindecode_hub.interfaces import Decoder, Renderer, State
from braindecode_hub.pipeline import Pipeline
from braindecode_hub.stitching import Overlap
from braindecode_hub.types import Array, Batch, Prediction
from braindecode_hub.view import View, Window

STATE = ".state.safetensors"
"""How the name of a fit's file ends; it begins with the subject, or with "all"."""


@dataclass
class Fitted:
    """What one fit learned: the targets' fitted steps, the encoder behind its continuous part, the decoder.

    `frozen` is fitted stage by stage; `tail` was trained with the decoder.
    """

    targets: dict[str, Chain]
    frozen: Chain
    tail: Chain
    decoder: Decoder
    renderer: Renderer | None = None

    def decode(self, batch: Batch) -> Prediction:
        """Decode one batch of what the continuous part made; (batch, frames, …) in the fitted target spaces."""
        x = self.frozen.encode(batch.brain, batch)
        return self.decoder.decode(self.tail.encode(x, batch.behind(self.frozen.produces, x)), x)

    def predict(self, view: View) -> list[Prediction]:
        """Predict every item of a view, targets in their own units (fitted steps undone)."""
        found = view.predict(self.decode)
        return [
            {
                name: self.targets[name].invert(value[None])[0] if name in self.targets else value
                for name, value in one.items()
            }
            for one in found
        ]

    def embed(self, target: Array, name: str, window: Window, rate: float) -> Prediction:
        """Place one trial's main target (frames, …), in its own units, in the learned space: {space: (frames, …)}.

        Window by window, as `predict` treats the brain, so that no place knows more than a window of the stimulus.
        """
        length = round((window.length_s or 0.0) * rate)
        hop = max(1, round((window.hop_s or window.length_s or 0.0) * rate))
        starts = [*range(0, max(1, len(target) - length + 1), hop)]
        if starts[-1] + length < len(target):
            starts.append(len(target) - length)
        fitted = self.targets[name].encode(np.asarray(target, np.float32)[None])[0]
        placed = self.decoder.embed(np.stack([fitted[start : start + length] for start in starts]))
        found = {}
        for space, windows in placed.items():
            overlap = Overlap(len(target), windows[0])
            for start, values in zip(starts, windows, strict=True):
                overlap.add(values, start)
            found[space] = overlap.take(None)[1]
        return found

    def parts(self) -> dict[str, Any]:
        """Return everything that has a state, by name."""
        parts: dict[str, Any] = {f"target.{name}": chain for name, chain in self.targets.items()}
        parts |= {"encoder": self.frozen, "tail": self.tail, "decoder": self.decoder}
        return parts if self.renderer is None else parts | {"renderer": self.renderer}

    def state(self) -> State:
        """Return all learned arrays and values, keys led by the part."""
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {}
        for part, component in self.parts().items():
            learned, plain = component.state()
            arrays |= {f"{part}/{name}": value for name, value in learned.items()}
            values |= {f"{part}/{name}": value for name, value in plain.items()}
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        for part, component in self.parts().items():
            own = [
                {k.removeprefix(f"{part}/"): v for k, v in some.items() if k.startswith(f"{part}/")}
                for some in (arrays, values)
            ]
            component.load_state(*own)


def unfitted(pipeline: Pipeline) -> Fitted:
    """Return the parts of a fit with nothing learned, to load a state into."""
    frozen, tail = pipeline.encoder.after(pipeline.encoder.continuous_part()).fresh().split()
    targets = {name: chain.after(chain.frozen_part()).fresh() for name, chain in pipeline.targets.items()}
    renderer = pipeline.renderer.fresh() if pipeline.renderer else None
    return Fitted(targets, frozen, tail, pipeline.decoder.fresh(), renderer)

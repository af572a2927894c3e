"""A run folder read back: configuration, scores, predictions, artifacts, and the fitted pipeline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, read_yaml

if TYPE_CHECKING:
    from braindecode_hub.types import Array, Prediction, Recording


@dataclass(frozen=True)
class Item:
    """One scored stretch of the test side: true and predicted targets (frames, bins) by name, frames per second."""

    name: str
    target: dict[str, Array]
    predicted: dict[str, Array]
    rate: float | None
    about: dict[str, Any]


class Run:
    """What a run left behind. `predict` uses its fitted pipeline on another recording."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not (self.path / "config.yaml").is_file():
            raise HubError(f"{self.path} is not a run folder", "name a folder that `braindecode-hub run` printed")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return dict(read_yaml(self.path / "config.yaml"))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return self._json("metrics.json")

    @cached_property
    def split(self) -> dict[str, Any]:
        """The content of split.json."""
        return self._json("split.json")

    @cached_property
    def env(self) -> dict[str, Any]:
        """The versions and the machine it ran on."""
        return self._json("env.json")

    @property
    def status(self) -> str:
        """How far it got: running, prepared, fitted, predicted, done, or failed and why."""
        path = self.path / "status"
        return path.read_text("utf-8").strip() if path.is_file() else "unknown"

    @cached_property
    def details(self) -> dict[str, Array]:
        """Arrays behind the scores: units/…, null/…, controls/…, bins/…."""
        path = self.path / "details.safetensors"
        return load_arrays(path)[0] if path.is_file() else {}

    def artifacts(self) -> list[Path]:
        """Return the media files, by name."""
        folder = self.path / "artifacts"
        return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []

    def items(self) -> list[Item]:
        """Return the scored stretches with their targets and predictions."""
        path = self.path / "predictions.safetensors"
        if not path.is_file():
            return []
        arrays, info = load_arrays(path)
        found = []
        for about in info["items"]:
            own = {
                k.removeprefix(about["name"] + "/"): v for k, v in arrays.items() if k.startswith(about["name"] + "/")
            }
            sides = {
                side: {k.removesuffix(f"/{side}"): v for k, v in own.items() if k.endswith(f"/{side}")}
                for side in ("target", "predicted")
            }
            found.append(Item(about["name"], sides["target"], sides["predicted"], about["rate"], about))
        return found

    def predict(self, recording: Recording, *, fold: int = 0, subject: str | None = None) -> Prediction:
        """Decode a whole recording of the same sensors: {space: (frames, …)} in the target's own units.

        `subject`: whose fit to use, where there is one for each. Raises HubError if the channels differ.
        """
        from braindecode_hub.prediction import predict_recording

        return predict_recording(self, recording, fold=fold, subject=subject)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.is_file():
            raise HubError(f"{self.path.name} has no {name}: it is {self.status}", "finish it with `run … --resume`")
        return dict(json.loads(path.read_text("utf-8")))

    def _repr_html_(self) -> str:
        from braindecode_hub.notebook import run_html

        return run_html(self)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status})"

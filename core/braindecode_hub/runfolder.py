"""A run folder read back: configuration, scores, predictions, artifacts, and the fitted pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, read_json, refuse_links
from braindecode_hub.form import read_config, wrong_in_metrics, wrong_in_split
from braindecode_hub.text import visible

if TYPE_CHECKING:
    from braindecode_hub.interfaces import Dataset
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
        refuse_links(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        found = read_config(self.path / "config.yaml")
        how = {"seed": 0, "folds": 1, "subjects": None, "dev": False}  # one written by hand may not say
        return {**found, "run": {**how, **(found.get("run") or {})}}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return self._json("metrics.json", wrong_in_metrics)

    @cached_property
    def split(self) -> dict[str, Any]:
        """The content of split.json."""
        return self._json("split.json", wrong_in_split)

    @cached_property
    def env(self) -> dict[str, Any]:
        """The versions and the machine it ran on."""
        return self._json("env.json")

    @property
    def status(self) -> str:
        """How far it got: running, prepared, fitted, predicted, done, interrupted, or failed and why."""
        path = self.path / "status"
        return visible(" ".join(path.read_text("utf-8", "replace").split())) if path.is_file() else "unknown"

    @cached_property
    def details(self) -> dict[str, Array]:
        """Arrays behind the scores: units/…, null/…, controls/…, bins/…."""
        path = self.path / "details.safetensors"
        return load_arrays(path)[0] if path.is_file() else {}

    @cached_property
    def retrieval(self) -> list[dict[str, Any]]:
        """What was looked up in each fit: subjects, candidates, their texts and clips; `details` has retrieval/n/…."""
        path = self.path / "details.safetensors"
        found = load_arrays(path)[1].get("retrieval") if path.is_file() else None
        return found if isinstance(found, list) else []

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
        if not isinstance(info.get("items"), list) or not all(map(is_item, info["items"])):
            raise HubError(f"{path} does not say what its arrays are", "predict again, with `run … --resume`")
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

    @overload
    def predict(self, recording: Recording, *, fold: int = 0, subject: str | None = None) -> Prediction: ...

    @overload
    def predict(self, recording: Dataset, *, fold: int = 0, subject: str | None = None) -> dict[str, Prediction]: ...

    def predict(
        self, recording: Recording | Dataset, *, fold: int = 0, subject: str | None = None
    ) -> Prediction | dict[str, Prediction]:
        """Decode a whole recording of the same sensors: {space: (frames, …)} in the target's own units.

        Of a prepared dataset: that for each of its recordings, by id. Frame n is at n / its rate seconds. `subject`:
        whose fit to use, where there is one for each. Raises HubError if channels, their names or the rate differ.
        """
        from braindecode_hub.interfaces import Dataset
        from braindecode_hub.prediction import predict_dataset, predict_recording

        if isinstance(recording, Dataset):
            return predict_dataset(self, recording, fold=fold, subject=subject)
        return predict_recording(self, recording, fold=fold, subject=subject)

    def _json(self, name: str, wrong_in: Callable[[Any], str | None] = lambda found: None) -> dict[str, Any]:
        path = self.path / name
        if not path.is_file():
            raise HubError(f"{self.path.name} has no {name}: it is {self.status}", "finish it with `run … --resume`")
        found = read_json(path)
        why = wrong_in(found)
        if why is not None:
            raise HubError(f"{path} {why}", "the file was changed: finish the run again, with `run … --resume`")
        return found

    def _repr_html_(self) -> str:
        from braindecode_hub.notebook import run_html

        return run_html(self)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status})"


def is_item(about: Any) -> bool:
    """Say whether an entry in predictions.safetensors describes a scored stretch."""
    if not isinstance(about, dict):
        return False
    texts = all(isinstance(about.get(key), str) for key in ("name", "subject", "stimulus"))
    return texts and all(isinstance(about.get(key), int | float | None) for key in ("start", "rate"))

"""The interfaces a plugin implements: Dataset, Encoder, Decoder, Renderer, Metric.

A component's constructor is its configuration: keyword-only, JSON-able, stored under the same names, no logic.
What it learns is stored in attributes that end in an underscore, and saves and loads by itself.
"""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array, Artifact, Batch, Context, Prediction, Recording, Signal, Space, Trial

if TYPE_CHECKING:
    from braindecode_hub.view import View

RETRIEVAL = "retrieval"
"""The space that retrieval compares in: the decoder's `learned_space`, or the main target where it has none."""

State = tuple[dict[str, Array], dict[str, Any]]
"""What was learned: arrays (→ safetensors) and plain values (→ JSON)."""


class Component:
    """What all registered things share: configuration, learned state, needed packages.

    `requires` names the modules that must be importable; `version` is part of every cache key: raise it when the
    same configuration gives other numbers than before.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[str] = "1"

    @classmethod
    def parameters(cls) -> dict[str, inspect.Parameter]:
        """Return the constructor's keyword parameters by name."""
        if cls.__init__ is object.__init__:
            return {}
        parameters = list(inspect.signature(cls.__init__).parameters.items())[1:]
        return dict(parameters)

    def configuration(self) -> dict[str, Any]:
        """Return the constructor's arguments as they stand: JSON-able, enough to build the same component.

        An argument with the name of a method or property of the class (`brain` of a Dataset) is stored as `_name`.
        """
        return {name: getattr(self, self._stored_as(name)) for name in type(self).parameters()}

    def fresh(self) -> Self:
        """Return the same component with nothing learned."""
        return type(self)(**self.configuration())

    @classmethod
    def _stored_as(cls, name: str) -> str:
        meant = inspect.getattr_static(cls, name, None)
        return f"_{name}" if isinstance(meant, property) or inspect.isfunction(meant) else name

    def state(self) -> State:
        """Return what was learned: public attributes that end in "_", arrays apart from plain values."""
        import numpy as np

        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {}
        for name, value in sorted(vars(self).items()):
            if not name.endswith("_") or name.startswith("_"):
                continue
            if isinstance(value, np.ndarray | np.generic):
                arrays[name] = np.asarray(value, order="C")
            else:
                values[name] = json.loads(json.dumps(value))
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        for name, value in {**arrays, **values}.items():
            setattr(self, name, value)

    def trained_on(self) -> Collection[str]:
        """Return the hashes (`overlap.media_hashes`) of the stimuli that weights it ships or loads have seen.

        A run whose test side holds one of them fails. By default none are known.
        """
        return ()

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.configuration().items())
        return f"{type(self).__name__}({given})"


class Dataset(Component, ABC):
    """Recordings and the stimuli that were presented; it never chooses a split.

    `licence`, `source`: where the data comes from; `simulated`: no brain was recorded (printed everywhere);
    `closed_set`: a fixed set of targets that is presented again and again (printed beside every score);
    `unverified`: its loader was tested on made-up files only (printed too).
    """

    licence: ClassVar[str] = ""
    source: ClassVar[str] = ""
    simulated: ClassVar[bool] = False
    closed_set: ClassVar[bool] = False
    unverified: ClassVar[bool] = False

    @property
    @abstractmethod
    def brain(self) -> Space:
        """The space of the recordings."""

    @property
    @abstractmethod
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The spaces of the stimuli: media (audio, transcript, image …), not features."""

    def prepare(self, ctx: Context) -> None:
        """Fetch and check the files. The one place that may use the network."""
        return

    @abstractmethod
    def trials(self) -> Sequence[Trial]:
        """Return what was presented when; cheap: no signal is read."""

    @abstractmethod
    def recording(self, id: str) -> Recording:
        """Return the recording, its samples lazy."""

    @abstractmethod
    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the stimulus itself in one of `stimuli_spaces`."""

    def oracle(self, id: str) -> Signal | None:
        """Return what an observer who knows the true forward model makes of this recording's own samples.

        (sources, samples) on the recording's clock. Only a phantom knows it; it gives the ceiling.
        """
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash that changes when the data does: part of every cache key."""


class Encoder(Component, ABC):
    """A signal becomes a representation: on the brain side, or on the stimulus side (then it makes the target).

    `continuous`: runs over whole stretches of one side of the split, before windows are cut; such steps come first.
    `support_s`: how far, in seconds, one output sample looks to either side; None: over the whole stretch.
    `trains_jointly`: its torch `module` is trained by the decoder, which asks it to `build` one, not by `fit`.
    """

    continuous: ClassVar[bool] = False
    trains_jointly: ClassVar[bool] = False

    @property
    @abstractmethod
    def consumes(self) -> Space:
        """The space it is fed."""

    @property
    @abstractmethod
    def produces(self) -> Space:
        """The space it makes; `ANY`: the same as came in."""

    @property
    def support_s(self) -> float | None:
        """Seconds to either side that one output sample depends on (continuous encoders)."""
        return None

    @property
    def module(self) -> Any:
        """The torch module, where there is one to train jointly with the decoder; else None."""
        return None

    @property
    def state_rows(self) -> int:
        """How many of the first steps of a memory are a recurrent network's last states, and not steps of time."""
        return 0

    def build(self, channels: int, ctx: Context, subjects: Sequence[str] = ()) -> None:
        """Make `module` for so many input channels, and for these subjects; required of jointly trained encoders."""
        raise HubError(f"{type(self).__name__} has no module to train", "end the encoder chain with one that has")

    def fit(self, train: View, val: View, ctx: Context) -> None:
        """Learn from the training side; by default there is nothing to learn (frozen)."""
        return

    def adapt(self, train: View, val: View, ctx: Context) -> None:
        """Learn what belongs to a subject that `fit` has not seen, and change nothing else; by default nothing does."""
        return

    @abstractmethod
    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map (batch, *consumes.dims) to (batch, *produces.dims), float32. `batch` tells rate and sensors."""

    def invert(self, x: Array) -> Array:
        """Undo `encode`: required of fitted steps on the target side (z-score → log-mel again)."""
        raise HubError(f"{type(self).__name__} cannot be inverted", "use it on the brain side, or give it an invert()")


class Decoder(Component, ABC):
    """The brain's representation becomes the stimulus's.

    `across_subjects`: one fit serves several subjects (else one is fitted for each); `trains_encoder`: it trains the
    encoder's learned tail together with itself; `control_refits`: how often controls refit it.
    """

    across_subjects: ClassVar[bool] = False
    trains_encoder: ClassVar[bool] = False
    control_refits: ClassVar[int] = 3

    @property
    @abstractmethod
    def consumes(self) -> Space:
        """The space of the encoder's output."""

    @property
    @abstractmethod
    def produces(self) -> tuple[Space, ...]:
        """The target spaces it predicts; `ANY`: the targets of the pipeline."""

    @property
    def learned_space(self) -> Space | None:
        """The target space that it learns together with the brain's side, at the main target's frame rate; or None.

        What is retrieved is then compared there, by cosine: both `embed` and `decode` fill it, around its own centre.
        """
        return None

    @abstractmethod
    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Learn. `train` and `val` feed what the chain's frozen part makes; `encoder` is its learned tail."""

    @abstractmethod
    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict each target of one window: z, what the whole chain makes of it; x, what its frozen part makes."""

    def embed(self, target: Array) -> Prediction:
        """Place windows of the main target, in its fitted units, in `learned_space`; by default they stay in place.

        target: (batch, frames, …), all of the window's length; gives {space: (batch, frames, …)}.
        """
        return {self.produces[0].name: target}

    def adapt(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Learn a subject that `fit` has not seen, from that subject's views, and change nothing that all share.

        `encoder`: the learned tail, which learns the subject too. For decoders that serve several subjects at once;
        by default that is a HubError. (Others are fitted anew, for that subject alone.)
        """
        raise HubError(
            f"{type(self).__name__} serves all subjects with one fit, and cannot learn a new one",
            "choose a decoder that adapts, such as speech_wav2vec/contrastive, or one that is fitted for each subject",
        )

    def for_controls(self) -> Decoder:
        """Return an unfitted copy for a control's refit: the same, or on a smaller, stated budget."""
        return self.fresh()

    def untrained(self) -> Decoder | None:
        """Return an unfitted copy that learns nothing from labels, where what it is given already tells something.

        For decoders that choose among known candidates. It is scored beside the pipeline as the baseline "untrained",
        and the shuffled control is judged by it (docs/decisions/0012-untrained.md). By default there is none.
        """
        return None


@dataclass(frozen=True)
class Candidate:
    """One stretch of a stimulus that may be retrieved: its place in the space that is compared, and the stretch itself.

    `place`: (frames, …); `stimulus`, `start`, `stop`: which seconds of which stimulus; `media`: those seconds, if they
    can be played or seen; `text`: the words in them, where they are known.
    """

    place: Array
    stimulus: str
    start: float
    stop: float
    media: Signal | None = None
    text: str = ""


class Renderer(Component, ABC):
    """A representation becomes media.

    `retrieves`: it plays back candidates instead: `index` gives it those of a fit, and `render` gets {RETRIEVAL:
    (units, frames, …)}, all of one subject's test side in order, in the space that is compared.
    """

    retrieves: ClassVar[bool] = False

    @property
    @abstractmethod
    def consumes(self) -> tuple[Space, ...]:
        """The spaces it needs in a prediction."""

    def index(self, candidates: Mapping[str, Candidate]) -> None:
        """Take what may be retrieved, by id; only renderers that retrieve are asked."""
        return

    def refuses(self, target: Sequence[Encoder]) -> str | None:
        """Say why it cannot render what these target encoders make, beyond their Space (another mel); or None."""
        return None

    def fit(self, train: View, val: View, ctx: Context, *, predict: Any) -> None:
        """Learn from the training side; by default there is nothing to learn."""
        return

    @abstractmethod
    def render(self, prediction: Prediction, ctx: Context) -> list[Artifact]:
        """Make media of one item's prediction: arrays (frames, …) by space name, in the target's own units."""


class Metric(Component, ABC):
    """A score per unit.

    `space`: which predictions it reads, "*" for any; `needs`: "prediction", "media" (the original and the rendered
    array, sound at `media_rate` Hz; not scored for the refits of controls), or "candidates" (a `retrieval.RankMetric`,
    of the rank of what was presented among all that could have been);
    `margin`: how far above chance a control must be, besides two standard errors, to be called a leak.
    """

    space: ClassVar[str] = "*"
    needs: ClassVar[Literal["prediction", "media", "candidates"]] = "prediction"
    media_rate: ClassVar[float | None] = None
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""
    margin: ClassVar[float] = 0.1

    @abstractmethod
    def per_unit(self, target: Array, predicted: Array) -> Array:
        """Score units: (units, …) and (units, …) give (units,)."""

    def pairs(self, target: Array, predicted: Array) -> Array:
        """Score every target against every prediction: (units, …) and (units, …) give (targets, predictions)."""
        import numpy as np

        alone = [self.per_unit(target, np.repeat(one[None], len(target), axis=0)) for one in predicted]
        return np.stack(alone, axis=1)

    def shifted(self, target: Array, predicted: Array, unit_frames: int) -> Array:
        """Score circular shifts of a stitched prediction: (frames, …) and (frames, …) give (shifts,).

        Shift 0 comes first. By default 400 evenly spaced shifts; override it where all of them are cheap.
        """
        import numpy as np

        units = len(target) // unit_frames
        used = units * unit_frames

        def score(shift: int) -> float:
            moved = np.roll(predicted, shift, axis=0)[:used].reshape(units, unit_frames, *predicted.shape[1:])
            return float(np.mean(self.per_unit(target[:used].reshape(moved.shape), moved)))

        return np.array(
            [score(int(shift)) for shift in np.linspace(0, len(target), min(400, len(target)), endpoint=False)]
        )

    def references(self, train: Array, target: Array) -> dict[str, Array]:
        """Return predictions by oracles that know part of the answer, printed beside the score (default: none).

        train: (frames, …), the training targets, lazy (`lazy.blocks` walks through them); target: (frames, …), the
        test targets.
        """
        return {}


@runtime_checkable
class Streams(Protocol):
    """A component that works on one 80 ms chunk at a time, causally."""

    def reset(self) -> None:
        """Forget the past."""

    def step(self, x: Array) -> Array | None:
        """Take the next chunk; None while there is not enough yet."""

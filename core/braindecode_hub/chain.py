"""Chain: an encoder made of encoders, each fitted on what the earlier ones make of the training side only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder, State
from braindecode_hub.types import ANY, Array, Batch, Context, Space

if TYPE_CHECKING:
    from braindecode_hub.view import View


class Chain(Encoder):
    """Encoders one after the other; an empty chain changes nothing.

    `names` are the registered names, for messages.
    """

    def __init__(self, steps: Sequence[Encoder] = (), names: Sequence[str] = ()) -> None:
        self.steps = list(steps)
        self.names = list(names) or [type(step).__name__ for step in self.steps]

    def configuration(self) -> dict[str, Any]:
        """Return the configuration of every step by position."""
        return {str(number): step.configuration() for number, step in enumerate(self.steps)}

    def fresh(self) -> Chain:
        """Return the same chain of steps that have learned nothing."""
        return Chain([step.fresh() for step in self.steps], self.names)

    @property
    def consumes(self) -> Space:
        """What the first step takes."""
        return self.steps[0].consumes if self.steps else ANY

    @property
    def produces(self) -> Space:
        """What the last step makes, as far as it is known without an input."""
        return self.check(self.consumes, "input")

    @property
    def module(self) -> Any:
        """The torch modules of the trainable steps as one list, or None."""
        modules = [step.module for step in self.steps if step.module is not None]
        return modules or None

    def check(self, incoming: Space, giver: str) -> Space:
        """Return the space behind the last step; HubError naming both parts where two do not fit."""
        at = incoming
        for name, step in zip(self.names, self.steps, strict=True):
            why = step.consumes.refuses(at)
            if why is not None:
                raise HubError(
                    f"{name} does not fit behind {giver}: it {why}",
                    "put a step between them, or change one",
                    usage=True,
                )
            at, giver = step.produces.after(at), name
        return at

    def continuous_part(self) -> Chain:
        """Return the leading steps that run over whole stretches, before windows are cut."""
        count = 0
        while count < len(self.steps) and self.steps[count].continuous:
            count += 1
        late = [name for name, step in zip(self.names[count:], self.steps[count:], strict=True) if step.continuous]
        if late:
            raise HubError(
                f"{late[0]} is continuous, but stands behind {self.names[count]}",
                "put continuous steps first",
                usage=True,
            )
        for name, step in zip(self.names[:count], self.steps[:count], strict=True):
            if not is_frozen(step):
                raise HubError(
                    f"{name} is continuous, and learns: nothing would fit it",
                    "declare continuous = False, or move what it learns into a step of its own",
                    usage=True,
                )
        return self._part(0, count)

    def frozen_part(self) -> Chain:
        """Return the leading steps that learn nothing: on the stimulus side they run once per stretch."""
        count = 0
        while count < len(self.steps) and is_frozen(self.steps[count]):
            count += 1
        return self._part(0, count)

    def after(self, part: Chain) -> Chain:
        """Return the steps behind a leading part."""
        return self._part(len(part.steps), len(self.steps))

    def split(self) -> tuple[Chain, Chain]:
        """Return (what is fitted stage by stage, the tail that is trained jointly with the decoder)."""
        count = 0
        while count < len(self.steps) and not self.steps[count].trains_jointly:
            count += 1
        return self._part(0, count), self._part(count, len(self.steps))

    def fit(self, train: View, val: View, ctx: Context) -> None:
        """Fit each step on what the earlier ones make of the training view."""
        for number, step in enumerate(self.steps):
            if not is_frozen(step):
                before = self.steps[:number]
                step.fit(train.through(*before), val.through(*before), ctx)

    def adapt(self, train: View, val: View, ctx: Context) -> None:
        """Let each step that has learned something learn a new subject, on what the earlier ones make of it."""
        for number, step in enumerate(self.steps):
            if not is_frozen(step):
                before = self.steps[:number]
                step.adapt(train.through(*before), val.through(*before), ctx)

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Run every step; each is told the rate at which its own input runs."""
        for step in self.steps:
            x = step.encode(x, batch)
            batch = None if batch is None else batch.behind(step.produces, x)
        return x

    def invert(self, x: Array) -> Array:
        """Undo every step, the last one first."""
        for step in reversed(self.steps):
            x = step.invert(x)
        return x

    def state(self) -> State:
        """Return the states of all steps, keys led by the step's position."""
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {}
        for number, step in enumerate(self.steps):
            learned, plain = step.state()
            arrays |= {f"{number}.{name}": value for name, value in learned.items()}
            values |= {f"{number}.{name}": value for name, value in plain.items()}
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Give every step its own state back."""
        for number, step in enumerate(self.steps):
            step.load_state(_of(arrays, f"{number}."), _of(values, f"{number}."))

    def _part(self, start: int, stop: int) -> Chain:
        return Chain(self.steps[start:stop], self.names[start:stop])


def is_frozen(step: Encoder) -> bool:
    """Return whether an encoder has nothing to learn (it keeps the default `fit`)."""
    return type(step).fit is Encoder.fit and not step.trains_jointly


def _of(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

"""The cheat: what is tested was heard in training, under its own name or under another one."""

from __future__ import annotations

from dataclasses import replace

from toy import Toy

from braindecode_hub import Signal, Space, Trial, hookimpl


class Repeated(Toy):
    """Every story is presented three times, once on each of the official sides."""

    def trials(self) -> list[Trial]:
        sides = ["train"] * self.stimuli + ["val"] * self.stimuli + ["test"] * self.stimuli
        return [
            replace(trial, groups={**trial.groups, "split": side})
            for trial, side in zip(super().trials(), sides, strict=True)
        ]


class Renamed(Toy):
    """The same, but each presentation has a name of its own for what it presents."""

    def trials(self) -> list[Trial]:
        return [replace(trial, stimulus=f"{trial.stimulus}/{n}") for n, trial in enumerate(super().trials())]

    def stimulus(self, id: str, space: Space) -> Signal:
        return super().stimulus(id.split("/")[0], space)


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.dataset("stimulus_interval_repeated/repeated", f"{__name__}:Repeated")
    register.dataset("stimulus_interval_repeated/renamed", f"{__name__}:Renamed")

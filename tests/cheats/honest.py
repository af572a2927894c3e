"""No cheat: the toy as a plugin, and what the cheats beside it are made from."""

from __future__ import annotations

from braindecode_hub import hookimpl
from braindecode_hub.parts import ridge


class Ridge(ridge.Ridge):
    """Ridge whose controls are refitted four times, to be quick."""

    control_refits = 4


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.dataset("honest/toy", "toy:Toy")
    register.decoder("honest/ridge", f"{__name__}:Ridge")
    register.metric("honest/cosine", "toy:Cosine")

"""Which plugins are installed: the one file that scans the environment.

The scan uses the `entrypoints` package, as the project's design card asks. That package's own documentation advises
`importlib.metadata` for new code; docs/decisions/0002-discovery.md says why it is here and how to swap it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import entrypoints

GROUP = "braindecode_hub.plugins"


class Found(NamedTuple):
    """An installed plugin: its name, the top-level module to import, and the distribution it came in."""

    name: str
    module: str
    distribution: str


def installed_plugins() -> list[Found]:
    """Return every entry point of the group `braindecode_hub.plugins`, by name and then distribution."""
    points = entrypoints.get_group_all(GROUP)
    return sorted({Found(point.name, point.module_name, _distribution(point.distro)) for point in points})


def _distribution(distro: entrypoints.Distribution | None) -> str:
    """Return a distribution's name in its normal form (braindecode_hub is braindecode-hub)."""
    return re.sub(r"[-_.]+", "-", distro.name).lower() if distro else "unknown distribution"

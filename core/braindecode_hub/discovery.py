"""Which plugins are installed: the one file that scans the environment.

The scan uses the `entrypoints` package, as the project's design card asks. That package's own documentation advises
`importlib.metadata` for new code; docs/decisions/0002-discovery.md says why it is here and how to swap it.
"""

from __future__ import annotations

import configparser
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
    try:
        points = entrypoints.get_group_all(GROUP)
    except (configparser.Error, UnicodeDecodeError):  # anybody's entry_points.txt: it must not hide all others
        return _by_the_standard_library()
    found = {(p.name, p.module_name, p.distro.name if p.distro else "unknown distribution") for p in points}
    return sorted({Found(name, module, _normal(distribution)) for name, module, distribution in found})


def _by_the_standard_library() -> list[Found]:
    from importlib.metadata import entry_points

    points = [point for point in entry_points(group=GROUP) if point.pattern.match(point.value)]
    named = [(point, point.dist.name if point.dist else None) for point in points]
    return sorted({Found(p.name, p.module, _normal(name or "unknown distribution")) for p, name in named})


def _normal(name: str) -> str:
    """Return a distribution's name in its normal form (braindecode_hub is braindecode-hub)."""
    return re.sub(r"[-_.]+", "-", name).lower()

"""Which plugins are installed: the one file that scans the environment.

The scan uses the `entrypoints` package, as the project's design card asks. That package's own documentation advises
`importlib.metadata` for new code; docs/decisions/0002-discovery.md says why it is here and how to swap it.
"""

from __future__ import annotations

import re
import warnings
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
        with warnings.catch_warnings():  # an entry point that is none is somebody else's, or has no module to name
            warnings.simplefilter("ignore")
            points = entrypoints.get_group_all(GROUP)
    except Exception:  # anybody's entry_points.txt or zip file on the path: it must not hide all others
        return _one_by_one()
    found = {(p.name, p.module_name, p.distro.name if p.distro else "unknown distribution") for p in points}
    return sorted({Found(name, module, _normal(distribution)) for name, module, distribution in found})


def _one_by_one() -> list[Found]:
    """Scan with the standard library, passing over every distribution that cannot be read."""
    from importlib.metadata import distributions

    found: dict[str, list[Found]] = {}
    for distribution in distributions():
        try:
            name = _normal(distribution.name or "unknown distribution")
            points = [point for point in distribution.entry_points if point.group == GROUP]
            some = [Found(p.name, p.module, name) for p in points if p.pattern.match(p.value)]
        except Exception:  # not UTF-8, no metadata, a folder in the place of a file …
            continue
        found.setdefault(name, some)  # of two with one name, the first on the path is the one that is imported
    return sorted({one for some in found.values() for one in some})


def _normal(name: str) -> str:
    """Return a distribution's name in its normal form (braindecode_hub is braindecode-hub)."""
    return re.sub(r"[-_.]+", "-", name).lower()

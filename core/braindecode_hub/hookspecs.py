"""The hooks: every place where a plugin can add something.

A plugin implements any of these with `braindecode_hub.hookimpl`; see docs/hooks.md for one example of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from braindecode_hub.types import Context, Event

if TYPE_CHECKING:
    import click

    from braindecode_hub.jobs import Job, JobResult
    from braindecode_hub.manager import Register
    from braindecode_hub.report import Section
    from braindecode_hub.runfolder import Run

PROJECT = "braindecode_hub"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_components(register: Register) -> None:
    """Register datasets, encoders, decoders, renderers and metrics, by name and "module:Class"."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to the command line."""


@hookspec(firstresult=True)
def fetch(uri: str, folder: Path, ctx: Context) -> Path | None:
    """Download `uri` into `folder` and return the file, or None for a scheme that is not yours."""


@hookspec(firstresult=True)
def run_jobs(jobs: Sequence[Job], backend: str, options: dict[str, Any]) -> Iterable[JobResult] | None:
    """Run independent jobs and yield each result as it is ready, or None for a backend that is not yours."""


@hookspec
def observe(event: Event) -> None:
    """Watch a run: stages, progress, scalars, images. What it raises is reported and never fatal."""


@hookspec
def report_sections(run: Run) -> list[Section]:
    """Return sections to add to the report of `run`."""
    raise NotImplementedError

"""Commands about what is installed: list, describe, doctor."""

from __future__ import annotations

import sys

import click

from braindecode_hub.commands.watching import installed
from braindecode_hub.errors import HubError
from braindecode_hub.text import visible


@click.command("list")
def list_pipelines() -> None:
    """Show the pipelines, their presets, and broken plugins."""
    from braindecode_hub.listing import listing

    click.echo(listing())


@click.command()
@click.argument("name")
@click.option("--preset", metavar="P", help="Describe the pipeline with this preset.")
def describe(name: str, preset: str | None) -> None:
    """Show a pipeline's parts and every parameter, or a part's documentation (NAME is plugin/part)."""
    from braindecode_hub.description import describe_component, describe_pipeline

    manager = installed()
    text = describe_component(name, manager) if "/" in name else describe_pipeline(name, preset, manager)
    click.echo(visible(text))


@click.command()
@click.option("--leaks", metavar="NAME", help="Check a pipeline (or a config.yaml) for leaks instead.")
@click.option("--preset", metavar="P", help="With --leaks: a named variant of the pipeline.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="With --leaks: change any key.")
def doctor(leaks: str | None, preset: str | None, sets: tuple[str, ...]) -> None:
    """Check the installation: plugins, packages, cache, and what could not be loaded; or a pipeline for leaks."""
    from braindecode_hub.doctor import examine
    from braindecode_hub.doctor import leaks as look_for_leaks

    if leaks is None and (preset or sets):
        raise HubError("--preset and --set belong to a pipeline", "name it: --leaks NAME", usage=True)
    if leaks is not None:
        clean = True
        for line, fine in look_for_leaks(leaks, installed(), preset=preset, sets=sets):
            click.echo(visible(line))
            clean = clean and fine
        if not clean:
            sys.exit(1)
        return
    lines, healthy = examine(installed())
    click.echo(visible("\n".join(lines)))
    if not healthy:
        sys.exit(1)

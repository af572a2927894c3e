"""Commands about data: inspect, fetch, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from braindecode_hub.commands.watching import subjects_of, watched
from braindecode_hub.text import visible


@click.command()
@click.argument("name", metavar="PATH|NAME")
@click.option("--pipeline", metavar="NAME", help="Of a PATH: the pipeline whose flow says what was recorded.")
@click.option("--preset", metavar="P", help="Of a NAME: look at this preset's data.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change the dataset, e.g. dataset.rate=1024.")
@click.option("--subjects", metavar="all|LIST", default="all", show_default=True, help="Comma-separated subjects.")
@click.option("--seconds", type=float, default=120.0, show_default=True, help="Read of each recording; inf: all.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write everything there, as JSON.")
def inspect(name: str, subjects: str, sets: tuple[str, ...], target: Path | None, **options: Any) -> None:
    """Look at recordings (PATH), or at a pipeline's own (NAME), before anything is fitted."""
    import json

    from braindecode_hub import api
    from braindecode_hub.files import refuse_foreign, write_whole

    refuse_foreign(target, ("schema", "dataset", "licence", "simulated", "recordings"))
    with watched() as manager:
        who = subjects_of(subjects)
        found = api.inspect(name, set=sets, subjects=who, manager=manager, log=manager.tell, **options)
    click.echo(visible(found.text()))
    if target is not None:
        write_whole(target, json.dumps(found.as_data(), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


@click.command()
@click.argument("name")
@click.option("--preset", metavar="P", help="Fetch this preset's data.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change any key.")
@click.option("--sha256", metavar="HASH", help="The pin of a URI.")
def fetch(name: str, preset: str | None, sets: tuple[str, ...], sha256: str | None) -> None:
    """Download a pipeline's data, or one URI (file, https, osf, pypi …), and check it."""
    from braindecode_hub.environment import context
    from braindecode_hub.pipeline import build, resolve

    with watched() as manager:
        ctx = context(manager=manager, log=lambda event: manager.tell(event))
        if "://" in name:
            click.echo(str(ctx.fetch(name, sha256)))
            return
        config = resolve(manager.catalogue.pipeline(name), manager, preset=preset, sets=sets)
        build(name, config, manager).dataset.prepare(ctx)
    click.echo(f"{name}: the data of {config['dataset']['use']} is ready")


@click.command()
@click.option("--clear", is_flag=True, help="Remove what is kept.")
@click.option("--older-than", metavar="DAYS", type=float, help="With --clear: only what was not used for so long.")
@click.option("--downloads", is_flag=True, help="The downloads instead of the computed arrays.")
def cache(clear: bool, older_than: float | None, downloads: bool) -> None:
    """Show or clear the cache."""
    from braindecode_hub.cache import Cache, default_folder

    kept = Cache(default_folder())
    if clear:
        freed = kept.clear(older_than, downloads=downloads)
        click.echo(f"removed {freed / 1e6:.1f} MB")
    click.echo(
        f"{kept.folder}: {kept.size(downloads=downloads) / 1e6:.1f} MB of {'downloads' if downloads else 'arrays'}"
    )

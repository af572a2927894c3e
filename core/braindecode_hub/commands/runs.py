"""Commands that make a run, and those that use one: run, predict, adapt, render, report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from braindecode_hub.commands.watching import installed, subjects_of, watched
from braindecode_hub.errors import HubError
from braindecode_hub.text import visible


def _run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--preset", metavar="P", help="A named variant of the pipeline (see `list`)."),
        click.option("--data", metavar="PATH|URI", help="Your own recording: a folder or file, or a URI to fetch."),
        click.option(
            "--subjects",
            metavar="all|LIST",
            default="all",
            show_default=True,
            help="Comma-separated subjects.",
        ),
        click.option(
            "--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change any key, e.g. encoder.0.low=65."
        ),
        click.option("--seed", type=int, help="Seed of everything random. [default: 0, or what a config.yaml says]"),
        click.option(
            "--folds", type=click.IntRange(1), help="How many folds to test. [default: 1, or what a config.yaml says]"
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …"),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            default=Path("runs"),
            show_default=True,
            help="Run folders go here.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of the same configuration."),
        click.option("--dev", is_flag=True, help="Score validation only; the test side is not looked at."),
        click.option("--dry-run", is_flag=True, help="Print trials, splits, rates, units and lag, and stop."),
        click.option("--until", type=click.Choice(["prepare", "fit", "predict"]), help="Stop after this stage."),
        click.option(
            "--jobs",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Processes for controls; 0: one a core, at most 4.",
        ),
        click.option("--backend", default="local", show_default=True, help="Who runs those jobs."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("name")
@_run_options
def run(name: str, sets: tuple[str, ...], subjects: str, dry_run: bool, **options: Any) -> None:
    """Run a pipeline (or a config.yaml) from a recording to its report; the last line is the run folder."""
    from braindecode_hub import api

    with watched() as manager:
        config, resolved = api.configure(name, manager, sets=sets, subjects=subjects_of(subjects), **options)
        if dry_run:
            from braindecode_hub.dryrun import dry_run as shown

            click.echo(visible(shown(config, resolved, manager)))
            return
        from braindecode_hub.runner import run_pipeline

        done = run_pipeline(config, resolved, manager)
    _summary(done)
    click.echo(str(done.path))


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--data", metavar="PATH|URI", help="New recordings, as for `run`; no sound is needed.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change the dataset, e.g. dataset.rate=1024.")
@click.option("--subject", metavar="S", help="Whose fit to use, where each subject has its own.")
@click.option("--fold", type=click.IntRange(0), default=0, show_default=True, help="The fold whose fit to use.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="A file that `adapt` wrote, in place of the run's own fit."
)
@click.option("--out", type=click.Path(path_type=Path), help="A new folder. [default: RUN/predictions/TIME]")
@click.option("--media/--no-media", default=True, show_default=True, help="Render sound (or pictures) too.")
def predict(folder: Path, sets: tuple[str, ...], **options: Any) -> None:
    """Apply a finished run to new recordings; nothing is scored. The last line is the folder with the result."""
    from braindecode_hub import api

    if options["data"] is None and not sets:
        raise HubError("there is nothing to predict from", "--data PATH, or --set dataset.…=… of the run's", usage=True)
    with watched() as manager:
        done = api.predict(folder, set=sets, manager=manager, log=manager.tell, **options)
    click.echo(visible("\n".join(_predicted(done))))
    click.echo(str(done.folder))


def _predicted(done: Any) -> list[str]:
    """Return what was predicted, as lines."""
    lines = ["SIMULATED: the run was fitted on simulated recordings, or these are"] if done.simulated else []
    lines += [f"note: {note}" for note in done.notes]
    for item, by in done.shapes.items():
        told = []
        for name, shape in by.items():
            rate = done.rates[name]
            told.append(f"{name} {' × '.join(map(str, shape))}" + (f" at {rate:.2f} Hz" if rate else ""))
        lines.append(f"{item}: {', '.join(told)}")
    if done.media:
        lines.append(f"media: {len(done.media)} files")
    if done.truth:
        lines.append("what was presented is there too, and was not looked at; to compare: braindecode-hub score")
    return lines


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--data", metavar="PATH|URI", help="The new subject's recordings and stimuli, as for `run`.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change the dataset, e.g. dataset.subjects=5.")
@click.option("--subject", metavar="S", help="Who is new, where several are.")
@click.option("--minutes", type=float, default=10.0, show_default=True, help="Learn from at most so many.")
@click.option("--fold", type=click.IntRange(0), help="The fold to begin at. [default: the first without the subject]")
@click.option("--out", type=click.Path(path_type=Path), help="A new folder. [default: RUN/adaptations/TIME]")
def adapt(folder: Path, sets: tuple[str, ...], **options: Any) -> None:
    """Learn a new subject from a few minutes, and show the score over minutes. The last line is the folder."""
    from braindecode_hub import api
    from braindecode_hub.adapt_page import Curve, plain_curve

    with watched() as manager:
        done = api.adapt(folder, set=sets, manager=manager, log=manager.tell, **options)
    click.echo(visible("\n".join(plain_curve(Curve(done.about)))))
    click.echo(f"page: {done.folder / 'adaptation.html'}")
    click.echo(str(done.folder))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, help="Only so much from the start of each item.")
def render(folder: Path, seconds: float | None) -> None:
    """Write the whole test side of a run as media: original, rendered target, reconstruction."""
    from braindecode_hub.rerender import render_run

    for path in render_run(folder, installed(), seconds):
        click.echo(str(path))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write a run's report.html again."""
    from braindecode_hub.runfolder import Run
    from braindecode_hub.runner import write_report

    click.echo(str(write_report(Run(folder), installed())))


def _summary(done: Any) -> None:
    """Print the verdict and the scores of a finished run."""
    if done.status != "done":
        click.echo(f"stopped: {done.status}")
        return
    from braindecode_hub.scoretable import plain_table
    from braindecode_hub.verdict import verdict

    click.echo(visible(plain_table(done.metrics)))
    click.echo(visible(verdict(done.metrics)))
    click.echo(f"report: {done.path / 'report.html'}")

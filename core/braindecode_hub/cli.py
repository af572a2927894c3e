"""The command line. Importing this imports click and nothing heavy: `list` must start in a blink."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from braindecode_hub.errors import HubError
from braindecode_hub.version import __version__

if TYPE_CHECKING:
    from braindecode_hub.manager import Manager

NO_COLUMN = -1


class Commands(click.Group):
    """The built-in commands, and those of plugins, which are loaded only for help or for a name nobody knows."""

    plugins_loaded = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command, those of plugins too."""
        self._load_plugins()
        return sorted(super().list_commands(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command; plugins are asked when it is not a built-in one."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            self._load_plugins()
            found = super().get_command(ctx, cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; an unknown one gets its nearest names."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from braindecode_hub.errors import did_you_mean

            raise HubError(f"unknown command '{args[0]}'", did_you_mean(args[0], self.list_commands(ctx)), usage=True)
        return super().resolve_command(ctx, args)

    def _load_plugins(self) -> None:
        if not self.plugins_loaded:
            self.plugins_loaded = True
            manager = _manager()
            manager.load_all()
            list(manager.each("register_commands", cli=self))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="braindecode-hub")
@click.option("--debug", is_flag=True, help="Show the traceback of an expected error.")
def cli(debug: bool) -> None:
    """From a brain recording to what it was given, with an honest score beside it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit 0 done, 1 failed, 2 usage; an expected error is two lines on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=given, prog_name="braindecode-hub", standalone_mode=False)
    except HubError as error:
        if "--debug" in given:
            raise
        _say(f"Error: {error.cause}")
        _say(f"  Try: {error.remedy}")
        sys.exit(2 if error.usage else 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Error: interrupted")
        _say("  Try: the same command with --resume")
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


@cli.command("list")
def list_pipelines() -> None:
    """Show the pipelines, their presets, and broken plugins."""
    from braindecode_hub.catalogue import read_catalogue

    catalogue = read_catalogue()
    width = max([len(name) for name in catalogue.pipelines] + [8])
    for name, entry in sorted(catalogue.pipelines.items()):
        click.echo(f"{name:<{width}}  {entry.spec.get('summary', '')}")
        click.echo(f"{'':<{width}}  {' → '.join(map(str, entry.spec.get('flow') or []))}")
        if entry.presets:
            click.echo(f"{'':<{width}}  presets: {', '.join(entry.presets)}")
        if not entry.plugin.reference:
            click.echo(f"{'':<{width}}  from {entry.plugin.distribution}")
    if not catalogue.pipelines:
        click.echo("no pipelines: install a plugin, or braindecode-hub itself again")
    if catalogue.problems:
        click.echo("\nProblems")
        for problem in catalogue.problems:
            click.echo(f"  {problem}")


@cli.command()
@click.argument("name")
@click.option("--preset", metavar="P", help="Describe the pipeline with this preset.")
def describe(name: str, preset: str | None) -> None:
    """Show a pipeline's parts and every parameter, or a part's documentation (NAME is plugin/part)."""
    from braindecode_hub.description import describe_component, describe_pipeline

    manager = _manager()
    text = describe_component(name, manager) if "/" in name else describe_pipeline(name, preset, manager)
    click.echo(text)


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
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything random."),
        click.option("--folds", type=click.IntRange(1), default=1, show_default=True, help="How many folds to test."),
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


@cli.command()
@click.argument("name")
@_run_options
def run(name: str, sets: tuple[str, ...], subjects: str, dry_run: bool, **options: Any) -> None:
    """Run a pipeline (or a config.yaml) from a recording to its report; the last line is the run folder."""
    from braindecode_hub import api
    from braindecode_hub.observers import Progress

    manager = _manager()
    chosen = None if subjects == "all" else [part.strip() for part in subjects.split(",")]
    config, resolved = api.configure(name, manager, sets=sets, subjects=chosen, **options)
    if dry_run:
        from braindecode_hub.description import dry_run as shown

        click.echo(shown(config, resolved, manager))
        return
    from braindecode_hub.runner import run_pipeline

    progress = Progress()
    manager.register(progress, "progress")
    try:
        done = run_pipeline(config, resolved, manager)
    finally:
        progress.close()
    _summary(done)
    click.echo(str(done.path))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, help="Only so much from the start of each item.")
def render(folder: Path, seconds: float | None) -> None:
    """Write the whole test side of a run as media: original, rendered target, reconstruction."""
    from braindecode_hub.rerender import render_run

    for path in render_run(folder, _manager(), seconds):
        click.echo(str(path))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write a run's report.html again."""
    from braindecode_hub.runfolder import Run
    from braindecode_hub.runner import write_report

    click.echo(str(write_report(Run(folder), _manager())))


@cli.command()
@click.argument("name")
@click.option("--preset", metavar="P", help="Fetch this preset's data.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change any key.")
@click.option("--sha256", metavar="HASH", help="The pin of a URI.")
def fetch(name: str, preset: str | None, sets: tuple[str, ...], sha256: str | None) -> None:
    """Download a pipeline's data, or one URI (file, https, osf, pypi …), and check it."""
    from braindecode_hub.environment import context
    from braindecode_hub.observers import Progress
    from braindecode_hub.pipeline import build, resolve

    manager = _manager()
    progress = Progress()
    manager.register(progress, "progress")
    ctx = context(manager=manager, log=lambda event: manager.tell(event))
    try:
        if "://" in name:
            click.echo(str(ctx.fetch(name, sha256)))
            return
        config = resolve(manager.catalogue.pipeline(name), manager, preset=preset, sets=sets)
        build(name, config, manager).dataset.prepare(ctx)
    finally:
        progress.close()
    click.echo(f"{name}: the data of {config['dataset']['use']} is ready")


@cli.command()
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


@cli.command()
def doctor() -> None:
    """Check the installation: plugins, packages, cache, and what could not be loaded."""
    from braindecode_hub.doctor import examine

    lines, healthy = examine(_manager())
    click.echo("\n".join(lines))
    if not healthy:
        sys.exit(1)


@cli.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--split", type=click.Path(path_type=Path), help="A run's split.json: which trials are the test side.")
@click.option("--fold", type=click.IntRange(0), help="The fold of --split; without it the first.")
@click.option("--metric", "metrics", metavar="USE", multiple=True, help="A registered metric, e.g. core/correlation.")
@click.option("--rate", type=float, metavar="HZ", help="Frames per second.")
@click.option("--static", is_flag=True, help="Nothing runs in time: all axes behind the first are features.")
@click.option("--predicted", metavar="KEY", help="The field with the predictions.")
@click.option("--target", metavar="KEY", help="The field with the targets.")
@click.option("--center", metavar="KEY", help="The field with the training targets' mean.")
@click.option("--field", "fields", metavar="ROLE=KEY", multiple=True, help="Another field, e.g. subject=sub_id.")
@click.option("--unit", "unit_s", type=float, metavar="SECONDS", help="Length of the blocks that are scored (5).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the scores there.")
@click.option("--seed", type=int, help="Seed of nulls and pools (0, or the run's own).")
def score(predictions: Path, fields: tuple[str, ...], json_file: Path | None, **options: Any) -> None:
    """Score anybody's predictions (.npz, .mat, .safetensors, a folder of .npy, a run) as a run is scored."""
    from braindecode_hub.judging import score_file

    named = {key: options.pop(key) for key in ("predicted", "target", "center")}
    given = _fields(fields) | {role: key for role, key in named.items() if key is not None}
    scores = score_file(predictions, fields=given, **options)
    click.echo(str(scores))
    if json_file is not None:
        scores.save(json_file)


@cli.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--split", type=click.Path(path_type=Path), help="A split.json, or a table of the trials' sides.")
@click.option("--features", type=click.Path(path_type=Path), help="Arrays (trials, …) that decoders are refitted on.")
@click.option("--field", "fields", metavar="ROLE=KEY", multiple=True, help="A column or array, e.g. side=fold_name.")
@click.option("--near", "near_s", type=float, default=1.0, show_default=True, help="Seconds that are neighbours.")
@click.option("--closed-set", is_flag=True, help="The same stimuli may be on both sides.")
@click.option("--refits", type=click.IntRange(3), default=20, show_default=True, help="Refits of each check.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the refits.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the findings there.")
def audit(path: Path | None, fields: tuple[str, ...], json_file: Path | None, **options: Any) -> None:
    """Look for leaks in a split: a run folder, a table, or arrays; exit 1 if there is one."""
    from braindecode_hub.audit import audit as audited

    found = audited(path, fields=_fields(fields), **options)
    click.echo(str(found))
    if json_file is not None:
        found.save(json_file)
    if found.leaks:
        sys.exit(1)


@cli.command()
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
    from braindecode_hub.files import write_whole
    from braindecode_hub.observers import Progress

    manager = _manager()
    progress = Progress()
    manager.register(progress, "progress")
    chosen = None if subjects == "all" else [part.strip() for part in subjects.split(",")]
    try:
        found = api.inspect(name, set=sets, subjects=chosen, manager=manager, log=manager.tell, **options)
    finally:
        progress.close()
    click.echo(found.text())
    if target is not None:
        write_whole(target, json.dumps(found.as_data(), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _fields(given: tuple[str, ...]) -> dict[str, str]:
    """Return the roles of fields, as --field ROLE=KEY gave them."""
    for text in given:
        if "=" not in text:
            raise HubError(f"--field {text} is not an assignment", "write it as --field subject=sub_id", usage=True)
    return dict(text.split("=", 1) for text in given)


def _summary(done: Any) -> None:
    """Print the verdict and the scores of a finished run."""
    if done.status != "done":
        click.echo(f"stopped: {done.status}")
        return
    from braindecode_hub.scoretable import plain_table
    from braindecode_hub.verdict import verdict

    click.echo(plain_table(done.metrics))
    click.echo(verdict(done.metrics))
    click.echo(f"report: {done.path / 'report.html'}")


def _manager() -> Manager:
    from braindecode_hub.manager import Manager

    return Manager()


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()

"""The command line. Importing this imports click and nothing heavy: `list` must start in a blink."""

from __future__ import annotations

import sys

import click

from braindecode_hub.commands import catalogue, checks, data, runs
from braindecode_hub.commands.watching import installed
from braindecode_hub.errors import HubError
from braindecode_hub.start import say_anything
from braindecode_hub.text import visible
from braindecode_hub.version import __version__


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
            manager = installed()
            manager.load_all()
            known = len(manager.problems)
            own = dict(self.commands)
            list(manager.each("register_commands", cli=self))
            self.commands.update(own)  # no plugin replaces a built-in command
            for problem in manager.problems[known:]:
                _say(problem)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="braindecode-hub")
@click.option("--debug", is_flag=True, help="Show the traceback of an expected error.")
def cli(debug: bool) -> None:
    """From a brain recording to what it was given, with an honest score beside it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit 0 done, 1 failed, 2 usage; an expected error is two lines on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    say_anything()
    try:
        code = cli.main(args=given, prog_name="braindecode-hub", standalone_mode=False)
    except HubError as error:
        if "--debug" in given:
            raise
        _say(f"Error: {' '.join(error.cause.split())}")  # a name of a stranger's may hold line ends: one line stays one
        _say(f"  Try: {' '.join(error.remedy.split())}")
        sys.exit(2 if error.usage else 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Error: interrupted")
        _say("  Try: the same command" + (" with --resume" if "run" in given[:2] else " again"))
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


for command in (
    *(catalogue.list_pipelines, catalogue.describe, catalogue.doctor),
    *(data.inspect, data.fetch, data.cache),
    *(runs.run, runs.predict, runs.adapt, runs.render, runs.report),
    *(checks.score, checks.audit),
):
    cli.add_command(command)


def _say(text: str) -> None:
    click.echo(visible(text), err=True)


if __name__ == "__main__":
    main()

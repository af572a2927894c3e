"""What the command `braindecode-hub` starts: `list` by itself, anything else through the whole command line.

Importing click takes longer than reading the catalogue, and `list` has no options to parse.
"""

from __future__ import annotations

import contextlib
import sys


def main() -> None:
    """Run the command line; exit codes and errors are those of `cli.main`."""
    if sys.argv[1:] == ["list"]:
        from braindecode_hub.errors import HubError
        from braindecode_hub.listing import listing

        with contextlib.suppress(HubError):  # the whole command line says it in two lines
            text = listing()
            say_anything()
            try:
                print(text, flush=True)
            except BrokenPipeError:
                sys.stderr.close()
                sys.exit(1)
            sys.exit(0)
    from braindecode_hub.cli import main as whole

    whole()


def say_anything() -> None:
    """Let a terminal that lacks a sign show its code, where Python would stop with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()

"""Start-up of the command line: CPU time of a fresh process, against python itself and against importing click.

    python benchmarks/startup.py [--repeats 15]

Medians over processes that take turns; user and system time of the process and of what it starts.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import click'": ["-c", "import click"],
    "braindecode-hub --version": ["-m", "braindecode_hub.cli", "--version"],
    "braindecode-hub list": ["-m", "braindecode_hub.cli", "list"],
    "braindecode-hub run --help": ["-m", "braindecode_hub.cli", "run", "--help"],
    "braindecode-hub --help": ["-m", "braindecode_hub.cli", "--help"],
    "python -c 'import numpy'": ["-c", "import numpy"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """Return the CPU time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(given.repeats + 1):
        for name, arguments in COMMANDS.items():
            seconds = cpu_seconds(arguments)
            if turn:  # the first one reads files from disk, and may compile them
                taken[name].append(seconds)
    medians = {name: statistics.median(some) for name, some in taken.items()}
    python, click = medians["python -c pass"], medians["python -c 'import click'"]
    print(f"CPU time of a process, median of {given.repeats}")
    print(f"{'':30}{'ms':>8}{'/ python -c pass':>20}{'/ import click':>18}")
    for name, seconds in medians.items():
        print(f"{name:30}{1000 * seconds:>8.0f}{seconds / python:>20.2f}{seconds / click:>18.2f}")


if __name__ == "__main__":
    main()

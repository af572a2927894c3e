"""Does `list` stay quick where many plugins are installed? CPU seconds of fresh processes, and their ratio.

    python benchmarks/many_plugins.py [--plugins 100] [--times 15]

Installs so many plugins (a package, a registry.yaml with a pipeline and two presets, a dist-info each) in a temporary
folder beside whatever is installed already, and times, in turn and in a fresh interpreter each:

* **start**: the interpreter alone;
* **scan**: the bare entry-point scan, `entrypoints.get_group_all("braindecode_hub.plugins")` and nothing else: no
  registry is opened, no module is looked for, no command line exists;
* **scan with files**: the same, and the bytes of every registry.yaml;
* **list**: `braindecode-hub list`, its output thrown away.

CPU time (user and system, of the child) is what is compared: the wall clock of a shared machine says little. The
first `list` after an installation parses every registry.yaml and keeps what it read; the benchmark prints it apart.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

REGISTRY = """\
api: "1"
pipelines:
  crowd_{n}:
    plugin: crowd_{n}
    summary: Speech from depth electrodes, the way of laboratory {n}
    flow: [seeg, mel, audio]
    source: {{paper: "Laboratory {n} (2024)", data: simulated, data_licence: CC0}}
    dataset: {{use: crowd_{n}/data, contacts: 64, snr: 1.0}}
    targets: {{mel: [{{use: crowd_{n}/mel, n_mels: 80}}, {{use: core/zscore}}]}}
    encoder: [{{use: crowd_{n}/high_gamma, low: 70, high: 170}}, {{use: core/zscore}}]
    decoder: {{use: core/ridge, lags_s: [0.0, 0.3]}}
    window: {{length_s: 0.4, hop_s: 0.025, context_s: 0.4}}
    split: {{by: time_block, folds: 5, gap_s: 2}}
    metrics: [core/correlation]
    presets:
      smoke: {{dataset: {{use: crowd_{n}/data, contacts: 16}}}}
      paper: {{dataset: {{use: crowd_{n}/public}}}}
"""
SCAN = "import entrypoints; found = entrypoints.get_group_all('braindecode_hub.plugins')"
PROGRAMS = {
    "start": "pass",
    "scan": SCAN,
    "scan with files": f"{SCAN}; [open(p, 'rb').read() for p in __import__('glob').glob('crowd_*/registry.yaml')]",
    "list": "import sys; sys.argv[1:] = ['list']; from braindecode_hub.start import main; main()",
}


def install(site: Path, count: int) -> None:
    """Install `count` plugins as folders with a dist-info; importing one ends the process."""
    for n in range(count):
        package, about = site / f"crowd_{n}", site / f"hub_crowd_{n}-1.0.dist-info"
        package.mkdir()
        about.mkdir()
        (package / "__init__.py").write_text("raise SystemExit('a plugin was imported')\n")
        (package / "registry.yaml").write_text(REGISTRY.format(n=n))
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hub-crowd-{n}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[braindecode_hub.plugins]\ncrowd_{n} = crowd_{n}\n")


def cpu_seconds(program: str, site: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    """Return the CPU seconds of a fresh interpreter that runs `program` in `site`, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=site, env=environment, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plugins", type=int, default=100)
    parser.add_argument("--times", type=int, default=15)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        install(site, asked.plugins)
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "BRAINDECODE_HUB_CACHE": str(Path(folder) / "cache")}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")  # compiled, as pip leaves what it installs
        for name in ("BRAINDECODE_HUB_PLUGINS", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        for program in PROGRAMS.values():
            cpu_seconds(program, site, environment)
        (Path(folder) / "cache" / "registries.json").unlink()
        first, listing = cpu_seconds(PROGRAMS["list"], site, environment)
        if listing.count("from hub-crowd-") != asked.plugins:
            sys.exit(f"list shows {listing.count('from hub-crowd-')} of {asked.plugins} plugins:\n{listing}")
        taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        for _ in range(asked.times):
            for name, program in PROGRAMS.items():
                taken[name].append(cpu_seconds(program, site, environment)[0])
    middle = {name: statistics.median(values) for name, values in taken.items()}
    print(f"{asked.plugins} plugins, CPU ms, median of {asked.times} (smallest)")
    for name, values in taken.items():
        print(f"  {name:<16} {1000 * middle[name]:6.0f} ({1000 * min(values):.0f})")
    print(f"  {'first list':<16} {1000 * first:6.0f}")
    print(f"list / scan: {middle['list'] / middle['scan']:.2f}")
    print(f"list / scan with files: {middle['list'] / middle['scan with files']:.2f}")
    own = (middle["list"] - middle["start"]) / (middle["scan"] - middle["start"])
    print(f"list / scan, the interpreter's start left out of both: {own:.2f}")


if __name__ == "__main__":
    main()

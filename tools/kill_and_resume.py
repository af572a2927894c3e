"""Kill a run at random times, go on with `--resume`, and see that nothing shows: the same digest, no damaged file.

    python tools/kill_and_resume.py --points 50 [--seed 0] [--preset smoke] [--jobs 2] [--set KEY=VALUE …]

Every point begins with an empty cache. SIGKILL goes to the whole process group, workers included, after a delay drawn
uniformly from 0 to the time that an unbroken run takes. Prints one line a point; exits 1 if a digest differs, a file
is damaged, or a second folder appears.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.files import TEMPORARY, load_arrays, read_yaml


def start(arguments: list[str], home: Path, *more: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, its cache and its runs under `home`."""
    command = [sys.executable, "-m", "braindecode_hub.cli", "run", *arguments, "--out", str(home / "runs"), *more]
    environment = os.environ | {"BRAINDECODE_HUB_CACHE": str(home / "cache")}
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def kill(process: subprocess.Popen[str], delay: float) -> bool:
    """Send SIGKILL to a process and all it started, after `delay` seconds; returns whether it was still running."""
    try:
        process.communicate(timeout=delay)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True


def damaged(home: Path, *, finished: bool) -> list[str]:
    """Return what is wrong with the files under `home`; while unfinished, torn events and temporary files may be."""
    found = []
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        if path.name.startswith(TEMPORARY):
            found += [f"{path} was left behind"] if finished and "runs" in path.parts else []
            continue
        try:
            _read(path, home, finished=finished)
        except (HubError, ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            found.append(f"{path}: {error}")
    return found


def _read(path: Path, home: Path, *, finished: bool) -> None:
    """Read one file to its end, and raise if it is not whole."""
    if path.suffix == ".safetensors":
        load_arrays(path)
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.name == "events.jsonl":
        lines = path.read_text("utf-8").split("\n")
        if finished and lines[-1]:
            raise ValueError("its last line is torn")
        for line in lines[:-1]:
            json.loads(line)
    elif path.suffix == ".yaml":
        if "dev" not in read_yaml(path)["run"]:  # the first half of a mapping is a mapping, too
            raise ValueError("it does not end")
    elif path.suffix == ".html":
        if not path.read_text("utf-8").rstrip().endswith("</html>"):
            raise ValueError("it does not end")
    elif path.suffix == ".flac":
        import soundfile

        soundfile.read(path)
    elif path.suffix == ".npy":
        kept = {entry.path: entry.key for entry in Cache(home / "cache").entries()}

        def absent(allocate: object) -> None:
            raise ValueError("a damaged entry under its final name")

        Cache(home / "cache").array(kept.get(path, {}), absent)


def stage_of(home: Path) -> str:
    """Return what the killed run was about: the stage that began last."""
    begun = "start"
    for path in home.glob("runs/*/2*/events.jsonl"):
        for line in path.read_text("utf-8").split("\n")[:-1]:
            event = json.loads(line)
            if event["kind"] == "stage" and event["state"] == "begins":
                begun = event["stage"]
    return begun


def folders(home: Path) -> list[Path]:
    """Return the run folders under `home`."""
    return sorted(home.glob("runs/*/2*"))


def digest(home: Path) -> str:
    """Return the digest of the only run under `home`."""
    [folder] = folders(home)
    return str(json.loads((folder / "metrics.json").read_text("utf-8"))["digest"])


def one_point(arguments: list[str], home: Path, delay: float) -> tuple[str, list[str], str] | None:
    """Kill after `delay` and go on: (stage, what is wrong, digest); None if the run was done before."""
    if not kill(start(arguments, home), delay):
        return None
    stage = stage_of(home)
    wrong = damaged(home, finished=False)
    process = start(arguments, home, "--resume")
    _, errors = process.communicate()
    if process.returncode:
        return stage, [*wrong, errors.strip().splitlines()[-1]], ""
    wrong += damaged(home, finished=True)
    if len(folders(home)) != 1:
        return stage, [*wrong, f"{len(folders(home))} run folders"], ""
    [folder] = folders(home)
    status = (folder / "status").read_text("utf-8").strip()
    if status != "done" or not (folder / "report.html").is_file():
        wrong.append(f"its status is {status}")
    return stage, wrong, digest(home)


def main() -> None:
    """Kill, resume, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="audio_seeg")
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    given = parser.parse_args()
    arguments = [given.pipeline, "--preset", given.preset, "--jobs", str(given.jobs)]
    arguments += [part for one in given.sets for part in ("--set", one)]
    rng = random.Random(given.seed)
    stages: Counter[str] = Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        process = start(arguments, Path(place) / "unbroken")
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(errors)
        seconds = time.monotonic() - began
        expected = digest(Path(place) / "unbroken")
        print(f"unbroken: {seconds:.1f} s, digest {expected[:16]}", flush=True)
        while sum(stages.values()) < given.points:
            home, delay = Path(place) / "point", rng.uniform(0.0, seconds)
            told = one_point(arguments, home, delay)
            shutil.rmtree(home, ignore_errors=True)
            if told is None:
                print(f"       killed after {delay:6.2f} s: it was done before, and does not count", flush=True)
                continue
            stage, wrong, found = told
            stages[stage] += 1
            wrong += [] if found == expected else [f"digest {found[:16]}"]
            failures += bool(wrong)
            told_wrong = "; ".join(wrong) or "same digest, no damaged file"
            print(f"{sum(stages.values()):4}   killed after {delay:6.2f} s in {stage:<9} {told_wrong}", flush=True)
    where = ", ".join(f"{stage} {count}" for stage, count in stages.most_common())
    print(f"{sum(stages.values())} points ({where}), {failures} failures")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()

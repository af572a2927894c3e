"""What `doctor` prints: is this installation able to do what it promises?"""

from __future__ import annotations

import importlib.util
import platform
import time
from collections.abc import Iterator, Sequence
from importlib import metadata

from braindecode_hub.cache import default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.files import writable_folder
from braindecode_hub.manager import Manager
from braindecode_hub.version import API_VERSION, __version__

OPTIONAL = {
    "soundfile": "sound files (extra io)",
    "h5py": "MATLAB and HDF5 files (extra io)",
    "librosa": "Griffin-Lim (extra audio-seeg)",
    "tensorboard": "TensorBoard event files (extra audio-seeg)",
}


def examine(manager: Manager) -> tuple[list[str], bool]:
    """Return lines to print and whether everything that was found works."""
    manager.load_all()
    lines = [f"braindecode-hub {__version__}, plugin api {API_VERSION}, Python {platform.python_version()}"]
    for name, plugin in sorted(manager.catalogue.plugins.items()):
        parts = sum(entry.plugin.name == name for entry in manager.components.values())
        lines.append(f"plugin {name} ({plugin.distribution}): {parts} parts")
    for package, purpose in OPTIONAL.items():
        lines.append(f"{package}: {_version(package)} — {purpose}")
    healthy = not manager.problems
    try:
        lines.append(f"cache: {writable_folder(default_folder())}")
    except HubError as error:
        lines.append(f"cache: {error.cause}; {error.remedy}")
        healthy = False
    if manager.problems:
        lines += ["", "Problems", *(f"  {problem}" for problem in manager.problems)]
    else:
        lines.append("no problems found")
    return lines, healthy


def leaks(name: str, manager: Manager, *, preset: str | None, sets: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield lines to print and whether each is clean: leak canaries A and B, and the metrics, of one pipeline."""
    from braindecode_hub import api
    from braindecode_hub.canaries import check_learning, check_support
    from braindecode_hub.environment import context
    from braindecode_hub.metric_checks import check_metrics
    from braindecode_hub.pipeline import build, pipeline_part

    config, options = api.configure(name, manager, preset=preset, data=None, sets=sets, subjects=None)
    config["run"] = {"subjects": options.subjects}
    ctx = context(seed=options.seed, manager=manager)
    build(str(config["pipeline"]), pipeline_part(config), manager).dataset.prepare(ctx)
    clean = True
    for told, check in (
        ("canary B, support", check_support),
        ("canary A, learning", check_learning),
        ("metrics", check_metrics),
    ):
        began = time.monotonic()
        problems = check(config, manager, ctx)
        state = f"{len(problems)} problem{'s' * (len(problems) > 1)}" if problems else "clean"
        yield f"{told}: {state} ({time.monotonic() - began:.0f} s)", not problems
        yield from ((f"  {problem}", False) for problem in problems)
        clean = clean and not problems
    if clean:
        yield "no leak found", True


def _version(package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return "missing"
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "present"

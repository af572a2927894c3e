"""Where a run takes place: the context it is handed, and what is recorded of the machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from braindecode_hub import fetch
from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.manager import Manager
from braindecode_hub.types import Context, Event
from braindecode_hub.version import __version__

PACKAGES = (
    "numpy",
    "scipy",
    "librosa",
    "soundfile",
    "mne",
    "h5py",
    "torch",
    "safetensors",
    "pluggy",
    "click",
)


def check_device(asked: str) -> str:
    """Return the device that was asked for: auto, cpu, cuda, cuda:N or mps.

    "auto" is left to the parts that have a choice. Raises HubError for another name, or for one that needs torch
    where there is none.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", asked):
        raise HubError(f"there is no device '{asked}'", "use auto, cpu, cuda, cuda:1 … or mps", usage=True)
    if asked not in ("auto", "cpu") and importlib.util.find_spec("torch") is None:
        raise HubError(f"device {asked} needs torch", "pip install torch, or use --device cpu")
    return asked


def context(
    *,
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
    cache: Cache | None = None,
    manager: Manager | None = None,
    network: bool = True,
    log: Callable[[Event], None] = lambda event: None,
) -> Context:
    """Return a Context whose `fetch` knows every scheme that the installed plugins know."""
    fetchers = partial((Manager() if manager is None else manager).first, "fetch")
    return Context(
        seed=seed,
        device=check_device(device),
        out=out,
        cache=Cache(default_folder()) if cache is None else cache,
        log=log,
        network=network,
        downloads=lambda uri, sha256, ctx: fetch.fetch(uri, sha256, ctx, fetchers),
    )


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions and machine, as env.json holds them."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "braindecode_hub": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "device": device,
        "packages": versions,
    }

"""What all tests share: a cache of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_their_own() -> Iterator[None]:
    """Keep what tests compute out of the user's cache, and share it among them."""
    before = os.environ.get("BRAINDECODE_HUB_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRAINDECODE_HUB_CACHE"] = folder
        yield
    if before is None:
        del os.environ["BRAINDECODE_HUB_CACHE"]
    else:
        os.environ["BRAINDECODE_HUB_CACHE"] = before


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip what needs a package registry where the user's own pip reaches none."""
    flags = ["--no-deps", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--retries=0", "--timeout=10"]
    place = ["--dest", str(tmp_path_factory.mktemp("network")), "iniconfig==2.0.0"]
    try:
        command = [sys.executable, "-m", "pip", "download", *flags, *place]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("pip reaches no package registry within 60 s")
    if done.returncode:
        pytest.skip(f"pip reaches no package registry: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")

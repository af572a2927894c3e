"""What all tests share: a cache of their own."""

from __future__ import annotations

import os
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

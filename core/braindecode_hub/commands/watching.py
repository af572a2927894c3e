"""What commands share: the installed plugins with somebody who watches, and the subjects of a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from braindecode_hub.manager import Manager


def installed() -> Manager:
    """Return what is installed."""
    from braindecode_hub.manager import Manager

    return Manager()


@contextmanager
def watched() -> Iterator[Manager]:
    """Give what is installed, with the progress display as an observer until the block ends."""
    from braindecode_hub.observers import Progress

    manager, progress = installed(), Progress()
    manager.register(progress, "progress")
    try:
        yield manager
    finally:
        progress.close()


def subjects_of(text: str) -> list[str] | None:
    """Return the subjects of a comma-separated list; None for all."""
    return None if text == "all" else [part.strip() for part in text.split(",")]

"""The one exception that users are meant to read: a line of cause and a line of remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class HubError(Exception):
    """An expected mistake: what is wrong and where (`cause`), and what to do about it (`remedy`).

    The command line prints both lines and exits with 1; a usage mistake (`usage=True`) exits with 2.
    """

    def __init__(self, cause: str, remedy: str, *, usage: bool = False) -> None:
        super().__init__(f"{cause}\n{remedy}")
        self.cause = cause
        self.remedy = remedy
        self.usage = usage

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Rebuild from both lines, so that the error survives the way back from a worker process."""
        return _again, (type(self), self.cause, self.remedy, self.usage)


class MissingPackage(HubError):  # noqa: N818
    """A package that a component needs is not installed; the remedy is the pip line."""


def _again(kind: type[HubError], cause: str, remedy: str, usage: bool) -> HubError:
    return kind(cause, remedy, usage=usage)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the remedy line for an unknown `name`: its nearest known names, or all of them."""
    import difflib  # here: `list` starts without it

    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names)}" if names else "there are none"

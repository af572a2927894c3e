"""Blocked sockets: whatever tries to reach another machine fails, and is remembered."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
_NETWORK = (socket.AF_INET, socket.AF_INET6)
_reached: list[str] | None = None
_hooked = False


@contextmanager
def blocked() -> Iterator[list[str]]:
    """Let every attempt to reach a network address fail with OSError; yields the attempts, as they are made.

    An audit hook sees them, so a library that goes round Python's `socket` class is stopped too. Sockets between
    processes of this machine that have no network address go on working.
    """
    global _reached, _hooked
    if not _hooked:
        sys.addaudithook(_watch)  # a hook cannot be taken out again: it looks on only while `_reached` is a list
        _hooked = True
    before, _reached = _reached, []
    try:
        yield _reached
    finally:
        _reached = before


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _reached is None or event not in _EVENTS:
        return
    first = arguments[0]
    if isinstance(first, socket.socket | socket.SocketType) and first.family not in _NETWORK:
        return
    where = str(first if isinstance(first, str) else arguments[-1])
    _reached.append(where)
    raise OSError(f"the network is blocked: {where}")

"""Code of strangers, called so that whatever it raises is a value and not the end of the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Failure(Exception):  # noqa: N818 (it carries an error, and is none of its own)
    """What a stranger's code raised, as `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(type(error)))
        self.error = error


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever the block raises, be it SystemExit or no Exception at all, into a `Failure` that says what.

    Only a person's own Ctrl-C goes through: a KeyboardInterrupt for which a signal came.
    """
    pressed: list[int] = []
    before = _listen(pressed)
    try:
        yield
    except BaseException as error:
        if pressed:
            raise KeyboardInterrupt from None
        if isinstance(error, KeyboardInterrupt) and before is None:  # nobody listened: it may be a person's
            raise
        raise Failure(error) from error
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _listen(pressed: list[int]) -> Any:
    """Note every SIGINT before it raises KeyboardInterrupt; return the handler to put back, None where it cannot be.

    Signals belong to the main thread, and a handler that somebody else has set is left alone. Where SIGINT is ignored,
    as in a job in the background, no person can have pressed.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        return before
    if before is not signal.default_int_handler:
        return None

    def interrupt(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    return before

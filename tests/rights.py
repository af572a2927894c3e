"""What a file's mode forbids is forbidden to root, too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

VERSION = 0x20080522  # of the structures of capget(2), see linux/capability.h
CAP_DAC_OVERRIDE = 1


@contextmanager
def held_by_modes() -> Iterator[None]:
    """Give up, for a while, root's right to write everywhere; one's own files stay one's own. A skip but on Unix."""
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have no mode here")
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)  # of this thread
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of 32 capabilities; the same of the next 32
    if libc.capget(header, rights) != 0:
        pytest.skip(f"root's rights cannot be read: {os.strerror(ctypes.get_errno())}")
    held = rights[0]
    rights[0] = held & ~(1 << CAP_DAC_OVERRIDE)
    if libc.capset(header, rights) != 0:
        pytest.skip(f"root's rights cannot be given up: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        rights[0] = held
        libc.capset(header, rights)

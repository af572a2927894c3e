"""What the exact names in a numpy pickle make of their arguments: arrays, dtypes, scalars, sets, ordered dictionaries.

Each builder checks what it is given before it makes anything; `pickle_machine` calls them.
"""

from __future__ import annotations

import math
import re
import sys
from collections import OrderedDict
from typing import Any

import numpy as np

from braindecode_hub.pickle_machine import Builder, Global, Unfinished, refusal

MOST_AXES = 16
_NUMPY = ("numpy.core", "numpy._core")


def whole_number(value: Any) -> bool:
    """Tell whether a value can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value <= sys.maxsize


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict([(key, value) for key, value in items])


def _set(items: Any = ()) -> set[Any]:
    return set(items)


def _frozenset(items: Any = ()) -> frozenset[Any]:
    return frozenset(items)


def _bytes(text: Any = "", coding: Any = "latin1") -> bytes:
    if type(text) is not str or coding != "latin1":
        raise refusal("it encodes something other than bytes")
    return text.encode("latin1")


def _dtype(code: Any, *_: Any) -> Unfinished:
    if type(code) is not str or not re.fullmatch(r"[biufcSU][0-9]{1,9}|O8?", code):
        raise refusal("it holds an array of a kind that is not read")
    dtype = np.dtype(code)

    def complete(state: Any) -> np.dtype[Any]:
        if type(state) is not tuple or len(state) < 5 or state[1] not in tuple("<>|=") or set(state[2:5]) != {None}:
            raise refusal("it holds an array of a kind that is not read")
        return dtype if state[1] == "|" else dtype.newbyteorder(state[1])

    return Unfinished(complete)


def _array(kind: Any, shape: Any, code: Any) -> Unfinished:
    if kind != Global("numpy ndarray"):
        raise refusal("it makes an array of an unknown kind")

    def complete(state: Any) -> np.ndarray:
        _, shape, dtype, fortran, data = state
        if isinstance(dtype, np.dtype) and dtype.hasobject:
            if type(data) is not list or not _fits(shape, len(data)):
                raise refusal("it holds an array that is not filled")
            filled = np.empty(len(data), object)
            for index, item in enumerate(data):  # at once, numpy would look into lists of equal length
                filled[index] = item
            return filled.reshape(shape, order="F" if fortran else "C")
        return _from_bytes(data.encode("latin1") if type(data) is str else data, dtype, shape, "F" if fortran else "C")

    return Unfinished(complete)


def _from_bytes(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if type(data) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.hasobject or not dtype.itemsize:
        raise refusal("it holds an array without its bytes")
    if not _fits(shape, len(data) // dtype.itemsize) or len(data) % dtype.itemsize or order not in ("C", "F"):
        raise refusal(f"it holds an array whose shape does not fit its {len(data)} bytes")
    array: np.ndarray = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array


def _fits(shape: Any, count: int) -> bool:
    return (
        type(shape) is tuple and len(shape) <= MOST_AXES and all(map(whole_number, shape)) and math.prod(shape) == count
    )


def _scalar(dtype: Any, data: Any) -> Any:
    return _from_bytes(data.encode("latin1") if type(data) is str else data, dtype, (1,), "C")[0]


VALUES = ("numpy ndarray",)
BUILDERS: dict[str, Builder] = {
    "collections OrderedDict": _ordered,
    "_codecs encode": _bytes,
    "numpy dtype": _dtype,
    **{f"{module} set": _set for module in ("builtins", "__builtin__")},
    **{f"{module} frozenset": _frozenset for module in ("builtins", "__builtin__")},
    **{f"{module} bytes": _bytes for module in ("builtins", "__builtin__")},
    **{f"{package}.multiarray _reconstruct": _array for package in _NUMPY},
    **{f"{package}.multiarray scalar": _scalar for package in _NUMPY},
    **{f"{package}.numeric _frombuffer": _from_bytes for package in _NUMPY},
}

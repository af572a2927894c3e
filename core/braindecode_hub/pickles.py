"""Data and weights that others published as pickles, read without running them.

`read_torch` reads torch's checkpoints, both its zip files and the stream of before 1.6; `read_pickle` reads numpy's
pickles and arrays of objects. Exact names only; see `pickle_machine`. Torch is not needed and not imported.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.pickle_builders import BUILDERS, MOST_AXES, VALUES, whole_number
from braindecode_hub.pickle_machine import Builder, Global, Machine, Shell, UnsafeFile, refusal

__all__ = ["Shell", "UnsafeFile", "read_pickle", "read_torch"]

MAGIC = 0x1950A86A20F9469CFC6C
STREAM_PROTOCOL = 1001
MOST_MEMBERS = 100_000
REPEATS = 4
"""How many times a file's own size all of its tensors together may claim (tied weights share storage)."""

_STORAGES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": "bf16", "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "?", "ComplexFloat": "c8", "ComplexDouble": "c16",
}  # fmt: skip
_STORAGE_NAMES = {
    f"{module} {kind}Storage": code for kind, code in _STORAGES.items() for module in ("torch", "torch.cuda")
}


def read_torch(path: Path | str, *, shells: Iterable[str] = ()) -> dict[str, Any]:
    """Return the dictionary of a torch checkpoint: tensors as numpy arrays, other values as plain Python.

    Arrays are read-only views of the file, on the CPU wherever they were saved; bfloat16 becomes float32.
    `shells`: exact names ("glow.WaveGlow") of pickled classes; their instances become `Shell`. Raises UnsafeFile (a
    HubError and a ValueError) for whatever is hostile, truncated or of another kind.
    """
    path = Path(path)
    with _opened(path) as view:
        dotted = {" ".join(name.rpartition(".")[::2]) for name in shells}
        read = _read_zip if view[:4] == b"PK\x03\x04" else _read_stream
        value = read(path, view, dotted)
        if not isinstance(value, dict):
            raise refusal(f"it holds a {type(value).__name__}, not a dictionary")
        return value


def read_pickle(path: Path | str) -> Any:
    """Return what a pickle of dict, list, tuple, set, str, bytes, numbers and numpy arrays holds.

    Also reads .npy files of objects, as `numpy.save` writes a dictionary. Arrays of numbers, booleans and text are
    read-only; arrays of such objects are not. Raises UnsafeFile (a HubError and a ValueError) for anything else.
    """
    path = Path(path)
    with _opened(path) as view:
        if view[:6] == b"\x93NUMPY":
            major = np.lib.format.read_magic(view)[0]  # type: ignore[no-untyped-call]
            header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
            dtype = header(view)[2]  # type: ignore[no-untyped-call]
            if not dtype.hasobject:
                return np.load(path, mmap_mode="r", allow_pickle=False)
        value = Machine(BUILDERS, values=VALUES, size=len(view)).run(view)
        single = view[:6] == b"\x93NUMPY" and isinstance(value, np.ndarray) and value.ndim == 0
        return value.item() if single else value


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    """Yield the mapped file; what goes wrong while it is read becomes one line that names it."""
    try:
        with path.open("rb") as handle:
            view = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        yield view
    except UnsafeFile as error:
        raise UnsafeFile(f"{path} is refused: {error.cause}", error.remedy) from None
    except OSError as error:
        raise HubError(f"{path} cannot be read: {error.strerror or error}", "check the path") from error
    except (
        *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, NotImplementedError),
        *(MemoryError, RecursionError, struct.error, zipfile.BadZipFile),
    ) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UnsafeFile(f"{path} cannot be read: {why}", "it is truncated or no such file: get it again") from error


# Torch


class _Tensors:
    """Makes arrays of what a checkpoint's pickle says about them; no array may leave its storage.

    `find` gives the bytes of a storage by its key; it is None in the first pass over a stream, which only collects
    `seen`: the item size and length of each storage.
    """

    def __init__(self, size: int, order: str, find: Callable[[str], memoryview] | None) -> None:
        self.left = REPEATS * size + 4096
        self.order = order
        self.find = find
        self.seen: dict[str, tuple[int, int]] = {}

    def storage(self, identity: Any) -> Any:
        """Return what a persistent id stands for: (dtype code, bytes, length), or a pickled class's name."""
        if type(identity) is tuple and len(identity) == 4 and identity[0] == "module":
            if not isinstance(identity[1], Global):
                raise refusal("it holds a class without a name")
            return identity[1]
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[5:] not in ((), (None,)):
            raise refusal("it refers to something outside of itself")
        what, kind, key, place, length = identity[:5]
        code = _STORAGE_NAMES.get(kind.name) if isinstance(kind, Global) else None
        if what != "storage" or code is None or not (type(key) is type(place) is str) or not whole_number(length):
            raise refusal("it refers to something outside of itself")
        itemsize = 2 if code == "bf16" else np.dtype(code).itemsize
        if self.seen.setdefault(key, (itemsize, length)) != (itemsize, length):
            raise refusal(f"its storage {key[:40]!r} is described in two ways")
        data = self.find(key) if self.find else None
        if data is not None and len(data) != itemsize * length:
            raise refusal(f"its storage {key[:40]!r} has {len(data)} bytes, not {itemsize * length}")
        return _Storage(code, data, length)

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> np.ndarray:
        """Return the array of a storage, as torch lays it out: offset and strides in elements."""
        whole = type(shape) is type(strides) is tuple and all(map(whole_number, (offset, *shape, *strides)))
        if not isinstance(storage, _Storage) or not whole or len(shape) != len(strides) or len(shape) > MOST_AXES:
            raise refusal("it describes a tensor that cannot be")
        count = math.prod(shape)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if count > storage.length or (count and last >= storage.length):
            raise refusal("a tensor reaches outside of its storage")
        code = "u2" if storage.code == "bf16" else storage.code
        dtype = np.dtype(code).newbyteorder(self.order)  # type: ignore[arg-type]
        self.left -= count * dtype.itemsize
        if self.left < 0:
            raise refusal("its tensors claim more than the file can hold")
        if storage.data is None or not count:
            return np.empty(shape if not count else 0, dtype)
        steps = [stride * dtype.itemsize for stride in strides]
        array: np.ndarray = np.ndarray(shape, dtype, storage.data, offset * dtype.itemsize, steps)
        if storage.code == "bf16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class _Storage:
    """The bytes of one storage, before anything is made of them."""

    def __init__(self, code: str, data: memoryview | None, length: int) -> None:
        self.code, self.data, self.length = code, data, length


def _unpickle(view: Any, size: int, tensors: _Tensors, shells: Iterable[str]) -> Any:
    builders: dict[str, Builder] = {
        **BUILDERS,
        "torch._utils _rebuild_tensor": tensors.tensor,
        "torch._utils _rebuild_tensor_v2": tensors.tensor,
        "torch._utils _rebuild_parameter": _parameter,
        "torch Size": _size,
    }
    values = (*VALUES, *_STORAGE_NAMES)
    return Machine(builders, values=values, shells=shells, persistent=tensors.storage, size=size).run(view)


def _read_zip(path: Path, view: mmap.mmap, shells: Iterable[str]) -> Any:
    members = _members(path, view)
    found = [name for name in members if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise refusal(f"it is a zip file with {len(found)} data.pkl, not a checkpoint")
    folder = found[0].removesuffix("data.pkl")
    order = bytes(members.get(f"{folder}byteorder", b"little")).decode()
    if order not in ("little", "big"):
        raise refusal("its byte order is unknown")
    sign = "<" if order == "little" else ">"
    tensors = _Tensors(len(view), sign, lambda key: members[f"{folder}data/{key}"])
    return _unpickle(BytesIO(members[found[0]]), len(members[found[0]]), tensors, shells)


def _members(path: Path, view: mmap.mmap) -> dict[str, memoryview]:
    """Return the bytes of each member of a zip file, where they lie: stored only, so none can grow."""
    data = memoryview(view)
    members: dict[str, memoryview] = {}
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise refusal("it has too many members")
    for info in infos:
        parts = info.filename.split("/")
        if info.filename in members or "\\" in info.filename or not all(parts) or {".", ".."} & set(parts):
            raise refusal(f"it has a member named {info.filename[:80]!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise refusal(f"its member {info.filename[:80]!r} is compressed or encrypted")
        header = struct.unpack("<4s22xHH", data[info.header_offset : info.header_offset + 30])
        start = info.header_offset + 30 + header[1] + header[2]
        if header[0] != b"PK\x03\x04" or start + info.file_size > len(data):
            raise refusal(f"its member {info.filename[:80]!r} lies outside of it")
        members[info.filename] = data[start : start + info.file_size]
    return members


def _read_stream(path: Path, view: mmap.mmap, shells: Iterable[str]) -> Any:
    """Read the format of before torch 1.6: five pickles, then each storage as its length and its bytes."""
    plain = Machine({})
    if plain.run(view) != MAGIC:
        raise refusal("it is no torch checkpoint")
    if Machine({}).run(view) != STREAM_PROTOCOL or Machine({}).run(view).get("little_endian") is not True:
        raise refusal("it was written by another version of torch, or on another kind of machine")
    start = view.tell()
    first = _Tensors(len(view), "<", None)
    _unpickle(view, len(view), first, shells)
    keys = Machine({}).run(view)
    if type(keys) is not list or set(keys) != set(first.seen) or len(keys) != len(first.seen):
        raise refusal("its list of storages is not what its tensors need")
    data, at, found = memoryview(view), view.tell(), {}
    for key in keys:
        itemsize, length = first.seen[key]
        stop = at + 8 + itemsize * length
        if stop > len(data) or struct.unpack("<q", data[at : at + 8])[0] != length:
            raise refusal(f"its storage {key[:40]!r} is truncated or of another length")
        found[key], at = data[at + 8 : stop], stop
    view.seek(start)
    return _unpickle(view, len(view), _Tensors(len(view), "<", found.__getitem__), shells)


# Small builders


def _parameter(tensor: Any, requires_grad: Any, hooks: Any) -> Any:
    if type(tensor) is not np.ndarray:
        raise refusal("it makes a parameter of something that is no tensor")
    return tensor


def _size(sizes: Any) -> tuple[Any, ...]:
    return tuple(sizes)

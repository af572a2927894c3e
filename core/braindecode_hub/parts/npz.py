"""Members of an .npz, each where it lies: mapped into memory if stored, read whole if compressed, never unpickled."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.reading import COMPRESSED_BYTES, NOT_WHOLE, first_line
from braindecode_hub.types import Array

_LOCAL = struct.Struct("<26xHH")


class Npz:
    """An .npz file as a mapping of names to arrays, opened when asked for; `where` names it in errors.

    Raises HubError for a file that is no whole .npz, and for members that hold pickled objects.
    """

    def __init__(self, path: Path, where: str) -> None:
        self.path, self.where = path, where
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
        except FileNotFoundError as error:
            raise HubError(f"{where} does not exist", "check the path", usage=True) from error
        except NOT_WHOLE as error:
            raise self._damaged(error) from error
        self._read: dict[str, Array] = {}

    @property
    def names(self) -> list[str]:
        """The names of the members, in their order."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            try:
                self._read[name] = self._open(self._members[name])
            except HubError:
                raise
            except NOT_WHOLE as error:
                if "object" in str(error).lower():
                    raise self._pickled(name) from error
                raise self._damaged(error) from error
        return self._read[name]

    def _open(self, member: zipfile.ZipInfo) -> Array:
        if member.compress_type == zipfile.ZIP_STORED and member.file_size > 4096:
            return self._mapped(member)
        if member.file_size > COMPRESSED_BYTES:
            raise HubError(
                f"{self.where}: '{member.filename}' is compressed and {member.file_size / 1e9:.1f} GB large",
                "save it uncompressed, with numpy.savez or braindecode_hub.save_recording",
            )
        with zipfile.ZipFile(self.path) as archive:
            content = archive.read(member)
        array: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        array.flags.writeable = False
        return array

    def _mapped(self, member: zipfile.ZipInfo) -> Array:
        with self.path.open("rb") as file:
            file.seek(member.header_offset)
            name_length, extra_length = _LOCAL.unpack(file.read(_LOCAL.size))
            start = member.header_offset + _LOCAL.size + name_length + extra_length
            file.seek(start)
            shape, fortran, dtype = _header(file)
            if dtype.hasobject:
                raise self._pickled(member.filename.removesuffix(".npy"))
            offset = file.tell()
        wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if offset - start + wanted != member.file_size:
            raise ValueError(f"'{member.filename}' says {wanted} bytes, but has {member.file_size - (offset - start)}")
        order: Any = "F" if fortran else "C"
        return np.memmap(self.path, dtype, "r", offset, shape, order)

    def _pickled(self, name: str) -> HubError:
        return HubError(
            f"{self.where}: '{name}' holds pickled Python objects, which are never loaded",
            "save plain arrays of numbers or text",
        )

    def _damaged(self, error: BaseException) -> HubError:
        return HubError(
            f"{self.where} is no whole .npz file ({first_line(error)})", "save it again: it is damaged, or cut off"
        )


def _header(file: Any) -> tuple[tuple[int, ...], bool, Any]:
    form: Any = np.lib.format
    version = form.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"unknown .npy version {version}")
    found: tuple[tuple[int, ...], bool, Any] = (
        form.read_array_header_1_0(file) if version == (1, 0) else form.read_array_header_2_0(file)
    )
    return found

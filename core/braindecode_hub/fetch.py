"""A URI becomes a local file: downloaded once, and checked against its pin before it gets its place.

The place is `downloads/<first two>/<sha256>/<name>` in the cache folder, where <sha256> is the pin, or for a
URI without one the hash of the URI. Which scheme means what is the business of the fetchers (`fetchers.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from braindecode_hub.cache import REMEDY, default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.files import TEMPORARY, writable_folder, write_error
from braindecode_hub.types import Context

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

SCHEMES = ("file", "https", "osf", "pypi")
"""What the built-in fetchers know; plugins add their own."""

_CHUNK = 1 << 20
_ATTEMPTS = 4
_TIMEOUT_S = 60
_LOCAL = ("127.0.0.1", "localhost", "::1")
_ABOUT = ".braindecode-hub.json"


class Fetchers(Protocol):
    """The hook `fetch` of all plugins together: the first path that is not None."""

    def __call__(self, *, uri: str, folder: Path, ctx: Context) -> Path | None:
        """Put the file of `uri` into `folder` and return its path; None for a scheme that nobody knows."""


def fetch(uri: str, sha256: str | None, ctx: Context, fetchers: Fetchers) -> Path:
    """Return the local file of `uri`, downloading it unless it is there; its bytes are checked either way.

    Without a pin the hash that was found is recorded, checked from then on, and logged (`not_pinned`). Raises
    HubError for other bytes than the pinned ones, an unknown scheme, no network, a full disk: none is kept.
    """
    scheme = _scheme(uri)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise HubError(f"{uri}: {sha256!r} is no SHA-256", "pin the file by 64 hexadecimal digits")
    pin = sha256.lower() if sha256 else None
    name = pin or hashlib.sha256(uri.encode()).hexdigest()
    place = downloads(ctx) / name[:2] / name
    lasting = pin is not None or scheme != "file"  # a local file without a pin may have changed since
    kept = _kept(place, pin) if lasting else None
    if kept is not None:
        return kept
    if scheme != "file" and not online(ctx):
        raise HubError(f"{uri} needs the network, which is switched off", "fetch it once with the network on")
    writable_folder(downloads(ctx), REMEDY)
    with _scratch(uri, downloads(ctx)) as scratch:
        folder = scratch / "from"
        folder.mkdir()
        path = _fetched(uri, folder, ctx, fetchers)
        found = hash_of(path)
        if pin and found != pin:
            raise HubError(
                f"{uri} has SHA-256 {found}, not the pinned {pin}",
                "the file has changed or the download was tampered with; nothing was kept",
            )
        if not pin:
            message = f"{uri} is not pinned; its SHA-256 is {found}"
            ctx.log({"kind": "not_pinned", "uri": uri, "sha256": found, "message": message})
        about = {"uri": uri, "sha256": found, "pinned": bool(pin), "name": path.name}
        return _settle(path, place, about, scratch, lasting)


def downloads(ctx: Context) -> Path:
    """Return the folder of downloads: in the context's cache, or in the default one if that is in RAM."""
    folder = ctx.cache.folder if ctx.cache is not None else None
    return (folder if folder is not None else default_folder()) / "downloads"


def online(ctx: Context) -> bool:
    """Say whether the network may be used: `ctx.network`, and BRAINDECODE_HUB_OFFLINE is unset or 0."""
    return ctx.network and os.environ.get("BRAINDECODE_HUB_OFFLINE", "") in ("", "0")


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _scheme(uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    if not mark or not rest or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise HubError(f"{uri!r} is not a URI", f"write it as scheme://…, with one of {', '.join(SCHEMES)}")
    return scheme


def _kept(place: Path, pin: str | None) -> Path | None:
    """Return the file in `place` if it still has the pinned, or else the recorded, hash."""
    try:
        about = json.loads((place / _ABOUT).read_text("utf-8"))
        path = place / str(about["name"])
        if (
            path.parent == place
            and not path.is_symlink()
            and path.is_file()
            and hash_of(path) == (pin or about["sha256"])
        ):
            with contextlib.suppress(OSError):
                os.utime(path)
                os.utime(place / _ABOUT)
            return path
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


@contextlib.contextmanager
def _scratch(uri: str, parent: Path) -> Iterator[Path]:
    """Yield a fresh folder in `parent`, gone afterwards; what the disk refuses becomes a HubError."""
    scratch = parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        scratch.mkdir()
        yield scratch
    except OSError as error:
        ours = [path for path in [Path(str(error.filename))] if scratch in path.parents]
        expected = write_error(error, parent, *ours)
        other = HubError(f"{uri} cannot be fetched: {error}", "check the address, and try again")
        raise expected or other from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetched(uri: str, folder: Path, ctx: Context, fetchers: Fetchers) -> Path:
    path = fetchers(uri=uri, folder=folder, ctx=ctx)
    if path is None:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise HubError(f"nobody knows how to fetch {uri}", f"use {known} or install a plugin that fetches it")
    path = Path(path)
    if path.is_symlink() or not path.is_file() or folder.resolve() not in path.resolve().parents:
        raise HubError(f"the fetcher of {uri} put no file into its folder", "report it to the plugin's author")
    return path


def _settle(path: Path, place: Path, about: dict[str, Any], scratch: Path, lasting: bool) -> Path:
    """Move the file with its record to `place` in one step; if another process was faster, take its file."""
    ready = scratch / "ready"
    ready.mkdir()
    place.parent.mkdir(exist_ok=True)
    os.replace(path, ready / path.name)
    (ready / _ABOUT).write_text(json.dumps(about, indent=1), "utf-8")
    with (ready / path.name).open("rb+") as handle:
        os.fsync(handle.fileno())
    for _ in range(3):
        kept = _kept(place, about["sha256"]) if lasting else None
        if kept is not None:
            return kept
        with contextlib.suppress(OSError):
            if place.exists():
                os.replace(place, scratch / secrets.token_hex(4))  # damaged or outdated: out of the way
            os.replace(ready, place)
            return place / path.name
    raise HubError(f"{place} cannot be replaced", "remove that folder, or " + REMEDY)


# From a server


def download(url: str, uri: str, target: Path, ctx: Context) -> Path:
    """Stream `url` into `target`, taking up a broken download where it stopped; `uri` is named in errors.

    http:// is for this machine only, and no redirection leads there from https. Raises HubError when the
    server says no, cannot be reached, or breaks off four times.
    """
    problem = ""
    mark: str | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(4.0, 0.25 * 2**attempt))
        done = target.stat().st_size if target.exists() and mark else 0
        headers = {"Range": f"bytes={done}-", "If-Range": mark} if done and mark else {}
        with _opened(url, uri, headers) as reply:
            if isinstance(reply, str):
                problem = reply
                continue
            resumed = reply.status == 206
            if resumed and not reply.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                problem, mark = "the server resumes at the wrong place", None
                continue
            mark = _mark(reply) if reply.headers.get("Accept-Ranges") == "bytes" or resumed else None
            done = done if resumed else 0
            left = reply.headers.get("Content-Length")
            total = done + int(left) if left and left.isdigit() else None
            with target.open("ab" if resumed else "wb") as out:
                problem, done = _stream(reply, out, uri, done, total, ctx)
        if not problem and total in (None, done):
            progress(ctx, uri, done, done)
            return target
        problem = problem or f"it broke off after {done} of {total} bytes"
    raise HubError(f"{uri} cannot be fetched: {problem}", "check the network and the address, and try again")


def _stream(reply: Any, out: BinaryIO, uri: str, done: int, total: int | None, ctx: Context) -> tuple[str, int]:
    from http.client import HTTPException

    said = time.monotonic()
    while True:
        try:
            block = reply.read(_CHUNK)
        except (OSError, HTTPException) as error:  # of the network: a full disk raises below
            return f"{type(error).__name__}: {error}", done
        if not block:
            return "", done
        out.write(block)
        done += len(block)
        if time.monotonic() - said > 0.5:
            said = time.monotonic()
            progress(ctx, uri, done, total)


def progress(ctx: Context, uri: str, done: int, total: int | None) -> None:
    """Tell the run's log how many bytes of `uri` are there, of how many (None: nobody knows)."""
    ctx.log({"kind": "download", "uri": uri, "done": done, "total": total})


def _mark(reply: Any) -> str | None:
    """Return what tells that a file is still the same one: a strong ETag, or its date."""
    tag: str | None = reply.headers.get("ETag")
    dated: str | None = reply.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else dated


@contextlib.contextmanager
def _opened(url: str, uri: str, headers: dict[str, str]) -> Iterator[Any]:
    """Yield the open reply, or a line of text if another attempt may help; raises HubError if none will."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    _check(url, uri, local=True)
    reply: Any
    try:
        request = Request(url, headers={"User-Agent": "braindecode-hub", **headers})
        reply = _opener(uri).open(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code < 500 and error.code not in (408, 429):
            remedy = "it is not public: ask its owner" if error.code in (401, 403) else "check the address"
            said = f"the server says {error.code} {error.reason}"
            raise HubError(f"{uri} cannot be fetched: {said}", remedy) from error
        reply = f"the server says {error.code} {error.reason}"
    except (URLError, HTTPException, OSError) as error:
        reply = f"no connection ({getattr(error, 'reason', error)})"
    if isinstance(reply, str):
        yield reply
        return
    with reply:
        yield reply


def _opener(uri: str) -> OpenerDirector:
    import ssl
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
            _check(newurl, uri, local=req.type == "http")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    trust = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        with contextlib.suppress(ImportError):
            import certifi

            trust.load_verify_locations(certifi.where())
    return build_opener(HTTPSHandler(context=trust), Redirects)


def _check(url: str, uri: str, *, local: bool) -> None:
    """Refuse what is not encrypted, but for this machine's own servers where `local`."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (local and parts.scheme == "http" and parts.hostname in _LOCAL):
        return
    where = f"{parts.scheme}://{parts.hostname}"
    raise HubError(f"{uri} leads to {where}, which is not encrypted", "use an https:// address")

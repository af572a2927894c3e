"""Archives and addresses of strangers, through `fetch`: one plain file comes out, in its own folder, or nothing."""

from __future__ import annotations

import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import Place, a_place  # noqa: F401 (a fixture)
from test_fetch import MEMBER, wheel

from braindecode_hub import fetchers
from braindecode_hub.errors import HubError

Fill = Callable[[Path], object]


def tar(path: Path, *members: tuple[str, bytes, str, bytes], how: str = "w") -> None:
    """Members as (name, kind, target of a link, content)."""
    with tarfile.open(path, how) as box:  # type: ignore[call-overload]
        for name, kind, target, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            box.addfile(info, io.BytesIO(content))


def with_link(path: Path) -> None:
    info = zipfile.ZipInfo("data.bin")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as box:
        box.writestr(info, "../../elsewhere/secret.txt")


def with_names(path: Path) -> None:
    """Beside the file that is asked for, others that would slip out."""
    with zipfile.ZipFile(path, "w") as box:
        for name in ("../canary", "../../canary", "/canary", "..\\canary", "C:\\canary", "data.bin"):
            box.writestr(name, b"data")


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        box.writestr("data.bin", b"\0" * 30_000_000)


def lying(path: Path) -> None:
    """A member that says it is small."""
    bomb(path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace((30_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))


def sparse(path: Path) -> None:
    """A header of GNU's sparse kind that says there are 10 GB."""
    tar(path, ("data.bin", tarfile.GNUTYPE_SPARSE, "", b"x"))
    raw = bytearray(path.read_bytes())
    raw[483:495] = b"112402762000"
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    path.write_bytes(raw)


PLAIN = ("data.bin", tarfile.REGTYPE, "", b"data")
ARCHIVES: dict[str, tuple[Fill, str | None]] = {
    "a zip member that is a link": (with_link, "is a link or a folder"),
    "zip members that slip out": (with_names, None),
    "a zip bomb": (bomb, "30000000 bytes"),
    "a zip bomb that says it is small": (lying, "cannot be unpacked"),
    "a tar member that is a link": (
        lambda p: tar(p, ("data.bin", tarfile.SYMTYPE, "../elsewhere/secret.txt", b"")), "is a link"),
    "a tar member that is a hard link": (
        lambda p: tar(p, ("data.bin", tarfile.LNKTYPE, "/etc/passwd", b"")), "is a link"),
    "a tar member that is a device": (lambda p: tar(p, ("data.bin", tarfile.CHRTYPE, "", b"")), "is a link"),
    "a tar member that is a pipe": (lambda p: tar(p, ("data.bin", tarfile.FIFOTYPE, "", b"")), "is a link"),
    "a tar that makes a folder a link first": (
        lambda p: tar(p, ("out", tarfile.SYMTYPE, "/", b""), ("out/canary", tarfile.REGTYPE, "", b"x"), PLAIN), None),
    "tar members that slip out": (
        lambda p: tar(p, ("../canary", tarfile.REGTYPE, "", b"x"), ("/canary", tarfile.REGTYPE, "", b"x"), PLAIN),
        None),
    "a tar bomb in gzip": (
        lambda p: tar(p, ("zeros", tarfile.REGTYPE, "", b"\0" * 30_000_000), PLAIN, how="w:gz"), "unpacks to"),
    "a tar bomb in xz": (
        lambda p: tar(p, ("data.bin", tarfile.REGTYPE, "", b"\0" * 30_000_000), how="w:xz"), "30000000 bytes"),
    "a sparse tar member": (sparse, ""),
    "a tar cut off": (lambda p: (tar(p, PLAIN), p.write_bytes(p.read_bytes()[:514])), ""),
    "a tar of noise": (lambda p: p.write_bytes(os.urandom(4096)), "cannot be unpacked"),
}  # fmt: skip


@pytest.mark.parametrize("artefact", ARCHIVES)
def test_one_plain_file_comes_out_or_nothing(
    place: Place,
    artefact: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `fetch` does with a package's archive; pip itself would build a tar, so it is left out here."""
    fill, told = ARCHIVES[artefact]
    archive, folder = place.inside / "archive", place.cache / "one"
    folder.mkdir()
    fill(archive)
    monkeypatch.setattr(fetchers, "LIMIT_BYTES", 1_000_000)
    with place.harmless():
        if told is None:
            path = fetchers.extract_member(archive, "data.bin", folder)
            assert path.read_bytes() == b"data"
        else:
            with pytest.raises(HubError) as caught:
                fetchers.extract_member(archive, "data.bin", folder)
            assert told in caught.value.cause
            assert "\n" not in caught.value.cause
    assert {path.name for path in folder.iterdir()} <= {"data.bin"}


def test_a_wheel_is_fetched_and_neither_installed_nor_unpacked(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = place.inside
    archive = wheel(index)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": index.as_uri(), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    code, out, err = place.hub("fetch", f"pypi://demo-pkg==1.0/{MEMBER}#sha256={archive}")
    assert code == 0, err
    assert Path(out.strip()).name == "sound.bin"
    assert not list(place.folder.rglob("evil.bin"))


class Server(http.server.BaseHTTPRequestHandler):
    """Redirects to this machine's files, and answers everything else with a short text."""

    def do_GET(self) -> None:
        leads = {"/file": "file:///etc/passwd", "/plain": "http://192.0.2.1/x", "/loop": "/loop"}
        where = leads.get(self.path)
        self.send_response(302 if where else 200)
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Disposition", 'attachment; filename="../../canary"')
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"data")

    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.mark.parametrize("path", ["/file", "/plain", "/loop"])
def test_an_address_that_leads_elsewhere_is_refused(place: Place, server: str, path: str) -> None:
    with place.harmless():
        place.refused("fetch", server + path)


NAMES = ["/..%2F..%2Fcanary", "/%2Fetc%2Fcanary", "/..%5Ccanary", "/.braindecode-hub.json", "/-rf", "/%1B%5B2Jx%0Ay",
         "/%E2%80%AEx", "/"]  # fmt: skip


@pytest.mark.parametrize("path", NAMES)
def test_a_download_has_a_plain_name_in_a_folder_of_its_own(place: Place, server: str, path: str) -> None:
    with place.harmless():
        code, out, _ = place.hub("fetch", server + path)
    kept = Path(out.strip())
    assert code == 0
    assert kept.name.isprintable()
    assert kept.resolve().is_relative_to((place.cache / "downloads").resolve())
    assert kept.read_bytes() == b"data"
    assert len(kept.relative_to(place.cache / "downloads").parts) == 3

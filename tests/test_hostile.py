"""Files of strangers, through every way in: nothing in them is run, nothing is written elsewhere, one line says why."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile import Evil, Place, a_place, pickled  # noqa: F401 (a fixture)

from braindecode_hub import reading

Make = Callable[[Path, Path], object]

BRAIN = np.random.default_rng(0).standard_normal((5, 4000)).astype(np.float32)


def npy(header: str, data: bytes = b"\0" * 64) -> bytes:
    """An .npy file with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + data


def npy_of(shape: str, descr: str = "'<f4'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def plain_npy() -> bytes:
    held = io.BytesIO()
    np.save(held, BRAIN)
    return held.getvalue()


def objects(canary: Path) -> bytes:
    held = io.BytesIO()
    np.save(held, np.array([Evil(canary)] * 9, object), allow_pickle=True)
    return held.getvalue()


def zipped(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as box:
        for name, data in members.items():
            box.writestr(name, data)
    return path


def safetensors(path: Path, header: bytes, length: int | None = None, data: bytes = b"\0" * 64) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def wav(path: Path, samples: int) -> Path:
    """A sound that says it has more samples than there are."""
    soundfile.write(path, np.zeros(800), 8000, subtype="PCM_16")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = struct.pack("<I", 2 * samples)
    path.write_bytes(raw)
    return path


def with_sound(folder: Path, brain: bytes) -> None:
    soundfile.write(folder / "a.wav", np.zeros(80_000), 8000)
    (folder / "a.npy").write_bytes(brain)


# Recordings: `run --data`, `inspect`


def nwb(path: Path, samples: int) -> None:
    """An NWB file whose series say how long they are, and hold nothing; a link leads to elsewhere."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        for name, kind, shape, rate in (
            ("brain", "ElectricalSeries", (samples, 5), 400.0),
            ("sound", "TimeSeries", (20 * samples,), 8000.0),
        ):
            series = file.create_group(f"acquisition/{name}")
            series.attrs["neurodata_type"] = kind
            series.create_dataset("data", shape, "i2", chunks=True).attrs["unit"] = "volts"
            series.create_dataset("starting_time", data=0.0).attrs["rate"] = rate
        file["acquisition/loop"] = h5py.SoftLink("/acquisition")
        file["acquisition/link"] = h5py.ExternalLink("../elsewhere/secret.txt", "/x")


CODE = "__import__('os').mkdir({canary!r})"


RECORDINGS: dict[str, tuple[Make, str]] = {
    "pickled objects in an .npy": (lambda f, c: with_sound(f, objects(c)), "never loaded"),
    "a pickle named .npy": (lambda f, c: with_sound(f, pickled(c)), "a.npy"),
    "code in an .npy header": (lambda f, c: with_sound(f, npy(CODE.format(canary=str(c)))), "a.npy"),
    "code as an .npy shape": (lambda f, c: with_sound(f, npy_of(CODE.format(canary=str(c)))), "a.npy"),
    "an .npy of 10^15 values": (lambda f, c: with_sound(f, npy_of("(5, 1000000000000000)")), "a.npy"),
    "an .npy of negative size": (lambda f, c: with_sound(f, npy_of("(5, -4)")), "a.npy"),
    "an .npy header nested deeply": (lambda f, c: with_sound(f, npy("(" * 9000)), "a.npy"),
    "an .npy header of minus signs": (lambda f, c: with_sound(f, npy("-" * 9000 + "1")), "a.npy"),
    "an .npy header of brackets": (lambda f, c: with_sound(f, npy_of("[" * 90 + "]" * 90)), "a.npy"),
    "an .npy header that ends in a text": (lambda f, c: with_sound(f, npy("{'''")), "a.npy"),
    "an .npy dtype of many parts": (lambda f, c: with_sound(f, npy_of("(9,)", "[('a','O')]")), "a.npy"),
    "an .npy header of 4 GB": (lambda f, c: with_sound(f, b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}"), "a.npy"),
    "a wav of 2^30 samples": (lambda f, c: (with_sound(f, plain_npy()), wav(f / "a.wav", 2**30)), "a.wav 0.10 s"),
    "a gzip bomb named .fif.gz": (
        lambda f, c: (with_sound(f, b""), (f / "a.npy").unlink(),
                      (f / "a.fif.gz").write_bytes(gzip.compress(b"\0" * 50_000_000))), "a.fif.gz"),
    "an NWB file of 10^13 samples that are not there": (lambda f, c: nwb(f / "a.nwb", 10**13), "are stored"),
    "a table of sounds elsewhere": (
        lambda f, c: (with_sound(f, npy_of("(2, 8)")),
                      (f / "stimuli.csv").write_text("onset,stimulus\n0,../elsewhere/secret.txt\n")), "secret.txt"),
    "a table with one cell of a megabyte": (
        lambda f, c: (with_sound(f, npy_of("(2, 8)")),
                      (f / "stimuli.csv").write_text(f"onset,stimulus\n0,{'x' * 1_000_000}\n")), ""),
    "names that write to the terminal": (
        lambda f, c: (f / "\x1b]0;owned\x07\u202e\nError: x\n.npy").write_bytes(b"x"), "no sound of its own"),
    "a name that begins with a dash": (lambda f, c: (f / "--help.npy").write_bytes(b"x"), "--help.npy has no sound"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "artefact"), [*zip(cycle(["inspect", "run"]), RECORDINGS, strict=False)])
def test_a_hostile_recording_is_refused(place: Place, command: str, artefact: str) -> None:
    """Both commands open files by the same code: each artefact goes through one of them."""
    make, told = RECORDINGS[artefact]
    make(place.inside, place.canary)
    data = str(place.inside)
    words = ["inspect", data] if command == "inspect" else ["run", "audio_seeg", "--data", data, "--dry-run"]
    words += ["--set", "dataset.rate=400"] if list(place.inside.glob("*.npy")) else []
    with place.harmless():
        assert told in place.refused(*words)


# Predictions and tables: `score`, `audit`


def good(**more: bytes) -> dict[str, bytes]:
    return {"predicted.npy": plain_npy(), "target.npy": plain_npy(), **more}


def hdf5(path: Path) -> Path:
    """A MATLAB v7.3 file of some kB that says it has 40 MB, with a link to elsewhere."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name in ("predicted", "target"):
            field = file.create_dataset(name, (5000, 1000), "f8", chunks=(1000, 1000))
            field.attrs["MATLAB_class"] = np.bytes_("double")
        file["link"] = h5py.ExternalLink("../elsewhere/secret.txt", "/x")
    with path.open("rb+") as raw:
        raw.write(b"MATLAB 7.3 MAT-file HDF".ljust(512))
    return path


BOMB = b"\x93NUMPY\x01\x00\x76\x00" + (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 1000000), }".ljust(117) + b"\n" + b"\0" * 20_000_000
)  # fmt: skip
INFO = "[" * 20_000 + "]" * 20_000


def with_info(path: Path, info: str) -> Path:
    header = json.dumps({"__metadata__": {"info": info}, "x/mel/target": {
        "dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}).encode()  # fmt: skip
    return safetensors(path, header + b" " * (-len(header) % 8))


SUBMISSIONS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "pickles in an .npz": (
        lambda f, c: zipped(f / "a.npz", {"predicted.npy": objects(c), "target.npy": objects(c)}), "never loaded"),
    "a pickle named .npz": (lambda f, c: _wrote(f / "a.npz", pickled(c)), "a.npz"),
    "an .npz of members elsewhere": (
        lambda f, c: zipped(f / "a.npz", {"../../predicted.npy": b"x", "/x.npy": b"y"}), "a.npz"),
    "an .npz of one name twice": (lambda f, c: _twice(f / "a.npz"), "a.npz"),
    "a zip bomb": (lambda f, c: zipped(f / "a.npz", {"predicted.npy": BOMB, "target.npy": BOMB}), "compressed"),
    "10^15 values in an .npz": (
        lambda f, c: zipped(f / "a.npz", dict.fromkeys(["predicted.npy", "target.npy"], npy_of(f"({10**15},)"))),
        "a.npz"),
    "a header of minus signs in an .npz": (
        lambda f, c: zipped(f / "a.npz", good(**{"x.npy": npy("-" * 9000 + "1")})), "a.npz"),
    "safetensors with a huge header": (lambda f, c: safetensors(f / "a.safetensors", b"{}", 2**62), "safetensors"),
    "safetensors with a lying header": (
        lambda f, c: safetensors(
            f / "a.safetensors", b'{"predicted":{"dtype":"F32","shape":[99999999],"data_offsets":[0,64]}}'),
        "safetensors"),
    "safetensors with a nested info": (lambda f, c: with_info(f / "a.safetensors", INFO), "a.safetensors"),
    "safetensors with items that are none": (lambda f, c: with_info(f / "a.safetensors", '{"items": [1]}'), "a.safe"),
    "safetensors whose items are elsewhere": (
        lambda f, c: with_info(f / "a.safetensors", '{"items": [{"name": "../../x", "rate": 1}]}'), "a.safetensors"),
    "a MATLAB v5 file of noise": (
        lambda f, c: _wrote(f / "a.mat", b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + os.urandom(4000)),
        "a.mat"),
    "a MATLAB v4 file of 10^18 values": (
        lambda f, c: _wrote(f / "a.mat", struct.pack("<5i", 0, 10**9, 10**9, 0, 7) + b"target\0" + b"\0" * 99),
        "a.mat"),
    "a MATLAB v7.3 file of nothing": (lambda f, c: hdf5(f / "a.mat"), "says 0.02 GB"),
    "a folder of pickled .npy": (
        lambda f, c: _wrote(f / "predicted.npy", objects(c)) and _wrote(f / "target.npy", objects(c)).parent,
        "never loaded"),
    "a folder of .npy with nested headers": (
        lambda f, c: _wrote(f / "target.npy", npy("-" * 9000 + "1")).parent, "target.npy"),
}  # fmt: skip


def _wrote(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _twice(path: Path) -> Path:
    zipped(path, good())
    with zipfile.ZipFile(path, "a") as box, pytest.warns(UserWarning, match="Duplicate name"):
        box.writestr("predicted.npy", b"another")
    return path


@pytest.mark.parametrize("artefact", SUBMISSIONS)
@pytest.mark.parametrize("command", ["score", "audit"])
def test_hostile_predictions_are_refused(
    place: Place,
    command: str,
    artefact: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, told = SUBMISSIONS[artefact]
    path = make(place.inside, place.canary)
    monkeypatch.setattr(reading, "COMPRESSED_BYTES", 10**7)
    with place.harmless():
        cause = place.refused(command, str(path), *(["--static"] if command == "score" else []))
    if command == "score":
        assert told in cause


DEEP = "[" * 1_000_000 + "]" * 1_000_000
TABLES: dict[str, tuple[str, str]] = {
    "JSON nested a million deep": ("a.json", DEEP),
    "JSON with an endless number": ("a.json", '{"folds": ' + "9" * 100_000 + "}"),
    "a split whose folds are numbers": ("a.json", '{"folds": [1]}'),
    "a split whose fold has no number": ("a.json", '{"folds": [{"fold": "x", "sides": {}}]}'),
    "a split whose trials are text": ("a.json", '{"folds": [{"fold": 0, "sides": {"test": ["x"], "train": ["y"]}}]}'),
    "a split whose seconds are text": ("a.json", json.dumps({"folds": [{"fold": 0, "sides": {
        side: [{"id": 1, "recording": "../../x", "start": "a", "stop": "b", "stimulus": 1, "stimulus_start": "c",
                "stimulus_stop": [], "groups": {}}] for side in ("train", "test")}}]})),
    "a cell of a megabyte": ("a.csv", f"side,stimulus\ntrain,{'x' * 1_000_000}\n"),
    "a table with bytes of zero": ("a.csv", "side,stimulus\n\0,\0\n"),
    "columns that write to the terminal": ("a.csv", "\x1b]0;owned\x07,\u202estory\ntrain,x\n"),
    "sides that write to the terminal": ("a.csv", "side,story\n\x1b[2J\u202e,x\n"),
}  # fmt: skip


@pytest.mark.parametrize("artefact", TABLES)
def test_a_hostile_table_is_refused(place: Place, artefact: str) -> None:
    name, content = TABLES[artefact]
    path = _wrote(place.inside / name, content.encode())
    held = zipped(place.folder / "good.npz", good())
    with place.harmless():
        place.refused("audit", str(path))
        if name.endswith("json"):
            place.refused("score", str(held), "--static", "--split", str(path))

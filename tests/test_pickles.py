"""Pickles are read as data: every honest one comes back equal, and no hostile one does anything at all."""

from __future__ import annotations

import builtins
import contextlib
import copyreg
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braindecode_hub.errors import HubError
from braindecode_hub.pickles import Shell, UnsafeFile, read_pickle, read_torch

MAGIC = 0x1950A86A20F9469CFC6C
FLOATS = np.arange(6, dtype=np.float32)

HONEST = {
    "numbers": [0, -1, 255, 65536, 2**62, -(2**100), 1.5, float("inf"), True, False, None],
    "text": ["", "hé", "x" * 300, b"", b"\xff\x00", b"y" * 300],
    "nested": {"a": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "b": {"c": {1, 2}}, 3: {}, (4, 5): []},
    "set": set(range(30)),
    "frozen": frozenset((1, 2)),
    "ordered": OrderedDict([("z", 1), ("a", 2)]),
}
ARRAYS = {
    "c order": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(24, dtype=np.int16)[::2],
    "big-endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "half": np.array([1, 2], np.float16),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 3)),
    "scalar array": np.array(3.0),
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and all(map(same, a.flat, b.flat)))
    if isinstance(a, dict):
        return (
            type(a) is type(b) and list(map(repr, a)) == list(map(repr, b)) and all(map(same, a.values(), b.values()))
        )
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


# Honest files


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_come_back_equal(protocol: int, tmp_path: Path) -> None:
    everything = {**HONEST, **ARRAYS, "one": np.float32(2.5), "list of arrays": [np.arange(3), np.arange(3)]}
    path = write(tmp_path / "a.pkl", pickle.dumps(everything, protocol=protocol))
    assert same(read_pickle(path), everything)


def test_shared_values_stay_shared(tmp_path: Path) -> None:
    array = np.arange(4.0)
    first, again = read_pickle(write(tmp_path / "a.pkl", pickle.dumps([array, array])))
    assert first is again


def test_arrays_of_objects_and_numpys_own_files(tmp_path: Path) -> None:
    mixed = np.empty((2, 2), object)
    mixed[0, 0], mixed[0, 1], mixed[1, 0], mixed[1, 1] = [1, 2], [3, 4], None, np.arange(2)
    np.save(tmp_path / "mixed.npy", mixed, allow_pickle=True)
    assert same(read_pickle(tmp_path / "mixed.npy"), mixed)
    dataset = {"preprocessed_eeg_data": np.zeros((3, 2, 4, 5)), "ch_names": ["Pz", "Oz"], "times": np.arange(5) / 100}
    np.save(tmp_path / "things.npy", dataset, allow_pickle=True)  # type: ignore[arg-type]
    assert same(read_pickle(tmp_path / "things.npy"), dataset)
    np.save(tmp_path / "plain.npy", np.arange(5))
    np.testing.assert_array_equal(read_pickle(tmp_path / "plain.npy"), np.arange(5))


def test_a_python_2_pickle_is_read(tmp_path: Path) -> None:
    """A str of bytes, old names: what a numpy pickle of 2012 looks like."""
    dtype = b"cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    data = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt" + dtype
    path = write(tmp_path / "old.pkl", data + b"I00\nU\x04\x01\x00\xff\x7ftb.")
    assert same(read_pickle(path), np.array([1, 32767], np.int16))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_any_plain_value_comes_back_equal(tmp_path: Path, value: Any, protocol: int) -> None:
    assert same(read_pickle(write(tmp_path / "a.pkl", pickle.dumps(value, protocol=protocol))), value)


# Torch's files, written by hand: core's tests need no torch


def named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(
    key: str = "0", kind: str = "FloatStorage", length: int = 6, module: str = "torch", tail: bytes = b""
) -> bytes:
    place = "cuda:0" if module == "torch.cuda" else "cpu"
    return b"(" + text("storage") + named(module, kind) + text(key) + text(place) + number(length) + tail + b"tQ"


def tensor(
    shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1), offset: int = 0, where: bytes | None = None
) -> bytes:
    what = named("torch._utils", "_rebuild_tensor_v2") + b"(" + (storage() if where is None else where)
    return (
        what
        + number(offset)
        + numbers(shape)
        + numbers(strides)
        + b"\x89"
        + named("collections", "OrderedDict")
        + b")RtR"
    )


def as_dict(value: bytes) -> bytes:
    return b"\x80\x02}" + text("w") + value + b"s."


def zipped(path: Path, program: bytes, members: dict[str, bytes] | None = None, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("a/data.pkl", program)
        for name, data in (members if members is not None else {"a/data/0": FLOATS.tobytes()}).items():
            archive.writestr(name, data)
    return path


def stream(path: Path, program: bytes, storages: dict[str, np.ndarray] | None = None, magic: int = MAGIC) -> Path:
    storages = {"0": FLOATS} if storages is None else storages
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    data = b"".join(pickle.dumps(value, protocol=2) for value in (magic, 1001, system))
    data += program + pickle.dumps(sorted(storages), protocol=2)
    return write(path, data + b"".join(struct.pack("<q", s.size) + s.tobytes() for _, s in sorted(storages.items())))


FORMS: dict[str, Callable[[Path, bytes], Path]] = {"zip": zipped, "stream": stream}


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_is_read_where_it_lies(form: str, tmp_path: Path) -> None:
    def read(program: bytes) -> np.ndarray:
        array = read_torch(FORMS[form](tmp_path / "a.pt", as_dict(program)))["w"]
        assert isinstance(array, np.ndarray)
        return array

    whole = read(tensor())
    np.testing.assert_array_equal(whole, FLOATS.reshape(2, 3))
    assert not whole.flags.writeable and not whole.flags.owndata
    np.testing.assert_array_equal(read(tensor((3, 2), (1, 3))), FLOATS.reshape(2, 3).T)
    np.testing.assert_array_equal(read(tensor((2,), (2,), 1)), [1, 3])
    assert read(tensor((), (), 5)) == 5.0
    assert read(tensor((0, 4), (4, 1))).shape == (0, 4)
    parameter = named("torch._utils", "_rebuild_parameter") + b"(" + tensor() + b"\x88}tR"
    np.testing.assert_array_equal(read(parameter), FLOATS.reshape(2, 3))
    if form == "stream":
        with_view = storage(module="torch.cuda", tail=b"N")
        np.testing.assert_array_equal(read(tensor(where=with_view)), FLOATS.reshape(2, 3))


def test_bfloat16_and_big_endian_become_plain_floats(tmp_path: Path) -> None:
    halves = (FLOATS.view(np.uint32) >> 16).astype("<u2").tobytes()
    program = as_dict(tensor(where=storage(kind="BFloat16Storage")))
    array = read_torch(zipped(tmp_path / "a.pt", program, {"a/data/0": halves}))["w"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, FLOATS.reshape(2, 3))
    members = {"a/data/0": FLOATS.astype(">f4").tobytes(), "a/byteorder": b"big"}
    array = read_torch(zipped(tmp_path / "b.pt", as_dict(tensor()), members))["w"]
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, FLOATS.reshape(2, 3))


def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    content = {"state_dict": model.state_dict(), "step": 7, "half": torch.arange(6).half(), "p": model[0].weight}
    content |= {"tied": [model[0].weight, model[0].weight], "size": torch.Size([1, 2]), "flag": torch.tensor([True])}
    for new in (True, False):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
        read = read_torch(tmp_path / "a.pt")
        assert list(read["state_dict"]) == list(model.state_dict())
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(read["state_dict"][name], value.numpy())
        np.testing.assert_array_equal(read["half"], np.arange(6, dtype=np.float16))
        np.testing.assert_array_equal(read["p"], model[0].weight.detach().numpy())
        assert read["size"] == (1, 2) and read["step"] == 7 and read["flag"].dtype == bool


def test_named_shells_hold_state_and_nothing_else_is_one(tmp_path: Path) -> None:
    program = as_dict(named("glow", "WaveGlow") + b")\x81}" + text("x") + number(3) + b"sb")
    shell = read_torch(zipped(tmp_path / "a.pt", program), shells=("glow.WaveGlow",))["w"]
    assert type(shell) is Shell and shell.name == "glow.WaveGlow" and shell.state == {"x": 3}
    with pytest.raises(UnsafeFile, match=r"glow\.WaveGlow"):
        read_torch(zipped(tmp_path / "a.pt", program), shells=("glow.WN",))
    called = as_dict(named("glow", "WaveGlow") + b")R")
    with pytest.raises(UnsafeFile, match=r"calls 'glow\.WaveGlow'"):
        read_torch(zipped(tmp_path / "b.pt", called), shells=("glow.WaveGlow",))


# Hostile programs


class Attack:
    """Pickles as a call."""

    def __init__(self, what: Any, *arguments: Any, state: Any = None) -> None:
        self.how = (what, arguments) if state is None else (what, arguments, state)

    def __reduce__(self) -> Any:
        return self.how


def attacks(marker: Path) -> dict[str, bytes]:
    """Programs that make `marker`, or would read, write or fill something; each a whole pickle."""
    shell = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    call = named("posix", "system") + b"(" + text(shell) + b"t"
    ordered = named("collections", "OrderedDict")
    by_value = {
        "system": Attack(os.system, shell),
        "eval": Attack(builtins.eval, code),
        "exec": Attack(builtins.exec, code),
        "open": Attack(builtins.open, str(marker), "w"),
        "import": Attack(builtins.__import__, "os"),
        "getattr": Attack(builtins.getattr, "x", "join"),
        "reconstructor": Attack(copyreg._reconstructor, Attack, object, None),  # type: ignore[attr-defined]
        "in a list": [1, {"a": (Attack(os.system, shell),)}],
        "as a key": {Attack(os.mkdir, str(marker)): 1},
        "numpy's memmap": Attack(np.memmap, str(marker), "u1", "w+", 0, 10),
        "numpy's load": Attack(np.load, str(marker), None, True),
    }
    programs = {f"{name}, protocol {p}": pickle.dumps(v, protocol=p) for name, v in by_value.items() for p in (0, 2, 4)}
    return programs | {
        "REDUCE": b"\x80\x02" + call + b"R.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93(" + text(shell) + b"tR.",
        "nested name": b"\x80\x04\x8c\x0bcollections\x8c\x19OrderedDict.__init_subclass__\x93)R.",
        "nested name of a module": b"\x80\x04\x8c\x05numpy\x8c\x12lib.npyio.os.system\x93(" + text(shell) + b"tR.",
        "name with a space": b"\x80\x04\x8c\x00\x8c\x17collections OrderedDict\x93)R.",
        "name that is no text": b"\x80\x04K\x01K\x02\x93)R.",
        "name through builtins": named("builtins", "getattr") + b"(" + ordered + text("fromkeys") + b"tR.",
        "INST": b"(S" + repr(shell).encode() + b"\niposix\nsystem\n.",
        "OBJ": b"(" + named("posix", "system") + text(shell) + b"o.",
        "EXT1": b"\x82\x01)R.", "EXT2": b"\x83\x01\x00)R.", "EXT4": b"\x84\x01\x00\x00\x00)R.",
        "PERSID": b"Pstorage\n.", "BINPERSID": text("storage") + b"Q.", "BINPERSID of a number": b"K\x01Q.",
        "BINPERSID of a name": b"(" + text("storage") + ordered + text("0") + text("cpu") + b"K\x01tQ.",
        "NEWOBJ": ordered + b")\x81.",
        "NEWOBJ with arguments": ordered + b"(K\x01t\x81.",
        "NEWOBJ_EX": b"\x80\x04" + ordered + b")}\x92.",
        "BUILD on a name": ordered + b"}" + text("__init__") + b"K\x01sb.",
        "BUILD on a list": b"]}" + text("__class__") + b"K\x01sb.",
        "BUILD on a dict": b"}}" + text("__setstate__") + call + b"sb.",
        "BUILD with a method": named("glow", "WaveGlow") + b")\x81}" + text("__setstate__") + call + b"sb" + b"}b.",
        "BUILD that is no dictionary": ordered + b")RK\x01b.",
        "a name as a value": named("numpy", "ndarray") + b".",
        "a builder as a value": b"](" + ordered + b"e.",
        "calls a value": named("numpy", "ndarray") + b"(K\x05tR.",
        "calls its own result": ordered + b")R)R.",
        "calls without a tuple": ordered + b"]R.",
        "an array without bytes": named("numpy.core.multiarray", "_reconstruct")
        + b"(" + named("numpy", "ndarray") + b"(K\x00tC\x01btR.",
        "an object dtype over bytes": pickle.dumps(np.zeros(2, "i8"), protocol=4).replace(b"\x8c\x02i8", b"\x8c\x02O8"),
        "a long text as an array": named("numpy._core.numeric", "_frombuffer") 
        + b"(C\x04abcd" + text("f4") + b")" + text("C") + b"tR.",
        "a codec": named("_codecs", "encode") + b"(" + text("x") + text("rot13") + b"tR.",
        "another codec": named("_codecs", "decode") + b"(" + text("x") + text("hex") + b"tR.",
        "out of band": b"\x80\x05\x97.",
        "an enormous number": b"\x8b" + struct.pack("<i", 10_000) + b"\x7f" * 10_000 + b".",
        "a number in many digits": b"L" + b"9" * 9_999 + b"L\n.",
        "holds itself": b"]q\x00h\x00a.",
        "too deep": b"]" * 5_000 + b"a" * 4_999 + b".",
        "a billion laughs": b"]q\x00K\x01a" + b"".join(
            b"](" + b"h" + bytes([i]) * 1 + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(9)
        ) + b".",
        "copies of a long text": b"X" + struct.pack("<I", 500_000) + b"x" * 500_000 + b"q\x000(" + (
            named("_codecs", "encode") + b"(h\x00" + text("latin1") + b"tR"
        ) * 50 + b"t.",
        "an empty stack": b"R.", "a missing mark": b"K\x01t.", "a missing memo": b"h\x05.", "no end": b"K\x01K",
        "two values": b"K\x01K\x02.", "an open mark": b"(K\x01.", "an unknown instruction": b"\xff.", "nothing": b"",
        "unhashable": b"}]K\x01s.", "odd pairs": b"}(K\x01u.", "fills a tuple": b")K\x01a.",
        "fills text": text("x") + b"K\x01a.",
    }  # fmt: skip


ATTACKS = sorted(attacks(Path("marker")))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_pickle_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    program = attacks(marker)[name]
    calls: list[str] = []
    monkeypatch.setattr(os, "system", lambda command: calls.append(command))
    embedded = as_dict(program.removesuffix(b"."))
    files: list[tuple[Callable[..., Any], Path]] = [
        (read_pickle, write(tmp_path / "a.pkl", program)),
        (read_torch, write(tmp_path / "raw.pt", program)),
        *((read_torch, form(tmp_path / f"{kind}.pt", program)) for kind, form in FORMS.items()),
        *((read_torch, form(tmp_path / f"{kind}-dict.pt", embedded)) for kind, form in FORMS.items()),
    ]
    header = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    files.append((read_pickle, write(tmp_path / "a.npy", header + program)))
    shown = sorted(tmp_path.iterdir())
    for read, path in files:
        shells = {"shells": ("glow.WaveGlow",)} if read is read_torch else {}
        with pytest.raises(HubError) as caught:
            read(path, **shells)
        assert isinstance(caught.value, ValueError), caught.value
        assert "\n" not in caught.value.cause and str(path) in caught.value.cause
    assert not calls and not marker.exists() and sorted(tmp_path.iterdir()) == shown


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("program", "words"),
    [
        (tensor((2, 4), (4, 1)), "outside of its storage"),
        (tensor((2, 3), (3, 1), 1), "outside of its storage"),
        (tensor((2,), (2**40,)), "outside of its storage"),
        (tensor((2**62, 4), (0, 0)), "outside of its storage"),
        (tensor((1000,), (0,)), "outside of its storage"),
        (tensor((2, 3), (-3, 1)), "cannot be"),
        (tensor((2, 3), (3, 1), -1), "cannot be"),
        (tensor((2, 3), (3,)), "cannot be"),
        (tensor((1,) * 40, (1,) * 40), "cannot be"),
        (tensor(where=named("collections", "OrderedDict") + b")R"), "cannot be"),
        (tensor(where=storage(length=7)), "storage"),
        (tensor(where=storage(length=2**60)), "storage"),
        (tensor(where=storage(length=-1)), "outside of itself"),
        (tensor(where=storage(kind="UntypedStorage")), "UntypedStorage"),
        (tensor(where=storage(kind="OrderedDict", module="collections")), "outside of itself"),
        (tensor(where=storage(key="../../etc/passwd")), "storage|KeyError|passwd"),
        (tensor(where=storage(tail=b"(K\x01t")), "outside of itself"),
        (b"(" + text("module") + named("os", "system") + text("") + text("") + b"tQ", r"os\.system"),
        (b"(" + text("module") + text("x") + text("") + text("") + b"tQ", "class without a name"),
        (named("torch._utils", "_rebuild_parameter") + b"(K\x01\x88}tR", "no tensor"),
        (named("torch", "load") + b"(" + text("x") + b"tR", r"torch\.load"),
        (named("torch.storage", "_load_from_bytes") + b"(C\x01xtR", "_load_from_bytes"),
        (named("torch.jit", "load") + b"(" + text("x") + b"tR", r"torch\.jit\.load"),
        (storage(), "holds a _Storage"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(form: str, program: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match=words):
        read_torch(FORMS[form](tmp_path / "a.pt", as_dict(program)))


def test_many_tensors_over_one_storage_are_no_bomb(tmp_path: Path) -> None:
    """Each is a view that costs nothing; whoever copies them all would need a thousand times the file."""
    length = 100_000
    where = storage(length=length)
    many = b"\x80\x02}" + b"".join(text(str(i)) + tensor((length,), (1,), where=where) + b"s" for i in range(50)) + b"."
    with pytest.raises(UnsafeFile, match="claim more than the file"):
        read_torch(zipped(tmp_path / "a.pt", many, {"a/data/0": bytes(4 * length)}))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"../../evil": b"x"}, "member named"),
        ({"/etc/evil": b"x"}, "member named"),
        ({"a/../../evil": b"x"}, "member named"),
        ({"a\\..\\evil": b"x"}, "member named"),
        ({"b/data.pkl": b"."}, "2 data.pkl"),
        ({"a/data/0": FLOATS.tobytes()[:-1]}, "23 bytes, not 24"),
        ({"a/data/0": FLOATS.tobytes() + b"x"}, "25 bytes, not 24"),
        ({"a/byteorder": b"middle"}, "byte order"),
        ({}, "cannot be read"),
    ],
)
def test_zip_members_that_lead_elsewhere_are_refused(members: dict[str, bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match=words):
        read_torch(zipped(tmp_path / "a.pt", as_dict(tensor()), members))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_zip_bomb_is_refused_unopened(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.pt", as_dict(tensor()), {"a/data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(UnsafeFile, match="compressed"):
        read_torch(path)


def test_a_stream_that_lies_is_refused(tmp_path: Path) -> None:
    program = as_dict(tensor())
    for path, words in (
        (stream(tmp_path / "a.pt", program, magic=1), "no torch checkpoint"),
        (stream(tmp_path / "b.pt", program, {}), "list of storages"),
        (stream(tmp_path / "c.pt", program, {"0": FLOATS, "1": FLOATS}), "list of storages"),
        (stream(tmp_path / "d.pt", program, {"0": FLOATS[:5]}), "another length"),
        (stream(tmp_path / "e.pt", b"\x80\x02K\x01."), "not a dictionary"),
    ):
        with pytest.raises(
            UnsafeFile, match=words if "dictionary" not in words else "list of storages|not a dictionary"
        ):
            read_torch(path)


@pytest.mark.parametrize("form", [*FORMS, "pickle"])
def test_a_truncated_file_is_refused_wherever_it_ends(form: str, tmp_path: Path) -> None:
    if form == "pickle":
        data, read = pickle.dumps({**HONEST, **ARRAYS}), read_pickle
    else:
        data, read = FORMS[form](tmp_path / "whole.pt", as_dict(tensor())).read_bytes(), read_torch
    for stop in sorted({len(data) * tenth // 10 for tenth in range(10)} | {*range(0, len(data), 37), len(data) - 1}):
        with pytest.raises(HubError) as caught:
            read(write(tmp_path / "cut.pt", data[:stop]))
        assert "\n" not in caught.value.cause


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(FORMS)))
    whole = bytearray(FORMS[form](tmp_path / "whole.pt", as_dict(tensor())).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(HubError):
        read_torch(write(tmp_path / "a.pt", bytes(whole)))


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for read in (read_pickle, read_torch):
        with pytest.raises(HubError, match="cannot be read"):
            read(tmp_path / "absent")
        with pytest.raises(HubError, match="cannot be read"):
            read(tmp_path)

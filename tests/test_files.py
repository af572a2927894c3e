"""Files are whole or not there, and what is read back is what was written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rights import held_by_modes

from braindecode_hub.errors import HubError
from braindecode_hub.files import (
    YAML_BYTES,
    load_arrays,
    parse_yaml,
    read_yaml,
    save_arrays,
    whole,
    writable_folder,
    write_whole,
    write_yaml,
    yaml_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def begin_and_fail(path: Path, failure: BaseException) -> None:
    with whole(path) as temporary:
        temporary.write_text("new")
        raise failure


# Writing


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with whole(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
    assert path.read_text() == "half"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced there")
def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with path.open() as reader:
        write_whole(path, "new")
        assert (reader.read(), path.read_text()) == ("old", "new")


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, FileNotFoundError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with pytest.raises(failure):
        begin_and_fail(path, failure())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_written_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_whole(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A real limit of 4 KiB per file in a process of its own: the write itself fails half way."""
    code = """
import resource, sys
from pathlib import Path
from braindecode_hub.errors import HubError
from braindecode_hub.files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_whole(Path(sys.argv[1]), b"x" * 100_000)
except HubError as error:
    print(error.cause)
"""
    path = tmp_path / "big.bin"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"no space left to write {path}\n"
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_disk_refuses_is_an_expected_error(tmp_path: Path, code: int) -> None:
    with pytest.raises(HubError) as caught:
        begin_and_fail(tmp_path / "a", OSError(code, os.strerror(code), str(tmp_path / "a")))
    assert str(tmp_path / "a") in caught.value.cause
    assert names(tmp_path) == []


def test_an_error_about_another_file_is_not_ours_to_explain(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "denied", "/somewhere/else")


def test_a_folder_under_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match="is not writable"):
        writable_folder(tmp_path / "file" / "inside")
    with pytest.raises(HubError, match="is not writable"):
        write_whole(tmp_path / "file" / "inside", "x")
    assert names(writable_folder(tmp_path / "new" / "folder")) == []


def test_a_folder_without_permission_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with held_by_modes(), pytest.raises(HubError, match="is not writable"):
        writable_folder(tmp_path)
    tmp_path.chmod(0o700)


# Arrays


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "weights": np.arange(6, dtype="float32").reshape(2, 3).T,
        "scalar": np.asarray(2.5),
        "empty": np.zeros((0, 3), "int16"),
        "flags": np.array([True, False]),
        "big_endian": np.arange(3, dtype=">i4"),
        "strided": np.arange(10)[::3],
    }
    info = {"names": ["ä", "b"], "alpha": 0.1, "none": None, "nested": {"1": [1, 2.5, True]}}
    save_arrays(tmp_path / "a.safetensors", arrays, info)
    found, told = load_arrays(tmp_path / "a.safetensors")
    assert told == info
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = {"b": np.ones(3), "a": np.arange(4, dtype="int8")}
    save_arrays(tmp_path / "1", arrays, {"x": 1, "y": 2})
    save_arrays(tmp_path / "2", dict(reversed(arrays.items())), {"x": 1, "y": 2})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "noise", "longer"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.ones(100)}, {})
    raw = path.read_bytes()
    spoilt = {"cut": raw[:-1], "header": raw[:20], "empty": b"", "noise": b"\xff" * 900, "longer": raw + b"!"}
    path.write_bytes(spoilt[damage])
    with pytest.raises(HubError, match=r"a\.safetensors cannot be read"):
        load_arrays(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="does not exist"):
        load_arrays(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("arrays", "info"),
    [
        ({"a": np.array(["text"])}, {}),
        ({"a": np.array([None])}, {}),
        ({}, {"a": {1, 2}}),
        ({}, {"a": np.ones(2)}),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(
    tmp_path: Path, arrays: dict[str, Any], info: dict[str, Any]
) -> None:
    with pytest.raises(HubError, match="cannot be saved"):
        save_arrays(tmp_path / "a", arrays, info)
    assert names(tmp_path) == []


def test_files_of_others_have_no_info(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "other.safetensors")
    assert load_arrays(tmp_path / "other.safetensors")[1] == {}


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E4", 50000.0),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("-7", -7),
        ("0x1f", 31),
        ("01", "01"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("e5", "e5"),
        ("true", True),
        ("", None),
        ("~", None),
        ("[1, a, {b: 2}]", [1, "a", {"b": 2}]),
    ],
)
def test_yaml_means_what_a_reader_expects(text: str, value: Any) -> None:
    found = parse_yaml(text, "test")
    assert found == value
    assert type(found) is type(value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_data_survives_yaml(data: Any) -> None:
    assert parse_yaml(yaml_text(data), "test") == data


def test_text_that_looks_like_something_else_survives_yaml(tmp_path: Path) -> None:
    data = {
        "a": ["1e-3", "01", "yes", "2024-01-01", "1:30", "null", "~", "-", "1_0", ".5"],
        "z": 1,
        "b": 1e-5,
    }
    write_yaml(tmp_path / "a.yaml", data)
    assert read_yaml(tmp_path / "a.yaml") == data
    assert list(read_yaml(tmp_path / "a.yaml")) == ["a", "z", "b"]


def test_shared_lists_are_written_out() -> None:
    shared = [1, 2]
    assert "&" not in yaml_text({"a": shared, "b": shared})


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 10)}]}}\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("!!python/object/apply:os.system ['true']", "not allowed"),
        ("a: !!python/name:os.system", "not allowed"),
        ("a: !!binary aGk=", "not allowed"),
        ("a: !mine 1", "not allowed"),
        ("a: !!set {x, y}", "not allowed"),
        ("a: 1\nb: 2\na: 3", "'a' is there twice"),
        ("a: &x [*x]", "refers to what it stands in"),
        (LAUGHS, "more than"),
        (MERGES, "more than"),
        ("a: [1, 2", "test, line"),
        ("a: *nowhere", "undefined alias"),
        ("? [a]\n: 1", "unhashable"),
        ("--- 1\n--- 2", "document"),
        ("!!int abc", "test"),
        ("a: \x01", "test"),
        ("\ud800", "not UTF-8"),
        ("[" * 5000, "test"),
        ("x" * (YAML_BYTES + 1), "larger than"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text: str, why: str) -> None:
    with pytest.raises(HubError) as caught:
        parse_yaml(text, "test")
    assert why in caught.value.cause
    assert "\n" not in caught.value.cause


def test_merges_and_modest_aliases_are_fine() -> None:
    found = parse_yaml("base: &b {x: 1}\nmine: {<<: *b, y: 2}\nboth: [*b, *b]", "test")
    assert found == {"base": {"x": 1}, "mine": {"x": 1, "y": 2}, "both": [{"x": 1}, {"x": 1}]}


def test_a_yaml_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name, raw in {"latin": b"a: \xe4", "large": b" " * (YAML_BYTES + 1)}.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(HubError, match=name):
            read_yaml(tmp_path / name)
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(HubError, match="cannot be read"):
            read_yaml(missing)
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(tmp_path / "bom") == {"a": 1}

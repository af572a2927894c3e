"""What is installed is what the tree holds: from a built wheel, and from the editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [found] = folder.glob("*.whl")
    return found


def test_the_wheel_carries_code_catalogue_speech_and_page(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "braindecode_hub/__init__.py", "braindecode_hub/registry.yaml", "braindecode_hub/report.html.j2",
        "braindecode_hub/adaptation.html.j2",
        "braindecode_hub/phantom/speech/speech.json", "braindecode_hub/phantom/speech/LICENSE.md",
        "braindecode_hub_audio_seeg/__init__.py",
    } <= names  # fmt: skip
    assert len([name for name in names if name.endswith(".ogg")]) == 8
    assert not [name for name in names if name.startswith(("tests/", "docs/", "core/", "plugins/"))]
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "braindecode_hub",
        "braindecode_hub_audio_seeg",
        "braindecode_hub_speech_wav2vec",
    }


def test_the_wheel_works_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}

    def hub(*arguments: str) -> str:
        command = [sys.executable, "-m", "braindecode_hub.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-c", "import braindecode_hub; print(braindecode_hub.__file__)"]
    loaded = subprocess.run(where, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout
    assert str(tmp_path) in loaded
    assert "audio_seeg" in hub("list")
    printed = hub("run", "audio_seeg", "--preset", "smoke", "--set", "dataset.stories=3", "--until", "predict")
    folder = tmp_path / printed.strip().splitlines()[-1]
    assert (folder / "predictions.safetensors").is_file()


def test_the_editable_install_is_this_tree() -> None:
    import braindecode_hub
    from braindecode_hub.catalogue import reference_registry

    assert Path(braindecode_hub.__file__).is_relative_to(ROOT / "core")
    assert reference_registry() == ROOT / "registry.yaml"


def test_constraints_pin_every_dependency_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin and "://" not in pin for pin in pins)
    names = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    assert {"numpy", "scipy", "click", "pluggy", "entrypoints", "librosa", "soundfile", "h5py", "pytest"} <= names


def test_every_extra_is_part_of_all() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    [everything] = extras["all"]
    named = everything.split("[")[1].rstrip("]").split(",")
    assert set(named) == set(extras) - {"all", "test"}

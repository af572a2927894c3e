"""The conformance suite passes what conforms, and fails each broken part with the check that is meant, and no other."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import nonconforming
import numpy as np
import pytest

from braindecode_hub.conformance import pipelines
from braindecode_hub.conformance.checks import NothingToTest, Unconforming
from braindecode_hub.conformance.offline import blocked
from braindecode_hub.conformance.suite import checks_of
from braindecode_hub.discovery import GROUP
from braindecode_hub.testing import conformance

HERE = Path(__file__).parent
EEG = {"stories": 2, "channels": 16}

REGISTRY = """
api: "1"
pipelines:
  {name}:
    plugin: {name}
    flow: [toy_brain, features, audio]
    dataset: {{use: {name}/toy}}
    targets: {{features: [{{use: core/zscore}}]}}
    encoder: [{{use: {name}/average}}, {{use: core/zscore}}]
    decoder: {{use: {name}/quick}}
    renderer: {{use: {name}/hum}}
    window: {{length_s: 2.0, hop_s: 1.0, context_s: 0.3}}
    split: {{by: stimulus, folds: 3, gap_s: 0.5}}
    metrics: [{name}/correlation]
    presets:
      smoke:
        dataset: {{use: {name}/toy, stimuli: 6, seconds: 12.0, snr: 3.0}}
"""
PARTS = {
    "dataset toy": "toy:Toy",
    "encoder average": "toy:MovingAverage",
    "decoder quick": "nonconforming:Quick",
    "renderer hum": "nonconforming:Hum",
    "metric correlation": "braindecode_hub.parts.correlation:Correlation",
}


# What conforms


@pytest.mark.slow
@conformance("audio_seeg")
def test_audio_seeg_conforms(check: Any) -> None:
    check()


@pytest.mark.slow
@conformance("speech_wav2vec")
def test_speech_wav2vec_conforms(check: Any) -> None:
    check()


@conformance("core", settings={"core/phantom_eeg": EEG})
def test_core_conforms(check: Any) -> None:
    check()


def test_the_folder_dataset_conforms(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.standard_normal((1000, 4)).astype(np.float32))
    np.save(tmp_path / "a_audio.npy", (0.1 * rng.standard_normal(160_000)).astype(np.float32))
    given = {"path": str(tmp_path), "rate": 100.0, "audio_rate": 16_000.0}
    checks = [check for check in checks_of("core", {"core/folder": given}) if check.about == "core/folder"]
    assert outcomes(checks) == {
        "constructor-core/folder": "passed",
        "dataset-core/folder": "passed",
        "lazy-core/folder": "nothing to test",
        "fingerprint-core/folder": "passed",
    }


def outcomes(checks: Any) -> dict[str, str]:
    """What became of each check: passed, nothing to test, or what is said of it."""
    found = {}
    for check in checks:
        try:
            check()
            found[check.id] = "passed"
        except NothingToTest as nothing:
            found[check.id] = "nothing to test" if str(nothing) else "skipped without a reason"
        except Unconforming as error:
            found[check.id] = str(error)
    return found


# What does not


class Site:
    """A folder of installed plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def install(self, name: str, parts: dict[str, str], registry: str | None = None, code: str = "") -> None:
        """Install plugin `name` that registers `parts`, {"kind part": "module:Class"}."""
        about = self.folder / f"hub_{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hub-{name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = conforming_{name}\n")
        package = self.folder / f"conforming_{name}"
        package.mkdir()
        lines = [f'    register.{kind}("{self.named(name, part)}", "{at}")' for (kind, part), at in split(parts)]
        body = "\n".join(lines or ["    pass"])
        module = (
            f"from braindecode_hub import hookimpl\n{code}\n@hookimpl\ndef register_components(register):\n{body}\n"
        )
        (package / "__init__.py").write_text(module)
        if registry is not None:
            (package / "registry.yaml").write_text(registry.format(name=name))
        importlib.invalidate_caches()

    def named(self, name: str, part: str) -> str:
        return part if "/" in part else f"{name}/{part}"


def split(parts: dict[str, str]) -> Iterator[tuple[tuple[str, str], str]]:
    for key, at in parts.items():
        kind, part = key.split()
        yield (kind, part), at


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRAINDECODE_HUB_PLUGINS", raising=False)
    yield made
    for name in [name for name in sys.modules if name.startswith("conforming_")]:
        del sys.modules[name]


def failing(name: str, leaving_out: Collection[str] = ()) -> dict[str, str]:
    """The checks that plugin `name` fails, by name, and what is said."""
    checks = [check for check in checks_of(name) if check.name not in leaving_out]
    found = {id: told for id, told in outcomes(checks).items() if told not in ("passed", "nothing to test")}
    for id, told in found.items():
        assert f"`{id.split('-')[0]}`" in told
        assert "what to do: " in told
    return {id.split("-")[0]: told for id, told in found.items()}


COMPONENTS = [
    ("constructor", "encoder", "Positional", "keyword-only"),
    ("constructor", "encoder", "Unplain", "not JSON-able"),
    ("constructor", "encoder", "Renaming", "not stored as it was given"),
    ("constructor", "encoder", "Thinking", "works with its arguments"),
    ("constructor", "encoder", "Mistyped", "not a whole number"),
    ("dataset", "dataset", "SameIds", "is there 6 times"),
    ("dataset", "dataset", "Sessionless", "has no group 'session'"),
    ("dataset", "dataset", "Peeking", "asks for a recording or a stimulus"),
    ("dataset", "dataset", "Short", "which is 10"),
    ("lazy", "dataset", "Eager", "MB before anything"),
    ("fingerprint", "dataset", "Hashing", "in another process"),
    ("fingerprint", "dataset", "Forgetful", "another value of seed"),
    ("encoder", "encoder", "Double", "float64"),
    ("encoder", "encoder", "Crowded", "alone than among others"),
    ("encoder", "encoder", "Undefined", "NaN"),
    ("encoder", "encoder", "Slower", "declares 100 Hz"),
    ("support", "encoder", "Farsighted", "samples later than 0.05 s away"),
    ("invert", "encoder", "OneWay", "invert()"),
    ("streams", "encoder", "Halting", "differs from the whole"),
    ("streams", "encoder", "Remembering", "after reset()"),
    ("decoder", "decoder", "TestStatistics", "alone than among others"),
    ("renderer", "renderer", "Garbage", "does not open as audio/flac"),
    ("renderer", "renderer", "Moody", "rendered twice"),
    ("metric", "metric", "Upside", "higher_is_better is False"),
    ("metric", "metric", "Undefinable", "NaN"),
    ("metric", "metric", "OneNumber", "shape ()"),
    ("constant", "metric", "ConstantIsPerfect", "of the way from chance"),
    ("ties", "metric", "TiesAreHits", "ties count as hits"),
]


@pytest.mark.parametrize(("check", "kind", "broken", "told"), COMPONENTS, ids=lambda value: str(value))
def test_a_broken_component_fails_the_check_that_is_meant(
    site: Site, check: str, kind: str, broken: str, told: str
) -> None:
    site.install("broken", {f"{kind} part": f"nonconforming:{broken}"})
    found = failing("broken")
    assert set(found) == {check}, found
    assert told in found[check]
    assert "broken/part" in found[check]


def test_components_that_keep_every_promise_pass(site: Site) -> None:
    parts = {"encoder causal": "Causal", "metric top": "TopOne", "decoder quick": "Quick", "renderer hum": "Hum"}
    site.install("good", {key: f"nonconforming:{name}" for key, name in parts.items()})
    found = outcomes(checks_of("good"))
    assert set(found.values()) == {"passed", "nothing to test"}
    passed = {id for id, told in found.items() if told == "passed"}
    assert {"streams-good/causal", "support-good/causal", "encoder-good/causal", "ties-good/top"} <= passed
    assert {"decoder-good/quick", "renderer-good/hum", "metric-good/top"} <= passed
    assert found["pipelines-good"] == "nothing to test"


ONE_WAY = {"core/zscore}}]}}": "{name}/average}}]}}", "{{use: {name}/average}}, ": ""}
PIPELINES: list[tuple[str, dict[str, str], dict[str, str], str]] = [
    ("parts", {}, {"seconds: 12.0": "secnods: 12.0"}, "did you mean"),
    ("parts", {}, {"decoder: {{use: {name}/quick}}": "decoder: {{use: {name}/slow}}"}, "unknown decoder"),
    ("flow", {}, {"flow: [toy_brain, ": "flow: [eeg, "}, "eeg → features → audio"),
    ("spaces", {"encoder average": "Elsewhere"}, {}, "needs another_brain"),
    ("smoke", {}, {"smoke:": "other:"}, "no preset 'smoke'"),
    ("smoke", {"dataset toy": "Downloading"}, {}, "203.0.113.1"),
    ("invert", {"encoder average": "OneWay"}, ONE_WAY, "invert()"),
    ("refit", {"decoder quick": "WarmStart"}, {}, "remembers the first data"),
    ("state", {"decoder quick": "Hiding"}, {}, "loaded from its file"),
    ("buffers", {"decoder quick": "Running"}, {}, "predicting changes decoder/running_"),
    ("digest", {"decoder quick": "PerProcess"}, {}, "pieces differ in another process"),
    ("controls", {"decoder quick": "Knowing"}, {}, "flagged CHANCE"),
    ("controls", {"decoder quick": "TwoRefits"}, {}, "too few refits"),
    ("signal", {}, {"snr: 3.0": "snr: 0.0"}, "nothing of the planted signal"),
    ("artifacts", {"renderer hum": "LongGarbage"}, {}, "does not open as audio/flac"),
    ("learning", {"decoder quick": "WholeRecording"}, {}, "leak"),
    ("leaks", {"encoder average": "WholeRecordingEncoder"}, {}, "leak"),
]  # fmt: skip


CANARIES = {"leaks", "learning"}
"""Checks of several processes each: they run for what only they can find, and for a pipeline that conforms."""


@pytest.mark.slow
@pytest.mark.parametrize(("check", "parts", "changes", "told"), PIPELINES, ids=lambda value: str(value)[:40])
def test_a_broken_pipeline_fails_the_check_that_is_meant(
    site: Site, check: str, parts: dict[str, str], changes: dict[str, str], told: str
) -> None:
    registry = REGISTRY
    for old, new in changes.items():
        assert old in registry
        registry = registry.replace(old, new)
    site.install("broken", PARTS | {key: f"nonconforming:{name}" for key, name in parts.items()}, registry)
    found = failing("broken", leaving_out=set() if check in CANARIES else CANARIES)
    assert set(found) == {check}, found
    assert told in found[check]


def test_a_smoke_run_that_takes_too_long_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("slow", PARTS, REGISTRY)
    monkeypatch.setattr(pipelines, "SMOKE_S", 0.01)
    [smoke] = [check for check in checks_of("slow") if check.name == "smoke"]
    with pytest.raises(Unconforming, match=r"takes \d+ s of CPU"):
        smoke()


@pytest.mark.parametrize(
    ("check", "parts", "registry", "code", "told"),
    [
        ("registry", {}, "api: '9'", "", "is for api 9"),
        ("registry", {}, REGISTRY.replace("  {name}:", "  audio_seeg:", 1), "", "already that of braindecode-hub"),
        ("import", {}, None, "import mne", "imports mne"),
        ("import", {}, None, "import time\nwhile time.process_time() < 1.5: pass", "s of CPU besides"),
        ("import", {}, None, "raise RuntimeError('no licence')", "no licence"),
        ("names", {"metric theirs/part": "toy:Cosine"}, None, "", "begin the names with 'broken/'"),
        ("names", {"metric part": "toy:Nothing"}, None, "", "is not at toy:Nothing"),
        ("names", {"metric part": "toy:Toy"}, None, "", "is not a metric"),
        ("names", {}, None, "@hookimpl\ndef register_component(register): pass", "register_component"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_broken_plugin_fails_the_check_that_is_meant(
    site: Site, check: str, parts: dict[str, str], registry: str | None, code: str, told: str
) -> None:
    (site.folder / "mne.py").write_text("")
    site.install("broken", parts, registry, code)
    found = failing("broken")
    assert set(found) == {check}, found
    assert told in found[check]


def test_a_plugin_that_is_not_installed_is_told_how(site: Site) -> None:
    found = failing("nobody")
    assert set(found) == {"registry"}
    assert "install it" in found["registry"]


def test_blocked_sockets_let_nothing_out_and_remember_who_tried() -> None:
    import socket

    with blocked() as reached:
        with pytest.raises(OSError, match="blocked"):
            socket.getaddrinfo("example.org", 80)
        with pytest.raises(OSError, match="blocked"):
            socket.create_connection(("203.0.113.1", 80), timeout=0.1)
        ours, theirs = socket.socketpair()
        ours.sendall(b"within this machine")
        assert theirs.recv(100) == b"within this machine"
        ours.close(), theirs.close()
    assert [one.startswith(("example.org", "203", "('203")) for one in reached] == [True, True]


# In somebody else's folder

THREE_LINES = """
from braindecode_hub.testing import conformance

@conformance("mine")
def test_conforms(check): check()
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, "Undefinable"])
def test_three_lines_in_a_folder_of_ones_own(site: Site, tmp_path: Path, fault: str | None) -> None:
    parts = PARTS if fault is None else PARTS | {"metric correlation": f"nonconforming:{fault}"}
    site.install("mine", parts, REGISTRY)
    (tmp_path / "test_mine.py").write_text(THREE_LINES)
    path = os.pathsep.join([str(site.folder), str(HERE), *filter(None, sys.path)])
    flags = ["-q", "-p", "no:cacheprovider", *(["-x"] if fault else [])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, "test_mine.py"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (fault is None), done.stdout + done.stderr
    if fault is None:
        assert " passed" in done.stdout
        assert " failed" not in done.stdout
    else:
        assert "test_conforms[metric-mine/correlation]" in done.stdout
        assert "mine/correlation does not pass `metric`" in done.stdout
        assert "what to do: " in done.stdout


def test_pytest_is_imported_by_testing_alone() -> None:
    code = "import sys, braindecode_hub.conformance.suite, braindecode_hub.cli; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert nonconforming.SMALL["seconds"] == 12.0

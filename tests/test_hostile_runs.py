"""Run folders of strangers, through every command that takes one: nothing in them is run, followed or believed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import Place, a_place, pickled, plain  # noqa: F401 (a fixture)
from test_report import METRICS, Page

import braindecode_hub as bdh
from braindecode_hub.files import save_arrays, yaml_text
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import resolve

HTML = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
TERMINAL = "\x1b]0;owned\x07\x1b[2J\u202e\u2066\nError: spoofed\r\n  Try: rm -rf\n"
HOSTILE = HTML + TERMINAL
UP = "../../elsewhere/secret.txt"


@cache
def whole() -> dict[str, Any]:
    """A whole config.yaml of the reference pipeline, of data that are not there."""
    manager = Manager()
    found = resolve(manager.catalogue.pipeline("audio_seeg"), manager, preset="smoke")
    found["dataset"] = {"use": "core/folder", "path": "../../elsewhere", "rate": 400}
    how = {"preset": "smoke", "seed": 0, "folds": 1, "subjects": None, "device": "cpu", "dev": False}
    return {"pipeline": "audio_seeg", **found, "run": how}


def config(**changed: Any) -> dict[str, Any]:
    return {**whole(), **changed}


def trial(side: int, **changed: Any) -> dict[str, Any]:
    at = 60.0 * side
    piece = {"id": f"t{side}", "recording": "r", "start": at, "stop": at + 20, "stimulus": f"s{side}"}
    return {**piece, "stimulus_start": 0.0, "stimulus_stop": 20.0, "groups": {"subject": "s"}, **changed}


def split(**changed: Any) -> dict[str, Any]:
    sides = {side: [trial(n, **changed)] for n, side in enumerate(("train", "val", "test"))}
    return {"by": ["story"], "gap_s": 2.0, "rules": [], "codes": {}, "folds": [{"fold": 0, "sides": sides}]}


def stranger(folder: Path) -> Path:
    """A finished run with everything but what a fit has learned."""
    path = folder / "run"
    (path / "artifacts").mkdir(parents=True)
    (path / "config.yaml").write_text(yaml_text(config()))
    (path / "status").write_text("done\n")
    undrawn = {**METRICS, "baselines": {}, "controls": {}, "by_subject": {}, "scores": {}}  # figures take a second
    for name, content in {"metrics": undrawn, "split": split(), "env": {"python": "3"}}.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    item = {"name": "t2", "subject": "s", "stimulus": "s2", "start": 0.0, "rate": 50.0}
    arrays = {f"t2/mel/{side}": np.random.default_rng(0).standard_normal((900, 80)).astype("f4") for side in SIDES}
    save_arrays(path / "predictions.safetensors", arrays, {"items": [item]})
    return path


SIDES = ("target", "predicted")
Change = Callable[[Path, Path], object]


def text(name: str, content: str) -> Change:
    return lambda run, canary: (run / name).write_text(content.replace("CANARY", str(canary)))


def changed(**what: Any) -> Change:
    return lambda run, canary: (run / "config.yaml").write_text(yaml_text(config(**what)))


def link(name: str, to: str) -> Change:
    def make(run: Path, canary: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(to)

    return make


def items(*given: Any) -> Change:
    arrays = {"x": np.zeros((4, 4), "f4")}
    return lambda run, canary: save_arrays(run / "predictions.safetensors", arrays, {"items": list(given)})


def hard(run: Path, canary: Path) -> None:
    """The report is another name of a file elsewhere: who writes it anew must not write into that one."""
    (run / "report.html").hardlink_to(run.parent.parent / "elsewhere" / "secret.txt")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
RUNS: dict[str, tuple[Change, str]] = {
    "a python tag": (text("config.yaml", "!!python/object/apply:os.mkdir [CANARY]"), "the tag"),
    "a python tag within": (text("config.yaml", "pipeline: !!python/name:os.system ''\n"), "the tag"),
    "a new object": (text("config.yaml", "pipeline: !!python/object/new:os.mkdir [CANARY]\n"), "the tag"),
    "a billion laughs": (text("config.yaml", LAUGHS), "more than 100000 values"),
    "an alias of itself": (text("config.yaml", "pipeline: audio_seeg\na: &a [*a]\n"), "alias"),
    "YAML nested too deeply": (text("config.yaml", "a: " + "[" * 400_000), "nested too deeply"),
    "YAML nested by braces": (text("config.yaml", "{a: " * 100_000), "nested too deeply"),
    "two documents": (text("config.yaml", "pipeline: x\n---\npipeline: y\n"), "config.yaml"),
    "2 MB of YAML": (text("config.yaml", "#" * 2_000_000), "larger than"),
    "a pickle in place of YAML": (lambda run, c: (run / "config.yaml").write_bytes(pickled(c)), "config.yaml"),
    "a pipeline elsewhere": (changed(pipeline="../../up"), "unknown pipeline '../../up'"),
    "a pipeline that writes to the terminal": (changed(pipeline=TERMINAL), "unknown pipeline"),
    "a part that is a module": (changed(decoder={"use": "os:mkdir", "path": "x"}), "os:mkdir"),
    "a part that is a path": (changed(decoder={"use": "../../evil/part"}), "../../evil"),
    "a part of a module on the path": (changed(dataset={"use": "os/mkdir"}), "os"),
    "a metric that is a module": (changed(metrics=["subprocess:run"]), "subprocess:run"),
    "a plugin that is a module": (changed(plugin="subprocess", plugins=["os", "pickle"]), "os"),
    "links among the artifacts": (link("artifacts/a.flac", "/etc/passwd"), "is a link"),
    "a folder that is a link": (link("media", "../../elsewhere"), "is a link"),
    "a report that is a link": (link("report.html", "../" + UP), "is a link"),
    "a config.yaml that is a link": (link("config.yaml", "../" + UP), ""),
    "a status that is a link": (link("status", "/dev/zero"), "is a link"),
    "a report with a second name": (hard, ""),
    "metrics that are a list": (text("metrics.json", "[1]"), ""),
    "metrics nested a million deep": (text("metrics.json", '{"scores":' * 300_000), ""),
    "metrics that are not numbers": (text("metrics.json", '{"scores": {"x": {"value": NaN}}}'), ""),
    "a split of paths": (text("split.json", json.dumps(split(recording=UP, id=UP, stimulus="/etc/passwd"))), ""),
    "codes that are paths": (
        text("split.json", json.dumps({**split(), "codes": {"s": "../../../elsewhere/secret"}})), ""),
    "items that are paths": (items({"name": "../../../canary", "subject": UP, "stimulus": UP, "start": 0, "rate": 9}),
                             ""),
    "items that are numbers": (items(1, 2), ""),
    "items of no rate and no start": (
        items({"name": "x", "subject": "", "stimulus": "", "start": None, "rate": 0}), ""),
    "predictions with a huge header": (
        lambda run, c: (run / "predictions.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}"), ""),
    "details that are a pickle": (lambda run, c: (run / "details.safetensors").write_bytes(pickled(c)), ""),
    "a fit that is a pickle": (
        lambda run, c: ((run / "fold-0").mkdir(), (run / "fold-0/all.state.safetensors").write_bytes(pickled(c))), ""),
    "a status that writes to the terminal": (text("status", TERMINAL), ""),
    "no options of the run": (
        lambda run, c: (run / "config.yaml").write_text(yaml_text({k: v for k, v in config().items() if k != "run"})),
        ""),
    "an item that renders elsewhere": (
        lambda run, c: save_arrays(run / "predictions.safetensors", {f"../../../canary/mel/{s}": np.zeros((9, 80), "f4")
                                   for s in SIDES},
                                   {"items": [{"name": "../../../canary", "subject": "s0", "stimulus": "story-00",
                                               "start": 0.0, "rate": 40.0}]}), ""),
}  # fmt: skip
COMMANDS: dict[str, list[str]] = {
    "report": ["report", "RUN"],
    "predict": ["predict", "RUN", "--data", "../elsewhere"],
    "score": ["score", "RUN", "--metric", "core/correlation", "--rate", "50"],
    "render": ["render", "RUN"],
    "audit": ["audit", "RUN"],
    "run": ["run", "RUN/config.yaml", "--dry-run"],
}


@pytest.mark.parametrize("artefact", RUNS)
def test_a_hostile_run_folder_harms_nobody(place: Place, artefact: str) -> None:
    """Every command refuses it in two lines, or takes from it what is plain data."""
    make, told = RUNS[artefact]
    run = stranger(place.inside)
    make(run, place.canary)
    with place.harmless("run/report.html"):
        for command, words in COMMANDS.items():
            if told and command in ("score", "audit", "predict", "render") and artefact != "a python tag":
                continue  # they read config.yaml and look for links by the same code as `report`
            if not told and command == "run":
                continue  # its config.yaml is whole
            cause = place.answered(*(word.replace("RUN", str(run)) for word in words))
            if told and command in ("report", "run") and "link" not in told:
                assert cause is None or told in cause, (command, cause)
        if "link" in told:
            assert told in place.refused("report", str(run))
    assert (place.folder / "elsewhere/secret.txt").read_text() == "a secret"


# Names that are shown


def test_names_of_a_stranger_do_nothing_in_a_report_a_notebook_or_a_terminal(place: Place) -> None:
    """HTML, terminal codes, spoofed lines and turned writing in every name that a run folder can hold."""
    run = stranger(place.inside)
    scores = {HOSTILE: METRICS["scores"]["mel_correlation"], "mel_correlation": METRICS["scores"]["mel_correlation"]}
    told = {**METRICS, "scores": scores, "flags": [HOSTILE], "reasons": {HOSTILE: HOSTILE}, "digest": HOSTILE}
    told |= {"by_subject": {HOSTILE: {"mel_correlation": 0.1}, "b": {"mel_correlation": 0.2}}}
    told |= {"baselines": {HOSTILE: {HOSTILE: 0.1}}, "controls": {HOSTILE: {HOSTILE: 0.1}}, "pipeline": HOSTILE}
    groups = {"subject": HOSTILE, "text": HOSTILE, "story": HOSTILE, "channel": HOSTILE}
    (run / "metrics.json").write_text(json.dumps(told))
    (run / "split.json").write_text(json.dumps(split(recording=HOSTILE, stimulus=HOSTILE, groups=groups)))
    (run / "env.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    (run / "config.yaml").write_text(yaml_text(config(summary=HOSTILE, flow=[HOSTILE, HOSTILE], extra=HOSTILE)))
    (run / "status").write_text(TERMINAL)
    (run / "artifacts" / f"{TERMINAL}<img src=x onerror=alert(1)>.original.flac".replace("/", "")).write_bytes(b"x")
    with place.harmless("run/report.html"):
        assert place.answered("report", str(run)) is None
        for command in (["score", str(run), "--metric", "core/correlation"], ["audit", str(run)]):
            place.answered(*command)
    opened = bdh.load(run)
    for html in ((run / "report.html").read_text(), opened._repr_html_()):
        page = Page(html)
        assert "script" not in {tag for tag, _ in page.tags}
        assert not [attrs for _, attrs in page.tags if "onerror" in attrs or attrs.get("src") == "x"]
        plain(html)
    assert repr(opened).isprintable()
    assert "Content-Security-Policy" in (run / "report.html").read_text()


def test_channels_and_stimuli_of_a_stranger_do_nothing_in_a_terminal(place: Place) -> None:
    rng = np.random.default_rng(0)
    brain, audio = rng.standard_normal((3, 400 * 30)).astype("f4"), rng.uniform(-0.5, 0.5, 8000 * 30).astype("f4")
    names = [f"{TERMINAL}{n}" for n in range(3)]
    fields = {"brain": brain, "rate": 400.0, "audio": audio, "audio_rate": 8000.0, "channels": np.array(names)}
    np.savez(place.inside / "a.npz", subject=np.array(HOSTILE), **fields)  # type: ignore[arg-type]
    with place.harmless():
        for words in (["inspect", str(place.inside / "a.npz")],
                      ["run", "audio_seeg", "--data", str(place.inside / "a.npz"), "--dry-run"]):  # fmt: skip
            place.answered(*words)
    with place.harmless():
        _, out, err = place.hub("inspect", str(place.inside / "a.npz"))
    assert not re.search(r"^(Error: spoofed|  Try: rm)", out + err, re.MULTILINE)

"""Who watches a run: plain lines with the time left, bars on a terminal, and one that raises harms nobody."""

from __future__ import annotations

from typing import Any

import pytest

from braindecode_hub import hookimpl
from braindecode_hub.manager import Manager
from braindecode_hub.observers import Progress


def clock(monkeypatch: pytest.MonkeyPatch, times: list[float]) -> None:
    ticks = iter(times)
    monkeypatch.setattr("time.monotonic", lambda: next(ticks))


def test_lines_come_seldom_and_say_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(monkeypatch, [0.0, 1.0, 20.0, 21.0, 40.0])
    shown = Progress(terminal=False)
    for done in (0, 1, 5, 6, 10):
        shown.observe({"kind": "progress", "stage": "fit", "done": done, "total": 10})
    assert capsys.readouterr().err.splitlines() == ["fit: 50%, about 20 s left", "fit: 100%"]


def test_stages_notes_and_downloads_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(terminal=False)
    shown.observe({"kind": "stage", "stage": "fit", "state": "begins"})
    shown.observe({"kind": "stage", "stage": "fit", "state": "done", "seconds": 1.25})
    shown.observe({"kind": "note", "text": "two channels are flat"})
    shown.observe({"kind": "download", "uri": "pypi://a/b", "done": 5, "total": 5})
    shown.observe({"kind": "scalar", "tag": "loss", "step": 0, "value": 1.0})
    assert capsys.readouterr().err.splitlines() == [
        "fit: done in 1.2 s", "two channels are flat", "download pypi: 100%",
    ]  # fmt: skip


def test_a_terminal_gets_bars(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(terminal=True)
    shown.observe({"kind": "progress", "stage": "controls", "done": 1, "total": 2})
    shown.observe({"kind": "note", "text": "a [note]"})
    shown.close()
    said = capsys.readouterr().err
    assert "controls" in said
    assert "50 %" in said
    assert "a [note]" in said


def test_an_observer_that_raises_is_noted_and_the_others_go_on() -> None:
    seen: list[dict[str, Any]] = []

    class Broken:
        @hookimpl
        def observe(self, event: dict[str, Any]) -> None:
            raise RuntimeError("no disk")

    class Whole:
        @hookimpl
        def observe(self, event: dict[str, Any]) -> None:
            seen.append(event)

    manager = Manager()
    manager.register(Whole(), "whole")
    manager.register(Broken(), "broken")
    manager.tell({"kind": "note", "text": "x"})
    manager.tell({"kind": "note", "text": "y"})
    assert [event["text"] for event in seen] == ["x", "y"]
    assert manager.problems == ["broken: observe failed: RuntimeError: no disk"]

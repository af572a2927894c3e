"""Who watches a run by default: the progress display, and TensorBoard event files where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

from braindecode_hub.hookspecs import hookimpl
from braindecode_hub.text import visible
from braindecode_hub.types import Event


class Progress:
    """Shows stages with the time left: bars on a terminal, plain lines elsewhere."""

    def __init__(self, *, terminal: bool | None = None) -> None:
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._said: dict[str, tuple[float, float]] = {}

    @hookimpl
    def observe(self, event: Event) -> None:
        """Show `progress` ({stage, done, total}), `note` and `problem` events."""
        if event["kind"] == "stage" and event["state"] == "done":
            self._line(f"{event['stage']}: done in {event['seconds']:.1f} s")
        elif event["kind"] == "progress":
            self._show(event["stage"], event["done"], event["total"])
        elif event["kind"] == "download":
            self._show(f"download {event['uri'].split('://')[0]}", event["done"], event.get("total"))
        elif event["kind"] in ("note", "problem"):
            self._line(event["text"])

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _show(self, stage: str, done: float, total: float | None) -> None:
        if self._terminal:
            self._bar(stage, done, total)
            return
        now = time.monotonic()
        began, last = self._said.get(stage, (now, now))
        finished = total is not None and done >= total
        if finished or now - last > 10.0:
            share = done / total if total else 0.0
            left = f", about {(now - began) * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
            self._line(f"{stage}: {share:.0%}{left}" if total else f"{stage}: {done:g}")
            last = now
        self._said[stage] = (began, last)

    def _bar(self, stage: str, done: float, total: float | None) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = [
                TextColumn("{task.description:<28}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
            ]
            times = [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
            self._bars = Progress(*columns, *times, console=Console(stderr=True))
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def _line(self, text: str) -> None:
        text = visible(" ".join(text.splitlines()))  # a name with a line end in it begins no line of its own
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


class TensorBoard:
    """Writes `scalar` and `image` events to `folder` as TensorBoard event files; needs the package tensorboard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    @staticmethod
    def installed() -> bool:
        """Return whether tensorboard can be imported."""
        return importlib.util.find_spec("tensorboard") is not None

    @hookimpl
    def observe(self, event: Event) -> None:
        """Write {tag, value, step} scalars and {tag, png, height, width, step} images."""
        if event["kind"] not in ("scalar", "image"):
            return
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.summary_pb2 import Summary

        if event["kind"] == "scalar":
            value = Summary.Value(tag=event["tag"], simple_value=event["value"])
        else:
            picture = Summary.Image(
                encoded_image_string=event["png"], height=event["height"], width=event["width"], colorspace=4
            )
            value = Summary.Value(tag=event["tag"], image=picture)
        record = Record(wall_time=time.time(), step=int(event.get("step", 0)), summary=Summary(value=[value]))
        self._open().write(record.SerializeToString())

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        """Return the open event file. tensorboard's own writer would put this machine's name into the file's."""
        if self._writer is None:
            from tensorboard.compat.proto.event_pb2 import Event as Record
            from tensorboard.summary.writer.record_writer import RecordWriter

            self._folder.mkdir(parents=True, exist_ok=True)
            now = time.time()
            number = len(list(self._folder.iterdir()))
            path = self._folder / f"events.out.tfevents.{int(now):010d}.run.{number}"
            self._writer = RecordWriter(path.open("wb", buffering=0))
            self._writer.write(Record(wall_time=now, file_version="brain.Event:2").SerializeToString())
        return self._writer

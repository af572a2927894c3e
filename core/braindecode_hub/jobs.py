"""Jobs: independent pieces of a run, done here, or in as many processes as asked for."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from threadpoolctl import threadpool_limits

from braindecode_hub.errors import HubError


@dataclass(frozen=True)
class Job:
    """A call that any process can make: `function` is "module:name", `arguments` are JSON-able keywords."""

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What a job returned (JSON-able)."""

    name: str
    value: Any


def perform(job: Job) -> JobResult:
    """Make the call of one job, in this process and on one thread: the same bits wherever it runs."""
    module, name = job.function.split(":")
    function = getattr(importlib.import_module(module), name)
    with threadpool_limits(1):
        return JobResult(job.name, function(**job.arguments))


def run_local(jobs: Sequence[Job], backend: str, options: dict[str, Any]) -> Iterable[JobResult] | None:
    """The `local` backend: options {"workers": 1} is this process, 0 is one process a core (at most 4)."""
    if backend != "local":
        return None
    workers = int(options.get("workers", 1)) or min(4, os.cpu_count() or 1)
    return map(perform, jobs) if workers <= 1 or len(jobs) < 2 else _in_processes(jobs, min(workers, len(jobs)))


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[JobResult]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            for done in as_completed([pool.submit(perform, job) for job in jobs]):
                yield done.result()
        except BrokenProcessPool as error:
            raise HubError(
                "a worker process died: for want of memory, or in a script without `if __name__ == '__main__':`",
                "use one: --jobs 1, or jobs=1",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let a worker end without a word on Ctrl-C, and when the process that wants its results was killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)

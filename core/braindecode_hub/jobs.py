"""Jobs: independent pieces of a run, done here, or in as many processes as asked for."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

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
    """Make the call of one job, in this process."""
    module, name = job.function.split(":")
    return JobResult(job.name, getattr(importlib.import_module(module), name)(**job.arguments))


def run_local(jobs: Sequence[Job], backend: str, options: dict[str, Any]) -> Iterable[JobResult] | None:
    """The `local` backend: options {"workers": 1} is this process; more are processes with one thread each."""
    if backend != "local":
        return None
    workers = int(options.get("workers", 1))
    return map(perform, jobs) if workers <= 1 or len(jobs) < 2 else _in_processes(jobs, min(workers, len(jobs)))


def _in_processes(jobs: Sequence[Job], workers: int) -> Iterator[JobResult]:
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                for done in as_completed([pool.submit(perform, job) for job in jobs]):
                    yield done.result()
            except BrokenPipeError as error:  # pragma: no cover - depends on the machine
                raise HubError("a worker process died", "use fewer workers: --jobs 1") from error
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})

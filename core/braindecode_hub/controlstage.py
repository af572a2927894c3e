"""The refits of a run's controls: which are wanted, which are there already, and what they scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from braindecode_hub.controls import KINDS, left_out
from braindecode_hub.errors import HubError
from braindecode_hub.files import write_whole
from braindecode_hub.jobs import Job, JobResult
from braindecode_hub.refits import jobs_for
from braindecode_hub.results import Beside
from braindecode_hub.runwriting import as_json, read_mapping
from braindecode_hub.study import Study

Submit = Callable[[Sequence[Job]], Iterable[JobResult]]


def run_controls(
    study: Study,
    folder: Path,
    task: Mapping[str, Any],
    beside: Beside,
    submit: Submit,
    progress: Callable[[int, int], None],
) -> None:
    """Refit every control that `folder` does not hold yet, one file each, and put all scores into `beside`.

    `task`: arguments of `refits.refit` that all have in common. Raises HubError for a file that is no refit's.
    """
    beside.left_out |= left_out(study.trials, study.pipeline.encoder.continuous_part().steps)
    kinds = [kind for kind in KINDS if kind not in beside.left_out]
    wanted = jobs_for(kinds, study.pipeline.decoder.control_refits)
    found = {name: read_mapping(folder / f"{name}.json") for name in (f"{k}-{n:03d}" for k, n in wanted)}
    done = {name: value for name, value in found.items() if value is not None}
    _check(folder, done)
    jobs = [
        Job(f"{kind}-{number:03d}", "braindecode_hub.refits:refit", {**task, "kind": kind, "number": number})
        for kind, number in wanted
        if f"{kind}-{number:03d}" not in done
    ]
    for result in submit(jobs):
        write_whole(folder / f"{result.name}.json", as_json(result.value))
        done[result.name] = result.value
        progress(len(done), len(wanted))
    for name in sorted(done):
        kind = name.rsplit("-", 1)[0]
        for told, kept in (("scores", beside.controls), ("chance", beside.chances)):
            for metric, value in done[name][told].items():
                kept.setdefault(kind, {}).setdefault(metric, []).append(value)


def _check(folder: Path, done: Mapping[str, Any]) -> None:
    for name, told in done.items():
        for part in ("scores", "chance"):
            values = told.get(part)
            if not isinstance(values, dict) or not all(isinstance(one, int | float) for one in values.values()):
                raise HubError(f"{folder / name}.json has no {part} of a refit", "remove the file, and resume")

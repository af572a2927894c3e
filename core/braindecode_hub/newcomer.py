"""Who is new to a finished run, and what that run was given: subjects, stimuli by name, stimuli by their media."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.manager import Manager
from braindecode_hub.overlap import hashes_of
from braindecode_hub.pipeline import Pipeline, build, pipeline_part
from braindecode_hub.prediction import states_of
from braindecode_hub.runfolder import Run
from braindecode_hub.types import Context, Trial


def given_to(run: Run, fold: int) -> list[Trial]:
    """Return the trials that a fold of a run was fitted or validated on, as split.json has them."""
    folds = run.split.get("folds") or []
    sides = folds[fold]["sides"] if fold < len(folds) else {}
    return [Trial(**piece) for side in ("train", "val") for piece in sides.get(side, [])]


def whom(run: Run, trials: Sequence[Trial], subject: str | None, fold: int | None, *, theirs: bool) -> tuple[str, int]:
    """Return the new subject, and the fold of the run (`fold`, or the first) that has never been given it.

    `theirs`: a name means whom it means in the run. HubError if nobody is new, or several are and none is named.
    """

    def known(number: int) -> set[str]:
        return {trial.groups.get("subject", "") for trial in given_to(run, number)} if theirs else set()

    everybody = sorted({trial.groups.get("subject", "") for trial in trials})
    back = {code: name for name, code in (run.split.get("codes") or {}).items()}
    subject = back.get(subject, subject) if subject is not None and subject not in everybody else subject
    if subject is not None and subject not in everybody:
        raise HubError(f"there is no subject '{subject}'", did_you_mean(subject, everybody), usage=True)
    there = [number for number in range(len(run.split.get("folds") or [])) if fold in (None, number)]
    if fold is not None or not there:
        states_of(run, fold or 0)
    new = {number: [one for one in everybody if one not in known(number)] for number in there}
    for number, some in new.items():
        if subject in some or (subject is None and len(some) == 1):
            states_of(run, number)
            return subject if subject is not None else some[0], number
    every = sorted({one for some in new.values() for one in some})
    if subject is not None or not every:
        who = f"subject '{subject}' was" if subject is not None else f"all subjects here ({len(everybody)}) were"
        hold = "--set 'split.by=[subject, sentence]' (or stimulus, story …) holds one out"
        raise HubError(
            f"{who} given to {run.path.name}: there is nobody new to adapt to",
            f"new are {', '.join(every)}" if every else f"give a new subject's --data, or run again: {hold}",
            usage=True,
        )
    raise HubError(f"several subjects are new here: {', '.join(every)}", f"say which: --subject {every[0]}", usage=True)


def by_media(
    run: Run, given: Sequence[Trial], new: Pipeline, manager: Manager, ctx: Context
) -> tuple[Callable[[Trial], bool], str]:
    """Return whether a trial of new data presents a second of what the run was `given`, by the hashes of its media.

    And, if the run's data cannot be opened any more, why nobody can say so.
    """
    if not given:
        return lambda trial: False, ""
    pipeline = build(run.config["pipeline"], pipeline_part(run.config), manager)
    try:
        pipeline.dataset.prepare(ctx)
        known = frozenset(hashes_of(pipeline, given))
    except HubError as problem:
        return lambda trial: False, f"what the run was given is known by name, not by its media: {problem.cause}"
    return lambda trial: not known.isdisjoint(hashes_of(new, [trial])), ""

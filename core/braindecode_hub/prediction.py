"""A fitted run applied to a recording it has never seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import Pipeline, build, pipeline_part
from braindecode_hub.stretches import Stretch, prepare_brain
from braindecode_hub.study import STATE, Fitted, unfitted
from braindecode_hub.types import Prediction, Recording, Trial
from braindecode_hub.view import View, make_item

if TYPE_CHECKING:
    from braindecode_hub.runfolder import Run


def load_fit(run: Run, pipeline: Pipeline, fold: int, subject: str | None) -> tuple[Fitted, dict[str, Any]]:
    """Return the fit of one fold (and one subject, where each has its own), and the facts it was fitted on."""
    folder = run.path / f"fold-{fold}"
    states = {path.name.removesuffix(STATE): path for path in sorted(folder.glob(f"*{STATE}"))}
    if not states:
        raise HubError(f"{run.path.name} has no fitted fold {fold}", "finish it with `run … --resume`")
    if subject is not None and subject not in states:
        raise HubError(f"{run.path.name} has no fit of subject '{subject}'", f"it has {', '.join(states)}")
    arrays, info = load_arrays(states[subject] if subject is not None else next(iter(states.values())))
    fitted = unfitted(pipeline)
    fitted.load_state(arrays, info["values"])
    return fitted, info["facts"]


def predict_recording(run: Run, recording: Recording, *, fold: int, subject: str | None) -> Prediction:
    """Decode the whole of `recording` with the run's fit; see `Run.predict`."""
    pipeline = build(run.config["pipeline"], pipeline_part(run.config), Manager())
    fitted, facts = load_fit(run, pipeline, fold, subject)
    _check_fits(recording, facts)
    chain = pipeline.encoder.continuous_part()
    whole = Stretch(recording.id, 0.0, recording.seconds)
    prepared = prepare_brain(pipeline.dataset, chain.steps, whole, Cache(None), recording)
    trial = Trial("recording", recording.id, 0.0, recording.seconds, "unknown", 0.0, recording.seconds)
    item = make_item(
        trial, brain=prepared, recording=recording.about(), spaces=facts["rates"], stimuli=None, hidden_as=0
    )
    view = View(
        [item],
        window=pipeline.window,
        space=replace(chain.check(pipeline.dataset.brain, "recording"), rate=prepared.rate),
        targets={name: replace(pipeline.frozen_target_space(name), rate=rate) for name, rate in facts["rates"].items()},
        subjects=[recording.subject],
    )
    return fitted.predict(view)[0]


def _check_fits(recording: Recording, facts: dict[str, Any]) -> None:
    channels, rate = int(recording.brain.data.shape[0]), recording.brain.rate
    if channels != facts["channels"]:
        raise HubError(
            f"recording {recording.id} has {channels} channels, this run was fitted on {facts['channels']}",
            "give the same montage in the same order",
        )
    if rate is None or abs(rate - facts["rate"]) > 1e-6 * facts["rate"]:
        given = "no rate" if rate is None else f"{rate:g} Hz"
        raise HubError(
            f"recording {recording.id} has {given}, this run was fitted at {facts['rate']:g} Hz",
            "resample it",
        )

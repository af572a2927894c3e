"""The Renderer contract: what it consumes becomes media that open, the same for the same seed."""

from __future__ import annotations

import numpy as np

from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.feeds import made_up_array, made_up_space
from braindecode_hub.conformance.media import wrong_artifact
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import RETRIEVAL, Candidate, Renderer
from braindecode_hub.manager import Registered
from braindecode_hub.types import Array, Prediction, Signal

SECONDS = 2.0


def check_renderer(subject: Subject, entry: Registered) -> None:
    """A prediction in its Spaces becomes artifacts that open as their media type, equal for the same seed."""
    renderer: Renderer = subject.make(entry)
    if not renderer.consumes:
        raise Unconforming("it consumes no Space", "say in `consumes` which predictions it needs")
    given, real = _prediction(subject, entry, renderer)
    kept = {name: array.copy() for name, array in given.items()}
    try:
        made = renderer.render(given, subject.context())
    except HubError as error:
        if real:
            raise
        raise NothingToTest(f"{error.cause}; {error.remedy}") from error
    if not made or not isinstance(made, list):
        raise Unconforming(f"render() returns {made!r}", "return a list of at least one Artifact")
    wrong = [wrong_artifact(artifact) for artifact in made]
    none_of([one for one in wrong if one is not None], "encode the array as the media type says: braindecode_hub.media")
    if any(not np.array_equal(array, kept[name]) for name, array in given.items()):
        raise Unconforming("render() changes the prediction", "work on a copy")
    again = renderer.render(given, subject.context())
    if [artifact.data for artifact in made] != [artifact.data for artifact in again]:
        raise Unconforming("rendered twice, the media differ", "draw from ctx.rng(…), and keep nothing between calls")


def _candidate(place: Array, number: int) -> Candidate:
    """Return a candidate that can be heard: a second of a tone."""
    tone = np.sin(2 * np.pi * 220.0 * (number + 1) * np.arange(16_000) / 16_000).astype(np.float32)
    return Candidate(place, "tones", float(number), number + 1.0, Signal(tone, 16_000.0, "audio"), f"tone {number}")


def _prediction(subject: Subject, entry: Registered, renderer: Renderer) -> tuple[Prediction, bool]:
    """Return a training target of the smoke preset and True, or a made-up one and False."""
    place = subject.place(entry)
    if renderer.retrieves:
        given = np.random.default_rng(0).standard_normal((4, 50, 8)).astype(np.float32)
        renderer.index({f"candidate {k}": _candidate(one, k) for k, one in enumerate(given)})
        return {RETRIEVAL: given}, False
    if place is None:
        spaces = [made_up_space(space) for space in renderer.consumes]
        return {space.name: np.abs(made_up_array(space, 1, SECONDS)[0]) for space in spaces}, False
    study, fold = subject.fold(place[0])
    true = study.truth(fold, "train")[0]
    found = {}
    for space in renderer.consumes:
        rate = study.rate(space.name)
        found[space.name] = true[space.name] if rate is None else true[space.name][: max(2, round(SECONDS * rate))]
    return found, True

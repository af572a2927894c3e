"""The suite: every check of a plugin, in the order from cheap to costly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.conformance import (
    constructors,
    datasets,
    decoders,
    encoders,
    fits,
    pipelines,
    plugin,
    renderers,
    scores,
)
from braindecode_hub.conformance.checks import Check, NothingToTest
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.manager import Registered

OF_PLUGIN: dict[str, Callable[[Subject], None]] = {
    "registry": plugin.check_registry,
    "import": plugin.check_import,
    "names": plugin.check_names,
}
OF_KIND: dict[str, dict[str, Callable[[Subject, Registered], None]]] = {
    "dataset": {
        "dataset": datasets.check_dataset,
        "lazy": datasets.check_lazy,
        "fingerprint": datasets.check_fingerprint,
    },
    "encoder": {
        "encoder": encoders.check_encoder,
        "support": encoders.check_support,
        "invert": encoders.check_invert,
    },
    "decoder": {"decoder": decoders.check_decoder},
    "renderer": {"renderer": renderers.check_renderer},
    "metric": {"metric": scores.check_metric, "constant": scores.check_constant, "ties": scores.check_ties},
}
OF_PIPELINE: dict[str, Callable[[Subject, PipelineEntry], None]] = {
    "parts": plugin.check_parts,
    "flow": plugin.check_flow,
    "spaces": plugin.check_spaces,
    "smoke": pipelines.check_smoke,
    "invert": fits.check_invert,
    "refit": fits.check_refit,
    "buffers": fits.check_buffers,
    "state": fits.check_state,
    "leaks": fits.check_leaks,
    "learning": fits.check_learning,
    "digest": pipelines.check_digest,
    "controls": pipelines.check_controls,
    "signal": pipelines.check_signal,
    "artifacts": pipelines.check_artifacts,
}


AFTER = {"state": ["buffers"], "learning": ["buffers", "leaks"], "signal": ["controls"]}
"""Checks of a pipeline that cannot tell anything where others fail."""


def checks_of(name: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[Check]:
    """Return every check of plugin `name` (or "core"): one of each for the plugin, its components and pipelines.

    `settings`: constructor arguments by component, for those whose defaults do not do. A plugin without components
    or pipelines has one check in their place that says so, as nothing to test.
    """
    subject = Subject(name, settings)
    found = [Check(check, name, partial(run, subject)) for check, run in OF_PLUGIN.items()]
    found += list(_of_components(subject))
    found += list(_of_pipelines(subject))
    return found


def _of_components(subject: Subject) -> Iterator[Check]:
    if not subject.components:
        yield Check("components", subject.name, partial(_nothing, "it registers no components"))
    for entry in subject.components:
        checks = {"constructor": constructors.check_constructor, **OF_KIND[entry.kind]}
        if entry.kind in ("encoder", "decoder"):
            checks["streams"] = encoders.check_streams
        for number, (name, run) in enumerate(checks.items()):
            before = dict(list(checks.items())[: min(number, 2)])  # the constructor, and the contract of its kind
            yield Check(name, entry.name, partial(_after, subject, entry, before, name, run))


def _of_pipelines(subject: Subject) -> Iterator[Check]:
    if not subject.pipelines:
        told = "it has no pipelines: what fits, splits and scores cannot be tried"
        yield Check("pipelines", subject.name, partial(_nothing, told))
    for entry in subject.pipelines:
        for name, run in OF_PIPELINE.items():
            unusable = partial(_nothing, f"the plugin cannot be used: see names-{subject.name}")
            before = {other: OF_PIPELINE[other] for other in AFTER.get(name, [])}
            usable = partial(_after, subject, entry, before, name, run)
            yield Check(name, entry.name, unusable if subject.problem is not None else usable)


def _after(
    subject: Subject, entry: Any, before: Mapping[str, Callable[..., None]], name: str, run: Callable[..., None]
) -> None:
    """Run a check, once; where one of those `before` it fails already, that is enough."""
    for other, check in before.items():
        if subject.fails((other, entry.name), partial(check, subject, entry)):
            raise NothingToTest(f"another check says why already: see {other}-{entry.name}")
    subject.once(("fails", (name, entry.name)), partial(run, subject, entry))


def _nothing(told: str) -> None:
    raise NothingToTest(told)

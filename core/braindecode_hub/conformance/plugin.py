"""Checks of a plugin as a whole and of its registry: nothing is fitted, no data is read."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.fresh import ask
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.errors import HubError, MissingPackage
from braindecode_hub.pipeline import build, pipeline_part, resolve

HEAVY = ("torch", "mne", "tensorflow", "jax", "transformers", "librosa", "matplotlib")
IMPORT_S = 0.3
"""CPU seconds that importing a plugin's module may take besides importing braindecode_hub."""
TRIES = 3


def check_registry(subject: Subject) -> None:
    """The plugin is found, its registry.yaml is read, its api is this one, and no name of it is taken."""
    catalogue, name = subject.manager.catalogue, subject.name
    if name == "core":
        return
    own = [line for line in catalogue.problems if line.startswith(f"{name} (")]
    if own:
        raise Unconforming("; ".join(own), "correct its registry.yaml or its entry point")
    if name not in catalogue.plugins:
        raise Unconforming(
            f"no plugin '{name}' is installed (known: {', '.join(sorted(catalogue.plugins))})",
            "install it (pip install -e .), and check the entry point in the group braindecode_hub.plugins",
        )


def check_import(subject: Subject) -> None:
    """Importing the plugin's module pulls in nothing heavy and takes less than 0.3 s of CPU, in a fresh process."""
    module = _module(subject)
    tries = [ask(f"{__name__}:import_alone", module=module)]
    while tries[-1]["seconds"] >= IMPORT_S and len(tries) < TRIES:
        tries.append(ask(f"{__name__}:import_alone", module=module))
    if tries[0]["error"]:
        raise Unconforming(
            f"importing {module} raises {tries[0]['error']}", "import optional packages where they are used"
        )
    if tries[0]["heavy"]:
        told = ", ".join(tries[0]["heavy"])
        raise Unconforming(f"importing {module} imports {told}", "import heavy packages inside functions")
    fastest = min(one["seconds"] for one in tries)
    if fastest >= IMPORT_S:
        raise Unconforming(
            f"importing {module} takes {fastest:.2f} s of CPU besides braindecode_hub, the best of {len(tries)}",
            f"stay under {IMPORT_S:g} s: register classes by name, and let their modules do the importing",
        )


def import_alone(module: str) -> dict[str, Any]:
    """Import `module` after braindecode_hub and tell its CPU seconds, the heavy packages, and what it raised."""
    import braindecode_hub.hookspecs  # noqa: F401 (what every plugin imports)

    before, began = set(sys.modules), time.process_time()
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return {"seconds": 0.0, "heavy": [], "error": f"{type(error).__name__}: {error}"}
    seconds = time.process_time() - began
    heavy = sorted({name.split(".")[0] for name in set(sys.modules) - before} & set(HEAVY))
    return {"seconds": seconds, "heavy": heavy, "error": None}


def check_names(subject: Subject) -> None:
    """Every registered name has the plugin's prefix and points at a class of its kind; every hook exists."""
    if subject.problem is not None:
        _module(subject)
        if ask(f"{__name__}:import_alone", module=_module(subject))["error"]:
            raise NothingToTest("it cannot be imported: see import")
        raise Unconforming(
            subject.problem.cause, f"begin the names with '{subject.name}/', and spell hooks as docs/hooks.md does"
        )
    if not subject.components:
        raise NothingToTest("it registers no components")
    none_of(_wrong_classes(subject), "correct the names in register_components")


def check_parts(subject: Subject, entry: PipelineEntry) -> None:
    """Every `use` exists and is of its kind, every key is a constructor parameter: in the pipeline and each preset."""
    none_of(
        _wrong_parts(subject, entry), "correct the pipeline in registry.yaml (`braindecode-hub describe` lists keys)"
    )


def check_flow(subject: Subject, entry: PipelineEntry) -> None:
    """`flow` begins with the dataset's Space, goes through the targets, and ends in what is rendered."""
    problems = []
    for preset, pipeline in _built(subject, entry, f"see spaces-{entry.name}"):
        flow = [str(step) for step in pipeline.config.get("flow") or []]
        targets = list(pipeline.targets)
        middle = flow[1:-1] if pipeline.renderer is not None else flow[1:]
        wanted = [pipeline.dataset.brain.name, *targets] + (["what is rendered"] if pipeline.renderer else [])
        begins = flow[:1] == [pipeline.dataset.brain.name]
        ends = pipeline.renderer is None or (len(flow) > 2 and flow[-1] not in targets)
        if not (begins and ends and middle and set(middle) <= set(targets) and targets[0] in middle):
            problems.append(f"{_called(preset)}: flow is {' → '.join(flow)}, the Spaces are {' → '.join(wanted)}")
    none_of(problems, "write the Spaces' names as `flow`, in the preset too where its data or targets are others")


def check_spaces(subject: Subject, entry: PipelineEntry) -> None:
    """Every hand-off fits, in the pipeline and in each preset."""
    problems = []
    for preset, config in _resolved(subject, entry):
        try:
            build(entry.name, pipeline_part(dict(config)), subject.manager)
        except MissingPackage:
            continue
        except HubError as error:
            problems.append(f"{_called(preset)}: {error.cause} ({error.remedy})")
    none_of(problems, "put a step between them, or change `consumes` and `produces`: docs/spaces.md")


def _wrong_classes(subject: Subject) -> Iterator[str]:
    for entry in subject.components:
        try:
            subject.manager.component(entry.kind, entry.name)
        except MissingPackage:
            continue
        except HubError as error:
            yield f"{error.cause} ({error.remedy})"


def _wrong_parts(subject: Subject, entry: PipelineEntry) -> Iterator[str]:
    for preset in (None, *entry.presets):
        try:
            resolve(entry, subject.manager, preset=preset)
        except MissingPackage:
            continue
        except HubError as error:
            yield f"{_called(preset)}: {error.cause} ({error.remedy})"


def _resolved(subject: Subject, entry: PipelineEntry) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Yield the configuration of the pipeline and of each preset whose parts are right and installed."""
    found = 0
    for preset in (None, *entry.presets):
        try:
            config = resolve(entry, subject.manager, preset=preset)
        except MissingPackage:
            continue
        except HubError as error:
            raise NothingToTest(f"its registry entry is wrong: see registry-{entry.name}") from error
        found += 1
        yield preset, {"pipeline": entry.name, **config}
    if not found:
        raise NothingToTest("packages that its parts need are not installed")


def _built(subject: Subject, entry: PipelineEntry, otherwise: str) -> Iterator[tuple[str | None, Any]]:
    for preset, config in _resolved(subject, entry):
        try:
            yield preset, build(entry.name, pipeline_part(dict(config)), subject.manager)
        except MissingPackage:
            continue
        except HubError as error:
            raise NothingToTest(f"its parts do not fit: {otherwise}") from error


def _module(subject: Subject) -> str:
    if subject.name == "core":
        return "braindecode_hub.builtin"
    plugin = subject.manager.catalogue.plugins.get(subject.name)
    if plugin is None:
        raise NothingToTest("it is not installed, or its registry is broken: see registry")
    return plugin.module


def _called(preset: str | None) -> str:
    return "the pipeline itself" if preset is None else f"preset {preset}"

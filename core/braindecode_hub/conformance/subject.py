"""A plugin under test, and what its checks share: its parts, its pipelines, and the costly smoke runs, made once."""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from threadpoolctl import threadpool_limits

from braindecode_hub.cache import Cache
from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.conformance.checks import NothingToTest
from braindecode_hub.conformance.offline import blocked
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError, MissingPackage
from braindecode_hub.fitted import Fitted
from braindecode_hub.interfaces import Component
from braindecode_hub.manager import Manager, Registered
from braindecode_hub.pipeline import Config, build, parts_of, pipeline_part, resolve
from braindecode_hub.runfolder import Run
from braindecode_hub.runner import Options, run_pipeline
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.types import Context

SMOKE = "smoke"
"""The preset in which a pipeline is tried: made-up data, no network, seconds."""

T = TypeVar("T")


@dataclass(frozen=True)
class SmokeRun:
    """A finished smoke run: its folder, the CPU seconds it took, and the hosts that it tried to reach."""

    run: Run
    config: Config
    cpu_s: float
    reached: list[str]


class Subject:
    """One plugin under test. `settings`: constructor arguments by component, where the defaults do not do.

    `problem`: why the plugin cannot be used at all, or None. What is costly is computed when it is first asked for,
    once, in a temporary folder of its own; a failure is remembered as well.
    """

    def __init__(self, name: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.name = name
        self.settings = {key: dict(value) for key, value in (settings or {}).items()}
        self.manager = Manager()
        self.problem: HubError | None = None
        self._kept: dict[Any, Any] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True)
        if name != "core":
            try:
                self.manager.load(name)
            except HubError as error:
                self.problem = error

    @property
    def components(self) -> list[Registered]:
        """The components that the plugin registers, datasets first."""
        return [entry for entry in self.manager.components.values() if entry.plugin.name == self.name]

    @property
    def pipelines(self) -> list[PipelineEntry]:
        """The pipelines of the plugin's registry.yaml."""
        return [entry for entry in self.manager.catalogue.pipelines.values() if entry.plugin.name == self.name]

    @property
    def folder(self) -> Path:
        """A temporary folder, removed at the end."""
        return Path(self._folder.name)

    # Components

    def kind_of(self, entry: Registered) -> type[Component]:
        """Return a component's class; NothingToTest where a package that it needs is missing."""
        try:
            return self.manager.component(entry.kind, entry.name)
        except MissingPackage as error:
            raise NothingToTest(f"{error.cause}: {error.remedy}") from error
        except HubError as error:
            raise NothingToTest(f"it cannot be imported: see names-{self.name}") from error

    def arguments(self, entry: Registered) -> dict[str, Any]:
        """Return the arguments a component is tried with: `settings`, else the smoke preset's, else the defaults."""
        if entry.name in self.settings:
            return self.settings[entry.name]
        for config in self._smoke_configs():
            for kind, _, part in parts_of(config):
                if kind == entry.kind and part["use"] == entry.name:
                    return {key: value for key, value in part.items() if key != "use"}
        return {}

    def make(self, entry: Registered) -> Any:
        """Return a new component; NothingToTest if it needs an argument that nothing gives."""
        found, given = self.kind_of(entry), self.arguments(entry)
        missing = [k for k, p in found.parameters().items() if p.default is p.empty and k not in given]
        if missing:
            told = f'conformance("{self.name}", settings={{"{entry.name}": {{"{missing[0]}": …}}}})'
            raise NothingToTest(f"{entry.name} needs '{missing[0]}': give it, as {told}")
        return found(**given)

    def place(self, entry: Registered) -> tuple[PipelineEntry, str] | None:
        """Return the first pipeline whose smoke preset uses a component, and where in it ("encoder.0"), or None."""
        for pipeline in self.pipelines:
            try:
                parts = parts_of(self.config(pipeline))
            except (HubError, NothingToTest):
                continue
            for kind, where, part in parts:
                if kind == entry.kind and part["use"] == entry.name and entry.name not in self.settings:
                    return pipeline, where
        return None

    def _smoke_configs(self) -> list[Config]:
        found = []
        for pipeline in self.pipelines:
            try:
                found.append(self.config(pipeline))
            except (HubError, NothingToTest):
                continue
        return found

    # Pipelines

    def config(self, entry: PipelineEntry) -> Config:
        """Return the resolved configuration of a pipeline's smoke preset, as a run records it."""
        if SMOKE not in entry.presets:
            raise NothingToTest(f"{entry.name} has no preset '{SMOKE}': see smoke-{entry.name}")
        try:
            return {"pipeline": entry.name, **resolve(entry, self.manager, preset=SMOKE)}
        except MissingPackage as error:
            raise NothingToTest(f"{error.cause}: {error.remedy}") from error
        except HubError as error:
            raise NothingToTest(f"its registry entry is wrong: see registry-{entry.name}") from error

    def context(self, cache: Cache | None = None) -> Context:
        """Return the context of every check: seed 0, the CPU, no network, and the suite's own cache."""
        kept = Cache(self.folder / "cache") if cache is None else cache
        return context(seed=0, device="cpu", cache=kept, manager=self.manager, network=False)

    def study(self, entry: PipelineEntry) -> Study:
        """Return the prepared study of a pipeline's smoke preset."""
        return self.once(("study", entry.name), functools.partial(self._study, entry))

    def fold(self, entry: PipelineEntry) -> tuple[Study, Fold]:
        """Return the study and its first fold, of the first group that is fitted together."""
        study = self.study(entry)
        return study, self.once(("fold", entry.name), lambda: study.of_group(study.folds()[0], study.groups()[0]))

    def fitted(self, entry: PipelineEntry) -> Fitted:
        """Return a fit of the pipeline's smoke preset, on the first fold."""
        study, fold = self.fold(entry)

        def fit() -> Fitted:
            with threadpool_limits(1), blocked():
                return study.fit(fold, study.ctx)

        try:
            return self.once(("fitted", entry.name), fit)
        except NothingToTest:
            raise
        except Exception as error:  # a stranger's component may raise anything
            raise NothingToTest(f"it cannot be fitted: see smoke-{entry.name}") from error

    def smoke(self, entry: PipelineEntry) -> SmokeRun:
        """Return the smoke run of a pipeline, made once; NothingToTest if it fails, which its own check says."""
        try:
            return self.smoke_itself(entry)
        except NothingToTest:
            raise
        except Exception as error:  # a stranger's component may raise anything
            raise NothingToTest(f"the smoke run failed: see smoke-{entry.name}") from error

    def smoke_itself(self, entry: PipelineEntry) -> SmokeRun:
        """Return the smoke run; raises what the run raised."""
        return self.once(("smoke", entry.name), functools.partial(self._smoke, entry))

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what `make` makes, computed when `key` is first asked for; a failure is raised again."""
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except Exception as error:
                self._kept[key] = error
        found = self._kept[key]
        if isinstance(found, Exception):
            raise found
        return cast(T, found)

    def fails(self, key: Any, check: Callable[[], None]) -> bool:
        """Return whether a check, run once, fails: others then leave it to say so."""
        try:
            self.once(("fails", key), check)
        except NothingToTest:
            return False
        except Exception:  # it says what by itself
            return True
        return False

    def _study(self, entry: PipelineEntry) -> Study:
        config = self.config(entry)
        try:
            pipeline = build(entry.name, pipeline_part(config), self.manager)
        except HubError as error:
            raise NothingToTest(f"its parts do not fit: see spaces-{entry.name}") from error
        ctx = self.context()
        with threadpool_limits(1), blocked():
            try:
                pipeline.dataset.prepare(ctx)
                return Study(pipeline, ctx)
            except Exception as error:  # a stranger's dataset may raise anything
                raise NothingToTest(f"its data cannot be prepared: see smoke-{entry.name}") from error

    def _smoke(self, entry: PipelineEntry) -> SmokeRun:
        config = self.config(entry)
        try:
            build(entry.name, pipeline_part(config), self.manager)
        except HubError as error:
            raise NothingToTest(f"its parts do not fit: see spaces-{entry.name}") from error
        options = Options(
            device="cpu", out=self.folder / "runs", jobs=1, network=False, preset=SMOKE, cache=self.folder / "cache"
        )
        began = cpu_seconds()
        with threadpool_limits(1), blocked() as reached:
            run = run_pipeline(config, options, self.manager)
        return SmokeRun(run, run.config, cpu_seconds() - began, reached)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its finished children so far: a busy machine does not count."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system

"""What the installed plugins offer, read from their registry.yaml without importing any of them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from braindecode_hub.discovery import Found, installed_plugins
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.files import read_yaml
from braindecode_hub.version import API_VERSION

REFERENCE = "braindecode-hub"
LOCAL_MODULE = "braindecode_hub_local"
LIMIT = "BRAINDECODE_HUB_PLUGINS"


@dataclass(frozen=True)
class Plugin:
    """A plugin that can be loaded: where it is from and where its module stands."""

    name: str
    module: str
    distribution: str

    @property
    def reference(self) -> bool:
        """True for the plugins that come with the hub itself."""
        return self.distribution == REFERENCE


@dataclass(frozen=True)
class PipelineEntry:
    """One pipeline of the catalogue: plain data, nothing imported."""

    name: str
    plugin: Plugin
    spec: Mapping[str, Any]

    @property
    def presets(self) -> dict[str, Any]:
        """The presets by name."""
        return dict(self.spec.get("presets") or {})


@dataclass
class Catalogue:
    """Every plugin and pipeline that was found, and one line for each that is broken."""

    plugins: dict[str, Plugin] = field(default_factory=dict)
    pipelines: dict[str, PipelineEntry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def pipeline(self, name: str) -> PipelineEntry:
        """Return the pipeline called `name`; HubError with the nearest names if there is none."""
        if name in self.pipelines:
            return self.pipelines[name]
        if name in self.broken:
            raise HubError(f"plugin '{name}' cannot be used: {self.broken[name]}", "see `braindecode-hub doctor`")
        raise HubError(f"unknown pipeline '{name}'", did_you_mean(name, self.pipelines), usage=True)

    def add(self, found: Found, registry: Path | None) -> None:
        """Read one plugin; whatever is wrong with it becomes a line in `problems`."""
        plugin = Plugin(*found)
        taken = self.plugins.get(plugin.name)
        if taken is not None or plugin.name == "core":
            keeper = REFERENCE if taken is None else taken.distribution
            self._problem(plugin, f"the name is taken by {keeper}", broken=False)
            return
        try:
            spec = {} if registry is None else _read_registry(registry)
        except HubError as error:
            self._problem(plugin, error.cause)
            return
        self.plugins[plugin.name] = plugin
        for name, pipeline in (spec.get("pipelines") or {}).items():
            self._add_pipeline(plugin, str(name), pipeline)

    def _add_pipeline(self, plugin: Plugin, name: str, spec: Any) -> None:
        wrong = _wrong_in(spec)
        if wrong is not None:
            self._problem(plugin, f"pipeline '{name}' {wrong}", broken=False)
            return
        taken = self.pipelines.get(name)
        if taken is not None:
            kept = taken.plugin.distribution
            self._problem(plugin, f"pipeline '{name}' is already that of {kept}, which keeps it", broken=False)
            return
        self.pipelines[name] = PipelineEntry(name, plugin, spec)

    def _problem(self, plugin: Plugin, what: str, *, broken: bool = True) -> None:
        self.problems.append(f"{plugin.name} ({plugin.distribution}): {what}")
        if broken:
            self.broken.setdefault(plugin.name, what)


def read_catalogue(found: Iterable[Found] | None = None) -> Catalogue:
    """Read the catalogue of the reference plugins, the installed ones, and ./braindecode_hub_local.py.

    The environment variable BRAINDECODE_HUB_PLUGINS limits it: "a,b", or "none" for the reference plugins alone.
    """
    catalogue = Catalogue()
    everything = list(installed_plugins() if found is None else found)
    reference = [one for one in everything if one.distribution == REFERENCE]
    _add_reference(catalogue, reference)
    for one in everything:
        if one.distribution != REFERENCE and _allowed(one.name):
            _add_installed(catalogue, one)
    local = Path.cwd() / f"{LOCAL_MODULE}.py"
    if local.is_file() and _allowed("local"):
        beside = local.with_suffix(".yaml")
        catalogue.add(Found("local", LOCAL_MODULE, "this folder"), beside if beside.is_file() else None)
    return catalogue


def reference_registry() -> Path:
    """Return the reference registry.yaml: packaged beside this file, or at the root of a checkout."""
    here = Path(__file__).resolve()
    packaged = here.with_name("registry.yaml")
    return packaged if packaged.is_file() else here.parents[2] / "registry.yaml"


def _add_reference(catalogue: Catalogue, found: list[Found]) -> None:
    for one in found:
        catalogue.plugins[one.name] = Plugin(*one)
    for name, spec in (_read_registry(reference_registry()).get("pipelines") or {}).items():
        plugin = catalogue.plugins.get(spec["plugin"])
        if plugin is not None:
            catalogue.pipelines[name] = PipelineEntry(name, plugin, spec)


def _add_installed(catalogue: Catalogue, found: Found) -> None:
    if "." in found.module:
        catalogue._problem(Plugin(*found), f"its entry point must name a top-level module, not {found.module}")
        return
    try:
        module = importlib.util.find_spec(found.module)
    except (ImportError, ValueError) as error:
        catalogue._problem(Plugin(*found), f"module {found.module} cannot be found ({error})")
        return
    if module is None or not module.has_location or module.origin is None:
        catalogue._problem(Plugin(*found), f"module {found.module} is not installed")
        return
    origin = Path(module.origin)
    registry = origin.with_name("registry.yaml") if module.submodule_search_locations else origin.with_suffix(".yaml")
    catalogue.add(found, registry if registry.is_file() else None)


def _read_registry(path: Path) -> dict[str, Any]:
    spec = read_yaml(path, path.name)
    if not isinstance(spec, dict):
        raise HubError(f"{path.name} is not a mapping", "begin it with `api:` and `pipelines:`")
    theirs = str(spec.get("api", "missing"))
    if theirs.split(".")[0] != API_VERSION.split(".")[0]:
        raise HubError(f"its registry is for api {theirs}, this is api {API_VERSION}", "update the plugin")
    if not isinstance(spec.get("pipelines") or {}, dict):
        raise HubError(f"`pipelines` in {path.name} is not a mapping", "write `name: {…}` for each pipeline")
    return spec


def _wrong_in(spec: Any) -> str | None:
    """Say what is wrong with the form of one pipeline of a registry; None if nothing is."""
    if not isinstance(spec, dict):
        return "is not a mapping"
    for key in ("dataset", "targets", "decoder"):
        if not isinstance(spec.get(key), dict):
            return f"has no '{key}', or one that is not a mapping"
    for key, kind, called in (("presets", dict, "a mapping"), ("flow", list, "a list"), ("summary", str, "text")):
        if not isinstance(spec.get(key) or kind(), kind):
            return f"has a '{key}' that is not {called}"
    for name, changes in (spec.get("presets") or {}).items():
        if not isinstance(changes, dict | None):
            return f"has a preset '{name}' that is not a mapping"
    return None


def _allowed(name: str) -> bool:
    limit = os.environ.get(LIMIT)
    return limit is None or name in [part.strip() for part in limit.split(",")]

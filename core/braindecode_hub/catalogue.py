"""What the installed plugins offer, read from their registry.yaml without importing any of them."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from braindecode_hub.discovery import Found, installed_plugins
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.form import wrong_in
from braindecode_hub.manifests import Manifests
from braindecode_hub.text import one_line
from braindecode_hub.version import API_VERSION

REFERENCE = "braindecode-hub"
LOCAL_MODULE = "braindecode_hub_local"
LIMIT = "BRAINDECODE_HUB_PLUGINS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
"""Names of plugins and pipelines: they become folders, and stand in front of a part's "/"."""


class Plugin(NamedTuple):
    """A plugin that can be loaded: where it is from and where its module stands."""

    name: str
    module: str
    distribution: str

    @property
    def reference(self) -> bool:
        """True for the plugins that come with the hub itself."""
        return self.distribution == REFERENCE


class PipelineEntry(NamedTuple):
    """One pipeline of the catalogue: plain data, nothing imported."""

    name: str
    plugin: Plugin
    spec: Mapping[str, Any]

    @property
    def presets(self) -> dict[str, Any]:
        """The presets by name."""
        return dict(self.spec.get("presets") or {})


class Catalogue:
    """Every plugin (`plugins`, to begin with) and pipeline that was found, and one line for each that is broken."""

    def __init__(self, plugins: Mapping[str, Plugin] | None = None) -> None:
        self.plugins: dict[str, Plugin] = dict(plugins or {})
        self.pipelines: dict[str, PipelineEntry] = {}
        self.problems: list[str] = []
        self.broken: dict[str, str] = {}
        self.manifests = Manifests(_parsed)

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
        if not _NAME.fullmatch(plugin.name):
            self._problem(plugin, "that is no name for a plugin: use letters, digits and _", broken=False)
            return
        if taken is not None or plugin.name == "core":
            keeper = REFERENCE if taken is None else taken.distribution
            self._problem(plugin, f"the name is taken by {keeper}", broken=False)
            return
        try:
            spec = {} if registry is None else _read_registry(registry, self.manifests)
        except HubError as error:
            self._problem(plugin, error.cause)
            return
        self.plugins[plugin.name] = plugin
        for name, pipeline in (spec.get("pipelines") or {}).items():
            self._add_pipeline(plugin, name, pipeline)

    def _add_pipeline(self, plugin: Plugin, name: Any, spec: Any) -> None:
        wrong = wrong_in(spec)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wrong = "has a name that is none: use letters, digits and _"
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
        self.problems.append(one_line(f"{plugin.name} ({plugin.distribution}): {what}"))
        if broken:
            self.broken.setdefault(plugin.name, one_line(what))


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
        catalogue.add(Found("local", LOCAL_MODULE, "this folder"), _there(beside))
    catalogue.manifests.keep()
    return catalogue


def reference_registry() -> Path:
    """Return the reference registry.yaml: packaged beside this file, or at the root of a checkout."""
    here = Path(__file__).resolve()
    packaged = here.with_name("registry.yaml")
    return packaged if packaged.is_file() else here.parents[2] / "registry.yaml"


def _add_reference(catalogue: Catalogue, found: list[Found]) -> None:
    for one in found:
        catalogue.plugins[one.name] = Plugin(*one)
    registry = _read_registry(reference_registry(), catalogue.manifests)
    for name, spec in (registry.get("pipelines") or {}).items():
        plugin = catalogue.plugins.get(spec["plugin"])
        if plugin is not None:
            catalogue.pipelines[name] = PipelineEntry(name, plugin, spec)


def _add_installed(catalogue: Catalogue, found: Found) -> None:
    if "." in found.module:
        catalogue._problem(Plugin(*found), f"its entry point must name a top-level module, not {found.module}")
        return
    try:
        module = importlib.util.find_spec(found.module)
    except Exception as error:  # somebody's import hook may raise anything
        catalogue._problem(Plugin(*found), f"module {found.module} cannot be found ({error})")
        return
    if module is None or not module.has_location or module.origin is None:
        catalogue._problem(Plugin(*found), f"module {found.module} is not installed")
        return
    origin = Path(module.origin)
    registry = origin.with_name("registry.yaml") if module.submodule_search_locations else origin.with_suffix(".yaml")
    catalogue.add(found, _there(registry))


def _there(path: Path) -> Path | None:
    """Return `path` if anything is there, be it a folder or a link that leads nowhere: who reads it will say so."""
    return path if os.path.lexists(path) else None


def _parsed(path: Path) -> Any:
    from braindecode_hub.files import read_yaml  # here: `list` needs it only when a registry is new

    return read_yaml(path, path.name)


def _read_registry(path: Path, manifests: Manifests) -> dict[str, Any]:
    spec = manifests.read(path)
    if not isinstance(spec, dict):
        raise HubError(f"{path.name} is not a mapping", "begin it with `api:` and `pipelines:`")
    theirs = str(spec.get("api", "missing"))
    if theirs.split(".")[0] != API_VERSION.split(".")[0]:
        raise HubError(f"its registry is for api {theirs}, this is api {API_VERSION}", "update the plugin")
    if not isinstance(spec.get("pipelines") or {}, dict):
        raise HubError(f"`pipelines` in {path.name} is not a mapping", "write `name: {…}` for each pipeline")
    return spec


def _allowed(name: str) -> bool:
    limit = os.environ.get(LIMIT)
    return limit is None or name in [part.strip() for part in limit.split(",")]

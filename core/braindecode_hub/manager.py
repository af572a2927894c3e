"""Plugins in use: imported only when asked for, each one isolated from the others."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pluggy

from braindecode_hub import hookspecs
from braindecode_hub.catalogue import LOCAL_MODULE, Catalogue, Plugin, read_catalogue
from braindecode_hub.errors import HubError, MissingPackage, did_you_mean
from braindecode_hub.interfaces import Component, Dataset, Decoder, Encoder, Metric, Renderer
from braindecode_hub.strangers import Failure, guarded
from braindecode_hub.text import one_line
from braindecode_hub.types import Event

KINDS: dict[str, type[Component]] = {
    "dataset": Dataset,
    "encoder": Encoder,
    "decoder": Decoder,
    "renderer": Renderer,
    "metric": Metric,
}
_TARGET = re.compile(r"[\w.]+:\w+")


class Registered(NamedTuple):
    """A component by name: what kind it is, where its class stands, and who registered it."""

    kind: str
    name: str
    target: str
    plugin: Plugin


class Register:
    """What `register_components` is handed: `register.encoder("plugin/part", "module:Class")`."""

    def __init__(self, plugin: Plugin, components: dict[tuple[str, str], Registered]) -> None:
        self._plugin = plugin
        self._components = components

    def dataset(self, name: str, target: str) -> None:
        """Register a Dataset."""
        self._add("dataset", name, target)

    def encoder(self, name: str, target: str) -> None:
        """Register an Encoder."""
        self._add("encoder", name, target)

    def decoder(self, name: str, target: str) -> None:
        """Register a Decoder."""
        self._add("decoder", name, target)

    def renderer(self, name: str, target: str) -> None:
        """Register a Renderer."""
        self._add("renderer", name, target)

    def metric(self, name: str, target: str) -> None:
        """Register a Metric."""
        self._add("metric", name, target)

    def _add(self, kind: str, name: str, target: str) -> None:
        prefix = self._plugin.name + "/"
        if not name.startswith(prefix):
            raise HubError(
                f"component '{name}' does not begin with '{prefix}'", "a plugin registers under its own name"
            )
        if not _TARGET.fullmatch(target):
            raise HubError(f"component '{name}' is at '{target}'", 'write it as "package.module:Class"')
        if (kind, name) in self._components:
            raise HubError(f"{kind} '{name}' is registered twice", "remove one of the two")
        self._components[kind, name] = Registered(kind, name, target, self._plugin)


class Manager:
    """Loads plugins of a catalogue on demand and hands out their classes and hooks."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = read_catalogue() if catalogue is None else catalogue
        self.problems: list[str] = list(self.catalogue.problems)
        self.components: dict[tuple[str, str], Registered] = {}
        self._pm = pluggy.PluginManager(hookspecs.PROJECT)
        self._pm.add_hookspecs(hookspecs)
        self._failed: dict[str, HubError] = {}
        self._load(Plugin("core", "braindecode_hub.builtin", "braindecode-hub"))

    def load(self, name: str) -> None:
        """Import plugin `name` and register its hooks and components; HubError if it is broken."""
        if self._pm.has_plugin(name):
            return
        if name in self._failed:
            raise self._failed[name]
        if name in self.catalogue.broken:
            raise HubError(
                f"plugin '{name}' cannot be used: {self.catalogue.broken[name]}",
                "see `braindecode-hub doctor`",
            )
        if name not in self.catalogue.plugins:
            raise HubError(
                f"unknown plugin '{name}'", did_you_mean(name, [*self.catalogue.plugins, "core"]), usage=True
            )
        self._load(self.catalogue.plugins[name])

    def load_all(self) -> None:
        """Load every plugin; each broken one becomes a line in `problems`."""
        for name in self.catalogue.plugins:
            try:
                self.load(name)
            except HubError:
                continue

    def component(self, kind: str, name: str) -> type[Component]:
        """Return the class registered as `name`, imported now.

        Raises HubError for an unknown name (with the nearest), a missing package (with the pip line), or a class
        that is not of its kind.
        """
        plugin = name.split("/")[0]
        if plugin != "core" and plugin in (*self.catalogue.plugins, *self.catalogue.broken):
            self.load(plugin)
        entry = self.components.get((kind, name))
        if entry is None:
            self.load_all()
            known = [other for other_kind, other in self.components if other_kind == kind]
            raise HubError(f"unknown {kind} '{name}'", did_you_mean(name, known), usage=True)
        return self._class(entry)

    def hooks(self, name: str) -> list[tuple[str, Callable[..., Any]]]:
        """Return the loaded implementations of a hook as (plugin name, callable taking keywords), last first."""
        caller = getattr(self._pm.hook, name)
        return [(impl.plugin_name, partial(_call, impl)) for impl in reversed(caller.get_hookimpls())]

    def first(self, name: str, **arguments: Any) -> Any:
        """Return the first answer that is not None, loading the remaining plugins if nobody answers.

        A plugin that raises is noted and passed over, but for a HubError, which is its answer; core's own is raised.
        """
        asked: set[str] = set()
        for everybody in (False, True):
            if everybody:
                self.load_all()
            for plugin, call in self.hooks(name):
                if plugin in asked:
                    continue
                asked.add(plugin)
                answer = call(**arguments) if plugin == "core" else self._answer(plugin, name, call, arguments)
                if answer is not None:
                    return answer
        return None

    def each(
        self, name: str, *, read: Callable[[Any], Any] = lambda answer: answer, **arguments: Any
    ) -> Iterator[tuple[str, Any]]:
        """Call every implementation by itself: one that raises becomes a line in `problems`, the rest go on.

        `read`: makes of an answer what is wanted of it, and may raise like the plugin itself.
        """
        for plugin, call in self.hooks(name):
            try:
                with guarded():
                    answer = read(call(**arguments))
            except Failure as failure:
                self._failed_hook(plugin, name, failure)
                continue
            yield plugin, answer

    def tell(self, event: Event) -> None:
        """Show an event to every observer; what one raises or does to its copy is never fatal to others."""
        for plugin, call in self.hooks("observe"):
            try:
                with guarded():
                    call(event=dict(event))
            except Failure as failure:
                self._failed_hook(plugin, "observe", failure)

    def register(self, plugin: object, name: str) -> None:
        """Add hook implementations that are an object of this process (the command line's progress bar)."""
        self._pm.register(plugin, name)

    def unregister(self, plugin: object) -> None:
        """Take an object of this process out again."""
        self._pm.unregister(plugin)

    def _load(self, plugin: Plugin) -> None:
        components: dict[tuple[str, str], Registered] = {}
        try:
            with guarded():
                module = _import(plugin)
                self._pm.register(module, plugin.name)
                self._pm.check_pending()
                for name, call in self.hooks("register_components"):
                    if name == plugin.name:
                        call(register=Register(plugin, components))
        except Failure as failure:
            error = failure.error
            if self._pm.has_plugin(plugin.name):
                self._pm.unregister(name=plugin.name)
            self._failed[plugin.name] = HubError(
                f"plugin '{plugin.name}' ({plugin.distribution}) cannot be used: {_one_line(error)}",
                "update or uninstall it, or see `braindecode-hub doctor`",
            )
            self._note(f"{plugin.name} ({plugin.distribution}): {_one_line(error)}")
            raise self._failed[plugin.name] from error
        self.components.update(components)

    def _class(self, entry: Registered) -> type[Component]:
        module_name, class_name = entry.target.split(":")
        try:
            with guarded():
                module = importlib.import_module(module_name)
        except Failure as failure:
            error = failure.error
            if not isinstance(error, ModuleNotFoundError):
                raise HubError(
                    f"{entry.name} ({entry.target}) cannot be imported: {_one_line(error)}",
                    f"update or correct {entry.plugin.distribution}",
                ) from error
            if not f"{module_name}.".startswith(f"{error.name}."):
                raise self._missing(entry, error.name or module_name) from error
            module = None
        found = getattr(module, class_name, None)
        if found is None:
            raise HubError(f"{entry.name} is not at {entry.target}", f"correct the name in {entry.plugin.name}")
        if not (isinstance(found, type) and issubclass(found, KINDS[entry.kind])):
            raise HubError(
                f"{entry.name} ({entry.target}) is not a {entry.kind}",
                f"derive it from {KINDS[entry.kind].__name__}",
            )
        for needed in found.requires:
            if not _importable(needed):
                raise self._missing(entry, needed)
        return found

    def _missing(self, entry: Registered, package: str) -> HubError:
        if entry.plugin.reference:
            extra = "io" if entry.plugin.name == "core" else entry.plugin.name.replace("_", "-")
            return MissingPackage(f"{entry.name} needs {package}", f"pip install 'braindecode-hub[{extra}]'")
        return MissingPackage(f"{entry.name} needs {package}", f"pip install {package}")

    def _answer(self, plugin: str, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Return what one plugin's hook says; None, and a line in `problems`, if it fails."""
        try:
            with guarded():
                return call(**arguments)
        except Failure as failure:
            if isinstance(failure.error, HubError):
                raise failure.error from None
            self._failed_hook(plugin, name, failure)
            return None

    def _failed_hook(self, plugin: str, name: str, failure: Failure) -> None:
        """Note the first failure of a plugin's hook; an observer that fails at every event is one line."""
        began = f"{plugin}: {name} failed: "
        if not any(line.startswith(began) for line in self.problems):
            self._note(began + _one_line(failure.error))

    def _note(self, line: str) -> None:
        line = one_line(line)
        if line not in self.problems:
            self.problems.append(line)


def _import(plugin: Plugin) -> Any:
    if plugin.module != LOCAL_MODULE:
        return importlib.import_module(plugin.module)
    path = Path.cwd() / f"{LOCAL_MODULE}.py"
    loaded = sys.modules.get(LOCAL_MODULE)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(LOCAL_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[LOCAL_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[LOCAL_MODULE]
        raise
    return module


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent package is missing, or it is half imported
        return False


def _call(impl: Any, **arguments: Any) -> Any:
    return impl.function(*[arguments[name] for name in impl.argnames])


def _one_line(error: BaseException) -> str:
    """Return an error as one line: a HubError's cause, another's kind and the first line of what it says."""
    if isinstance(error, HubError):
        return error.cause
    try:
        said = str(error).strip().splitlines()
    except Exception:  # whose __str__ raises too
        said = []
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__

"""What `describe` prints."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from braindecode_hub.files import yaml_text
from braindecode_hub.manager import KINDS, Manager
from braindecode_hub.pipeline import parts_of, resolve

if TYPE_CHECKING:
    from braindecode_hub.interfaces import Component


def describe_pipeline(name: str, preset: str | None, manager: Manager) -> str:
    """Return a pipeline's purpose, presets, and every parameter of every part with its present value."""
    entry = manager.catalogue.pipeline(name)
    config = resolve(entry, manager, preset=preset)
    lines = [
        f"{name}: {config.get('summary', '')}",
        f"flow: {' → '.join(map(str, config.get('flow') or []))}",
    ]
    source: Mapping[str, Any] = config.get("source") or {}
    lines += [f"{key.replace('_', ' ')}: {value}" for key, value in source.items()]
    lines += [f"presets: {', '.join(entry.presets)}", ""]
    for kind, where, part in parts_of(config):
        found = manager.component(kind, part["use"])
        lines.append(f"{where}: {part['use']} — {_first_line(found)}")
        lines += [f"    {key} = {part.get(key, default)!r}" for key, default in _parameters(found)]
    rest = {key: value for key, value in config.items() if key in ("window", "split", "unit_s")}
    return "\n".join([*lines, "", yaml_text(rest).rstrip(), "", "Change any of these with --set where.parameter=value"])


def describe_component(name: str, manager: Manager) -> str:
    """Return a component's documentation and parameters."""
    plugin = name.split("/")[0]
    if plugin in manager.catalogue.plugins:
        manager.load(plugin)
    kinds = [kind for kind, known in manager.components if known == name]
    found = manager.component(kinds[0] if kinds else next(iter(KINDS)), name)
    parameters = [f"    {key} = {default!r}" for key, default in _parameters(found)]
    needs = [f"needs: {', '.join(found.requires)}"] if found.requires else []
    return "\n".join([f"{name} ({kinds[0]})", inspect.getdoc(found) or "", *needs, *parameters])


def _parameters(found: type[Component]) -> list[tuple[str, Any]]:
    return [(key, _Default(parameter.default)) for key, parameter in found.parameters().items()]


class _Default:
    """A parameter's default as it is shown."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "(required)" if self.value is inspect.Parameter.empty else repr(self.value)


def _first_line(found: type[Component]) -> str:
    paragraph = (inspect.getdoc(found) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def registry_table(manager: Manager) -> str:
    """Return the README's table of pipelines, in Markdown, from the catalogue."""
    rows = ["| pipeline | what it does | flow | presets |", "|---|---|---|---|"]
    for name, entry in sorted(manager.catalogue.pipelines.items()):
        if entry.plugin.reference:
            flow = " → ".join(map(str, entry.spec.get("flow") or []))
            presets = ", ".join(f"`{preset}`" for preset in entry.presets)
            rows.append(f"| `{name}` | {entry.spec.get('summary', '')} | {flow} | {presets} |")
    return "\n".join(rows)

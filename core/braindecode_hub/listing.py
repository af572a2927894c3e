"""What `list` prints: the pipelines, their presets, and one line for each plugin that is broken."""

from __future__ import annotations

from braindecode_hub.catalogue import Catalogue, read_catalogue
from braindecode_hub.text import one_line


def listing(catalogue: Catalogue | None = None) -> str:
    """Return the catalogue as lines of text; nothing of any plugin is imported for it."""
    catalogue = read_catalogue() if catalogue is None else catalogue
    width = max([len(name) for name in catalogue.pipelines] + [8])
    lines = []
    for name, entry in sorted(catalogue.pipelines.items()):
        lines.append(f"{name:<{width}}  {one_line(entry.spec.get('summary') or '')}")
        lines.append(f"{'':<{width}}  {one_line(' → '.join(map(str, entry.spec.get('flow') or [])))}")
        if entry.presets:
            lines.append(f"{'':<{width}}  presets: {one_line(', '.join(entry.presets))}")
        if not entry.plugin.reference:
            lines.append(f"{'':<{width}}  from {one_line(entry.plugin.distribution)}")
    if not catalogue.pipelines:
        lines.append("no pipelines: install a plugin, or braindecode-hub itself again")
    if catalogue.problems:
        lines += ["", "Problems", *(f"  {problem}" for problem in catalogue.problems)]
    return "\n".join(lines)

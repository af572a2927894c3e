"""What a report is made with: pictures and players as HTML that carries everything inside itself."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from braindecode_hub import figures
from braindecode_hub.scoretable import FLAGS
from braindecode_hub.text import visible
from braindecode_hub.verdict import finite, label

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure


def figure_html(fig: Figure, alt: str, caption: str = "") -> str:
    """Return `fig` as an HTML figure that holds it as a PNG for light pages and one for dark pages.

    `alt` says in words what is to be seen; it and `caption` are escaped. On dark pages black and white are
    exchanged, in all but images.
    """
    light, dark = (_data_uri(figures.png(fig, dark=dark), "image/png") for dark in (False, True))
    width, height = (round(float(inches) * 92) for inches in fig.get_size_inches())
    macros: Any = template().module
    return str(macros.picture(light, dark, alt, caption, width, height))


def audio_html(data: bytes, media_type: str, label: str) -> str:
    """Return an audio player for `data` with a visible, escaped `label`; ValueError for another type."""
    if not re.fullmatch(r"audio/[\w.+-]+", media_type):
        raise ValueError(f"{media_type!r} is no audio media type")
    macros: Any = template().module
    return str(macros.player(_data_uri(data, media_type), label))


@cache
def template() -> jinja2.Template:
    """Return the page's template, a module of macros."""
    text = files("braindecode_hub").joinpath("report.html.j2").read_text("utf-8")
    return report_environment().from_string(text)


@cache
def report_environment() -> jinja2.Environment:
    """Return where report HTML is made: autoescaped, control characters visible, what is missing a dash."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters.update(label=label, seconds=_seconds, yaml=_yaml, kind=_kind)
    return environment


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _shown(value: Any) -> Any:
    """Make a value fit to print: a dash for None, a visible sign for a control character."""
    import jinja2

    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _kind(flag: str) -> str:
    """Return the style of a flag."""
    return next((known.lower().replace(" ", "-") for known in FLAGS if flag.upper().startswith(known)), "other")


def _seconds(value: Any) -> str:
    """Return a duration as people say it."""
    given = finite(value)
    if given is None:
        return "–"
    if given < 60:
        return f"{given:.2g} s" if given < 10 else f"{given:.0f} s"
    minutes, rest = divmod(round(given), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False, allow_unicode=True))

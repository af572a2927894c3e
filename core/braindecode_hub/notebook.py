"""What a run shows of itself in a notebook: flags, verdict, scores, and the first stretch to listen to."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from braindecode_hub.embed import audio_html, report_environment
from braindecode_hub.report import main_score
from braindecode_hub.scoretable import flags, score_table
from braindecode_hub.text import visible
from braindecode_hub.verdict import judge

if TYPE_CHECKING:
    import jinja2

    from braindecode_hub.report import Reported

MOST_BYTES = 1_000_000
"""Size of one audio file that is put into a notebook."""
MEDIA_TYPES = {".flac": "audio/flac", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg"}

PAGE = """
<div style="max-width:60rem;font-family:system-ui,sans-serif;line-height:1.45">
{% for flag, meaning in flags %}
{% set colours = '#c3221f;color:#fff' if flag in ('LEAK', 'CHANCE') else '#ffd449;color:#221a00' %}
<div role="note" style="background:{{ colours }};padding:.4rem .8rem;border-radius:6px;margin:.2rem 0">
<b>{{ flag }}</b> {{ meaning }}</div>
{% endfor %}
<p style="font-size:1.1em;margin:.6rem 0"><b>{{ verdict.claim }}</b>: {{ verdict.evidence }}
{%- for caveat in verdict.caveats %}; {{ caveat }}{% endfor %}.</p>
{% if table.rows %}
<table><caption style="text-align:left">Scores{% for flag, _ in flags %} · {{ flag }}{% endfor %}</caption>
<thead><tr><th scope="col">score</th>
{% for _, title in table.columns %}<th scope="col">{{ title }}</th>{% endfor %}</tr></thead><tbody>
{% for name, cells in table.rows %}
<tr><th scope="row">{{ name|label }}</th>
{% for text, _, note in cells %}
<td{% if cells|length == 1 %} colspan="{{ table.columns|length }}"{% endif %} style="text-align:left">
{{ text }}{% if note %}<sup>{{ note }}</sup>{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table>
{% for why, which in table.notes %}
<div><small><sup>{{ loop.index }}</sup> {{ why }}: {{ which }}</small></div>
{% endfor %}
{% endif %}
{% if players %}
<div style="display:flex;gap:1rem;flex-wrap:wrap">
{% for player in players %}<div style="flex:1 1 14rem">{{ player|safe }}</div>{% endfor %}
</div>
{% endif %}
<p><small>The whole report: <code>{{ report }}</code></small></p>
</div>
"""


def run_html(run: Reported) -> str:
    """Return the HTML that stands for `run` in a notebook's output: self-contained, everything escaped."""
    main = main_score(run)
    page = _template().render(
        flags=flags(run.metrics),
        verdict=judge(run.metrics, main),
        table=score_table(run.metrics),
        players=[audio_html(path.read_bytes(), MEDIA_TYPES[path.suffix], name) for name, path in _first_triplet(run)],
        report=f"{run.path.name}/report.html",
    )
    return visible(page)


@cache
def _template() -> jinja2.Template:
    return report_environment().from_string(PAGE)


def _first_triplet(run: Reported) -> list[tuple[str, Path]]:
    """Return the audio of the first stretch that has any, by the name of its copy; no big files."""
    sounds = [path for path in sorted(run.artifacts()) if path.suffix in MEDIA_TYPES and path.is_file()]
    first = sounds[0].name.split(".", 1)[0] if sounds else ""
    copies = [path for path in sounds if path.name.split(".", 1)[0] == first and path.stat().st_size <= MOST_BYTES]
    order = ["original", "vocoded", "reconstructed"]
    named = [(path.stem.rsplit(".", 1)[-1], path) for path in copies]
    return sorted(named, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))

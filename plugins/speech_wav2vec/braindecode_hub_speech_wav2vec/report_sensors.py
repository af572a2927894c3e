"""The learned attention of a run as maps: how much the network takes from each sensor, a subject each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays
from braindecode_hub.privacy import Names
from braindecode_hub.report import figure_html
from braindecode_hub_speech_wav2vec.trf_figures import FEWEST_PLACES, topography_figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from braindecode_hub.report import Reported
    from braindecode_hub.types import Array

DRAWN = 4
"""Subjects that are drawn."""
NO_MAP = (
    f"No map: fewer than {FEWEST_PLACES} sensors have known positions. "
    "Where none has, the network placed them by their number."
)


def sensors_html(run: Reported) -> str:
    """Return a map for each subject of the first fold, and what it is; "" for a decoder that attends to nothing.

    A state that cannot be read, or sensors without positions, are said in place of the maps.
    """
    states = sorted(run.path.glob("fold-0/*.state.safetensors"))
    damaged, found = 0, []
    for path in states:
        try:
            arrays, info = load_arrays(path)
            found += list(_attended(arrays, info.get("values") or {}))
        except (HubError, ValueError, TypeError):
            damaged += 1
    if not found:
        told = '<p class="missing">The state of this run, which has the attention, cannot be read.</p>'
        return told if damaged else ""
    codes = Names.of_split(run.split).subjects
    maps = [_map(codes.get(one[0], one[0]), *one[1:]) for one in found if len(one[1]) >= FEWEST_PLACES]
    if not maps:
        return f'<p class="missing">{NO_MAP}</p>'
    started = all(step == 0 for _, _, _, step in found)
    untrained = (
        " <b>Validation chose the linear start</b>, before any training: what is mapped here was not learned."
        if started
        else ""
    )
    more = f" {DRAWN} of {len(maps)} subjects are drawn." if len(maps) > DRAWN else ""
    about = (
        "<p>How much the spatial attention takes from each sensor, in percent, all virtual channels together: the "
        "larger, the more of what the convolutions see comes from there. Equal shares mean no preference. It does not "
        "show what the linear path beside the convolutions uses, nor where in the brain anything happens."
        f"{untrained}{more}</p>"
    )
    return f'{about}<div class="grid">{"".join(maps[:DRAWN])}</div>'


def _attended(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> Iterator[tuple[str, Array, Array, int | None]]:
    """Yield (subject, shares (sensors,), positions (sensors, 3), the step that was chosen) of one fit."""
    attention, places = arrays.get("decoder/attention_"), arrays.get("decoder/positions_")
    names = values.get("decoder/subjects_") or []
    if attention is None or places is None or attention.ndim != 2 or places.shape != (*attention.shape, 3):
        return
    if len(names) != len(attention):
        return
    step = values.get("decoder/best_step_")
    for name, weights, where in zip(names, attention, places, strict=True):
        kept = where.any(axis=1) & (weights > 0) & np.isfinite(weights)
        yield str(name), weights[kept], where[kept], step


def _map(name: str, weights: Array, places: Array, step: int | None) -> str:
    share = 100 * weights / weights.sum()
    count = len(share)
    figure = topography_figure(share, places, np.zeros(count, bool), [""] * count, label="share (%)", signed=False)
    alt = f"Attention of subject {name} over {count} sensors: shares from {share.min():.1f} to {share.max():.1f} %"
    caption = (
        f"Subject {name}: {count} sensors, {share.min():.1f} to {share.max():.1f} % each; equal: {100 / count:.1f} %."
    )
    return figure_html(figure, alt, caption)

"""From predictions to media files: the original, the target rendered back, and the reconstruction, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.files import file_name, write_whole
from braindecode_hub.media import SIMULATED, as_media
from braindecode_hub.scoring import Scored
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Artifact, Context

if TYPE_CHECKING:
    from braindecode_hub.evaluation import Items

EXCERPTS = 3
EXCERPT_S = 10.0


def render_items(study: Study, items: Items, folder: Path, ctx: Context, *, seconds: float | None = None) -> list[Path]:
    """Write each item's original, rendered target ("vocoded") and reconstruction into `folder`; returns the files.

    `seconds`: only so much from the start of each item; None: all of it. Nothing if the pipeline has no renderer.
    """
    if study.pipeline.renderer is None:
        return []
    spaces = [space.name for space in study.pipeline.renderer.consumes]
    prefix = SIMULATED if study.pipeline.dataset.simulated else ""
    main = items[spaces[0]]
    written: list[Path] = []
    for number, one in enumerate(main):
        ctx.log({"kind": "progress", "stage": "render", "done": number, "total": len(main)})
        shown = {name: _cut(items[name][number], study.rate(name), seconds) for name in spaces}
        renderer = study.renderer(one.fit)
        assert renderer is not None, "checked above"
        copies: dict[str, Sequence[Artifact]] = {
            "original": _original(study, one, spaces[0], seconds),
            "vocoded": renderer.render({name: item.target for name, item in shown.items()}, ctx),
            "reconstructed": renderer.render({name: item.predicted for name, item in shown.items()}, ctx),
        }
        for copy, artifacts in copies.items():
            for place, artifact in enumerate(artifacts):
                part = f".{place}" if place else ""
                path = folder / file_name(f"{prefix}{one.name}.{copy}{part}{artifact.suffix}")
                write_whole(path, artifact.data)
                written.append(path)
    return written


def excerpts(items: Items, count: int = EXCERPTS) -> Items:
    """Return the `count` longest items, in their own order."""
    lengths = [len(item.target) for item in next(iter(items.values()))]
    longest = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))[:count]
    return {name: [some[k] for k in sorted(longest)] for name, some in items.items()}


def media_pair(study: Study, item: Scored, target: str, rate: float | None) -> tuple[Array, Array]:
    """Return an item's original and its rendered prediction as arrays for a metric, sound at `rate` Hz, equally long.

    Raises HubError where the stimulus is nothing that can be played or seen, or nothing renders the target.
    """
    renderer = study.renderer(item.fit)
    originals = _original(study, item, target, None)
    if renderer is None or not originals:
        raise HubError(f"target {target} cannot be scored as media", "leave out the metrics that need it", usage=True)
    [rendered, *_] = renderer.render({target: item.predicted}, study.ctx)
    if rate is None:
        return originals[0].array, rendered.array
    frame_rate = study.rate(target) or 1.0
    samples = round(len(item.predicted) / frame_rate * rate)
    return tuple(_sound(one, rate, samples) for one in (originals[0], rendered))  # type: ignore[return-value]


def _sound(artifact: Artifact, rate: float, samples: int) -> Array:
    """Return an artifact's sound at `rate` Hz, cut or filled with silence to `samples`."""
    from scipy.signal import resample_poly

    audio = np.asarray(artifact.array, np.float64)
    if artifact.rate and artifact.rate != rate:
        ratio = Fraction(rate / artifact.rate).limit_denominator(1000)
        audio = resample_poly(audio, ratio.numerator, ratio.denominator)
    out = np.zeros(samples, np.float32)
    out[: len(audio)] = audio[:samples]
    return out


def _cut(item: Scored, rate: float | None, seconds: float | None) -> Scored:
    if rate is None or seconds is None:
        return item
    count = max(1, round(seconds * rate))
    return dataclasses.replace(item, target=item.target[:count], predicted=item.predicted[:count])


def _original(study: Study, item: Scored, target: str, seconds: float | None) -> list[Artifact]:
    """Return the stimulus itself over the item's seconds, if it is something that can be played or seen."""
    space = study.pipeline.stimulus_space(target)
    signal = study.pipeline.dataset.stimulus(item.stimulus, space)
    if signal.rate is not None:
        rate = study.rate(target)
        length = len(item.target) / rate if rate else 0.0
        length = length if seconds is None else min(length, seconds)
        first = round(item.start * signal.rate)
        signal = dataclasses.replace(signal, data=signal.data[first : first + round(length * signal.rate)])
    return as_media("original", signal)

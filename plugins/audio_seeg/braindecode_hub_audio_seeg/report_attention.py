"""What audio_seeg adds to the report of an attention decoder: where it looked, and which electrodes it needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError
from braindecode_hub.figures import BLUE, GREY, ORANGE, new_figure
from braindecode_hub.files import load_arrays
from braindecode_hub.report import Section, figure_html

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from braindecode_hub.report import Reported

MOST_MAPS = 2
MOST_NAMED = 5
"""Electrodes that the caption names."""


def sections(run: Reported) -> list[Section]:
    """Return "Attention" (maps of validation windows) and "Electrodes" (contributions) of a run's first fit.

    Nothing where the decoder is another one. Damaged state files are left out.
    """
    if (run.config.get("decoder") or {}).get("use") != "audio_seeg/attention":
        return []
    arrays, values = _first_state(run)
    found = []
    maps = arrays.get("decoder/attention_")
    if maps is not None and maps.size:
        frame_times, step_times = (values[f"decoder/{name}"] for name in ("frame_times_", "step_times_"))
        drawn = [_map(one, frame_times, step_times, number) for number, one in enumerate(maps[:MOST_MAPS])]
        found.append(Section("Attention", _about_maps(values) + "".join(drawn), 27))
    contribution = arrays.get("decoder/contribution_")
    if contribution is not None and contribution.size:
        found.append(Section("Electrodes", _electrodes(contribution, values), 28))
    return found


def _first_state(run: Reported) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and values of the first fold's first fit; all empty if there is none to read."""
    for path in sorted(run.path.glob("fold-0/*.state.safetensors")):
        try:
            arrays, info = load_arrays(path)
        except HubError:
            continue
        return arrays, info.get("values") or {}
    return {}, {}


def _about_maps(values: dict[str, Any]) -> str:
    step = int(values.get("decoder/best_step_", 0))
    kept = (
        f"The weights after {step} training steps validated best and were kept."
        if step
        else "No training step validated better than the linear decoder, so that predicts: the maps say nothing."
    )
    return f"<p>Where in the brain's signal each decoded frame looked, in windows of the validation side. {kept}</p>"


def _map(weights: np.ndarray, frame_times: list[float], step_times: list[float], number: int) -> str:
    """Return the figure of one window's weights (frames, steps), both axes in milliseconds of the window."""
    import numpy as np

    frames, steps = np.asarray(frame_times) * 1e3, np.asarray(step_times) * 1e3
    figure, axes = new_figure(height=2.6)
    axes.pcolormesh(frames, steps, weights.T, cmap="magma", shading="nearest", rasterized=True)
    axes.plot(frames, frames, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xlabel("decoded frame (ms in the window)")
    axes.set_ylabel("brain (ms in the window)")
    centre = float((weights @ steps - frames).mean())
    where = f"{abs(centre):.0f} ms {'after' if centre > 0 else 'before'}"
    alt = f"Attention map {number + 1}: on average {where} the decoded frame"
    return figure_html(figure, alt, f"On average {where} the frame; dashed: the frame's own time.")


def _electrodes(contribution: np.ndarray, values: dict[str, Any]) -> str:
    """Return the bars of every channel, shaft by shaft, and which of them matter most."""
    import numpy as np

    names, shafts = _sensors(values, len(contribution))
    shares = 100.0 * np.asarray(contribution, float)
    order = np.argsort(-shares)[:MOST_NAMED]
    top = ", ".join(f"{names[k]} ({shares[k]:.1f})" for k in order if shares[k] > 0)
    caption = (
        "Percentage points of explained validation variance that are lost when one electrode is silenced in the linear "
        f"part and the network alike. Electrodes share information, so these do not add up. Largest: {top or 'none'}."
    )
    alt = f"Contribution of {len(shares)} electrodes, {shares.min():.1f} to {shares.max():.1f} percentage points"
    return figure_html(electrodes_figure(shares, shafts), alt, caption)


def electrodes_figure(shares: np.ndarray, shafts: list[str]) -> Figure:
    """Draw `shares` (channels,) in percentage points as bars, neighbouring shafts in two colours."""
    figure, axes = new_figure(width=6.4, height=2.6)
    order = list(dict.fromkeys(shafts))
    colours = [(BLUE, ORANGE)[order.index(shaft) % 2] for shaft in shafts]
    axes.bar(range(len(shares)), shares, color=colours, width=0.85)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    places = [[at for at, shaft in enumerate(shafts) if shaft == name] for name in order]
    axes.set_xticks([sum(some) / len(some) for some in places], order if len(order) > 1 else [""])
    axes.set_xlabel("shaft" if len(order) > 1 else "channel")
    axes.set_ylabel("points lost")
    return figure


def _sensors(values: dict[str, Any], channels: int) -> tuple[list[str], list[str]]:
    """Return names and shafts of the channels: numbers, and one shaft, where they were not noted."""
    names, shafts = values.get("decoder/channels_") or [], values.get("decoder/shafts_") or []
    numbers = [str(number + 1) for number in range(channels)]
    return names if len(names) == channels else numbers, shafts if len(shafts) == channels else [""] * channels

"""What a run of speech_wav2vec/trf adds to the report: forward TRFs, every stimulus that was fitted on left out."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays
from braindecode_hub.report import Section, figure_html
from braindecode_hub.verdict import probability
from braindecode_hub_speech_wav2vec.trf_figures import (
    kernels_figure,
    null_figure,
    sensors_figure,
    topography_figure,
    unique_figure,
)

if TYPE_CHECKING:
    from braindecode_hub.report import Reported
    from braindecode_hub.types import Array

LEVEL = 0.05
HEADS = ("Subject", "Stimuli", "Mean r", "Best channel", "Smallest p", "Channels with p ≤ .05")
ABOUT = (
    "<p>How much of each channel speech explains: forward temporal response functions (features to brain), banded "
    "ridge, every stimulus of the <em>training and validation</em> sides left out in turn, penalties chosen without "
    "it. The test side was not looked at: its score is that of the backward model, above. p is by the largest r over "
    "channels, in {draws} refits on circularly shifted brains, and cannot fall below {smallest}.</p>"
)


def sections(run: Reported) -> list[Section]:
    """Return "Temporal response functions" of a run's first fold: every subject in a table, the first one drawn.

    Nothing where the decoder is another one. Damaged state files are left out.
    """
    if (run.config.get("decoder") or {}).get("use") != "speech_wav2vec/trf":
        return []
    fits = [_Fit(arrays, values) for arrays, values in _states(run) if "decoder/bands_" in values]
    drawn = [fit for fit in fits if fit.analysed]
    title = "Temporal response functions"
    if not drawn:
        return [Section(title, f'<p class="missing">{_missing(run, fits)}</p>', 26)]
    first = drawn[0]
    about = ABOUT.format(draws=len(first("null_")), smallest=probability(first["smallest_p_"]))
    return [Section(title, about + _table(fits) + "".join(_figures(first)), 26)]


class _Fit:
    """One fit's state: `fit("r_")` is an array of the forward analysis, `fit["penalties_"]` a plain value."""

    def __init__(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        self._arrays, self._values = arrays, values

    def __call__(self, name: str) -> Array:
        return self._arrays[f"decoder/forward_{name}"]

    def __getitem__(self, name: str) -> Any:
        return self._values[f"decoder/forward_{name}"]

    @property
    def analysed(self) -> bool:
        """Whether there were stimuli enough."""
        return "decoder/forward_r_" in self._arrays

    @property
    def bands(self) -> dict[str, list[int]]:
        """The first feature of each target, and the one behind its last."""
        return dict(self._values["decoder/bands_"])

    @property
    def channels(self) -> list[str]:
        """Names, or numbers where they were not noted."""
        names, count = list(self._values.get("decoder/channels_") or []), len(self("r_"))
        return names if len(names) == count else [str(number + 1) for number in range(count)]

    @property
    def positions(self) -> Array:
        """(channels, 3), or none."""
        return self._arrays.get("decoder/positions_", np.zeros((0, 3)))

    @property
    def subject(self) -> str:
        """Who it was."""
        return str(self._values.get("decoder/subject_", ""))

    @property
    def stimuli(self) -> int:
        """How many independent stimuli there were to leave out."""
        return int(self._values.get("decoder/forward_stimuli_", 0))


def _states(run: Reported) -> list[tuple[dict[str, Array], dict[str, Any]]]:
    found = []
    for path in sorted(run.path.glob("fold-0/*.state.safetensors")):
        try:
            arrays, info = load_arrays(path)
        except HubError:
            continue
        found.append((arrays, info.get("values") or {}))
    return found


def _missing(run: Reported, fits: list[_Fit]) -> str:
    if not fits:
        return "The states of this run cannot be read."
    if (run.config.get("decoder") or {}).get("forward") is False:
        return "The forward analysis was switched off (decoder.forward)."
    return f"{max(fit.stimuli for fit in fits)} stimuli are too few to leave one out in turn: 3 are needed."


def _table(fits: list[_Fit]) -> str:
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(_row(fit) for fit in fits)}</tbody></table>"


def _row(fit: _Fit) -> str:
    start = f"<tr><td>{escape(fit.subject)}</td><td>{fit.stimuli}</td>"
    if not fit.analysed:
        return f"{start}<td>–</td><td>–</td><td>–</td><td>–</td></tr>"
    r, p = fit("r_"), fit("p_")
    best = int(r.argmax())
    return (
        f"{start}<td>{r.mean():.3f}</td><td>{escape(fit.channels[best])} ({r[best]:.3f})</td>"
        f"<td>{probability(float(p.min()))}</td><td>{int((p <= LEVEL).sum())} of {len(p)}</td></tr>"
    )


def _figures(fit: _Fit) -> list[str]:
    """Draw one subject: the map of r, its null, kernels over lags and sensors, what each feature adds."""
    r, p, kernels, lags = fit("r_"), fit("p_"), fit("kernels_"), fit("lags_")
    best = int(r.argmax())
    made = [
        figure_html(
            topography_figure(r, fit.positions, p <= LEVEL, fit.channels),
            f"Forward r of {len(r)} channels, {r.min():.3f} to {r.max():.3f}, highest at {fit.channels[best]}",
            f"{fit.subject}: correlation of predicted and recorded brain, {fit['seconds_']:.0f} s left out in turn.",
        ),
        figure_html(
            null_figure(r, fit("null_")),
            f"Largest r by chance: 95 % below {np.quantile(fit('null_'), 0.95):.3f}; observed {r.max():.3f}",
            "Lines: the channels; histogram: the largest of them by chance, dashed its 95 %.",
        ),
    ]
    for name, (low, high) in fit.bands.items():
        made += _kernels(name, kernels[low:high], lags, fit.channels, best)
    if len(fit.bands) > 1:
        unique = dict(zip(fit.bands, fit("unique_"), strict=True))
        told = ", ".join(f"{name} {values.mean():+.4f}" for name, values in unique.items())
        caption = "What each feature adds to r beyond the others (a dot is a channel, the bar their mean)."
        made.append(figure_html(unique_figure(unique), f"Unique contribution: {told}", caption))
    return made


def _kernels(name: str, kernels: Array, lags: Array, channels: list[str], best: int) -> list[str]:
    """Draw kernels (features, lags, channels) of one target: over lags, and as an image."""
    if len(kernels) > 1:
        alt = f"{name} kernels of channel {channels[best]}, {len(kernels)} bins"
        bins = [str(number + 1) for number in range(len(kernels))]
        figure = sensors_figure(kernels[:, :, best].T, lags, bins, "bin")
        return [figure_html(figure, alt, f"{name}: kernels of the best channel, {channels[best]}, bin by bin.")]
    peak = 1e3 * lags[int(kernels[0].std(axis=1).argmax())]
    alt = f"{name} kernels over lags, largest spread over channels at {peak:.0f} ms"
    return [
        figure_html(kernels_figure(kernels[0], lags, name), alt, f"{name}: a line a channel; orange: their spread."),
        figure_html(sensors_figure(kernels[0], lags, channels, "sensor"), alt, f"{name}: kernels, sensor by sensor."),
    ]

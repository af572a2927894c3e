"""The plots of audio_seeg: spectrograms, envelopes, and correlation by mel bin beside what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from braindecode_hub.figures import BLUE, GREY, INK, ORANGE, new_figure
from braindecode_hub.verdict import number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from braindecode_hub_audio_seeg.mel import MelSpec

SHIFTS = 400
"""Random shifts that the chance band is made of."""


def mel_figure(mel: np.ndarray, rate: float, low: float, high: float, spec: MelSpec | None) -> Figure:
    """Draw a mel spectrogram (frames, bins): seconds to the right, mel bins up, marked in Hz where `spec`
    tells them.
    """
    figure, axes = new_figure(3.7, 2.3)
    extent = (0.0, len(mel) / rate, -0.5, mel.shape[1] - 0.5)
    axes.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=low,
        vmax=high,
        cmap="magma",
        interpolation="nearest",
    )
    axes.set(xlabel="time (s)", ylabel="mel bin")
    if spec is not None and spec.n_mels == mel.shape[1]:
        centres = centres_hz(spec)
        ticks = [(abs(centres - hz)).argmin() for hz in (250, 1000, 2000, 4000, 8000) if hz <= spec.fmax]
        axes.set_yticks(ticks, [f"{_kilo(centres[tick])}" for tick in ticks])
        axes.set_ylabel(f"mel bins 1–{spec.n_mels}, at Hz")
    return figure


def envelope_figure(envelope: np.ndarray, rate: float, low: float, high: float) -> Figure:
    """Draw a loudness envelope (frames,) over seconds."""
    import numpy as np

    figure, axes = new_figure(3.7, 2.3)
    axes.plot(np.arange(len(envelope)) / rate, envelope, color=BLUE, linewidth=1.2)
    margin = 0.15 * (high - low)
    axes.set(xlabel="time (s)", ylabel="envelope", ylim=(low - margin, high + margin))
    return figure


def bins_figure(line: np.ndarray, band: np.ndarray | None, centres: np.ndarray | None) -> Figure:
    """Draw r by bin: `line` (bins,), the chance band (2, bins), and the bins' centres in Hz where they are
    known.
    """
    import numpy as np

    figure, axes = new_figure(5.6, 2.9)
    x = np.arange(1, len(line) + 1) if centres is None else centres
    if band is not None:
        axes.fill_between(x, band[0], band[1], color=GREY, alpha=0.35, linewidth=0)
    axes.axhline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(x, line, color=ORANGE, linewidth=2, marker="o", markersize=3)
    axes.set(xlabel="mel bin" if centres is None else "centre of the mel bin (Hz)", ylabel="correlation r")
    if centres is not None:
        axes.set_xscale("symlog", linthresh=1000, linscale=0.8)
        axes.set_xticks([tick for tick in (250, 500, 1000, 2000, 4000, 8000) if tick <= centres[-1] * 1.05])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(_no_ticks())
    return figure


def centres_hz(spec: MelSpec) -> np.ndarray:
    """Return the centre frequency of each mel bin in Hz: (n_mels,)."""
    from braindecode_hub_audio_seeg.mel import band_edges

    return band_edges(spec)[1:-1]  # type: ignore[no-any-return]


def _kilo(hz: float) -> str:
    return f"{hz / 1000:.1f} k" if hz >= 950 else f"{round(hz, -1):.0f}"


def ramp_html(low: float, high: float) -> str:
    """Return the colour scale in words and a strip of magma."""
    strip = "linear-gradient(90deg,#000004,#3b0f70,#8c2981,#de4968,#fe9f6d,#fcfdbf)"
    style = f"display:inline-block;width:9rem;height:.8em;border-radius:3px;background:{strip}"
    words = f"{number(low, 1)} <span style='{style}'></span> {number(high, 1)} (natural logarithm of magnitude)"
    return f"<p><small>Colours, the same in all three: {words}</small></p>"


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def shifted_correlations(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return Pearson's r in each bin for every circular shift: (frames, bins); row 0 is unshifted, constants
    give 0.
    """
    import numpy as np

    true, guess = (array - array.mean(axis=0) for array in (target, predicted))
    scale = np.sqrt((true**2).sum(axis=0) * (guess**2).sum(axis=0))
    spectrum = np.fft.rfft(true, axis=0) * np.conj(np.fft.rfft(guess, axis=0))
    r: np.ndarray = np.fft.irfft(spectrum, n=len(true), axis=0) / np.where(scale > 1e-12, scale, np.inf)
    return r


def chance_band(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Return the middle 95 % of chance in each bin: (2, bins), from `shifted_correlations` of each stretch.

    Every stretch is shifted on its own, at random, `SHIFTS` times; what is kept is the mean over stretches.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    drawn = [curve[rng.integers(0, len(curve), SHIFTS)] for curve in curves]
    return np.percentile(np.mean(drawn, axis=0), (2.5, 97.5), axis=0)

"""From measurements to advice: which channels look bad and why, and what one should do about a recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from braindecode_hub.types import Array

if TYPE_CHECKING:
    from braindecode_hub.inspection import Checked

OUTLIER = 5.0
"""A channel whose SD is so many times the median one's, or so many times less, is suspect …"""
OUTLIER_Z = 4.0
"""… if it is as many robust SDs away in ln SD, too (contacts in grey and white matter differ by nature)."""

MAINS_MORE_DB = 20.0
"""A channel whose mains stands so many dB higher than in the median channel has a bad contact."""

DRIFT_PPM, LENGTH_MS = 50.0, 10.0
"""Clocks that are further apart than this deserve a word."""

CLOCK_PPM = 1000.0
"""Quartz clocks are within 100 ppm or so of each other; what is more than this is another rate, or another cut."""

PLAUSIBLE = {
    "eeg": (1e-6, 1e-3),
    "seeg": (1e-6, 2e-3),
    "ecog": (1e-6, 2e-3),
    "ieeg": (1e-6, 2e-3),
    "meg": (1e-15, 1e-11),
}
"""Volts (tesla for MEG): what the median channel's SD may be."""

UNITS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "nV": 1e-9, "T": 1.0, "fT": 1e-15, "pT": 1e-12}

Level = Literal["problem", "check"]


@dataclass(frozen=True)
class Finding:
    """What deserves a look, and one line of advice; a "problem" spoils a run, a "check" may be meant."""

    level: Level
    what: str
    advice: str


def suspects(
    sd: Array, flat: Array, clipped: Array, broken: Array, samples: int, mains: Array, marked: Array
) -> list[list[str]]:
    """Return for each channel why it looks bad: [] if it does not. All arguments are (channels,) but `samples`."""
    usable = np.isfinite(sd) & (sd > 0) & (flat == 0)
    logs = np.log(sd[usable & ~marked]) if (usable & ~marked).any() else np.log(sd[usable])
    middle = float(np.median(logs)) if logs.size else 0.0
    width = max(float(1.4826 * np.median(np.abs(logs - middle))), 0.1) if logs.size else 1.0
    ordinary = float(np.nanmedian(mains)) if np.isfinite(mains).any() else np.nan
    found: list[list[str]] = []
    for k in range(len(sd)):
        why = []
        if flat[k] == 1.0:
            why.append("flat")
        elif flat[k] > 0:
            why.append(f"flat in {100 * flat[k]:.0f} % of the stretches")
        if broken[k]:
            why.append(f"not finite in {broken[k]} of {samples} samples")
        if clipped[k]:
            why.append(f"{100 * clipped[k]:.2g} % of its samples are clipped")
        if usable[k] and logs.size >= 4:
            apart = float(np.log(sd[k])) - middle
            if abs(apart) > np.log(OUTLIER) and abs(apart) > OUTLIER_Z * width:
                times = float(np.exp(abs(apart)))
                why.append(
                    f"noisy: {times:.1f} × the median SD" if apart > 0 else f"weak: 1/{times:.0f} of the median SD"
                )
        if np.isfinite(mains[k]) and mains[k] > ordinary + MAINS_MORE_DB:
            why.append(f"mains {mains[k] - ordinary:.0f} dB above the others'")
        found.append(why)
    return found


def findings_of(one: Checked) -> Iterator[Finding]:
    """Yield what deserves a look in one recording, the gravest first."""
    yield from _samples(one)
    yield from _stimuli(one)
    yield from _bad_channels(one)
    yield from _alike(one)
    yield from _scale(one)
    yield from _clocks(one)
    yield from _trials(one)
    yield from _mains(one)
    yield from _sound(one)


def _samples(one: Checked) -> Iterator[Finding]:
    count = sum(channel.nan + channel.inf for channel in one.channels if not channel.marked)
    if count:
        some = [c.name for c in one.channels if (c.nan or c.inf) and not c.marked]
        yield Finding(
            "problem",
            f"{count} samples are NaN or infinite, in {named(some)}: a run stops there",
            f"mark {'it' if len(some) == 1 else 'them'} bad, or repair or cut the recording",
        )


def _stimuli(one: Checked) -> Iterator[Finding]:
    if one.clocks.faults:
        more = f" (and {len(one.clocks.faults) - 1} more stimuli)" if len(one.clocks.faults) > 1 else ""
        yield Finding("problem", f"stimulus {one.clocks.faults[0]}{more}", "check the file, or take it out")


def _bad_channels(one: Checked) -> Iterator[Finding]:
    new = [c for c in one.bad if not c.marked]
    if new:
        told = "; ".join(f"{c.name} ({', '.join(c.why)})" for c in new[:6]) + (" …" if len(new) > 6 else "")
        listed = ",".join(c.name for c in new)
        advice = f"--set dataset.bads=[{listed}]" if len(listed) < 70 else "mark them bad where the dataset says so"
        yield Finding(
            "problem",
            f"{count_of(len(new), 'channel')} that look{'s' if len(new) == 1 else ''} bad, not marked: {told}",
            advice,
        )


def _alike(one: Checked) -> Iterator[Finding]:
    same = [pair for pair in one.alike if abs(pair[2]) > 1 - 1e-6]
    close = [pair for pair in one.alike if abs(pair[2]) <= 1 - 1e-6]
    if same:
        yield Finding(
            "problem",
            f"the same signal twice: {pairs_named(same)}",
            "look for a copied channel or a wrong montage; leave one of each out",
        )
    if close:
        yield Finding(
            "check",
            f"bridged electrodes? r > .99 between {pairs_named(close)}",
            "gel or a shorted contact joins them: leave one of each out",
        )


def _scale(one: Checked) -> Iterator[Finding]:
    known, sd = PLAUSIBLE.get(one.modality), one.median_sd
    if sd is None:
        yield Finding("problem", "no channel varies", "check the file, its axis and its conversion")
        return
    if known is None or one.units not in UNITS:
        return
    low, high = known
    if not low <= sd * UNITS[one.units] <= high:
        fitting = [
            u for u, size in UNITS.items() if low <= sd * size <= high and (u[-1] == "T") == (one.modality == "meg")
        ]
        looks = f": it looks like {fitting[0]}" if fitting else ""
        yield Finding(
            "problem",
            f"the median channel's SD is {sd:.3g} {one.units}, not plausible for {one.modality}{looks}",
            "check the units and the gain of the conversion",
        )


def _clocks(one: Checked) -> Iterator[Finding]:
    clocks = one.clocks
    if clocks.ppm is not None and abs(clocks.ppm) > DRIFT_PPM:
        yield Finding(
            "check",
            f"the clocks of brain and stimulus differ by {clocks.ppm:+.0f} ppm ({_per_minute(clocks.ppm)})",
            "trials carry both clocks, so a run corrects it; check that the times were measured",
        )
    apart = clocks.length_ppm
    if apart is not None and abs(apart) > DRIFT_PPM and abs(apart) * one.seconds * 1e-3 > LENGTH_MS:
        longer = "longer" if apart > 0 else "shorter"
        told = f"the recording is {abs(apart) * one.seconds * 1e-3:.0f} ms {longer} than the sound ({apart:+.0f} ppm)"
        if abs(apart) > CLOCK_PPM:
            fit = f"dataset.rate={clocks.fits[0]:g} would fit; else " if clocks.fits else ""
            yield Finding("check", told + ": no clock drifts that much", f"{fit}cut both to the same start and end")
        else:
            yield Finding(
                "check",
                told,
                "if both start and stop together the clocks drift: give trials both clocks; else cut the longer",
            )


def _trials(one: Checked) -> Iterator[Finding]:
    trials = one.trials
    if trials.outside:
        yield Finding(
            "problem",
            f"outside the recording lies a part of {named(trials.outside)}",
            "check start and stop, in seconds of the recording",
        )
    if trials.overlapping:
        yield Finding(
            "check",
            f"before the trial before ends begins {named(trials.overlapping)}",
            "check start and stop: what overlaps cannot be put on two sides of a split",
        )


def _mains(one: Checked) -> Iterator[Finding]:
    if one.mains_hz is not None and one.stated_hz is not None and one.mains_hz != one.stated_hz:
        yield Finding(
            "problem",
            f"the mains is at {one.mains_hz:g} Hz, but the recording says {one.stated_hz:g} Hz",
            f"--set dataset.line_freq={one.mains_hz:g}, so that the right frequencies are notched",
        )
    elif one.mains_hz is not None and one.stated_hz is None:
        yield Finding(
            "check",
            f"mains noise at {one.mains_hz:g} Hz, and the recording names no mains frequency: nothing would be notched",
            f"--set dataset.line_freq={one.mains_hz:g}",
        )


def _sound(one: Checked) -> Iterator[Finding]:
    if one.sound.p is not None and one.sound.p <= 0.01:
        some = [c.name for c in one.channels if c.sound_p is not None and c.sound_p <= 0.01]
        yield Finding(
            "problem",
            f"the sound itself seems to be in {named(some)}: p = {one.sound.p:.3f} over all channels",
            "a decoder would read the wire, not the brain: leave those out; see Roussel et al. 2020",
        )


def named(names: Sequence[str], most: int = 6) -> str:
    """Return the first names as a list, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def pairs_named(pairs: Sequence[tuple[str, str, float]], most: int = 4) -> str:
    """Return pairs of channels with their r."""
    return named([f"{a} and {b} (r = {r:.4f})" for a, b, r in pairs], most)


def count_of(count: int, what: str) -> str:
    """Return "1 trial", "2 trials"."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def _per_minute(ppm: float) -> str:
    return f"{abs(ppm) * 0.06:.1f} ms a minute"

"""An inspection as text of at most 100 columns, and as HTML for a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from braindecode_hub.findings import UNITS, count_of, named, pairs_named

if TYPE_CHECKING:
    from braindecode_hub.inspection import Checked, Inspection

WIDTH, LABEL = 98, 12
AUDIBLE_DB = 1.0
"""Harmonics below this are not printed."""


def as_text(inspection: Inspection) -> str:
    """Return the whole inspection: a block for each recording, its findings with advice, and a last line."""
    lines = [f"{inspection.dataset} ({inspection.licence or 'licence unknown'})"]
    if inspection.simulated:
        lines.append("SIMULATED: no brain was recorded")
    for one in inspection.recordings:
        lines += ["", title(one)]
        for label, text in rows(one):
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=f"  {label:<{LABEL}}", subsequent_indent=" " * (LABEL + 2),
                break_long_words=False,
            )  # fmt: skip
        for finding in one.findings:
            mark = "!!" if finding.level == "problem" else " ?"
            lines += textwrap.wrap(f"{mark} {finding.what}", WIDTH, initial_indent="  ", subsequent_indent="     ")
            lines += textwrap.wrap(f"→ {finding.advice}", WIDTH, initial_indent="     ", subsequent_indent="       ")
    return "\n".join([*lines, "", verdict(inspection)])


def verdict(inspection: Inspection) -> str:
    """Return the last line: how much deserves a look."""
    problems = sum(finding.level == "problem" for finding in inspection.findings)
    checks = len(inspection.findings) - problems
    recordings = count_of(len(inspection.recordings), "recording")
    if not inspection.findings:
        return f"{recordings}: nothing that needs attention was found in what was read."
    return f"{recordings}: {count_of(problems, 'problem')} (!!), {checks} to check (?)."


def title(one: Checked) -> str:
    """Return the heading of a recording."""
    told = f"recording {one.id} · subject {one.subject}, session {one.session} · {one.modality}"
    return " ".join(told.split())  # a name with a line end in it begins no line of its own


def rows(one: Checked) -> Iterator[tuple[str, str]]:
    """Yield what is known of a recording, as (label, text)."""
    share = f"all of it, in {count_of(one.stretches, 'stretch')[:-1] + 'es' if one.stretches > 1 else '1 stretch'}"
    if one.read_s < 0.999 * one.seconds:
        share = f"{one.stretches} stretches of {one.each_s:g} s, evenly spread: {one.read_s / one.seconds:.0%} of it"
    yield "brain", f"{duration(one.seconds)} at {one.rate:g} Hz, {len(one.channels)} channels; {_units(one)}"
    yield "read", share
    yield "stimulus", _stimulus(one)
    yield "trials", _trials(one)
    yield "channels", _channels(one)
    yield "alike", _alike(one)
    yield "mains", _mains(one)
    yield "sound in it", _sound(one)


def duration(seconds: float) -> str:
    """Return seconds as people say them: 45.2 s, 5 min 12 s, 8 h 03 min."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return (
        f"{minutes} min {round(seconds) % 60:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def _units(one: Checked) -> str:
    sd = one.median_sd
    if sd is None:
        return "no channel varies"
    if one.units in UNITS and one.units[-1:] == "V":
        return f"median SD {sd * UNITS[one.units] * 1e6:.3g} µV (in {one.units})"
    if one.units:
        return f"median SD {sd:.3g} {one.units}"
    spread = sorted(c.sd for c in one.channels if c.sd and not c.marked)
    if 0.5 < sd < 2 and spread[-1] < 1.5 * spread[0]:
        return f"no units; SD about {sd:.2g} everywhere: z-scored already?"
    guess = "volts" if sd < 1e-2 else "microvolts" if sd < 5e3 else "counts of a converter"
    return f"no units; median SD {sd:.3g}, as {guess} would have"


def _stimulus(one: Checked) -> str:
    clocks = one.clocks
    if not clocks.stimuli:
        return "none was presented"
    told = f"{clocks.stimuli} different"
    if clocks.seconds is not None and clocks.rate is not None:
        told += f", {duration(clocks.seconds)} at {clocks.rate:g} Hz"
    if clocks.length_ppm is not None:
        apart = clocks.length_ppm * clocks.seconds * 1e-3 if clocks.seconds else 0.0
        return told + (
            f"; brain {apart:+.0f} ms ({clocks.length_ppm:+.0f} ppm)" if apart else "; as long as the brain's"
        )
    if clocks.ppm is None:
        return told + "; no clock of their own"
    each = f" ({clocks.low:+.0f} to {clocks.high:+.0f} by trial)" if (clocks.high or 0) - (clocks.low or 0) > 1 else ""
    return told + f"; by the trials' clocks the recording is {clocks.ppm:+.1f} ppm longer{each}"


def _trials(one: Checked) -> str:
    trials = one.trials
    low, middle, high = trials.seconds
    lengths = f"{low:.2f} s" if high - low < 0.005 else f"{low:.2f} to {high:.2f} s (median {middle:.2f})"
    told = f"{trials.count} of {lengths}"
    if trials.gaps is not None:
        least, most = trials.gaps
        told += f", {least:.2f} s apart" if most - least < 0.005 else f", {least:.2f} to {most:.2f} s apart"
    if trials.repeated:
        told += f", {trials.repeated} of them repetitions"
    told += "; " + (f"breaks at {named([f'{at:g} s' for at in one.breaks])}" if one.breaks else "no breaks")
    if one.events:
        told += (
            f"; {sum(one.events.values())} events: {named([f'{count} {name}' for name, count in one.events.items()])}"
        )
    return told


def _channels(one: Checked) -> str:
    marked = [c.name for c in one.channels if c.marked]
    told = [f"marked bad: {named(marked)}" if marked else "none marked bad"]
    known = [f"{c.name} ({', '.join(c.why)})" for c in one.bad if c.marked]
    new = [f"{c.name} ({', '.join(c.why)})" for c in one.bad if not c.marked]
    if known:
        told.append(f"rightly so: {named(known)}")
    told.append(f"look bad besides: {named(new)}" if new else "no other looks flat, noisy, weak or clipped")
    return "; ".join(told)


def _alike(one: Checked) -> str:
    raw, car = one.mean_r
    told = "too few good channels" if raw is None else f"mean r {raw:.2f}"
    told += "" if car is None else f", after a common average {car:.2f}"
    return told + ("; " + pairs_named(one.alike) if one.alike else "; no two channels above .99")


def _mains(one: Checked) -> str:
    stated = f"stated {one.stated_hz:g} Hz" if one.stated_hz is not None else "not stated"
    if not one.lines:
        return f"{stated}; at {one.rate:g} Hz it cannot be measured"
    if one.mains_hz is None:
        return f"{stated}; none found at 50 or 60 Hz, or their harmonics"
    told = []
    for line in one.lines:
        if line.hz > one.mains_hz and (line.raw or 0.0) < AUDIBLE_DB:
            continue
        after = [f"{db:+.0f} {kind}" for kind, db in (("CAR", line.car), ("by shaft", line.shafts)) if db is not None]
        told.append(f"{line.hz:g} Hz {line.raw or 0.0:+.0f}" + (f" ({', '.join(after)})" if after else ""))
    return f"{stated}; dB over neighbours, raw (re-referenced): {', '.join(told)}"


def _sound(one: Checked) -> str:
    sound = one.sound
    if sound.index is None or sound.p is None:
        return f"not checked: {sound.why}"
    where = f"largest index {sound.index:+.3f} in {sound.channel}, 1 in 100 by chance {sound.level:+.3f}"
    span = f"{sound.low:g} to {sound.high:g} Hz, {duration(sound.seconds)}"
    return f"{'YES' if sound.p <= 0.01 else 'no'}: p = {sound.p:.3f} ({where}; {span})"


def as_html(inspection: Inspection) -> str:
    """Return the inspection as self-contained HTML, everything escaped."""
    parts = [f"<p><b>{html.escape(inspection.dataset)}</b> {html.escape(inspection.licence)}</p>"]
    if inspection.simulated:
        parts.append("<p><b>SIMULATED</b>: no brain was recorded</p>")
    for one in inspection.recordings:
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(label)}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for label, text in rows(one)
        )
        listed = "".join(
            f"<li><b>{finding.level}</b>: {html.escape(finding.what)}<br>→ {html.escape(finding.advice)}</li>"
            for finding in one.findings
        )
        parts.append(f"<h4>{html.escape(title(one))}</h4><table>{cells}</table><ul>{listed}</ul>")
    body = "".join(parts) + f"<p>{html.escape(verdict(inspection))}</p>"
    return f'<div style="max-width:60rem;font-family:system-ui,sans-serif;line-height:1.45">{body}</div>'

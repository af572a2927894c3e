"""Look at recordings before anything is fitted: `inspect_dataset` reads some of each, and says what it found.

Lazy and chunked: of a recording longer than `seconds`, stretches of 4 s spread evenly over it are read, and of the
sound stretches of 10 s inside trials. What is read is part of the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.findings import Finding, findings_of, suspects
from braindecode_hub.interfaces import Dataset
from braindecode_hub.sensor_positions import position_findings
from braindecode_hub.signal_checks import MAINS, Measures, read, spread
from braindecode_hub.stimulus_checks import Clocks, Sound, Trials, clocks_of, sound_in, told_of, trials_of
from braindecode_hub.types import Array, Event, Recording, Trial

EACH_S = 4.0
READ_S = 120.0
MOST_BYTES = 1 << 27
"""Bytes of one stretch in float64; stretches of very wide or fast recordings are shorter."""

ALIKE = 0.99


@dataclass(frozen=True)
class Channel:
    """One channel: robust SD in the recording's units, samples that are NaN, infinite or clipped, mains in dB.

    `flat`: the share of stretches in which it does not change; `mains_db`: the loudest harmonic over its neighbours;
    `sound_p`: of the check for sound in it; `why`: what makes it suspect; `marked`: it is marked bad already.
    """

    name: str
    sd: float | None
    nan: int
    inf: int
    flat: float
    clipped: float
    mains_db: float | None
    sound_p: float | None
    why: tuple[str, ...]
    marked: bool


@dataclass(frozen=True)
class Line:
    """One harmonic of the mains: the median channel's dB over its neighbours, as recorded and re-referenced."""

    hz: float
    raw: float | None
    car: float | None
    shafts: float | None


@dataclass(frozen=True)
class Checked:
    """Everything that was found in one recording; `stretches` × `each_s` were read of `seconds`.

    `mean_r`: the mean correlation between good channels, raw and after a common average; `alike`: pairs of channels
    (name, name, r) above .99; `lines`: harmonics of `mains_hz`, the mains frequency that was found (or None).
    """

    id: str
    subject: str
    session: str
    modality: str
    seconds: float
    rate: float
    units: str
    stretches: int
    each_s: float
    read_s: float
    channels: tuple[Channel, ...]
    mean_r: tuple[float | None, float | None]
    alike: tuple[tuple[str, str, float], ...]
    mains_hz: float | None
    stated_hz: float | None
    lines: tuple[Line, ...]
    clocks: Clocks
    trials: Trials
    breaks: tuple[float, ...]
    events: dict[str, int]
    sound: Sound
    findings: tuple[Finding, ...] = ()

    @property
    def median_sd(self) -> float | None:
        """The median channel's robust SD, of those that are neither flat nor marked bad."""
        known = [c.sd for c in self.channels if c.sd and not c.marked and not c.flat]
        return float(np.median(known)) if known else None

    @property
    def bad(self) -> list[Channel]:
        """The channels that look bad."""
        return [channel for channel in self.channels if channel.why]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found: print it, show it in a notebook, or take `as_data()`, plain JSON."""

    dataset: str
    licence: str
    simulated: bool
    recordings: tuple[Checked, ...]

    @property
    def findings(self) -> list[Finding]:
        """Everything that deserves a look, of all recordings."""
        return [finding for one in self.recordings for finding in one.findings]

    def as_data(self) -> dict[str, Any]:
        """Return everything as plain values; what is unknown is None, never NaN."""
        return {"schema": 1, **asdict(self)}

    def text(self) -> str:
        """Return what the command line prints, at most 100 columns wide."""
        from braindecode_hub.inspection_text import as_text

        return as_text(self)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from braindecode_hub.inspection_text import as_html

        return as_html(self)


def inspect_dataset(
    dataset: Dataset,
    name: str,
    *,
    seconds: float = READ_S,
    subjects: Sequence[str] | None = None,
    log: Callable[[Event], None] = lambda event: None,
) -> Inspection:
    """Look at every recording of a prepared dataset; nothing is fitted, and nothing is written.

    `name`: what it is called; `seconds`: how much of each recording is read. Raises HubError for a dataset without
    trials, or a recording that cannot be read.
    """
    if not seconds > 0:
        raise HubError(f"{seconds:g} s are to be read", "give more than 0, or inf for all: --seconds 120", usage=True)
    trials = [t for t in dataset.trials() if subjects is None or t.groups.get("subject", "") in subjects]
    if not trials:
        raise HubError(f"{name} has no trials", "check its files, or --subjects")
    ids = sorted({trial.recording for trial in trials})
    found = []
    for number, id in enumerate(ids):
        log({"kind": "progress", "stage": "inspect", "done": number, "total": len(ids)})
        found.append(_checked(dataset, id, [t for t in trials if t.recording == id], seconds))
    log({"kind": "progress", "stage": "inspect", "done": len(ids), "total": len(ids)})
    return Inspection(name, dataset.licence, dataset.simulated, tuple(found))


def scale_of(recording: Recording, within: tuple[float, float] | None = None) -> float | None:
    """Return the median channel's robust SD, from 5 stretches of 4 s; None where nothing varies.

    `within`: look at these seconds only.
    """
    start, stop = within or (0.0, recording.seconds)
    if not recording.brain.rate or stop <= start:
        return None
    parts = [(start + low, start + high) for low, high in spread(stop - start, EACH_S, 5 * EACH_S)]
    measures = _measured(recording, recording.brain.rate, parts)
    sd = measures.sd[~measures.marked]
    sd = sd[np.isfinite(sd) & (sd > 0)]
    return float(np.median(sd)) if sd.size else None


def _checked(dataset: Dataset, id: str, trials: list[Trial], seconds: float) -> Checked:
    recording = dataset.recording(id)
    rate = recording.brain.rate
    if rate is None or recording.brain.data.ndim != 2:
        raise HubError(f"recording {id} has no sampling rate", "inspect looks at signals (channels, samples)")
    count = int(recording.brain.data.shape[0])
    each = min(EACH_S, max(0.5, MOST_BYTES / (8 * count * rate)))
    parts = spread(recording.seconds, each, seconds)
    measures = _measured(recording, rate, parts)
    good = ~measures.marked & np.isfinite(measures.sd) & (measures.sd > 0)
    coupling = sound_in(dataset, recording, trials, good, min(seconds, READ_S))
    coupled = None if isinstance(coupling, str) else np.where(good, coupling.p, np.nan)
    mains_hz, lines, loudest = _mains(measures, good)
    checked = Checked(
        id=id,
        subject=recording.subject,
        session=recording.session,
        modality=recording.brain.modality,
        seconds=recording.seconds,
        rate=float(rate),
        units=recording.brain.units,
        stretches=len(parts),
        each_s=min(each, recording.seconds),
        read_s=measures.samples / rate,
        channels=_channels(recording, measures, loudest, coupled),
        mean_r=(measures.raw_likeness.mean(good), measures.car_likeness.mean(good)),
        alike=_alike(names_of(recording), measures),
        mains_hz=mains_hz,
        stated_hz=recording.line_freq,
        lines=lines,
        clocks=clocks_of(dataset, recording, trials),
        trials=trials_of(recording, trials),
        breaks=tuple(float(at) for at in recording.breaks),
        events=_kinds(recording.events),
        sound=told_of(coupling, names_of(recording), good),
    )
    return replace(checked, findings=(*findings_of(checked), *position_findings(recording)))


def _measured(recording: Recording, rate: float, parts: Sequence[tuple[float, float]]) -> Measures:
    names = names_of(recording)
    marked = np.array([name in recording.bads for name in names], bool)
    measures = Measures(len(names), rate, marked, shafts_for_averages(recording))
    for start, stop in parts:
        x = read(recording.brain.data, rate, start, stop)
        if x.shape[1] >= 2:
            measures.add(x)
    return measures


def names_of(recording: Recording) -> tuple[str, ...]:
    """Return the channels' names, or "channel 1", … where they have none."""
    count = int(recording.brain.data.shape[0])
    known = recording.brain.channels
    return known if len(known) == count else tuple(f"channel {n}" for n in range(1, count + 1))


def shafts_for_averages(recording: Recording) -> tuple[str, ...]:
    """Return each channel's shaft as recorded, or read off names like LA7 (not of scalp electrodes); () if unknown."""
    names = names_of(recording)
    if len(recording.shafts) == len(names):
        return recording.shafts
    if recording.brain.modality in ("eeg", "meg"):
        return ()
    found = [re.fullmatch(r"(.*?\D)(\d+)", name) for name in recording.brain.channels]
    stems = tuple(one[1] for one in found if one)
    return stems if len(stems) == len(names) and 1 < len(set(stems)) < len(stems) else ()


def _channels(recording: Recording, measures: Measures, loudest: Array, coupled: Array | None) -> tuple[Channel, ...]:
    names = names_of(recording)
    sd, share = measures.sd, measures.clipped / max(measures.samples, 1)
    flat = measures.flat / max(measures.stretches, 1)
    why = suspects(sd, flat, share, measures.nan + measures.inf, measures.samples, loudest, measures.marked)
    return tuple(
        Channel(
            name=name,
            sd=_number(sd[k]),
            nan=int(measures.nan[k]),
            inf=int(measures.inf[k]),
            flat=float(flat[k]),
            clipped=float(share[k]),
            mains_db=_number(loudest[k]),
            sound_p=None if coupled is None else _number(coupled[k]),
            why=tuple(why[k]),
            marked=bool(measures.marked[k]),
        )
        for k, name in enumerate(names)
    )


def _alike(names: Sequence[str], measures: Measures) -> tuple[tuple[str, str, float], ...]:
    """Return the pairs that stay alike when what all channels share is taken away."""
    raw, car = measures.raw_likeness.r, measures.car_likeness.r
    judged = (np.abs(raw) > ALIKE) & ((np.abs(car) > 0.9) if np.any(car) else True)
    pairs = np.argwhere(np.triu(judged, 1))
    found = [(names[a], names[b], float(raw[a, b])) for a, b in pairs]
    return tuple(sorted(found, key=lambda pair: -abs(pair[2])))


def _mains(measures: Measures, good: Array) -> tuple[float | None, tuple[Line, ...], Array]:
    """Return the mains frequency that stands out, its harmonics, and each channel's loudest of them (channels,)."""
    raw = measures.mains["raw"]
    loud = {f: sum(max(0.0, raw.level(line, good) or 0.0) for line in lines) for f, lines in raw.lines.items()}
    best = max(MAINS, key=lambda f: loud[f])
    levels = [raw.level(line, good) or 0.0 for line in raw.lines[best]]
    nothing = np.full(len(good), np.nan)
    if not levels:
        return None, (), nothing
    lines = tuple(
        Line(hz, raw.level(hz, good), measures.mains["car"].level(hz, good), measures.mains["shafts"].level(hz, good))
        for hz in raw.lines[best]
    )
    each = np.array([raw.db(hz) for hz in raw.lines[best]])
    seen = np.isfinite(each).any(axis=0)
    loudest = nothing.copy()
    loudest[seen] = np.nanmax(each[:, seen], axis=0)
    return (best if max(levels) >= 3.0 else None), lines, loudest


def _kinds(events: Sequence[Any]) -> dict[str, int]:
    """Count events by what they are called: `kind`, `trial_type`, `description`, `name` or `value`."""
    found: dict[str, int] = {}
    for event in events:
        keys = [key for key in ("kind", "trial_type", "description", "name", "value") if key in event]
        name = str(event[keys[0]]) if keys else "event"
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None

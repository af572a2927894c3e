"""What a fit remembers of the sensors it was fitted on, so that it is not fed others unnoticed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from braindecode_hub.errors import HubError
from braindecode_hub.inspection import scale_of
from braindecode_hub.types import Recording

SCALES_APART = 100.0
"""Recordings whose SDs differ by more than this factor are in other units (mV and µV are 1000 apart)."""


def facts_of(
    recording: Recording, within: tuple[float, float], rates: Mapping[str, float | None], subjects: Sequence[str]
) -> dict[str, Any]:
    """Return the facts of a fit, plain JSON: channels, rate, names, units, scale, mains, shafts, bads, target rates.

    `within`: seconds of the recording that may be looked at for the scale (of the training side); `subjects`: whom
    the fit serves.
    """
    brain = recording.brain
    return {
        "channels": int(brain.data.shape[0]),
        "rate": brain.rate,
        "rates": dict(rates),
        "names": [] if _invented(brain.channels) else list(brain.channels),
        "modality": brain.modality,
        "units": brain.units,
        "scale": scale_of(recording, within),
        "line_freq": recording.line_freq,
        "shafts": list(recording.shafts),
        "bads": list(recording.bads),
        "subjects": sorted(subjects),
    }


def width_of(facts: Mapping[str, Any]) -> int:
    """Return how many channels the widest montage of a fit has: narrower ones were padded to it."""
    return max(int(one["channels"]) for one in (facts, *(facts.get("montages") or {}).values()))


def fitted_to(recording: Recording, facts: Mapping[str, Any]) -> tuple[Recording, list[str]]:
    """Return the recording with what it does not know of its sensors taken from the fit, and a note on each such thing.

    A fit on several montages takes the subject's own; of a subject that it does not know, any montage. Raises HubError,
    in plain words, if the recording has other channels, names, units or another rate than the fit.
    """
    montages = facts.get("montages") or {}
    brain, notes = recording.brain, []
    if montages and recording.subject not in montages:
        _check_rate(recording, facts)
        return recording, [f"the run knows no subject {recording.subject}: decoded as somebody unknown"]
    facts = montages.get(recording.subject, facts)
    _check(recording, facts)
    known = list(facts.get("names") or [])
    if known and _invented(brain.channels):
        notes.append(f"its channels have no names: they are taken to be the run's, in its order ({_ends(known)})")
        brain = replace(brain, channels=tuple(known))
        recording = replace(recording, brain=brain)
        bads = facts.get("bads") or []
        if bads and not recording.bads:
            recording = replace(recording, bads=tuple(bads))
            notes.append(f"marked bad, as in the run: {', '.join(bads)}")
    if facts.get("shafts") and not recording.shafts:
        recording = replace(recording, shafts=tuple(facts["shafts"]))
        notes.append("its shafts are taken to be the run's")
    if facts.get("line_freq") is not None and recording.line_freq is None:
        recording = replace(recording, line_freq=facts["line_freq"])
        notes.append(f"it names no mains frequency: {facts['line_freq']:g} Hz, as in the run")
    missed = [name for name in facts.get("bads") or [] if name not in recording.bads]
    if missed:
        notes.append(f"bad in the run, but not marked here: {', '.join(missed)}")
    return recording, notes


def _check(recording: Recording, facts: Mapping[str, Any]) -> None:
    channels, id = int(recording.brain.data.shape[0]), recording.id
    if channels != facts["channels"]:
        raise HubError(
            f"recording {id} has {channels} channels, this run was fitted on {facts['channels']}",
            "give the same montage in the same order",
        )
    _check_rate(recording, facts)
    names, known = list(recording.brain.channels), list(facts.get("names") or [])
    if known and names != known and not _invented(names):
        raise _other_names(id, names, known)
    units = facts.get("units") or ""
    if units and recording.brain.units and recording.brain.units != units:
        raise HubError(f"recording {id} is in {recording.brain.units}, this run was fitted in {units}", "convert it")
    scale, here = facts.get("scale"), scale_of(recording)
    if scale and here and not 1 / SCALES_APART < here / scale < SCALES_APART:
        raise HubError(
            f"recording {id} has an SD of {here:.3g}, this run was fitted on one of {scale:.3g}",
            "bring it to the run's units (volts, microvolts …)",
        )


def _check_rate(recording: Recording, facts: Mapping[str, Any]) -> None:
    rate = recording.brain.rate
    if rate is None or abs(rate - facts["rate"]) > 1e-6 * facts["rate"]:
        given = "no rate" if rate is None else f"{rate:g} Hz"
        raise HubError(
            f"recording {recording.id} has {given}, this run was fitted at {facts['rate']:g} Hz", "resample it"
        )


def _other_names(id: str, names: list[str], known: list[str]) -> HubError:
    if sorted(names) == sorted(known):
        place = next(n for n, (a, b) in enumerate(zip(names, known, strict=True)) if a != b)
        return HubError(
            f"recording {id} has the run's channels in another order: number {place + 1} is {names[place]}, "
            f"not {known[place]}",
            "sort them as the run has them",
        )
    lacking = [name for name in known if name not in names]
    other = [name for name in names if name not in known]
    return HubError(
        f"recording {id} has other channels than this run was fitted on: {_some(other)} and not {_some(lacking)}",
        "give the same montage, with the same names",
    )


def _invented(names: Sequence[str]) -> bool:
    """Say whether channels have no names of their own: none at all, or ch1, ch2 … in order."""
    return all((found := re.fullmatch(r"ch0*(\d+)", name)) and int(found[1]) == n for n, name in enumerate(names, 1))


def _ends(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")

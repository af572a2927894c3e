"""Save arrays as a recording: one .npz that is checked before it stands where it was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.files import whole
from braindecode_hub.parts.npz import Npz
from braindecode_hub.parts.recording_fields import Given, recordings_in
from braindecode_hub.parts.recordings import Opened, still
from braindecode_hub.types import Array

BLOCK = 1 << 16


def save_recording(
    path: str | Path,
    *,
    brain: Array,
    rate: float,
    audio: Array | Mapping[str, Array] | None = None,
    audio_rate: float | None = None,
    targets: Array | Mapping[str, Array] | None = None,
    targets_rate: float | None = None,
    events: Mapping[str, Sequence[Any]] | None = None,
    channels: Sequence[str] | None = None,
    positions: Array | None = None,
    position_frame: str | None = None,
    bads: Sequence[str] = (),
    breaks: Sequence[float] = (),
    line_freq: float | None = None,
    units: str | None = None,
    subject: str | None = None,
    session: str | None = None,
    simulated: bool = False,
) -> Path:
    """Write one recording to `path` (.npz), whole and checked, for `run(…, data=path)`; returns the path.

    `brain` (channels, time), real numbers of any type, at `rate` Hz, in `units`; `audio` (samples,) at `audio_rate`
    Hz, float in [-1, 1] or signed integers, or `targets` (frames, bins) at `targets_rate` Hz, beginning with the brain;
    or several of them by name, with `events`: columns `onset`, `duration`, `stimulus_start` (s), `stimulus` (the name),
    and groups such as story or block. `channels`: names; `positions` (channels, 3) metres in `position_frame`; `bads`:
    names; `breaks`: seconds at which filters restart; `line_freq` Hz; `subject`, `session`; `simulated`: no brain was
    recorded, and every score will say so.

    Raises HubError, and leaves `path` as it was, for what `core/arrays` would refuse and for values that are not
    finite outside `bads`. Warns of an array (time, channels), which is turned, and of channels that never change.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise HubError(f"{path} does not end in .npz", "name it such as mine.npz", usage=True)
    fields: dict[str, Any] = {
        "brain": brain, "rate": rate, "audio": audio, "audio_rate": audio_rate, "targets": targets,
        "targets_rate": targets_rate, "events": events, "channels": channels, "positions": positions,
        "position_frame": position_frame, "bads": bads or None, "breaks": breaks or None, "line_freq": line_freq,
        "units": units, "subject": subject, "session": session, "simulated": simulated or None,
    }  # fmt: skip
    arrays = {name: _plain(path, name, value) for name, value in _flat(path, fields)}
    with whole(path) as temporary:
        np.savez(temporary, **arrays)
        given = Given("brain", targets=None if audio is not None else "targets")
        [opened] = recordings_in(Npz(temporary, str(path)), path.stem, given)
        _check_finite(opened)
        told = [*opened.notes, *still(opened.recording)]
    for note in told:
        warnings.warn(note, stacklevel=2)
    return path


def _flat(path: Path, fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return what was given, field by field: what is several by name as NAME/KEY."""
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            if name not in ("audio", "targets", "events"):
                raise HubError(f"{path}: {name} is a mapping", "give one array")
            found += [(f"{name}/{key}", one) for key, one in value.items()]
        elif value is not None:
            found.append((name, value))
    return found


def _plain(path: Path, name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise HubError(f"{path}: {name} is no array: its rows differ in length", "give one value for each") from error
    if array.dtype.hasobject or array.dtype.kind not in "biufUS":
        raise HubError(f"{path}: {name} holds {array.dtype}, which is never saved", "give plain numbers or text")
    return array


def _check_finite(opened: Opened) -> None:
    recording = opened.recording
    data, names = recording.brain.data, recording.brain.channels
    for at in range(0, data.shape[1], BLOCK):
        wrong = ~np.isfinite(data[:, at : at + BLOCK])
        for channel, sample in np.argwhere(wrong) if wrong.any() else ():
            if names[channel] not in recording.bads:
                raise HubError(
                    f"brain is not finite in {names[channel]} at {(at + sample) / (recording.brain.rate or 1):.3f} s",
                    "name the channel in bads, or repair or cut the recording",
                )
    for id, sound in opened.sounds.items():
        if not np.isfinite(np.asarray(sound.data)).all():
            raise HubError(f"stimulus {id} is not finite", "repair or cut it")

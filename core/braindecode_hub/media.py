"""Media as bytes: what a stimulus or a reconstruction is written as, so that a person can play or see it."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array, Artifact

if TYPE_CHECKING:
    from braindecode_hub.types import Signal

SIMULATED = "SIMULATED-"
"""How the name of every media file of a simulated run begins."""

AUDIO_FORMATS = {".wav": "PCM_16", ".flac": "PCM_16", ".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS"}
"""Formats that sound is written in, by file ending, with libsndfile's subtype."""


def audio_bytes(samples: Array, rate: float, suffix: str = ".flac") -> bytes:
    """Return (samples,) float in [-1, 1] as the bytes of a sound file; louder samples are clipped.

    Raises HubError for an ending that is not in `AUDIO_FORMATS`, or when soundfile is missing.
    """
    if suffix not in AUDIO_FORMATS:
        raise HubError(f"sound cannot be written as '{suffix}'", f"use {', '.join(AUDIO_FORMATS)}", usage=True)
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise HubError("writing sound needs soundfile", "pip install 'braindecode-hub[io]'") from error
    sink = BytesIO()
    form = "MP3" if suffix == ".mp3" else suffix[1:].upper()
    clipped = np.clip(np.asarray(samples, np.float32), -1.0, 1.0)
    with soundfile.SoundFile(sink, "w", int(rate), 1, AUDIO_FORMATS[suffix], format=form) as file:
        for start in range(0, len(clipped), int(rate)):  # libsndfile's Vorbis encoder wants short blocks
            file.write(clipped[start : start + int(rate)])
    return sink.getvalue()


def as_media(name: str, signal: Signal) -> list[Artifact]:
    """Return a stimulus as artifacts: audio as FLAC; nothing for what cannot be played or seen."""
    if signal.modality == "audio" and signal.rate is not None:
        samples = np.asarray(signal.data, np.float32)
        return [Artifact(name, "audio/flac", audio_bytes(samples, signal.rate), samples, signal.rate)]
    return []

"""Whether bytes are the media that they are called: opened, and compared with the array they were made from."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable

import numpy as np

from braindecode_hub.conformance.checks import NothingToTest
from braindecode_hub.types import Array, Artifact

LOSSLESS = ("audio/flac", "audio/x-wav", "audio/wav", "image/png")
TYPES = {
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".mid": "audio/midi",
    ".midi": "audio/midi",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".txt": "text/plain",
    ".plain": "text/plain",
    ".json": "application/json",
}
"""The media type of a file, by its ending."""


def wrong_artifact(artifact: Artifact) -> str | None:
    """Say what is wrong with an artifact: its array, its bytes, or that the two differ; None if nothing is."""
    array = np.asarray(artifact.array) if artifact.array is not None else np.zeros(0)
    if array.dtype.kind in "fiu" and not np.isfinite(array).all():
        return f"the array of '{artifact.name}' holds NaN or infinity"
    if artifact.media_type.startswith("audio/") and artifact.media_type != "audio/midi":
        if array.ndim != 1 or not artifact.rate:
            return f"the sound '{artifact.name}' has shape {array.shape} and rate {artifact.rate}"
        if np.abs(array).max(initial=0.0) > 1.0:
            return f"the sound '{artifact.name}' goes beyond [-1, 1]"
    return wrong_bytes(artifact.media_type, artifact.data, array if array.size else None, artifact.name)


def wrong_bytes(media_type: str, data: bytes, array: Array | None, name: str) -> str | None:
    """Say why `data` does not open as `media_type`, or not as `array`; None if it does.

    Raises NothingToTest where the package that opens it is missing.
    """
    kind = "midi" if media_type == "audio/midi" else media_type.split("/")[0]
    opener = _OPENERS.get("json" if media_type == "application/json" else kind)
    if opener is None:
        return f"'{name}' is {media_type}, which nothing here can open"
    try:
        opened = opener(data)
    except NothingToTest:
        raise
    except Exception as error:  # every decoder has errors of its own
        return f"'{name}' does not open as {media_type}: {type(error).__name__}: {error}"
    if opened is None or array is None:
        return None
    if kind == "audio" and len(opened) != len(array) and media_type in LOSSLESS:
        return f"'{name}' has {len(opened)} samples as {media_type}, and {len(array)} as an array"
    if kind == "audio" and media_type in LOSSLESS and np.abs(opened - array).max(initial=0.0) > 1e-3:
        return f"'{name}' sounds otherwise as {media_type} than as an array"
    if kind == "image" and opened.shape[:2] != array.shape[:2]:
        return f"'{name}' is {opened.shape[:2]} as {media_type}, and {array.shape[:2]} as an array"
    return None


def _sound(data: bytes) -> Array:
    _needed("soundfile")
    import soundfile

    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]).mean(axis=1)


def _picture(data: bytes) -> Array:
    _needed("PIL")
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _midi(data: bytes) -> None:
    if data[:4] != b"MThd" or b"MTrk" not in data:
        raise ValueError("it has no header or no track")


def _video(data: bytes) -> None:
    _needed("av")
    import av  # type: ignore[import-not-found, unused-ignore]

    with av.open(io.BytesIO(data)) as container:
        if not sum(1 for _ in container.decode(video=0)):
            raise ValueError("it has no frames")


def _text(data: bytes) -> None:
    data.decode("utf-8")


def _json(data: bytes) -> None:
    json.loads(data.decode("utf-8"))


def _needed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise NothingToTest(f"opening it needs {package}, which is not installed")


_OPENERS: dict[str, Callable[[bytes], Array | None]] = {
    "audio": _sound,
    "image": _picture,
    "midi": _midi,
    "video": _video,
    "text": _text,
    "json": _json,
}

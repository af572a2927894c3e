"""What audio_seeg adds to a report: what was heard beside what was decoded, and which frequencies came
through.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError
from braindecode_hub.report import Section, audio_html, figure_html
from braindecode_hub.verdict import number
from braindecode_hub_audio_seeg.figures import (
    SHIFTS,
    bins_figure,
    centres_hz,
    chance_band,
    envelope_figure,
    mel_figure,
    ramp_html,
    shifted_correlations,
)

if TYPE_CHECKING:
    import numpy as np

    from braindecode_hub.report import Item, Reported
    from braindecode_hub_audio_seeg.mel import MelSpec

MOST_ITEMS = 3
FEWEST_SECONDS = 1.0
"""Length below which a stretch is not worth a listen."""
MOST_SECONDS = 10.0
"""Length of what is put into the page; the whole stands in the run folder."""
MOST_FRAMES = 40_000
"""Frames of a stretch that the chance band is computed from."""
MOST_BYTES = 1_000_000
"""Size of one piece that is put in uncut, or where it cannot be cut."""
COPIES = {
    "original": "what the person heard",
    "vocoded": "the original through the vocoder: the best it can give",
    "reconstructed": "decoded from the brain, through the vocoder",
}
CONTENT = ("mel", "envelope")


def sections(run: Reported) -> list[Section]:
    """Return "Listen" (up to 3 stretches: original, vocoded, reconstructed) and "Where it works"."""
    items = [item for item in run.items() if item.rate]
    chosen = _longest(run, items)
    heard = "".join(_triplet(run, item) for item in chosen)
    found = [Section("Listen", _intro(run, len(chosen), len(items)) + heard, 10)] if heard else []
    where = _where(run, items)
    return [*found, Section("Where it works", where, 25)] if where else found


def _longest(run: Reported, items: list[Item]) -> list[Item]:
    """Choose the longest stretches, those with audio first, and keep the order of the test side."""
    ranked = sorted(items, key=lambda item: (artifact(run, item.name, "reconstructed") is None, -_seconds(item)))
    chosen = {item.name for item in ranked[:MOST_ITEMS] if _seconds(item) >= FEWEST_SECONDS or item is ranked[0]}
    return [item for item in items if item.name in chosen]


def _rate(item: Item) -> float:
    return item.rate or 1.0


def _seconds(item: Item) -> float:
    content = _content(item.target)
    return 0.0 if content is None else len(content) / _rate(item)


def _intro(run: Reported, shown: int, total: int) -> str:
    more = f" {shown} of {total} test stretches." if total > shown else ""
    simulated = " <b>SIMULATED</b>: no brain was recorded." if run.metrics.get("simulated") else ""
    parts = "; ".join(f"<b>{name}</b>, {text}" for name, text in COPIES.items())
    return f"<p>Held-out speech, never seen in training: {parts}.{more}{simulated}</p>"


def _triplet(run: Reported, item: Item) -> str:
    """Return one stretch's three players, each above the picture of what it plays."""
    files = {copy: artifact(run, item.name, copy) for copy in COPIES}
    shown = {"original": _content(item.target), "reconstructed": _content(item.predicted)}
    shown["vocoded"] = _heard_as_mel(run, files["vocoded"]) if _bins(shown["original"]) > 1 else None
    cut = {copy: array[: int(MOST_SECONDS * _rate(item))] for copy, array in shown.items() if array is not None}
    low, high = _scale(cut)
    cells = []
    for copy in COPIES:
        player = _player(files[copy], copy)
        picture = _picture(run, cut[copy], item, copy, low, high) if copy in cut else _no_picture(copy, files[copy])
        cells.append(f"<div>{player}{picture}</div>")
    name = escape(item.name.removeprefix("SIMULATED-"))
    legend = f"{ramp_html(low, high)}" if _bins(shown["original"]) > 1 else ""
    return f'<h3>{name}</h3><div class="triplet">{"".join(cells)}</div>{legend}'


def artifact(run: Reported, name: str, copy: str) -> Path | None:
    """Return the file of one copy of a stretch ("original", "vocoded", "reconstructed"), or None."""
    wanted = f"{name.removeprefix('SIMULATED-')}.{copy}."
    found = [path for path in run.artifacts() if path.name.removeprefix("SIMULATED-").startswith(wanted)]
    return min(found, key=lambda path: len(path.name), default=None)


def _player(path: Path | None, copy: str) -> str:
    if path is None or not path.is_file():
        return f'<p class="missing"><b>{copy}</b>: this run kept no such audio.</p>'
    media_type = {".flac": "audio/flac", ".wav": "audio/wav", ".mp3": "audio/mpeg"}.get(path.suffix, "audio/ogg")
    try:
        return audio_html(_short(path), media_type, copy)
    except HubError as error:
        return f'<p class="missing"><b>{copy}</b>: {escape(error.cause)}; {escape(error.remedy)}.</p>'


def _short(path: Path) -> bytes:
    """Return the file's bytes, cut to `MOST_SECONDS`; raises HubError where that cannot be done and it is too
    big.
    """
    try:
        import soundfile
    except ImportError:
        if path.stat().st_size <= MOST_BYTES:
            return path.read_bytes()
        raise HubError(
            "too long for this page, and cutting it needs soundfile", f"play artifacts/{path.name}"
        ) from None
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames <= MOST_SECONDS * file.samplerate:
                return path.read_bytes()
            samples = file.read(int(MOST_SECONDS * file.samplerate))
            cut = io.BytesIO()
            soundfile.write(cut, samples, file.samplerate, format=file.format, subtype=file.subtype)
    except (RuntimeError, ValueError) as error:
        raise HubError(f"{path.name} cannot be read ({error})", "render the run again") from error
    return cut.getvalue()


def _content(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the mel, or else the envelope, or else the first target, as (frames, bins)."""
    import numpy as np

    name = next((name for name in (*CONTENT, *arrays) if name in arrays), None)
    if name is None:
        return None
    array = np.asarray(arrays[name], dtype=float)
    return array[:, None] if array.ndim == 1 else array


def _bins(array: np.ndarray | None) -> int:
    return 0 if array is None else int(array.shape[1])


def _heard_as_mel(run: Reported, path: Path | None) -> np.ndarray | None:
    """Return the mel spectrogram of an audio file, by the target's own specification."""
    spec = mel_spec(run.config)
    if path is None or spec is None or not path.is_file():
        return None
    try:
        import soundfile

        from braindecode_hub_audio_seeg.mel import log_mel_spectrogram, resample

        samples, rate = soundfile.read(path, frames=int(MOST_SECONDS * soundfile.info(path).samplerate), always_2d=True)
        mono: np.ndarray = resample(samples.mean(axis=1), rate, spec.rate)
        heard: np.ndarray = log_mel_spectrogram(mono, spec)
        return heard.astype(float)
    except (ImportError, RuntimeError, HubError):
        return None


def mel_spec(config: Mapping[str, Any]) -> MelSpec | None:
    """Return the specification of the run's mel target; None where the target is no mel."""
    from braindecode_hub_audio_seeg.mel import MelSpec

    steps = (config.get("targets") or {}).get("mel") or ()
    steps = [steps] if isinstance(steps, Mapping) else steps
    step = next((step for step in steps if str(step.get("use", "")).rsplit("/", 1)[-1] == "mel"), None)
    known = {field.name for field in fields(MelSpec)}
    return None if step is None else MelSpec(**{key: value for key, value in step.items() if key in known})


def _scale(shown: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return the colour range that all pieces of a triplet share: the original's 1st to 99.8th percentile."""
    import numpy as np

    values = [array[np.isfinite(array)] for array in shown.values()]
    first = next((value for value in values if value.size), np.zeros(1))
    low, high = (float(end) for end in np.percentile(first, (1, 99.8)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _picture(run: Reported, array: np.ndarray, item: Item, copy: str, low: float, high: float) -> str:
    seconds = len(array) / _rate(item)
    if array.shape[1] == 1:
        return figure_html(
            envelope_figure(array[:, 0], _rate(item), low, high), f"{copy}: envelope over {seconds:.1f} s"
        )
    figure = mel_figure(array, _rate(item), low, high, mel_spec(run.config))
    return figure_html(
        figure,
        f"{copy}: mel spectrogram, {array.shape[1]} bins over {seconds:.1f} s, same colours as beside it",
    )


def _no_picture(copy: str, path: Path | None) -> str:
    why = "no audio to analyse" if path is None else "no spectrogram was stored"
    return f'<p class="missing">{copy}: {why}.</p>'


def _where(run: Reported, items: list[Item]) -> str:
    """Return the figure of the correlation in each mel bin, with what chance would give."""
    import numpy as np

    stored = run.details.get("bins/mel_correlation")
    curves = [curve for item in items if (curve := _curve(item)) is not None]
    if stored is None and not curves:
        return ""
    size = curves[0].shape[1] if stored is None else stored.size
    curves = [curve for curve in curves if curve.shape[1] == size]
    line = np.mean([curve[0] for curve in curves], axis=0) if stored is None else stored.ravel().astype(float)
    line = np.nan_to_num(line)
    spec = mel_spec(run.config)
    hertz = centres_hz(spec) if spec is not None and spec.n_mels == size else None
    best = int(line.argmax())
    at = f"bin {best + 1}" if hertz is None else f"{hertz[best]:.0f} Hz"
    band = chance_band(curves) if curves else None
    caption = f"Correlation over time in each mel bin, highest at {at}."
    if band is not None:
        caption += f" Grey: 95 % of {SHIFTS} circular shifts of the prediction against the original."
    alt = f"Correlation by mel bin: {number(line.min())} to {number(line.max())}, highest at {at}"
    return figure_html(bins_figure(line, band, hertz), alt, caption)


def _curve(item: Item) -> np.ndarray | None:
    """Return r in each bin for every circular shift of a stretch's prediction; None if there is no mel."""
    import numpy as np

    target, predicted = _content(item.target), _content(item.predicted)
    if target is None or predicted is None or target.shape != predicted.shape or target.shape[1] < 2:
        return None
    if not (np.isfinite(target).all() and np.isfinite(predicted).all()):
        return None
    return shifted_correlations(target[:MOST_FRAMES], predicted[:MOST_FRAMES])

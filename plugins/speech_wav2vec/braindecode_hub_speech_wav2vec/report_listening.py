"""What a report of a retrieval plays: the test side as it was heard and as retrieved, and the nearest candidates."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.media import SIMULATED, audio_bytes
from braindecode_hub.report import audio_html
from braindecode_hub.verdict import number

if TYPE_CHECKING:
    from pathlib import Path

    from braindecode_hub.report import Reported
    from braindecode_hub_speech_wav2vec.report import Pool

BEST = 5
"""Nearest candidates that are shown of a window."""
PLAYED = 4
"""Subjects whose whole test side is played."""
MOST_SECONDS = 80.0
"""Length of what is put into the page; the whole stands in the run folder."""
MOST_BYTES = 1_000_000
"""Size of one sound that is put in as it is, where it cannot be made smaller."""
QUALITY = 0.8
"""Of MP3, from 0 (large) to 1 (small): about 4 kB a second."""
MEDIA = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}
NAMED = re.compile(r"(?P<fit>(?:fold|fit)-\d+)-(?P<subject>.*)\.retrieved(?:\.\d+)?$")


def played_html(run: Reported, pools: Sequence[Pool]) -> str:
    """Return players of what each subject heard, and of what was retrieved instead, in the order of the test side."""
    simulated = " <b>SIMULATED</b>: no brain was recorded." if run.metrics.get("simulated") else ""
    intro = (
        "<p>For every window of the test side, the candidate that the decoded brain is nearest to, joined in order. "
        f"Nothing is synthesised: what sounds is speech of the test side, right or wrong.{simulated}</p>"
    )
    found = [path for path in run.artifacts() if NAMED.search(path.stem) and path.suffix in MEDIA]
    if not found:
        return f'{intro}<p class="missing">This run kept no sound of what was retrieved.</p>'
    originals = {path: path.with_name(path.name.replace(".retrieved", ".original")) for path in found}
    shown = found[:PLAYED]
    shared = len({_digest(originals[path]) for path in shown}) == 1 and len(shown) > 1
    cells = [_player(originals[shown[0]], "What all of them heard")] if shared else []
    for path in shown:
        cells += [] if shared else [_player(originals[path], f"{_who(path, pools)}: what was heard")]
        cells.append(_player(path, f"{_who(path, pools)}: what was retrieved{_right(path, pools)}"))
    left = f"<p>{len(found) - PLAYED} more are in the run folder, in artifacts.</p>" if len(found) > PLAYED else ""
    return f'{intro}<div class="grid">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>{left}'


def nearest_html(run: Reported, pools: Sequence[Pool]) -> str:
    """Return the nearest candidates of some windows of the first fit, with words and players; the right one marked."""
    pool = pools[0]
    sounds = _Sounds(run.artifacts())
    best = min(BEST, len(pool.candidates))
    rows = "".join(_row(pool, int(query), best, sounds) for query in pool.shown)
    labels = ("What was heard", *(_place(n) for n in range(best)))
    head = "".join(f'<th scope="col">{label}</th>' for label in ("Window", *labels))
    of_first = f" of the first of {len(pools)} fits" if len(pools) > 1 else ""
    caption = (
        f"Windows of {pool.seconds:.3g} s{of_first}, evenly spread over the test side, and the {best} nearest of "
        f"{len(pool.candidates)} candidates by cosine. ✓ marks the right one."
    )
    table = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<h3>The nearest candidates</h3><div class="wide"><table class="cards found">{table}</table></div>'


def _row(pool: Pool, query: int, best: int, sounds: _Sounds) -> str:
    own, scores = int(pool.own[query]), pool.scores[query]
    rank = int(pool.ranks[query])
    who = escape(f"subject {pool.subjects[query]}" if pool.subjects[query] else "all subjects")
    cells = [_cell(pool.candidates[own], "What was heard", "", float(scores[own]), sounds)]
    for n, k in enumerate(np.argsort(-scores, kind="stable")[:best]):
        mark = "✓ " if int(k) == own else ""
        cells.append(_cell(pool.candidates[k], _place(n), mark, float(scores[k]), sounds))
    place = "first" if rank == 1 else f"rank {rank} of {len(pool.candidates)}"
    return f'<tr><th scope="row">{who}<br><small>{place}</small></th>{"".join(cells)}</tr>'


def _cell(candidate: Mapping[str, Any], label: str, mark: str, cosine: float, sounds: _Sounds) -> str:
    text = f"{mark}{candidate.get('text') or '(no transcript)'}"
    html = sounds.html(str(candidate.get("clip")), text) or f"<p>{escape(text)}</p>"
    right = ' class="right"' if mark else ""
    return f'<td{right} data-label="{label}">{html}<small>cosine {number(cosine)}</small></td>'


def _place(n: int) -> str:
    return "Nearest" if n == 0 else f"{n + 1}"


class _Sounds:
    """Clips by the names of their files, each made small once."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = {path.name: path for path in paths}
        self._made: dict[str, tuple[bytes, str] | None] = {}

    def html(self, name: str, label: str) -> str:
        """Return a player; "" where there is no such sound, or it cannot be read."""
        if name not in self._made:
            path = self._paths.get(name)
            try:
                self._made[name] = None if path is None or path.suffix not in MEDIA else _small(path)
            except HubError:
                self._made[name] = None
        made = self._made[name]
        return "" if made is None else audio_html(*made, label)


def _who(path: Path, pools: Sequence[Pool]) -> str:
    found = NAMED.search(path.stem.removeprefix(SIMULATED))
    assert found is not None, "only such paths are asked for"
    subject = "All" if found["subject"] == "all" else f"Subject {found['subject']}"
    return f"{subject}, {found['fit'].replace('-', ' ')}" if len(pools) > 1 else subject


def _right(path: Path, pools: Sequence[Pool]) -> str:
    """Return how many windows of a subject were right, where that is known."""
    found = NAMED.search(path.stem.removeprefix(SIMULATED))
    if found is None or len(pools) != 1:
        return ""
    hits = [rank == 1 for rank, name in zip(pools[0].ranks, pools[0].subjects, strict=True) if name == found["subject"]]
    return f" ({sum(hits)} of {len(hits)} windows right)" if hits else ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _player(path: Path, told: str) -> str:
    if not path.is_file() or path.suffix not in MEDIA:
        return f'<p class="missing"><b>{escape(told)}</b>: this run kept no such sound.</p>'
    try:
        data, media_type = _small(path)
    except HubError as error:
        return f'<p class="missing"><b>{escape(told)}</b>: {escape(error.cause)}; {escape(error.remedy)}.</p>'
    return audio_html(data, media_type, f"{told}{_cut(path)}")


def _cut(path: Path) -> str:
    try:
        import soundfile

        seconds = float(soundfile.info(path).duration)
    except (ImportError, RuntimeError):
        return ""
    return f"; first {MOST_SECONDS:.0f} of {seconds:.0f} s" if seconds > MOST_SECONDS else ""


def _small(path: Path) -> tuple[bytes, str]:
    """Return a sound of at most `MOST_SECONDS` as MP3, or FLAC where its rate has none, and its media type.

    Raises HubError where it cannot be read, or cannot be made smaller and is too big.
    """
    try:
        import soundfile
    except ImportError:
        if path.stat().st_size <= MOST_BYTES:
            return path.read_bytes(), MEDIA[path.suffix]
        raise HubError(
            "too long for this page, and cutting it needs soundfile", f"play artifacts/{path.name}"
        ) from None
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(int(MOST_SECONDS * file.samplerate), dtype="float32", always_2d=True).mean(axis=1)
            rate = file.samplerate
    except (RuntimeError, OSError) as error:
        raise HubError(f"{path.name} cannot be read ({error})", "render the run again") from error
    sink = io.BytesIO()
    try:
        soundfile.write(sink, samples, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=QUALITY)
    except (RuntimeError, ValueError, TypeError):  # a rate that MP3 has not, or an older libsndfile
        return audio_bytes(samples, rate, ".flac"), MEDIA[".flac"]
    return sink.getvalue(), MEDIA[".mp3"]

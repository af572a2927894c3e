"""Sentences as trials: what counts as the same sentence, and which seconds of its stimulus belong to one."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

GRID_S = 0.02
"""Trials begin and end on this grid: a frame at 50 Hz."""
SPARE_S = 0.02
"""So much more than a window is asked for, that one fits on a frame grid of any rate from 50 Hz up."""


@dataclass(frozen=True)
class Word:
    """A word as written, from `start` to `stop` in seconds of its stimulus."""

    text: str
    start: float
    stop: float


@dataclass(frozen=True)
class Sentence:
    """What was said from `start` to `stop`, in seconds of its stimulus; `kind`: its condition, if several."""

    text: str
    start: float
    stop: float
    kind: str = ""


def normalised(text: str) -> str:
    """Return a text with case, punctuation and white space folded: equal results are the same sentence to a split.

    Dashes part words; apostrophes and all other punctuation are dropped, accents stay. May be empty.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = [_kept(letter) for letter in folded]
    return " ".join("".join(kept).split())


def _kept(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Pd" or letter in "/\u2026" or letter.isspace():
        return " "
    return "" if kind[0] in "PSC" else letter


def from_words(words: Sequence[Word], sentence: Sequence[object], kinds: Sequence[str] = ()) -> list[Sentence]:
    """Return the sentences that runs of words with the same `sentence` make, in order; each from its first word's start
    to its last word's stop. `kinds`: the condition of every word, none: there is only one.
    """
    found: list[Sentence] = []
    first = 0
    for at in range(1, len(words) + 1):
        if at == len(words) or sentence[at] != sentence[first]:
            own = words[first:at]
            text = " ".join(word.text for word in own)
            kind = kinds[first] if kinds else ""
            found.append(Sentence(text, own[0].start, max(word.stop for word in own), kind))
            first = at
    return found


def spans(sentences: Sequence[Sentence], seconds: float, shortest_s: float) -> list[tuple[float, float] | None]:
    """Return the seconds of the stimulus that make a trial of each sentence, or None where a window does not fit.

    A trial reaches from the sentence's start to its end, and, where that is shorter than `shortest_s`, on into the
    pause behind it and then back into the one before it; never into the next sentence, another trial, or beyond
    `seconds`, the length of the stimulus. `sentences` in the order of their starts.
    """
    starts = [_down(sentence.start) for sentence in sentences]
    end = math.floor(seconds / GRID_S + 1e-6) * GRID_S
    least = shortest_s + SPARE_S
    found: list[tuple[float, float] | None] = []
    taken = 0.0
    for number, sentence in enumerate(sentences):
        limit = min(end, starts[number + 1] if number + 1 < len(sentences) else end)
        start = max(taken, starts[number])
        stop = min(limit, max(_up(sentence.stop), _up(start + least)))
        if stop - start < least - 1e-9:
            before = max(taken, _up(max((one.stop for one in sentences[:number]), default=0.0)))
            start = max(min(start, before), _down(stop - least))
        if stop - start < least - 1e-9:
            found.append(None)
            continue
        found.append((round(start, 6), round(stop, 6)))
        taken = stop
    return found


def _down(seconds: float) -> float:
    return max(0.0, math.floor(seconds / GRID_S + 1e-6) * GRID_S)


def _up(seconds: float) -> float:
    return math.ceil(seconds / GRID_S - 1e-6) * GRID_S

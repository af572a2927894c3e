"""What strangers wrote, made fit to be shown: no terminal codes, nothing that turns the direction of writing."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
"""Characters of one line; what is cut off is shown as …"""

_UNSEEN = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def visible(text: str) -> str:
    """Return `text` with each control or direction-changing character, but line ends and tabs, as a sign to see."""
    return text if text.isprintable() else re.sub(_UNSEEN, "\ufffd", text)  # the first is all that most need


def plain(text: str) -> str:
    """Return a text with case, punctuation and white space folded: equal results are one sentence. May be empty."""
    kept = "".join(c if c.isalnum() else " " for c in unicodedata.normalize("NFKC", text).casefold())
    return " ".join(kept.split())


def one_line(text: object) -> str:
    """Return anything as one visible line of at most `LONGEST` characters."""
    line = visible(" ".join(str(text)[: 2 * LONGEST].split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"

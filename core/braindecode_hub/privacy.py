"""Who took part stays in the run folder: what is passed on shows neutral codes and no paths.

docs/decisions/0011-privacy.md has the rule, docs/run-folder.md which files of a run may be shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

HIDDEN = "…"
"""What stands in the place of a name or a folder."""

FEWEST_LETTERS = 3
"""Names shorter than this are not looked for in running text, where they would be found in every word."""

_PREFIXES = (
    "sub|subj|subject|s|p|pt|pat|patient|participant|vp|ses|session|r|run|rec|recording|block|b|trial|t|fold|part"
)
_WORDS = {
    *("audio", "brain", "data", "dataset", "ecog", "eeg", "ephys", "fif", "final", "fmri", "folder", "heard", "ieeg"),
    *("lfp", "meg", "mel", "my", "own", "patient", "raw", "rec", "recording", "recordings", "seeg", "session", "set"),
    *("signal", "sound", "speech", "stimuli", "stimulus", "subject", "test", "train", "val", "bold", "task", "bids"),
}
_TOKEN = re.compile(rf"(?:{_PREFIXES})?\d{{1,4}}[a-z]?", re.IGNORECASE)
_DATE = re.compile(r"\d+\D\d+\D\d+|(?:19|20)\d\d")
_ABOUT = ("plugin", "summary", "flow", "extra", "source", "pipeline", "metrics", "plugins", "presets")
_ROOTED = re.compile(r"~|[\\/]|[A-Za-z]:[\\/]|file:|\.{1,2}[\\/]")
_PATH = re.compile(r"(?<![\w.>/:-])(?:file://|~|[A-Za-z]:)?(?:[\\/](?=[^\s\\/]))[^\n'\"<>|]*")
_ENDING = re.compile(r"(\.[A-Za-z0-9]{1,8})(?=[\s:;,)\]]|\.?$)")


def neutral(name: str) -> bool:
    """Say whether a name tells nothing of a person: sub-01, P3, S01, 12, sub-01_ses-02, my_recording.

    A date, a long number (of a patient's file), initials and any other word may.
    """
    parts = re.split(r"[-_ ./]+", name.strip())
    joined = re.sub(rf"(?i)(?<![A-Za-z])({_PREFIXES})[-_ ](?=\d)", r"\1", name)
    tokens = re.split(r"[-_ ./]+", joined.strip())
    fits = all(_TOKEN.fullmatch(token) or token.lower() in _WORDS for token in tokens)
    return bool(name) and name.isprintable() and fits and not _DATE.search("-".join(parts))


def codes(names: Iterable[str], letter: str = "S") -> dict[str, str]:
    """Return how each name is shown: a neutral one as it is, others as S1, S2 … in the order of all sorted names."""
    every = sorted(set(names))
    kept = {name for name in every if not name or (neutral(name) and re.fullmatch(r"[\w -]+", name))}
    taken = {name.lower() for name in kept}
    shown, number = {}, 0
    for name in every:
        if name in kept:
            shown[name] = name
            continue
        number += 1
        while f"{letter}{number}".lower() in taken:
            number += 1
        shown[name] = f"{letter}{number}"
    return shown


class Names:
    """What must not be shown of one run, and what is shown in its place."""

    def __init__(self, subjects: Mapping[str, str], recordings: Iterable[str], others: Iterable[str] = ()) -> None:
        self.subjects = dict(subjects)
        self.shown = {name: code for name, code in subjects.items() if name != code}
        places = {name: self._within(name) for name in sorted(set(recordings))}
        coded = codes((name for name, code in places.items() if not neutral(code)), "R")
        self.recordings = {name: coded.get(name, code) for name, code in places.items()}
        self.shown |= {name: code for name, code in self.recordings.items() if name != code}
        self.shown |= {name: HIDDEN for name in others if name not in self.shown and self._within(name) != name}

    @classmethod
    def of_split(cls, split: Mapping[str, Any]) -> Names:
        """Return the names in a split.json, with the codes that the run gave its subjects."""
        pieces = [
            piece for fold in split.get("folds") or () for some in fold["sides"].values() for piece in some
        ]  # fmt: skip
        known = {str((piece.get("groups") or {}).get("subject") or "") for piece in pieces}
        subjects = {**codes(known), **(split.get("codes") or {})}
        others = {str(piece[key]) for piece in pieces for key in ("id", "stimulus") if piece.get(key)}
        return cls(subjects, (str(piece["recording"]) for piece in pieces if piece.get("recording")), others)

    def text(self, text: str) -> str:
        """Return running text without names and paths: of a path only the ending of its file is left."""
        return _PATH.sub(_without_folder, self.names(text))

    def names(self, text: str, told: Callable[[str], str] = str) -> str:
        """Return `text` with every private name as its code; `told`: how a name is written there (escaped)."""
        longest = sorted((name for name in self.shown if len(name) >= FEWEST_LETTERS), key=len, reverse=True)
        for name in longest:
            text = re.sub(rf"(?<!\w){re.escape(told(name))}(?!\w)", lambda found, n=name: self.shown[n], text)  # type: ignore[misc]
        return text

    def html(self, html: str) -> str:
        """Return HTML with the private names in its text and its spoken labels replaced; tags and data stay."""

        def piece(found: re.Match[str]) -> str:
            if not found[1]:
                return self.names(found[0], escape)
            labels = r"""((?:alt|title|aria-label)=)("[^"]*"|'[^']*')"""
            return re.sub(labels, lambda label: label[1] + self.names(label[2], escape), found[0])

        return re.sub(r"(<[^>]*>)|[^<]+", piece, html) if self.shown else html

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration to show: paths as the names of their files, subjects by their codes.

        Of one's own data even the file's name is shown only if it is neutral.
        """
        shown = {}
        for key, value in config.items():
            own = key == "dataset"
            shown[key] = value if key in _ABOUT else self._shown(value, "", own)
        how = shown.get("run")
        if isinstance(how, dict) and isinstance(how.get("subjects"), list):
            how["subjects"] = [self.subjects.get(str(name), HIDDEN) for name in config["run"]["subjects"]]
        return shown

    def _shown(self, value: Any, key: str, own: bool) -> Any:
        if isinstance(value, Mapping):
            return {name: self._shown(one, str(name), own) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._shown(one, key, own) for one in value]
        if not isinstance(value, str) or key == "use":
            return value
        local = bool(_ROOTED.match(value)) or (re.search(r"[\\/]", value) and "://" not in value)
        if local or (own and key in ("path", "sound") and "://" not in value):
            return self._file(value, own)
        return self.names(_without_secrets(value))

    def _file(self, path: str, own: bool) -> str:
        name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
        stem, dot, ending = name.partition(".")
        if own and not neutral(stem):
            return HIDDEN + (dot + ending if re.fullmatch(r"[A-Za-z0-9.]{1,12}", ending) else "")
        return self.names(name)

    def _within(self, name: str) -> str:
        """Return a name with the subjects in it as their codes."""
        for subject in sorted(self.shown.keys() & self.subjects.keys(), key=len, reverse=True):
            name = name.replace(subject, self.subjects[subject])
        return name


class Shareable:
    """A finished run as a report may show it: configuration, split, scores and environment without names or paths."""

    def __init__(self, run: Any) -> None:
        self.private_run = run
        self.names = Names.of_split(run.split)
        self.path: Path = run.path
        self.config: dict[str, Any] = self.names.config(run.config)
        self.env: dict[str, Any] = self.names.config(run.env)
        self.metrics: dict[str, Any] = {**run.metrics}
        by = run.metrics.get("by_subject") or {}
        self.metrics["by_subject"] = {self.names.subjects.get(str(who), str(who)): some for who, some in by.items()}
        self.metrics["reasons"] = reasons(run.metrics.get("reasons") or {}, self.names)
        self.split: dict[str, Any] = {**run.split, "folds": [self._fold(fold) for fold in run.split.get("folds") or ()]}

    @property
    def details(self) -> dict[str, Any]:
        """Arrays behind the scores; they name nobody."""
        found: dict[str, Any] = self.private_run.details
        return found

    @property
    def retrieval(self) -> list[dict[str, Any]]:
        """What was looked up in each fit; subjects are codes."""
        found: list[dict[str, Any]] = self.private_run.retrieval
        return found

    def artifacts(self) -> list[Path]:
        """Return the files of rendered media."""
        return list(self.private_run.artifacts())

    def items(self) -> Any:
        """Return the scored test stretches."""
        return self.private_run.items()

    def _fold(self, fold: Mapping[str, Any]) -> dict[str, Any]:
        sides = {
            side: [{**piece, "recording": self.names.recordings.get(str(piece["recording"]), HIDDEN)} for piece in some]
            for side, some in fold["sides"].items()
        }
        return {**fold, "sides": sides}


def reasons(given: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return the reasons of a metrics.json without names and paths."""
    return {path: names.text(why) if isinstance(why, str) else why for path, why in given.items()}


def _without_folder(found: re.Match[str]) -> str:
    """Keep of a path the ending of its file and what is said after it; where no file ends, nothing is kept."""
    said = found[0]
    last = max(said.rfind("/"), said.rfind("\\"))
    ending = _ENDING.search(said, last + 1)
    if ending:
        return HIDDEN + said[ending.start() :]
    _, space, rest = said[last + 1 :].partition(" ")
    return HIDDEN + space + rest


def _without_secrets(uri: str) -> str:
    """Return a URI without the user, password and query that may let others in."""
    return re.sub(r"(?<=://)[^/@\s]*@|\?[^#\s]*(?=#|$)", "", uri) if "://" in uri else uri

"""Which files of a folder belong together: by their names, or because there is only one of each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from braindecode_hub.errors import HubError
from braindecode_hub.parts.opening import SOUNDS

READ_BY_MNE = (
    *(".edf", ".bdf", ".gdf", ".vhdr", ".ahdr", ".fif", ".fif.gz", ".set", ".cnt", ".mff", ".ds"),
    *(".sqd", ".con", ".nxe", ".lay"),
)
"""Endings of recordings that are looked for in a folder; any other that MNE reads may be named by its path."""

_KIND = re.compile(r"(?<=.)_(seeg|ieeg|ecog|eeg|meg|raw)$", re.IGNORECASE)
_PART = re.compile(r"(-\d+|_split-0*([2-9]|\d\d+)(_\w+)?)\.fif(\.gz)?$", re.IGNORECASE)
_ENTITY = re.compile(r"(?:^|_)(sub|ses|run)-([A-Za-z0-9]+)(?=_|$)")
_GROUPS = {"sub": "subject", "ses": "session", "run": "run"}


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder and is not hidden, sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def in_utf8(path: Path) -> Path:
    """Return a path that can be written into a run's files; HubError for one whose bytes are no UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        told = str(path).encode(errors="replace").decode()
        raise HubError(f"the name of {told} is no UTF-8", "rename the file, or its folder") from error
    return path


def recordings_in(folder: Path, sounds: Iterable[Path] = ()) -> list[Path]:
    """Return the recordings of a folder; an .npy is none if it is the sound of another, or among `sounds`."""
    found = visible(folder)
    taken = {path.resolve() for path in sounds}
    npy = [path for path in found if path.suffix.lower() == ".npy" and path.is_file()]
    arrays = [path for path in npy if path.resolve() not in taken and not any(belongs(o, path) for o in (*npy, *found))]
    others = [path for path in found if ending(path) in READ_BY_MNE and not _is_later_part(path)]
    return sorted([*arrays, *others])


def sounds_of(path: Path) -> list[Path]:
    """Return the sounds that belong to a recording by name."""
    return [other for other in visible(path.parent) if other.is_file() and belongs(path, other)]


def only_sounds(folder: Path) -> list[Path]:
    """Return the sound files of a folder."""
    return [path for path in visible(folder) if path.is_file() and path.suffix.lower() in SOUNDS]


def tables_of(path: Path) -> list[Path]:
    """Return the tables that a recording may have for itself, the first one first: NAME_stimuli, NAME_events."""
    stems = dict.fromkeys([plain_stem(path), name_of(path)])
    names = [
        f"{stem}_{kind}{suffix}" for kind in ("stimuli", "events") for stem in stems for suffix in (".tsv", ".csv")
    ]
    longest = 255  # bytes of a name: to ask for a longer one is an error
    return [path.parent / n for n in names if len(os.fsencode(n)) <= longest and (path.parent / n).is_file()]


def tables_in(folder: Path) -> list[Path]:
    """Return the tables that serve a whole folder: stimuli.csv or stimuli.tsv."""
    return [folder / name for name in ("stimuli.csv", "stimuli.tsv") if (folder / name).is_file()]


def belongs(brain: Path, sound: Path) -> bool:
    """Say whether a sound belongs to a recording by its name."""
    if brain == sound or (ending(brain) not in READ_BY_MNE and brain.suffix.lower() != ".npy"):
        return False
    stem, other = plain_stem(brain).lower(), sound.stem.lower()
    if sound.suffix.lower() == ".npy":
        return other in (f"{stem}_audio", f"{name_of(brain).lower()}_audio") or (
            stem.endswith("_seeg") and other == f"{stem.removesuffix('_seeg')}_audio_final"
        )
    return sound.suffix.lower() in SOUNDS and other in (stem, name_of(brain).lower())


def name_of(path: Path) -> str:
    """Return the name of a recording: the file's, without its ending and without _sEEG, _ieeg, _eeg, _meg, _raw."""
    stem = plain_stem(path)
    while _KIND.search(stem):
        stem = _KIND.sub("", stem)
    return stem


def plain_stem(path: Path) -> str:
    """Return a file's name without its ending, .fif.gz being one."""
    return path.name[: -len(ending(path))] if ending(path) else path.name


def ending(path: Path) -> str:
    """Return a file's ending in lower case, .fif.gz being one."""
    name = path.name.lower()
    return ".fif.gz" if name.endswith(".fif.gz") else path.suffix.lower()


def entities(name: str) -> dict[str, str]:
    """Return subject, session and run from a name in BIDS style: sub-01_ses-2_run-3."""
    return {_GROUPS[key]: value for key, value in _ENTITY.findall(name)}


def no_single_sound(path: Path, found: Sequence[Path], *, alone: bool) -> HubError:
    """Return the error for a recording with several sounds, or none."""
    if found:
        named = ", ".join(other.name for other in found)
        return HubError(f"{path} has {len(found)} sounds: {named}", "leave one, or name it: --set dataset.sound=FILE")
    remedy = f"put {plain_stem(path)}.wav beside it" + (
        ", or --set dataset.sound=FILE" if alone else ", or a table stimuli.csv, or move the array away"
    )
    return HubError(f"{path} has no sound of its own", remedy)


def _is_later_part(path: Path) -> bool:
    """Say whether a .fif is the second or a later part of a recording: MNE finds it from the first."""
    found = _PART.search(path.name)
    if found is None:
        return False
    if found[2] is not None:
        return True
    return path.with_name(path.name[: found.start()] + ".fif" + (found[4] or "")).exists()

"""Which field of somebody else's file is what, by its name; what is not clear is asked, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from braindecode_hub.errors import HubError, did_you_mean

SYNONYMS: dict[str, tuple[str, ...]] = {
    "predicted": (
        *("predicted", "prediction", "predictions", "preds", "pred", "yhat", "ypred", "ypredicted"),
        *("ypredictions", "output", "outputs", "decoded", "reconstructed", "reconstruction"),
        *("reconstructions", "recon", "estimate", "estimated", "estimates", "zhat", "predicts"),
    ),
    "target": (
        *("target", "targets", "true", "truth", "groundtruth", "gt", "ytrue", "ytest", "y", "testtarget"),
        *("testtargets", "actual", "original", "originals", "reference", "references"),
    ),
    "train": ("train", "traintarget", "traintargets", "targettrain", "targetstrain", "ytrain", "trainy"),
    "center": ("center", "centre", "trainmean", "targetmean", "meantarget", "trainingmean"),
    "side": ("side", "sides", "split", "set", "subset", "partition"),
    "trial": ("trial", "trials", "trialid", "trialids", "id", "ids", "window", "windowid", "epoch", "epochid", "name"),
    "subject": ("subject", "subjects", "subjectid", "subjectids", "sub", "subj", "participant", "patient", "subjid"),
    "session": ("session", "sessions", "sessionid", "ses", "day"),
    "recording": ("recording", "recordings", "recordingid", "file", "filename", "run", "runid", "edf"),
    "stimulus": (
        *("stimulus", "stimuli", "stimulusid", "stimulusids", "stimulusname", "stimid", "stimids", "stim"),
        *("image", "imageid", "images", "imageids", "clip", "clipid", "video", "videoid", "audio", "audioid"),
        *("song", "songid", "track", "item", "itemid", "segment", "segmentid"),
    ),
    "start": ("start", "starts", "startseconds", "startsec", "starttime", "onset", "onsets", "tmin", "begin"),
    "stop": ("stop", "stops", "stopseconds", "stoptime", "end", "ends", "endtime", "tmax", "offset", "offsets"),
    "seconds": ("seconds", "duration", "durations", "length", "lengths"),
    "stimulus_start": ("stimulusstart", "stimulusstarts", "stimstart", "stimulusonset", "audiostart", "mediastart"),
    "stimulus_stop": ("stimulusstop", "stimulusstops", "stimstop", "stimulusend", "audiostop", "audioend", "mediastop"),
    "text": ("text", "sentence", "sentences", "transcript", "transcription", "caption", "word", "words", "labeltext"),
    "label": ("label", "labels", "class", "classes", "category", "categories", "classid", "labelid"),
    "story": ("story", "stories", "storyid", "chapter", "book"),
    "block": ("block", "blocks", "blockid", "blocknumber"),
    "features": ("features", "x", "brain", "eeg", "meg", "seeg", "ecog", "fmri", "neural", "data"),
    "rate": ("rate", "fs", "sfreq", "framerate", "fps", "hz", "samplingrate", "samplerate", "targetrate"),
}
PAIRED = ("predicted", "target")
"""Roles that may come many times, `a_predicted` beside `a_target`."""


def plain(name: str) -> str:
    """Return a name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def role_of(name: str) -> str | None:
    """Return the role that the whole of a name stands for, or None."""
    return next((role for role, some in SYNONYMS.items() if plain(name) in some), None)


def find_roles(
    names: Iterable[str], wanted: Iterable[str], given: Mapping[str, str], where: str, listing: str = ""
) -> dict[str, str]:
    """Return the field for every role of `wanted` that has one; `given` (role → field) decides where it says.

    Raises HubError (usage) for a field that is not there, and where two fields could be meant, listing them.
    """
    names, wanted = list(names), list(wanted)
    found: dict[str, str] = {}
    for role, key in given.items():
        if role not in SYNONYMS:
            raise HubError(f"'{role}' is no role of a field", did_you_mean(role, SYNONYMS), usage=True)
        if key not in names:
            raise HubError(f"{where} has no field '{key}'", f"it holds {listing or ', '.join(names)}", usage=True)
        found[role] = key
    taken = set(found.values())
    for role in wanted:
        if role in found:
            continue
        some = [name for name in names if name not in taken and role_of(name) == role]
        exact = [name for name in some if plain(name) == plain(role)]
        some = exact if len(exact) == 1 else some
        if len(some) > 1:
            raise HubError(f"{where}: the {role} could be {' or '.join(some)}", choice(role, some[0]), usage=True)
        if some:
            found[role] = some[0]
    return found


def choice(role: str, key: str) -> str:
    """Return how one says which field is meant."""
    short = role in (*PAIRED, "center")
    return f"say which: --{role} {key}" if short else f"say which: --field {role}={key}"


def find_pairs(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return (predicted, target) by what they share, for names such as `a_predicted` and `a_target`.

    The role is the last part of a name, or the first: `a/mel/target`, `pred_sub01`.
    """
    sides: dict[str, dict[str, str]] = {}
    for name in names:
        parts = [part for part in re.split(r"[/_.\-\s]+", name) if part]
        for at in (-1, 0):
            role = role_of(parts[at]) if len(parts) > 1 else None
            if role in PAIRED:
                rest = "/".join(parts[:-1] if at == -1 else parts[1:])
                sides.setdefault(rest, {}).setdefault(role, name)
                break
    return {rest: (some["predicted"], some["target"]) for rest, some in sides.items() if len(some) == 2}

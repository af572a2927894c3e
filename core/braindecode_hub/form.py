"""Has a configuration the form of one? What the catalogue and a run ask before anything is looked up or built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from braindecode_hub.errors import HubError

NEEDED = ("dataset", "targets", "decoder")
"""Parts that every pipeline has."""

_FORMS: dict[str, tuple[tuple[type, ...], str]] = {
    "presets": ((dict,), "a mapping"),
    "flow": ((list,), "a list"),
    "summary": ((str,), "text"),
    "extra": ((str,), "text"),
    "source": ((dict,), "a mapping"),
    "renderer": ((dict,), "a mapping"),
    "baseline": ((dict,), "a mapping"),
    "beside": ((list,), "a list"),
    "encoder": ((list,), "a list"),
    "metrics": ((list,), "a list"),
    "plugins": ((list,), "a list"),
    "window": ((dict,), "a mapping"),
    "split": ((dict,), "a mapping"),
    "unit_s": ((int, float), "a number"),
}
OPTIONS: dict[str, tuple[type, ...]] = {
    "seed": (int,),
    "folds": (int,),
    "dev": (bool,),
    "subjects": (list, type(None)),
    "preset": (str, type(None)),
    "device": (str,),
}


def wrong_in(spec: Any, needed: Sequence[str] = NEEDED) -> str | None:
    """Say what is wrong with the form of one pipeline, of a registry or resolved; None if nothing is.

    `needed`: the parts that must be there; of a pipeline that is only its dataset, that alone.
    """
    if not isinstance(spec, dict):
        return "is not a mapping"
    key = _odd_key(spec)
    if key is not None:
        return f"has the key {key!r}, which is not text"
    for name in needed:
        if not isinstance(spec.get(name), dict):
            return f"has no '{name}', or one that is not a mapping"
    for name, (kinds, called) in _FORMS.items():
        if spec.get(name) and not isinstance(spec[name], kinds):
            return f"has a '{name}' that is not {called}"
    for name, changes in (spec.get("presets") or {}).items():
        if not isinstance(changes, dict | None):
            return f"has a preset '{name}' that is not a mapping"
    return _wrong_part(spec)


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a run's config.yaml; HubError if it has not the form of one."""
    from braindecode_hub.files import read_yaml  # here: `list` starts without it

    stored = read_yaml(path)
    remedy = "take a config.yaml that a run wrote"
    if not isinstance(stored, dict) or not isinstance(stored.get("pipeline"), str):
        raise HubError(f"{path} does not name its pipeline", remedy)
    how = stored.get("run") or {}
    if not isinstance(how, dict):
        raise HubError(f"{path}: run is not a mapping", remedy)
    for name, kinds in OPTIONS.items():
        if name in how and (not isinstance(how[name], kinds) or (isinstance(how[name], bool) and bool not in kinds)):
            raise HubError(f"{path}: run.{name} cannot be {str(how[name])[:80]!r}", remedy)
    if how.get("folds", 1) < 1 or not all(isinstance(subject, str) for subject in how.get("subjects") or []):
        raise HubError(f"{path}: run.folds or run.subjects is nothing that can be run", remedy)
    why = wrong_in(stored)
    if why is not None:
        raise HubError(f"{path} {why}", remedy)
    return stored


def _odd_key(spec: Any) -> Any:
    """Return a key anywhere in `spec` that is not text, or None."""
    todo: list[Any] = [spec]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            odd = [key for key in item if not isinstance(key, str)]
            if odd:
                return odd[0] if odd[0] is not None else "null"
            todo += [value for value in item.values() if isinstance(value, dict | list)]
        else:
            todo += [value for value in item if isinstance(value, dict | list)]
    return None


def _wrong_part(spec: dict[str, Any]) -> str | None:
    """Say which part of a pipeline is none: a mapping whose `use` is text, or (in a list) just that text."""
    single = {name: spec[name] for name in ("dataset", "decoder", "renderer", "baseline") if spec.get(name)}
    lists = {name: spec.get(name) or [] for name in ("encoder", "metrics", "beside")}
    for name, chain in (spec.get("targets") or {}).items():
        if not isinstance(chain, list):
            return f"has a target '{name}' that is not a list of parts"
        lists[f"targets.{name}"] = chain
    single |= {f"{name}.{n}": part for name, chain in lists.items() for n, part in enumerate(chain)}
    for where, part in single.items():
        if not isinstance(part, dict | str) or (isinstance(part, dict) and not isinstance(part.get("use", ""), str)):
            return f"has a part '{where}' that does not name what to use"
    if not all(isinstance(name, str) for name in spec.get("plugins") or []):
        return "has 'plugins' that are not names"
    return None


# What a run writes of itself

_NUMBER = (int, float, type(None))
_PLAIN = (*_NUMBER, str)
_TABLES: dict[str, tuple[type, ...]] = {
    "unit": _PLAIN,
    "control_refits": (int,),
    "ceiling": _NUMBER,
    "reasons": (str, type(None)),
    "seconds": _NUMBER,
}
"""Tables of metrics.json and what stands in them."""
_NESTED = {"baselines": _NUMBER, "controls": _NUMBER, "by_subject": _NUMBER}


def wrong_in_metrics(metrics: dict[str, Any]) -> str | None:
    """Say what in a metrics.json is not as a run writes it; None if nothing is."""
    flags = metrics.get("flags") or []
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        return "has 'flags' that are not texts"
    for name in ("scores", "dataset", "differences", "intervals", *_TABLES, *_NESTED):
        if not isinstance(metrics.get(name) or {}, dict):
            return f"has a '{name}' that is not a table"
    for name, kinds in _TABLES.items():
        if not all(isinstance(value, kinds) for value in (metrics.get(name) or {}).values()):
            return f"has a value in '{name}' that cannot be there"
    for name, kinds in _NESTED.items():
        for values in (metrics.get(name) or {}).values():
            if not isinstance(values or {}, dict) or not all(isinstance(v, kinds) for v in (values or {}).values()):
                return f"has a value in '{name}' that cannot be there"
    for name, value in metrics.items():
        if name in ("pipeline", "seed", "digest", "side", "test_looks", "schema") and not isinstance(value, _PLAIN):
            return f"has a '{name}' that cannot be"
    trials = (metrics.get("dataset") or {}).get("trials") or {}
    if not isinstance(trials, dict) or not all(isinstance(value, _PLAIN) for value in trials.values()):
        return "has 'dataset.trials' that are not numbers"
    return next(
        (why for name, entry in (metrics.get("scores") or {}).items() if (why := _wrong_score(name, entry))), None
    )


def _wrong_score(name: str, entry: Any) -> str | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        return f"has a score '{name[:80]}' that is not a table"
    for key, value in entry.items():
        listed = value if isinstance(value, list) and key == "ci95" else [value]
        if key == "ci95" and value is not None and len(listed) != 2:
            return f"has an interval of '{name[:80]}' without two ends"
        kinds = _NUMBER if key in ("value", "ci95", "chance", "p", "smallest_p") else _PLAIN
        if not all(isinstance(one, kinds) for one in listed):
            return f"has a '{key[:80]}' of score '{name[:80]}' that cannot be"
    return None


def wrong_in_split(split: dict[str, Any]) -> str | None:
    """Say what in a split.json is not as a run writes it; None if nothing is."""
    texts = {key: split.get(key) or [] for key in ("by", "rules")}
    for key, value in texts.items():
        if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            return f"has '{key}' that are not texts"
    coded = split.get("codes") or {}
    if not isinstance(coded, dict) or not all(isinstance(code, str) for code in coded.values()):
        return "has 'codes' that are not texts"
    if not isinstance(split.get("gap_s"), _NUMBER) or not isinstance(split.get("folds") or [], list):
        return "has no 'gap_s' or 'folds' that can be"
    for fold in split.get("folds") or []:
        sides = fold.get("sides") if isinstance(fold, dict) else None
        if not isinstance(sides, dict) or not all(isinstance(some, list) for some in sides.values()):
            return "has a fold without sides"
        if not isinstance(fold.get("fold", 0), int):
            return "has a fold whose number is none"
        if not all(_is_piece(piece) for some in sides.values() for piece in some):
            return "has a trial that is none"
    return None


def _is_piece(piece: Any) -> bool:
    if not isinstance(piece, dict) or not isinstance(piece.get("groups") or {}, dict):
        return False
    clock = all(isinstance(piece.get(key), int | float) for key in ("start", "stop"))
    return clock and all(isinstance(piece.get(key, ""), str | None) for key in ("id", "recording", "stimulus"))

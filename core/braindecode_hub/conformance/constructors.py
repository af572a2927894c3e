"""The constructor rule: a constructor is configuration. Keyword-only, JSON-able, stored as given, no logic."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator
from typing import Any

from braindecode_hub.conformance.checks import Unconforming, none_of
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Component
from braindecode_hub.manager import Registered
from braindecode_hub.pipeline import fits, type_name

REMEDY = "store every argument under its own name and do the rest in fit() or prepare()"


def check_constructor(subject: Subject, entry: Registered) -> None:
    """Keyword-only; JSON-able defaults of the annotated types; stored as given; building twice gives equal ones."""
    found = subject.kind_of(entry)
    none_of(
        _wrong_parameters(found), "write the constructor as (self, *, name: type = default), every default plain data"
    )
    none_of(_not_stored(found), REMEDY)
    _check_round_trip(found, subject.arguments(entry))


def _wrong_parameters(found: type[Component]) -> Iterator[str]:
    parameters = found.parameters()
    for name, parameter in parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            yield f"'{name}' is not keyword-only"
    try:
        hints = typing.get_type_hints(found.__init__)
    except Exception as error:  # an annotation may be any expression
        yield f"its annotations cannot be read ({type(error).__name__}: {error})"
        return
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty:
            continue
        if not _is_plain(parameter.default):
            yield f"the default of '{name}' is {parameter.default!r}, which is not JSON-able"
        elif not _fits(parameter.default, hints.get(name, Any)):
            yield f"the default of '{name}' is {parameter.default!r}, which is not {type_name(hints[name])}"


def _not_stored(found: type[Component]) -> Iterator[str]:
    """Build it from opaque objects: only a constructor with logic minds, or stores anything else."""
    parameters = found.parameters()
    given = {name: _Opaque(name) for name in parameters}
    try:
        made = found(**given)
        configuration = made.configuration()
    except HubError as error:
        yield f"its constructor judges its arguments ({error.cause})"
        return
    except Exception as error:  # a constructor may do anything
        yield f"its constructor works with its arguments ({type(error).__name__}: {error})"
        return
    for name, value in given.items():
        if configuration.get(name) is not value:
            yield f"'{name}' is not stored as it was given"
    for name in set(configuration) - set(parameters):
        yield f"configuration() has '{name}', which is no parameter"
    learned = sorted(name for name in vars(made) if name.endswith("_") and not name.startswith("_"))
    if learned:
        yield f"its constructor sets {', '.join(learned)}, as if it had learned something"


def _check_round_trip(found: type[Component], arguments: dict[str, Any]) -> None:
    missing = [k for k, p in found.parameters().items() if p.default is p.empty and k not in arguments]
    arguments = {**arguments, **dict.fromkeys(missing, "")}
    one, other = found(**arguments), found(**arguments)
    told = _json(one.configuration())
    if told != _json(other.configuration()):
        raise Unconforming("built twice alike, its configurations differ", REMEDY)
    if _json(found(**json.loads(told)).configuration()) != told:
        raise Unconforming(f"built from its own configuration {told}, it has another one", REMEDY)


class _Opaque:
    """A value that nothing can be done with but to store it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"an opaque value for '{self._name}'"

    def __bool__(self) -> bool:
        raise TypeError(f"'{self._name}' is tested for truth")


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _fits(value: Any, wanted: Any) -> bool:
    try:
        return fits(value, wanted)
    except TypeError:  # an annotation that no value can be checked against
        return False


def _json(configuration: dict[str, Any]) -> str:
    return json.dumps(configuration, sort_keys=True)

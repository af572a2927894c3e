"""A pickle is a program. This machine runs the part of the language that only builds plain values.

It imports nothing, looks up no attribute and calls nothing but the builders it was given, each by its exact name.
Whatever else a program asks for is refused (`UnsafeFile`), and nothing of it has happened then.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from braindecode_hub.errors import HubError

MOST_STEPS = 2_000_000
MOST_VALUES = 2_000_000
"""Values in the result, each counted as often as it is referred to."""
REPEATS = 4
"""How many times its own size a pickle may have copied: a long text, referred to a million times, is a bomb."""
MOST_DEPTH = 64
MOST_BITS = 128
"""Size of a whole number."""

Builder = Callable[..., Any]


class UnsafeFile(HubError, ValueError):  # noqa: N818 (a HubError, and named alike)
    """A pickle that asks for more than plain values, or is damaged. None of it was run."""


@dataclass(frozen=True)
class Global:
    """A name that a pickle refers to, as text: "collections OrderedDict". Nothing was imported."""

    name: str


class Shell:
    """An object of a class that is not known here: the class's name and what it held. It can do nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: dict[str, Any] = {}


@dataclass
class Unfinished:
    """A value that a later BUILD completes; `places` are those of the memo that refer to it."""

    complete: Builder
    places: list[int] = field(default_factory=list)


class Machine:
    """Runs one pickle over `stream`, an open file that stands at its beginning, and leaves it at its end.

    `builders`: what each exact name "module attribute" makes of its arguments; `values`: names that may be
    referred to but not called; `shells`: names "module attribute" of classes whose instances become `Shell`;
    `persistent`: what a persistent id stands for; None refuses them; `size`: of the pickle in bytes, which bounds
    what its builders are fed.
    """

    def __init__(
        self,
        builders: Mapping[str, Builder],
        *,
        values: Iterable[str] = (),
        shells: Iterable[str] = (),
        persistent: Builder | None = None,
        size: int = 0,
    ) -> None:
        self.builders = builders
        self.shells = frozenset(shells)
        self.known = frozenset(values) | self.shells | set(builders)
        self.persistent = persistent
        self.left = REPEATS * size + 1_000_000
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO | Any) -> Any:
        """Return the pickled value; raises UnsafeFile, or an ordinary error where the bytes make no sense."""
        for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if step > MOST_STEPS:
                raise refusal("it has too many steps")
            name = opcode.name
            if name == "STOP":
                break
            action = _ACTIONS.get(name)
            if action is not None:
                action(self, argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _LITERALS:
                self.stack.append(_literal(argument))
            elif name not in ("PROTO", "FRAME"):
                raise refusal(f"the instruction {name} is not allowed")
        [value] = self.stack
        if self.outer:
            raise refusal("it ends too early")
        check(value)
        return value

    # Stack and memo

    def _mark(self, _: Any) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _put(self, place: Any) -> None:
        value = self.stack[-1]
        if isinstance(value, Unfinished):
            value.places.append(int(place))
        self.memo[int(place)] = value

    def _memoize(self, _: Any) -> None:
        self._put(len(self.memo))

    def _get(self, place: Any) -> None:
        self.stack.append(self.memo[int(place)])

    # Containers

    def _collect(self, kind: Builder) -> None:
        items = self._marked()
        self.stack.append(kind(items))

    def _short_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise refusal("it takes from an empty stack")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._marked()
        self._top(list).extend(items)

    def _set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict, OrderedDict)[key] = value

    def _set_items(self, _: Any) -> None:
        items = self._marked()
        self._top(dict, OrderedDict).update(_pairs(items))

    def _add_items(self, _: Any) -> None:
        items = self._marked()
        self._top(set).update(items)

    def _top(self, *kinds: type) -> Any:
        if type(self.stack[-1]) not in kinds:
            raise refusal(f"it fills a {type(self.stack[-1]).__name__} as if it were a {kinds[0].__name__}")
        return self.stack[-1]

    # Names and what is made of them

    def _refer(self, name: Any) -> None:
        if name not in self.known:
            raise refusal(f"it refers to {str(name).replace(' ', '.')[:80]!r}")
        self.stack.append(Global(name))

    def _refer_stack(self, _: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        if type(attribute) is not str or type(module) is not str or " " in module + attribute:
            raise refusal("it refers to something without a name")
        self._refer(f"{module} {attribute}")

    def _call(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, Global) or type(arguments) is not tuple or what.name not in self.builders:
            raise refusal(f"it calls {_called(what)}")
        self._spend(arguments)
        self.stack.append(self.builders[what.name](*arguments))

    def _new(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, Global) or what.name not in self.shells or type(arguments) is not tuple or arguments:
            raise refusal(f"it makes an object of {_called(what)}")
        self.stack.append(Shell(what.name.replace(" ", ".")))

    def _build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        self._spend((state, *state) if type(state) is tuple else (state,))
        if type(target) is Shell and type(state) is dict and all(type(key) is str for key in state):
            target.state.update(state)
        elif isinstance(target, Unfinished):
            self.stack[-1] = target.complete(state)
            self.memo.update(dict.fromkeys(target.places, self.stack[-1]))
        elif not (type(target) is OrderedDict and type(state) is dict):  # state_dict's _metadata: not needed
            raise refusal(f"it sets the state of a {type(target).__name__}")

    def _spend(self, arguments: tuple[Any, ...]) -> None:
        self.left -= sum(len(one) for one in arguments if isinstance(one, _SIZED))
        if self.left < 0:
            raise refusal("it repeats itself until memory is full")

    def _persist(self, _: Any) -> None:
        if self.persistent is None:
            raise refusal("it refers to something outside of itself")
        self.stack.append(self.persistent(self.stack.pop()))


def refusal(why: str) -> UnsafeFile:
    """Return the error for a pickle that is refused; who reads the file puts its name before it."""
    return UnsafeFile(why, "it may be hostile, or damaged: get the file from its authors again")


def check(value: Any) -> None:
    """Raise UnsafeFile if a value is circular, too deep, too large with every alias counted, or unfinished."""
    sizes: dict[int, tuple[int, int] | None] = {}  # by id: depth, and values in it; None: it is being looked into
    todo: list[tuple[Any, list[Any] | None]] = [(value, None)]
    while todo:
        item, children = todo.pop()
        if children is None and id(item) in sizes:
            if sizes[id(item)] is None:
                raise refusal("it holds itself")
        elif children is None:
            children = _children(item)
            nested = [child for child in children if not isinstance(child, _PLAIN)]
            sizes[id(item)] = None
            todo.append((item, [len(children), *nested]))
            todo.extend((child, None) for child in nested)
        else:
            known = [sizes[id(child)] or (0, 0) for child in children[1:]]
            depth, total = 1 + max((one[0] for one in known), default=0), children[0] + sum(one[1] for one in known)
            if depth > MOST_DEPTH or total > MOST_VALUES:
                raise refusal("it is nested too deeply" if depth > MOST_DEPTH else "it holds too many values")
            sizes[id(item)] = depth, total


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    if isinstance(item, Shell):
        return list(item.state.values())
    if isinstance(item, np.ndarray):
        return list(item.flat) if item.dtype.hasobject else []
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    if isinstance(item, _PLAIN):
        return []
    raise refusal(f"it holds {_called(item)}")


def _pairs(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


def _literal(value: Any) -> Any:
    if type(value) is int and value.bit_length() > MOST_BITS:
        raise refusal("it holds an enormous number")
    return value


def _called(what: Any) -> str:
    return repr(what.name.replace(" ", ".")[:80]) if isinstance(what, Global) else f"a {type(what).__name__}"


_SIZED = (str, bytes, bytearray, list, tuple, dict)
_PLAIN = (type(None), bool, int, float, str, bytes, bytearray, np.generic)
_CONSTANTS: dict[str, Builder] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": Machine._mark, "POP": Machine._pop, "POP_MARK": Machine._pop_mark, "MEMOIZE": Machine._memoize,
    "PUT": Machine._put, "BINPUT": Machine._put, "LONG_BINPUT": Machine._put,
    "GET": Machine._get, "BINGET": Machine._get, "LONG_BINGET": Machine._get,
    "TUPLE1": lambda machine, _: machine._short_tuple(1), "TUPLE2": lambda machine, _: machine._short_tuple(2),
    "TUPLE3": lambda machine, _: machine._short_tuple(3), "TUPLE": lambda machine, _: machine._collect(tuple),
    "LIST": lambda machine, _: machine._collect(list), "FROZENSET": lambda machine, _: machine._collect(frozenset),
    "DICT": lambda machine, _: machine._collect(lambda items: dict(_pairs(items))),
    "APPEND": Machine._append, "APPENDS": Machine._appends, "SETITEM": Machine._set_item,
    "SETITEMS": Machine._set_items, "ADDITEMS": Machine._add_items,
    "GLOBAL": Machine._refer, "STACK_GLOBAL": Machine._refer_stack, "REDUCE": Machine._call, "NEWOBJ": Machine._new,
    "BUILD": Machine._build, "BINPERSID": Machine._persist,
}  # fmt: skip

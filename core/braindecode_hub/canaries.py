"""Leak canaries: replace the test side, and nothing that was learned or seen in training may change.

A, learning: noise in place of the test side, in the raw samples, in the test view, in the cache and in another fold's
fit before; the learned state must keep every bit. B, support: noise in the raw samples and stimuli; what train and
validation views yield must keep every bit. Each witness (`witness.observe`) is a fresh process with a fresh cache.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from braindecode_hub.errors import HubError
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import Config, check, pipeline_part, plugins_of
from braindecode_hub.types import Context
from braindecode_hub.witness import Ask, Hashes, Seen, observe

PROCESSES = 4
"""At most so many witnesses at once."""
NAMED = 3
"""So many of the arrays that differ are named."""

LEARNED = "what is learned changes"
ROUTES = {
    "raw": "raw samples and stimuli of the test side are replaced: it reads them past its views",
    "shown": "the test view held noise when it was predicted before: it keeps what it predicts",
    "fold": "another fold was fitted before in the same run: it starts from what that one learned",
}
"""How test data can reach a fit, by the switch of `Ask` that closes the way."""


def check_learning(config: Config, manager: Manager, ctx: Context) -> list[str]:
    """Canary A: does anything that is learned depend on the test side? Returns problems, a line each; [] is clean.

    config: a resolved configuration with its `pipeline`, as `api.configure` returns. The first fold (of the first
    subject, where each has a fit of its own) is fitted as configured. Two plain fits that differ are "not
    deterministic", and nothing is then said of leaks. Raises HubError where the pipeline cannot be run at all.
    """
    ask = _ask(config, manager, ctx, fit=True)
    everything = replace(ask, raw=True, shown=True, fold=True)
    plain, twice, other = _witnesses([ask, ask, everything])
    if isinstance(plain, HubError):
        raise plain
    found = [*_health(plain), *_files([plain, twice, other])]
    unequal = ["the fit fails the second time"] if isinstance(twice, HubError) else _unequal(plain, twice)
    if unequal:
        return [*found, *unequal]
    if plain.again != plain.state:
        found.append(
            f"leak: {LEARNED} ({_different(plain.state, plain.again)}) when the same fit is made again in one "
            "process: it remembers an earlier fit"
        )
    if isinstance(other, HubError):
        return [*found, f"leak: with noise for its test side the fit fails: {other.cause}"]
    found += _reached(plain, other)
    if other.state != plain.state or other.again != plain.again:
        found += _routes(ask, plain, found)
    return found


def check_support(config: Config, manager: Manager, ctx: Context) -> list[str]:
    """Canary B: does what training and validation see depend on the test side? Returns problems; [] is clean.

    Takes and raises what `check_learning` does. Also names recordings that were scaled as a whole before they were
    handed out, and stimuli that stand on both sides under two names.
    """
    ask = _ask(config, manager, ctx, fit=False)
    plain, twice, other = _witnesses([ask, ask, replace(ask, raw=True)])
    for one in (plain, twice):
        if isinstance(one, HubError):
            raise one
    assert isinstance(plain, Seen)
    assert isinstance(twice, Seen)
    if plain.views != twice.views:
        side = next(side for side in plain.views if plain.views[side] != twice.views[side])
        return [
            *plain.odd,
            f"not deterministic: what the {side} view yields changes "
            f"({_different(plain.views[side], twice.views[side])}) when it is made twice",
        ]
    if isinstance(other, HubError):
        return [*plain.odd, f"leak: with noise for the test side no view can be made: {other.cause}"]
    found = [*plain.odd, *_reached(plain, other)]
    for side in ("train", "val"):
        if plain.views[side] != other.views[side]:
            found.append(
                f"leak: what the {side} view yields changes ({_different(plain.views[side], other.views[side])}) "
                "when raw samples and stimuli of the test side are replaced"
            )
    return found


def _ask(config: Config, manager: Manager, ctx: Context, *, fit: bool) -> Ask:
    for plugin in plugins_of(config):  # a broken plugin is one line here, not in another process
        if plugin != "core":
            manager.load(plugin)
    check(pipeline_part(config), manager)
    folder = ctx.cache.folder if ctx.cache is not None else None
    cache = None if folder is None else str(folder.absolute())
    return Ask(config, manager.catalogue, ctx.seed, ctx.device, cache, fit=fit, environment=dict(os.environ))


def _witnesses(asks: Sequence[Ask]) -> list[Seen | HubError]:
    """Ask each witness in a process of its own, forked (where that is possible) from one that has seen no data."""
    methods = multiprocessing.get_all_start_methods()
    start = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    start.set_forkserver_preload(["braindecode_hub.witness"])
    workers = min(len(asks), PROCESSES, os.cpu_count() or 1)
    found: list[Seen | HubError] = []
    with ProcessPoolExecutor(workers, mp_context=start, max_tasks_per_child=1) as pool:
        for answer in [pool.submit(observe, ask) for ask in asks]:
            try:
                found.append(answer.result())
            except HubError as error:
                found.append(error)
            except BrokenProcessPool as error:
                raise HubError(
                    "a witness process died: for want of memory, or in a script without `if __name__ == '__main__':`",
                    "use `braindecode-hub doctor --leaks`, or a smaller preset",
                ) from error
    return found


def _health(seen: Seen) -> list[str]:
    found = [f"not finite: {name} after the fit" for name in seen.infinite]
    if seen.tested:
        found.append(f"leak: {LEARNED} ({_some(seen.tested)}) when the test side is predicted")
    if seen.moved:
        found.append(
            "leak: the prediction of one test stretch changes with the brain of the others: it uses test-set statistics"
        )
    return found


def _files(witnesses: Sequence[Seen | HubError]) -> list[str]:
    some = [one for one in witnesses if isinstance(one, Seen)]
    read = sorted({path for one in some for path in one.read})
    kept = sorted({path for one in some for path in one.kept})
    return [
        *(f"leak: the fit opens {path}, which holds data: what it learns comes through its views" for path in read),
        *(f"leak: the fit writes {path} and reads it again: only ctx.out and ctx.cache are its own" for path in kept),
    ]


def _unequal(one: Seen, other: Seen) -> list[str]:
    if one.state == other.state:
        return []
    return [f"not deterministic: {LEARNED} ({_different(one.state, other.state)}) when the same fit is made twice"]


def _reached(plain: Seen, other: Seen) -> list[str]:
    """Say whether a substitution did not reach the test view: then it shows nothing."""
    found = []
    if plain.views["test"].get("features") == other.views["test"].get("features"):
        found.append("shows nothing: noise in the raw test samples does not reach the features of the test view")
    if plain.truth == other.truth and plain.replaced:
        found.append("shows nothing: noise in the raw test stimuli does not reach the targets of the test side")
    if other.shown and other.shown.get("features") == plain.shown.get("features"):
        found.append("shows nothing: noise in the test view does not reach its features")
    return found


def _routes(ask: Ask, plain: Seen, known: Sequence[str]) -> list[str]:
    """Close one way after the other, and name those by which test data arrives."""
    some = _witnesses(
        [replace(ask, raw=route == "raw", shown=route == "shown", fold=route == "fold") for route in ROUTES]
    )
    found = []
    for route, one in zip(ROUTES, some, strict=True):
        if isinstance(one, HubError):
            found.append(f"leak: the fit fails when {ROUTES[route].split(':')[0]}: {one.cause}")
        elif one.state != plain.state:
            found.append(f"leak: {LEARNED} ({_different(plain.state, one.state)}) when {ROUTES[route]}")
        elif one.again != plain.again:
            found.append(f"leak: {LEARNED} ({_different(plain.again, one.again)}) when {ROUTES[route]}")
    return found or ([] if known else ["leak: what is learned changes with the test side, by several ways at once"])


def _different(one: Hashes, other: Mapping[str, str]) -> str:
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]  # what is learned first, first
    return _some(names)


def _some(names: Sequence[str] | Mapping[str, str]) -> str:
    few = list(names)[:NAMED]
    return ", ".join(few) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

"""Checks of fitting: a second fit forgets the first, predicting changes nothing, a saved one predicts alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from braindecode_hub import canaries
from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.encoders import undone
from braindecode_hub.conformance.offline import blocked
from braindecode_hub.conformance.subject import Subject
from braindecode_hub.files import load_arrays, save_arrays
from braindecode_hub.fitted import Fitted, unfitted
from braindecode_hub.interfaces import Encoder, State
from braindecode_hub.study import Study
from braindecode_hub.types import Context, Prediction
from braindecode_hub.view import View


def check_refit(subject: Subject, entry: PipelineEntry) -> None:
    """Fitted on other data first, and then again on its own, every part has learned what a new one learns."""
    fresh = deterministic(subject, entry)
    study, fold = subject.fold(entry)
    train, val = study.view(fold, "train"), study.view(fold, "val")
    again = unfitted(study.pipeline)
    ctx = Context(seed=0, device="cpu", cache=study.ctx.cache, network=False)
    with threadpool_limits(1), blocked():
        _fit(study, again, val, train, ctx)
        _fit(study, again, train, val, ctx)
    differing = _differing(fresh.state(), again.state())
    if differing:
        raise Unconforming(
            f"fitted twice, {differing} remembers the first data",
            "begin fit() from nothing: build modules and sums in it, and overwrite all that was learned",
        )


def check_buffers(subject: Subject, entry: PipelineEntry) -> None:
    """Predicting the test side leaves every learned byte as it was, and twice gives the same."""
    fitted = subject.fitted(entry)
    before = _copied(fitted.state())
    with threadpool_limits(1):
        first = predictions(subject, entry, fitted)
        changed = _differing(before, fitted.state())
        second = predictions(subject, entry, fitted)
    if changed:
        raise Unconforming(
            f"predicting changes {changed}",
            "learn nothing at test: put modules into evaluation mode, and keep no running statistics",
        )
    if not _same(first, second):
        raise Unconforming(
            "predicting twice, it differs", "draw nothing at random in decode(), and keep nothing from it"
        )


def check_state(subject: Subject, entry: PipelineEntry) -> None:
    """What was learned, saved to a file and loaded into new parts, predicts the same bits."""
    fitted = subject.fitted(entry)
    study, _ = subject.fold(entry)
    arrays, values = fitted.state()
    path = subject.folder / "state" / f"{entry.name}.safetensors"
    save_arrays(path, arrays, {"values": values})
    loaded, info = load_arrays(path)
    other = unfitted(study.pipeline)
    other.load_state(loaded, info["values"])
    with threadpool_limits(1):
        mine = predictions(subject, entry, fitted)
        try:
            theirs = predictions(subject, entry, other)
        except Exception as error:  # what is missing may fail anywhere
            raise Unconforming(
                f"loaded from its file, it cannot predict: {type(error).__name__}: {error}", _KEEP
            ) from error
    if not _same(mine, theirs):
        raise Unconforming("loaded from its file, it predicts otherwise", _KEEP)
    differing = _differing((arrays, values), other.state())
    if differing:
        raise Unconforming(f"loaded from its file, {differing} is another", _KEEP)


def check_leaks(subject: Subject, entry: PipelineEntry) -> None:
    """Canary B: whatever stands on the test side, what training and validation see keeps every bit."""
    deterministic(subject, entry)
    none_of(canaries.check_support(subject.config(entry), subject.manager, subject.context()), _HONEST)


def check_learning(subject: Subject, entry: PipelineEntry) -> None:
    """Canary A: whatever stands on the test side, what is learned keeps every bit."""
    deterministic(subject, entry)
    none_of(canaries.check_learning(subject.config(entry), subject.manager, subject.context()), _HONEST)


def check_invert(subject: Subject, entry: PipelineEntry) -> None:
    """The fitted steps of every target undo what they do, on the pipeline's own training view."""
    fitted = subject.fitted(entry)
    study, fold = subject.fold(entry)
    if not any(chain.steps for chain in fitted.targets.values()):
        raise NothingToTest("its targets have no fitted steps")
    batch = next(study.view(fold, "train").batches(8))
    for name, chain in fitted.targets.items():
        if chain.steps:
            lacking = [step for step in chain.steps if type(step).invert is Encoder.invert]
            if lacking:
                raise Unconforming(f"targets.{name}: {type(lacking[0]).__name__} has no invert()", "give it one")
            undone(chain, batch.target[name], chain.encode(batch.target[name]))


def deterministic(subject: Subject, entry: PipelineEntry) -> Fitted:
    """Return the fit; NothingToTest if a second one differs, for then nothing can be compared with it."""
    fitted = subject.fitted(entry)

    def twice() -> str | None:
        study, fold = subject.fold(entry)
        with threadpool_limits(1), blocked():
            return _differing(fitted.state(), study.fit(fold, study.ctx).state())

    if subject.once(("twice", entry.name), twice) is not None:
        raise NothingToTest(f"two fits differ: see digest-{entry.name}")
    return fitted


def predictions(subject: Subject, entry: PipelineEntry, fitted: Fitted) -> list[Prediction]:
    """Return the predictions of the hidden test side."""
    study, fold = subject.fold(entry)
    return fitted.predict(study.view(fold, "test", hidden=True))


_HONEST = "let nothing but train and val of fit() reach what is learned: docs/honest-scores.md"
_KEEP = "keep all that predictions need in attributes that end in '_', or in state() and load_state()"


def _fit(study: Study, fitted: Fitted, train: View, val: View, ctx: Context) -> None:
    """Fit the parts of `fitted` where they stand, as Study.fit_views does with new ones."""
    for name, chain in fitted.targets.items():
        chain.fit(train.of(name), val.of(name), ctx)
        train, val = (view.with_targets(name, *chain.steps) for view in (train, val))
    fitted.frozen.fit(train, val, ctx)
    train, val = (view.through(*fitted.frozen.steps) for view in (train, val))
    fitted.decoder.fit(train, val, ctx, encoder=fitted.tail)
    if fitted.renderer is not None:
        fitted.renderer.fit(train, val, ctx, predict=fitted.decode)


def _differing(one: State, other: State) -> str | None:
    """Return the name of the first thing learned that differs, or None."""
    for mine, theirs in zip(one, other, strict=True):
        for name in sorted({*mine, *theirs}):
            if name not in mine or name not in theirs or not _equal(mine[name], theirs[name]):
                return str(name)
    return None


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)


def _copied(state: State) -> State:
    arrays, values = state
    return {name: np.array(array) for name, array in arrays.items()}, dict(values)


def _same(one: list[Prediction], other: list[Prediction]) -> bool:
    return all(
        set(a) == set(b) and all(_equal(a[name], b[name]) for name in a) for a, b in zip(one, other, strict=True)
    )

"""One fit, watched from outside in a process of its own: what its views yield, what it learns, what it opens.

A fresh process has no module that remembers an earlier fit, a fresh folder no cache and no weights of one. The
canaries compare what such witnesses saw: they say nothing but hashes.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from braindecode_hub.cache import Cache
from braindecode_hub.catalogue import Catalogue
from braindecode_hub.data_checks import oddities
from braindecode_hub.environment import context
from braindecode_hub.files import save_arrays
from braindecode_hub.fitted import STATE, Fitted
from braindecode_hub.manager import Manager
from braindecode_hub.opened import Files
from braindecode_hub.overlap import components
from braindecode_hub.pipeline import Config, build, pipeline_part
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.substitution import held_out, others_noise, raw_noise, view_noise
from braindecode_hub.types import Array, Context, Prediction
from braindecode_hub.view import View

Hashes = dict[str, str]
"""SHA-256 by name of what was hashed."""

BATCH = 64
ALONE = 1e-4
"""How far, in SDs, a prediction may move when the other test stretches change (sums in another order)."""


@dataclass(frozen=True)
class Ask:
    """What to watch: a configuration, and what is different from a plain fit.

    `fit`: fit and predict too, not only look at views; `raw`: the dataset hands out noise on the test side; `shown`:
    the test view holds noise in another order; `fold`: another fold was fitted, in the same run folder, before.
    """

    config: Config
    catalogue: Catalogue
    seed: int
    device: str
    cache: str | None
    fit: bool = True
    raw: bool = False
    shown: bool = False
    fold: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """What one witness saw, as hashes: views of every side, the test side's truth, states and predictions.

    `again`: what a second fit in the same process learned; `tested`: the state after the test side was predicted.
    `infinite`: arrays that are not finite; `moved`: one prediction depends on the other test stretches' features;
    `replaced`: the raw substitution has stimuli to replace (in a closed set it has none).
    `odd`: what is wrong with the data whatever the pipeline; `read`, `kept`: files opened that no fit should open.
    """

    views: dict[str, Hashes] = field(default_factory=dict)
    truth: Hashes = field(default_factory=dict)
    shown: Hashes = field(default_factory=dict)
    state: Hashes = field(default_factory=dict)
    again: Hashes = field(default_factory=dict)
    tested: Hashes = field(default_factory=dict)
    infinite: list[str] = field(default_factory=list)
    moved: bool = False
    replaced: bool = False
    odd: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def observe(ask: Ask) -> Seen:
    """Watch one fit of the first fold (of the first subject, where each has a fit of its own); one thread."""
    os.environ.update(ask.environment)
    files = Files()
    manager = Manager(ask.catalogue)
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1), ExitStack() as stack:
        folder = Path(name)
        user = Cache(Path(ask.cache) if ask.cache else None)
        first = context(seed=ask.seed, device=ask.device, cache=user, manager=manager, network=False)
        part = ask.config["dataset"]
        found: Any = manager.component("dataset", part["use"])
        side = held_out(_folds(ask, found(**{k: v for k, v in part.items() if k != "use"}), first)[0])
        stack.enter_context(raw_noise(found, side if ask.raw else None, files.within))
        pipeline = build(str(ask.config["pipeline"]), pipeline_part(ask.config), manager)
        requires = {name for part in components(pipeline).values() for name in part.requires}
        stack.enter_context(_deterministic(requires, ask))
        pipeline.dataset.prepare(first)
        _move_home(folder)
        ctx = replace(first, cache=Cache(folder / "cache"))
        study = Study(pipeline, ctx, subjects=_subjects(ask))
        files.own(folder, user)
        seen = _watch(study, ask, folder, files)
        clocked = [pipeline.stimulus_space(name).rate is not None for name in pipeline.targets]
        seen.replaced = any(id not in side.shared or any(clocked) for id in side.stimuli)
        return seen


def _watch(study: Study, ask: Ask, folder: Path, files: Files) -> Seen:
    folds = study.folds()
    fold = study.of_group(folds[0], study.groups()[0])
    seen = Seen()
    rest = study.pipeline.encoder.after(study.pipeline.encoder.continuous_part()).frozen_part().steps
    for side in ("train", "val"):
        view = study.view(fold, side).through(*rest)  # type: ignore[arg-type]
        seen.views[side] = view_hashes(view)
    seen.views["test"] = view_hashes(study.view(fold, "test", hidden=True).through(*rest))
    seen.truth = _hashes({f"{n:05d} {k}": v for n, one in enumerate(study.truth(fold, "test")) for k, v in one.items()})
    if not ask.fit:
        if not ask.raw:
            seen.odd = oddities(study, folds[0])
        return seen
    if ask.fold and len(folds) > 1:
        _history(study, study.of_group(folds[1], study.groups()[0]), folder / "fold-1", files)
    own = folder / "fold-0"
    fitted = _fit(study, fold, own / "all", files)
    arrays, values = fitted.state()
    seen.infinite = [k for k, v in arrays.items() if np.issubdtype(v.dtype, np.inexact) and not np.isfinite(v).all()]
    seen.state = _learned(study, fold, fitted, files)
    test = study.view(fold, "test", hidden=True)
    rng = np.random.default_rng(0)
    test = view_noise(test, rng) if ask.shown else test
    seen.shown = view_hashes(test)
    before = _hashes(arrays) | {"values": _hash(repr(values))}
    with files.fitting():
        whole = fitted.predict(test)
        seen.moved = _moved(whole, fitted.predict(others_noise(test, 0, rng)), test)
    arrays, values = fitted.state()
    seen.tested = {k: v for k, v in (_hashes(arrays) | {"values": _hash(repr(values))}).items() if before.get(k) != v}
    again = _fit(study, fold, folder / "again", files)
    seen.again = _learned(study, fold, again, files)
    seen.read, seen.kept = files.wrong()
    return seen


def view_hashes(view: View) -> Hashes:
    """Hash everything that a view yields, as windows and as segments: features, targets, masks, trials."""
    found: dict[str, Any] = {}
    for batch in (*view.batches(BATCH), *view.segments()):
        arrays = {"features": batch.brain, "masks": batch.channel_mask, "positions": batch.positions}
        arrays |= {"subjects": batch.subject} | {f"target {name}": values for name, values in batch.target.items()}
        for name, array in arrays.items():
            if array is not None:
                _add(found.setdefault(name, hashlib.sha256()), array)
        found.setdefault("trials", hashlib.sha256()).update(repr(batch.trials).encode())
    return {name: value.hexdigest() for name, value in found.items()}


def _folds(ask: Ask, dataset: Any, ctx: Context) -> list[Fold]:
    """Return the folds before anything else of the pipeline is imported: what to replace must be known first."""
    from braindecode_hub.splits import split_from_config

    dataset.prepare(ctx)
    chosen = _subjects(ask)
    trials = [t for t in dataset.trials() if chosen is None or t.groups.get("subject", "") in chosen]
    split = split_from_config(ask.config.get("split") or {}, seed=ask.seed, closed_set=dataset.closed_set)
    return split.make(trials)


def _subjects(ask: Ask) -> Sequence[str] | None:
    found: Sequence[str] | None = (ask.config.get("run") or {}).get("subjects")
    return found


def _move_home(folder: Path) -> None:
    """Let the default cache and the folder for temporary files be fresh ones, for whoever asks for them."""
    os.environ["BRAINDECODE_HUB_CACHE"] = str(folder / "cache")
    os.environ["TMPDIR"] = str(folder / "tmp")
    (folder / "tmp").mkdir()
    tempfile.tempdir = None


@contextmanager
def _deterministic(requires: Collection[str], ask: Ask) -> Iterator[None]:
    """Have torch use deterministic algorithms on one thread, where it is loaded or about to be."""
    if "torch" not in requires and "torch" not in sys.modules:
        yield
        return
    torch = importlib.import_module("braindecode_hub.torch")
    with torch.settings(torch.resolve_device(ask.device)):
        yield


def _fit(study: Study, fold: Fold, out: Path, files: Files) -> Fitted:
    out.mkdir(parents=True)
    with files.fitting():
        return study.fit(fold, replace(study.ctx, out=out))


def _history(study: Study, fold: Fold, folder: Path, files: Files) -> None:
    """Fit and test another fold as a run does, and leave behind what a run leaves."""
    fitted = _fit(study, fold, folder / "all", files)
    arrays, values = fitted.state()
    save_arrays(folder / f"all{STATE}", arrays, {"values": values})
    with files.fitting():
        fitted.predict(study.view(fold, "test", hidden=True))


def _learned(study: Study, fold: Fold, fitted: Fitted, files: Files) -> Hashes:
    """Hash what was learned, and what it makes of validation: what hides in private attributes shows there."""
    arrays, values = fitted.state()
    found = _hashes(arrays) | {name: _hash(repr(value)) for name, value in values.items()}
    with files.fitting():
        predictions = fitted.predict(study.view(fold, "val", hidden=True))
    told = {f"{n:05d} {name}": value for n, one in enumerate(predictions) for name, value in one.items()}
    return found | {"predictions of validation": _hash(repr(sorted(_hashes(told).items())))}


def _moved(whole: Sequence[Prediction], alone: Sequence[Prediction], view: View) -> bool:
    """Say whether the prediction of the first item shown changed with the features of the others."""
    place = view.order[0]
    for name, value in whole[place].items():
        spread = float(np.std(value)) or 1.0
        if len(whole) > 1 and float(np.max(np.abs(value - alone[place][name]), initial=0.0)) > ALONE * spread:
            return True
    return False


def _hashes(arrays: Mapping[str, Array]) -> Hashes:
    found = {}
    for name, array in arrays.items():
        one = hashlib.sha256()
        _add(one, array)
        found[name] = one.hexdigest()
    return found


def _add(to: Any, array: Array) -> None:
    values = np.ascontiguousarray(array)
    to.update(f"{values.dtype} {values.shape}".encode())
    to.update(values.tobytes())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

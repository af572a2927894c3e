"""`adapt RUN`: a new subject learned from a few minutes beside a finished run; a curve over minutes, whole or not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from braindecode_hub.adapt_page import SCHEMA, Curve, adaptation_page, curve_figure
from braindecode_hub.adapting import ADAPTED, ALONE, SILENT, UNKNOWN, Bench, Listener, Rung, adapted, main_score
from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.calibration import Minutes, divide, ladder, rung, seconds
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.facts import facts_of
from braindecode_hub.figures import png
from braindecode_hub.files import load_arrays, save_arrays, write_whole
from braindecode_hub.fitted import STATE, Fitted, unfitted
from braindecode_hub.manager import Manager
from braindecode_hub.newcomer import by_media, given_to, whom
from braindecode_hub.overlap import check_overlap
from braindecode_hub.pipeline import Config, build, pipeline_part
from braindecode_hub.predict_run import FITTED, new_data, same_data
from braindecode_hub.prediction import check_plugins, mark_of, states_of
from braindecode_hub.results import Looks
from braindecode_hub.runfolder import Run
from braindecode_hub.runwriting import as_json
from braindecode_hub.splits import Fold
from braindecode_hub.types import Event
from braindecode_hub.wholefolder import new_folder, refuse_full, whole_folder


@dataclass
class Adapted:
    """What `adapt` made: its `folder` and what adaptation.json says (`curve`: one entry for each rung, rising)."""

    folder: Path
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def curve(self) -> list[dict[str, Any]]:
        """The rungs: `minutes`, `how`, `train_s`, `val_s`, `scores`, `baselines`, `differences`, `state`."""
        found: list[dict[str, Any]] = self.about["curve"]
        return found

    @property
    def state(self) -> Path:
        """The file of what the last rung learned; `predict` takes it in place of the run's own fit."""
        return self.folder / str(self.curve[-1]["state"])


def adapt_run(
    run: Run,
    *,
    data: str | None,
    sets: Sequence[str],
    subject: str | None,
    minutes: float,
    fold: int | None,
    out: Path | None,
    network: bool,
    manager: Manager,
    log: Callable[[Event], None],
) -> Adapted:
    """Learn a new subject from `minutes` of it and from less, score each rung on the same test side, write a folder.

    Raises HubError if the run is unfinished, the subject is not new, or too little is there; nothing is left behind.
    """
    began = time.monotonic()
    check_plugins(run, manager)
    if run.status not in FITTED:
        raise HubError(f"{run.path.name} is unfinished: it is {run.status}", "finish it: `run … --resume`")
    if not (minutes > 0 and math.isfinite(minutes)):
        raise HubError(f"--minutes is {minutes:g}", "give a number above 0", usage=True)
    target = out if out is not None else new_folder(run.path / "adaptations")
    refuse_full(target)
    config = {**pipeline_part(run.config), "dataset": new_data(run, data, sets, manager, stimuli=True)["dataset"]}
    ctx = context(
        seed=int(run.config["run"]["seed"]),
        device=str(run.config["run"].get("device") or "auto"),
        cache=Cache(default_folder()),
        manager=manager,
        network=network,
        log=log,
    )
    work = _Adaptation(run, config, manager, ctx, subject, fold)
    with whole_folder(target) as folder:
        curve = work.climb(minutes)
        about = work.write(folder, curve, minutes, target.name)
        about["seconds"] = round(time.monotonic() - began, 2)
        write_whole(folder / "adaptation.json", as_json(about))
    return Adapted(target, about)


class _Adaptation:
    """One new subject on one fold of a run."""

    def __init__(
        self, run: Run, config: Config, manager: Manager, ctx: Any, subject: str | None, fold: int | None
    ) -> None:
        self.run, self.config, self.ctx = run, config, ctx
        pipeline = build(run.config["pipeline"], config, manager)
        pipeline.encoder.check(pipeline.dataset.brain, config["dataset"]["use"])
        pipeline.dataset.prepare(ctx)
        self.shared = pipeline.decoder.across_subjects
        self.own = same_data(config["dataset"], run.config["dataset"])
        trials = list(pipeline.dataset.trials())
        self.subject, self.fold = whom(run, trials, subject, fold, theirs=self.shared or self.own)
        self.study = Listener(pipeline, ctx, self.subject)
        for note in self.study.notes():
            ctx.log({"kind": "note", "text": note})
        given = given_to(run, self.fold) if self.shared else []
        also, self.unseen = by_media(run, given if not self.own else [], pipeline, manager, ctx)
        self.minutes: Minutes = divide(self.study.trials, self.study.split, given, also)
        self.whole = self.study.set_minutes(self.minutes)
        check_overlap(pipeline, [self.whole], "test")
        self.window_s = self.study.window().length_s or min(trial.seconds for trial in self.study.trials)

    def climb(self, asked: float) -> list[Rung]:
        """Return the rungs, each scored; the bench is the same for all."""
        if asked * 60.0 < self.window_s:
            raise HubError(
                f"{asked:g} minutes are less than one window of {self.window_s:g} s", "give more: --minutes", usage=True
            )
        counts = ladder(asked, self.minutes.available)
        folds = self._folds(counts)
        bench = Bench(self.study, self.whole, self.ctx.seed)
        rungs = []
        if self.shared:
            start = self._loaded()
            items = bench.items(start)
            self.units = bench.check(items, self.minutes)
            rungs.append(Rung(0.0, UNKNOWN))
            bench.score(rungs[0], items)
        for number, (count, fold) in enumerate(folds.items()):
            self.ctx.log({"kind": "progress", "stage": "adapt", "done": number, "total": len(folds)})
            rungs.append(self._rung(bench, count, fold))
        self.ctx.log({"kind": "progress", "stage": "adapt", "done": 1, "total": 1})
        return rungs

    def write(self, folder: Path, rungs: Sequence[Rung], asked: float, name: str) -> dict[str, Any]:
        """Write states, figure and page into the folder; returns what adaptation.json says."""
        dataset = self.study.pipeline.dataset
        looks = Looks(self.run.path.parent, self.study, [self.whole])
        looks.add(f"{self.run.path.name}-adapted-{name}")
        entries = [self._entry(folder, one) for one in rungs]
        about: dict[str, Any] = {
            "schema": SCHEMA,
            "run": self.run.path.name,
            "pipeline": self.run.config["pipeline"],
            "fold": self.fold,
            "seed": self.ctx.seed,
            "subject": self.study.codes.get(self.subject, ""),
            "dataset": {"use": self.config["dataset"]["use"], "fingerprint": dataset.fingerprint()},
            "simulated": dataset.simulated or self._run_was("SIMULATED"),
            "closed_set": self.study.split.closed_set,
            "flags": self._flags(),
            "minutes": {"asked": asked, "available": round(self.minutes.available, 4)},
            "test": {
                "trials": len(self.minutes.test),
                "seconds": round(seconds(self.minutes.test), 3),
                "units": self.units,
                "candidates": self.minutes.candidates,
                "given_to_the_run": self.minutes.heard,
                "by": list(self.minutes.by),
            },
            "test_looks": looks.count(),
            "main": main_score(self.study.pipeline, rungs[-1].scores),
            "curve": entries,
            "reasons": self._reasons(rungs),
        }
        curve = Curve(about)
        write_whole(folder / "curve.png", png(curve_figure(curve)))
        write_whole(folder / "adaptation.html", adaptation_page(curve))
        return about

    # Steps

    def _loaded(self) -> Fitted:
        """Return the run's shared fit, as it was saved."""
        [path] = states_of(self.run, self.fold).values()
        arrays, info = load_arrays(path)
        fitted = unfitted(self.study.pipeline)
        fitted.load_state(arrays, info["values"])
        return fitted

    def _folds(self, counts: Sequence[float]) -> dict[float, Fold]:
        """Return what each rung learns from: those too short for one are left out, and those that equal the next.

        HubError if the last one is too short.
        """
        last, found = rung(self.minutes, counts[-1], self.window_s, self.study.split), dict[float, Fold]()
        for count in counts[:-1]:
            with suppress(HubError):
                found[count] = rung(self.minutes, count, self.window_s, self.study.split)
        found[counts[-1]] = last
        rising = [*found]
        return {
            count: fold
            for count, fold in found.items()
            if count == rising[-1] or found[rising[rising.index(count) + 1]] != fold
        }

    def _rung(self, bench: Bench, count: float, fold: Fold) -> Rung:
        """Learn from one fold and score it, with the linear baseline on the same minutes beside it."""
        study, ctx = self.study, replace(self.ctx, out=None)
        found = Rung(count, ADAPTED if self.shared else ALONE, seconds(fold.train), seconds(fold.val))
        found.trials = len(fold.train) + len(fold.val)
        train, val, why = study.view(fold, "train"), study.view(fold, "val"), ""
        if self.shared:
            found.fitted, why = adapted(self._loaded, train, val, ctx)
        else:
            new = unfitted(study.pipeline)
            chain = study.pipeline.encoder.after(study.pipeline.encoder.continuous_part())
            steps = type(chain)([*new.frozen.steps, *new.tail.steps], chain.names)
            found.fitted = study.fit_views(train, val, ctx, new.decoder, steps)
        items = bench.items(found.fitted)
        self.units = bench.check(items, self.minutes)
        bench.score(found, items)
        if why:
            found.how = UNKNOWN
            found.reasons["how"] = f"the shared fit stays as it is: {why}"
        bench.beside(found, fold, ctx)
        return found

    # Telling

    def _entry(self, folder: Path, one: Rung) -> dict[str, Any]:
        """Save what a rung learned, and return what is told of it."""
        name = None
        if one.fitted is not None:
            name = f"adapted-{one.minutes:.4g}min{STATE}"
            arrays, values = one.fitted.state()
            first = self.whole.train[0]
            recording = self.study.pipeline.dataset.recording(first.recording)
            rates = {target: self.study.rate(target) for target in self.study.pipeline.targets}
            facts = facts_of(recording, (first.start, first.stop), rates, [self.subject])
            save_arrays(folder / name, arrays, {"values": values, "facts": facts, "of": mark_of(self.run)})
        return {
            "minutes": round(one.minutes, 4),
            "how": one.how,
            "train_s": round(one.train_s, 3),
            "val_s": round(one.val_s, 3),
            "trials": one.trials,
            "scores": one.scores,
            "baselines": one.baselines,
            "differences": one.differences,
            "state": name,
        }

    def _reasons(self, rungs: Sequence[Rung]) -> dict[str, str]:
        found = {f"curve.{number}.{path}": why for number, one in enumerate(rungs) for path, why in one.reasons.items()}
        found["scores.media"] = SILENT
        if not self.shared:
            found["curve.0"] = "no point at 0 minutes: each subject has a fit of its own"
        if self.unseen:
            found["test.given_to_the_run"] = self.unseen
        if self.minutes.heard:
            found["test.candidates"] = f"{self.minutes.heard} present what the run was given: learned from, not tested"
        return found

    def _run_was(self, flag: str) -> bool:
        if self.run.status != "done":
            return flag == "SIMULATED" and self.study.pipeline.dataset.simulated
        return flag in (self.run.metrics.get("flags") or [])

    def _flags(self) -> list[str]:
        dataset = self.study.pipeline.dataset
        known = {
            "SIMULATED": dataset.simulated or self._run_was("SIMULATED"),
            "CLOSED SET": self.study.split.closed_set,
            "UNVERIFIED": dataset.unverified or self._run_was("UNVERIFIED"),
        }
        return [flag for flag, raised in known.items() if raised]

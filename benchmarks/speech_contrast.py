"""The contrastive network of speech_wav2vec against ridge and the linear contrastive baseline, on one seed.

    python benchmarks/speech_contrast.py [--preset naplib_noisy] [--seed 1] [--fold 0] [--side val] [--set KEY=VALUE …]

The seed is the run's and, where the dataset has one (the phantom's sensors and noise), the dataset's. All are fitted on
the same views behind the same steps, and scored on the same windows: top-1, top-10 and mean rank among all
candidates, and the network's score less each other's with its paired 95 % interval. An interval of mean ranks that lies
below 0, and one of top-1 above 0, speaks for the network. Settings belong to `--side val`.
"""

from __future__ import annotations

import argparse
import time

from braindecode_hub.cache import Cache, default_folder
from braindecode_hub.comparisons import compare
from braindecode_hub.environment import context
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.manager import Manager
from braindecode_hub.pipeline import build, resolve
from braindecode_hub.refits import predict_side, training_targets
from braindecode_hub.scoring import difference
from braindecode_hub.study import Study

NAME = "speech_wav2vec"
METRICS = ("top1", "top10", "mean_rank")


def study_of(preset: str | None, seed: int, sets: list[str]) -> Study:
    """Build the pipeline with the metrics that are compared, without sound, and prepare its dataset."""
    manager = Manager()
    own = ["renderer=null", f"metrics=[{', '.join(f'core/{name}' for name in METRICS)}]", *sets]
    entry = manager.catalogue.pipeline(NAME)
    config = resolve(entry, manager, preset=preset, sets=own)
    pipeline = build(NAME, config, manager)
    if "seed" in pipeline.dataset.configuration():
        pipeline = build(NAME, resolve(entry, manager, preset=preset, sets=[*own, f"dataset.seed={seed}"]), manager)
    ctx = context(seed=seed, cache=Cache(default_folder()), manager=manager)
    pipeline.dataset.prepare(ctx)
    return Study(pipeline, ctx)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--side", choices=["val", "test"], default="test")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()

    study = study_of(asked.preset, asked.seed, asked.set)
    fold, began = study.folds()[asked.fold], time.process_time()
    items: Items = {}
    for group in study.groups():
        part = study.of_group(fold, group)
        fitted = study.fit(part, study.ctx)
        print(f"fit: {time.process_time() - began:.0f} CPU-s, best step {getattr(fitted.decoder, 'best_step_', '-')}")
        for target, some in predict_side(study, part, fitted, asked.side, fit=f"fold-{fold.number}").items():
            items.setdefault(target, []).extend(some)
    judge = Judge(study, training_targets(study, fold), asked.seed)
    own, beside = judge.values(items), compare(study, [fold], asked.side, items, judge, study.ctx)
    subjects, candidates = judge.units(items)[judge.main].subjects, len(set(judge.units(items)[judge.main].ids))
    print(f"{len(subjects)} windows, {candidates} candidates, side {asked.side}")
    for name, scores in {"pipeline": own, **beside.baselines}.items():
        told = []
        for metric in METRICS:
            apart = difference(own[metric], scores[metric], subjects, asked.seed)
            ends = apart["ci95"] or (float("nan"), float("nan"))
            told.append(
                f"{metric} {scores[metric].mean():6.3f} ({apart['value']:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}])"
            )
        print(f"{name:20}", "  ".join(told))


if __name__ == "__main__":
    main()

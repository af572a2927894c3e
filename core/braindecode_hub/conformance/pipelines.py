"""Checks of a whole pipeline in its smoke preset: it runs, honestly, the same again, and with what it should find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.conformance.checks import NothingToTest, Unconforming, none_of
from braindecode_hub.conformance.fresh import ask
from braindecode_hub.conformance.media import TYPES, wrong_bytes
from braindecode_hub.conformance.replay import pieces_of
from braindecode_hub.conformance.subject import SMOKE, Subject

SMOKE_S = 60.0
"""CPU seconds that a smoke run may take, simulation of its data included."""
FEWEST_REFITS = 3
CERTAIN = 0.05
FILES = ("config.yaml", "split.json", "metrics.json", "predictions.safetensors", "report.html")


def check_smoke(subject: Subject, entry: PipelineEntry) -> None:
    """The preset `smoke` runs to its report without any network, in less than a minute of CPU time."""
    if SMOKE not in entry.presets:
        raise Unconforming(
            f"it has no preset '{SMOKE}'",
            "add one to registry.yaml that needs no network and takes seconds: `presets: {smoke: {…}}`",
        )
    done = subject.smoke_itself(entry)
    if done.reached:
        raise Unconforming(
            f"it tried to reach {', '.join(sorted(set(done.reached)))}",
            "let the smoke preset use made-up data; only Dataset.prepare may fetch, by ctx.fetch",
        )
    lacking = [name for name in FILES if not (done.run.path / name).is_file()]
    if done.run.status != "done" or lacking:
        raise Unconforming(f"it ends as '{done.run.status}', without {lacking}", "make `run --preset smoke` finish")
    if done.cpu_s >= SMOKE_S:
        raise Unconforming(
            f"it takes {done.cpu_s:.0f} s of CPU", f"make the preset smaller, until it takes less than {SMOKE_S:g} s"
        )


def check_digest(subject: Subject, entry: PipelineEntry) -> None:
    """Done again in another process, without a cache, everything has the same bits."""
    done = subject.smoke(entry)
    own = pieces_of(done.run)
    kinds = sorted(name.removeprefix("control ").removesuffix("-000") for name in own if name.startswith("control "))
    folder = subject.folder / "replay" / entry.name
    again = ask("braindecode_hub.conformance.replay:replay", config=done.config, folder=str(folder), kinds=kinds)
    lacking = [name for name in again if name not in own]
    differing = [name for name, value in again.items() if name in own and own[name] != value]
    if lacking or differing:
        first = [*differing, *lacking][0]
        raise Unconforming(
            f"with the same seed, {len(differing) + len(lacking)} of {len(again)} pieces differ in another process, "
            f"first: {first}",
            "draw all randomness from ctx.rng(…), depend on no order of sets, and keep nothing between fits",
        )


def check_artifacts(subject: Subject, entry: PipelineEntry) -> None:
    """Every media file that the run wrote opens as what its name says."""
    done = subject.smoke(entry)
    files = done.run.artifacts()
    if not files:
        raise NothingToTest("it has no renderer, and writes no media")
    wrong = []
    for path in files:
        known = TYPES.get(path.suffix.lower())
        if known is None:
            wrong.append(f"{path.name} has an ending that nothing here can open")
        elif (problem := wrong_bytes(known, path.read_bytes(), None, path.name)) is not None:
            wrong.append(problem)
    none_of(wrong, "encode the array as the media type says: braindecode_hub.media")


def check_controls(subject: Subject, entry: PipelineEntry) -> None:
    """No control is above chance, and each was refitted often enough to be judged."""
    metrics = subject.smoke(entry).run.metrics
    few = {kind: count for kind, count in metrics["control_refits"].items() if count < FEWEST_REFITS}
    if few or not metrics["control_refits"]:
        raise Unconforming(f"too few refits to be judged: {few}", f"leave control_refits at {FEWEST_REFITS} or more")
    flags = [flag for flag in metrics["flags"] if flag in ("LEAK", "CHANCE")]
    if flags:
        told = "; ".join(f"{kind}: {_told(some, metrics)}" for kind, some in metrics["controls"].items())
        raise Unconforming(
            f"the run is flagged {', '.join(flags)} ({told})",
            "something reaches the prediction that should not: docs/honest-scores.md says what each control tells",
        )


def check_signal(subject: Subject, entry: PipelineEntry) -> None:
    """What a phantom planted is found: the first score, or the rank, beats chance and every control."""
    done = subject.smoke(entry)
    metrics = done.run.metrics
    if not metrics["simulated"]:
        raise NothingToTest("its smoke preset has real recordings: nobody knows what is in them")
    margins = dict(_margins(subject, entry))
    if not any(_found(name, margin, metrics) for name, margin in margins.items()):
        told = ", ".join(f"{name} {_told({name: metrics['scores'][name]['value']}, metrics)}" for name in margins)
        raise Unconforming(
            f"nothing of the planted signal is found: {told}",
            "raise the phantom's signal in the smoke preset, or look whether brain and target are aligned (lags_s)",
        )


def _margins(subject: Subject, entry: PipelineEntry) -> Iterator[tuple[str, float]]:
    """Yield the first score of predictions and the rank, with how far above chance each must be."""
    scores = subject.smoke(entry).run.metrics["scores"]
    pipeline = subject.study(entry).pipeline
    uses = [part if isinstance(part, str) else part["use"] for part in pipeline.config.get("metrics") or []]
    for use, metric in zip(uses, pipeline.metrics, strict=True):
        if metric.needs == "prediction":
            yield use.split("/")[-1], metric.margin
            break
    if "identification_rank" in scores:
        yield "identification_rank", 0.1


def _found(name: str, margin: float, metrics: Mapping[str, Any]) -> bool:
    entry = metrics["scores"][name]
    if entry["chance"] is None:
        return False
    sign = 1.0 if entry["higher_is_better"] else -1.0
    above = sign * (entry["value"] - entry["chance"]) > margin
    controls = [some[name] for some in metrics["controls"].values() if name in some]
    certain = entry["p"] <= max(CERTAIN, entry["smallest_p"])
    return above and certain and all(sign * (entry["value"] - other) > margin for other in controls)


def _told(scores: Mapping[str, float], metrics: Mapping[str, Any]) -> str:
    def one(name: str, value: float) -> str:
        chance = metrics["scores"].get(name, {}).get("chance")
        return f"{name} {value:.2f}" + ("" if chance is None else f" (chance {chance:.2f})")

    return ", ".join(one(name, value) for name, value in scores.items())

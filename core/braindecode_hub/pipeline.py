"""Pipelines: from a registry entry, a preset and `--set` to built, checked components."""

from __future__ import annotations

import copy
import inspect
import math
import types as pytypes
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, cast

from braindecode_hub.catalogue import PipelineEntry
from braindecode_hub.chain import Chain
from braindecode_hub.datapaths import dataset_for
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.files import parse_yaml
from braindecode_hub.form import NEEDED, wrong_in
from braindecode_hub.interfaces import RETRIEVAL, Component, Dataset, Decoder, Encoder, Metric, Renderer
from braindecode_hub.manager import Manager
from braindecode_hub.types import Space
from braindecode_hub.view import Window

Config = dict[str, Any]

ABOUT = ("plugin", "summary", "flow", "extra", "source")
PARTS = ("dataset", "targets", "encoder", "decoder", "renderer", "baseline", "beside", "metrics")
SETTINGS = ("window", "split", "unit_s", "plugins")
KEYS = (*ABOUT, *PARTS, *SETTINGS, "presets")
NESTED: dict[str, tuple[str, ...]] = {
    "window": ("length_s", "hop_s", "context_s"),
    "split": ("by", "folds", "gap_s", "blocks", "closed_set"),
}


@dataclass
class Pipeline:
    """Built components of one pipeline; `config` is what they were built from, `beside` further decoders to compare."""

    name: str
    config: Config
    dataset: Dataset
    targets: dict[str, Chain]
    encoder: Chain
    decoder: Decoder
    renderer: Renderer | None
    baseline: Decoder | None
    metrics: list[Metric]
    window: Window
    beside: dict[str, Decoder] = field(default_factory=dict)

    @property
    def unit_s(self) -> float:
        """Length in seconds of the non-overlapping blocks in which continuous targets are scored."""
        return float(self.config.get("unit_s") or 5.0)

    def stimulus_space(self, target: str) -> Space:
        """Return the dataset's stimulus space that this target's chain starts from."""
        wanted = self.targets[target].consumes
        for space in self.dataset.stimuli_spaces:
            if wanted.refuses(space) is None:
                return space
        offered = ", ".join(str(space) for space in self.dataset.stimuli_spaces)
        raise HubError(
            f"target '{target}' is made from {wanted.name}, but {self.config['dataset']['use']} offers {offered}",
            "choose another dataset, or another target chain",
            usage=True,
        )

    def target_space(self, target: str) -> Space:
        """Return the space of a target as its chain makes it."""
        return self.targets[target].check(self.stimulus_space(target), self.config["dataset"]["use"])

    def frozen_target_space(self, target: str) -> Space:
        """Return the space in which a target is scored: behind the steps that learn nothing."""
        return self.targets[target].frozen_part().check(self.stimulus_space(target), "dataset")


def resolve(
    entry: PipelineEntry,
    manager: Manager,
    *,
    preset: str | None = None,
    data: str | None = None,
    sets: Sequence[str] = (),
    base: Config | None = None,
) -> Config:
    """Return the configuration of a run: the entry, the preset's whole entries over it, `data`, then `--set`s.

    `base`: a resolved configuration to start from in place of the entry's (a run repeated from its config.yaml).

    Raises HubError (usage) for an unknown preset or key, with the nearest names, and for a value of a wrong type.
    """
    start = entry.spec if base is None else base
    config: Config = copy.deepcopy({key: value for key, value in start.items() if key != "presets"})
    config["plugin"] = entry.plugin.name
    if preset is not None:
        if preset not in entry.presets:
            raise HubError(f"{entry.name} has no preset '{preset}'", did_you_mean(preset, entry.presets), usage=True)
        config.update(copy.deepcopy(entry.presets[preset] or {}))
    if data is not None:
        config["dataset"] = dataset_for(data, str(config["flow"][0]), manager)
    assignments = [_assignment(text) for text in sets]
    _refuse_what_no_run_reads(entry.name, [path[0] for path, _ in assignments], start)
    for path, value in sorted(assignments, key=lambda pair: pair[0][-1] != "use"):
        _assign(config, path, value)
    unknown = [key for key in config if key not in KEYS]
    if unknown:
        raise HubError(f"pipeline {entry.name}: unknown key '{unknown[0]}'", did_you_mean(unknown[0], KEYS), usage=True)
    why = wrong_in(config, [name for name in NEEDED if name in start])
    if why is not None:
        raise HubError(f"pipeline {entry.name} {why}", "see `describe` for what belongs there", usage=True)
    for key, names in NESTED.items():
        for name in config.get(key) or {}:
            if name not in names:
                raise HubError(f"unknown key '{key}.{name}'", did_you_mean(name, names), usage=True)
    for name, value in (config.get("window") or {}).items():
        if not fits(value, float | None):
            raise HubError(f"window.{name} is {value!r}, which is not a number", "give it in seconds", usage=True)
    unit_s = config.get("unit_s")
    if isinstance(unit_s, int | float) and not 0 < unit_s < math.inf:
        raise HubError(f"unit_s is {unit_s:g} s", "give the seconds of a unit: --set unit_s=3", usage=True)
    check(config, manager)
    return config


def _refuse_what_no_run_reads(name: str, keys: Sequence[str], start: Mapping[str, Any]) -> None:
    """Refuse assignments to what a pipeline only says of itself; where there is but a dataset, to all else."""
    read = (*PARTS, *SETTINGS) if "targets" in start else ("dataset",)
    for key in keys:
        if key in KEYS and key not in read:
            cause = f"--set {key}: nothing here reads '{key}' of {name}, so it would change nothing"
            raise HubError(cause, did_you_mean(key, read), usage=True)


def dataset_only(entry: PipelineEntry) -> PipelineEntry:
    """Return an entry that is nothing but its dataset: to look at data, nothing else need be installed or right."""
    kept = ("plugin", "summary", "flow", "source", "dataset")

    def pruned(spec: Mapping[str, Any]) -> Config:
        return {key: value for key, value in spec.items() if key in kept}

    presets = {name: pruned(preset or {}) for name, preset in entry.presets.items()}
    return entry._replace(spec={**pruned(entry.spec), "presets": presets})


def build_dataset(config: Config, manager: Manager) -> Dataset:
    """Return the dataset of a resolved configuration, built and not yet prepared."""
    found = cast(Any, check_part(manager, "dataset", "dataset", config["dataset"]))
    return cast(Dataset, found(**{key: value for key, value in config["dataset"].items() if key != "use"}))


def pipeline_part(config: Config) -> Config:
    """Return what of a run's config.yaml describes the pipeline."""
    return {key: value for key, value in config.items() if key in KEYS}


def check(config: Config, manager: Manager) -> None:
    """Check every part's name, kind, keys and value types against its class; nothing is built."""
    for kind, where, part in parts_of(config):
        check_part(manager, kind, where, part)


def plugins_of(config: Config) -> list[str]:
    """Return the plugins that a configuration names: its own, those of its parts, and those asked for besides."""
    used = [part["use"].split("/")[0] for _, _, part in parts_of(config)]
    return list(dict.fromkeys([config.get("plugin") or "core", *used, *(config.get("plugins") or [])]))


def parts_of(config: Config) -> list[tuple[str, str, Config]]:
    """Return every part of a configuration as (kind, where it stands, its mapping)."""
    found = [("dataset", "dataset", config["dataset"])]
    for name, chain in (config.get("targets") or {}).items():
        found += [("encoder", f"targets.{name}.{n}", part) for n, part in enumerate(chain)]
    found += [("encoder", f"encoder.{n}", part) for n, part in enumerate(config.get("encoder") or [])]
    for kind, key in (("decoder", "decoder"), ("renderer", "renderer"), ("decoder", "baseline")):
        if config.get(key) is not None:
            found.append((kind, key, config[key]))
    found += [("decoder", f"beside.{n}", part) for n, part in enumerate(config.get("beside") or [])]
    found += [("metric", f"metrics.{n}", part) for n, part in enumerate(config.get("metrics") or [])]
    return [(kind, where, {"use": part} if isinstance(part, str) else part) for kind, where, part in found]


def check_part(manager: Manager, kind: str, where: str, part: Config) -> type[Component]:
    """Return the class of one part after checking its keys and value types."""
    if not isinstance(part, Mapping) or "use" not in part:
        raise HubError(f"{where} does not say what to use", "write {use: plugin/part}", usage=True)
    found = manager.component(kind, part["use"])
    known = found.parameters()
    hints = typing.get_type_hints(found.__init__)
    for key, value in part.items():
        if key == "use":
            continue
        if key not in known:
            raise HubError(f"{where} ({part['use']}) has no parameter '{key}'", did_you_mean(key, known), usage=True)
        wanted = hints.get(key, Any)
        if not fits(value, wanted):
            raise HubError(
                f"{where}.{key} is {value!r}, which is not {type_name(wanted)}",
                f"its default is {known[key].default!r}"
                if known[key].default is not inspect.Parameter.empty
                else "give such a value",
                usage=True,
            )
    missing = [k for k, p in known.items() if p.default is inspect.Parameter.empty and k not in part]
    if missing:
        raise HubError(f"{where} ({part['use']}) needs '{missing[0]}'", f"--set {where}.{missing[0]}=…", usage=True)
    return found


def build(name: str, config: Config, manager: Manager) -> Pipeline:
    """Build every component of a resolved configuration and check that their Spaces fit, before any data is read."""
    for extra in config.get("plugins") or []:
        manager.load(extra)

    def make(kind: str, where: str, part: Any) -> Any:
        part = {"use": part} if isinstance(part, str) else part
        found = check_part(manager, kind, where, part)
        return found(**{key: value for key, value in part.items() if key != "use"})

    def chain(where: str, parts: Sequence[Any]) -> Chain:
        steps = [cast(Encoder, make("encoder", f"{where}.{n}", part)) for n, part in enumerate(parts)]
        return Chain(steps, [part["use"] for part in parts])

    window = config.get("window") or {}
    pipeline = Pipeline(
        name=name,
        config=config,
        dataset=make("dataset", "dataset", config["dataset"]),
        targets={target: chain(f"targets.{target}", parts) for target, parts in config["targets"].items()},
        encoder=chain("encoder", config.get("encoder") or []),
        decoder=make("decoder", "decoder", config["decoder"]),
        renderer=make("renderer", "renderer", config["renderer"]) if config.get("renderer") else None,
        baseline=make("decoder", "baseline", config["baseline"]) if config.get("baseline") else None,
        metrics=[make("metric", f"metrics.{n}", part) for n, part in enumerate(config.get("metrics") or [])],
        window=Window(window.get("length_s"), window.get("hop_s"), float(window.get("context_s") or 0.0)),
        beside={short(part): make("decoder", f"beside.{n}", part) for n, part in enumerate(config.get("beside") or [])},
    )
    check_spaces(pipeline)
    return pipeline


def short(part: Any) -> str:
    """Return the name without its plugin of a part of a configuration."""
    return str(part if isinstance(part, str) else part["use"]).split("/")[-1]


def check_spaces(pipeline: Pipeline) -> None:
    """Check every hand-off: dataset → encoder chain → decoder → renderer, and the targets' chains."""
    config = pipeline.config
    dataset_name = config["dataset"]["use"]
    targets = {name: pipeline.target_space(name) for name in pipeline.targets}
    _named_by_space(pipeline, targets)
    brain = pipeline.encoder.check(pipeline.dataset.brain, dataset_name)
    pipeline.encoder.continuous_part()
    encoder_name = pipeline.encoder.names[-1] if pipeline.encoder.names else dataset_name
    _fits_behind(pipeline.decoder.consumes, brain, config["decoder"]["use"], encoder_name)
    for space in pipeline.decoder.produces:
        if space.name != "*" and space.name not in targets:
            raise HubError(
                f"{config['decoder']['use']} produces {space.name}, but the targets are {', '.join(targets)}",
                "add such a target, or choose another decoder",
                usage=True,
            )
    tail = pipeline.encoder.split()[1]
    if tail.steps and not pipeline.decoder.trains_encoder:
        raise HubError(
            f"{tail.names[0]} learns jointly with a decoder, and {config['decoder']['use']} trains none",
            "choose a decoder that trains its encoder, or leave the step out",
            usage=True,
        )
    for metric, part in zip(pipeline.metrics, config.get("metrics") or [], strict=True):
        if metric.space != "*" and metric.space not in targets:
            use = part if isinstance(part, str) else part["use"]
            raise HubError(
                f"{use} scores {metric.space}, but the targets are {', '.join(targets)}",
                "leave the metric out",
                usage=True,
            )
    if pipeline.renderer is not None:
        for space in pipeline.renderer.consumes:
            if space.name == RETRIEVAL:
                continue
            if space.name not in targets:
                raise HubError(
                    f"{config['renderer']['use']} renders {space.name}, but the targets are {', '.join(targets)}",
                    "choose another renderer",
                    usage=True,
                )
            scored = pipeline.frozen_target_space(space.name)
            _fits_behind(space, scored, config["renderer"]["use"], f"targets.{space.name}")
            why = pipeline.renderer.refuses(pipeline.targets[space.name].steps)
            if why is not None:
                use = config["renderer"]["use"]
                raise HubError(
                    f"{use} cannot render targets.{space.name}: {why}",
                    "give both the same settings",
                    usage=True,
                )


def _named_by_space(pipeline: Pipeline, targets: Mapping[str, Space]) -> None:
    """Refuse a target whose chain makes something else than its name says: metrics and decoders go by the name."""
    for name, space in targets.items():
        scored = pipeline.frozen_target_space(name)
        for made, where in ((space, "makes"), (scored, "is scored, behind the steps that learn nothing, as")):
            if made.name not in (name, "*"):
                raise HubError(
                    f"targets.{name} {where} {made.name}, not {name}",
                    f"put a step that makes {name} into its chain, or call the target {made.name}",
                    usage=True,
                )


def fits(value: Any, wanted: Any) -> bool:
    """Return whether a YAML value fits a parameter's annotation; whole numbers fit floats, lists fit tuples."""
    if wanted is Any or wanted is inspect.Parameter.empty:
        return True
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, pytypes.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments and type(value) in {type(one) for one in arguments}
    if origin in (list, tuple, Sequence) or wanted in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        if not isinstance(value, list | tuple):
            return False
        if not arguments:
            return True
        if origin is tuple and Ellipsis not in arguments:
            return len(value) == len(arguments) and all(fits(v, a) for v, a in zip(value, arguments, strict=True))
        return all(fits(one, arguments[0]) for one in value)
    if origin is dict or wanted is dict or getattr(origin, "__name__", "") == "Mapping":
        return isinstance(value, dict)
    if wanted is None or wanted is type(None):
        return value is None
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def type_name(wanted: Any) -> str:
    """Return how a message calls a type."""
    known = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, pytypes.UnionType):
        return " or ".join(type_name(one) for one in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (list, tuple):
        return "a list"
    return known.get(wanted, getattr(wanted, "__name__", str(wanted)))


def _fits_behind(wanted: Space, given: Space, taker: str, giver: str) -> None:
    why = wanted.refuses(given)
    if why is not None:
        raise HubError(
            f"{taker} does not fit behind {giver}: it {why}",
            "put a step between them, or change one",
            usage=True,
        )


def _assignment(text: str) -> tuple[list[str], Any]:
    path, sign, value = text.partition("=")
    if not sign or not path:
        raise HubError(f"--set {text} is not an assignment", "write it as --set encoder.0.low=65", usage=True)
    return path.strip().split("."), parse_yaml(value, f"--set {path}")


def _assign(config: Config, path: list[str], value: Any) -> None:
    at: Any = config
    walked: list[str] = []
    for key in path[:-1]:
        at = _step(at, key, walked)
        walked.append(key)
    last = path[-1]
    if isinstance(at, list):
        _step(at, last, walked)
        at[int(last)] = value
    elif isinstance(at, dict):
        if last == "use" and at.get("use") != value:
            at.clear()
        at[last] = value
    else:
        raise HubError(
            f"--set {'.'.join(path)}: {'.'.join(walked)} has no keys",
            "see `describe` for the keys",
            usage=True,
        )


def _step(at: Any, key: str, walked: list[str]) -> Any:
    where = ".".join(walked) or "the pipeline"
    if isinstance(at, list):
        if not key.isdigit() or int(key) >= len(at):
            raise HubError(f"--set: {where} has no part '{key}'", f"it has the parts 0 to {len(at) - 1}", usage=True)
        return at[int(key)]
    if isinstance(at, dict):
        if key in at:
            return at[key]
        if not walked and key in NESTED:
            return at.setdefault(key, {})
        raise HubError(f"--set: {where} has no key '{key}'", did_you_mean(key, at), usage=True)
    raise HubError(f"--set: {where} has no keys", "see `describe` for the keys", usage=True)

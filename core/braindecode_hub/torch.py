"""Training a torch module on views: a helper for components that learn, and the only core file that imports torch.

`fit_module` is a plain loop. Whoever owns the loss hands it over as a function of a batch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, save_arrays, write_whole
from braindecode_hub.types import Array, Batch, Context
from braindecode_hub.view import View

CHECKPOINTS = "checkpoints"
"""The folder, in `ctx.out`, of one file a pass, of `last.safetensors` (resumes) and `best.json` (the mark)."""


@dataclass(frozen=True)
class Training:
    """How to train: AdamW (Loshchilov & Hutter 2019) with gradient clipping, a rate schedule, early stopping.

    `rate` falls by `gamma` at each of `milestones` (in passes) if `schedule` is "steps", and along a half cosine to 0
    over the whole training if it is "cosine". `clip`: largest norm of the gradient, None for no limit.
    `validate_every`: steps; None: once a pass. `patience`: validations without a better one until it stops, None:
    never. Training ends after `max_steps` or `max_epochs` passes, whichever is first.
    """

    batch_size: int = 64
    max_steps: int | None = None
    max_epochs: int | None = None
    rate: float = 1e-3
    weight_decay: float = 1e-3
    clip: float | None = 2.0
    schedule: Literal["constant", "steps", "cosine"] = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5
    validate_every: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        """Raise HubError for a number that nothing can be trained with."""
        right = {
            "batch_size": self.batch_size >= 1,
            "max_steps": self.max_steps is None or self.max_steps >= 0,
            "max_epochs": self.max_epochs is None or self.max_epochs >= 0,
            "rate": math.isfinite(self.rate) and self.rate > 0,
            "weight_decay": math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "clip": self.clip is None or self.clip > 0,
            "validate_every": self.validate_every is None or self.validate_every >= 1,
            "patience": self.patience is None or self.patience >= 1,
        }
        for name, fits in right.items():
            if not fits:
                raise HubError(f"training: {name} is {getattr(self, name)}", f"give another {name}", usage=True)

    def total(self, per_pass: int) -> int:
        """Return the number of steps; HubError if neither limit is given."""
        limits = (self.max_steps, None if self.max_epochs is None else self.max_epochs * per_pass)
        if limits == (None, None):
            raise HubError("training has no end", "give max_steps or max_epochs", usage=True)
        return min(limit for limit in limits if limit is not None)

    def rate_at(self, step: int, per_pass: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        if self.schedule == "cosine":
            return self.rate * 0.5 * (1.0 + math.cos(math.pi * step / self.total(per_pass)))
        if self.schedule == "steps":
            return self.rate * self.gamma ** sum(step // per_pass >= milestone for milestone in self.milestones)
        return self.rate


@dataclass
class Progress:
    """How far a training is: steps done, validation losses [step, loss], the best of them, and its weights."""

    step: int = 0
    history: list[list[float]] = field(default_factory=list)
    best_step: int = -1
    best_loss: float = math.inf
    best: dict[str, Array] = field(default_factory=dict)
    since_best: int = 0

    def note(self, loss: float, module: torch.nn.Module) -> None:
        """Take the validation loss of a module, and its weights if it is the best so far."""
        self.history.append([self.step, loss])
        self.since_best += 1
        if loss < self.best_loss:
            self.best_step, self.best_loss, self.best, self.since_best = self.step, loss, module_state(module), 0


# Where and how torch computes


def resolve_device(asked: str) -> torch.device:
    """Return the device that was asked for; "auto" is cuda where there is one, else cpu. HubError if it is missing."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(asked)
    cuda = torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count()
    if not {"cuda": cuda, "mps": torch.backends.mps.is_available()}.get(found.type, True):
        raise HubError(f"this machine has no {asked}", "use --device auto, or --device cpu")
    return found


@contextmanager
def settings(device: torch.device, threads: int | None = 1) -> Iterator[None]:
    """Compute deterministically, on the CPU with so many threads (None: as they are); everything is put back after.

    One thread is the default: many small operations lose more to waiting than they gain (on a shared two-core
    machine two threads took 10 to 18 times the CPU time), and sums have one order.
    """
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device.type == "cpu" and threads is not None:
        torch.set_num_threads(threads)
    # as use_deterministic_algorithms does, but that imports the compiler, too: 1.4 s, and decoding needs none of it
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    memory.fill_uninitialized_memory = False  # all that is read was written; costs 7 % of a step
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        torch.backends.cudnn.benchmark = before[2]
        memory.fill_uninitialized_memory = filled


@contextmanager
def seeded(ctx: Context, *key: str | int) -> Iterator[None]:
    """Draw all of torch's random numbers (weights, dropout) from `key`'s stream; the global ones stay as they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(ctx.rng(*key).integers(2**63)))
        yield


def generator(ctx: Context, *key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for the stream of `key`, for whoever passes generators on."""
    return torch.Generator(device=device).manual_seed(int(ctx.rng(*key).integers(2**63)))


def tensor(x: Array, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return an array as a float32 tensor on `device`; HubError if it holds NaN or infinity."""
    array = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(array).all():
        bad = [int(n) for n in np.argwhere(~np.isfinite(array))[0]]
        raise HubError(f"the input holds NaN or infinity, first at {bad} of {array.shape}", "mark bad channels, or cut")
    return torch.from_numpy(array).to(device)


# Modules as arrays


def module_state(module: torch.nn.Module) -> dict[str, Array]:
    """Return a copy of every parameter and buffer of a module as numpy arrays, by name."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def load_module_state(module: torch.nn.Module, arrays: Mapping[str, Array]) -> None:
    """Put arrays into a module of the same shapes; HubError naming the first that is missing or differs."""
    wanted = module.state_dict()
    for name, value in wanted.items():
        given = arrays.get(name)
        if given is None or tuple(given.shape) != tuple(value.shape):
            has = "is missing" if given is None else f"has shape {tuple(given.shape)}, not {tuple(value.shape)}"
            raise HubError(f"the stored weights do not fit: {name} {has}", "load what this configuration saved")
    module.load_state_dict({name: torch.from_numpy(np.array(arrays[name])) for name in wanted})


# Training


def fit_module(
    module: torch.nn.Module,
    loss: Callable[[Batch], torch.Tensor],
    train: View,
    val: View,
    ctx: Context,
    training: Training,
    *,
    name: str,
    watch: Callable[[int], None] | None = None,
) -> Progress:
    """Train `module` (already on its device) in place, and leave it with the weights that validate best.

    `loss`: the mean loss of one batch, a scalar tensor; the module is in training mode for training batches, in
    evaluation mode (and without gradients) for validation. Step 0, before any training, is validated too and may
    stay. `name` leads messages and seeds the streams; `watch(step)` is called after each validation.

    With `ctx.out`, a checkpoint is written after each validation, whole or not at all, and a fit that was killed
    goes on from the last one to the same bits. Raises HubError if a loss is not finite, or there are no windows.
    """
    per_pass = math.ceil(len(train) / training.batch_size)
    if not per_pass or not len(val):
        raise HubError(f"{name} has nothing to fit on", "the training and validation sides need windows")
    total, every = training.total(per_pass), training.validate_every or per_pass
    optimiser = torch.optim.AdamW(module.parameters(), lr=training.rate, weight_decay=training.weight_decay)
    folder = None if ctx.out is None else ctx.out / CHECKPOINTS
    key = _key(module, training, ctx, name, len(train))

    def tell(tag: str, value: float) -> None:
        ctx.log({"kind": "scalar", "tag": f"{name}/{tag}", "step": done.step, "value": value})

    def validate() -> None:
        value = _validated(module, loss, val, training.batch_size)
        done.note(_finite(value, "validation", name, done.step), module)
        tell("val_loss", value)

    with seeded(ctx, name, "training"):
        resumed = _resume(folder, key, module, optimiser)
        done = resumed or Progress()
        if resumed is None:
            validate()
        for batch in _batches(train, training.batch_size, ctx, name, done.step, total):
            if training.patience is not None and done.since_best >= training.patience:
                break
            module.train()
            for group in optimiser.param_groups:
                group["lr"] = training.rate_at(done.step, per_pass)
            value = _finite(_descend(loss(batch), module, optimiser, training.clip), "training", name, done.step + 1)
            done.step += 1
            tell("loss", value)
            tell("rate", optimiser.param_groups[0]["lr"])
            ctx.log({"kind": "progress", "stage": "train", "done": done.step, "total": total})
            if done.step % every == 0 or done.step == total:
                validate()
                if watch is not None:
                    watch(done.step)
                _save(folder, key, module, optimiser, done)
    load_module_state(module, done.best)
    module.eval()
    return done


def _descend(value: torch.Tensor, module: torch.nn.Module, optimiser: Any, clip: float | None) -> float:
    """Do one step of gradient descent on the loss `value`; returns it as a number."""
    optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimiser.step()
    return float(value.detach())


def _validated(module: torch.nn.Module, loss: Callable[[Batch], torch.Tensor], val: View, size: int) -> float:
    """Return the mean loss over the windows of the validation side."""
    module.eval()
    with torch.inference_mode():
        losses = [(len(batch), float(loss(batch))) for batch in val.batches(size)]
    return sum(count * one for count, one in losses) / sum(count for count, _ in losses)


def _finite(value: float, side: str, name: str, step: int) -> float:
    if math.isfinite(value):
        return value
    cause = f"{name}: the {side} loss is {value} at step {step}"
    raise HubError(cause, "check the input for extreme values, or lower the learning rate")


def _batches(train: View, size: int, ctx: Context, name: str, start: int, total: int) -> Iterator[Batch]:
    """Yield the batches of steps `start` to `total`: each pass in an order of its own, which the seed decides."""
    per_pass = math.ceil(len(train) / size)
    for number in range(start // per_pass, math.ceil(total / per_pass)):
        for place, batch in enumerate(train.batches(size, ctx.rng(name, "order", number))):
            if start <= number * per_pass + place < total:
                yield batch


# Checkpoints


def _key(module: torch.nn.Module, training: Training, ctx: Context, name: str, windows: int) -> str:
    """Return a hash of everything that a training must share with a checkpoint to go on from it."""
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    told = json.dumps([name, ctx.seed, asdict(training), windows, shapes], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _save(folder: Path | None, key: str, module: torch.nn.Module, optimiser: Any, done: Progress) -> None:
    if folder is None:
        return
    weights = module_state(module)
    about = {"step": done.step, "val_loss": done.history[-1][1]}
    save_arrays(folder / f"step-{done.step:06d}.safetensors", weights, about)
    arrays = {f"model/{name}": value for name, value in weights.items()}
    arrays |= {f"best/{name}": value for name, value in done.best.items()}
    for number, values in optimiser.state_dict()["state"].items():
        arrays |= {f"optimiser/{number}/{name}": value.cpu().numpy() for name, value in values.items()}
    arrays["random/cpu"] = torch.get_rng_state().numpy()
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        arrays[f"random/cuda/{number}"] = torch.cuda.get_rng_state(number).numpy()
    rates = [group["lr"] for group in optimiser.param_groups]
    kept = {name: value for name, value in vars(done).items() if name != "best"}
    best = {"step": done.best_step, "val_loss": done.best_loss, "file": f"step-{done.best_step:06d}.safetensors"}
    write_whole(folder / "best.json", json.dumps(best if done.best_step else {**best, "file": None}) + "\n")
    # last of all: once it is there, nobody comes back for the other two
    save_arrays(folder / "last.safetensors", arrays, {"key": key, "rates": rates, "progress": kept})


def _resume(folder: Path | None, key: str, module: torch.nn.Module, optimiser: Any) -> Progress | None:
    """Put everything back from the last checkpoint of the same training; None if there is none."""
    path = None if folder is None else folder / "last.safetensors"
    if path is None or not path.is_file():
        return None
    arrays, info = load_arrays(path)
    if info.get("key") != key:
        return None
    load_module_state(module, _under(arrays, "model/"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under(arrays, "optimiser/").items():
        number, _, part = name.partition("/")
        state.setdefault(int(number), {})[part] = torch.from_numpy(np.array(value))
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(torch.from_numpy(np.array(arrays["random/cpu"])))
    for name, value in _under(arrays, "random/cuda/").items():
        torch.cuda.set_rng_state(torch.from_numpy(np.array(value)), int(name))
    return Progress(**info["progress"], best=_under(arrays, "best/"))


def _under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

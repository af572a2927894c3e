"""The training helper: it keeps what validates best, goes on after a kill to the same bits, and leaves no trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.files import load_arrays  # noqa: E402
from braindecode_hub.torch import (  # noqa: E402
    Progress,
    Training,
    fit_module,
    generator,
    load_module_state,
    module_state,
    resolve_device,
    seeded,
    settings,
    tensor,
)
from braindecode_hub.types import Batch, Context, Event  # noqa: E402


class Windows:
    """A view of 20 windows: x (20, 3) and y = 2 · x, as batches."""

    def __init__(self, seed: int = 0) -> None:
        self.x = np.random.default_rng(seed).standard_normal((20, 3)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, size: int, rng: Any = None) -> Any:
        order = np.arange(len(self.x)) if rng is None else rng.permutation(len(self.x))
        for start in range(0, len(order), size):
            x = self.x[order[start : start + size]]
            yield Batch(x, [None] * len(x), None, {"y": 2 * x})  # type: ignore[list-item]


def train(ctx: Context, module: Any = None, scale: float = 1.0, **changes: Any) -> tuple[Any, Progress]:
    """Fit a small network with dropout, whose random stream is thereby used in each step."""
    if module is None:
        with seeded(ctx, "weights"):
            module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3))

    def loss(batch: Batch) -> Any:
        return ((module(tensor(batch.brain)) - scale * tensor(batch.target["y"])) ** 2).mean()

    given = {"batch_size": 6, "max_steps": 30, "rate": 1e-2, **changes}
    with settings(torch.device("cpu")):
        done = fit_module(module, loss, Windows(), Windows(1), ctx, Training(**given), name="toy")  # type: ignore[arg-type]
    return module, done


def same(a: Any, b: Any) -> bool:
    first, second = module_state(a), module_state(b)
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_it_learns_and_keeps_the_weights_that_validate_best(tmp_path: Path) -> None:
    module, done = train(Context(out=tmp_path), max_steps=60)
    losses = [loss for _, loss in done.history]
    assert done.best_loss == min(losses) < 0.5 * losses[0]
    assert [step for step, _ in done.history] == [0, *range(4, 61, 4)]
    folder = tmp_path / "checkpoints"
    best = json.loads((folder / "best.json").read_text())
    assert best["step"] == done.best_step
    stored, info = load_arrays(folder / best["file"])
    assert info["val_loss"] == done.best_loss
    assert all(np.array_equal(stored[name], value) for name, value in module_state(module).items())


def test_step_0_stays_if_nothing_is_better() -> None:
    module = torch.nn.Linear(3, 3)
    with torch.no_grad():
        module.weight.copy_(2 * torch.eye(3))
        module.bias.zero_()
    before = module_state(module)
    _, done = train(Context(), module, rate=1.0)
    assert done.best_step == 0
    assert all(np.array_equal(before[name], value) for name, value in module_state(module).items())


@pytest.mark.parametrize("killed_at", [6, 11, 27])
def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path, killed_at: int) -> None:
    whole, expected = train(Context(out=tmp_path / "whole"), validate_every=3)

    def kill(event: Event) -> None:
        if event["kind"] == "progress" and event["done"] == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Context(out=tmp_path / "killed", log=kill), validate_every=3)
    resumed, done = train(Context(out=tmp_path / "killed"), validate_every=3)
    assert same(whole, resumed)
    assert (done.history, done.best_step) == (expected.history, expected.best_step)
    last = [load_arrays(tmp_path / name / "checkpoints" / "last.safetensors")[0] for name in ("whole", "killed")]
    assert all(last[0][name].tobytes() == last[1][name].tobytes() for name in last[0])


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path: Path) -> None:
    train(Context(out=tmp_path))
    other, _ = train(Context(out=tmp_path), rate=3e-3)
    fresh, _ = train(Context(), rate=3e-3)
    assert same(other, fresh)


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(Context())
    assert not list(tmp_path.iterdir())


def test_global_state_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train(Context(seed=3))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())


def test_seeds_decide_and_streams_are_apart() -> None:
    assert same(train(Context(seed=1))[0], train(Context(seed=1))[0])
    assert not same(train(Context(seed=1))[0], train(Context(seed=2))[0])
    draws = [torch.rand(3, generator=generator(Context(), key)) for key in ("a", "a", "b")]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_it_stops_early_after_so_many_validations() -> None:
    _, done = train(Context(), scale=0.0, rate=1.0, max_steps=400, patience=2)
    assert done.step < 400


def test_rates_follow_their_schedule() -> None:
    steps = Training(max_epochs=4, rate=1.0, schedule="steps", milestones=(1, 3))
    assert [steps.rate_at(step, 10) for step in (0, 9, 10, 29, 30)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    cosine = Training(max_steps=100, rate=1.0, schedule="cosine")
    assert cosine.rate_at(0, 7) == 1.0 and cosine.rate_at(50, 7) == pytest.approx(0.5) and cosine.rate_at(99, 7) < 1e-3
    assert Training(max_steps=50, max_epochs=3).total(10) == 30
    with pytest.raises(HubError, match="no end"):
        Training().total(10)


def test_events_tell_loss_rate_and_progress() -> None:
    events: list[Event] = []
    train(Context(log=events.append))
    tags = {event["tag"] for event in events if event["kind"] == "scalar"}
    assert tags == {"toy/loss", "toy/val_loss", "toy/rate"}
    assert [event for event in events if event["kind"] == "progress"][-1] == {
        "kind": "progress",
        "stage": "train",
        "done": 30,
        "total": 30,
    }


def test_a_loss_that_is_not_finite_is_one_clear_line() -> None:
    with pytest.raises(HubError, match=r"toy: the (training|validation) loss is (nan|inf)"):
        train(Context(), scale=float("inf"))
    with pytest.raises(HubError, match="NaN or infinity, first at"):
        tensor(np.array([1.0, np.nan]))


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(HubError, match=r"weight has shape \(2, 3\), not \(3, 3\)"):
        load_module_state(torch.nn.Linear(3, 3), module_state(torch.nn.Linear(3, 2)))
    with pytest.raises(HubError, match="bias is missing"):
        load_module_state(torch.nn.Linear(3, 3), {"weight": np.zeros((3, 3))})


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(HubError, match="this machine has no cuda"):
            resolve_device("cuda")


def test_settings_do_not_load_the_compiler() -> None:
    """Decoding needs none of it, and it would take longer than to decode a minute."""
    code = (
        "import sys, torch; from braindecode_hub.torch import settings\n"
        "with settings(torch.device('cpu')): print(torch.are_deterministic_algorithms_enabled())\n"
        "print(torch.are_deterministic_algorithms_enabled(), 'torch._inductor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]

"""The contrastive losses: the papers' numbers, equal sound that is no negative, one loss over two processes."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from braindecode_hub.types import Array  # noqa: E402
from braindecode_hub_speech_wav2vec.losses import clip_loss, same_sound, siglip_loss  # noqa: E402


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_clip_loss_is_the_papers() -> None:
    estimate, candidate = random(4, 3, 5), random(6, 3, 5, seed=1)
    scores = [[(e * c).sum() / np.sqrt((c**2).sum()) for c in candidate] for e in estimate]
    wanted = np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(np.array(scores))])
    given = torch.from_numpy(estimate), torch.from_numpy(candidate)
    assert float(clip_loss(*given)) == pytest.approx(wanted, abs=1e-6)
    assert float(clip_loss(given[0], given[1] * 7)) == pytest.approx(wanted, abs=1e-6)  # candidates are normalised
    assert float(clip_loss(given[0] * 7, given[1])) != pytest.approx(wanted, abs=0.1)  # estimates are not
    own = torch.eye(4, 6, dtype=torch.bool)
    assert float(clip_loss(*given, same=own)) == pytest.approx(wanted, abs=1e-6)


def test_the_siglip_loss_is_the_papers() -> None:
    estimate, candidate = random(4, 3, 5), random(4, 3, 5, seed=1)
    wanted = 0.0
    for i, e in enumerate(estimate):
        for j, c in enumerate(candidate):
            logit = 10.0 * (e * c).sum() / np.sqrt((e**2).sum() * (c**2).sum()) - 10.0
            wanted += math.log1p(math.exp(-logit if i == j else logit))
    given = torch.from_numpy(estimate), torch.from_numpy(candidate)
    assert float(siglip_loss(*given)) == pytest.approx(wanted / 4, abs=1e-6)


@pytest.mark.parametrize("loss", [clip_loss, partial(siglip_loss, scale=3.0)])
def test_equal_sound_is_no_negative(loss: Any) -> None:
    candidate = random(3, 3, 5, seed=1)
    candidate[2] = 2.0 * candidate[0]  # louder, and the same
    heard = torch.from_numpy(candidate)
    same = same_sound(heard, heard)
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    right = torch.from_numpy(5 * candidate / np.linalg.norm(candidate, axis=(1, 2), keepdims=True))
    wrong = right[[2, 1, 0]]  # exchanging equal sounds changes nothing
    assert float(loss(right, heard, same)) == pytest.approx(float(loss(wrong, heard, same)))
    alone = torch.eye(3, dtype=torch.bool)
    assert float(loss(right, heard, same)) < float(loss(right, heard, alone)) - 0.3
    silence = torch.zeros(2, 3, 5)
    assert same_sound(silence, silence).diagonal().all() and torch.isfinite(loss(silence, silence))


LOSSES: dict[str, Any] = {"clip": clip_loss, "siglip": siglip_loss}


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    found = {}
    for name, loss in LOSSES.items():
        both = [torch.from_numpy(random(6, 2, 4, seed=s))[3 * rank : 3 * rank + 3].requires_grad_() for s in (0, 1)]
        value = loss(*both)
        value.backward()
        found |= {name: value.detach().numpy(), f"{name} 0": both[0].grad.numpy(), f"{name} 1": both[1].grad.numpy()}
    np.savez(f"{folder}/{rank}.npz", **found)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    found = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    for name, loss in LOSSES.items():
        both = [torch.from_numpy(random(6, 2, 4, seed=s)).requires_grad_() for s in (0, 1)]
        value = loss(*both)
        value.backward()
        assert np.mean([one[name] for one in found]) == pytest.approx(float(value.detach()))
        for number, one in enumerate(both):  # DDP takes the mean over processes
            spread = np.concatenate([part[f"{name} {number}"] for part in found]) / 2
            assert np.abs(spread - one.grad.numpy()).max() < 1e-12

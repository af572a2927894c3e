"""The attention decoder begins at ridge, learns what ridge cannot, repeats itself, and never looks at the answer."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from braindecode_hub.chain import Chain  # noqa: E402
from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.parts.ridge import Ridge  # noqa: E402
from braindecode_hub.stretches import Prepared  # noqa: E402
from braindecode_hub.torch import module_state  # noqa: E402
from braindecode_hub.types import Array, Context, Event, Recording, Signal, Space, Trial  # noqa: E402
from braindecode_hub.view import View, Window, make_item  # noqa: E402
from braindecode_hub_audio_seeg import attention_network, conv_gru_network  # noqa: E402
from braindecode_hub_audio_seeg.attention import Attention  # noqa: E402
from braindecode_hub_audio_seeg.attention_network import AttentionNetwork  # noqa: E402
from braindecode_hub_audio_seeg.conv_gru import ConvGru  # noqa: E402
from braindecode_hub_audio_seeg.conv_gru_network import ConvGruNetwork  # noqa: E402

RATE, BINS, CHANNELS, LAG = 50.0, 4, 3, 5
SHORT: dict[str, Any] = {"max_steps": 3, "batch_size": 16, "examples": 2}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def view(seed: int, seconds: float = 12.0, poison: str = "") -> View:
    """Windows in which target bins follow |channel| (0 and 1) and channels (2 and 3), LAG samples earlier."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    white = rng.standard_normal((CHANNELS, samples + 8))
    smooth = sum(white[:, k : k + samples] for k in range(8)) / np.sqrt(8)
    heard = np.roll(smooth, -LAG, axis=1)
    target = np.stack([np.abs(heard[0]) - 0.8, np.abs(heard[1]) - 0.8, heard[0], heard[2]], axis=1)
    brain = (smooth + 0.2 * rng.standard_normal(smooth.shape)).astype(np.float32)
    target = target.astype(np.float32)
    if poison:
        (brain if poison == "brain" else target.T)[0, 100] = np.nan
    names = tuple(f"A{k}" for k in range(CHANNELS))
    about = Recording("r", "s", "1", Signal(None, RATE, "seeg", names), shafts=("A",) * CHANNELS)
    trial = Trial("t", "r", 0.0, seconds, "x", 0.0, seconds, {"subject": "s"})
    item = make_item(
        trial,
        brain=Prepared(brain, RATE, 0.0),
        recording=about,
        spaces={"mel": RATE},
        stimuli={"mel": Prepared(target, RATE, 0.0)},
    )
    return View(
        [item],
        window=Window(0.4, 0.2, 0.3),
        space=Space("high_gamma", ("channels", "time"), RATE),
        targets={"mel": Space("mel", ("time", BINS), RATE)},
        subjects=["s"],
    )


def fitted(ctx: Context | None = None, train: int = 0, **options: Any) -> tuple[Attention, Chain]:
    decoder, tail = Attention(**{**SHORT, **options}), Chain([ConvGru(hidden=16)])
    decoder.fit(view(train), view(1), ctx or Context(), encoder=tail)
    return decoder, tail


def predict(decoder: Attention, tail: Chain, x: Array) -> Array:
    return decoder.decode(tail.encode(x), x)["mel"]


def windows(seed: int = 2) -> tuple[Array, Array]:
    batch = next(view(seed).batches(100))
    return batch.brain, batch.target["mel"]


def digest(decoder: Attention, tail: Chain) -> str:
    found = hashlib.sha256()
    for arrays, values in (decoder.state(), tail.state()):
        for name, array in sorted(arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        found.update(repr(sorted(values.items())).encode())
    return found.hexdigest()


@cache
def short(kind: str = "bahdanau") -> tuple[Attention, Chain]:
    return fitted(kind=kind)


# The network


@pytest.mark.parametrize(("kind", "millions"), [("bahdanau", 8.63), ("dot", 8.63)])
def test_the_paper_size_has_the_seeds_parameters(kind: str, millions: float) -> None:
    with torch.device("meta"):
        front = ConvGruNetwork(100, conv_gru_network.PAPER)
        times = torch.arange(35.0), torch.arange(23.0)
        net = AttentionNetwork(666, 3, 80, attention_network.PAPER, kind, False, times)
        memory = front(torch.empty(2, 100, 1230))
        frames, _, weights = net(memory)
    count = sum(p.numel() for module in (front, net) for p in module.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.02)
    assert memory.shape == (2, 3 + 23, 666) and frames.shape == (2, 35, 80) and weights.shape == (2, 35, 23)


@pytest.mark.parametrize("kind", ["bahdanau", "dot"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_parameter_gets_a_gradient_and_no_tap_is_dead(kind: str, residual: bool) -> None:
    torch.manual_seed(0)
    front = ConvGruNetwork(3, conv_gru_network.SMALL)
    times = torch.linspace(0.2, 0.4, 8), torch.linspace(0, 0.8, 16)
    net = AttentionNetwork(128, 1, 4, attention_network.SMALL, kind, residual, times)
    both = torch.nn.ModuleList([front, net])
    optimiser = torch.optim.SGD(both.parameters(), lr=0.1)
    x, target = torch.randn(8, 3, 64), torch.randn(8, 8, 4)
    skip = torch.randn(8, 8, 4) if residual else None
    for _ in range(3):  # a residual begins at 0: what is behind its output hears of it one step later
        optimiser.zero_grad()
        ((net(front(x), skip)[0] - target) ** 2).mean().backward()
        optimiser.step()
    for name, parameter in both.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    for convolution in [*net.postnet.convolutions, *front.convolutions]:
        assert (convolution.weight.grad.abs().amax(dim=(0, 1)) > 0).all()  # every tap
    if kind == "bahdanau":
        near = net.where.convolution.weight.grad.abs().amax(dim=(0, 1))
        assert (near > 0).all()


def test_the_decoders_position_advances() -> None:
    places = conv_gru_network.sinusoids(35, 32)
    assert places.shape == (35, 32)
    assert float(torch.cdist(places, places).fill_diagonal_(1.0).min()) > 0.1


def test_targets_are_followed_in_training_only() -> None:
    torch.manual_seed(0)
    net = AttentionNetwork(8, 1, 4, attention_network.SMALL, "bahdanau", False, (torch.arange(6.0), torch.arange(5.0)))
    memory, forced = torch.randn(2, 6, 8), torch.tensor([True, False])
    one, other = torch.zeros(2, 6, 4), torch.ones(2, 6, 4)
    net.eval()
    assert torch.equal(net(memory, None, one, forced)[0], net(memory, None, other, forced)[0])
    net.train()
    made = []
    for target in (one, other):
        torch.manual_seed(1)
        made.append(net(memory, None, target, forced)[1])
    assert not torch.equal(made[0][0], made[1][0]) and torch.equal(made[0][1], made[1][1])


# The component


@pytest.mark.parametrize("kind", ["bahdanau", "dot"])
@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_shapes_and_what_is_noted(kind: str, loss: str) -> None:
    decoder, tail = fitted(kind=kind, loss=loss)
    x, _ = windows()
    assert predict(decoder, tail, x).shape == (len(x), 20, BINS)
    assert decoder.attention_.shape == (2, 20, 13) and np.allclose(decoder.attention_.sum(axis=2), 1.0, atol=1e-5)
    assert decoder.contribution_.shape == (CHANNELS,)
    assert decoder.channels_ == ["A0", "A1", "A2"] and decoder.shafts_ == ["A"] * 3


def test_step_0_is_ridge() -> None:
    decoder, tail = fitted(max_steps=0, examples=0)
    ridge = Ridge(lags_s=(0.0, 0.3))
    ridge.fit(view(0), view(1), Context(), encoder=Chain())
    x, _ = windows()
    assert decoder.best_step_ == 0
    assert np.abs(predict(decoder, tail, x) - ridge.decode(x, x)["mel"]).max() < 1e-5


def test_ridge_stays_if_training_only_harms() -> None:
    decoder, tail = fitted(rate=30.0, max_steps=4, examples=0)
    x, _ = windows()
    assert decoder.best_step_ == 0
    assert np.abs(predict(decoder, tail, x) - decoder._ridge.decode(x, x)["mel"]).max() < 1e-5  # type: ignore[union-attr]


def test_evaluation_repeats_itself_and_changes_no_buffer() -> None:
    decoder, tail = short()
    x, _ = windows()
    modules = [decoder._network, tail.steps[0].module]
    before = [module_state(module) for module in modules]
    first = predict(decoder, tail, x)
    assert np.array_equal(first, predict(decoder, tail, x))
    for module, state in zip(modules, before, strict=True):
        assert all(np.array_equal(value, state[name]) for name, value in module_state(module).items())
    assert np.allclose(predict(decoder, tail, x[:1]), first[:1], atol=1e-5)  # no statistics of the batch


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_here_and_in_another_process() -> None:
    here = digest(*fitted())
    assert here == digest(*fitted())
    assert here != digest(*fitted(Context(seed=1)))
    code = "import test_attention as t; print(t.digest(*t.fitted()))"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[-1] == here


def test_a_second_fit_forgets_the_first() -> None:
    decoder, tail = fitted(train=3)
    decoder.fit(view(0), view(1), Context(), encoder=tail)
    assert digest(decoder, tail) == digest(*short())


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if event["kind"] == "progress" and event["done"] == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(Context(out=tmp_path, log=kill), max_steps=9)
    assert (tmp_path / "checkpoints" / "last.safetensors").is_file()
    assert digest(*fitted(Context(out=tmp_path), max_steps=9)) == digest(*fitted(max_steps=9))


@pytest.mark.parametrize("kind", ["bahdanau", "dot"])
def test_a_loaded_state_predicts_the_same(kind: str) -> None:
    decoder, tail = short(kind)
    x, _ = windows()
    again, other = Attention(**decoder.configuration()), Chain([ConvGru(hidden=16)])
    again.load_state(*decoder.state())
    other.load_state(*tail.state())
    assert np.array_equal(predict(again, other, x), predict(decoder, tail, x))
    assert digest(again, other) == digest(decoder, tail)


def test_a_control_has_a_smaller_budget_and_changes_nothing_else() -> None:
    control = Attention(max_steps=150).for_controls()
    assert control.max_steps == 50 and control.control_refits == 3
    kept = {"max_steps", "examples"}
    wanted = Attention().configuration()
    assert {k: v for k, v in control.configuration().items() if k not in kept} == {
        k: v for k, v in wanted.items() if k not in kept
    }


def test_pictures_and_curves_are_logged() -> None:
    events: list[Event] = []
    fitted(Context(log=events.append))
    images = {event["tag"] for event in events if event["kind"] == "image"}
    assert images == {"audio_seeg/attention/mel", "audio_seeg/attention/attention"}
    assert all(event["png"].startswith(b"\x89PNG") for event in events if event["kind"] == "image")
    scalars = {event["tag"] for event in events if event["kind"] == "scalar"}
    assert scalars >= {"audio_seeg/attention/loss", "audio_seeg/attention/val_loss", "audio_seeg/attention/rate"}


@pytest.mark.parametrize("poison", ["brain", "target"])
def test_nan_is_one_clear_line(poison: str) -> None:
    with pytest.raises(HubError, match="hold NaN") as raised:
        Attention(**SHORT).fit(view(0, poison=poison), view(1), Context(), encoder=Chain([ConvGru(hidden=16)]))
    assert "\n" not in raised.value.cause
    decoder, tail = short()
    x, _ = windows()
    x = x.copy()
    x[0, 0, 0] = np.nan
    with pytest.raises(HubError, match="NaN or infinity"):
        predict(decoder, tail, x)


def test_other_channels_and_a_missing_encoder_are_refused() -> None:
    _, tail = short()
    with pytest.raises(HubError, match="trained on 3 channels and is given 2"):
        tail.encode(windows()[0][:, :2])
    with pytest.raises(HubError, match="trains one encoder with itself, and stands behind 0"):
        Attention(**SHORT).fit(view(0), view(1), Context(), encoder=Chain())
    with pytest.raises(HubError, match="was not trained"):
        ConvGru().encode(windows()[0])


@pytest.mark.slow
def test_it_learns_what_ridge_cannot_and_which_electrodes_it_needs() -> None:
    decoder, tail = Attention(max_steps=80, batch_size=32, noise=0.1, examples=1), Chain([ConvGru(hidden=32)])
    decoder.fit(view(5, 60.0), view(1, 20.0), Context(), encoder=tail)
    batch = next(view(2, 20.0).batches(200))
    x, target = batch.brain, batch.target["mel"]
    ridge = decoder._ridge.decode(x, x)["mel"]  # type: ignore[union-attr]
    mine = predict(decoder, tail, x)
    errors = [((one - target) ** 2).mean(axis=(0, 1)) for one in (ridge, mine)]
    assert decoder.best_step_ > 0
    assert (errors[1][:2] < 0.8 * errors[0][:2]).all()  # the rectified channels
    assert errors[1].mean() < 0.9 * errors[0].mean()
    assert (decoder.contribution_ > 0.02).all()

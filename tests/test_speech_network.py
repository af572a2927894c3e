"""The brain network: the paper's numbers, any montage, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contrastive_toy as toy
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.types import Context  # noqa: E402
from braindecode_hub_speech_wav2vec.layout import grid_weights, layouts, places  # noqa: E402
from braindecode_hub_speech_wav2vec.report_sensors import NO_MAP  # noqa: E402
from braindecode_hub_speech_wav2vec.simpleconv import PAPER, SMALL, SimpleConv  # noqa: E402
from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder  # noqa: E402

TINY = replace(SMALL, virtual=6, fourier=32, hidden=8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Places


def test_heads_are_projected_from_above_and_stretched() -> None:
    top, ear, nose, brow = [0, 0, 0.1], [0.1, 0, 0], [0, 0.1, 0], [0, 0.0707107, 0.0707107]
    found = places(np.array([top, ear, nose, brow, [np.nan] * 3]))
    assert np.allclose(found[:4], [[0, 0], [1, 0], [0, 1], [0, 0.5]], atol=1e-4)  # half-way down is half-way out
    assert np.isnan(found[4]).all()
    assert np.allclose(places(np.array([[0.0, 0, 0], [2, 1, 0], [4, 3, 0]]))[1], [0.5, 1 / 3])  # flat already
    assert np.allclose(places(np.array([[0.02, 0.03, 0.1]])), 0.5)


def test_the_grid_knows_no_padding() -> None:
    placed = rng().random((5, 2)).astype(np.float32)
    wider = np.concatenate([placed, np.full((3, 2), np.nan, np.float32)])
    assert np.allclose(grid_weights(wider)[:, :5], grid_weights(placed)) and not grid_weights(wider)[:, 5:].any()
    assert np.allclose(grid_weights(placed).sum(axis=1), 1.0)
    assert not grid_weights(np.full((4, 2), np.nan)).any()


# The network


def test_the_papers_network_has_9565054_parameters() -> None:
    with torch.device("meta"):
        net = SimpleConv(27, 1024, PAPER)
    assert sum(p.numel() for p in net.parameters()) == 9_565_054
    assert net.attention.heads.shape == (270, 2048) and len(net.blocks) == 10


def test_the_papers_network_sees_135_samples() -> None:
    torch.manual_seed(0)
    net = SimpleConv(2, 3, replace(PAPER, virtual=4, fourier=8, hidden=8)).eval().double()
    x = torch.randn(1, 5, 300, dtype=torch.double, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.int64)
    net(x, torch.rand(1, 5, 2, dtype=torch.double), zero, zero)[0, :, 150].sum().backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1)))[:, 0]
    assert (int(seen[0]), int(seen[-1]), len(seen)) == (150 - 67, 150 + 67, 135)


def test_attention_is_a_softmax_over_fourier_features_of_places() -> None:
    torch.manual_seed(0)
    net = SimpleConv(1, 2, TINY).eval()
    placed = rng().random((1, 5, 2)).astype(np.float32)
    placed[0, 3] = np.nan
    with torch.no_grad():
        found = net.attention.weights(torch.from_numpy(placed))[0].numpy()
    k = np.arange(4)
    kx, ky = (a.ravel() for a in np.meshgrid(k, k, indexing="ij"))
    phase = 2 * np.pi / 1.4 * ((placed[0, :, :1] + 0.2) * kx + (placed[0, :, 1:] + 0.2) * ky)
    energy = net.attention.heads.detach().numpy() @ np.concatenate([np.cos(phase), np.sin(phase)], axis=1).T
    energy[:, 3] = -np.inf
    wanted = np.exp(energy - energy.max(axis=1, keepdims=True))
    assert np.allclose(found, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-5) and not found[:, 3].any()


def network(subjects: int = 2, **options: Any) -> SimpleConv:
    torch.manual_seed(0)
    return SimpleConv(subjects, 3, TINY, **options).eval()


def run(net: SimpleConv, x: Any, placed: Any, subject: int = 0) -> Any:
    rows = torch.zeros(len(x), dtype=torch.int64), torch.full((len(x),), subject)
    with torch.no_grad():
        return net(x, placed, *rows)


@pytest.mark.parametrize("case", ["none", "one", "all but one", "all dropped in training"])
def test_whatever_sensors_there_are_the_output_is_finite(case: str) -> None:
    net, placed, x = network(), torch.rand(1, 5, 2), torch.randn(2, 5, 40)
    if case == "none":
        placed[:] = torch.nan
    elif case == "one":
        placed, x = placed[:, :1], x[:, :1]
    elif case == "all but one":
        placed[:, 1:] = torch.nan
    else:
        net.train()
        placed[:] = 0.5
        net.attention.radius = 2.0
    out = run(net, x, placed)
    assert out.shape == (2, 3, 40) and torch.isfinite(out).all()
    (net(x, placed, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)) ** 2).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_padding_and_what_stands_in_it_never_matter() -> None:
    net, placed, x = network(), torch.rand(1, 5, 2), torch.randn(2, 5, 40)
    wider = torch.cat([placed, torch.full((1, 3, 2), torch.nan)], dim=1)
    for filling in (0.0, 1e6, torch.nan):
        padded = torch.cat([x, torch.full((2, 3, 40), filling)], dim=1)
        assert torch.allclose(run(net, padded, wider), run(net, x, placed), atol=1e-5)


def test_the_order_of_sensors_does_not_matter() -> None:
    net, placed, x = network(), torch.rand(1, 5, 2), torch.randn(2, 5, 40)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(run(net, x[:, order], placed[:, order]), run(net, x, placed), atol=1e-5)


def test_kept_attention_is_forgotten_when_weights_change() -> None:
    net, placed, x = network(), torch.rand(1, 5, 2), torch.randn(2, 5, 40)
    before = run(net, x, placed)
    assert len(net.attention._kept) == 1 and torch.equal(run(net, x, placed), before)
    net.train()
    with torch.no_grad():
        net.attention.heads.mul_(-1.0)
    assert not torch.allclose(run(net.eval(), x, placed), before)


@pytest.mark.parametrize("subject", ["layer", "embedding", "both", "none"])
def test_subjects_differ_and_the_unknown_one_is_one_of_its_own(subject: Any) -> None:
    net, placed, x = network(subject=subject), torch.rand(1, 5, 2), torch.randn(1, 5, 40)
    made = [run(net, x, placed, number) for number in (0, 1, 2)]
    differ = [not torch.allclose(made[a], made[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert differ == [subject != "none"] * 3


def test_without_an_unknown_row_strangers_get_the_mean_of_all() -> None:
    torch.manual_seed(0)
    net = SimpleConv(2, 3, replace(TINY, subject_dropout=0.0)).eval()
    x = torch.randn(1, 6, 20)
    assert net.layer.matrices.shape[0] == 2
    wanted = (net.layer(x, torch.tensor([0])) + net.layer(x, torch.tensor([1]))) / 2
    assert torch.allclose(net.layer(x, torch.tensor([2])), wanted, atol=1e-5)


# The component


def built(**options: Any) -> SimpleConvEncoder:
    step = SimpleConvEncoder(hidden=8, **options)
    step.build(11, Context(), ["s0", "s1", "s2"], dims=4)
    return step


def test_subjects_go_by_name_and_not_by_their_number_in_a_view() -> None:
    step, batch = built(), next(toy.view().batches(3))
    elsewhere = replace(batch, subject=np.array([2, 1, 0]))
    assert np.array_equal(step.encode(batch.brain, batch), step.encode(batch.brain, elsewhere))
    named = replace(batch, trials=[replace(t, groups={"subject": "s2"}) for t in batch.trials])
    assert not np.allclose(step.encode(batch.brain, named), step.encode(batch.brain, batch))
    strangers = [replace(batch, trials=[replace(t, groups=g) for t in batch.trials]) for g in ({"subject": "x"}, {})]
    assert np.array_equal(*(step.encode(batch.brain, one) for one in strangers))
    assert np.array_equal(
        step.encode(batch.brain, strangers[0])[1:],
        step.encode(
            batch.brain[1:],
            replace(
                strangers[0],
                trials=strangers[0].trials[1:],
                positions=batch.positions[1:],
                channel_mask=batch.channel_mask[1:],
            ),
        ),
    )


def test_the_network_looks_later_than_it_estimates() -> None:
    step, batch = built(baseline_s=0.0), next(toy.view().batches(1))
    before = step.encode(batch.brain, batch)
    x = batch.brain.copy()
    x[:, :, 60] += 5.0  # small: dilations 1 2 4 8 and two gates reach 17 samples; 0.15 s are 8
    moved = np.flatnonzero(np.abs(step.encode(x, batch) - before).max(axis=(0, 1)) > 1e-6)
    assert (moved.min(), moved.max()) == (60 - 8 - 17, 60 - 8 + 17)


def test_a_constant_offset_is_taken_off_by_the_baseline() -> None:
    step, batch = built(), next(toy.view().batches(2))
    assert np.allclose(
        step.encode(batch.brain + 3.0 * batch.channel_mask[:, :, None], batch),
        step.encode(batch.brain, batch),
        atol=1e-4,
    )


@pytest.mark.parametrize("positions", [None, "nan"])
def test_without_positions_channels_still_count(positions: str | None) -> None:
    step, batch = built(), next(toy.view().batches(2))
    nowhere = replace(batch, positions=None if positions is None else np.full_like(batch.positions, np.nan))
    out = step.encode(batch.brain, nowhere)
    assert np.isfinite(out).all() and not np.allclose(out, step.encode(-batch.brain, nowhere))
    silent = step.encode(np.zeros_like(batch.brain), batch)
    assert np.isfinite(silent).all()


def test_a_batch_may_hold_several_layouts() -> None:
    step, batch = built(), next(toy.view().batches(1000))
    distinct, which = layouts(batch.brain, batch)
    assert len(distinct) == 3 and sorted(np.unique(which)) == [0, 1, 2]
    row = len(batch) - 1
    alone = replace(
        batch, trials=batch.trials[row:], positions=batch.positions[row:], channel_mask=batch.channel_mask[row:]
    )
    assert np.allclose(step.encode(batch.brain[row:], alone), step.encode(batch.brain, batch)[row:], atol=1e-5)


def test_a_narrower_montage_is_padded_and_a_wider_one_refused() -> None:
    step, batch = built(), next(toy.view().batches(1))
    fewer = replace(batch, positions=batch.positions[:, :8], channel_mask=batch.channel_mask[:, :8])
    x = np.ascontiguousarray(batch.brain[:, :8])
    assert np.allclose(step.encode(x, fewer), step.encode(batch.brain, batch), atol=1e-5)
    with pytest.raises(HubError, match="at most 11 channels"):
        step.encode(np.zeros((1, 12, 100), np.float32))
    with pytest.raises(HubError, match="not trained"):
        SimpleConvEncoder().encode(x)


def test_the_encoder_saves_and_loads() -> None:
    step, batch, again = built(subject="both"), next(toy.view().batches(3)), SimpleConvEncoder(hidden=8, subject="both")
    again.load_state(*step.state())
    assert np.array_equal(again.encode(batch.brain, batch), step.encode(batch.brain, batch))
    attended = step.sensor_attention(batch.positions[0])
    assert attended.shape == (11,) and attended.sum() == pytest.approx(1.0) and not attended[8:].any()


def test_a_montage_without_any_position_is_attended_to_by_the_numbers_of_its_sensors() -> None:
    """So says the report's line where no map can be drawn; to say that nothing was attended to would not be so."""
    step = SimpleConvEncoder(hidden=8)
    step.build(6, Context(), ["a"], dims=4, rate=50.0)
    x = np.random.default_rng(0).standard_normal((1, 6, 200)).astype(np.float32)
    louder = x * np.float32([1, 1, 1, -2, 1, 1])[None, :, None]
    assert np.abs(step.encode(x) - step.encode(louder)).max() > 1e-4
    assert "by their number" in NO_MAP

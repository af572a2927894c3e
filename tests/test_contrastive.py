"""The contrastive decoder begins at ridge, learns what ridge cannot, and counts no sound as its own negative."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

import contrastive_toy as toy
import numpy as np
import pytest
from toy import Toy, toy_study

torch = pytest.importorskip("torch")

from braindecode_hub.chain import Chain  # noqa: E402
from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.interfaces import Encoder  # noqa: E402
from braindecode_hub.parts.ridge import Ridge  # noqa: E402
from braindecode_hub.types import Array, Context  # noqa: E402
from braindecode_hub.view import View, Window  # noqa: E402
from braindecode_hub_speech_wav2vec.contrastive import Contrastive  # noqa: E402
from braindecode_hub_speech_wav2vec.linear_contrastive import LinearContrastive  # noqa: E402
from braindecode_hub_speech_wav2vec.readout import fit_readout  # noqa: E402
from braindecode_hub_speech_wav2vec.resample import Resample  # noqa: E402
from braindecode_hub_speech_wav2vec.scaling import RobustScaling  # noqa: E402
from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder  # noqa: E402

SHORT: dict[str, Any] = {"max_steps": 2, "validate_every": 1, "batch_size": 16, "tower_hidden": 8, "tower_depth": 2}
SIDES = (0, 8), (8, 12), (12, 20)


def view(side: int) -> View:
    return toy.view(*SIDES[side])


def fitted(ctx: Context | None = None, **options: Any) -> tuple[Contrastive, SimpleConvEncoder]:
    decoder, step = Contrastive(**{**SHORT, **options}), SimpleConvEncoder(hidden=8)
    decoder.fit(view(0), view(1), ctx or Context(), encoder=Chain([step]))
    return decoder, step


@cache
def short(target: Any = "deep", start: Any = "ridge") -> tuple[Contrastive, SimpleConvEncoder]:
    return fitted(target=target, start=start)


def predict(decoder: Contrastive, step: SimpleConvEncoder, side: int = 2) -> dict[str, Array]:
    batch = next(view(side).batches(1000))
    return decoder.decode(step.encode(batch.brain, batch), batch.brain)


def targets(side: int = 2) -> Array:
    return next(view(side).batches(1000)).target["mel"]


def digest(decoder: Contrastive, step: SimpleConvEncoder) -> str:
    found = hashlib.sha256()
    for arrays, values in (decoder.state(), step.state()):
        for name, array in sorted(arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        found.update(repr(sorted(values.items())).encode())
    return found.hexdigest()


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# Where it begins


def by_ridge(side: int = 2) -> Array:
    """What core/ridge, fitted on each subject alone, predicts of a side."""
    parts = []
    for name in ("s0", "s1", "s2"):
        own = [
            v.replace_targets(lambda items, name=name: [i for i in items if i.trial.groups["subject"] == name])
            for v in (view(0), view(1), view(side))
        ]
        ridge = Ridge(lags_s=(0.0, 0.3))
        ridge.fit(own[0], own[1], Context(), encoder=Chain())
        x = next(own[2].batches(1000)).brain
        parts.append(ridge.decode(x, x)["mel"])
    return np.concatenate(parts)


@pytest.mark.parametrize("target", ["deep", "frozen"])
@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_step_0_is_ridge_of_each_subject(target: Any, loss: Any) -> None:
    decoder, step = fitted(max_steps=0, target=target, loss=loss)
    found = predict(decoder, step)
    assert decoder.best_step_ == 0 and np.abs(found["mel"] - by_ridge()).max() < 1e-4
    if target == "deep":
        mean = targets(0).mean(axis=(0, 1))  # what is learned begins as the target itself, centred
        assert np.abs(found["deep_mel"] - (by_ridge() - mean)).max() < 1e-4
        assert np.abs(decoder.embed(targets())["deep_mel"] - (targets() - mean)).max() < 1e-5


def test_ridge_stays_if_training_only_harms() -> None:
    decoder, step = fitted(rate=30.0, max_steps=3)
    assert decoder.best_step_ == 0 and np.abs(predict(decoder, step)["mel"] - by_ridge()).max() < 1e-4


def test_the_linear_baseline_begins_at_ridge_whatever_the_units() -> None:
    made, losses = [], []
    for scale in (1.0, 1e-6):
        sides = [v.through(Volts(scale=scale)) for v in (view(0), view(1), view(2))]
        decoder = LinearContrastive(max_steps=3, validate_every=1)
        decoder.fit(sides[0], sides[1], Context(), encoder=Chain())
        losses.append([loss for _, loss in decoder.validation_])
        begun = LinearContrastive(max_steps=0)
        begun.fit(sides[0], sides[1], Context(), encoder=Chain())
        x = next(sides[2].batches(1000)).brain
        made.append(begun.decode(x, x)["mel"])
    ridge = Ridge(lags_s=(0.0, 0.3))
    ridge.fit(view(0), view(1), Context(), encoder=Chain())
    x = next(view(2).batches(1000)).brain
    assert np.abs(made[0] - ridge.decode(x, x)["mel"]).max() < 1e-4 and np.allclose(made[0], made[1], atol=1e-3)
    assert np.allclose(losses[0], losses[1], atol=1e-2) and abs(losses[0][3] - losses[0][0]) > 1e-4


@pytest.mark.slow
def test_the_linear_baseline_learns_and_saves() -> None:
    sides = [toy.view(*s, subjects=(0,), snr=0.5) for s in ((0, 30), (30, 45), (45, 60))]
    decoder, again = LinearContrastive(max_steps=40), LinearContrastive(max_steps=40)
    decoder.fit(sides[0], sides[1], Context(), encoder=Chain())
    assert decoder.best_step_ > 0 and min(decoder.validation_, key=lambda one: one[1])[0] == decoder.best_step_
    again.load_state(*decoder.state())
    batch = next(sides[2].batches(1000))
    found = decoder.decode(batch.brain, batch.brain)["mel"]
    assert np.array_equal(again.decode(batch.brain, batch.brain)["mel"], found)
    assert toy.top1(found, batch.target["mel"]) > 0.5  # of 45 windows


class Volts(Encoder):
    """The same brain in other units."""

    consumes = produces = toy.view().space

    def __init__(self, *, scale: float) -> None:
        self.scale = scale

    def encode(self, x: Array, batch: Any = None) -> Array:
        return np.float32(self.scale) * x


# What it learns


@pytest.mark.slow
def test_a_planted_signal_is_learned_that_ridge_cannot_see() -> None:
    sides = [toy.view(*s, subjects=(0, 1), snr=1.0, curved=0.9) for s in ((0, 30), (30, 40), (40, 60))]
    scores, batch = [], next(sides[2].batches(1000))
    for steps in (0, 60):
        decoder, step = (
            Contrastive(max_steps=steps, rate=3e-3, tower_hidden=16, tower_depth=2),
            SimpleConvEncoder(hidden=24),
        )
        decoder.fit(sides[0], sides[1], Context(), encoder=Chain([step]))
        found = decoder.decode(step.encode(batch.brain, batch), batch.brain)["deep_mel"]
        scores.append(toy.top1(found, decoder.embed(batch.target["mel"])["deep_mel"]))
    assert scores[1] > scores[0] + 0.1, scores


def test_a_stranger_with_a_montage_of_its_own_is_understood() -> None:
    decoder, step = Contrastive(max_steps=0), SimpleConvEncoder(hidden=8)
    decoder.fit(toy.view(0, 30, snr=0.5), toy.view(30, 40, snr=0.5), Context(), encoder=Chain([step]))
    batch = next(toy.view(40, 60, subjects=(3,), snr=0.5).batches(1000))
    found = decoder.decode(step.encode(batch.brain, batch), batch.brain)["mel"]
    assert toy.top1(found, batch.target["mel"]) > 0.8  # of 60 windows
    elsewhere = replace(batch, positions=batch.positions[:, ::-1].copy())
    wrong = decoder.decode(step.encode(batch.brain, elsewhere), batch.brain)["mel"]
    assert toy.top1(wrong, batch.target["mel"]) < 0.5  # it is by the places that it is understood


def test_a_whole_study_with_resampling_and_two_frame_rates() -> None:
    chain = [Resample(), RobustScaling(), SimpleConvEncoder(hidden=8)]
    decoder = Contrastive(target="frozen", max_steps=2)
    data = Toy(subjects=2, stimuli=6, seconds=6.0, extra=2, shared=True, snr=1.0)
    study = toy_study(data, encoder=chain, decoder=decoder, window=Window(2.0, 1.0, 0.5))
    fold = study.folds()[0]
    predicted = study.fit(fold, Context()).predict(study.view(fold, "test", hidden=True))
    for made, true in zip(predicted, study.truth(fold, "test"), strict=True):  # features at 100 Hz, brain at 50
        assert np.corrcoef(made["features"].ravel(), true["features"].ravel())[0, 1] > 0.5


def test_shapes_and_what_is_noted() -> None:
    decoder, step = short("deep", "none")
    found, place = predict(decoder, step), decoder.embed(targets())["deep_mel"]
    assert found["mel"].shape == targets().shape and found["deep_mel"].shape == place.shape == (
        *targets().shape[:2],
        128,
    )
    assert decoder.learned_space is not None and decoder.learned_space.name == "deep_mel"
    assert np.abs(decoder.embed(targets(0))["deep_mel"].mean(axis=(0, 1))).max() < 1e-4  # centred on the training side
    assert decoder.attention_.shape == (3, 11) and np.allclose(decoder.attention_.sum(axis=1), 1.0, atol=1e-4)
    frozen, _ = short("frozen")
    assert frozen.learned_space is None and np.array_equal(frozen.embed(targets())["mel"], targets())


@pytest.mark.parametrize(("target", "start"), [("deep", "ridge"), ("frozen", "ridge"), ("deep", "none")])
def test_what_was_learned_saves_and_loads(target: Any, start: Any) -> None:
    decoder, step = short(target, start)
    again, other = Contrastive(**{**SHORT, "target": target, "start": start}), SimpleConvEncoder(hidden=8)
    again.load_state(*decoder.state())
    other.load_state(*step.state())
    for name, values in predict(decoder, step).items():
        assert np.array_equal(predict(again, other)[name], values)
    for name, values in decoder.embed(targets()).items():
        assert np.array_equal(again.embed(targets())[name], values)


def test_the_same_seed_gives_the_same_digest() -> None:
    assert digest(*fitted()) == digest(*short())
    assert digest(*fitted(Context(seed=1))) != digest(*short())


def test_evaluation_changes_nothing() -> None:
    decoder, step = short()
    before = digest(decoder, step)
    assert np.array_equal(predict(decoder, step)["deep_mel"], predict(decoder, step)["deep_mel"])
    decoder.embed(targets())
    assert digest(decoder, step) == before


def test_controls_are_refitted_on_a_smaller_budget() -> None:
    assert Contrastive(max_steps=500, loss="siglip").for_controls().configuration() == {
        **Contrastive(loss="siglip").configuration(),
        "max_steps": 20,
    }


def test_the_readout_is_ridge_towards_what_it_began_at() -> None:
    x, noise = random(400, 3), random(400, 2, seed=1)
    truth = np.array([[1.0, 0], [0, 2], [1, 1]])
    y = x @ truth + 0.01 * noise + 3.0
    weights, offset = fit_readout([(x[:300], y[:300])], [(x[300:], y[300:])], None)
    assert np.allclose(weights, truth, atol=0.02) and np.allclose(offset, 3.0, atol=0.02)
    kept, none = fit_readout([(x[:20], noise[:20])], [(x[300:], x[300:, :2])], np.eye(3, 2))
    assert np.array_equal(kept, np.eye(3, 2, dtype=np.float32)) and not none.any()


# What it refuses


def test_it_says_what_it_cannot_be_trained_on() -> None:
    with pytest.raises(HubError, match="single distinct training window"):
        Contrastive(**SHORT).fit(one_window(), view(1), Context(), encoder=Chain([SimpleConvEncoder()]))
    with pytest.raises(HubError, match="trains speech_wav2vec/simpleconv"):
        Contrastive(**SHORT).fit(view(0), view(1), Context(), encoder=Chain())
    with pytest.raises(HubError, match="nothing to fit on"):
        Contrastive(**SHORT).fit(view(0), toy.view(8, 8), Context(), encoder=Chain([SimpleConvEncoder()]))


def one_window() -> View:
    found, window = toy.view(0, 1), Window(toy.SECONDS, None, 0.5)
    return View(found.items, window=window, space=found.space, targets=found.targets, subjects=found.subjects)

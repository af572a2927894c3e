"""wav2vec 2.0 as a target: the hidden states that were asked for, at exact times, and never of a random model."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.phantom import speech
from braindecode_hub.stretches import Stretch, prepare_stimulus
from braindecode_hub.types import Array, Batch, Signal, Space
from braindecode_hub_speech_wav2vec.audio import at_16_khz
from braindecode_hub_speech_wav2vec.targets import Wav2Vec2, Wav2Vec2Features, windows

LAYERS = (2, 3)


def save_tiny(path: Path, **changed: Any) -> Path:
    """Save a random wav2vec 2.0 of 43,280 weights as `save_pretrained` does, with its preprocessor."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**(config | changed))).save_pretrained(path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(path)
    return path


STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("stable"), **STABLE)


def story(seconds: float, start: float = 1.0) -> Array:
    return speech.audio("ferry")[round(start * 22050) : round((start + seconds) * 22050)]


def features(model: Path, layers: tuple[int, ...] = LAYERS, **options: Any) -> Wav2Vec2Features:
    return Wav2Vec2Features(str(model), layers, cache=Cache(None), **options)


@pytest.mark.parametrize("which", ["base", "stable"])
@pytest.mark.parametrize("layers", [(0,), (2,), (1, 3), (4,)])
def test_features_are_the_mean_of_those_hidden_states(
    which: str, layers: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    import torch
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    path = request.getfixturevalue(which)
    samples = at_16_khz(story(3.0), 22050.0)
    found = features(path, layers)(samples, 16000.0)
    assert found.dtype == np.float16 and found.shape == (151, 32)
    normal = Wav2Vec2FeatureExtractor.from_pretrained(path)(samples, sampling_rate=16000, return_tensors="pt")
    heard = normal["input_values"][:, 120 : 149 * 320 + 200]  # frame 1 is centred on sample 320: it sees 120 to 519
    with torch.no_grad():
        states = Wav2Vec2Model.from_pretrained(path).eval()(heard, output_hidden_states=True).hidden_states
    expected = torch.stack([states[layer] for layer in layers]).mean(0)[0].numpy()
    assert len(expected) == 149
    np.testing.assert_allclose(found[1:150], expected, rtol=1e-3, atol=2e-3)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[150], found[149])


def test_frames_are_centred_on_their_times(stable: Path, tmp_path: Path) -> None:
    """Where 3 ms of audio change at 1 s, the frame that changes most stands at 1 s, and others hear nothing of it."""
    path = tmp_path / "model"
    shutil.copytree(stable, path)
    (path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    quiet = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    loud = quiet.copy()
    loud[16_000 - 24 : 16_000 + 24] += 3.0
    before, after = (features(path, (0,))(x, 16000.0).astype(float) for x in (quiet, loud))
    change = np.abs(after - before).sum(axis=1)
    assert change.argmax() == 50
    assert set(np.flatnonzero(change)) <= {*range(42, 59)}  # 16 frames of positions on the way to the transformer


@pytest.mark.parametrize(("extra", "rms", "largest"), [(STABLE, 0.02, 0.07), ({}, 0.1, 1.2)], ids=["layer", "group"])
def test_seams_between_windows_are_as_small_as_the_docstring_says(
    extra: dict[str, Any], rms: float, largest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braindecode_hub_speech_wav2vec import targets

    path = save_tiny(tmp_path, initializer_range=0.05, **extra)
    audio = np.concatenate([speech.audio("ferry"), speech.audio("bread")])[: 22050 * 70]
    pieces = features(path)(audio, 22050.0).astype(float)
    monkeypatch.setattr(targets, "CORE_S", 100.0)
    whole = features(path)(audio, 22050.0).astype(float)
    difference = (pieces - whole) / whole.std(axis=0)
    assert 0.0 < np.sqrt(np.mean(difference**2)) < rms
    assert np.abs(difference).max() < largest


@pytest.mark.parametrize("frames", [1, 1499, 1500, 1501, 2499, 2500, 2501, 9000])
def test_windows_are_of_one_length_and_cover_every_frame_once(frames: int) -> None:
    found = list(windows(1, 1 + frames))
    assert [low for _, _, low, _ in found] == [1, *(high for *_, high in found[:-1])]
    assert found[-1][3] == 1 + frames
    assert {end - begin for begin, end, _, _ in found} == {min(frames, 1500)}
    for begin, end, low, high in found:
        assert begin <= low < high <= end
        assert (low == 1 or low - begin >= 250) and (high == 1 + frames or end - high >= 250)


def test_it_computes_once_for_an_audio_file_whoever_heard_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = Wav2Vec2Features._compute
    monkeypatch.setattr(Wav2Vec2Features, "_compute", lambda *given: calls.append(1) or real(*given))
    cache, audio = Cache(None), story(2.0)
    first = Wav2Vec2Features(str(base), LAYERS, cache=cache)(audio, 22050.0)
    again = Wav2Vec2Features(str(base), LAYERS, cache=cache)(audio.copy(), 22050.0)
    np.testing.assert_array_equal(first, again)
    assert len(calls) == 1
    Wav2Vec2Features(str(base), (1,), cache=cache)(audio, 22050.0)
    Wav2Vec2Features(str(base), LAYERS, cache=cache)(audio[:-1], 22050.0)
    Wav2Vec2Features(str(base), LAYERS, cache=cache)(audio, 16000.0)
    assert len(calls) == 4


def test_a_stretch_depends_on_itself_alone(base: Path) -> None:
    """What core cuts off, a stretch of the other side of the split, changes nothing, and the cache knows them apart."""

    class Heard:
        def __init__(self, audio: Array) -> None:
            self.audio = audio

        def fingerprint(self) -> str:
            return "the same"

        def stimulus(self, id: str, space: Space) -> Signal:
            return Signal(self.audio, 22050.0, "audio")

    audio = story(6.0)
    other = audio.copy()
    other[22050 * 3 :] = np.random.default_rng(0).standard_normal(22050 * 3)
    step, space = Wav2Vec2(model=str(base), layers=LAYERS), Space("audio", ("time",), 22050.0)

    def made(heard: Array, start: float, stop: float) -> Array:
        dataset: Any = Heard(heard)
        return prepare_stimulus(dataset, space, [step], Stretch("a", start, stop), Cache(None)).data

    np.testing.assert_array_equal(made(audio, 0.0, 3.0), made(other, 0.0, 3.0))
    assert not np.array_equal(made(audio, 0.0, 6.0)[:150], made(other, 0.0, 6.0)[:150])
    assert made(audio, 0.0, 3.0).dtype == np.float32


def test_bfloat16_is_near_float32_and_kept_apart(base: Path) -> None:
    cache, audio = Cache(None), story(2.0)
    one, other = (
        Wav2Vec2Features(str(base), LAYERS, dtype=d, cache=cache)(audio, 22050.0) for d in ("float32", "bfloat16")
    )
    assert not np.array_equal(one, other)
    assert np.abs(one.astype(float) - other).mean() < 0.05 * one.astype(float).std()
    with pytest.raises(HubError, match="dtype"):
        features(base, dtype="int8")(audio, 22050.0)


def test_other_weights_under_the_same_name_are_another_target(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(base, path)
    step = Wav2Vec2(model=str(path), layers=LAYERS)
    before, audio = step.version, story(1.0)
    old = step.encode(audio[None], Batch(audio[None], [], 22050.0))
    save_tiny(path, initializer_range=0.2)
    assert step.version != before
    assert not np.array_equal(step.encode(audio[None], Batch(audio[None], [], 22050.0)), old)


# What is wrong with a model is said in one line


def test_absent_weights_are_told_with_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> None:
        raise AssertionError("it tried the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(HubError, match="not on this machine") as told:
        Wav2Vec2().encode(story(1.0)[None], Batch(story(1.0)[None], [], 22050.0))
    assert "hf download facebook/wav2vec2-large-xlsr-53" in told.value.remedy
    with pytest.raises(HubError, match="not on this machine"):
        _ = Wav2Vec2().version
    with pytest.raises(HubError, match="no folder"):
        features(Path("/nowhere/at/all"))(story(1.0), 22050.0)


def test_layers_that_the_model_has_not_are_refused(base: Path) -> None:
    for layers in ((14, 18), (-1,), ()):
        with pytest.raises(HubError, match="hidden states 0 to 4"):
            features(base, layers)(story(1.0), 22050.0)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("preprocessor_config.json", None, "has no preprocessor_config.json"),
        ("config.json", None, "has no config.json"),
        ("config.json", {"model_type": "bert"}, "is a bert"),
        ("config.json", {}, "of no type"),
        ("config.json", {"model_type": "wav2vec2"}, "conv_stride"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "8000 Hz"),
        ("model.safetensors", None, "no weights"),
        ("model.safetensors", {"damaged": 1}, "cannot be loaded"),
    ],
)
def test_a_broken_folder_is_told(base: Path, tmp_path: Path, file: str, content: Any, told: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(base, path)
    (path / file).unlink()
    if content is not None:
        (path / file).write_text(json.dumps(content))
    with pytest.raises(HubError, match=told):
        features(path)(story(1.0), 22050.0)


def test_weights_that_are_missing_are_never_random(base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "model"
    shutil.copytree(base, path)
    weights = load_file(path / "model.safetensors")
    lost = "encoder.layers.3.attention.k_proj.weight"
    save_file({k: v for k, v in weights.items() if k != lost}, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HubError, match=f"lacks 1 of the model's weights, such as {lost}"):
        features(path)(story(1.0), 22050.0)


def test_a_model_that_was_trained_further_loads_alike(base: Path, tmp_path: Path) -> None:
    """As pretraining and recognisers are published: under a prefix, with a head, and weight norm by its old names."""
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "model"
    shutil.copytree(base, path)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {"lm_head.bias": np.zeros(5, np.float32)}
    for name, value in load_file(path / "model.safetensors").items():
        for new, before in old.items():
            name = name.replace(new, before)
        renamed[f"wav2vec2.{name}"] = value
    save_file(renamed, path / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(features(path)(story(1.0), 22050.0), features(base)(story(1.0), 22050.0))


def test_audio_of_one_frame_is_enough_and_less_is_refused(base: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(520)
    assert features(base)(noise, 16000.0).shape == (2, 32)
    with pytest.raises(HubError, match="too short"):
        features(base)(noise[:519], 16000.0)

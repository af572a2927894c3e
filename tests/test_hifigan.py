"""HiFi-GAN: the published generator's sizes and file layout, and sound at the right time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")

from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.types import Context  # noqa: E402
from braindecode_hub_audio_seeg.hifigan import V1, V2, Config, HifiGan, load_hifigan, save_hifigan  # noqa: E402
from braindecode_hub_audio_seeg.mel import Mel, MelSpec  # noqa: E402
from braindecode_hub_audio_seeg.neural_vocoders import HifiGanRenderer  # noqa: E402

TINY = Config(upsample_initial_channel=32, resblock_kernel_sizes=(3, 7), resblock_dilation_sizes=((1, 3), (1, 2, 5)))
FILE = {
    "resblock": "1", "upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 32, "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3], [1, 2, 5]],
    "num_mels": 80, "num_freq": 1025, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050,
    "fmin": 0, "fmax": 8000, "fmax_for_loss": None, "batch_size": 16, "segment_size": 8192,
    "dist_config": {"dist_backend": "nccl"},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(config: Config = TINY) -> HifiGan:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HifiGan(config).eval().requires_grad_(False)


def published(network: HifiGan, path: Path, config: dict[str, Any] | None = None, *, zipped: bool = True) -> Path:
    """Save weights as the public checkpoints hold them: gain and direction, a config.json beside."""
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("weight"):
            state[name + "_g"] = value.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            state[name + "_v"] = value * 0.3
        else:
            state[name] = value
    torch.save({"generator": state}, path, _use_new_zipfile_serialization=zipped)
    path.with_name("config.json").write_text(json.dumps(FILE if config is None else config))
    return path


@pytest.mark.parametrize(("config", "millions"), [(V1, 13.92), (V2, 0.92)])
def test_it_has_as_many_parameters_as_the_paper_says(config: Config, millions: float) -> None:
    """Table 1 of Kong et al. 2020: 13.92 M and 0.92 M."""
    with torch.device("meta"):
        network = HifiGan(config)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.01)


def test_each_frame_is_one_hop_of_bounded_sound() -> None:
    sound = made().infer(torch.randn(2, 80, 7) * 10)
    assert sound.shape == (2, 7 * 256) and sound.dtype == torch.float32
    assert sound.abs().max() <= 1.0


def test_its_names_are_those_of_the_public_checkpoint() -> None:
    names = set(made(replace(V2, upsample_initial_channel=32)).state_dict())
    assert {"conv_pre.weight", "ups.3.bias", "resblocks.11.convs1.2.weight", "resblocks.0.convs2.0.bias"} <= names
    assert "conv_post.weight" in names and len(names) == 2 * (2 + 4 + 12 * 6)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_public_layout_gives_the_same_network(zipped: bool, tmp_path: Path) -> None:
    network, mel = made(), torch.randn(1, 80, 6)
    path = published(network, tmp_path / "generator", zipped=zipped)
    wanted = network.infer(mel)
    for config in (None, path.with_name("config.json"), str(path.with_name("config.json")), FILE):
        again = load_hifigan(path, config)
        assert again.config == TINY and again.spec == MelSpec() and not again.training
        torch.testing.assert_close(again.infer(mel), wanted, atol=1e-6, rtol=1e-4)
    save_hifigan(network, tmp_path / "ours.safetensors")
    assert torch.equal(load_hifigan(tmp_path / "ours.safetensors").infer(mel), wanted)


def test_versions_are_known_by_name(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        path = published(HifiGan(V2), tmp_path / "generator_v2")
    (tmp_path / "config.json").unlink()
    assert load_hifigan(path, "V2").config == V2
    with pytest.raises(HubError, match=r"conv_post.* is \(1, 8, 7\), not \(1, 32, 7\)"):
        load_hifigan(path, "v1")
    with pytest.raises(HubError, match=r"config\.json does not exist"):
        load_hifigan(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resblock": "2"}, "type '2'"),
        ({"upsample_rates": [8, 8, 2]}, "wrong"),
        ({"upsample_rates": [8, 8, 2, 0]}, "upsample_rates"),
        ({"upsample_rates": [8, 8, 2, 1]}, "upsample_kernel_sizes do not fit"),
        ({"upsample_rates": "8822"}, "upsample_rates"),
        ({"upsample_initial_channel": 10**9}, "upsample_initial_channel"),
        ({"upsample_initial_channel": 40}, "cannot be halved"),
        ({"resblock_kernel_sizes": [3, 8]}, "even"),
        ({"resblock_dilation_sizes": [[1, 3]]}, "holds no HiFi-GAN"),
        ({"num_mels": 40}, r"conv_pre\.weight is \(32, 80, 7\), not \(32, 40, 7\)"),
        ({"hop_size": 128}, "upsamples by 256"),
        ({"fmin": 9000}, "mel range"),
        ({"sampling_rate": "fast"}, "wrong"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = published(made(), tmp_path / "generator", {**FILE, **change})
    with pytest.raises(HubError, match=words) as caught:
        load_hifigan(path)
    assert "\n" not in caught.value.cause


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    path = published(made(), tmp_path / "generator")
    data = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(HubError) as caught:
            load_hifigan(path)
        assert "\n" not in caught.value.cause
    path.write_bytes(data)
    for text in ("{", "[]", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(HubError) as caught:
            load_hifigan(path)
        assert "\n" not in caught.value.cause
    torch.save({"generator": {"conv_pre.weight_v": torch.zeros(3, 3, 3)}}, path)
    with pytest.raises(HubError, match="has no fitting"):
        load_hifigan(path, FILE)
    broken = {name: value * float("nan") for name, value in made().state_dict().items()}
    torch.save({"generator": broken}, path)
    with pytest.raises(HubError, match="NaN"):
        load_hifigan(path, FILE)


def test_the_sound_begins_at_the_first_frames_centre(tmp_path: Path) -> None:
    """Its frames are centred half a hop later than ours: what it makes comes 128 samples late, and is moved back."""
    network = made()
    path = published(network, tmp_path / "generator")
    mel = np.random.default_rng(0).normal(-4, 1, (20, 80)).astype(np.float32)
    [artifact] = HifiGanRenderer(path=str(path)).render({"mel": mel}, Context())
    assert artifact.name == "speech" and artifact.rate == 22050 and artifact.array.dtype == np.float32
    assert artifact.array.shape == (19 * 256,)
    whole = network.infer(mel.T[None])[0].numpy()
    np.testing.assert_allclose(artifact.array, whole[128 : 128 + 19 * 256], atol=1e-6)


def test_the_renderer_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    path = published(made(), tmp_path / "generator")
    renderer = HifiGanRenderer(path=str(path))
    assert renderer.refuses([Mel()]) is None
    assert "hop 256, not 200" in str(renderer.refuses([Mel(hop=200)]))
    mel = np.full((10, 80), -4.0)
    with pytest.raises(HubError, match=r"\(frames, 80\)"):
        renderer.render({"mel": mel[:, :40]}, Context())
    with pytest.raises(HubError, match="needs weights: a published HiFi-GAN"):
        HifiGanRenderer().render({"mel": mel}, Context())
    published(made(), tmp_path / "generator", {**FILE, "fmax": 11025})
    with pytest.raises(HubError, match=r"fmax 8000\.0, not 11025"):
        HifiGanRenderer(path=str(path)).render({"mel": mel}, Context())
    with pytest.raises(HubError, match="NaN"):
        made().infer(torch.full((1, 80, 4), float("nan")))
    with pytest.raises(HubError, match=r"\(batch, 80, frames\)"):
        made().infer(torch.zeros(1, 40, 4))


def test_vocode_by_name(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from braindecode_hub_audio_seeg.commands import vocode

    path = published(made(), tmp_path / "generator")
    np.save(tmp_path / "mel.npy", np.full((30, 80), -4.0, np.float32))
    arguments = [str(tmp_path / "mel.npy"), str(tmp_path / "out.mp3"), "--renderer", "hifigan", "--weights", str(path)]
    done = CliRunner().invoke(vocode, arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.mp3").is_file()
    odd = CliRunner().invoke(vocode, [*arguments, "--sigma", "0.6"])
    assert isinstance(odd.exception, HubError) and "hifigan has no --sigma" in odd.exception.cause

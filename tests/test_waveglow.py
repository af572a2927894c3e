"""WaveGlow: invertible, seeded, chunked, and the same network out of every file layout that was published."""

from __future__ import annotations

import dataclasses
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.types import Context  # noqa: E402
from braindecode_hub_audio_seeg.mel import Mel, MelSpec  # noqa: E402
from braindecode_hub_audio_seeg.neural_vocoders import WaveGlowRenderer  # noqa: E402
from braindecode_hub_audio_seeg.waveglow import Denoiser, WaveGlow, load_waveglow, save_waveglow  # noqa: E402
from braindecode_hub_audio_seeg.waveglow_files import Shape  # noqa: E402

TINY = Shape(n_mels=80, flows=6, group=8, early_every=2, early_size=2, layers=2, channels=8)
CONFIG = {
    "n_mel_channels": 80, "n_flows": 6, "n_group": 8, "n_early_every": 2, "n_early_size": 2,
    "WN_config": {"n_layers": 2, "n_channels": 8, "kernel_size": 3},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(shape: Shape = TINY, seed: int = 0) -> WaveGlow:
    """A network whose couplings do something: new ones begin as the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = WaveGlow(shape)
        for coupling, _ in network.steps():
            torch.nn.init.normal_(coupling.end.weight, std=0.2)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> WaveGlow:
    return made()


@pytest.fixture(scope="module")
def mel() -> torch.Tensor:
    return torch.randn(2, 80, 12, generator=torch.Generator().manual_seed(1)) - 4


# The network


@pytest.mark.parametrize(("channels", "millions"), [(256, 87.9), (512, 268.3)])
def test_it_has_as_many_parameters_as_the_published_one(channels: int, millions: float) -> None:
    """The published count includes weight norm's gains: one for each output channel of all but the last layer."""
    with torch.device("meta"):
        network = WaveGlow(Shape(channels=channels))
    gains = sum(
        len(module.weight)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv1d) and name.startswith("WN") and not name.endswith("end")
    )
    count = sum(parameter.numel() for parameter in network.parameters())
    assert round((count + gains) / 1e6, 1) == millions


def test_speech_to_noise_and_back(network: WaveGlow, mel: torch.Tensor) -> None:
    audio = 0.3 * torch.randn(2, 12 * 256, generator=torch.Generator().manual_seed(2))
    z, _ = network(mel, audio)
    assert z.shape == (2, 8, 12 * 256 // 8)
    noise = [z[:, 4:], z[:, 2:4], z[:, :2]]  # what leaves last is drawn first
    assert [tuple(one.shape) for one in noise] == network.noise_shapes(2, 12)
    back = network.infer(mel, sigma=1.0, noise=noise)
    torch.testing.assert_close(back, audio, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(z.transpose(1, 2).flatten(1), audio, atol=0.1)


def test_the_log_determinant_is_that_of_the_map() -> None:
    """Against the Jacobian itself, on 16 samples."""
    shape = dataclasses.replace(TINY, n_mels=3, hop=8, win=16, channels=4)
    network, mel = made(shape).double(), torch.randn(1, 3, 2).double()
    audio = torch.randn(1, 16).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(mel, x)[0].flatten(), audio)[:, 0]
    torch.testing.assert_close(network(mel, audio)[1][0], torch.linalg.slogdet(jacobian)[1])


def test_a_group_is_eight_samples_in_a_row_with_its_own_mel() -> None:
    """With no flows' mixing, the grouped mel at step t, row bin * 8 + k, is the upsampled bin at sample 8 t + k."""
    network = made()
    mel = torch.randn(1, 80, 4)
    up, grouped = network.upsample(mel), network.condition(mel, 1024)
    assert grouped.shape == (1, 640, 128)
    assert grouped[0, 5 * 8 + 3, 17] == up[0, 5, 17 * 8 + 3]


def test_the_published_network_draws_four_rows_and_then_two_twice() -> None:
    with torch.device("meta"):
        network = WaveGlow()
    assert network.noise_shapes(1, 10) == [(1, 4, 320), (1, 2, 320), (1, 2, 320)]
    assert network.reach == 96 + 4


def test_noise_is_used_in_the_order_drawn(network: WaveGlow, mel: torch.Tensor) -> None:
    drawn = network.draw(2, 12, torch.Generator().manual_seed(7))
    torch.testing.assert_close(network.infer(mel, 0.8, drawn), network.infer(mel, 0.8, seed=7), rtol=0, atol=0)
    plain = torch.Generator().manual_seed(7)
    for one in drawn:
        assert torch.equal(one, torch.randn(one.shape, generator=plain))


def test_the_seed_decides_and_no_noise_needs_none(network: WaveGlow, mel: torch.Tensor) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (network.infer(mel, 0.7, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(network.infer(mel, 0.0, seed=1), network.infer(mel, 0.0))
    assert first.shape == (2, 12 * 256) and first.dtype == torch.float32


@pytest.mark.parametrize("chunk", [1, 5, 16, 39, 40, 1000])
def test_chunks_make_the_whole(network: WaveGlow, chunk: int) -> None:
    mel = torch.randn(1, 80, 40, generator=torch.Generator().manual_seed(3)) - 4
    whole = network.infer(mel, 0.9, seed=0)
    torch.testing.assert_close(network.infer(mel, 0.9, seed=0, chunk=chunk), whole, atol=2e-5, rtol=1e-4)


def test_no_sample_depends_on_frames_beyond_the_reach() -> None:
    network = made(dataclasses.replace(TINY, layers=3))
    noise = network.draw(1, 40)
    mel = torch.randn(1, 80, 40)
    other = mel.clone()
    other[..., 20] += 1
    differ = (network.infer(mel, 1.0, noise) != network.infer(other, 1.0, noise))[0].nonzero()
    assert 0 < 20 - differ.min() / 256 <= network.reach
    assert 0 < differ.max() / 256 - 20 <= network.reach + 1
    assert network.reach < 10


class Largest(TorchDispatchMode):
    """Notes the most elements that any one array has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_memory_is_bounded_by_the_chunk() -> None:
    network = made(dataclasses.replace(TINY, channels=32))
    needed = {}
    for frames in (100, 400):
        with Largest() as largest:
            network.infer(torch.zeros(1, 80, frames), seed=0, chunk=20)
        needed[frames] = largest.elements
        assert largest.elements <= max(frames * 256, (20 + 2 * network.reach + 4) * 256 * 80)
    assert needed[400] <= 1.1 * needed[100]


def test_a_mel_that_it_does_not_know_is_refused(network: WaveGlow, mel: torch.Tensor) -> None:
    broken = mel.clone()
    broken[0, 3, 5] = float("nan")
    for wrong, words in (
        (mel[:, :40], r"\(batch, 80, frames\)"),
        (mel[0], "not"),
        (broken, "NaN"),
        (mel[..., :0], "not"),
    ):
        with pytest.raises(HubError, match=words):
            network.infer(wrong)
    with pytest.raises(HubError, match="noise"):
        network.infer(mel, noise=network.draw(2, 11))
    with pytest.raises(HubError, match="do not last"):
        network(mel, torch.zeros(2, 8000))
    with pytest.raises(HubError, match="multiple of 8"):
        network(mel, torch.zeros(2, 1001))


# Files


def normed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Spell all but the last, mixing and upsampling weights as gain and direction, directions of any length."""
    out = {}
    for name, value in state.items():
        if name.endswith("weight") and name.startswith("WN") and ".end." not in name:
            norm = value.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            out[name + "_g"], out[name + "_v"] = norm, value * 1.7
        else:
            out[name] = value
    return out


def split(state: dict[str, torch.Tensor], *, layers: int, channels: int, skips: bool) -> dict[str, torch.Tensor]:
    """Take the conditioning of the layers apart, and (older files) residual and skip as well."""
    out = {}
    for name, value in state.items():
        head, _, kind = name.rpartition(".")
        if head.endswith("cond_layer"):
            for layer, part in enumerate(value.chunk(layers)):
                out[f"{head}s.{layer}.{kind}"] = part.clone()
        elif skips and ".res_skip_layers." in name:
            if len(value) > channels:
                out[name.replace("res_skip", "res")] = value[:channels].clone()
            out[name.replace("res_skip", "skip")] = value[-channels:].clone()
        else:
            out[name] = value
    return out


def pickled_module(network: WaveGlow) -> torch.nn.Module:
    """The same weights as modules of a module named `glow`, as the release file pickles them."""
    glow = types.ModuleType("glow")
    for name in ("WaveGlow", "WN", "Invertible1x1Conv"):
        setattr(glow, name, type(name, (torch.nn.Module,), {"__module__": "glow"}))
    sys.modules["glow"] = glow

    def norm(layer: torch.nn.Conv1d) -> torch.nn.Conv1d:
        with pytest.warns(FutureWarning):
            return torch.nn.utils.weight_norm(layer)

    model = glow.WaveGlow()
    model.upsample = network.upsample
    model.WN, model.convinv = torch.nn.ModuleList(), torch.nn.ModuleList()
    for theirs, mixing in network.steps():
        coupling, mixer = glow.WN(), glow.Invertible1x1Conv()
        coupling.n_layers, coupling.in_layers, coupling.end = 2, torch.nn.ModuleList(), theirs.end
        coupling.in_layers.extend(norm(layer) for layer in theirs.in_layers)
        coupling.res_skip_layers = torch.nn.ModuleList(norm(layer) for layer in theirs.res_skip_layers)
        coupling.start, coupling.cond_layer = norm(theirs.start), norm(theirs.cond_layer)
        mixer.conv, mixer.W_inverse = mixing.conv, mixing.inverse()
        model.WN.append(coupling)
        model.convinv.append(mixer)
    return model


def release(path: Path, zipped: bool) -> None:
    try:
        content = {
            "model": pickled_module(made()),
            "iteration": 580_000,
            "optimizer": {"state": {}},
            "learning_rate": 1e-4,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a module without source is pickled all the same
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
    finally:
        sys.modules.pop("glow", None)


def as_cuda(path: Path) -> None:
    """Say in a stream that its storages lay on a GPU, as the release files of 2019 do."""
    said, cuda = (b"X" + len(place).to_bytes(4, "little") + place for place in (b"cpu", b"cuda:0"))
    data = path.read_bytes()
    assert said in data
    path.write_bytes(data.replace(said, cuda))


def legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_release_stream(path: Path) -> None:
    release(path, zipped=False)
    as_cuda(path)


def save_twin(path: Path) -> None:
    legacy({"state_dict": normed(made().state_dict()), "config": CONFIG}, path)


def save_twin_zipped(path: Path) -> None:
    torch.save({"state_dict": normed(made().state_dict()), "config": CONFIG}, path)


def save_older(path: Path) -> None:
    legacy({"state_dict": normed(split(made().state_dict(), layers=2, channels=8, skips=True))}, path)


def save_hub(path: Path) -> None:
    state = normed(split(made().state_dict(), layers=2, channels=8, skips=False))
    torch.save({"state_dict": {"module." + name: value for name, value in state.items()}, "config": CONFIG}, path)


def save_bare(path: Path) -> None:
    torch.save(made().state_dict(), path)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "release": save_release_stream,
    "release, zipped": lambda path: release(path, zipped=True),
    "twin": save_twin,
    "twin, zipped": save_twin_zipped,
    "older": save_older,
    "hub": save_hub,
    "bare": save_bare,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_network(layout: str, tmp_path: Path, mel: torch.Tensor) -> None:
    LAYOUTS[layout](tmp_path / "weights.pt")
    assert "glow" not in sys.modules
    network = load_waveglow(tmp_path / "weights.pt")
    assert "glow" not in sys.modules
    assert network.shape == TINY and network.spec == MelSpec()
    assert not network.training and network.upsample.weight.device.type == "cpu"
    torch.testing.assert_close(network.infer(mel, 0.8, seed=0), made().infer(mel, 0.8, seed=0), atol=1e-5, rtol=1e-4)


def test_half_precision_is_read(tmp_path: Path, mel: torch.Tensor) -> None:
    half = {name: value.half() for name, value in made().state_dict().items()}
    torch.save({"state_dict": half}, tmp_path / "half.pt")
    sound = load_waveglow(tmp_path / "half.pt").infer(mel, 0.5, seed=0)
    torch.testing.assert_close(sound, made().infer(mel, 0.5, seed=0), atol=0.05, rtol=0.05)


def test_our_own_file_comes_back_equal(tmp_path: Path, mel: torch.Tensor, network: WaveGlow) -> None:
    save_waveglow(network, tmp_path / "ours.safetensors")
    again = load_waveglow(tmp_path / "ours.safetensors")
    assert again.shape == network.shape and again.spec == network.spec
    assert torch.equal(again.infer(mel, seed=0), network.infer(mel, seed=0))
    other = made(dataclasses.replace(TINY, hop=200, win=800))
    save_waveglow(other, tmp_path / "other.safetensors")
    assert load_waveglow(tmp_path / "other.safetensors").spec.hop == 200


def test_a_file_of_another_kind_is_one_line(tmp_path: Path) -> None:
    state = made().state_dict()
    missing = {name: value for name, value in state.items() if name != "WN.3.start.bias"}
    narrow = {**state, "WN.2.end.weight": state["WN.2.end.weight"][:1]}
    broken = {**state, "WN.1.start.bias": state["WN.1.start.bias"] * float("nan")}
    flat = {**state, "convinv.1.conv.weight": torch.ones_like(state["convinv.1.conv.weight"])}
    gains = {name: value for name, value in normed(state).items() if not name.endswith("in_layers.1.weight_g")}
    for number, (content, words) in enumerate([
        ({"state_dict": missing}, r"WN\.3\.start\.bias is absent"),
        ({"state_dict": narrow}, r"WN\.2\.end\.weight is \(1, 8, 1\), not \(6, 8, 1\)"),
        ({"state_dict": broken}, r"WN\.1\.start\.bias holds NaN"),
        ({"state_dict": flat}, r"convinv\.1 cannot be inverted"),
        ({"state_dict": gains}, "has no fitting"),
        ({"state_dict": {**state, "extra": torch.zeros(1)}}, r"extra is \(1,\), not known"),
        ({"state_dict": state, "config": {**CONFIG, "n_flows": 12}}, "says n_flows 12, but its weights say 6"),
        ({"state_dict": {"layer.weight": torch.zeros(2)}}, "holds no WaveGlow"),
        ({"weights": 3}, "but no weights"),
    ]):  # fmt: skip
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        with pytest.raises(HubError, match=words) as caught:
            load_waveglow(path)
        assert "\n" not in caught.value.cause and str(path) in caught.value.cause


def test_a_module_that_holds_odd_things_is_one_line(tmp_path: Path) -> None:
    """A hostile file may say anything of a module that is read by name: lists for dictionaries, empty arrays."""
    state = made().state_dict()
    for number, odd in enumerate([[1], {"a": 1}, {"upsample": 3}, None, "text", {3: torch.zeros(2)}]):
        path = tmp_path / f"{number}.pt"
        glow = types.ModuleType("glow")
        glow.WaveGlow = type("WaveGlow", (), {"__module__": "glow"})
        sys.modules["glow"] = glow
        try:
            model = glow.WaveGlow()
            vars(model).update({"_modules": odd, "_parameters": odd})
            torch.save({"model": model}, path)
        finally:
            sys.modules.pop("glow")
        with pytest.raises(HubError, match="holds no WaveGlow"):
            load_waveglow(path)
    for name, value in (("upsample.weight", (80, 80, 0)), ("WN.0.in_layers.0.weight", (10**6, 0, 3))):
        torch.save({"state_dict": {**state, name: torch.zeros(value)}}, tmp_path / "empty.pt")
        with pytest.raises(HubError, match=f"{name} is empty"):
            load_waveglow(tmp_path / "empty.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_one_line(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "whole.pt"
    release(path, zipped)
    data = path.read_bytes()
    for tenth in range(10):
        (tmp_path / "cut.pt").write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(HubError) as caught:
            load_waveglow(tmp_path / "cut.pt")
        assert "\n" not in caught.value.cause


def test_a_pickled_module_of_another_name_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Sequential(torch.nn.Linear(2, 2))}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.container\.Sequential") as caught:
        load_waveglow(tmp_path / "other.pt")
    assert isinstance(caught.value, HubError)


# The denoiser


def test_the_hum_is_taken_out_and_nothing_else(network: WaveGlow) -> None:
    denoiser = Denoiser(network)
    assert denoiser.bias.shape == (1, 513, 1)
    hum = network.infer(torch.zeros(1, 80, 88), sigma=0.0)
    left = denoiser(hum, 1.0)
    assert left.shape == hum.shape
    assert left.pow(2).mean() < 0.3 * hum.pow(2).mean()
    audio = torch.randn(2, 5000)
    assert torch.equal(denoiser(audio, 0.0), audio)
    torch.testing.assert_close(denoiser(audio, 1e-6), audio, atol=1e-3, rtol=1e-3)
    assert denoiser(audio[:, :300], 0.1).shape == (2, 300)


# The renderer


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    save_twin(path)
    return str(path)


def test_the_renderer_makes_speech_of_the_runs_seed(weights: str) -> None:
    mel = np.random.default_rng(0).normal(-4, 1, (50, 80)).astype(np.float32)
    renderer = WaveGlowRenderer(path=weights, sigma=0.7)
    [first] = renderer.render({"mel": mel}, Context(seed=1))
    [again] = WaveGlowRenderer(path=weights, sigma=0.7, chunk_frames=20).render({"mel": mel}, Context(seed=1))
    [other] = renderer.render({"mel": mel}, Context(seed=2))
    assert first.name == "speech" and first.media_type == "audio/flac" and first.rate == 22050
    assert first.array.shape == (49 * 256,) and first.array.dtype == np.float32
    np.testing.assert_allclose(first.array, again.array, atol=1e-4)
    assert np.abs(first.array - other.array).max() > 1e-3
    [quiet] = WaveGlowRenderer(path=weights, sigma=0.7, denoise=0.5).render({"mel": mel}, Context(seed=1))
    assert np.abs(first.array - quiet.array).max() > 1e-3
    assert renderer.configuration() == {"path": weights, "sigma": 0.7, "denoise": 0.0, "chunk_frames": 800}
    assert renderer.state() == ({}, {})


def test_the_renderer_refuses_what_it_was_not_trained_on(weights: str, tmp_path: Path) -> None:
    renderer = WaveGlowRenderer(path=weights)
    assert renderer.refuses([Mel()]) is None
    assert "scale slaney, not htk" in str(renderer.refuses([Mel(scale="htk")]))
    assert renderer.consumes[0].refuses(Mel().produces) is None
    with pytest.raises(HubError, match="fmax 8000"):
        renderer.check(Mel(fmax=7000.0).spec)
    mel = np.full((20, 80), -4.0)
    mel[7, 3] = np.nan
    with pytest.raises(HubError, match="frame 7"):
        renderer.render({"mel": mel}, Context())
    with pytest.raises(HubError, match="Griffin-Lim") as caught:
        WaveGlowRenderer().render({"mel": mel[:5]}, Context())
    assert "waveglow_256channels" in caught.value.cause
    other = made(dataclasses.replace(TINY, hop=128))
    save_waveglow(other, tmp_path / "other.safetensors")
    with pytest.raises(HubError, match="trained on another mel spectrogram: hop 256, not 128"):
        WaveGlowRenderer(path=str(tmp_path / "other.safetensors")).render({"mel": mel[:5]}, Context())
    with pytest.raises(HubError, match="cannot be read: No such file"):
        WaveGlowRenderer(path=str(tmp_path / "absent.pt")).render({"mel": mel[:5]}, Context())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_line(weights: str) -> None:
    with pytest.raises(HubError, match="has no cuda"):
        WaveGlowRenderer(path=weights).render({"mel": np.full((5, 80), -4.0)}, Context(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_sound(weights: str) -> None:
    mel = np.random.default_rng(0).normal(-4, 1, (50, 80))
    cpu, gpu = (WaveGlowRenderer(path=weights).render({"mel": mel}, Context(device=d))[0] for d in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu.array, gpu.array, atol=1e-3)


def test_weights_may_be_a_uri(weights: str, tmp_path: Path) -> None:
    from braindecode_hub.environment import context

    [artifact] = WaveGlowRenderer(path=Path(weights).as_uri()).render({"mel": np.full((5, 80), -4.0)}, context())
    assert artifact.array.shape == (4 * 256,)


def test_vocode_by_name(weights: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from braindecode_hub_audio_seeg.commands import vocode

    np.save(tmp_path / "mel.npy", np.full((30, 80), -4.0, np.float32))
    arguments = [str(tmp_path / "mel.npy"), str(tmp_path / "out.wav"), "--renderer", "waveglow"]
    done = CliRunner().invoke(vocode, [*arguments, "--weights", weights, "--sigma", "0.6", "--denoise", "0.1"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.wav").is_file()
    without = CliRunner().invoke(vocode, arguments)
    assert isinstance(without.exception, HubError) and "needs weights" in without.exception.cause
    odd = CliRunner().invoke(vocode, [*arguments, "--iterations", "3"])
    assert isinstance(odd.exception, HubError) and "waveglow has no --iterations" in odd.exception.cause

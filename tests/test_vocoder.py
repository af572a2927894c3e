"""Vocoders without weights: what goes in as a mel comes out as that sound, and files are whole or absent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.metrics import pearson_over_time
from braindecode_hub.phantom import speech
from braindecode_hub.types import Context
from braindecode_hub_audio_seeg.mel import Mel, MelSpec, log_mel_spectrogram, mel_filters
from braindecode_hub_audio_seeg.vocoder import EnvelopeTone, GriffinLim, limited, linear_magnitudes, vocode

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("librosa")


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return speech.audio("bread")[: 22050 * 6]


@pytest.fixture(scope="module")
def mel(audio: np.ndarray) -> np.ndarray:
    return log_mel_spectrogram(audio)


def agreement(mel: np.ndarray, sound: np.ndarray) -> float:
    """Mean over bins of r over time between a mel and the mel of a sound."""
    other = log_mel_spectrogram(sound)
    frames = min(len(mel), len(other))
    return float(pearson_over_time(mel[None, :frames], other[None, :frames]).mean())


def test_copy_synthesis_keeps_the_mel(audio: np.ndarray, mel: np.ndarray) -> None:
    [artifact] = GriffinLim().render({"mel": mel}, Context())
    assert artifact.name == "speech" and artifact.rate == 22050
    assert artifact.array.dtype == np.float32
    assert artifact.array.shape == (256 * (len(mel) - 1),)
    assert agreement(mel, artifact.array) > 0.99
    loudness = np.sqrt(np.mean(artifact.array**2)) / np.sqrt(np.mean(audio**2))
    assert 0.8 < loudness < 1.1
    decoded, rate = soundfile.read(io.BytesIO(artifact.data))
    assert artifact.media_type == "audio/flac" and rate == 22050
    np.testing.assert_allclose(decoded, artifact.array, atol=1 / 32000)


@pytest.mark.slow
def test_more_iterations_are_hardly_better(mel: np.ndarray) -> None:
    scores = [agreement(mel, GriffinLim(iterations=n).sound(mel, Context().rng("a"))) for n in (4, 32, 60)]
    assert scores[0] < scores[1]
    assert scores[2] - scores[1] < 0.002


def test_the_pitch_survives() -> None:
    """A harmonic tone of 220 Hz comes back with its energy at 220, 440, 660 Hz and not between them."""
    t = np.arange(22050) / 22050
    tone = 0.2 * sum(np.sin(2 * np.pi * 220 * k * t) / k for k in (1, 2, 3))
    sound = GriffinLim().sound(log_mel_spectrogram(tone), Context().rng("a"))
    power = np.abs(np.fft.rfft(sound[:20480] * np.hanning(20480))) ** 2
    hz = np.fft.rfftfreq(20480, 1 / 22050)
    near = [power[np.abs(hz - f) < 40].sum() for f in (220, 440, 660)]
    assert sum(near) > 0.9 * power.sum()


def test_the_seed_decides_the_sound(mel: np.ndarray) -> None:
    part = mel[:60]
    first, again = (GriffinLim().render({"mel": part}, Context(seed=3))[0] for _ in range(2))
    other = GriffinLim().render({"mel": part}, Context(seed=4))[0]
    assert first.data == again.data
    assert np.abs(first.array - other.array).max() > 1e-3


def test_magnitudes_have_the_mel_they_came_from(mel: np.ndarray) -> None:
    magnitudes = linear_magnitudes(np.exp(mel.astype(np.float64)), MelSpec())
    assert magnitudes.shape == (len(mel), 513) and (magnitudes >= 0).all()
    again = np.log(np.maximum(magnitudes @ mel_filters(MelSpec()).T, 1e-5))
    assert pearson_over_time(mel[None], again[None]).mean() > 0.999


def test_loud_predictions_are_turned_down_and_soft_ones_left(mel: np.ndarray) -> None:
    loud = GriffinLim(iterations=4).sound(mel[:80] + 4, Context().rng("a"))
    assert np.isclose(np.abs(loud).max(), 0.99)
    absurd = GriffinLim(iterations=4).sound(np.full((20, 80), 500.0), Context().rng("a"))
    assert np.isfinite(absurd).all() and np.abs(absurd).max() <= 0.9901
    silent = GriffinLim(iterations=4).sound(np.full((20, 80), np.log(1e-5)), Context().rng("a"))
    assert np.abs(silent).max() < 1e-3
    assert np.abs(limited(np.array([0.5, -0.2]))).max() == 0.5


def test_what_it_does_not_understand_is_refused(mel: np.ndarray) -> None:
    vocoder = GriffinLim()
    with pytest.raises(HubError, match="scale slaney, not htk"):
        vocoder.check(Mel(scale="htk").spec)
    vocoder.check(Mel().spec)
    assert vocoder.consumes[0].refuses(Mel().produces) is None
    assert vocoder.consumes[0].refuses(Mel(n_mels=40).produces)
    assert vocoder.consumes[0].refuses(Mel(hop=128).produces)
    broken = mel.copy()
    broken[17, 3] = np.nan
    for wrong, words in (
        (broken, "frame 17"),
        (mel[:, :40], r"\(frames, 80\)"),
        (mel.T, "transpose"),
        (mel[:1], "1 frames"),
    ):
        with pytest.raises(HubError, match=words):
            vocoder.sound(wrong, Context().rng("a"))


def test_another_spec_is_understood_when_told(audio: np.ndarray) -> None:
    how = {"scale": "htk", "norm": None, "n_mels": 64, "hop": 200, "fmax": 7000.0}
    encoder, vocoder = Mel(**how), GriffinLim(**how, iterations=16)  # type: ignore[arg-type]
    mel = encoder.encode(audio[None, : 22050 * 2])[0]
    sound = vocoder.sound(mel, Context().rng("a"))
    again = encoder.encode(sound[None])[0]
    frames = min(len(mel), len(again))
    assert pearson_over_time(mel[None, :frames], again[None, :frames]).mean() > 0.98


# Envelopes


@pytest.mark.parametrize("carrier", ["tone", "noise"])
def test_an_envelope_is_heard_on_a_carrier(carrier: str) -> None:
    envelope = 0.4 + 0.3 * np.sin(2 * np.pi * 3 * np.arange(200) / 100)[:, None]
    [artifact] = EnvelopeTone(carrier=carrier).render({"envelope": envelope}, Context())  # type: ignore[arg-type]
    assert artifact.array.shape == (44100,) and artifact.array.dtype == np.float32
    blocks = np.sqrt((artifact.array.reshape(100, 441) ** 2).mean(axis=1))
    assert np.corrcoef(blocks, (envelope[::2, 0] + envelope[1::2, 0]) / 2)[0, 1] > 0.97
    assert soundfile.info(io.BytesIO(artifact.data)).frames == 44100


def test_an_envelope_below_zero_is_silence_and_decibels_are_relative() -> None:
    [quiet] = EnvelopeTone().render({"envelope": np.full((50, 1), -1.0)}, Context())
    assert not quiet.array.any()
    steps = np.repeat([60.0, 80.0], 50)[:, None]
    [heard] = EnvelopeTone(scale="db").render({"envelope": steps}, Context())
    assert np.isclose(np.abs(heard.array[:8000]).max() * 10, np.abs(heard.array[14000:]).max(), rtol=0.02)
    with pytest.raises(HubError, match="4000 Hz does not fit"):
        EnvelopeTone(rate=8000).render({"envelope": steps}, Context())
    with pytest.raises(HubError, match="frame 1 of the envelope"):
        EnvelopeTone().render({"envelope": np.array([[1.0], [np.inf]])}, Context())


# Files


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_a_mel_file_becomes_a_sound_file(tmp_path: Path, mel: np.ndarray, suffix: str) -> None:
    np.save(tmp_path / "mel.npy", mel[:170])
    out = vocode(tmp_path / "mel.npy", tmp_path / f"new/speech{suffix}", renderer=GriffinLim(iterations=8))
    sound, rate = soundfile.read(out)
    assert rate == 22050 and sound.ndim == 1
    assert np.isclose(len(sound), 169 * 256, atol=3000 if suffix == ".mp3" else 0)
    assert agreement(mel[:170], sound) > (0.8 if suffix in (".mp3", ".ogg") else 0.97)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_every_container_of_a_mel_gives_the_same_sound(tmp_path: Path, mel: np.ndarray) -> None:
    from braindecode_hub.files import save_arrays

    part, brief = mel[:40], GriffinLim(iterations=2)
    np.save(tmp_path / "a.npy", part)
    np.savez(tmp_path / "b.npz", other=np.zeros(3), mel=part)
    save_arrays(tmp_path / "c.safetensors", {"mel": part[None]}, {})
    made = [vocode(path, path.with_suffix(".wav"), renderer=brief) for path in sorted(tmp_path.iterdir())]
    assert len({path.read_bytes() for path in made}) == 1


def test_sound_is_copied_at_any_rate(tmp_path: Path, audio: np.ndarray, mel: np.ndarray) -> None:
    """Stereo at 44.1 kHz is averaged and resampled; the copy is the vocoder's, at the vocoder's rate."""
    from braindecode_hub_audio_seeg.mel import resample

    fast = resample(audio[: 22050 * 3], 22050, 44100)
    soundfile.write(tmp_path / "in.wav", np.stack([fast, fast], axis=1), 44100)
    out = vocode(tmp_path / "in.wav", tmp_path / "out.wav", renderer=GriffinLim(iterations=16))
    assert agreement(mel[:255], soundfile.read(out)[0]) > 0.97


def test_long_vorbis_does_not_crash(tmp_path: Path) -> None:
    from braindecode_hub.media import audio_bytes

    noise = np.random.default_rng(0).normal(size=22050 * 90) * 0.1
    assert soundfile.info(io.BytesIO(audio_bytes(noise, 22050, ".ogg"))).frames == len(noise)


def test_wrong_files_are_one_line(tmp_path: Path, mel: np.ndarray) -> None:
    good = tmp_path / "good.npy"
    np.save(good, mel[:20])
    (tmp_path / "broken.npy").write_bytes(good.read_bytes()[:50])
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=mel, b=mel)
    np.save(tmp_path / "text.npy", np.array(["mel"]))
    out = tmp_path / "out.wav"
    for source, words in (
        ("broken.npy", "cannot be read"),
        ("broken.npz", "cannot be read"),
        ("broken.wav", "cannot be read as sound"),
        ("objects.npy", "cannot be read"),
        ("two.npz", "no 'mel'"),
        ("text.npy", "not numbers"),
        ("absent.npy", "does not exist"),
    ):
        with pytest.raises(HubError, match=words):
            vocode(tmp_path / source, out)
        assert not out.exists()
    with pytest.raises(HubError, match="no sound file that can be written"):
        vocode(good, tmp_path / "out.txt")

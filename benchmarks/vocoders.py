"""How long the vocoders take: CPU-seconds for a second of speech, and as a ratio to Griffin-Lim in the same run.

    python benchmarks/vocoders.py [--seconds 1] [--device cpu] [--channels 256]

WaveGlow and HiFi-GAN have random weights of the published sizes: the time is that of trained ones. One thread. Each
is timed after a warm-up, the median of several; on a GPU the wall clock is taken instead of CPU-seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from braindecode_hub.phantom import speech
from braindecode_hub_audio_seeg.hifigan import V1, V2, HifiGan
from braindecode_hub_audio_seeg.mel import log_mel_spectrogram
from braindecode_hub_audio_seeg.vocoder import GriffinLim
from braindecode_hub_audio_seeg.waveglow import WaveGlow, load_waveglow
from braindecode_hub_audio_seeg.waveglow_files import Shape


def seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Return the median time of `work`: CPU-seconds, or wall-clock seconds on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    work()
    taken = []
    for _ in range(repeats):
        start = clock()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        taken.append(clock() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of speech")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, default=256, help="of WaveGlow: 256 or 512")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mel = log_mel_spectrogram(speech.audio("bread"))[: round(given.seconds * 22050 / 256)]
    clip = len(mel) * 256 / 22050
    frames = torch.from_numpy(np.ascontiguousarray(mel.T))[None].to(given.device)
    waveglow = WaveGlow(Shape(channels=given.channels)).eval().to(given.device)
    generators = [HifiGan(config).eval().to(given.device) for config in (V1, V2)]
    griffin_lim, rng = GriffinLim(), np.random.default_rng(0)
    work: dict[str, tuple[Callable[[], object], int]] = {
        "Griffin-Lim, 32 iterations": (lambda: griffin_lim.sound(mel, rng), 0),
        f"WaveGlow, {given.channels} channels": (lambda: waveglow.infer(frames, seed=0), _count(waveglow)),
        "HiFi-GAN V1": (lambda: generators[0].infer(frames), _count(generators[0])),
        "HiFi-GAN V2": (lambda: generators[1].infer(frames), _count(generators[1])),
    }
    unit = "CPU-s" if given.device == "cpu" else "s"
    print(
        f"{clip:.2f} s of speech, {given.device}, one thread, median of {given.repeats}; below 1 is faster than speech"
    )
    print(f"{'':28}{'parameters':>12}{unit + ' per s':>14}{'× Griffin-Lim':>16}")
    base = 0.0
    for name, (run, parameters) in work.items():
        device = "cpu" if name.startswith("Griffin") else given.device
        factor = seconds(run, device, given.repeats) / clip
        base = base or factor
        print(f"{name:28}{parameters / 1e6:>11.2f}M{factor:>14.3f}{factor / base:>16.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.pt"
        state = {name: value.cpu() for name, value in waveglow.state_dict().items()}
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
        start = time.process_time()
        load_waveglow(path)
        size = path.stat().st_size / 1e6
    print(f"load_waveglow, {size:.0f} MB in the stream format of 2019: {time.process_time() - start:.2f} CPU-s")


def _count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()

"""wav2vec 2.0 features of 60 s of speech: computed, and read again from the cache, in one run.

A random model of the `base` shape with 6 of its 12 layers (`--layers 12` for all) is built and saved first: the time
does not depend on what it has learned. Prints seconds and their ratio; the second run must be 50 times faster.
Run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from braindecode_hub.cache import Cache
from braindecode_hub.phantom import speech
from braindecode_hub_speech_wav2vec.targets import Wav2Vec2Features

SECONDS = 60


def save(folder: Path, layers: int) -> None:
    """Save a random model as `save_pretrained` does."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=layers)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)


def timed(model: Path, layers: tuple[int, ...], cache: Path) -> float:
    """Return the wall-clock seconds of a run that starts with nothing but what is in `cache`."""
    audio = speech.audio("ferry")
    began = time.perf_counter()
    features = Wav2Vec2Features(str(model), layers, cache=Cache(cache))(audio[: SECONDS * speech.RATE], speech.RATE)
    float(features.astype("float32").sum())  # read, not only mapped
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=6)
    count = parser.parse_args().layers
    with tempfile.TemporaryDirectory() as folder:
        model, layers = Path(folder) / "model", tuple(range(count // 2, count))
        save(model, count)
        first = timed(model, layers, Path(folder) / "cache")
        second = timed(model, layers, Path(folder) / "cache")
    seconds = min(SECONDS, len(speech.audio("ferry")) / speech.RATE)
    print(f"{seconds:.1f} s of speech, a random model of {count} layers of 768")
    print(f"  computed: {first:.2f} s   from the cache: {second:.4f} s   ratio: {first / second:.0f}")


if __name__ == "__main__":
    main()

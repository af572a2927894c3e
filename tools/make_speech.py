"""Make the speech that phantoms hear: eight short stories, spoken by two Flite voices.

    apt-get install libflite1        # 2.2: the synthesiser and its voices
    pip install numpy scipy soundfile
    python tools/make_speech.py      # writes core/braindecode_hub/phantom/speech/
    python tools/make_speech.py --check

Word times come from Flite's own utterance structure: the frames that were synthesised for each phone, so
they are exact by construction, and `measure` checks them against the sound. The same versions make the same
bytes (`--check` tells): the noise of the voices is seeded per sentence, and so is the Ogg stream's serial.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPEECH = Path(__file__).resolve().parents[1] / "core/braindecode_hub/phantom/speech"
RATE, FLITE_RATE = 22_050, 16_000  # Hz; 441 : 320
PEAK = 10 ** (-3 / 20)  # of the loudest sample of the corpus, before Vorbis
LOWEST = 50.0  # Hz; below it `awb` holds an offset that is no part of speech
LEAD, TAIL = 0.4, 0.5  # s of silence around a story
BEFORE, AFTER, FADE = 0.03, 0.06, 0.01  # s kept around a sentence, so that no release is cut
VOICES = {"slt": 172.0, "awb": 128.0}  # mean fundamental in Hz: a US woman and a Scottish man

# Original to this project; nothing here is quoted. `STORIES[id]` is a voice and ten sentences.
STORIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ferry": (
        "slt",
        (
            "The first ferry left the island while the sky was still dark.",
            "Joyce stood near the rail and counted the lamps along the shore.",
            "A boy with a red scarf fed crumbs to the noisy gulls.",
            "Thick fog rolled over the water, and the engine slowed.",
            "Somewhere ahead of them, a bell rang twice.",
            "The captain leaned out of his window and listened.",
            "Nobody on the deck said a word for several minutes.",
            "Then a patch of yellow sunshine opened in front of the ship.",
            "They could see the old stone pier and a crowd waving.",
            "Joyce laughed, picked up her bag, and walked down the ramp.",
        ),
    ),
    "bread": (
        "awb",
        (
            "My uncle bakes dark bread every Thursday afternoon.",
            "He mixes flour, yeast, salt, and warm water in a huge bowl.",
            "The dough must rest beneath a cloth until it doubles in size.",
            "While it rises, he plays cheerful tunes on a cracked piano.",
            "The smell drifts through the house and out across the yard.",
            "Usually the children arrive before the loaves are cool.",
            "They spread thick butter and plum jam on every slice.",
            "Last week the oven broke, so we borrowed a small one.",
            "That loaf was burnt outside and raw in the middle.",
            "We ate the edges anyway and gave the rest to the ducks.",
        ),
    ),
    "train": (
        "slt",
        (
            "At noon the slow train stops beside a field of sunflowers.",
            "Passengers pull down the windows to let in fresh air.",
            "A woman in the corner knits a long purple sock.",
            "Across from her, two brothers argue about a chess game.",
            "The younger one moves his knight and grins with pleasure.",
            "A guard checks each ticket and wishes everyone a good journey.",
            "Beyond the river, the hills look blue and very far away.",
            "Someone shares a bag of cherries, and the mood turns friendly.",
            "When they reach the coast, they no longer feel like strangers.",
            "The brothers agree to call their last game a draw.",
        ),
    ),
    "garden": (
        "awb",
        (
            "Behind the school there is a garden that belongs to everyone.",
            "Each spring the pupils dig the soil and plant beans.",
            "Tall wooden poles keep the vines above the ground.",
            "A toad lives under the bricks and eats the slugs.",
            "In June, bees hum around the lavender from dawn to dusk.",
            "Heavy rain once washed half of the carrots into the road.",
            "The teacher found a pumpkin as large as a wheelbarrow.",
            "It took four strong girls to lift it onto a cart.",
            "They carved a smiling face and put a candle inside.",
            "That evening the whole street came to look at the glow.",
        ),
    ),
    "mountain": (
        "slt",
        (
            "Three friends began to climb the mountain at five in the morning.",
            "Their breath made small clouds in the frozen air.",
            "The path followed a stream that gurgled beneath the ice.",
            "Near the top, the wind pushed hard against their shoulders.",
            "Victor slipped on a smooth rock and hurt his thumb.",
            "Beth wrapped it with a strip of cotton from her pocket.",
            "Above the clouds, the sun was so bright that they squinted.",
            "An eagle circled twice and vanished behind the ridge.",
            "They drank hot chocolate and shared the final orange.",
            "Going down was quicker, but their knees complained all night.",
        ),
    ),
    "radio": (
        "awb",
        (
            "Grandfather kept a broken radio on the shelf above his desk.",
            "I asked him why he never threw it in the trash.",
            "He said it had a voice and might want to use it.",
            "One rainy Sunday we took the back panel off together.",
            "Dust, a dead moth, and a loose wire fell onto the table.",
            "I held the torch while he pushed the wire into place.",
            "We found a plug in the wall and turned the brass knob.",
            "First there was a hiss, and then a trumpet.",
            "We both danced in our socks around the narrow room.",
            "The song was older than both of my parents.",
        ),
    ),
    "market": (
        "slt",
        (
            "On Saturdays the square fills with tents of every shape.",
            "Farmers shout the price of onions, eggs, and fresh cheese.",
            "A tall man sharpens knives on a wheel that throws sparks.",
            "His dog sleeps under the bench and ignores the noise.",
            "I usually choose a jar of honey with a neat paper label.",
            "The young beekeeper tells me which flowers her bees visited.",
            "Today her voice was hoarse because she had cheered at a match.",
            "We joked about it until a sudden shower sent us running.",
            "Under the bridge, a choir kept singing without an audience.",
            "I stayed for the final verse and got home soaking wet.",
        ),
    ),
    "stars": (
        "awb",
        (
            "The museum on the hill owns a very old telescope.",
            "On clear nights, visitors may look through it for free.",
            "My sister wanted to show me the rings of Saturn.",
            "We waited behind a family who had driven for six hours.",
            "Their smallest child fell asleep before it was her turn.",
            "When I put my eye to the glass, I forgot the cold.",
            "The planet hung there like a toy, sharp and golden.",
            "An owl hooted from the roof, which made us all jump.",
            "The guide turned off his lamp and named the brightest stars.",
            "We whispered the names to each other all the way home.",
        ),
    ),
}

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Delivery:
    """How one sentence is spoken, and how long the speaker rests after it."""

    stretch: float  # of all durations
    pitch: float  # of the voice's mean fundamental
    level: float  # dB within words
    pause: float  # s


def delivery(number: int) -> Delivery:
    """Return the delivery of sentence `number` of the corpus: spread evenly, no generator to seed."""

    def between(low: float, high: float, step: float) -> float:
        return low + (high - low) * (number * step % 1.0)

    return Delivery(
        stretch=between(1.04, 1.26, 0.6180),
        pitch=between(0.92, 1.10, 0.7549),
        level=between(-2.0, 2.0, 0.5698),
        pause=round(between(0.25, 0.70, 0.4142), 3),
    )


def spoken(sentence: str) -> list[str]:
    """Return the words of a sentence without its punctuation, in order."""
    return re.findall(r"[A-Za-z]+", sentence)


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("length", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class Flite:
    """The synthesiser, through its shared libraries (no headers and no compiler needed)."""

    def __init__(self) -> None:
        """Load the libraries and the voices."""
        for name in ("flite", "flite_cmulex", "flite_usenglish"):
            library = ctypes.CDLL(f"lib{name}.so.1", mode=ctypes.RTLD_GLOBAL)
            if name == "flite":
                self._flite = library
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
        for function, result, arguments in (
            ("flite_synth_text", pointer, [text, ctypes.POINTER(_Voice)]),
            ("utt_wave", ctypes.POINTER(_Wave), [pointer]),
            ("utt_relation", pointer, [pointer, text]),
            ("relation_head", pointer, [pointer]),
            ("item_next", pointer, [pointer]),
            ("flite_ffeature_string", text, [pointer, text]),
            ("flite_ffeature_float", number, [pointer, text]),
            ("feat_set_float", None, [pointer, text, number]),
            ("delete_utterance", None, [pointer]),
        ):
            getattr(self._flite, function).restype = result
            getattr(self._flite, function).argtypes = arguments
        self._flite.flite_init()
        self._libc = ctypes.CDLL(None)
        self._voices = {name: self._load(name) for name in VOICES}

    def _load(self, name: str) -> Any:
        register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
        register.restype, register.argtypes = ctypes.POINTER(_Voice), [ctypes.c_char_p]
        return register(None)

    def _items(self, utterance: int, relation: str) -> list[int]:
        items = []
        item = self._flite.relation_head(self._flite.utt_relation(utterance, relation.encode()))
        while item:
            items.append(item)
            item = self._flite.item_next(item)
        return items

    def say(
        self, voice: str, sentence: str, stretch: float, pitch: float, seed: int
    ) -> tuple[Samples, list[tuple[str, float, float]], set[str]]:
        """Return samples (at 16 kHz, +-1), each word with its start and stop in s, and the phones used."""
        flite, speaker = self._flite, self._voices[voice]
        flite.feat_set_float(speaker.contents.features, b"duration_stretch", stretch)
        flite.feat_set_float(speaker.contents.features, b"int_f0_target_mean", pitch)
        self._libc.srand(seed)  # the voices excite unvoiced frames with rand()
        utterance = flite.flite_synth_text(sentence.encode(), speaker)
        wave = flite.utt_wave(utterance).contents
        if (wave.rate, wave.channels) != (FLITE_RATE, 1):
            raise SystemExit(f"{voice}: {wave.channels} channels at {wave.rate} Hz, not 1 at {FLITE_RATE}")
        sound = np.ctypeslib.as_array(wave.samples, (wave.length,)).astype(np.float64) / 32_768
        words = []
        for item in self._items(utterance, "Word"):
            phones = "R:SylStructure.daughter{}.daughter{}.R:Segment."
            start = flite.flite_ffeature_float(item, (phones.format(1, 1) + "p.end").encode())
            stop = flite.flite_ffeature_float(item, (phones.format("n", "n") + "end").encode())
            words.append((flite.flite_ffeature_string(item, b"name").decode(), start, stop))
        used = {flite.flite_ffeature_string(item, b"name").decode() for item in self._items(utterance, "Segment")}
        flite.delete_utterance(utterance)
        return sound, words, used


def speak(flite: Flite, voice: str, sentence: str, number: int) -> tuple[Samples, list[dict[str, Any]], set[str]]:
    """Return a sentence cut to its words (faded, at its level), its words' times in that cut, its phones."""
    from scipy.signal import butter, sosfiltfilt

    how = delivery(number)
    sound, timed, phones = flite.say(voice, sentence, how.stretch, how.pitch * VOICES[voice], seed=number)
    written = spoken(sentence)
    if [word for word, _, _ in timed] != [word.lower() for word in written]:
        raise SystemExit(f"Flite reads {sentence!r} as {[word for word, _, _ in timed]}")
    sound = sosfiltfilt(butter(2, LOWEST, "high", fs=FLITE_RATE, output="sos"), sound)  # no delay
    cut = max(0, round((timed[0][1] - BEFORE) * FLITE_RATE))
    sound = sound[cut : round((timed[-1][2] + AFTER) * FLITE_RATE)]
    words = [
        {"word": word, "start": start - cut / FLITE_RATE, "stop": stop - cut / FLITE_RATE}
        for word, (_, start, stop) in zip(written, timed, strict=True)
    ]
    loud = np.concatenate([sound[_span(word, FLITE_RATE)] for word in words])
    sound = sound * 10 ** (how.level / 20) / np.sqrt(np.mean(loud**2))
    ramp = np.linspace(0, 1, round(FADE * FLITE_RATE))
    sound[: len(ramp)] *= ramp
    sound[-len(ramp) :] *= ramp[::-1]
    return sound, words, phones


def _span(word: dict[str, Any], rate: int) -> slice:
    return slice(round(word["start"] * rate), round(word["stop"] * rate))


def tell(flite: Flite, story: str, first: int) -> tuple[Samples, dict[str, Any], set[str]]:
    """Return a story's samples (at `RATE`, level relative to 1), its record for speech.json, its phones."""
    from scipy.signal import resample_poly

    voice, texts = STORIES[story]
    parts: list[tuple[int, Samples]] = []
    sentences: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    phones: set[str] = set()
    clock = LEAD  # where the next word starts, in s
    for index, text in enumerate(texts):
        sound, timed, used = speak(flite, voice, text, first + index)
        phones |= used
        at = round((clock - timed[0]["start"]) * FLITE_RATE)
        parts.append((at, sound))
        for word in timed:
            start, stop = (round(word[end] + at / FLITE_RATE, 4) for end in ("start", "stop"))
            words.append({"word": word["word"], "start": start, "stop": stop, "sentence": index})
        inside = [word for word in words if word["sentence"] == index]
        sentences.append({"text": text, "start": inside[0]["start"], "stop": inside[-1]["stop"]})
        clock = inside[-1]["stop"] + delivery(first + index).pause
    length = -(-round((sentences[-1]["stop"] + TAIL) * FLITE_RATE) // 320) * 320  # so that 441/320 is exact
    track = np.zeros(length)
    for at, sound in parts:
        track[at : at + len(sound)] += sound
    samples = resample_poly(track, 441, 320)
    record = {"id": story, "file": f"{story}.ogg", "voice": voice, "seconds": len(samples) / RATE}
    record |= {"samples": len(samples), "sha256": "", "sentences": sentences, "words": words}
    return samples, record, phones


def write_vorbis(path: Path, samples: Samples, serial: int) -> None:
    """Write mono Ogg Vorbis with a fixed stream serial (libsndfile takes one from the clock)."""
    import soundfile

    with soundfile.SoundFile(path, "w", RATE, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(samples), RATE):  # libsndfile can crash on a long Ogg in one call
            file.write(samples[start : start + RATE].astype(np.float32))
    path.write_bytes(_with_serial(path.read_bytes(), serial))


def _with_serial(data: bytes, serial: int) -> bytes:
    """Return an Ogg stream with `serial` on every page (RFC 3533: header, CRC at byte 22)."""
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    pages, at = bytearray(data), 0
    while at < len(pages):
        segments = pages[at + 26]
        end = at + 27 + segments + sum(pages[at + 27 : at + 27 + segments])
        pages[at + 14 : at + 18] = serial.to_bytes(4, "little")
        pages[at + 22 : at + 26] = bytes(4)
        crc = 0
        for byte in pages[at:end]:
            crc = ((crc << 8) & 0xFFFFFFFF) ^ table[(crc >> 24) ^ byte]
        pages[at + 22 : at + 26] = crc.to_bytes(4, "little")
        at = end
    return bytes(pages)


def measure(path: Path, record: dict[str, Any], made: Samples) -> dict[str, float]:
    """Return what the written file holds: its levels in dBFS, and the errors of its times in s.

    `onset` and `offset` are the mean distances from a sentence's first start and last stop to where the
    sound (10 ms frames) crosses 30 dB below the story's level; `shift` is the codec's delay in samples.
    """
    import soundfile

    decoded = soundfile.read(path, dtype="float64")[0]
    if decoded.shape != (record["samples"],):
        raise SystemExit(f"{path.name} reads back as {decoded.shape}, not ({record['samples']},)")
    inside = np.zeros(len(decoded), bool)
    for word in record["words"]:
        inside[_span(word, RATE)] = True
    first, last = _span(record["sentences"][0], RATE).start, _span(record["sentences"][-1], RATE).stop
    between = ~inside
    between[:first] = between[last:] = False
    spectrum = np.fft.rfft(decoded) * np.conj(np.fft.rfft(made))
    shift = int(np.argmax(np.fft.irfft(spectrum, len(decoded))))
    frame = RATE // 100
    power = np.convolve(decoded**2, np.ones(frame) / frame, "same")
    heard = power > np.mean(decoded[inside] ** 2) * 1e-3
    onsets, offsets = [], []
    for sentence in record["sentences"]:
        span, margin = _span(sentence, RATE), round(0.12 * RATE)
        onsets.append(np.argmax(heard[span.start - margin :]) - margin)
        offsets.append(margin - np.argmax(heard[: span.stop + margin][::-1]))
    return {
        "words_db": 10 * np.log10(np.mean(decoded[inside] ** 2)),
        "pauses_db": 10 * np.log10(np.mean(decoded[between] ** 2)),
        "peak_db": 20 * np.log10(np.abs(decoded).max()),
        "onset": float(np.mean(onsets)) / RATE,
        "onset_worst": float(np.abs(onsets).max()) / RATE,
        "offset": float(np.mean(offsets)) / RATE,
        "offset_worst": float(np.abs(offsets).max()) / RATE,
        "shift": min(shift, shift - len(decoded), key=abs),
    }


def as_json(records: list[dict[str, Any]], versions: dict[str, str]) -> str:
    """Return speech.json: one line per sentence and per word, so that a change can be read."""
    lines = ["{", f' "rate": {RATE},', f' "made_with": {json.dumps(versions)},', ' "stories": [']
    for story in records:
        head = {key: value for key, value in story.items() if key not in ("sentences", "words")}
        lines.append(f"  {json.dumps(head)[:-1]},")
        for key in ("sentences", "words"):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in story[key])
            lines.append(f'   "{key}": [\n{rows}\n   ]{"," if key == "sentences" else ""}')
        lines.append("  }" + ("" if story is records[-1] else ","))
    return "\n".join([*lines, " ]", "}", ""])


def make(folder: Path) -> None:
    """Write every story and speech.json into `folder`, and print what was measured."""
    import scipy
    import soundfile

    flite = Flite()
    told, first, phones = [], 0, set[str]()
    for story, (_, texts) in STORIES.items():
        samples, record, used = tell(flite, story, first)
        told.append((samples, record))
        phones |= used
        first += len(texts)
    gain = PEAK / max(np.abs(samples).max() for samples, _ in told)
    for serial, (samples, record) in enumerate(told, start=1):
        path = folder / record["file"]
        write_vorbis(path, samples * gain, serial)
        record["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        found = measure(path, record, samples)
        size = f"{record['seconds']:.2f} s, {path.stat().st_size} bytes"
        levels = " ".join(f"{name} {value:.3g}" for name, value in found.items())
        print(f"{record['id']:9}{record['voice']}  {size}: {levels}")
    versions = {
        "flite": "2.2",
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }
    records = [record for _, record in told]
    (folder / "speech.json").write_text(as_json(records, versions), encoding="utf-8")
    total = sum(record["seconds"] for record in records)
    print(f"{total:.1f} s, {len(phones)} phones: {' '.join(sorted(phones))}")


def check() -> int:
    """Make everything again elsewhere and return 1 if a byte differs."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        changed = [
            made.name
            for made in sorted(Path(name).iterdir())
            if not (SPEECH / made.name).exists() or made.read_bytes() != (SPEECH / made.name).read_bytes()
        ]
    print(f"differs: {', '.join(changed)}" if changed else "same bytes")
    return int(bool(changed))


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the speech that phantoms hear.")
    parser.add_argument("--check", action="store_true", help="make it again and compare the bytes")
    if parser.parse_args().check:
        return check()
    SPEECH.mkdir(parents=True, exist_ok=True)
    make(SPEECH)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Several listeners with montages of their own who hear the same sentences: items in memory, known by heart."""

from __future__ import annotations

from functools import cache

import numpy as np

from braindecode_hub.stretches import Prepared
from braindecode_hub.types import Array, Recording, Signal, Space, Trial
from braindecode_hub.view import View, Window, make_item

RATE, BINS, SECONDS, LAG = 50.0, 4, 2.0, 6
"""Hz of brain and mel alike; bins; seconds of a sentence; samples by which the brain follows."""
WINDOW = Window(1.0, 0.5, 0.5)


def sentence(number: int) -> Array:
    """Mel of one sentence, (frames, BINS): smooth noise of unit variance."""
    white = np.random.default_rng([1, number]).standard_normal((round(SECONDS * RATE) + 5, BINS))
    return sum(white[k : k + round(SECONDS * RATE)] for k in range(6)) / np.sqrt(6)


def positions(subject: int, channels: int) -> Array:
    """Places on the upper half of a head of 9 cm, (channels, 3) in metres, other ones for each subject."""
    rng = np.random.default_rng([2, subject])
    turn, polar = rng.uniform(0, 2 * np.pi, channels), np.arccos(rng.uniform(0.1, 1.0, channels))
    ring = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)]
    return 0.09 * np.stack(ring, axis=1).astype(np.float32)


def heard(subject: int, number: int, snr: float, curved: float) -> Array:
    """What a subject's brain does while it hears a sentence: (channels, samples), half a second around it.

    Sources fall off with the distance from four places on the head, so neighbours see the same in every subject.
    `curved`: how much of the response follows |mel| instead of mel.
    """
    rng = np.random.default_rng([3, subject, number])
    mel = sentence(number).T
    source = np.sqrt(1 - curved) * mel + np.sqrt(curved) * (np.abs(mel) - 0.8) / 0.6
    around = np.zeros((BINS, mel.shape[1] + round(RATE)))
    around[:, 25 + LAG : 25 + LAG + mel.shape[1]] = source
    own = positions(subject, 8 + subject)
    centres = 0.09 * np.array([[0.7, 0, 0.7], [-0.7, 0, 0.7], [0, 0.7, 0.7], [0, -0.7, 0.7]])
    mixing = np.exp(-((own[:, None] - centres) ** 2).sum(axis=2) / (2 * 0.05**2))
    return (snr * mixing @ around + rng.standard_normal((len(own), around.shape[1]))).astype(np.float32)


@cache
def view(
    first: int = 0, last: int = 20, subjects: tuple[int, ...] = (0, 1, 2), snr: float = 1.0, curved: float = 0.0
) -> View:
    """Sentences `first` to `last`, heard by all `subjects`; channels differ in number and place."""
    items = []
    for subject in subjects:
        channels = 8 + subject
        names = tuple(f"E{k}" for k in range(channels))
        about = Recording(
            f"r{subject}",
            f"s{subject}",
            "1",
            Signal(None, RATE, "eeg", names),
            positions=positions(subject, channels),
            position_frame="head",
        )
        for number in range(first, last):
            groups = {"subject": f"s{subject}", "session": "1", "sentence": str(number)}
            trial = Trial(f"s{subject}-{number}", about.id, 0.5, 0.5 + SECONDS, f"x{number}", 0.0, SECONDS, groups)
            item = make_item(
                trial,
                brain=Prepared(heard(subject, number, snr, curved), RATE, 0.0),
                recording=about,
                spaces={"mel": RATE},
                stimuli={"mel": Prepared(sentence(number).astype(np.float32), RATE, 0.0)},
            )
            items.append(item)
    return View(
        items,
        window=WINDOW,
        space=Space("brain", ("channels", "time"), RATE),
        targets={"mel": Space("mel", ("time", BINS), RATE)},
        subjects=[f"s{subject}" for subject in subjects],
        channels=11,
    )


def top1(estimate: Array, candidate: Array) -> float:
    """Share of rows whose own candidate has the highest cosine of all distinct ones; ties miss."""
    rows, each = np.unique(candidate.reshape(len(candidate), -1), axis=0, return_inverse=True)
    own = np.ravel(each)
    flat = estimate.reshape(len(estimate), -1)
    scores = flat @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    right = scores[np.arange(len(own)), own]
    others = np.where(np.arange(len(rows))[None] == own[:, None], -np.inf, scores).max(axis=1)
    return float((right > others).mean())

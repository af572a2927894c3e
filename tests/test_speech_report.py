"""The report of a retrieval: each part is there, hears and reads well, and what is missing or hostile does no harm."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from braindecode_hub.errors import HubError
from braindecode_hub.files import save_arrays
from braindecode_hub.interfaces import RETRIEVAL, Candidate
from braindecode_hub.media import audio_bytes
from braindecode_hub.report import render_report
from braindecode_hub.types import Context, Signal
from braindecode_hub_speech_wav2vec.report import sections
from braindecode_hub_speech_wav2vec.report_listening import MOST_SECONDS
from braindecode_hub_speech_wav2vec.retrieved_speech import RetrievedSpeech

RATE = 8000
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>\x1b[31m'
SUBJECTS = ("01", "02")


@dataclass
class Fake:
    """A finished run of two listeners and eight candidates, by hand: `hits` of every subject's windows are right."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=lambda: {"by": ["sentence"], "folds": []})
    env: dict[str, Any] = field(default_factory=dict)
    retrieval: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def artifacts(self) -> list[Path]:
        return sorted((self.path / "artifacts").glob("*"))

    def items(self) -> list[Any]:
        return []


def tone(seconds: float, hertz: float = 200.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def score(value: float, chance: float) -> dict[str, Any]:
    about = {"ci95": [value - 0.1, value + 0.1], "p": 0.001, "higher_is_better": True, "unit": "of 8 candidates"}
    return {"value": value, "chance": chance, **about}


def fake(
    folder: Path, *, subjects: tuple[str, ...] = SUBJECTS, count: int = 8, clips: bool = True, texts: bool = True
) -> Fake:
    """Every subject finds all windows but the last, whose own candidate is second."""
    (folder / "artifacts").mkdir(parents=True)
    (folder / "fold-0").mkdir()
    own = np.tile(np.arange(count), len(subjects))
    scores = np.random.default_rng(0).uniform(-0.2, 0.2, (len(own), count)).astype(np.float32)
    scores[np.arange(len(own)), own] = 0.5
    scores[own == count - 1, 0] = 0.6
    candidates = [
        {
            "text": f"words of sentence {k}" if texts else "",
            "clip": f"SIMULATED-fold-0.candidate-{k:04d}.flac" if clips else None,
        }
        for k in range(count)
    ]
    if clips:
        for one in candidates:
            (folder / "artifacts" / str(one["clip"])).write_bytes(audio_bytes(tone(1.0), RATE))
        for who in subjects:
            for side in ("original", "retrieved"):
                name = f"SIMULATED-fold-0-{who}.{side}.wav"
                data = audio_bytes(tone(2.0, 200 if side == "original" else 300), RATE, ".wav")
                (folder / "artifacts" / name).write_bytes(data)
    queries = [who for who in subjects for _ in range(count)]
    about = {"space": "deep_mel", "seconds": 3.0, "subjects": queries, "candidates": candidates}
    shown = np.array([0, len(own) - 1])
    run = Fake(folder, retrieval=[about])
    run.details = {"retrieval/0/scores": scores, "retrieval/0/own": own, "retrieval/0/shown": shown}
    run.config = {
        "pipeline": "speech_wav2vec", "plugin": "speech_wav2vec", "dataset": {"use": "speech_wav2vec/brennan2019"},
        "targets": {"mel": [{"use": "speech_wav2vec/mel"}]}, "renderer": {"use": "speech_wav2vec/retrieved_speech"},
    }  # fmt: skip
    scored = {"top1": score(0.875, 1 / count), "top10": score(1.0, 1.0), "top1_averaged": score(0.9, 1 / count)}
    run.metrics = {
        "schema": 1, "pipeline": "speech_wav2vec", "seed": 0, "simulated": True, "closed_set": False,
        "flags": ["SIMULATED"], "digest": "ab" * 32, "split": {"by": ["sentence"], "gap_s": 0.0},
        "dataset": {"use": "speech_wav2vec/brennan2019", "subjects": len(subjects), "trials": {}},
        "unit": {"name": "3 s block", "n": len(own), "smallest_p": 0.001}, "test_looks": 1, "scores": scored,
        "baselines": {"ridge": {"top1": 0.6}}, "controls": {}, "reasons": {}, "seconds": {}, "by_subject": {},
    }  # fmt: skip
    attend(folder, subjects)
    return run


def attend(folder: Path, subjects: tuple[str, ...], sensors: int = 6, step: int = 40, placed: bool = True) -> None:
    """Write the state of a network that attends to the third sensor most."""
    turn = 2 * np.pi * np.arange(sensors) / sensors
    places = 0.08 * np.stack([np.sin(turn), np.cos(turn), np.full(sensors, 0.5)], axis=1) * placed
    shares = np.full(sensors, 0.5 / (sensors - 1))
    shares[2] = 0.5
    arrays = {
        "decoder/attention_": np.tile(shares * placed, (len(subjects), 1)).astype(np.float32),
        "decoder/positions_": np.tile(places, (len(subjects), 1, 1)).astype(np.float32),
    }
    values = {"decoder/subjects_": list(subjects), "decoder/best_step_": step}
    save_arrays(folder / "fold-0" / "all.state.safetensors", arrays, {"values": values})


def parts(run: Fake) -> dict[str, str]:
    """Return the sections by title."""
    return {section.title: section.html for section in sections(run)}


def page(run: Fake) -> str:
    """Return the whole page, which refers to nothing outside itself and runs nothing."""
    html = render_report(run, sections(run))
    assert all(place.startswith(("data:", "#")) for place in re.findall(r'(?:src|srcset|href)="([^"]*)"', html))
    assert "<script" not in html and "<img src=x" not in html
    return html


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def alts(html: str) -> list[str]:
    return re.findall(r'alt="([^"]*)"', html)


def sounds(html: str) -> list[tuple[str, bytes]]:
    import base64

    found = re.findall(r'src="data:(audio/[a-z]+);base64,([^"]*)"', html)
    return [(kind, base64.b64decode(data)) for kind, data in found]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The sections of a run that lacks nothing."""
    return parts(fake(tmp_path_factory.mktemp("shown") / "run"))


# What is shown


def test_all_parts_are_there_in_order(tmp_path: Path, shown: dict[str, str]) -> None:
    assert list(shown) == [
        "What was retrieved", "Where the right one stands", "Sensors that were attended to", "Published scores",
    ]  # fmt: skip
    html = page(fake(tmp_path / "page"))
    titles = re.findall(r'<h2 id="title-\d+">([^<]*)</h2>', html)
    assert titles[:4] == [
        "What was retrieved", "Scores", "Where the right one stands", "Sensors that were attended to",
    ]  # fmt: skip
    assert len(html) < 5_000_000


def test_the_nearest_are_told_with_words_players_and_the_right_one_marked(shown: dict[str, str]) -> None:
    html = shown["What was retrieved"]
    first, last = re.findall(r"<tr><th scope=\"row\">.*?</tr>", html, re.S)
    assert "subject 01" in first and ">first<" in first
    assert "subject 02" in last and "rank 2 of 8" in last
    assert [first.count("<audio"), last.count("<audio")] == [6, 6]  # what was heard, and five
    right = re.findall(r'<td class="right" data-label="([^"]*)">(.*?)</td>', html, re.S)
    assert [label for label, _ in right] == ["Nearest", "2"]
    assert "✓ words of sentence 0" in text(right[0][1]) and "cosine 0.50" in right[0][1]
    assert "✓ words of sentence 7" in text(right[1][1])
    assert 'aria-label="words of sentence 0"' in html  # players are told apart by ear, too


def test_what_all_heard_is_played_once_and_hits_are_counted(shown: dict[str, str]) -> None:
    html = shown["What was retrieved"].split("The nearest candidates")[0]
    assert html.count("<audio") == 3
    assert "What all of them heard" in html
    assert "Subject 01: what was retrieved (7 of 8 windows right)" in html
    assert "SIMULATED" in html


def test_sounds_are_small_whole_and_play(shown: dict[str, str]) -> None:
    html = shown["What was retrieved"]
    (kind, data), *_ = sounds(html)
    samples, rate = soundfile.read(BytesIO(data))
    assert (kind, rate) == ("audio/mpeg", RATE)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.15)  # MP3 comes in frames
    assert len(data) < 2 * 6000
    peak = np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)
    assert peak == pytest.approx(200.0, abs=2.0)


def test_a_rate_that_mp3_has_not_and_a_long_sound_play_as_well(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    for path in run.artifacts():
        if path.suffix == ".wav":
            path.write_bytes(audio_bytes(np.tile(tone(2.0), 50), 10_000, ".wav"))
    html = parts(run)["What was retrieved"]
    assert f"first {MOST_SECONDS:.0f} of 80 s" not in html  # exactly so long
    assert sounds(html)[0][0] == "audio/flac"
    for path in run.artifacts():
        if path.suffix == ".wav":
            path.write_bytes(audio_bytes(np.tile(tone(2.0), 60), RATE, ".wav"))
    html = parts(run)["What was retrieved"]
    assert f"first {MOST_SECONDS:.0f} of 120 s" in html
    assert soundfile.info(BytesIO(sounds(html)[0][1])).duration == pytest.approx(MOST_SECONDS, abs=0.2)


def test_ranks_are_told_against_exact_chance_in_words_too(shown: dict[str, str]) -> None:
    html = shown["Where the right one stands"]
    curve, bars, matrix = alts(html)
    assert "top-1 87.5 % (chance 12.5 %), top-5 100.0 % (chance 62.5 %), mean rank 1.12 (chance 4.5)" in curve
    assert "01 88 %, 02 88 %" in bars and "first" in bars
    assert "16 windows of brain with 8 candidates" in matrix
    assert "averaged" in html and "context" not in html  # only what was scored is explained
    assert html.count('media="screen and (prefers-color-scheme: dark)"') == 3


def test_attention_is_mapped_for_each_subject_in_shares(shown: dict[str, str]) -> None:
    html = shown["Sensors that were attended to"]
    assert [alt.split(" over ")[0] for alt in alts(html)] == ["Attention of subject 01", "Attention of subject 02"]
    assert "6 sensors, 10.0 to 50.0 % each; equal: 16.7 %" in html
    assert "linear start" not in html


def test_attention_that_was_not_trained_is_called_so(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    attend(run.path, SUBJECTS, step=0)
    assert "Validation chose the linear start" in parts(run)["Sensors that were attended to"]


def test_published_scores_stand_beside_and_are_not_claimed(shown: dict[str, str]) -> None:
    html = shown["Published scores"]
    row = next(row for row in html.split("<tr>") if "brennan2019" in row)
    assert "the data of this run" in row and html.count("the data of this run") == 1
    assert "190 24" not in text(row) and text(row).split()[-3:] == ["25.7", "±", "2.9"]
    assert "This run: 100.0 % of 8 candidates, chance 100.0 %" in html and "not claimed" in html


# What is missing, damaged or hostile


def test_without_clips_and_transcripts_the_numbers_stay(tmp_path: Path) -> None:
    html = parts(fake(tmp_path / "run", clips=False, texts=False))["What was retrieved"]
    assert "kept no sound" in html and "<audio" not in html
    assert html.count("(no transcript)") == 12 and html.count("cosine") == 12 + 1


def test_a_clip_that_is_gone_or_broken_leaves_its_words(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    for path in run.artifacts():
        path.write_bytes(b"no sound") if "0000" in path.name or path.suffix == ".wav" else path.unlink()
    html = parts(run)["What was retrieved"]
    assert "<audio" not in html and "words of sentence 0" in html and "cannot be read" in html


def test_one_subject_is_enough(tmp_path: Path) -> None:
    found = parts(fake(tmp_path / "run", subjects=("",)))
    assert "all subjects" in found["What was retrieved"]
    assert "all 88 %" in alts(found["Where the right one stands"])[1]


def test_a_single_candidate_is_said_and_not_scored(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    run.retrieval, run.details = [], {}
    run.metrics["scores"], run.config["metrics"] = {}, ["core/top1"]
    run.metrics["reasons"] = {"scores.top1": "only one test candidate"}
    found = parts(run)
    assert list(found) == ["What was retrieved"]
    assert "retrieved: only one test candidate" in found["What was retrieved"]
    assert "at least two candidates" in found["What was retrieved"]


def test_a_run_that_looks_nothing_up_gets_nothing(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    run.retrieval, run.details, run.metrics["scores"] = [], {}, {"correlation": score(0.1, 0.0)}
    run.config["renderer"] = None
    assert parts(run) == {}


@pytest.mark.parametrize("what", ["own", "shown", "scores", "subjects", "candidates", "nan", "space"])
def test_look_ups_that_do_not_fit_together_are_left_out_and_said(tmp_path: Path, what: str) -> None:
    run = fake(tmp_path / "run")
    if what in ("own", "shown"):
        run.details[f"retrieval/0/{what}"] = np.array([99])
    elif what == "scores":
        run.details["retrieval/0/scores"] = run.details["retrieval/0/scores"][:, :3]
    elif what == "nan":
        run.details["retrieval/0/scores"][0, 0] = np.nan
    elif what == "space":
        del run.retrieval[0]["space"]
    else:
        run.retrieval[0][what] = run.retrieval[0][what][:3]
    assert "cannot be read from details.safetensors" in parts(run)["What was retrieved"]


def test_a_damaged_state_costs_the_maps_only(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    (run.path / "fold-0" / "all.state.safetensors").write_bytes(b"\xff" * 40)
    found = parts(run)
    assert "cannot be read" in found["Sensors that were attended to"]
    assert "<audio" in found["What was retrieved"]


def test_sensors_without_places_have_no_map(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    attend(run.path, SUBJECTS, placed=False)
    html = parts(run)["Sensors that were attended to"]
    assert "placed them by their number" in html and "<img" not in html


def test_hostile_transcripts_and_names_are_text(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    for one in run.retrieval[0]["candidates"]:
        one["text"] = HOSTILE
    run.retrieval[0]["subjects"] = [HOSTILE] * len(run.retrieval[0]["subjects"])
    run.retrieval[0]["space"] = HOSTILE
    attend(run.path, (HOSTILE, HOSTILE))
    for html in parts(run).values():
        assert "<img src=x" not in html and "<script" not in html
        assert not re.search(r"<[^>]*\sonerror=[^>]*>", re.sub(r'"[^"]*"', '""', html))
    assert page(run)


def test_names_that_tell_who_it_is_become_codes(tmp_path: Path) -> None:
    run = fake(tmp_path / "run")
    attend(run.path, ("Jo", "Smith"))
    pieces = [
        {"recording": f"{who}/1", "groups": {"subject": who}, "start": 0.0, "stop": 1.0} for who in ("Jo", "Smith")
    ]
    run.split = {"by": ["sentence"], "folds": [{"fold": 0, "sides": {"train": pieces}}]}
    html = parts(run)["Sensors that were attended to"]
    assert "Smith" not in html and "subject Jo" not in html.replace("Subject", "subject") and "subject S1" in html


# What the wav is made of


def candidate(number: int, media: Signal | None) -> Candidate:
    place = np.zeros((5, 3), np.float32)
    place[:, number % 3] = 1.0 if number < 3 else -1.0
    return Candidate(place, f"s{number}", 0.0, 1.0, media, "")


def test_what_is_joined_comes_in_order_whole_and_without_clicks() -> None:
    pitches = (200.0, 300.0, 400.0)
    known = {f"c{k}": candidate(k, Signal(tone(1.0, hertz), RATE, "audio")) for k, hertz in enumerate(pitches)}
    renderer = RetrievedSpeech()
    renderer.index(known)
    asked = np.stack([known[f"c{k}"].place + 0.1 for k in (2, 0, 0, 1)])
    [made] = renderer.render({RETRIEVAL: asked}, Context())
    samples, rate = soundfile.read(BytesIO(made.data))
    assert rate == RATE and len(samples) == 4 * round(1.1 * RATE)
    pieces = samples.reshape(4, -1)
    heard = [np.abs(np.fft.rfft(piece[:RATE])).argmax() for piece in pieces]
    assert heard == [400, 200, 200, 300]
    assert np.abs(pieces[:, 0]).max() < 1e-3 and np.abs(pieces[:, RATE - 1 :]).max() < 1e-2
    assert np.abs(np.diff(samples)).max() <= 1.05 * np.abs(np.diff(tone(1.0, 400.0))).max()


def test_pieces_of_other_rates_are_brought_to_the_highest() -> None:
    fast = np.sin(2 * np.pi * 250.0 * np.arange(2 * RATE) / (2 * RATE)).astype(np.float32)
    known = {"a": candidate(0, Signal(tone(1.0), RATE, "audio")), "b": candidate(1, Signal(fast, 2 * RATE, "audio"))}
    renderer = RetrievedSpeech(pause_s=0.0)
    renderer.index(known)
    [made] = renderer.render({RETRIEVAL: np.stack([known["a"].place, known["b"].place])}, Context())
    assert made.rate == 2 * RATE and len(made.array) == 2 * 2 * RATE
    halves = made.array.reshape(2, -1)
    assert [np.abs(np.fft.rfft(half)).argmax() for half in halves] == [200, 250]


def test_what_cannot_be_heard_is_refused() -> None:
    renderer = RetrievedSpeech()
    with pytest.raises(HubError, match="no candidates yet"):
        renderer.render({RETRIEVAL: np.ones((1, 5, 3), np.float32)}, Context())
    with pytest.raises(HubError, match="nothing to retrieve from"):
        renderer.index({})
    with pytest.raises(HubError, match="candidate b has no sound"):
        renderer.index({"a": candidate(0, Signal(tone(1.0), RATE, "audio")), "b": candidate(1, None)})

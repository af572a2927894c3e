"""The report: one file, nothing outside it, everything escaped, flags that cannot be missed."""

from __future__ import annotations

import copy
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from braindecode_hub.figures import PAPER, new_figure, png, timeline
from braindecode_hub.notebook import run_html
from braindecode_hub.report import Section, audio_html, command, figure_html, main_score, render_report
from braindecode_hub.scoretable import flags, score_table
from braindecode_hub_audio_seeg.figures import mel_figure, shifted_correlations
from braindecode_hub_audio_seeg.report import artifact, sections

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>\x1b[31m\u202e'
VOID = {"meta", "img", "source", "br", "hr", "link", "input", "col"}
SHAPES = {"rect", "path", "circle"}


@dataclasses.dataclass
class FakeItem:
    name: str
    target: dict[str, Any]
    predicted: dict[str, Any]
    rate: float


@dataclasses.dataclass
class FakeRun:
    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    split: dict[str, Any]
    env: dict[str, Any]
    details: dict[str, Any]
    stretches: list[FakeItem]

    def artifacts(self) -> list[Path]:
        return sorted((self.path / "artifacts").glob("*"))

    def items(self) -> list[FakeItem]:
        return self.stretches


CONFIG: dict[str, Any] = {
    "pipeline": "audio_seeg",
    "preset": "smoke",
    "plugin": "audio_seeg",
    "summary": "Speech from depth electrodes, through a mel spectrogram and a vocoder",
    "flow": ["seeg", "mel", "audio"],
    "dataset": {"use": "audio_seeg/phantom", "seconds": 120},
    "targets": {"mel": [{"use": "audio_seeg/mel", "n_mels": 80}, {"use": "core/zscore"}]},
    "encoder": [{"use": "audio_seeg/high_gamma"}, {"use": "core/zscore"}],
    "decoder": {"use": "audio_seeg/attention", "kind": "bahdanau"},
    "renderer": {"use": "audio_seeg/griffin_lim"},
    "baseline": {"use": "core/ridge", "lags_s": [0, 0.3]},
    "window": {"length_s": 0.4, "hop_s": 0.025, "context_s": 0.4},
    "split": {"by": "time_block", "folds": 5, "gap_s": 2},
    "metrics": ["audio_seeg/mel_correlation", "audio_seeg/mcd", "core/identification"],
    "seed": 0,
}


def score(
    value: float | None, ci95: list[float] | None, chance: float | None, p: float | None, **more: Any
) -> dict[str, Any]:
    return {
        "value": value,
        "ci95": ci95,
        "chance": chance,
        "p": p,
        "higher_is_better": True,
        "unit": "",
        **more,
    }


METRICS: dict[str, Any] = {
    "schema": 1,
    "pipeline": "audio_seeg",
    "seed": 0,
    "simulated": True,
    "closed_set": False,
    "flags": ["SIMULATED"],
    "digest": "9f2c" * 16,
    "dataset": {
        "use": "audio_seeg/phantom",
        "fingerprint": "ab12",
        "subjects": 1,
        "trials": {"train": 40, "val": 8, "test": 12},
    },
    "split": {"by": ["time_block"], "gap_s": 2.0},
    "unit": {"name": "5 s block", "n": 12, "smallest_p": 0.0025},
    "test_looks": 1,
    "scores": {
        "mel_correlation": score(0.612, [0.571, 0.648], 0.002, 0.005),
        "mel_correlation_speech": score(0.534, [0.49, 0.571], 0.001, 0.005),
        "mcd": score(5.31, [5.02, 5.66], 8.9, 0.005, higher_is_better=False, unit="dB"),
        "stoi": score(None, None, None, None),
        "identification": score(0.31, None, 0.02, 0.0025, pool=50, candidate_s=5.0),
        "identification_rank": score(0.87, [0.81, 0.92], 0.5, 0.0025),
    },
    "baselines": {
        "mean": {
            "mel_correlation": 0.0,
            "mel_correlation_speech": 0.0,
            "mcd": 8.1,
            "identification": 0.02,
            "identification_rank": 0.5,
        },
        "ridge": {
            "mel_correlation": 0.607,
            "mel_correlation_speech": 0.528,
            "mcd": 5.4,
            "identification": 0.30,
            "identification_rank": 0.86,
        },
        "loudness": {"mel_correlation": 0.58, "mel_correlation_speech": 0.41},
    },
    "controls": {
        "shuffled": {
            "mel_correlation": 0.004,
            "mel_correlation_speech": 0.006,
            "mcd": 8.8,
            "identification": 0.021,
        },
        "relabelled": {
            "mel_correlation": -0.011,
            "mel_correlation_speech": 0.001,
            "mcd": 8.95,
            "identification": 0.019,
        },
        "noise": {
            "mel_correlation": 0.008,
            "mel_correlation_speech": -0.004,
            "mcd": 8.7,
            "identification": None,
        },
    },
    "control_refits": {"shuffled": 3, "relabelled": 3, "noise": 3},
    "intervals": {"baselines": {}, "controls": {}},
    "differences": {"pipeline-ridge": {"mel_correlation": {"value": 0.005, "ci95": [-0.004, 0.013]}}},
    "ceiling": {"mel_correlation": 0.802, "mcd": 3.2},
    "by_subject": {},
    "folds": [],
    "reasons": {
        "scores.stoi": "pystoi is not installed",
        "scores.identification.ci95": "pools overlap: no independent units",
        "baselines.loudness": "an oracle for correlations only",
        "ceiling": "the oracle predicts mels, and only these are scored",
    },
    "seconds": {"prepare": 2.31, "fit": 14.8, "controls": 71.2, "test": 0.9, "render": 3.4},
}


def pieces(side: str, *ends: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"id": f"{side}{i}", "recording": "sub-01/run-1", "start": a, "stop": b, "stimulus": "garden",
         "stimulus_start": a, "stimulus_stop": b}
        for i, (a, b) in enumerate(ends)
    ]  # fmt: skip


def sound(mel: Any, rate: int = 22050, hop: int = 256) -> Any:
    """Make noise as loud as a mel spectrogram's frames: real audio for the players."""
    loud = np.repeat(np.exp(mel.mean(axis=1)), hop)
    noise = np.random.default_rng(0).standard_normal(len(loud))
    tone = np.sin(2 * np.pi * 180 * np.arange(len(loud)) / rate)
    return 0.2 * loud / loud.max() * (0.3 * noise + tone)


def stretch(number: int, frames: int = 431) -> tuple[Any, Any]:
    """Return a mel-like target and a blurred, noisy prediction: (frames, 80)."""
    rng = np.random.default_rng(number)
    time, bins = np.arange(frames)[:, None] / 86.13, np.arange(80)[None]
    onsets = np.cumsum(rng.uniform(0.12, 0.55, 30))
    syllables = sum(
        np.exp(-(((time - onset) / width) ** 2))
        for onset, width in zip(onsets, rng.uniform(0.04, 0.12, 30), strict=True)
    )
    formants = sum(
        np.exp(-(((bins - c - 8 * np.sin(time * f + 2 * np.sin(time * 2.3))) / 5) ** 2))
        for c, f in ((12, 2.0), (34, 3.1), (58, 1.3))
    )
    target = -11 + 9 * syllables * (0.35 + formants) - 0.02 * bins + 0.3 * rng.standard_normal((frames, 80))
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.ones(9) / 9, "same"), 0, target)
    gain = np.clip(1.1 - bins / 110, 0.3, 1)
    return target, smooth.mean(0) + gain * (smooth - smooth.mean(0)) + rng.standard_normal((frames, 80)) * (
        1.2 - gain
    ) * 2


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """A realistic run on disk."""
    path = tmp_path_factory.mktemp("runs") / "20260102T030405-deadbeef"
    (path / "artifacts").mkdir(parents=True)
    items = []
    for number in range(4):
        target, predicted = stretch(number)
        items.append(FakeItem(f"test-{number:04d}", {"mel": target}, {"mel": predicted}, 22050 / 256))
        for name, mel in (("original", target), ("vocoded", target), ("reconstructed", predicted)):
            file = path / "artifacts" / f"SIMULATED-test-{number:04d}.{name}.flac"
            soundfile.write(file, sound(mel), 22050, subtype="PCM_16")
    rng = np.random.default_rng(0)
    details: dict[str, Any] = {
        "bins/mel_correlation": np.clip(0.8 - np.arange(80) / 130 + 0.04 * rng.standard_normal(80), -1, 1)
    }
    for name, chance, spread in (("mel_correlation", 0.0, 0.04), ("mcd", 8.9, 0.3)):
        details[f"null/{name}"] = chance + spread * rng.standard_normal(5160)
        details[f"units/{name}"] = METRICS["scores"][name]["value"] + spread * rng.standard_normal(12)
        details[f"units/baseline/ridge/{name}"] = details[f"units/{name}"] + 0.3 * spread * rng.standard_normal(12)
        for kind in METRICS["controls"]:
            details[f"controls/{kind}/{name}"] = METRICS["controls"][kind][name] + 0.5 * spread * rng.standard_normal(3)
    folds = [
        {"fold": 0, "purged_s": 8.0, "sides": {
            "train": pieces("train", (0, 60), (60, 184)), "val": pieces("val", (186, 216)),
            "test": pieces("test", (218, 300)),
        }},
    ]  # fmt: skip
    rules = ["no second of a stimulus stands on two sides", "validation is purged from both sides"]
    env = {
        "python": "3.11.7",
        "platform": "Linux",
        "packages": {"numpy": "2.4.6"},
        "device": "cpu",
        "threads": 1,
        "gpu": None,
    }
    return FakeRun(
        path,
        CONFIG,
        METRICS,
        {"by": ["time_block"], "gap_s": 2.0, "folds": folds, "rules": rules},
        env,
        details,
        items,
    )


@pytest.fixture
def run(stored: FakeRun) -> FakeRun:
    """A copy of the stored run that a test may change."""
    same = dataclasses.replace(stored, details=dict(stored.details), stretches=list(stored.stretches))
    for name in ("config", "metrics", "split", "env"):
        setattr(same, name, copy.deepcopy(getattr(stored, name)))
    return same


@pytest.fixture(scope="session")
def html(stored: FakeRun) -> str:
    """The whole page of the stored run."""
    return render_report(stored, sections(stored))


class Page(HTMLParser):
    """Reads a page: visible text, attributes, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        self.wrong += self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def small(run: FakeRun) -> Page:
    """Render without pictures, which are slow and not the point of most tests."""
    return Page(
        render_report(dataclasses.replace(run, metrics={**run.metrics, "controls": {}, "baselines": {}}, details={}))
    )


def test_the_page_is_well_formed(html: str) -> None:
    page = Page(html)
    assert page.wrong == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert html.lower().lstrip().startswith("<!doctype html>")


def test_it_refers_to_nothing_outside_itself(html: str) -> None:
    assert not re.search(r"https?://|(?<!:)//\w+\.\w|@import|url\((?!#)", re.sub(r"base64,[\w+/=]+", "", html))
    for tag, attrs in Page(html).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "srcset", "href", "poster", "action", "data", "xlink:href"):
            assert name not in attrs or str(attrs[name]).startswith(("data:", "#")), (tag, name)


def test_fragment_links_lead_somewhere(html: str) -> None:
    tags = Page(html).tags
    ids = {attrs.get("id") for _, attrs in tags}
    assert {str(attrs["href"])[1:] for tag, attrs in tags if tag == "a"} <= ids


def test_a_strict_content_security_policy_comes_first(html: str) -> None:
    metas = [attrs for tag, attrs in Page(html).tags if tag == "meta"]
    policy = next(str(m["content"]) for m in metas if m.get("http-equiv") == "Content-Security-Policy")
    assert {"default-src 'none'", "img-src data:", "media-src data:", "style-src 'unsafe-inline'"} <= set(
        policy.split("; ")
    )
    assert "script-src" not in policy
    assert html.index("Content-Security-Policy") < html.index("<style")


def test_it_is_small_enough_to_send(html: str) -> None:
    assert len(html.encode()) < 15e6


def test_three_triplets_can_be_played_and_seen(html: str, stored: FakeRun) -> None:
    tags = Page(html).tags
    players = [attrs for tag, attrs in tags if tag == "audio"]
    assert [p["aria-label"] for p in players] == ["original", "vocoded", "reconstructed"] * 3
    assert all(str(p["src"]).startswith("data:audio/flac;base64,") and "controls" in p for p in players)
    alts = [str(attrs["alt"]) for tag, attrs in tags if tag == "img"]
    assert all(alts)
    assert sum("mel spectrogram" in alt for alt in alts) == 9


def test_every_table_has_a_caption_and_scoped_headers(html: str) -> None:
    tags = Page(html).tags
    assert sum(tag == "table" for tag, _ in tags) == sum(tag == "caption" for tag, _ in tags) >= 3
    assert all(attrs.get("scope") in ("col", "row", "colgroup") for tag, attrs in tags if tag == "th")


def test_no_missing_value_is_printed_as_a_number(html: str, run: FakeRun) -> None:
    run.metrics["scores"]["mcd"].update(value=float("nan"), p=None, chance=float("inf"), ci95=[None, None])
    run.metrics.update(ceiling=None, test_looks=None, digest=None, by_subject=None, differences=None, unit=None)
    run.config.update(preset=None, summary=None, flow=None)
    for page in (Page(html), Page(render_report(run)), Page(run_html(run))):
        spoken = page.text + " ".join(str(attrs.get("alt")) for tag, attrs in page.tags if tag == "img")
        assert not re.search(r"\b(NaN|nan|None|inf|Undefined|undefined|-0\.00)\b", spoken)


@pytest.mark.parametrize("flag", ["SIMULATED", "CLOSED SET", "UNVERIFIED", "LEAK", "CHANCE", "DEV"])
def test_a_flag_is_in_title_banner_ribbon_and_beside_every_score(run: FakeRun, flag: str) -> None:
    run.metrics.update(flags=[flag], simulated=False)
    html = render_report(dataclasses.replace(run, details={}))
    page = Page(html)
    assert f"<strong>{flag}</strong>" in html
    assert re.search(rf"<title>{flag} ·", html)
    assert html.count(f">{flag}</span>") == 1 + len(METRICS["scores"])
    assert dict(flags(run.metrics))[flag] in page.text


def test_simulated_needs_no_flag_to_be_shown(run: FakeRun) -> None:
    run.metrics.update(flags=[], simulated=True, closed_set=True)
    assert [flag for flag, _ in flags(run.metrics)] == ["SIMULATED", "CLOSED SET"]


def test_an_unknown_flag_is_shown_too(run: FakeRun) -> None:
    run.metrics["flags"] = ["NOT DETERMINISTIC"]
    assert "NOT DETERMINISTIC" in small(run).text


def test_hostile_names_are_harmless(run: FakeRun) -> None:
    run.config.update(pipeline=HOSTILE, summary=HOSTILE, flow=[HOSTILE], preset=HOSTILE)
    run.config["metrics"] = [HOSTILE]
    run.metrics["scores"] = {HOSTILE: score(0.4, [0.3, 0.5], 0.0, 0.01, unit=HOSTILE, extra=HOSTILE)}
    for group in ("baselines", "controls"):
        run.metrics[group] = {HOSTILE: {HOSTILE: 0.1}}
    run.metrics.update(flags=[HOSTILE], reasons={HOSTILE: HOSTILE}, digest=HOSTILE, control_refits={HOSTILE: 3})
    run.metrics["unit"]["name"] = run.metrics["dataset"]["use"] = HOSTILE
    run.metrics["by_subject"] = {HOSTILE: {HOSTILE: 0.3}, "$\\frac$": {HOSTILE: 0.5}}
    run.metrics["seconds"] = {HOSTILE: 1.0}
    run.env = {HOSTILE: HOSTILE}
    run.split["rules"] = run.split["by"] = [HOSTILE]
    for piece in run.split["folds"][0]["sides"]["train"]:
        piece["recording"] = HOSTILE
    run.details = {f"null/{HOSTILE}": np.arange(9.0), f"controls/{HOSTILE}/{HOSTILE}": np.arange(3.0)}
    run.stretches[0].name, name = HOSTILE, run.stretches[0].name
    try:
        made = [render_report(run, [*sections(run), Section(HOSTILE, "<p>mine</p>")]), run_html(run)]
    finally:
        run.stretches[0].name = name
    for html in made:
        page = Page(html)
        assert page.wrong == []
        assert "script" not in {tag for tag, _ in page.tags}
        assert not [attrs for _, attrs in page.tags if "onerror" in attrs or attrs.get("src") == "x"]
        assert "\x1b" not in html
        assert "\u202e" not in html
        assert "alert(2)" in page.text


def test_a_null_score_says_why(html: str, stored: FakeRun) -> None:
    assert "pystoi is not installed" in Page(html).text
    table = score_table(stored.metrics)
    assert dict(table["rows"])["stoi"] == [("not computed: pystoi is not installed", "", None)]
    interval = dict(table["rows"])["identification"][1]
    assert "pools overlap" in table["notes"][interval[2] - 1][0]


def test_the_score_table_has_everything_beside_each_score(stored: FakeRun) -> None:
    table = score_table(stored.metrics)
    titles = [title for _, title in table["columns"]]
    first = dict(zip(titles, (text for text, _, _ in table["rows"][0][1]), strict=True))
    assert first == {
        "value": "0.612", "95 % interval": "0.571 to 0.648", "chance": "0.002", "p": "0.005", "mean": "0.000",
        "linear (ridge)": "0.607", "loudness": "0.580", "shuffled": "0.004", "relabelled": "−0.011",
        "noise": "0.008", "ceiling": "0.802",
    }  # fmt: skip
    assert table["rows"][0][1][3][1] == "smallest possible 0.0025"
    assert "mean of 3 refits" in {small for _, small, _ in table["rows"][0][1]}


def test_the_verdict_is_about_the_pipelines_first_metric(run: FakeRun) -> None:
    run.metrics["scores"] = dict(reversed(run.metrics["scores"].items()))
    assert main_score(run) == "mel_correlation"
    run.config["metrics"] = [{"use": "audio_seeg/mcd"}]
    assert main_score(run) == "mcd"
    run.config["metrics"] = []
    assert main_score(run) == "identification_rank"


def test_the_timeline_shows_sides_and_what_is_purged(stored: FakeRun) -> None:
    row = timeline(stored.split)["rows"][0]
    assert [mark[0] for mark in row["marks"]] == ["train", "val", "test"]
    assert row["marks"][0][1:] == pytest.approx((0, 1000 * 184 / 300))
    assert row["totals"] == pytest.approx({"train": 184, "val": 30, "test": 82, "not used": 4})


def test_a_long_timeline_says_what_it_leaves_out(run: FakeRun) -> None:
    side = run.split["folds"][0]["sides"]["train"]
    run.split["folds"][0]["sides"]["train"] = [{**side[0], "recording": f"r{i:02d}"} for i in range(40)]
    assert "more recordings" in small(run).text


def test_subjects_are_drawn_when_there_are_several(run: FakeRun) -> None:
    run.metrics["by_subject"] = {f"sub-{i:02d}": {"mel_correlation": 0.3 + i / 20} for i in range(5)}
    run.details = {}
    alts = [str(attrs["alt"]) for tag, attrs in Page(render_report(run)).tags if tag == "img"]
    assert [alt for alt in alts if "sub-04 0.50" in alt]


def test_a_bare_run_still_makes_a_page(run: FakeRun, tmp_path: Path) -> None:
    bare = FakeRun(tmp_path, {"pipeline": "x"}, {"scores": {}}, {}, {}, {}, [])
    page = Page(render_report(bare, sections(bare)))
    assert page.wrong == []
    assert "No result" in page.text
    assert "audio" not in {tag for tag, _ in page.tags}


def test_a_value_without_a_reason_says_so(run: FakeRun) -> None:
    run.metrics["reasons"] = {}
    assert {why for why, _ in score_table(run.metrics)["notes"]} == {"no reason was recorded"}


def test_missing_pieces_are_named(run: FakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    wanted = run.path / "artifacts" / "SIMULATED-test-0000.original.flac"
    (folder / wanted.name).write_bytes(wanted.read_bytes())
    (folder / "SIMULATED-test-0000.vocoded.flac").write_bytes(b"no audio")
    run.path, run.stretches = tmp_path, run.stretches[:1]
    listen = sections(run)[0].html
    page = Page(listen)
    assert page.wrong == []
    assert "vocoded : SIMULATED-test-0000.vocoded.flac cannot be read" in page.text
    assert "reconstructed : this run kept no such audio" in page.text
    assert sum(tag == "audio" for tag, _ in page.tags) == 1


def test_items_are_not_confused_by_their_beginnings(run: FakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    for name in ("a.original.flac", "ab.original.flac"):
        (folder / name).touch()
    run.path = tmp_path
    assert artifact(run, "ab", "original") == folder / "ab.original.flac"
    assert artifact(run, "SIMULATED-a", "original") == folder / "a.original.flac"
    assert artifact(run, "a", "vocoded") is None


def test_the_longest_stretches_with_audio_are_chosen(run: FakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    lengths = {"a": 40, "b": 90, "c": 3, "d": 50, "e": 60, "mute": 99}
    for name in "abcde":
        for made in (f"{name}.reconstructed.flac", f"{name}.reconstructed.1.flac"):
            soundfile.write(folder / made, np.zeros(800), 8000)
    mels = {name: np.zeros((length, 4)) for name, length in lengths.items()}
    run.path, run.stretches = tmp_path, [FakeItem(n, {"mel": m}, {"mel": m}, 10.0) for n, m in mels.items()]
    assert re.findall("<h3>(.*?)</h3>", sections(run)[0].html) == ["b", "d", "e"]
    assert artifact(run, "b", "reconstructed") == folder / "b.reconstructed.flac"
    run.stretches = run.stretches[2:3]
    assert re.findall("<h3>(.*?)</h3>", sections(run)[0].html) == ["c"]


def test_long_audio_is_cut(run: FakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    soundfile.write(folder / "long.original.flac", 0.1 * np.random.default_rng(0).standard_normal(60 * 8000), 8000)
    target = np.zeros((600, 80))
    run.path, run.stretches = tmp_path, [FakeItem("long", {"mel": target}, {"mel": target}, 10.0)]
    assert len(sections(run)[0].html) < (folder / "long.original.flac").stat().st_size
    assert "over 10.0 s" in sections(run)[0].html


def test_an_envelope_is_drawn_as_lines(run: FakeRun) -> None:
    wave = np.abs(np.sin(np.arange(200) / 9))[:, None]
    run.config["targets"] = {"envelope": [{"use": "audio_seeg/envelope"}]}
    run.stretches = [FakeItem("test-0000", {"envelope": wave}, {"envelope": wave * 0.8}, 50.0)]
    run.details = {}
    made = sections(run)
    assert [section.title for section in made] == ["Listen"]
    assert "envelope over 4.0 s" in made[0].html
    assert "mel spectrogram" not in made[0].html


def test_shifted_correlations_equal_the_loop() -> None:
    rng = np.random.default_rng(3)
    target, predicted = rng.standard_normal((50, 3)), rng.standard_normal((50, 3))
    predicted[:, 2] = 1.0
    fast = shifted_correlations(target, predicted)
    for shift in (0, 1, 17, 49):
        for column in (0, 1):
            r = np.corrcoef(target[:, column], np.roll(predicted[:, column], shift))[0, 1]
            assert fast[shift, column] == pytest.approx(r, abs=1e-9)
    assert np.all(fast[:, 2] == 0)


def test_a_figure_is_given_for_light_and_dark_pages_and_left_as_it_was() -> None:
    figure, axes = new_figure()
    axes.plot([0, 1], color="black", label="line")
    axes.set_title("a title")
    before = png(figure)
    html = figure_html(figure, HOSTILE, HOSTILE)
    assert html.count("data:image/png;base64,") == 2
    assert png(figure, dark=True) != before == png(figure)
    assert Page(html).wrong == []
    assert "<script" not in html
    assert figure.get_facecolor() == pytest.approx((*(int(PAPER[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1.0))


def test_only_audio_goes_into_a_player() -> None:
    assert "&lt;b&gt;" in audio_html(b"x", "audio/flac", "<b>")
    with pytest.raises(ValueError, match="no audio"):
        audio_html(b"x", 'audio/x" onload="y', "label")
    with pytest.raises(ValueError, match="no audio"):
        audio_html(b"x", "text/html", "label")


def test_mel_ticks_name_hertz_only_where_the_bins_are_all_there() -> None:
    from braindecode_hub_audio_seeg.mel import MelSpec

    labelled = mel_figure(np.zeros((20, 80)), 86.0, -1, 1, MelSpec()).axes[0]
    dropped = mel_figure(np.zeros((20, 72)), 86.0, -1, 1, MelSpec()).axes[0]
    assert labelled.get_ylabel().endswith("Hz")
    assert dropped.get_ylabel() == "mel bin"


def test_the_notebook_shows_flags_verdict_scores_and_players(stored: FakeRun) -> None:
    page = Page(run_html(stored))
    assert page.wrong == []
    assert "SIMULATED" in page.text
    assert "0.612" in page.text
    assert "chance 0.00" in page.text
    assert [attrs["aria-label"] for tag, attrs in page.tags if tag == "audio"] == [
        "original",
        "vocoded",
        "reconstructed",
    ]
    assert "report.html" in page.text


def test_lists_end_without_a_sign_of_something_missing(html: str) -> None:
    page = Page(html)
    assert "40 train, 8 val, 12 test; subjects: 1" in page.text
    bars = [str(attrs["aria-label"]) for tag, attrs in page.tags if tag == "svg" and "aria-label" in attrs]
    assert bars == ["sub-01/run-1: train 3 min 4 s, val 30 s, test 1 min 22 s, not used 4 s"]


def test_the_command_makes_the_run_again(html: str, run: FakeRun) -> None:
    assert "braindecode-hub run audio_seeg --preset smoke --seed 0" in Page(html).text
    run.config["run"] = {
        "preset": None,
        "seed": 7,
        "folds": 3,
        "subjects": None,
        "device": "auto",
        "dev": True,
    }
    assert command(run.config) == "braindecode-hub run audio_seeg --seed 7 --folds 3 --dev"


def test_a_unit_that_is_a_description_is_small_print(run: FakeRun) -> None:
    run.metrics["scores"]["identification"]["unit"] = "1 of 50, 5 s each"
    run.metrics["scores"]["identification"]["smallest_p"] = 0.0001
    cells = dict(score_table(run.metrics)["rows"])["identification"]
    assert cells[0] == ("0.310", "1 of 50, 5 s each", None)
    assert cells[3] == ("0.0025", "smallest possible 0.0001", None)

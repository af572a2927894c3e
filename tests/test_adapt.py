"""`adapt`: a new subject is learned from minutes beside a frozen fit, tested on what that fit was never given."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import contrastive_toy
import numpy as np
import pytest
from toy import RATE, Toy

torch = pytest.importorskip("torch")

import braindecode_hub as bdh  # noqa: E402
from braindecode_hub import refits  # noqa: E402
from braindecode_hub.adapting import adapted  # noqa: E402
from braindecode_hub.adapting import matched as matched_of  # noqa: E402
from braindecode_hub.calibration import divide, ladder, rung, seconds  # noqa: E402
from braindecode_hub.chain import Chain  # noqa: E402
from braindecode_hub.cli import main  # noqa: E402
from braindecode_hub.errors import HubError  # noqa: E402
from braindecode_hub.files import save_arrays  # noqa: E402
from braindecode_hub.prediction import Fits, pieces_of, preparing  # noqa: E402
from braindecode_hub.runfolder import Run  # noqa: E402
from braindecode_hub.splits import Split, check_fold, presented_by  # noqa: E402
from braindecode_hub.types import Array, Context, Trial  # noqa: E402
from braindecode_hub_speech_wav2vec.contrastive import Contrastive  # noqa: E402
from braindecode_hub_speech_wav2vec.personal_path import Windows, matched, solve  # noqa: E402
from braindecode_hub_speech_wav2vec.simpleconv_encoder import SimpleConvEncoder  # noqa: E402

# What is tested, and what is learned from


def trials(subject: str = "new", count: int = 12, length: float = 5.0, stimulus: str = "x") -> list[Trial]:
    """Sentences of `length` seconds, one after the other in one recording, each of a text of its own."""
    found = []
    for k in range(count):
        groups = {"subject": subject, "session": "1", "sentence": f"{stimulus} {k}"}
        start = 1.0 + k * (length + 1.0)
        found.append(
            Trial(f"{subject}-{k}", f"r-{subject}", start, start + length, f"{stimulus}{k}", 0.0, length, groups)
        )
    return found


SPLIT = Split(("subject", "sentence"), folds=4, gap_s=0.5)


def test_what_the_run_was_given_is_learned_from_and_never_tested() -> None:
    mine, given = trials(), trials("old")[3:]
    minutes = divide(mine, SPLIT, given)
    assert [trial.id for trial in minutes.test] == ["new-0", "new-1", "new-2"]
    assert [trial.id for trial in minutes.pool] == [f"new-{k}" for k in range(3, 12)]
    assert (minutes.candidates, minutes.heard) == (12, 9)
    assert not any(map(presented_by(given), minutes.test))


def test_the_same_text_under_another_name_was_given_too() -> None:
    renamed = [
        bdh.Trial(t.id, t.recording, t.start, t.stop, f"other-{t.stimulus}", 0.0, 5.0, t.groups) for t in trials()
    ]
    minutes = divide(renamed, SPLIT, trials("old")[3:])
    assert [trial.id for trial in minutes.test] == ["new-0", "new-1", "new-2"]


def test_the_same_text_in_another_spelling_was_given_too() -> None:
    shouted = [
        bdh.Trial(
            t.id, t.recording, t.start, t.stop, f"other-{t.stimulus}", 0.0, 5.0,
            {**t.groups, "sentence": f"{t.groups['sentence'].upper()}!"},
        )
        for t in trials()
    ]  # fmt: skip
    assert divide(shouted, SPLIT, trials("old")[3:]).heard == 9


def test_the_same_media_under_another_name_were_given_too() -> None:
    minutes = divide(trials(), SPLIT, [], lambda trial: trial.id in ("new-4", "new-5"))
    assert minutes.heard == 2
    assert {"new-4", "new-5"} <= {trial.id for trial in minutes.pool}


def test_if_nothing_is_left_to_test_the_number_of_candidates_is_said() -> None:
    with pytest.raises(HubError, match="0 of 12 candidates can be tested"):
        divide(trials(), SPLIT, trials("old"))


def test_where_all_is_new_the_runs_own_rules_choose_the_test_side() -> None:
    minutes = divide(trials(), SPLIT, trials("old", stimulus="y"))
    assert minutes.by == ("sentence",)
    assert (len(minutes.test), len(minutes.pool), minutes.heard) == (3, 9, 0)
    assert not any(map(presented_by(minutes.test), minutes.pool))


def test_where_little_was_given_most_of_the_new_is_learned_from() -> None:
    minutes = divide(trials(count=24), SPLIT, trials("old", count=4))
    assert len(minutes.test) == 5
    assert len(minutes.pool) == 19
    assert {"new-0", "new-1", "new-2", "new-3"} <= {trial.id for trial in minutes.pool}


def test_minutes_are_the_first_ones_and_pay_for_their_own_validation() -> None:
    minutes = divide(trials(count=40), SPLIT, trials("old", count=40)[10:])
    before: set[str] = set()
    for count in (0.4, 0.7, minutes.available):
        fold = rung(minutes, count, 3.0, SPLIT)
        used = [*fold.train, *fold.val]
        assert seconds(used) <= 60 * count + 1e-6
        assert before <= {trial.id for trial in used}
        assert max(t.start for t in fold.train) < min(t.start for t in fold.val)
        assert fold.test == minutes.test
        check_fold(fold, SPLIT.gap_s)
        before = {trial.id for trial in used}


def test_long_trials_are_cut_where_the_minutes_end() -> None:
    long = [Trial("a", "r", 0.0, 600.0, "story", 0.0, 600.0, {"subject": "new"})]
    minutes = divide(long, Split(("time_block",), folds=5, gap_s=1.0), [])
    fold = rung(minutes, 2.0, 5.0, Split(("time_block",), folds=5, gap_s=1.0))
    assert 115 < seconds(fold.train) + seconds(fold.val) <= 120
    assert 29 < seconds(fold.val) <= 30


def test_the_ladder_rises_to_what_is_asked_or_there() -> None:
    assert ladder(10.0, 30.0) == [1.0, 2.0, 5.0, 10.0]
    assert ladder(10.0, 7.3) == [1.0, 2.0, 5.0, 7.3]
    assert ladder(1.0, 30.0) == [0.1, 0.2, 0.5, 1.0]


# Few minutes do no harm


class Guess:
    """A shared fit by hand, whose estimates are the targets and noise, and what `adapt` makes of it."""

    learned_space = None

    def __init__(self, noise: float, after: float) -> None:
        self.noise, self.after = noise, after
        self.targets, self.frozen, self.decoder = {"mel": Chain()}, self, self
        self.steps: tuple[()] = ()

    def adapt(self, train: Any, val: Any, ctx: Context, encoder: Any = None) -> None:
        self.noise = self.after

    @property
    def tail(self) -> None:
        return None

    def decode(self, batch: Any) -> dict[str, Array]:
        target = batch.target["mel"]
        return {"mel": target + self.noise * np.random.default_rng(0).standard_normal(target.shape)}


@pytest.mark.parametrize(
    ("after", "sentences", "kept", "why"),
    [
        (0.5, 6, False, ""),
        (2.0, 6, True, "on 18 validation windows the adapted fit is not surely better"),
        (9.0, 6, True, "on 18 validation windows the adapted fit is not surely better"),
        (0.5, 1, True, "3 different validation windows do not tell"),
    ],
)
def test_a_shared_fit_stays_as_it_is_unless_validation_surely_says_that_adapting_helps(
    after: float, sentences: int, kept: bool, why: str
) -> None:
    train, val = contrastive_toy.view(0, 4, (2,)), contrastive_toy.view(4, 4 + sentences, (2,))
    found, told = adapted(lambda: Guess(2.0, after), train, val, Context())  # type: ignore[arg-type, return-value]
    assert (found.noise == 2.0) is (kept or after == 2.0)  # type: ignore[attr-defined]
    assert told.startswith(why) and bool(told) is kept


def test_windows_of_equal_targets_are_one_to_validation() -> None:
    twice = contrastive_toy.view(4, 6, (2,)).replace_targets(lambda items: [*items, *items])
    assert len(matched_of(Guess(1.0, 1.0), twice)) == 6  # type: ignore[arg-type]


# What is added to an estimate


def windows(rng: np.random.Generator, count: int, told: float, mixing: Array, noise: float = 1.0) -> Windows:
    target = rng.standard_normal((count, 20, 3))
    inputs = target @ mixing + noise * rng.standard_normal((count, 20, 6))
    return Windows(inputs, told * target + rng.standard_normal(target.shape), target)


def test_ridge_adds_what_the_estimate_leaves_and_nothing_where_nothing_is_left() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((3, 6))
    helped = solve([windows(rng, 40, 0.3, mixing)], [windows(rng, 20, 0.3, mixing)])
    assert helped.alpha is not None
    assert helped.matched > 2 * helped.before > 0
    idle = solve([windows(rng, 40, 0.3, 0 * mixing)], [windows(rng, 20, 0.3, 0 * mixing)])
    assert idle.alpha is None
    assert not idle.weights.any()
    few = solve([windows(rng, 4, 0.3, mixing)], [windows(rng, 2, 0.3, mixing)])
    assert few.alpha is None


def test_matched_counts_equal_targets_as_no_others() -> None:
    rng = np.random.default_rng(1)
    target = rng.standard_normal((6, 5, 2))
    twice = np.concatenate([target, target])
    np.testing.assert_allclose(matched(twice, twice)[:6], matched(target, target))


# The contrastive decoder

SHORT: dict[str, Any] = {"max_steps": 10, "validate_every": 5, "batch_size": 16, "tower_hidden": 8, "tower_depth": 2}
SNR = 0.3
Both = tuple[Contrastive, SimpleConvEncoder]


@cache
def trunk() -> tuple[Any, Any]:
    """States of a decoder and an encoder that know the subjects s0 and s1."""
    decoder, step = Contrastive(**SHORT), SimpleConvEncoder(hidden=8)
    sides = contrastive_toy.view(0, 16, (0, 1), SNR), contrastive_toy.view(16, 20, (0, 1), SNR)
    decoder.fit(*sides, Context(), encoder=Chain([step]))
    return decoder.state(), step.state()


def loaded(states: tuple[Any, Any] | None = None) -> Both:
    decoder, step = Contrastive(**SHORT), SimpleConvEncoder(hidden=8)
    for part, (arrays, values) in zip((decoder, step), states or trunk(), strict=True):
        part.load_state(arrays, values)
    return decoder, step


def learned(count: int = 20) -> Both:
    """The same, having learned s2 from so many sentences."""
    decoder, step = loaded()
    held = count // 4
    sides = contrastive_toy.view(0, count - held, (2,), SNR), contrastive_toy.view(count - held, count, (2,), SNR)
    decoder.adapt(*sides, Context(), encoder=Chain([step]))
    return decoder, step


def predicted(both: Both, subject: int) -> tuple[Array, Array]:
    batch = next(contrastive_toy.view(40, 70, (subject,), SNR).batches(1000))
    decoder, step = both
    estimate = decoder.decode(step.encode(batch.brain, batch), batch.brain)["deep_mel"]
    return estimate, decoder.embed(batch.target["mel"])["deep_mel"]


def test_a_new_subject_is_decoded_better_and_nobody_else_differently() -> None:
    before, after = loaded(), learned()
    assert contrastive_toy.top1(*predicted(after, 2)) > contrastive_toy.top1(*predicted(before, 2)) + 0.05
    for subject in (0, 1):
        for one, other in zip(predicted(before, subject), predicted(after, subject), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_trunk_stays_bit_for_bit() -> None:
    after = learned()
    for part, (arrays, _) in zip(after, trunk(), strict=True):
        now = part.state()[0]
        assert now.keys() == arrays.keys()
        for name, was in arrays.items():
            value = now[name]
            if value.shape == was.shape:
                np.testing.assert_array_equal(value, was, err_msg=name)
            else:  # a table with a row for each subject: the new one stands behind those that were known
                assert value.shape == (len(was) + 1, *was.shape[1:]), name
                kept = np.delete(value, 2, axis=0)
                np.testing.assert_array_equal(kept, was, err_msg=name)


def test_what_was_adapted_saves_and_loads() -> None:
    after = learned()
    again = loaded((after[0].state(), after[1].state()))
    for one, other in zip(predicted(after, 2), predicted(again, 2), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again[1].subjects_ == ["s0", "s1", "s2"]
    assert again[0].attention_.shape == (3, 11)


def test_adapting_twice_gives_the_same_bits() -> None:
    (one, _), (other, _) = learned()[1].state(), learned()[1].state()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize(("subjects", "said"), [((1, 2), "is given 2"), ((1,), "is known already")])
def test_one_new_subject_at_a_time(subjects: tuple[int, ...], said: str) -> None:
    decoder, step = loaded()
    sides = contrastive_toy.view(0, 6, subjects, SNR), contrastive_toy.view(6, 8, subjects, SNR)
    with pytest.raises(HubError, match=said):
        decoder.adapt(*sides, Context(), encoder=Chain([step]))


def test_a_montage_without_positions_is_refused() -> None:
    decoder, step = loaded()
    nowhere = [
        contrastive_toy.view(*side, (2,), SNR).replace_targets(
            lambda items: [replace(item, recording=replace(item.recording, positions=None)) for item in items]
        )
        for side in ((0, 6), (6, 8))
    ]
    with pytest.raises(HubError, match="s2 has no sensor positions"):
        decoder.adapt(*nowhere, Context(), encoder=Chain([step]))


# The whole way

PLUGIN = """
from braindecode_hub import hookimpl


@hookimpl
def register_components(register):
    register.dataset("local/toy", "toy:Toy")
    register.decoder("local/across", "test_montages:Across")
"""
REGISTRY = """
api: "1"
pipelines:
  toy:
    summary: Several toy subjects who are given the same
    flow: [toy, features]
    dataset: {use: local/toy, subjects: 4, stimuli: 16, seconds: 5.0, snr: 0.3, shared: true, extra: 1}
    targets: {features: [{use: core/zscore}]}
    encoder: [{use: speech_wav2vec/robust_scaler}, {use: speech_wav2vec/simpleconv, hidden: 8}]
    decoder: {use: speech_wav2vec/contrastive, target: frozen, max_steps: 2, validate_every: 1}
    baseline: {use: core/ridge, lags_s: [0.0, 0.2]}
    window: {length_s: 1.0, hop_s: 1.0, context_s: 0.5}
    unit_s: 1.0
    split: {by: [subject, stimulus], folds: 4, gap_s: 0.5}
    metrics: [core/top1, core/correlation]
    presets:
      alone: {encoder: [], decoder: {use: core/ridge, lags_s: [0.0, 0.2]}, split: {by: stimulus, folds: 4, gap_s: 0.5}}
      across: {encoder: [], decoder: {use: local/across, lags_s: [0.0, 0.2]}}
      together: {split: {by: stimulus, folds: 4, gap_s: 0.5}}
"""

Told = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with a plugin file and its registry, which tests run in."""
    folder = tmp_path_factory.mktemp("adapt")
    (folder / "braindecode_hub_local.py").write_text(PLUGIN)
    (folder / "braindecode_hub_local.yaml").write_text(REGISTRY)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)
    refits._studies.clear()
    sys.modules.pop("braindecode_hub_local", None)


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    """A run that has left one subject and some stimuli out."""
    return bdh.run("toy", until="fit", out=home / "runs")


@pytest.fixture(scope="module")
def curve(run: Run, home: Path) -> Path:
    """The folder of its adaptation, made in Python."""
    return bdh.adapt(run, minutes=0.9, out=home / "adapted").folder


@pytest.fixture
def hub(capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a command in this process; return its exit code and the lines of stdout and stderr."""

    def told(*words: Any) -> tuple[int, list[str], list[str]]:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out.splitlines(), err.splitlines()

    return told


def about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "adaptation.json").read_text("utf-8"))
    return found


def test_the_curve_rises_on_one_test_side_that_nobody_was_given(run: Run, curve: Path) -> None:
    told = about(curve)
    rungs = told["curve"]
    assert rungs[0]["how"] == "unknown subject"
    assert rungs[-1]["how"] == "adapted"
    for number, one in enumerate(rungs[1:], start=1):
        kept = one["how"] == "unknown subject"  # where validation cannot tell, the shared fit stays as it is
        assert (one["scores"] == rungs[0]["scores"]) is kept
        assert (f"curve.{number}.how" in told["reasons"]) is kept
    assert [rung["minutes"] for rung in rungs] == sorted(rung["minutes"] for rung in rungs)
    assert rungs[0]["minutes"] == 0
    assert rungs[-1]["minutes"] == pytest.approx(0.9)
    assert rungs[-1]["train_s"] + rungs[-1]["val_s"] <= 54
    top1 = [rung["scores"]["top1"]["value"] for rung in rungs]
    assert top1[-1] > top1[0] + 0.1
    assert {rung["scores"]["top1"]["chance"] for rung in rungs} == {1 / 20}
    assert set(rungs[-1]["baselines"]) == {"ridge"}
    assert rungs[-1]["differences"]["ridge"]["top1"]["ci95"] is not None
    [fold] = run.split["folds"]
    tested = {piece["stimulus"] for piece in fold["sides"]["test"]}
    assert not tested & {piece["stimulus"] for side in ("train", "val") for piece in fold["sides"][side]}
    assert (told["test"]["trials"], told["test"]["given_to_the_run"]) == (len(tested), 16 - len(tested))
    assert told["flags"] == ["SIMULATED"]


def test_the_page_stands_alone_and_says_simulated(curve: Path) -> None:
    shown = {path.name for path in curve.iterdir() if path.suffix != ".safetensors"}
    assert shown == {"adaptation.html", "adaptation.json", "curve.png"}
    page = (curve / "adaptation.html").read_text("utf-8")
    assert "SIMULATED" in page
    assert "ridge alone" in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)


def test_the_same_seed_gives_the_same_numbers(run: Run, curve: Path, home: Path, hub: Told) -> None:
    code, shown, _ = hub("adapt", run.path, "--minutes", 0.9, "--out", home / "again")
    assert code == 0
    assert shown[-1] == str(home / "again")
    assert shown[0].startswith("SIMULATED")
    assert "top1 of subject" in shown[1]
    assert about(home / "again")["curve"] == about(curve)["curve"]


def test_what_was_adapted_decodes_the_new_subjects_recordings(run: Run, curve: Path) -> None:
    [whose] = {piece["groups"]["subject"] for piece in run.split["folds"][0]["sides"]["test"]}
    toy = Toy(**{key: value for key, value in run.config["dataset"].items() if key != "use"})
    recording, state = toy.recording(f"{whose}-r0"), curve / about(curve)["curve"][-1]["state"]
    fit = Fits(run, 0, state=state).of(recording, None)
    with preparing(recording) as cache:
        [(_, name, _, values), *_] = pieces_of(fit, recording, toy, cache)
    [trial, *_] = [one for one in toy.trials() if one.recording == recording.id]
    first = round(trial.start * RATE)
    heard = toy.stimulus(str(trial.stimulus), toy.stimuli_spaces[0]).data
    assert name == "features"
    assert np.corrcoef(heard[:400, 0], values[first : first + 400, 0])[0, 1] > 0.3
    with pytest.raises(HubError, match="no file that `adapt` wrote"):
        Fits(run, 0, state=curve / "curve.png")


def test_a_new_subject_of_other_data(run: Run, home: Path) -> None:
    """Five subjects instead of four: the fifth is new, and was given what the others were."""
    done = bdh.adapt(run, set={"dataset.subjects": 5}, subject="s4", minutes=0.5, out=home / "fifth")
    assert done.about["test"]["given_to_the_run"] == 12
    assert done.about["subject"] == "s4"
    assert done.state.is_file()
    top1 = done.curve[-1]["scores"]["top1"]
    assert top1["value"] > top1["chance"]


def test_decoders_for_one_subject_are_fitted_anew(home: Path) -> None:
    fitted = bdh.run("toy", preset="alone", subjects=["s0"], until="fit", out=home / "runs")
    done = bdh.adapt(fitted, subject="s2", minutes=0.6, out=home / "alone")
    assert {rung["how"] for rung in done.curve} == {"fitted alone"}
    for one in done.curve:  # the pipeline is the baseline here
        for name, value in one["baselines"]["ridge"].items():
            assert one["scores"][name]["value"] == pytest.approx(value)
    again = bdh.predict(fitted, set={"dataset.subjects": 1, "dataset.channels": 6}, state=done.state, out=home / "said")
    assert list(again.shapes) == ["s0-r0"]


def test_minutes_that_hold_the_same_trials_are_one_rung(run: Run, home: Path) -> None:
    """Trials of 5 s belong to a rung as a whole: 0.56 minutes hold as many as half a minute."""
    done = bdh.adapt(run, minutes=0.56, out=home / "once")
    learned_from = [(rung["train_s"], rung["val_s"]) for rung in done.curve]
    assert len(set(learned_from)) == len(learned_from)
    assert [rung["minutes"] for rung in done.curve][-1] == 0.56
    assert 0.5 not in [rung["minutes"] for rung in done.curve]


def said(hub: Told, run: Run, *words: Any) -> str:
    """Return the cause of an `adapt` that is refused, and that left nothing behind."""
    before = sorted(run.path.rglob("*"))
    code, shown, lines = hub("adapt", run.path, *words)
    assert code in (1, 2)
    assert shown == []
    assert not any("Traceback" in line for line in lines)
    assert sorted(run.path.rglob("*")) == before
    [cause] = [line for line in lines if line.startswith("Error: ")]
    [_] = [line for line in lines if line.startswith("  Try: ")]
    return cause.removeprefix("Error: ")


def test_what_cannot_be_adapted_is_said_in_a_line(run: Run, home: Path, hub: Told) -> None:
    known = run.split["folds"][0]["sides"]["train"][0]["groups"]["subject"]
    assert f"subject '{known}' was given to" in said(hub, run, "--subject", known)
    assert "there is no subject 'nobody'" in said(hub, run, "--subject", "nobody")
    assert "less than one window" in said(hub, run, "--minutes", 0.01)
    assert "too few windows" in said(hub, run, "--minutes", 0.02)
    assert "--minutes is 0" in said(hub, run, "--minutes", 0)
    assert "several subjects are new" in said(hub, run, "--set", "dataset.subjects=6")
    unfinished = bdh.run("toy", until="prepare", out=home / "prepared")
    assert "is unfinished: it is prepared" in said(hub, unfinished)
    (home / "full").mkdir()
    (home / "full" / "file").touch()
    assert "not empty" in said(hub, run, "--out", home / "full")
    code, _, lines = hub("adapt", home / "nothing")
    assert code == 1
    assert "is not a run folder" in lines[0]


def test_who_was_left_out_by_name_alone_is_tested_on_the_runs_own_test_stimuli(home: Path, hub: Told) -> None:
    fitted = bdh.run("toy", preset="together", subjects=["s0", "s1"], until="fit", out=home / "runs")
    found = bdh.adapt(fitted, subject="s2", minutes=0.5, out=home / "unseen")
    assert (found.about["test"]["trials"], found.about["test"]["given_to_the_run"]) == (4, 12)
    [fold] = fitted.split["folds"]
    given = {piece["stimulus"] for side in ("train", "val") for piece in fold["sides"][side]}
    first = min(int(stimulus) for stimulus in set(map(str, range(16))) - given)
    if first:  # as many stimuli as come before the first that was tested: all were given
        told = said(hub, fitted, "--subject", "s2", "--set", f"dataset.stimuli={first}")
        assert f"0 of {first} candidates can be tested" in told
    one = ("--set", f"dataset.stimuli={first + 1}", "--set", "dataset.seconds=1.5")
    assert f"1 test candidate, of {first + 1} trials" in said(hub, fitted, "--subject", "s2", *one)


def test_a_shared_decoder_that_cannot_adapt_says_so(home: Path, hub: Told) -> None:
    fitted = bdh.run("toy", preset="across", set={"dataset.extra": 0}, until="fit", out=home / "runs")
    assert "Across serves all subjects with one fit" in said(hub, fitted, "--minutes", 0.5)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("inf"), float("nan")])
def test_minutes_are_a_number_above_0(run: Run, minutes: float) -> None:
    with pytest.raises(HubError, match="--minutes is") as problem:
        bdh.adapt(run, minutes=minutes)
    assert problem.value.usage


def test_what_was_adapted_from_another_run_decodes_nothing_in_this_ones_name(
    run: Run, curve: Path, home: Path, hub: Told
) -> None:
    other = bdh.run("toy", until="fit", seed=1, out=home / "others")
    state = curve / about(curve)["curve"][-1]["state"]
    for path, told in (
        (state, "was adapted from another run"),
        (home / "made.state.safetensors", "no file that `adap"),
    ):
        if path != state:
            save_arrays(path, {"x": np.zeros(3)}, {})
        code, _, errors = hub("predict", other.path, "--set", "dataset.subjects=5", "--state", path)
        assert code == 2
        assert told in errors[0]

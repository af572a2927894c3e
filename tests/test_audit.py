"""The audit finds the textbook leaks, names what they affect, and lets a clean design pass."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
from toy import Toy, toy_study

from braindecode_hub.audit import Audit, audit
from braindecode_hub.copies import duplicates
from braindecode_hub.design import Entry
from braindecode_hub.errors import HubError
from braindecode_hub.intervals import interval
from braindecode_hub.splits import Split

CLIPS, WINDOWS = 40, 10


def hub(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "braindecode_hub.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def rules(found: Audit, level: str = "leak") -> set[tuple[str, str]]:
    return {(one.rule, "/".join(one.sides)) for _, one in found.findings if one.level == level}


def clean(**changed: Any) -> list[dict[str, Any]]:
    """Ten trials of 4 s a side, a minute between the sides, every stimulus once."""
    rows = []
    for k, side in enumerate(("train", "val", "test")):
        for n in range(10):
            at = 100.0 * k + 4 * n
            rows.append(
                {"side": side, "recording": "r1", "start": at, "stop": at + 4, "stimulus": f"{side}{n}", "story": side}
            )
    for place, row in changed.items():
        rows[int(place[1:])] |= row
    return rows


# Tables


def test_a_clean_table_passes(tmp_path: Path) -> None:
    found = audit(table(tmp_path / "w.csv", clean()))
    assert found.leaks == []
    assert found.counts == {"train": 10, "val": 10, "test": 10}
    assert rules(found, "fact") >= {("gap", "train/test"), ("shared recording", "train/test")}
    assert not rules(found, "warning")


FAULTS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "a second of brain": ({"r25": {"start": 30.0, "stop": 34.0}}, ("brain seconds", "train/test")),
    "a second of validation": ({"r25": {"start": 102.0, "stop": 106.0}}, ("brain seconds", "val/test")),
    "a stimulus": ({"r25": {"stimulus": "train3"}}, ("stimulus", "train/test")),
    "a stimulus in validation": ({"r25": {"stimulus": "val3"}}, ("stimulus", "val/test")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_stands_on_two_sides_is_named_and_counted(tmp_path: Path, fault: str) -> None:
    changed, rule = FAULTS[fault]
    found = audit(table(tmp_path / "w.csv", clean(**changed)))
    assert rules(found) == {rule}
    [one] = [one for _, one in found.findings if one.level == "leak"]
    assert (one.affected, one.share) == (1, 0.1)
    assert len(found.leaks) == 1


def test_intervals_of_one_stimulus_may_stand_on_two_sides_unless_they_overlap(tmp_path: Path) -> None:
    rows = clean()
    for n, row in enumerate(rows):
        row |= {"stimulus": "story", "stimulus_start": 10.0 * n, "stimulus_stop": 10.0 * n + 4}
    assert audit(table(tmp_path / "a.tsv", rows)).leaks == []
    rows[29] |= {"stimulus_start": 13.0, "stimulus_stop": 17.0}
    assert rules(audit(table(tmp_path / "a.tsv", rows))) == {("stimulus", "train/test")}


def test_the_same_sentence_under_another_id_is_found(tmp_path: Path) -> None:
    rows = [{**row, "sentence": f"Sentence number {n}."} for n, row in enumerate(clean())]
    rows[21]["sentence"] = "SENTENCE, number 4"
    found = audit(table(tmp_path / "w.csv", rows))
    assert rules(found) == {("text", "train/test")}


def test_the_same_trial_id_and_validation_that_is_the_test_side(tmp_path: Path) -> None:
    rows = [{"id": n, **row} for n, row in enumerate(clean())]
    for n in range(10):
        rows[20 + n] = {**rows[10 + n], "side": "test"}
    found = audit(table(tmp_path / "w.csv", rows))
    assert rules(found) == {("trial", "val/test"), ("validation = test", "val/test"), ("stimulus", "val/test")}


def test_training_and_validation_that_overlap_are_a_warning_not_a_leak(tmp_path: Path) -> None:
    found = audit(table(tmp_path / "w.csv", clean(r15={"start": 8.0, "stop": 12.0})))
    assert found.leaks == []
    assert rules(found, "warning") == {("brain seconds", "train/val")}


def test_permuted_windows_of_one_clip_are_a_leak_and_trials_of_their_own_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sides = rng.permutation(["train"] * 70 + ["val"] * 10 + ["test"] * 20)
    rows = [{"set": s, "file": "a", "onset": 2.0 * n, "duration": 2.0} for n, s in enumerate(sides)]
    found = audit(table(tmp_path / "bare.csv", rows))
    assert ("neighbours", "train/test") in rules(found)
    clip = [{**row, "clip": "film", "stimulus_start": row["onset"]} for row in rows]
    assert ("neighbours", "train/test") in rules(audit(table(tmp_path / "clip.csv", clip)))
    own = [{**row, "image": f"i{n}"} for n, row in enumerate(rows)]
    assert audit(table(tmp_path / "own.csv", own)).leaks == []


def test_a_block_of_one_class_on_both_sides_is_a_block_design(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sides = rng.permutation(["train"] * 150 + ["test"] * 50)
    rows = [
        {"side": s, "start": 2.0 * n, "stop": 2.0 * n + 1, "label": f"c{n // 20}", "image": n}
        for n, s in enumerate(sides)
    ]
    assert ("block design", "train/test") in rules(audit(table(tmp_path / "a.csv", rows)))
    for row in rows:
        row["label"] = f"c{rng.integers(10)}"
    assert audit(table(tmp_path / "b.csv", rows)).leaks == []


def test_a_closed_set_is_a_fact_where_it_is_declared(tmp_path: Path) -> None:
    path = table(tmp_path / "w.csv", clean(r25={"stimulus": "train3"}))
    found = audit(path, closed_set=True)
    assert found.leaks == []
    assert ("stimulus", "train/test") in rules(found, "fact")


def test_json_tables_and_columns_of_other_names(tmp_path: Path) -> None:
    rows = [
        {"wo": row["side"], **{k: v for k, v in row.items() if k != "side"}}
        for row in clean(r25={"stimulus": "train3"})
    ]
    path = tmp_path / "w.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(HubError, match="no column says on which side"):
        audit(path)
    assert rules(audit(path, fields={"side": "wo"})) == {("stimulus", "train/test")}
    path.write_text(json.dumps({key: [row[key] for row in rows] for key in rows[0]}))
    assert rules(audit(split=path, fields={"side": "wo"})) == {("stimulus", "train/test")}


@pytest.mark.parametrize(
    ("change", "text"),
    [({"side": "nowhere"}, "'nowhere'"), ({"start": "noon"}, "start is 'noon'"), ({"stop": -1}, "before it starts")],
)
def test_a_table_that_cannot_be_read_is_two_lines(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    with pytest.raises(HubError, match=text):
        audit(table(tmp_path / "w.csv", clean(r3=change)))


# Our own splits


@pytest.mark.parametrize("by", ["stimulus", "time_block", "session"])
def test_our_own_splits_pass(tmp_path: Path, by: str) -> None:
    study = toy_study(Toy(recordings=4, stimuli=5), split={"by": by, "folds": 4, "gap_s": 1.0})
    data = {"closed_set": False, "folds": [fold.as_data() for fold in study.folds()]}
    (tmp_path / "split.json").write_text(json.dumps(data))
    found = audit(split=tmp_path / "split.json")
    assert found.leaks == []
    assert len({fold for fold, _ in found.findings}) == 4


def test_a_split_by_subject_alone_shares_its_stimuli(tmp_path: Path) -> None:
    trials = Toy(subjects=4, shared=True).trials()
    [first, *_] = Split(("subject",), folds=4, closed_set=True).make(trials)
    (tmp_path / "split.json").write_text(json.dumps({"folds": [first.as_data()]}))
    found = audit(split=tmp_path / "split.json")
    assert ("stimulus", "train/test") in rules(found)
    [one] = [o for _, o in found.findings if o.rule == "stimulus" and o.sides == ("train", "test")]
    assert one.share == 1


# Arrays


def film(path: Path, *, permuted: bool, seed: int = 0, scale: float = 1.0) -> Path:
    """Signal-free recordings: channels that drift, 2 s windows of clips in sequence, a vector for each clip's class."""
    rng = np.random.default_rng(seed)
    count = CLIPS * WINDOWS
    drift = np.cumsum(rng.standard_normal((12, count * 10)), axis=1)
    x = drift / drift.std(axis=1, keepdims=True) + 0.5 * rng.standard_normal(drift.shape)
    label = np.repeat(np.concatenate([rng.permutation(CLIPS // 2) for _ in range(2)]), WINDOWS)
    block = np.repeat(np.arange(CLIPS), WINDOWS)
    side = np.where(block < CLIPS // 2, "train", np.where(block < 0.6 * CLIPS, "val", "test"))
    arrays = {
        "X": scale * x.reshape(12, count, 10).transpose(1, 0, 2),
        "target": rng.standard_normal((CLIPS // 2, 16))[label],
        "label": label, "block": block, "side": rng.permutation(side) if permuted else side,
        "start": 2.0 * np.arange(count), "stop": 2.0 * np.arange(count) + 2,
    }  # fmt: skip
    np.savez(path, **arrays)
    return path


def test_windows_permuted_into_train_and_test_decode_from_no_signal_and_the_audit_says_why(tmp_path: Path) -> None:
    found = audit(film(tmp_path / "p.npz", permuted=True))
    ranks = {(check.name, check.decoder): check for check in found.checks}
    assert np.mean(ranks["as given", "nearest"].ranks) > 0.8  # far above .5, and nothing was presented to anybody
    for name in (
        ("time alone", "no brain"),
        ("relabelled", "ridge"),
        ("relabelled", "nearest"),
        ("surrogate", "ridge"),
    ):
        assert ranks[name].above is True
    assert ("block design", "train/test") in rules(found)
    assert any("block design" in line for line in found.leaks)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_data_split_by_blocks_pass(tmp_path: Path, seed: int) -> None:
    found = audit(film(tmp_path / "p.npz", permuted=False, seed=seed))
    assert found.leaks == []
    for check in found.checks:
        assert not check.above
        if len(check.ranks) > 1:
            low, high = interval(np.asarray(check.ranks), seed=0) or (0.5, 0.5)
            assert low < 0.6
            assert high > 0.4


def test_a_real_signal_in_a_clean_design_is_no_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((300, 8))
    x = np.einsum("nd,dct->nct", y, rng.standard_normal((8, 10, 5))) + rng.standard_normal((300, 10, 5))
    side = np.repeat(["train", "val", "test"], [180, 60, 60])
    np.savez(
        tmp_path / "p.npz",
        target=y,
        side=side,
        start=np.arange(300.0),
        stop=np.arange(300) + 1.0,
        stimulus=np.arange(300),
    )
    np.savez(tmp_path / "x.npz", brain_of_mine=x)
    found = audit(tmp_path / "p.npz", features=tmp_path / "x.npz")
    assert found.leaks == []
    ranks = {(check.name, check.decoder): float(np.mean(check.ranks)) for check in found.checks}
    assert ranks["as given", "ridge"] > 0.9
    assert abs(ranks["relabelled", "ridge"] - 0.5) < 0.1
    assert abs(ranks["surrogate", "ridge"] - 0.5) < 0.1


def test_duplicates_by_content_are_found_whatever_their_ids() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30, 20))
    rows[25] = rows[3]
    rows[26] = rows[4] + 1e-3 * rng.standard_normal(20)
    entries = [Entry("train" if n < 20 else "test", n) for n in range(30)]
    found = {one.rule: one.affected for one in duplicates("target", rows, entries)}
    assert found == {"equal target": 1, "nearly equal target": 1}
    assert duplicates("target", rng.standard_normal((30, 20)), entries) == []


def test_copies_with_noise_gain_offset_or_a_shift_are_found() -> None:
    rng = np.random.default_rng(0)
    rows = scipy.signal.lfilter([1], [1, -0.95], rng.standard_normal((300, 4, 100)))
    entries = [Entry("train" if n < 210 else "test", n) for n in range(300)]
    for changed in (
        rows[:30] + 0.3 * rows.std() * rng.standard_normal(rows[:30].shape),
        2.5 * rows[:30],
        rows[:30] + 5 * rows.std(),
        np.roll(rows[:30], 1, axis=-1),
    ):
        copied = np.concatenate([rows[:240], changed, rows[270:]])
        [one] = duplicates("features", copied, entries)
        assert one.rule == "nearly equal features"
        assert 28 <= one.affected <= 30


@pytest.mark.parametrize("bins", [2, 3, 5, 12])
def test_targets_of_few_dimensions_are_near_each_other_without_a_leak(bins: int) -> None:
    """Of 210 directions in a plane, one is always within a degree or so."""
    rng = np.random.default_rng(0)
    entries = [Entry("train" if n < 210 else "test", n) for n in range(300)]
    assert duplicates("target", rng.standard_normal((300, bins)), entries) == []
    assert duplicates("target", rng.standard_normal((300, bins)) @ rng.standard_normal((bins, 50)), entries) == []


def test_what_could_not_be_looked_at_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {"target": rng.standard_normal((120, 8)), "side": np.repeat(["train", "val", "test"], [80, 20, 20])}
    np.savez(
        tmp_path / "p.npz", X=rng.standard_normal((120, 6)) + 1j, start=np.arange(120) * 2000.0, seconds=2000.0, **given
    )
    unseen = " ".join(audit(tmp_path / "p.npz", refits=3).unseen)
    assert "X: it holds complex128" in unseen
    assert "no array of features" in unseen
    assert "milliseconds" in unseen
    with pytest.raises(HubError, match="-1 s are near"):
        audit(tmp_path / "p.npz", near_s=-1.0)


def test_teslas_are_audited_like_any_other_unit(tmp_path: Path) -> None:
    same = audit(film(tmp_path / "p.npz", permuted=True)).checks
    tiny = audit(film(tmp_path / "q.npz", permuted=True, scale=1e-14)).checks
    for one, other in zip(same, tiny, strict=True):
        assert one.above == other.above
        np.testing.assert_allclose(one.ranks, other.ranks, atol=0.02)
    rows = 1e-14 * np.random.default_rng(0).standard_normal((30, 20))
    rows[25], rows[26] = rows[3], 1.0001 * rows[4]
    entries = [Entry("train" if n < 20 else "test", n) for n in range(30)]
    assert {one.rule: one.affected for one in duplicates("features", rows, entries)} == {
        "equal features": 1,
        "nearly equal features": 1,
    }


def test_arrays_with_a_split_table_and_what_does_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", target=np.random.default_rng(0).standard_normal((30, 4)))
    path = table(tmp_path / "w.csv", clean())
    assert audit(tmp_path / "p.npz", split=path).leaks == []
    np.savez(tmp_path / "p.npz", target=np.zeros((29, 4)))
    with pytest.raises(HubError, match="29 rows for 30 trials"):
        audit(tmp_path / "p.npz", split=path)
    with pytest.raises(HubError, match="no field says on which side"):
        audit(tmp_path / "p.npz")
    with pytest.raises(HubError, match="nothing to audit"):
        audit()
    with pytest.raises(HubError, match="does not exist"):
        audit(tmp_path / "nowhere")


# The command line


def test_the_command_line_exits_with_one_where_there_is_a_leak(tmp_path: Path) -> None:
    bad = table(tmp_path / "bad.csv", clean(r25={"stimulus": "train3"}))
    done = hub("audit", str(bad), "--json", str(tmp_path / "found.json"))
    assert done.returncode == 1
    assert done.stderr == ""
    [line] = [line for line in done.stdout.splitlines() if line.startswith("LEAK: ")]
    assert "the same stimulus interval" in line
    assert json.loads((tmp_path / "found.json").read_text())["leaks"] == [line.removeprefix("LEAK: ")]
    good = hub("audit", "--split", str(table(tmp_path / "good.csv", clean())))
    assert good.returncode == 0
    assert "no leak was found in what was told" in good.stdout
    usage = hub("audit", str(bad), "--field", "nonsense")
    assert usage.returncode == 2
    assert "Traceback" not in usage.stderr


@pytest.mark.parametrize("kind", ["one-hot", "bool", "bool one-hot", "embeddings"])
def test_classes_without_a_label_are_a_closed_set_and_no_leak(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    which = rng.integers(0, 5, 200)
    targets = {
        "one-hot": np.eye(5)[which],
        "bool": rng.random((200, 5)) < 0.5,
        "bool one-hot": np.eye(5, dtype=bool)[which],
        "embeddings": rng.standard_normal((5, 16))[which],
    }
    side = rng.permutation(np.repeat(["train", "test"], [140, 60]))
    np.savez(tmp_path / "p.npz", target=targets[kind], side=side)
    found = audit(tmp_path / "p.npz", refits=3)
    [one] = [one for _, one in found.findings if one.rule == "closed set"]
    assert one.level == ("warning" if kind == "embeddings" else "fact")
    assert found.leaks == []


def test_stimuli_that_come_twice_are_no_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 16))[rng.permutation(np.repeat(np.arange(100), 2))]
    np.savez(tmp_path / "p.npz", target=rows, side=np.repeat(["train", "test"], [140, 60]))
    assert ("equal target", "train/test") in rules(audit(tmp_path / "p.npz", refits=3))


@pytest.mark.parametrize("kind", ["cauchy", "counts"])
def test_heavy_tails_and_counts_point_the_same_way_without_a_leak(kind: str) -> None:
    """One large value decides where a row points, and counts lie on a grid."""
    entries = [Entry("train" if n < 140 else "test", n) for n in range(200)]
    wrong = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 12])
        rows = rng.standard_cauchy((200, 12)) if kind == "cauchy" else rng.poisson(1.0, (200, 6))
        wrong += any(one.rule == "nearly equal features" for one in duplicates("features", rows, entries))
    assert wrong == 0


def test_rows_are_compared_in_blocks_that_do_not_grow_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 20))
    rows[250] = rows[3] + 1e-3 * rng.standard_normal(20)
    entries = [Entry("train" if n < 210 else "test", n) for n in range(300)]
    whole = duplicates("features", rows, entries)
    monkeypatch.setattr("braindecode_hub.copies.BLOCK", 500)
    assert [one.affected for one in whole] == [1]
    assert duplicates("features", rows, entries) == whole
    monkeypatch.setattr("braindecode_hub.copies.ROWS", 30)
    monkeypatch.setattr("braindecode_hub.copies.PRODUCTS", 1)
    rows[210:] = rows[:90] + 1e-3 * rng.standard_normal((90, 20))
    [one] = duplicates("features", rows, entries)
    assert one.affected >= 28
    assert one.share == one.affected / 30
    assert "among 30 of 90 test rows" in one.text

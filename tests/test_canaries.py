"""The canaries themselves: what they replace, what they say of what is no leak, and what they cannot show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import BRAIN, FEATURES, LABEL, Toy, toy_study

from braindecode_hub import Batch, Dataset, Encoder, Recording, Signal, Space, Trial, hookimpl
from braindecode_hub.cache import Cache
from braindecode_hub.canaries import check_learning, check_support
from braindecode_hub.catalogue import Catalogue, Plugin
from braindecode_hub.data_checks import scaling
from braindecode_hub.manager import Manager
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.substitution import HeldOut, Noisy, held_out, others_noise, raw_noise, view_noise
from braindecode_hub.types import ANY, Array, Context, Prediction

CTX = Context(cache=Cache(None))
RNG = np.random.default_rng(0)


class Odd(Ridge):
    """Ridge with faults: `random`, `infinite`, `adaptive`, `transductive`, `reader` (of the file `path`)."""

    def __init__(self, *, faults: list[str], path: str = "") -> None:
        super().__init__(lags_s=(0.0, 0.2), alphas=(1.0,))
        self.faults = faults
        self.path = path

    def fit(self, train: Any, val: Any, ctx: Context, *, encoder: Encoder) -> None:
        super().fit(train, val, ctx, encoder=encoder)
        if "random" in self.faults:
            self.noise_ = np.frombuffer(os.urandom(8), np.uint8).copy()
        if "infinite" in self.faults:
            self.trace_ = np.array([1.0, np.inf])
        if "reader" in self.faults:
            self.answer_ = np.load(self.path)[:, :3]

    def decode(self, z: Array, x: Array) -> Prediction:
        found = super().decode(z, x)
        if "adaptive" in self.faults:
            self.seen_ = float(np.abs(z).mean())
        if "transductive" in self.faults:
            found = {name: value - value.mean(axis=0) for name, value in found.items()}
        return found


class Filed(Toy):
    """The toy, its only recording read from a file."""

    def __init__(self, *, path: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.path = path

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        return {**Toy.parameters(), "path": Toy.parameters()["seed"].replace(name="path", annotation=str, default="")}

    def recording(self, id: str) -> Recording:
        recording = super().recording(id)
        np.load(self.path)
        return recording


class Deaf(Encoder):
    """Hears nothing of the recording."""

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        return np.ones_like(x)


@hookimpl
def register_components(register: Any) -> None:
    register.dataset("odd/toy", "toy:Toy")
    register.dataset("odd/filed", f"{__name__}:Filed")
    register.encoder("odd/deaf", f"{__name__}:Deaf")
    register.encoder("odd/average", "toy:MovingAverage")
    register.decoder("odd/ridge", f"{__name__}:Odd")


@pytest.fixture(scope="module")
def manager() -> Manager:
    return Manager(Catalogue({"odd": Plugin("odd", __name__, "tests")}))


def config(**changed: Any) -> dict[str, Any]:
    return {
        "pipeline": "odd",
        "plugin": "odd",
        "flow": ["toy", "features"],
        "dataset": {"use": "odd/toy", "stimuli": 6, "seconds": 4.0},
        "targets": {"features": [{"use": "core/zscore"}]},
        "encoder": [{"use": "odd/average"}, {"use": "core/zscore"}],
        "decoder": {"use": "core/ridge", "lags_s": [0.0, 0.2]},
        "window": {"length_s": 2.0, "context_s": 0.3},
        "split": {"by": "stimulus", "folds": 3, "gap_s": 0.5},
        "metrics": ["core/correlation"],
    } | changed


def test_what_is_not_deterministic_is_not_called_a_leak(manager: Manager) -> None:
    decoder = {"use": "odd/ridge", "faults": ["random"]}
    assert check_learning(config(decoder=decoder), manager, CTX) == [
        "not deterministic: what is learned changes (decoder/noise_) when the same fit is made twice"
    ]


def test_whatever_else_is_wrong_with_a_fit_is_named(manager: Manager, tmp_path: Path) -> None:
    path = tmp_path / "recording.npy"
    np.save(path, np.ones((4, 100)))
    faults = {"use": "odd/ridge", "faults": ["infinite", "adaptive", "transductive", "reader"], "path": str(path)}
    dataset = {"use": "odd/filed", "path": str(path), "stimuli": 6, "seconds": 4.0}
    assert check_learning(config(decoder=faults, dataset=dataset), manager, CTX) == [
        "not finite: decoder/trace_ after the fit",
        "leak: what is learned changes (values) when the test side is predicted",
        "leak: the prediction of one test stretch changes with the brain of the others: it uses test-set statistics",
        f"leak: the fit opens {path}, which holds data: what it learns comes through its views",
    ]


def test_a_substitution_that_does_not_arrive_is_said_to_show_nothing(manager: Manager) -> None:
    [problem] = check_support(config(encoder=[{"use": "odd/deaf"}]), manager, CTX)
    assert problem == "shows nothing: noise in the raw test samples does not reach the features of the test view"


@pytest.mark.parametrize(
    "changed",
    [
        {
            "dataset": {"use": "odd/toy", "stimuli": 6, "seconds": 4.0, "repeats": 3},
            "split": {"by": "time_block", "folds": 3, "gap_s": 0.5, "closed_set": True},
        },
        {
            "dataset": {"use": "odd/toy", "stimuli": 12, "seconds": 1.0, "static": True, "subjects": 2},
            "targets": {"label": [{"use": "core/zscore"}]},
            "window": {"length_s": 1.0, "context_s": 0.3},
            "split": {"by": "stimulus", "folds": 3},
        },
    ],
    ids=["a closed set", "static, two subjects"],
)
def test_honest_pipelines_of_other_kinds_are_clean(manager: Manager, changed: dict[str, Any]) -> None:
    assert check_learning(config(**changed), manager, CTX) == []
    assert check_support(config(**changed), manager, CTX) == []


# What is replaced


def test_noise_lies_where_it_is_asked_for_and_nowhere_else() -> None:
    data = RNG.standard_normal((3, 500)).astype(np.float32)
    data[1, 110:120] = np.nan
    noisy = Noisy(data, -1, [(100, 150), (400, 10**9)])
    whole = np.asarray(noisy)
    changed = np.zeros(500, bool)
    changed[100:150] = changed[400:] = True
    np.testing.assert_array_equal(whole[:, ~changed], data[:, ~changed])
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(data))
    assert not (whole[:, changed] == data[:, changed]).any()
    assert whole.dtype == np.float32
    assert np.nanstd(whole[:, changed]) == pytest.approx(3.0 * np.nanstd(data), rel=0.2)
    assert abs(np.corrcoef(whole[0, 400:499], whole[0, 401:500])[0, 1]) < 0.3


@pytest.mark.parametrize(
    "key",
    [np.s_[:, 90:160], np.s_[..., 130:], np.s_[1], np.s_[1:3, ::7], np.s_[:, [5, 120]], np.s_[-1, 140], np.s_[:]],
    ids=str,
)
def test_noise_is_the_same_however_it_is_sliced(key: Any) -> None:
    data = RNG.standard_normal((3, 500)).astype(np.float32)
    noisy = Noisy(data, 1, [(100, 150)])
    np.testing.assert_array_equal(noisy[key], np.asarray(noisy)[key])


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.bool_, np.float64])
def test_noise_keeps_the_dtype(dtype: Any) -> None:
    data = (RNG.random((400, 2)) * 200).astype(dtype)
    whole = np.asarray(Noisy(data, 0, [(0, 400)]))
    assert whole.dtype == data.dtype
    assert whole.shape == data.shape
    assert (whole != data).any()


def test_what_the_test_side_has_for_itself() -> None:
    def trial(name: str, start: float, stimulus: str, heard: tuple[float, float] | tuple[None, None]) -> Trial:
        return Trial(name, "r", start, start + 10.0, stimulus, *heard)

    from braindecode_hub.splits import Fold

    fold = Fold(
        0,
        (trial("a", 0.0, "x", (0.0, 10.0)), trial("b", 20.0, "still", (None, None))),
        (trial("c", 40.0, "y", (0.0, 10.0)),),
        (
            trial("d", 60.0, "x", (5.0, 15.0)),
            trial("e", 70.0, "still", (None, None)),
            trial("f", 90.0, "z", (0.0, 10.0)),
        ),
        0.0,
    )
    side = held_out(fold)
    assert side.brain == {"r": [(60.0, 80.0), (90.0, 100.0)]}
    assert side.stimuli == {"x": [(10.0, 15.0)], "z": [(0.0, 10.0)]}
    assert side.shared == {"x", "still", "y"}


def test_every_instance_is_changed_and_everything_is_put_back() -> None:
    toy = Toy(stimuli=3, seconds=4.0)
    trial = toy.trials()[1]
    plain = np.asarray(toy.recording(trial.recording).brain.data)
    side = HeldOut({trial.recording: [(trial.start, trial.stop)]}, {str(trial.stimulus): [(1.0, 3.0)]})
    before = dict(vars(Toy))
    calls: list[bool] = []
    with raw_noise(Toy, side, calls.append):
        for one in (toy, Toy(stimuli=3, seconds=4.0)):
            changed = np.asarray(one.recording(trial.recording).brain.data)
            times = np.arange(changed.shape[1]) / 100
            inside = (times >= trial.start - 1e-9) & (times < trial.stop - 1e-9)
            np.testing.assert_array_equal(changed[:, ~inside], plain[:, ~inside])  # though it is made of stimuli
            assert not (changed[:, inside] == plain[:, inside]).any()
            heard = np.asarray(one.stimulus(str(trial.stimulus), FEATURES).data)
            told = np.asarray(toy.stimulus("s0-r0-0", FEATURES).data)
        assert calls[0] is True
        assert calls[-1] is False
    assert dict(vars(Toy)) == before
    same = np.asarray(toy.stimulus(str(trial.stimulus), FEATURES).data)
    np.testing.assert_array_equal(heard[:101], same[:101])
    np.testing.assert_array_equal(heard[299:], same[299:])
    assert not (heard[101:299] == same[101:299]).any()
    np.testing.assert_array_equal(told, np.asarray(toy.stimulus("s0-r0-0", FEATURES).data))


def test_words_captions_and_stills_of_the_test_side_are_replaced_too() -> None:
    class Worded(Dataset):
        """Answers with what it is asked for."""

        brain = BRAIN  # type: ignore[assignment]
        stimuli_spaces = (LABEL,)  # type: ignore[assignment]
        data: Any = None

        def trials(self) -> list[Trial]:
            return []

        def recording(self, id: str) -> Recording:
            raise NotImplementedError

        def stimulus(self, id: str, space: Space) -> Signal:
            return Signal(self.data, None, "any")

        def fingerprint(self) -> str:
            return ""

    dataset = Worded()
    side = HeldOut({}, {"x": [(1.0, 2.0)], "still": [(-np.inf, np.inf)]}, frozenset({"x"}))
    for data, expected in (
        ([("one", 0.0, 0.9), ("two", 1.1, 1.5)], [("one", 0.0, 0.9), ("owt?", 1.1, 1.5)]),
        ("a cat", "tac a?"),
    ):
        dataset.data = data
        with raw_noise(Worded, side):
            assert dataset.stimulus("x", LABEL).data == expected
            assert dataset.stimulus("y", LABEL).data == data
    dataset.data = np.arange(6.0)
    with raw_noise(Worded, side):
        assert not (np.asarray(dataset.stimulus("still", LABEL).data) == dataset.data).any()
        np.testing.assert_array_equal(dataset.stimulus("x", LABEL).data, dataset.data)  # training has it too


def test_noise_in_a_test_view_keeps_shapes_and_changes_the_rest() -> None:
    study = toy_study(static=True, stimuli=30, seconds=0.5, channels=8, subjects=2)
    fold = study.folds()[0]
    view = study.view(fold, "test", hidden=True)
    noisy = view_noise(view, np.random.default_rng(0))
    [a], [b] = list(view.batches(999)), list(noisy.batches(999))
    assert a.brain.shape == b.brain.shape
    assert not (a.brain == b.brain).any()
    assert [t.id for t in a.trials] == [t.id for t in b.trials]
    assert [t.groups for t in a.trials] != [t.groups for t in b.trials]
    [c] = list(others_noise(view, 2, np.random.default_rng(0)).batches(999))
    same = (c.brain == a.brain).all(axis=(1, 2))
    np.testing.assert_array_equal(np.flatnonzero(same), [2])


# What is scaled as a whole


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda x: x, None),
        (lambda x: x - x.mean(axis=1, keepdims=True), None),
        (lambda x: (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True), "mean 0 and SD 1"),
        (
            lambda x: (
                (x - x.min(axis=1, keepdims=True)) / (x.max(axis=1, keepdims=True) - x.min(axis=1, keepdims=True))
            ),
            "a range from 0 to 1",
        ),
        (lambda x: (x > 0).astype(float), None),
    ],
    ids=["as recorded", "centred", "z-scored", "to a range", "spikes"],
)
def test_a_recording_scaled_as_a_whole_is_recognised(make: Any, found: str | None) -> None:
    x = make(RNG.standard_normal((4, 200_000)) * [[1.0], [3.0], [0.1], [20.0]] + 5.0).astype(np.float32)
    x = np.concatenate([x, np.zeros((1, x.shape[1]), np.float32), np.full((1, x.shape[1]), np.nan, np.float32)])
    names = ("a", "b", "c", "d", "flat", "bad")
    assert scaling(Recording("r", "s", "0", Signal(x, 100.0, "eeg", names), bads=("bad",))) == found


# The command


@pytest.mark.slow
def test_doctor_says_no_leak_found_in_audio_seeg_and_exits_1_where_there_is_one(tmp_path: Path) -> None:
    """A cheat as the plugin of a working directory: the command finds it, and says so."""
    small = {"contacts": 12, "shafts": 2, "stories": 3, "snr": 2.0}
    sets = [f"--set=dataset.{key}={json.dumps(value)}" for key, value in small.items()]
    command = [sys.executable, "-m", "braindecode_hub.cli", "doctor", "--leaks", "audio_seeg", "--preset", "smoke"]
    done = subprocess.run([*command, *sets], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines[:3]] == ["canary B, support", "canary A, learning", "metrics"]
    assert all(": clean (" in line for line in lines[:3])
    assert lines[3:] == ["no leak found"]
    (tmp_path / "braindecode_hub_local.py").write_text(CHEAT)
    cheat = ["--set=plugins=[local]", '--set=encoder.1={"use": "local/all"}']
    done = subprocess.run([*command, *sets, *cheat], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "canary A, learning: 1 problem" in done.stdout
    assert "  leak: what is learned changes (encoder/0.mean_" in done.stdout
    assert "no leak found" not in done.stdout
    done = subprocess.run([*command[:4], "--preset", "smoke"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2


CHEAT = """
import numpy as np
from braindecode_hub import hookimpl
from braindecode_hub.parts.zscore import ZScore

class All(ZScore):
    def fit(self, train, val, ctx):
        from braindecode_hub_audio_seeg.phantom import Phantom
        super().fit(train, val, ctx)
        everything = Phantom(contacts=12, shafts=2, stories=3, snr=2.0).recording("01").brain.data[:]
        self.mean_ = self.mean_ + np.float32(everything.std())

@hookimpl
def register_components(register):
    register.encoder("local/all", f"{__name__}:All")
"""

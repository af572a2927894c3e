"""Windows: every frame, in its place, with its context, and nothing of the answer on the test side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import RATE, Toy, toy_fold, toy_study

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.stretches import Prepared
from braindecode_hub.types import ANY, Array, Batch, Recording, Signal, Space, Trial
from braindecode_hub.view import View, Window, make_item

MEL = Space("mel", ("time", 3), 50.0)


def sensors(subject: str = "s0", channels: int = 1) -> Recording:
    positions = np.arange(3.0 * channels).reshape(channels, 3)
    return Recording(f"{subject}-r", subject, "0", Signal(None, RATE, "toy"), positions=positions)


def clock_view(
    trials: Sequence[tuple[float, float]] = ((1.0, 7.0),),
    *,
    window: Window | None = None,
    heard_from: float = 0.0,
    rate: float = RATE,
    drift: float = 0.0,
    origin: float = 0.0,
    stop: float = 30.0,
    hidden: bool = False,
    targets: dict[str, Space] | None = None,
) -> View:
    """A view whose brain says what second of the recording it is, and whose targets what second of stimulus."""
    targets = {"mel": MEL} if targets is None else targets
    times = origin + np.arange(round((stop - origin) * rate)) / rate
    brain = Prepared(times[None].astype(np.float32), rate, origin)
    stimuli = {}
    for name, space in targets.items():
        seconds = np.arange(round(60 * (space.rate or 1))) / (space.rate or 1)
        data = np.repeat(seconds[:, None], 3, axis=1) if space.rate else np.array([4.0, 5.0])
        stimuli[name] = Prepared(data.astype(np.float32), space.rate, 0.0)
    items = [
        make_item(
            Trial(
                f"t{n}",
                "s0-r",
                a,
                b,
                "x",
                heard_from,
                heard_from + (b - a) / (1 + drift),
                {"subject": "s0", "concept": "cat"},
            ),
            brain=brain,
            recording=sensors(),
            spaces={name: space.rate for name, space in targets.items()},
            stimuli=None if hidden else stimuli,
            hidden_as=n if hidden else None,
        )
        for n, (a, b) in enumerate(trials)
    ]
    space = Space("clock", ("channels", "time"), rate)
    return View(items, window=window or Window(1.0, 0.4, 0.3), space=space, targets=targets, subjects=["s0"])


def all_batches(view: View, size: int = 7, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
    batches = list(view.batches(size, rng))
    return np.concatenate([b.brain for b in batches]), np.concatenate([b.target["mel"] for b in batches])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.floats(0.05, 9.0), min_size=1, max_size=4),
    length_s=st.floats(0.04, 4.0),
    hop=st.floats(0.1, 1.0),
    heard_from=st.floats(0.0, 20.0),
)
def test_windows_cover_every_frame_and_no_other(
    lengths: list[float], length_s: float, hop: float, heard_from: float
) -> None:
    trials, at = [], 0.5
    for length in lengths:
        trials.append((at, at + length))
        at += length + 0.1
    view = clock_view(trials, window=Window(length_s, length_s * hop, 0.1), heard_from=heard_from, stop=at + 1)
    expected = {
        frame
        for a, b in trials
        for frame in range(int(np.ceil(heard_from * 50 - 1e-6)), int(np.floor((heard_from + b - a) * 50 + 1e-6)))
    }
    seen = {round(float(t) * 50) for batch in view.batches(5) for t in batch.target["mel"][..., 0].ravel()}
    assert seen == expected
    assert len(view) == sum(len(batch) for batch in view.batches(3))
    widths = {batch.target["mel"].shape[1] for batch in view.batches(3)}
    assert widths <= {view.frames("mel")} or view.frames("mel") == 0


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(lengths=st.lists(st.floats(0.1, 40.0), min_size=1, max_size=4), seconds=st.floats(0.2, 35.0))
def test_segments_hold_every_frame_once(lengths: list[float], seconds: float) -> None:
    for length in lengths:
        view = clock_view([(0.5, 0.5 + length)], heard_from=3.0, stop=45.0)
        segments = list(view.segments(seconds))
        frames = np.concatenate([segment.target["mel"][0, :, 0] for segment in segments])
        first = 150
        np.testing.assert_allclose(frames * 50, np.arange(first, first + len(frames)), atol=1e-3)
        assert len(frames) == int(np.floor((3.0 + length) * 50 + 1e-6)) - first
        assert all(len(segment) == 1 for segment in segments)


@pytest.mark.parametrize("rate", [100.0, 128.0, 2000 / 3])
@pytest.mark.parametrize("origin", [0.0, 0.37])
def test_brain_begins_a_context_before_the_first_frame_and_ends_a_context_after_the_last(
    rate: float, origin: float
) -> None:
    view = clock_view(((3.213, 9.5),), rate=rate, origin=origin, heard_from=1.005)
    brain, mel = all_batches(view)
    from_start = mel[:, 0, 0] - 1.005
    np.testing.assert_allclose(brain[:, 0, 0], 3.213 + from_start - 0.3, atol=0.51 / rate + 1e-4)
    assert brain.shape[-1] == np.ceil(round(1.6 * rate, 6))
    times = view.frame_times("mel")
    picked = brain[:, 0, np.rint(times * rate).astype(int)]
    np.testing.assert_allclose(picked - 3.213, mel[..., 0] - 1.005, atol=1.01 / rate + 1e-4)


def test_a_planted_lag_is_found_at_exactly_that_frame() -> None:
    """Windows of the toy, and not one sample to either side, correlate with the stimulus at the planted lag."""
    study = toy_study(lag_s=0.12, snr=20.0, stimuli=4, targets=())
    view = study.view(toy_fold(study), "train")
    gain = np.linalg.pinv(study.pipeline.dataset.mixing(4))  # type: ignore[attr-defined]
    lags = range(-10, 26)
    scores = []
    for lag in lags:
        pairs = [(gain @ b.brain[0], b.target["features"][0]) for b in view.segments()]
        at = [np.rint(view.frame_times("features", len(y)) * RATE).astype(int) + lag for _, y in pairs]
        found = np.concatenate([x[:, index].T for (x, _), index in zip(pairs, at, strict=True)])
        scores.append(np.corrcoef(found[:, 0], np.concatenate([y for _, y in pairs])[:, 0])[0, 1])
    assert lags[int(np.argmax(scores))] == 12
    assert max(scores) > 0.98


def test_edges_are_repeated_and_never_wrapped() -> None:
    view = clock_view(((5.0, 8.0),), window=Window(1.0, 1.0, 0.5), origin=5.0, stop=8.2)
    brain, _ = all_batches(view)
    np.testing.assert_array_equal(brain[0, 0, :50], 5.0)
    np.testing.assert_allclose(brain[0, 0, 50:], 5.0 + np.arange(150) / 100, atol=1e-5)
    np.testing.assert_allclose(brain[-1, 0, -31:], 8.19, atol=1e-5)
    assert (np.diff(brain[:, 0], axis=-1) >= 0).all()


def test_a_trial_outside_its_stretch_repeats_the_nearest_edge() -> None:
    before = clock_view(((1.0, 2.0),), origin=10.0, window=Window(1.0, None, 0.0))
    after = clock_view(((40.0, 41.0),), window=Window(1.0, None, 0.0))
    np.testing.assert_array_equal(all_batches(before)[0], 10.0)
    np.testing.assert_allclose(all_batches(after)[0], 29.99, atol=1e-5)


def test_drift_is_followed_over_a_long_trial() -> None:
    """The stimulus clock runs 1 % slow: after 25 s a window of frame n starts at n / rate · 1.01, not n / rate."""
    view = clock_view(((1.0, 26.25),), drift=0.01, window=Window(1.0, 1.0, 0.0))
    brain, mel = all_batches(view)
    np.testing.assert_allclose(brain[:, 0, 0], 1.0 + mel[:, 0, 0] * 1.01, atol=0.006)
    assert brain[-1, 0, 0] - 1.0 - mel[-1, 0, 0] > 0.2


def test_the_test_side_shows_a_number_subject_and_session_and_no_more() -> None:
    study = toy_study(subjects=1)
    view = study.view(toy_fold(study), "test", hidden=True)
    for number, trial in enumerate(view.trials):
        assert trial == Trial(
            f"test-{number:04d}", "", 0.0, trial.seconds, None, None, None, {"subject": "s0", "session": "0"}
        )
    for batch in (*view.batches(4), *view.segments()):
        assert batch.target == {}
        assert batch.recording is None
        for trial in batch.trials:
            assert (trial.recording, trial.start, trial.stimulus, trial.stimulus_start) == ("", 0.0, None, None)
            assert set(trial.groups) == {"subject", "session"}


def test_the_order_in_which_the_test_side_is_shown_says_nothing_of_when_it_was() -> None:
    """Numbered as it was presented, a trial would tell its time: it is shown in the seed's order, and put back."""
    orders = {}
    for seed in (0, 0, 1):
        study = toy_study(static=True, stimuli=90, seconds=0.5, channels=8, seed=seed)
        fold = toy_fold(study)
        seen, hidden = study.view(fold, "test"), study.view(fold, "test", hidden=True)
        first = [float(item.brain.origin) + item.trial.start for item in hidden.items]
        order = np.argsort(np.argsort(first)).tolist()
        assert [trial.id for trial in hidden.trials] == [f"test-{n:04d}" for n in range(len(order))]
        assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.5
        assert orders.setdefault(seed, order) == order
        decode = lambda batch: {"label": batch.brain[:, :6, 40]}  # noqa: E731
        np.testing.assert_array_equal(
            [one["label"] for one in seen.predict(decode, 7)], [one["label"] for one in hidden.predict(decode, 7)]
        )
    assert orders[0] != orders[1]


def test_asking_the_test_side_for_the_answer_is_one_line() -> None:
    study = toy_study()
    batch = next(study.view(toy_fold(study), "test", hidden=True).batches(2))
    with pytest.raises(HubError, match="a test batch has no target 'features'"):
        batch.target["features"]
    with pytest.raises(HubError, match="a test trial does not show its group 'story'"):
        batch.trials[0].groups["story"]
    assert batch.target.get("features") is None
    assert batch.trials[0].groups.get("story") is None


def test_hidden_windows_hold_the_same_brain_as_seen_ones() -> None:
    seen, hidden = clock_view(), clock_view(hidden=True)
    for a, b in zip(seen.batches(4), hidden.batches(4), strict=True):
        np.testing.assert_array_equal(a.brain, b.brain)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.floats(0.3, 12.0), min_size=1, max_size=3),
    length_s=st.floats(0.1, 5.0),
    hop=st.floats(0.1, 1.0),
    size=st.integers(1, 64),
)
def test_overlap_add_gives_a_known_signal_back(lengths: list[float], length_s: float, hop: float, size: int) -> None:
    """Whoever answers each window with the seconds that it covers gets the seconds back: none lost or stretched."""
    trials, at = [], 0.5
    for length in lengths:
        trials.append((at, at + length))
        at += length + 0.1
    view = clock_view(trials, window=Window(length_s, length_s * hop, 0.2), stop=at + 6.0, hidden=True)

    def decode(batch: Batch) -> dict[str, Array]:
        index = np.rint(view.frame_times("mel") * RATE).astype(int)
        return {"mel": batch.brain[:, 0, index][..., None] * np.array([1.0, 2.0, -1.0])}

    for (start, stop), found in zip(trials, view.predict(decode, size), strict=True):
        frames = int(np.floor((stop - start) * 50 + 1e-6))
        expected = start + np.arange(frames) / 50
        assert found["mel"].shape == (frames, 3)
        np.testing.assert_allclose(found["mel"], expected[:, None] * [1.0, 2.0, -1.0], atol=0.0151 * 2)


def test_overlap_add_of_the_true_frames_is_exact() -> None:
    view = clock_view(((1.0, 7.03), (8.0, 8.3)), window=Window(1.0, 0.3, 0.2), heard_from=2.0)
    truth = [item.targets["mel"] for item in view.items]
    for item, found in zip(truth, view.predict(lambda batch: batch.target), strict=True):
        np.testing.assert_allclose(found["mel"], item, rtol=1e-6)


def test_a_trial_that_holds_no_frame_is_named() -> None:
    view = clock_view(((1.0, 3.0), (4.0, 4.012)), hidden=True, heard_from=0.003)
    with pytest.raises(HubError, match=r"trial t1 \(0.012 s\) holds no frame of mel"):
        view.predict(lambda batch: {"mel": np.zeros((len(batch), 50, 3))})


def test_targets_of_two_rates_stay_together() -> None:
    targets = {"mel": MEL, "slow": Space("slow", ("time", 3), 10.0), "word": Space("word", (2,))}
    view = clock_view(((1.0, 9.0),), targets=targets, window=Window(2.0, 1.0, 0.1))
    for batch in view.batches(3):
        assert batch.target["mel"].shape[1:] == (100, 3)
        assert batch.target["slow"].shape[1:] == (20, 3)
        assert batch.target["word"].shape[1:] == (2,)
        np.testing.assert_allclose(batch.target["mel"][:, 0], batch.target["slow"][:, 0], atol=1e-5)
    for found in view.predict(lambda batch: batch.target):
        np.testing.assert_allclose(found["slow"][:, 0], np.arange(80) / 10, atol=1e-5)
        np.testing.assert_array_equal(found["word"], [4.0, 5.0])


def test_static_targets_have_one_window_a_trial() -> None:
    study = toy_study(static=True, stimuli=9, seconds=0.5, channels=8)
    fold = toy_fold(study)
    view = study.view(fold, "train")
    assert view.clock is None
    assert view.frames("label") == 0
    assert len(view) == len(fold.train)
    (batch,) = view.batches(100)
    assert batch.brain.shape == (len(fold.train), 8, round((0.5 + 0.6) * RATE))
    for trial, target in zip(batch.trials, batch.target["label"], strict=True):
        np.testing.assert_array_equal(target, study.pipeline.dataset.stimulus(str(trial.stimulus), None).data)  # type: ignore[arg-type]
    assert len(list(view.segments())) == len(fold.train)
    found = view.predict(lambda batch: batch.target, size=2)
    np.testing.assert_array_equal(np.stack([one["label"] for one in found]), batch.target["label"])


def test_subjects_with_other_montages_share_a_batch_shape_and_a_mask() -> None:
    study = toy_study(subjects=3, extra=2, stimuli=3, shared=True, split={"by": "stimulus", "folds": 3})
    view = study.view(toy_fold(study), "train")
    subjects = []
    for batch in view.batches(11):
        assert batch.brain.shape[1] == 8
        for x, mask, whose, places in zip(batch.brain, batch.channel_mask, batch.subject, batch.positions, strict=True):
            channels = 4 + 2 * int(whose)
            np.testing.assert_array_equal(mask, np.arange(8) < channels)
            assert not x[channels:].any()
            assert x[:channels].any(axis=1).all()
            np.testing.assert_array_equal(places[:channels], np.arange(3.0 * channels).reshape(-1, 3))
            assert np.isnan(places[channels:]).all()
            subjects.append(view.subjects[int(whose)])
    assert set(subjects) == {"s0", "s1", "s2"}
    assert {batch.brain.shape[1] for batch in view.segments()} == {8}


def test_only_the_given_stream_shuffles() -> None:
    view = clock_view(((1.0, 20.0),))
    plain = all_batches(view)[0]
    np.random.seed(1)
    np.testing.assert_array_equal(plain, all_batches(view, size=3)[0])
    a = all_batches(view, rng=np.random.default_rng(5))[0]
    b = all_batches(view, rng=np.random.default_rng(5))[0]
    c = all_batches(view, rng=np.random.default_rng(6))[0]
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, plain)
    assert not np.array_equal(a, c)
    np.testing.assert_array_equal(np.sort(a[:, 0, 0]), np.sort(plain[:, 0, 0]))


class Plus(Encoder):
    """Adds a number, says under which name it does, and notes at which rates it was called."""

    def __init__(self, *, number: float = 1.0, name: str = "more") -> None:
        self.number, self.name = number, name
        self.seen: list[Any] = []

    @property
    def consumes(self) -> Space:
        return ANY

    @property
    def produces(self) -> Space:
        return ANY if self.name == "*" else Space(self.name, (), "*")

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        self.seen.append(None if batch is None else batch.rate)
        return x + np.float32(self.number)


def test_through_feeds_what_encoders_make_and_leaves_the_first_view_alone() -> None:
    view = clock_view()
    one, two = Plus(number=1.0), Plus(number=10.0, name="most")
    more = view.through(one).through(two)
    np.testing.assert_allclose(all_batches(more)[0], all_batches(view)[0] + 11.0, rtol=1e-6)
    assert (view.space.name, more.space.name) == ("clock", "most")
    assert more.space.rate == RATE
    assert set(one.seen) == {RATE}
    np.testing.assert_array_equal(all_batches(more)[1], all_batches(view)[1])


def test_of_feeds_a_target_in_place_of_the_brain() -> None:
    view = clock_view()
    mel = view.of("mel")
    assert mel.space == MEL
    for batch in mel.batches(4):
        np.testing.assert_array_equal(batch.brain, batch.target["mel"])
        assert batch.rate == 50.0
    changed = mel.through(Plus(number=3.0, name="*"))
    np.testing.assert_allclose(
        np.concatenate([b.brain for b in changed.batches(4)]), all_batches(view)[1] + 3.0, rtol=1e-6
    )


def test_with_targets_changes_one_target_and_nothing_else() -> None:
    view = clock_view()
    changed = view.with_targets("mel", Plus(number=2.0, name="*")).with_targets("mel", Plus(number=3.0, name="*"))
    np.testing.assert_allclose(all_batches(changed)[1], all_batches(view)[1] + 5.0, rtol=1e-6)
    np.testing.assert_array_equal(all_batches(changed)[0], all_batches(view)[0])
    assert changed.rates == {"mel": 50.0}
    np.testing.assert_array_equal(next(changed.of("mel").batches(2)).brain, next(changed.batches(2)).target["mel"])


def test_seconds_and_trials_are_those_of_the_side() -> None:
    study = toy_study()
    fold = toy_fold(study)
    view = study.view(fold, "train")
    assert view.trials == list(fold.train)
    assert view.seconds == pytest.approx(sum(trial.seconds for trial in fold.train))


@pytest.mark.parametrize(
    ("window", "cause"),
    [
        ({"length_s": 1.0, "hop_s": 2.0}, r"window.hop_s is 2 s, longer than a window \(1 s\)"),
        ({"length_s": 0.0}, "window.length_s is 0 s"),
        ({"length_s": 1.0, "hop_s": -1.0}, "window.hop_s is -1 s"),
        ({"context_s": -0.1}, "window.context_s is -0.1 s"),
    ],
)
def test_a_window_that_would_leave_frames_out_is_refused(window: dict[str, float], cause: str) -> None:
    with pytest.raises(HubError, match=cause):
        Window(**window)


def test_a_clocked_target_needs_a_stimulus_clock() -> None:
    with pytest.raises(HubError, match="trial t has no stimulus clock, but target mel runs in time"):
        make_item(
            Trial("t", "r", 0.0, 1.0, "x"),
            brain=Prepared(np.zeros((1, 100)), RATE, 0.0),
            recording=sensors(),
            spaces={"mel": 50.0},
            stimuli=None,
        )


def test_the_toy_plants_what_it_says() -> None:
    """Regressing brain on the delayed stimulus gives the mixing back; with snr=0 there is nothing to give back."""
    for snr in (3.0, 0.0):
        data = Toy(snr=snr, stimuli=1, seconds=60.0)
        trial = data.trials()[0]
        brain, heard = data.recording(trial.recording).brain.data, data.stimulus("s0-r0-0", None).data  # type: ignore[arg-type]
        first = round((trial.start + data.lag_s) * RATE)
        weights = np.linalg.lstsq(heard, brain[:, first : first + len(heard)].T, rcond=None)[0].T
        np.testing.assert_allclose(weights, snr * data.mixing(4), atol=0.15)

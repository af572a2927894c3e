"""Controls: the same pipeline on data that must not be decodable.

`shuffled` exchanges training stimuli between groups (it tests the metric's chance); `relabelled` permutes stimuli
between presentation blocks before splitting (above its null it is a LEAK); `noise` replaces each whole recording by
a surrogate before any encoder. `above_chance` is the rule that judges their refits.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Dataset, Encoder
from braindecode_hub.lazy import Clipped, Joined, give_back, scratch
from braindecode_hub.surrogates import surrogate
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial
from braindecode_hub.view import Item, View

KINDS = ("shuffled", "relabelled", "noise")
SHORTEST_SHIFT_S = 10.0
RELABEL_BLOCK_S = 10.0


def shuffle_targets(view: View, rng: np.random.Generator) -> View:
    """Exchange stimuli within each recording: rolled by 10 s or more, or permuted between stimuli where static."""
    return view.replace_targets(lambda items: _shuffled(items, view, rng))


def relabel(trials: Sequence[Trial], rng: np.random.Generator) -> list[Trial]:
    """Move the stimuli of every presentation block to another block of its recording, before any split.

    A block: the trials of one group `block`; else a trial; of a long continuous one, 10 s. Within a block the order
    is turned by a random number of trials. Of two continuous blocks of unequal length the shorter's is kept, and of a
    long trial not the rest below 10 s. A recording with one block exchanges with others of its kind.
    """
    pieces = [piece for trial in trials if trial.stimulus is not None for piece in _presentation_blocks(trial)]
    relabelled: dict[str, Trial] = {}
    for blocks in _exchangeable(pieces):
        order = [int(k) for k in rng.permutation(len(blocks))]
        for taker, giver in zip(order, order[-1:] + order[:-1], strict=True):  # one cycle: no block keeps its own
            turned = int(rng.integers(len(blocks[giver])))
            for place, piece in enumerate(blocks[taker]):
                relabelled[piece.id] = _moved(piece, blocks[giver][(place + turned) % len(blocks[giver])])
    return [relabelled[piece.id] for piece in pieces]


def left_out(trials: Sequence[Trial], steps: Sequence[Encoder]) -> dict[str, str]:
    """Return which controls cannot be done, and why; `steps`: the continuous part of the encoder chain."""
    if not can_relabel(trials):
        return {"relabelled": "there are no two presentation blocks to exchange"}
    if any(step.support_s is None for step in steps):
        return {"relabelled": "an encoder of unlimited support cannot run on exchanged 10 s blocks"}
    return {}


def can_relabel(trials: Sequence[Trial]) -> bool:
    """Return whether there are two presentation blocks that `relabel` could exchange."""
    pieces = [piece for trial in trials if trial.stimulus is not None for piece in _presentation_blocks(trial)]
    return any(len(blocks) > 1 for blocks in _exchangeable(pieces))


class Over(Dataset):
    """A dataset with other recordings than the one underneath; all else is that one's."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def configuration(self) -> dict[str, Any]:
        """Return the configuration of the dataset underneath."""
        return self.dataset.configuration()

    @property
    def brain(self) -> Space:
        """The space of the recordings underneath."""
        return self.dataset.brain

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The spaces of the stimuli underneath."""
        return self.dataset.stimuli_spaces

    def trials(self) -> Sequence[Trial]:
        """Return the trials underneath."""
        return self.dataset.trials()

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the stimulus underneath."""
        return self.dataset.stimulus(id, space)


class Noise(Over):
    """Recordings that are surrogates of another's: same spectra and cross-spectra, no stimulus in them."""

    def __init__(self, dataset: Dataset, ctx: Context, number: int) -> None:
        super().__init__(dataset)
        self.ctx, self.number = ctx, number
        self._made: dict[str, Array] = {}

    def recording(self, id: str) -> Recording:
        """Return the recording with its samples replaced by a surrogate of the whole of it, made once."""
        recording = self.dataset.recording(id)
        if id not in self._made:
            rng, shape = self.ctx.rng("noise", self.number, id), recording.brain.data.shape
            self._made[id] = surrogate(_Finite(recording.brain.data), rng, out=scratch(shape))
        return dataclasses.replace(recording, brain=dataclasses.replace(recording.brain, data=self._made[id]))

    def fingerprint(self) -> str:
        """Return the fingerprint underneath, marked with this surrogate's seed and number."""
        return f"{self.dataset.fingerprint()} noise {self.ctx.seed} {self.number}"


class _Finite:
    """An array that is finite float32 where it is sliced: bad channels may hold anything."""

    def __init__(self, data: Array) -> None:
        self._data, self.shape, self.ndim = data, data.shape, len(data.shape)

    def __getitem__(self, key: Any) -> Array:
        read = np.nan_to_num(np.asarray(self._data[key], np.float32))
        give_back([self._data])
        return read


class Oracle(Over):
    """Recordings that are what an observer who knows the forward model makes of another's (the ceiling)."""

    @property
    def brain(self) -> Space:
        """Sources over time."""
        return Space("oracle", ("channels", "time"), "*")

    def recording(self, id: str) -> Recording:
        """Return the recording with the oracle's sources as its channels."""
        signal = self.dataset.oracle(id)
        assert signal is not None, "the caller asks only where an oracle is known"
        recording = self.dataset.recording(id)
        return Recording(recording.id, recording.subject, recording.session, signal, breaks=recording.breaks)

    def fingerprint(self) -> str:
        """Return the fingerprint underneath, marked as the oracle's."""
        return f"{self.dataset.fingerprint()} oracle"


def above_chance(refits: npt.ArrayLike, chance: float, margin: float) -> bool | None:
    """Whether a control is above chance: by two standard errors across refits, and by a margin.

    With few refits "two" is Student's 97.5 % quantile (4.3 of them for R = 3, 2.1 for 20): a spread
    estimated from three scores is often far too small.

    refits: (R,) scores of independent refits; margin: what does not matter below (r .1; for top-1,
    chance itself, so that twice chance is the bar). None with fewer than 3 refits: printed, not
    judged. Raises HubError on scores that are not finite.
    """
    scores = np.asarray(refits, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite([*scores, chance, margin]).all():
        raise HubError(f"no verdict on refits of shape {scores.shape}", "give (R,) finite scores")
    if len(scores) < 3:
        return None
    excess = float(scores.mean()) - chance
    errors = max(2.0, float(stdtrit(len(scores) - 1, 0.975)))
    return excess > margin and excess > errors * float(scores.std(ddof=1)) / math.sqrt(len(scores))


def _shuffled(items: list[Item], view: View, rng: np.random.Generator) -> list[Item]:
    if view.clock is None:
        return _permuted(items, rng, list(view.targets))
    by_recording: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        by_recording[item.trial.recording].append(number)
    out = _permuted(items, rng, [name for name, rate in view.rates.items() if rate is None])
    for members in by_recording.values():
        lengths = np.array([items[k].trial.seconds for k in members])
        low = min(SHORTEST_SHIFT_S, lengths.sum() / 3)
        shift_s = rng.uniform(low, lengths.sum() - low)
        for name, rate in view.rates.items():
            if rate is not None:
                rolled = _rolled([items[k].targets[name] for k in members], shift_s, rate)
                for number, array in zip(members, rolled, strict=True):
                    out[number] = dataclasses.replace(out[number], targets={**out[number].targets, name: array})
    return out


def _rolled(arrays: Sequence[Array | None], shift_s: float, rate: float) -> list[Array | None]:
    """Roll what `arrays` make together by `shift_s` and cut it back into their lengths, unread."""
    if any(array is None for array in arrays):
        return list(arrays)
    rolled, at, found = Joined([array for array in arrays if array is not None], round(shift_s * rate)), 0, []
    for part in rolled.parts:
        found.append(Clipped(rolled, at, len(part)))
        at += len(part)
    return list(found)


def _permuted(items: list[Item], rng: np.random.Generator, names: Sequence[str]) -> list[Item]:
    """Give every stimulus the targets `names` of another one, within each recording that has several."""
    out = list(items)
    by_recording: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        by_recording[item.trial.recording].append(number)
    for members in _pooled(by_recording.values(), lambda some: len({items[k].trial.stimulus for k in some})):
        first = {items[k].trial.stimulus: k for k in members}
        stimuli = sorted(first, key=str)
        order = rng.permutation(len(stimuli))
        given = {stimuli[order[k]]: stimuli[order[k - 1]] for k in range(len(stimuli))}
        for k in members:
            source = items[first[given[items[k].trial.stimulus]]].targets
            targets = {**items[k].targets, **{name: source[name] for name in names}}
            out[k] = dataclasses.replace(items[k], targets=targets)
    return out


def _exchangeable(pieces: Sequence[Trial]) -> list[list[list[Trial]]]:
    """Return, for each recording, its presentation blocks (lists of pieces)."""
    recordings: dict[str, list[Trial]] = defaultdict(list)
    for piece in pieces:
        recordings[piece.recording].append(piece)
    found = []
    for own in recordings.values():
        blocks: dict[str, list[Trial]] = defaultdict(list)
        for piece in own:
            blocks[piece.groups.get("block", f"trial {piece.id}")].append(piece)
        found.append(list(blocks.values()) if len(blocks) > 1 else [[piece] for piece in own])
    return _pooled(found, len)


def _pooled(recordings: Iterable[list[Any]], different: Callable[[list[Any]], int]) -> list[list[Any]]:
    """Return the recordings that hold several different things, and all others as one."""
    several, alone = [], []
    for some in recordings:
        if different(some) > 1:
            several.append(some)
        else:
            alone.extend(some)
    return [*several, alone] if alone else several


def _moved(place: Trial, given: Trial) -> Trial:
    """Return `place` with what was given elsewhere, both cut to the shorter where the stimulus runs in time."""
    if given.stimulus_start is not None and place.stimulus_start is not None:
        seconds = min(place.seconds, given.seconds)
        place = place.cut(place.start, place.start + seconds, place.id)
        given = given.cut(given.start, given.start + seconds, given.id)
    return dataclasses.replace(
        place,
        stimulus=given.stimulus,
        stimulus_start=given.stimulus_start,
        stimulus_stop=given.stimulus_stop,
        groups={**place.groups, **_stimulus_groups(given)},
    )


def _presentation_blocks(trial: Trial) -> list[Trial]:
    if trial.stimulus_start is None or trial.seconds < 2 * RELABEL_BLOCK_S:
        return [trial]
    count = int(trial.seconds // RELABEL_BLOCK_S)
    starts = [trial.start + k * RELABEL_BLOCK_S for k in range(count)]
    return [trial.cut(start, start + RELABEL_BLOCK_S, f"{trial.id}+{k}") for k, start in enumerate(starts)]


def _stimulus_groups(trial: Trial) -> dict[str, str]:
    """Return the groups that describe the stimulus, not the session: they move with it."""
    fixed = {"subject", "session", "run", "block", "time_block", "split"}
    return {key: value for key, value in trial.groups.items() if key not in fixed}

"""core/embeddings: brain arrays with precomputed features of what was presented, in place of the media."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.interfaces import Dataset
from braindecode_hub.parts.embedding_files import EndToEnd, Part, open_parts
from braindecode_hub.parts.fingerprints import sampled_hash
from braindecode_hub.parts.opening import Axis, Floats
from braindecode_hub.splits import SIDES
from braindecode_hub.submission import side_name
from braindecode_hub.types import Context, Recording, Signal, Space, Trial

APART_S = 1e-6


@dataclass(frozen=True)
class _Session:
    """One recording: which part, and which epochs of it in order (None: the part is one continuous recording)."""

    part: Part
    epochs: tuple[int, ...] | None
    subject: str
    session: str


class Embeddings(Dataset):
    """Brain and embeddings as files: `path` holds X.npy and targets.npy, and often trials.csv (.tsv, .json).

    X.npy (or brain.npy) is (trials, channels, time), or one continuous recording (channels, samples) or (samples,
    channels). targets.npy is (trials, dim), or with `target_rate` (trials, frames, dim), or beside a continuous
    recording (frames, dim). trials.csv has one row a trial: stimulus (equal ids are one stimulus), subject, session,
    block, split (train, val, test), whatever else a split may go by, and `target`, the row of targets.npy where that
    is not the trial's own; beside a continuous recording also start and stop in seconds. Or `path` holds one such
    folder a subject; targets.npy may then stand in `path` itself.

    `rate`: Hz of the brain; `brain`: what was recorded (eeg, meg, fmri …); `space`: the name of the targets' Space;
    `onset_s`: seconds from the start of an epoch to the stimulus; `axis`: as in core/folder; `simulated`: no brain was
    recorded. Nothing is unpickled; arrays are memory-mapped.
    """

    licence = "your own"
    source = "files of your own"

    def __init__(
        self,
        *,
        path: str,
        rate: float | None = None,
        brain: str = "eeg",
        space: str = "embedding",
        target_rate: float | None = None,
        onset_s: float = 0.0,
        axis: Axis = "auto",
        line_freq: float | None = None,
        channels: list[str] = [],  # noqa: B006 (never changed: configuration)
        bads: list[str] = [],  # noqa: B006
        simulated: bool = False,
    ) -> None:
        self.path = path
        self.rate = rate
        self._brain = brain
        self.space = space
        self.target_rate = target_rate
        self.onset_s = onset_s
        self.axis: Axis = axis
        self.line_freq = line_freq
        self.channels = channels
        self.bads = bads
        self.simulated = simulated  # type: ignore[misc]  # here one's own choice, not the class's

    _opened: list[Part] | None = None
    _plan: tuple[dict[str, _Session], list[Trial], dict[str, tuple[Part, int]]] | None = None
    _hash: tuple[Any, str] | None = None

    @property
    def brain(self) -> Space:
        """Every channel of the array; its rate is the one that was given."""
        return Space(self._brain, ("channels", "time"), float(self.rate) if self.rate else "*")

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The embeddings: (features,), or (time, features) at `target_rate`."""
        if self.target_rate is None:
            return (Space(self.space, ("features",)),)
        return (Space(self.space, ("time", "features"), float(self.target_rate)),)

    def prepare(self, ctx: Context) -> None:
        """Open the files and check that trials, brain and targets belong together.

        Raises HubError for what is missing, of other length, not finite, or contradictory.
        """
        self._opened = self._plan = None
        for part in self._parts():
            if not all(np.isfinite(part.targets[n : n + 4096]).all() for n in range(0, len(part.targets), 4096)):
                raise HubError(f"{part.files[1]} holds NaN or infinity", "leave those trials out, or repair them")
        self._check_repeats()

    def trials(self) -> Sequence[Trial]:
        """Return one trial for each row of the table, from the stimulus's onset to the end of the epoch."""
        return list(self._planned()[1])

    def recording(self, id: str) -> Recording:
        """Return a session's epochs end to end, with breaks between them, or the continuous recording; lazy."""
        sessions = self._planned()[0]
        if id not in sessions:
            raise HubError(f"there is no recording '{id}'", did_you_mean(id, sessions))
        one = sessions[id]
        data: Any = Floats(one.part.brain) if one.epochs is None else EndToEnd(one.part.brain, one.epochs)
        count = int(data.shape[0])
        if self.channels and len(self.channels) != count:
            raise HubError(f"{id} has {count} channels, but {len(self.channels)} are named", "name each, in order")
        names = tuple(self.channels) or tuple(f"ch{n:0{len(str(count))}d}" for n in range(1, count + 1))
        unknown = [bad for bad in self.bads if bad not in names]
        if unknown:
            raise HubError(f"{id} has no channel '{unknown[0]}'", did_you_mean(unknown[0], names), usage=True)
        seconds = 0.0 if one.epochs is None else self._epoch_s(one.part)
        breaks = tuple(n * seconds for n in range(1, len(one.epochs or ())))
        signal = Signal(data, self._hz(), self._brain, names)
        return Recording(
            id, one.subject, one.session, signal, bads=tuple(self.bads), line_freq=self.line_freq, breaks=breaks
        )

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the embedding (dim,), or (frames, dim) at `target_rate`, float32."""
        where = self._planned()[2]
        if id not in where:
            raise HubError(f"there is no stimulus '{id}'", did_you_mean(id, where))
        part, row = where[id]
        if self.target_rate is None:
            return Signal(np.array(part.targets[row], np.float32), None, self.space)
        data = part.targets if row < 0 else part.targets[row]
        return Signal(Floats(data), float(self.target_rate), self.space)

    def fingerprint(self) -> str:
        """Return a hash of every file's size, time of change and (sampled) contents, and of the configuration."""
        files = sorted({path for part in self._parts() for path in part.files})
        stats = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        if self._hash is None or self._hash[0] != stats:
            self._hash = stats, Cache.key(files=stats, contents=[sampled_hash(path) for path in files])
        return Cache.key(
            kind="embeddings", version=self.version, configuration=self.configuration(), files=self._hash[1]
        )

    def _hz(self) -> float:
        if not self.rate or not (math.isfinite(self.rate) and self.rate > 0):
            raise HubError(f"{self.path} does not say its sampling rate", "give it: --set dataset.rate=250", usage=True)
        return float(self.rate)

    def _parts(self) -> list[Part]:
        if self._opened is None:
            self._opened = open_parts(self.path, self.axis, self.target_rate)
        return self._opened

    # Trials

    def _planned(self) -> tuple[dict[str, _Session], list[Trial], dict[str, tuple[Part, int]]]:
        if self._plan is None:
            sessions: dict[str, _Session] = {}
            trials: list[Trial] = []
            stimuli: dict[str, tuple[Part, int]] = {}
            for part in self._parts():
                several = len(self._parts()) > 1
                (self._epochs if part.brain.ndim == 3 else self._stretches)(part, several, sessions, trials, stimuli)
            self._plan = sessions, trials, stimuli
        return self._plan

    def _epochs(
        self,
        part: Part,
        several: bool,
        sessions: dict[str, _Session],
        trials: list[Trial],
        stimuli: dict[str, tuple[Part, int]],
    ) -> None:
        """Lay the epochs of each session end to end: trial n stands at n times an epoch's length."""
        seconds = self._epoch_s(part)
        if not 0 <= self.onset_s < seconds:
            raise HubError(
                f"dataset.onset_s is {self.onset_s:g} s, an epoch has {seconds:g} s",
                "give 0 or more, within the epoch",
                usage=True,
            )
        members: dict[tuple[str, str], list[int]] = {}
        for number, row in enumerate(part.rows):
            own = row.get("subject", part.name if several else "1"), row.get("session", "1")
            members.setdefault(own, []).append(number)
        for (subject, session), epochs in members.items():
            recording = f"{subject}-{session}"
            if recording in sessions:
                raise HubError(f"subject {subject}, session {session} stands in two folders", "name subjects apart")
            sessions[recording] = _Session(part, tuple(epochs), subject, session)
            for place, number in enumerate(epochs):
                start, stop = place * seconds + self.onset_s, (place + 1) * seconds
                trials.append(self._trial(part, number, recording, subject, session, start, stop, stimuli))

    def _stretches(
        self,
        part: Part,
        several: bool,
        sessions: dict[str, _Session],
        trials: list[Trial],
        stimuli: dict[str, tuple[Part, int]],
    ) -> None:
        """Take trials of a continuous recording from the table, or all of it where targets run beside it."""
        length = part.brain.shape[-1] / self._hz()
        subject = part.rows[0].get("subject", part.name if several else "1")
        session = part.rows[0].get("session", "1")
        if len({(row.get("subject"), row.get("session")) for row in part.rows}) > 1:
            raise HubError(f"{part.files[0]} is one recording, but its trials name several", "use a folder for each")
        recording = f"{subject}-{session}"
        if recording in sessions:
            raise HubError(f"subject {subject}, session {session} stands in two folders", "name subjects apart")
        sessions[recording] = _Session(part, None, subject, session)
        for number, row in enumerate(part.rows):
            start = self._seconds(part, row, number, "start", None if part.listed and not part.alone else 0.0)
            after = None if "seconds" not in row else start + self._seconds(part, row, number, "seconds", None)
            stop = self._seconds(part, row, number, "stop", length if part.alone and after is None else after)
            if not 0 <= start < stop <= length + 1.5 / self._hz():
                raise HubError(
                    f"trial {number} of {part.name} goes from {start:g} to {stop:g} s; the recording has {length:g} s",
                    "check start, stop and dataset.rate",
                )
            trials.append(self._trial(part, number, recording, subject, session, start, min(stop, length), stimuli))

    def _trial(
        self,
        part: Part,
        number: int,
        recording: str,
        subject: str,
        session: str,
        start: float,
        stop: float,
        stimuli: dict[str, tuple[Part, int]],
    ) -> Trial:
        row = part.rows[number]
        at = -1 if part.alone else self._target_row(part, row, number)
        stimulus = row.get("stimulus") or (
            f"features-{sampled_hash(part.files[1])[:12]}" if part.alone else f"embedding-{part.contents[at]}"
        )
        stimuli.setdefault(stimulus, (part, at))
        clock: tuple[float | None, float | None] = (None, None)
        if self.target_rate is not None:
            frames = part.targets.shape[0 if part.alone else 1]
            first = self._seconds(part, row, number, "stimulus_start", start if part.alone and "start" in row else 0.0)
            last = self._seconds(part, row, number, "stimulus_stop", first + stop - start)
            there = frames / self.target_rate
            if "stimulus_stop" not in row and last > there:
                stop, last = stop - (last - there), there
            if not (0 <= first < last <= there + APART_S and stop > start):
                raise HubError(
                    f"trial {number} of {part.name} presents {first:g} to {last:g} s of targets of {there:g} s",
                    "check stimulus_start, stimulus_stop and dataset.target_rate",
                )
            clock = first, last
        groups = {k: v for k, v in row.items() if k not in _NO_GROUP} | {"subject": subject, "session": session}
        if "side" in row:
            groups["split"] = side_name(row["side"])
            if groups["split"] not in SIDES:
                raise HubError(
                    f"trial {number} of {part.name} is on the side '{row['side']}'",
                    "name the sides train, val and test",
                )
        name = row.get("trial", f"{number:05d}")
        return Trial(f"{recording}-{name}", recording, start, stop, stimulus, *clock, groups)

    def _target_row(self, part: Part, row: Mapping[str, str], number: int) -> int:
        text = row.get("target", str(number))
        if not text.isdigit() or int(text) >= len(part.targets):
            raise HubError(
                f"trial {number} of {part.name} presents row {text} of {len(part.targets)} targets",
                "give rows of the targets, counted from 0, in the column `target`",
            )
        return int(text)

    def _seconds(self, part: Part, row: Mapping[str, str], number: int, role: str, default: float | None) -> float:
        text = row.get(role)
        if text is None and default is not None:
            return default
        try:
            found = float(text or "")
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise HubError(f"{part.files[-1]}: trial {number} has no {role} in seconds", f"give a column `{role}`")
        return found

    def _epoch_s(self, part: Part) -> float:
        return float(part.brain.shape[-1]) / self._hz()

    def _check_repeats(self) -> None:
        """Refuse one id for different embeddings: an id is a stimulus, and a stimulus has one."""
        _, trials, stimuli = self._planned()
        parts = {part.name: part for part in self._parts()}
        for part in parts.values():
            for number, row in enumerate(part.rows):
                name = row.get("stimulus")
                if name is None or name not in stimuli or part.alone:
                    continue
                first, at = stimuli[name]
                own = self._target_row(part, row, number)
                same = first.targets is part.targets and at == own
                if not same and not np.array_equal(first.targets[at], part.targets[own]):
                    raise HubError(
                        f"stimulus '{name}' has two different embeddings (trial {number} of {part.name})",
                        "one id is one stimulus: average them, or give them different ids",
                    )
        taken: set[str] = set()
        for trial in trials:
            if trial.id in taken:
                raise HubError(f"two trials are called '{trial.id}'", "give every trial its own id")
            taken.add(trial.id)


_NO_GROUP = {
    "trial",
    "stimulus",
    "side",
    "start",
    "stop",
    "seconds",
    "stimulus_start",
    "stimulus_stop",
    "target",
    "split",
}

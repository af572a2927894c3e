"""Robust scaling: by median and quartiles, so that an artefact moves nothing, then limited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder, State
from braindecode_hub.types import ANY, Array, Batch, Context, Space
from braindecode_hub.view import View

NAME = "speech_wav2vec/robust_scaler"
CLAMP = 20.0
"""Scaled values are limited to this on either side."""
WINDOWS = 200
"""Training windows of a recording that it is fitted on."""


class RobustScaler:
    """Subtract the middle value of each column, divide by the distance of its quartiles, and limit to ± `clamp`.

    With n values in order, the centre is number int(.5 n), the scale number int(.75 n) − number int(.25 n), without
    interpolation; a scale of 0 counts as 1 (Défossez et al. 2023). `clamp` None: no limit. NaN is left out of the
    fit, and stays NaN.
    """

    def __init__(self, *, clamp: float | None = CLAMP) -> None:
        self.clamp = clamp

    def fit(self, x: Array) -> RobustScaler:
        """Measure `center_` and `scale_`, (channels,) float64, on x (samples, channels). HubError if x is no such."""
        values = np.array(x, np.float64)
        if values.ndim != 2 or not len(values):
            raise HubError(f"a robust scaler cannot be fitted on shape {values.shape}", "give (samples, channels)")
        values[~np.isfinite(values)] = np.nan
        values.sort(axis=0)  # NaN comes last
        known = np.isfinite(values).sum(axis=0)

        def number(share: float) -> Array:
            row = np.minimum((share * known).astype(np.int64), np.maximum(known - 1, 0))
            return np.where(known > 0, values[row, np.arange(values.shape[1])], 0.0)

        self.center_ = number(0.5)
        apart = number(0.75) - number(0.25)
        self.scale_ = np.where(apart > 0, apart, 1.0)
        return self

    def transform(self, x: Array) -> Array:
        """Scale x (samples, channels): the same shape, float64."""
        scaled = (np.asarray(x, np.float64) - self.center_) / self.scale_
        return scaled if self.clamp is None else np.clip(scaled, -self.clamp, self.clamp)


class RobustScaling(Encoder):
    """Scale every channel of every recording (a subject's session) by what `RobustScaler` learns of it.

    (batch, channels, time) → the same, float32, limited to ± `clamp` (null: no limit). Fitted on about 200 training
    windows of each recording. A session that is not known takes the median over the subject's own, a subject that
    is not known one median over all. NaN, channels that a montage lacks, and channels that are 0 throughout a window
    (marked bad) come out as 0.

    Learned: `center_`, `scale_` (recordings, channels), NaN where a montage has no such channel; `recordings_`.
    """

    def __init__(self, *, clamp: float | None = CLAMP) -> None:
        self.clamp = clamp

    @property
    def consumes(self) -> Space:
        """Channels over time."""
        return ANY

    @property
    def produces(self) -> Space:
        """The same."""
        return ANY

    def fit(self, train: View, val: View, ctx: Context) -> None:
        """Measure every recording of the training side. HubError if the input is not (channels, time)."""
        if train.space.time_axis != 1 or len(train.space.dims) != 2:
            raise HubError(f"{NAME} needs channels over time, and gets {train.space}", "put it first in the encoder")
        if self.clamp is not None and not self.clamp > 0:
            raise HubError(f"{NAME}: clamp is {self.clamp:g}", "give a limit above 0, or null for none", usage=True)
        recordings = sorted({_recording(trial.groups) for trial in train.trials})
        found = [self._measured(train, recording) for recording in recordings]
        if not found:
            raise HubError(f"{NAME} has nothing to fit on", "the training side needs windows")
        self.recordings_ = [list(recording) for recording in recordings]
        self.center_ = np.stack([center for center, _ in found]).astype(np.float32)
        self.scale_ = np.stack([scale for _, scale in found]).astype(np.float32)

    def adapt(self, train: View, val: View, ctx: Context) -> None:
        """Measure the recordings of a new subject beside those that are known, which stay as they are."""
        known = [tuple(one) for one in self.recordings_]
        new = sorted({_recording(trial.groups) for trial in train.trials} - {*known})
        for recording in new:
            center, scale = self._measured(train, recording)
            width = max(len(center), self.center_.shape[1])
            self.center_, self.scale_ = (
                np.stack([_as_wide(one, width) for one in (*before, added)]).astype(np.float32)
                for before, added in ((self.center_, center), (self.scale_, scale))
            )
            self.recordings_ = [*self.recordings_, list(recording)]

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Scale (batch, channels, time), float32; without a batch, as for a subject that is not known."""
        x = np.asarray(x, np.float32)
        given = [_recording(trial.groups) for trial in batch.trials] if batch is not None and len(batch) else []
        row = {recording: self._row(recording, x.shape[1]) for recording in {*given} or {("", "")}}
        rows = [row[recording] for recording in given] or [*row.values()] * len(x)
        center, scale = (np.stack(some)[:, :, None] for some in zip(*rows, strict=True))
        out = (x - center) / scale
        if self.clamp is not None:
            out = np.clip(out, -self.clamp, self.clamp)
        there = np.isfinite(x) & (x != 0).any(axis=2, keepdims=True)
        if batch is not None and batch.channel_mask is not None and batch.channel_mask.shape == x.shape[:2]:
            there &= batch.channel_mask[:, :, None]
        return np.where(there, out, np.float32(0.0)).astype(np.float32)

    def state(self) -> State:
        """Return what was measured; what a montage lacks is stored as 0, and marked in `there`."""
        arrays, values = super().state()
        there = ~np.isnan(arrays["center_"])
        kept = {name: np.where(there, array, np.float32(0.0)) for name, array in arrays.items()}
        return kept | {"there": there.astype(np.uint8)}, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        there = np.asarray(arrays["there"], bool)
        own = {name: np.where(there, array, np.float32(np.nan)) for name, array in arrays.items() if name != "there"}
        super().load_state(own, values)

    def _row(self, recording: tuple[str, str], channels: int) -> tuple[Array, Array]:
        """Return centre and scale (channels,) for one recording, known or not."""
        subject, _ = recording
        known = [tuple(one) for one in self.recordings_]
        exact = [n for n, one in enumerate(known) if one == recording]
        rows = exact or [n for n, one in enumerate(known) if one[0] == subject]
        wide = max([int(np.flatnonzero(~np.isnan(self.center_[row]))[-1]) + 1 for row in rows], default=0)
        if rows and not wide <= channels <= self.center_.shape[1]:
            raise HubError(
                f"{NAME} was fitted on {wide} channels of subject {subject}, and is given {channels}",
                "use the montage it was fitted on, or another name for the subject",
            )
        pooled = [float(_median(values.ravel()[None].T)[0]) for values in (self.center_, self.scale_)]
        if not rows:
            return np.full(channels, pooled[0], np.float32), np.full(channels, pooled[1], np.float32)
        center, scale = (_median(values[rows])[:channels] for values in (self.center_, self.scale_))
        # a channel that this montage did not have in training: as for somebody who is not known
        lacks = np.isnan(center)
        return np.where(lacks, pooled[0], center), np.where(lacks, pooled[1], scale)

    def _measured(self, train: View, recording: tuple[str, str]) -> tuple[Array, Array]:
        """Return centre and scale of one recording's channels (channels,), NaN where it has none."""
        view = train.replace_targets(lambda items: [i for i in items if _recording(i.trial.groups) == recording])
        stride = max(1, len(view) // WINDOWS)
        parts, mask = [], np.zeros(0, bool)
        for number, batch in enumerate(view.batches(1)):
            if number % stride == 0:
                parts.append(batch.brain[0].T)
                mask = batch.channel_mask[0] if batch.channel_mask is not None else np.ones(parts[0].shape[1], bool)
        scaler = RobustScaler().fit(np.concatenate(parts))
        return np.where(mask, scaler.center_, np.nan), np.where(mask, scaler.scale_, np.nan)


def _as_wide(x: Array, width: int) -> Array:
    return np.pad(x, (0, width - len(x)), constant_values=np.nan)


def _recording(groups: Mapping[str, str]) -> tuple[str, str]:
    return (groups.get("subject", ""), groups.get("session", ""))


def _median(values: Array) -> Array:
    """Return the median over rows (rows, channels) → (channels,) float32, of what is not NaN; NaN where all is."""
    out = np.full(values.shape[1], np.nan, np.float32)
    some = ~np.isnan(values).all(axis=0)
    out[some] = np.nanmedian(values[:, some], axis=0)
    return out

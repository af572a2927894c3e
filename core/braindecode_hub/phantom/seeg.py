"""Depth electrodes that hear: the forward model of the sEEG phantom, with everything about it known.

drives (bands, frames) → each responsive contact's tuning, gain and latency → ln power of a 70 to 170 Hz
carrier → plus 1/f background, mains, drift, a noisy reference and broken contacts → volts.
`SeegModel.oracle` goes the other way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from braindecode_hub.phantom import noise
from braindecode_hub.phantom.cochlea import DriveStatistics, drive_statistics
from braindecode_hub.phantom.noise import Complexes, Floats, Reals

HIGH_GAMMA = (70.0, 170.0)
"""Hz. Where auditory cortex answers sound (Crone et al. 2001, Clin. Neurophysiol. 112:565)."""

LN_POWER_SD = 1 / np.sqrt((HIGH_GAMMA[1] - HIGH_GAMMA[0]) * 0.1)
"""0.316 nats: SD of the ln power of undriven 100 Hz wide Gaussian noise in windows of 0.1 s, by 1/√(BT)."""

SPACING = 0.0035
"""Metres between contacts (2 mm contacts, 1.5 mm apart: the usual depth electrode)."""

HEAD = np.array([0.072, 0.088, 0.066])
"""Semi-axes in metres of the ellipsoid that the brain fills: right, front, up."""

AUDITORY = np.array([[-0.052, -0.018, 0.008], [0.052, -0.014, 0.008]])
"""Centres in metres of left and right auditory cortex; the contacts nearest to them respond."""

BACKGROUND, CARRIER, COMMON, LINE, DRIFT, BROKEN = 40e-6, 5e-6, 10e-6, 12e-6, 60e-6, 400e-6
"""Volts (SD) of each part at one contact: orders of magnitude of clinical recordings, our choice."""

SPONTANEOUS, SHARED, WANDER = 0.15, 0.10, 0.20
"""SD in nats of what no sound explains: ln power of each contact, ln power of all, slow ln gain of each."""

WINDOW = 0.08
"""Seconds of the Hann window in which the oracle measures power: of 0.01 to 0.16 a good one at any snr."""


class Montage(NamedTuple):
    """Where the contacts are: `positions` (contacts, 3) in metres, names, shafts, names of the bads."""

    positions: Reals
    names: tuple[str, ...]
    shafts: tuple[str, ...]
    bads: tuple[str, ...]


@dataclass(frozen=True)
class SeegModel:
    """A patient with depth electrodes who listens.

    `snr`: SD over time of the ln high-gamma power (of the carrier, in nats) that the drives explain, root
    mean square over responsive contacts, in units of `LN_POWER_SD` = 0.316 nats: the SD that the undriven
    carrier's own ln power has in windows of 0.1 s. 0: no signal at all; 1: about ±1.4 dB; 3: about ±4 dB.
    Spontaneous fluctuations, background inside the band and the wander of gains come on top of that noise.
    `rate`: Hz; `responsive`: share of the contacts that hear; `latency`: seconds, its range; `line_freq`:
    Hz; `bads`: how many contacts are broken (never responsive ones; flat and very noisy in turns); `seed`:
    the patient.
    """

    contacts: int = 48
    shafts: int = 6
    rate: float = 1024.0
    snr: float = 1.0
    responsive: float = 1 / 3
    latency: tuple[float, float] = (0.05, 0.20)
    line_freq: float = 50.0
    bads: int = 2
    seed: int = 0

    def geometry(self) -> Montage:
        """Return positions, names ("LA1" is the deepest contact of shaft "LA"), shafts and names of the bads.

        Shafts take turns, left and right, front to back; contacts are 3.5 mm apart. The first bad is flat,
        the second very noisy, and so on. Raises ValueError when the head cannot hold the shafts.
        """
        rng = self._rng("geometry")
        positions, names, shafts = [], [], []
        for k, members in enumerate(np.array_split(np.arange(self.contacts), self.shafts)):
            side, row, rows = -1 if k % 2 == 0 else 1, k // 2, (self.shafts + 1) // 2
            if row >= len(_LETTERS):
                raise ValueError(f"{self.shafts} shafts are more than {2 * len(_LETTERS)}")
            shaft = "LR"[k % 2] + _LETTERS[row]
            front = 0.035 - 0.09 * (row + 0.5) / rows + rng.uniform(-0.004, 0.004)
            positions.append(_shaft_positions(side, front, members.size, rng))
            names += [f"{shaft}{i + 1}" for i in range(members.size)]
            shafts += [shaft] * members.size
        deaf = np.flatnonzero(~self._hears(np.concatenate(positions)))
        if self.bads > deaf.size:
            raise ValueError(f"{self.bads} bads, but only {deaf.size} contacts do not respond")
        broken = rng.permutation(deaf)[: self.bads]
        bads = tuple(names[i] for i in broken)
        return Montage(np.concatenate(positions), tuple(names), tuple(shafts), bads)

    def weights(self, bands: int = 16) -> Reals:
        """Return gain × tuning (contacts, bands): zero rows for contacts that do not respond.

        A responsive contact is tuned to a smooth stretch of neighbouring bands (Gaussian, SD 1 to 2.5
        bands), every sixth one negatively; best bands cover the range evenly. Gains are log-normal (SD
        0.3), mean square 1; a tuning has unit norm.
        """
        rng = self._rng("weights")
        heard = np.flatnonzero(self._hears(self.geometry().positions))
        best = rng.permutation(np.linspace(0, bands - 1, heard.size)) + rng.uniform(-0.5, 0.5, heard.size)
        width = rng.uniform(1.0, 2.5, heard.size) * bands / 16
        tuning = np.exp(-0.5 * ((np.arange(bands) - best[:, None]) / width[:, None]) ** 2)
        gain = np.exp(0.3 * rng.standard_normal(heard.size))
        gain /= np.sqrt((gain**2).sum() / max(gain.size, 1))
        gain[5::6] *= -1
        out = np.zeros((self.contacts, bands))
        out[heard] = gain[:, None] * tuning / np.linalg.norm(tuning, axis=1, keepdims=True)
        return out

    def latencies(self) -> Reals:
        """Return the seconds (contacts,) by which each contact follows the drives: shorter nearer the
        core.
        """
        distance = _from_auditory(self.geometry().positions)
        distance += self._rng("latency").normal(0, 0.002, self.contacts)
        rank = np.empty(self.contacts)
        heard = self._hears(self.geometry().positions)
        rank[heard] = np.argsort(np.argsort(distance[heard])) / max(heard.sum() - 1, 1)
        rank[~heard] = 1.0
        return np.asarray(self.latency[0] + (self.latency[1] - self.latency[0]) * rank)

    def gains(self, statistics: DriveStatistics) -> Reals:
        """Return nats of ln power per SD of each drive (contacts, bands): `weights` scaled to the asked-for
        `snr`.
        """
        weights = self.weights(statistics.sd.size)
        covariance = statistics.covariance
        spread = np.sqrt(np.einsum("cb,bd,cd->c", weights, covariance, weights))
        size = np.linalg.norm(weights, axis=1)
        scale = self.snr * LN_POWER_SD * size / np.where(spread > 0, spread, 1)
        return np.asarray(weights * scale[:, None])

    def simulate(
        self,
        drives: NDArray[Any],
        frame_rate: float,
        rng: np.random.Generator,
        statistics: DriveStatistics | None = None,
    ) -> Floats:
        """Return volts (contacts, round(frames · rate / frame_rate)), float32, for drives (bands, frames).

        `statistics` set the scale of the drives: give the corpus's to all recordings of a corpus; by
        default these drives' own. Sample 0 is the time of frame 0. The same `rng` state gives the same
        bits.
        """
        statistics = statistics or drive_statistics(drives, frame_rate)
        ln_power = self.gains(statistics) @ statistics.zscore(drives)
        shape = self.contacts, drives.shape[1], frame_rate, rng
        gain = np.exp(WANDER * noise.pink(*shape, exponent=1.0, low=0.02, high=0.1))
        rest = SPONTANEOUS * noise.pink(*shape, exponent=1.0, low=0.02, high=20.0)
        rest += SHARED * noise.pink(1, *shape[1:], exponent=1.0, low=0.02, high=20.0)
        return self._volts((ln_power * gain).astype(np.float32), rest, frame_rate, rng)

    def _volts(self, driven: Floats, rest: Floats, frame_rate: float, rng: np.random.Generator) -> Floats:
        """Turn ln power that is driven (delayed) and spontaneous (contacts, frames) into volts, shaft by
        shaft.
        """
        samples = round(driven.shape[1] * self.rate / frame_rate)
        montage, latencies = self.geometry(), self.latencies()
        out = noise.line(self.contacts, samples, self.rate, rng, freq=self.line_freq)
        out *= np.float32(LINE)
        common = np.float32(COMMON) * noise.pink(1, samples, self.rate, rng, exponent=1.2)
        at = np.arange(samples) * (frame_rate / self.rate)
        frames = np.arange(driven.shape[1])
        for shaft in dict.fromkeys(montage.shafts):
            members = np.array([name == shaft for name in montage.shafts])
            out[members] += self._undriven(members, samples, rng) + common
            low, high = HIGH_GAMMA
            carrier = noise.band(int(members.sum()), samples, self.rate, rng, low=low, high=high)
            for wave, c in zip(carrier, np.flatnonzero(members), strict=True):
                delayed = np.interp(at - latencies[c] * frame_rate, frames, driven[c], left=0.0)
                ln_power = delayed + np.interp(at, frames, rest[c])
                out[c] += np.float32(CARRIER) * wave * np.exp(0.5 * ln_power.astype(np.float32))
        broken = [montage.names.index(name) for name in montage.bads]
        out[broken] = np.float32(BROKEN) * noise.bad(len(broken), samples, self.rate, rng)
        return out

    def _undriven(self, members: NDArray[np.bool_], samples: int, rng: np.random.Generator) -> Floats:
        """Return the background and drift of the contacts of one shaft, in volts."""
        count = int(members.sum())
        mixing = noise.along_shaft(self.geometry().positions[members])
        steep = self.exponents()[members]
        pink = noise.pink(count, samples, self.rate, rng, exponent=steep, mixing=mixing)
        return np.float32(BACKGROUND) * pink + np.float32(DRIFT) * noise.drift(count, samples, self.rate, rng)

    def exponents(self) -> Reals:
        """Return the exponent (contacts,) of each contact's 1/f background: 1.8 to 2.6."""
        return self._rng("exponents").uniform(1.8, 2.6, self.contacts)

    def responsive_contacts(self) -> NDArray[np.bool_]:
        """Return which contacts hear (contacts,)."""
        return self._hears(self.geometry().positions)

    def _hears(self, positions: Reals) -> NDArray[np.bool_]:
        order = np.argsort(_from_auditory(positions), kind="stable")
        return np.isin(np.arange(self.contacts), order[: round(self.responsive * self.contacts)])

    def oracle(self, x: NDArray[Any], rate: float, statistics: DriveStatistics) -> Reals:
        """Return the drives (bands, round(samples · frame_rate / rate)) as who knows the whole model
        estimates them.

        `x`: this model's volts (contacts, samples) at `rate` Hz. Band power of the good contacts, ln, then
        the non-causal Wiener filter from all contacts at once, built from the true gains, latencies, share
        of the carrier in the band, prior of the gains' wander, and the cross-spectrum of everything else
        (measured on two minutes of silence). Only `statistics`, of a corpus, says anything about the
        stimulus. Frames and units are the drives'.
        """
        frame_rate, taps = statistics.frame_rate, statistics.taps
        good = self._good()
        observed = self._ln_power(x, rate, frame_rate)
        freqs = np.fft.rfftfreq(taps, 1 / frame_rate)
        delay = np.exp(-2j * np.pi * freqs[:, None] * self.latencies()[good])
        gains = self.gains(statistics)[good] * self._share()[good, None]
        transfer = (delay * noise.hann_response(freqs, WINDOW)[:, None])[:, :, None] * gains
        responses = np.einsum("fcb,fbd,fcd->fc", transfer, statistics.spectrum, transfer.conj()).real
        error = _silence(dataclasses.replace(self, snr=0.0), frame_rate, taps).copy()
        error[:, np.arange(good.size), np.arange(good.size)] += WANDER**2 * responses
        kernel = noise.wiener(transfer, statistics.spectrum, error)
        return statistics.unscore(noise.filtered(kernel, observed - observed.mean(axis=1, keepdims=True)))

    def _good(self) -> NDArray[np.intp]:
        montage = self.geometry()
        return np.flatnonzero([name not in montage.bads for name in montage.names])

    def _share(self) -> Reals:
        """Return the carrier's share (contacts,) of the power between 70 and 170 Hz."""
        low, high = HIGH_GAMMA
        fall = self.exponents() - 1
        inside = (low**-fall - high**-fall) / (0.5**-fall * (1 + fall))
        return np.asarray(CARRIER**2 / (CARRIER**2 + BACKGROUND**2 * inside))

    def _ln_power(self, x: NDArray[Any], rate: float, frame_rate: float) -> Reals:
        """Return ln band power (good contacts, frames), without mains harmonics, after a common average."""
        good = self._good()
        common = x[good].mean(axis=0)
        measured = [
            noise.ln_band_power(x[c] - common, rate, frame_rate, HIGH_GAMMA, avoid=self.line_freq, window=WINDOW)
            for c in good
        ]
        return np.stack(measured)

    def _rng(self, part: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *part.encode()])


_LETTERS = "FATHPO"


def _from_auditory(positions: Reals) -> Reals:
    """Return metres to the nearer auditory cortex (contacts,)."""
    return np.asarray(np.linalg.norm(positions[:, None] - AUDITORY[None], axis=-1).min(axis=1))


def _shaft_positions(side: int, front: float, count: int, rng: np.random.Generator) -> Reals:
    """Return contacts (count, 3) in metres from depth to surface, `front` metres before the head's centre."""
    up = rng.uniform(0.0, 0.016)
    surface = HEAD[0] * np.sqrt(1 - (front / HEAD[1]) ** 2 - (up / HEAD[2]) ** 2) - 0.004
    way = np.array([side, *rng.uniform(-0.12, 0.12, 2)])
    way /= np.linalg.norm(way)
    last = np.array([side * surface, front, up])
    positions = last - way * SPACING * np.arange(count)[::-1, None]
    if (positions[:, 0] * side).min() < 0.003:
        raise ValueError(f"{count} contacts of a shaft do not fit into half a head: use more shafts")
    return np.asarray(positions)


@lru_cache(maxsize=8)
def _silence(model: SeegModel, frame_rate: float, taps: int) -> Complexes:
    """Return the cross-spectrum of the good contacts' ln power when nothing is presented (freqs, good,
    good).
    """
    rng = model._rng("silence")
    quiet = drive_statistics(rng.standard_normal((2, taps)), frame_rate, taps=taps)
    x = model.simulate(np.zeros((2, round(120 * frame_rate))), frame_rate, rng, quiet)
    raw = noise.cross_spectrum(model._ln_power(x, model.rate, frame_rate), taps)
    padded = np.concatenate([raw[3:0:-1].conj(), raw, raw[-2:-5:-1].conj()])
    smooth = np.mean([padded[k : k + raw.shape[0]] for k in range(7)], axis=0)
    smooth[:2] = raw[:2]
    diagonal = np.arange(raw.shape[1])
    shrunk = 0.9 * smooth
    shrunk[:, diagonal, diagonal] += 0.1 * smooth[:, diagonal, diagonal]
    return np.asarray(shrunk)

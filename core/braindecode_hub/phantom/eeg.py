"""A scalp that listens: the forward model of the EEG phantom, with everything about it known.

drives → three features (low envelope, high envelope, onset) → P1-N1-P2 kernels → two auditory dipoles → a
three-shell head, plus coloured background, alpha, blinks, mains, drift and bad channels → volts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braindecode_hub.phantom import noise
from braindecode_hub.phantom.caps import LAYOUTS, directions, seated
from braindecode_hub.phantom.cochlea import DriveStatistics, drive_statistics
from braindecode_hub.phantom.noise import Complexes, Floats, Reals

FEATURES = ("low", "high", "onset")
"""What the listener's cortex follows: the envelopes of the lower and of the upper bands, and onsets."""

SHELLS, CONDUCTIVITIES = (0.080, 0.085, 0.092), (0.33, 0.33 / 80, 0.33)
"""Radii in m and S/m of brain, skull and scalp (Rush & Driscoll 1969, IEEE Trans. Biomed. Eng. 16:15)."""

PEAKS = ((0.050, 0.4, 0.012), (0.100, -1.0, 0.020), (0.180, 0.7, 0.035))
"""P1, N1, P2: seconds, height, SD in seconds: the auditory response's usual shape (Lalor et al. 2009, J.
Neurophysiol. 102:349); heights and SDs are our choice."""

KERNEL_SECONDS = 0.4

BACKGROUND, ALPHA, BLINK, LINE, DRIFT, SENSOR, BROKEN = 8e-6, 5e-6, 120e-6, 3e-6, 15e-6, 0.5e-6, 150e-6
"""Volts (SD; a blink's peak at Fp1/Fp2): orders of magnitude of laboratory EEG, our choice."""

AUDITORY = np.array([[-0.048, 0.002, 0.012], [0.048, 0.006, 0.012]])
"""Left and right auditory cortex in metres from the sphere's centre (right, front, up)."""


@dataclass(frozen=True)
class EegModel:
    """A subject with an EEG cap who listens.

    `snr`: SD of the response to the drives over SD of the brain's background (1/f and alpha; no artefacts),
    at the channel where that response is largest; 0: no response; real listeners are near 0.1 to 0.3.
    `channels`: 32 or 16, or `layout`: one of `caps.LAYOUTS`, which sits on this head a few millimetres differently
    than on others; `rate`: Hz; `line_freq`: Hz (nothing from the Nyquist frequency up); `bads`:
    broken channels (flat and noisy in turns); `subject`: orientation, place, latencies and gain of the
    sources, alpha, blinks; `seed`: everything.
    """

    channels: int = 32
    rate: float = 128.0
    snr: float = 0.3
    line_freq: float = 50.0
    bads: int = 1
    subject: int = 0
    seed: int = 0
    layout: str | None = None

    def geometry(self) -> tuple[Reals, tuple[str, ...], tuple[str, ...]]:
        """Return positions (channels, 3) in metres, names, and the names of the bads.

        Raises ValueError for a cap of neither 16 nor 32 channels, and for an unknown layout.
        """
        if self.layout is None:
            if self.channels not in (16, 32):
                raise ValueError(f"caps have 16 or 32 channels, not {self.channels}")
            names, unit = directions(LAYOUTS[f"cap{self.channels}"])
        elif self.layout in LAYOUTS:
            names, unit = directions(LAYOUTS[self.layout])
            unit = seated(unit, self._rng("seat"))
        else:
            raise ValueError(f"there is no layout '{self.layout}': known are {', '.join(LAYOUTS)}")
        broken = self._rng("bads").permutation(len(names))[: self.bads]
        return SHELLS[-1] * unit, names, tuple(names[i] for i in broken)

    def dipoles(self) -> tuple[Reals, Reals]:
        """Return positions (2, 3) in metres and unit orientations (2, 3) of left and right auditory cortex.

        They point up and forward, to the vertex, each subject's turned by some 20 degrees and moved by 4 mm.
        """
        rng = self._rng("dipoles")
        positions = AUDITORY + rng.normal(0, 0.004, (2, 3))
        towards = np.array([[0.25, 0.45, 0.85], [-0.25, 0.45, 0.85]]) + rng.normal(0, 0.2, (2, 3))
        return positions, towards / np.linalg.norm(towards, axis=1, keepdims=True)

    def lead_field(self) -> Reals:
        """Return volts per A·m (channels, 2) of the two auditory dipoles, against a reference at infinity."""
        positions, towards = self.dipoles()
        return np.asarray(np.einsum("csx,sx->cs", three_shell(self.geometry()[0], positions), towards))

    def kernels(self) -> Reals:
        """Return the responses (2 dipoles, 3 features, lags) to a unit impulse of each feature; lag k is k
        / rate s.

        Onsets make P1, N1 and P2 near 50, 100 and 180 ms; envelopes half of that, the low one 15 ms later.
        The left dipole prefers the high envelope, the right the low one. A subject's peaks are shifted by
        some 5 ms.
        """
        rng = self._rng("kernels")
        lags = np.arange(round(KERNEL_SECONDS * self.rate)) / self.rate
        shift = rng.normal(0, 0.005, (2, 1)) + np.array([0.015, 0.0, 0.0])
        size = np.array([[0.4, 0.6, 1.0], [0.6, 0.4, 1.0]]) * np.exp(rng.normal(0, 0.15, (2, 3)))
        out = np.zeros((2, len(FEATURES), lags.size))
        for at, height, width in PEAKS:
            out += height * np.exp(-0.5 * ((lags - at - shift[..., None]) / width) ** 2)
        return np.asarray(out * size[..., None])

    def features(self, drives: NDArray[Any], frame_rate: float) -> Reals:
        """Return what the cortex follows (3, samples at `rate`) of drives (bands, frames): see `FEATURES`."""
        half = drives.shape[0] // 2
        low, high = drives[:half].mean(axis=0), drives[half:].mean(axis=0)
        onset = np.maximum(np.gradient(low + high) * frame_rate, 0)
        at = np.arange(round(drives.shape[1] * self.rate / frame_rate)) * (frame_rate / self.rate)
        return np.stack([np.interp(at, np.arange(low.size), row) for row in (low, high, onset)])

    def statistics(self, drives: NDArray[Any], frame_rate: float) -> DriveStatistics:
        """Return the statistics of the features of a corpus's drives: what `simulate` and `oracle` may
        know.
        """
        return drive_statistics(self.features(drives, frame_rate), self.rate, taps=2 * round(self.rate))

    def simulate(
        self,
        drives: NDArray[Any],
        frame_rate: float,
        rng: np.random.Generator,
        statistics: DriveStatistics | None = None,
    ) -> Floats:
        """Return volts (channels, round(frames · rate / frame_rate)), float32, for drives (bands, frames).

        `statistics` set the scale: give the corpus's to all recordings; by default these drives' own.
        Sample 0 is the time of frame 0. The same `rng` state gives the same bits.
        """
        statistics = statistics or self.statistics(drives, frame_rate)
        z = statistics.zscore(self.features(drives, frame_rate))
        response = noise.filtered(self._transfer(statistics), z)
        out = response.astype(np.float32) + self._brain(z.shape[1], rng)
        return self._artefacts(out, rng)

    def oracle(self, x: NDArray[Any], rate: float, statistics: DriveStatistics) -> Reals:
        """Return the features (3, samples) as who knows the whole model estimates them from volts x.

        The non-causal Wiener filter from all good channels at once, with the true lead field and kernels
        and the cross-spectrum of everything else, artefacts included (measured on ten minutes of silence).
        Raises ValueError when `rate` is not the model's.
        """
        if rate != self.rate:
            raise ValueError(f"the model is sampled at {self.rate:g} Hz, not {rate:g}")
        good = self._good()
        transfer = self._transfer(statistics)[:, good]
        error = _silence(dataclasses.replace(self, snr=0.0), statistics.taps)
        kernel = noise.wiener(transfer, statistics.spectrum, error)
        return statistics.unscore(noise.filtered(kernel, x[good] - x[good].mean(axis=1, keepdims=True)))

    def _transfer(self, statistics: DriveStatistics) -> Complexes:
        """Return volts per SD of each feature (freqs, channels, features), scaled to the asked-for `snr`."""
        response = np.fft.rfft(self.kernels(), statistics.taps, axis=-1)
        unit = np.einsum("cd,dif->fci", self.lead_field(), response)
        power = np.einsum("fci,fij,fcj->fc", unit, statistics.spectrum, unit.conj()).real
        spread = np.sqrt((2 * power.sum(axis=0) - power[0] - power[-1]) / statistics.taps)
        most = int(spread.argmax())
        return np.asarray(unit * (self.snr * self._background_sd()[most] / spread[most]))

    def _background_sd(self) -> Reals:
        fields = np.concatenate([self._rest_field(), self._alpha_field()], axis=1)
        return np.asarray(np.linalg.norm(fields, axis=1))

    def _rest_field(self) -> Reals:
        """Return volts (channels, 80) of as many random dipoles, all that the rest of the brain does."""
        rng = self._rng("rest")
        field = _random_field(self.geometry()[0], rng.standard_normal((80, 3)), (0.35, 0.95), rng)
        return np.asarray(field * (BACKGROUND / np.sqrt((field**2).sum(axis=1).mean())))

    def _alpha_field(self) -> Reals:
        """Return volts (channels, 4) of four dipoles at the back of the head."""
        rng = self._rng("alpha")
        back = np.array([0.0, -1.0, 0.25]) + rng.normal(0, [0.35, 0.1, 0.15], (4, 3))
        field = _random_field(self.geometry()[0], back, (0.75, 0.9), rng)
        return np.asarray(field * (ALPHA / np.sqrt((field**2).sum(axis=1).max())))

    def _brain(self, samples: int, rng: np.random.Generator) -> Floats:
        """Return the background (channels, samples) in volts: 1/f everywhere, alpha at the back."""
        peak = 10.0 + self._rng("peak").normal(0, 0.6)
        rest = noise.pink(80, samples, self.rate, rng, exponent=1.2)
        alpha = noise.band(4, samples, self.rate, rng, low=peak - 1, high=peak + 1)
        fields = self._rest_field().astype(np.float32), self._alpha_field().astype(np.float32)
        return np.asarray(fields[0] @ rest + fields[1] @ alpha)

    def _artefacts(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Add blinks, drift, amplifier noise and mains to x (channels, samples), and break the bads."""
        n, samples = x.shape
        x += (BLINK * self.blink_map()).astype(np.float32)[:, None] * self._blinks(samples, rng)
        x += np.float32(DRIFT) * noise.drift(n, samples, self.rate, rng)
        x += np.float32(SENSOR) * rng.standard_normal(x.shape, dtype=np.float32)
        x += np.float32(LINE) * noise.line(n, samples, self.rate, rng, freq=self.line_freq)
        _, names, bads = self.geometry()
        x[[names.index(name) for name in bads]] = BROKEN * noise.bad(len(bads), samples, self.rate, rng)
        return x

    def blink_map(self) -> Reals:
        """Return the relative height of a blink (channels,), 1 where it is largest: dipoles at both eyes."""
        eyes = np.array([[-0.032, 0.082, -0.045], [0.032, 0.082, -0.045]])
        away = self.geometry()[0][:, None] - eyes
        field = (away @ np.array([0.0, 0.5, 0.87]) / np.linalg.norm(away, axis=-1) ** 3).sum(axis=1)
        return np.asarray(field / field.max())

    def _blinks(self, samples: int, rng: np.random.Generator) -> Floats:
        """Return a train (samples,) of blinks of about 0.3 s, 8 to 20 a minute, of heights near 1."""
        per_minute = self._rng("blinks").uniform(8, 20)
        out = np.zeros(samples, np.float32)
        time = np.arange(-round(0.3 * self.rate), round(0.3 * self.rate)) / self.rate
        for start in np.sort(rng.integers(0, samples, rng.poisson(per_minute * samples / self.rate / 60))):
            shape = np.exp(0.3 * rng.standard_normal()) * np.exp(-0.5 * (time / rng.uniform(0.05, 0.08)) ** 2)
            inside = (start + np.arange(time.size) >= 0) & (start + np.arange(time.size) < samples)
            out[(start + np.arange(time.size))[inside]] += shape[inside].astype(np.float32)
        return out

    def _good(self) -> NDArray[np.intp]:
        _, names, bads = self.geometry()
        return np.flatnonzero([name not in bads for name in names])

    def _rng(self, part: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.subject, *part.encode()])


def three_shell(sensors: Reals, dipoles: Reals, *, conductivities: tuple[float, ...] = CONDUCTIVITIES) -> Reals:
    """Return volts per A·m (channels, dipoles, 3) on a head of three concentric spheres (`SHELLS`).

    The Legendre series of the layered sphere, 80 terms (Rush & Driscoll 1969; Salu et al. 1990, IEEE Trans.
    Biomed. Eng. 37:699). `sensors` (channels, 3) on the scalp and `dipoles` (dipoles, 3) in the brain, in
    metres. Raises ValueError for a dipole outside 97 % of the brain's radius.
    """
    depth = np.linalg.norm(dipoles, axis=1)
    if depth.max() > 0.97 * SHELLS[0]:
        raise ValueError(f"a dipole {depth.max():.4f} m from the centre is not inside the brain")
    outward = dipoles / np.maximum(depth, 1e-9)[:, None]
    direction = sensors / np.linalg.norm(sensors, axis=1, keepdims=True)
    cosine = direction @ outward.T
    across = direction[:, None] - cosine[..., None] * outward
    before, legendre, slope = np.ones_like(cosine), cosine, np.ones_like(cosine)
    out = np.zeros((*cosine.shape, 3))
    for n in range(1, 81):
        part = n * legendre[..., None] * outward + slope[..., None] * across
        out += _through_shells(n, conductivities) * ((depth / SHELLS[-1]) ** (n - 1))[:, None] * part
        slope = (n + 1) * legendre + cosine * slope
        before, legendre = legendre, ((2 * n + 1) * cosine * legendre - n * before) / (n + 1)
    return out / (4 * np.pi * conductivities[0] * SHELLS[-1] ** 2)


def _through_shells(n: int, conductivities: tuple[float, ...]) -> float:
    """Return the scalp's potential per unit of the n-th term of a source in the innermost sphere."""
    grows, decays = (n + 1) / n, 1.0
    surface = grows + decays
    for k in range(len(SHELLS) - 2, -1, -1):
        radius = SHELLS[k] / SHELLS[-1]
        up, down = grows * radius**n, decays * radius ** -(n + 1)
        current = (n * up - (n + 1) * down) * conductivities[k + 1] / conductivities[k]
        grows = ((n + 1) * (up + down) + current) / (2 * n + 1) / radius**n
        decays = (n * (up + down) - current) / (2 * n + 1) * radius ** (n + 1)
    return surface / decays


def _random_field(sensors: Reals, directions: Reals, depths: tuple[float, float], rng: np.random.Generator) -> Reals:
    """Return the field (channels, dipoles) of randomly turned dipoles, at `depths` (shares of the radius)."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    places = unit * (SHELLS[0] * rng.uniform(*depths, len(unit)))[:, None]
    towards = rng.standard_normal(places.shape)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    return np.asarray(np.einsum("csx,sx->cs", three_shell(sensors, places), towards))


@lru_cache(maxsize=32)
def _silence(model: EegModel, taps: int) -> Complexes:
    """Return the cross-spectrum of the good channels when nothing is presented (freqs, good, good)."""
    rng = model._rng("silence")
    samples = round(600 * model.rate)
    x = model._artefacts(model._brain(samples, rng), rng)[model._good()]
    return noise.cross_spectrum(x, taps)

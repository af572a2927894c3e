"""speech_wav2vec/phase_free: which flicker was looked at, by contrast among candidates, whatever the phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Decoder, Encoder, State
from braindecode_hub.types import Array, Batch, Context, Prediction, Space
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.sinusoids import TARGET, Candidates

if TYPE_CHECKING:
    from torch import Tensor

NAME = "speech_wav2vec/phase_free"
BATCH = 64
"""Windows decoded at once."""

FLAT = 1e-6
"""A direction of the channels with less than this share of the largest variance is left out."""


class PhaseFree(Decoder):
    """Learned spatial filters, the power they pass in each candidate's planes, and a softmax over candidates (InfoNCE).

    Channels are whitened by their training covariance, then filtered by one square matrix a harmonic. What a filtered
    window has in the plane of a harmonic's sine and cosine, |⟨y, sin⟩|² + |⟨y, cos⟩|², does not change with the
    phase; the logarithm of it, relative to the mean over candidates, is summed over harmonics with learned weights.
    That is the score of a candidate, and the cross-entropy of the softmax over all distinct candidates is what is
    trained (van den Oord et al. 2018): filters begin as the identity, weights equal, and the step that validates best
    stays, which may be step 0. `decode` returns the point in target space whose centred cosine with each candidate
    is its score (`Candidates.placed`).

    The candidates carry information by themselves: untrained (`max_steps: 0`: whitened, no filter learned, no label
    used) it is far above chance already. So `untrained` stands beside it. AdamW with `rate` and `weight_decay`.
    """

    requires = ("torch",)
    control_refits = 10

    _network: Any = None

    def __init__(
        self, *, max_steps: int = 100, batch_size: int = 40, rate: float = 2e-2, weight_decay: float = 1e-3
    ) -> None:
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.rate = rate
        self.weight_decay = weight_decay

    @property
    def consumes(self) -> Space:
        """EEG over time."""
        return Space("eeg", ("channels", "time"), "*")

    @property
    def produces(self) -> tuple[Space, ...]:
        """A place among the candidates' sinusoids."""
        return (Space(TARGET, ("rows", "samples")),)

    def untrained(self) -> PhaseFree:
        """Return an unfitted copy that takes no step of training."""
        return type(self)(**{**self.configuration(), "max_steps": 0})

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Whiten, then train by contrast among the training side's candidates.

        Raises HubError for targets that are no sinusoids as long as the windows, a validation target that is none of
        the candidates, channels without any variance, NaN, or a loss that is not finite.
        """
        from torch.nn.functional import cross_entropy

        from braindecode_hub.torch import Training, fit_module, resolve_device, settings, tensor

        candidates = Candidates.of(train, NAME)
        self.templates_, self.counts_ = candidates.templates, candidates.counts
        self.whitening_ = _whitening(train)
        device = resolve_device(ctx.device)
        with settings(device):
            self._build(device)

            def loss(batch: Batch) -> Tensor:
                own = candidates.numbers(batch.target[TARGET])
                scores = self._network(tensor(batch.brain, device))
                return cross_entropy(scores, tensor(own, device).long())

            training = Training(
                batch_size=self.batch_size, max_steps=self.max_steps, rate=self.rate, weight_decay=self.weight_decay
            )
            done = fit_module(self._network, loss, train, val, ctx, training, name=NAME)
        self.validation_, self.best_step_ = done.history, done.best_step

    def scores(self, z: Array) -> Array:
        """Return every candidate's phase-invariant score, (batch, candidates); z: (batch, channels, samples)."""
        import torch

        from braindecode_hub.torch import settings, tensor

        device = next(self._network.parameters()).device
        with torch.inference_mode(), settings(device):
            parts = [self._network(tensor(z[at : at + BATCH], device)).cpu().numpy() for at in range(0, len(z), BATCH)]
        return np.concatenate(parts)

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict {"sinusoids": (batch, rows, samples) float32} from z (batch, channels, samples)."""
        return {TARGET: Candidates(self.templates_, self.counts_).placed(self.scores(z))}

    def state(self) -> State:
        """Return filters and weights, the whitening, the candidates, and what `fit` noted."""
        from braindecode_hub.torch import module_state

        arrays, values = super().state()
        if self._network is not None:
            arrays |= {f"network.{name}": value for name, value in module_state(self._network).items()}
        return arrays, values

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Build the network that was stored; HubError if the weights are of another configuration."""
        from braindecode_hub.torch import load_module_state, resolve_device

        super().load_state({name: value for name, value in arrays.items() if "." not in name}, values)
        self._build(resolve_device("cpu"))
        learned = {k.removeprefix("network."): v for k, v in arrays.items() if k.startswith("network.")}
        load_module_state(self._network, learned)

    def _build(self, device: Any) -> None:
        from braindecode_hub_speech_wav2vec.phase_free_network import PhaseFreeNetwork

        planes = Candidates(self.templates_, self.counts_).planes()
        self._network = PhaseFreeNetwork(planes, self.whitening_).to(device).eval()


def _whitening(train: View) -> Array:
    """Return the (directions, channels) float32 that make the training windows, less their means, white."""
    total, count = 0.0, 0
    for batch in train.batches(BATCH):
        x = np.asarray(batch.brain, np.float64)
        x = x - x.mean(axis=-1, keepdims=True)
        total, count = total + np.einsum("nct,ndt->cd", x, x), count + len(x) * x.shape[-1]
    values, vectors = np.linalg.eigh(np.asarray(total) / count)
    kept = values > FLAT * values.max()
    if not (np.isfinite(values).all() and values.max() > 0):
        raise HubError(f"{NAME}: the training channels are constant, or not finite", "check the recordings")
    inverse = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return np.asarray((vectors * inverse) @ vectors.T, np.float32)

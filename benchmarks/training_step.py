"""Training step of the network of Kohler et al. 2022 (8.63 M parameters): ours against one written step by step.

    python benchmarks/training_step.py [--batch 512] [--channels 100] [--kind bahdanau] [--threads 1 2]

Both hold the same weights and are timed in one process, in CPU-seconds: forward, loss, backward, clipping, AdamW. The
reference calls, in every one of the 35 frames, what the published figures draw as boxes: a convolution over the
previous weights, linear layers, torch's GRU cell. In evaluation both give the same frames (checked to 1e-4).

Almost all of a step is matrix products, so a bound stands beside it: what the step's floating-point operations would
take at the rate of one large matrix product, measured in the same run.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from braindecode_hub_audio_seeg.attention_network import PAPER, AttentionNetwork
from braindecode_hub_audio_seeg.conv_gru_network import PAPER as FRONT
from braindecode_hub_audio_seeg.conv_gru_network import ConvGruNetwork, sinusoids

FRAMES, STEPS, BINS = 35, 23, 80


class Both(nn.Module):
    """Front end and decoder as one module: (batch, channels, time) → (batch, frames, bins)."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        times = torch.arange(float(FRAMES)), torch.arange(float(STEPS))
        self.encoder = ConvGruNetwork(channels, FRONT)
        self.decoder = AttentionNetwork(2 * FRONT.hidden, FRONT.layers, BINS, PAPER, kind, False, times)

    def forward(self, x: Tensor, target: Tensor | None = None, forced: Tensor | None = None) -> Tensor:
        return self.decoder(self.encoder(x), None, target, forced)[0]


class StepByStep(Both):
    """The same weights, every part called for every frame."""

    def forward(self, x: Tensor, target: Tensor | None = None, forced: Tensor | None = None) -> Tensor:
        net, where = self.decoder, self.decoder.where
        for convolution, norm in zip(self.encoder.convolutions, self.encoder.norms, strict=True):
            x = functional.elu(norm(convolution(x)))
        x = functional.max_pool1d(x, 2).transpose(1, 2)
        x = torch.cat([x, sinusoids(x.shape[1], 32).expand(len(x), -1, -1)], dim=-1)
        states = []
        for gru in self.encoder.grus:
            x, state = gru(functional.dropout(x, FRONT.dropout, self.training))
            states.append(state.transpose(0, 1).flatten(1))
        h = torch.tanh(net.bridge(torch.cat(states, dim=1)))
        keys = where.memory(x)
        context, frame = keys.new_zeros(len(x), PAPER.hidden), x.new_zeros(len(x), BINS)
        previous = cumulative = x.new_zeros(len(x), STEPS)
        made = []
        for t in range(FRAMES):
            seen = frame
            for layer in net.prenet:
                seen = functional.dropout(functional.elu(layer(seen)), PAPER.dropout, self.training)
            position = sinusoids(FRAMES, 32)[t].expand(len(x), -1)
            h = net.gru(torch.cat([seen, context, position], dim=1), h)
            if where.location:
                looked = where.spread(where.convolution(torch.stack([previous, cumulative], 1)).transpose(1, 2))
                energy = where.energy(torch.tanh(where.query(h)[:, None] + keys + looked))[:, :, 0]
            else:
                asked = where.query(torch.cat([seen, position, h], dim=1))
                energy = (keys * asked[:, None]).sum(-1) * where.scale
            previous = torch.softmax(energy, dim=1)
            cumulative = cumulative + previous
            context = (previous[:, :, None] * keys).sum(1)
            hidden = functional.dropout(
                functional.elu(net.head[0](torch.cat([h, context], dim=1))), PAPER.dropout, self.training
            )
            frame = net.head[1](hidden)
            made.append(frame)
            if forced is not None and target is not None:
                frame = torch.where(forced[:, None], target[:, t], frame)
        frames = torch.stack(made, dim=1)
        return frames + net.postnet(frames)


def step_seconds(model: nn.Module, batch: int, channels: int, steps: int) -> float:
    """CPU-seconds of one training step: the least of `steps`, after a first one that is not counted."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-3)
    x, target = torch.randn(batch, channels, 1230), torch.randn(batch, FRAMES, BINS)
    forced = torch.rand(batch) < 0.1
    taken = []
    model.train()
    for _ in range(steps + 1):
        began = time.process_time()
        optimiser.zero_grad(set_to_none=True)
        functional.mse_loss(model(x, target, forced), target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        taken.append(time.process_time() - began)
    return min(taken[1:])


def operations(model: nn.Module, batch: int, channels: int) -> float:
    """Floating-point operations of forward and backward for one batch, counted on 4 windows."""
    model.train()
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(4, channels, 1230)).square().mean().backward()
    return counter.get_total_flops() / 4 * batch


def product_rate() -> float:
    """Floating-point operations per CPU-second of a product as large as a GRU layer's: the best of five."""
    a, b = torch.randn(11776, 666), torch.randn(666, 999)
    taken = []
    for _ in range(5):
        began = time.process_time()
        torch.mm(a, b)
        taken.append(time.process_time() - began)
    return 2 * 11776 * 666 * 999 / min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--kind", choices=("bahdanau", "dot"), default="bahdanau")
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--steps", type=int, default=2)
    given = parser.parse_args()
    torch.manual_seed(0)
    ours, theirs = (make(given.channels, given.kind) for make in (Both, StepByStep))
    theirs.load_state_dict(ours.state_dict())
    print(f"parameters {sum(p.numel() for p in ours.parameters()) / 1e6:.2f} M")
    x = torch.randn(8, given.channels, 1230)
    with torch.inference_mode():
        apart = float((ours.eval()(x) - theirs.eval()(x)).abs().max())
    print(f"largest difference in evaluation {apart:.1e}")
    if apart > 1e-4:
        raise SystemExit("the two networks differ")
    needed = operations(ours, given.batch, given.channels)
    for threads in given.threads:
        torch.set_num_threads(threads)
        rate = product_rate()
        print(
            f"{needed / 1e9:.0f} GFLOP a step; a matrix product runs {rate / 1e9:.0f} GFLOP a CPU-second here: ", end=""
        )
        print(f"at least {needed / rate:.1f} CPU-s a step")
        began = time.monotonic()
        fast = step_seconds(ours, given.batch, given.channels, given.steps)
        middle = time.monotonic()
        slow = step_seconds(theirs, given.batch, given.channels, given.steps)
        walls = middle - began, time.monotonic() - middle
        print(
            f"{threads} threads: ours {fast:.2f} CPU-s a step, step by step {slow:.2f}, ratio {slow / fast:.2f} "
            f"(wall, all steps: {walls[0]:.1f} and {walls[1]:.1f} s)"
        )


if __name__ == "__main__":
    main()

"""The command `vocode`: a mel spectrogram or a recording of speech becomes sound again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--iterations", type=click.IntRange(1), default=32, show_default=True, help="Of Griffin-Lim.")
@click.option("--fmax", type=float, default=8000.0, show_default=True, help="Upper edge of the mel bank in Hz.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first phases.")
def vocode(source: Path, out: Path, iterations: int, fmax: float, seed: int) -> None:
    """Turn a log-mel file (.npy, .npz, .safetensors) or a sound file into sound (.wav, .flac, .mp3, .ogg)."""
    from braindecode_hub import Context
    from braindecode_hub_audio_seeg.vocoder import GriffinLim
    from braindecode_hub_audio_seeg.vocoder import vocode as turn

    renderer = GriffinLim(iterations=iterations, fmax=fmax)
    click.echo(str(turn(source, out, renderer=renderer, ctx=Context(seed=seed))))

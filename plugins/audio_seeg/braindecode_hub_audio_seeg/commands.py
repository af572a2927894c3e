"""The command `vocode`: a mel spectrogram or a recording of speech becomes sound again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

RENDERERS = ("griffin_lim", "waveglow", "hifigan")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--renderer", type=click.Choice(RENDERERS), default="griffin_lim", show_default=True, help="The vocoder.")
@click.option("--weights", help="Of waveglow and hifigan: a file or a URI; hifigan's config.json lies beside it.")
@click.option("--sigma", type=click.FloatRange(0), help="Of waveglow's noise, 0.6 to 1. [default: 0.9]")
@click.option("--denoise", type=click.FloatRange(0), help="Of waveglow: how much of its hum to remove. [default: 0]")
@click.option("--iterations", type=click.IntRange(1), help="Of Griffin-Lim. [default: 32]")
@click.option("--fmax", type=float, help="Of Griffin-Lim: upper edge of the mel bank in Hz. [default: 8000]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first phases, or of the noise.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
def vocode(source: Path, out: Path, renderer: str, seed: int, device: str, **options: Any) -> None:
    """Turn a log-mel file (.npy, .npz, .safetensors) or a sound file into sound (.wav, .flac, .mp3, .ogg)."""
    from braindecode_hub.environment import context
    from braindecode_hub.errors import HubError
    from braindecode_hub.manager import Manager
    from braindecode_hub_audio_seeg.vocoder import vocode as turn

    given = {name: value for name, value in options.items() if value is not None}
    if "weights" in given:
        given["path"] = given.pop("weights")
    manager = Manager()
    kind: Any = manager.component("renderer", f"audio_seeg/{renderer}")
    if foreign := [name for name in given if name not in kind.parameters()]:
        option = foreign[0].replace("path", "weights")
        raise HubError(f"{renderer} has no --{option}", "leave it out, or choose another --renderer", usage=True)
    click.echo(str(turn(source, out, renderer=kind(**given), ctx=context(seed=seed, device=device, manager=manager))))

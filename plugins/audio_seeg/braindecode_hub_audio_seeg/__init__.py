"""Speech from depth electrodes: what the plugin registers. Importing this imports braindecode_hub only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from braindecode_hub import hookimpl

if TYPE_CHECKING:
    import click

    from braindecode_hub.manager import Register
    from braindecode_hub.report import Section


@hookimpl
def register_components(register: Register) -> None:
    """Register the plugin's parts."""
    here = "braindecode_hub_audio_seeg"
    register.dataset("audio_seeg/phantom", f"{here}.phantom:Phantom")
    register.dataset("audio_seeg/naplib", f"{here}.naplib:Naplib")
    register.dataset("audio_seeg/grasshopper", f"{here}.grasshopper:Grasshopper")
    register.dataset("audio_seeg/kohler2022", f"{here}.kohler2022:Kohler2022")
    register.dataset("audio_seeg/verwoert2022", f"{here}.verwoert2022:Verwoert2022")
    register.encoder("audio_seeg/mel", f"{here}.mel:Mel")
    register.encoder("audio_seeg/high_gamma", f"{here}.highgamma:HighGamma")
    register.encoder("audio_seeg/conv_gru", f"{here}.conv_gru:ConvGru")
    register.decoder("audio_seeg/attention", f"{here}.attention:Attention")
    register.renderer("audio_seeg/griffin_lim", f"{here}.vocoder:GriffinLim")
    register.renderer("audio_seeg/waveglow", f"{here}.neural_vocoders:WaveGlowRenderer")
    register.renderer("audio_seeg/hifigan", f"{here}.neural_vocoders:HifiGanRenderer")
    register.renderer("audio_seeg/envelope_tone", f"{here}.vocoder:EnvelopeTone")
    register.metric("audio_seeg/mel_correlation", f"{here}.scores:MelCorrelation")
    register.metric("audio_seeg/mel_correlation_speech", f"{here}.scores:MelCorrelationSpeech")
    register.metric("audio_seeg/mcd", f"{here}.scores:Mcd")
    register.metric("audio_seeg/stoi", f"{here}.intelligibility:Stoi")
    register.metric("audio_seeg/estoi", f"{here}.intelligibility:Estoi")


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add `vocode`."""
    from braindecode_hub_audio_seeg.commands import vocode

    cli.add_command(vocode)


@hookimpl
def report_sections(run: Any) -> list[Section]:
    """Return the players and mels of a run of this plugin, and the maps of its attention."""
    if run.config.get("plugin") != "audio_seeg":
        return []
    from braindecode_hub_audio_seeg import report, report_attention

    return [*report.sections(run), *report_attention.sections(run)]

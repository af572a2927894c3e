"""Which speech was heard: what the plugin registers. Importing this imports braindecode_hub only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from braindecode_hub import hookimpl

if TYPE_CHECKING:
    from braindecode_hub.manager import Register
    from braindecode_hub.report import Section


@hookimpl
def register_components(register: Register) -> None:
    """Register the plugin's parts."""
    here = "braindecode_hub_speech_wav2vec"
    register.dataset("speech_wav2vec/phantom", f"{here}.phantom:Phantom")
    register.dataset("speech_wav2vec/brennan2019", f"{here}.brennan2019:Brennan2019")
    register.dataset("speech_wav2vec/broderick2019", f"{here}.broderick2019:Broderick2019")
    register.dataset("speech_wav2vec/gwilliams2022", f"{here}.gwilliams2022:Gwilliams2022")
    register.dataset("speech_wav2vec/schoffelen2019", f"{here}.schoffelen2019:Schoffelen2019")
    register.encoder("speech_wav2vec/mel", f"{here}.mel:Mel")
    register.encoder("speech_wav2vec/envelope", f"{here}.trf_features:Envelope")
    register.encoder("speech_wav2vec/onset", f"{here}.trf_features:Onset")
    register.encoder("speech_wav2vec/wav2vec2", f"{here}.targets:Wav2Vec2")
    register.decoder("speech_wav2vec/trf", f"{here}.trf_decoder:TrfDecoder")
    register.encoder("speech_wav2vec/resample", f"{here}.resample:Resample")
    register.encoder("speech_wav2vec/detrend", f"{here}.detrend:Detrend")
    register.encoder("speech_wav2vec/robust_scaler", f"{here}.scaling:RobustScaling")
    register.encoder("speech_wav2vec/simpleconv", f"{here}.simpleconv_encoder:SimpleConvEncoder")
    register.decoder("speech_wav2vec/contrastive", f"{here}.contrastive:Contrastive")
    register.decoder("speech_wav2vec/linear_contrastive", f"{here}.linear_contrastive:LinearContrastive")
    register.dataset("speech_wav2vec/ssvep40", f"{here}.ssvep40:Ssvep40")
    register.encoder("speech_wav2vec/sinusoids", f"{here}.sinusoids:Sinusoids")
    register.decoder("speech_wav2vec/phase_free", f"{here}.phase_free:PhaseFree")
    register.decoder("speech_wav2vec/cca", f"{here}.cca:Cca")
    register.renderer("speech_wav2vec/retrieved_speech", f"{here}.retrieved_speech:RetrievedSpeech")


@hookimpl
def report_sections(run: Any) -> list[Section]:
    """Return what a run of this plugin retrieved, and the temporal response functions of one that has them."""
    if run.config.get("plugin") != "speech_wav2vec":
        return []
    from braindecode_hub_speech_wav2vec import report, trf_report

    return [*report.sections(run), *trf_report.sections(run)]

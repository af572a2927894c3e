"""braindecode-hub: from a brain recording to the speech, music, image or video it was given, honestly scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from braindecode_hub.version import API_VERSION, __version__

if TYPE_CHECKING:
    from braindecode_hub.api import adapt as adapt
    from braindecode_hub.api import inspect as inspect
    from braindecode_hub.api import load as load
    from braindecode_hub.api import predict as predict
    from braindecode_hub.api import run as run
    from braindecode_hub.errors import HubError as HubError
    from braindecode_hub.hookspecs import hookimpl as hookimpl
    from braindecode_hub.interfaces import Dataset as Dataset
    from braindecode_hub.interfaces import Decoder as Decoder
    from braindecode_hub.interfaces import Encoder as Encoder
    from braindecode_hub.interfaces import Metric as Metric
    from braindecode_hub.interfaces import Renderer as Renderer
    from braindecode_hub.judging import score as score
    from braindecode_hub.parts.save_recording import save_recording as save_recording
    from braindecode_hub.types import ANY as ANY
    from braindecode_hub.types import Artifact as Artifact
    from braindecode_hub.types import Batch as Batch
    from braindecode_hub.types import Context as Context
    from braindecode_hub.types import Recording as Recording
    from braindecode_hub.types import Signal as Signal
    from braindecode_hub.types import Space as Space
    from braindecode_hub.types import Trial as Trial


_WHERE = {
    "run": "api",
    "load": "api",
    "save_recording": "parts.save_recording",
    "score": "judging",
    "inspect": "api",
    "predict": "api",
    "adapt": "api",
    "HubError": "errors",
    "hookimpl": "hookspecs",
    **dict.fromkeys(("Dataset", "Encoder", "Decoder", "Renderer", "Metric"), "interfaces"),
    **dict.fromkeys(("Space", "Signal", "Recording", "Trial", "Batch", "Artifact", "Context", "ANY"), "types"),
}
__all__ = [*_WHERE, "API_VERSION", "__version__"]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: the command line starts without numpy."""
    if name not in _WHERE:
        raise AttributeError(f"module 'braindecode_hub' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"braindecode_hub.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

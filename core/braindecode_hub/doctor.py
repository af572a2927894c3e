"""What `doctor` prints: is this installation able to do what it promises?"""

from __future__ import annotations

import importlib.util
import platform
from importlib import metadata

from braindecode_hub.cache import default_folder
from braindecode_hub.errors import HubError
from braindecode_hub.files import writable_folder
from braindecode_hub.manager import Manager
from braindecode_hub.version import API_VERSION, __version__

OPTIONAL = {
    "soundfile": "sound files (extra io)",
    "h5py": "MATLAB and HDF5 files (extra io)",
    "librosa": "Griffin-Lim (extra audio-seeg)",
    "tensorboard": "TensorBoard event files (extra audio-seeg)",
}


def examine(manager: Manager) -> tuple[list[str], bool]:
    """Return lines to print and whether everything that was found works."""
    manager.load_all()
    lines = [f"braindecode-hub {__version__}, plugin api {API_VERSION}, Python {platform.python_version()}"]
    for name, plugin in sorted(manager.catalogue.plugins.items()):
        parts = sum(entry.plugin.name == name for entry in manager.components.values())
        lines.append(f"plugin {name} ({plugin.distribution}): {parts} parts")
    for package, purpose in OPTIONAL.items():
        lines.append(f"{package}: {_version(package)} — {purpose}")
    healthy = not manager.problems
    try:
        lines.append(f"cache: {writable_folder(default_folder())}")
    except HubError as error:
        lines.append(f"cache: {error.cause}; {error.remedy}")
        healthy = False
    if manager.problems:
        lines += ["", "Problems", *(f"  {problem}" for problem in manager.problems)]
    else:
        lines.append("no problems found")
    return lines, healthy


def _version(package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return "missing"
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "present"

"""Registries that were read once: parsed again only when the file has changed, so that `list` starts in a blink.

One JSON file in the cache folder holds what each registry.yaml said, by path, time of change, size and inode, for
this version of the hub. What it says is checked like a registry that was just parsed; a file that is damaged, or
cannot be written, costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from braindecode_hub.errors import HubError
from braindecode_hub.version import __version__

MOST_BYTES = 50_000_000
_FORM = f"1 {__version__}"


def cache_folder() -> Path:
    """Return BRAINDECODE_HUB_CACHE, or the place where this platform keeps caches (Linux: under ~/.cache)."""
    chosen = os.environ.get("BRAINDECODE_HUB_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "linux":  # what pooch says there, without importing it
        return Path(os.environ.get("XDG_CACHE_HOME", "").strip() or Path.home() / ".cache") / "braindecode-hub"
    import pooch  # type: ignore[import-untyped, unused-ignore]

    return Path(pooch.os_cache("braindecode-hub"))


class Manifests:
    """Reads registries, remembering what they said; `keep` writes down what was new."""

    def __init__(self, parse: Callable[[Path], Any]) -> None:
        self._parse = parse
        self._path = cache_folder() / "registries.json"
        self._kept: dict[str, Any] = _load(self._path)
        self._used: dict[str, Any] = {}
        self._new = False

    def read(self, path: Path) -> Any:
        """Return the plain data of the registry at `path`; HubError if it is no file, or no plain YAML."""
        try:
            status = path.stat()
        except OSError as error:
            raise HubError(f"{path.name} cannot be read: {error.strerror}", "install the plugin again") from error
        if not stat.S_ISREG(status.st_mode):
            raise HubError(f"{path.name} is not a file", "put a YAML file in its place")
        mark = [status.st_mtime_ns, status.st_size, status.st_ino]
        kept = self._kept.get(str(path))
        if isinstance(kept, list) and len(kept) == 2 and kept[0] == mark:
            self._used[str(path)] = kept
            return kept[1]
        data = self._parse(path)
        self._used[str(path)] = [mark, data]
        self._new = True
        return data

    def keep(self) -> None:
        """Write what was read where the next `list` finds it, if anything was new; nothing is said if that fails."""
        if not self._new:
            return
        from braindecode_hub.files import write_whole

        with contextlib.suppress(HubError, OSError, TypeError, ValueError, RecursionError):
            text = json.dumps({"form": _FORM, "registries": self._used}, allow_nan=False)
            if json.loads(text)["registries"] == self._used:  # a key that is no text would come back as one
                write_whole(self._path, text)


def _load(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError), path.open("rb") as handle:
        if os.fstat(handle.fileno()).st_size <= MOST_BYTES:
            kept = json.loads(handle.read())
            if isinstance(kept, dict) and kept.get("form") == _FORM and isinstance(kept.get("registries"), dict):
                return dict(kept["registries"])
    return {}

"""Which dataset reads what `--data` names: by its ending, or by what lies in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError

if TYPE_CHECKING:
    from braindecode_hub.manager import Manager

ENDINGS = {".npz": "core/arrays", ".nwb": "core/nwb"}
"""Files, and folders with no other recordings, by their ending; whatever is not here is for core/folder."""


def dataset_for(data: str, brain: str, manager: Manager) -> dict[str, Any]:
    """Return the `dataset` of a pipeline for a path or URI; `brain`: what was recorded, as the pipeline's flow says.

    Raises HubError when the dataset that reads such data is not installed.
    """
    use, what = _use(data)
    if ("dataset", use) not in manager.components:
        raise HubError(
            f"{data} is {what}, which needs {use}: it is not part of this version",
            "update braindecode-hub, or save the recording another way: see `braindecode-hub describe core/folder`",
            usage=True,
        )
    known = manager.component("dataset", use).parameters()
    named = "modality" if "modality" in known else "brain"  # where `brain` says which series of a file
    return {"use": use, "path": data, **({named: brain} if named in known else {})}


def _use(data: str) -> tuple[str, str]:
    ending = Path(data.partition("#")[0]).suffix.lower() if "://" in data else Path(data).suffix.lower()
    path = Path(data).expanduser()
    if "://" not in data and path.is_dir():
        if (path / "dataset_description.json").is_file():
            return "core/bids", "a BIDS dataset"
        from braindecode_hub.parts.matching import recordings_in

        found = {one.suffix.lower() for one in path.iterdir() if not one.name.startswith(".")} & set(ENDINGS)
        ending = found.pop() if len(found) == 1 and not recordings_in(path) else ""
    return (ENDINGS[ending], f"{ending} data") if ending in ENDINGS else ("core/folder", "a folder")

"""audio_seeg/verwoert2022: ten patients with depth electrodes who read Dutch words aloud (OSF nrgx6).

UNVERIFIED: written after the published description and tested on files made in that layout, never on the data.
"""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from braindecode_hub.errors import HubError
from braindecode_hub.fetchers import extract_member
from braindecode_hub.files import TEMPORARY, write_error
from braindecode_hub.parts.bids import Bids
from braindecode_hub.types import Context, Recording

ARCHIVE = "osf://nrgx6/SingleWordProductionDutch-iBIDS.zip"
FOLDER = "SingleWordProductionDutch-iBIDS"
ROOT = "dataset_description.json"
WANTED = re.compile(r"dataset_description\.json|participants\.tsv|sub-\w+/ieeg/[^/]+")


class Verwoert2022(Bids):
    """UNVERIFIED loader: `sub-XX/ieeg/sub-XX_task-wordProduction_ieeg.nwb` with /acquisition/iEEG and /Audio.

    Ten patients *speak*: 100 words each, about 300 s, 1024 Hz sEEG in microvolts and a 48 kHz microphone whose pitch
    was shifted for privacy, both with timestamps of one clock. Channels come from channels.tsv, positions from
    electrodes.tsv, the words shown are the recording's events; each session is one trial. `path`: the unpacked folder;
    null: the archive (2.8 GB, not pinned) is fetched and unpacked beside the download. `subjects`: such as [01, 02];
    none: all. Verwoert et al. 2022, Scientific Data 9:434.
    """

    unverified: ClassVar[bool] = True
    licence = "CC BY 4.0"
    source = "Verwoert et al. 2022, OSF nrgx6"
    requires = ("h5py", "soundfile")

    def __init__(
        self,
        *,
        path: str | None = None,
        subjects: list[str] = [],  # noqa: B006 (never changed: configuration)
        line_freq: float = 50.0,
        bads: list[str] = [],  # noqa: B006
    ) -> None:
        super().__init__(
            path="",
            subjects=subjects,
            task="wordProduction",
            datatype="ieeg",
            stimuli="/acquisition/Audio",
            brain="/acquisition/iEEG",
            bads=bads,
        )
        self.path = path
        self.line_freq = line_freq

    @property
    def root(self) -> Path:
        """The unpacked folder; HubError before it was fetched."""
        if self.path is None and self._unpacked is None:
            raise HubError("audio_seeg/verwoert2022 was not prepared", "call prepare(ctx) first")
        return Path(self.path).expanduser() if self.path is not None else Path(str(self._unpacked))

    _unpacked: Path | None = None

    def prepare(self, ctx: Context) -> None:
        """Fetch and unpack the archive once, unless `path` says where it is; then read headers and tables."""
        if self.path is None:
            self._unpacked = unpacked(ctx.fetch(ARCHIVE))
        super().prepare(ctx)

    def recording(self, id: str) -> Recording:
        """Return one patient's session (channels, samples), in the unit that the file states."""
        return replace(super().recording(id), line_freq=self.line_freq)


def unpacked(archive: Path) -> Path:
    """Return the folder beside `archive` with what is needed of it, unpacked whole or not at all."""
    import zipfile

    place = archive.parent / FOLDER
    if place.is_dir():
        return place
    if not zipfile.is_zipfile(archive):
        raise HubError(f"{archive} is no zip archive", "unpack it yourself, and give its folder: --set dataset.path=…")
    with zipfile.ZipFile(archive) as box:
        names = box.namelist()
    roots = [name.removesuffix(ROOT) for name in names if name == ROOT or name.endswith(f"/{ROOT}")]
    if not roots:
        raise HubError(f"{archive} holds no BIDS folder", "unpack it yourself: --set dataset.path=…")
    root = min(roots, key=len)  # derivatives are BIDS folders, too
    members = {name.removeprefix(root): name for name in names if name.startswith(root)}
    scratch = archive.parent / f"{TEMPORARY}{secrets.token_hex(4)}-{FOLDER}"
    try:
        for inside, member in members.items():
            if WANTED.fullmatch(inside):
                (scratch / inside).parent.mkdir(parents=True, exist_ok=True)
                extract_member(archive, member, (scratch / inside).parent)
        scratch.replace(place)
    except OSError as error:
        if not place.is_dir():  # another process was faster
            other = HubError(f"{archive} cannot be unpacked: {error}", "unpack it yourself: --set dataset.path=…")
            raise write_error(error, place, scratch) or other from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place

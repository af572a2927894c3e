"""What comes with core, as a plugin like any other: its parts, its fetchers, its job backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braindecode_hub.hookspecs import hookimpl
from braindecode_hub.types import Context

if TYPE_CHECKING:
    from braindecode_hub.jobs import Job, JobResult
    from braindecode_hub.manager import Register


@hookimpl
def register_components(register: Register) -> None:
    """Register core's parts."""
    register.dataset("core/brain_only", "braindecode_hub.parts.brain_only:BrainOnly")
    register.dataset("core/arrays", "braindecode_hub.parts.arrays:Arrays")
    register.dataset("core/embeddings", "braindecode_hub.parts.embeddings:Embeddings")
    register.dataset("core/folder", "braindecode_hub.parts.folder:Folder")
    register.dataset("core/bids", "braindecode_hub.parts.bids:Bids")
    register.dataset("core/nwb", "braindecode_hub.parts.nwb:Nwb")
    register.dataset("core/phantom_eeg", "braindecode_hub.parts.phantom_eeg:PhantomEeg")
    register.encoder("core/zscore", "braindecode_hub.parts.zscore:ZScore")
    register.decoder("core/ridge", "braindecode_hub.parts.ridge:Ridge")
    register.metric("core/correlation", "braindecode_hub.parts.correlation:Correlation")
    register.metric("core/top1", "braindecode_hub.parts.ranks:Top1")
    register.metric("core/top5", "braindecode_hub.parts.ranks:Top5")
    register.metric("core/top10", "braindecode_hub.parts.ranks:Top10")
    register.metric("core/mean_rank", "braindecode_hub.parts.ranks:MeanRank")
    register.metric("core/word_top1", "braindecode_hub.parts.ranks:WordTop1")
    register.metric("core/word_top10", "braindecode_hub.parts.ranks:WordTop10")
    register.metric("core/top1_averaged", "braindecode_hub.parts.ranks:Top1Averaged")
    register.metric("core/top10_averaged", "braindecode_hub.parts.ranks:Top10Averaged")
    register.metric("core/top1_context", "braindecode_hub.parts.ranks:Top1Context")
    register.metric("core/top10_context", "braindecode_hub.parts.ranks:Top10Context")


@hookimpl
def fetch(uri: str, folder: Path, ctx: Context) -> Path | None:
    """Fetch file://, https://, osf:// and pypi://."""
    from braindecode_hub import fetchers

    for fetcher in (fetchers.fetch_file, fetchers.fetch_https, fetchers.fetch_osf, fetchers.fetch_pypi):
        found = fetcher(uri, folder, ctx)
        if found is not None:
            return found
    return None


@hookimpl
def run_jobs(jobs: Sequence[Job], backend: str, options: dict[str, Any]) -> Iterable[JobResult] | None:
    """Run jobs in this process, or in several: the backend `local`."""
    from braindecode_hub.jobs import run_local

    return run_local(jobs, backend, options)

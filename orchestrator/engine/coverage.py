"""What does the manifest hold proven stored, and by which slices?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from orchestrator.core.job import Job
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.streams import is_all, views
from orchestrator.core.window import Window, WindowSet, intersect
from orchestrator.ports.store import ManifestReader

__all__ = ["ALL_STREAMS", "all_slices", "covered_of", "listed_coverage"]

PAGE = 500
ALL_STREAMS = "*"
"""How coverage of all streams together is called; for a job with patterns: where its streams add up."""


async def all_slices(
    manifest: ManifestReader, job: str, states: Sequence[SliceState], window: Window | None = None
) -> AsyncIterator[Slice]:
    """Slices in ``states``, page by page."""
    after = ""
    while True:
        page = await manifest.slices(job, states, window=window, limit=PAGE, after=after)
        for slice_ in page:
            yield slice_
        if len(page) < PAGE:
            return
        after = page[-1].id


async def covered_of(job: Job, manifest: ManifestReader) -> WindowSet:
    """What the manifest holds proven stored for the job: with patterns of streams what is of every listed
    stream, and, where the streams are to be all there are, has been found to add up."""
    if not job.stream_patterns or job.one_stream:
        return await manifest.coverage(job.name, job.identity.logstream or ALL_STREAMS)
    covered = await listed_coverage(job, manifest)
    return intersect(covered, await manifest.coverage(job.name)) if is_all(job) else covered


async def listed_coverage(job: Job, manifest: ManifestReader) -> WindowSet:
    """What is proven stored of every listed stream."""
    covered: WindowSet | None = None
    for view in views(job):
        own = await manifest.coverage(job.name, view.identity.logstream)
        covered = own if covered is None else intersect(covered, own)
    return covered or ()

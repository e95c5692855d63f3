"""What does the manifest say? Everything that is answered from it alone, while a run goes on or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core.job import Job
from orchestrator.core.model import Fault
from orchestrator.core.reasons import Reason, mv_line
from orchestrator.core.report import Gap, settled_to
from orchestrator.core.streams import Streams
from orchestrator.core.window import WindowSet, intersect, seconds, subtract
from orchestrator.errors import UsageError
from orchestrator.ports.store import JobCounts, ManifestReader

__all__ = ["JobStatus", "identity_fault", "job_status", "manifest_to_read", "pointed"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far one job is. ``counts`` are of the slices inside the asked window; ``settled_to`` is None when
    its first second is missing and nobody accepted that; ``next_due_at`` when the next planned slice may be
    tried, None when one may at once, or none is planned."""

    job: Job
    covered: WindowSet
    missing: WindowSet
    gaps: tuple[Gap, ...]
    settled_to: int | None
    counts: JobCounts
    next_due_at: float | None
    vanished_since: float | None = None
    """When a run first missed its logstore in the service's list."""
    error: Fault | None = None
    """The manifest holds another job under its name, of which nothing is told here."""

    @property
    def streams(self) -> Streams | None:
        """The log streams of a job with patterns of them, as a run last found them."""
        job = self.job
        return Streams(job.streams, job.gone_streams) if job.stream_patterns else None

    @property
    def complete(self) -> bool:
        """Whether all that is due is stored, or its gaps are accepted."""
        return self.error is None and all(gap.accepted is not None for gap in self.gaps)

    @property
    def share(self) -> float:
        """Covered part of the asked window, 0 to 1, by time; 1 when nothing is due."""
        if self.job.window is None:
            return 1.0
        return seconds(self.covered) / self.job.window.length_s


@asynccontextmanager
async def manifest_to_read(path: str) -> AsyncIterator[ManifestReader]:
    """The manifest at ``path``, or an empty one when there is none yet. Creates, locks and changes nothing.

    Raises ManifestDamaged, ManifestTooNew, StorageError.
    """
    from orchestrator.manifest.store import open_memory, open_reader

    async with open_reader(path) as reader:
        if reader is not None:
            yield reader
            return
        memory = open_memory(now=SystemClock().now, new_id=lambda: SystemRng().token_hex(8))
        empty = memory.reopen()
        try:
            yield empty
        finally:
            await empty.close()
            memory.close()


async def job_status(job: Job, manifest: ManifestReader, jobs_words: str = "") -> JobStatus:
    """Coverage, gaps and counters of one job inside its asked window. ``jobs_words`` is what a shell is to be
    told of the job file."""
    from orchestrator.app.fleets import vanished_since
    from orchestrator.app.lost import gaps_told
    from orchestrator.engine.audit import covered_of

    error = await identity_fault(job, manifest)
    if error is not None and job.window is not None:
        return JobStatus(job, (), (job.window,), (), None, JobCounts({}), None, error=error)
    covered: WindowSet = ()
    missing: WindowSet = ()
    gaps: tuple[Gap, ...] = ()
    counts = JobCounts({})
    settled_s: int | None = job.due_until_s
    if job.window is not None:
        covered = intersect((job.window,), await covered_of(job, manifest))
        missing = subtract((job.window,), covered)
        gaps = await gaps_told(job, manifest, job.window, jobs_words)
        counts = await manifest.totals(job.name, job.window)
        settled_s = settled_to(job.window, gaps)
    return JobStatus(
        job=job,
        covered=covered,
        missing=missing,
        gaps=gaps,
        settled_to=settled_s,
        counts=counts,
        next_due_at=await manifest.next_due_at(job.name) or None,
        vanished_since=await vanished_since(job, manifest),
    )


async def identity_fault(job: Job, manifest: ManifestReader) -> Fault | None:
    """What differs when the manifest holds another job under its name, and the ways out; None when it does
    not, or nothing of the job is due."""
    from orchestrator.engine.faults import fault_of
    from orchestrator.engine.takeup import check_identity

    if job.window is None:
        return None
    try:
        await check_identity(job, manifest)
    except UsageError as error:
        return fault_of(error)
    return None


def pointed(gap: Gap) -> Gap:
    """The gap with a command for what really stands in the way: the path itself, or a file in place of one of
    the folders above it."""
    if gap.reason != Reason.PATH_OCCUPIED or not gap.path:
        return gap
    found = next((str(above) for above in reversed(Path(gap.path).parents) if above.is_file()), gap.path)
    moved, wanted = (mv_line(place) for place in (gap.path, found))
    return replace(gap, mend=gap.mend.replace(moved, wanted, 1))

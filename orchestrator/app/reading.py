"""What does the manifest say? Everything that is answered from it alone, while a run goes on or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core.job import Job, JobFile
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.window import WindowSet, intersect, seconds, subtract
from orchestrator.errors import UsageError
from orchestrator.ports.store import JobCounts, JournalLine, ManifestReader

__all__ = ["JobStatus", "Told", "job_status", "manifest_to_read", "settled_to", "story_of"]

PAGE = 1000
SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far one job is. ``counts`` are of the slices inside the asked window; ``settled_to`` is None when
    its first second is missing; ``next_due_at`` when the next planned slice may be tried."""

    job: Job
    covered: WindowSet
    missing: WindowSet
    settled_to: int | None
    counts: JobCounts
    next_due_at: float | None

    @property
    def share(self) -> float:
        """Covered part of the asked window, 0 to 1, by time; 1 when nothing is due."""
        if self.job.window is None:
            return 1.0
        return seconds(self.covered) / self.job.window.length_s


@dataclass(frozen=True, slots=True)
class Told:
    """One slice and everything that happened to it, oldest first."""

    slice: Slice
    lines: tuple[JournalLine, ...]


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


async def job_status(job: Job, manifest: ManifestReader) -> JobStatus:
    """Coverage and counters of one job inside its asked window."""
    from orchestrator.engine.audit import covered_of

    covered: WindowSet = ()
    missing: WindowSet = ()
    counts = JobCounts({})
    if job.window is not None:
        covered = intersect((job.window,), await covered_of(job, manifest))
        missing = subtract((job.window,), covered)
        counts = await manifest.totals(job.name, job.window)
    return JobStatus(
        job=job,
        covered=covered,
        missing=missing,
        settled_to=settled_to(job, missing),
        counts=counts,
        next_due_at=await manifest.next_due_at(job.name),
    )


def settled_to(job: Job, missing: WindowSet) -> int | None:
    """Up to where a job is proven stored without a hole from its start; None when its first second is
    missing."""
    if job.window is None:
        return job.due_until_s
    first_hole_s = missing[0].start_s if missing else job.window.end_s
    return first_hole_s if first_hole_s > job.window.start_s else None


async def story_of(job_file: JobFile, wanted: str, manifest: ManifestReader) -> Told:
    """The slice meant by ``wanted``: its id, a beginning of it that is unique, or a remote task's uuid.

    Raises UsageError when nothing or more than one slice fits.
    """
    found = await manifest.slice(wanted) or await manifest.by_uuid(wanted)
    if found is None:
        found = await _by_prefix(wanted, manifest)
    if found is None:
        raise UsageError(
            f"{job_file.manifest}: no slice and no remote task is called {wanted}",
            hint="`orchestrator manifest` lists them",
        )
    return Told(found, await manifest.story(found.id))


async def _by_prefix(wanted: str, manifest: ManifestReader) -> Slice | None:
    """Slices are content-derived and few enough to look at one by one when a person asks for one."""
    if len(wanted) < SHORTEST_PREFIX:
        raise UsageError(
            f"{wanted} is too short to mean one slice", hint=f"give at least {SHORTEST_PREFIX} characters"
        )
    fitting: list[Slice] = []
    for job in await manifest.jobs():
        after = ""
        while page := await manifest.slices(job, tuple(SliceState), limit=PAGE, after=after):
            fitting += [item for item in page if item.id.startswith(wanted)]
            after = page[-1].id
    if len(fitting) > 1:
        ids = ", ".join(item.id for item in fitting[:5])
        raise UsageError(f"{wanted} fits {len(fitting)} slices: {ids}", hint="give more of the id")
    return fitting[0] if fitting else None

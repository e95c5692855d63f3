"""Which gaps are there because a logstore is gone? A run keeps in the journal that the service knows no such
logstore; who reads the manifest later, and signs gaps off, goes by that."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.app.fleets import LISTED, VANISHED, vanished_since
from orchestrator.app.wiring import House
from orchestrator.core.job import Job
from orchestrator.core.report import Gap, JobReport, Report, of_lost_logstore
from orchestrator.core.window import Window
from orchestrator.engine.audit import gaps_of
from orchestrator.engine.coverage import covered_of
from orchestrator.errors import ExitCode, StorageError
from orchestrator.ports.store import Changes, JournalEntry, ManifestReader

__all__ = ["gaps_told", "with_losses"]

_NO_SUCH_LOGSTORE = frozenset({"LogStoreNotFound", "ProjectNotFound"})


async def gaps_told(job: Job, manifest: ManifestReader, window: Window, jobs_words: str) -> tuple[Gap, ...]:
    """The gaps of ``window``; what was never exported of a logstore that is gone is refused. ``jobs_words``
    is what a shell is to be told of the job file."""
    gaps = await gaps_of(job, manifest, window, jobs_words)
    if not gaps or await vanished_since(job, manifest) is None:
        return gaps
    return await _refused(gaps, job, manifest, jobs_words)


async def with_losses(report: Report, house: House, jobs_words: str) -> Report:
    """The report of a run with the gaps of logstores that are gone told as such, and an ``error`` that does
    not speak for jobs that are complete since their gaps are accepted. Keeps in the journal which logstores
    are gone and which are there again."""
    if report.exit == ExitCode.STORAGE:
        return report
    by_name = {job.name: job for job in house.job_file.jobs}
    try:
        await _note(report, house, by_name)
    except StorageError:  # the next run meets the same refusal and notes it then; this one's report stands
        return report
    manifest = house.room.manifest
    jobs = tuple(
        [
            replace(entry, gaps=await _refused(entry.gaps, by_name[entry.job], manifest, jobs_words))
            if _is_lost(entry)
            else entry
            for entry in report.jobs
        ]
    )
    of_complete = [job.error for job in jobs if job.error is not None and job.complete]
    if report.error in of_complete:
        others = (job.error for job in jobs if job.error is not None and not job.complete)
        report = replace(report, error=next(others, None))
    return replace(report, jobs=jobs)


async def _note(report: Report, house: House, by_name: dict[str, Job]) -> None:
    """What a list of logstores said was noted before the run began; here is what the service said of one
    alone. Raises StorageError."""
    manifest, now = house.room.manifest, house.room.clock.now()
    unlisted = {name for found in house.resolved.found for name in found.vanished}
    entries: list[JournalEntry] = []
    for entry in report.jobs:
        job, lost = by_name[entry.job], _is_lost(entry)
        is_there = entry.error is None and (entry.complete or entry.remote_tasks_created > 0)
        if entry.window is None or not (lost or is_there):
            continue
        if entry.job in unlisted or lost == (await vanished_since(job, manifest) is not None):
            continue
        detail: dict[str, str | int | float | None] = {"logstore": job.identity.logstore}
        entries.append(JournalEntry(now, job.name, "", VANISHED if lost else LISTED, detail))
    if entries:
        await manifest.commit(Changes(journal=tuple(entries)))


def _is_lost(entry: JobReport) -> bool:
    return entry.error is not None and entry.error.service_code in _NO_SUCH_LOGSTORE


async def _refused(
    gaps: tuple[Gap, ...], job: Job, manifest: ManifestReader, jobs_words: str
) -> tuple[Gap, ...]:
    by_stream, once_known = bool(job.stream_patterns), bool(await covered_of(job, manifest))
    return tuple(
        of_lost_logstore(gap, jobs_words, by_stream=by_stream, once_known=once_known) for gap in gaps
    )

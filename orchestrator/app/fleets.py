"""Which jobs are the fleets of a job file, as the manifest remembers them or as the service lists them now?

A job file with ``fleets`` goes in; one without, whose ``jobs`` are all there are, comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from orchestrator.app.selection import is_meant, no_such_job
from orchestrator.app.streams import stream_news, streams_listed, streams_remembered
from orchestrator.core.fleets import Found, Resolved, find, without_collisions
from orchestrator.core.job import Fleet, Job, JobFile, JobIdentity, ServiceSpec
from orchestrator.core.model import Fault
from orchestrator.core.report import JobReport, Report
from orchestrator.core.window import Window
from orchestrator.engine.faults import fault_of
from orchestrator.engine.run import exit_of_fault
from orchestrator.errors import ExitCode, OrchestratorError, Refused, UsageError
from orchestrator.ports.control import Observer
from orchestrator.ports.service import MetaApi
from orchestrator.ports.store import Changes, JournalEntry, ManifestReader, ManifestWriter
from orchestrator.ports.time import Clock

__all__ = [
    "LISTED",
    "VANISHED",
    "as_listed",
    "as_remembered",
    "note_news",
    "troubles",
    "vanished_since",
    "with_patterns",
]

VANISHED = "logstore_vanished"
LISTED = "logstore_listed"
_Place = tuple[ServiceSpec, str]


async def as_remembered(job_file: JobFile, manifest: ManifestReader) -> Resolved:
    """The jobs named in full and those the manifest has: nobody is asked. Raises UsageError when a name that
    was asked for fits none of all jobs."""
    known = await _known(manifest) if job_file.fleets else {}
    resolved = _settled(job_file, [find(fleet, None, known) for fleet in job_file.fleets], {})
    return await streams_remembered(resolved, manifest)


async def as_listed(
    job_file: JobFile, metas: Mapping[ServiceSpec, MetaApi], manifest: ManifestReader
) -> Resolved:
    """The same with what the service lists now, asked once per project, and once per job with patterns of log
    streams. What cannot be listed stops its jobs and no others. Raises UsageError as above."""
    known = await _known(manifest) if job_file.fleets else {}
    places = list(dict.fromkeys(_place(fleet) for fleet in job_file.fleets))
    answers = await asyncio.gather(*(_list(metas[service], project) for service, project in places))
    by_place = dict(zip(places, answers, strict=True))
    founds: list[Found] = []
    errors: dict[str, OrchestratorError] = {}
    nothing: list[Refused] = []
    for fleet in job_file.fleets:
        answer = by_place[_place(fleet)]
        if isinstance(answer, OrchestratorError):
            errors[fleet.place] = answer
            founds.append(replace(find(fleet, None, known), fault=fault_of(answer)))
            continue
        found = find(fleet, answer, known)
        if not found.jobs and not found.unfit:
            nothing.append(_nothing_fits(fleet))
            found = replace(found, fault=fault_of(nothing[-1]))
        founds.append(found)
    resolved = _settled(job_file, founds, errors)
    resolved = replace(resolved, errors=(*errors.values(), *nothing))
    return await streams_listed(resolved, metas, manifest)


def _nothing_fits(fleet: Fleet) -> Refused:
    """Nothing is exported, and that must not look like success."""
    identity = fleet.template.identity
    return Refused(
        f"{fleet.place}: no logstore of project {identity.project} at {identity.service} fits "
        f"{', '.join(fleet.logstores)}",
        service_code="LogStoreNotFound",
        hint="`orchestrator logstores` lists those there are",
    )


async def _list(meta: MetaApi, project: str) -> tuple[str, ...] | OrchestratorError:
    try:
        return tuple(store.name for store in await meta.list_logstores(project))
    except OrchestratorError as error:
        return error


def _place(fleet: Fleet) -> _Place:
    return fleet.template.service, fleet.template.identity.project


async def _known(manifest: ManifestReader) -> dict[str, JobIdentity]:
    identities = {name: await manifest.job_identity(name) for name in await manifest.jobs()}
    return {name: identity for name, identity in identities.items() if identity is not None}


def _settled(job_file: JobFile, founds: Sequence[Found], errors: Mapping[str, OrchestratorError]) -> Resolved:
    settled = without_collisions(founds, (*job_file.jobs, *job_file.others))
    meant = tuple(map(_narrowed, settled))
    jobs = (*job_file.jobs, *(job for found in meant for job in found.jobs))
    _refuse_strange_names(job_file, settled, jobs)
    stopped = {
        job.name: errors[found.fleet.place]
        for found in meant
        for job in found.jobs
        if found.fleet.place in errors
    }
    return Resolved(replace(job_file, jobs=jobs, fleets=()), meant, stopped=stopped)


def _refuse_strange_names(job_file: JobFile, settled: Sequence[Found], jobs: Sequence[Job]) -> None:
    """Of a fleet that was not listed, any name may be a job's; but a call about none at all is a mistake."""
    every = [job for found in settled for job in found.jobs]
    names = [job.name for job in (*job_file.jobs, *job_file.others, *every)]
    names += [item.job for found in settled for item in found.unfit]
    listed = all(found.listed for found in settled)
    for name in dict.fromkeys(name for found in settled for name in found.fleet.only):
        strange = not any(fnmatchcase(known, name) for known in names)
        if strange and (listed or not jobs):
            raise no_such_job(replace(job_file, jobs=(*job_file.jobs, *every)), name)


def _narrowed(found: Found) -> Found:
    """Only what the call asked for."""
    only = found.fleet.only
    jobs = tuple(job for job in found.jobs if is_meant(job, only))
    names = {job.name for job in jobs}
    return replace(
        found,
        jobs=jobs,
        vanished=tuple(name for name in found.vanished if name in names),
        unfit=tuple(item for item in found.unfit if not only or any(fnmatchcase(item.job, n) for n in only)),
    )


async def note_news(resolved: Resolved, manifest: ManifestWriter, observer: Observer, clock: Clock) -> None:
    """Say which logstores and log streams are no longer listed or are new, and keep it in the journal, so
    that `status` knows too. Raises StorageError."""
    others = [job.name for job in resolved.job_file.jobs if await _is_another(job, manifest)]
    news = stream_news(resolved, observer, clock, but=others)
    for found in resolved.found:
        if not found.listed:
            continue
        for pattern in found.idle:
            observer.noted("fleet.pattern_idle", table=found.fleet.place, pattern=pattern)
        for item in found.unfit:
            observer.noted(
                "fleet.logstore_failed", logstore=item.logstore, job=item.job, message=item.problem
            )
        for job in found.jobs:
            if job.name in others:
                continue
            gone = job.name in found.vanished
            if gone:
                observer.noted("fleet.logstore_lost", job=job.name, logstore=job.identity.logstore)
            if gone != (await vanished_since(job, manifest) is not None):
                detail: dict[str, str | int | float | None] = {"logstore": job.identity.logstore}
                event = VANISHED if gone else LISTED
                news.append(JournalEntry(clock.now(), job.name, "", event, detail))
    if news:
        await manifest.commit(Changes(journal=tuple(news)))


def with_patterns(report: Report, resolved: Resolved) -> Report:
    """The report of a run with what kept fleets from having all their jobs: an entry of its own for each
    fleet that could not be looked up, under the fleet's name, and for each logstore that can have no job."""
    jobs = tuple(replace(entry, streams=resolved.streams.get(entry.job)) for entry in report.jobs)
    report = replace(report, jobs=jobs, fleets=resolved.found)
    further = [
        JobReport(name, exit_of_fault(fault), window, complete=False, error=fault)
        for name, window, fault in troubles(resolved)
    ]
    if not further:
        return report
    return replace(
        report,
        exit=ExitCode.worst([report.exit, *(entry.exit for entry in further)]),
        complete=False,
        settled_to=None,
        jobs=(*report.jobs, *further),
        error=report.error or further[0].error,
    )


def troubles(resolved: Resolved) -> tuple[tuple[str, Window | None, Fault], ...]:
    """What kept fleets from having all their jobs: the name and window it is told under, and the fault."""
    told: list[tuple[str, Window | None, Fault]] = []
    for found in resolved.found:
        template = found.fleet.template
        if found.fault is not None:
            told.append((template.name, template.window, found.fault))
        for item in found.unfit:
            error = UsageError(
                f"{found.fleet.place}: logstore {item.logstore} cannot be job {item.job}: {item.problem}",
                hint=f'change `name`, or leave the logstore out with "!{item.logstore}"',
            )
            told.append((item.job, template.window, fault_of(error)))
    return tuple(told)


async def _is_another(job: Job, manifest: ManifestReader) -> bool:
    """Whether the manifest holds another job under that name: the run will refuse it."""
    known = await manifest.job_identity(job.name)
    return known is not None and known != job.identity


async def vanished_since(job: Job, manifest: ManifestReader) -> float | None:
    """When a run first missed the job's logstore in the service's list, or was told that there is none, UTC
    epoch seconds; None when it is there, or was never missed."""
    told = [line.entry for line in await manifest.listings(job.name)]
    words = [entry for entry in told if entry.event in (VANISHED, LISTED)]
    lost = words and words[-1].event == VANISHED and words[-1].detail["logstore"] == job.identity.logstore
    return words[-1].at if lost else None

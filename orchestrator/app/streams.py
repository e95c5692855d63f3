"""Which log streams are the jobs with patterns about, as the manifest remembers them or as the service lists
them now?"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from orchestrator.core.fleets import Resolved
from orchestrator.core.job import Job, ServiceSpec
from orchestrator.core.streams import Streams, find_streams, with_streams
from orchestrator.errors import OrchestratorError, Refused
from orchestrator.ports.control import Observer
from orchestrator.ports.service import MetaApi
from orchestrator.ports.store import JournalEntry, ManifestReader
from orchestrator.ports.time import Clock

__all__ = ["stream_news", "streams_listed", "streams_remembered"]

LISTED = "stream_listed"
VANISHED = "stream_vanished"


async def streams_remembered(resolved: Resolved, manifest: ManifestReader) -> Resolved:
    """Every job with patterns, about the streams that were listed when a run last looked."""
    found = {
        job.name: find_streams(job, None, await _known(job, manifest))
        for job in resolved.job_file.jobs
        if job.stream_patterns
    }
    return _filled(resolved, found, {})


async def streams_listed(
    resolved: Resolved, metas: Mapping[ServiceSpec, MetaApi], manifest: ManifestReader
) -> Resolved:
    """Every job with patterns, about the streams the service lists now. A job whose streams cannot be listed
    is stopped, and one of which nothing fits, or which names a stream that never was: in the name of a stream
    that is not there nothing must be asked for (bls-api.md 10.26)."""
    jobs = [job for job in resolved.job_file.jobs if job.stream_patterns and job.name not in resolved.stopped]
    remembered = [await _known(job, manifest) for job in jobs]
    asked = zip(jobs, remembered, strict=True)
    answers = await asyncio.gather(*(_list(job, metas[job.service], known) for job, known in asked))
    found: dict[str, Streams] = {}
    stopped: dict[str, OrchestratorError] = {}
    for job, known, answer in zip(jobs, remembered, answers, strict=True):
        if isinstance(answer, OrchestratorError):
            found[job.name] = find_streams(job, None, known)
            stopped[job.name] = answer
            continue
        found[job.name] = find_streams(job, answer, known)
        if not found[job.name].listed or found[job.name].absent:
            stopped[job.name] = _not_there(job, found[job.name])
    return _filled(await streams_remembered(resolved, manifest), found, stopped)


async def _list(job: Job, meta: MetaApi, known: Mapping[str, bool]) -> frozenset[str] | OrchestratorError:
    """Asked twice when a stream is missed: a list may lose items at the borders of its pages, and what is
    taken for vanished is not exported."""
    place = (job.identity.project, job.identity.logstore)
    try:
        listed = frozenset(await meta.list_logstreams(*place))
        if any(there and name not in listed for name, there in known.items()):
            listed |= frozenset(await meta.list_logstreams(*place))
        return listed
    except OrchestratorError as error:
        return error


def _not_there(job: Job, found: Streams) -> Refused:
    wanted = ", ".join(found.absent or job.stream_patterns)
    known = ", ".join(found.listed[:5]) + (", …" if len(found.listed) > 5 else "")
    has = f"; it has {known}" if known else ""
    return Refused(
        f"logstore {job.identity.logstore} has no log stream {wanted}{has}",
        service_code="LogStreamNotFound",
        hint="name those that exist, or leave `logstream` out for all of them together",
    )


async def _known(job: Job, manifest: ManifestReader) -> dict[str, bool]:
    """Every stream ever listed for the job, and whether it was when last looked for."""
    known: dict[str, bool] = {}
    for line in await manifest.listings(job.name):
        if line.entry.event in (LISTED, VANISHED):
            known[str(line.entry.detail.get("logstream", ""))] = line.entry.event == LISTED
    return known


def _filled(
    resolved: Resolved, found: Mapping[str, Streams], stopped: Mapping[str, OrchestratorError]
) -> Resolved:
    jobs = tuple(
        with_streams(job, found[job.name]) if job.name in found else job for job in resolved.job_file.jobs
    )
    return replace(
        resolved,
        job_file=replace(resolved.job_file, jobs=jobs),
        streams={**resolved.streams, **found},
        stopped={**resolved.stopped, **stopped},
    )


def stream_news(
    resolved: Resolved, observer: Observer, clock: Clock, *, but: Collection[str] = ()
) -> list[JournalEntry]:
    """What is to be remembered of streams that came or went; all that a person should know is said. Nothing
    about the jobs in ``but``."""
    news: list[JournalEntry] = []
    for job, found in resolved.streams.items():
        if job in but:
            continue
        for pattern in found.idle:
            observer.noted("streams.pattern_idle", job=job, pattern=pattern)
        for stream in found.gone:
            observer.noted("streams.stream_lost", job=job, logstream=stream)
        for event, streams in ((LISTED, found.appeared), (VANISHED, found.vanished)):
            news += [JournalEntry(clock.now(), job, "", event, {"logstream": name}) for name in streams]
    return news

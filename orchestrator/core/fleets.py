"""Which jobs does one table with a pattern of logstores stand for?

Pure: what the service lists and what the manifest remembers come in as arguments. A logstore that the
manifest has a job of and the service no longer lists has *vanished*: its job stays one, so that what is
missing of it stays a gap, and only the service's own word about it ends its export."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.core.job import Fleet, Job, JobFile, JobIdentity
from orchestrator.core.jobfile_overlaps import Paths
from orchestrator.core.layout import path_shape
from orchestrator.core.model import Fault
from orchestrator.core.patterns import chosen, fits, idle, named
from orchestrator.core.streams import Streams
from orchestrator.errors import OrchestratorError

__all__ = ["Found", "Resolved", "Unfit", "find", "fits_template", "job_name", "without_collisions"]

_JOB_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PLACE = "{logstore}"


@dataclass(frozen=True, slots=True)
class Unfit:
    """A logstore that fits and can have no job; ``problem`` says why, for people."""

    logstore: str
    job: str
    problem: str


@dataclass(frozen=True, slots=True)
class Found:
    """What one fleet comes to. ``listed`` is False when the service was not asked: then its jobs are those
    named in full and those the manifest remembers. ``vanished`` are names of jobs, ``idle`` patterns that fit
    nothing; ``fault`` is why there may be jobs that nobody knows of."""

    fleet: Fleet
    jobs: tuple[Job, ...] = ()
    listed: bool = False
    vanished: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    unfit: tuple[Unfit, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A job file without unknowns. ``stopped`` is why nothing may be begun for a job in this run, by name."""

    job_file: JobFile
    found: tuple[Found, ...] = ()
    streams: Mapping[str, Streams] = field(default_factory=dict)
    """Of jobs with patterns of log streams, by name."""
    stopped: Mapping[str, OrchestratorError] = field(default_factory=dict)
    errors: tuple[OrchestratorError, ...] = ()
    """Why there may be jobs that nobody knows of."""


def job_name(template: str, logstore: str) -> str:
    """The name of the job of one logstore; it may be none that a job can have."""
    return template.replace(_PLACE, logstore)


def fits_template(fleet: Fleet, name: str) -> bool:
    """Whether a job of this fleet could have that name."""
    first, *rest = map(re.escape, fleet.template.name.split(_PLACE))
    pattern = f"{first}(?P<logstore>.+){'(?P=logstore)'.join(rest)}"
    found = re.fullmatch(pattern, name, re.DOTALL)
    return found is not None and fits(found["logstore"], fleet.logstores)


def find(fleet: Fleet, listed: Collection[str] | None, known: Mapping[str, JobIdentity]) -> Found:
    """The fleet's jobs by logstore. ``listed`` are the project's logstores, None when nobody asked; ``known``
    the manifest's jobs by name."""
    remembered = _remembered(fleet, known)
    meant = {*chosen(listed or (), fleet.logstores), *named(fleet.logstores), *remembered}
    jobs, unfit = [], []
    for logstore in sorted(meant):
        name = job_name(fleet.template.name, logstore)
        if not _JOB_NAME.fullmatch(name):
            problem = "no name for a job: 1 to 64 of A to Z, a to z, 0 to 9 and _ . -"
            unfit.append(Unfit(logstore, name, problem))
            continue
        identity = replace(fleet.template.identity, logstore=logstore)
        jobs.append(replace(fleet.template, name=name, identity=identity))
    gone = () if listed is None else tuple(sorted(remembered - set(listed)))
    return Found(
        fleet,
        tuple(jobs),
        listed is not None,
        vanished=tuple(job_name(fleet.template.name, logstore) for logstore in gone),
        idle=() if listed is None else idle(fleet.logstores, {*listed, *remembered}),
        unfit=tuple(unfit),
    )


def _remembered(fleet: Fleet, known: Mapping[str, JobIdentity]) -> set[str]:
    """Logstores of this fleet that have a job in the manifest."""
    template = fleet.template
    return {
        identity.logstore
        for name, identity in known.items()
        if (identity.service, identity.project) == (template.identity.service, template.identity.project)
        and fits(identity.logstore, fleet.logstores)
        and job_name(template.name, identity.logstore) == name
    }


def without_collisions(founds: Sequence[Found], others: Sequence[Job]) -> tuple[Found, ...]:
    """The same without jobs whose name, or whose files' paths, another job has: ``others``, those of the file
    itself, come first, then fleet by fleet. Only the later of two is left out."""
    names: dict[str, str] = {}
    paths = Paths()
    for job in others:
        names.setdefault(job.name, f"job {job.name}")
        paths.add(_shape(job), f"job {job.name}")
    settled = []
    for found in founds:
        jobs, unfit = [], list(found.unfit)
        for job in found.jobs:
            shape, place = _shape(job), f"job {job.name} of {found.fleet.place}"
            if job.name in names:
                problem = f"the name of {names[job.name]} too"
            elif taken := paths.taken_by(shape):
                problem = f"the same paths as {taken}: two files could have one name"
            else:
                names[job.name] = place
                paths.add(shape, place)
                jobs.append(job)
                continue
            unfit.append(Unfit(job.identity.logstore, job.name, problem))
        kept = {job.name for job in jobs}
        vanished = tuple(name for name in found.vanished if name in kept)
        settled.append(replace(found, jobs=tuple(jobs), unfit=tuple(unfit), vanished=vanished))
    return tuple(settled)


def _shape(job: Job) -> tuple[str, ...]:
    if job.destination is None:
        return ()
    identity = job.identity
    return path_shape(job.destination.url, job.layout, job.name, identity.project, identity.logstore)

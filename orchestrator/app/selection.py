"""Which jobs, and which part of their windows, is this call about?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, tzinfo
from fnmatch import fnmatchcase

from orchestrator.core.complaint import nearest
from orchestrator.core.job import Fleet, Job, JobFile
from orchestrator.core.jobfile import parse_moment
from orchestrator.core.patterns import is_pattern
from orchestrator.core.window import Window
from orchestrator.errors import UsageError
from orchestrator.settings import zone

__all__ = ["asked_window", "is_meant", "no_such_job", "select", "zone_of"]


def select(
    job_file: JobFile, names: Sequence[str] = (), *, from_: str | date = "", to: str | date = "", now_s: float
) -> JobFile:
    """``job_file`` with the asked jobs only, their windows narrowed to ``[from_, to)``.

    ``names`` may hold ``*`` and ``?``; without any, every enabled job is meant, and one that is not enabled
    only when it is named in full. Times are as in a job file, text or date or date-time; naive ones are in
    each job's timezone.
    Raises UsageError for a name that fits no job and for times that do not lie in a selected job's window.
    """
    jobs = [job for job in job_file.jobs if is_meant(job, names)]
    fleets = [_asked_of(fleet, names) for fleet in job_file.fleets if _may_be_meant(fleet, names)]
    for name in names:
        if not any(fnmatchcase(job.name, name) for job in job_file.jobs) and not any(
            _may_fit(fleet, name) for fleet in job_file.fleets
        ):
            raise no_such_job(job_file, name)
    if not jobs and not fleets:
        raise UsageError(
            f"{job_file.path}: no job is enabled", hint="set enabled = true, or name one with --job"
        )
    meant = {job.name for job in jobs}
    others = tuple(job for job in job_file.jobs if job.name not in meant)
    if from_ or to:
        jobs = [_narrowed(job, from_, to, now_s) for job in jobs]
        fleets = [replace(fleet, template=_narrowed(fleet.template, from_, to, now_s)) for fleet in fleets]
    return replace(job_file, jobs=tuple(jobs), fleets=tuple(fleets), others=others)


def no_such_job(job_file: JobFile, name: str) -> UsageError:
    """The refusal of a name that fits no job."""
    known = [job.name for job in (*job_file.jobs, *job_file.others)]
    known += [fleet.template.name for fleet in job_file.fleets]
    guess = nearest(name, known)
    hint = f"did you mean {guess}?" if guess else f"its jobs are: {', '.join(known)}"
    return UsageError(f"{job_file.path}: no job fits --job {name}", hint=hint)


def is_meant(job: Job, names: Sequence[str]) -> bool:
    """Whether a call with these names is about the job."""
    if not names:
        return job.enabled
    return job.name in names or (job.enabled and any(fnmatchcase(job.name, name) for name in names))


def _may_be_meant(fleet: Fleet, names: Sequence[str]) -> bool:
    """Whether some job of the fleet could be meant; which ones, the service or the manifest tells."""
    if not names:
        return fleet.template.enabled
    may_fit = [name for name in names if _may_fit(fleet, name)]
    return any(fleet.template.enabled or not is_pattern(name) for name in may_fit)


def _asked_of(fleet: Fleet, names: Sequence[str]) -> Fleet:
    """The fleet narrowed to names; its own name means all of it."""
    if fleet.template.name in names:
        return replace(fleet, template=replace(fleet.template, enabled=True))
    return replace(fleet, only=tuple(names))


def _may_fit(fleet: Fleet, name: str) -> bool:
    from orchestrator.core.fleets import fits_template  # most files have none, and are read sooner without

    return is_pattern(name) or name == fleet.template.name or fits_template(fleet, name)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name. Raises UsageError when it cannot be found any more."""
    found = zone(name)
    if found is None:
        raise UsageError(f"the time zone {name} cannot be found any more")
    return found


def asked_window(
    job: Job | None, from_: str | date, to: str | date, now_s: float, *, zone: tzinfo | None = None
) -> Window:
    """``[from_, to)`` as it was asked for, wherever it lies; what is left out is the job's own end. Raises
    UsageError."""
    place = zone or zone_of(job.timezone if job else "UTC")
    own = job.window if job else None
    if (own is None) and not (from_ and to):
        raise UsageError("there is no window to complete the asked one from", hint="give --from and --to")
    start_s = parse_moment(from_, place, now_s) if from_ else own.start_s if own else 0
    end_s = parse_moment(to, place, now_s) if to else own.end_s if own else 0
    if end_s <= start_s:
        raise UsageError(f"{f'job {job.name}: ' if job else ''}--to must lie after --from")
    return Window(start_s, end_s)


def _narrowed(job: Job, from_: str | date, to: str | date, now_s: float) -> Job:
    if job.window is None:
        raise UsageError(f"job {job.name} has nothing due yet", hint="leave --from and --to out")
    asked = asked_window(job, from_, to, now_s)
    if not job.window.holds(asked):
        raise UsageError(
            f"job {job.name}: {asked!r} does not lie in its window {job.window!r}",
            hint="narrow --from and --to, choose jobs with --job, or change `from` and `to` in the job file",
        )
    return replace(job, window=asked, due_until_s=asked.end_s, to_s=asked.end_s)

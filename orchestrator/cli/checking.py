"""Which job file is meant, and is it valid? The part every command begins with, and all that ``check`` does.

Nothing is contacted and nothing created here; little is imported, because ``check`` is to answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app.library import JobFile, load
from orchestrator.app.selection import select
from orchestrator.cli.print import counted, window_text
from orchestrator.clock import SystemClock
from orchestrator.core import job as core_job
from orchestrator.errors import ExitCode
from orchestrator.settings import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.ending import Stage
    from orchestrator.cli.stdout import Stdout
    from orchestrator.core.fleets import Resolved

__all__ = ["asked_for", "check", "chosen", "read_job_file", "remembered"]

DEFAULT_JOBS = "jobs.toml"


def read_job_file(stage: Stage) -> JobFile:
    """The job file the command line names, its secrets known to whoever redacts, its log file's place
    settled."""
    asked = stage.asked
    path = asked.jobs_path or environment().get("ORCHESTRATOR_JOBS") or DEFAULT_JOBS
    job_file = load(path, manifest=asked.manifest or None)
    stage.redaction.add(*job_file.redactions)
    if stage.log_path is None:
        beside = Path(job_file.manifest)
        stage.log_path = beside.with_name(f"{beside.stem if beside.suffix == '.db' else beside.name}.log")
    return job_file


def asked_for(stage: Stage) -> core_job.JobFile:
    """The job file narrowed to what ``--job``, ``--from`` and ``--to`` ask for. Its fleets are still to be
    looked up."""
    asked = stage.asked
    job_file = read_job_file(stage)
    return select(job_file, asked.jobs, from_=asked.from_, to=asked.to, now_s=SystemClock().now())


def chosen(stage: Stage) -> core_job.JobFile:
    """The same with the jobs of fleets that the manifest remembers."""
    return remembered(stage).job_file


def remembered(stage: Stage) -> Resolved:
    """The same, and what is known of each fleet. Must not be called from a coroutine."""
    from orchestrator.core.fleets import Resolved

    narrowed = asked_for(stage)
    if not narrowed.fleets and not any(job.stream_patterns for job in narrowed.jobs):
        return Resolved(narrowed)
    import asyncio

    from orchestrator.app.fleets import as_remembered
    from orchestrator.app.reading import manifest_to_read

    async def looked_up() -> Resolved:
        async with manifest_to_read(narrowed.manifest) as manifest:
            return await as_remembered(narrowed, manifest)

    return asyncio.run(looked_up())


def check(stage: Stage) -> int:
    """Show every job with its window; nothing is contacted."""
    job_file = read_job_file(stage)
    if stage.asked.jobs:
        shown: core_job.JobFile = select(job_file, stage.asked.jobs, now_s=SystemClock().now())
    else:
        shown = job_file
    hide = (
        stage.redaction.own_words
    )  # values that came from the environment, and nothing that only looks secret
    if stage.document:
        from orchestrator.cli import values

        stage.document.put("path", job_file.path)
        stage.document.put("manifest", job_file.manifest)
        stage.document.stream("jobs", (values.job_json(job, hide) for job in shown.jobs))
        templates = (fleet.template for fleet in shown.fleets)
        stage.document.stream("fleets", (values.job_json(job, hide) for job in templates))
        stage.document.end(ExitCode.COMPLETE, complete=True)
    else:
        _show(stage.out, shown, hide)
    return ExitCode.COMPLETE


def _show(out: Stdout, job_file: core_job.JobFile, hide: Callable[[str], str]) -> None:
    """Every job with its resolved window, then the verdict on the file. ``hide`` masks what came from the
    environment."""
    for job in (*job_file.jobs, *(fleet.template for fleet in job_file.fleets)):
        identity = job.identity
        out.line(f"{job.name}{'' if job.enabled else '  (not enabled)'}")
        out.line(f"  window       {window_text(job.window, job.timezone)}")
        stream = f", log stream {identity.logstream}" if identity.logstream else ""
        place = f"{identity.project}/{identity.logstore}{stream} at {job.service.endpoint}"
        out.line(f"  from         {hide(place)}")
        out.line(f"  query        {hide(identity.query)}")
        out.line(f"  to           {hide(job.destination.url if job.destination else job.file_dir)}")
    jobs = counted(len(job_file.jobs), "job")
    if job_file.fleets:
        jobs += f" and {counted(len(job_file.fleets), 'pattern')} of logstores that each run looks up"
    out.line(f"{job_file.path} is valid: {jobs}, manifest {job_file.manifest}")

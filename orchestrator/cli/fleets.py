"""How do tables with a pattern of logstores read in a report: what fits, what vanished, what fits nothing?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.cli.stdout import Stdout

if TYPE_CHECKING:
    from orchestrator.app.reading import JobStatus
    from orchestrator.core.fleets import Found
    from orchestrator.core.job import Job
    from orchestrator.core.report import JobReport

__all__ = ["fleet_json", "masked", "printable", "show_fleets", "show_streams"]


def masked(found: Found, hide: Callable[[str], str]) -> Found:
    """The same for people and programs to see: what came from the environment is hidden, and what the service
    calls its logstores cannot move a terminal's cursor."""

    def shown(text: str) -> str:
        return printable(hide(text))

    def identity(job: Job) -> Job:
        own = job.identity
        names = {"project": shown(own.project), "logstore": shown(own.logstore)}
        return replace(job, identity=replace(own, **names))

    return replace(
        found,
        fleet=replace(
            found.fleet,
            template=identity(found.fleet.template),
            logstores=tuple(map(shown, found.fleet.logstores)),
        ),
        jobs=tuple(map(identity, found.jobs)),
        idle=tuple(map(shown, found.idle)),
        unfit=tuple(
            replace(item, logstore=shown(item.logstore), job=shown(item.job)) for item in found.unfit
        ),
    )


def printable(text: str) -> str:
    """A foreign name on one line, without control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def fleet_json(found: Found, statuses: Iterable[JobStatus] = ()) -> dict[str, Any]:
    """One fleet. ``listed`` is false when the service was not asked, or would not say; ``statuses`` then tell
    what an earlier run missed."""
    earlier = {item.job.name for item in statuses if item.vanished_since is not None}
    return {
        "fleet": found.fleet.template.name,
        "project": found.fleet.template.identity.project,
        "logstores": list(found.fleet.logstores),
        "listed": found.listed,
        "jobs": [job.name for job in found.jobs],
        "vanished": sorted({*found.vanished, *(job.name for job in found.jobs if job.name in earlier)}),
        "unmatched": list(found.idle),
        "unfit": [
            {"logstore": item.logstore, "job": item.job, "problem": item.problem} for item in found.unfit
        ],
    }


def show_fleets(out: Stdout, founds: Sequence[Found], jobs_words: str = "") -> None:
    """What a person must know of them; nothing when all is as expected. ``jobs_words`` is what a shell is to
    be told of the job file, where nobody asked the service."""
    for found in founds:
        for line in _lines(found, jobs_words):
            out.line(line)


def show_streams(out: Stdout, reports: Sequence[JobReport]) -> None:
    """What a person must know of jobs with patterns of log streams."""
    for report in reports:
        if report.streams is not None:
            for stream in report.streams.gone:
                name = printable(stream)
                out.line(f"{report.job}: log stream {name} is no longer listed; what is stored of it stays")
            for pattern in report.streams.idle:
                out.line(f"{report.job}: no log stream fits {pattern}")


def _lines(found: Found, jobs_words: str) -> list[str]:
    name, project = found.fleet.template.name, found.fleet.template.identity.project
    by_name = {job.name: job.identity.logstore for job in found.jobs}
    lines = [
        f"{job}: logstore {by_name[job]} of project {project} is no longer listed; what is stored of it "
        f'stays (leave it out with "!{by_name[job]}")'
        for job in found.vanished
    ]
    lines += [f"{name}: nothing fits {pattern} in project {project}" for pattern in found.idle]
    lines += [f"{item.job}: logstore {item.logstore} has no job: {item.problem}" for item in found.unfit]
    if not found.listed and not found.jobs and jobs_words:
        lines.append(f"{name}: no job is known yet; this looks its logstores up:")
        lines.append(f"    orchestrator run {jobs_words}")
    return lines

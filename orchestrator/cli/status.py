"""What does ``status`` do and show?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.app.library import jobs_words
from orchestrator.app.reading import JobStatus, job_status, manifest_to_read
from orchestrator.app.standing import Pace, StreamStanding, job_standing, pace
from orchestrator.cli import values
from orchestrator.cli.bar import Alphabet, alphabet_for, draw, legend, painted
from orchestrator.cli.call import complained, exit_of, settled_to_of
from orchestrator.cli.checking import remembered
from orchestrator.cli.ending import Stage, cleaned
from orchestrator.cli.fleets import fleet_json, masked, printable, show_fleets
from orchestrator.cli.print import bytes_text, counted, moment_text, span_text, window_text
from orchestrator.cli.results import show_first_gaps
from orchestrator.cli.scale import colour_wanted, columns_of_stdout, ends_lines, rate_text, wrapped
from orchestrator.cli.stdout import Stdout
from orchestrator.clock import SystemClock
from orchestrator.errors import ExitCode
from orchestrator.settings import environment

if TYPE_CHECKING:
    from orchestrator.core.job import JobFile
    from orchestrator.manifest.lock import LockOwner

__all__ = ["JobTold", "Look", "Running", "show_status", "status"]

_INDENT = "  "
_LABEL = 20
"""Names of log streams are cut at so many characters beside a bar."""
_WHOLE = "all"


@dataclass(frozen=True, slots=True)
class JobTold:
    """One job as it is to be shown."""

    status: JobStatus
    standing: tuple[StreamStanding, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """The run in progress; ``pace`` is None when it cannot be told."""

    owner: LockOwner
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How bars are drawn: total ``columns`` of a line, by which marks, in ``colour`` or not."""

    columns: int
    alphabet: Alphabet
    colour: bool = False


def status(stage: Stage) -> int:
    """Show how far each job is, from the manifest alone."""
    known = remembered(stage)
    look = Look(columns_of_stdout(), alphabet_for(sys.stdout.encoding), colour_wanted(environment()))
    told, running = asyncio.run(_looked_up(known.job_file, look.columns))
    statuses = [item.status for item in told]
    code = exit_of(statuses, known.found)
    error = complained(stage, [item.error for item in statuses])
    found = [masked(item, stage.redaction.own_words) for item in known.found]
    if stage.document:
        stage.document.put("run", None if running is None else _running_json(running))
        shown = (replace(item, error=cleaned(stage.redaction, item.error)) for item in statuses)
        stage.document.stream("jobs", map(values.status_json, shown))
        stage.document.stream("fleets", (fleet_json(item, statuses) for item in found))
        settled_to = settled_to_of(statuses)
        complete = code == ExitCode.COMPLETE
        stage.document.end(code, complete=complete, settled_to=settled_to, error=error)
    else:
        words = jobs_words(known.job_file)
        show_status(stage.out, told, running, look, words)
        show_fleets(stage.out, found, words)
    return code


async def _looked_up(job_file: JobFile, columns: int) -> tuple[list[JobTold], Running | None]:
    from orchestrator.manifest.lock import owner

    words = jobs_words(job_file)
    async with manifest_to_read(job_file.manifest) as reader:
        told: list[JobTold] = []
        for job in job_file.jobs:
            found = await job_status(job, reader, words)
            told.append(JobTold(found, () if found.error else await job_standing(found, reader, columns)))
        held = owner(job_file.manifest)
        if held is None:
            return told, None
        wholes = [(item.status, item.standing[0].standing if item.standing else None) for item in told]
        return told, Running(held, await pace(held.since, wholes, reader, SystemClock().now()))


def _running_json(running: Running) -> dict[str, Any]:
    found, held = running.pace, running.owner
    left_s = None if found is None else found.time_left_s
    return {
        "host": held.host,
        "pid": held.pid,
        "since": held.since,
        "lines_per_s": None if found is None else round(found.lines_per_s, 1),
        "time_left_s": None if left_s is None else round(left_s),
    }


def show_status(
    out: Stdout, told: Sequence[JobTold], running: Running | None, look: Look, jobs_words: str
) -> None:
    """A paragraph per job with its bar, then who holds the manifest and how fast it goes, and the gaps with
    what mends them."""
    statuses = [item.status for item in told]
    for item in told:
        if item.status.error is not None:
            out.line(f"{item.status.job.name}  not told: the manifest holds another job under that name")
            continue
        share = f"{100 * item.status.share:.1f} % covered" + (", complete" if item.status.complete else "")
        out.line(f"{item.status.job.name}  {share}")
        _show_bars(out, item, look)
        _show_facts(out, item.status)
    _show_running(out, running)
    gaps = [gap for item in statuses for gap in item.gaps]
    show_first_gaps(out, gaps, {item.job.name: item.job.timezone for item in statuses}, jobs_words)


def _show_bars(out: Stdout, told: JobTold, look: Look) -> None:
    if not told.standing:
        return
    labels = [_label(item.logstream) if len(told.standing) > 1 else "" for item in told.standing]
    offset = max(map(len, labels)) + 2 if any(labels) else 0
    width = look.columns - len(_INDENT) - offset - 1
    bars = [draw(item.standing, width) for item in told.standing]
    for label, marks in zip(labels, bars, strict=True):
        out.line(f"{_INDENT}{label:{offset}}{painted(marks, look.alphabet, colour=look.colour)}")
    window, length = told.standing[0].standing.window, len(bars[0])
    for line in ends_lines(window, told.status.job.timezone, length):
        out.line(f"{_INDENT}{'':{offset}}{line}")
    scale = f"a column is {span_text(window.length_s / length)}"
    for line in wrapped([scale, *legend(bars, look.alphabet)], look.columns - len(_INDENT)):
        out.line(_INDENT + line)


def _label(logstream: str | None) -> str:
    if logstream is None:
        return _WHOLE
    name = printable(logstream)
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 3]}..."


def _show_facts(out: Stdout, status: JobStatus) -> None:
    job, counts = status.job, status.counts
    out.line(f"  window       {window_text(job.window, job.timezone)}")
    if status.settled_to is not None:
        out.line(f"  without hole to {moment_text(status.settled_to, job.timezone)}")
    states = ", ".join(f"{count:,} {state.value}" for state, count in counts.slices.items() if count)
    out.line(f"  slices       {states or 'none yet'}")
    stored = f"{counts.lines:,} lines, {counts.files:,} files, {bytes_text(counts.stored_bytes)}"
    out.line(f"  stored       {stored}")
    failed = sum(count for state, count in counts.slices.items() if state.value == "failed")
    if failed:
        out.line(f"  failures     {failed:,}")
    accepted = sum(gap.accepted is not None for gap in status.gaps)
    if accepted:
        out.line(f"  accepted     {counted(accepted, 'gap')}")
    if job.to_s is None or job.to_s > job.due_until_s:
        out.line(f"  not due from {moment_text(job.due_until_s, job.timezone)}")
    if status.next_due_at is not None:
        out.line(f"  next try     {moment_text(status.next_due_at, job.timezone)}")
    if status.streams is not None:
        there = printable(", ".join(status.streams.listed))
        gone = printable(", ".join(status.streams.gone))
        ended = f", no longer listed {gone}" if gone else ""
        out.line(f"  log streams  {there or 'none known yet'}{ended}")
    if status.vanished_since is not None:
        since = moment_text(status.vanished_since, job.timezone)
        out.line(f"  vanished     logstore {job.identity.logstore} is not listed since {since}")


def _show_running(out: Stdout, running: Running | None) -> None:
    if running is None:
        out.line("no run in progress")
        return
    held, found = running.owner, running.pace
    out.line(f"run in progress: process {held.pid} on {held.host} since {held.since}")
    if found is not None:
        left = "time left not known yet"
        if found.time_left_s is not None:
            left = "finishing" if not found.time_left_s else f"about {span_text(found.time_left_s)} left"
        rate = rate_text(found.lines_per_s) if found.lines_per_s else "no line stored"
        out.line(f"{_INDENT}{rate} in the last {span_text(found.over_s)}; {left}")

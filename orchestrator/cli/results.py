"""What does each command show a person on stdout?"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.app.reading import pointed
from orchestrator.cli.fleets import show_fleets, show_streams
from orchestrator.cli.print import (
    bytes_text,
    counted,
    moment_text,
    print_stream,
    print_table,
    span_text,
    window_text,
)
from orchestrator.cli.stdout import Stdout
from orchestrator.core.report import RedoOutcome
from orchestrator.core.window import iso_utc
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.app.story import Told
    from orchestrator.core.job import Job
    from orchestrator.core.model import RemoteTask
    from orchestrator.core.report import Gap, Report
    from orchestrator.engine.audit import VerifyReport
    from orchestrator.ports.store import LedgerRow

__all__ = [
    "LEDGER_HEAD",
    "ledger_cells",
    "show_first_gaps",
    "show_gaps",
    "show_ledger",
    "show_run",
    "show_story",
    "show_verify",
]

SHOWN_GAPS = 20
"""So many gaps a report tells at length."""
LEDGER_HEAD = ("job", "window (UTC)", "state", "attempt", "lines", "bytes", "evidence", "remote task", "file")


def show_run(out: Stdout, report: Report, jobs: Sequence[Job], jobs_words: str) -> None:
    """One line per job, the gaps, and the verdict last."""
    zones = {job.name: job.timezone for job in jobs}
    rows = [
        (
            job.job,
            "complete" if job.complete else f"incomplete (exit {int(job.exit)})",
            job.lines,
            job.files,
            bytes_text(job.bytes_stored),
            bytes_text(job.bytes_fetched),
            job.remote_tasks_created,
        )
        for job in report.jobs
    ]
    if rows:
        head = ("job", "state", "lines", "files", "stored", "fetched now", "remote tasks now")
        print_table(out, head, rows, right=(2, 3, 4, 5, 6))
    for job in report.jobs:
        out.line(f"{job.job}: {window_text(job.window, zones.get(job.job, 'UTC'))}")
    show_first_gaps(out, [gap for job in report.jobs for gap in job.gaps], zones, jobs_words)
    show_fleets(out, report.fleets)
    show_streams(out, report.jobs)
    redone = [item for job in report.jobs for item in job.redone]
    for item in redone:
        span = window_text(item.window, zones.get(item.job, "UTC"))
        out.line(f"slice {item.slice} of {item.job}, {span}: {_REDONE[item.outcome]}{item.reason}")
    requests = counted(sum(report.requests.values()), "request")
    verdict = _verdict(report.exit)
    if redone:
        replaced = sum(item.outcome is RedoOutcome.REPLACED for item in redone)
        verdict = f"{replaced:,} of {counted(len(redone), 'slice')} replaced"
    if report.exit == ExitCode.COMPLETE and any(job.gaps for job in report.jobs):
        verdict = "complete but for accepted gaps"
    out.line(f"{verdict}; {span_text(report.duration_s)}, {requests}")


def _verdict(code: int) -> str:
    return {
        ExitCode.COMPLETE: "complete: every asked window is proven stored",
        ExitCode.INCOMPLETE: "incomplete: run again, what is done is kept",
        ExitCode.INTEGRITY: "incomplete: stored files or counts do not agree, see the gaps",
        ExitCode.REFUSED: "incomplete: the service refuses",
        ExitCode.STORAGE: "stopped: local storage; what is done is kept",
        ExitCode.UNMENDABLE: "incomplete, and no further run can mend what is left",
        ExitCode.INTERRUPTED: "interrupted and drained: run again, what is done is kept",
    }.get(ExitCode(code), f"ended with exit {int(code)}")


_REDONE = {
    RedoOutcome.REPLACED: "replaced",
    RedoOutcome.KEPT: "kept as it was: ",
    RedoOutcome.UNFINISHED: "not finished, the old file stays until a further `run` or `redo` is done",
}


def show_gaps(out: Stdout, gaps: Iterable[Gap], zones: Mapping[str, str]) -> None:
    """Per gap: where, why, what to do by hand, and on a line of its own the command that mends it."""
    for gap in map(pointed, gaps):
        stream = "" if gap.logstream in ("*", "") else f", log stream {gap.logstream}"
        out.line(f"gap in {gap.job}{stream}: {window_text(gap.window, zones.get(gap.job, 'UTC'))}")
        if gap.accepted is not None:
            out.line(f"  {gap.reason}; accepted: {_one_line(gap.accepted)}; to try it all the same:")
        else:
            out.line(f"  {gap.reason}; {'another run can mend it' if gap.mendable else 'no run can mend it'}")
        if gap.advice:
            out.line(f"  {gap.advice}")
        out.line(f"    {gap.mend}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def show_first_gaps(out: Stdout, gaps: Sequence[Gap], zones: Mapping[str, str], jobs_words: str) -> None:
    """The gaps at the end of a report, as many as can be read; the rest is counted."""
    show_gaps(out, gaps[:SHOWN_GAPS], zones)
    if len(gaps) > SHOWN_GAPS:
        out.line(f"and {counted(len(gaps) - SHOWN_GAPS, 'gap')} more; all of them:")
        out.line(f"    orchestrator gaps {jobs_words}")


def ledger_cells(row: LedgerRow) -> tuple[object, ...]:
    """The columns of ``LEDGER_HEAD``."""
    return (
        row.job,
        f"{iso_utc(row.slice_start)} to {iso_utc(row.slice_end)}",
        row.state,
        row.attempt,
        row.stored_rows,
        row.stored_bytes,
        row.evidence,
        row.uuid,
        row.path,
    )


async def show_ledger(out: Stdout, rows: AsyncIterable[LedgerRow]) -> None:
    """The ledger as a table, streamed."""

    async def cells() -> AsyncIterable[Sequence[object]]:
        async for row in rows:
            yield ledger_cells(row)

    count = await print_stream(out, LEDGER_HEAD, cells(), right=(3, 4, 5))
    out.line(counted(count, "row"))


def show_story(out: Stdout, told: Told, timezone: str) -> None:
    """The slice as it is, its family, its remote tasks, then what led there, oldest first."""
    slice_ = told.slice
    if slice_ is None:
        out.line(f"slice {told.id} of {told.job}: forgotten, only its journal is left")
    else:
        out.line(f"slice {slice_.id} of {slice_.job}: {window_text(slice_.window, timezone)}")
        out.line(f"  {slice_.state.value}" + (f", {slice_.reason}" if slice_.reason else ""))
        if slice_.path:
            out.line(f"  {slice_.path}")
    for item in told.family:
        relative = item.slice
        reason = f", {relative.reason}" if relative.reason else ""
        span = window_text(relative.window, timezone)
        out.line(f"{item.relation} {relative.id}: {span}; {relative.state.value}{reason}")
    if told.tasks:
        head = ("remote task", "uuid", "slice", "attempt", "state", "rows", "asked for", "")
        print_table(out, head, (_task_cells(task, timezone) for task in told.tasks), right=(3, 5))
    rows = [
        (
            moment_text(line.entry.at, timezone),
            line.entry.slice_id,
            line.entry.event,
            _detail(line.entry.detail.items()),
        )
        for line in told.lines
    ]
    print_table(out, ("when", "slice", "what", "detail"), rows)


def _task_cells(task: RemoteTask, timezone: str) -> tuple[object, ...]:
    gone = "deleted" if task.deleted else "to be deleted" if task.surplus else ""
    return (
        task.name,
        task.uuid or "-",
        task.slice_id,
        task.attempt,
        task.state or "-",
        task.written_rows,
        moment_text(task.intent_at, timezone),
        gone,
    )


def _detail(pairs: Iterable[tuple[str, object]]) -> str:
    return " ".join(f"{key}={shlex.quote(str(value))}" for key, value in pairs if value is not None)


_NOT_TO_BE_READ = frozenset({"missing", "not a file", "size differs", "cannot be read"})
"""A file with such a finding was not left unread by choice."""


def show_verify(out: Stdout, report: VerifyReport) -> None:
    """What disagrees, how much was looked at, and the commands that mend."""
    rows = [
        (item.job, repr(item.window), item.slice, item.problem, "yes" if item.marked else "no", item.path)
        for item in report.findings
    ]
    if rows:
        print_table(out, ("job", "window", "slice", "problem", "marked", "file"), rows)
        out.line("")
    files = f"{counted(report.files_checked, 'file')}, {bytes_text(report.bytes_read)} checked"
    looked_at = report.files_looked_at - sum(item.problem in _NOT_TO_BE_READ for item in report.findings)
    if looked_at > 0:
        read = f"{report.files_read:,} read whole ({bytes_text(report.bytes_read)})"
        looked = f"{looked_at:,} only looked at (presence and size)"
        files = f"{counted(report.files_checked, 'file')}: {read}, {looked}"
    asked = report.recounted + report.uncounted
    if report.uncounted:
        files += f", {report.recounted:,} of {counted(asked, 'slice')} counted again"
        files += f", {report.uncounted:,} cannot be counted"
    elif asked:
        files += f", {counted(asked, 'slice')} counted again"
    if not rows:
        out.line(f"{files}: {'what was checked agrees' if report.uncounted else 'all agree'}")
    else:
        out.line(f"{files}: {counted(len(rows), 'disagreement')}")
    for problem, advice in dict.fromkeys((item.problem, item.advice) for item in report.findings):
        if advice:
            out.line(f"  {problem}: {advice}")
    for mend in dict.fromkeys(item.mend for item in report.findings if item.mend):
        out.line(f"  {mend}")

"""What do the commands do that a person mends with: accept, forget, clean?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.app.library import jobs_words
from orchestrator.cli import values
from orchestrator.cli.checking import chosen, read_job_file
from orchestrator.cli.document import fault_value
from orchestrator.cli.ending import Stage, complain
from orchestrator.cli.print import bytes_text, counted, print_table, window_text
from orchestrator.cli.results import show_gaps
from orchestrator.cli.stdout import Stdout
from orchestrator.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from orchestrator.app.mending import Cleaned, Forgetting, SignedOff

__all__ = ["accept", "clean", "forget"]

SHOWN_FILES = 20


def accept(stage: Stage, *, from_: str, to: str, logstream: str, reason: str) -> int:
    """Sign the gaps of a window off; exit 2 when there is none."""
    from orchestrator.app.mending import accept as sign_off
    from orchestrator.cli.watching import logged

    job_file = chosen(stage)
    if len(job_file.jobs) != 1:
        raise UsageError("one job at a time", hint="give --job the full name of one job")
    words = jobs_words(job_file)

    async def accepted() -> SignedOff:
        with logged(stage) as outside:
            return await sign_off(
                job_file,
                outside,
                from_=from_,
                to=to,
                logstream=logstream,
                reason=reason,
                jobs_words=words,
                wait_s=stage.asked.wait_s,
            )

    done = asyncio.run(accepted())
    if stage.document:
        stage.document.stream("accepted", (values.gap_json(gap) for gap in done.gaps))
        parts = ({**values.window_json(window), "why": why} for window, why in done.not_gaps)
        stage.document.stream("not_gaps", parts)
        stage.document.end(ExitCode.COMPLETE, complete=done.complete)
    else:
        timezone = job_file.jobs[0].timezone
        _show_accepted(stage.out, done, job_file.jobs[0].name, timezone)
    return ExitCode.COMPLETE


def _show_accepted(out: Stdout, done: SignedOff, job: str, timezone: str) -> None:
    show_gaps(out, done.gaps, {job: timezone})
    for window, why in done.not_gaps:
        out.line(f"not accepted, because {why}: {window_text(window, timezone)}")
    out.line(f"{counted(len(done.gaps), 'gap')} accepted; `run`, `gaps` and `status` no longer count them")


def forget(stage: Stage, *, job: str, from_: str, to: str, yes: bool) -> int:
    """Drop coverage; the files stay. Asks a person, or wants --yes."""
    from orchestrator.app.mending import forget as drop
    from orchestrator.app.mending import forgetting
    from orchestrator.cli.watching import logged

    job_file = read_job_file(stage)

    async def forgotten() -> Forgetting:
        with logged(stage) as outside:
            plan = await forgetting(job_file, outside, job=job, from_=from_, to=to)
            if not yes:
                _ask(plan)
            return await drop(job_file, outside, plan, wait_s=stage.asked.wait_s)

    done = asyncio.run(forgotten())
    if stage.document:
        stage.document.put("job", done.job)
        for key, value in values.window_json(done.window).items():
            stage.document.put(key, value)
        stage.document.put("slices", done.dropped.slices)
        stage.document.stream("paths", done.dropped.paths)
        uncovered = (values.window_json(window) for window in done.dropped.uncovered)
        stage.document.stream("uncovered", uncovered)
        stage.document.put("let_go", done.dropped.let_go)
        stage.document.end(ExitCode.COMPLETE)
    else:
        _show_forgotten(stage.out, done)
    return ExitCode.COMPLETE


def _ask(plan: Forgetting) -> None:
    if not sys.stdin.isatty():
        raise UsageError("forgetting wants --yes where nobody can be asked", hint="add --yes")
    print(f"{_told(plan)}. The files stay. Forget them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was forgotten: the answer was not yes", hint="answer y, or give --yes")


def _told(plan: Forgetting) -> str:
    dropped = plan.dropped
    part = "all of it" if plan.window is None else window_text(plan.window, plan.timezone)
    return f"{plan.job}, {part}: {counted(dropped.slices, 'slice')}, {counted(len(dropped.paths), 'file')}"


def _show_forgotten(out: Stdout, done: Forgetting) -> None:
    out.line(f"forgotten: {_told(done)}")
    for window in done.dropped.uncovered:
        out.line(f"  no longer covered: {window_text(window, done.timezone)}")
    for path in done.dropped.paths[:SHOWN_FILES]:
        out.line(f"  stays: {path}")
    if len(done.dropped.paths) > SHOWN_FILES:
        out.line(f"  and {len(done.dropped.paths) - SHOWN_FILES:,} more files; --json lists all")
    if done.dropped.paths:
        out.line("  a run adopts those it would write alike, overwrites none, and removes none")
    if done.dropped.let_go:
        tasks = counted(done.dropped.let_go, "remote task")
        out.line(f"  {tasks} let go, to be deleted by the next `run` or `clean`")


def clean(stage: Stage, *, dry_run: bool) -> int:
    """Delete what nobody wants any more, at the service and in staging."""
    from orchestrator.app.mending import clean as clean_up
    from orchestrator.cli.watching import logged

    job_file = chosen(stage)

    async def cleaned() -> Cleaned:
        with logged(stage) as outside:
            return await clean_up(job_file, outside, dry_run=dry_run, wait_s=stage.asked.wait_s)

    done = asyncio.run(cleaned())
    problems = _problems(stage, done)
    for problem in problems:
        complain(stage.redaction, problem["message"], problem["hint"], problem["request_id"] or "")
    if stage.document:
        stage.document.put("dry_run", dry_run)
        stage.document.stream(
            "remote_tasks", (_deletion_json(stage, item, dry_run) for item in done.remote_tasks)
        )
        files = (
            {"path": item.path, "bytes": item.size_bytes, "deleted": not (item.problem or dry_run)}
            for item in done.files
        )
        stage.document.stream("staging", files)
        stage.document.end(
            done.exit, complete=done.exit == ExitCode.COMPLETE, error=problems[0] if problems else None
        )
    else:
        _show_cleaned(stage.out, done, dry_run=dry_run)
    return done.exit


def _problems(stage: Stage, done: Cleaned) -> Sequence[dict[str, Any]]:
    """What went wrong, each thing once; the one that speaks for the exit code first."""
    from orchestrator.engine.run import exit_of_fault

    faults = [*done.faults, *(item.fault for item in done.remote_tasks if item.fault is not None)]
    faults.sort(key=lambda fault: exit_of_fault(fault) != done.exit)
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for fault in faults:
        hint = fault.hint or values.hint_of(fault.code)
        value = fault_value(fault.code, stage.redaction(fault.message), hint, fault.request_id)
        told.setdefault((fault.code, fault.service_code), value)
    for file in done.files:
        if file.problem:
            message = f"{file.path} cannot be deleted: {file.problem}"
            hint = values.hint_of("storage")
            told.setdefault(("storage", file.problem), fault_value("storage", message, hint, ""))
    return list(told.values())


def _deletion_json(stage: Stage, item: Any, dry_run: bool) -> dict[str, Any]:
    fault = item.fault
    return {
        **values.task_json(item.surplus.task),
        "why": item.surplus.why,
        "deleted": fault is None and not dry_run,
        "error": None if fault is None else stage.redaction(fault.message),
    }


def _show_cleaned(out: Stdout, done: Cleaned, *, dry_run: bool) -> None:
    rows = [
        (
            item.surplus.task.job,
            item.surplus.task.name,
            item.surplus.task.uuid,
            item.surplus.why,
            "would go" if dry_run else "deleted" if item.fault is None else f"stays: {item.fault.code}",
        )
        for item in done.remote_tasks
    ]
    if rows:
        print_table(out, ("job", "remote task", "uuid", "why", ""), rows)
    for file in done.files:
        word = "would go" if dry_run else f"stays: {file.problem}" if file.problem else "deleted"
        out.line(f"{file.path}  {bytes_text(file.size_bytes)}  {word}")
    left = sum(item.fault is not None for item in done.remote_tasks) + sum(
        bool(f.problem) for f in done.files
    )
    gone = len(done.remote_tasks) + len(done.files) - left
    if not gone and not left:
        out.line("nothing to clean")
    elif dry_run:
        out.line(f"{counted(gone, 'thing')} would be deleted")
    else:
        out.line(f"{counted(gone, 'thing')} deleted" + (f", {left:,} left: run it again" if left else ""))

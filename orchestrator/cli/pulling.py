"""How does ``pull`` go: rows to stdout or a file while they are still being exported, and one true exit code?

Rows and results go to stdout, everything said about them to stderr. The first signal drains, the second ends
at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from orchestrator.app.first_rows import MOST, FirstRows, first_rows
from orchestrator.app.pull import Pull, Wish, prepared
from orchestrator.app.pulling_order import Unrolling
from orchestrator.app.pulling_rows import Written, write_out
from orchestrator.app.pulling_state import Opened, has_delivered, is_begun, let_go, note_delivery, pulling
from orchestrator.app.pulling_stretches import export
from orchestrator.app.sweeping import sweep
from orchestrator.cli import values
from orchestrator.cli.draining import signals_obeyed
from orchestrator.cli.pulled import ROOM, How, Outcome, complain_of, say_begun, say_hole, say_unsettled, tell
from orchestrator.cli.rowsink import FileRows, Rows, StdoutRows
from orchestrator.cli.watching import Observers, logged, progress_shown
from orchestrator.clock import SystemClock
from orchestrator.dashboard.progress import Progress
from orchestrator.dataplane.outgoing import Outgoing, RowWriter
from orchestrator.dataplane.spill import Spill
from orchestrator.engine.context import StopSignal
from orchestrator.errors import DiskFull, ExitCode, Interrupted, UsageError
from orchestrator.settings import environment

if TYPE_CHECKING:
    from orchestrator.app.wiring import Outside
    from orchestrator.cli.ending import Stage
    from orchestrator.core.report import Report

__all__ = ["How", "pull"]


def pull(stage: Stage, typed: Mapping[str, Any], how: How) -> int:
    """Rows of one logstore in time order; the exit code is that of the window, as with ``run``. ``typed`` are
    the fields of a ``Wish``."""
    wish = Wish(**typed)
    _check(stage, wish, how)
    ready = prepared(wish, environment=environment(), now_s=SystemClock().now())
    how = replace(how, form=Outgoing(wish.output))
    by_query = 0 < how.limit <= MOST
    sink = StdoutRows() if how.to_stdout else _file(ready, how, by_query=by_query)
    try:
        if by_query:
            return _few(stage, ready, how, sink)
        if stage.log_path is None:
            stage.log_path = ready.folder / "pull.log"
        outcome = asyncio.run(_pulled(stage, ready, how, sink))
        complain_of(stage, how, outcome)
        return tell(stage, how, outcome)
    except DiskFull as full:
        raise DiskFull(full.message, hint=ROOM) from full
    finally:
        sink.discard()


def _check(stage: Stage, wish: Wish, how: How) -> None:
    if bool(wish.since_s) == bool(wish.from_):
        raise UsageError("pull wants either --since or --from", hint="such as --since 6h")
    if wish.since_s and wish.to:
        raise UsageError("--since reaches up to now", hint="give --from and --to instead")
    if stage.asked.json and how.to_stdout:
        raise UsageError(
            "--json and the rows cannot both go to stdout", hint="-o FILE for the rows, or --report FILE"
        )


def _file(ready: Pull, how: How, *, by_query: bool) -> FileRows:
    """A query has no state: what it was given it can only put into a new file."""
    if by_query:
        return FileRows(how.file, str(os.getpid()), replace=how.force)
    mine = has_delivered(ready, Path(how.file).absolute(), ready.begun_at)
    return FileRows(how.file, ready.folder.name, replace=how.force or mine)


# --- by one query


def _few(stage: Stage, ready: Pull, how: How, sink: Rows) -> int:
    began = time.monotonic()
    found, size_bytes = asyncio.run(_asked(stage, ready, how, sink))
    whole = len(found.rows) < how.limit
    outcome = Outcome(
        ready,
        Written(ready.window.end_s, len(found.rows), size_bytes),
        int(ExitCode.INCOMPLETE if found.cut_short else ExitCode.COMPLETE),
        found.requests,
        time.monotonic() - began,
        delivered=True,
        settled_to=ready.settled_until_s if whole and not found.cut_short else None,
    )
    return tell(stage, how, outcome)


async def _asked(stage: Stage, ready: Pull, how: How, sink: Rows) -> tuple[FirstRows, int]:
    """What was found, and how many bytes of it are with the sink."""
    with logged(stage) as outside:
        found = await first_rows(ready, outside, how.limit)
        sink.begin()
        rows = RowWriter(how.form).spelled(found.region)
        try:
            await asyncio.get_running_loop().run_in_executor(None, sink.write, rows)
        finally:
            sink.stop()  # a thread that waits for its reader would keep the process
        sink.finish()
        if found.cut_short:
            structlog.get_logger().warning(
                "pull.cut_short", why=found.cut_short, hint="narrow the window, or leave --limit"
            )
        if len(found.rows) < how.limit:
            say_unsettled(ready)
        return found, len(rows)


# --- by remote tasks


async def _pulled(stage: Stage, ready: Pull, how: How, sink: Rows) -> Outcome:
    with logged(stage) as bare:
        stop = StopSignal()
        outside = replace(bare, stop=stop)
        with signals_obeyed(stage, stop) as waiting_for_lock:
            try:
                async with pulling(ready, outside, wait_s=stage.asked.wait_s) as opened:
                    waiting_for_lock.clear()
                    outcome = await _exported(stage, opened, how, sink, outside)
                    if not (stop.is_set() and stop.interrupted):
                        await sweep(opened, answers=outcome.fault is None)
                    return outcome
            except asyncio.CancelledError:
                if stop.is_set():
                    raise Interrupted(f"{stop.reason} before the pull began") from None
                raise


async def _exported(stage: Stage, opened: Opened, how: How, sink: Rows, outside: Outside) -> Outcome:
    pull, house, stop = opened.pull, opened.house, outside.stop
    say_begun(pull, str(stage.log_path))
    progress = Progress(tick=time.monotonic, requests=house.room.requests, redact=stage.redaction)
    unrolling = Unrolling(pull.job, house.room.manifest)
    observers = outside.observer
    assert isinstance(observers, Observers)  # noqa: S101  ``logged`` made it
    observers.join(progress)
    observers.join(unrolling)
    sink.begin()
    writing = asyncio.create_task(
        write_out(
            unrolling,
            pull.window,
            sink,
            Spill(str(pull.folder), pull.job_file.limits.disk_reserve_bytes),
            form=how.form,
            time_field=pull.job.time_field,
            limit=how.limit,
            holes_too=how.allow_gaps,
            told=lambda hole: say_hole(hole, goes_on=how.allow_gaps),
        )
    )
    writing.add_done_callback(lambda done: _end_run(done, stop))
    halting = asyncio.create_task(_halt(stop, unrolling, sink))
    try:
        if how.to_stdout and sys.stdout.isatty():  # rows and a live view would write over each other
            report = await export(opened, how.limit, unrolling, writing)
        else:
            async with progress_shown(stage, progress):
                report = await export(opened, how.limit, unrolling, writing)
        written = await writing
    finally:
        unrolling.stop()
        sink.stop()
        halting.cancel()
        await asyncio.gather(halting, writing, return_exceptions=True)
    return await _settled(opened, how, sink, report, written, interrupted=stop.is_set() and stop.interrupted)


def _end_run(done: asyncio.Task[Written], stop: StopSignal) -> None:
    """Rows that nobody takes need not be exported."""
    if done.cancelled() or done.exception() is not None:
        stop.set("rows cannot be written", interrupted=False)
    elif done.result().enough:
        stop.set("--limit", interrupted=False)
    elif done.result().refused:
        stop.set("the reader left", interrupted=False)


async def _halt(stop: StopSignal, unrolling: Unrolling, sink: Rows) -> None:
    await stop.wait()
    unrolling.stop()
    sink.stop()


async def _settled(
    opened: Opened, how: How, sink: Rows, report: Report, written: Written, *, interrupted: bool
) -> Outcome:
    """The file appears, or does not; the state goes, or stays."""
    pull, manifest = opened.pull, opened.house.room.manifest
    reached_end = written.until_s >= pull.window.end_s
    whole = written.enough or (reached_end and not written.holes and report.complete)
    delivered = whole or (how.allow_gaps and reached_end)
    if delivered:
        if isinstance(sink, FileRows):
            note_delivery(pull, sink.part, sink.path)
        sink.finish()
    if whole:
        await let_go(opened, unfinished=written.enough)
    elif not await is_begun(manifest):
        await let_go(opened, unfinished=True)
    else:
        structlog.get_logger().info("pull.kept", state=str(pull.folder), again="the same line goes on")
    if whole or (written.refused and sink.reader_left):
        code = int(ExitCode.COMPLETE)
    elif interrupted:
        code = int(ExitCode.INTERRUPTED)
    else:
        code = int(report.exit) or int(ExitCode.INCOMPLETE)
    if delivered and not written.enough:
        say_unsettled(pull)
    bounds = (report.settled_to, pull.settled_until_s, written.until_s)
    settled_to = min(at for at in bounds if at is not None)
    return Outcome(
        pull,
        written,
        code,
        report.requests,
        report.duration_s,
        delivered=delivered,
        settled_to=settled_to if settled_to > pull.window.start_s else None,
        gaps=report.jobs[0].gaps if report.jobs else (),
        fault=values.report_error(report),
    )

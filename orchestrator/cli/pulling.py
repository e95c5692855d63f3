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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from orchestrator.app.first_rows import MOST, first_rows
from orchestrator.app.pull import Pull, Wish, prepared
from orchestrator.app.pulling_order import Hole, Unrolling
from orchestrator.app.pulling_rows import Written, write_out
from orchestrator.app.pulling_state import Opened, has_delivered, is_begun, let_go, note_delivery, pulling
from orchestrator.app.pulling_stretches import export
from orchestrator.app.sweeping import sweep
from orchestrator.cli import values
from orchestrator.cli.document import iso_or_null
from orchestrator.cli.draining import signals_obeyed
from orchestrator.cli.ending import complain
from orchestrator.cli.print import bytes_text, counted
from orchestrator.cli.rowsink import FileRows, Rows, StdoutRows
from orchestrator.cli.watching import Observers, logged, progress_shown
from orchestrator.clock import SystemClock
from orchestrator.core.window import iso_utc
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

STDOUT = "-"
ROOM = (
    "free space there and give the same line again: nothing is lost; or begin anew where there is more, with "
    "another FILE or $XDG_STATE_HOME"
)


@dataclass(frozen=True, slots=True)
class How:
    """How the rows are to come out. ``file`` is "-" for stdout, ``limit`` 0 for all of them; with ``force`` a
    file that exists is replaced."""

    file: str
    limit: int
    allow_gaps: bool
    force: bool = False
    form: Outgoing = Outgoing.RAW

    @property
    def to_stdout(self) -> bool:
        return self.file == STDOUT


@dataclass(frozen=True, slots=True)
class _Ended:
    """What came of a pull by remote tasks."""

    pull: Pull
    report: Report
    written: Written
    exit: int
    delivered: bool


def pull(stage: Stage, typed: Mapping[str, Any], how: How) -> int:
    """Rows of one logstore in time order; the exit code is that of the window, as with ``run``. ``typed`` are
    the fields of a ``Wish``."""
    wish = Wish(**typed)
    _check(stage, wish, how)
    ready = prepared(wish, environment=environment(), now_s=SystemClock().now())
    if wish.output not in set(Outgoing):
        raise UsageError(f"--output {wish.output} is not available in this version")
    how = replace(how, form=Outgoing(wish.output))
    by_query = 0 < how.limit <= MOST
    sink = StdoutRows() if how.to_stdout else _file(ready, how, by_query=by_query)
    try:
        if by_query:
            return _few(stage, ready, how, sink)
        if stage.log_path is None:
            stage.log_path = ready.folder / "pull.log"
        return _tell(stage, how, asyncio.run(_pulled(stage, ready, how, sink)))
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
    async def asked() -> int:
        with logged(stage) as outside:
            began = time.monotonic()
            found = await first_rows(ready, outside, how.limit)
            sink.begin()
            rows = RowWriter(how.form).spelled(found.region)
            try:
                await asyncio.get_running_loop().run_in_executor(None, sink.write, rows)
            finally:
                sink.stop()  # a thread that waits for its reader would keep the process
            sink.finish()
            code = ExitCode.INCOMPLETE if found.cut_short else ExitCode.COMPLETE
            log = structlog.get_logger()
            if found.cut_short:
                log.warning("pull.cut_short", why=found.cut_short, hint="narrow the window, or leave --limit")
            whole = len(found.rows) < how.limit
            if whole:
                _say_unsettled(ready)
            written = Written(ready.window.end_s, len(found.rows), len(rows))
            settled_to = ready.settled_until_s if whole and not found.cut_short else None
            duration_s = time.monotonic() - began
            _document(stage, ready, how, written, found.requests, duration_s, (), settled_to, code)
            _summary(stage, how, written)
            return int(code)

    return asyncio.run(asked())


# --- by remote tasks


async def _pulled(stage: Stage, ready: Pull, how: How, sink: Rows) -> _Ended:
    with logged(stage) as bare:
        stop = StopSignal()
        outside = replace(bare, stop=stop)
        with signals_obeyed(stage, stop) as waiting_for_lock:
            try:
                async with pulling(ready, outside, wait_s=stage.asked.wait_s) as opened:
                    waiting_for_lock.clear()
                    ended = await _exported(stage, opened, how, sink, outside)
                    if not (stop.is_set() and stop.interrupted):
                        await sweep(opened, answers=ended.report.error is None)
                    return ended
            except asyncio.CancelledError:
                if stop.is_set():
                    raise Interrupted(f"{stop.reason} before the pull began") from None
                raise


async def _exported(stage: Stage, opened: Opened, how: How, sink: Rows, outside: Outside) -> _Ended:
    pull, house, stop = opened.pull, opened.house, outside.stop
    log = structlog.get_logger()
    if pull.resumed:
        log.info("pull.resumed", **_window(pull), begun_at=iso_utc(pull.begun_at))
    log.info("pull.started", **_window(pull), state=str(pull.folder), log_file=str(stage.log_path))
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
            told=lambda hole: _say_hole(hole, goes_on=how.allow_gaps),
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
) -> _Ended:
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
        _say_unsettled(pull)
    return _Ended(pull, report, written, code, delivered)


# --- what is said


def _tell(stage: Stage, how: How, ended: _Ended) -> int:
    report, written, pull = ended.report, ended.written, ended.pull
    fault = values.report_error(report)
    if fault is not None and fault.code == DiskFull.code:
        fault = replace(fault, hint=ROOM)
    if fault is not None and ended.exit not in (ExitCode.COMPLETE, ExitCode.INTERRUPTED):
        complain(stage.redaction, fault.message, fault.hint or values.hint_of(fault.code), fault.request_id)
    elif ended.exit in (ExitCode.INCOMPLETE, ExitCode.UNMENDABLE, ExitCode.INTEGRITY):
        again = (
            "give the same line again" if ended.exit == ExitCode.INCOMPLETE else "another try will not help"
        )
        hint = again if how.allow_gaps else f"{again}; --allow-gaps writes what there is"
        complain(stage.redaction, f"incomplete: rows are proven up to {iso_utc(written.until_s)} only", hint)
    gaps = report.jobs[0].gaps if report.jobs else ()
    settled_to = min(
        (at for at in (report.settled_to, pull.settled_until_s, written.until_s) if at is not None),
        default=None,
    )
    if settled_to is not None and settled_to <= pull.window.start_s:
        settled_to = None
    error = None
    if fault is not None and ended.exit != ExitCode.COMPLETE:
        error = values.fault_json(replace(fault, message=stage.redaction(fault.message)))
    listed = tuple(
        {**values.gap_json(gap), "mend": "the same line again" if gap.mendable else ""} for gap in gaps
    )
    _document(
        stage,
        pull,
        how,
        written,
        report.requests,
        report.duration_s,
        () if written.enough else listed,
        settled_to,
        ended.exit,
        delivered=ended.delivered,
        error=error,
    )
    if ended.delivered:
        _summary(stage, how, written)
    return ended.exit


def _document(
    stage: Stage,
    pull: Pull,
    how: How,
    written: Written,
    requests: dict[str, int],
    duration_s: float,
    gaps: tuple[dict[str, Any], ...],
    settled_to: int | None,
    code: int,
    *,
    delivered: bool = True,
    error: dict[str, Any] | None = None,
) -> None:
    if stage.document is None:
        return
    stage.document.put("from", iso_utc(pull.window.start_s))
    stage.document.put("to", iso_utc(pull.window.end_s))
    stage.document.put("unsettled_from", iso_or_null(_unsettled_from(pull)))
    stage.document.put("rows", written.rows)
    stage.document.put("bytes", written.size_bytes)
    stage.document.put("file", None if how.to_stdout or not delivered else how.file)
    stage.document.put("resumed", pull.resumed)
    stage.document.put("duration_s", round(duration_s, 3))
    stage.document.put("requests", values.requests_json(requests))
    stage.document.stream("gaps", gaps)
    complete = code == ExitCode.COMPLETE and delivered
    stage.document.end(code, complete=complete, settled_to=settled_to, error=error)


def _summary(stage: Stage, how: How, written: Written) -> None:
    if not how.to_stdout and not stage.asked.json:
        stage.out.line(f"{counted(written.rows, 'row')}, {bytes_text(written.size_bytes)} in {how.file}")


def _window(pull: Pull) -> dict[str, str]:
    return {"from_": iso_utc(pull.window.start_s), "to": iso_utc(pull.window.end_s)}


def _unsettled_from(pull: Pull) -> int | None:
    return pull.settled_until_s if pull.settled_until_s < pull.window.end_s else None


def _say_unsettled(pull: Pull) -> None:
    """The service takes records late: what is young may not be all there is."""
    since_s = _unsettled_from(pull)
    if since_s is not None:
        structlog.get_logger().warning(
            "pull.unsettled", since=iso_utc(max(since_s, pull.window.start_s)), why="rows may still arrive"
        )


def _say_hole(hole: Hole, *, goes_on: bool) -> None:
    structlog.get_logger().warning(
        "pull.gap",
        from_=iso_utc(hole.window.start_s),
        to=iso_utc(hole.window.end_s),
        reason=hole.reason,
        rows="go on behind it" if goes_on else "end here",
    )

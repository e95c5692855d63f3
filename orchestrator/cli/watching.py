"""Who watches while a command works: the log, the progress view, the budget of lines; and where their words
go."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import structlog

from orchestrator.app.wiring import Outside
from orchestrator.cli.ending import Stage
from orchestrator.clock import SystemClock, SystemRng
from orchestrator.core.events import Event
from orchestrator.core.model import Slice, SliceState
from orchestrator.dashboard.progress import Progress, Snapshot
from orchestrator.engine.context import StopSignal
from orchestrator.logs import LogObserver, configure
from orchestrator.ports.control import Observer
from orchestrator.settings import environment

__all__ = ["LineBudget", "Observers", "logged", "progress_shown"]

REDRAW_S = 0.25
REPORT_S = 30.0


class Observers:
    """Several observers as one; more may join while a command works."""

    def __init__(self, *members: Observer) -> None:
        self._members = list(members)

    def join(self, member: Observer) -> None:
        self._members.append(member)

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        for member in self._members:
            member.changed(before, after, event)

    def noted(self, name: str, **detail: str | float | None) -> None:
        for member in self._members:
            member.noted(name, **detail)


class LineBudget:
    """Drains the run once it has stored so many lines."""

    def __init__(self, max_lines: int, stop: StopSignal) -> None:
        self._left = max_lines
        self._stop = stop

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        was_done = before is not None and before.state is SliceState.DONE
        if after.state is SliceState.DONE and not was_done and after.receipt is not None:
            self._left -= after.receipt.stored_rows
            if self._left <= 0:
                self._stop.set("--max-lines", interrupted=False)

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Only stored lines count."""


@contextmanager
def logged(stage: Stage) -> Iterator[Outside]:
    """Logging as the command line asks for it, and what the house needs from outside; its observer is an
    Observers."""
    asked = stage.asked
    clock = SystemClock()
    logs = configure(
        format="json" if asked.log_format == "json" else "console",
        level="debug" if asked.verbose else "warning" if asked.quiet else "info",
        redact=stage.redaction,
        now=clock.now,
        log_file=stage.log_path,
    )
    try:
        yield Outside(
            environment=environment(),
            clock=clock,
            rng=SystemRng(),
            observer=Observers(LogObserver(detailed=asked.verbose)),
            remember_secrets=stage.redaction.add,
        )
    finally:
        logs.close()


@asynccontextmanager
async def progress_shown(stage: Stage, progress: Progress) -> AsyncIterator[None]:
    """Show ``progress`` while the block lasts: live on a terminal, a ``run.progress`` event every 30 s
    otherwise."""
    if not stage.asked.progress:
        yield
        return
    show = _drawn_live if _can_draw(stage) else _logged_now_and_then
    task = asyncio.create_task(show(progress))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _can_draw(stage: Stage) -> bool:
    if stage.asked.log_format != "console" or not sys.stderr.isatty():
        return False
    from rich.console import Console

    return not Console(stderr=True).is_dumb_terminal


async def _drawn_live(progress: Progress) -> None:
    from orchestrator.dashboard.terminal import TerminalView

    with TerminalView() as view:
        while True:
            view.show(progress.snapshot())
            await asyncio.sleep(REDRAW_S)


async def _logged_now_and_then(progress: Progress) -> None:
    log = structlog.get_logger()
    taken_at = time.monotonic()
    while True:
        await asyncio.sleep(max(0.0, taken_at + REPORT_S - time.monotonic()))
        taken_at = time.monotonic()
        log.info("run.progress", **_as_event(progress.snapshot()))


def _as_event(now: Snapshot) -> dict[str, object]:
    return {
        "slices_done": now.slices_done,
        "slices_total": now.slices_total,
        "slices_failed": now.slices_failed,
        "planning": now.planning,
        "lines": now.lines,
        "bytes_fetched": now.bytes_fetched,
        "lines_per_s": round(now.lines_per_s, 1),
        "bytes_per_s": round(now.bytes_per_s, 1),
        "requests": now.requests,
        "requests_per_s": round(now.requests_per_s, 2),
        "throttled": now.throttled,
        "time_left_s": None if now.time_left_s is None else round(now.time_left_s),
        "last_problem": now.last_problem,
    }

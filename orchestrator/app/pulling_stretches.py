"""How much of its window does a pull export at a time?

All of it, unless only so many rows are wanted: then as far as the counts say that these reach, and further
only when rows are still wanting there. Each stretch is a run of its own over a part of the window; what the
ledger holds already costs nothing again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.app.library import drained_when_cancelled
from orchestrator.app.pull import JOB, narrowed
from orchestrator.app.pulling_order import Hole, Unrolling
from orchestrator.app.pulling_state import Opened
from orchestrator.core.window import Window
from orchestrator.engine.counting import Counting
from orchestrator.engine.experience import blind_length_s, observed_excess
from orchestrator.engine.planner import parts_of, rules_for
from orchestrator.errors import CredentialsError, ExitCode

if TYPE_CHECKING:
    from orchestrator.core.report import Report

__all__ = ["export", "stretches"]


async def export(opened: Opened, limit: int, unrolling: Unrolling, writing: asyncio.Future[Any]) -> Report:
    """Export the pull's window for as long as ``writing`` wants rows of it; ``limit`` is how many these are,
    0 for all. ``unrolling`` is told of the end of each stretch. What all of them came to, as one report.

    Stops as a run does; raises what a run raises, and StorageError."""
    house, window = opened.house, opened.pull.window
    stop = house.room.stop
    reports: list[Report] = []
    async with aclosing(stretches(opened, limit)) as found:
        async for stretch in found:
            contexts = tuple(replace(c, job=narrowed(c.job, stretch)) for c in house.contexts)
            report = await drained_when_cancelled(replace(house, contexts=contexts), "")
            reports.append(report)
            if stop.is_set():
                break
            unrolling.over(_holes(report), stretch.end_s)
            if stretch.end_s < window.end_s:
                await _first_of(writing, unrolling.wants(stretch.end_s))
                if writing.done():
                    break
    return _joined(reports)


async def stretches(opened: Opened, limit: int) -> AsyncGenerator[Window, None]:
    """The window in stretches, oldest first; the next is found when it is asked for, so let what was found be
    exported first. The first one holds all that an earlier line has under way. Raises StorageError."""
    house, window = opened.house, opened.pull.window
    if not limit:
        yield window
        return
    (context,) = house.contexts
    manifest = house.room.manifest
    outlook = _Outlook(opened, Counting(context.counts, context.job.identity))
    reach_s = max((slice_.window.end_s for slice_ in await manifest.live(JOB)), default=window.start_s)
    at_s = window.start_s
    for number in range(window.length_s):
        stored = await manifest.totals(JOB, Window(window.start_s, at_s)) if at_s > window.start_s else None
        wanted = limit - (stored.lines if stored is not None else 0)
        end_s = max(reach_s, await outlook.end_of(Window(at_s, window.end_s), max(1, wanted), 2**number))
        yield Window(at_s, min(end_s, window.end_s))
        if end_s >= window.end_s:
            return
        at_s = end_s


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What can be known of rows before they are exported."""

    opened: Opened
    counting: Counting

    async def end_of(self, rest: Window, wanted: int, growth: int) -> int:
        """As ``_end_of``; the end of ``rest`` when the pull is stopped meanwhile, or has lost its keys: the
        run says so."""
        looking = asyncio.ensure_future(self._end_of(rest, wanted, growth))
        try:
            await _first_of(looking, self.opened.house.room.stop.wait())
            return looking.result() if looking.done() else rest.end_s
        except CredentialsError:
            return rest.end_s
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _end_of(self, rest: Window, wanted: int, growth: int) -> int:
        """Where the slice ends in which the ``wanted``-th counted row of ``rest`` lies, as if slices held
        hardly more than that. Where rows cannot be counted: behind ``growth`` times a slice as long as such a
        one should be."""
        room, job = self.opened.house.room, self.opened.pull.job
        excess = await observed_excess(job, room.manifest)
        small = replace(job, max_lines=min(job.max_lines, 2 * wanted))
        rules = rules_for(small, at_once=room.limits.queries, observed_excess=excess)
        parts = parts_of((rest,), job.identity.logstream, rules, self.counting, room.clock)
        lines = 0
        async with aclosing(parts):
            async for part in parts:
                blind_s = min((window.start_s for window in part.blind), default=rest.end_s)
                for planned in part.ready:
                    if planned.window.start_s > blind_s:
                        break
                    lines += planned.lines
                    if lines >= wanted:
                        return planned.window.end_s
                if part.blind:
                    return blind_s + growth * await blind_length_s(job, room.manifest)
        return rest.end_s


async def _first_of(other: asyncio.Future[Any], awaited: Any) -> None:
    """Returns when either is done; ``other`` goes on."""
    task = asyncio.ensure_future(awaited)
    try:
        await asyncio.wait({other, task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _holes(report: Report) -> list[Hole]:
    """What the run could not have. What it was stopped before it tried is no hole: the error says it."""
    stopped = report.error is not None
    gaps = [gap for job in report.jobs for gap in job.gaps if gap.slice or not stopped]
    return [Hole(gap.window, gap.reason) for gap in gaps]


def _joined(reports: Sequence[Report]) -> Report:
    """The reports of neighbouring stretches as that of one run over all of them. Requests are counted by the
    house, so the last one has all."""
    last = reports[-1]
    settled_to = None
    for report in reports:
        settled_to = report.settled_to or settled_to
        if not report.complete:
            break
    (job,) = last.jobs
    gaps = tuple(gap for report in reports for each in report.jobs for gap in each.gaps)
    return replace(
        last,
        exit=int(ExitCode.worst([report.exit for report in reports])),
        complete=all(report.complete for report in reports),
        settled_to=settled_to,
        duration_s=round(sum(report.duration_s for report in reports), 3),
        jobs=(replace(job, gaps=gaps),),
    )

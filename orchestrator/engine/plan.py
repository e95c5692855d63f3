"""From missing windows to planned slices, and the dry run that only says what they would be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from orchestrator.core.model import Evidence, Slice, SliceState, slice_id
from orchestrator.core.report import JobPlan, PlannedSlice
from orchestrator.core.streams import views
from orchestrator.core.window import Window, WindowSet
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.planner import Planner, PlanPart, rules_for
from orchestrator.engine.steady import SteadyClock
from orchestrator.engine.takeup import (
    check_identity,
    check_logstream,
    leftovers,
    missing_of,
    out_of_retention,
    retention_starts_at,
)

__all__ = ["plan", "planned_slices"]

REQUESTS_PER_SLICE = 2
"""One create and one link; watching comes on top and is shared."""


async def planned_slices(
    context: JobContext, missing: WindowSet, room: Room
) -> AsyncIterator[tuple[Slice, ...]]:
    """Slices for ``missing`` as they become known, oldest first: planned ones, and empty ones for proven
    silence. Raises
    CredentialsError when the keys are lost meanwhile."""
    async with aclosing(_parts(context, missing, room)) as parts:
        async for part in parts:
            planned = [
                # What is only estimated is as good as not counted: its file is weighed against a count.
                _slice(context, w.window, SliceState.PLANNED, w.lines if w.counted_at else None, w.counted_at)
                for w in part.ready
            ]
            silent = [_slice(context, p.window, SliceState.EMPTY, 0, p.counted_at) for p in part.proofs]
            yield tuple(sorted(planned + silent, key=lambda slice_: slice_.window))


async def _parts(context: JobContext, missing: WindowSet, room: Room) -> AsyncGenerator[PlanPart, None]:
    job = context.job
    planner = Planner(context.counts, job.identity, rules_for(job, lanes=room.limits.queries), room.clock)
    async with aclosing(planner.parts(job.identity.logstream, missing)) as parts:
        async for part in parts:
            yield part


def _slice(
    context: JobContext, window: Window, state: SliceState, lines: int | None, counted_at: float | None
) -> Slice:
    job = context.job
    return Slice(
        id=slice_id(job, job.identity.logstream, window),
        job=job.name,
        logstream=job.identity.logstream,
        window=window,
        state=state,
        expected_lines=lines,
        counted_at=counted_at,
        evidence=Evidence.COUNT if state is SliceState.EMPTY else Evidence.NONE,
    )


async def plan(contexts: Sequence[JobContext], room: Room) -> tuple[JobPlan, ...]:
    """What ``run`` would do now; creates nothing, neither at the service nor in the manifest. Raises what
    planning meets: Refused, Unreachable, UsageError, StorageError."""
    room = replace(room, clock=SteadyClock(room.clock))
    return tuple([await _plan_job(context, room) for context in contexts])


async def _plan_job(context: JobContext, room: Room) -> JobPlan:
    job = context.job
    if job.window is None:
        return JobPlan(job.name, None, (), 0, 0, 0)
    await check_identity(job, room.manifest)
    before = sum(room.requests().values())
    if context.stopped is not None:
        raise context.stopped
    left = await leftovers(job, job.window, room.manifest)
    missing = {
        view: await missing_of(view, job.window, room.manifest, left.taken_of(view)) for view in views(job)
    }
    slices = [
        PlannedSlice(slice_.window, slice_.logstream, slice_.expected_lines)
        for slice_, _ in left.events
        if slice_.window.meets(job.window) and slice_.state not in (SliceState.CUT, SliceState.SUPERSEDED)
    ]
    if any(missing.values()):
        starts_at = await retention_starts_at(context, room)
        await check_logstream(context, room)
        for view, lacking in missing.items():
            due, _ = out_of_retention(view, lacking, starts_at)
            async for part in _parts(replace(context, job=view), due, room):
                slices += [PlannedSlice(w.window, view.identity.logstream, w.lines) for w in part.ready]
    planned = tuple(sorted(slices, key=lambda slice_: slice_.window))
    known = [slice_.lines for slice_ in planned if slice_.lines is not None]
    return JobPlan(
        job=job.name,
        window=job.window,
        slices=planned,
        lines=sum(known) if len(known) == len(planned) else None,
        requests=REQUESTS_PER_SLICE * len(planned),
        planning_requests=sum(room.requests().values()) - before,
    )

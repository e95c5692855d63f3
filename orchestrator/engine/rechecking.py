"""Of which young slices does the service have more lines now than are stored?

A slice that grew gets a next generation beside it, the way a redo does: what stands stays covered until the
new one is verified (``redo``). A second that was divided is divided anew. What the service now has fewer
lines of is only told: nothing better can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from zoneinfo import ZoneInfo

from orchestrator.core.align import align_boundaries
from orchestrator.core.job import Job
from orchestrator.core.model import Slice, SliceState, slice_id
from orchestrator.core.reasons import short_by
from orchestrator.core.streams import views
from orchestrator.core.window import Window
from orchestrator.engine.arrivals import Noted
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.counting import Counting
from orchestrator.engine.recounting import held, recounted
from orchestrator.engine.redo import divided_anew, next_generation
from orchestrator.ports.store import JournalEntry

__all__ = ["grown", "in_cells", "is_due"]

_STORED = (SliceState.DONE, SliceState.EMPTY)


def _young(job: Job, now_s: float) -> Window | None:
    """The part of the job's window whose slices are looked at: those that end in it."""
    if job.recheck_s is None or job.window is None:
        return None
    start_s = max(job.window.start_s, int(now_s) - job.recheck_s)
    return Window(start_s, job.window.end_s) if start_s < job.window.end_s else None


async def is_due(context: JobContext, room: Room) -> bool:
    """Whether anything that is stored is young enough to be counted again."""
    young = _young(context.job, room.clock.now())
    return young is not None and bool(
        await room.manifest.slices(context.job.name, _STORED, window=young, limit=1)
    )


async def grown(
    context: JobContext, counting: Counting, room: Room, post: Callable[[Noted], None]
) -> tuple[Slice, ...]:
    """The next generations of the slices that grew, planned, none of which is under way already. Of one the
    service has fewer lines of, that is posted for the journal, unless it was the last thing to be told of it.
    Raises what planning raises."""
    young = _young(context.job, room.clock.now())
    if young is None:
        return ()
    pending = frozenset(await room.manifest.replaced(context.job.name))
    found: list[Slice] = []
    for view in views(context.job):
        seen = replace(context, job=view)
        stored = held(view, room.manifest, young, without=pending)
        async for recount in recounted(stored, view.identity.logstream, counting):
            slice_, lines = recount.slice, recount.lines
            if lines is None:
                room.observer.noted("recheck.uncounted", job=slice_.job, slice=slice_.id)
            elif lines < recount.rows:
                room.observer.noted("recheck.fewer", job=slice_.job, slice=slice_.id, lines=lines)
                entry = JournalEntry(room.clock.now(), slice_.job, slice_.id, "shrunk", {"count": lines})
                told = [line.entry for line in (await room.manifest.story(slice_.id))[-1:]]
                if [(last.event, last.detail) for last in told] != [(entry.event, entry.detail)]:
                    post(Noted(entry))
            else:
                room.observer.noted("recheck.grown", job=slice_.job, slice=slice_.id, lines=lines)
                if slice_.state is SliceState.SUPERSEDED:
                    found.append(await divided_anew(seen, slice_, short_by(lines - recount.rows), room))
                else:
                    found.append(next_generation(seen, slice_))
    return tuple(found)


def in_cells(slice_: Slice, job: Job) -> Iterator[Slice]:
    """A slice proven empty, cut where no slice may go over: should lines come late, each part becomes one
    with a file."""
    if slice_.state is not SliceState.EMPTY or job.recheck_s is None:
        yield slice_
        return
    next_boundary = align_boundaries(job.align, ZoneInfo(job.timezone))
    rest = slice_.window
    while (at_s := next_boundary(rest.start_s)) is not None and at_s < rest.end_s:
        cell, rest = rest.split(at_s)
        yield replace(slice_, id=slice_id(job, slice_.logstream, cell, slice_.generation), window=cell)
    yield replace(slice_, id=slice_id(job, slice_.logstream, rest, slice_.generation), window=rest)

"""Do the rows of a job's log streams add up to all there are?

A job that exports every stream one by one proves each of them; that these are all is another matter: a
stream may be missing from the list, a record may bear no stream. So what is stored of every listed stream is
held against the count of the whole. What adds up, or cannot be counted, is covered under ``*``; what falls
short is a gap, written down as a failed slice of no stream, and is counted again by every run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orchestrator.core.model import Evidence, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason
from orchestrator.core.streams import is_all, views
from orchestrator.core.window import Window, intersect, normalise, subtract
from orchestrator.engine.audit import all_slices, listed_coverage
from orchestrator.engine.context import JobContext, Room
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.ports.service import CountUnavailable
from orchestrator.ports.store import Changes, Covered, JournalEntry

__all__ = ["add_up"]

DAY_S = 86_400
MOST_QUESTIONS = 200
"""In one run and job; a window that would need more is judged as a whole."""


@dataclass(slots=True)
class _Tally:
    """What came of one comparison."""

    context: JobContext
    room: Room
    questions: int = 0
    proven: list[Window] = field(default_factory=list)
    uncounted: list[Window] = field(default_factory=list)
    short: list[tuple[Window, int]] = field(default_factory=list)

    async def weigh(self, window: Window) -> None:
        """Rows first, for they are known; stream by stream only when these are fewer than the count, since
        rows may have arrived after their slice was stored. Halves tell where, down to a day."""
        job = self.context.job
        whole = await self._count("", window)
        if whole is None:
            await self._uncounted(window)
            return
        rows = (await self.room.manifest.totals(job.name, window)).lines
        if rows >= whole:
            self.proven.append(window)
            return
        listed = 0
        for stream in job.streams:
            lines = await self._count(stream, window)
            if lines is None:
                await self._uncounted(window)
                return
            listed += lines
        if listed >= whole:
            self.proven.append(window)
        elif not await self._halves(window):
            self.short.append((window, whole - listed))

    async def _uncounted(self, window: Window) -> None:
        if not await self._halves(window):
            self.uncounted.append(window)

    async def _halves(self, window: Window) -> bool:
        """Whether both halves were weighed instead."""
        if window.length_s <= DAY_S or self.questions >= MOST_QUESTIONS:
            return False
        for half in window.split(window.start_s + window.length_s // 2):
            await self.weigh(half)
        return True

    async def _count(self, stream: str, window: Window) -> int | None:
        self.questions += 1
        answer = await self.context.counts.count(self.context.job.identity, stream, window)
        return None if isinstance(answer, CountUnavailable) else answer


async def add_up(context: JobContext, room: Room) -> None:
    """Compare what is stored of every listed stream and was not compared before, and commit what it comes to.
    Only for jobs whose streams are to be all; a service that does not answer leaves the rest for the next
    run. Raises StorageError."""
    job = context.job
    if job.window is None or not is_all(job) or not views(job):
        return
    stored = intersect((job.window,), await listed_coverage(job, room.manifest))
    tally = _Tally(context, room)
    try:
        for piece in subtract(stored, await room.manifest.coverage(job.name)):
            await tally.weigh(piece)
        if tally.short and await _streams_appeared(context):
            room.observer.noted("streams.appeared_meanwhile", job=job.name)
            tally.short.clear()  # the next run exports them, and compares anew
    except StorageError:
        raise
    except OrchestratorError as error:
        room.observer.noted("streams.not_compared_failed", job=job.name, error=str(error)[:200])
    now = room.clock.now()
    for window in tally.uncounted:
        room.observer.noted("streams.total_unknown", job=job.name, window=repr(window))
    for window, missing in tally.short:
        room.observer.noted("streams.short_failed", job=job.name, window=repr(window), missing=missing)
    journal = [
        JournalEntry(now, job.name, "", event, {"from_s": window.start_s, "to_s": window.end_s})
        for event, windows in (("streams_add_up", tally.proven), ("streams_uncounted", tally.uncounted))
        for window in normalise(windows)
    ]
    settled = (*tally.proven, *tally.uncounted)
    changes = Changes(
        slices=(*await _superseded(tally), *(_short(context, *item, now) for item in tally.short)),
        covered=tuple(Covered(job.name, "*", window) for window in normalise(settled)),
        journal=(*journal, *(_entry(context, *item, now) for item in tally.short)),
    )
    if changes:
        await room.manifest.commit(changes)


async def _streams_appeared(context: JobContext) -> bool:
    identity, known = context.job.identity, context.job.streams
    listed = await context.meta.list_logstreams(identity.project, identity.logstore)
    return any(name and name not in known for name in listed)


async def _superseded(tally: _Tally) -> list[Slice]:
    """What an earlier run found short, where this one has looked again."""
    job, looked_at = tally.context.job, [*tally.proven, *tally.uncounted, *(w for w, _ in tally.short)]
    again = {window for window, _ in tally.short}
    seen = normalise(looked_at)
    return [
        replace(slice_, state=SliceState.SUPERSEDED, reason=Reason.REPLACED)
        async for slice_ in all_slices(tally.room.manifest, job.name, (SliceState.FAILED,), job.window)
        if slice_.logstream == "" and slice_.window not in again and not subtract((slice_.window,), seen)
    ]


def _short(context: JobContext, window: Window, missing: int, now: float) -> Slice:
    return Slice(
        id=slice_id(context.job, "", window),
        job=context.job.name,
        logstream="",
        window=window,
        state=SliceState.FAILED,
        evidence=Evidence.NONE,
        expected_lines=missing,
        counted_at=now,
        reason=Reason.STREAMS_FALL_SHORT,
        updated_at=now,
    )


def _entry(context: JobContext, window: Window, missing: int, now: float) -> JournalEntry:
    id_ = slice_id(context.job, "", window)
    return JournalEntry(now, context.job.name, id_, "streams_fall_short", {"missing": missing})

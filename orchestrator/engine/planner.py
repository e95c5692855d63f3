"""How do the planner's questions reach the service, and its slices the driver?

``core.slicing`` decides, this module asks: every question of a step becomes one call, answered in whatever
order, and finished slices are handed out as they come. A count comes from the SQL count where that works,
else from the histogram's total; which of the two works is found out once per run, not once per question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from zoneinfo import ZoneInfo

from orchestrator.core.align import align_boundaries
from orchestrator.core.job import Job, JobIdentity
from orchestrator.core.slicing import (
    Answer,
    Book,
    Kind,
    PlannedWindow,
    Proof,
    Question,
    Rules,
    capacity_lines,
    step,
)
from orchestrator.core.window import Window
from orchestrator.errors import ServiceError
from orchestrator.ports.service import CountApi, CountUnavailable
from orchestrator.ports.time import Clock

__all__ = ["PlanPart", "Planner", "rules_for"]

_EVERYTHING = frozenset({"", "*", "match *"})
"""Queries that match every record (bls-api.md 3.2)."""
_DEAD_AFTER = 2
"""Failures of a way of counting that never worked, after which it is not tried again in this run."""


def rules_for(job: Job, *, lanes: int, observed_excess: float = 0.0) -> Rules:
    """The slicing rules a job asks for. ``lanes``: questions out at once (``limits.queries``);
    ``observed_excess``: share by which files of this run exceeded their counts."""
    return Rules(
        capacity=capacity_lines(job.max_lines, observed_excess),
        next_boundary=align_boundaries(job.align, ZoneInfo(job.timezone)),
        lanes=lanes,
    )


@dataclass(frozen=True, slots=True)
class PlanPart:
    """What became certain at one moment, in time order: slices to make, windows proven empty."""

    ready: tuple[PlannedWindow, ...]
    proofs: tuple[Proof, ...]


class _Way(Enum):
    COUNT = auto()
    HISTOGRAM = auto()


class Planner:
    """Plans windows of one job. Keep it for all windows and streams of a run: it remembers which way of
    counting works.

    ``planning_requests`` are the calls made so far (retries of the client not included).
    """

    def __init__(self, counts: CountApi, identity: JobIdentity, rules: Rules, clock: Clock) -> None:
        self._counts = counts
        self._identity = identity
        self._rules = rules
        self._clock = clock
        self._works: set[_Way] = set()
        self._failures = dict.fromkeys(_Way, 0)
        self._first_tries = {way: asyncio.Lock() for way in _Way}
        self.planning_requests = 0

    async def parts(self, logstream: str, missing: Iterable[Window]) -> AsyncGenerator[PlanPart, None]:
        """Plan ``missing`` of one stream ("" for all); the first parts come before the last window was asked
        about.

        All parts together are exactly ``missing``, in time order. Raises what is no fault of the service's;
        its refusals and errors only leave windows without counts.
        Close the iterator (``contextlib.aclosing``) when leaving early: questions that are out are then
        cancelled.
        """
        out: set[asyncio.Task[Answer]] = set()
        taken = step(Book.start(missing, self._rules))
        try:
            while True:
                out |= {
                    asyncio.create_task(self._answer(logstream, question)) for question in taken.questions
                }
                if taken.ready or taken.proofs:
                    yield PlanPart(taken.ready, taken.proofs)
                if taken.finished:
                    return
                done, _ = await asyncio.wait(out, return_when=asyncio.FIRST_COMPLETED)
                answers = [task.result() for task in done]
                out -= done  # not before all results were taken: of two refusals only the first is raised
                taken = step(taken.book, answers)
        finally:
            for task in out:
                task.cancel()
            await asyncio.gather(*out, return_exceptions=True)

    async def _answer(self, logstream: str, question: Question) -> Answer:
        asked_at = self._clock.now()
        lines = await (self._count if question.kind is Kind.COUNT else self._witness)(
            logstream, question.window
        )
        return Answer(question.id, lines, asked_at)

    async def _count(self, logstream: str, window: Window) -> int | None:
        """SQL count first: it is exact where a histogram's total may be truncated."""
        lines = await self._try(_Way.COUNT, logstream, window)
        return lines if lines is not None else await self._try(_Way.HISTOGRAM, logstream, window)

    async def _witness(self, logstream: str, window: Window) -> int | None:
        """Another way than the one that counted nothing: without any match part when the query is everything,
        else by the histogram, else the same count again."""
        if self._identity.query.strip() in _EVERYTHING and _Way.COUNT in self._works:
            lines = await self._try(_Way.COUNT, logstream, window, match_all=True)
            if lines is not None:
                return lines
        lines = await self._try(_Way.HISTOGRAM, logstream, window)
        return lines if lines is not None else await self._try(_Way.COUNT, logstream, window)

    async def _try(self, way: _Way, logstream: str, window: Window, *, match_all: bool = False) -> int | None:
        """None when this way does not say. Until a way has worked once, questions try it one after the other,
        so that a dead one is found dead by two calls and not by one per lane."""
        if way in self._works:
            return await self._ask(way, logstream, window, match_all=match_all)
        async with self._first_tries[way]:
            if way not in self._works:
                if self._failures[way] >= _DEAD_AFTER:
                    return None
                return await self._ask(way, logstream, window, match_all=match_all)
        return await self._ask(way, logstream, window, match_all=match_all)

    async def _ask(self, way: _Way, logstream: str, window: Window, *, match_all: bool) -> int | None:
        self.planning_requests += 1
        try:
            if way is _Way.COUNT:
                lines = await self._sql_count(logstream, window, match_all=match_all)
            else:
                lines = await self._histogram_total(logstream, window)
        except ServiceError:
            # Planning goes on without this count: the client has retried and logged it, and whoever may not
            # query may still be allowed to export.
            lines = None
        if lines is None:
            self._failures[way] += 1
        else:
            self._works.add(way)
        return lines

    async def _sql_count(self, logstream: str, window: Window, *, match_all: bool) -> int | None:
        answer = await self._counts.count(self._identity, logstream, window, match_all=match_all)
        return None if isinstance(answer, CountUnavailable) else answer

    async def _histogram_total(self, logstream: str, window: Window) -> int | None:
        """The larger of ``hits`` and the sum of buckets: empty means that both are nothing (design 5,
        Slicing)."""
        answer = await self._counts.histogram(self._identity, logstream, window)
        if isinstance(answer, CountUnavailable) or answer.hits is None or answer.truncated:
            return None
        return max(answer.hits, sum(bucket.lines for bucket in answer.buckets))

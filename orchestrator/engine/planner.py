"""How do the planner's questions reach the service, and its slices the driver?

``core.slicing`` decides, this module asks: every question of a step becomes one call, answered in whatever
order, and finished slices are handed out as they come. A count comes from the SQL count where that works,
else from the histogram's total; buckets from SQL at a width of our own, else from the histogram as it is.
Which way works is found out once per run, not once per question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from zoneinfo import ZoneInfo

from orchestrator.core.align import align_boundaries
from orchestrator.core.job import Job, JobIdentity
from orchestrator.core.series import Series
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
from orchestrator.ports.service import CountApi, CountUnavailable, Histogram
from orchestrator.ports.time import Clock

__all__ = ["PlanPart", "Planner", "rules_for"]

_EVERYTHING = frozenset({"", "*", "match *"})
"""Queries that match every record (bls-api.md 3.2)."""
_DEAD_AFTER = 2
"""Failures of a way of counting that never worked, after which it is not tried again in this run."""
_TOO_MUCH_AFTER = 6
"""The same, for answers that say the window was too much: shorter ones follow."""


def rules_for(job: Job, *, lanes: int, observed_excess: float = 0.0) -> Rules:
    """The slicing rules a job asks for. ``lanes``: questions out at once (``limits.queries``);
    ``observed_excess``: share by which the newest files of the job exceeded their counts."""
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
    BUCKETS = auto()
    HISTOGRAM = auto()


Call = Callable[[], Awaitable["_Found"]]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one call told. Nothing of it: this way does not say."""

    lines: int | None = None
    series: Series | None = None
    too_much: bool = False


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
        self._too_much = dict.fromkeys(_Way, 0)
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

    async def count(self, logstream: str, window: Window) -> int | None:
        """The lines of one window, the same way as for planning; None when they cannot be counted."""
        return (await self._count(logstream, window)).lines

    async def _answer(self, logstream: str, question: Question) -> Answer:
        asked_at = self._clock.now()
        window = question.window
        match question.kind:
            case Kind.COUNT:
                found = await self._count(logstream, window)
            case Kind.BUCKETS:
                found = await self._buckets(logstream, window, question.width_s)
            case _:
                found = await self._witness(logstream, window)
        return Answer(question.id, found.lines, asked_at, found.series, found.too_much)

    async def _count(self, logstream: str, window: Window) -> _Found:
        """SQL count first: it is exact where a histogram's total may be truncated."""
        found = await self._try(_Way.COUNT, self._sql_count(logstream, window))
        if found.lines is not None or found.too_much:
            return found
        return await self._try(_Way.HISTOGRAM, self._histogram(logstream, window))

    async def _buckets(self, logstream: str, window: Window, width_s: int) -> _Found:
        """By SQL as wide as asked for, else as the service likes."""
        found = await self._try(_Way.BUCKETS, self._sql_buckets(logstream, window, width_s))
        if found.series is not None or found.too_much:
            return found
        return await self._try(_Way.HISTOGRAM, self._histogram(logstream, window))

    async def _witness(self, logstream: str, window: Window) -> _Found:
        """Another way than the one that counted nothing: without any match part when the query is everything,
        else by the histogram, else the same count again."""
        if self._identity.query.strip() in _EVERYTHING and _Way.COUNT in self._works:
            found = await self._try(_Way.COUNT, self._sql_count(logstream, window, match_all=True))
            if found.lines is not None:
                return found
        found = await self._try(_Way.HISTOGRAM, self._histogram(logstream, window))
        if found.lines is not None:
            return found
        return await self._try(_Way.COUNT, self._sql_count(logstream, window))

    async def _try(self, way: _Way, call: Call) -> _Found:
        """Nothing when this way does not say. Until a way has worked once, questions try it one after the
        other, so that a dead one is found dead by two calls and not by one per lane."""
        if way in self._works:
            return await self._ask(way, call)
        async with self._first_tries[way]:
            if way not in self._works:
                if self._failures[way] >= _DEAD_AFTER or self._too_much[way] >= _TOO_MUCH_AFTER:
                    return _Found()
                return await self._ask(way, call)
        return await self._ask(way, call)

    async def _ask(self, way: _Way, call: Call) -> _Found:
        self.planning_requests += 1
        try:
            found = await call()
        except ServiceError:
            # Planning goes on without this count: the client has retried and logged it, and whoever may not
            # query may still be allowed to export.
            found = _Found()
        if found.lines is not None or found.series is not None:
            self._works.add(way)
        elif found.too_much:
            self._too_much[way] += 1
        else:
            self._failures[way] += 1
        return found

    def _sql_count(self, logstream: str, window: Window, *, match_all: bool = False) -> Call:
        async def call() -> _Found:
            answer = await self._counts.count(self._identity, logstream, window, match_all=match_all)
            if isinstance(answer, CountUnavailable):
                return _Found(too_much=answer.too_much)
            return _Found(answer)

        return call

    def _sql_buckets(self, logstream: str, window: Window, width_s: int) -> Call:
        async def call() -> _Found:
            answer = await self._counts.buckets(self._identity, logstream, window, width_s)
            if isinstance(answer, CountUnavailable):
                return _Found(too_much=answer.too_much)
            return _Found(series=_series(window, answer))

        return call

    def _histogram(self, logstream: str, window: Window) -> Call:
        """Its total is the larger of ``hits`` and the sum of buckets: empty means that both are nothing
        (design 5, Slicing). Buckets that do not make up the total are not where the lines are."""

        async def call() -> _Found:
            answer = await self._counts.histogram(self._identity, logstream, window)
            if isinstance(answer, CountUnavailable):
                return _Found(too_much=answer.too_much)
            if answer.hits is None or answer.truncated:
                return _Found(too_much=answer.truncated)
            series = _series(window, answer)
            lines = max(answer.hits, series.total)
            return _Found(lines, series if series.total >= answer.hits else None)

        return call


def _series(window: Window, answer: Histogram) -> Series:
    buckets = ((bucket.start_s, bucket.lines) for bucket in answer.buckets)
    return Series.of_buckets(window, answer.interval_s, buckets)

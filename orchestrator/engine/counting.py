"""How many lines are there, by whichever way the service can tell?

A count comes from the SQL count where that works, else from the histogram's total; buckets from SQL at a
width of our own, else from the histogram as it is. Which way works is found out once, not once per question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from operator import attrgetter

from orchestrator.core.job import JobIdentity
from orchestrator.core.series import Series
from orchestrator.core.window import Window
from orchestrator.errors import ServiceError
from orchestrator.ports.service import CountApi, CountUnavailable, Histogram

__all__ = ["Counting", "Found", "Silence"]

_EVERYTHING = frozenset({"", "*", "match *"})
"""Queries that match every record (bls-api.md 3.2)."""
_DEAD_AFTER = 2
"""Failures of a way of counting that never worked, after which it is not tried again."""
_TOO_MUCH_AFTER = 6
"""The same, for answers that say the window was too much: shorter ones follow."""


_START_AND_LINES = attrgetter("start_s", "lines")

_SILENT_AFTER = 3
_ASK_EVERY = 10


@dataclass(slots=True)
class Silence:
    """Whether a question is worth putting to a service that does not count: after some in a row without an
    answer only every tenth is, so that a logstore without an index costs no questions for every slice, and
    one that got an index, or a refusal that was lifted, is noticed all the same."""

    in_row: int = 0
    passed_over: int = 0

    def worth_asking(self) -> bool:
        """To be asked once per question."""
        if self.in_row < _SILENT_AFTER:
            return True
        self.passed_over = (self.passed_over + 1) % _ASK_EVERY
        return self.passed_over == 0

    def heard(self, *, answer: bool) -> None:
        """What came of a question that was put."""
        self.in_row = 0 if answer else self.in_row + 1


class _Way(Enum):
    COUNT = auto()
    BUCKETS = auto()
    HISTOGRAM = auto()


_Call = Callable[[], Awaitable["Found"]]


@dataclass(frozen=True, slots=True)
class Found:
    """What one call told. Nothing of it: this way does not say."""

    lines: int | None = None
    series: Series | None = None
    too_much: bool = False


class Counting:
    """Counts in one logstore for one query. Keep it for all windows and streams of a run: it remembers which
    way works.

    No answer of the service's raises: its refusals and errors mean that a way does not say. ``calls`` are
    those made so far (retries of the client not included).
    """

    def __init__(self, counts: CountApi, identity: JobIdentity) -> None:
        self._counts = counts
        self._identity = identity
        self._works: set[_Way] = set()
        self._failures = dict.fromkeys(_Way, 0)
        self._too_much = dict.fromkeys(_Way, 0)
        self._first_tries = {way: asyncio.Lock() for way in _Way}
        self.calls = 0

    async def count(self, logstream: str, window: Window) -> Found:
        """How many lines: by the SQL count, which is exact where a histogram's total may be truncated, else
        by that total."""
        found = await self._try(_Way.COUNT, self._sql_count(logstream, window))
        if found.lines is not None or found.too_much:
            return found
        return await self._try(_Way.HISTOGRAM, self._histogram(logstream, window))

    async def buckets(self, logstream: str, window: Window, width_s: int) -> Found:
        """How many per bucket: by SQL as wide as asked for, else as the service likes."""
        found = await self._try(_Way.BUCKETS, self._sql_buckets(logstream, window, width_s))
        if found.series is not None or found.too_much:
            return found
        return await self._try(_Way.HISTOGRAM, self._histogram(logstream, window))

    async def witness(self, logstream: str, window: Window) -> Found:
        """How many lines, by another way than the one that counted nothing: without any match part when the
        query is everything, else by the histogram, else the same count again."""
        if self._identity.query.strip() in _EVERYTHING and _Way.COUNT in self._works:
            found = await self._try(_Way.COUNT, self._sql_count(logstream, window, match_all=True))
            if found.lines is not None:
                return found
        found = await self._try(_Way.HISTOGRAM, self._histogram(logstream, window))
        if found.lines is not None:
            return found
        return await self._try(_Way.COUNT, self._sql_count(logstream, window))

    async def _try(self, way: _Way, call: _Call) -> Found:
        """Nothing when this way does not say. Until a way has worked once, questions try it one after the
        other, so that a dead one is found dead by two calls and not by as many as are out at once."""
        if way in self._works:
            return await self._ask(way, call)
        async with self._first_tries[way]:
            if way not in self._works:
                if self._failures[way] >= _DEAD_AFTER or self._too_much[way] >= _TOO_MUCH_AFTER:
                    return Found()
                return await self._ask(way, call)
        return await self._ask(way, call)

    async def _ask(self, way: _Way, call: _Call) -> Found:
        self.calls += 1
        try:
            found = await call()
        except ServiceError:
            # Planning goes on without this count: the client has retried and logged it, and whoever may not
            # query may still be allowed to export.
            found = Found()
        if found.lines is not None or found.series is not None:
            self._works.add(way)
        elif found.too_much:
            self._too_much[way] += 1
        else:
            self._failures[way] += 1
        return found

    def _sql_count(self, logstream: str, window: Window, *, match_all: bool = False) -> _Call:
        async def call() -> Found:
            answer = await self._counts.count(self._identity, logstream, window, match_all=match_all)
            if isinstance(answer, CountUnavailable):
                return Found(too_much=answer.too_much)
            return Found(answer)

        return call

    def _sql_buckets(self, logstream: str, window: Window, width_s: int) -> _Call:
        async def call() -> Found:
            answer = await self._counts.buckets(self._identity, logstream, window, width_s)
            if isinstance(answer, CountUnavailable):
                return Found(too_much=answer.too_much)
            return Found(series=_series(window, answer))

        return call

    def _histogram(self, logstream: str, window: Window) -> _Call:
        """Its total is the larger of ``hits`` and the sum of buckets: empty means that both are nothing
        (design 5, Slicing). Buckets that do not make up the total are not where the lines are."""

        async def call() -> Found:
            answer = await self._counts.histogram(self._identity, logstream, window)
            if isinstance(answer, CountUnavailable):
                return Found(too_much=answer.too_much)
            if answer.hits is None or answer.truncated:
                return Found(too_much=answer.truncated)
            series = _series(window, answer)
            lines = max(answer.hits, series.total)
            return Found(lines, series if series.total >= answer.hits else None)

        return call


def _series(window: Window, answer: Histogram) -> Series:
    return Series.of_buckets(window, answer.interval_s, map(_START_AND_LINES, answer.buckets))

"""May this request go now? One door for every request of a run, in the order they came.

``core.pace`` says how long to wait; this module waits. A request that its own family holds back (Retry-After,
a halved rate, no free query slot) lets requests of other families pass; among those that may go, the one that
came first goes first. So creates do not starve behind reads, nor reads behind creates.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from orchestrator.core.limit import SETTLE_S, Limit
from orchestrator.core.pace import Pacer
from orchestrator.core.timing import Brake
from orchestrator.ports.control import Family, Stopwatch
from orchestrator.ports.time import Rng

__all__ = ["RequestGate"]

_QUERY_FAMILIES = frozenset({Family.QUERY, Family.HISTOGRAM})
"""These run on the service's query engine, which takes few at once (bls-api.md 6)."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    number: int
    let_go: asyncio.Future[None]


class _Permission(AbstractAsyncContextManager[None]):
    """One request's way through the gate; a class, because it is entered for every request."""

    __slots__ = ("_family", "_gate")

    def __init__(self, gate: RequestGate, family: Family) -> None:
        self._gate = gate
        self._family = family

    async def __aenter__(self) -> None:
        await self._gate.enter(self._family)

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave(self._family)


class RequestGate:
    """The Gate port. ``requests_per_s`` bounds all signed calls together over any one-second interval,
    ``queries`` how many query and histogram calls are out at once, which are fewer where the service refuses
    some; nothing is let go for ``quiet_s`` seconds after the gate was made. ``counts`` are the requests let
    go so far, by family, retries included; ``stopwatch`` is told what holds the others back.

    Waiting follows the loop's monotonic clock. Cancelling a waiter costs nobody a turn; a request let go and
    cancelled in the same instant has used its turn up and gives its query slot back.
    """

    def __init__(
        self,
        *,
        requests_per_s: float,
        queries: int,
        rng: Rng,
        quiet_s: float = 0.0,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        if queries < 1:
            raise ValueError(f"{queries} queries at once would never end")
        self.counts: dict[str, int] = {family.value: 0 for family in Family}
        self._pacer = Pacer(requests_per_s)
        self._opens_at = asyncio.get_running_loop().time() + quiet_s if quiet_s > 0 else float("-inf")
        self._rng = rng
        self._query_slots = Limit(float(queries), 1.0)
        self._querying = 0
        self._stopwatch = stopwatch
        self._waiting: dict[Family, deque[_Waiter]] = {family: deque() for family in Family}
        self._came = 0
        self._timer: asyncio.TimerHandle | None = None

    def request(self, family: Family) -> AbstractAsyncContextManager[None]:
        return _Permission(self, family)

    def throttled(self, family: Family, retry_after_s: float | None) -> None:
        now = asyncio.get_running_loop().time()
        if family is Family.CREATE and retry_after_s is None:
            return  # whether it was one too many or one too fast is for admission to find out
        cut = family is not Family.CREATE
        if family in _QUERY_FAMILIES and (self._querying or now < self._query_slots.cut_at + SETTLE_S):
            self._query_slots, cut = (
                self._query_slots.refused(now, float(self._querying), counted=True),
                False,
            )
        self._pacer.throttled(family.value, now, retry_after_s, self._rng.random(), cut=cut)

    def accepted(self, family: Family) -> None:
        now = asyncio.get_running_loop().time()
        self._pacer.accepted(family.value, now)
        if family in _QUERY_FAMILIES:
            self._query_slots = self._query_slots.accepted(now)

    async def enter(self, family: Family) -> None:
        """Wait for permission; what was given is given back by ``leave``."""
        if not self._timer and not any(self._waiting.values()) and self._may_go_at_once(family):
            return
        let_go = asyncio.get_running_loop().create_future()
        self._came += 1
        self._waiting[family].append(_Waiter(self._came, let_go))
        self._let_go_whom_we_may()
        try:
            await let_go
        except asyncio.CancelledError:
            if let_go.done() and not let_go.cancelled():
                self.leave(family)
            raise
        self.counts[family.value] += 1

    def _may_go_at_once(self, family: Family) -> bool:
        """Let a request go before which nobody waits, if no ceiling says stop."""
        now = asyncio.get_running_loop().time()
        if family in _QUERY_FAMILIES and self._free_query_slots(now) <= 0:
            return False
        if self._pacer.family_wait_s(family.value, now) > 0:
            return False
        if family is not Family.FILE and max(self._pacer.common_wait_s(now), self._opens_at - now) > 0:
            return False
        self._go(family, now)
        self.counts[family.value] += 1
        return True

    def _go(self, family: Family, now: float) -> None:
        self._pacer.take(family.value, now, common=family is not Family.FILE)
        if family in _QUERY_FAMILIES:
            self._querying += 1
            if self._stopwatch is not None:
                self._stopwatch.counting(self._querying)

    def leave(self, family: Family) -> None:
        """A request has ended."""
        if family in _QUERY_FAMILIES:
            self._querying -= 1
            self._let_go_whom_we_may()

    def _free_query_slots(self, now: float) -> int:
        return int(self._query_slots.level(now) + 0.5) - self._querying

    def _let_go_whom_we_may(self) -> None:
        """Let requests go in order of arrival until a ceiling says stop, then set the timer for the next
        look."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            family, wait_s = self._next_family(now)
            if family is None:
                if wait_s is not None:
                    self._timer = loop.call_later(wait_s, self._let_go_whom_we_may)
                if self._stopwatch is not None:
                    self._tell(self._stopwatch, now)
                return
            self._waiting[family].popleft().let_go.set_result(None)
            self._go(family, now)

    def _next_family(self, now: float) -> tuple[Family | None, float | None]:
        """The family whose first waiter may go now, earliest comer first; else how long until one may (None:
        nobody waits for time)."""
        common_wait_s = max(self._pacer.common_wait_s(now), self._opens_at - now)
        chosen: Family | None = None
        first = self._came + 1
        soonest_s: float | None = None
        free_slots = self._free_query_slots(now) > 0
        for family, queue in self._waiting.items():
            while queue and queue[0].let_go.done():
                queue.popleft()  # cancelled while it waited
            if not queue or (family in _QUERY_FAMILIES and not free_slots):
                continue
            wait_s = self._pacer.family_wait_s(family.value, now)
            if family is not Family.FILE:
                wait_s = max(wait_s, common_wait_s)
            if wait_s <= 0 and queue[0].number < first:
                chosen, first = family, queue[0].number
            soonest_s = wait_s if soonest_s is None else min(soonest_s, wait_s)
        return chosen, soonest_s

    def _tell(self, stopwatch: Stopwatch, now: float) -> None:
        """What holds those back who wait now, and how many questions are out."""
        waiting = {family for family, queue in self._waiting.items() if queue}
        slow = {family for family in waiting if self._pacer.family_wait_s(family.value, now) > 0}
        no_slot = waiting & _QUERY_FAMILIES if self._free_query_slots(now) <= 0 else set()
        others = waiting - slow - no_slot - {Family.FILE}
        stopwatch.held(Brake.REFUSALS, on=bool(slow))
        stopwatch.held(Brake.QUERIES, on=bool(no_slot))
        stopwatch.held(Brake.CEILING, on=bool(others))
        stopwatch.counting(self._querying)

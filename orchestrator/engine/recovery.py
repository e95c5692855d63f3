"""Resolve: walk the list until it is known whether a doubtful create made a remote task.

All doubts about one service and project share the walks. While a walk is under way our own deletes wait,
because they would shift its pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from orchestrator.core import events as ev
from orchestrator.core.model import Fault, RemoteTask, RemoteTaskStatus
from orchestrator.core.retry import backoff_s
from orchestrator.core.walk import (
    REACH_BACK_S,
    SETTLING_S,
    Doubt,
    PageCursor,
    absence_provable_at,
    advance,
    found,
    missed,
    reaches_back_to,
)
from orchestrator.engine.faults import fault_of
from orchestrator.errors import CredentialsError, Refused, ServiceError
from orchestrator.ports.control import Observer
from orchestrator.ports.service import TaskApi
from orchestrator.ports.time import Clock

__all__ = ["Resolver"]

PAGE_SIZE = 100
SMALL_PAGE_SIZE = 10
"""The service's own default (bls-api.md 2.3): never above any ceiling."""
SIZES = 4
"""So many page sizes take turns: an item that a service loses at the border of a page stands inside of one in
the next walk, and in the one after that (bls-api.md 10.4)."""
MAX_PAGES = 20_000
STABLE_TRIES = 6
"""Walks until two in a row agree; beyond that the list is too restless for now."""
PATIENCE_S = 900.0
"""How long one doubt is looked for in one run before it is left to the next."""
CLOCK_GRAIN_S = 2.0
"""``createdTime`` is to the second and the offset to the server's clock is an estimate."""
LONGEST_LAG_S = 60.0
"""More than this between a create and its showing in the list is not a lag to wait three times for."""
LONGEST_WAIT_S = 180.0
"""A wall clock that jumped must not make a run wait for hours."""


@dataclass(slots=True)
class _Pending:
    doubt: Doubt
    answer: asyncio.Future[ev.Event]
    provable_at: float
    """``loop.time()`` from which a walk may prove absence."""
    until: float
    unlisted_at: float | None = None
    """When a walk last began that did not show it."""


class Resolver:
    """Answers doubts about the creates of one service and project. One instance per run; ``close`` ends
    it."""

    def __init__(self, tasks: TaskApi, project: str, *, clock: Clock, observer: Observer) -> None:
        self._tasks = tasks
        self._project = project
        self._clock = clock
        self._observer = observer
        self._pending: dict[int, _Pending] = {}
        self._wake = asyncio.Event()
        self._walker: asyncio.Task[None] | None = None
        self._quiet = asyncio.Lock()
        self._page_size = PAGE_SIZE
        self._walks = 0
        self._longest_lag_s = 0.0

    async def resolve(self, doubt: Doubt) -> ev.Event:
        """Adopted, ProvedAbsent, LeftInDoubt or WatchRefused; ends within bounded time."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait_s = absence_provable_at(doubt.task, self._longest_lag_s) - self._clock.now()
        # A doubt of an earlier process is given the settling time here too: its wall clock need not have been
        # ours.
        provable_at = now + min(LONGEST_WAIT_S, max(SETTLING_S, wait_s))
        pending = _Pending(doubt, loop.create_future(), provable_at, now + PATIENCE_S)
        self._pending[doubt.task.number] = pending
        self._wake.set()
        if self._walker is None or self._walker.done():
            self._walker = asyncio.create_task(self._answer_all(), name="resolver")
        try:
            return await pending.answer
        finally:
            self._pending.pop(doubt.task.number, None)

    async def strays(self, doubted: Sequence[Doubt], known: Collection[str]) -> tuple[RemoteTask, ...] | None:
        """Remote tasks of ours that came to light after their doubt was answered: a create executed late, or
        listed late. ``known`` are the uuids the manifest has already. None when the list cannot be walked to
        its end."""
        oldest_at = min(doubt.task.intent_at for doubt in doubted)
        stores = {doubt.identity.logstore for doubt in doubted}
        logstore = next(iter(stores)) if len(stores) == 1 else ""
        try:
            async with self._quiet:
                walked = await self._walk(logstore, oldest_at + self._tasks.server_offset_s - REACH_BACK_S)
        except (ServiceError, CredentialsError) as error:
            self._observer.noted("strays.walk_failed", error=str(error)[:200])
            return None
        # What the manifest holds under the number may be a twin that is deleted already: nothing that became
        # of it is true of this one.
        by_number = {doubt.task.number: replace(doubt.task, deleted=False) for doubt in doubted}
        return tuple(
            replace(by_number[number], uuid=status.uuid, state=status.state, created_at=status.created_at)
            for number, statuses in found(doubted, walked).items()
            for status in statuses
            if status.uuid not in known
        )

    async def named(self, prefix: str, since_at: float) -> dict[str, RemoteTaskStatus]:
        """Every remote task in the list whose name begins with ``prefix``, made since ``since_at`` (our
        clock): what two walks show together. Raises ServiceError, CredentialsError."""
        seen: dict[str, RemoteTaskStatus] = {}
        async with self._quiet:
            for _ in range(2):
                seen |= await self._walk("", since_at + self._tasks.server_offset_s - REACH_BACK_S)
        return {uuid: status for uuid, status in seen.items() if status.name.startswith(prefix)}

    async def delete(self, uuid: str) -> None:
        """Delete one remote task of ours, never while a walk is counting pages."""
        async with self._quiet:
            await self._tasks.delete(uuid)

    async def close(self) -> None:
        if self._walker is not None:
            self._walker.cancel()
            await asyncio.gather(self._walker, return_exceptions=True)

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while self._pending:
                self._wake.clear()
                asked = dict(self._pending)
                begun = loop.time()
                try:
                    walked = await self._settled_walk(asked)
                    failures = 0
                except (Refused, CredentialsError) as error:
                    self._refuse(asked, fault_of(error))
                    continue
                except ServiceError as error:
                    failures += 1
                    self._observer.noted("resolve.walk_failed", error=str(error)[:200], round=failures)
                    self._give_up_late(asked, fault_of(error))
                    await asyncio.sleep(
                        backoff_s(f"walk:{self._project}", failures, at_least_s=error.retry_after_s)
                    )
                    continue
                self._conclude(asked, walked, begun)
                await self._rest()
        except BaseException as error:
            for pending in self._pending.values():
                if not pending.answer.done():
                    if isinstance(error, asyncio.CancelledError):
                        pending.answer.cancel()
                    else:
                        pending.answer.set_exception(error)
            raise

    def _conclude(
        self, asked: dict[int, _Pending], walked: dict[str, RemoteTaskStatus] | None, begun: float
    ) -> None:
        if walked is None:
            self._give_up_late(asked, Fault("list_restless", "no two walks of the list agreed", "look"))
            return
        mine = found([pending.doubt for pending in asked.values()], walked)
        for number, pending in asked.items():
            doubt = pending.doubt
            statuses = mine.get(number)
            if statuses:
                if pending.unlisted_at is not None:
                    lag_s = pending.unlisted_at - (statuses[0].created_at or doubt.task.intent_at)
                    self._longest_lag_s = max(self._longest_lag_s, min(lag_s, LONGEST_LAG_S))
                self._settle(pending, ev.Adopted(doubt.slice_id, number, statuses[0], statuses[1:]))
            elif begun >= pending.provable_at:
                self._settle(pending, ev.ProvedAbsent(doubt.slice_id, number))
            else:
                pending.unlisted_at = self._clock.now()

    def _refuse(self, asked: dict[int, _Pending], fault: Fault) -> None:
        self._answer(asked, lambda doubt: ev.WatchRefused(doubt.slice_id, doubt.task.number, fault))

    def _give_up_late(self, asked: dict[int, _Pending], fault: Fault) -> None:
        now = asyncio.get_running_loop().time()
        late = {number: pending for number, pending in asked.items() if now >= pending.until}
        self._answer(late, lambda doubt: ev.LeftInDoubt(doubt.slice_id, doubt.task.number, fault))

    def _answer(self, asked: dict[int, _Pending], event_for: Callable[[Doubt], ev.Event]) -> None:
        for pending in asked.values():
            self._settle(pending, event_for(pending.doubt))

    def _settle(self, pending: _Pending, event: ev.Event) -> None:
        if not pending.answer.done():
            pending.answer.set_result(event)
        self._pending.pop(pending.doubt.task.number, None)

    async def _rest(self) -> None:
        """Until the next absence can be proved, or a new doubt comes."""
        if not self._pending:
            return
        due = min(pending.provable_at for pending in self._pending.values())
        pause_s = max(1.0, due - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _settled_walk(self, asked: dict[int, _Pending]) -> dict[str, RemoteTaskStatus] | None:
        """Walks until one shows nothing older than its forerunner that the forerunner had missed; None when
        the list never rests. What others create meanwhile is younger and does not disturb."""
        oldest_at = min(pending.doubt.task.intent_at for pending in asked.values())
        horizon_at = oldest_at + self._tasks.server_offset_s - REACH_BACK_S
        stores = {pending.doubt.identity.logstore for pending in asked.values()}
        logstore = next(iter(stores)) if len(stores) == 1 else ""
        async with self._quiet:
            known: dict[str, RemoteTaskStatus] = {}
            begun_at: float | None = None
            for _ in range(STABLE_TRIES):
                now_at = self._clock.now() + self._tasks.server_offset_s
                walked = await self._walk(logstore, horizon_at)
                if begun_at is not None and not missed(known, walked, begun_at - CLOCK_GRAIN_S):
                    return known | walked
                known |= walked
                begun_at = now_at
        return None

    async def _walk(self, logstore: str, horizon_at: float) -> dict[str, RemoteTaskStatus]:
        seen: dict[str, RemoteTaskStatus] = {}
        cursor = PageCursor()
        self._walks += 1
        page_size = self._page_size - self._walks % SIZES
        first_page = 0
        while not cursor.finished and cursor.page_no <= MAX_PAGES:
            try:
                page = await self._tasks.list_page(
                    project=self._project,
                    logstore=logstore,
                    page_no=cursor.page_no,
                    page_size=page_size,
                )
            except Refused as error:
                if error.status != 400 or self._page_size == SMALL_PAGE_SIZE:
                    raise
                self._page_size = SMALL_PAGE_SIZE
                page_size = SMALL_PAGE_SIZE - self._walks % SIZES
                cursor = PageCursor()
                continue
            if cursor.page_no == 1:
                first_page = len(page.tasks)
            elif page.tasks and first_page < page_size:
                # Lowered in silence: the next walks stay below, or their borders would all be the same.
                self._page_size = min(self._page_size, max(SMALL_PAGE_SIZE, first_page))
            before = len(seen)
            for status in page.tasks:
                if status.uuid:
                    seen.setdefault(status.uuid, status)
            stop = reaches_back_to(page, horizon_at)
            cursor = advance(cursor, page, fresh=len(seen) - before, stop=stop)
        return seen

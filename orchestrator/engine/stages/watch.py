"""Watch: a roster of outstanding remote tasks, polled together; speaks only when something changed.

Few are described one by one, many are read from the list by ``updatedTime``, whichever costs fewer requests.
How often is learned from how long remote tasks ran so far. Absence from a list proves nothing; a describe
that answers 404 twice, ten seconds apart, does; of one that was never shown, for a minute.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core import events as ev
from orchestrator.core.model import RemoteState, RemoteTask, RemoteTaskStatus, Slice
from orchestrator.core.retry import backoff_s
from orchestrator.engine.faults import fault_of
from orchestrator.errors import CredentialsError, Refused, RemoteTaskNotFound, ServiceError
from orchestrator.ports.control import Observer
from orchestrator.ports.service import TaskApi
from orchestrator.ports.time import Clock

__all__ = ["Watcher"]

FIRST_LOOK_S = 0.5
SLOWEST_LOOK_S = 15.0
UNKNOWN_STATE_LOOK_S = 30.0
SECOND_404_AFTER_S = 10.0
NEVER_SEEN_404_AFTER_S = 60.0
"""A remote task that was created and never shown yet may only be late: taken for gone too early, it would
run beside the one that replaces it."""
LIST_FROM = 8
"""From so many outstanding on a list page is cheaper than describing each."""
PAGE_SIZE = 100
EXTRA_PAGES = 2
SMALLEST_PAGE = 10
"""The service's own default (bls-api.md 2.3)."""
UNLISTED_ROUNDS = 3
"""Rounds a remote task may be missing from the list before it is described."""
_KNOWN = frozenset(RemoteState)
_ENDED = frozenset({RemoteState.SUCCESS, RemoteState.FAILED, RemoteState.EXPIRED})


@dataclass(slots=True)
class _Entry:
    slice_id: str
    job: str
    number: int
    uuid: str
    logstore: str
    intent_at: float
    since: float
    """``loop.time()`` at which the remote task began to be outstanding, as far as known."""
    give_up_after_s: float
    give_up_at: float
    next_look: float
    interval_s: float = FIRST_LOOK_S
    last_state: str = ""
    unlisted: int = 0
    missing_since: float | None = None
    failures: int = 0
    dated: bool = False


class Watcher:
    """Watches the remote tasks of one service and project; ``run`` polls until cancelled."""

    def __init__(self, tasks: TaskApi, project: str, *, clock: Clock, observer: Observer) -> None:
        self._tasks = tasks
        self._project = project
        self._clock = clock
        self._observer = observer
        self._emit: Callable[[ev.Event], None] = _nowhere
        self._roster: dict[int, _Entry] = {}
        self._changed = asyncio.Event()
        self._run_times_s: deque[float] = deque(maxlen=50)
        self._said: set[str] = set()
        self._list_works = True

    def watch(self, slice_: Slice, task: RemoteTask, *, logstore: str, give_up_after_s: float) -> None:
        """Put one remote task on the roster."""
        now = asyncio.get_running_loop().time()
        fresh = abs(self._clock.now() - task.intent_at) < 1.0
        self._roster[task.number] = _Entry(
            slice_id=slice_.id,
            job=slice_.job,
            number=task.number,
            uuid=task.uuid,
            logstore=logstore,
            intent_at=task.intent_at,
            since=now,
            give_up_after_s=give_up_after_s,
            give_up_at=now + give_up_after_s,
            next_look=now + (self._first_look_s() if fresh else 0.0),
            last_state=task.state,
        )
        self._changed.set()

    def unwatch(self, number: int) -> None:
        self._roster.pop(number, None)
        self._changed.set()

    async def run(self, emit: Callable[[ev.Event], None]) -> None:
        """Poll for ever, each remote task until it ends or ``give_up_after`` has passed; events go to
        ``emit``. Cancel to end."""
        self._emit = emit
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            due = [entry for entry in self._roster.values() if entry.next_look <= loop.time()]
            if due:
                await self._look(due)
                continue
            await self._sleep_until(min((entry.next_look for entry in self._roster.values()), default=None))

    async def _sleep_until(self, at: float | None) -> None:
        pause_s = None if at is None else max(0.0, at - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(pause_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _look(self, due: list[_Entry]) -> None:
        if len(self._roster) >= LIST_FROM and self._list_works:
            await self._look_at_list()
            due = [e for e in due if e.unlisted >= UNLISTED_ROUNDS or e.missing_since is not None]
        for entry in due:
            if self._roster.get(entry.number) is entry:
                await self._describe(entry)

    async def _look_at_list(self) -> None:
        """Read pages by ``updatedTime`` until all outstanding ones were met, at most a few more than they
        could fill."""
        wanted = {entry.uuid: entry for entry in self._roster.values()}
        stores = {entry.logstore for entry in self._roster.values()}
        logstore = next(iter(stores)) if len(stores) == 1 else ""
        outstanding, size, pages = len(wanted), PAGE_SIZE, 0
        try:
            while wanted and pages < -(-outstanding // size) + EXTRA_PAGES:
                pages += 1
                page = await self._tasks.list_page(
                    project=self._project,
                    logstore=logstore,
                    page_no=pages,
                    page_size=PAGE_SIZE,
                    order_by="updatedTime",
                )
                if not page.tasks:
                    break
                size = max(SMALLEST_PAGE, min(size, len(page.tasks)))
                for status in page.tasks:
                    entry = wanted.pop(status.uuid, None)
                    if entry is not None:
                        entry.unlisted = 0
                        self._seen(entry, status)
        except (Refused, CredentialsError) as error:
            self._observer.noted("watch.list_refused", error=str(error)[:200])
            self._list_works = False
            return
        except ServiceError as error:
            self._postpone(list(wanted.values()), error)
            return
        now = asyncio.get_running_loop().time()
        for entry in wanted.values():
            entry.unlisted += 1
            entry.next_look = now + self._next_interval(entry)

    def _postpone(self, entries: list[_Entry], error: ServiceError) -> None:
        now = asyncio.get_running_loop().time()
        for entry in entries:
            entry.failures += 1
            pause_s = backoff_s(f"watch:{entry.number}", entry.failures, at_least_s=error.retry_after_s)
            entry.next_look = now + pause_s
            self._give_up_if_late(entry)
        if entries:
            self._observer.noted("watch.failed", error=str(error)[:200], round=entries[0].failures)

    async def _describe(self, entry: _Entry) -> None:
        loop = asyncio.get_running_loop()
        try:
            status = await self._tasks.describe(entry.uuid)
        except RemoteTaskNotFound:
            patience_s = SECOND_404_AFTER_S if entry.last_state else NEVER_SEEN_404_AFTER_S
            if entry.missing_since is not None and loop.time() - entry.missing_since >= patience_s:
                self._end(entry, ev.Vanished(entry.slice_id, entry.number))
                return
            if entry.missing_since is None:
                entry.missing_since = loop.time()
            entry.next_look = max(entry.missing_since, loop.time()) + SECOND_404_AFTER_S
        except (Refused, CredentialsError) as error:
            self._end(entry, ev.WatchRefused(entry.slice_id, entry.number, fault_of(error)))
        except ServiceError as error:
            self._postpone([entry], error)
        else:
            entry.missing_since = None
            entry.unlisted = 0
            self._seen(entry, status)

    def _seen(self, entry: _Entry, status: RemoteTaskStatus) -> None:
        now = asyncio.get_running_loop().time()
        entry.failures = 0
        self._date(entry, status)
        if status.state in _ENDED:
            self._run_times_s.append(now - entry.since)
            self._end(entry, ev.Observed(entry.slice_id, entry.number, status))
            return
        if status.state not in _KNOWN and status.state not in self._said:
            self._said.add(status.state)
            self._observer.noted("watch.unknown_state", state=status.state[:100], uuid=entry.uuid)
        if status.state != entry.last_state:
            entry.last_state = status.state
            self._emit(ev.Observed(entry.slice_id, entry.number, status))
        entry.next_look = now + self._next_interval(entry)
        self._give_up_if_late(entry)

    def _date(self, entry: _Entry, status: RemoteTaskStatus) -> None:
        """How old the remote task is, by the service's own clock: an earlier process may have dated its
        intent by a clock that was days wrong, and this one's may be."""
        if entry.dated:
            return
        entry.dated = True
        clock_at = self._clock.now()
        age_s = clock_at - entry.intent_at
        if status.created_at is not None:
            age_s = clock_at + self._tasks.server_offset_s - status.created_at
        age_s = min(max(0.0, age_s), entry.give_up_after_s)
        now = asyncio.get_running_loop().time()
        entry.since = min(entry.since, now - age_s)
        entry.give_up_at = min(entry.give_up_at, now + entry.give_up_after_s - age_s)

    def _give_up_if_late(self, entry: _Entry) -> None:
        if asyncio.get_running_loop().time() >= entry.give_up_at:
            self._end(entry, ev.StoodStill(entry.slice_id, entry.number))
        else:
            entry.next_look = min(entry.next_look, entry.give_up_at)

    def _end(self, entry: _Entry, event: ev.Event) -> None:
        self._roster.pop(entry.number, None)
        self._emit(event)

    def _typical_s(self) -> float | None:
        if not self._run_times_s:
            return None
        return sorted(self._run_times_s)[len(self._run_times_s) // 2]

    def _first_look_s(self) -> float:
        typical_s = self._typical_s()
        return FIRST_LOOK_S if typical_s is None else min(SLOWEST_LOOK_S, max(FIRST_LOOK_S, 0.9 * typical_s))

    def _next_interval(self, entry: _Entry) -> float:
        if entry.last_state and entry.last_state not in _KNOWN:
            return UNKNOWN_STATE_LOOK_S
        typical_s = self._typical_s()
        entry.interval_s = min(SLOWEST_LOOK_S, entry.interval_s * 1.5)
        if typical_s is None:
            return entry.interval_s
        return min(SLOWEST_LOOK_S, max(FIRST_LOOK_S, typical_s / 8.0, entry.interval_s / 4.0))


def _nowhere(event: ev.Event) -> None:
    raise AssertionError(f"{type(event).__name__} before the watcher runs")

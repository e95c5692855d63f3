"""Watch: a roster of outstanding remote tasks, polled together; speaks only when something changed.

A look goes when enough of them should be done (``core.looking``). Those that are due are described one by
one or read from the list by ``updatedTime``, whichever costs fewer requests. Absence from a list proves
nothing; a describe that answers 404 twice, ten seconds apart, does; of one never shown, for a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core import events as ev
from orchestrator.core.looking import Budget, RunTimes, age_expected_s, drawn, look_at
from orchestrator.core.model import RemoteState, RemoteTask, RemoteTaskStatus, Slice
from orchestrator.core.retry import backoff_s
from orchestrator.engine.faults import fault_of
from orchestrator.errors import CredentialsError, Refused, RemoteTaskNotFound, ServiceError
from orchestrator.ports.control import Observer
from orchestrator.ports.service import TaskApi
from orchestrator.ports.time import Clock

__all__ = ["Watcher"]

REST = 1.0
"""So many times as long as a look took, until the next: where requests queue up, looks are what can wait."""
LONGEST_REST_S = 10.0
UNKNOWN_STATE_LOOK_S = 30.0
SECOND_404_AFTER_S = 10.0
NEVER_SEEN_404_AFTER_S = 60.0
"""A remote task that was created and never shown yet may only be late: taken for gone too early, it would
run beside the one that replaces it."""
LIST_FROM = 3
"""From so many outstanding on a page of the list, which shows all, is worth as much as one description."""
LIST_REST_S = 300.0
"""A list that does not answer has cost minutes of tries: it is left alone so long, and then twice as long."""
ALONE = 0.3
"""Fewer are looked at one by one, each when this share of earlier ones had ended."""
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
    began: float
    """``loop.time()`` at which watching began."""
    fresh: bool
    """Whether the remote task was made just then: its age is known by a clock that nobody sets."""
    give_up_after_s: float
    give_up_at: float
    look_at: float
    """``loop.time()`` at which it should be done."""
    lines: int | None = None
    """How many lines it should write, as far as planned."""
    unfinished_s: float | None = None
    """Its age when it was last seen unfinished."""
    last_state: str = ""
    described: bool = False
    """Whether a description has ever found it; a list may show what descriptions do not show yet."""
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
        self._run_times = RunTimes()
        self._budget = Budget()
        self._not_before = float("-inf")
        self._pages_needed = 1.0
        """Pages it took lately until all outstanding ones were met; others use the account's list too."""
        self._said: set[str] = set()
        self._list_from_at = float("-inf")
        """``loop.time()`` from which on the list is asked; never again once it was refused."""
        self._list_rest_s = LIST_REST_S

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
            began=now,
            fresh=fresh,
            dated=fresh,
            give_up_after_s=give_up_after_s,
            give_up_at=now + give_up_after_s,
            look_at=now + (age_expected_s(0.0, self._draw(task.number), self._run_times) if fresh else 0.0),
            lines=slice_.expected_lines,
            last_state=task.state,
            described=not fresh and task.state != "",
        )
        self._changed.set()

    def unwatch(self, number: int) -> None:
        self._roster.pop(number, None)
        self._changed.set()

    @property
    def run_s(self) -> float | None:
        """What a remote task takes from its create to its end, as a rule; None while none has ended."""
        return self._run_times.at(0.5) if self._run_times else None

    async def run(self, emit: Callable[[ev.Event], None]) -> None:
        """Poll for ever, each remote task until it ends or ``give_up_after`` has passed; events go to
        ``emit``. Cancel to end."""
        self._emit = emit
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            at = look_at(
                (entry.look_at for entry in self._roster.values()),
                self._budget.wanted(len(self._roster)),
                self._run_times,
            )
            if at is not None:
                at = max(at, self._not_before)
            if at is not None and at <= now:
                await self._look([entry for entry in self._roster.values() if entry.look_at <= now])
                self._not_before = loop.time() + min(LONGEST_REST_S, REST * (loop.time() - now))
                continue
            await self._sleep_until(at)

    async def _sleep_until(self, at: float | None) -> None:
        pause_s = None if at is None else max(0.0, at - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(pause_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _look(self, due: list[_Entry]) -> None:
        by_list = (
            asyncio.get_running_loop().time() >= self._list_from_at
            and len(self._roster) >= LIST_FROM
            and len(due) >= round(self._pages_needed)
        )
        if by_list and await self._look_at_list():
            due = [e for e in due if e.unlisted >= UNLISTED_ROUNDS or e.missing_since is not None]
        for entry in due:
            if self._roster.get(entry.number) is entry and not await self._describe(entry):
                return

    async def _look_at_list(self) -> bool:
        """Read pages by ``updatedTime`` until all outstanding ones were met, at most a few more than they
        could fill. False: the list does not answer, and those that are due are described."""
        wanted = {entry.uuid: entry for entry in self._roster.values()}
        stores = {entry.logstore for entry in self._roster.values()}
        logstore = next(iter(stores)) if len(stores) == 1 else ""
        outstanding, size, pages = len(wanted), PAGE_SIZE, 0
        try:
            while wanted and pages < -(-outstanding // size) + EXTRA_PAGES:
                pages += 1
                self._budget.looked()
                page = await self._tasks.list_page(
                    project=self._project,
                    logstore=logstore,
                    page_no=pages,
                    page_size=PAGE_SIZE,
                    order_by="updatedTime",
                    only=wanted,
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
            self._list_from_at = float("inf")
            return False
        except ServiceError as error:
            self._observer.noted("watch.failed", error=str(error)[:200], round=pages)
            self._list_from_at = asyncio.get_running_loop().time() + self._list_rest_s
            self._list_rest_s *= 2
            return False
        self._list_rest_s = LIST_REST_S
        self._pages_needed += 0.3 * (pages - self._pages_needed)
        for entry in wanted.values():
            entry.unlisted += 1
            self._expect(entry)
        return True

    def _postpone(self, entries: list[_Entry], error: ServiceError) -> None:
        now = asyncio.get_running_loop().time()
        for entry in entries:
            entry.failures += 1
            pause_s = backoff_s(f"watch:{entry.number}", entry.failures, at_least_s=error.retry_after_s)
            entry.look_at = now + pause_s
            self._give_up_if_late(entry)
        if entries:
            self._observer.noted("watch.failed", error=str(error)[:200], round=entries[0].failures)

    async def _describe(self, entry: _Entry) -> bool:
        """False: the service does not answer, nor will it for the others that are due; all of them are put
        off."""
        loop = asyncio.get_running_loop()
        self._budget.looked()
        try:
            status = await self._tasks.describe(entry.uuid)
        except RemoteTaskNotFound:
            known = entry.described or (
                entry.last_state and loop.time() - entry.began >= NEVER_SEEN_404_AFTER_S
            )
            patience_s = SECOND_404_AFTER_S if known else NEVER_SEEN_404_AFTER_S
            if entry.missing_since is not None and loop.time() - entry.missing_since >= patience_s:
                self._end(entry, ev.Vanished(entry.slice_id, entry.number))
                return True
            if entry.missing_since is None:
                entry.missing_since = loop.time()
            entry.look_at = max(entry.missing_since, loop.time()) + SECOND_404_AFTER_S
        except (Refused, CredentialsError) as error:
            self._end(entry, ev.WatchRefused(entry.slice_id, entry.number, fault_of(error)))
        except ServiceError as error:
            self._postpone([e for e in self._roster.values() if e.look_at <= loop.time()], error)
            return False
        else:
            entry.missing_since = None
            entry.described = True
            entry.unlisted = 0
            self._seen(entry, status)
        return True

    def _seen(self, entry: _Entry, status: RemoteTaskStatus) -> None:
        now = asyncio.get_running_loop().time()
        entry.failures = 0
        self._date(entry, status)
        if status.state in _ENDED:
            if entry.fresh:
                self._run_times.learn(entry.unfinished_s, now - entry.began)
            self._budget.ended(len(self._roster))
            self._end(entry, ev.Observed(entry.slice_id, entry.number, status))
            return
        if status.state not in _KNOWN and status.state not in self._said:
            self._said.add(status.state)
            self._observer.noted("watch.unknown_state", state=status.state[:100], uuid=entry.uuid)
        if status.state != entry.last_state:
            entry.last_state = status.state
            self._emit(ev.Observed(entry.slice_id, entry.number, status))
        entry.unfinished_s = now - entry.began
        self._expect(entry, status)
        self._give_up_if_late(entry)

    def _expect(self, entry: _Entry, status: RemoteTaskStatus | None = None) -> None:
        """Set when it should be done, from what is known of it now."""
        now = asyncio.get_running_loop().time()
        if entry.last_state and entry.last_state not in _KNOWN:
            entry.look_at = now + UNKNOWN_STATE_LOOK_S
            return
        done = 0.0
        if status is not None and status.written_rows and entry.lines:
            done = status.written_rows / entry.lines
        entry.look_at = entry.began + age_expected_s(
            now - entry.began, self._draw(entry.number), self._run_times, done
        )

    def _draw(self, number: int) -> float:
        return drawn(number) if len(self._roster) >= LIST_FROM else ALONE

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
        entry.give_up_at = min(entry.give_up_at, now + entry.give_up_after_s - age_s)

    def _give_up_if_late(self, entry: _Entry) -> None:
        if asyncio.get_running_loop().time() >= entry.give_up_at:
            self._end(entry, ev.StoodStill(entry.slice_id, entry.number))
        else:
            entry.look_at = min(entry.look_at, entry.give_up_at)

    def _end(self, entry: _Entry, event: ev.Event) -> None:
        self._roster.pop(entry.number, None)
        self._emit(event)


def _nowhere(event: ev.Event) -> None:
    raise AssertionError(f"{type(event).__name__} before the watcher runs")

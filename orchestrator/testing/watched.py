"""What did one exporter ask of the service, and what befell it? The ports with somebody looking on.

The truth beside every answer is the emulated world's own, so that a fault counts as met only when it really
happened: a state shown that is not the state, a page without an item that exists, a file in another form.
Two faults of the neighbourhood are made here too: pages that leave an item out, and foreign tasks that come
and go between two pages.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Accepted, CreateRequest, RemoteTaskStatus, TaskPage
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.remote_task import Task, true_state
from orchestrator.emulator.world import World
from orchestrator.errors import (
    CreateUncertain,
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceFault,
    Throttled,
    Unreachable,
)
from orchestrator.ports.control import Family, Gate
from orchestrator.ports.service import CountUnavailable, Histogram, LogStore
from orchestrator.ports.time import Clock
from orchestrator.testing.loop import SeededRng
from orchestrator.testing.strangers import Strangers

__all__ = ["Seen", "Tollgate", "WatchedService"]

T = TypeVar("T")


class Seen:
    """The evidence about one exporter over all its lives. ``owner`` is how the names of its tasks begin,
    without the last dash."""

    def __init__(self) -> None:
        self.owner = ""
        self.met: Counter[str] = Counter()
        self.trespasses: Counter[str] = Counter()
        """Tasks of others that were deleted or fetched."""
        self.executed_at: dict[str, float] = {}
        """When the service made the search of a task, by uuid (server time)."""
        self.max_outstanding = 0
        self.max_requests_in_1s = 0


class Tollgate:
    """The Gate with a second look: who passed, and how many within a second."""

    def __init__(self, gate: Gate, seen: Seen) -> None:
        self._gate = gate
        self._seen = seen
        self._passed: deque[float] = deque()
        self.sent: set[asyncio.Task[Any] | None] = set()
        """Tasks of the loop that have been let through, and so have sent something."""

    @asynccontextmanager
    async def _through(self, family: Family) -> AsyncIterator[None]:
        async with self._gate.request(family):
            self.sent.add(asyncio.current_task())
            if family is not Family.FILE:
                now_s = asyncio.get_running_loop().time()
                self._passed.append(now_s)
                while self._passed[0] <= now_s - 1.0:
                    self._passed.popleft()
                self._seen.max_requests_in_1s = max(self._seen.max_requests_in_1s, len(self._passed))
            yield

    def request(self, family: Family) -> AbstractAsyncContextManager[None]:
        return self._through(family)

    def throttled(self, family: Family, retry_after_s: float | None) -> None:
        self._seen.met["429" if retry_after_s is None else "429 with Retry-After"] += 1
        self._gate.throttled(family, retry_after_s)

    def accepted(self, family: Family) -> None:
        self._gate.accepted(family)


class WatchedService:
    """TaskApi, CountApi and MetaApi before a real or in-process client.

    ``now`` is true time, ``clock`` the process's own, ``omits`` the probability that a page leaves an item
    out (each at most once), ``lands`` whether a create reaches the service although its process dies.
    """

    def __init__(
        self,
        client: Any,
        world: World,
        seen: Seen,
        *,
        now: Callable[[], float],
        clock: Clock,
        toll: Tollgate,
        rng: SeededRng,
        strangers: Strangers,
        omits: float = 0.0,
        omitted: set[str],
        lands: bool = False,
        in_process: bool = True,
    ) -> None:
        self._client = client
        self._world = world
        self._seen = seen
        self._now = now
        self._clock = clock
        self._toll = toll
        self._rng = rng
        self._strangers = strangers
        self._omits = omits
        self._omitted = omitted
        self._lands = lands
        self._in_process = in_process
        self._offset_s = 0.0
        self._last_page: frozenset[str] = frozenset()

    @property
    def server_offset_s(self) -> float:
        """As a session learns it from ``Date``: by its clock as it stood at the last answer."""
        return self._offset_s if self._in_process else float(self._client.server_offset_s)

    # --- download tasks ---

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        met = self._seen.met
        try:
            accepted: Accepted = await self._told(
                self._client.create(request, send_within_s=send_within_s), "create"
            )
        except CreateUncertain as lost:
            made = any(task.request.name == request.name for task in self._tasks())
            met[f"create in doubt, {'made' if made else 'not made'}"] += 1
            if lost.status in (400, 403):
                met["create refused in unknown words"] += 1
            if lost.status == 200:
                met["malformed answer"] += 1
            raise
        except asyncio.CancelledError:
            self._left_on_the_wire(request)
            raise
        finally:
            self._count_outstanding()
        return accepted

    async def describe(self, uuid: str) -> RemoteTaskStatus:
        found: RemoteTaskStatus = await self._told(self._client.describe(uuid), "describe")
        self._compare(found)
        return found

    async def list_page(
        self,
        *,
        project: str,
        logstore: str,
        page_no: int,
        page_size: int,
        order_by: str = "createdTime",
        descending: bool = True,
        only: Container[str] | None = None,
    ) -> TaskPage:
        await self._strangers.come_and_go(self._server_now_s)

        def asked() -> Awaitable[TaskPage]:
            return self._told(
                self._client.list_page(
                    project=project,
                    logstore=logstore,
                    page_no=page_no,
                    page_size=page_size,
                    order_by=order_by,
                    descending=descending,
                    only=only,
                ),
                "list",
            )

        page = await self._repeated(asked)
        met = self._seen.met
        shown = frozenset(status.uuid for status in page.tasks)
        met["page size lowered"] += page.page_size is not None and page.page_size < page_size
        met["second page"] += page_no > 1 and bool(shown)
        met["item on two pages"] += page_no > 1 and bool(shown & self._last_page)
        self._last_page = shown
        lag_s = self._world.behaviour.list_lag_s
        now_s = self._server_now_s
        met["not listed yet"] += any(now_s < task.created_at_s + lag_s for task in self._tasks())
        for status in page.tasks:
            self._compare(status)
        return self._thinned(page)

    async def link(self, uuid: str) -> PresignedLink:
        link: PresignedLink = await self._told(self._client.link(uuid), "link")
        task = self._task(uuid)
        if task is not None:
            self._mine(task, "link")
            if task.started_at_s is not None:
                self._seen.executed_at[uuid] = task.started_at_s
                self._seen.met["waited for a place"] += task.started_at_s - task.created_at_s > 1.0
        return link

    async def delete(self, uuid: str) -> None:
        task = self._task(uuid)
        if task is not None:
            self._mine(task, "delete")
            running = true_state(task, self._server_now_s) in ("WAITING", "RUNNING")
            self._seen.met["running task deleted"] += running
        self._seen.met["deleted again"] += self._world.witness.deletes_asked[uuid] > 0
        await self._told(self._client.delete(uuid), "delete")

    # --- counts ---

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        found: int | CountUnavailable = await self._told(
            self._client.count(identity, logstream, window, match_all=match_all), "count"
        )
        if isinstance(found, CountUnavailable):
            self._seen.met["count refused"] += 1
        elif self._world.behaviour.count_error and found > 4:
            self._seen.met["count wrong"] += 1
        return found

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        found: Histogram | CountUnavailable = await self._told(
            self._client.buckets(identity, logstream, window, width_s), "buckets"
        )
        self._seen.met["buckets refused"] += isinstance(found, CountUnavailable)
        return found

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        found: Histogram | CountUnavailable = await self._told(
            self._client.histogram(identity, logstream, window), "histogram"
        )
        self._seen.met["histogram refused"] += isinstance(found, CountUnavailable)
        return found

    # --- metadata ---

    async def describe_logstore(self, project: str, logstore: str) -> LogStore:
        found: LogStore = await self._told(self._client.describe_logstore(project, logstore), "meta")
        return found

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        found: tuple[LogStore, ...] = await self._told(self._client.list_logstores(project), "meta")
        return found

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        found: tuple[str, ...] = await self._told(self._client.list_logstreams(project, logstore), "meta")
        return found

    async def has_index(self, project: str, logstore: str) -> bool | None:
        found: bool | None = await self._told(self._client.has_index(project, logstore), "meta")
        return found

    # --- looking on ---

    @property
    def _server_now_s(self) -> float:
        return self._now() + self._world.behaviour.clock_offset_s

    def _tasks(self) -> tuple[Task, ...]:
        return self._world.tasks.tasks()

    def _task(self, uuid: str) -> Task | None:
        return next((task for task in self._tasks() if task.uuid == uuid), None)

    async def _repeated(self, asked: Callable[[], Awaitable[T]]) -> T:
        """In a crowd a walk has so many pages that it never succeeds unless a page is asked for again, as the
        real client does."""
        for pause_s in (0.3, 0.6, 1.2) if self._in_process and self._strangers.uuids else ():
            with suppress(ServiceFault, Unreachable, MalformedAnswer, Throttled):
                return await asked()
            await asyncio.sleep(pause_s)
        return await asked()

    async def _told(self, call: Any, kind: str) -> Any:
        """The answer of a call; what came instead of one is counted."""
        met = self._seen.met
        try:
            return await call
        except Throttled as error:
            met["throttled"] += error.status == 429
            met["413"] += error.status == 413
            raise
        except MalformedAnswer:
            met["malformed answer"] += 1
            raise
        except ServiceFault as error:
            met[f"answer {error.status}"] += 1
            raise
        except Unreachable:
            met["connection broken"] += 1
            raise
        except (RemoteTaskNotFound, Refused):
            met[f"{kind} refused"] += 1
            raise
        finally:
            self._offset_s = self._server_now_s - self._clock.now()

    def _compare(self, status: RemoteTaskStatus) -> None:
        """Counts what the service says of one of our tasks that is not so, or not nice."""
        task = self._task(status.uuid)
        if task is None or not self._is_mine(task):
            return
        met = self._seen.met
        true = true_state(task, self._server_now_s)
        if status.state != true and status.state not in ("SUCCESS", "FAILED", "EXPIRED"):
            met[f"{true} shown as {status.state}"] += 1
        nothing = task.rows is not None and task.rows.count == 0
        if status.state == "FAILED":
            met["FAILED for nothing" if nothing else "FAILED"] += 1
        elif status.state in ("EXPIRED", "SUCCESS"):
            met[status.state] += 1
        rows = task.rows.count if task.rows is not None else 0
        met["writtenRows wrong"] += status.state == "SUCCESS" and status.written_rows != rows
        met["log stream not said"] += status.logstream is None

    def _thinned(self, page: TaskPage) -> TaskPage:
        if not self._omits:
            return page
        left_out = {
            status.uuid
            for status in page.tasks
            if status.name.startswith(self._seen.owner)
            and status.uuid not in self._omitted
            and self._rng.random() < self._omits
        }
        self._omitted |= left_out
        self._seen.met["item left out of a page"] += len(left_out)
        return replace(page, tasks=tuple(status for status in page.tasks if status.uuid not in left_out))

    def _left_on_the_wire(self, request: CreateRequest) -> None:
        """Whoever sent it is gone; the request is on its way all the same."""
        if not self._lands or asyncio.current_task() not in self._toll.sent:
            return
        self._seen.met["create outlived its process"] += 1
        if not any(task.request.name == request.name for task in self._tasks()):
            with suppress(Refusal):
                self._world.create_task(request.body(), self._server_now_s)

    def _is_mine(self, task: Task) -> bool:
        return task.request.name.rpartition("-")[0] == self._seen.owner

    def _mine(self, task: Task, what: str) -> None:
        if not self._is_mine(task):
            self._seen.trespasses[f"{what} of {task.request.name}"] += 1

    def _count_outstanding(self) -> None:
        now_s = self._server_now_s
        self._world.tasks.advance(now_s)
        out = sum(
            true_state(task, now_s) in ("WAITING", "RUNNING") for task in self._tasks() if self._is_mine(task)
        )
        self._seen.max_outstanding = max(self._seen.max_outstanding, out)

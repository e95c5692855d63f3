"""The same world through the ports, without sockets: for simulations under a virtual clock.

Every fault and refusal arrives as one of our own errors, judged as the client over HTTP judges them: a create
that is not clearly refused is CreateUncertain. Nothing is repeated here. Latency is ``asyncio.sleep``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn, TypeVar

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Accepted, CreateRequest, RemoteTaskStatus, TaskPage
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window, iso_utc
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.analysis import parse_statement
from orchestrator.emulator.inprocess_files import InProcessFiles, link_to, through
from orchestrator.emulator.mishap import Family as Paced
from orchestrator.emulator.mishap import Kind, Mishap, draw_latency, draw_mishap
from orchestrator.emulator.reading import Ask, histogram, run_analysis
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.remote_task import TaskView
from orchestrator.emulator.world import World
from orchestrator.errors import (
    CreateUncertain,
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    ServiceFault,
    Throttled,
    Unreachable,
)
from orchestrator.ports.control import Family, Gate
from orchestrator.ports.service import Bucket, CountUnavailable, Histogram, LogStore

__all__ = ["InProcessFiles", "InProcessService"]

_T = TypeVar("_T")
_KNOWN_CODES: Final = frozenset(
    {
        "InvalidParameter",
        "MalformedJSON",
        "Unauthorized",
        "AccessDenied",
        "RequestOverload",
        "RequestLimited",
        "LogStoreNotFound",
        "ProjectNotFound",
        "DownloadTaskNotFound",
        "LogStoreStopped",
    }
)
"""Codes of bls-api.md 5 that the emulator uses: with one of these a 400 or 403 proves that nothing was
made."""


class InProcessService:
    """TaskApi, CountApi and MetaApi directly on a world. ``now`` is the wall clock of the simulation;
    ``gate``, where there is one, is asked before every call, as the session over HTTP does."""

    def __init__(self, world: World, *, now: Callable[[], float], gate: Gate | None = None) -> None:
        self.world = world
        self._now = now
        self._gate = gate
        self._queries = 0
        self._answered = False

    @property
    def server_offset_s(self) -> float:
        return self.world.behaviour.clock_offset_s if self._answered else 0.0

    @property
    def server_now_s(self) -> float:
        """The server's own clock."""
        return self._now() + self.world.behaviour.clock_offset_s

    async def close(self) -> None:
        """Nothing to close."""

    # --- download tasks ---

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        body = request.body()
        try:
            uuid = await self._call(
                Family.CREATE,
                "create",
                lambda now_s: self.world.create_task(body, now_s),
                unheard=lambda now_s: self.world.create_task_unheard(body, now_s),
                send_within_s=send_within_s,
            )
        except Refusal as refusal:
            _create_refused(refusal)
        except (Unreachable, MalformedAnswer, ServiceFault) as lost:
            answered = lost.status in (200, 500, 503)
            raise CreateUncertain(
                str(lost), answered=answered, status=lost.status, service_code=lost.service_code
            ) from None
        return Accepted(uuid, f"in-process-{self.world.witness.requests['create']}")

    async def describe(self, uuid: str) -> RemoteTaskStatus:
        view = await self._read(Family.DESCRIBE, "read", lambda now_s: self.world.tasks.describe(uuid, now_s))
        return self._status(view)

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
        wish: dict[str, object] = {
            "project": project,
            "logStoreName": logstore,
            "orderBy": order_by,
            "order": "desc" if descending else "asc",
            "pageNo": page_no,
            "pageSize": page_size,
        }
        page = await self._read(
            Family.LIST, "list", lambda now_s: self.world.tasks.list_page(self.world.present(wish), now_s)
        )
        tasks = tuple(self._status(view) for view in page.views)
        return TaskPage(tasks, page.page_size, page.total, float(int(self.server_now_s)))

    async def link(self, uuid: str) -> PresignedLink:
        grant = await self._read(Family.LINK, "link", lambda now_s: self.world.tasks.link(uuid, now_s))
        return link_to(grant)

    async def delete(self, uuid: str) -> None:
        try:
            await self._read(Family.DELETE, "delete", lambda now_s: self.world.tasks.delete(uuid, now_s))
        except RemoteTaskNotFound:
            return

    # --- counts ---

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        search = identity.query.strip() or "match *"
        query = "select count(*) as c" if match_all else f"{search} | select count(*) as c"

        def counted(now_s: float) -> int | CountUnavailable:
            ask = self._ask(identity, logstream, window, query, now_s)
            table = run_analysis(ask, parse_statement(query), self.world.behaviour)
            if table.truncated:
                return CountUnavailable("the count was cut short", too_much=True)
            return int(float(table.rows[0][0]))

        return await self._counted(Family.QUERY, counted)

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        search = identity.query.strip() or "match *"
        query = (
            f"{search} | select histogram(cast(`@timestamp` as timestamp), interval {width_s} second) as h, "
            "count(*) as c group by h order by h limit 100000"
        )

        def counted(now_s: float) -> Histogram | CountUnavailable:
            # The form of an answer is the wire's matter: here the instants are asked for as numbers.
            plain = replace(self.world.behaviour, sql_histogram_time="ms")
            ask = self._ask(identity, logstream, window, query, now_s)
            table = run_analysis(ask, parse_statement(query), plain)
            if table.truncated:
                return CountUnavailable("the buckets were cut short", too_much=True)
            found = tuple(Bucket(int(at) / 1000, int(float(lines))) for at, lines in table.rows)
            return Histogram(float(width_s), found, None)

        return await self._counted(Family.QUERY, counted)

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        query = identity.query.strip() or "match *"

        def counted(now_s: float) -> Histogram:
            found = histogram(self._ask(identity, logstream, window, query, now_s), self.world.behaviour)
            buckets = tuple(Bucket(start_ms / 1000, lines) for start_ms, lines in found.buckets)
            return Histogram(float(found.width_s), buckets, found.hits)

        return await self._counted(Family.HISTOGRAM, counted)

    # --- metadata ---

    async def describe_logstore(self, project: str, logstore: str) -> LogStore:
        store = await self._meta(lambda _: self.world.account.store(project, logstore))
        return _metadata(store)

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        stores = await self._meta(lambda _: self.world.account.stores(project))
        return tuple(_metadata(store) for store in stores)

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        store = await self._meta(lambda _: self.world.account.store(project, logstore))
        return store.source.streams

    async def has_index(self, project: str, logstore: str) -> bool | None:
        store = await self._meta(lambda _: self.world.account.store(project, logstore))
        return store.indexed

    # --- how a call is made ---

    def _ask(self, identity: JobIdentity, logstream: str, window: Window, query: str, now_s: float) -> Ask:
        wish = {
            "project": identity.project,
            "query": query,
            "startDateTime": iso_utc(window.start_s),
            "endDateTime": iso_utc(window.end_s),
        } | ({"logStreamName": logstream} if logstream else {})
        return self.world.ask(wish, identity.logstore, now_s)

    async def _counted(
        self, family: Family, effect: Callable[[float], _T | CountUnavailable]
    ) -> _T | CountUnavailable:
        """A definite "cannot count" is an answer; everything else is raised."""
        try:
            return await self._named(family, "query", effect)
        except (Refused, ServiceFault, Throttled) as failed:
            if failed.service_code == "InvalidParameter" or failed.status in (413, 500, 504):
                return CountUnavailable(str(failed), too_much=failed.status in (413, 504))
            raise

    async def _meta(self, effect: Callable[[float], _T]) -> _T:
        return await self._named(Family.META, "read", effect)

    async def _named(self, family: Family, paced: Paced, effect: Callable[[float], _T]) -> _T:
        """For calls about projects and logstores: a 404 is a refusal."""
        try:
            return await self._read(family, paced, effect)
        except RemoteTaskNotFound as gone:
            raise Refused(str(gone), status=gone.status, service_code=gone.service_code) from None

    async def _read(self, family: Family, paced: Paced, effect: Callable[[float], _T]) -> _T:
        try:
            return await self._call(family, paced, effect, unheard=effect)
        except Refusal as refusal:
            raise _error(refusal) from None

    async def _call(
        self,
        family: Family,
        paced: Paced,
        effect: Callable[[float], _T],
        *,
        unheard: Callable[[float], object],
        send_within_s: float | None = None,
    ) -> _T:
        """One request: through the gate, through the service's own pace, through what may go wrong on the
        way. ``unheard`` is the effect of a request whose answer is lost."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(send_within_s):
                    await stack.enter_async_context(through(self._gate, family))
            except TimeoutError:
                raise Throttled(f"{family}: no permission within {send_within_s} s") from None
            world, now_s = self.world, self.server_now_s
            self._queries += paced == "query"
            try:
                world.witness.request(family.value, now_s)
                world.witness.max_queries_at_once = max(world.witness.max_queries_at_once, self._queries)
                world.pace.admit(paced, world.behaviour, now_s)
                if paced == "query" and 0 < world.behaviour.queries_at_once < self._queries:
                    raise world.pace.too_many(world.behaviour)
                mishap = draw_mishap(world.behaviour, world.chance, paced)
                latency_s = draw_latency(world.behaviour, world.chance)
                await asyncio.sleep(latency_s / 2)
                if family is Family.HISTOGRAM and world.behaviour.histogram_fails == "timeout":
                    await asyncio.sleep(world.behaviour.histogram_timeout_s)
                if mishap is not None:
                    world.witness.reply_lost(family.value, carried_out=mishap.after_effect)
                    if mishap.after_effect:
                        unheard(self.server_now_s)
                    await asyncio.sleep(latency_s / 2)
                    world.witness.answered(family.value, mishap.status)
                    _spoil(mishap, family)
                found = effect(self.server_now_s)
                await asyncio.sleep(latency_s / 2)
            except Refusal as refusal:
                self._told(family, refusal)
                raise
            finally:
                self._queries -= paced == "query"
            self._told(family, None)
            return found

    def _told(self, family: Family, refusal: Refusal | None) -> None:
        """Tells the gate and the witness how a request ended."""
        self._answered = True
        self.world.witness.answered(family.value, refusal.status if refusal else 200)
        if self._gate is not None and refusal is not None and refusal.status == 429:
            self._gate.throttled(family, refusal.retry_after_s)
        elif self._gate is not None:
            self._gate.accepted(family)

    def _status(self, view: TaskView) -> RemoteTaskStatus:
        task, request = view.task, view.task.request
        return RemoteTaskStatus(
            uuid=task.uuid,
            name=request.name,
            state=view.state,
            project=request.project,
            logstore=request.logstore,
            logstream=None
            if "logStreamName" in self.world.behaviour.omitted_keys
            else request.logstream or "",
            query=request.query,
            start_s=_seconds(request.start_text),
            end_s=_seconds(request.end_text),
            format=request.format,
            limit=request.limit,
            order=request.order,
            written_rows=view.written_rows,
            failed_code=view.failed_code,
            failed_message=view.failed_message,
            file_dir=request.file_dir,
            file_name=task.file_name,
            created_at=float(int(task.created_at_s)),
            updated_at=float(int(view.updated_at_s)),
            exec_start_at=view.exec_start_at_s,
            exec_end_at=view.exec_end_at_s,
        )


def _spoil(mishap: Mishap, family: Family) -> NoReturn:
    match mishap.kind:
        case Kind.DROP:
            raise Unreachable(f"{family}: the connection broke")
        case Kind.MALFORMED:
            raise MalformedAnswer(f"{family}: an answer that is no JSON", status=200)
        case Kind.SERVER_ERROR:
            raise ServiceFault(
                f"{family}: {mishap.status}", status=mishap.status, service_code="InternalError"
            )
        case Kind.GATEWAY_PAGE:
            raise ServiceFault(f"{family}: {mishap.status}", status=mishap.status)


def _error(refusal: Refusal) -> ServiceError:
    """The error a refusal of a read means (bls-api.md 5)."""
    kind: type[ServiceError] = Refused
    if refusal.status in (413, 429):
        kind = Throttled
    elif refusal.status >= 500:
        kind = ServiceFault
    elif refusal.status == 404:
        kind = RemoteTaskNotFound
    return kind(
        str(refusal),
        status=refusal.status,
        service_code=refusal.code,
        retry_after_s=refusal.retry_after_s,
    )


def _create_refused(refusal: Refusal) -> NoReturn:
    """Throttled or Refused when the refusal proves that nothing was made, else CreateUncertain."""
    proves = refusal.status in (401, 404, 413, 429)
    if refusal.status in (400, 403):
        proves = refusal.code in _KNOWN_CODES
    if not proves:
        raise CreateUncertain(
            str(refusal), answered=True, status=refusal.status, service_code=refusal.code
        ) from None
    kind = Throttled if refusal.status in (413, 429) else Refused
    raise kind(
        str(refusal),
        status=refusal.status,
        service_code=refusal.code,
        retry_after_s=refusal.retry_after_s,
    ) from None


def _metadata(store: Logstore) -> LogStore:
    return LogStore(store.project, store.name, store.retention_days, store.indexed, store.created_at_s)


def _seconds(text: str) -> int:
    """The whole second of a time as requested."""
    return int(datetime.fromisoformat(text).timestamp())

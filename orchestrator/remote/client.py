"""The log service's calls: download tasks, counts and metadata over one signed session (bls-api.md 2 to 4).

Reads are repeated here on what may pass (seconds, in memory); a create is sent exactly once per call, and
whatever is not a clear answer to it is CreateUncertain: the engine looks before it asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Accepted, CreateRequest, RemoteState, RemoteTaskStatus, TaskPage
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window
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
from orchestrator.ports.control import Family, Observer
from orchestrator.ports.service import CountUnavailable, Histogram, LogStore
from orchestrator.remote import answers
from orchestrator.remote.found_buckets import buckets_of
from orchestrator.remote.found_rows import FoundRows, rows_of
from orchestrator.remote.queries import (
    bucket_query,
    count_query,
    histogram_call,
    query_call,
    search_of,
    segment,
)
from orchestrator.remote.refusals import brief, checked, from_the_service, proves_nothing_was_made, refusal
from orchestrator.remote.session import Call, Session
from orchestrator.remote.wire import Answer, http_date, request_id_of

__all__ = ["BlsClient", "Deadlines"]

T = TypeVar("T")

CREATE_EXPIRY_S: Final = 30
"""How long a create's signature holds (design.md 5): after that an unanswered one can no longer be
executed."""
ATTEMPTS: Final = 5
FIRST_WAIT_S: Final = 0.3
LONGEST_WAIT_S: Final = 20.0
PAGE_SIZE: Final = 100
MOST_PAGES: Final = 1000
_LONGEST_WORD: Final = 100
_LONGEST_TEXT: Final = 500

_STATES: Final = frozenset(RemoteState)
_PASSING = (Unreachable, ServiceFault, MalformedAnswer, Throttled)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a call may take, from connecting to the last byte: a trickle of bytes puts nothing off."""

    answer_s: float = 30.0
    """Also of a create, whose signature is no longer valid then."""
    query_s: float = 75.0
    """For counts: the service gives up on a query after 60 s (bls-api.md 6)."""
    silence_s: float = 60.0
    """After so long without a whole answer no further attempt of one call begins: whoever called may know
    better."""
    total_s: float = 180.0
    """After so long no further attempt begins, whatever came."""


class BlsClient:
    """TaskApi, CountApi and MetaApi over HTTP."""

    def __init__(
        self, session: Session, *, observer: Observer | None = None, deadlines: Deadlines | None = None
    ) -> None:
        self._session = session
        self._observer = observer
        self._deadlines = deadlines or Deadlines()

    @property
    def server_offset_s(self) -> float:
        return self._session.server_offset_s

    async def close(self) -> None:
        """Close all connections; idempotent."""
        await self._session.close()

    # --- download tasks ---

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        call = "CreateDownloadTask"
        try:
            answer = await self._sent(
                Call(
                    Family.CREATE,
                    "POST",
                    "/v2/logstore/download",
                    body=orjson.dumps(request.body()),
                    expires_in_s=CREATE_EXPIRY_S,
                    repeatable=False,
                    send_within_s=send_within_s,
                )
            )
        except MalformedAnswer as lost:
            raise CreateUncertain(lost.message, answered=False, status=lost.status) from None
        if not answer.ok:
            raise self._create_refused(answer, call)
        try:
            found = checked(answer, call, clean=self._session.clean)
            request_id = self._request_id(answer, found)
            return Accepted(answers.created_uuid(found, request_id), request_id)
        except ServiceError as unclear:
            raise _uncertain(unclear, answer) from None

    async def describe(self, uuid: str) -> RemoteTaskStatus:
        call = "DescribeDownloadTask"

        def read(found: object, answer: Answer) -> RemoteTaskStatus:
            status = answers.task_of(found, self._request_id(answer, found))
            if status.uuid != uuid:
                raise MalformedAnswer(f"{call}: the answer tells of another remote task than {uuid}")
            return self._cleaned(status)

        return await self._read(
            call, Call(Family.DESCRIBE, "GET", f"/v2/logstore/download/{segment(uuid)}"), read
        )

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
        body = {
            **{key: value for key, value in (("project", project), ("logStoreName", logstore)) if value},
            "orderBy": order_by,
            "order": "desc" if descending else "asc",
            "pageNo": page_no,
            "pageSize": page_size,
        }
        page = await self._read(
            "ListDownloadTask",
            Call(Family.LIST, "POST", "/v2/logstore/download/list", body=orjson.dumps(body)),
            lambda found, answer: answers.tasks_of(
                found, self._request_id(answer, found), _date(answer), only
            ),
        )
        return replace(page, tasks=tuple(self._cleaned(task) for task in page.tasks))

    async def link(self, uuid: str) -> PresignedLink:
        return await self._read(
            "GetDownloadTaskLink",
            Call(Family.LINK, "GET", f"/v2/logstore/download/link/{segment(uuid)}"),
            lambda found, answer: answers.link_of(found, self._request_id(answer, found)),
        )

    async def delete(self, uuid: str) -> None:
        """Not repeated inside: whoever wants the task gone asks again. Words behind a success are not read,
        but a page is: whoever sends one deleted nothing, be its status what it may."""
        call = "DeleteDownloadTask"
        answer = await self._sent(Call(Family.DELETE, "DELETE", f"/v2/logstore/download/{segment(uuid)}"))
        try:
            checked(answer, call, clean=self._session.clean)
        except RemoteTaskNotFound:
            return
        except MalformedAnswer:
            if not answer.ok or answer.body.lstrip().startswith(b"<"):
                raise

    # --- counts ---

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        return await self._count(
            "QueryLogRecord",
            query_call(identity, logstream, window, count_query(identity, match_all=match_all)),
            lambda found, answer: answers.count_of(found, self._request_id(answer, found)),
        )

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        return await self._count(
            "QueryLogRecord",
            query_call(identity, logstream, window, bucket_query(identity, width_s)),
            lambda found, answer: buckets_of(found, self._request_id(answer, found), window, width_s),
        )

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        return await self._count(
            "QueryLogHistogram",
            histogram_call(identity, logstream, window),
            lambda found, answer: answers.histogram_of(found, self._request_id(answer, found), window),
        )

    async def rows(
        self, identity: JobIdentity, logstream: str, window: Window, *, limit: int, marker: str = ""
    ) -> FoundRows:
        """One page of at most ``limit`` (up to 1,000) records of ``window``, earliest first; raises what a
        read raises."""
        page = [("limit", str(limit)), ("sort", "asc"), *([("marker", marker)] if marker else [])]
        return await self._named(
            "QueryLogRecord",
            query_call(identity, logstream, window, search_of(identity), page),
            lambda found, answer: rows_of(found, self._request_id(answer, found)),
        )

    # --- metadata ---

    async def describe_logstore(self, project: str, logstore: str) -> LogStore:
        return await self._named(
            "DescribeLogStore",
            Call(Family.META, "GET", f"/v1/logstore/{segment(logstore)}", [("project", project)]),
            lambda found, answer: answers.logstore_of(
                found, self._request_id(answer, found), project, logstore
            ),
        )

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        return await self._pages("ListLogStore", "/v1/logstore", project)

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        found = await self._pages("ListLogStream", f"/v1/logstore/{segment(logstore)}/logstream", project)
        return tuple(stream.name for stream in found)

    async def has_index(self, project: str, logstore: str) -> bool | None:
        call = Call(Family.META, "GET", f"/v1/logstore/{segment(logstore)}/index", [("project", project)])
        try:
            return await self._named(
                "DescribeIndex",
                call,
                lambda found, answer: answers.index_of(found, self._request_id(answer, found)),
            )
        except Refused as refused:
            if refused.service_code in ("LogStoreNotFound", "ProjectNotFound") or refused.status == 401:
                raise
            return False if refused.status == 404 else None

    # --- how calls are made ---

    async def _sent(self, call: Call) -> Answer:
        counts = call.family in (Family.QUERY, Family.HISTOGRAM)
        timeout_s = self._deadlines.query_s if counts else self._deadlines.answer_s
        return await self._session.call(call, timeout_s=timeout_s)

    def _request_id(self, answer: Answer, found: object) -> str:
        return self._session.clean(request_id_of(answer, found))

    def _cleaned(self, status: RemoteTaskStatus) -> RemoteTaskStatus:
        """The status without secrets in the texts that are kept and shown: a service may quote anything."""
        known = not status.state or status.state in _STATES
        if known and not status.failed_code and not status.failed_message:
            return status
        clean = self._session.clean
        return replace(
            status,
            state=status.state if known else brief(status.state, clean, _LONGEST_WORD),
            failed_code=brief(status.failed_code, clean, _LONGEST_WORD),
            failed_message=brief(status.failed_message, clean, _LONGEST_TEXT),
        )

    async def _pages(self, name: str, path: str, project: str) -> tuple[LogStore, ...]:
        """All pages, oldest first so that what appears meanwhile comes last; each name once. Bounded by
        MOST_PAGES."""
        seen: dict[str, LogStore] = {}
        for page_no in range(1, MOST_PAGES + 1):
            query = [
                ("project", project),
                ("order", "asc"),
                ("orderBy", "creationDateTime"),
                ("pageNo", str(page_no)),
                ("pageSize", str(PAGE_SIZE)),
            ]
            items, total = await self._named(
                name,
                Call(Family.META, "GET", path, query),
                lambda found, answer: answers.names_of(found, self._request_id(answer, found), project, name),
            )
            fresh = {item.name: item for item in items if item.name not in seen}
            seen |= fresh
            if not fresh or (total is not None and len(seen) >= total):
                break
        return tuple(seen.values())

    async def _named(self, name: str, call: Call, read: Callable[[object, Answer], T]) -> T:
        """Like ``_read`` for calls about projects and logstores: their 404 is a refusal, whatever its
        code."""
        try:
            return await self._read(name, call, read)
        except RemoteTaskNotFound as gone:
            raise Refused(
                str(gone),
                status=gone.status,
                service_code=gone.service_code,
                hint="check the names of project and logstore, and the region",
                request_id=gone.request_id,
            ) from None

    async def _count(
        self, name: str, call: Call, read: Callable[[object, Answer], T | CountUnavailable]
    ) -> T | CountUnavailable:
        """A definite "cannot count" is an answer, an outage is not: 400, 413, and 500 or 504 after all
        attempts (a query that takes too long ends so) make CountUnavailable; everything else is raised."""
        try:
            found = await self._named(name, call, read)
            if isinstance(found, CountUnavailable):
                return replace(found, why=brief(found.why, self._session.clean, _LONGEST_TEXT))
            return found
        except (Refused, ServiceFault, Throttled) as failed:
            if failed.service_code == "InvalidParameter" or failed.status in (413, 500, 504):
                return CountUnavailable(str(failed), too_much=failed.status in (413, 504))
            if failed.status == 400 and not failed.service_code:
                return CountUnavailable(str(failed))
            raise

    async def _read(self, name: str, call: Call, read: Callable[[object, Answer], T]) -> T:
        async def attempt() -> T:
            answer = await self._sent(call)
            return read(checked(answer, name, clean=self._session.clean), answer)

        return await self._repeated(name, attempt)

    async def _repeated(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """``attempt`` again on faults that may pass: full jitter, Retry-After honoured, bounded in number and
        time.

        Time is ``loop.time()``, which a virtual clock moves; tenacity's own limit would read the real one.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        deadline = begun + self._deadlines.total_s
        try:
            return await attempt()  # outside of tenacity, whose machinery costs more than signing does
        except _PASSING as fault:
            first: list[ServiceError] = [fault]
        rng = self._session.rng

        def wait_s(state: RetryCallState) -> float:
            ceiling_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1))
            return max(rng.random() * ceiling_s, _fault(state).retry_after_s or 0.0)

        def stop(state: RetryCallState) -> bool:
            fault = _fault(state)
            silent = isinstance(fault, Unreachable) and loop.time() - begun >= self._deadlines.silence_s
            late = loop.time() + (fault.retry_after_s or 0.0) >= deadline
            return state.attempt_number >= ATTEMPTS or silent or late

        def told(state: RetryCallState) -> None:
            if self._observer is not None:
                fault = _fault(state)
                self._observer.noted(
                    "remote.retry",
                    call=name,
                    attempt=state.attempt_number,
                    error=fault.code,
                    status=fault.status,
                    wait_s=state.next_action.sleep if state.next_action else 0.0,
                )

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_PASSING),
            wait=wait_s,
            stop=stop,
            before_sleep=told,
            sleep=asyncio.sleep,
            reraise=True,
        )

        async def again() -> T:
            # The first call of this function only tells tenacity of the attempt that was made without it.
            if first:
                raise first.pop()
            return await attempt()

        return await retrying(again)

    def _create_refused(self, answer: Answer, call: str) -> ServiceError:
        """What a create without success means: Throttled or Refused when it proves that nothing was made."""
        error = refusal(answer, call, clean=self._session.clean)
        if not proves_nothing_was_made(answer):
            return _uncertain(error, answer)
        if answer.mended or answer.status in (413, 429) or isinstance(error, Throttled):
            return Throttled(
                str(error),
                status=error.status,
                service_code=error.service_code,
                request_id=error.request_id,
                retry_after_s=error.retry_after_s,
            )
        return Refused(
            str(error),
            status=error.status,
            service_code=error.service_code,
            hint=error.hint if isinstance(error, Refused) else "",
            request_id=error.request_id,
        )


def _uncertain(error: ServiceError, answer: Answer) -> CreateUncertain:
    return CreateUncertain(
        str(error),
        answered=from_the_service(answer),
        status=answer.status,
        service_code=error.service_code,
        request_id=error.request_id,
    )


def _fault(state: RetryCallState) -> ServiceError:
    """Only service errors are retried, so a failed attempt holds one."""
    fault = state.outcome.exception() if state.outcome else None
    return fault if isinstance(fault, ServiceError) else ServiceError("")


def _date(answer: Answer) -> float | None:
    return http_date(answer.headers.get("date", ""))

"""The log service as the engine sees it. Every method is one signed call (reads may be retried inside,
creates never).

Errors are those of ``orchestrator.errors``: Refused, Throttled, Unreachable, ServiceFault, MalformedAnswer,
RemoteTaskNotFound, CreateUncertain, LinkRefused, FileMissing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import Accepted, CreateRequest, RemoteTaskStatus, TaskPage
from orchestrator.core.redact import PresignedLink
from orchestrator.core.window import Window

__all__ = [
    "Bucket",
    "CountApi",
    "CountUnavailable",
    "FileAnswer",
    "FileSource",
    "Histogram",
    "LogStore",
    "MetaApi",
    "TaskApi",
]


class TaskApi(Protocol):
    """Download tasks (bls-api.md 2)."""

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        """POST once, never repeated inside, signed with 30 s expiry. Raises CreateUncertain whenever the
        outcome is unknown; Refused or Throttled only when the answer proves that nothing was made; Throttled
        also when the gate did not let it pass within ``send_within_s`` (nothing was sent), Unreachable only
        when no connection could be made (nothing was sent)."""
        ...

    async def describe(self, uuid: str) -> RemoteTaskStatus:
        """Raises RemoteTaskNotFound on 404."""
        ...

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
        """One page, as served: foreign tasks, duplicates and all. ``logstore`` filters by substring at the
        service. With ``only`` the caller looks at these uuids: of others nothing but the uuid need be told,
        and of those that go on nothing but state, rows and creation."""
        ...

    async def link(self, uuid: str) -> PresignedLink:
        """A fresh presigned link. Raises RemoteTaskNotFound (not there, or gone)."""
        ...

    async def delete(self, uuid: str) -> None:
        """Idempotent: 404 counts as done."""
        ...

    @property
    def server_offset_s(self) -> float:
        """Server time minus ours, learned from the Date header; 0.0 before any answer."""
        ...


@dataclass(frozen=True, slots=True)
class CountUnavailable:
    """The service cannot count here (no index, refused, timed out); ``why`` is for people. ``too_much``: a
    shorter window may be counted all the same."""

    why: str
    too_much: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """Lines of one stretch of time, from ``start_s`` (UTC epoch seconds) on."""

    start_s: float
    lines: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Lines per bucket of the server's own width (bls-api.md 3.3). ``hits`` is the total, None when
    absent."""

    interval_s: float
    buckets: tuple[Bucket, ...]
    hits: int | None
    truncated: bool = False


class CountApi(Protocol):
    """Counts: advisory for planning, evidence for completeness."""

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int | CountUnavailable:
        """Lines of ``window`` that match the job's query, by SQL count. ``match_all``: without any match part
        (a second witness). A truncated answer is a lower bound and therefore CountUnavailable."""
        ...

    async def buckets(
        self, identity: JobIdentity, logstream: str, window: Window, width_s: int
    ) -> Histogram | CountUnavailable:
        """Lines of ``window`` per ``width_s``, a divisor of the hour, by SQL; ``hits`` is None. What is left
        out is empty, as far as the service says."""
        ...

    async def histogram(
        self, identity: JobIdentity, logstream: str, window: Window
    ) -> Histogram | CountUnavailable:
        """Lines of ``window`` per stretches of the service's own choice."""
        ...


@dataclass(frozen=True, slots=True)
class LogStore:
    """Metadata of one logstore (bls-api.md 4.2). ``retention_days`` None when absent; 3650 means for ever."""

    project: str
    name: str
    retention_days: int | None = None
    index_enabled: bool | None = None
    created_at: float | None = None


class MetaApi(Protocol):
    """What the service says about projects, logstores and log streams (bls-api.md 4)."""

    async def describe_logstore(self, project: str, logstore: str) -> LogStore:
        """Raises Refused (code LogStoreNotFound, ProjectNotFound, …)."""
        ...

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        """All pages."""
        ...

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        """All pages."""
        ...

    async def has_index(self, project: str, logstore: str) -> bool | None:
        """Whether counting is possible; None when the service does not say."""
        ...


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """Headers of a file answer. ``offset_bytes`` is where the body starts: 0 when the range was ignored.
    ``total_bytes`` None when the server does not say; ``etag`` only when strong, else ""."""

    offset_bytes: int
    total_bytes: int | None
    etag: str
    content_encoding: str
    chunks: AsyncIterator[bytes]


class FileSource(Protocol):
    """The only way to file bytes."""

    def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AbstractAsyncContextManager[FileAnswer]:
        """GET from ``offset_bytes`` (Range, with If-Range when ``etag`` is given), bytes as on the wire. A
        body that ends early raises Unreachable after its bytes were handed out. Raises LinkRefused,
        FileMissing, ServiceFault, Unreachable."""
        ...

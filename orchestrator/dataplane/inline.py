"""The data plane inside this process: the loop receives, a few threads write, digest, decode and convert."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from orchestrator.core.model import ColumnsFound, LinkExpired, Receipt, Ticket
from orchestrator.dataplane.bandwidth import Bandwidth
from orchestrator.dataplane.disk import DiskBudget, free_bytes
from orchestrator.dataplane.leftovers import Leftovers
from orchestrator.dataplane.surveyor import Surveyors, processors
from orchestrator.dataplane.transfer import transfer
from orchestrator.ports.control import Boundary
from orchestrator.ports.service import FileSource

__all__ = ["InlineDataPlane"]

T = TypeVar("T")

_THREADS: Final = 8
_MOST_TABLES: Final = 4
"""A table that is written keeps two processors busy and takes some hundred megabytes; fetches go on."""


class _NoBoundary:
    """Production: no fault points."""

    def reached(self, name: str) -> None: ...


class InlineDataPlane:
    """``ports.files.DataPlane`` for destinations that are folders.

    All transfers of one instance share its threads, its bandwidth and its view of free space: what one was
    promised, another cannot use. ``tables_at_once``: so many Parquet files are written at the same time, 0
    for as many as suit this machine.
    """

    def __init__(
        self,
        source: FileSource,
        *,
        boundary: Boundary | None = None,
        disk_free: Callable[[str], int] = free_bytes,
        tables_at_once: int = 0,
    ) -> None:
        self._source = source
        self._boundary = boundary or _NoBoundary()
        self._disk = DiskBudget(disk_free)
        self._bandwidth = Bandwidth()
        self._surveyors = Surveyors()
        self._leftovers = Leftovers()
        self._tables = asyncio.Semaphore(tables_at_once or min(_MOST_TABLES, max(1, processors() // 2)))
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="dataplane")

    async def transfer(self, ticket: Ticket) -> Receipt | LinkExpired | ColumnsFound:
        loop = asyncio.get_running_loop()

        def run(work: Callable[[], T], /) -> asyncio.Future[T]:
            return loop.run_in_executor(self._pool, work)

        return await transfer(
            ticket,
            self._source,
            run=run,
            boundary=self._boundary,
            disk=self._disk,
            bandwidth=self._bandwidth,
            surveyors=self._surveyors,
            leftovers=self._leftovers,
            tables=self._tables,
        )

    async def close(self) -> None:
        """Waits for the work in flight; transfers must have ended or been cancelled before."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, partial(self._pool.shutdown, wait=True))
        await loop.run_in_executor(None, self._surveyors.close)

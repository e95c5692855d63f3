"""What does the manifest tell of the past, and at a glance: the journal, every remote task ever, who came
from whom, where slices are unfinished?"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator.core.columns import Column
from orchestrator.core.estimating import Past
from orchestrator.core.model import RemoteTask, Slice, SliceState
from orchestrator.core.window import Window, WindowSet
from orchestrator.manifest import read
from orchestrator.manifest.named import sql
from orchestrator.ports.store import Acceptance, Ended, JournalLine

__all__ = ["Telling"]

T = TypeVar("T")

_JOURNAL_ROWS = 20_000
"""So far back the end of the journal is looked through."""


class Telling(ABC):
    """The part of a ``ManifestReader`` that looks back, or from afar."""

    @abstractmethod
    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T: ...

    async def story(self, slice_id: str) -> tuple[JournalLine, ...]:
        return await self._ask(lambda connection: read.story(connection, slice_id))

    async def tasks_ever(self, slice_id: str) -> tuple[RemoteTask, ...]:
        return await self._ask(lambda connection: read.tasks_ever(connection, slice_id))

    async def tasks_of_number(self, number: int) -> tuple[RemoteTask, ...]:
        return await self._ask(lambda connection: read.tasks_of_number(connection, number))

    async def children(self, slice_id: str) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.children(connection, slice_id))

    async def published(self, slice_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        return await self._ask(lambda connection: _published(connection, slice_ids))

    async def orphans(self, job: str, window: Window) -> tuple[RemoteTask, ...]:
        return await self._ask(lambda connection: read.orphans(connection, job, window))

    async def like(self, text: str, limit: int) -> tuple[str, ...]:
        return await self._ask(lambda connection: read.like(connection, text, limit))

    async def told_of(self, slice_id: str) -> str | None:
        return await self._ask(lambda connection: read.told_of(connection, slice_id))

    async def tasks_of_slice(self, slice_id: str) -> tuple[RemoteTask, ...]:
        """Every remote task a slice ever had, by number."""
        return await self._ask(lambda connection: read.tasks_of_slice(connection, slice_id))

    async def tasks_of_uuid(self, uuid: str) -> tuple[RemoteTask, ...]:
        return await self._ask(lambda connection: read.tasks_of_uuid(connection, uuid))

    async def listings(self, job: str) -> tuple[JournalLine, ...]:
        return await self._ask(lambda connection: read.listings(connection, job))

    async def strays_sought_at(self, job: str) -> float | None:
        return await self._ask(lambda connection: read.strays_sought_at(connection, job))

    async def lately(self, job: str, state: SliceState, limit: int) -> tuple[Past, ...]:
        return await self._ask(lambda connection: read.lately(connection, job, state, limit))

    async def run_times_s(self, service: str, limit: int) -> tuple[float, ...]:
        return await self._ask(lambda connection: read.run_times_s(connection, service, limit))

    async def ended_since(self, at: float) -> Ended:
        return await self._ask(lambda connection: _ended_since(connection, at))

    async def unfinished_spans(
        self, job: str, edges: Sequence[int], logstream: str | None = None
    ) -> WindowSet:
        return await self._ask(lambda connection: read.unfinished_spans(connection, job, edges, logstream))

    async def created_at(self) -> float:
        return await self._ask(read.created_at)

    async def columns(self, job: str) -> tuple[Column, ...] | None:
        return await self._ask(lambda connection: read.columns(connection, job))

    async def acceptances(self, job: str) -> tuple[Acceptance, ...]:
        return await self._ask(lambda connection: read.acceptances(connection, job))


def _published(connection: sqlite3.Connection, slice_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Two columns of each row there is."""
    rows = ((id_, connection.execute(sql("published"), {"id": id_}).fetchone()) for id_ in slice_ids)
    return {id_: (row["published_path"], row["published_sha256"]) for id_, row in rows if row is not None}


def _ended_since(connection: sqlite3.Connection, at: float) -> Ended:
    """The end of the journal only: a busy run may have written more than that since ``at``."""
    tail = connection.execute(sql("journal_tail"), {"most": _JOURNAL_ROWS, "at": at}).fetchone()
    if tail is None:
        return Ended(at, {}, {})
    since_at = max(at, tail["at"]) if tail["number"] == tail["first"] else at
    rows = connection.execute(sql("ended_since"), {"number": tail["number"], "at": since_at}).fetchall()
    return Ended(
        since_at, {row["name"]: row["slices"] for row in rows}, {row["name"]: row["lines"] for row in rows}
    )

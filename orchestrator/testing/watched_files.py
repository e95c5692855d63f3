"""In which form do files reach one exporter, and what breaks on the way? The FileSource with somebody looking
on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from orchestrator.core.redact import PresignedLink
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.remote_task import Task
from orchestrator.emulator.search import EVERYTHING
from orchestrator.emulator.world import World
from orchestrator.errors import FileMissing, LinkRefused, ServiceError, ServiceFault, Unreachable
from orchestrator.ports.service import FileAnswer, FileSource
from orchestrator.testing.watched import Seen

__all__ = ["WatchedFiles"]

_FORMS = (
    "file_layout",
    "file_compression",
    "content_encoding",
    "csv_header",
    "final_newline",
    "byte_order_mark",
    "crlf",
    "field_names",
    "record_time",
    "row_order",
    "etag",
)
"""Switches that show in a file."""
_PLAIN = Behaviour()


class WatchedFiles:
    """FileSource before a real or in-process one."""

    def __init__(self, source: FileSource, world: World, seen: Seen) -> None:
        self._source = source
        self._world = world
        self._seen = seen
        self._broke_off: set[str] = set()

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncGenerator[FileAnswer, None]:
        met = self._seen.met
        try:
            async with self._source.open(link, offset_bytes=offset_bytes, etag=etag) as answer:
                if offset_bytes:
                    resumed = answer.offset_bytes == offset_bytes
                    met["download resumed" if resumed else "range not honoured"] += 1
                task = self._task_of(link)
                if task is not None and task.uuid in self._broke_off:
                    met["taken up without ETag"] += not etag
                if task is not None:
                    self._look_at(task)
                    yield replace(answer, chunks=self._counted(answer, task))
                else:
                    yield answer
        except LinkRefused:
            met["link expired"] += 1
            raise
        except FileMissing:
            task = self._task_of(link)
            nothing = task is not None and task.rows is not None and task.rows.count == 0
            met["no file for nothing" if nothing else "file missing"] += 1
            raise
        except ServiceFault:
            met["file answered 5xx"] += 1
            raise
        except Unreachable:
            met["body broke off"] += 1
            task = self._task_of(link)
            self._broke_off |= {task.uuid} if task is not None else set()
            raise
        except ServiceError:
            met["file refused"] += 1
            raise

    def _task_of(self, link: PresignedLink) -> Task | None:
        url = link.reveal()
        return next((task for task in self._world.tasks.tasks() if f"/{task.uuid}" in url), None)

    def _look_at(self, task: Task) -> None:
        """Counts in which form a file comes."""
        rows, met = task.rows, self._seen.met
        if rows is None or rows.count == 0:
            met["empty file"] += rows is not None
            return
        met["file with rows"] += 1
        met["file in csv"] += task.request.format == "csv"
        met["file newest first"] += task.request.order == "desc"
        for name in _FORMS:
            value = getattr(task.behaviour, name)
            if value != getattr(_PLAIN, name):
                met[f"{name}={value}"] += 1
        records = rows.records(0, rows.count)
        times = [record.at_ms for record in records]
        met["file with ties"] += len(set(times)) < len(times)
        behaviour, request = task.behaviour, task.request
        if behaviour.window_end != "exclusive":
            past_ms = request.end_ms - (1 if behaviour.window_end == "inclusive" else 1000)
            met["rows past the end"] += any(at_ms >= past_ms for at_ms in times)
        if behaviour.window_start == "exclusive":
            source = self._world.account.store(request.project, request.logstore).source
            found = source.matching(EVERYTHING, request.logstream, from_ms=0, visible_ms=2**62)
            met["first row withheld"] += found.count(request.start_ms - 1, request.start_ms) > 0
        met["file cut off at its limit"] += rows.count == request.limit

    async def _counted(self, answer: FileAnswer, task: Task) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in answer.chunks:
            size += len(chunk)
            yield chunk
        if answer.total_bytes is None and self._world.behaviour.file_short_probability:
            with suppress(Refusal):  # gone meanwhile
                whole = self._world.tasks.open_file(task.uuid, task.ends_at_s)[1].size_bytes()
                self._seen.met["body ended early"] += answer.offset_bytes + size < whole

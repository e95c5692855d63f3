"""Files of a world through the FileSource port, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from orchestrator.core.redact import PresignedLink
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import hexdigits
from orchestrator.emulator.file_body import FileBody, md5_hex
from orchestrator.emulator.mishap import draw_latency
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.remote_task import Task
from orchestrator.emulator.task_desk import Grant
from orchestrator.emulator.world import World
from orchestrator.errors import FileMissing, LinkRefused, ServiceFault, Unreachable
from orchestrator.ports.control import Family, Gate
from orchestrator.ports.service import FileAnswer

__all__ = ["InProcessFiles", "link_to", "through"]

_ORIGIN: Final = "http://files.emulator.invalid"


def link_to(grant: Grant) -> PresignedLink:
    """A link that only InProcessFiles of the same world opens."""
    query = f"issued={grant.issued_at_s}&lifetime={grant.lifetime_s}&ticket={grant.ticket}"
    return PresignedLink(f"{_ORIGIN}/{grant.uuid}?{query}")


def through(gate: Gate | None, family: Family) -> AbstractAsyncContextManager[None]:
    """Leave to make one request; no gate lets everything pass."""
    return gate.request(family) if gate is not None else nullcontext()


class InProcessFiles:
    """FileSource directly on a world: opens the links of an InProcessService of the same world."""

    def __init__(self, world: World, *, now: Callable[[], float], gate: Gate | None = None) -> None:
        self.world = world
        self._now = now
        self._gate = gate
        self._open = 0

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncGenerator[FileAnswer, None]:
        world = self.world
        now_s = self._now() + world.behaviour.clock_offset_s
        async with through(self._gate, Family.FILE):
            world.witness.request("file", now_s, signed=False)
            await asyncio.sleep(draw_latency(world.behaviour, world.chance))
        self._open += 1
        world.witness.max_files_at_once = max(world.witness.max_files_at_once, self._open)
        try:
            task, body = self._found(link, now_s)
            yield self._answer(task, body, offset_bytes, etag)
        finally:
            self._open -= 1

    async def close(self) -> None:
        """Nothing to close."""

    def _found(self, link: PresignedLink, now_s: float) -> tuple[Task, FileBody]:
        """What a link opens. Raises LinkRefused, FileMissing, ServiceFault."""
        world = self.world
        parts = urlsplit(link.reveal())
        uuid, query = parts.path.removeprefix("/"), dict(parse_qsl(parts.query))
        world.witness.file_requests[uuid] += 1
        try:
            issued, lifetime = int(query["issued"]), int(query["lifetime"])
        except (KeyError, ValueError):
            raise LinkRefused("the link is no link of this service", status=403) from None
        if not world.tasks.opens(uuid, issued, lifetime, query.get("ticket", ""), now_s):
            raise LinkRefused("the link has expired", status=int(world.behaviour.link_refusal))
        if world.chance.happens("file error", world.behaviour.file_error_probability):
            raise ServiceFault("the file: 503", status=503, service_code="ServiceUnavailable")
        try:
            return world.tasks.open_file(uuid, now_s)
        except Refusal as refusal:
            raise FileMissing(f"the file: {refusal}", status=404, service_code=refusal.code) from None

    def _answer(self, task: Task, body: FileBody, offset_bytes: int, etag: str) -> FileAnswer:
        behaviour, chance = self.world.behaviour, self.world.chance
        size = body.size_bytes()
        current = self._etag(task, body, behaviour)
        honoured = behaviour.ranges == "honoured" and offset_bytes <= size and (not etag or etag == current)
        start = offset_bytes if honoured else 0
        short = chance.happens("file short", behaviour.file_short_probability)
        breaks = chance.happens("file reset", behaviour.file_reset_probability)
        end = size
        if short or breaks:
            end = start + int(chance.fraction("file cut") * (size - start))
        return FileAnswer(
            offset_bytes=start,
            total_bytes=None if short else size,
            etag=current,
            content_encoding="gzip" if task.behaviour.content_encoding == "gzip" else "",
            chunks=self._chunks(task.uuid, body, start, end, breaks=breaks),
        )

    def _etag(self, task: Task, body: FileBody, behaviour: Behaviour) -> str:
        """As FileSource shows it: strong or empty."""
        match behaviour.etag:
            case "md5":
                return f'"{md5_hex(body)}"'
            case "opaque":
                return f'"{hexdigits(self.world.seed, "etag", task.uuid)}-7"'
            case "changing":
                return f'"{self.world.witness.file_requests[task.uuid]}"'
            case _:
                return ""

    async def _chunks(
        self, uuid: str, body: FileBody, start: int, end: int, *, breaks: bool
    ) -> AsyncIterator[bytes]:
        rate = self.world.behaviour.file_bytes_per_s
        for block in body.read(start, end):
            if rate:
                await asyncio.sleep(len(block) / rate)
            self.world.witness.served(uuid, len(block))
            yield block
        if breaks:
            raise Unreachable("the file: the connection broke")

"""A bare HTTP/1.1 server on the loopback that shows requests byte for byte and answers whatever a test
wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from orchestrator.ports.control import Family


@dataclass(frozen=True)
class Seen:
    """One request as it came over the wire; header names lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def raw_path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def raw_query(self) -> str:
        return self.target.partition("?")[2]


Stream = Callable[[asyncio.StreamWriter], Awaitable[None]]
Reply = bytes | Stream | None
"""Whole bytes of an answer, a coroutine that writes it and then hangs up, or None: hang up without a word."""


@dataclass
class Loopback:
    """``seen`` holds all requests, in order."""

    reply: Callable[[Seen], Reply]
    seen: list[Seen] = field(default_factory=list)
    origin: str = ""
    connections: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while (request := await _request(reader)) is not None:
                self.seen.append(request)
                answer = self.reply(request)
                if not isinstance(answer, bytes):
                    if answer is not None:
                        await answer(writer)
                    break
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which some tests are about
        finally:
            self._open.discard(writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def hang_up(self) -> None:
        """Close every idle connection from this side."""
        for writer in self._open:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Seen | None:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
    return Seen(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def loopback(reply: Callable[[Seen], Reply]) -> AsyncIterator[Loopback]:
    """A server for the length of a ``with``; every connection is over when it ends."""
    here = Loopback(reply)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []
    over = False

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if over:  # it was on its way when the server closed
            writer.transport.abort()
            return
        writers.append(writer)
        tasks.add(asyncio.ensure_future(here.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**20)
    here.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield here
    finally:
        over = True
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()  # a task that was cancelled before it began has closed nothing


def answer(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    """A whole answer; underscores in header names stand for dashes, Content-Length is added unless given."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    if status != 204:
        named.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Some Reason\r\n{head}\r\n".encode() + body


@dataclass
class RecordingGate:
    """A gate that lets all pass and remembers who did."""

    asked: list[Family] = field(default_factory=list)
    slowed: list[tuple[Family, float | None]] = field(default_factory=list)
    good: list[Family] = field(default_factory=list)
    inside: int = 0

    @asynccontextmanager
    async def request(self, family: Family) -> AsyncIterator[None]:
        self.asked.append(family)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def throttled(self, family: Family, retry_after_s: float | None) -> None:
        self.slowed.append((family, retry_after_s))

    def accepted(self, family: Family) -> None:
        self.good.append(family)


@dataclass
class StillClock:
    """A wall clock that moves only when told to."""

    at: float = 1_768_465_800.0  # 2026-01-15T08:30:00Z

    def now(self) -> float:
        return self.at


@dataclass
class CountingRng:
    """Chance without chance: jitter is always ``jitter``, tokens count up."""

    jitter: float = 0.0
    drawn: int = 0

    def random(self) -> float:
        return self.jitter

    def token_hex(self, n_bytes: int) -> str:
        self.drawn += 1
        return f"{self.drawn:0{2 * n_bytes}x}"

"""How do several connections bring one file, in order? Each fetches a piece ahead of the others, and the
pieces wait in memory for their turn, a few of them and no more.

Whether that pays is found out while one connection brings the file: a second one fetches what comes later,
and if both together are no faster than the one was alone, it is let go and nothing has changed. So a link
that opens once, and a server that knows no ranges, cost a request and no byte that was in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from orchestrator.core.redact import PresignedLink
from orchestrator.errors import ServiceError, ServiceFault, Unreachable
from orchestrator.ports.files import PieceSource

__all__ = ["MOST_CONNECTIONS", "OVERLAP_BYTES", "WORTH_BYTES", "Pieces", "Trial", "UnlikeError", "Widening"]

WORTH_BYTES: Final = 64 << 20
"""With less than this to come, more connections are not worth their requests."""
MOST_CONNECTIONS: Final = 4
PIECE_BYTES: Final = 8 << 20
OVERLAP_BYTES: Final = 4 * 1024
"""Each piece begins so far before its place: bytes that are there already must come again as they are."""
_LOOK_S: Final = 0.5
"""How long a rate is looked at before it is believed."""
_FAST_BYTES_PER_S: Final = 100e6
"""A connection that brings so much is not what holds a transfer up."""
_GAIN: Final = 1.3
"""So many times faster must two connections be than one,"""
_FURTHER_GAIN: Final = 1.15
"""and all than two."""
_ROOM: Final = 0.8
"""A connection that uses so much of the ceiling leaves too little to gain."""

Arrived = Callable[[int], Awaitable[None]]
"""Called for each chunk on its arrival, whenever its turn is; waits as long as the ceiling wants."""


class UnlikeError(Exception):
    """A piece holds other bytes than what it overlaps, or more than were asked for."""


@dataclass(slots=True)
class _Piece:
    start: int
    end: int
    chunks: deque[bytes] = field(default_factory=deque)
    whole: bool = False
    fault: ServiceError | UnlikeError | None = None


class Pieces:
    """The file from ``start`` on, by connections of its own. ``connections`` may be changed at any time: a
    surplus one ends with its piece."""

    def __init__(
        self, source: PieceSource, link: PresignedLink, etag: str, start: int, total: int, arrived: Arrived
    ) -> None:
        self.start = start
        self.connections = 1
        self.received = 0
        """Bytes that came so far, in turn or not."""
        self._source = source
        self._link = link
        self._etag = etag
        self._next = start
        self._total = total
        self._arrived = arrived
        self._pieces: deque[_Piece] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def failed(self) -> bool:
        return any(piece.fault is not None for piece in self._pieces)

    def work(self) -> None:
        """Let as many connections work as there shall be, as far as what they bring has room."""
        while (
            sum(not piece.whole for piece in self._pieces) < self.connections >= len(self._pieces)
            and self._next < self._total
            and not self.failed
        ):
            piece = _Piece(self._next, min(self._next + PIECE_BYTES, self._total))
            self._next = piece.end
            self._pieces.append(piece)
            worker = asyncio.ensure_future(self._fetch(piece))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _fetch(self, piece: _Piece) -> None:
        begin, at = piece.start - OVERLAP_BYTES, piece.start - OVERLAP_BYTES
        try:
            async with self._source.piece(
                self._link, start_bytes=begin, end_bytes=piece.end, etag=self._etag
            ) as answer:
                if (answer.offset_bytes, answer.total_bytes, answer.etag) != (begin, self._total, self._etag):
                    raise ServiceFault("a piece of another file, or from another place of it")
                async for chunk in answer.chunks:
                    at += len(chunk)
                    self.received += len(chunk)
                    if at > piece.end:
                        raise UnlikeError  # what is in it and already handed out is no better
                    await self._arrived(len(chunk))
                    piece.chunks.append(chunk)
                    self._changed.set()
            if at < piece.end:
                raise Unreachable(f"a piece ended after {at - begin} of {piece.end - begin} bytes")
            piece.whole = True
            self.work()
        except (ServiceError, UnlikeError) as fault:
            piece.fault = fault
        self._changed.set()

    async def in_order(self, before: bytes) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to the end; ``before`` are the last ones before it. Raises what the first
        piece that is missing came to, when all before it were handed out, and UnlikeError."""
        at = self.start
        while at < self._total:
            self.work()
            piece = self._pieces[0]
            head: bytes | None = b""
            while True:
                while piece.chunks:
                    chunk = piece.chunks.popleft()
                    if head is not None:
                        head += chunk
                        if len(head) < OVERLAP_BYTES:
                            continue
                        if head[:OVERLAP_BYTES] != before:
                            raise UnlikeError
                        chunk, head = head[OVERLAP_BYTES:], None
                    if chunk:
                        before = (before + chunk[-OVERLAP_BYTES:])[-OVERLAP_BYTES:]
                        at += len(chunk)
                        yield chunk
                if piece.whole:
                    break
                if piece.fault is not None:
                    raise piece.fault
                self._changed.clear()
                await self._changed.wait()
            self._pieces.popleft()

    async def stop(self) -> None:
        """Let all connections go, and what they brought out of turn."""
        self.connections = 0
        workers = tuple(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._pieces.clear()


class Trial:
    """Whether more connections pay, judged while one brings the file. Times are the loop's."""

    def __init__(self, total: int, ceiling_bytes_per_s: float | None, begin: Callable[[int], Pieces]) -> None:
        """``begin`` makes the pieces of the ``total`` bytes from an offset on."""
        self.pieces: Pieces | None = None
        self.rate = 0.0
        """Bytes a second, by all connections, when they were last looked at."""
        self._most = _FAST_BYTES_PER_S
        if ceiling_bytes_per_s:
            self._most = min(self._most, _ROOM * ceiling_bytes_per_s)
        self._total = total
        self._begin = begin
        self._over = False
        self._since: tuple[float, int] | None = None

    async def hands_over(self, now: float, at: int) -> int | None:
        """Called with each chunk that came in order, up to ``at``: from where on, at or before it, the pieces
        bring the file; None as long as they do not."""
        if self._over:
            return None
        if self._since is None:
            self._since = now, at
            return None
        if self.pieces is None:
            self._look_alone(now, at)
            return None
        if at < self.pieces.start and not self.pieces.failed:
            return None
        self._over = True
        seconds = now - self._since[0]
        both = (at - self._since[1] + self.pieces.received) / seconds if seconds > 0 else 0.0
        if self.pieces.failed or both < _GAIN * self.rate:
            await self.pieces.stop()
            return None
        self.rate = both
        return self.pieces.start

    def _look_alone(self, now: float, at: int) -> None:
        since, begun_at = self._since or (now, at)
        if now - since < _LOOK_S:
            return
        self.rate = (at - begun_at) / (now - since)
        ahead = at + max(2 * OVERLAP_BYTES, int(self.rate * _LOOK_S))
        if not 0 < self.rate < self._most or ahead + PIECE_BYTES > self._total:
            self._over = True
            return
        self.pieces = self._begin(ahead)
        self.pieces.work()
        self._since = now, at

    async def end(self) -> None:
        """Idempotent."""
        self._over = True
        if self.pieces is not None:
            await self.pieces.stop()


class Widening:
    """How many connections a file is worth, once two were: all of them, unless they are no faster."""

    def __init__(self, pieces: Pieces, rate: float, now: float) -> None:
        self._pieces = pieces
        self._rate = rate
        self._since = now, pieces.received
        self._over = False
        pieces.connections = MOST_CONNECTIONS
        pieces.work()

    def look(self, now: float) -> None:
        since, received = self._since
        if self._over or now - since < 2 * _LOOK_S:
            return
        self._over = True
        if (self._pieces.received - received) / (now - since) < _FURTHER_GAIN * self._rate:
            self._pieces.connections = 2

"""Which bytes are asked for, and whether they continue what we have.

A byte below a recorded offset is not asked for again, with one exception: without a strong ETag and a known
length nothing proves that the file is still the same one, so the last 64 KiB are asked for again. Whatever
comes again is compared with what is there; a difference means starting over. Those bytes count in
``wire_bytes`` like all others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from orchestrator.core.model import Ticket
from orchestrator.dataplane.bandwidth import Bandwidth
from orchestrator.dataplane.inflow import RECORD_BYTES, Inflow, Run, finished
from orchestrator.dataplane.pieces import OVERLAP_BYTES as PIECE_OVERLAP_BYTES
from orchestrator.dataplane.pieces import WORTH_BYTES, Pieces, Trial, UnlikeError, Widening
from orchestrator.errors import BrokenBody, FileMissing, ServiceFault, Unreachable
from orchestrator.ports.files import PieceSource
from orchestrator.ports.service import FileAnswer, FileSource

__all__ = ["OVERLAP_BYTES", "RETRIES", "Fetch"]

OVERLAP_BYTES: Final = 64 * 1024
RETRIES: Final = 3
"""Connections lost in a row, with less than a recording's worth of bytes between them, before the transfer
gives up."""
SMALL_BYTES: Final = 256 * 1024
"""So much is taken into memory whole: for more visits to the pool than one it is too little."""
_FIRST_PAUSE_S: Final = 0.5
_UNREADABLE: Final = frozenset({"br", "deflate", "compress", "x-compress"})
"""Encodings that hide rows from us and that no first bytes give away. Others are sniffed, or are none."""


class _ChangedError(Exception):
    """The file behind the link is not the one we have a part of."""


class Fetch:
    """One transfer's way from a link to a whole part file.

    ``admit(have, coming)`` makes room for ``coming`` more bytes and opens the part cut to ``have``; it runs
    on a pool thread before anything of an answer is written, and may raise DiskFull. ``may_hold``: whether a
    small file may stay in memory.
    """

    def __init__(
        self,
        ticket: Ticket,
        source: FileSource,
        inflow: Inflow,
        *,
        run: Run,
        bandwidth: Bandwidth,
        admit: Callable[[int, int], None],
        may_hold: bool = True,
    ) -> None:
        self._ticket = ticket
        self._source = source
        self._inflow = inflow
        self._run = run
        self._bandwidth = bandwidth
        self._admit = admit
        self._may_hold = may_hold
        self.held = False
        """Whether all of it is in memory and none of it on disk: room for it is still to be made."""
        self._tried = False
        """Whether more connections were tried since the file last moved on by a recording's worth."""

    async def until_whole(self) -> None:
        """Everything is in the part file and was seen by the inflow. Raises what ``FileSource.open`` raises,
        ServiceFault for an answer to another question, BrokenBody when more comes than was announced,
        DiskFull, StorageError."""
        failures, changes, reached = 0, 0, self._inflow.offset_bytes
        resumed_at, ended_at = reached, None
        while not self._whole():
            begun_at = self._inflow.offset_bytes
            try:
                if await self._one_answer(ended_at):
                    # A body of no announced length may have been cut off and look finished: what comes after
                    # its end, if anything, is asked for once. A resume that ends where it began was that
                    # question: a link that opens but once must not be renewed for it for ever.
                    ended = self._inflow.offset_bytes
                    if self._inflow.progress.total_bytes is not None or ended in (0, ended_at, resumed_at):
                        return
                    ended_at = ended
                    continue
                # Some servers answer a range with a piece of it, and the rest is asked for at once.
                if self._inflow.offset_bytes - begun_at < OVERLAP_BYTES:
                    total = self._inflow.progress.total_bytes
                    raise Unreachable(f"the file ended after {self._inflow.offset_bytes} of {total} bytes")
            except _ChangedError as change:
                changes += 1
                if changes > RETRIES:
                    raise ServiceFault(f"the file changes while it is fetched: {change}") from change
                await self._inflow.restart()
                reached = 0
            except Unreachable:
                await self._inflow.drain()
                moved_on = self._inflow.offset_bytes >= reached + RECORD_BYTES
                failures = 1 if moved_on else failures + 1
                self._tried = self._tried and not moved_on
                reached = self._inflow.offset_bytes
                if failures > RETRIES:
                    raise
                await asyncio.sleep(self._pause_s(failures))

    def _whole(self) -> bool:
        progress = self._inflow.progress
        have = self._inflow.offset_bytes
        return bool(have) and (bool(progress.sha256) or have == progress.total_bytes)

    def _pause_s(self, failures: int) -> float:
        """Growing, and spread between half and full by the attempt's own name, so that transfers do not
        return in step."""
        digest = hashlib.sha256(f"{self._ticket.attempt_key}:{failures}".encode()).digest()
        return _FIRST_PAUSE_S * 4.0 ** (failures - 1) * (0.5 + digest[0] / 510)

    async def _one_answer(self, ended_at: int | None) -> bool:
        """Take one answer; whether it was the last one needed. ``ended_at``: where an earlier one ended that
        did not say how long the file is."""
        inflow = self._inflow
        known, have = inflow.progress, inflow.offset_bytes
        overlap = 0 if known.etag and known.total_bytes is not None else min(have, OVERLAP_BYTES)
        asked = have - overlap
        trial: Trial | None = None
        try:
            async with self._source.open(
                self._ticket.link, offset_bytes=asked, etag=known.etag if asked else ""
            ) as answer:
                _refuse_unreadable(answer.content_encoding)
                if have == ended_at and answer.offset_bytes < asked and answer.total_bytes in (None, have):
                    return True  # ranges are ignored: the whole file again would tell no more
                await self._aligned(answer, asked)
                total = inflow.progress.total_bytes
                small = min(SMALL_BYTES, inflow.gathers_bytes)
                if self._may_hold and not inflow.offset_bytes and total is not None and total <= small:
                    return await self._held_whole(answer)
                coming = max(0, total - inflow.offset_bytes) if total is not None else 0
                await finished(self._run(partial(self._admit, inflow.offset_bytes, coming)))
                trial = self._trial()
                pieces = await self._receive(answer, trial)
            await inflow.drain()
            if trial is not None and pieces is not None:
                await self._in_pieces(pieces, trial.rate)
        finally:
            if trial is not None:
                await trial.end()
        return total is None or inflow.offset_bytes >= total

    async def _held_whole(self, answer: FileAnswer) -> bool:
        """Take a small file into memory, so that one visit to the pool can do all the rest. What came of one
        that broke off goes to the disk like a part of any other."""
        total = self._inflow.progress.total_bytes or 0
        try:
            await self._receive(answer, None)
            self.held = self._inflow.offset_bytes >= total
        finally:
            if not self.held:
                await finished(self._run(partial(self._admit, 0, total)))
        return self.held

    def _trial(self) -> Trial | None:
        """Whether it shall be tried if more connections bring the rest faster."""
        source, inflow, ticket = self._source, self._inflow, self._ticket
        etag, total = inflow.progress.etag, inflow.progress.total_bytes
        if not isinstance(source, PieceSource) or not etag or total is None:
            return None
        if self._tried or inflow.progress.alone or total - inflow.offset_bytes < WORTH_BYTES:
            return None
        self._tried = True

        def begin(start: int) -> Pieces:
            return Pieces(source, ticket.link, etag, start, total, self._arrived)

        return Trial(total, ticket.bandwidth_bytes_per_s, begin)

    async def _arrived(self, size_bytes: int) -> None:
        inflow = self._inflow
        inflow.progress = replace(inflow.progress, wire_bytes=inflow.progress.wire_bytes + size_bytes)
        await self._bandwidth.after(size_bytes, self._ticket.bandwidth_bytes_per_s)

    async def _in_pieces(self, pieces: Pieces, rate: float) -> None:
        """The rest by several connections. A server that is no good at pieces is not asked for one again:
        what it did give in order stays, and one connection goes on from there, or anew if pieces and whole
        do not fit."""
        loop = asyncio.get_running_loop()
        before = await finished(
            self._run(
                partial(self._inflow.part.read, pieces.start - PIECE_OVERLAP_BYTES, PIECE_OVERLAP_BYTES)
            )
        )
        widening = Widening(pieces, rate, loop.time())
        try:
            async for chunk in pieces.in_order(before):
                await self._inflow.take(chunk)
                widening.look(loop.time())
        except UnlikeError:
            self._go_alone()
            raise _ChangedError("a piece of it holds other bytes than the whole") from None
        except (ServiceFault, FileMissing):
            self._go_alone()
        await self._inflow.drain()

    def _go_alone(self) -> None:
        self._inflow.progress = replace(self._inflow.progress, alone=True)

    async def _aligned(self, answer: FileAnswer, asked: int) -> None:
        """Takes over what the answer says of itself. An answer from the first byte on, when the rest was
        asked for, begins anew if its length is another one; else its bytes are compared with what is there.
        Raises _ChangedError when the answer is the rest of another file."""
        inflow = self._inflow
        known, have = inflow.progress, inflow.offset_bytes
        same_length = (
            None in (answer.total_bytes, known.total_bytes) or answer.total_bytes == known.total_bytes
        )
        if answer.offset_bytes not in (asked, 0):
            raise ServiceFault(f"asked for bytes from {asked} on, answered from {answer.offset_bytes}")
        if have and answer.offset_bytes < asked and not same_length:
            await inflow.restart()
        elif have:
            if answer.offset_bytes == asked and known.etag and answer.etag and known.etag != answer.etag:
                raise _ChangedError("its ETag is another one")
            if not same_length or (answer.total_bytes is not None and answer.total_bytes < have):
                raise _ChangedError("its length is another one")
        inflow.progress = replace(
            inflow.progress,
            etag=answer.etag or inflow.progress.etag,
            total_bytes=inflow.progress.total_bytes if answer.total_bytes is None else answer.total_bytes,
        )

    async def _receive(self, answer: FileAnswer, trial: Trial | None) -> Pieces | None:
        """Take the body: bytes that are there already must come again as they are, then comes what is new.
        Not even a strong ETag spares the comparison: it costs no byte on the wire. Returns the pieces that
        bring the rest, None when it came to its end."""
        inflow, loop = self._inflow, asyncio.get_running_loop()
        total, at, have = inflow.progress.total_bytes, answer.offset_bytes, inflow.offset_bytes
        async for chunk in answer.chunks:
            await self._arrived(len(chunk))
            fresh = chunk
            if at < have:
                again, fresh = chunk[: have - at], chunk[have - at :]
                if again != await finished(self._run(partial(self._inflow.part.read, at, len(again)))):
                    raise _ChangedError("its bytes are other ones")
                at += len(again)
            if not fresh:
                continue
            if total is not None and inflow.offset_bytes + len(fresh) > total:
                raise BrokenBody(f"more than the {total} bytes that were announced")
            if trial is not None:
                ends_at = await trial.hands_over(loop.time(), inflow.offset_bytes + len(fresh))
                if trial.pieces is not None and trial.pieces.failed:
                    self._go_alone()
                if trial.pieces is not None and ends_at is not None:
                    await inflow.take(fresh[: ends_at - inflow.offset_bytes])
                    return trial.pieces
            await inflow.take(fresh)
        if at < have:
            raise Unreachable("the file ended inside the part that was fetched before")
        return None


def _refuse_unreadable(content_encoding: str) -> None:
    if found := _UNREADABLE.intersection(word.strip() for word in content_encoding.split(",")):
        raise BrokenBody(
            f"the file comes with Content-Encoding {', '.join(sorted(found))}, which was not asked for",
            hint="check for a proxy between here and the file",
        )

"""How arriving bytes become a safe prefix: gathered into blocks, written, digested, looked at, and recorded
now and then.

The loop receives while pool threads work: one block is written and looked at on one thread and digested on
another, the next one is being gathered meanwhile, and no more than that is in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from orchestrator.dataplane.held import HeldFile
from orchestrator.dataplane.staging import AppendFile, Progress, StagingArea, storage_faults
from orchestrator.errors import StorageError
from orchestrator.ports.control import Boundary

__all__ = ["BLOCK_BYTES", "RECORD_BYTES", "Inflow", "Intake", "Run", "at_once", "driven", "finished", "over"]

T = TypeVar("T")

BLOCK_BYTES: Final = 2 << 20
RECORD_BYTES: Final = 64 << 20
"""So much may have to be fetched again after an unclean stop."""


class Run(Protocol):
    """Starts a function on another thread at once; a loop's ``run_in_executor`` in all but name."""

    def __call__(self, work: Callable[[], T], /) -> asyncio.Future[T]: ...


async def finished(job: asyncio.Future[T]) -> T:
    """The result of a job on the pool. Cancelled while it waits, it still waits for the job to end before it
    gives way: whoever comes next must not meet a thread at work on the same files."""
    if job.done():
        return job.result()
    try:
        await asyncio.wait((job,))
    except asyncio.CancelledError:
        await asyncio.wait((job,))
        job.exception()  # said to nobody: the cancellation is what the caller asked for
        raise
    return job.result()


async def over(*jobs: asyncio.Future[Any]) -> None:
    """Wait until all of them have ended, however they did."""
    left = [job for job in jobs if not job.done()]
    if left:
        await asyncio.wait(left)


def at_once(loop: asyncio.AbstractEventLoop) -> Run:
    """A ``Run`` that works on the caller's own thread, before it returns: for whoever is on the pool
    already."""

    def run(work: Callable[[], T], /) -> asyncio.Future[T]:
        job: asyncio.Future[T] = loop.create_future()
        try:
            job.set_result(work())
        except BaseException as error:  # noqa: BLE001  nothing is swallowed
            job.set_exception(error)  # raised where the result is asked for, as from the pool
        return job

    return run


def driven(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing, since all its jobs are done at once. Raises
    RuntimeError when it waits after all."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a step of a small transfer waited for something")


class Intake(Protocol):
    """Sees all wire bytes once, in order, on a pool thread, once they are in the part file; ``restart`` means
    from the first byte again."""

    def feed(self, pieces: Sequence[bytes]) -> None: ...

    def restart(self) -> None: ...


class Inflow:
    """The block pipeline of one transfer. ``progress`` is what the sidecar shall say besides the offset;
    ``recorded`` is called on a pool thread each time an offset was, while more is coming, and may raise."""

    def __init__(
        self,
        area: StagingArea,
        part: AppendFile | HeldFile,
        intake: Intake,
        *,
        run: Run,
        boundary: Boundary,
        recorded: Callable[[Progress], None],
    ) -> None:
        self.progress = Progress()
        self.offset_bytes = 0
        """Bytes taken so far, in order, whether or not they are on disk."""
        self._area = area
        self.part = part
        self._intake = intake
        self.run = run
        self._boundary = boundary
        self._on_record = recorded
        self._sha = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._jobs: tuple[asyncio.Future[None], ...] = ()
        self._recording: asyncio.Future[int] | None = None
        self._recorded = 0

    @property
    def gathers_bytes(self) -> int:
        """How much may be taken before anything is written."""
        return BLOCK_BYTES - 1

    @property
    def sha256(self) -> str:
        """Of all bytes taken; meaningful after ``drain``."""
        return self._sha.hexdigest()

    async def replay(self, earlier: Progress) -> None:
        """Digest and look at the safe prefix of an earlier call; afterwards ``offset_bytes`` tells how much
        of it was good: all, or nothing."""
        self.progress = earlier
        size = earlier.offset_bytes
        if not await finished(self.run(partial(self.part.reopen, size))):
            await self.restart()
            return
        while self.offset_bytes < size:
            wanted = min(BLOCK_BYTES, size - self.offset_bytes)
            block = await finished(self.run(partial(self.part.read, self.offset_bytes, wanted)))
            await self._join()
            self.offset_bytes += len(block)
            self._jobs = (
                self.run(partial(self._intake.feed, (block,))),
                self.run(partial(self._sha.update, block)),
            )
        await self._join()
        self._recorded = size
        if earlier.sha256 and self.sha256 != earlier.sha256:
            await self.restart()

    async def restart(self) -> None:
        """Forget every byte, also on disk."""
        await self._join()
        await self._join_recording()
        self._buffer, self._buffered, self.offset_bytes, self._recorded = [], 0, 0, 0
        self._sha = hashlib.sha256()
        self._intake.restart()
        self.progress = Progress(wire_bytes=self.progress.wire_bytes, alone=self.progress.alone)
        await finished(self.run(self.part.cut))

    async def take(self, chunk: bytes) -> None:
        self._buffer.append(chunk)
        self._buffered += len(chunk)
        self.offset_bytes += len(chunk)
        if self._buffered >= BLOCK_BYTES:
            await self._hand_over()

    async def drain(self) -> None:
        """Everything taken is written, digested and looked at."""
        await self._hand_over()
        await self._join()

    async def settle(self) -> None:
        """No recording is under way any more."""
        await self._join_recording()

    async def stop(self) -> int:
        """End early: write and record what came, close the part; returns how many bytes are safe. What cannot
        be written is left out: the caller has something more urgent to say."""
        for job in (*self._jobs, self._recording):
            if job is not None:
                await over(job)
                job.exception()  # known to the caller, or no longer of interest
        tail, at = self._buffer, self.offset_bytes - self._buffered
        safe = await finished(self.run(partial(self._close, tail, at, self.progress)))
        if safe:
            self._boundary.reached("transfer.offset_recorded")
        return safe

    def _close(self, tail: Sequence[bytes], at: int, progress: Progress) -> int:
        safe = self._recorded
        try:
            with suppress(StorageError):
                self.part.append(tail, at)
            with suppress(StorageError), storage_faults(self._area.sidecar):
                if self.part.is_open:
                    safe = self._record(progress)
        finally:
            self.part.close()
        return safe

    async def _hand_over(self) -> None:
        await self._join()
        if not self._buffer:
            return
        block, at = self._buffer, self.offset_bytes - self._buffered
        self._buffer, self._buffered = [], 0
        self._jobs = (self.run(partial(self._keep, block, at)), self.run(partial(self._digest, block)))

    # A block stays in the pieces it came in: to join them costs as much as to write them.

    def _keep(self, block: Sequence[bytes], at: int) -> None:
        if self.part.append(block, at):
            self._intake.feed(block)

    def _digest(self, block: Sequence[bytes]) -> None:
        for piece in block:
            self._sha.update(piece)

    async def _join(self) -> None:
        """Wait for the block in flight. Cancelling the wait does not cancel the work: ``stop`` counts on
        it."""
        if not self._jobs:
            return
        await over(*self._jobs)
        jobs, self._jobs = self._jobs, ()
        for job in jobs:
            job.result()
        self._boundary.reached("transfer.chunk")
        if self.offset_bytes - self._buffered - self._recorded >= RECORD_BYTES:
            await self._join_recording()
            self._recorded = self.offset_bytes - self._buffered
            self._recording = self.run(partial(self._record_and_tell, self.progress))

    def _record_and_tell(self, progress: Progress) -> int:
        safe = self._record(progress)
        self._on_record(replace(progress, offset_bytes=safe))
        return safe

    def _record(self, progress: Progress) -> int:
        safe = self.part.sync()
        with storage_faults(self._area.sidecar):
            self._area.save(replace(progress, offset_bytes=safe))
        return safe

    async def _join_recording(self) -> None:
        if self._recording is None:
            return
        await over(self._recording)
        recording, self._recording = self._recording, None
        recording.result()
        self._boundary.reached("transfer.offset_recorded")

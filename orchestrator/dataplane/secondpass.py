"""How does a file that was fetched go through once more: looked at, or written anew?

As much at a time as one visit to the pool gives, so that a cancellation is soon noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Final, TypeVar

from orchestrator.dataplane.decode import decoded
from orchestrator.dataplane.draft import Draft
from orchestrator.dataplane.inflow import Run, finished, over
from orchestrator.dataplane.staging import storage_faults
from orchestrator.dataplane.tabling import Writing

__all__ = ["SecondPass"]

T = TypeVar("T")

_STEP_BYTES: Final = 4 << 20
"""Decoded bytes per visit to the pool; two steps are in memory, or what ``Writing.steps_ahead`` says."""


class SecondPass:
    """Over the file at ``place``, which faults of storage name."""

    def __init__(self, run: Run, place: str) -> None:
        self._run = run
        self._place = place

    async def through(
        self, blocks: Iterator[bytes | None], feed: Callable[[bytes], T], finish: Callable[[], T]
    ) -> None:
        """``feed`` gets the blocks, ``finish`` the end of the file and of each member."""
        async for _ in self._steps(blocks, feed, finish):
            pass

    async def rewrite(self, source: str | bytes, writing: Writing[T], draft: Draft, coming: int) -> None:
        """``writing`` takes all of ``source``, and the draft becomes the artifact, of about ``coming`` bytes.
        While some steps are compressed and written the next are made."""
        storing: asyncio.Future[None] | None = None
        made: list[T] = []
        steps = 0

        def store(contents: list[T]) -> None:
            for content in contents:
                writing.store(content)

        def finish() -> None:
            writing.close()
            draft.stage()

        await finished(self._run(partial(draft.open, coming)))
        try:
            async for step in self._steps(decoded(source), writing.taken, writing.ended):
                made += step
                steps += 1
                if storing is not None and (storing.done() or steps >= writing.steps_ahead):
                    await finished(storing)
                    storing = None
                if storing is None:
                    storing = self._run(partial(store, made))
                    made, steps = [], 0
            if storing is not None:
                await finished(storing)
            await finished(self._run(partial(store, made)))
            await finished(self._run(finish))
        except BaseException:
            if storing is not None:
                await over(storing)
                storing.exception()  # what came first is raised
            await finished(self._run(writing.abandon))
            raise

    async def _steps(
        self, blocks: Iterator[bytes | None], feed: Callable[[bytes], T], finish: Callable[[], T]
    ) -> AsyncIterator[list[T]]:
        """What ``feed`` makes of the blocks, and ``finish`` of the end of the file and of each member; as
        much at a time as one visit to the pool gives."""
        ended_member = over = False

        def step() -> list[T]:
            nonlocal ended_member, over
            done = 0
            made: list[T] = []
            with storage_faults(self._place):
                while done < _STEP_BYTES:
                    try:
                        block = next(blocks)
                    except StopIteration:
                        over = True
                        return made if ended_member else [*made, finish()]
                    ended_member = block is None
                    made.append(finish() if block is None else feed(block))
                    done += len(block or b"")
            return made

        while not over:
            yield await finished(self._run(step))

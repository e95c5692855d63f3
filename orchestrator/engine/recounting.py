"""Does the service still have as many lines as are stored?

Neighbouring slices are asked about together, and only where a sum differs are its halves, down to the slice
that differs: an archive that agrees costs a question for many slices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from orchestrator.core.model import Slice
from orchestrator.core.window import Window
from orchestrator.engine.counting import Counting

__all__ = ["Recount", "recounted", "stored_rows"]

MOST_TOGETHER = 200
"""Slices in one question: more would often differ somewhere, and a count over much may run out of time."""


@dataclass(frozen=True, slots=True)
class Recount:
    """What the service counts now in the window of one slice; ``lines`` None when it cannot count there."""

    slice: Slice
    lines: int | None


async def recounted(
    slices: AsyncIterator[Slice], logstream: str, counting: Counting
) -> AsyncIterator[Recount]:
    """The slices, oldest first as they are given, whose lines the service counts otherwise or not at all.
    Raises CredentialsError, and what else no other way of counting mends."""
    async for group in _neighbours(slices):
        for found in await _differing(group, logstream, counting):
            yield found


async def _neighbours(slices: AsyncIterator[Slice]) -> AsyncIterator[Sequence[Slice]]:
    """Slices without a gap between them, ``MOST_TOGETHER`` at most."""
    group: list[Slice] = []
    async for slice_ in slices:
        if group and (slice_.window.start_s != group[-1].window.end_s or len(group) == MOST_TOGETHER):
            yield group
            group = []
        group.append(slice_)
    if group:
        yield group


async def _differing(group: Sequence[Slice], logstream: str, counting: Counting) -> list[Recount]:
    window = Window(group[0].window.start_s, group[-1].window.end_s)
    lines = (await counting.count(logstream, window)).lines
    if lines == sum(stored_rows(slice_) for slice_ in group):
        return []
    if len(group) == 1:
        return [Recount(group[0], lines)]
    middle = len(group) // 2
    halves = [_differing(half, logstream, counting) for half in (group[:middle], group[middle:])]
    return [found for half in await asyncio.gather(*halves) for found in half]


def stored_rows(slice_: Slice) -> int:
    """Rows that are stored for the slice; none for an empty one."""
    return slice_.receipt.stored_rows if slice_.receipt is not None else 0

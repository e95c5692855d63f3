"""Does the service still have as many lines as are stored?

Neighbouring slices are asked about together, and only where a sum differs are its halves, down to the slice
that differs: an archive that agrees costs a question for many slices. A second that was divided is one of
them: its parts are counted together, as they are proven.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Sequence
from dataclasses import dataclass

from orchestrator.core.job import Job
from orchestrator.core.model import Slice
from orchestrator.core.window import Window
from orchestrator.engine.counting import Counting
from orchestrator.engine.ledger_audit import divided_seconds, stored_slices
from orchestrator.ports.store import ManifestReader

__all__ = ["Held", "Recount", "held", "recounted"]

MOST_TOGETHER = 200
"""Slices in one question: more would often differ somewhere, and a count over much may run out of time."""


@dataclass(frozen=True, slots=True)
class Held:
    """A stored slice, or a second that was divided, and the rows that are stored for it."""

    slice: Slice
    rows: int


@dataclass(frozen=True, slots=True)
class Recount:
    """What the service counts now in the window of one slice for which ``rows`` are stored; ``lines`` None
    when it cannot count there."""

    slice: Slice
    rows: int
    lines: int | None


async def held(
    job: Job, manifest: ManifestReader, window: Window, without: Container[str] = ()
) -> AsyncIterator[Held]:
    """What is stored of a job, or of the one stream that ``job`` is about, and meets ``window``, by start: no
    parts, but the seconds they make up; no slices whose ids are among ``without``, nor what these are
    parts of."""
    seconds = [
        Held(whole, rows)
        for whole, rows in await divided_seconds(job, manifest, window)
        if whole.id not in without and not any(part.id in without for part in await manifest.parts(whole.id))
    ]
    async for slice_ in stored_slices(job, manifest, window):
        while seconds and seconds[0].slice.window < slice_.window:
            yield seconds.pop(0)
        if not slice_.whole and not slice_.replaces and slice_.id not in without:
            yield Held(slice_, slice_.receipt.stored_rows if slice_.receipt is not None else 0)
    for second in seconds:
        yield second


async def recounted(
    stored: AsyncIterator[Held], logstream: str, counting: Counting
) -> AsyncIterator[Recount]:
    """Those, oldest first as they are given, whose lines the service counts otherwise or not at all. Raises
    CredentialsError, and what else no other way of counting mends."""
    async for group in _neighbours(stored):
        for found in await _differing(group, logstream, counting):
            yield found


async def _neighbours(stored: AsyncIterator[Held]) -> AsyncIterator[Sequence[Held]]:
    """Slices without a gap between them, ``MOST_TOGETHER`` at most."""
    group: list[Held] = []
    async for one in stored:
        touches = bool(group) and one.slice.window.start_s == group[-1].slice.window.end_s
        if group and (not touches or len(group) == MOST_TOGETHER):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


async def _differing(group: Sequence[Held], logstream: str, counting: Counting) -> list[Recount]:
    window = Window(group[0].slice.window.start_s, group[-1].slice.window.end_s)
    lines = (await counting.count(logstream, window)).lines
    if lines == sum(one.rows for one in group):
        return []
    if len(group) == 1:
        return [Recount(group[0].slice, group[0].rows, lines)]
    middle = len(group) // 2
    halves = [_differing(half, logstream, counting) for half in (group[:middle], group[middle:])]
    return [found for half in await asyncio.gather(*halves) for found in half]

"""Rows out of stored files, to whoever takes them: how many, and why no more?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

from orchestrator.app.pulling_order import Hole, Unrolling
from orchestrator.core.window import Window
from orchestrator.dataplane.inorder import Region, in_order
from orchestrator.dataplane.outgoing import Outgoing, RowWriter
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.spill import Spill
from orchestrator.dataplane.stored import Source
from orchestrator.dataplane.survey import count_rows

__all__ = ["RowSink", "Written", "write_out"]


class RowSink(Protocol):
    """Where rows go. ``write`` is called from a thread of its own and may wait for the reader."""

    def write(self, rows: bytes) -> bool:
        """Whether more is wanted: not when the reader left or ``stop`` was called. Raises StorageError,
        DiskFull."""
        ...

    def stop(self) -> None:
        """End a ``write`` that waits, soon; from any thread."""
        ...


@dataclass(slots=True)
class Written:
    """How far it came. ``until_s`` is where the rows end; ``enough`` when the limit was reached, ``refused``
    when the sink takes no more."""

    until_s: int
    rows: int = 0
    size_bytes: int = 0
    enough: bool = False
    refused: bool = False
    holes: list[Hole] = field(default_factory=list)


async def write_out(
    unrolling: Unrolling,
    window: Window,
    sink: RowSink,
    spill: Spill,
    *,
    form: Outgoing,
    time_field: str = "auto",
    limit: int = 0,
    holes_too: bool = False,
    told: Callable[[Hole], None] = lambda _: None,
) -> Written:
    """Every row of ``window`` to ``sink``, in time order, as it becomes readable; at most ``limit`` when that
    is not 0. ``told`` hears of each hole where it falls; rows end there unless ``holes_too``. ``spill`` is
    for rows that are not in order: memory is that of a block or two. Raises StorageError, DiskFull,
    IntegrityError, UsageError."""
    written = Written(window.start_s)
    rows = _Rows(RowWriter(form), sink, spill, time_field, limit, written)
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "rows")
    try:
        async with aclosing(unrolling.pieces(window)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Hole):
                    written.holes.append(replace(piece, files=()))
                    told(piece)
                    if not holes_too:
                        return written
                if piece.files:
                    await loop.run_in_executor(pool, rows.write, piece.files)
                if written.refused or written.enough:
                    return written
                written.until_s = piece.window.end_s
    finally:
        pool.shutdown(wait=False)
    return written


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is the same for every piece."""

    writer: RowWriter
    sink: RowSink
    spill: Spill
    time_field: str
    limit: int
    written: Written

    def write(self, files: Sequence[Source]) -> None:
        """The rows of one piece; on a thread of its own."""
        written = self.written
        for region in in_order(files, self.spill, self.time_field):
            kept, count = _cut(region, self.limit - written.rows) if self.limit else (region, _count(region))
            spelled = self.writer.spelled(kept)
            if not self.sink.write(spelled):
                written.refused = True
                return
            written.rows += count
            written.size_bytes += len(spelled)
            if self.limit and written.rows >= self.limit:
                written.enough = True
                return


def _count(region: Region) -> int:
    return count_rows(region.rows, region.shape)


def _cut(region: Region, most: int) -> tuple[Region, int]:
    count = _count(region)
    if count <= most:
        return region, count
    return replace(region, rows=b"".join(split_rows(region.rows, region.shape)[:most])), most

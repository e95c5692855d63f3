"""Rows out of stored files, to whoever takes them: how many, and why no more?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from orchestrator.app.pulling_order import Hole, Unrolling
from orchestrator.core.window import Window
from orchestrator.dataplane.inorder import Region, StoredFile, in_order
from orchestrator.dataplane.outgoing import Outgoing, RowWriter
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.survey import count_rows
from orchestrator.errors import StorageError

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
    *,
    form: Outgoing,
    limit: int = 0,
    told: Callable[[Hole], None] = lambda _: None,
) -> Written:
    """Every row of ``window`` to ``sink``, in time order, as it becomes readable; at most ``limit`` when that
    is not 0. ``told`` hears of each hole where it falls. Memory is that of a block or two. Raises
    StorageError, DiskFull, BrokenBody, UsageError."""
    written = Written(window.start_s)
    writer = RowWriter(form)
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "rows")
    try:
        async with aclosing(unrolling.pieces(window)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Hole):
                    written.holes.append(replace(piece, files=()))
                    told(piece)
                if piece.files:
                    step = partial(_write, piece.files, writer, sink, written, limit)
                    await loop.run_in_executor(pool, step)
                if written.refused or written.enough:
                    return written
                written.until_s = piece.window.end_s
    finally:
        pool.shutdown(wait=False)
    return written


def _write(
    files: Sequence[StoredFile], writer: RowWriter, sink: RowSink, written: Written, limit: int
) -> None:
    try:
        for region in in_order(files):
            kept, count = _cut(region, limit - written.rows) if limit else (region, _count(region))
            spelled = writer.spelled(kept)
            if not sink.write(spelled):
                written.refused = True
                return
            written.rows += count
            written.size_bytes += len(spelled)
            if limit and written.rows >= limit:
                written.enough = True
                return
    except OSError as error:
        where = ", ".join(file.path for file in files)
        raise StorageError(f"{where} cannot be read: {error.strerror or error}") from error


def _count(region: Region) -> int:
    return count_rows(region.rows, region.shape)


def _cut(region: Region, most: int) -> tuple[Region, int]:
    count = _count(region)
    if count <= most:
        return region, count
    return replace(region, rows=b"".join(split_rows(region.rows, region.shape)[:most])), most

"""In which order do the rows of stored files leave? By record time to the millisecond, equal times as they
stand.

A file that is in order already streams straight through; it is looked through once before, because a row
that comes too late cannot be taken back. One that is not is sorted by an index: its plain bytes go to an
unnamed file, and only times and offsets, some thirty bytes a row, are held in memory. Several files of one
window are merged row by row.
"""

from __future__ import annotations

import heapq
import os
import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import IO, Final

from orchestrator.dataplane.csvform import Columns
from orchestrator.dataplane.dating import FineDater, fine_dater_for
from orchestrator.dataplane.decode import decoded
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import Shape

__all__ = ["Region", "StoredFile", "in_order", "regions_of"]

BATCH_BYTES: Final = 1 << 20
_LEADING_MS: Final = re.compile(rb'^\{"@?timestamp":([1-9]\d{12})(?=[,}])', re.MULTILINE)
_Row = tuple[int, int, bytes]
"""Time in ms, which file, the row with its line end."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One verified local file. ``time_field`` as in the job file."""

    path: str
    time_field: str = "auto"


@dataclass(frozen=True, slots=True)
class Region:
    """Whole rows, each with its line end; array elements are one line each. ``header`` and ``columns`` are
    those of the CSV file they come from, b"" and None otherwise."""

    rows: bytes
    shape: Shape
    header: bytes = b""
    columns: Columns | None = None


def in_order(files: Sequence[StoredFile]) -> Iterator[Region]:
    """All rows of ``files``, by time. Rows whose time cannot be read stay behind the row before them.

    Raises BrokenBody for a file that is damaged, OSError for one that cannot be read.
    """
    if len(files) == 1:
        yield from _sorted(files[0])
    elif files:
        yield from _merged(files)


def regions_of(file: StoredFile) -> Iterator[Region]:
    """The file as it stands, in regions of about a mebibyte. Raises as ``in_order``."""
    stream = RowStream(Shape.JSON_LINES, file.time_field)
    ended_member = False
    for block in decoded(file.path):
        rows = stream.finish() if block is None else stream.feed(block)
        ended_member = block is None
        if rows:
            yield Region(rows, stream.shape, stream.header, stream.columns)
    if not ended_member and (rows := stream.finish()):
        yield Region(rows, stream.shape, stream.header, stream.columns)


class _Times:
    """Dates the rows of one file, region by region, to the millisecond."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._dater: FineDater | None = None
        self._chosen = False
        self._last = 0

    def of(self, region: Region) -> list[int]:
        """One entry per row; a row without a time has that of the row before it."""
        if region.shape is not Shape.CSV and self._file.time_field == "auto":
            found = _LEADING_MS.findall(region.rows)
            if found and len(found) == region.rows.count(b"\n"):
                times = list(map(int, found))
                self._last = times[-1]
                return times
        return self._slowly(region)

    def _slowly(self, region: Region) -> list[int]:
        if not self._chosen:
            self._chosen = True
            self._dater = fine_dater_for(region.shape, region.rows, region.columns, self._file.time_field)
        if self._dater is None:
            return [self._last] * len(split_rows(region.rows, region.shape))
        times = []
        for found in self._dater.seconds(region.rows):
            self._last = self._last if found is None else found
            times.append(self._last)
        return times


def _sorted(file: StoredFile) -> Iterator[Region]:
    if _is_sorted(file):
        yield from regions_of(file)
        return
    with tempfile.TemporaryFile(dir=os.path.dirname(file.path)) as plain:
        yield from _by_index(file, plain)


def _is_sorted(file: StoredFile) -> bool:
    times, last = _Times(file), -(2**62)
    for region in regions_of(file):
        found = times.of(region)
        if not found:
            continue
        if found[0] < last or any(later < earlier for earlier, later in pairwise(found)):
            return False
        last = found[-1]
    return True


def _by_index(file: StoredFile, plain: IO[bytes]) -> Iterator[Region]:
    """Rows picked out of ``plain`` in order of their times; a region holds as many as fit a batch."""
    dates, times, ends = _Times(file), array("q"), array("Q", [0])
    like = Region(b"", Shape.JSON_LINES)
    for region in regions_of(file):
        rows = split_rows(region.rows, region.shape)
        times.extend(dates.of(region))
        at = ends[-1]
        for row in rows:
            at += len(row)
            ends.append(at)
        plain.write(b"".join(rows))
        like = region
    plain.flush()
    batch: list[bytes] = []
    size = 0
    for number in sorted(range(len(times)), key=times.__getitem__):
        row = os.pread(plain.fileno(), ends[number + 1] - ends[number], ends[number])
        batch.append(row)
        size += len(row)
        if size >= BATCH_BYTES:
            yield _like(like, batch)
            batch, size = [], 0
    if batch:
        yield _like(like, batch)


def _merged(files: Sequence[StoredFile]) -> Iterator[Region]:
    kinds: list[Region] = [Region(b"", Shape.JSON_LINES) for _ in files]
    streams = [_rows(number, file, kinds) for number, file in enumerate(files)]
    batch: list[bytes] = []
    size = 0
    of = -1
    for _, number, row in heapq.merge(*streams, key=itemgetter(0, 1)):
        if batch and (size >= BATCH_BYTES or not _alike(kinds[of], kinds[number])):
            yield _like(kinds[of], batch)
            batch, size = [], 0
        of = number
        batch.append(row)
        size += len(row)
    if batch:
        yield _like(kinds[of], batch)


def _rows(number: int, file: StoredFile, kinds: list[Region]) -> Iterator[_Row]:
    times = _Times(file)
    for region in _sorted(file):
        kinds[number] = Region(b"", region.shape, region.header, region.columns)
        rows = split_rows(region.rows, region.shape)
        for at_ms, row in zip(times.of(region), rows, strict=True):
            yield at_ms, number, row


def _alike(left: Region, right: Region) -> bool:
    return left.shape is right.shape and left.header == right.header


def _like(region: Region, rows: Sequence[bytes]) -> Region:
    return Region(b"".join(rows), region.shape, region.header, region.columns)

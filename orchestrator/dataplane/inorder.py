"""In which order do the rows of stored files leave, while others are not stored yet? As in a merge: by record
time to the millisecond, each file looked through and held against the ledger before its first row is used.

What a merge writes is one file; what is told here goes on to be spelled, so it comes as regions that know
their shape and their columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.dataplane.csvform import Columns
from orchestrator.dataplane.merge import Merge
from orchestrator.dataplane.rowform import as_lines, as_stored
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.spill import Spill
from orchestrator.dataplane.stored import Source

__all__ = ["Region", "in_order"]


@dataclass(frozen=True, slots=True)
class Region:
    """Whole rows, each with its line end; array elements are one line each. ``header`` and ``columns`` are
    those of the CSV file they come from, b"" and None otherwise."""

    rows: bytes
    shape: Shape
    header: bytes = b""
    columns: Columns | None = None


def in_order(sources: Sequence[Source], spill: Spill, time_field: str = "auto") -> Iterator[Region]:
    """All rows of ``sources`` by time, in memory that does not grow with them. Rows whose time cannot be read
    stay behind the row before them. CSV files of different headers, or beside JSON, come as lines of JSON.

    Raises IntegrityError for a file that is not the ledger's, BrokenBody, StorageError, DiskFull.
    """
    like = _alike(sources, time_field)
    # Not as one piece of bytes, which would end inside a row.
    lines = as_lines() if like.shape is not Shape.CSV else as_stored(Shape.CSV, like.header)
    if all(source.read_as is Shape.JSON_LINES for source in sources):
        lines = as_stored(Shape.JSON_LINES, b"")
    merge = Merge(iter(sources), replace(lines, verbatim=None), spill, time_field=time_field, follow=True)
    for rows in merge.pieces():
        if rows:
            yield replace(like, rows=rows)


def _alike(sources: Sequence[Source], time_field: str) -> Region:
    """What all regions have in common."""
    lines = Region(b"", Shape.JSON_LINES)
    if not all(source.read_as is Shape.CSV for source in sources):
        return lines
    found: Region | None = None
    for source in sources:
        first = next(iter(source.regions(time_field)), None)
        if first is None:
            continue
        here = Region(b"", Shape.CSV, first[1].header, first[1].columns)
        if found is not None and (found.header, found.columns) != (here.header, here.columns):
            return lines
        found = here
    return found or lines

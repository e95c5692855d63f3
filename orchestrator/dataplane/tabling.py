"""From the served form to a table: rows are picked as for any other form, and each record finds its cells.

A table needs its columns before its first row is written (``core.columns``), so a ticket that brings none is
answered with those its file suggests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from orchestrator.core.columns import Column
from orchestrator.core.model import Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane.convert import Form
from orchestrator.dataplane.dating import json_dater
from orchestrator.dataplane.encode import Encoder
from orchestrator.dataplane.picking import Picking
from orchestrator.dataplane.record import Records
from orchestrator.dataplane.rows import RowStream
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.tablecsv import CsvTable

__all__ = ["NotInOrder", "TableWriting", "Writing", "time_name_of"]

T = TypeVar("T")


class NotInOrder(Exception):
    """Rows came that are earlier than some before them, or later in a file that goes back in time."""


class Writing(Protocol[T]):
    """From decoded bytes to a stored file, a step at a time. ``taken`` gives what the next bytes become,
    ``ended`` what is left over as ``finish`` of ``RowStream`` does; ``store`` takes what they gave, in that
    order, and may be at work on another thread while they are. ``close`` ends the stored file, ``abandon``
    lets go of one that nobody wants. ``rows`` counts. ``steps_ahead``: so many steps may be taken while one
    is stored; they wait in memory."""

    rows: int
    steps_ahead: int

    @property
    def size_bytes(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def taken(self, plain: bytes) -> T: ...

    def ended(self) -> T: ...

    def store(self, content: T) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


def time_name_of(region: bytes, stream: RowStream, time_field: str) -> str | None:
    """The field that dates the rows of a file; None when there is none."""
    if stream.shape is Shape.CSV:
        columns = stream.columns
        return None if columns is None or columns.time_index is None else columns.names[columns.time_index]
    dater = json_dater(region, time_field)
    return None if dater is None else dater.field


class TableWriting:
    """A table as CSV, compressed as the form says."""

    steps_ahead = 1

    def __init__(
        self,
        ticket: Ticket,
        columns: Sequence[Column],
        keep: Window | None,
        form: Form,
        sink: Callable[[bytes], None],
    ) -> None:
        self.rows = 0
        self._columns = columns
        self._time_field = ticket.time_field
        self._picking = Picking(ticket, keep)
        self._encoder = Encoder(sink, form.packings[0] if form.packings else None)
        self._table = CsvTable(columns)
        self._records: Records | None = None

    @property
    def size_bytes(self) -> int:
        return self._encoder.size_bytes

    @property
    def sha256(self) -> str:
        return self._encoder.sha256

    def taken(self, plain: bytes) -> bytes:
        return self._spelled(*self._picking.feed(plain))

    def ended(self) -> bytes:
        return self._spelled(*self._picking.finish())

    def store(self, content: bytes) -> None:
        if content:
            self._encoder.write(content)

    def close(self) -> None:
        self._encoder.close()

    def abandon(self) -> None: ...

    def _spelled(self, region: bytes, count: int | None) -> bytes:
        count = self._picking.count(region) if count is None else count
        if not count:
            return b""
        self.rows += count
        stream, header = self._picking.stream, b""
        if self._records is None:
            self._records = Records(self._columns, time_name_of(region, stream, self._time_field))
            header = self._table.header
        rows = self._records.rows(region, stream.shape, stream.columns)
        return header + b"".join(self._table.line(cells, record) for cells, record in rows)

"""How is a Parquet file written as it grows?

Rows are gathered until a group of them has so many bytes, then the group is written: memory is that of one
group and does not grow with the file. What the footer says of the order of rows is a promise to readers,
which skip by it, so it is made only if it is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.core.columns import TIME, Column
from orchestrator.core.job import Order
from orchestrator.core.model import Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane.arrow import Tables, schema_of
from orchestrator.dataplane.picking import Picking
from orchestrator.dataplane.tabling import NotInOrder, time_name_of

__all__ = ["GROUP_BYTES", "ParquetWriting"]

GROUP_BYTES: Final = 32 << 20
"""Of decoded columns; their pages take a fraction of it."""
_ZSTD_LEVEL: Final = 3


class _File:
    """Writes tables of one schema through ``sink``; after ``close``, ``size_bytes`` and ``sha256`` describe
    all of it. The same tables always give the same bytes, as long as the library is the same.

    ``descending``: None promises nothing of the order; otherwise ``write`` raises NotInOrder for rows that
    break it.
    """

    def __init__(self, sink: Callable[[bytes], None], schema: pa.Schema, *, descending: bool | None) -> None:
        self._out = _Sink(sink)
        self._descending = descending
        self._last: int | None = None
        self._gathered: list[pa.Table] = []
        self._gathered_bytes = 0
        self._schema = schema
        self._opened: pq.ParquetWriter | None = None

    @property
    def _writer(self) -> pq.ParquetWriter:
        """Its first bytes go out when it is made, which is when there are rows, or none came."""
        if self._opened is None:
            descending = self._descending
            order = None if descending is None else [pq.SortingColumn(0, descending=descending)]
            self._opened = pq.ParquetWriter(
                pa.PythonFile(self._out, mode="w"),
                self._schema,
                compression="zstd",
                compression_level=_ZSTD_LEVEL,
                sorting_columns=order,
                write_statistics=True,
            )
        return self._opened

    @property
    def size_bytes(self) -> int:
        return self._out.size_bytes

    @property
    def sha256(self) -> str:
        return self._out.sha.hexdigest()

    def write(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if self._descending is not None:
            self._follow(table.column(TIME))
        self._gathered.append(table)
        self._gathered_bytes += table.nbytes
        if self._gathered_bytes >= GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """Nobody wants the file any more; idempotent."""
        self._out.deaf = True
        self._gathered = []
        if self._opened is not None:
            self._opened.close()

    def _write_group(self) -> None:
        if self._gathered:
            table = pa.concat_tables(self._gathered)
            self._gathered, self._gathered_bytes = [], 0
            self._writer.write_table(table, row_group_size=table.num_rows)

    def _follow(self, times: pa.ChunkedArray) -> None:
        moments = pc.drop_null(times.combine_chunks()).cast(pa.int64())
        if len(moments) != len(times):
            raise NotInOrder  # readers differ on where rows without a time belong
        before, after = moments[:-1], moments[1:]
        if self._last is not None:
            before = pa.concat_arrays([pa.array([self._last], pa.int64()), before])
            after = moments
        in_order = pc.less_equal(after, before) if self._descending else pc.greater_equal(after, before)
        if not pc.all(in_order).as_py():
            raise NotInOrder
        self._last = moments[-1].as_py()


class _Sink:
    """The file as Arrow sees it: one that only grows."""

    closed = False

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.size_bytes = 0
        self.sha = hashlib.sha256()
        self.deaf = False
        self._sink = sink

    def write(self, content: Any) -> int:
        piece = bytes(content)
        if not self.deaf:
            self._sink(piece)
            self.sha.update(piece)
            self.size_bytes += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class ParquetWriting:
    """A table as Parquet. ``ordered``: whether the file promises its readers the ticket's order; ``store``
    raises NotInOrder when it cannot. ``quick``: rows may be read many at once, which tells lines apart that
    are not one object each as their writer might have meant them; the caller looks at ``rows``."""

    steps_ahead = 8
    """A group is written at once, and as much can be read meanwhile."""

    def __init__(
        self,
        ticket: Ticket,
        columns: Sequence[Column],
        keep: Window | None,
        sink: Callable[[bytes], None],
        *,
        ordered: bool,
        quick: bool,
    ) -> None:
        self._quick = quick
        self.rows = 0
        self._columns = columns
        self._time_field = ticket.time_field
        self._picking = Picking(ticket, keep)
        self._tables: Tables | None = None
        descending = ticket.order is Order.DESC if ordered else None
        self._file = _File(sink, schema_of(columns), descending=descending)

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    @property
    def sha256(self) -> str:
        return self._file.sha256

    def taken(self, plain: bytes) -> pa.Table | None:
        return self._table(*self._picking.feed(plain))

    def ended(self) -> pa.Table | None:
        return self._table(*self._picking.finish())

    def store(self, content: pa.Table | None) -> None:
        if content is not None:
            self._file.write(content)

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        self._file.abandon()

    def _table(self, region: bytes, count: int | None) -> pa.Table | None:
        stream = self._picking.stream
        if self._tables is None:
            if not region or not self._picking.count(region):
                return None  # what dates the rows is told by one of them
            self._tables = Tables(
                self._columns, time_name_of(region, stream, self._time_field), quick=self._quick
            )
        if not region or count == 0:
            return None
        table = self._tables.table(region, stream.shape, stream.columns)
        self.rows += table.num_rows
        return table

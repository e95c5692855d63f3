"""How does the ledger look as Parquet? The same columns in the same order, typed. Needs the extra
``parquet``."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import fields
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.manifest.export import COLUMNS, TIMES, within_calendar
from orchestrator.ports.store import LedgerRow

__all__ = ["ledger_parquet"]

_GROUP_ROWS: Final = 20_000
_MS: Final = pa.timestamp("ms", tz="UTC")
_WHOLE: Final = frozenset(field.name for field in fields(LedgerRow) if str(field.type).startswith("int"))


def _type(name: str) -> pa.DataType:
    if name in TIMES:
        return _MS
    return pa.int64() if name in _WHOLE else pa.string()


_SCHEMA: Final = pa.schema([pa.field(name, _type(name)) for name in COLUMNS])


async def ledger_parquet(rows: AsyncIterable[LedgerRow]) -> AsyncIterator[bytes]:
    """The bytes of one Parquet file, zstd inside; memory is that of one row group. Times are moments to the
    millisecond; one beyond the calendar, which a service may say, is null."""
    out = _Pieces()
    writer = pq.ParquetWriter(pa.PythonFile(out, mode="w"), _SCHEMA, compression="zstd")
    gathered: list[LedgerRow] = []
    try:
        async for row in rows:
            gathered.append(row)
            if len(gathered) >= _GROUP_ROWS:
                writer.write_table(_table(gathered))
                gathered = []
                yield out.taken()
        if gathered:
            writer.write_table(_table(gathered))
    finally:
        writer.close()
    yield out.taken()


def _table(rows: list[LedgerRow]) -> pa.Table:
    return pa.Table.from_pydict({name: [_cell(row, name) for row in rows] for name in COLUMNS}, _SCHEMA)


def _cell(row: LedgerRow, name: str) -> Any:
    value = getattr(row, name)
    if value is None or isinstance(value, str):
        return value
    if name in TIMES:
        return round(value * 1000) if within_calendar(value) else None
    return int(value)


class _Pieces:
    """A file that only grows, taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def write(self, content: Any) -> int:
        piece = bytes(content)
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size_bytes

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

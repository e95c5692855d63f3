"""How do regions of rows become Arrow tables, and tables rows again?

Arrow's own reader of JSON is strict where it matters: it refuses a block in which any field is new, of
another type or there twice. What it takes is right to the letter but for fractions and times, which are
looked at; a block it refuses is read record by record (``record``), and both give the same table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from orchestrator.core.columns import RECORD, TIME, Column, ColumnType
from orchestrator.dataplane.csvform import Columns
from orchestrator.dataplane.record import Records
from orchestrator.dataplane.sniff import Shape

__all__ = ["Tables", "lines_of", "schema_of"]

_MS: Final = pa.timestamp("ms", tz="UTC")
_TYPES: Final = {
    ColumnType.STRING: pa.string(),
    ColumnType.INT64: pa.int64(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.TIMESTAMP: _MS,
    ColumnType.JSON: pa.string(),
}
_KIND: Final = b"kind"
_JSON_KIND: Final = {_KIND: b"json"}
_EXACT: Final = 2.0**53
_MS_FROM, _MS_TO = 10**11, 10**14 - 1
"""Whole numbers that ``times`` reads as milliseconds."""


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The columns in their order, then ``_raw``. Columns of JSON are text that says so in its field's
    metadata."""
    fields = [
        pa.field(
            column.name,
            _TYPES[column.type],
            metadata=_JSON_KIND if column.type is ColumnType.JSON else None,
        )
        for column in columns
    ]
    return pa.schema([*fields, pa.field(RECORD, pa.string())])


class Tables:
    """Makes tables of ``schema`` of one file's regions. ``time_name`` as in ``record.Records``; ``quick`` as
    in ``parquet.ParquetWriting``."""

    def __init__(self, columns: Sequence[Column], time_name: str | None, *, quick: bool = True) -> None:
        self._at_once = quick
        self.schema = schema_of(columns)
        self._records = Records(columns, time_name)
        self._columns = tuple(columns)
        types = {column.name: column.type for column in columns}
        self._derived = time_name if time_name != TIME and time_name in types else None
        typed = [column for column in columns if column.type is not ColumnType.JSON]
        whole = [column.name for column in typed if column.type is ColumnType.TIMESTAMP]
        self._quick = pa.schema(
            [
                pa.field(column.name, pa.int64() if column.name in whole else _TYPES[column.type])
                for column in typed
            ]
        )
        self._whole = frozenset(whole)

    def table(self, region: bytes, shape: Shape, names: Columns | None) -> pa.Table:
        """A row for each of ``split_rows``, in their order."""
        if shape is not Shape.CSV and self._at_once:
            table = self._read_at_once(region)
            if table is not None:
                return table
        rows = list(self._records.rows(region, shape, names))
        if not rows:
            return self.schema.empty_table()
        cells = zip(*(cells for cells, _ in rows), strict=True)
        arrays = [
            pa.array(column, type=field.type) for column, field in zip(cells, self.schema, strict=False)
        ]
        return pa.Table.from_arrays(
            [*arrays, pa.array([record for _, record in rows], type=pa.string())], schema=self.schema
        )

    def _read_at_once(self, region: bytes) -> pa.Table | None:
        """None where a record does not fit, or where it is not quickly seen that all do."""
        try:
            found = pj.read_json(
                pa.BufferReader(region),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(region) + 1),
                parse_options=pj.ParseOptions(
                    explicit_schema=self._quick, unexpected_field_behavior="error", newlines_in_values=False
                ),
            )
            if not region.isascii():
                found.validate(full=True)
        except pa.ArrowInvalid:
            return None
        arrays: dict[str, pa.ChunkedArray] = {}
        for name, array in zip(found.column_names, found.columns, strict=True):
            exact = _exact(array, is_time=name in self._whole)
            if exact is None:
                return None
            arrays[name] = exact
        if self._derived is not None and arrays[TIME].null_count:
            dated = self._dated(arrays)
            if dated is None:
                return None
            arrays[TIME] = dated
        return pa.Table.from_arrays(
            [
                arrays[field.name] if field.name in arrays else pa.nulls(found.num_rows, field.type)
                for field in self.schema
            ],
            schema=self.schema,
        )

    def _dated(self, arrays: dict[str, pa.ChunkedArray]) -> pa.ChunkedArray | None:
        """The times of rows that have theirs under another name; None when they must be read one by one."""
        derived = arrays.get(self._derived or "")
        if derived is None or derived.null_count or derived.type != pa.int64():
            return None
        return _exact(derived, is_time=True) if arrays[TIME].null_count == len(derived) else None


def _exact(array: pa.ChunkedArray, *, is_time: bool) -> pa.ChunkedArray | None:
    """The values as the column holds them; None when some must be looked at by itself."""
    if array.null_count == len(array):
        return array.cast(_MS) if is_time else array
    if is_time:
        ends = pc.min_max(array).as_py()
        return array.cast(_MS) if ends["min"] >= _MS_FROM and ends["max"] <= _MS_TO else None
    if array.type == pa.float64():
        ends = pc.min_max(pc.abs(array)).as_py()
        return array if ends["max"] < _EXACT and not pc.any(pc.is_nan(array)).as_py() else None
    return array


def lines_of(table: pa.Table) -> Iterator[bytes]:
    """The records of a table as lines of JSON without their ends: what ``_raw`` says where it says
    something, else the fields that are not null; times are epoch milliseconds."""
    names: list[str] = []
    columns: list[Sequence[Any]] = []
    kinds: list[bool] = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name == RECORD:
            continue
        plain = column.cast(pa.int64()) if pa.types.is_timestamp(field.type) else column
        names.append(field.name)
        columns.append(plain.to_pylist())
        kinds.append((field.metadata or {}).get(_KIND) == _JSON_KIND[_KIND])
    whole = table.column(RECORD).to_pylist() if RECORD in table.schema.names else [None] * table.num_rows
    for record, *cells in zip(whole, *columns, strict=True):
        if record is not None:
            yield record.encode()
        else:
            yield orjson.dumps(
                {
                    name: orjson.Fragment(cell) if is_json else cell
                    for name, cell, is_json in zip(names, cells, kinds, strict=True)
                    if cell is not None
                }
            )

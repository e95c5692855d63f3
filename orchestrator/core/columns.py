"""Which columns does a table of a job's records have, and of which type?

A table, be it CSV or Parquet, has the same columns in every file of a job, so that all of them read as one:
first what every record of the service has, then what the first file was found to hold or the job file
declares, at the end ``_raw``. A record that does not fit its columns to the letter stands whole in ``_raw``,
so that no type guessed too narrow and no field that appears later loses anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "FIXED",
    "MOST_COLUMNS",
    "RECORD",
    "RESERVED",
    "TIME",
    "Column",
    "ColumnType",
    "Table",
    "table_columns",
    "type_of_kinds",
]

MOST_COLUMNS: Final = 500
"""So many are discovered; what a record has beyond them is in ``_raw``."""
TIME: Final = "@timestamp"
"""The record's time, whatever its field is called where it comes from."""
RECORD: Final = "_raw"
"""The whole record as JSON, of those that do not fit; null for all others."""


class ColumnType(StrEnum):
    """What the cells of a column are. ``JSON`` cells are texts of JSON: objects, arrays, or values of
    different types."""

    STRING = "string"
    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    TIMESTAMP = "timestamp"
    JSON = "json"


class Table(StrEnum):
    """How a table is stored; the word used in ``Receipt.form``."""

    CSV = "csv-table"
    PARQUET = "parquet"

    @property
    def suffix(self) -> str:
        """File name suffix with its dot."""
        return {Table.CSV: ".csv", Table.PARQUET: ".parquet"}[self]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; its name is that of the field."""

    name: str
    type: ColumnType


FIXED: Final = (
    Column(TIME, ColumnType.TIMESTAMP),
    Column("@stream", ColumnType.STRING),
    Column("@seq", ColumnType.INT64),
    Column("@raw", ColumnType.STRING),
)
"""What query results name (bls-api.md 2.7), in every table of every job, whether or not a file has them."""

RESERVED: Final = frozenset({TIME, RECORD, ""})
"""No field is declared or found to be one of these."""


def table_columns(found: Iterable[Column], declared: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns between the ends of the table: the fixed ones, those ``found`` in files in their order, and
    those only ``declared``. What is declared has the last word on its type. Without ``_raw``, which every
    table has besides."""
    types = {name: ColumnType(type_) for name, type_ in declared if name not in RESERVED}
    columns = {column.name: column for column in FIXED}
    for column in found:
        if column.name not in RESERVED:
            columns.setdefault(column.name, column)
    for name, type_ in types.items():
        columns[name] = Column(name, type_)
    return tuple(columns.values())


def type_of_kinds(kinds: frozenset[ColumnType]) -> ColumnType:
    """The type of a column whose values were seen to be of these kinds. Whole numbers beside fractions are
    fractions; other mixtures are JSON; of a field that never said anything, texts are expected."""
    if not kinds:
        return ColumnType.STRING
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {ColumnType.INT64, ColumnType.FLOAT64}:
        return ColumnType.FLOAT64
    return ColumnType.JSON

"""Which columns do the rows of a file suggest?

Asked of the first file of a job that becomes a table, and remembered: what it says holds for all files after
it. So rows from all over the file are looked at, and what they leave open is decided for the wider type.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from orchestrator.core.columns import FIXED, MOST_COLUMNS, RECORD, Column, ColumnType, type_of_kinds
from orchestrator.dataplane.csvform import Columns
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape

__all__ = ["Discovery"]

_ROWS_OF_A_REGION: Final = 2_000
_INT64: Final = range(-(2**63), 2**63)
_NOT_FOUND: Final = frozenset({"", RECORD, *(column.name for column in FIXED)})
_KINDS: Final[dict[type, ColumnType]] = {
    str: ColumnType.STRING,
    bool: ColumnType.BOOL,
    float: ColumnType.FLOAT64,
    dict: ColumnType.JSON,
    list: ColumnType.JSON,
}


class Discovery:
    """Shown the regions of one file, it names columns in the order in which fields were met, behind the
    fixed ones. Cells of CSV are texts, whatever they say: only who wrote them knows."""

    def __init__(self) -> None:
        self._kinds: dict[str, set[ColumnType]] = {}

    def look(self, region: bytes, shape: Shape, names: Columns | None) -> None:
        if shape is Shape.CSV:
            for name in names.names if names is not None else ():
                self._meet(name, "")
            return
        rows = split_rows(region, shape)
        for row in rows[:: -(-len(rows) // _ROWS_OF_A_REGION) or 1]:
            try:
                found = orjson.loads(row)
            except orjson.JSONDecodeError:
                continue
            if isinstance(found, dict):
                for name, value in found.items():
                    self._meet(name, value)

    def columns(self) -> tuple[Column, ...]:
        """The fixed ones and what was found; types as ``type_of_kinds``."""
        found = (Column(name, type_of_kinds(frozenset(kinds))) for name, kinds in self._kinds.items())
        return (*FIXED, *found)

    def _meet(self, name: str, value: Any) -> None:
        kinds = self._kinds.get(name)
        if kinds is None:
            if name in _NOT_FOUND or len(self._kinds) >= MOST_COLUMNS or not _is_text(name):
                return
            kinds = self._kinds[name] = set()
        if type(value) is int:
            kinds.add(ColumnType.INT64 if value in _INT64 else ColumnType.JSON)
        elif value is not None:
            kinds.add(_KINDS[type(value)])


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

"""How is a row of a table spelled in CSV?

RFC 4180 with a header, UTF-8, lines ended by a newline. A text is itself, and in quotes where it needs them;
an empty text is ``""``, and nothing at all is null. Times are ISO 8601 in UTC to the millisecond.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from orchestrator.core.columns import RECORD, Column, ColumnType

__all__ = ["CsvTable"]

_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]|^\s|\s$|^$')
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class CsvTable:
    """Spells rows of ``columns`` and the record behind them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.header = _spelled([_quoted(name) for name in (*(column.name for column in columns), RECORD)])
        self._writers = [*(_WRITERS[column.type] for column in columns), _quoted]

    def line(self, cells: Sequence[Any], record: str | None) -> bytes:
        """One row with its line end."""
        texts = [
            "" if cell is None else write(cell)
            for write, cell in zip(self._writers, (*cells, record), strict=True)
        ]
        return _spelled(texts)


def _spelled(texts: Sequence[str]) -> bytes:
    return (",".join(texts) + "\n").encode()


def _quoted(text: str) -> str:
    if _NEEDS_QUOTES.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


def _moment(at_ms: int) -> str:
    return (_EPOCH + at_ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_WRITERS: Final[Mapping[ColumnType, Callable[[Any], str]]] = {
    ColumnType.STRING: _quoted,
    ColumnType.INT64: str,
    ColumnType.FLOAT64: json.dumps,
    ColumnType.BOOL: json.dumps,
    ColumnType.TIMESTAMP: _moment,
    ColumnType.JSON: _quoted,
}

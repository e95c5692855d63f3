"""How does the ledger look outside: JSON lines, CSV, a table, or checksums, chunk by chunk as the rows come.

Column names and their order are public (design, ``manifest --format``). Times are ISO 8601 UTC, what is
missing is null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import orjson

from orchestrator.errors import UsageError
from orchestrator.ports.store import LedgerRow

__all__ = ["COLUMNS", "FORMATS", "TIMES", "cells", "ledger_text", "within_calendar"]

COLUMNS = tuple(field.name for field in fields(LedgerRow))
"""The order of the ledger's columns."""

FORMATS = ("table", "jsonl", "csv", "sha256sums")
"""Of text; ``ledgertable`` writes Parquet."""

TIMES = frozenset({"slice_start", "slice_end", "counted_at", "created_at", "finished_at"})
_CHUNK_BYTES = 1 << 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLE = (
    ("job", 20),
    ("slice", 16),
    ("slice_start", 20),
    ("slice_end", 20),
    ("state", 12),
    ("attempt", 7),
    ("task_state", 10),
    ("expected_lines", 14),
    ("stored_rows", 11),
    ("evidence", 11),
    ("path", 0),
)
"""What a person reads, and how wide: longer text is written out rather than cut; ``path`` comes last and is
not padded."""

Cell = str | int | None


def cells(row: LedgerRow) -> dict[str, Cell]:
    """The row as it is written: columns in order, times as text."""
    return {name: _cell(name, getattr(row, name)) for name in COLUMNS}


def _cell(name: str, value: str | float | None) -> Cell:
    if value is None or isinstance(value, str):
        return value
    return _moment(value) if name in TIMES else int(value)


def _moment(at: float) -> str:
    """Whole seconds without, others with milliseconds. A service may say any time: beyond the calendar it is
    the number."""
    try:
        moment = _EPOCH + timedelta(milliseconds=round(at * 1000))
    except (OverflowError, ValueError):
        return str(at)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def within_calendar(at: float) -> bool:
    """Whether a time can be shown as one."""
    return _moment(at).endswith("Z")


async def ledger_text(rows: AsyncIterable[LedgerRow], format: str) -> AsyncIterator[bytes]:
    """UTF-8 chunks of the ledger in ``format``; memory does not grow with the rows. Raises UsageError for
    another format.

    ``csv`` follows RFC 4180 with a header; ``sha256sums`` is what ``sha256sum -c`` reads: one line per stored
    file.
    """
    if format not in FORMATS:
        raise UsageError(f"no ledger format {format!r}", hint="one of " + ", ".join(FORMATS))
    line = {"jsonl": _json_line, "csv": _csv_line, "table": _table_line, "sha256sums": _sum_line}[format]
    pending = bytearray(_head(format))
    async for row in rows:
        pending += line(row)
        if len(pending) >= _CHUNK_BYTES:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)


def _head(format: str) -> bytes:
    if format == "csv":
        return _csv_text(COLUMNS)
    if format == "table":
        return _columns({name: name for name, _ in _TABLE})
    return b""


def _json_line(row: LedgerRow) -> bytes:
    return orjson.dumps(cells(row), option=orjson.OPT_APPEND_NEWLINE)


def _csv_line(row: LedgerRow) -> bytes:
    return _csv_text(tuple("" if cell is None else cell for cell in cells(row).values()))


def _csv_text(values: tuple[str | int, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()


def _table_line(row: LedgerRow) -> bytes:
    return _columns({name: "-" if cell is None else str(cell) for name, cell in cells(row).items()})


def _columns(words: dict[str, str]) -> bytes:
    """Words in columns, control characters made visible: nothing the service said may move a terminal's
    cursor."""
    padded = "  ".join(_visible(words[name]).ljust(width) for name, width in _TABLE)
    return (padded.rstrip() + "\n").encode()


def _visible(word: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in word
    )


def _sum_line(row: LedgerRow) -> bytes:
    """Backslash and line ends in a path are escaped and the line starts with a backslash, as GNU sha256sum
    writes it."""
    if row.state != "done" or row.path is None or row.stored_sha256 is None:
        return b""
    path = row.path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if path == row.path else "\\"
    return f"{mark}{row.stored_sha256}  {path}\n".encode()

"""How does a row look when it leaves at once: as served, as its raw line alone, as JSON, or as CSV?

For rows that are written while later ones do not exist yet: the columns of a table are those of its first
rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

import orjson

from orchestrator.dataplane.convert import objects, plain_lines
from orchestrator.dataplane.csvform import cells_of
from orchestrator.dataplane.inorder import Region
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.errors import UsageError

__all__ = ["RAW_FIELDS", "Outgoing", "RowWriter"]

RAW_FIELDS: Final = ("@raw", "message", "raw")
"""Where the raw line of a record stands: in query results, in pull results, and in files of other makers
(bls-api.md 2.7)."""


class Outgoing(StrEnum):
    """What is written of each row."""

    RAW = "raw"
    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"


class RowWriter:
    """Spells regions in one form, one after the other: what must come once, such as a CSV header, comes with
    the first."""

    def __init__(self, form: Outgoing) -> None:
        self._form = form
        self._header: bytes | None = None
        self._names: tuple[str, ...] | None = None

    def spelled(self, region: Region) -> bytes:
        """The bytes of these rows. Raises UsageError for a row that the form cannot hold."""
        if not region.rows:
            return b""
        if self._form is Outgoing.TEXT:
            return b"".join(_lines(region))
        if self._form is Outgoing.CSV and region.shape is not Shape.CSV:
            return self._as_table(_objects(region))
        if self._form is Outgoing.JSONL:
            return _json_lines(region)
        if region.shape is not Shape.CSV:
            return region.rows
        return self._csv(region)

    def _csv(self, region: Region) -> bytes:
        """Rows of a CSV file below one header: that of the first file."""
        names = region.columns.names if region.columns else ()
        if self._names is None:
            self._header, self._names = region.header, names
            return region.header + region.rows
        if region.header == self._header or names == self._names:
            return region.rows
        if self._form is Outgoing.RAW:
            self._header, self._names = region.header, names
            return region.header + region.rows
        return self._as_table(dict(zip(names, _texts(row), strict=False)) for row in _split(region))

    def _as_table(self, rows: Iterator[dict[str, Any]]) -> bytes:
        sheet = io.StringIO(newline="")
        table = csv.writer(sheet, lineterminator="\r\n")
        listed = list(rows)
        if self._names is None:
            self._names = tuple(dict.fromkeys(name for row in listed for name in row))
            table.writerow(self._names)
        known = frozenset(self._names)
        for row in listed:
            new = row.keys() - known
            if new:
                raise UsageError(
                    f"a later row has the column {min(new)!r}, which the CSV header written first lacks",
                    hint="give --output jsonl, which needs no header",
                )
            table.writerow([_cell(row.get(name, "")) for name in self._names])
        try:
            return sheet.getvalue().encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a surrogate pair, written as an escape
            return sheet.getvalue().encode("utf-8", "replace")


def _json_lines(region: Region) -> bytes:
    if region.shape is Shape.CSV:
        return objects(region.rows, region.columns)
    return plain_lines(region.rows)


def _split(region: Region) -> list[bytes]:
    return split_rows(region.rows, region.shape)


def _texts(row: bytes) -> list[str]:
    return [cell.decode("utf-8", "surrogateescape") for cell in cells_of(row)]


def _lines(region: Region) -> Iterator[bytes]:
    """The raw line of each row, a newline behind it; all of the row when it has no such field."""
    if region.shape is Shape.CSV:
        names = region.columns.names if region.columns else ()
        index = next((names.index(name) for name in RAW_FIELDS if name in names), None)
        for row in _split(region):
            cells = cells_of(row)
            found = cells[index] if index is not None and index < len(cells) else row.rstrip(b"\r\n")
            yield found + b"\n"
        return
    for row in _split(region):
        parsed = _parsed(row)
        raw = next((parsed[name] for name in RAW_FIELDS if name in parsed), None)
        yield (_bytes_of(raw) if isinstance(raw, str) else row.rstrip(b"\r\n")) + b"\n"


def _bytes_of(raw: str) -> bytes:
    """Lone surrogates that stand for bytes become these bytes again; others cannot be written."""
    try:
        return raw.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return raw.encode("utf-8", "replace")


def _objects(region: Region) -> Iterator[dict[str, Any]]:
    for row in _split(region):
        yield _parsed(row) or {RAW_FIELDS[0]: row.decode("utf-8", "surrogateescape").rstrip("\r\n")}


def _parsed(row: bytes) -> dict[str, Any]:
    """The object in a row; empty when it is none. A byte that is not UTF-8 becomes the surrogate that stands
    for it."""
    try:
        found = orjson.loads(row)
    except orjson.JSONDecodeError:
        try:
            found = json.loads(row.decode("utf-8", "surrogateescape"), strict=False, parse_int=str)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

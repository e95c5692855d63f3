"""What a CSV row is made of: rows, cells, and whether the first row names the columns (bls-api.md 2.7, RFC
4180)."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Final

from orchestrator.dataplane.times import AUTO_FIELDS, second_of

__all__ = [
    "CSV_ROW",
    "CSV_ROWS",
    "Columns",
    "cells_of",
    "column_pattern",
    "header_of",
    "tidy_cells",
    "unquoted",
    "widened",
]

_FIELD: Final = rb'(?:"(?:[^"]++|"")*+"[^,\n]*+|(?!")[^,\n]*+)'
CSV_ROW: Final = re.compile(rb"(?:" + _FIELD + rb",)*+" + _FIELD + rb"\n")
"""One row with its line end."""
CSV_ROWS: Final = re.compile(rb"(?:(?:" + _FIELD + rb",)*+" + _FIELD + rb"\n)*+")
"""As many whole rows as there are."""
_CELL: Final = re.compile(rb"(" + _FIELD + rb")(?:,|\r?\n?\Z)")

_TIDY_CELL: Final = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_TIDY: Final = re.compile(rb"(?:(?:" + _TIDY_CELL + rb",)*+" + _TIDY_CELL + rb"\r?\n)*+")
"""Rows that everybody reads alike: a cell is quoted as a whole or not at all."""

_KNOWN: Final = frozenset(
    {*AUTO_FIELDS, "@raw", "@stream", "@seq", "@source", "message", "logstream", "time", "level"}
)
_NAME: Final = re.compile(r"[@A-Za-z_\u0080-\U0010ffff][\w@.\-:/ ]{0,127}")


@dataclass(frozen=True, slots=True)
class Columns:
    """``names`` are unique; columns without a name of their own are called ``#1``, ``#2``, … as in
    ``time_field``. ``time_index`` is the column of the record time, None when there is none."""

    names: tuple[str, ...]
    time_index: int | None


def unquoted(cell: bytes) -> bytes:
    """A cell's value: outer quotes off, doubled quotes single. What follows a closing quote is kept."""
    cell = cell.rstrip(b"\r\n") if cell.endswith((b"\r", b"\n")) else cell
    if not cell.startswith(b'"'):
        return cell
    end = len(cell) - 1 if cell.endswith(b'"') and len(cell) > 1 else cell.rfind(b'"')
    return (cell[1:end] + cell[end + 1 :]).replace(b'""', b'"')


def cells_of(row: bytes) -> list[bytes]:
    """The values of one row, with or without its line end."""
    row = row[:-2] if row.endswith(b"\r\n") else row.removesuffix(b"\n")
    if b'"' not in row:
        return row.split(b",")
    cells: list[bytes] = []
    at = 0
    while match := _CELL.match(row, at):
        cells.append(unquoted(match.group(1)))
        at = match.end()
        if at >= len(row):
            if row.endswith(b",") and match.end(1) < len(row):
                cells.append(b"")
            break
    return cells


def tidy_cells(region: bytes) -> list[list[str]] | None:
    """The values of all rows of a region, blank lines left out, as ``cells_of`` reads them; None where only
    it is sure to: quotes inside of a cell, bytes that are not UTF-8, cells beyond measure."""
    if _TIDY.fullmatch(region) is None:
        return None
    try:
        return [cells for cells in csv.reader(io.StringIO(region.decode(), newline="")) if cells]
    except (UnicodeDecodeError, csv.Error):
        return None


def column_pattern(index: int) -> re.Pattern[bytes]:
    """Matches every row of a region; its group is the cell of column ``index`` (from 0), still quoted, or b""
    in a row that has fewer columns."""
    reached = b"(?:" + _FIELD + b",){%d}(" % index + _FIELD + rb")(?:," + _FIELD + rb")*+"
    short = rb"(?:" + _FIELD + rb",)*+" + _FIELD
    return re.compile(b"(?:" + reached + b"|" + short + rb")\n")


def header_of(first_row: bytes, time_field: str) -> tuple[Columns, bool]:
    """Whether a file's first row names its columns, and the columns.

    It does when a cell is the time field or another name the service is known to use; failing that, when all
    cells are different, look like names and none reads as a number or a time. ``#3`` names the third column,
    header or not.
    """
    cells = [cell.decode("utf-8", "surrogateescape").strip() for cell in cells_of(first_row)]
    by_number = re.fullmatch(r"#([1-9]\d{0,3})", time_field)
    wanted = AUTO_FIELDS if time_field == "auto" else (time_field,)
    if any(cell in _KNOWN or (cell in wanted and not by_number) for cell in cells):
        is_header = True
    else:
        named = all(_NAME.fullmatch(cell) and second_of(cell) is None for cell in cells)
        is_header = named and len(set(cells)) == len(cells)
    names = _unique(cells if is_header else [""] * len(cells))
    if by_number:
        number = int(by_number.group(1))
        return Columns(names, number - 1 if number <= len(cells) else None), is_header
    found = [cells.index(name) for name in wanted if name in cells] if is_header else []
    return Columns(names, found[0] if found else None), is_header


def _unique(cells: list[str]) -> tuple[str, ...]:
    names: list[str] = []
    taken = set(cells)
    for number, cell in enumerate(cells, 1):
        name = cell
        if not cell or cell in names:
            name = f"{cell}#{number}"
            while name in taken:
                name += "#"
        taken.add(name)
        names.append(name)
    return tuple(names)


def widened(names: tuple[str, ...], width: int) -> tuple[str, ...]:
    """Names for a row with more cells than the header has."""
    wide = list(names)
    for number in range(len(names) + 1, width + 1):
        name = f"#{number}"
        while name in wide:
            name += "#"
        wide.append(name)
    return tuple(wide)

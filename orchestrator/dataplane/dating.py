"""When the rows of a region happened: all of them at once, with a few passes over the block at the speed of
C.

Python work per row is left for rows the quick ways do not read. The quick ways are exact: where they and a
full parse could differ (a nested field of the same name, a field missing in a row), they notice, and the next
slower one is taken for that region.

1. When the time is what each row begins with, the least and the greatest row of a block, compared as bytes,
hold the earliest
   and the latest time in it: all others share what the two have in common. One split, one min and one max
   tell that a whole block lies inside the window, whatever its order.
2. A pattern finds the time in every row.
3. Rows are parsed one by one.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from typing import Final

import orjson

from orchestrator.core.window import Window
from orchestrator.dataplane.csvform import Columns, column_pattern, unquoted
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import AUTO_FIELDS, second_of

__all__ = ["Dater", "dater_for"]

_CACHE_ENTRIES: Final = 100_000


class Dater(ABC):
    """Dates rows of one file. ``seconds`` returns one entry per row of ``split_rows(region)``, None for a row
    without a readable time."""

    @abstractmethod
    def seconds(self, region: bytes) -> list[int | None]:
        """One entry per row, UTC epoch seconds."""

    @abstractmethod
    def all_inside(self, region: bytes, window: Window) -> int | None:
        """The number of rows, when it is quickly seen that all of them lie in ``window``; else None."""


def _count_inside(region: bytes, leading: re.Pattern[bytes], window: Window) -> int | None:
    """Way 1. ``leading`` matches from the row's first byte through its time; group 1 is what comes before the
    time, group 2 its first ten digits, the seconds."""
    lines = region.split(b"\n")
    lines.pop()
    if not lines:
        return None
    least, greatest = leading.match(min(lines)), leading.match(max(lines))
    if least is None or greatest is None or least.group(1) != greatest.group(1):
        return None
    if least.end() != greatest.end():
        return None
    inside = window.start_s <= int(least.group(2)) and int(greatest.group(2)) < window.end_s
    return len(lines) if inside else None


class _Seconds(dict[bytes, int | None]):
    """Texts already read, so that a second met a thousand times is parsed once."""

    def __missing__(self, text: bytes) -> int | None:
        if len(self) >= _CACHE_ENTRIES:
            self.clear()
        second = second_of(text.decode("utf-8", "replace"))
        self[text] = second
        return second


_EPOCH: Final = rb'"?([1-9]\d{9})(?:\d{3}){0,3}+(?:\.\d{0,30})?+(?=["\s,}])'
_ISO: Final = rb'"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?+(Z|[+-]\d\d:\d\d)?+"'
_REST_OF_LINE: Final = rb"[^\n]*+\n"


class JsonDater(Dater):
    """Lines of JSON objects: one top-level field.

    A pattern takes the rest of the line with each match, so as many matches as newlines means one match in
    every line. That the match is the top-level field follows from there being one ``{`` a line, or from the
    pattern that walks over whole strings and stops at an inner ``{``. Which of two equal keys in one object
    counts is not promised.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        key = re.escape(json.dumps(field, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        before = key + rb"\s*+:\s*+"
        walk = rb"^[ \t]*+\{(?:(?!" + key + rb')(?:"(?:[^"\\\n]++|\\.)*+"|[^"{\n]++))*+'
        self._flat = [re.compile(before + value + _REST_OF_LINE) for value in (_EPOCH, _ISO)]
        self._walked = [
            re.compile(walk + before + value + _REST_OF_LINE, re.MULTILINE) for value in (_EPOCH, _ISO)
        ]
        self._anything = re.compile(before + rb'(?:"([^"\\]{1,64})"|([-+.\deE]{1,40}))')
        self._leading = re.compile(rb"(\{\s*+" + before + rb'"?)([1-9]\d{9})(?:\d{3}){0,3}+(?=["\s,}])')
        self._seen = _Seconds()

    def all_inside(self, region: bytes, window: Window) -> int | None:
        return _count_inside(region, self._leading, window)

    def seconds(self, region: bytes) -> list[int | None]:
        lines = region.count(b"\n")
        patterns = self._flat if region.count(b"{") == lines else self._walked
        for pattern in tuple(patterns):
            found = pattern.findall(region)
            if len(found) == lines:
                if pattern is not patterns[0]:
                    patterns.reverse()
                texts = map(b"".join, found) if pattern.groups > 1 else found
                return list(map(self._seen.__getitem__, texts))
        return [self._second(row) for row in split_rows(region, Shape.JSON_LINES)]

    def _second(self, row: bytes) -> int | None:
        try:
            parsed = orjson.loads(row)
        except orjson.JSONDecodeError:
            try:
                parsed = json.loads(row.decode("utf-8", "replace"), strict=False)
            except (ValueError, RecursionError):
                match = self._anything.search(row)
                return (
                    second_of((match.group(1) or match.group(2)).decode("utf-8", "replace"))
                    if match
                    else None
                )
        return second_of(parsed.get(self._field)) if isinstance(parsed, dict) else None


_LEADING_CELL: Final = re.compile(rb"()([1-9]\d{9})(?:\d{3}){0,3}+(?=[,\r]|\Z)")


class CsvDater(Dater):
    """CSV rows: one column."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._pattern = column_pattern(index)
        self._seen = _Seconds()

    def all_inside(self, region: bytes, window: Window) -> int | None:
        if self._index or b'"' in region:
            return None
        return _count_inside(region, _LEADING_CELL, window)

    def seconds(self, region: bytes) -> list[int | None]:
        if b'"' in region or b"\n\n" in region or b"\n\r\n" in region or region[:1] in (b"\r", b"\n"):
            region = b"".join(split_rows(region, Shape.CSV))  # without blank lines
        return [self._second(unquoted(cell)) for cell in self._pattern.findall(region)]

    def _second(self, cell: bytes) -> int | None:
        cell = cell.strip()
        if len(cell) == 13 and cell.isdigit() and not cell.startswith(b"0"):
            cell = cell[
                :10
            ]  # milliseconds, as the service writes them; the seconds are met again, the cell never
        return self._seen[cell]


def dater_for(shape: Shape, region: bytes, columns: Columns | None, time_field: str) -> Dater | None:
    """The dater for a file whose first region this is; None when it has no such field. The field is chosen
    once per file, by its first row."""
    if shape is Shape.CSV:
        return (
            CsvDater(columns.time_index) if columns is not None and columns.time_index is not None else None
        )
    first = next(iter(split_rows(region, shape)), b"")
    for field in AUTO_FIELDS if time_field == "auto" else (time_field,):
        dater = JsonDater(field)
        if dater.seconds(first) not in ([], [None]):
            return dater
    return None

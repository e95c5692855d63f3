"""When the rows of a region happened: all of them at once, with a few passes over the block at the speed of
C.

Python work per row is left for rows the quick ways do not read. The quick ways are exact: where they and a
full parse could differ (a nested field of the same name, a field missing in a row), they notice, and the next
slower one is taken for that region.

1. A pattern looks for a row that is not like the first, or not inside the window (``within``). Where it finds
   none, the whole block lies inside, whatever its order.
2. A pattern finds the time in every row.
3. Rows are parsed one by one.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from typing import Final

import orjson

from orchestrator.core.window import Window
from orchestrator.dataplane.csvform import Columns, cells_of, column_pattern, unquoted
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import AUTO_FIELDS, finer_than_seconds, millisecond_of, second_of
from orchestrator.dataplane.within import cells_inside, objects_inside

__all__ = ["Dater", "FineDater", "JsonDater", "dater_for", "fine_dater_for", "json_dater"]

_CACHE_ENTRIES: Final = 100_000
_Pattern = re.Pattern[bytes]


class Dater(ABC):
    """Dates rows of one file. ``seconds`` returns one entry per row of ``split_rows(region)``, None for a row
    without a readable time."""

    @abstractmethod
    def seconds(self, region: bytes) -> list[int | None]:
        """One entry per row, UTC epoch seconds."""

    @abstractmethod
    def all_inside(self, region: bytes, window: Window) -> int | None:
        """The number of rows, when it is quickly seen that all of them lie in ``window``; else None."""


class _Seconds(dict[bytes, int | None]):
    """Texts already read, so that a second met a thousand times is parsed once."""

    def __missing__(self, text: bytes) -> int | None:
        if len(self) >= _CACHE_ENTRIES:
            self.clear()
        second = second_of(text.decode("utf-8", "replace"))
        self[text] = second
        return second


_NUMBER: Final = rb"([1-9]\d{9})(?:(?:\d{3}){0,3}+|(?:\d{3})?+\.\d{1,3})(?=[\s,}])"
"""Longer fractions of a number are left to the parser, which rounds them as a float is rounded."""
_DIGITS: Final = rb'"([1-9]\d{9})(?:\d{3}){0,3}+(?:\.\d{0,30})?+"'
_ISO: Final = rb'"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?+(Z|[+-]\d\d:\d\d)?+"'
_REST_OF_LINE: Final = rb"[^\n]*+\n"
SECONDS: Final = (_NUMBER, _DIGITS, _ISO)
"""How a time is written where its seconds can be read off; what a group matches is the text of the second."""


class JsonDater(Dater):
    """Lines of JSON objects: one top-level field.

    A pattern takes the rest of the line with each match, so as many matches as newlines means one match in
    every line. That the match is the top-level field follows from each line's beginning with its only ``{``,
    or from the pattern that walks over whole strings and stops at an inner ``{``; that it is the only one,
    from the name's standing in the block once a line. Of two equal keys in one object the last counts, as in
    every parser (unless one of them is spelled with escapes).
    """

    def __init__(self, field: str, forms: tuple[bytes, ...] = SECONDS) -> None:
        self.field = field
        self.key, flat, walked, self._anything = _patterns(field, forms)
        self._flat, self._walked = list(flat), list(walked)
        self._seen = _Seconds()

    def all_inside(self, region: bytes, window: Window) -> int | None:
        return objects_inside(region, self.key, window)

    def seconds(self, region: bytes) -> list[int | None]:
        texts = self.texts(region)
        if texts is not None:
            return list(map(self._seen.__getitem__, texts))
        return [self._second(row) for row in split_rows(region, Shape.JSON_LINES)]

    def texts(self, region: bytes) -> Iterable[bytes] | None:
        """What one of ``forms`` matches in every row of the region; None when that is not so, or not surely
        the field's value."""
        lines = region.count(b"\n")
        patterns: list[re.Pattern[bytes]] = []
        if region.count(self.key) == lines:
            begun = region.count(b"\n{") + region.startswith(b"{")
            patterns = self._flat if region.count(b"{") == lines == begun else self._walked
        for pattern in tuple(patterns):
            found = pattern.findall(region)
            if len(found) == lines:
                if pattern is not patterns[0]:
                    patterns.remove(pattern)
                    patterns.insert(0, pattern)
                return map(b"".join, found) if pattern.groups > 1 else found
        return None

    def _second(self, row: bytes) -> int | None:
        return second_of(self.value(row))

    def value(self, row: bytes) -> object:
        """What the row says of its time; None when it says nothing, or is no object."""
        try:
            parsed = orjson.loads(row)
        except orjson.JSONDecodeError:
            try:
                parsed = json.loads(row.decode("utf-8", "replace"), strict=False, parse_int=_whole)
            except (ValueError, RecursionError):
                found = self._anything.findall(row)
                return b"".join(found[-1]).decode("utf-8", "replace") if found else None
        return parsed.get(self.field) if isinstance(parsed, dict) else None


@cache
def _patterns(
    field: str, forms: tuple[bytes, ...]
) -> tuple[bytes, tuple[_Pattern, ...], tuple[_Pattern, ...], _Pattern]:
    """How the field is spelled, and what finds its times: on flat rows, walking, and anything at all."""
    key = json.dumps(field, ensure_ascii=False).encode("utf-8", "surrogatepass")
    name = re.escape(key)
    before = name + rb"\s*+:\s*+"
    walk = rb"^[ \t]*+\{(?:(?!" + name + rb')(?:"(?:[^"\\\n]++|\\.)*+"|[^"{\n]++))*+'
    # What follows a backslash is not the beginning of a name, but a quote inside a longer one. It is looked
    # at behind the name only, so that the search goes from name to name.
    flat = name + rb"(?<!\\" + name + rb")\s*+:\s*+"
    return (
        key,
        tuple(re.compile(flat + value + _REST_OF_LINE) for value in forms),
        tuple(re.compile(walk + before + value + _REST_OF_LINE, re.MULTILINE) for value in forms),
        # Looked ahead at, so that the quote that ends one value may begin the next name.
        re.compile(rb"(?=" + before + rb'(?:"([^"\\]{1,64})"|([-+.\deE]{1,40})))'),
    )


def _whole(digits: str) -> int | float:
    """A number of JSON; ``int`` refuses some thousand digits, which are no time but may stand beside one."""
    return int(digits) if len(digits) <= 40 else float(digits)


class CsvDater(Dater):
    """CSV rows: one column."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._pattern = column_pattern(index)
        self._seen = _Seconds()

    def all_inside(self, region: bytes, window: Window) -> int | None:
        return cells_inside(region, self._index, window)

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


class FineDater(Dater):
    """To the millisecond, row by row: for files of a single second that one remote task cannot carry. What
    ``seconds`` returns are UTC epoch milliseconds."""

    def __init__(self, shape: Shape, columns: Columns | None, field: str) -> None:
        self._shape = shape
        self._column = columns.time_index if columns is not None else None
        self._field = field

    def seconds(self, region: bytes) -> list[int | None]:
        return [millisecond_of(self._time(row)) for row in split_rows(region, self._shape)]

    def says(self, row: bytes, millisecond: int) -> bool:
        """Whether the row's time is exactly this, and is not written in whole seconds."""
        time = self._time(row)
        return finer_than_seconds(time) and millisecond_of(time) == millisecond

    def all_inside(self, region: bytes, window: Window) -> int | None:
        return None

    def _time(self, row: bytes) -> object:
        if self._shape is Shape.CSV:
            cells = cells_of(row)
            if self._column is None or self._column >= len(cells):
                return None
            return cells[self._column].decode("utf-8", "replace")
        try:
            parsed = json.loads(row.decode("utf-8", "replace"), strict=False)
        except (ValueError, RecursionError):
            return None
        return parsed.get(self._field) if isinstance(parsed, dict) else None


def dater_for(shape: Shape, region: bytes, columns: Columns | None, time_field: str) -> Dater | None:
    """The dater for a file whose first region this is; None when it has no such field. The field is chosen
    once per file, by its first row."""
    if shape is Shape.CSV:
        index = columns.time_index if columns is not None else None
        return None if index is None else CsvDater(index)
    return json_dater(region, time_field)


def fine_dater_for(shape: Shape, region: bytes, columns: Columns | None, time_field: str) -> FineDater | None:
    """As ``dater_for``, to the millisecond."""
    if shape is Shape.CSV:
        return None if columns is None or columns.time_index is None else FineDater(shape, columns, "")
    coarse = json_dater(region, time_field)
    return None if coarse is None else FineDater(shape, columns, coarse.field)


def json_dater(region: bytes, time_field: str) -> JsonDater | None:
    """The dater of a file of JSON lines; its ``field`` is the first that the first row has a time in."""
    first = next(iter(split_rows(region, Shape.JSON_LINES)), b"")
    for field in AUTO_FIELDS if time_field == "auto" else (time_field,):
        dater = JsonDater(field)
        if dater.seconds(first) not in ([], [None]):
            return dater
    return None

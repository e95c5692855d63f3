"""What does a record say in each column of a table, to the letter?

A cell holds what the record says or nothing: text is no number, a number that a column would round or cannot
hold is not put there, two values of one name are not one. A record of which anything found no cell is kept
whole beside the cells that fit. So cells that stand alone mean the record, and ``_raw`` means it otherwise.
A field that is null says the same as one that is not there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from orchestrator.core.columns import TIME, Column, ColumnType
from orchestrator.dataplane.csvform import Columns, cells_of, widened
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import exact_millisecond_of, millisecond_of, within_calendar

__all__ = ["Fields", "Number", "Records", "fields_of", "json_text"]

_WHOLE: Final = re.compile(r"0|-?[1-9]\d{0,18}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EXACT: Final = 2**53
"""Whole numbers up to this are floats as they are."""
_UNFIT: Final = object()


class Number(str):
    """A number of JSON as it is written."""

    __slots__ = ()


class Fields(list[tuple[str, Any]]):
    """An object of JSON with all its pairs in their order, those of equal names too."""

    __slots__ = ()


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_DECODE: Final = json.JSONDecoder(
    object_pairs_hook=Fields, parse_int=Number, parse_float=Number, parse_constant=_constant, strict=False
).decode


def fields_of(row: bytes) -> Fields | None:
    """The fields of a line of JSON; None for what is no object, or not UTF-8."""
    try:
        found = _DECODE(row.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Fields) else None


def json_text(value: object) -> str:
    """What ``fields_of`` gave, or a part of it, as compact JSON again."""
    match value:
        case Number():
            return str(value)
        case Fields():
            return "{" + ",".join(f"{json_text(name)}:{json_text(of)}" for name, of in value) + "}"
        case list():
            return "[" + ",".join(map(json_text, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


class Records:
    """Reads the records of one file into ``columns``. ``time_name`` is the field that dates them in this
    file, None when there is none: it fills the first column where that has no field of its own name."""

    def __init__(self, columns: Sequence[Column], time_name: str | None) -> None:
        self._columns = tuple(columns)
        self._places = {column.name: place for place, column in enumerate(columns)}
        self._from_json = [_FROM_JSON[column.type] for column in columns]
        self._from_text = [_FROM_TEXT[column.type] for column in columns]
        self._time_place = self._places[TIME]
        self._time_name = None if time_name == TIME else time_name

    def rows(
        self, region: bytes, shape: Shape, names: Columns | None
    ) -> Iterator[tuple[list[Any], str | None]]:
        """The cells of each row of ``split_rows(region, shape)`` and the record of those that do not fit.
        Times are UTC epoch milliseconds. ``names`` are the columns of a CSV file."""
        if shape is Shape.CSV:
            header = names.names if names is not None else ()
            for row in split_rows(region, shape):
                yield self._of_csv(header, row)
        else:
            for row in split_rows(region, shape):
                yield self._of_json(row)

    def _of_json(self, row: bytes) -> tuple[list[Any], str | None]:
        fields = fields_of(row)
        if fields is None:
            return [None] * len(self._columns), _line(row)
        cells, fits = self._placed(fields, self._from_json, to_time=_time_of_json)
        return cells, None if fits else _line(row)

    def _of_csv(self, header: tuple[str, ...], row: bytes) -> tuple[list[Any], str | None]:
        texts = [cell.decode("utf-8", "surrogateescape") for cell in cells_of(row)]
        named = header if len(texts) <= len(header) else widened(header, len(texts))
        pairs = list(zip(named, texts, strict=False))
        cells, fits = self._placed(pairs, self._from_text, to_time=millisecond_of)
        return cells, None if fits else _ascii_surrogates(json.dumps(dict(pairs), ensure_ascii=False))

    def _placed(
        self,
        pairs: Sequence[tuple[str, Any]],
        readers: Sequence[Callable[[Any], Any]],
        *,
        to_time: Callable[[Any], int | None],
    ) -> tuple[list[Any], bool]:
        cells: list[Any] = [None] * len(self._columns)
        fits = len(pairs) < 2 or len({name for name, _ in pairs}) == len(pairs)
        for name, value in pairs:
            if value is None:
                continue
            place = self._places.get(name)
            cell = _UNFIT if place is None else readers[place](value)
            if cell is _UNFIT:
                fits = False
            elif place is not None:
                cells[place] = cell
            if name == self._time_name and cells[self._time_place] is None:
                moment_ms = to_time(value)
                if moment_ms is not None and within_calendar(moment_ms):
                    cells[self._time_place] = moment_ms
        return cells, fits


def _line(row: bytes) -> str:
    return _ascii_surrogates(row.rstrip(b"\r\n").decode("utf-8", "surrogateescape"))


def _ascii_surrogates(text: str) -> str:
    """Bytes that were not UTF-8, and halves of pairs, as the escapes of JSON that mean them (PEP 383)."""
    if text.isascii():
        return text
    return _SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _time_of_json(value: object) -> int | None:
    return millisecond_of(str(value)) if isinstance(value, str) else None


def _text(value: object) -> object:
    if not isinstance(value, str) or isinstance(value, Number):
        return _UNFIT
    return value if value.isascii() or not _SURROGATE.search(value) else _UNFIT


def _whole(value: object) -> object:
    if not isinstance(value, Number) or not _WHOLE.fullmatch(value):
        return 0 if value == "-0" and isinstance(value, Number) else _UNFIT
    number = int(value)
    return number if -(2**63) <= number < 2**63 else _UNFIT


def _fraction(value: object) -> object:
    if not isinstance(value, Number):
        return _UNFIT
    number = float(value)
    if not math.isfinite(number) or (abs(number) >= _EXACT and int(number) != _exactly(value)):
        return _UNFIT
    return number


def _exactly(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _truth(value: object) -> object:
    return value if isinstance(value, bool) else _UNFIT


def _time(value: object) -> object:
    if not isinstance(value, str):
        return _UNFIT
    moment = exact_millisecond_of(str(value))
    return _UNFIT if moment is None else moment


def _json(value: object) -> object:
    try:
        text = json_text(value)
    except RecursionError:
        return _UNFIT
    return _ascii_surrogates(text)


def _of_text(number: Callable[[object], object]) -> Callable[[str], object]:
    def read(cell: str) -> object:
        if not cell:
            return None  # CSV has no other word for it
        return number(Number(cell)) if _NUMBER.fullmatch(cell) else _UNFIT

    return read


def _truth_of_text(cell: str) -> object:
    return {"": None, "true": True, "false": False}.get(cell, _UNFIT)


def _time_of_text(cell: str) -> object:
    return _time(cell) if cell else None


_FROM_JSON: Final[Mapping[ColumnType, Callable[[Any], Any]]] = {
    ColumnType.STRING: _text,
    ColumnType.INT64: _whole,
    ColumnType.FLOAT64: _fraction,
    ColumnType.BOOL: _truth,
    ColumnType.TIMESTAMP: _time,
    ColumnType.JSON: _json,
}
_FROM_TEXT: Final[Mapping[ColumnType, Callable[[Any], Any]]] = {
    ColumnType.STRING: _text,
    ColumnType.INT64: _of_text(_whole),
    ColumnType.FLOAT64: _of_text(_fraction),
    ColumnType.BOOL: _truth_of_text,
    ColumnType.TIMESTAMP: _time_of_text,
    ColumnType.JSON: _json,
}

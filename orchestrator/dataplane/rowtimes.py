"""When did each row of a region happen, to the millisecond?

As in ``dating``, work per row is left for rows the quick ways do not read, and the quick ways agree with the
slow one: what a pattern reads is what a parser would, or the next slower way is taken for that region.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Final

from orchestrator.dataplane.csvform import Columns, column_pattern, unquoted
from orchestrator.dataplane.dating import JsonDater, json_dater
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import millisecond_of

__all__ = ["RowTimes", "row_times_for"]

_NUMBER: Final = rb"([1-9]\d{9}(?:\d{3}){0,3}+)(?=[\s,}])"
_DIGITS: Final = rb'"([1-9]\d{9}(?:\d{3}){0,3}+)"'
_ISO: Final = rb'"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?+(?:Z|[+-]\d\d:\d\d)?+)"'
_MILLISECONDS: Final = (_NUMBER, _DIGITS, _ISO)
_PER_MILLISECOND: Final = {13: 1, 16: 1_000, 19: 1_000_000}
"""By the number of digits: how many of a time's units are a millisecond (as ``times.millisecond_of``)."""
_SIZES: Final = frozenset({10, *_PER_MILLISECOND})
_CACHE_ENTRIES: Final = 50_000


class RowTimes(ABC):
    """Dates the rows of one file. ``ends`` match what follows a leading time, ``leading`` a row from its
    first byte through its time, which is group 2; group 1 comes before it."""

    def __init__(self, leading: re.Pattern[bytes]) -> None:
        self._leading = leading
        self._seen = _Milliseconds()
        self._region = b""
        self._found: list[bytes] | None = None

    def keys(self, region: bytes) -> list[int | None]:
        """One entry per row of ``split_rows``: UTC epoch milliseconds, None for a row without a readable
        time."""
        digits = self._digits(region)
        if digits is not None:
            return list(_milliseconds(digits))
        return self._keys(region)

    def span(self, region: bytes) -> tuple[int, int, int] | None:
        """The first and the last time and the number of rows, when it is quickly seen that no row is earlier
        than the one before it; else None."""
        digits = self._digits(region)
        if not digits or digits != sorted(digits):
            return None
        first, last = _milliseconds((digits[0], digits[-1]))
        return first, last, len(digits)

    def _read(self, texts: list[bytes]) -> list[int | None]:
        """What each text says; of texts that are all so many digits no one is looked at by itself."""
        sizes = set(map(len, texts))
        alike = len(sizes) == 1 and sizes <= _SIZES and b"".join(texts).isdigit()
        if alike and b"0" not in set(map(itemgetter(slice(1)), texts)):
            return list(_milliseconds(texts))
        return list(map(self._seen.__getitem__, texts))

    @abstractmethod
    def _keys(self, region: bytes) -> list[int | None]: ...

    @abstractmethod
    def _may_lead(self, region: bytes, rows: int) -> bool:
        """Whether a row's leading time, where there is one in each of that many lines, is surely its time."""

    def _digits(self, region: bytes) -> list[bytes] | None:
        """Looked for once per region: whoever asks for the span may ask for the keys next."""
        if region is not self._region:
            self._region, self._found = region, self._look_for_digits(region)
        return self._found

    def _look_for_digits(self, region: bytes) -> list[bytes] | None:
        """The times, when each row begins with one and all are written alike, as so many digits. What the
        first row begins with is compared with what all others do, in a few passes over the region."""
        lines = region.split(b"\n")
        lines.pop()
        first = self._leading.match(lines[0]) if lines else None
        if first is None or not self._may_lead(region, len(lines)):
            return None
        start, end = first.span(2)
        before, table = first.group(1), _QUOTED if first.group(1).endswith(b'"') else _BARE
        heads = b"\n".join(map(itemgetter(slice(end + 1)), lines)).translate(table)
        blurred = before.translate(table)
        alike = blurred + b"0" * (end - start)
        if heads not in (b"\n".join([alike + b","] * len(lines)), b"\n".join([alike] * len(lines))):
            return None
        if blurred != before and set(map(itemgetter(slice(start)), lines)) != {before}:
            return None
        digits = list(map(itemgetter(slice(start, end)), lines))
        return digits if min(digits) >= b"1" else None


class _Milliseconds(dict[bytes, int | None]):
    """Texts already read: of rows of one millisecond the first is parsed."""

    def __missing__(self, text: bytes) -> int | None:
        if len(self) >= _CACHE_ENTRIES:
            self.clear()
        found = self[text] = millisecond_of(text.decode("utf-8", "replace"))
        return found


def _milliseconds(digits: Iterable[bytes]) -> Iterable[int]:
    """Of texts that all have the same number of digits, one of those that ``_NUMBER`` matches."""
    texts = list(digits)
    size = len(texts[0]) if texts else 0
    numbers = map(int, texts)
    if size == 10:
        return [number * 1_000 for number in numbers]
    unit = _PER_MILLISECOND[size]
    return numbers if unit == 1 else [number // unit for number in numbers]


def _blurred(ends: bytes) -> bytes:
    """A table for ``translate``: digits become 0, and what may follow a time a comma."""
    return bytes.maketrans(b"0123456789" + ends, b"0" * 10 + b"," * len(ends))


_QUOTED: Final = _blurred(b'"')
_BARE: Final = _blurred(b" \t\r,}")
_LEADING_CELL: Final = re.compile(rb"()([1-9]\d{9}(?:\d{3}){0,3}+)(?=[,\r]|\Z)")


class _JsonTimes(RowTimes):
    """Lines of JSON objects: one top-level field."""

    def __init__(self, field: str) -> None:
        self._dater = JsonDater(field, _MILLISECONDS)
        before = re.escape(self._dater.key) + rb"\s*+:\s*+"
        super().__init__(re.compile(rb"(\{\s*+" + before + rb'"?+)([1-9]\d{9}(?:\d{3}){0,3}+)(?=["\s,}])'))

    def _may_lead(self, region: bytes, rows: int) -> bool:
        return region.count(self._dater.key) == rows  # of two equal keys the last counts

    def _keys(self, region: bytes) -> list[int | None]:
        texts = self._dater.texts(region)
        if texts is not None:
            return self._read(list(texts))
        return [millisecond_of(self._dater.value(row)) for row in split_rows(region, Shape.JSON_LINES)]


class _CsvTimes(RowTimes):
    """CSV rows: one column."""

    def __init__(self, index: int) -> None:
        super().__init__(_LEADING_CELL)
        self._index = index
        self._cells: Callable[[bytes], list[bytes]] = column_pattern(index).findall

    def _may_lead(self, region: bytes, rows: int) -> bool:
        return self._index == 0 and b'"' not in region

    def _keys(self, region: bytes) -> list[int | None]:
        if b"\n\n" in region or b"\n\r\n" in region or region[:1] in (b"\r", b"\n"):
            region = b"".join(split_rows(region, Shape.CSV))  # without blank lines
        return self._read([unquoted(cell).strip() for cell in self._cells(region)])


def row_times_for(shape: Shape, region: bytes, columns: Columns | None, time_field: str) -> RowTimes | None:
    """For a file whose first region with rows this is; None when it has no such field. The field is chosen as
    by ``dater_for``."""
    if shape is Shape.CSV:
        index = columns.time_index if columns is not None else None
        return None if index is None else _CsvTimes(index)
    coarse = json_dater(region, time_field)
    return None if coarse is None else _JsonTimes(coarse.field)

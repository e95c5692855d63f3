"""What does a merged row look like, whatever the file it comes from looks like?

``raw``: as it is stored; all files must have one shape, and CSV one header. ``jsonl``: one JSON object per
line, as ``convert`` makes it. ``csv``: a header, then one line per row. CSV files of one header give their
rows as they are; otherwise the columns are all names met in all files, in the order in which they are met, so
all rows are read before the first is written.

In CSV made from JSON a text is itself, null and what is missing are empty, and everything else is its JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from orchestrator.dataplane.convert import objects, plain_lines
from orchestrator.dataplane.csvform import cells_of, widened
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.survey import count_rows
from orchestrator.errors import UsageError

__all__ = ["ColumnNames", "Merged", "RowForm", "as_csv", "as_lines", "as_stored", "framed"]

MOST_COLUMNS: Final = 10_000
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


class Merged(StrEnum):
    """What a merge writes."""

    RAW = "raw"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class RowForm:
    """``text`` gives the rows of a region in their new form, each ended by a newline, as many as there were;
    ``apart`` splits what it gave. ``head`` comes before the first row, ``tail`` after the last; ``between``
    takes the place of the newline between two rows. ``verbatim``: rows of this shape stay as they are."""

    shape: Shape
    text: Callable[[bytes, RowStream], bytes]
    head: bytes = b""
    between: bytes = b"\n"
    tail: bytes = b""
    verbatim: Shape | None = None

    def apart(self, text: bytes) -> list[bytes]:
        if self.shape is not Shape.CSV and b"\r" not in text:
            return text.splitlines(keepends=True)
        return split_rows(text, self.shape)


def as_stored(shape: Shape, header: bytes) -> RowForm:
    """Rows of files that all have this shape and header."""
    if shape is Shape.JSON_ARRAY:
        return RowForm(shape, _lines, head=b"[", between=b",\n", tail=b"]\n")
    return RowForm(shape, _rows, head=header, verbatim=shape if shape is Shape.JSON_LINES else None)


def as_lines() -> RowForm:
    """JSON lines."""
    return RowForm(Shape.JSON_LINES, _json_lines, verbatim=Shape.JSON_LINES)


def as_csv(names: tuple[str, ...]) -> RowForm:
    """CSV with these columns."""
    places = {name: place for place, name in enumerate(names)}

    def text(region: bytes, stream: RowStream) -> bytes:
        return b"".join(_csv_line(values, places) for values in _values(region, stream))

    return RowForm(Shape.CSV, text, head=_line(names))


def framed(pieces: Iterable[bytes], form: RowForm) -> Iterator[bytes]:
    """What is written: the rows in ``pieces`` with what the form has before, between and after them. Nothing
    comes before the first of them was made."""
    begun = False
    for piece in pieces:
        if not begun and form.head:
            yield form.head
        if form.between == b"\n":
            yield piece
        else:
            yield (form.between if begun else b"") + piece[:-1].replace(b"\n", form.between)
        begun = True
    if not begun and form.head:
        yield form.head
    if form.tail:
        yield form.tail


class ColumnNames:
    """Feed every region of every file; ``names`` are the columns met, in that order."""

    def __init__(self) -> None:
        self._met: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._met)

    def feed(self, region: bytes, stream: RowStream) -> None:
        """Raises UsageError for more columns than a table should have."""
        for values in _values(region, stream):
            self._met.update(dict.fromkeys(values))
        if len(self._met) > MOST_COLUMNS:
            raise UsageError(
                f"the rows have more than {MOST_COLUMNS} different fields: that is no table",
                hint="use --output jsonl",
            )


def _rows(region: bytes, stream: RowStream) -> bytes:
    """Without blank lines, which are no rows."""
    if stream.shape is Shape.CSV:
        blank = region[:1] in (b"\r", b"\n") or b"\n\n" in region or b"\n\r\n" in region
    else:
        blank = count_rows(region, stream.shape) != region.count(b"\n")
    return b"".join(split_rows(region, stream.shape)) if blank else region


def _lines(region: bytes, stream: RowStream) -> bytes:
    return plain_lines(region)


def _json_lines(region: bytes, stream: RowStream) -> bytes:
    if stream.shape is Shape.CSV:
        return objects(region, stream.columns)
    return plain_lines(region)


def _values(region: bytes, stream: RowStream) -> Iterable[dict[str, Any]]:
    """The rows of a region by column name."""
    if stream.shape is not Shape.CSV:
        return map(_object, split_rows(region, Shape.JSON_LINES))
    names = stream.columns.names if stream.columns else ()
    found = []
    for row in split_rows(region, Shape.CSV):
        cells = [cell.decode("utf-8", "surrogateescape") for cell in cells_of(row)]
        keys = names if len(cells) <= len(names) else widened(names, len(cells))
        found.append(dict(zip(keys, cells, strict=False)))
    return found


def _object(row: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(row)
        exact = _EXACT if b"-0" not in row else _EXACT_BUT_ZERO
        if isinstance(parsed, dict) and exact.issuperset(map(type, parsed.values())):
            return parsed
    except orjson.JSONDecodeError:
        pass
    try:
        text = row.decode("utf-8", "surrogateescape")
        parsed = json.loads(text, strict=False, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise UsageError(
            f"a row is no JSON object, so it has no columns: {row[:80].decode('utf-8', 'replace')!r}",
            hint="use --output jsonl",
        )
    return parsed


_EXACT_BUT_ZERO: Final = frozenset({str, bool, type(None)})
_EXACT: Final = _EXACT_BUT_ZERO | {int}
"""What the quick parser reads without rounding it or spelling it anew."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _csv_line(values: dict[str, Any], places: dict[str, int]) -> bytes:
    cells = [""] * len(places)
    for name, value in values.items():
        cells[places[name]] = value if isinstance(value, str) else _json(value)
    return _line(cells)


def _json(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _nested(value)


def _nested(value: object) -> str:
    """JSON of a value whose numbers are texts already."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)}:{_nested(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_nested, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _line(cells: Iterable[str]) -> bytes:
    line = ",".join([f'"{cell.replace(chr(34), chr(34) * 2)}"' if _quotes(cell) else cell for cell in cells])
    line = line or '""'  # a line with nothing on it would be no row
    try:
        return line.encode("utf-8", "surrogateescape") + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, written as an escape
        return line.encode("utf-8", "surrogatepass") + b"\n"


def _quotes(cell: str) -> bool:
    return _NEEDS_QUOTES.search(cell) is not None

"""Where one row ends and the next begins: decoded bytes in, regions of whole rows out.

Rows are not text lines: CSV quotes hold newlines, an array's elements have no lines at all (bls-api.md 2.7).
A *region* is bytes made of whole rows, each ended by a newline. Array elements are handed out as one line
each, so everything after this module knows two kinds of region only: lines of JSON, and CSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from orchestrator.dataplane.csvform import CSV_ROW, CSV_ROWS, Columns, cells_of, header_of
from orchestrator.dataplane.sniff import HEAD_BYTES, Shape, shape_of, split_bom
from orchestrator.errors import BrokenBody

__all__ = ["MAX_ROW_BYTES", "RowStream", "split_rows"]

MAX_ROW_BYTES: Final = 64 << 20
"""A record is at most 512 KB at the service (bls-api.md 6); more than this without an end is no row but
damage."""

_LINES = re.compile(rb"[^\n]*\n")


def split_rows(region: bytes, shape: Shape) -> list[bytes]:
    """The rows of a region with their line ends; blank lines are no rows."""
    if shape is Shape.CSV:
        if b'"' in region:
            found = CSV_ROW.findall(region)
        else:
            found = _LINES.findall(region)
        return [row for row in found if row not in (b"\n", b"\r\n")]
    return [row for row in _LINES.findall(region) if not row.isspace()]


def _is_json(row: bytes) -> bool:
    try:
        json.loads(row.decode("utf-8", "replace"), strict=False, parse_int=float)
    except ValueError:
        return False
    except RecursionError:
        return True  # nested too deeply to tell
    return True


class _Cutter(Protocol):
    """Finds row ends in a stream of one shape."""

    def feed(self, plain: bytes) -> bytes: ...

    def finish(self) -> tuple[bytes, bool]:
        """The rows left over, and whether the last of them had no newline of its own."""
        ...


class RowStream:
    """Cuts one decoded file, or the members of an archive one after the other, into regions.

    Feed bytes in order, call ``finish`` at the end of the file and of each member. ``shape``, ``bom`` and,
    for CSV, ``header`` (its bytes with line end, b"" when there is none) and ``columns`` hold once the first
    region was handed out. Raises BrokenBody for rows that never end, for files that end inside a row, and for
    archives of mixed shapes.
    """

    def __init__(self, fallback: Shape, time_field: str = "auto") -> None:
        self.shape = fallback
        self.bom = b""
        self.header = b""
        self.columns: Columns | None = None
        self.unterminated = False
        """The last row had no newline of its own."""
        self._time_field = time_field
        self._head: list[bytes] | None = []
        self._head_bytes = 0
        self._cutter: _Cutter | None = None
        self._first_shape: Shape | None = None
        self._header_due = True

    def ended(self) -> RowStream:
        """What holds of a stream that was read to its end, and takes no more."""
        told = RowStream(self.shape)
        told.bom, told.header, told.columns = self.bom, self.header, self.columns
        told.unterminated = self.unterminated
        return told

    def feed(self, plain: bytes) -> bytes:
        """The rows that are now complete, b"" when none is."""
        if self._head is not None:
            self._head.append(plain)
            self._head_bytes += len(plain)
            if self._head_bytes < HEAD_BYTES:
                return b""
            plain = self._begin()
        if self._cutter is None:
            return b""
        return self._without_header(self._cutter.feed(plain))

    def finish(self) -> bytes:
        """The rows left over; the stream then stands ready for the next member."""
        region = b""
        if self._head is not None:
            plain = self._begin()
            if self._cutter is not None and plain:
                region = self._cutter.feed(plain)
        if self._cutter is not None:
            last, unterminated = self._cutter.finish()
            self.unterminated = self.unterminated or unterminated
            region = self._without_header(region + last)
            if unterminated:
                self._refuse_torn(last)
        self._head, self._head_bytes, self._cutter, self._header_due = [], 0, None, True
        return region

    def _refuse_torn(self, region: bytes) -> None:
        """A last row without line end is whole only if it has all that makes it one. Raises BrokenBody."""
        last = split_rows(region, self.shape)[-1:]
        if self.shape is Shape.CSV:
            columns = len(self.columns.names) if self.columns is not None else 0
            torn = any(len(cells_of(row)) < columns for row in last)
        else:
            torn = any(row.lstrip().startswith(b"{") and not _is_json(row) for row in last)
        if torn:
            raise BrokenBody("the file ends inside a row")

    def _begin(self) -> bytes:
        """Decide the shape by the head; returns it without byte order mark."""
        bom, head = split_bom(b"".join(self._head or ()))
        self._head = None
        if not head.strip():
            # Nothing but white space so far: a short file without rows, or lines whose first row is far away.
            self.bom = self.bom or bom
            if self._head_bytes < HEAD_BYTES:
                return b""
        shape = shape_of(head[:HEAD_BYTES])  # and no more, so that it does not matter where blocks end
        if self._first_shape is None:
            self._first_shape, self.shape, self.bom = shape, shape, bom
        elif shape is not self._first_shape:
            raise BrokenBody(f"an archive holds both {self._first_shape} and {shape}")
        self._cutter = _CUTTERS[shape]()
        return head

    def _without_header(self, region: bytes) -> bytes:
        if self.shape is not Shape.CSV or not self._header_due or not region:
            return region
        match = CSV_ROW.match(region)
        while match and match.group() in (b"\n", b"\r\n"):
            match = CSV_ROW.match(region, match.end())
        if match is None:
            return region
        self._header_due = False
        first = match.group()
        if self.columns is None:
            self.columns, is_header = header_of(first, self._time_field)
            self.header = first if is_header else b""
            return region[match.end() :] if is_header else region
        repeated = bool(self.header) and first.rstrip(b"\r\n") == self.header.rstrip(b"\r\n")
        return region[match.end() :] if repeated else region


class _Lines:
    """JSON lines: a newline ends a row, wherever it stands."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, plain: bytes) -> bytes:
        cut = plain.rfind(b"\n") + 1
        if not cut:
            self._keep(plain)
            return b""
        region = b"".join((*self._rest, memoryview(plain)[:cut]))
        self._rest, self._rest_bytes = [], 0
        self._keep(plain[cut:])
        return region

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._rest.append(rest)
            self._rest_bytes += len(rest)
            _refuse_endless(self._rest_bytes)

    def finish(self) -> tuple[bytes, bool]:
        last = b"".join(self._rest)
        self._rest, self._rest_bytes = [], 0
        if not last.strip():
            return b"", False
        return last + b"\n", True


class _CsvRows:
    """CSV after RFC 4180: a newline ends a row unless it stands in quotes; a quote opens only where a field
    begins."""

    def __init__(self) -> None:
        self._rest = b""
        self._next_try = 0

    def feed(self, plain: bytes) -> bytes:
        joined = self._rest + plain if self._rest else plain
        if len(joined) < self._next_try:
            self._rest = joined
            return b""
        if b'"' in joined:
            match = CSV_ROWS.match(joined)
            cut = match.end() if match else 0
        else:
            cut = joined.rfind(b"\n") + 1
        region, self._rest = joined[:cut], joined[cut:]
        _refuse_endless(len(self._rest))
        # Rows far longer than a block are looked at again only when twice as much is there, not once per
        # block.
        self._next_try = 2 * len(self._rest) if len(self._rest) > len(plain) else 0
        return region

    def finish(self) -> tuple[bytes, bool]:
        self._next_try = 0
        region = self.feed(b"") if self._rest else b""
        last, self._rest = self._rest, b""
        if last in (b"", b"\r"):  # the blank line of split_rows, less its newline
            return region, False
        last += b"\n"
        match = CSV_ROWS.match(last)
        if match is None or match.end() != len(last):
            raise BrokenBody("the file ends inside quotes")
        return region + last, True


_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class _Elements:
    """A JSON array, element by element. Bytes are read as Latin-1, one character each, so that offsets agree
    and bytes that are not UTF-8 pass through."""

    def __init__(self) -> None:
        # Only where an element ends matters: a number of any length is one, which int() would refuse.
        self._decode = json.JSONDecoder(strict=False, parse_int=float).raw_decode
        self._rest = b""
        self._next_try = 0
        self._state = "before"

    def feed(self, plain: bytes) -> bytes:
        joined = self._rest + plain if self._rest else plain
        if len(joined) < self._next_try:
            self._rest = joined
            return b""
        text = joined.decode("latin-1")
        elements: list[bytes] = []
        at = self._advance(text, joined, elements)
        self._rest = joined[at:]
        _refuse_endless(len(self._rest))
        self._next_try = 2 * len(self._rest) if len(self._rest) > len(plain) else 0
        return b"".join(elements)

    def _advance(self, text: str, joined: bytes, elements: list[bytes]) -> int:
        """Move over all whole elements; returns where the first unfinished one, or the rest, begins."""
        at, size = 0, len(text)
        while True:
            at = _end_of_space(text, at)
            if at >= size:
                return at
            char = text[at]
            if self._state == "before":
                self._state, at = "first", at + 1  # the sniffer saw the bracket
            elif self._state == "after":
                raise BrokenBody("something follows the end of a JSON array")
            elif char == "]" and self._state in ("first", "separator"):
                self._state, at = "after", at + 1
            elif self._state == "separator":
                if char != ",":
                    raise BrokenBody("damaged JSON array: a comma is missing between elements")
                self._state, at = "element", at + 1
            else:
                end = self._element_end(text, at)
                if end is None:
                    return at
                elements.append(_one_line(joined[at:end]))
                self._state, at = "separator", end

    def _element_end(self, text: str, at: int) -> int | None:
        """None when the element is not all here, or damaged; which of the two, only the end of the file
        tells."""
        try:
            end: int = self._decode(text, at)[1]
        except ValueError:
            return None
        except RecursionError as error:
            raise BrokenBody("damaged JSON array: nested too deeply") from error
        # A number or word at the very end of a block may go on in the next one.
        return end if end < len(text) else None

    def finish(self) -> tuple[bytes, bool]:
        self._next_try = 0
        region = self.feed(b" ") if self._rest else b""
        if self._state != "after":
            raise BrokenBody("a JSON array is damaged or ends early")
        return region, False


_CUTTERS: Final[Mapping[Shape, Callable[[], _Cutter]]] = {
    Shape.JSON_LINES: _Lines,
    Shape.JSON_ARRAY: _Elements,
    Shape.CSV: _CsvRows,
}


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _one_line(element: bytes) -> bytes:
    """An element on one line: white space between tokens may be any, newlines inside strings are escaped."""
    if b"\n" in element or b"\r" in element:
        element = _STRING.sub(
            lambda match: match.group().replace(b"\n", b"\\n").replace(b"\r", b"\\r"), element
        )
        element = element.replace(b"\r", b" ").replace(b"\n", b" ")
    return element + b"\n"


def _refuse_endless(size_bytes: int) -> None:
    if size_bytes > MAX_ROW_BYTES:
        raise BrokenBody(f"a row has no end within {MAX_ROW_BYTES} bytes")

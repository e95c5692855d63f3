"""What one record is, and what it looks like as a row of a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from orchestrator.emulator.search import words_of

__all__ = ["Arrangement", "Lateness", "Record", "RowStyle", "Rows", "iso_millis", "row_bytes", "time_parts"]

FieldNames = Literal["query", "pull"]
RecordTime = Literal["ms", "s", "us", "iso"]

_CSV_LINE_END = "\r\n"


@dataclass(frozen=True, slots=True)
class Record:
    """One log record. ``raw`` may hold lone surrogates that stand for bytes outside UTF-8
    (``surrogateescape``).

    ``arrived_at_ms`` is when the service received it, which is what makes a record late.
    """

    at_ms: int
    seq: int
    stream: str
    raw: str
    tags: tuple[tuple[str, str | int], ...] = ()
    arrived_at_ms: int = 0

    @property
    def words(self) -> frozenset[str]:
        return words_of(self.raw)

    @property
    def text(self) -> str:
        return self.raw

    @property
    def fields(self) -> Mapping[str, str]:
        return {"@stream": self.stream, **{key: str(value) for key, value in self.tags}}


@dataclass(frozen=True, slots=True)
class RowStyle:
    """How a row is spelled (bls-api.md 2.7: unknown, so every plausible form exists).

    ``separator`` ends a row: a line end, or comma and line end inside a JSON array. ``tag_names`` are the
    columns of a CSV row after the first four; JSON rows name their own.
    """

    form: Literal["json", "csv"] = "json"
    names: FieldNames = "query"
    time: RecordTime = "ms"
    separator: str = "\n"
    tag_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrangement:
    """In which order rows stand in a file: by time up or down; then ``jumble`` may stir what has equal times
    ("ties") or neighbours whatever their times ("blocks"), differently for every ``salt``."""

    descending: bool = False
    jumble: Literal["none", "ties", "blocks"] = "none"
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Lateness:
    """So many of a thousand records can be seen only ``by_s`` after their time."""

    per_mille: int
    by_s: float


class Rows(Protocol):
    """Chosen records, in order, as rows. Bytes are the same at every reading and are made as they are
    read."""

    @property
    def count(self) -> int:
        """How many records."""
        ...

    def records(self, first: int, last: int) -> list[Record]:
        """The records ``[first, last)`` in file order."""
        ...

    def size_bytes(self, style: RowStyle) -> int:
        """All rows together, separators included."""
        ...

    def read(self, style: RowStyle, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``[start, end)`` in blocks of roughly a mebibyte or less."""
        ...


def iso_millis(at_ms: int) -> str:
    """UTC to the millisecond with a literal ``Z``."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_ms % 1000:03d}Z"


def time_parts(form: RecordTime) -> tuple[bool, str]:
    """Whether the second is spelled as ISO text rather than as a number, and the pattern of what follows for
    the ms."""
    return form == "iso", {"ms": "%03d", "s": "", "us": "%03d000", "iso": ".%03dZ"}[form]


def _time(at_ms: int, form: RecordTime) -> str | int:
    if form == "iso":
        return iso_millis(at_ms)
    return {"ms": at_ms, "s": at_ms // 1000, "us": at_ms * 1000}[form]


def row_bytes(record: Record, style: RowStyle) -> bytes:
    """One row with its separator. Text outside UTF-8 goes out as the bytes it came in."""
    at = _time(record.at_ms, style.time)
    if style.form == "csv":
        sheet = io.StringIO()
        tags = dict(record.tags)
        columns = [tags.get(name, "") for name in style.tag_names]
        # Before Python 3.13 only characters of the line terminator itself are quoted, so it must be named.
        writer = csv.writer(sheet, lineterminator=_CSV_LINE_END)
        writer.writerow([at, record.seq, record.stream, record.raw, *columns])
        text = sheet.getvalue().removesuffix(_CSV_LINE_END)
    else:
        if style.names == "query":
            row = {"@timestamp": at, "@seq": record.seq, "@stream": record.stream, "@raw": record.raw}
        else:
            row = {"timestamp": at, "sequence": record.seq, "stream": record.stream, "message": record.raw}
        text = json.dumps(row | dict(record.tags), ensure_ascii=False, separators=(",", ":"))
    return (text + style.separator).encode("utf-8", "surrogateescape")


def header_bytes(names: FieldNames, tags: tuple[str, ...], newline: str) -> bytes:
    """The first line of a CSV file that has a header."""
    columns = ["@timestamp", "@seq", "@stream", "@raw"]
    if names == "pull":
        columns = ["timestamp", "sequence", "stream", "message"]
    return (",".join([*columns, *tags]) + newline).encode()

"""From the served form to the stored one: rows are picked by their second and written anew, a block at a
time.

``output = "raw"`` keeps the served form, and the bytes themselves when every row is kept. ``output =
"jsonl"`` is one JSON object per line, ended by a newline, without byte order mark:

* rows of JSON lines and array elements keep their own bytes, whatever their encoding; only a CR before the
  newline and newlines between tokens go;
* a CSV row becomes an object of texts, keyed by the header, or ``#1``, ``#2``, … where a column has no name
  of its own. Cells beyond the header are ``#n``, cells a short row lacks are left out. A byte that is not
  UTF-8 is written as the JSON escape ``\\udcNN`` of its value NN, so that nothing is lost (PEP 383).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import orjson

from orchestrator.core.columns import Table
from orchestrator.core.job import Compression, Output
from orchestrator.core.model import Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane.csvform import Columns, cells_of, tidy_cells, widened
from orchestrator.dataplane.encode import Encoder
from orchestrator.dataplane.picking import Picking
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.survey import count_rows

__all__ = ["Form", "Rewriting", "objects", "plain_lines", "stored_form"]

T = TypeVar("T")

_PACKINGS: Final = {Compression.NONE: None, Compression.GZIP: Packing.GZIP, Compression.ZSTD: Packing.ZSTD}


class Form:
    """A stored form: the words of ``Receipt.form`` and ``Receipt.extension``."""

    __slots__ = ("packings", "shape")

    def __init__(self, shape: Shape | Table, packings: tuple[Packing, ...]) -> None:
        self.shape = shape
        self.packings = packings

    @property
    def name(self) -> str:
        return "+".join((self.shape, *reversed(self.packings)))

    @property
    def extension(self) -> str:
        return self.shape.suffix + "".join(packing.suffix for packing in reversed(self.packings))


def stored_form(ticket: Ticket, shape: Shape, layers: tuple[Packing, ...], *, rewritten: bool) -> Form:
    """What the stored file will be. A raw file that must be rewritten keeps its outermost compression
    only."""
    if ticket.output is Output.RAW:
        return Form(shape, layers[:1] if rewritten else layers)
    if ticket.output is Output.PARQUET:
        return Form(Table.PARQUET, ())
    packing = _PACKINGS[ticket.compression]
    is_table = ticket.output is Output.CSV
    return Form(Table.CSV if is_table else Shape.JSON_LINES, (packing,) if packing else ())


class Rewriting:
    """The ``tabling.Writing`` of raw bytes and of JSON lines: the rows inside ``keep`` (all, when it is None)
    reach the encoder in the stored shape. ``verbatim``: a survey found all bytes to be what is stored.
    """

    steps_ahead = 1

    def __init__(
        self,
        ticket: Ticket,
        keep: Window | None,
        form: Form,
        sink: Callable[[bytes], None],
        *,
        verbatim: bool = False,
    ) -> None:
        self.rows = 0
        self._verbatim = verbatim
        self._ticket = ticket
        self._shape = form.shape
        self._picking = Picking(ticket, keep)
        self._encoder = Encoder(
            sink, form.packings[0] if form.packings else None, member=f"rows{form.shape.suffix}"
        )
        self._begun = False

    @property
    def size_bytes(self) -> int:
        return self._encoder.size_bytes

    @property
    def sha256(self) -> str:
        return self._encoder.sha256

    def taken(self, plain: bytes) -> bytes:
        if self._verbatim:
            self.rows += plain.count(b"\n")
            return plain
        return self._as_stored(*self._picking.feed(plain))

    def ended(self) -> bytes:
        return b"" if self._verbatim else self._as_stored(*self._picking.finish())

    def store(self, content: bytes) -> None:
        if content:
            self._encoder.write(content)

    def close(self) -> None:
        if self._shape is Shape.JSON_ARRAY:
            self._encoder.write(b"]\n" if self._begun else b"[]\n")
        self._encoder.close()

    def abandon(self) -> None: ...

    def _as_stored(self, region: bytes, count: int | None) -> bytes:
        count = self._picking.count(region) if count is None else count
        if not count:
            return b""
        stream = self._picking.stream
        served = stream.shape
        self.rows += count
        begun, self._begun = self._begun, True
        if self._shape is Shape.JSON_ARRAY:
            joined = b",\n".join(row.rstrip(b"\r\n") for row in split_rows(region, served))
            return (b",\n" if begun else b"[") + joined
        if served is Shape.CSV and self._shape is Shape.JSON_LINES:
            return objects(region, stream.columns)
        if self._shape is served and self._ticket.output is Output.RAW:
            return region if begun else stream.bom + stream.header + region
        return plain_lines(region)


def plain_lines(region: bytes) -> bytes:
    """JSON lines with a bare newline after each row and nothing between them."""
    if b"\r" not in region and region.count(b"\n") == count_rows(region, Shape.JSON_LINES):
        return region
    return b"".join(row.rstrip(b"\r\n") + b"\n" for row in split_rows(region, Shape.JSON_LINES))


def objects(region: bytes, columns: Columns | None) -> bytes:
    """CSV rows as JSON lines."""
    names = columns.names if columns else ()
    tidy = tidy_cells(region)
    if tidy is not None:
        try:
            return b"".join(
                orjson.dumps(dict(_pairs(_keys(names, cells), cells)), option=orjson.OPT_APPEND_NEWLINE)
                for cells in tidy
            )
        except orjson.JSONEncodeError:
            pass  # a column whose name is no text: below it is written all the same
    lines: list[bytes] = []
    for row in split_rows(region, Shape.CSV):
        raw = cells_of(row)
        keys = _keys(names, raw)
        try:
            lines.append(
                orjson.dumps(
                    {key: cell.decode() for key, cell in _pairs(keys, raw)},
                    option=orjson.OPT_APPEND_NEWLINE,
                )
            )
        except (UnicodeDecodeError, orjson.JSONEncodeError):
            texts = {key: cell.decode("utf-8", "surrogateescape") for key, cell in _pairs(keys, raw)}
            lines.append(json.dumps(texts, separators=(",", ":")).encode() + b"\n")
    return b"".join(lines)


def _keys(names: tuple[str, ...], cells: Sequence[T]) -> tuple[str, ...]:
    return names if len(cells) <= len(names) else widened(names, len(cells))


def _pairs(names: tuple[str, ...], cells: Sequence[T]) -> Iterator[tuple[str, T]]:
    return zip(names, cells, strict=False)

"""What does a stored file hold, is it the ledger's, and in what order do its rows stand?

A file is read whole before its first row is used: its digest, its rows and their order are known then, and
nothing of a damaged file gets out. What it holds is then read again, as blocks in time order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from threading import Event
from typing import Final

from orchestrator.core.columns import TIME, Table
from orchestrator.core.window import Window, WindowSet, iso_utc
from orchestrator.dataplane.decode import decoded, read_blocks
from orchestrator.dataplane.extras import need_parquet
from orchestrator.dataplane.kway import Block
from orchestrator.dataplane.rowform import RowForm
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.rowtimes import RowTimes, row_times_for
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.staging import storage_faults
from orchestrator.dataplane.survey import count_rows
from orchestrator.errors import (
    BrokenBody,
    IntegrityError,
    OrchestratorError,
    RowsOutsideWindow,
    UsageError,
)

__all__ = ["Look", "Regions", "Source", "StoredFile", "header_of_file", "shape_named", "verified"]

LOOK_BYTES: Final = 256 << 10
"""What is looked at of a file at a time."""
READ_BYTES: Final = 64 << 10
"""What is read of a file at a time while others are open: with its rows apart it takes some eight times as
much of memory."""
_READ_AS: Final = {Table.CSV: Shape.CSV, Table.PARQUET: Shape.JSON_LINES}
_COST_BYTES: Final = {None: 1 << 20, Packing.GZIP: 1 << 20, Packing.ZIP: 2 << 20, Packing.ZSTD: 4 << 20}
"""What an open file takes, by how it is packed; a zstd window alone is two megabytes or more."""
_TABLES: Final = frozenset(table.value for table in Table)
_PARQUET_COST_BYTES: Final = 48 << 20
"""A row group is read as a whole."""


@dataclass(frozen=True, slots=True)
class Source:
    """One stored file of the ledger: its rows lie inside ``window``, those inside ``keep`` are asked for.
    ``shape`` is how they lie in it."""

    slice: str
    path: str
    size_bytes: int
    sha256: str
    rows: int
    shape: Shape | Table
    window: Window
    keep: WindowSet

    @property
    def read_as(self) -> Shape:
        """The shape of the rows that reading it gives: the records of a table are lines, or CSV again."""
        return _READ_AS[self.shape] if isinstance(self.shape, Table) else self.shape

    def regions(self, time_field: str, read_bytes: int = 0) -> Regions:
        """Its rows; ``time_field`` is that of the job, which tables do without."""
        return Regions(self.path, time_field, read_bytes, shape=self.shape)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a file: times are UTC epoch milliseconds, None without rows. ``clean``: the decoded
    bytes are its rows and nothing else, each ended by a newline."""

    rows: int
    first: int | None
    last: int | None
    in_order: bool
    clean: bool
    cost_bytes: int


class Regions:
    """The rows of a stored file, region by region, with the stream that cut them; no region is without rows.
    ``layers`` is how the file is packed, ``plain_bytes`` counts what it decoded to; ``shape`` is what the
    ledger calls it, and tells tables from what was served. Raises BrokenBody, StorageError."""

    def __init__(
        self, path: str, time_field: str, read_bytes: int = 0, *, shape: Shape | Table | None = None
    ) -> None:
        self.layers: list[Packing] = []
        self.plain_bytes = 0
        self._read_bytes = read_bytes or LOOK_BYTES
        self._path = path
        self._decoded = self._records if shape is Table.PARQUET else self._bytes
        self._stream = RowStream(Shape.JSON_LINES, time_of(shape, time_field))

    def __iter__(self) -> Iterator[tuple[bytes, RowStream]]:
        stream = self._stream
        for region in self._cut(stream):
            if region and not _is_blank(region, stream.shape):
                yield region, stream

    def _cut(self, stream: RowStream) -> Iterator[bytes]:
        try:
            with storage_faults(self._path):
                for plain in self._decoded():
                    if plain is None:
                        yield stream.finish()
                    else:
                        self.plain_bytes += len(plain)
                        yield stream.feed(plain)
            yield stream.finish()
        except BrokenBody as error:
            raise BrokenBody(f"{self._path}: {error}", hint=error.hint) from error

    def _bytes(self) -> Iterator[bytes | None]:
        return decoded(self._path, self.layers, step_bytes=self._read_bytes)

    def _records(self) -> Iterator[bytes | None]:
        return records_in(self._path)


def shape_named(form: str) -> Shape | Table:
    """What the ledger calls a file (``Receipt.form``), without how it is packed. Raises ValueError for words
    of another version."""
    word = form.partition("+")[0]
    return Table(word) if word in _TABLES else Shape(word)


def time_of(shape: Shape | Table | None, time_field: str) -> str:
    """Which field dates the rows of a stored file: of a table always the same."""
    return TIME if isinstance(shape, Table) else time_field


def rows_of_parquet(path: str) -> int:
    """How many rows a Parquet file says it has. Raises BrokenBody, StorageError; UsageError without
    pyarrow."""
    need_parquet()
    from orchestrator.dataplane.parquetread import rows_of

    with storage_faults(path):
        return rows_of(path)


def records_in(path: str) -> Iterator[bytes]:
    """The records of a Parquet file as lines of JSON. Raises BrokenBody, OSError; UsageError without
    pyarrow."""
    need_parquet()
    from orchestrator.dataplane.parquetread import lines_in

    return lines_in(path)


def _is_blank(region: bytes, shape: Shape) -> bool:
    return not region.strip(b"\r\n") if shape is Shape.CSV else region.isspace()


def verified(source: Source) -> Source:
    """The same file, held against the ledger byte by byte."""
    _identity(source)
    if _sha256(source.path, Event()) != source.sha256:
        raise _not_the_ledgers(source, "its digest differs")
    return source


def header_of_file(source: Source, time_field: str) -> bytes:
    """The header of a CSV file, b"" when it has none. Reads the beginning only."""
    _identity(source)
    try:
        found = next(iter(source.regions(time_field)), None)
    except BrokenBody:
        verified(source)
        raise
    return b"" if found is None else found[1].header


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The least and the greatest time of a region, that of its last row, and how many rows it has. ``plain``:
    each of its lines is a row."""

    low: int
    high: int
    end: int
    count: int
    in_order: bool
    plain: bool


class StoredFile:
    """One file of the ledger, to be looked at once and then read. ``follow`` lets a row without a readable
    time, or with one outside the slice's window, stay behind the row before it; else such a row is refused.

    Raises IntegrityError for a file that is not the ledger's, RowsOutsideWindow, UsageError for rows without
    a time.
    """

    def __init__(self, source: Source, time_field: str, *, follow: bool) -> None:
        self.source = source
        self._time_field = time_of(source.shape, time_field)
        self._follow = follow
        window = source.window
        self._low, self._high = window.start_s * 1000, window.end_s * 1000
        self._times: RowTimes | None = None
        self._chosen = False
        self._identity: tuple[int, ...] = ()

    def look(self) -> Look:
        """Read all of it."""
        source, stop = self.source, Event()
        self._identity = _identity(source)
        with ThreadPoolExecutor(1, "digest") as aside:
            digest = aside.submit(_sha256, source.path, stop)
            try:
                seen = self._seen()
            except OrchestratorError:
                if digest.result() != source.sha256:
                    raise _not_the_ledgers(source, "its digest differs") from None
                raise
            except BaseException:
                stop.set()
                raise
            if digest.result() != source.sha256:
                raise _not_the_ledgers(source, "its digest differs")
        self._still_there()
        if source.rows != seen.rows:
            raise _not_the_ledgers(source, f"it holds {seen.rows} rows and not {source.rows}")
        return seen

    def _seen(self) -> Look:
        found = self.source.regions(self._time_field)
        rows = row_bytes = 0
        first: int | None = None
        last = before = None
        in_order = clean = True
        for region, stream in found:
            part = self._bounds(region, stream, rows, before)
            in_order = in_order and part.in_order and (before is None or before <= part.low)
            first = part.low if first is None else min(first, part.low)
            last = part.high if last is None else max(last, part.high)
            before = part.end
            rows += part.count
            row_bytes += len(region)
            clean = clean and part.plain and b"\r" not in region
            if stream.shape is not self.source.read_as:
                raise _not_the_ledgers(self.source, f"it holds {stream.shape} and not {self.source.read_as}")
        cost = max(_COST_BYTES[layer] for layer in (None, *found.layers))
        if self.source.shape is Table.PARQUET:
            cost = _PARQUET_COST_BYTES
        return Look(rows, first, last, in_order, clean and row_bytes == found.plain_bytes, cost)

    def _bounds(self, region: bytes, stream: RowStream, row: int, before: int | None) -> _Bounds:
        times = self._times_of(region, stream)
        span = times.span(region) if times is not None else None
        if span is not None and self._low <= span[0] and span[1] < self._high:
            return _Bounds(span[0], span[1], span[1], span[2], in_order=True, plain=True)
        keys = self._keys(region, stream, row, before)
        ordered = sorted(keys)
        plain = region.count(b"\n") == len(keys)
        return _Bounds(ordered[0], ordered[-1], keys[-1], len(keys), keys == ordered, plain)

    def _times_of(self, region: bytes, stream: RowStream) -> RowTimes | None:
        if not self._chosen:
            self._times = row_times_for(stream.shape, region, stream.columns, self._time_field)
            self._chosen = True
        return self._times

    def _keys(self, region: bytes, stream: RowStream, row: int, before: int | None) -> list[int]:
        """The time by which each row stands; ``row`` rows came before, the last of them at ``before``."""
        times = self._times_of(region, stream)
        keys = times.keys(region) if times is not None else [None] * count_rows(region, stream.shape)
        known = [key for key in keys if key is not None]
        if len(known) == len(keys) and self._low <= min(known) and max(known) < self._high:
            return known
        found: list[int] = []
        previous = self._low if before is None else before
        for place, key in enumerate(keys):
            if key is None or not self._low <= key < self._high:
                if not self._follow:
                    raise self._refusal(region, stream, row, place, key)
            else:
                previous = key
            found.append(previous)
        return found

    def _refusal(self, region: bytes, stream: RowStream, row: int, place: int, key: int | None) -> Exception:
        source = self.source
        text = split_rows(region, stream.shape)[place][:120].decode("utf-8", "replace").rstrip()
        where = f"{source.path}, row {row + place + 1}"
        if key is None:
            return UsageError(
                f"{where} has no readable time, so it has no place among the others: {text}",
                hint="set time_field of the job, or give --undated follow to leave such rows behind the one"
                " before them",
            )
        at = iso_utc(key / 1000) if 0 <= key < 4_102_444_800_000 else f"millisecond {key}"
        return RowsOutsideWindow(
            f"{where} is dated {at}, outside {source.window!r}, the window of slice {source.slice}: {text}",
            hint="check time_field; --undated follow leaves such rows behind the one before them",
        )

    def rows(self, form: RowForm) -> Iterator[tuple[list[int], list[bytes]]]:
        """The times and rows that are asked for, as they stand in the file."""
        row, before = 0, None
        for region, stream in self.source.regions(self._time_field):
            keys = self._keys(region, stream, row, before)
            row, before = row + len(keys), keys[-1]
            chosen = self._asked(keys, form.text(region, stream), form)
            if chosen[0]:
                yield chosen
        self._still_there()

    def blocks(self, form: RowForm) -> Iterator[Block]:
        """The same of a file in order, as blocks."""
        row, before = 0, None
        for region, stream in self.source.regions(self._time_field, READ_BYTES):
            seen = self._bounds(region, stream, row, before)
            if self._all_asked(seen.low, seen.high):
                yield self._block(region, stream, form, (seen, row, before))
            elif self._any_asked(seen.low, seen.high):
                keys = self._keys(region, stream, row, before)
                keys, rows = self._asked(keys, form.text(region, stream), form)
                if keys:
                    yield Block.of(keys, rows)
            row, before = row + seen.count, seen.end
        self._still_there()

    def _block(
        self, region: bytes, stream: RowStream, form: RowForm, place: tuple[_Bounds, int, int | None]
    ) -> Block:
        seen, row, before = place

        def opened() -> tuple[list[int], list[bytes]]:
            keys = self._keys(region, stream, row, before)
            return keys, _apart(form.text(region, stream), form, len(keys))

        return Block(seen.low, seen.high, seen.count, lambda: form.text(region, stream), opened)

    def whole(self, form: RowForm, *, clean: bool) -> Iterator[bytes]:
        """All rows of a file that is asked for as it stands; of a clean one its bytes are passed on."""
        if clean and form.verbatim is self.source.shape:
            with storage_faults(self.source.path):
                yield from (plain for plain in decoded(self.source.path) if plain)
        else:
            for region, stream in self.source.regions(self._time_field):
                yield form.text(region, stream)
        self._still_there()

    def asks_for_all(self, look: Look) -> bool:
        """Whether every row of it is asked for."""
        return look.first is not None and look.last is not None and self._all_asked(look.first, look.last)

    def _asked(self, keys: list[int], text: bytes, form: RowForm) -> tuple[list[int], list[bytes]]:
        rows = _apart(text, form, len(keys))
        kept = [(piece.start_s * 1000, piece.end_s * 1000) for piece in self.source.keep]
        inside = [any(start <= key < end for start, end in kept) for key in keys]
        if all(inside):
            return keys, rows
        return list(compress(keys, inside)), list(compress(rows, inside))

    def _all_asked(self, low: int, high: int) -> bool:
        return any(piece.start_s * 1000 <= low and high < piece.end_s * 1000 for piece in self.source.keep)

    def _any_asked(self, low: int, high: int) -> bool:
        return any(piece.start_s * 1000 <= high and low < piece.end_s * 1000 for piece in self.source.keep)

    def _still_there(self) -> None:
        if _identity(self.source) != self._identity:
            raise _not_the_ledgers(self.source, "it was changed or replaced while it was read")


def _identity(source: Source) -> tuple[int, ...]:
    """What tells a file from another one of the same name."""
    with storage_faults(source.path):
        try:
            found = os.stat(source.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _not_the_ledgers(source, "it is missing") from error
    if not os.path.isfile(source.path):
        raise _not_the_ledgers(source, "it is no file")
    if found.st_size != source.size_bytes:
        raise _not_the_ledgers(source, f"it has {found.st_size} bytes and not {source.size_bytes}")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _apart(text: bytes, form: RowForm, count: int) -> list[bytes]:
    """The rows of a text; a row more or less would give rows the times of others."""
    rows = form.apart(text)
    if len(rows) != count:
        raise BrokenBody(f"{count} rows became {len(rows)} in their new form")
    return rows


def _sha256(path: str, stop: Event) -> str:
    sha = hashlib.sha256()
    with storage_faults(path):
        for block in read_blocks(path):
            sha.update(block)
            if stop.is_set():
                break
    return sha.hexdigest()


def _not_the_ledgers(source: Source, why: str) -> IntegrityError:
    return IntegrityError(f"{source.path} is not the file of slice {source.slice} in the ledger: {why}")

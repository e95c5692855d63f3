"""How do the files of a window become one, in time order, in constant memory?

Files are opened when the merge reaches their windows, so many slices one after the other mean one open file.
A file whose rows no other file reaches into is passed on as it stands; where files overlap, their blocks are
merged (``kway``). A file that is not in time order is sorted first (``spill``). When more files overlap than
may be open, those at hand are merged to their ends, on disk, and go on as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from orchestrator.dataplane.kway import Stream, drained, taken
from orchestrator.dataplane.rowform import ColumnNames, Merged, RowForm, as_csv, as_lines, as_stored
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.spill import Spill, sorted_stream
from orchestrator.dataplane.stored import Look, Source, StoredFile, header_of_file, verified
from orchestrator.errors import UsageError

__all__ = ["OPEN_BYTES", "Merge", "form_of"]

OPEN_BYTES: Final = 48 << 20
"""What all open files together may take."""


def form_of(sources: Callable[[], Iterable[Source]], asked: Merged, time_field: str) -> RowForm:
    """The form of the merged rows. Reads the beginnings of CSV files, and for CSV of more than one header, or
    made from JSON, all rows: ``sources`` gives the files anew each time. Raises UsageError when ``raw`` would
    mix shapes or headers."""
    if asked is Merged.JSONL:
        return as_lines()
    shapes: dict[Shape, Source] = {}
    headers: dict[bytes, tuple[bytes, Source]] = {}
    names = ColumnNames()
    for source in sources():
        shapes.setdefault(source.read_as, source)
        if asked is Merged.RAW and len(shapes) > 1:
            raise _mixed("shapes", *shapes.values())
        if source.read_as is Shape.CSV:
            header = header_of_file(source, time_field)
            headers.setdefault(header.rstrip(b"\r\n"), (header, source))
            if asked is Merged.RAW and len(headers) > 1:
                raise _mixed("headers", *(first for _, first in headers.values()))
    only = next(iter(shapes), Shape.JSON_LINES)
    header = next((header for header, _ in headers.values()), b"")
    if asked is Merged.RAW or (set(shapes) == {Shape.CSV} and len(headers) == 1):
        return as_stored(only, header)
    if not shapes:
        return as_stored(Shape.CSV, b"")  # nothing names a column
    for source in sources():
        for region, stream in verified(source).regions(time_field):
            names.feed(region, stream)
    return as_csv(names.names)


def _mixed(what: str, one: Source, other: Source) -> UsageError:
    return UsageError(
        f"the files have different {what}, as {one.path} and {other.path}",
        hint="give --output jsonl, or --output csv for one table",
    )


class Merge:
    """One ordered stream of the rows of ``sources``, which come by the start of their windows; rows of equal
    times come in the order of their sources. ``rows`` and ``files`` count what was handed out."""

    def __init__(
        self,
        sources: Iterator[Source],
        form: RowForm,
        spill: Spill,
        *,
        time_field: str = "auto",
        follow: bool = False,
        open_bytes: int = OPEN_BYTES,
    ) -> None:
        self.rows = 0
        self.files = 0
        self._sources = sources
        self._form = form
        self._spill = spill
        self._time_field = time_field
        self._follow = follow
        self._open_bytes = open_bytes
        self._coming = next(sources, None)
        self._open: list[Stream] = []

    def pieces(self) -> Iterator[bytes]:
        """Rows, each ended by a newline, many at a time. Raises what ``StoredFile`` and ``Spill`` raise."""
        while True:
            self._open = [stream for stream in self._open if stream.begun()]
            if not self._open:
                file = self._next_file()
                if file is None:
                    return
                look = file.look()
                if self._is_alone(look) and look.in_order and file.asks_for_all(look):
                    self.rows += look.rows
                    yield from file.whole(self._form, clean=look.clean)
                else:
                    self._add(file, look)
                continue
            self._open_those_due()
            block = taken(self._open)
            self.rows += block.count
            yield block.text()

    def _next_file(self) -> StoredFile | None:
        source, self._coming = self._coming, next(self._sources, None)
        if source is None:
            return None
        self.files += 1
        return StoredFile(source, self._time_field, follow=self._follow)

    def _is_alone(self, look: Look) -> bool:
        coming = self._coming
        return coming is None or look.last is None or look.last < coming.window.start_s * 1000

    def _open_those_due(self) -> None:
        """Every file that may hold a row before the end of what can be taken now."""
        while self._coming is not None:
            limit = min(stream.last for stream in self._open)
            if self._coming.window.start_s * 1000 > limit:
                return
            file = self._next_file()
            if file is not None:
                self._add(file, file.look())
            self._open = [stream for stream in self._open if stream.begun()]

    def _add(self, file: StoredFile, look: Look) -> None:
        if look.in_order:
            stream = Stream(file.blocks(self._form), cost_bytes=look.cost_bytes)
        else:
            stream = sorted_stream(file.rows(self._form), self._spill)
        self._make_room(stream.cost_bytes)
        self._open.append(stream)

    def _make_room(self, cost_bytes: int) -> None:
        """Those merged least become one run. They are the latest ones, so the order of ties stays."""
        while len(self._open) > 1:
            if sum(stream.cost_bytes for stream in self._open) + cost_bytes <= self._open_bytes:
                return
            lowest = self._open[-1].level
            first = next(place for place, stream in enumerate(self._open) if stream.level <= lowest)
            first = min(first, len(self._open) - 2)
            level = self._open[first].level + 1
            self._open[first:] = [self._spill.run(drained(self._open[first:]), level)]

"""What a file holds, learned while it streams by: rows, and how many of them lie inside the window.

Nothing is changed here and nothing is kept but counts; ``clip`` decides by them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from orchestrator.core.job import Output, ServedFormat
from orchestrator.core.model import Ticket
from orchestrator.dataplane.dating import Dater, FineDater, dater_for, fine_dater_for
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.second import milliseconds_of
from orchestrator.dataplane.sniff import Shape

__all__ = ["Survey", "count_rows", "served_shape"]

_WORTH_JUDGING_BYTES: Final = 256 * 1024
"""The patterns that judge a whole block are made for the file's window, which costs as much as to date so
much of it."""


def served_shape(ticket: Ticket) -> Shape:
    """The shape of a file without any content: the one that was asked for."""
    return Shape.CSV if ticket.format is ServedFormat.CSV else Shape.JSON_LINES


def count_rows(region: bytes, shape: Shape) -> int:
    """How many rows a region holds; the same as ``len(split_rows(region, shape))``."""
    if shape is not Shape.CSV:
        lines = region.count(b"\n")
        if lines == region.count(b"\n{") + region.startswith(b"{"):
            return lines
    elif (
        b'"' not in region
        and b"\n\n" not in region
        and b"\n\r\n" not in region
        and region[:1] not in (b"\n", b"\r")
    ):
        return region.count(b"\n")
    return len(split_rows(region, shape))


class Survey:
    """Feed decoded bytes in order, ``finish`` at the end of the file and of each archive member, then read.

    A block well inside the window is not read row by row: how its rows begin tells that all of them lie in it
    (``dating``). Every row of other blocks is dated.

    With ``in_order`` set it also learns whether the rows' seconds never step back (asc) or forward (desc);
    this is asked for truncated files only. ``fine`` does the same to the millisecond, which parts of a second
    always need: ``earliest`` and ``latest`` are milliseconds then.
    """

    def __init__(self, ticket: Ticket, *, in_order: bool = False, fine: bool = False) -> None:
        self.rows = 0
        self.undated = 0
        self.inside = 0
        self.near = 0
        self.far = 0
        self.far_second: int | None = None
        self.ascending = self.descending = True
        self.earliest: int | None = None
        self.latest: int | None = None
        """The first and last second met; like the order, known with ``in_order`` only."""
        self.plain_lines = ticket.output is Output.JSONL
        """The decoded bytes are what ``output = "jsonl"`` wants: no byte order mark, no CR, no blank line,
        newline at the end. Looked for only when that is the output."""
        self.stream = RowStream(served_shape(ticket), ticket.time_field)
        self._ticket = ticket
        self.fine = fine or bool(ticket.part)
        self.in_order = in_order or self.fine
        unit = 1000 if self.fine else 1
        self._window = milliseconds_of(ticket) if self.fine else ticket.window
        self._allowed = range((ticket.requested.start_s - 1) * unit, (ticket.requested.end_s + 1) * unit)
        self.start_met = False
        """A row dated exactly at the requested start was seen where it stands in a file that is in order:
        first, or last."""
        self._start_ms = ticket.requested.start_s * 1000
        self._fine_dater: FineDater | None = None
        self._last_region = b""
        self._dater: Dater | None = None
        self._dater_chosen = False
        self._met_bytes = 0
        self._last: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What was found, without the means of finding it: a finished survey travels between processes."""
        means = {"_dater": None, "_fine_dater": None, "_last_region": b"", "stream": self.stream.ended()}
        return self.__dict__ | means

    @property
    def time_known(self) -> bool:
        """Whether every row could be dated."""
        return not self.undated

    def feed(self, plain: bytes) -> None:
        self._look(self.stream.feed(plain))

    def finish(self) -> None:
        self._look(self.stream.finish())
        self._look_for_start(split_rows(self._last_region, self.stream.shape)[-1:])
        self._last_region = b""
        if self.stream.unterminated or self.stream.bom or self.stream.shape is not Shape.JSON_LINES:
            self.plain_lines = False

    def _look(self, region: bytes) -> None:
        if not region:
            return
        shape = self.stream.shape
        if not self._dater_chosen:
            self._choose(region, shape)
        if self._dater is None:
            count = count_rows(region, shape)
            self.undated += count
        else:
            count = self._date(self._dater, region)
            if not self.rows:
                self._look_for_start(split_rows(region, shape)[:1])
            self._last_region = region
        self.rows += count
        if self.plain_lines and (b"\r" in region or region.count(b"\n") != count):
            self.plain_lines = False

    def _choose(self, region: bytes, shape: Shape) -> None:
        if count_rows(region, shape):
            of_file = (shape, region, self.stream.columns, self._ticket.time_field)
            self._fine_dater = fine_dater_for(*of_file)
            self._dater = self._fine_dater if self.fine else dater_for(*of_file)
            self._dater_chosen = True

    def _look_for_start(self, rows: list[bytes]) -> None:
        for row in rows:
            met = self._fine_dater is not None and self._fine_dater.says(row, self._start_ms)
            self.start_met = self.start_met or met

    def _date(self, dater: Dater, region: bytes) -> int:
        self._met_bytes += len(region)
        by_block = self._met_bytes >= _WORTH_JUDGING_BYTES and not self.in_order
        count = dater.all_inside(region, self._window) if by_block else None
        if count is not None:
            self.inside += count
            return count
        seconds = dater.seconds(region)
        window, allowed = self._window, self._allowed
        for second, count in Counter(seconds).items():
            if second is None:
                self.undated += count
                continue
            if window.start_s <= second < window.end_s:
                self.inside += count
            elif second in allowed:
                self.near += count
            else:
                self.far += count
                self.far_second = second // 1000 if self.fine else second
            self.earliest = second if self.earliest is None else min(self.earliest, second)
            self.latest = second if self.latest is None else max(self.latest, second)
        if self.in_order:
            self._follow([second for second in seconds if second is not None])
        return len(seconds)

    def _follow(self, seconds: list[int]) -> None:
        if not seconds:
            return
        if self._last is not None:
            seconds.insert(0, self._last)
        ordered = sorted(seconds)
        self.ascending = self.ascending and seconds == ordered
        self.descending = self.descending and seconds == ordered[::-1]
        self._last = seconds[-1]

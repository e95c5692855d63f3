"""What a file holds, learned while it streams by: rows, and how many of them lie inside the window.

Nothing is changed here and nothing is kept but counts; ``clip`` decides by them.
"""

from __future__ import annotations

from collections import Counter

from orchestrator.core.job import ServedFormat
from orchestrator.core.model import Ticket
from orchestrator.dataplane.dating import Dater, dater_for
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import Shape

__all__ = ["Survey", "count_rows", "served_shape"]


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

    With ``in_order`` set it also learns whether the rows' seconds never step back (asc) or forward (desc);
    this is asked for truncated files only.
    """

    def __init__(self, ticket: Ticket, *, in_order: bool = False) -> None:
        self.rows = 0
        self.undated = 0
        self.inside = 0
        self.near = 0
        self.far = 0
        self.far_second: int | None = None
        self.ascending = self.descending = True
        self.earliest: int | None = None
        self.latest: int | None = None
        self.plain_lines = True
        """The decoded bytes are what ``output = "jsonl"`` wants: no byte order mark, no CR, no blank line,
        newline at the end."""
        self.stream = RowStream(served_shape(ticket), ticket.time_field)
        self._ticket = ticket
        self._window = ticket.window
        self._allowed = range(ticket.requested.start_s - 1, ticket.requested.end_s + 1)
        self._in_order = in_order
        self._dater: Dater | None = None
        self._dater_chosen = False
        self._last: int | None = None

    @property
    def time_known(self) -> bool:
        """Whether every row could be dated."""
        return not self.undated

    def feed(self, plain: bytes) -> None:
        self._look(self.stream.feed(plain))

    def finish(self) -> None:
        self._look(self.stream.finish())
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
        self.rows += count
        if self.plain_lines and (b"\r" in region or region.count(b"\n") != count):
            self.plain_lines = False

    def _choose(self, region: bytes, shape: Shape) -> None:
        if count_rows(region, shape):
            self._dater = dater_for(shape, region, self.stream.columns, self._ticket.time_field)
            self._dater_chosen = True

    def _date(self, dater: Dater, region: bytes) -> int:
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
                self.far_second = second
            self.earliest = second if self.earliest is None else min(self.earliest, second)
            self.latest = second if self.latest is None else max(self.latest, second)
        if self._in_order:
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

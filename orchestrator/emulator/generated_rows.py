"""The rows of chosen records of a generated logstore, from any byte offset, without making those before it.

Only three parts of a row vary, and they have a fixed width: the time, the turn number inside ``@seq``, and
the date in the raw text. So the offset of every row is a closed form, and a block of rows is a join of ready
pieces.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

from orchestrator.emulator.chance import whole
from orchestrator.emulator.pattern import TURN, Pattern, Ring
from orchestrator.emulator.record import Arrangement, Record, RowStyle, row_bytes, time_parts
from orchestrator.emulator.timeline import SEQ_BASE, Timeline, apache_text, iso_text

__all__ = ["GeneratedRows", "Stretch"]

_TURN_BASE = SEQ_BASE // TURN
BLOCK_ROWS = 4096
_STIRRED_ROWS = 64
_CACHED_SPREAD = 20_000
_T = TypeVar("_T")

_SAMPLE_MS = 1_111_111_111_222
"""A moment whose spelling occurs nowhere else in a row: where it stands, a template is cut."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The matches ``[first, last)`` of one ring."""

    ring: Ring
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """The constant parts of rows in one style, cut where time, turn number and date stand."""

    head: bytes
    between: bytes
    middles: tuple[bytes, ...]
    tails: tuple[bytes, ...]
    lengths: tuple[int, ...]
    iso: bool
    ms_texts: tuple[bytes, ...]

    def second_text(self, second: int) -> bytes:
        if self.iso:
            return self.head + iso_text(second).encode()
        return self.head + b"%d" % second


@lru_cache(maxsize=64)
def _template(pattern: Pattern, style: RowStyle) -> _Template:
    iso, ms_pattern = time_parts(style.time)
    sample_s = _SAMPLE_MS // 1000
    date = apache_text(sample_s).encode()
    second = iso_text(sample_s) if iso else str(sample_s)
    moment = (second + (ms_pattern % 222 if ms_pattern else "")).encode()
    head = between = b""
    middles, tails, lengths = [], [], []
    for key, row in enumerate(pattern.rows):
        raw = row.before_date + date.decode() + row.after_date
        sample = Record(
            _SAMPLE_MS, SEQ_BASE + key, row.stream, raw, (("level", row.level), ("status", row.status))
        )
        text = row_bytes(sample, style)
        head, rest = text.split(moment, 1)
        between, rest = rest.split(b"%d" % _TURN_BASE, 1)
        middle, tail = rest.split(date, 1)
        middles.append(middle)
        tails.append(tail)
        lengths.append(len(text))
    ms_texts = tuple((ms_pattern % ms if ms_pattern else "").encode() + between for ms in range(1000))
    return _Template(head, between, tuple(middles), tuple(tails), tuple(lengths), iso, ms_texts)


@lru_cache(maxsize=512)
def _lengths_before(pattern: Pattern, style: RowStyle, ring: Ring) -> tuple[int, ...]:
    """Bytes of the first n rows of one turn of a ring, n from 0 to all."""
    lengths = _template(pattern, style).lengths
    return tuple(accumulate((lengths[key] for key in ring.keys), initial=0))


@lru_cache(maxsize=64)
def _spread(template: _Template, rows: int) -> tuple[bytes, ...]:
    """The millisecond text of each record of a second that holds this many."""
    return tuple(template.ms_texts[place * 1000 // rows] for place in range(rows))


@dataclass(frozen=True, slots=True)
class GeneratedRows:
    """Chosen records of a generated logstore, in the order of a file."""

    timeline: Timeline
    stretches: tuple[Stretch, ...]
    arrangement: Arrangement

    @property
    def count(self) -> int:
        return sum(stretch.last - stretch.first for stretch in self.stretches)

    def records(self, first: int, last: int) -> list[Record]:
        found: list[Record] = []
        for stretch in self.stretches:
            size = stretch.last - stretch.first
            if first < size and last > 0:
                found += self._slice(stretch, max(first, 0), min(last, size))
            first, last = first - size, last - size
        return found

    def _slice(self, stretch: Stretch, first: int, last: int) -> list[Record]:
        low, high = self._group(stretch, first)[0], self._group(stretch, last - 1)[1]
        matches = self._matches(stretch, low, high)
        records = [self.timeline.record(stretch.ring.number(match)) for match in range(*matches)]
        if self.arrangement.descending:
            records.reverse()
        self._stir(stretch, low, high, records)
        return records[first - low : last - low]

    def size_bytes(self, style: RowStyle) -> int:
        return sum(
            self._bytes_before(style, stretch, stretch.last - stretch.first) for stretch in self.stretches
        )

    def read(self, style: RowStyle, start: int, end: int) -> Iterator[bytes]:
        for stretch in self.stretches:
            size = self._bytes_before(style, stretch, stretch.last - stretch.first)
            if start < size and end > 0:
                yield from self._read_stretch(style, stretch, max(start, 0), min(end, size))
            start, end = start - size, end - size
            if end <= 0:
                return

    def _read_stretch(self, style: RowStyle, stretch: Stretch, start: int, end: int) -> Iterator[bytes]:
        rows = stretch.last - stretch.first
        row = (
            bisect_right(range(rows), start, key=lambda place: self._bytes_before(style, stretch, place)) - 1
        )
        row = self._group(stretch, row)[0]
        at = self._bytes_before(style, stretch, row)
        while at < end:
            high = self._group(stretch, min(row + BLOCK_ROWS, rows) - 1)[1]
            block = self._render(style, stretch, row, high)
            if at < start or at + len(block) > end:
                yield block[max(start - at, 0) : end - at]
            else:
                yield block
            row, at = high, at + len(block)

    def _matches(self, stretch: Stretch, low: int, high: int) -> tuple[int, int]:
        """Match numbers, ascending, of the file rows ``[low, high)`` of a stretch."""
        if self.arrangement.descending:
            return stretch.last - high, stretch.last - low
        return stretch.first + low, stretch.first + high

    def _bytes_before(self, style: RowStyle, stretch: Stretch, row: int) -> int:
        """Where file row ``row`` of a stretch begins; exact at the borders of groups that are stirred as
        one."""
        before = _lengths_before(self.timeline.pattern, style, stretch.ring)
        low, high = self._matches(stretch, 0, row)

        def total(match: int) -> int:
            turn, place = divmod(match, len(stretch.ring.keys))
            return turn * before[-1] + before[place]

        return total(high) - total(low)

    def _group(self, stretch: Stretch, row: int) -> tuple[int, int]:
        """The rows ``[low, high)`` around a row that are stirred as one: just itself when nothing is
        stirred."""
        rows = stretch.last - stretch.first
        if self.arrangement.jumble == "none":
            return row, row + 1
        if self.arrangement.jumble == "blocks":
            low = row - row % _STIRRED_ROWS
            return low, min(low + _STIRRED_ROWS, rows)
        match = self._matches(stretch, row, row + 1)[0]
        at_ms = self.timeline.record(stretch.ring.number(match)).at_ms
        low = max(stretch.ring.before(self.timeline.before_ms(at_ms)), stretch.first)
        high = min(stretch.ring.before(self.timeline.before_ms(at_ms + 1)), stretch.last)
        if self.arrangement.descending:
            return stretch.last - high, stretch.last - low
        return low - stretch.first, high - stretch.first

    def _stir(self, stretch: Stretch, low: int, high: int, rows: list[_T]) -> None:
        """Stirs every group of the file rows ``[low, high)``, in place; ``low`` and ``high`` are group
        borders."""
        if self.arrangement.jumble == "none":
            return
        at = low
        while at < high:
            end = self._group(stretch, at)[1]
            if end - at > 1:
                salt = self.arrangement.salt
                order = sorted(range(at, end), key=lambda place: whole(salt, "stir", place))
                rows[at - low : end - low] = [rows[place - low] for place in order]
            at = end

    def _render(self, style: RowStyle, stretch: Stretch, low: int, high: int) -> bytes:
        template = _template(self.timeline.pattern, style)
        columns = self._columns(template, stretch.ring, *self._matches(stretch, low, high))
        if self.arrangement.descending:
            for column in columns:
                column.reverse()
        width = len(columns)
        pieces = [b""] * (width * (high - low))
        for place, column in enumerate(columns):
            pieces[place::width] = column
        if self.arrangement.jumble == "none":
            return b"".join(pieces)
        rows = [b"".join(pieces[at : at + width]) for at in range(0, len(pieces), width)]
        self._stir(stretch, low, high, rows)
        return b"".join(rows)

    def _columns(self, template: _Template, ring: Ring, first: int, last: int) -> tuple[list[bytes], ...]:
        """The pieces of the matches ``[first, last)``, ascending, column by column: building whole lists and
        joining once is what makes this several million rows a second."""
        turns: list[bytes] = []
        middles: list[bytes] = []
        tails: list[bytes] = []
        numbers: list[int] = []
        every = len(ring.keys) == TURN
        at = first
        while at < last:
            turn, place = divmod(at, len(ring.keys))
            stop = min(len(ring.keys), place + last - at)
            turns += [b"%d" % (_TURN_BASE + turn)] * (stop - place)
            if every:
                middles += template.middles[place:stop]
                tails += template.tails[place:stop]
            else:
                keys = ring.keys[place:stop]
                middles += [template.middles[key] for key in keys]
                tails += [template.tails[key] for key in keys]
                numbers += [turn * TURN + key for key in keys]
            at += stop - place
        seconds, millis, dates = self._times(template, range(first, last) if every else numbers)
        return seconds, millis, turns, middles, dates, tails

    def _times(
        self, template: _Template, numbers: Sequence[int]
    ) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """For ascending record numbers: the texts of their seconds, of their milliseconds, and of their
        dates."""
        seconds: list[bytes] = []
        millis: list[bytes] = []
        dates: list[bytes] = []
        before = self.timeline.before
        second = self.timeline.second_of(numbers[0])
        low, high = before(second), before(second + 1)
        at = 0
        while True:
            stop = (
                min(len(numbers), high - numbers[0])
                if isinstance(numbers, range)
                else bisect_left(numbers, high)
            )
            if stop > at:
                rows = stop - at
                seconds += [template.second_text(second)] * rows
                dates += [apache_text(second).encode()] * rows
                millis += _millis(template, high - low, low, numbers[at:stop])
                at = stop
            if at == len(numbers):
                return seconds, millis, dates
            second, low, high = second + 1, high, before(second + 2)
            if high <= numbers[at]:
                second = self.timeline.second_of(numbers[at])
                low, high = before(second), before(second + 1)


def _millis(template: _Template, rows: int, low: int, numbers: Sequence[int]) -> Sequence[bytes]:
    """The millisecond texts of some records of one second, which holds ``rows`` of them from number ``low``
    on."""
    if rows > _CACHED_SPREAD:
        return [template.ms_texts[(number - low) * 1000 // rows] for number in numbers]
    spread = _spread(template, rows)
    if isinstance(numbers, range):
        return spread[numbers.start - low : numbers.stop - low]
    return [spread[number - low] for number in numbers]

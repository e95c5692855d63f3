"""A logstore of any size that is never materialised: its records are a function of seed, second and place in
the second.

Record ``g`` (numbers run in time order over the whole logstore) lies in the second whose ``before`` values
enclose ``g``; within the second the records are spread evenly over its milliseconds. Counts over any window,
search and stream are closed forms; so are the byte offsets of rows, because the only parts of a row that vary
have a fixed width.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

from orchestrator.emulator.chance import whole
from orchestrator.emulator.density import Density
from orchestrator.emulator.pattern import TURN, Pattern, Ring, make_pattern
from orchestrator.emulator.record import Arrangement, Record, RowStyle, row_bytes, time_parts
from orchestrator.emulator.search import Search

__all__ = ["GeneratedMatching", "GeneratedRows", "GeneratedStore"]

SEQ_BASE = 10**15
"""Added to a record's number so that every ``@seq`` has 16 digits; still below 2^53."""
_TURN_BASE = SEQ_BASE // TURN
BLOCK_ROWS = 4096
_STIRRED_ROWS = 64
_CACHED_SPREAD = 20_000
_T = TypeVar("_T")

_SAMPLE_MS = 1_111_111_111_222
"""A moment whose spelling occurs nowhere else in a row: where it stands, a template is cut."""


@lru_cache(maxsize=1024)
def _day(day: int, form: str) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime(form)


def _clock(second: int, form: str) -> str:
    """A date in the given form, then the time of day; spelled by hand because it is asked for every second
    there is."""
    day, rest = divmod(second, 86_400)
    return f"{_day(day, form)}{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def _date(second: int) -> str:
    return _clock(second, "%d/%b/%Y:")


def _iso(second: int) -> str:
    return _clock(second, "%Y-%m-%dT")


class GeneratedStore:
    """A generated logstore: deterministic in ``seed``; records exist from ``start_s`` to ``end_s``
    (exclusive, UTC)."""

    tag_names = ("level", "status")

    def __init__(
        self,
        seed: int,
        density: Density,
        *,
        start_s: int = 1_600_000_000,
        end_s: int = 4_102_444_800,
        streams: tuple[str, ...] = ("app/prod-1", "app/prod-2", "app/prod-3"),
        multiline_per_mille: int = 3,
        late_per_mille: int = 0,
        late_by_s: float = 0.0,
    ) -> None:
        """``late_per_mille`` of the records can be seen only ``late_by_s`` after their time. Raises
        ValueError when the density holds more records than can be numbered (10^15)."""
        self.seed = seed
        self.start_s = start_s
        self.end_s = end_s
        self.pattern: Pattern = make_pattern(seed, streams, multiline_per_mille)
        self.late_by_s = late_by_s
        self._late = frozenset(
            key for key in range(TURN) if late_per_mille and whole(seed, "late", key) % TURN < late_per_mille
        )
        self._density = density
        self._origin = density.before(start_s)
        if self.before(end_s) >= SEQ_BASE:
            raise ValueError("a generated logstore holds fewer than 10^15 records")

    @property
    def streams(self) -> tuple[str, ...]:
        return self.pattern.streams

    def before(self, second: int) -> int:
        """How many records are older than this second."""
        return self._density.before(min(max(second, self.start_s), self.end_s)) - self._origin

    def before_ms(self, at_ms: int) -> int:
        """How many records are older than this millisecond."""
        second, ms = divmod(at_ms, 1000)
        low = self.before(second)
        return low + -(-ms * (self.before(second + 1) - low) // 1000) if ms else low

    def second_of(self, number: int) -> int:
        """The second in which this record lies."""
        return bisect_right(range(self.end_s), number, lo=self.start_s, key=self.before) - 1

    def matching(
        self, search: Search, stream: str | None, *, from_ms: int, visible_ms: int
    ) -> GeneratedMatching:
        """What a search means at one moment: records before ``from_ms`` have left retention, those of
        ``visible_ms`` and later have not arrived yet."""
        return GeneratedMatching(self, self.pattern.ring(search, stream), from_ms, visible_ms)

    def late_ring(self, ring: Ring) -> Ring:
        """The rows of a ring that are never late."""
        return Ring(tuple(key for key in ring.keys if key not in self._late)) if self._late else ring

    def record(self, number: int) -> Record:
        """One record by its number."""
        second = self.second_of(number)
        low = self.before(second)
        ms = (number - low) * 1000 // (self.before(second + 1) - low)
        return self._dated(number, second * 1000 + ms)

    def _dated(self, number: int, at_ms: int) -> Record:
        row = self.pattern.rows[number % TURN]
        raw = row.before_date + _date(at_ms // 1000) + row.after_date
        tags = (("level", row.level), ("status", row.status))
        return Record(at_ms, SEQ_BASE + number, row.stream, raw, tags, at_ms)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The matches ``[first, last)`` of one ring."""

    ring: Ring
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GeneratedMatching:
    """The records a search means at one moment."""

    store: GeneratedStore
    ring: Ring
    from_ms: int
    visible_ms: int

    def _stretches(self, start_ms: int, end_ms: int) -> tuple[_Stretch, ...]:
        start_ms = max(start_ms, self.from_ms)
        end_ms = min(end_ms, self.visible_ms)
        if not self.ring.keys or end_ms <= start_ms:
            return ()
        prompt = self.store.late_ring(self.ring)
        settled_ms = min(max(end_ms if prompt is self.ring else self._settled_ms(), start_ms), end_ms)
        found = []
        for ring, low_ms, high_ms in ((self.ring, start_ms, settled_ms), (prompt, settled_ms, end_ms)):
            if ring.keys and high_ms > low_ms:
                first, last = (
                    ring.before(self.store.before_ms(low_ms)),
                    ring.before(self.store.before_ms(high_ms)),
                )
                if last > first:
                    found.append(_Stretch(ring, first, last))
        return tuple(found)

    def _settled_ms(self) -> int:
        return self.visible_ms - int(self.store.late_by_s * 1000)

    def count(self, start_ms: int, end_ms: int) -> int:
        """How many there are in ``[start_ms, end_ms)``."""
        return sum(stretch.last - stretch.first for stretch in self._stretches(start_ms, end_ms))

    def rows(self, start_ms: int, end_ms: int, limit: int, arrangement: Arrangement) -> GeneratedRows:
        """At most ``limit`` of them: the newest when descending, else the oldest."""
        kept = []
        stretches = self._stretches(start_ms, end_ms)
        for stretch in reversed(stretches) if arrangement.descending else stretches:
            take = min(limit, stretch.last - stretch.first)
            limit -= take
            if take and arrangement.descending:
                kept.append(_Stretch(stretch.ring, stretch.last - take, stretch.last))
            elif take:
                kept.append(_Stretch(stretch.ring, stretch.first, stretch.first + take))
        return GeneratedRows(self.store, tuple(kept), arrangement)


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
            return self.head + _iso(second).encode()
        return self.head + b"%d" % second


@lru_cache(maxsize=64)
def _template(pattern: Pattern, style: RowStyle) -> _Template:
    iso, ms_pattern = time_parts(style.time)
    sample_s = _SAMPLE_MS // 1000
    date = _date(sample_s).encode()
    second = _iso(sample_s) if iso else str(sample_s)
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

    store: GeneratedStore
    stretches: tuple[_Stretch, ...]
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

    def _slice(self, stretch: _Stretch, first: int, last: int) -> list[Record]:
        low, high = self._group(stretch, first)[0], self._group(stretch, last - 1)[1]
        matches = self._matches(stretch, low, high)
        records = [self.store.record(stretch.ring.number(match)) for match in range(*matches)]
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

    def _read_stretch(self, style: RowStyle, stretch: _Stretch, start: int, end: int) -> Iterator[bytes]:
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

    def _matches(self, stretch: _Stretch, low: int, high: int) -> tuple[int, int]:
        """Match numbers, ascending, of the file rows ``[low, high)`` of a stretch."""
        if self.arrangement.descending:
            return stretch.last - high, stretch.last - low
        return stretch.first + low, stretch.first + high

    def _bytes_before(self, style: RowStyle, stretch: _Stretch, row: int) -> int:
        """Where file row ``row`` of a stretch begins; exact at the borders of groups that are stirred as
        one."""
        before = _lengths_before(self.store.pattern, style, stretch.ring)
        low, high = self._matches(stretch, 0, row)

        def total(match: int) -> int:
            turn, place = divmod(match, len(stretch.ring.keys))
            return turn * before[-1] + before[place]

        return total(high) - total(low)

    def _group(self, stretch: _Stretch, row: int) -> tuple[int, int]:
        """The rows ``[low, high)`` around a row that are stirred as one: just itself when nothing is
        stirred."""
        rows = stretch.last - stretch.first
        if self.arrangement.jumble == "none":
            return row, row + 1
        if self.arrangement.jumble == "blocks":
            low = row - row % _STIRRED_ROWS
            return low, min(low + _STIRRED_ROWS, rows)
        match = self._matches(stretch, row, row + 1)[0]
        at_ms = self.store.record(stretch.ring.number(match)).at_ms
        low = max(stretch.ring.before(self.store.before_ms(at_ms)), stretch.first)
        high = min(stretch.ring.before(self.store.before_ms(at_ms + 1)), stretch.last)
        if self.arrangement.descending:
            return stretch.last - high, stretch.last - low
        return low - stretch.first, high - stretch.first

    def _stir(self, stretch: _Stretch, low: int, high: int, rows: list[_T]) -> None:
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

    def _render(self, style: RowStyle, stretch: _Stretch, low: int, high: int) -> bytes:
        template = _template(self.store.pattern, style)
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
        before = self.store.before
        second = self.store.second_of(numbers[0])
        low, high = before(second), before(second + 1)
        at = 0
        while True:
            stop = (
                min(len(numbers), high - numbers[0])
                if isinstance(numbers, range)
                else bisect_left(numbers, high)
            )
            if stop > at:
                seconds += [template.second_text(second)] * (stop - at)
                dates += [_date(second).encode()] * (stop - at)
                millis += _millis(template, high - low, low, numbers[at:stop])
                at = stop
            if at == len(numbers):
                return seconds, millis, dates
            second, low, high = second + 1, high, before(second + 2)
            if high <= numbers[at]:
                second = self.store.second_of(numbers[at])
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

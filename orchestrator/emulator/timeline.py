"""Which record lies where in time: record ``g`` (numbers run in time order over the whole logstore) lies in
the second whose ``before`` values enclose ``g``; within the second the records are spread evenly over its
milliseconds."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from functools import lru_cache

from orchestrator.emulator.density import Density
from orchestrator.emulator.pattern import TURN, Pattern
from orchestrator.emulator.record import Record

__all__ = ["SEQ_BASE", "Timeline", "apache_text", "iso_text"]

SEQ_BASE = 10**15
"""Added to a record's number so that every ``@seq`` has 16 digits; still below 2^53."""


_SECONDS = tuple(f"{second:02d}" for second in range(60))


@lru_cache(maxsize=4096)
def _minute(minute: int, form: str) -> str:
    """Everything but the seconds: neighbouring seconds share it, and every second is asked for."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime(form)


def apache_text(second: int) -> str:
    """A second as access logs spell it, without the offset."""
    return _minute(second // 60, "%d/%b/%Y:%H:%M:") + _SECONDS[second % 60]


def iso_text(second: int) -> str:
    """A second in ISO 8601, without the Z."""
    return _minute(second // 60, "%Y-%m-%dT%H:%M:") + _SECONDS[second % 60]


class Timeline:
    """The records of a density, numbered from ``start_s`` to ``end_s`` (exclusive, UTC), saying what a
    pattern says.

    Raises ValueError when there are more than can be numbered (10^15).
    """

    def __init__(self, density: Density, pattern: Pattern, start_s: int, end_s: int) -> None:
        self.pattern = pattern
        self.start_s = start_s
        self.end_s = end_s
        self._density = density
        self._origin = density.before(start_s)
        self._recent_s = start_s  # where the last search ended, and the next one probably starts
        if self.before(end_s) >= SEQ_BASE:
            raise ValueError("a generated logstore holds fewer than 10^15 records")

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
        low, step = self._recent_s, 1
        if number < self.before(low):
            low, high = self.start_s, low
        else:  # mostly the same second or one soon after: gallop
            while low + step < self.end_s and self.before(low + step) <= number:
                low, step = low + step, step * 2
            high = min(low + step, self.end_s)
        self._recent_s = bisect_right(range(high), number, lo=low, key=self.before) - 1
        return self._recent_s

    def record(self, number: int) -> Record:
        """One record by its number."""
        second = self.second_of(number)
        low = self.before(second)
        ms = (number - low) * 1000 // (self.before(second + 1) - low)
        at_ms = second * 1000 + ms
        row = self.pattern.rows[number % TURN]
        raw = row.before_date + apache_text(second) + row.after_date
        tags = (("level", row.level), ("status", row.status))
        return Record(at_ms, SEQ_BASE + number, row.stream, raw, tags, at_ms)

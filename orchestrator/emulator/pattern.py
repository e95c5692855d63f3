"""What the records of a generated logstore say: a thousand access-log rows that repeat with new times and
numbers.

Record number ``g`` of a logstore carries the text of pattern row ``g mod 1000``. So everything that can be
asked about the text of a stretch of records (how many match, how many bytes they take) is a sum over whole
turns plus a bisection.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from orchestrator.emulator.chance import whole
from orchestrator.emulator.search import Search, words_of

__all__ = ["TURN", "Pattern", "PatternRow", "Ring", "make_pattern"]

TURN = 1000
"""Rows in a pattern; a power of ten, so that the last three digits of a record's number name its pattern
row."""

_METHODS = ("GET",) * 7 + ("POST",) * 2 + ("PUT",)
_PATHS = (
    "/api/v1/cart",
    "/api/v1/orders",
    "/api/v1/items",
    "/static/app.js",
    "/login",
    "/search",
    "/healthz",
    "/api/v2/pay",
)
_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "okhttp/4.12.0", "curl/8.5.0", "Go-http-client/2.0", "微信/8.0")


@dataclass(frozen=True)
class PatternRow:
    """The part of a record that repeats. The raw text is ``before_date`` + a date + ``after_date``."""

    stream: str
    level: str
    status: int
    before_date: str
    after_date: str

    @property
    def text(self) -> str:
        return self.before_date + self.after_date

    @cached_property
    def words(self) -> frozenset[str]:
        return words_of(self.text)

    @cached_property
    def fields(self) -> Mapping[str, str]:
        return {"level": self.level, "status": str(self.status), "@stream": self.stream}


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """The pattern rows that are meant, ascending: a numbering of the matching records, first match is number
    0."""

    keys: tuple[int, ...]

    def before(self, number: int) -> int:
        """How many matching records have a smaller number than this one."""
        turn, key = divmod(number, TURN)
        return turn * len(self.keys) + bisect_left(self.keys, key)

    def number(self, match: int) -> int:
        """The number of the record that is this match."""
        turn, place = divmod(match, len(self.keys))
        return turn * TURN + self.keys[place]


@dataclass(frozen=True, eq=False)
class Pattern:
    """A thousand rows and the streams they name."""

    rows: tuple[PatternRow, ...]
    streams: tuple[str, ...]

    def ring(self, search: Search, stream: str | None = None) -> Ring:
        """Which rows match; ``stream`` None is every stream. The same ring for the same question."""
        return _ring(self, search, stream)


@lru_cache(maxsize=1024)
def _ring(pattern: Pattern, search: Search, stream: str | None) -> Ring:
    return Ring(
        tuple(
            key
            for key, row in enumerate(pattern.rows)
            if (stream is None or row.stream == stream) and search.matches(row)
        )
    )


def _row(seed: int, key: int, streams: tuple[str, ...], multiline_per_mille: int) -> PatternRow:
    luck = whole(seed, "row", key)
    digits = [(luck >> shift) & 0xFF for shift in range(0, 64, 8)]
    # Squared, so that the first stream is the busiest and the last the quietest.
    stream = streams[min(len(streams) - 1, digits[0] * digits[0] * len(streams) // 65_536)]
    status = 200
    level = "INFO"
    if digits[1] < 13:
        status, level = (500, 502, 503, 504)[digits[1] % 4], "ERROR"
    elif digits[1] < 38:
        status, level = (404, 401, 429, 499)[digits[1] % 4], "WARN"
    path = _PATHS[digits[2] % len(_PATHS)]
    if path.startswith("/api"):
        path = f"{path}/{luck % 99_991}"
    method = _METHODS[digits[3] % len(_METHODS)]
    agent = _AGENTS[digits[4] % len(_AGENTS)]
    after = (
        f' +0000] "{method} {path} HTTP/1.1" {status} {luck % 48_611} 0.{luck % 997:03d} "{agent}" {level}'
    )
    if key % 1000 >= 1000 - multiline_per_mille:
        after += "\nTraceback (most recent call last):\n\tKeyError: 'user, unknown'"
    return PatternRow(stream, level, status, f"10.{digits[5]}.{digits[6]}.{digits[7]} - - [", after)


@lru_cache(maxsize=64)
def make_pattern(
    seed: int,
    streams: tuple[str, ...] = ("app/prod-1", "app/prod-2", "app/prod-3"),
    multiline_per_mille: int = 3,
) -> Pattern:
    """The pattern of one seed: about 5 % ERROR, 10 % WARN, else INFO; a few rows hold line breaks, some hold
    Chinese."""
    return Pattern(tuple(_row(seed, key, streams, multiline_per_mille) for key in range(TURN)), streams)

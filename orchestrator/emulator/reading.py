"""Counting and reading records: queries, histograms, pulls (bls-api.md 3)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.emulator.account import Logstore, Matching, matching
from orchestrator.emulator.analysis import Count, Statement, TimeBuckets, parse_statement
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.record import Arrangement, Record
from orchestrator.emulator.refusal import Refusal, invalid

__all__ = [
    "Ask",
    "Buckets",
    "RecordPage",
    "Table",
    "count_lines",
    "histogram",
    "query_records",
    "run_analysis",
]

_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800)
_BUCKETS_WANTED = 60


@dataclass(frozen=True, slots=True)
class Ask:
    """Which records a query is about. ``stream`` None is every stream."""

    store: Logstore
    stream: str | None
    query: str
    start_ms: int
    end_ms: int
    now_s: float

    def matching(self, search: str, behaviour: Behaviour) -> Matching:
        """The records the search part means."""
        return matching(self.store, self.stream, search, self.now_s, behaviour)


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to an analysis."""

    query_type: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[int | float | str]]
    truncated: bool
    scanned: int


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records in the order asked for, and where the next page begins ("" when it is the last)."""

    query_type: str
    records: list[Record]
    next_marker: str


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: bucket starts in ms and counts; ``hits`` None is left out."""

    query_type: str
    width_s: int
    buckets: list[tuple[int, int]]
    hits: int | None


def _erring(count: int, behaviour: Behaviour) -> int:
    return max(0, round(count * (1 + behaviour.count_error))) if behaviour.count_error else count


def count_lines(ask: Ask, behaviour: Behaviour) -> int:
    """How many records the search part means; the number a count or the hits of a histogram give."""
    statement = parse_statement(ask.query)
    found = ask.matching(statement.search, behaviour)
    return _erring(found.count(ask.start_ms, ask.end_ms), behaviour)


def run_analysis(ask: Ask, statement: Statement, behaviour: Behaviour) -> Table:
    """A count or time buckets by SQL; InvalidParameter where the switches say that SQL needs an index."""
    if behaviour.count_refused or (behaviour.index_needed and not ask.store.indexed):
        raise invalid("the logstore has no index")
    found = ask.matching(statement.search, behaviour)
    total = found.count(ask.start_ms, ask.end_ms)
    if behaviour.overload_rows and total > behaviour.overload_rows:
        raise Refusal(413, "RequestOverload", "Request overload")
    if isinstance(statement.analysis, Count):
        count = _spelled(_erring(total, behaviour), behaviour)
        kind = "string" if isinstance(count, str) else "int"
        columns = (statement.analysis.name,)
        return Table(statement.query_type, columns, (kind,), [[count]], behaviour.count_truncated, total)
    if not isinstance(statement.analysis, TimeBuckets) or behaviour.sql_histogram == "refused":
        raise invalid("query: function histogram is not offered for this logstore")
    wish = statement.analysis
    rows: list[list[int | float | str]] = []
    limit = min(wish.limit or behaviour.sql_rows_max, behaviour.sql_rows_max)
    truncated = behaviour.count_truncated
    for start_ms, count in _buckets(found, ask, wish.width_s, "epoch"):
        if count:
            if len(rows) == limit:
                truncated = truncated or wish.limit is None
                break
            rows.append([_bucket_time(start_ms, behaviour), _spelled(_erring(count, behaviour), behaviour)])
    kinds = ("int" if behaviour.sql_histogram_time == "ms" else "string", "int")
    return Table(statement.query_type, (wish.time_name, wish.count_name), kinds, rows, truncated, total)


def _spelled(count: int, behaviour: Behaviour) -> int | float | str:
    if behaviour.count_form == "string":
        return str(count)
    return float(count) if behaviour.count_form == "float" else count


def _bucket_time(at_ms: int, behaviour: Behaviour) -> int | str:
    if behaviour.sql_histogram_time == "ms":
        return at_ms
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return at.strftime(
        "%Y-%m-%dT%H:%M:%SZ" if behaviour.sql_histogram_time == "iso" else "%Y-%m-%d %H:%M:%S.000"
    )


def histogram(ask: Ask, behaviour: Behaviour) -> Buckets:
    """Counts per bucket of the server's own width (bls-api.md 3.3)."""
    if behaviour.index_needed and not ask.store.indexed:
        raise invalid("the logstore has no index")
    if behaviour.histogram_fails == "always":
        raise Refusal(500, "InternalError", "Histogram failed")
    if behaviour.histogram_fails == "timeout":
        raise Refusal(504, "RequestTimeout", "No result within 60 s")
    statement = parse_statement(ask.query)
    found = ask.matching(statement.search, behaviour)
    width_s = behaviour.histogram_width_s or _width(ask.end_ms - ask.start_ms)
    listed = behaviour.histogram_empty_buckets == "listed"
    buckets = [
        (start_ms, _erring(count, behaviour))
        for start_ms, count in _buckets(found, ask, width_s, behaviour.histogram_alignment)
        if count or listed
    ]
    hits: int | None = sum(count for _, count in buckets)
    match behaviour.histogram_hits:
        case "too-high":
            hits = (hits or 0) + 7
        case "too-low":
            hits = max((hits or 0) - 7, 0)
        case "missing":
            hits = None
        case _:
            pass
    return Buckets(statement.query_type, width_s, buckets, hits)


def _width(window_ms: int) -> int:
    for width_s in _WIDTHS_S:
        if window_ms <= width_s * 1000 * _BUCKETS_WANTED:
            return width_s
    return _WIDTHS_S[-1]


def _buckets(found: Matching, ask: Ask, width_s: int, alignment: str) -> list[tuple[int, int]]:
    """Every bucket that meets the window, with the count of its part inside it."""
    width_ms = width_s * 1000
    first = ask.start_ms - ask.start_ms % width_ms if alignment == "epoch" else ask.start_ms
    return [
        (at, found.count(max(at, ask.start_ms), min(at + width_ms, ask.end_ms)))
        for at in range(first, ask.end_ms, width_ms)
    ]


def query_records(
    ask: Ask, behaviour: Behaviour, *, descending: bool, first: int | None, marker: str, limit: int
) -> RecordPage:
    """Records themselves, a page at a time: from ``first``, or from where the marker points."""
    found = ask.matching(ask.query, behaviour)
    if behaviour.overload_rows and found.count(ask.start_ms, ask.end_ms) > behaviour.overload_rows:
        raise Refusal(413, "RequestOverload", "Request overload")
    at = _position(marker) if first is None else first
    page = found.rows(ask.start_ms, ask.end_ms, at + limit + 1, Arrangement(descending)).records(
        at, at + limit + 1
    )
    more = len(page) > limit
    return RecordPage("match", page[:limit], _marker(at + limit) if more and limit else "")


def _marker(position: int) -> str:
    return urlsafe_b64encode(f"from {position:012d}".encode()).decode()


def _position(marker: str) -> int:
    if not marker:
        return 0
    try:
        word, _, number = urlsafe_b64decode(marker.encode()).decode().partition(" ")
        position = int(number)
    except ValueError:
        word, position = "", -1
    if word != "from" or position < 0:
        raise invalid("marker")
    return position

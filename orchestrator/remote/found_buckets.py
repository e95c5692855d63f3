"""What does an analysis by time say: how many records in which stretch? (bls-api.md 3.2)

In what form the instants come is not told: numbers of milliseconds or seconds, ISO texts, or texts of a wall
clock that does not say which. They are known to lie in the window, which tells the wall clock apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from orchestrator.core.window import Window
from orchestrator.ports.service import Bucket, CountUnavailable, Histogram
from orchestrator.remote.wire import Fields, payload, whole_number

__all__ = ["buckets_of"]

_HOUR_S: Final = 3600
_OFFSETS_S: Final[tuple[int, ...]] = tuple(
    hours * _HOUR_S for hours in (0, -8, *range(-1, -15, -1), *range(1, 13))
)
"""What turns a wall clock into UTC; Beijing's, where the service lives, is the likeliest after UTC."""
_SECONDS_BELOW: Final = 10**11


def buckets_of(found: object, request_id: str, window: Window, width_s: int) -> Histogram | CountUnavailable:
    """The rows ``(instant, lines)`` of an analysis per ``width_s``, oldest first. Raises MalformedAnswer."""
    answer = payload(found, "QueryLogRecord", request_id)
    result = answer.section("resultSet")
    scanned = answer.section_or_none("datasetScanInfo")
    if result.truth("isTruncated") or (scanned is not None and scanned.truth("isTruncated")):
        return CountUnavailable("the buckets were cut short", too_much=True)
    found_at: list[float] = []
    lines: list[int] = []
    naive = False
    for number, row in enumerate(result.items("rows")):
        if not isinstance(row, list) or len(row) != 2:
            raise result.wrong(f"rows[{number}]", "an instant and a number", "something else")
        at_s, wall = _instant(result, number, row[0])
        found_at.append(at_s)
        lines.append(_lines(result, number, row[1]))
        naive = naive or wall
    shift_s = _shift_s(found_at, window, width_s) if naive else 0
    buckets = sorted(zip(found_at, lines, strict=True))
    return Histogram(
        float(width_s), tuple(Bucket(at_s + shift_s, count) for at_s, count in buckets), hits=None
    )


def _instant(result: Fields, number: int, cell: object) -> tuple[float, bool]:
    """UTC epoch seconds, and whether that was guessed from a wall clock."""
    text = cell.strip() if isinstance(cell, str) else ""
    if text and not text.lstrip("+-").replace(".", "", 1).isdecimal():
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise result.wrong(f"rows[{number}][0]", "an instant", "another text") from None
        wall = moment.tzinfo is None
        return (moment.replace(tzinfo=UTC) if wall else moment).timestamp(), wall
    try:
        value = whole_number(cell)
    except (TypeError, ValueError) as odd:
        raise result.wrong(f"rows[{number}][0]", "an instant", str(odd)) from None
    if value is None:
        raise result.wrong(f"rows[{number}][0]", "an instant", "nothing")
    return (value if abs(value) < _SECONDS_BELOW else value / 1000), False


def _lines(result: Fields, number: int, cell: object) -> int:
    try:
        lines = whole_number(cell)
    except (TypeError, ValueError) as odd:
        raise result.wrong(f"rows[{number}][1]", "a whole number", str(odd)) from None
    if lines is None or lines < 0:
        raise result.wrong(f"rows[{number}][1]", "a whole number", "nothing" if lines is None else "less")
    return lines


def _shift_s(found_at: Sequence[float], window: Window, width_s: int) -> int:
    """What to add so that all of them lie in the window; 0 when nothing makes them."""
    first_s, last_s = min(found_at), max(found_at)
    for offset_s in _OFFSETS_S:
        if window.start_s - width_s < first_s + offset_s and last_s + offset_s < window.end_s:
            return offset_s
    return 0

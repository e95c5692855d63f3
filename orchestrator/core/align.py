"""Which instants must no slice cross? The starts of local hours, days or months in the job's time zone.

Boundaries are fixed instants, the same whichever side one comes from: where a clock change swallows a
midnight the boundary is the first second after it, where it repeats an hour both of its starts are
boundaries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache

from orchestrator.core.job import Align
from orchestrator.core.moments import day_start

__all__ = ["NextBoundary", "align_boundaries"]

NextBoundary = Callable[[int], int | None]
"""The first boundary after a second (UTC epoch), or None when there is none."""

_HOUR_S = 3600
_REMEMBERED = 4096
"""A planner asks about the edges of the few pieces it has open, over and over."""


def align_boundaries(align: Align, zone: tzinfo) -> NextBoundary:
    """The boundaries ``align`` means in ``zone``: whole local hours, starts of local days or of local
    months."""
    if align is Align.HOUR:
        return lru_cache(_REMEMBERED)(lambda at_s: _next_hour(at_s, zone))
    if align is Align.DAY:
        return lru_cache(_REMEMBERED)(lambda at_s: _next_start(at_s, zone, _days_from))
    if align is Align.MONTH:
        return lru_cache(_REMEMBERED)(lambda at_s: _next_start(at_s, zone, _months_from))
    return lambda _at_s: None


def _offset_s(at_s: int, zone: tzinfo) -> int:
    return (datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta()) // timedelta(seconds=1)


def _next_hour(at_s: int, zone: tzinfo) -> int:
    """The offset may change on the way (by half an hour on Lord Howe Island), so both offsets propose their
    next hours and those proposals count whose own offset they were made with."""
    proposals = []
    for offset_s in {_offset_s(at_s, zone), _offset_s(at_s + _HOUR_S, zone)}:
        hour_s = ((at_s + offset_s) // _HOUR_S + 1) * _HOUR_S - offset_s
        proposals += [due_s for due_s in (hour_s, hour_s + _HOUR_S) if _offset_s(due_s, zone) == offset_s]
    return min(proposals)


def _next_start(at_s: int, zone: tzinfo, days_from: Callable[[date], tuple[date, ...]]) -> int:
    today = datetime.fromtimestamp(at_s, zone).date()
    return min(start_s for start_s in (day_start(day, zone) for day in days_from(today)) if start_s > at_s)


def _days_from(today: date) -> tuple[date, ...]:
    """Two days ahead: a zone that moved across the date line skipped one."""
    return tuple(today + timedelta(days=ahead) for ahead in (0, 1, 2))


def _months_from(today: date) -> tuple[date, ...]:
    months = (today.year * 12 + today.month - 1 + ahead for ahead in (0, 1, 2))
    return tuple(date(month // 12, month % 12 + 1, 1) for month in months)

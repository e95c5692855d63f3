"""What a date, a date-time or a relative moment means, and which of them mean nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from orchestrator.core.complaint import Wrong
from orchestrator.core.jobfile import parse_moment
from orchestrator.core.moments import Anchor, day_start, instants_of, read_moment
from orchestrator.core.window import iso_utc
from orchestrator.errors import UsageError

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
HAVANA = ZoneInfo("America/Havana")  # its clocks skip and repeat hours at midnight
APIA = ZoneInfo("Pacific/Apia")  # skipped 2011-12-30
NOW_S = datetime(2026, 1, 15, 3, 4, 5, 600_000, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), SHANGHAI, "2026-01-01T00:00:00Z"),
        (datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=8))), UTC, "2026-01-01T00:00:00Z"),
        (datetime(2026, 1, 1, 8), SHANGHAI, "2026-01-01T00:00:00Z"),
        (date(2026, 1, 1), SHANGHAI, "2025-12-31T16:00:00Z"),
        ("2026-01-01", SHANGHAI, "2025-12-31T16:00:00Z"),
        ("2026-01-14 00:00:00+08:00", UTC, "2026-01-13T16:00:00Z"),
        ("2026-01-14T00:00:00+0800", UTC, "2026-01-13T16:00:00Z"),
        ("2026-01-14T00:00:00Z", SHANGHAI, "2026-01-14T00:00:00Z"),
        ("2026-01-14t00:00:00z", SHANGHAI, "2026-01-14T00:00:00Z"),
        ("2026-01-14 08:30", SHANGHAI, "2026-01-14T00:30:00Z"),
        ("2026-01-14T00:00:00.000Z", UTC, "2026-01-14T00:00:00Z"),
        (" 2026-01-14 ", UTC, "2026-01-14T00:00:00Z"),
        ("now", UTC, "2026-01-15T03:04:05Z"),
        ("now-6h", SHANGHAI, "2026-01-14T21:04:05Z"),
        ("now - 90s", UTC, "2026-01-15T03:02:35Z"),
        ("now+1d", UTC, "2026-01-16T03:04:05Z"),
        ("today", UTC, "2026-01-15T00:00:00Z"),
        ("today", SHANGHAI, "2026-01-14T16:00:00Z"),
        ("yesterday", SHANGHAI, "2026-01-13T16:00:00Z"),
        ("today-7d", UTC, "2026-01-08T00:00:00Z"),
        ("today-1w", UTC, "2026-01-08T00:00:00Z"),
        ("today+9h", UTC, "2026-01-15T09:00:00Z"),
        ("yesterday-1d6h", UTC, "2026-01-12T18:00:00Z"),
        ("1970-01-01", UTC, "1970-01-01T00:00:00Z"),
        ("2100-01-01", UTC, "2100-01-01T00:00:00Z"),
    ],
)
def test_moments(value: object, zone: ZoneInfo, expected: str) -> None:
    """Every form of a moment names one second; naive ones are read in the zone."""
    assert iso_utc(read_moment(value, zone, NOW_S).at_s) == expected


@pytest.mark.parametrize(
    ("value", "anchor"),
    [("2026-01-01", Anchor.FIXED), ("now-1h", Anchor.NOW), ("today", Anchor.DAY), ("yesterday", Anchor.DAY)],
)
def test_moments_know_what_they_move_with(value: str, anchor: Anchor) -> None:
    """A relative moment says what it is relative to."""
    assert read_moment(value, UTC, NOW_S).anchor is anchor


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "not a moment"),
        ("tomorrow", "not a moment"),
        ("2026-1-1", "not a moment"),
        ("20260101", "not a moment"),
        ("1768348800", "not a moment"),
        ("2026-01-01T00", "not a moment"),
        ("2026-01-01 Z", "not a moment"),
        (5, "not a moment"),
        (time(8), "not a moment"),
        ("2026-02-30", "not in the calendar"),
        ("2026-01-01T24:00:00Z", "not in the calendar or not on the clock"),
        ("2026-01-01T00:00:60Z", "not in the calendar or not on the clock"),
        ("2026-01-01T00:00:00+24:00", "not in the calendar or not on the clock"),
        ("2026-01-01T00:00:00.5Z", "a fraction of a second"),
        (datetime(2026, 1, 1, microsecond=1, tzinfo=UTC), "a fraction of a second"),
        ("1969-12-31", "out of range"),
        ("2100-01-01T00:00:01Z", "out of range"),
        ("0001-01-01", "out of range"),
        (datetime(9999, 12, 31, 23, tzinfo=UTC), "out of range"),
        ("now-100w", None),
        ("now-5200w", "out of range"),
        ("now-999999999w", "out of range"),
        ("today+999999d", "out of range"),
        ("today+90000d", "out of range"),
        ("now-6", '"now" with what is not a duration'),
        ("today-7days", '"today" with what is not a duration'),
    ],
)
def test_no_moments(value: object, problem: str | None) -> None:
    """What names no second from 1970 to 2100 is refused with its reason."""
    if problem is None:
        assert read_moment(value, UTC, NOW_S).at_s > 0
        return
    with pytest.raises(Wrong) as refused:
        read_moment(value, UTC, NOW_S)
    assert problem in refused.value.objection.problem
    assert refused.value.objection.allowed


def test_a_skipped_time_is_refused() -> None:
    """02:30 of the night in which Berlin's clocks go forward does not exist, so it is no moment; with an
    offset it is."""
    assert instants_of(datetime(2026, 3, 29, 2, 30), BERLIN) == ()
    with pytest.raises(Wrong, match="does not exist in Europe/Berlin"):
        read_moment("2026-03-29T02:30", BERLIN, NOW_S)
    assert iso_utc(read_moment("2026-03-29T02:30+01:00", BERLIN, NOW_S).at_s) == "2026-03-29T01:30:00Z"


def test_a_repeated_time_is_refused() -> None:
    """02:30 of the night in which Berlin's clocks go back happens twice, so it is no moment."""
    first_s, second_s = instants_of(datetime(2026, 10, 25, 2, 30), BERLIN)
    assert second_s - first_s == 3_600
    with pytest.raises(Wrong, match="occurs twice in Europe/Berlin"):
        read_moment(datetime(2026, 10, 25, 2, 30), BERLIN, NOW_S)


@pytest.mark.parametrize(
    ("day", "zone", "expected"),
    [
        (date(2026, 3, 8), HAVANA, "2026-03-08T05:00:00Z"),  # 00:00 is skipped: the day begins at 01:00
        (date(2026, 11, 1), HAVANA, "2026-11-01T04:00:00Z"),  # 00:00 comes twice: the first one
        (date(2011, 12, 30), APIA, "2011-12-30T10:00:00Z"),  # the day is skipped: the one after it
        (date(2011, 12, 31), APIA, "2011-12-30T10:00:00Z"),
        (date(2026, 3, 29), BERLIN, "2026-03-28T23:00:00Z"),
    ],
)
def test_every_day_has_a_first_second(day: date, zone: ZoneInfo, expected: str) -> None:
    """A date means its first instant, whatever the clocks do at midnight."""
    assert iso_utc(day_start(day, zone)) == expected


def test_today_minus_days_counts_calendar_days() -> None:
    """Seven days before a day in Berlin is a midnight there too, although one of those days had 23 hours."""
    now_s = datetime(2026, 4, 1, 12, tzinfo=UTC).timestamp()
    assert iso_utc(read_moment("today-7d", BERLIN, now_s).at_s) == "2026-03-24T23:00:00Z"


def test_the_command_line_reads_moments_alike() -> None:
    """--from takes what `from` takes, and a wrong one is a usage error that says what is allowed."""
    assert parse_moment("now-6h", UTC, NOW_S) == int(NOW_S) - 6 * 3_600
    with pytest.raises(UsageError, match='"soon": not a moment') as refused:
        parse_moment("soon", UTC, NOW_S)
    assert "now-6h" in refused.value.hint
    assert refused.value.exit_code == 2

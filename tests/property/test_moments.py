"""Moments and measures over many zones and days: nothing is guessed, nothing is lost."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.complaint import Wrong
from orchestrator.core.measures import duration_text, parse_duration
from orchestrator.core.moments import day_start, instants_of, local_time, read_moment
from orchestrator.core.window import LATEST_S, iso_utc

ZONES = st.sampled_from(
    [
        "UTC",
        "Asia/Shanghai",
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "America/Sao_Paulo",
        "Asia/Beirut",
        "Africa/Cairo",
        "Africa/Casablanca",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Pacific/Chatham",
        "Europe/Dublin",
        "America/St_Johns",
        "Antarctica/Troll",
        "Asia/Gaza",
        "Atlantic/Azores",
    ]
).map(ZoneInfo)
SECONDS = st.integers(0, LATEST_S)
DAYS = st.dates(date(1970, 1, 3), date(2099, 12, 28))


@given(at_s=SECONDS, zone=ZONES)
def test_a_second_is_among_those_its_clock_shows(at_s: int, zone: ZoneInfo) -> None:
    """What the clocks show at an instant is one of the instants at which they show it, and never one of more
    than two."""
    found = instants_of(local_time(at_s, zone), zone)
    assert at_s in found
    assert len(found) <= 2


@given(at_s=SECONDS, zone=ZONES)
def test_a_naive_time_is_exact_or_refused(at_s: int, zone: ZoneInfo) -> None:
    """A naive time means the one instant at which the clocks show it, or is refused because there are two."""
    text = local_time(at_s, zone).isoformat()
    twice = len(instants_of(local_time(at_s, zone), zone)) == 2
    if twice:
        with pytest.raises(Wrong, match="occurs twice"):
            read_moment(text, zone, 0)
    elif "1970" <= text < "2100":
        assert read_moment(text, zone, 0).at_s == at_s


@given(day=DAYS, zone=ZONES, hours=st.integers(-30, 30), minute=st.integers(0, 59))
def test_a_time_around_any_day_is_exact_or_refused(
    day: date, zone: ZoneInfo, hours: int, minute: int
) -> None:
    """A naive time that is taken is shown by the clocks at that instant; one that is refused is never shown,
    or twice."""
    naive = datetime.combine(day, datetime.min.time()) + timedelta(hours=hours, minutes=minute)
    try:
        at_s = read_moment(naive, zone, 0).at_s
    except Wrong:
        assert len(instants_of(naive, zone)) != 1
    else:
        assert local_time(at_s, zone) == naive


@given(day=DAYS, zone=ZONES)
def test_days_partition_time(day: date, zone: ZoneInfo) -> None:
    """A day begins when its date is first shown: the second before shows an earlier one, and days do not
    overlap."""
    start_s = day_start(day, zone)
    assert local_time(start_s, zone).date() >= day
    assert local_time(start_s - 1, zone).date() < day
    assert day_start(day + timedelta(days=1), zone) >= start_s


@given(now_s=st.floats(10**9, 4 * 10**9), zone=ZONES, days=st.integers(0, 400))
def test_today_minus_days_is_a_day_start(now_s: float, zone: ZoneInfo, days: int) -> None:
    """``today-Nd`` is the start of the day N dates back, in every zone at every moment."""
    day = local_time(now_s, zone).date() - timedelta(days=days)
    assert read_moment(f"today-{days}d", zone, now_s).at_s == day_start(day, zone)
    assert read_moment("today", zone, now_s).at_s <= now_s


@given(at_s=SECONDS, zone=ZONES)
def test_what_we_print_we_read(at_s: int, zone: ZoneInfo) -> None:
    """A moment printed in UTC, or with its offset, is the same moment when read again in any zone."""
    assert read_moment(iso_utc(at_s), zone, 0).at_s == at_s
    written = datetime.fromtimestamp(at_s, UTC).astimezone(zone)
    if (written.utcoffset() or timedelta()) % timedelta(minutes=1) == timedelta():
        assert read_moment(written.isoformat(" "), UTC, 0).at_s == at_s


@given(duration_s=st.integers(0, 10**9))
def test_what_we_print_of_durations_we_read(duration_s: int) -> None:
    """parse(print(x)) = x."""
    assert parse_duration(duration_text(duration_s)) == duration_s


@given(text=st.text(alphabet="0123456789-:TZ+ nowtodayh.", max_size=30), zone=ZONES)
def test_any_text_is_a_moment_or_refused(text: str, zone: ZoneInfo) -> None:
    """No text crashes the reader."""
    try:
        at_s = read_moment(text, zone, 1.7e9).at_s
    except Wrong:
        return
    assert 0 <= at_s <= LATEST_S

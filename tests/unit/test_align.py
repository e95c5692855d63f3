"""Boundaries of local hours, days and months, across every kind of clock change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.align import align_boundaries
from orchestrator.core.job import Align

ZONES = [
    "UTC",
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/Havana",
]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    "align, zone, before, boundary",
    [
        (Align.HOUR, "UTC", "2026-01-14T08:30:00+00:00", "2026-01-14T09:00:00+00:00"),
        (Align.HOUR, "UTC", "2026-01-14T09:00:00+00:00", "2026-01-14T10:00:00+00:00"),
        (Align.HOUR, "Asia/Kolkata", "2026-01-14T08:30:00+05:30", "2026-01-14T09:00:00+05:30"),
        # the repeated hour starts twice
        (Align.HOUR, "Europe/Berlin", "2025-10-26T02:10:00+02:00", "2025-10-26T02:00:00+01:00"),
        # the clock goes back by half an hour at 02:00: 01:30 comes again, then 02:00
        (Align.HOUR, "Australia/Lord_Howe", "2025-04-06T01:10:00+11:00", "2025-04-06T02:00:00+10:30"),
        # and forward by half an hour at 02:00, which therefore reads 02:30
        (Align.HOUR, "Australia/Lord_Howe", "2025-10-05T01:10:00+10:30", "2025-10-05T03:00:00+11:00"),
        (Align.DAY, "Asia/Shanghai", "2026-01-14T08:30:00+08:00", "2026-01-15T00:00:00+08:00"),
        (Align.DAY, "Asia/Shanghai", "2026-01-13T23:59:59+08:00", "2026-01-14T00:00:00+08:00"),
        (Align.DAY, "Europe/Berlin", "2025-03-30T00:00:00+01:00", "2025-03-31T00:00:00+02:00"),
        # midnight does not exist: the day starts at 01:00
        (Align.DAY, "America/Sao_Paulo", "2018-11-03T12:00:00-03:00", "2018-11-04T01:00:00-02:00"),
        # a day does not exist: the next one starts at once
        (Align.DAY, "Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00"),
        (Align.MONTH, "UTC", "2026-01-31T12:00:00+00:00", "2026-02-01T00:00:00+00:00"),
        (Align.MONTH, "UTC", "2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"),
        (Align.MONTH, "Asia/Shanghai", "2025-12-31T23:59:59+08:00", "2026-01-01T00:00:00+08:00"),
    ],
)
def test_the_next_boundary(align: Align, zone: str, before: str, boundary: str) -> None:
    """The first start of a local hour, day or month after an instant."""
    assert align_boundaries(align, ZoneInfo(zone))(at(before)) == at(boundary)


def test_without_alignment_there_is_no_boundary() -> None:
    """``align = "none"`` never cuts."""
    assert align_boundaries(Align.NONE, UTC)(0) is None


@given(
    st.sampled_from([Align.HOUR, Align.DAY, Align.MONTH]),
    st.sampled_from(ZONES),
    st.integers(0, 2_500_000_000),
    st.integers(0, 40 * 86_400),
)
def test_boundaries_are_fixed_instants(align: Align, zone: str, at_s: int, later_s: int) -> None:
    """From anywhere before a boundary and after the previous one, the next boundary is the same; it always
    lies ahead and reads as the start of an hour or of a day."""
    next_boundary = align_boundaries(align, ZoneInfo(zone))
    found = next_boundary(at_s)
    assert found is not None
    assert at_s < found <= at_s + 33 * 86_400
    between = min(at_s + later_s, found - 1)
    assert next_boundary(between) == found
    assert next_boundary(found - 1) == found
    local = datetime.fromtimestamp(found, ZoneInfo(zone))
    if align is Align.HOUR:
        assert (local.minute, local.second) == (0, 0)
    else:
        day_before = datetime.fromtimestamp(found - 1, ZoneInfo(zone)).date()
        assert local.date() > day_before
        assert align is Align.DAY or (local.year, local.month) > (day_before.year, day_before.month)

"""Where nothing can be counted, what came says how long the next slice should be."""

from __future__ import annotations

from datetime import UTC

import pytest

from orchestrator.core.align import align_boundaries
from orchestrator.core.estimating import Past
from orchestrator.core.job import Align
from orchestrator.core.lanes import FIRST_S, Lane, first_length_s, guessed, lanes_over
from orchestrator.core.window import Window

MOST = 1_000_000
HOUR_S = 3600
DAY_S = 86_400


def no_boundary(_: int) -> None:
    return None


def past(length_s: int, rows: int) -> Past:
    return Past(None, rows, stored_rows=rows, length_s=length_s)


@pytest.mark.parametrize(
    ("seen_s", "rows", "length_s"),
    [
        (HOUR_S, 0, 2 * HOUR_S),
        (HOUR_S, 99_999, 2 * HOUR_S),
        (HOUR_S, 100_000, 8 * HOUR_S),
        (HOUR_S, 800_000, HOUR_S),
        (HOUR_S, 1_000_000, 2880),
        (1800, 60_000, 8 * 3000),
        (1800, 40_000, 2 * HOUR_S),
        (10, 1_000_000, 8),
        (1, 5_000_000, 1),
    ],
    ids=[
        "nothing",
        "hardly anything",
        "a tenth",
        "just right",
        "full",
        "half the time, more than a tenth",
        "half the time, less than a tenth",
        "cut after ten seconds",
        "one second too full",
    ],
)
def test_the_next_slice_follows_from_what_came(seen_s: int, rows: int, length_s: int) -> None:
    """Twice as long while less than a tenth of the limit comes, else as long as four fifths of it last."""
    lane = Lane(Window(0, DAY_S), HOUR_S)
    assert lane.after(seen_s, rows, MOST).length_s == length_s


def test_no_slice_is_longer_than_a_month() -> None:
    """However little comes, and however little came before."""
    month_s = 31 * DAY_S
    assert Lane(Window(0, 400 * DAY_S), 20 * DAY_S).after(20 * DAY_S, 0, MOST).length_s == month_s
    assert Lane(Window(0, 400 * DAY_S), 20 * DAY_S).after(DAY_S, 10_000, MOST).length_s == month_s
    assert first_length_s([past(300 * DAY_S, 5)], MOST) == month_s


def test_a_lane_is_asked_for_from_left_to_right() -> None:
    """Slices of the length it has, the last two about equal, and a little rest goes with the last."""
    lane: Lane | None = Lane(Window(0, 10_000), 3000)
    windows = []
    while lane is not None:
        window, lane = lane.next_slice(no_boundary)
        windows.append((window.start_s, window.end_s))
    assert windows == [(0, 3000), (3000, 6000), (6000, 8000), (8000, 10_000)]
    assert Lane(Window(0, 3500), 3000).next_slice(no_boundary) == (Window(0, 3500), None)


def test_a_lane_respects_boundaries() -> None:
    """No slice crosses one, and a boundary in between costs the lane nothing of its length."""
    next_boundary = align_boundaries(Align.DAY, UTC)
    lane = Lane(Window(DAY_S - 10, 3 * DAY_S), 2 * DAY_S)
    first, left = lane.next_slice(next_boundary)
    assert first == Window(DAY_S - 10, DAY_S)
    assert left is not None
    assert left.length_s == 2 * DAY_S
    assert left.next_slice(next_boundary)[0] == Window(DAY_S, 2 * DAY_S)


@pytest.mark.parametrize(
    ("newest", "length_s"),
    [
        ([], FIRST_S),
        ([Past(None, 5)], FIRST_S),
        ([past(DAY_S, 0)], 2 * DAY_S),
        ([past(DAY_S, 10)], 2 * DAY_S),
        ([past(HOUR_S, 800_000), past(HOUR_S, 800_000)], HOUR_S),
        ([past(100, 1_600_000), past(100, 0)], 100),
    ],
    ids=["nothing known", "no length known", "nothing there", "hardly anything", "just right", "uneven"],
)
def test_earlier_slices_say_how_to_begin(newest: list[Past], length_s: int) -> None:
    """As long as their density wants, never more than twice the longest of them; an hour without any."""
    assert first_length_s(newest, MOST) == length_s


def test_lanes_are_about_equal_and_long_enough() -> None:
    """As many as asked for over all windows together, none shorter than one slice where that can be had, one
    at least in each window."""
    day = Window(0, DAY_S)
    assert [lane.rest.length_s for lane in lanes_over([day], 4, HOUR_S)] == [21_600] * 4
    assert len(lanes_over([day], 100, HOUR_S)) == 24
    assert [lane.rest for lane in lanes_over([day], 20, 2 * DAY_S)] == [day]
    mixed = lanes_over([Window(0, 60), Window(100, 100 + 3 * DAY_S)], 4, HOUR_S)
    assert [lane.rest.length_s for lane in mixed] == [60, DAY_S, DAY_S, DAY_S]


def test_before_anything_came_slices_are_guessed() -> None:
    """A dry run shows slices of the first length, aligned like those of a run."""
    windows = list(guessed([Window(0, 7200), Window(10_000, 11_000)], HOUR_S, no_boundary))
    assert windows == [Window(0, 3600), Window(3600, 7200), Window(10_000, 11_000)]

"""What earlier slices tell of the next ones."""

from __future__ import annotations

import math

import pytest

from orchestrator.core.estimating import (
    Past,
    Work,
    bytes_for,
    duration_of,
    excess,
    together,
    typical_s,
    watching_requests,
)
from orchestrator.core.job import Limits
from orchestrator.core.looking import looks_per_task
from orchestrator.core.slicing import capacity_lines

LIMITS = Limits(requests_per_s=10.0, tasks=20)


@pytest.mark.parametrize(
    ("past", "found"),
    [
        ([], 0.0),
        ([(1000, 1000), (1000, 990)], 0.0),
        ([(1000, 1010), (500, 510), (990, 991)], 0.02),
        ([(None, 1000), (1000, None)], 0.0),
        ([(0, 7)], 0.0),
    ],
)
def test_excess_is_the_largest_share_that_came_above_the_count(
    past: list[tuple[int | None, int | None]], found: float
) -> None:
    """Slices without a count, without rows, or with fewer rows than counted ask for no headroom."""
    assert excess([Past(*pair) for pair in past], 1000) == pytest.approx(found)


def test_a_small_slice_asks_for_no_headroom() -> None:
    """Three lines instead of two say nothing of a million; a slice a tenth full does."""
    assert excess([Past(2, 3), Past(99_999, 120_000)], 1_000_000) == 0.0
    assert excess([Past(100_000, 101_000)], 1_000_000) == pytest.approx(0.01)


def test_the_headroom_is_never_less_than_half_a_percent_nor_more_than_five() -> None:
    """What was observed is taken between these bounds."""
    assert capacity_lines(1_000_000, excess([], 1_000_000)) == 995_000
    assert capacity_lines(1_000_000, excess([Past(900_000, 918_000)], 1_000_000)) == 980_000
    assert capacity_lines(1_000_000, excess([Past(500_000, 1_000_000)], 1_000_000)) == 950_000


def test_a_typical_run_time_is_one_that_was_seen() -> None:
    """One slow remote task does not move it; one that ended before it began is not believed."""
    assert typical_s([2.0, 900.0, 3.0]) == 3.0
    assert typical_s([-5.0, 4.0]) == 4.0
    assert typical_s([-5.0]) is None
    assert typical_s([]) is None


def test_bytes_follow_the_lines_as_they_did_before() -> None:
    """Stored bytes per stored row, all files together; nothing takes nothing, whatever is known."""
    past = [Past(None, None, 100, 1000), Past(None, None, 300, 7000), Past(None, None, 0, 5)]
    assert bytes_for(1000, past) == 20_000
    assert bytes_for(0, ()) == 0
    assert bytes_for(1000, [Past(10, 0)]) is None
    assert bytes_for(None, past) is None


def test_watching_is_reckoned_as_the_watch_stage_looks() -> None:
    """Few are looked at alone, many by pages that find several at their end."""
    assert watching_requests(0, 20) == 0
    assert watching_requests(2, 20) == 2 * 2
    assert watching_requests(100, 20) == math.ceil(100 * looks_per_task(20)) == 27
    assert watching_requests(1000, 100) == math.ceil(1000 * looks_per_task(100))


def test_time_goes_in_waves() -> None:
    """Twenty at once: forty-one slices of a minute take three minutes."""
    assert duration_of(Work(41, 60.0, 100), LIMITS) == 180.0
    assert duration_of(Work(1, 60.0, 3), LIMITS) == 60.0


def test_time_is_never_less_than_the_requests_and_the_bytes_take() -> None:
    """Ten requests a second and the ceiling on bandwidth hold however fast remote tasks are."""
    assert duration_of(Work(20, 1.0, 60), LIMITS) == 6.0
    narrow = Limits(requests_per_s=10.0, tasks=20, bandwidth_bytes_per_s=100)
    assert duration_of(Work(20, 1.0, 60, 5000), narrow) == 50.0
    assert duration_of(Work(20, 1.0, 60, None), narrow) == 6.0


def test_time_is_unknown_when_no_remote_task_ever_ran() -> None:
    """Unless none is to run: what is only to be fetched still takes its requests."""
    assert duration_of(Work(1, None, 3), LIMITS) is None
    assert duration_of(Work(0, None, 5), LIMITS) == 0.5


def test_jobs_share_the_ceilings() -> None:
    """Together they take as long as all their remote tasks one after the other over all places, and no less
    than the longest job; one unknown makes the sum unknown."""
    small = Work(5, 60.0, 15)
    assert together([small, small], LIMITS) == 60.0
    assert together([Work(20, 60.0, 60), Work(20, 60.0, 60)], LIMITS) == 120.0
    assert together([Work(1, 1.0, 300), Work(1, 1.0, 300)], LIMITS) == 60.0
    assert together([small, Work(1, None, 3)], LIMITS) is None
    assert together([], LIMITS) == 0.0

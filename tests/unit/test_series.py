"""Buckets of every kind become lines over time, and none is dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.series import WIDTHS_S, Series, width_s_for
from orchestrator.core.window import Window

WINDOW = Window(1000, 1600)


@pytest.mark.parametrize(
    ("width_s", "buckets", "edges", "lines", "exact"),
    [
        (300, [(1000, 5), (1300, 7)], (1000, 1300, 1600), (5, 7), True),
        (300, [(1300, 7), (1000, 5)], (1000, 1300, 1600), (5, 7), True),
        # aligned to whole multiples: the first begins before the window
        (300, [(900, 5), (1200, 7), (1500, 1)], (1000, 1200, 1500, 1600), (5, 7, 1), True),
        # left out is empty
        (100, [(1100, 5), (1400, 7)], (1000, 1100, 1200, 1400, 1500, 1600), (0, 5, 0, 7, 0), True),
        (100, [], (1000, 1600), (0,), True),
        # whatever is odd keeps its lines, and says that it is odd
        (100, [(400, 5), (2000, 7)], (1000, 1100, 1599, 1600), (5, 0, 7), False),
        (0.5, [(1000.0, 1), (1000.5, 2)], (1000, 1001, 1600), (3, 0), False),
        (600, [(1000, -4)], (1000, 1600), (0,), False),
    ],
)
def test_buckets_cover_the_window_and_keep_every_line(
    width_s: float,
    buckets: list[tuple[float, int]],
    edges: tuple[int, ...],
    lines: tuple[int, ...],
    exact: bool,
) -> None:
    """In any order, aligned or not, with holes: edges from the window's start to its end, each line in one
    stretch."""
    series = Series.of_buckets(WINDOW, width_s, buckets)
    assert (series.edges, series.lines, series.exact) == (edges, lines, exact)
    assert series.window == WINDOW


def test_a_part_of_a_series_is_one() -> None:
    """It has its own window and total."""
    series = Series.of_buckets(WINDOW, 100, [(1000 + 100 * n, n) for n in range(6)])
    part = series.part(2, 4)
    assert (part.window, part.lines, part.total) == (Window(1200, 1400), (2, 3), 5)


@pytest.mark.parametrize(
    ("wanted_s", "width_s"), [(0.3, 1), (1, 1), (7.9, 6), (59, 30), (60, 60), (10**6, 3600)]
)
def test_widths_divide_the_hour(wanted_s: float, width_s: int) -> None:
    """Buckets begin at the same instants in every time zone of whole hours."""
    assert width_s_for(wanted_s) == width_s
    assert all(3600 % width == 0 for width in WIDTHS_S)


@given(
    width_s=st.integers(1, 400),
    first=st.integers(-400, 10),
    lines=st.lists(st.integers(-1, 9), min_size=2, max_size=80),
    dropped=st.integers(-1, 90),
)
def test_the_order_of_buckets_does_not_matter(
    width_s: int, first: int, lines: list[int], dropped: int
) -> None:
    """Buckets in order without a gap are taken as they are, which is what any other order comes to."""
    buckets = [(1000 + first + width_s * place, count) for place, count in enumerate(lines)]
    kept = [bucket for place, bucket in enumerate(buckets) if place != dropped]
    assert Series.of_buckets(WINDOW, width_s, kept) == Series.of_buckets(WINDOW, width_s, kept[::-1])

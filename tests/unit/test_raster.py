"""Lines over time on a grid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.raster import Raster, spread, together
from orchestrator.core.series import Series
from orchestrator.core.window import Window


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.integers(-40, 40),
    st.data(),
)
def test_spreading_keeps_what_lies_inside(
    widths: list[int], cells: list[int], shift_s: int, data: st.DataObject
) -> None:
    """Each cell gets what the buckets hold of its seconds, reckoned one by one."""
    lines = data.draw(st.lists(st.integers(0, 100), min_size=len(widths), max_size=len(widths)))
    starts = [1000 + sum(widths[:number]) for number in range(len(widths) + 1)]
    edges = tuple(1000 + shift_s + sum(cells[:number]) for number in range(len(cells) + 1))
    per_second = {
        second: lines[number] / widths[number]
        for number in range(len(widths))
        for second in range(starts[number], starts[number + 1])
    }
    expected = [
        sum(per_second.get(second, 0.0) for second in range(edges[number], edges[number + 1]))
        for number in range(len(cells))
    ]
    assert spread(Series(tuple(starts), tuple(lines)), edges) == pytest.approx(expected)


def test_the_finer_answer_counts_whenever_it_comes() -> None:
    """A coarse answer after a fine one leaves it; a fine one replaces what was coarse."""
    coarse = Series((0, 100), (100,), exact=False)
    fine = Series((0, 10, 20, 30, 40), (0, 40, 0, 0))
    for answers in ((coarse, fine), (fine, coarse)):
        raster = Raster(Window(0, 100))
        for answer in answers:
            raster.add(answer)
        assert sum(raster.lines[:40]) == pytest.approx(40)
        assert sum(raster.lines[40:]) == pytest.approx(60)
        assert raster.lines[15] == pytest.approx(4)


def test_a_long_window_takes_no_more_room_than_a_short_one() -> None:
    """A thousand cells at most, which together are the window."""
    raster = Raster(Window(7, 7 + 31_536_000))
    raster.add(Series((7, 7 + 31_536_000), (5_000_000,)))
    assert len(raster.lines) == 1000
    assert (raster.edges[0], raster.edges[-1]) == (7, 7 + 31_536_000)
    assert sum(raster.lines) == pytest.approx(5_000_000)


def test_what_an_answer_tells_only_in_part_is_not_taken() -> None:
    """A cell that reaches beyond the answer stays as it was: the rest of it is not known to be empty."""
    raster = Raster(Window(0, 10_000))
    raster.add(Series((0, 10_000), (10_000,)))
    raster.add(Series((5, 15), (0,)))
    assert raster.lines[:3] == (10.0, 10.0, 10.0)


def test_streams_are_drawn_together() -> None:
    """The sum of all rasters, where a part of a line is a line; of none there is nothing."""
    one, other = Raster(Window(0, 3)), Raster(Window(0, 3))
    one.add(Series((0, 3), (1,)))
    other.add(Series((0, 1, 2, 3), (5, 0, 0)))
    assert together([one, other]) == Series((0, 1, 2, 3), (6, 1, 1), exact=False)
    assert together([]) is None

"""Half-open windows and their algebra."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.window import Window, intersect, iso_utc, normalise, seconds, subtract, union

windows = st.builds(lambda a, n: Window(a, a + n), st.integers(0, 60), st.integers(1, 15))
window_sets = st.lists(windows, max_size=6)


def members(pieces: list[Window] | tuple[Window, ...]) -> set[int]:
    """The seconds of a window set, one by one."""
    return {second for piece in pieces for second in range(piece.start_s, piece.end_s)}


@given(window_sets, window_sets)
def test_window_algebra_is_set_algebra_on_seconds(left: list[Window], right: list[Window]) -> None:
    """Union, difference and intersection agree with plain sets of seconds, and their results are sorted and
    merged."""
    for result, expected in (
        (union(left, right), members(left) | members(right)),
        (subtract(left, right), members(left) - members(right)),
        (intersect(left, right), members(left) & members(right)),
    ):
        assert members(result) == expected
        assert seconds(result) == len(expected)
        assert all(a.end_s < b.start_s for a, b in pairwise(result))


def test_a_window_is_never_empty_and_splits_only_inside() -> None:
    """An end that is not after the start is refused, and so is a cut at an end."""
    with pytest.raises(ValueError, match="not after its start"):
        Window(5, 5)
    assert Window(0, 10).split(4) == (Window(0, 4), Window(4, 10))
    with pytest.raises(ValueError, match="not after its start"):
        Window(0, 10).split(0)


def test_windows_know_what_they_hold_and_meet() -> None:
    """Touching windows do not meet."""
    assert Window(0, 10).holds(Window(3, 10))
    assert not Window(0, 10).holds(Window(3, 11))
    assert Window(0, 10).meets(Window(9, 20))
    assert not Window(0, 10).meets(Window(10, 20))
    assert Window(0, 10).length_s == 10
    assert normalise([Window(5, 7), Window(0, 5)]) == (Window(0, 7),)


def test_times_are_written_as_the_service_reads_them() -> None:
    """UTC, to the second, with a literal Z."""
    assert iso_utc(1768348800.9) == "2026-01-14T00:00:00Z"
    assert repr(Window(0, 60)) == "[1970-01-01T00:00:00Z, 1970-01-01T00:01:00Z)"

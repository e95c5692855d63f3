"""A few leading digits stand for many seconds, and for none outside the window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.window import Window
from orchestrator.dataplane.stretches import leading_digits

BASE = 1_768_348_800


@pytest.mark.parametrize(
    ("low", "high", "window", "digits"),
    [
        (5, 7, (0, 100), [b"17683488"]),
        (5, 7, (0, 99), [b"176834880"]),
        (5, 7, (5, 8), [b"1768348805", b"1768348806", b"1768348807"]),
        (95, 105, (0, 200), [b"17683488", b"17683489"]),
        (98, 105, (98, 120), [b"1768348898", b"1768348899", b"176834890"]),
        (5, 5, (0, 5), []),
        (5, 12, (5, 13), []),
    ],
    ids=["a hundred", "tens", "single seconds", "two hundreds", "edge and tens", "outside", "too many"],
)
def test_stretches_are_as_wide_as_the_window_allows(
    low: int, high: int, window: tuple[int, int], digits: list[bytes]
) -> None:
    """The widest decimal stretches that hold the seconds and stay inside."""
    found = leading_digits(BASE + low, BASE + high, Window(BASE + window[0], BASE + window[1]))
    assert list(found) == digits


def test_only_times_of_ten_digits_are_told_by_their_first_ones() -> None:
    """Nine digits are another second than ten that begin with them."""
    assert leading_digits(999_999_998, 999_999_999, Window(0, 2_000_000_000)) == ()


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000), st.integers(1, 3000))
def test_each_second_between_has_one_of_the_beginnings_and_none_outside_has(
    first: int, more: int, before: int, after: int
) -> None:
    """Exactly one of them for each, so that rows counted by them are counted once."""
    low, high = BASE + first, BASE + first + more
    window = Window(low - before, high + after)
    found = leading_digits(low, high, window)
    assert len(found) <= 6
    for second in range(window.start_s - 20, window.end_s + 20):
        begun = sum(str(second).encode().startswith(digits) for digits in found)
        assert begun <= (window.start_s <= second < window.end_s)
        if found and low <= second <= high:
            assert begun == 1

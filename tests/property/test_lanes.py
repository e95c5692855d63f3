"""Lanes over any windows, whatever comes in their slices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.lanes import LONGEST_S, Lane, lanes_over
from orchestrator.core.window import Window, normalise, seconds

MOST = 1000


@st.composite
def windows(draw: st.DrawFn) -> list[Window]:
    edges = sorted(draw(st.sets(st.integers(0, 500_000), min_size=2, max_size=8)))
    return [Window(start_s, end_s) for start_s, end_s in zip(edges[::2], edges[1::2], strict=False)]


@given(
    windows(),
    st.integers(1, 30),
    st.integers(1, 50_000),
    st.sampled_from([0, 700, 3600]),
    st.lists(st.integers(0, 3 * MOST), min_size=1, max_size=20),
)
def test_the_slices_of_all_lanes_are_their_windows(
    missing: list[Window], count: int, length_s: int, every_s: int, rows: list[int]
) -> None:
    """Together exactly what is missing, in few slices more than its length and boundaries want; none crosses
    a boundary, and every lane comes to its end."""
    lanes = lanes_over(missing, count, length_s)
    assert normalise(lane.rest for lane in lanes) == normalise(missing)
    assert len(lanes) <= count + len(missing)
    made: list[Window] = []
    for number, begun in enumerate(lanes):
        lane: Lane | None = begun
        while lane is not None and len(made) < 2000:
            asked, lane = lane.next_slice(lambda at_s: (at_s // every_s + 1) * every_s if every_s else None)
            made.append(asked)
            came = rows[(number + len(made)) % len(rows)]
            lane = lane and lane.after(asked.length_s, came, MOST)
            assert not every_s or asked.start_s // every_s == (asked.end_s - 1) // every_s
        if lane is not None:  # a second each, as far as this was followed
            made.append(lane.rest)
    assert normalise(made) == normalise(missing)
    assert sum(window.length_s for window in made) == seconds(missing)


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_at_an_even_rate_slices_fill_up_and_stay_below_the_limit(rate_per_1000_s: int, first_s: int) -> None:
    """However long the first slice: soon each comes to between a twentieth and four fifths of the limit,
    unless it lasts a second or a month, or the lane is at its end."""
    lane: Lane | None = Lane(Window(0, 10**9), first_s)
    for _ in range(40):
        if lane is None:
            return
        asked, lane = lane.next_slice(lambda _: None)
        seen_s, came = asked.length_s, rate_per_1000_s * asked.length_s // 1000
        if came > MOST:  # the file ends where it is full
            seen_s, came = max(1, 1000 * MOST // rate_per_1000_s), MOST
        lane = lane and lane.after(seen_s, came, MOST)
    if lane is not None and 1 < lane.length_s < LONGEST_S:
        assert 0.05 * MOST <= rate_per_1000_s * lane.length_s / 1000 <= 0.81 * MOST

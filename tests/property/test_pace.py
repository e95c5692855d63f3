"""No interval of one second ever sees more grants than the ceiling, whatever the callers and the clock do."""

from __future__ import annotations

import bisect
import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.pace import GUARD_INTERVAL_S, Pace, Pacer, SlidingWindow, rate_limit

CEILINGS = st.one_of(st.floats(0.05, 60.0), st.integers(1, 60).map(float))
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 5.0)), max_size=120)


def assert_within(granted: list[float], per_s: float) -> None:
    """In every closed interval that starts at a grant: at most floor(R) in a second, or one per 1/R
    seconds."""
    assert granted == sorted(granted)
    limit = max(1, math.floor(per_s))
    length_s = max(1.0, 1 / per_s - 1e-6)
    for number, start in enumerate(granted):
        inside = bisect.bisect_right(granted, start + length_s) - number
        assert inside <= limit


@given(CEILINGS, PAUSES, st.booleans())
def test_no_second_sees_more_than_the_ceiling(per_s: float, pauses: list[float], greedy: bool) -> None:
    """For any pattern of arrivals, whether callers wait out what they are told or only sometimes ask
    again."""
    window, now, granted = SlidingWindow(per_s), 0.0, []
    for pause_s in pauses:
        now += pause_s
        wait_s = window.wait_s(now)
        assert 0.0 <= wait_s <= window.interval_s + 1e-6
        if wait_s > 0 and greedy:
            now += wait_s
            if window.wait_s(now) > 0:  # the last bit of a float
                now += 1e-9
            wait_s = window.wait_s(now)
        if wait_s == 0:
            window.take(now)
            granted.append(now)
    assert_within(granted, per_s)


@given(CEILINGS, PAUSES)
def test_fifty_milliseconds_of_jitter_do_not_break_the_promise(per_s: float, jitters: list[float]) -> None:
    """Grants delayed on their way by up to 49 ms each still arrive at no more than the ceiling in any one
    second."""
    window, now, arrivals = SlidingWindow(per_s), 0.0, []
    for jitter in jitters:
        while (wait_s := window.wait_s(now)) > 0:
            now += max(wait_s, 1e-9)
        window.take(now)
        arrivals.append(now + min(jitter, 1.0) * (GUARD_INTERVAL_S - 1.001))
    assert_within(sorted(arrivals), max(1.0, per_s))


@given(CEILINGS, st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(-50.0, 5.0)), max_size=100))
def test_a_clock_set_back_breaks_nothing(per_s: float, steps: list[tuple[float, float]]) -> None:
    """A clock set back at any time neither lets a grant go early, by real time, nor blocks one for longer
    than the interval."""
    pacer, real, offset, granted = Pacer(per_s), 0.0, 0.0, []
    longest_s = max(GUARD_INTERVAL_S, 1 / per_s)
    for passed_s, jump_s in steps:
        real += passed_s
        offset += min(jump_s, 0.0)
        wait_s = pacer.common_wait_s(real + offset)
        assert wait_s <= longest_s + 1e-6
        if wait_s == 0:
            pacer.take("create", real + offset)
            granted.append(real)
    assert_within(granted, per_s)


@given(
    st.floats(0.05, 200.0),
    st.lists(
        st.tuples(
            st.floats(0.0, 10.0),
            st.sampled_from(["granted", "throttled", "accepted"]),
            st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
            st.floats(0.0, 1.0, exclude_max=True),
        ),
        max_size=80,
    ),
)
def test_a_family_stays_between_floor_and_ceiling(
    ceiling_per_s: float, events: list[tuple[float, str, float | None, float]]
) -> None:
    """Whatever is refused or answered, and whatever Retry-After says, the rate stays above the floor and at
    or below the ceiling, and no wait is longer than a bounded pause."""
    pace, now = Pace(rate_limit(ceiling_per_s)), 0.0
    floor_per_s = min(0.2, ceiling_per_s)
    for passed_s, event, retry_after_s, jitter in events:
        now += passed_s
        if event == "granted":
            now += pace.wait_s(now)
            pace = pace.granted(now)
        elif event == "accepted":
            pace = pace.accepted(now)
        else:
            pace = pace.throttled(now, retry_after_s, jitter)
        assert floor_per_s <= pace.limit.level(now) <= ceiling_per_s
        assert 0.0 <= pace.wait_s(now) <= max(330.0, 2 / floor_per_s)

"""The ceiling of requests per second, and the pace of one family below it."""

from __future__ import annotations

import itertools
import math

import pytest

from orchestrator.core.limit import BETA
from orchestrator.core.pace import GUARD_INTERVAL_S, Pace, Pacer, SlidingWindow, rate_limit


def grants(window: SlidingWindow, until_s: float) -> list[float]:
    """Everything an always hungry caller gets."""
    now, granted = 0.0, []
    while now < until_s:
        wait_s = window.wait_s(now)
        if wait_s > 0:
            now += wait_s
            continue
        window.take(now)
        granted.append(now)
    return granted


@pytest.mark.parametrize(
    "per_s, capacity, interval_s",
    [
        (20.0, 20, 1.05),
        (1.0, 1, 1.05),
        (1.9, 1, 1.05),
        (2.5, 2, 1.05),
        (0.5, 1, 2.0),
        (0.99, 1, 1.05),
        (1e9, 1_000_000, 1.05),
        (math.inf, 1_000_000, 1.05),
    ],
)
def test_a_ceiling_becomes_a_window(per_s: float, capacity: int, interval_s: float) -> None:
    """At most floor(R) grants in 1.05 s; below one a second, one per 1/R seconds."""
    window = SlidingWindow(per_s)
    assert (window.capacity, window.interval_s) == (capacity, interval_s)


@pytest.mark.parametrize("per_s", [0.0, -1.0, math.nan])
def test_a_ceiling_that_grants_nothing_is_refused(per_s: float) -> None:
    """Zero, negative and NaN ceilings are an error, not a run that never ends."""
    with pytest.raises(ValueError, match="grants nothing"):
        SlidingWindow(per_s)


@pytest.mark.parametrize("per_s", [1, 2, 5, 20, 100])
def test_a_hungry_caller_gets_the_whole_ceiling_and_evenly(per_s: int) -> None:
    """Under load the guard interval costs 5 % of the ceiling and nothing else, and grants come evenly, not in
    bursts."""
    granted = grants(SlidingWindow(per_s), 60.0)
    assert len(granted) >= 60 * per_s / GUARD_INTERVAL_S - 1
    late = granted[-2 * per_s :]
    gaps = [right - left for left, right in itertools.pairwise(late)]
    assert max(gaps) <= 1.01 * GUARD_INTERVAL_S / per_s
    assert min(gaps) >= 0.99 * GUARD_INTERVAL_S / per_s


def test_a_few_requests_after_a_pause_hardly_wait() -> None:
    """A quarter of the ceiling goes out within 50 ms of an idle time."""
    granted = grants(SlidingWindow(20), 1.0)
    assert granted[0] == 0.0
    assert granted[4] <= 0.05


def test_a_grant_that_was_not_free_is_refused() -> None:
    """The window keeps its promise even against a caller that does not wait."""
    window = SlidingWindow(1)
    window.take(0.0)
    with pytest.raises(ValueError, match="too early"):
        window.take(1.0)
    window.take(1.05)


def pace_of(ceiling_per_s: float) -> Pace:
    return Pace(rate_limit(ceiling_per_s))


def test_an_unrefused_family_waits_for_nothing() -> None:
    """Without a refusal a family adds nothing to the common ceiling, and answers change nothing."""
    pace = pace_of(20.0)
    for second in range(5):
        pace = pace.granted(float(second))
        assert pace.wait_s(float(second)) == 0.0
        assert pace.accepted(float(second)) is pace


def test_a_refusal_cuts_what_was_really_sent() -> None:
    """A family that sends 8 a second below a ceiling of 100 goes on with a part of 8, not of 100."""
    pace = pace_of(100.0)
    for number in range(16):
        pace = pace.granted(number / 8)
    pace = pace.throttled(2.0, None, 0.0)
    assert pace.limit.level(2.0) == pytest.approx(8 * BETA)
    pace = pace.granted(2.0)
    assert pace.wait_s(2.0) == pytest.approx(1 / (8 * BETA))


def test_one_request_every_few_seconds_is_a_rate_too() -> None:
    """Of requests four seconds apart a quarter of one a second is cut, not a whole one."""
    pace = pace_of(20.0).granted(0.0).granted(4.0)
    assert pace.sent_per_s(4.1) == 0.25
    assert pace.throttled(4.1, None, 0.0).limit.knee == 0.25


def test_a_refusal_without_traffic_cuts_the_ceiling() -> None:
    """When nothing was counted in the last seconds, the ceiling is what is cut."""
    assert pace_of(20.0).granted(0.0).throttled(60.0, None, 0.0).limit.level(60.0) == 20 * BETA
    assert pace_of(20.0).throttled(60.0, None, 0.0).limit.level(60.0) == 20 * BETA


def test_a_refusal_that_the_rate_is_not_to_blame_for_leaves_it_alone() -> None:
    """The pause is the same; what is known of the rate stays."""
    pace = pace_of(20.0).granted(0.0)
    after = pace.throttled(0.1, 7.0, 0.0, cut=False)
    assert after.limit == pace.limit
    assert after.wait_s(0.1) == pytest.approx(7.0)


def test_no_number_of_refusals_stops_a_family() -> None:
    """The rate ends at one request every five seconds, or at the ceiling where that is lower."""
    for ceiling_per_s, floor_per_s in ((20.0, 0.2), (0.1, 0.1)):
        pace = pace_of(ceiling_per_s)
        for second in range(0, 100, 2):
            pace = pace.throttled(float(second), None, 0.9)
        assert pace.limit.level(98.0) == floor_per_s
        assert pace.wait_s(98.0) <= 2 / floor_per_s


def test_own_pauses_grow_while_refusals_follow_each_other() -> None:
    """Half a second at most after the first, five at most ever; an accepted request begins anew."""
    pace, now, most = pace_of(20.0), 0.0, []
    for _ in range(8):
        now += 20.0
        pace = pace.throttled(now, None, 0.999)
        most.append(pace.wait_s(now))
    assert most == sorted(most)
    assert most[0] == pytest.approx(0.5, rel=0.01)
    assert most[-1] == pytest.approx(5.0, rel=0.01)
    assert pace.accepted(now + 20.0).throttled(now + 40.0, None, 0.999).wait_s(now + 40.0) < 0.51


@pytest.mark.parametrize(
    "retry_after_s, jitter, wait_s",
    [
        (7.0, 0.0, 7.0),
        (7.0, 0.5, 7.35),
        (0.0, 0.9, 0.0),
        (1e9, 0.0, 300.0),
        (math.inf, 0.0, 300.0),
        (None, 0.0, 0.0),
        (None, 0.5, 0.25),
        (-3.0, 0.5, 0.25),
        (math.nan, 0.5, 0.25),
    ],
)
def test_retry_after_is_a_not_before(retry_after_s: float | None, jitter: float, wait_s: float) -> None:
    """Never earlier than the service said, never hours later; nonsense counts as not said, which is full
    jitter."""
    assert pace_of(20.0).throttled(0.0, retry_after_s, jitter).wait_s(0.0) == pytest.approx(wait_s)


def test_a_shorter_retry_after_does_not_undo_a_longer_one() -> None:
    """Of two refusals the later date holds."""
    pace = pace_of(20.0).throttled(0.0, 60.0, 0.0).throttled(0.5, 1.0, 0.0)
    assert pace.wait_s(1.0) == 59.0


def test_one_family_refused_leaves_the_others_alone() -> None:
    """A refused create waits; a describe goes on at once."""
    pacer = Pacer(20.0)
    pacer.throttled("create", 0.0, 30.0, 0.0)
    assert pacer.family_wait_s("create", 0.0) == 30.0
    assert pacer.family_wait_s("describe", 0.0) == 0.0
    assert pacer.common_wait_s(0.0) == 0.0
    pacer.accepted("create", 2.0)
    pacer.accepted("describe", 2.0)
    assert 10.0 < pacer.family("create").limit.level(2.0) < 20.0
    assert pacer.family("describe") == pace_of(20.0)


def test_all_families_share_one_ceiling_and_files_have_none() -> None:
    """Whoever took the last grant, the next signed call waits; a file request does not."""
    pacer = Pacer(1.0)
    pacer.take("create", 0.0)
    assert pacer.common_wait_s(0.5) == pytest.approx(0.55)
    with pytest.raises(ValueError, match="too early"):
        pacer.take("list", 0.5)
    pacer.take("file", 0.5, common=False)


def test_a_clock_set_back_delays_nobody_by_more_than_the_interval() -> None:
    """After a jump back by an hour the next grant is due within the guard interval, and not earlier than
    without it."""
    pacer = Pacer(1.0)
    pacer.take("create", 3600.0)
    assert pacer.common_wait_s(0.0) == pytest.approx(1.05)
    assert pacer.common_wait_s(1.0) == pytest.approx(0.05)
    pacer.take("create", 1.05)

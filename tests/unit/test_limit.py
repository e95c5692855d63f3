"""A limit that nobody told: found by refusals, kept to, and tried again."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.limit import BETA, PROOFS, RECOVERY_S, SETTLE_S, Limit


def proved(limit: Limit, now: float) -> Limit:
    for _ in range(PROOFS):
        limit = limit.accepted(now)
    return limit


def test_before_the_first_refusal_our_own_ceiling_is_all() -> None:
    """Nothing is held back that nobody refused; a small opening grows by one for each acceptance."""
    assert Limit(20.0, 1.0).level(0.0) == 20.0
    opening = Limit(3.0, 1.0, opened=1.0)
    assert [opening.level(0.0), opening.accepted(0.0).level(0.0)] == [1.0, 2.0]
    assert proved(opening, 0.0).level(0.0) == 3.0


def test_a_refusal_cuts_and_time_brings_back_what_held() -> None:
    """Quick at first, slow towards the knee, and no further without proof."""
    limit = Limit(20.0, 1.0).refused(100.0, 10.0)
    levels = [limit.level(100.0 + RECOVERY_S * part / 4) for part in range(5)]
    assert levels[0] == BETA * 10
    assert levels[4] == 10.0
    steps = [right - left for left, right in itertools.pairwise(levels)]
    assert steps == sorted(steps, reverse=True)
    assert limit.level(1e9) == 10.0


def test_more_is_tried_once_enough_was_accepted_with_care_at_first() -> None:
    """The first second beyond the knee adds little, the next ten much; the ceiling is never passed."""
    limit = proved(Limit(100.0, 1.0).refused(0.0, 10.0), 5.0)
    assert limit.level(RECOVERY_S + 1) < 10.1
    assert 12.9 < limit.level(2 * RECOVERY_S) < 13.1
    assert limit.level(10 * RECOVERY_S) == 100.0


def test_a_third_is_won_back_within_a_minute() -> None:
    """After the limit fell to a third and came back, the old level is reached again in thirty seconds."""
    limit = proved(Limit(21.0, 1.0).refused(0.0, 7.0), 5.0)
    assert limit.level(30.0) == 21.0


def test_refusals_of_one_moment_cut_once() -> None:
    """Answers to what was sent before the cut say nothing about the level after it; a later one does."""
    limit = Limit(20.0, 1.0).refused(10.0, 16.0)
    assert limit.refused(10.0 + SETTLE_S / 2, 12.0) is limit
    assert limit.refused(10.0 + SETTLE_S, 12.0, proven=True).knee == 12.0
    assert limit.refused(10.5, 12.0, counted=True).knee == 12.0
    assert limit.refused(10.5, 17.0, counted=True) is limit


def test_an_estimate_that_is_refused_again_at_once_was_too_high() -> None:
    """However coarse the measure of what was sent, the level falls until something is accepted."""
    limit, now = Limit(20.0, 0.2), 0.0
    for _ in range(12):
        limit, now = limit.refused(now, limit.level(now)), now + 60.0
    assert limit.level(now) < 0.5


def test_acceptances_of_before_the_cut_prove_nothing() -> None:
    """They were sent at another level."""
    limit = Limit(20.0, 1.0).refused(10.0, 16.0)
    assert limit.accepted(10.5) is limit


@given(
    st.floats(1.0, 100.0),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans(), st.floats(0.0, 200.0)), max_size=60),
)
def test_the_level_never_leaves_its_bounds(ceiling: float, events: list[tuple[float, bool, float]]) -> None:
    """Whatever is refused and accepted: never above our own ceiling, never below the least."""
    limit, now = Limit(ceiling, 0.5), 0.0
    for passed_s, refused, used in events:
        now += passed_s
        limit = limit.refused(now, used) if refused else limit.accepted(now)
        assert 0.5 <= limit.level(now) <= ceiling
        assert limit.knee is None or 0.5 <= limit.knee <= ceiling


@given(st.floats(1.0, 90.0), st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_without_a_refusal_the_level_never_falls(knee: float, first_s: float, more_s: float) -> None:
    """Time alone only gives back."""
    limit = proved(Limit(100.0, 1.0).refused(0.0, knee), 2.0)
    assert limit.level(first_s) <= limit.level(first_s + more_s)

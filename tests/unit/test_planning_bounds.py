"""How many slices, and how many questions: the promises of planning, for every kind of logstore."""

from __future__ import annotations

from datetime import UTC

import pytest

from orchestrator.core.align import align_boundaries
from orchestrator.core.job import Align
from orchestrator.core.slicing import Rules, capacity_lines
from orchestrator.core.window import Window, normalise
from orchestrator.testing.planning import STORES, WAYS, Counter, Rates, fewest_slices, plan_by

MOST_LINES = 1_000_000
CAPACITY = capacity_lines(MOST_LINES)
RULES = Rules(CAPACITY, lambda _: None, 10)
MOST_QUESTIONS = {
    "even day": 30,
    "day and night": 30,
    "day of bursts": 30,
    "one giant second": 10,
    "empty day": 2,
    "sparse year": 10,
    "year of working days": 10,
    "dense year": 200,
}


@pytest.mark.parametrize("store", STORES)
def test_with_buckets_of_our_own_plans_are_as_good_as_they_can_be(store: str) -> None:
    """No more than two percent above the fewest slices possible and one, none too full, in few questions."""
    rates = STORES[store]
    plan = plan_by(Counter(rates, own_width=True), RULES, MOST_LINES)
    assert len(plan.slices) <= 1.02 * fewest_slices(rates, CAPACITY) + 1
    assert plan.questions <= MOST_QUESTIONS[store]
    assert plan.truly_over == 0
    assert all(planned.counted_at is not None for planned in plan.slices)
    whole = normalise([part.window for part in (*plan.slices, *plan.proofs)])
    assert whole == (rates.window,)


@pytest.mark.parametrize("store", ["even day", "day and night"])
def test_with_buckets_of_the_service_s_own_plans_are_good(store: str) -> None:
    """Of half a billion lines a day: no more than a fifth above the fewest slices possible, in thirty
    questions."""
    rates = STORES[store]
    plan = plan_by(WAYS["histogram"](rates), RULES, MOST_LINES)
    assert len(plan.slices) + plan.truly_over <= 1.2 * fewest_slices(rates, CAPACITY)
    assert plan.questions <= 30


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("store", ["day of bursts", "one giant second", "year of working days"])
def test_aligned_slices_cross_no_boundary_whatever_tells_the_lines(store: str, way: str) -> None:
    """Hours are cut where they are, empty ones are proved together, and all together are the whole."""
    rates = STORES[store]
    rules = Rules(CAPACITY, align_boundaries(Align.DAY, UTC), 10)
    plan = plan_by(WAYS[way](rates), rules, MOST_LINES)
    assert all(rules.crossed(window) is None for window in plan.windows)
    assert normalise([*plan.windows, *(proof.window for proof in plan.proofs)]) == (rates.window,)
    assert plan.questions <= 20 * fewest_slices(rates, CAPACITY) + 365 * 6


def test_empty_days_between_busy_ones_are_proved_together() -> None:
    """A quiet week in an archive of daily files costs one question, and no remote task."""
    rates = Rates.of([(86_400, 1.0), (7 * 86_400 + 40_000, 0.0), (46_400, 1.0)])
    rules = Rules(CAPACITY, align_boundaries(Align.DAY, UTC), 10)
    plan = plan_by(Counter(rates, own_width=True), rules, MOST_LINES)
    assert [planned.window for planned in plan.slices] == [Window(0, 86_400), Window(8 * 86_400, 9 * 86_400)]
    assert [proof.window for proof in plan.proofs] == [Window(86_400, 8 * 86_400)]
    assert plan.questions <= 4

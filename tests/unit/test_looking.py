"""When a look at remote tasks is worth a request."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.looking import Budget, RunTimes, age_expected_s, drawn, look_at, looks_per_task


def past_of(*took_s: float) -> RunTimes:
    past = RunTimes()
    for each in took_s:
        past.learn(each, each)
    return past


@pytest.mark.parametrize("run_s", [1.0, 2.0, 7.0, 30.0, 60.0, 600.0, 3600.0, 86_400.0])
def test_a_single_remote_task_costs_few_looks(run_s: float) -> None:
    """At most 3 + log2 of its run time in seconds, also when nothing is known."""
    age_s, looks = 0.0, 0
    while age_s < run_s:
        age_s = age_expected_s(age_s, 0.3, RunTimes())
        looks += 1
    assert looks <= 3 + math.log2(run_s) + 1


@pytest.mark.parametrize("run_s", [2.0, 60.0, 3600.0])
def test_where_others_ran_before_a_look_or_two_are_enough(run_s: float) -> None:
    """Run times that vary by a tenth are met with at most three looks, none later than a fifth after the
    end."""
    past = past_of(*(run_s * (0.9 + 0.01 * number) for number in range(20)))
    age_s, looks = 0.0, 0
    while age_s < run_s:
        age_s = age_expected_s(age_s, 0.3, past)
        looks += 1
    assert looks <= 3
    assert age_s <= 1.2 * run_s


def test_rows_that_are_written_tell_when_it_will_be_done() -> None:
    """A quarter of the rows after ten minutes: the next look is near forty minutes, but never later than at
    twice the age; nearly all of the rows, and still not done, tell nothing."""
    assert age_expected_s(600.0, 0.5, RunTimes(), done=0.75) == pytest.approx(816.0)
    assert age_expected_s(600.0, 0.5, RunTimes(), done=0.25) == 1200.0
    assert age_expected_s(600.0, 0.5, past_of(10.0), done=0.999) == age_expected_s(600.0, 0.5, past_of(10.0))


def test_what_was_over_at_the_first_look_is_looked_at_earlier_next_time() -> None:
    """One that may have ended long ago is no proof that it takes as long as the look waited."""
    past = past_of(10.0)
    past.learn(None, 10.0)
    assert past.at(0.0) < 8.0
    past = RunTimes()
    past.learn(9.0, 10.0)
    assert 9.0 < past.at(0.5) < 10.0
    past = RunTimes()
    past.learn(None, 0.6)
    assert 0.3 < past.at(0.5) < 0.6


def test_an_outage_teaches_no_run_times() -> None:
    """What was found finished after half an hour without the service took two seconds all the same: neither
    what was seen before it nor what was not makes the next looks late."""
    past = past_of(*[2.0] * 5)
    for _ in range(40):
        past.learn(None, 1800.0)
        past.learn(1.0, 1800.0)
    assert past.at(1.0) <= 2.5
    past = RunTimes()
    past.learn(None, 1800.0)
    assert not past


def test_only_the_latest_run_times_count() -> None:
    """A service that became faster is believed after some forty remote tasks."""
    past = past_of(*[100.0] * 60, *[5.0] * 40)
    assert past.at(1.0) == 5.0


def test_draws_of_any_twenty_in_a_row_are_spread_evenly() -> None:
    """So that as many are expected to end at any time as will."""
    for first in (0, 7, 1000):
        fifths = [int(5 * drawn(number)) for number in range(first, first + 20)]
        assert all(3 <= fifths.count(fifth) <= 5 for fifth in range(5))


@pytest.mark.parametrize(
    ("outstanding", "most"), [(1, 2.5), (5, 2.5), (10, 1.5), (20, 0.3), (40, 0.3), (100, 0.11)]
)
def test_looks_become_cheaper_with_company(outstanding: int, most: float) -> None:
    """One page shows all of them."""
    assert looks_per_task(outstanding) <= most


@given(st.lists(st.integers(0, 12), max_size=400))
def test_a_budget_is_kept_over_any_run(found: list[int]) -> None:
    """However few remote tasks each look finds, the looks that ``wanted`` allows stay below what has ended,
    but for the few a run may begin with."""
    budget, looks, ended, expected = Budget(), 0, 0, 0
    for number in found:
        expected += 1
        if expected < budget.wanted(20):
            continue
        budget.looked()
        looks, expected = looks + 1, 0
        for _ in range(min(number, 20)):
            budget.ended(20)
            ended += 1
    assert looks <= Budget.MOST + 1 + looks_per_task(20) * ended + len(found) / 18


def test_the_look_goes_when_as_many_should_be_done_as_are_wanted() -> None:
    """The third of five, the last when more are wanted than there are, never when there are none."""
    assert look_at([5.0, 1.0, 4.0, 2.0, 3.0], 3, RunTimes()) == 3.0
    assert look_at([5.0, 1.0], 3, RunTimes()) == 5.0
    assert look_at([], 1, RunTimes()) is None


def test_one_that_never_ends_keeps_nobody_waiting() -> None:
    """Whatever has to be saved, what should be done is looked at a quarter of a run time later at the latest,
    and fifteen seconds are always granted."""
    hours_later = 40_000.0
    assert look_at([10.0, 11.0, hours_later], 3, RunTimes()) == 25.0
    assert look_at([10.0, 11.0, hours_later], 3, past_of(2.0)) == 25.0
    assert look_at([10.0, 11.0, hours_later], 3, past_of(400.0)) == 110.0


def test_a_run_time_that_is_met_already_is_overdue() -> None:
    """When the longest of the others is no longer than what it has run, the next look comes a step later."""
    past = past_of(1.0, 2.0, 2.0)
    assert past.ended_by(2.0) < 1
    assert age_expected_s(2.0, 0.5, past) == pytest.approx(2.24)

"""Fault plans count named points and kill at one of them, for good."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.ports.control import Boundary
from orchestrator.testing.boundary import FaultPlan, SimulatedCrash
from orchestrator.testing.loop import VirtualTime, run_virtual


def test_without_a_crash_it_only_counts() -> None:
    """A plan that never crashes tells how many points there are and how each is called."""
    plan = FaultPlan()
    boundary: Boundary = plan
    for name in ("before commit", "after commit", "before commit"):
        boundary.reached(name)
    assert plan.points == 3
    assert plan.met == ("before commit", "after commit", "before commit")
    assert plan.tally == {"before commit": 2, "after commit": 1}
    assert not plan.dead


def test_every_point_can_be_the_deadly_one() -> None:
    """For each n up to the number of points, the crash happens at the n-th and at no other."""
    names = ["a", "b", "a", "c"]
    for number in range(1, 5):
        plan = FaultPlan(number)
        for name in names[: number - 1]:
            plan.reached(name)
        with pytest.raises(SimulatedCrash) as crash:
            plan.reached(names[number - 1])
        assert (crash.value.number, crash.value.name) == (number, names[number - 1])
        assert plan.met == tuple(names[:number])
        assert plan.dead


def test_a_dead_process_reaches_nothing_more() -> None:
    """After the crash every further point raises it again and none is recorded."""
    plan = FaultPlan(1)
    for _ in range(3):
        with pytest.raises(SimulatedCrash, match="point 1: commit"):
            plan.reached("commit")
    assert plan.points == 1
    assert plan.met == ("commit",)


def test_only_chosen_names_count() -> None:
    """With a choice of names the others are met but neither counted nor deadly."""
    plan = FaultPlan(2, counts=lambda name: name.startswith("commit"))
    plan.reached("commit.before")
    plan.reached("fetch")
    with pytest.raises(SimulatedCrash):
        plan.reached("commit.after")
    assert plan.points == 2
    assert plan.tally["fetch"] == 1


def test_points_are_counted_from_one() -> None:
    """A crash at point 0 is a mistake in the test, said at once."""
    with pytest.raises(ValueError, match="from 1"):
        FaultPlan(0)


def test_no_handler_of_exceptions_survives_a_crash() -> None:
    """``except Exception`` does not catch it and it ends a virtual run."""
    plan = FaultPlan(1)

    async def main(_: VirtualTime) -> None:
        async def worker() -> None:
            try:
                plan.reached("effect")
            except Exception:
                pytest.fail("a crash must not be caught")

        await asyncio.create_task(worker())

    with pytest.raises(SimulatedCrash):
        run_virtual(main)

"""A service that does not say what it allows is used to the full, with few refusals, and shared fairly."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Limits
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.errors import ServiceFault
from orchestrator.testing.episode import Setting
from tests.simulation.rig import Rig, ceilings, only_first
from tests.simulation.sharing import Shared, jain, played

RUN_S = 2.0
THROTTLING = (429, 400, 403)


def service(**hidden: Any) -> Behaviour:
    calm: dict[str, Any] = {
        "run_base_s": RUN_S,
        "run_per_line_s": 0.0,
        "executors": 1000,
        "latency_s": 0.05,
    }
    return Behaviour(**{**calm, **hidden})


def exported(
    folder: Path, slices: int, behaviour: Behaviour, *, tasks: int = 20, per_s: float = 20.0, **more: Any
) -> Shared:
    limits = Limits(tasks=tasks, downloads=4, requests_per_s=per_s, disk_reserve_bytes=0)
    setting = Setting(
        seed=1,
        slices=slices,
        lines_per_slice=20,
        window_s=slices * 60,
        behaviour=behaviour,
        limits=limits,
    )
    found = played(setting, folder, **more)
    assert all(report.complete and report.exit == 0 for report in found.reports)
    return found


@pytest.mark.parametrize("form", ["429", "400", "403"])
def test_seven_places_and_five_creates_a_second_are_found(form: str, tmp_path: Path) -> None:
    """In whatever words it refuses: hardly slower than a client that was told, at most one request in twenty
    refused."""
    hidden = service(outstanding_cap=7, outstanding_cap_form=form, create_per_s=5)
    knew = exported(tmp_path / "knew", 300, hidden, tasks=7)
    found = exported(tmp_path / "found", 300, hidden, tasks=20)
    assert found.world.witness.max_outstanding <= 7
    assert found.elapsed_s <= 1.15 * knew.elapsed_s
    assert found.refused(*THROTTLING) <= 0.05 * found.requests


@pytest.mark.parametrize(
    ("hidden", "bound_s"),
    [
        ({"create_per_s": 5}, 300 / 5),
        ({"outstanding_cap": 7}, 300 * RUN_S / 7),
        ({"executors": 7}, 300 * RUN_S / 7),
    ],
    ids=["rate", "places", "executors"],
)
def test_one_hidden_limit_alone_is_found(hidden: dict[str, Any], bound_s: float, tmp_path: Path) -> None:
    """A rate, places, or a queue before few executors: near what the limit allows at best."""
    found = exported(tmp_path, 300, service(**hidden))
    made = found.world.witness.tasks_made / 300
    assert found.elapsed_s <= 1.35 * bound_s * made
    assert found.refused(*THROTTLING) <= 0.05 * found.requests


def test_few_places_for_long_remote_tasks_are_found_with_few_refusals(tmp_path: Path) -> None:
    """Three places, a minute each: what is refused stays a small share of few requests."""
    found = exported(tmp_path, 40, service(outstanding_cap=3, run_base_s=60.0))
    waves = -(-found.world.witness.tasks_made // 3)
    assert found.elapsed_s <= 1.15 * waves * 60
    assert found.refused(*THROTTLING) <= 0.1 * found.requests


@pytest.mark.parametrize("limit", ["outstanding_cap", "create_per_s", "link_per_s"])
def test_a_limit_that_falls_to_a_third_and_comes_back_is_followed(limit: str, tmp_path: Path) -> None:
    """No slice fails; within a minute of the fall the export goes on at the lower limit, and within a minute
    of its return at nearly the old one."""
    high = {"outstanding_cap": 21, "create_per_s": 9.0, "link_per_s": 9.0}
    low = {**high, limit: high[limit] / 3 if limit != "outstanding_cap" else 7}
    later = {60.0: service(**low), 120.0: service(**high)}
    found = exported(tmp_path, 1400, service(**high), tasks=30, per_s=50.0, later=later)
    assert found.reports[0].jobs[0].slices.get("failed", 0) == 0
    (before,), (during,) = found.stored_between(30, 60), found.stored_between(75, 120)
    (after,) = found.stored_between(170, 200)
    assert 0.75 * before / 3 <= during / 1.5 <= 1.25 * before / 3
    assert after >= 0.85 * before
    assert found.refused(*THROTTLING) <= 0.05 * found.requests


@pytest.mark.parametrize(
    ("runs", "hidden"),
    [
        (2, {"outstanding_cap": 20}),
        (2, {"create_per_s": 5}),
        (5, {"outstanding_cap": 20, "create_per_s": 5}),
    ],
    ids=["two-by-places", "two-by-rate", "five"],
)
def test_runs_that_know_nothing_of_each_other_share_fairly(
    runs: int, hidden: dict[str, Any], tmp_path: Path
) -> None:
    """Begun ten seconds apart, they store about as many files each while all of them run: Jain's index is at
    least 0.9."""
    slices = 600 if runs == 2 else 450
    found = exported(tmp_path, slices, service(**hidden), starts_s=[10.0 * number for number in range(runs)])
    start_s, end_s = 10.0 * (runs - 1), min(seen.stored_at[-1] for seen in found.seen)
    assert end_s > start_s + 60
    assert jain(found.stored_between(start_s, end_s)) >= 0.9


@pytest.mark.parametrize("run_s", [2.0, 30.0, 300.0])
def test_watching_many_costs_less_than_a_third_of_a_request_each(run_s: float, tmp_path: Path) -> None:
    """With twenty and more outstanding, whatever a remote task takes."""
    slices = 400
    found = exported(tmp_path, slices, service(run_base_s=run_s), tasks=40, per_s=100.0)
    assert found.watching_per_slice() <= 0.3


@pytest.mark.parametrize(("run_s", "slices"), [(2.0, 60), (30.0, 30), (600.0, 10)])
def test_watching_few_costs_a_few_looks_each(run_s: float, slices: int, tmp_path: Path) -> None:
    """With four outstanding, at most three and the logarithm of the run time."""
    found = exported(tmp_path, slices, service(run_base_s=run_s), tasks=4)
    assert found.watching_per_slice() <= 3 + math.log2(run_s)


def test_executors_are_kept_busy(tmp_path: Path) -> None:
    """Twenty executors, twenty requests a second of each kind, and a client that does not know: the export
    takes hardly longer than the executors need."""
    hidden = service(executors=20, create_per_s=20, link_per_s=20, list_per_s=20, read_per_s=20)
    found = exported(tmp_path, 600, hidden, tasks=40, per_s=100.0)
    bound_s = found.world.witness.tasks_made * RUN_S / 20
    assert found.elapsed_s <= 1.10 * bound_s
    assert found.requests <= 2.3 * found.world.witness.tasks_made


def test_a_list_that_does_not_answer_is_asked_seldom(tmp_path: Path) -> None:
    """When each question to the list costs three minutes and fails, descriptions take its place."""

    async def silent(behind: Any, **words: Any) -> Any:
        await asyncio.sleep(180.0)
        raise ServiceFault("the list is down", status=500)

    rig = Rig(Setting(seed=1, slices=60, limits=ceilings(tasks=12)), tmp_path)
    rig.disturb = only_first("tasks", list_page=silent)
    report = rig.run()
    assert rig.complaints(report) == []
    assert report.duration_s < 600.0

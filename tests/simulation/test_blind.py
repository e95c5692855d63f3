"""A logstore in which nothing can be counted is exported by slices that follow its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Align
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.errors import Refused
from orchestrator.testing.episode import Setting
from tests.simulation.rig import DAY_S, Rig, only_first

HOUR_S = 3600
DONE = "select count(*) from slices where state = 'done'"
FULL = "select stored_rows from slices where state = 'done' order by start_s"


def blind(folder: Path, **setting: Any) -> Rig:
    """An export of a logstore without index, with four remote tasks at once."""
    return Rig(Setting(**{"seed": 3, "indexed": False, "lines_per_slice": 100, **setting}), folder)


def test_a_sparse_fortnight_takes_few_remote_tasks(tmp_path: Path) -> None:
    """Slices grow where hardly anything comes: a few for each lane, and not one for each hour."""
    rig = blind(tmp_path, slices=1, window_s=14 * DAY_S)
    assert rig.complaints(rig.run()) == []
    assert rig.world.witness.tasks_made <= 4 * 8


@pytest.mark.parametrize("order", ["by-time", "stirred"])
def test_a_dense_day_fills_its_slices(order: Any, tmp_path: Path) -> None:
    """Once its density is known slices are about four fifths full; without an order in their rows, by which a
    full file could be cut, it takes some more remote tasks to find out."""
    rig = blind(tmp_path, slices=120, window_s=DAY_S, behaviour=Behaviour(row_order=order))
    assert rig.complaints(rig.run()) == []
    rows = [row for (row,) in rig.ledger(FULL)]
    assert len(rows) <= 1.4 * 120
    assert sorted(rows)[len(rows) // 2] >= 70
    handed_on = rig.ledger("select count(*) from slices where state in ('cut', 'superseded')")[0][0]
    assert handed_on <= (30 if order == "by-time" else 60)
    assert rig.world.witness.tasks_made <= (1.5 if order == "by-time" else 1.9) * 120


def test_the_next_run_begins_with_the_density_of_the_last(tmp_path: Path) -> None:
    """Another day of the same job needs no remote task to find out again."""
    rig = blind(tmp_path, slices=30, window_s=DAY_S)
    assert rig.complaints(rig.run()) == []
    before = rig.world.witness.tasks_made
    start_s = rig.setting.window.start_s
    rig.changed = {"window": Window(start_s - DAY_S, start_s + DAY_S)}
    assert rig.run().complete
    assert rig.world.witness.tasks_made - before <= 30 / 0.8 + 8
    assert rig.ledger("select count(*) from slices where state = 'cut' and start_s < " + str(start_s)) == [
        (0,)
    ]


@pytest.mark.parametrize("nth", [5, 17, 31, 62, 103])
def test_what_a_lane_had_not_asked_for_is_asked_for_by_the_next_run(nth: int, tmp_path: Path) -> None:
    """Killed in the middle of its lanes and run again: all rows, each once."""
    rig = blind(tmp_path, slices=20, window_s=DAY_S)
    assert rig.live(nth).crash is not None
    assert rig.complaints(rig.run()) == []


def test_a_service_that_does_not_count_is_not_asked_for_every_slice(tmp_path: Path) -> None:
    """Some questions find out, and one in ten slices later looks again; when counting comes back, the slices
    that follow are counted."""
    rig = blind(tmp_path, slices=60, window_s=DAY_S)
    assert rig.complaints(rig.run()) == []
    asked = rig.world.witness.requests
    assert asked["query"] + asked["histogram"] <= 60 / 2
    rig.world.account.change_store("shop", "web", indexed=True)
    start_s = rig.setting.window.start_s
    rig.changed = {"window": Window(start_s - DAY_S, start_s + DAY_S)}
    assert rig.run().complete
    counted = (
        f"select count(*) from slices where start_s < {start_s} and state = 'done' and evidence = 'count'"
    )
    assert rig.ledger(counted)[0][0] > 0


def test_boundaries_hold_in_lanes(tmp_path: Path) -> None:
    """No slice crosses an hour where hours are asked for, however little comes in one."""
    rig = blind(tmp_path, slices=2, window_s=10 * HOUR_S + 77)
    rig.changed = {"align": Align.HOUR}
    assert rig.complaints(rig.run()) == []
    assert (
        rig.ledger(f"select start_s, end_s from slices where start_s / {HOUR_S} <> (end_s - 1) / {HOUR_S}")
        == []
    )


def test_a_job_that_is_refused_ends_with_its_lanes_unfinished(tmp_path: Path) -> None:
    """What no slice was made for yet is a gap, and the run does not wait for it."""
    rig = blind(tmp_path, slices=20, window_s=DAY_S)
    made = 0

    async def create(behind: Any, *args: Any, **words: Any) -> Any:
        nonlocal made
        made += 1
        if made > 6:
            raise Refused("no more of this", service_code="AccessDenied", status=403)
        return await behind.create(*args, **words)

    rig.disturb = only_first("tasks", create=create)
    report = rig.run()
    assert report.exit == 5
    assert sum(gap.window.length_s for gap in report.jobs[0].gaps) >= DAY_S / 2
    rig.disturb = None
    assert rig.complaints(rig.run()) == []

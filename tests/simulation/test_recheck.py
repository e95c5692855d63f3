"""Young windows are counted again on later runs, and what grew is exported anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Align
from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.episode import Setting
from tests.simulation.rig import DAY_S, Rig

HOUR_S = 3600
LATE = {"late_per_mille": 100, "late_by_s": 30 * HOUR_S}
"""A tenth of the records can be seen only thirty hours after their time."""


def rechecking(folder: Path, slices: int = 6, **behaviour: Any) -> Rig:
    """An export of the last hours, of which not all rows can be seen yet, that looks back three days."""
    rig = Rig(Setting(seed=7, slices=slices, lines_per_slice=40, behaviour=Behaviour(**behaviour)), folder)
    rig.changed = {"recheck_s": 3 * DAY_S}
    assert rig.run().complete
    return rig


def made(rig: Rig) -> int:
    return rig.world.witness.tasks_made


def covered_twice(rig: Rig) -> list[Any]:
    """Seconds that two stored slices hold."""
    return rig.ledger(
        "select a.id, b.id from slices a join slices b on a.id < b.id and a.start_s < b.end_s"
        " and b.start_s < a.end_s where a.state in ('done', 'empty') and b.state in ('done', 'empty')"
    )


def test_rows_that_came_late_are_in_the_archive_after_a_later_run(tmp_path: Path) -> None:
    """The archive is then what the service has, each second is held once, and no file is left over; a run
    after that makes nothing."""
    rig = rechecking(tmp_path, **LATE)
    first = len(rig.files())
    assert rig.archived() < rig.truth()
    rig.now_s += 1.5 * DAY_S
    assert rig.complaints(rig.run()) == []
    assert covered_twice(rig) == []
    assert len(rig.files()) >= first
    assert len(rig.files()) == rig.ledger("select count(*) from slices where state = 'done'")[0][0]
    before = made(rig)
    assert rig.complaints(rig.run()) == []
    assert made(rig) == before


def test_only_slices_that_grew_are_exported_again(tmp_path: Path) -> None:
    """Of many slices the few that got late rows cost a remote task each; the others keep their files."""
    rig = rechecking(tmp_path, slices=30, late_per_mille=4, late_by_s=30 * HOUR_S)
    stood = {path: path.stat().st_ino for path in rig.files()}
    before = made(rig)
    rig.now_s += 1.5 * DAY_S
    late = (rig.truth() - rig.archived()).total()
    assert rig.complaints(rig.run()) == []
    assert 0 < made(rig) - before <= 2 * late < len(stood)
    kept = [path for path in rig.files() if stood.get(path) == path.stat().st_ino]
    assert len(kept) >= len(stood) - late


def test_what_is_older_than_asked_for_is_let_be(tmp_path: Path) -> None:
    """A window past its age is not counted again, though the service now has more of it."""
    rig = rechecking(tmp_path, **LATE)
    rig.now_s += 5 * DAY_S
    before = made(rig)
    assert rig.run().complete
    assert made(rig) == before
    assert rig.archived() < rig.truth()


def test_fewer_rows_than_are_stored_replace_nothing(tmp_path: Path) -> None:
    """Rows the service lost stay in the archive, and the slice's story tells of it, once."""
    rig = rechecking(tmp_path)
    before, kept = made(rig), rig.archived()
    rig.behave(late_per_mille=500, late_by_s=10**9)
    for _ in range(2):
        assert rig.run().complete
        assert (made(rig), rig.archived()) == (before, kept)
        told = rig.ledger("select count(*), count(distinct slice_id) from journal where event = 'shrunk'")
        assert told[0][0] == told[0][1] > 0


def test_rows_that_came_into_an_empty_day_get_files_of_their_own(tmp_path: Path) -> None:
    """A stretch proven empty is looked at again cell for cell, so that no file goes over a boundary."""
    rig = Rig(
        Setting(
            seed=7,
            slices=4,
            lines_per_slice=40,
            behaviour=Behaviour(late_per_mille=1000, late_by_s=1.2 * DAY_S),
        ),
        tmp_path,
    )
    rig.changed = {"recheck_s": 3 * DAY_S, "align": Align.HOUR}
    rig.now_s = rig.setting.window.end_s + 600.0
    assert rig.run().complete
    assert rig.files() == []
    rig.now_s += 1.5 * DAY_S
    assert rig.complaints(rig.run()) == []
    crossing = rig.ledger(
        "select id from slices where state = 'done' and start_s / 3600 < (end_s - 1) / 3600"
    )
    assert crossing == []


@pytest.mark.parametrize("crash_at", [3, 9, 20, 31, 47])
def test_a_death_while_rechecking_costs_nothing(crash_at: int, tmp_path: Path) -> None:
    """Whatever stood stays until its better is verified; the next run goes on."""
    rig = rechecking(tmp_path, **LATE)
    stored = rig.archived()
    rig.now_s += 1.5 * DAY_S
    life = rig.live(crash_at=crash_at)
    assert life.crash is not None
    assert not stored - rig.archived()
    assert rig.complaints(rig.run()) == []
    assert covered_twice(rig) == []


def test_a_month_of_nights_ends_complete_whatever_some_nights_did(tmp_path: Path) -> None:
    """Every night exports what became due, one night in five fails in one way or another, and rows come up
    to thirty-six hours late: in the end the archive is the month, and nothing was exported again that had
    not grown."""
    nights = 30
    late = Behaviour(late_per_mille=15, late_by_s=36 * HOUR_S)
    setting = Setting(
        seed=11, slices=3 * nights, lines_per_slice=40, window_s=nights * DAY_S, attempts=2, behaviour=late
    )
    rig = Rig(setting, tmp_path)
    start_s = setting.window.start_s
    failed = 0
    for night in range(1, nights + 4):
        until_s = start_s + min(night, nights) * DAY_S
        rig.now_s = start_s + night * DAY_S + 2.0 * HOUR_S
        rig.changed = {
            "window": Window(start_s, until_s),
            "due_until_s": until_s,
            "recheck_s": 4 * DAY_S,
        }
        rig.world.behave(late, rig.now_s)
        if night % 5 or night > nights:
            rig.live()
            continue
        failed += 1
        if night % 3 == 0:
            rig.live(crash_at=20 + night)
        elif night % 2 == 0:
            rig.world.behave(replace(late, fail_probability=1.0), rig.now_s)
            rig.live()
        else:
            rig.world.behave(replace(late, file_error_probability=1.0), rig.now_s)
            rig.live()
    assert failed == nights // 5
    assert rig.complaints(rig.run()) == []
    assert covered_twice(rig) == []
    grown = sum(life.notes["recheck.grown"] for life in rig.lives)
    again = rig.ledger("select count(*) from slices where generation > 0 and parent = ''")
    assert 0 < again[0][0] <= grown
    assert made(rig) < 2 * len(rig.files()) + grown

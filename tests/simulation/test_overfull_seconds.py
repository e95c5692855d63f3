"""One second above the limit: divided by log stream, asked for from both ends, or a gap that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Order
from orchestrator.core.model import Part
from orchestrator.core.reasons import Reason
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import GiantSecond, Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.world import World
from orchestrator.errors import Refused
from orchestrator.testing.episode import Setting
from orchestrator.testing.loop import START_AT
from tests.simulation.rig import DAY_S, Rig, failing, only_first, reasons

AT_S = int(START_AT) - 86_400 - 30
MAX_LINES = 50


def dense(folder: Path, rows: int, streams: tuple[str, ...], *, at_s: int = AT_S, **setting: Any) -> Rig:
    """A minute with one second of ``rows`` more records than its neighbours have."""
    rig = Rig(Setting(**{"seed": 1, "window_s": 60, "lines_per_slice": MAX_LINES, **setting}), folder)
    density = GiantSecond(Uniform(300 * 86_400 // 60), at_s, rows)
    rig._store = Logstore("web", GeneratedStore(1, density, streams=streams), project="shop")
    rig.world = World([rig._store], seed=1, behaviour=rig.setting.behaviour)
    return rig


def names_of(rig: Rig) -> list[str]:
    """What the files of the dense second are told apart by."""
    return sorted(path.stem.partition("~")[2] for path in rig.files() if "~" in path.stem)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(file_layout="array", file_compression="gzip"),
        Behaviour(row_order="ties-stirred"),
        Behaviour(window_end="inclusive"),
        Behaviour(record_time="iso"),
        Behaviour(written_rows="limit"),
        Behaviour(list_lag_s=4.0, lost_reply_made=0.3),
    ],
    ids=["plain", "array", "ties", "end inclusive", "iso times", "written rows", "lost replies"],
)
@pytest.mark.parametrize("order", list(Order))
def test_a_second_over_the_limit_is_divided_by_log_stream(
    order: Order, behaviour: Behaviour, tmp_path: Path
) -> None:
    """Each stream that fits gets a file of its own, and the second is covered by what they add up to."""
    rig = dense(tmp_path, 100, ("a", "b", "c", "d"), behaviour=behaviour)
    rig.changed = {"order": order}
    assert rig.complaints(rig.run()) == []
    assert [name[0] for name in names_of(rig)] == ["a", "b", "c", "d"]
    assert rig.run().jobs[0].remote_tasks_created == 0


@pytest.mark.parametrize("order", list(Order))
def test_one_stream_over_the_limit_is_asked_for_from_both_ends(order: Order, tmp_path: Path) -> None:
    """What no stream divides is met from both ends of the order."""
    rig = dense(tmp_path, 80, ("only",))
    rig.changed = {"order": order}
    assert rig.complaints(rig.run()) == []
    assert names_of(rig) == ["early", "late"]


def test_a_stream_over_the_limit_is_divided_again(tmp_path: Path) -> None:
    """By stream first, and what is still too much from both ends."""
    rig = dense(tmp_path, 120, ("a", "b"))
    assert rig.complaints(rig.run()) == []
    assert {"early", "late"} < {name.rpartition("~")[2] for name in names_of(rig)}


@pytest.mark.parametrize(
    ("rows", "behaviour"),
    [
        (200, Behaviour()),
        (80, Behaviour(record_time="s")),
        (80, Behaviour(row_order="stirred")),
        (200, Behaviour(count_refused=True, histogram_fails="always")),
    ],
    ids=["ends do not meet", "no milliseconds", "no order", "no counts"],
)
def test_what_cannot_be_divided_is_a_gap_of_that_second_alone(
    rows: int, behaviour: Behaviour, tmp_path: Path
) -> None:
    """The gap is one second long, says why, and everything around it is stored."""
    rig = dense(tmp_path, rows, ("only",), behaviour=behaviour)
    report = rig.run()
    assert (report.exit, reasons(report)) == (7, {Reason.OVERFULL_SECOND})
    # Without counts every slice is asked for with its neighbours: those of a dense second are crowded out.
    spread = 1 if behaviour.count_refused else 0
    for gap in report.jobs[0].gaps:
        assert AT_S - spread <= gap.window.start_s < gap.window.end_s <= AT_S + 1 + spread
    assert not rig.archived() - rig.truth()


def test_parts_that_do_not_add_up_are_no_second(tmp_path: Path) -> None:
    """A stream that lost rows after it was counted leaves the second a gap, until they are there again."""
    rig = dense(tmp_path, 100, ("a", "b", "c"))
    rig.behave(written_rows="exact")
    report = rig.run()
    assert report.complete
    whole = next(iter(rig.ledger("select distinct whole from slices where whole <> ''")))[0]
    rig.manifest._connection.execute("update slices set recount = recount + 1 where id = ?", (whole,))
    rig.manifest._connection.execute("delete from coverage")
    again = rig.run()
    assert (again.exit, reasons(again)) == (3, {"short by 1"})
    healed = rig.run()
    assert rig.complaints(healed) == []


@pytest.mark.parametrize("indexed", [True, False], ids=["counted", "uncounted"])
@pytest.mark.parametrize("order", list(Order))
def test_a_dense_second_crowds_its_neighbours_out_only_once(
    order: Order, indexed: bool, tmp_path: Path
) -> None:
    """A file that a margin filled with the rows of that second is asked for without one, and not for ever
    smaller windows."""
    rig = dense(tmp_path, 60, ("only",), indexed=indexed, behaviour=Behaviour(window_start="exclusive"))
    rig.changed = {"order": order}
    rig.run()
    assert rig.ledger("select count(*) from slices where state = 'superseded' and end_s > start_s + 1") == [
        (0,)
    ]
    assert rig.world.witness.tasks_made <= 24
    assert rig.complaints(rig.run()) == []


@pytest.mark.parametrize("order", list(Order))
def test_an_exclusive_start_costs_the_early_end_one_more_run(order: Order, tmp_path: Path) -> None:
    """The first row of the second is missing from both ends; the next run asks from a second earlier."""
    rig = dense(tmp_path, 80, ("only",), behaviour=Behaviour(window_start="exclusive"))
    rig.changed = {"order": order}
    report = rig.run()
    assert (report.exit, reasons(report)) == (3, {"short by 1"})
    assert rig.complaints(rig.run()) == []
    assert rig.run().jobs[0].remote_tasks_created == 0


@pytest.mark.parametrize(
    ("max_lines", "names"), [(28, ["a", "b", "c", "d"]), (MAX_LINES, [])], ids=["by stream", "not at all"]
)
def test_a_second_divided_another_way_ends_with_each_row_once(
    max_lines: int, names: list[str], tmp_path: Path
) -> None:
    """Two ends that fell short of the count give way to log streams, or to one file of the whole second, as
    soon as these can be had: their files and their remote tasks go, and no row stands twice."""
    rig = dense(tmp_path, 80, ("a", "b", "c", "d"), behaviour=Behaviour(window_start="exclusive"))
    rig.disturb = only_first("meta", list_logstreams=failing(Refused("not allowed")))
    report = rig.run()
    assert (report.exit, reasons(report)) == (3, {"short by 1"})
    assert names_of(rig) == ["early", "late"]
    rig.disturb, rig.changed = None, {"max_lines": max_lines}
    assert rig.complaints(rig.run()) == []
    assert [name[0] for name in names_of(rig)] == names
    assert rig.run().jobs[0].remote_tasks_created == 0


@pytest.mark.parametrize("streams", [("a", "b", "c"), ("only",)], ids=["by stream", "both ends"])
def test_a_death_at_any_point_of_a_division_changes_nothing(streams: tuple[str, ...], tmp_path: Path) -> None:
    """Killed anywhere and run again, the second is whole, with one live remote task for each part."""
    rows = 80
    points = 1
    number = 1
    while number <= points:
        rig = dense(tmp_path / str(number), rows, streams, window_s=5, at_s=AT_S + 27)
        life = rig.live(number if number > 1 else None)
        points = max(points, len(life.met))
        if number > 1:
            assert rig.complaints(rig.run()) == []
        number += 2 if number > 1 else 1


def test_part_names_are_words_of_the_ledger() -> None:
    """The two ends have one name each; the whole has none."""
    assert [part.value for part in Part] == ["", "early", "late"]


@pytest.mark.parametrize(
    ("rows", "streams"), [(120, ("a", "b", "c", "d")), (70, ("only",))], ids=["by stream", "from both ends"]
)
def test_rows_that_came_late_into_a_divided_second_come_with_a_later_run(
    rows: int, streams: tuple[str, ...], tmp_path: Path
) -> None:
    """Young windows are counted again, a divided second as a whole. What grew is divided anew, wherever the
    process dies; no row that stood is missing meanwhile, and in the end each is there once."""
    behaviour = Behaviour(late_per_mille=100, late_by_s=1.2 * DAY_S)
    points, crash_at = 30, 1
    while crash_at <= points:
        rig = dense(tmp_path / str(crash_at), rows, streams, behaviour=behaviour)
        rig.changed = {"recheck_s": 3 * DAY_S}
        assert rig.run().complete
        stood = rig.archived()
        rig.now_s += 1.5 * DAY_S
        late = (rig.truth() - stood).total()
        life = rig.live(crash_at)
        points = max(points, len(life.met))
        assert late > 1
        assert not stood - rig.archived(), f"death {crash_at}"
        assert rig.complaints(rig.run()) == [], f"death {crash_at}"
        crash_at += 3

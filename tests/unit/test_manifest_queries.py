"""No question of a running engine walks over all slices: shown by SQLite's own query plans, not by a
stopwatch."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator

import pytest

from orchestrator.core.model import LIVE_STATES, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.manifest.named import migrations, sql
from orchestrator.manifest.store import MemoryManifest, open_memory
from orchestrator.ports.store import Changes

MANY = 100_000
USED_INDEX = {
    "ready": "slices_ready (job=?)",
    "due": "slices_due (job=? AND not_before_at>? AND not_before_at<?)",
    "next_due_at": "slices_due (job=?)",
    "ids_in_state": "slices_by_state (job=? AND state=? AND (start_s,id)>(?,?) AND start_s<?)",
    "unfinished": "slices_unfinished (job=? AND start_s>? AND start_s<?)",
    "slices_meeting": "slices_by_time (job=? AND start_s>? AND start_s<?)",
    "totals": "slices_by_time (job=? AND start_s>? AND start_s<?)",
    "ledger_page": "slices_by_time (job=? AND start_s>?)",
    "in_doubt_since": "remote_tasks_doubtful (doubt_at>?)",
    "story": "journal_by_slice (slice_id=?)",
    "slice_of_uuid": "remote_tasks_by_uuid (uuid=?)",
    "tasks_of_slice": "remote_tasks_by_slice (slice_id=?)",
    "lately": "slices_by_state (job=? AND state=?)",
    "run_times": "sqlite_autoindex_remote_tasks_1 (number>?)",
}
NEEDS_A_SORT = {"due", "totals", "in_doubt_since"}
"""Their answers are short: what has waited and is due, fifteen states, doubts."""
SMALL = {"jobs", "acceptances", "covered_streams"}
"""Scans of tables that do not grow with slices."""
ONLY_ON_PAPER = {"add_job"}
"""SQLite plans a search for orphans of a new job and runs it only while some foreign key is violated."""


@pytest.fixture(scope="module")
def filled() -> Iterator[MemoryManifest]:
    """A manifest of one hundred thousand slices, half of them planned, with the planner's statistics."""
    memory = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
    states = (SliceState.PLANNED, SliceState.DONE)
    slices = tuple(
        Slice(f"{place:016x}", "web", "", Window(place, place + 1), state=states[place % 2])
        for place in range(MANY)
    )
    asyncio.run(memory.reopen().commit(Changes(slices=slices)))
    yield memory
    memory.close()


def connection(memory: MemoryManifest) -> sqlite3.Connection:
    return memory._connection


def plan(memory: MemoryManifest, name: str) -> list[str]:
    statement = sql(name)
    nothing = dict.fromkeys(re.findall(r":([a-z_0-9]+)", statement), 1)
    return [
        row[3].replace("TABLE ", "")
        for row in connection(memory).execute("EXPLAIN QUERY PLAN " + statement, nothing)
    ]


def names() -> list[str]:
    from orchestrator.manifest import named

    return sorted(named._queries())


@pytest.mark.parametrize("name", names())
def test_no_statement_scans_the_slices(filled: MemoryManifest, name: str) -> None:
    """Every statement is a valid one and reaches slices, remote tasks and journal through an index."""
    steps = plan(filled, name)
    scans = [step for step in steps if step.startswith("SCAN") and "slices_in_doubt" not in step]
    if name in SMALL:
        scans = [step for step in scans if re.match(r"SCAN (slices|s|t|remote_tasks|n|journal)\b", step)]
    assert scans == [] or name in ONLY_ON_PAPER


@pytest.mark.parametrize(("name", "index"), USED_INDEX.items())
def test_the_engines_questions_use_their_index(filled: MemoryManifest, name: str, index: str) -> None:
    """Each question of the driver loop is one range of the index made for it, already in the order asked
    for."""
    steps = plan(filled, name)
    assert any(index in step for step in steps), steps
    if name not in NEEDS_A_SORT:
        assert not any("TEMP B-TREE" in step for step in steps), steps


def test_admission_among_very_many_slices_reads_few_pages(filled: MemoryManifest) -> None:
    """Asking for ten admissible slices among fifty thousand planned ones runs a bounded number of database
    steps."""
    manifest = filled.reopen()
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection(filled).set_progress_handler(count, 100)
    try:
        found = asyncio.run(manifest.admissible("web", 10.0, 10))
        assert asyncio.run(manifest.next_due_at("web")) == 0.0
        assert asyncio.run(manifest.live("web")) == ()
        assert asyncio.run(manifest.unfinished("web", Window(500, 510))) != ()
        assert asyncio.run(manifest.counts("web")).slices == {
            SliceState.PLANNED: MANY // 2,
            SliceState.DONE: MANY // 2,
        }
    finally:
        connection(filled).set_progress_handler(None, 0)
    assert [piece.window.start_s for piece in found] == list(range(0, 20, 2))
    assert steps < 100, "a hundred instructions each"


def test_the_unfinished_index_names_exactly_the_unfinished_states() -> None:
    """The states in the partial index and in its question are those the model calls live, and planned."""
    wanted = {state.value for state in LIVE_STATES | {SliceState.PLANNED}}
    schema = "".join(step.text for step in migrations())
    index = schema[schema.index("INDEX slices_unfinished") :].split(";")[0]
    assert set(re.findall(r"'([a-z_]+)'", index)) == wanted
    assert set(re.findall(r"'([a-z_]+)'", sql("unfinished"))) == wanted


def test_an_unknown_name_is_an_error() -> None:
    """A misspelt statement is found when it is asked for."""
    with pytest.raises(KeyError):
        sql("no such statement")


def test_what_is_in_memory_is_passed_over_and_not_read() -> None:
    """Of planned slices the first ones not in memory are read, in order of time; the last few all at once."""
    memory = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
    manifest = memory.reopen()
    slices = tuple(
        Slice(f"s{place}", "web", "", Window(place, place + 1), not_before_at=5.0 * (place % 3 == 0))
        for place in range(9)
    )
    asyncio.run(manifest.commit(Changes(slices=slices)))

    def found(now: float, limit: int, *, without: frozenset[str] = frozenset(), whole_end: int = 0) -> str:
        asked = manifest.admissible("web", now, limit, without=without, whole_end=whole_end)
        return "".join(slice_.id[1:] for slice_ in asyncio.run(asked))

    here = frozenset({"s0", "s2", "s8"})
    assert found(9.0, 3) == "012"
    assert found(1.0, 3) == "124"
    assert found(9.0, 3, without=here) == "134"
    assert found(9.0, 3, without=here, whole_end=6) == "134567"
    assert found(9.0, 3, without=here, whole_end=5) == "134"
    assert found(9.0, 50) == "012345678"
    read: list[str] = []
    connection(memory).set_trace_callback(read.append)
    found(9.0, 2, without=frozenset({"s0", "s1", "s2"}), whole_end=4)
    assert sum("WHERE s.id =" in text for text in read) == 2
    memory.close()

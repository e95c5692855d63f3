"""``pull``: rows in time order while later slices still run; the same line goes on where it was stopped."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.testing.archive import Rows
from tests.e2e.conftest import PATIENCE_S, Ended
from tests.e2e.proving import (
    DAY,
    DAY_MS,
    PROGRAM,
    Program,
    describe_world,
    desk_beside,
    nothing_leaks,
    program,
    same_rows,
    truth,
)

ROWS = 12_000
FLEETING = """
[[logstores]]
name = "fleeting"
retention_days = 1
start = 2020-10-01T00:00:00Z
end = 2099-01-01T00:00:00Z
density = { kind = "uniform", rows_per_day = 4000 }

[[logstores]]
name = "dense"
start = 2026-01-14T00:00:00Z
end = 2026-01-15T00:00:00Z
density = { kind = "uniform", rows_per_day = 9600000 }

[[logstores]]
name = "blind"
indexed = false
start = 2026-01-14T00:00:00Z
end = 2026-01-15T00:00:00Z
density = { kind = "uniform", rows_per_day = 12000 }
"""
"""Rows at all times, kept for a day; many rows; and rows that nobody can count."""
MEASURED = (
    "import os, subprocess, sys; child = subprocess.Popen(sys.argv[1:]); "
    "_, status, used = os.wait4(child.pid, 0); open('peak', 'w').write(str(used.ru_maxrss)); "
    "sys.exit(os.waitstatus_to_exitcode(status))"
)
"""A small parent: what a process inherits at its birth counts among its most, and the tests' own is large."""
WINDOW = ("--from", DAY[0], "--to", DAY[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Rows]]:
    """An emulator for this file, and the truth of its logstore."""
    folder = tmp_path_factory.mktemp("served")
    world = describe_world(folder, ROWS)
    with world.open("a", encoding="utf-8") as more:
        more.write(FLEETING)
    with program(folder, "--world", str(world)) as made:
        yield made, truth(world)


@pytest.fixture
def desk(served: tuple[Program, Rows], tmp_path: Path) -> Iterator[Program]:
    """A folder without a job file; the user's state lies in it too."""
    (tmp_path / "desk").mkdir()
    made = desk_beside(served[0], tmp_path / "desk")
    made.children = []
    made.environment = {
        **made.environment,
        "BLS_ENDPOINT": made.emulated.endpoint,
        "XDG_STATE_HOME": str(tmp_path / "desk" / "state"),
    }
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
            child.communicate()


def pull(desk: Program, *arguments: str) -> subprocess.Popen[str]:
    return desk.start("pull", "web", *arguments)


def state(desk: Program) -> list[Path]:
    """Every file that a pull left in the user's state folder."""
    return sorted(path for path in (desk.folder / "state").rglob("*") if path.is_file())


def counted(text: str) -> Rows:
    """The rows of JSON lines, and they stand in time order."""
    pairs = [(row["@timestamp"], row["@raw"]) for row in map(json.loads, text.splitlines())]
    times = [at_ms for at_ms, _ in pairs]
    assert times == sorted(times)
    return Rows(pairs)


def until(holds: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.01)


def test_rows_come_in_order_before_the_last_slice_is_created(
    desk: Program, served: tuple[Program, Rows]
) -> None:
    """Forty slices with mixed run times: the first row is on stdout before the last remote task exists, all
    rows are there, in order, and nothing of them stays in the state folder."""
    desk.emulated.behave(run_base_s=0.6, run_jitter=1.8)
    child = pull(desk, *WINDOW, "--slice-lines", "304")
    assert child.stdout is not None
    first = os.read(child.stdout.fileno(), 1).decode()
    made = desk.emulated.stats()["tasks_made"] - desk.made_before
    ended = desk.end(child)
    assert ended.exit == 0, ended.err
    slices = desk.emulated.stats()["tasks_made"] - desk.made_before
    assert slices >= 40
    assert made < slices, "the first row came after the last create"
    same_rows(counted(first + ended.out), served[1])
    assert state(desk) == []
    nothing_leaks(desk, replace(ended, out=""))


def test_the_same_line_goes_on_after_a_kill(desk: Program, served: tuple[Program, Rows]) -> None:
    """Killed in the middle and given again, a pull makes no remote task twice and fetches no file again that
    it had stored; a file with ``-o`` appears only with the end."""
    desk.emulated.behave(run_base_s=1.5, run_jitter=1.8)
    line = (*WINDOW, "--slice-lines", "1500", "-o", "rows.jsonl")
    child = pull(desk, *line)
    until(lambda: amid(desk) or child.poll() is not None)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -9
    assert not (desk.folder / "rows.jsonl").exists()
    stored = [uuid for state, uuid in slices(desk) if state == "done"]
    made = desk.emulated.stats()["tasks_made"]
    again = desk.end(pull(desk, *line))
    assert again.exit == 0, again.err
    assert "pull.resumed" in again.err
    same_rows(counted((desk.folder / "rows.jsonl").read_text("utf-8")), served[1])
    stats = desk.emulated.stats()
    assert (stats["tasks_made"], stats["duplicate_names_ever"]) == (made, {})
    assert stored
    assert [stats["file_requests"][uuid] for uuid in stored] == [1] * len(stored)
    assert [path.name for path in desk.folder.glob("*rows.jsonl*")] == ["rows.jsonl"]
    assert state(desk) == []


def slices(desk: Program) -> list[tuple[str, str]]:
    """State and remote task of every slice that the pull's own ledger knows, be it at work or not."""
    for manifest in (desk.folder / "state").rglob("pull.db"):
        with closing(sqlite3.connect(manifest)) as connection:
            return connection.execute("SELECT state, task_uuid FROM slices").fetchall()
    return []


def amid(desk: Program) -> bool:
    """Whether every slice was asked for, the first ones are on their way to the file, and others are not
    stored yet."""
    found = [state for state, _ in slices(desk)]
    begun = any(part.stat().st_size for part in desk.folder.glob(".rows.jsonl.*.part"))
    return begun and len(found) >= 8 and not {"planned", "submitting"} & {*found}


def test_a_reader_that_leaves_ends_it(desk: Program) -> None:
    """``pull | head -1`` gives one row and ends at once, with exit 0 and without a word of a broken pipe; the
    state stays for the same line."""
    desk.emulated.behave(run_base_s=0.2)
    words = " ".join([*PROGRAM, "pull", "web", *WINDOW, "--slice-lines", "600", "-q"])
    piped = subprocess.run(
        ["bash", "-c", f"{words} | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=desk.folder,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (piped.returncode, piped.stderr) == (0, "")
    assert len(piped.stdout.splitlines()) == 1
    assert any(path.name == "pull.json" for path in state(desk))


def test_a_few_rows_cost_one_query(desk: Program, served: tuple[Program, Rows]) -> None:
    """Up to a thousand rows come by one query: no remote task, no state, the earliest rows of the window."""
    before = desk.emulated.stats()["requests"]
    ended = desk.end(pull(desk, *WINDOW, "--limit", "700", "--output", "jsonl"))
    assert ended.exit == 0, ended.err
    after = desk.emulated.stats()
    grown = {name: count - before.get(name, 0) for name, count in after["requests"].items()}
    assert {name: count for name, count in grown.items() if count} == {"query": 1}
    found = counted(ended.out)
    assert found.total() == 700
    assert found <= served[1]
    latest = max(at_ms for at_ms, _ in found)
    assert all(found[row] == served[1][row] for row in served[1] if row[0] < latest)
    assert state(desk) == []


def test_a_search_that_finds_nothing_is_complete(desk: Program) -> None:
    """No row at all is an answer: exit 0, an empty file if one was asked for, and no state is kept."""
    nothing = (*WINDOW, "--query", '"no such words anywhere"')
    ended = desk.end(pull(desk, *nothing))
    assert (ended.exit, ended.out) == (0, ""), ended.err
    ended = desk.end(pull(desk, *nothing, "--output", "csv", "-o", "none.csv"))
    assert ended.exit == 0, ended.err
    assert (desk.folder / "none.csv").read_bytes() == b""
    assert state(desk) == []


def test_a_limit_takes_up_what_was_begun_without_one(desk: Program, served: tuple[Program, Rows]) -> None:
    """A line that was stopped goes on when it is given again for some rows only: with the remote tasks it
    has, of which those it does not need are let go at the service once the rows are there."""
    desk.emulated.behave(run_base_s=1.0, executors=2)
    child = pull(desk, *WINDOW, "--slice-lines", "800")
    until(
        lambda: (len(slices(desk)) >= 8 and all(uuid for _, uuid in slices(desk))) or child.poll() is not None
    )
    child.send_signal(signal.SIGINT)
    assert desk.end(child).exit == 130
    before = desk.emulated.stats()
    ended = desk.end(pull(desk, *WINDOW, "--slice-lines", "800", "--limit", "1200"))
    assert ended.exit == 0, ended.err
    found = counted(ended.out)
    assert found.total() == 1200
    assert found <= served[1]
    after = desk.emulated.stats()
    assert after["tasks_made"] == before["tasks_made"]
    assert len(after["deletes_asked"]) > len(before["deletes_asked"])
    assert state(desk) == []


def costs(desk: Program, *arguments: str) -> tuple[Rows, int, int]:
    """The rows of a pull that ends well, the remote tasks it made, and all requests it sent."""
    before = desk.emulated.stats()
    ended = desk.end(desk.start("pull", *arguments))
    assert ended.exit == 0, ended.err
    after = desk.emulated.stats()
    sent = [sum(stats["requests"].values()) for stats in (before, after)]
    return counted(ended.out), after["tasks_made"] - before["tasks_made"], sent[1] - sent[0]


def test_a_limit_exports_only_what_it_needs(desk: Program) -> None:
    """Where rows can be counted, a limit beyond what a query gives costs the remote tasks that hold as many
    rows, and a handful of requests, however long the window is."""
    desk.emulated.behave(run_base_s=0.2)
    window = ("--from", DAY[0], "--to", "2026-01-14T06:00:00Z", "--slice-lines", "25000")
    found, tasks, requests = costs(desk, "dense", *window, "--limit", "1001")
    assert (found.total(), tasks) == (1001, 1)
    assert requests <= 12, requests
    first_ms = DAY_MS[0] + 1001 * 86_400_000 // 9_600_000
    assert max(at_ms for at_ms, _ in found) <= first_ms
    found, tasks, requests = costs(desk, "dense", *window, "--limit", "60000")
    assert (found.total(), tasks) == (60_000, 3)
    assert state(desk) == []


def test_a_limit_holds_where_nothing_can_be_counted(desk: Program) -> None:
    """Without an index the first stretch is short and the next ones are longer, until the rows are there; one
    that the window does not hold gives all there are."""
    desk.emulated.behave(run_base_s=0.1)
    found, tasks, _ = costs(desk, "blind", *WINDOW, "--limit", "1200")
    assert found.total() == 1200
    assert max(at_ms for at_ms, _ in found) <= DAY_MS[0] + 3 * 3_600_000
    assert tasks <= 4
    found, _, _ = costs(desk, "blind", *WINDOW, "--limit", "99999")
    assert found.total() == 12_000
    assert state(desk) == []


def test_memory_does_not_grow_with_the_rows(desk: Program) -> None:
    """Four hundred thousand rows of more than ninety megabytes go through a process that never holds them."""
    window = ("--from", DAY[0], "--to", "2026-01-14T01:00:00Z")
    child = subprocess.Popen(
        [sys.executable, "-c", MEASURED, *PROGRAM, "pull", "dense", *window, "--slice-lines", "140000", "-q"],
        cwd=desk.folder,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    size = lines = 0
    while block := child.stdout.read(1 << 20):
        size, lines = size + len(block), lines + block.count(b"\n")
    said = child.stderr.read().decode()
    child.stdout.close()
    child.stderr.close()
    assert (child.wait(PATIENCE_S), lines, said) == (0, 400_000, "")
    assert size > 90_000_000
    assert int((desk.folder / "peak").read_text()) * 1024 < 160_000_000


def interrupted(desk: Program, child: subprocess.Popen[str]) -> Ended:
    until(lambda: desk.emulated.stats()["tasks_made"] > desk.made_before or child.poll() is not None)
    child.send_signal(signal.SIGINT)
    return desk.end(child)


def test_ctrl_c_drains_and_a_file_appears_only_complete(desk: Program) -> None:
    """SIGINT ends a pull with 130 and no file; the same line then completes it."""
    desk.emulated.behave(run_base_s=0.7)
    line = (*WINDOW, "--slice-lines", "2000", "-o", "rows.jsonl", "--json")
    first = interrupted(desk, pull(desk, *line))
    assert first.exit == 130, first.err
    document = first.document
    assert (document["complete"], document["file"]) == (False, None)
    assert list(desk.folder.glob("*rows.jsonl*")) == []
    assert state(desk)
    nothing_leaks(desk, first)
    desk.emulated.behave(run_base_s=0.1)
    second = desk.end(pull(desk, *line))
    assert second.exit == 0, second.err
    assert second.document["resumed"] is True
    assert second.document["rows"] == ROWS
    assert second.document["settled_to"] == DAY[1]
    (desk.folder / "rows.jsonl").unlink()
    nothing_leaks(desk, second)


def test_a_reader_that_stands_still_holds_nothing_up(desk: Program) -> None:
    """SIGINT ends a pull whose reader takes no more rows; nobody has to read on for it."""
    desk.emulated.behave(run_base_s=0.05)
    child = pull(desk, *WINDOW, "--slice-lines", "4000", "--no-progress")
    until(lambda: slices(desk) and {state for state, _ in slices(desk)} == {"done"})
    assert child.stdout is not None
    assert select.select([child.stdout], [], [], PATIENCE_S)[0]
    assert child.poll() is None  # all is stored, and waits to be read
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE_S) == 130
    ended = desk.end(child)
    assert "Traceback" not in ended.err
    assert 0 < len(ended.out.encode()) < 200_000  # what fits a pipe


def test_a_part_that_cannot_be_had_ends_the_rows(desk: Program) -> None:
    """Rows end before a part that cannot be had, and the exit is that of ``run``; with ``--allow-gaps`` they
    go on behind it, and the gap is named. The end that may still get late records is named too."""
    line = ("pull", "fleeting", "--since", "25h", "-o", "rows.jsonl", "--json")
    ended = desk.call(*line)
    assert ended.exit == 7, ended.err
    assert "reason='beyond retention'" in ended.err
    (gap,) = ended.document["gaps"]
    assert (gap["reason"], gap["mendable"], ended.document["rows"]) == ("beyond retention", False, 0)
    assert list(desk.folder.glob("*rows.jsonl*")) == []
    allowed = desk.call(*line, "--allow-gaps")
    assert allowed.exit == 7, allowed.err
    assert "reason='beyond retention'" in allowed.err
    assert "pull.unsettled" in allowed.err
    found = counted((desk.folder / "rows.jsonl").read_text("utf-8"))
    assert 3_900 < found.total() == allowed.document["rows"] < 4_100
    assert allowed.document["complete"] is False
    assert ended.document["from"] < gap["to"] < allowed.document["unsettled_from"]


def test_a_file_that_exists_is_not_replaced_unasked(desk: Program) -> None:
    """A FILE that stands there makes exit 2 before anything is sent, by query or by remote tasks; --force
    replaces it. What an unfinished line has put there itself is no hindrance to going on, until somebody
    changed it."""
    file = desk.folder / "rows.jsonl"
    file.write_text("mine")
    requests = desk.emulated.stats()["requests"]
    for line in (WINDOW, (*WINDOW, "--limit", "5")):
        refused = desk.end(pull(desk, *line, "-o", "rows.jsonl"))
        assert refused.exit == 2
        assert "rows.jsonl exists" in refused.err
        assert "--force" in refused.err
    assert (file.read_text(), state(desk)) == ("mine", [])
    assert desk.emulated.stats()["requests"] == requests
    forced = desk.end(pull(desk, *WINDOW, "--limit", "5", "-o", "rows.jsonl", "--force"))
    assert (forced.exit, len(file.read_text().splitlines())) == (0, 5)
    file.unlink()
    line = ("pull", "fleeting", "--since", "25h", "-o", "rows.jsonl", "--allow-gaps")
    for _ in range(2):
        again = desk.call(*line)
        assert again.exit == 7, again.err
        assert len(file.read_text().splitlines()) > 3_900
    with file.open("a") as more:
        more.write("mine\n")
    refused = desk.call(*line)
    assert (refused.exit, file.read_text()[-5:]) == (2, "mine\n")
    assert desk.call(*line, "--force").exit == 7
    assert "mine" not in file.read_text()


def test_what_was_refused_leaves_nothing(desk: Program) -> None:
    """A search that the service refuses, or a logstore that it does not have: exit 5, and nothing stays here
    that could be taken up."""
    for line in (("web", *WINDOW, "--query", "level:("), ("nowhere", *WINDOW)):
        ended = desk.end(desk.start("pull", *line, "--no-progress"))
        assert ended.exit == 5, ended.err
        assert "pull.kept" not in ended.err
        assert state(desk) == []
    assert desk.emulated.stats()["tasks_made"] == desk.made_before


def test_the_same_line_that_waited_begins_anew(desk: Program, served: tuple[Program, Rows]) -> None:
    """Given twice at once, the second told to wait: it begins when the first has delivered and removed its
    state, and brings all rows as well."""
    desk.emulated.behave(run_base_s=2.0)
    line = (*WINDOW, "--slice-lines", "6000", "-q")
    first = pull(desk, *line, "-o", "first.jsonl")
    until(lambda: slices(desk) or first.poll() is not None)
    second = pull(desk, *line, "-o", "second.jsonl", "--wait", "60s")
    for child in (first, second):
        ended = desk.end(child)
        assert (ended.exit, ended.err) == (0, "")
    for name in ("first", "second"):
        same_rows(counted((desk.folder / f"{name}.jsonl").read_text("utf-8")), served[1])
    assert state(desk) == []
    assert sorted(path.name for path in desk.folder.glob("*.jsonl*")) == ["first.jsonl", "second.jsonl"]


@pytest.mark.parametrize("largest_bytes", [700_000, 2_400_000])
def test_no_room_is_mended_by_room(desk: Program, served: tuple[Program, Rows], largest_bytes: int) -> None:
    """Neither a stored file nor FILE can grow further: exit 6 and a hint that speaks of what pull has and not
    of a job file's keys; with room the same line completes."""
    line = (*WINDOW, "--slice-lines", "4000", "-o", "rows.jsonl")
    desk.preparation = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))
    full = desk.end(pull(desk, *line, "--json"))
    desk.preparation = None
    assert (full.exit, full.document["error"]["code"]) == (6, "disk_full"), full.err
    assert "XDG_STATE_HOME" in full.document["error"]["hint"]
    assert "XDG_STATE_HOME" in full.err
    assert "disk_reserve" not in full.out + full.err
    assert list(desk.folder.glob("*rows.jsonl*")) == []
    ended = desk.end(pull(desk, *line))
    assert ended.exit == 0, ended.err
    same_rows(counted((desk.folder / "rows.jsonl").read_text("utf-8")), served[1])


def test_what_nobody_took_up_goes_with_a_later_pull(desk: Program, served: tuple[Program, Rows]) -> None:
    """A killed pull of two weeks ago: the next one delivers its own rows, deletes what the old one had at the
    service, removes its state and says so in one line. A state whose pull is at work stays, however old."""
    desk.emulated.behave(run_base_s=3600.0)
    killed = pull(desk, *WINDOW, "--slice-lines", "6000")
    until(lambda: len([uuid for _, uuid in slices(desk) if uuid]) == 3)
    killed.kill()
    killed.communicate()
    (old,) = (desk.folder / "state" / "orchestrator" / "pulls").iterdir()
    orphans = {uuid for _, uuid in slices(desk)}
    working = pull(desk, "--from", DAY[0], "--to", "2026-01-14T01:00:00Z")
    until(lambda: desk.emulated.stats()["tasks_made"] == desk.made_before + 4 or working.poll() is not None)
    desk.emulated.behave(run_base_s=0.1)
    for place in (desk.folder / "state").rglob("*"):
        os.utime(place, (time.time() - 15 * 86_400,) * 2)
    ended = desk.end(pull(desk, "--from", DAY[0], "--to", "2026-01-14T02:00:00Z", "--no-progress"))
    assert ended.exit == 0, ended.err
    assert len(ended.out.splitlines()) == ROWS // 12
    (said,) = [line for line in ended.err.splitlines() if "pull.swe" in line]
    assert "states=1" in said
    assert "remote_tasks_deleted=3" in said
    assert not old.exists()
    assert orphans <= {*desk.emulated.stats()["deletes_asked"]}
    assert working.poll() is None
    (other,) = (desk.folder / "state" / "orchestrator" / "pulls").iterdir()
    assert (other / "pull.json").exists()
    working.kill()

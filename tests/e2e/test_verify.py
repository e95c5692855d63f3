"""What verify finds, and that the commands it names mend it: the installed command against a service over
HTTP."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.proving import Program, describe_world, desk_beside, program, same_rows, truth

ROWS = 4000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One emulator for all tests of this file, with four thousand rows in one day."""
    folder = tmp_path_factory.mktemp("served")
    with program(folder, "--world", str(describe_world(folder, ROWS))) as made:
        yield made


@pytest.fixture
def desk(served: Program, tmp_path: Path) -> Iterator[Program]:
    """An exported day in ten slices, of which some rows could not be seen yet."""
    made = desk_beside(served, tmp_path)
    made.write_job({"max_lines": 400})
    made.emulated.behave(late_per_mille=3, late_by_s=10**9)
    assert made.call("run", "--no-progress").exit == 0
    yield made
    made.emulated.behave(late_per_mille=0)


def verified(desk: Program, *words: str) -> tuple[int, dict[str, Any]]:
    ended = desk.call("verify", *words, "--json")
    return ended.exit, ended.document


def test_rows_that_came_late_are_found_and_exported_by_the_named_commands(
    served: Program, desk: Program
) -> None:
    """Every slice the service has more lines of is named with a command; after these commands nothing
    disagrees, and the archive is what the service has."""
    before = verified(desk, "--recount")
    assert before[0] == 0
    assert before[1]["slices_recounted"] >= 10
    assert before[1]["slices_uncounted"] == 0
    desk.emulated.behave(late_per_mille=0)
    assert verified(desk)[0] == 0  # nobody is asked
    code, told = verified(desk, "--quick", "--recount")
    assert code == 4
    assert 3 <= len(told["findings"]) < told["slices_recounted"]
    assert all("more lines" in finding["problem"] for finding in told["findings"])
    assert not any(finding["marked"] for finding in told["findings"])
    assert desk.call("gaps").exit == 0  # what stands stays covered
    for finding in told["findings"]:
        assert desk.call(*shlex.split(finding["mend"])[1:], "--no-progress").exit == 0
    code, told = verified(desk, "--recount")
    assert (code, told["findings"]) == (0, [])
    same_rows(desk.archived(), truth(served.folder / "world.toml"))


def test_one_question_covers_many_slices_that_agree(desk: Program) -> None:
    """An archive that agrees is counted as a whole."""
    before = sum(desk.emulated.stats()["requests"].values())
    code, told = verified(desk, "--quick", "--recount")
    assert code == 0
    assert told["slices_recounted"] >= 10
    assert sum(desk.emulated.stats()["requests"].values()) - before <= 3


def test_every_kind_of_damage_is_found_with_its_reason_and_its_mend(desk: Program) -> None:
    """A deleted file, a flipped byte, a truncated file, a row of the ledger removed by hand: each is named,
    and what verify says mends it."""
    desk.emulated.behave(late_per_mille=3, late_by_s=10**9)
    files = sorted((desk.folder / "archive").rglob("*.jsonl"))
    files[0].unlink()
    content = bytearray(files[1].read_bytes())
    content[len(content) // 2] ^= 1
    files[1].write_bytes(content)
    files[2].write_bytes(files[2].read_bytes()[:-200])
    with contextlib.closing(sqlite3.connect(desk.folder / "orchestrator.db")) as ledger, ledger:
        (removed,) = ledger.execute("select id from slices where path = ?", (str(files[3]),)).fetchone()
        ledger.execute("delete from slices where id = ?", (removed,))
    code, told = verified(desk)
    assert code == 4
    problems = {finding["problem"]: finding for finding in told["findings"]}
    assert problems.keys() == {"missing", "digest differs", "size differs", "covered without a slice"}
    assert all(finding["mend"] for finding in told["findings"])
    desk.emulated.behave(late_per_mille=0)
    mends = dict.fromkeys(finding["mend"] for finding in told["findings"])
    for mend in sorted(mends, key=lambda line: "forget" not in line):
        words = shlex.split(mend)[1:]
        assert desk.call(*words, "--yes" if words[0] == "forget" else "--no-progress").exit == 0

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
    made.emulated.behave(late_per_mille=1, late_by_s=10**9)
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
    assert 2 <= len(told["findings"]) < told["slices_recounted"]
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
    assert all(finding["marked"] for finding in told["findings"])
    desk.emulated.behave(late_per_mille=0)
    (mend,) = {finding["mend"] for finding in told["findings"]}
    assert desk.call(*shlex.split(mend)[1:], "--no-progress").exit == 0
    assert verified(desk)[0] == 0


def test_a_sample_reads_the_asked_share_and_says_so(desk: Program) -> None:
    """Every file is looked at; so many as were asked for are read whole, one at least; the answer tells them
    apart for programs and for people."""
    files = len(desk.final_files())
    for percent, read in (("0.5%", 1), ("50%", -(-files // 2)), ("100%", files)):
        code, told = verified(desk, "--sample", percent)
        assert (code, told["findings"], told["files_checked"]) == (0, [], files)
        assert (told["files_read"], told["files_looked_at"]) == (read, files - read)
        assert (told["bytes_checked"] > 0) is True
    assert verified(desk, "--quick")[1]["files_read"] == 0
    assert verified(desk)[1]["files_looked_at"] == 0
    said = desk.call("verify", "--sample", "1%", "--quiet").out
    assert f"{files} files: 1 read whole (" in said
    assert f"{files - 1} only looked at (presence and size): all agree" in said


def test_samples_find_a_flipped_byte_sooner_or_later_and_a_deleted_file_always(desk: Program) -> None:
    """Half of the files each time meets the damaged one soon; what is missing needs no luck."""
    flipped, deleted = desk.final_files()[3:5]
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.chmod(0o644)
    flipped.write_bytes(content)
    seen = set()
    for _ in range(40):
        code, told = verified(desk, "--sample", "50%", "--no-mark")
        problems = [(finding["problem"], finding["path"]) for finding in told["findings"]]
        assert problems in ([], [("digest differs", str(flipped))])
        assert code == (4 if problems else 0)
        seen.add(code)
        if seen == {0, 4}:
            break
    assert seen == {0, 4}  # picked anew each time: sometimes met, sometimes not
    code, told = verified(desk, "--sample", "100%", "--no-mark")
    assert (code, [finding["path"] for finding in told["findings"]]) == (4, [str(flipped)])
    deleted.unlink()
    for _ in range(3):
        code, told = verified(desk, "--sample", "0.5%", "--no-mark")
        assert code == 4
        assert ("missing", str(deleted)) in [(item["problem"], item["path"]) for item in told["findings"]]
        assert told["files_checked"] == told["files_read"] + told["files_looked_at"]


@pytest.mark.parametrize("words", [("--sample", "0%"), ("--sample", "1"), ("--quick", "--sample", "1%")])
def test_a_sample_that_makes_no_sense_is_refused(desk: Program, words: tuple[str, ...]) -> None:
    """No share, a bare number, or a sample of nothing read: exit 2, and one document that says so."""
    code, told = verified(desk, *words)
    assert code == 2
    assert "--sample" in told["error"]["message"]

"""What a person mends with: accept, forget, clean, redo and story, typed against a service over HTTP."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from orchestrator.cli import main
from orchestrator.testing.archive import rows_of
from tests.e2e.conftest import PATIENCE_S
from tests.e2e.proving import (
    DAY,
    DAY_MS,
    PROGRAM,
    Ended,
    Program,
    Rows,
    describe_world,
    desk_beside,
    manifest_is_intact,
    nothing_leaks,
    program,
    same_rows,
    truth,
)

ROWS = 4000
WHOLE = ("--from", DAY[0], "--to", DAY[1])
NIGHT = ("--from", DAY[0], "--to", "2026-01-14T06:00:00Z")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One emulator for all tests of this file, with four thousand rows in one day."""
    folder = tmp_path_factory.mktemp("served")
    with program(folder, "--world", str(describe_world(folder, ROWS))) as made:
        yield made


@pytest.fixture
def desk(served: Program, tmp_path: Path) -> Iterator[Program]:
    """A job file of its own in front of that emulator; nothing exported yet."""
    made = desk_beside(served, tmp_path)
    made.write_job()
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
            child.communicate()


@pytest.fixture(scope="module")
def rows(served: Program) -> Rows:
    """What every whole export of the day holds."""
    return truth(served.folder / "world.toml")


def ask(desk: Program, *arguments: str) -> Ended:
    """One command with a document, in this process: only what may die needs one of its own."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(desk.folder),
        mock.patch.dict(os.environ, desk.environment, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main([*arguments, "--json"])
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return Ended(code, out.getvalue(), err.getvalue())


def ran(desk: Program, *arguments: str) -> Ended:
    """One whole run."""
    return ask(desk, "run", "--no-progress", *arguments)


def ledger(desk: Program) -> list[dict[str, Any]]:
    """Every row of the ledger."""
    found: list[dict[str, Any]] = ask(desk, "manifest").document["rows"]
    return found


def until(holds: Callable[[], object], patience_s: float = 30.0) -> None:
    """Wait for what must come."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.02)


def at_service(desk: Program) -> list[dict[str, Any]]:
    """Every remote task there is, whoever made it."""
    found: list[dict[str, Any]] = desk.emulated._ask("tasks", None)["tasks"]
    return found


def own(desk: Program) -> set[str]:
    """The uuids at the service under a name of this desk's manifest."""
    ended = ask(desk, "manifest")
    prefixes = {
        row["task_name"].rsplit("-", 1)[0] + "-" for row in ended.document["rows"] if row["task_name"]
    }
    return {task["uuid"] for task in at_service(desk) if task["name"].startswith(tuple(prefixes or {"?"}))}


def occupied(desk: Program, folder: str = "archive") -> Path:
    """Somebody else's file where the first slice of the night belongs: one gap that no run mends."""
    first = ask(desk, "plan", *NIGHT).document["jobs"][0]["slices"][0]
    start, end = (first[key].replace("-", "").replace(":", "") for key in ("from", "to"))
    path = desk.folder / folder / "web" / "2026" / "01" / "14" / f"{start}_{end}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("not ours\n", encoding="utf-8")
    return path


def killed_in_the_middle(desk: Program) -> None:
    """A run that dies while its remote tasks run."""
    desk.emulated.behave(run_base_s=8.0)
    child = desk.start("run", "--no-progress")
    until(lambda: len(own_running(desk)) >= 3)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=PATIENCE_S)


def own_running(desk: Program) -> list[dict[str, Any]]:
    """Remote tasks that wait or run at the service."""
    return [task for task in at_service(desk) if task["state"] in ("WAITING", "RUNNING")]


# --- accept


def test_an_accepted_gap_stays_listed_and_no_longer_counts(desk: Program) -> None:
    """`run`, `gaps` and `status` exit 0, the ledger says who signed, and no attempt is spent on it."""
    occupied(desk)
    assert ran(desk, *NIGHT).exit == 7
    (gap,) = ask(desk, "gaps", *NIGHT).document["gaps"]
    assert (gap["reason"], gap["mendable"], gap["accepted"]) == ("path occupied", False, None)
    span = ("--from", gap["from"], "--to", gap["to"])
    done = ask(desk, "accept", "--job", "web", *span, "--reason", "a test file")
    assert done.exit == 0, done.err
    assert [item["accepted"] for item in done.document["accepted"]] == ["a test file"]
    before = desk.emulated.stats()["requests"]["create"]
    again = ran(desk, *NIGHT)
    assert again.exit == 0
    assert again.document["complete"] is True
    assert [item["accepted"] for item in again.document["jobs"][0]["gaps"]] == ["a test file"]
    assert again.document["settled_to"] == NIGHT[3]
    assert desk.emulated.stats()["requests"]["create"] == before
    for command in ("gaps", "status"):
        assert ask(desk, command, *NIGHT).exit == 0
    signed = [row for row in ledger(desk) if row["accepted_by"]]
    assert {(row["slice_start"], row["reason"]) for row in signed} == {(gap["from"], "path occupied")}


def test_only_real_gaps_can_be_accepted(desk: Program) -> None:
    """What was never tried, is stored or not due is told, and alone it is an error."""
    never = ask(desk, "accept", "--job", "web", *WHOLE, "--reason", "why not")
    assert never.exit == 2
    assert "never tried" in never.document["error"]["message"]
    occupied(desk)
    assert ran(desk, *NIGHT).exit == 7
    done = ask(desk, "accept", "--job", "web", *WHOLE, "--reason", "known")
    assert done.exit == 0
    assert {part["why"] for part in done.document["not_gaps"]} == {"stored", "never tried"}
    late = ask(
        desk, "accept", "--job", "web", "--from", "2026-01-14T05:59:30Z", "--to", DAY[1], "--reason", "x"
    )
    assert late.exit == 2
    assert "is stored" in late.document["error"]["message"]
    assert ask(desk, "accept", "--job", "web", *WHOLE, "--reason", " ").exit == 2


def test_the_printed_command_mends_the_gap(desk: Program) -> None:
    """What the end report says can be pasted into a shell as it stands, whatever is in the paths."""
    desk.write_job({"destination": "an archive's place", "to": NIGHT[3]})
    first = occupied(desk, "an archive's place")
    told = desk.call("run", "--no-progress")
    assert told.exit == 7
    (line,) = [line.strip() for line in told.out.splitlines() if line.strip().startswith("mv ")]
    assert line == ask(desk, "gaps").document["gaps"][0]["mend"]
    assert line in desk.call("status").out
    line = line.replace("orchestrator run", f"{shlex.join(PROGRAM)} run --no-progress")
    pasted = subprocess.run(
        line, shell=True, cwd="/", env=desk.environment, capture_output=True, text=True, check=False
    )
    assert pasted.returncode == 0, pasted.stderr
    assert first.with_name(first.name + ".foreign").read_text() == "not ours\n"
    assert rows_of(first).total() > 0


# --- forget


def test_forgetting_drops_coverage_and_leaves_the_files(desk: Program, rows: Rows) -> None:
    """Nobody asked and no --yes: exit 2. With it, a new run exports again and adopts what is alike."""
    assert ran(desk).exit == 0
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in desk.final_files()}
    refused = ask(desk, "forget", "--job", "web")
    assert refused.exit == 2
    assert "--yes" in refused.document["error"]["message"]
    old = {int(row["task_name"].rsplit("-", 1)[1]) for row in ledger(desk)}
    done = ask(desk, "forget", "--job", "web", "--yes")
    assert done.exit == 0, done.err
    assert done.document["slices"] == len(before)
    assert set(done.document["paths"]) == {str(path) for path in before}
    assert done.document["uncovered"] == [{"from": DAY[0], "to": DAY[1]}]
    assert ran(desk).exit == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in desk.final_files()} == before
    same_rows(desk.archived(), rows)
    fresh = [int(row["task_name"].rsplit("-", 1)[1]) for row in ledger(desk)]
    assert min(fresh) > max(old), "numbers are never used again"


def test_a_part_can_be_forgotten_and_is_exported_again(desk: Program, rows: Rows) -> None:
    """Slices go whole; what is forgotten is a gap until the next run, which touches nothing else."""
    assert ran(desk).exit == 0
    kept = {row["slice"]: row["uuid"] for row in ledger(desk) if row["slice_start"] >= "2026-01-14T12"}
    done = ask(desk, "forget", "--job", "web", *NIGHT, "--yes")
    (lost,) = done.document["uncovered"]
    assert (lost["from"], lost["to"] > NIGHT[3]) == (DAY[0], True)
    gaps = ask(desk, "gaps")
    assert gaps.exit == 3
    assert [{"from": gap["from"], "to": gap["to"]} for gap in gaps.document["gaps"]] == [lost]
    assert ran(desk).exit == 0
    found = ledger(desk)
    assert kept.items() <= {row["slice"]: row["uuid"] for row in found}.items()
    same_rows(sum((rows_of(Path(row["path"])) for row in found if row["path"]), Rows()), rows)
    manifest_is_intact(desk)


def test_a_forgotten_name_may_mean_other_records(desk: Program) -> None:
    """A changed job is refused until its name was forgotten. Files of its former life are not overwritten."""
    assert ran(desk, *NIGHT).exit == 0
    before = {path: path.read_bytes() for path in desk.final_files()}
    desk.write_job({"query": "match level:ERROR"})
    changed = ran(desk, *NIGHT)
    assert changed.exit == 2
    assert "forget" in changed.document["error"]["hint"]
    assert "let the old one go with `orchestrator forget --job web`" in changed.err
    assert ask(desk, "forget", "--job", "wbe", "--yes").document["error"]["hint"] == "did you mean web?"
    assert ask(desk, "forget", "--job", "web", "--yes").exit == 0
    assert ran(desk, *NIGHT).exit in (0, 7)
    assert {path: path.read_bytes() for path in before} == before


def test_on_a_terminal_forget_asks(desk: Program) -> None:
    """No is no, and nothing is forgotten; y forgets."""
    assert ran(desk, *NIGHT).exit == 0
    for answer, code in ((b"n\n", 2), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            [*PROGRAM, "forget", "--job", "web"],
            cwd=desk.folder,
            env=desk.environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        os.write(ours, answer)
        out, err = child.communicate(timeout=PATIENCE_S)
        os.close(ours)
        assert child.returncode == code, (out, err)
        assert b"The files stay" in err
    assert ledger(desk) == []


# --- clean


def test_clean_deletes_what_was_let_go_and_nothing_else(
    desk: Program, served: Program, tmp_path: Path
) -> None:
    """Remote tasks of a forgotten run go; those of another manifest and those of stored files stay."""
    (tmp_path / "other").mkdir()
    other = desk_beside(served, tmp_path / "other")
    other.write_job()
    assert ran(other, *NIGHT).exit == 0
    assert ran(desk, *NIGHT).exit == 0
    kept = own(desk) | own(other)
    killed_in_the_middle(desk)
    let_go = {task["uuid"] for task in own_running(desk)}
    later = ("--from", NIGHT[3], "--to", DAY[1])
    done = ask(desk, "forget", "--job", "web", *later, "--yes")
    assert done.exit == 0, done.err
    shown = ask(desk, "clean", "--dry-run")
    assert shown.exit == 0, shown.err
    assert {task["uuid"] for task in shown.document["remote_tasks"]} == let_go
    assert let_go <= {task["uuid"] for task in at_service(desk)}, "a dry run deletes nothing"
    cleaned = ask(desk, "clean")
    assert cleaned.exit == 0, cleaned.err
    assert {task["uuid"] for task in cleaned.document["remote_tasks"] if task["deleted"]} == let_go
    left = {task["uuid"] for task in at_service(desk)}
    assert not left & let_go
    assert kept <= left
    again = ask(desk, "clean")
    assert (again.document["remote_tasks"], again.document["staging"]) == ([], [])
    nothing_leaks(desk, done, shown, cleaned, again)


def test_clean_leaves_what_a_killed_run_goes_on_with(desk: Program, rows: Rows) -> None:
    """Neither the remote tasks nor the fetched bytes of unfinished slices are stale."""
    killed_in_the_middle(desk)
    waiting = {task["uuid"] for task in own_running(desk)}
    assert ask(desk, "clean").document["remote_tasks"] == []
    assert waiting <= {task["uuid"] for task in at_service(desk)}
    desk.emulated.behave(run_base_s=0.1)
    (desk.folder / "archive" / ".orchestrator" / "staging").mkdir(parents=True, exist_ok=True)
    prefix = own_prefix(desk)
    stale = desk.folder / "archive" / ".orchestrator" / "staging" / f"{prefix}999-00000000-0.part"
    theirs = stale.with_name("o-0000000000000000-1-00000000-0.part")
    for path in (stale, theirs):
        path.write_bytes(b"x")
    swept = ask(desk, "clean")
    assert [file["path"] for file in swept.document["staging"]] == [str(stale)]
    assert theirs.exists()
    assert not stale.exists()
    assert ran(desk).exit == 0
    same_rows(desk.archived(), rows)
    assert waiting <= own(desk), "the tasks of the killed run were gone on with"


def own_prefix(desk: Program) -> str:
    """How the names of this manifest's remote tasks begin."""
    return str(ledger(desk)[0]["task_name"]).rsplit("-", 1)[0] + "-"


def test_clean_deletes_a_stray_that_the_manifest_never_heard_of(desk: Program) -> None:
    """A manifest restored from an older copy meets names of its own that it does not know: they enter it
    first, and their numbers are not used again."""
    assert ran(desk, *NIGHT).exit == 0
    copy = (desk.folder / "orchestrator.db").read_bytes()
    known = own(desk)
    assert ran(desk).exit == 0
    strays = own(desk) - known
    assert len(strays) >= 3
    for path in desk.folder.glob("orchestrator.db-*"):
        path.unlink()
    (desk.folder / "orchestrator.db").write_bytes(copy)
    cleaned = ask(desk, "clean")
    assert cleaned.exit == 0, cleaned.err
    assert {task["uuid"] for task in cleaned.document["remote_tasks"]} == strays
    assert own(desk) == known
    highest = max(int(task["name"].rsplit("-", 1)[1]) for task in cleaned.document["remote_tasks"])
    assert ran(desk).exit == 0
    fresh = [int(row["task_name"].rsplit("-", 1)[1]) for row in ledger(desk) if row["uuid"] not in known]
    assert min(fresh) > highest


def test_clean_tells_the_truth_about_what_is_left(desk: Program) -> None:
    """Refused: exit 5, and named; out of reach: exit 3; later all of it goes."""
    killed_in_the_middle(desk)
    assert ask(desk, "forget", "--job", "web", "--yes").exit == 0
    desk.emulated.behave(delete_running="refused")
    refused = ask(desk, "clean")
    assert refused.exit == 5, refused.err
    assert {task["deleted"] for task in refused.document["remote_tasks"]} == {False}
    assert refused.document["error"]["code"] == "refused"
    text = (desk.folder / "jobs.toml").read_text()
    (desk.folder / "jobs.toml").write_text(text.replace(desk.emulated.endpoint, "http://127.0.0.1:9"))
    assert ask(desk, "clean").exit == 3
    (desk.folder / "jobs.toml").write_text(text)
    desk.emulated.behave(delete_running="cancels")
    assert ask(desk, "clean").exit == 0
    assert own_running(desk) == []


# --- redo


def test_a_redo_is_swapped_in_once_verified(desk: Program, rows: Rows) -> None:
    """With a smaller max_lines one file gives way to several; the others are left alone. A redo that dies is
    gone on with by the next run, and until then the old file stands and counts."""
    assert ran(desk).exit == 0
    first, *others = ledger(desk)
    before = {path: path.stat().st_ino for path in desk.final_files()}
    desk.write_job({"max_lines": 500})
    desk.emulated.behave(run_base_s=8.0)
    child = desk.start("redo", "--job", "web", "--slice", first["slice"][:10], "--no-progress")
    until(lambda: own_running(desk))
    locked = ask(desk, "redo", "--job", "web", *NIGHT)
    assert (locked.exit, locked.document["redone"]) == (8, [])
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=PATIENCE_S)
    assert {path: path.stat().st_ino for path in desk.final_files()} == before
    assert ask(desk, "gaps").exit == 0, "covered all the time"
    desk.emulated.behave(run_base_s=0.1)
    went_on = ran(desk)
    assert went_on.exit == 0
    assert not Path(first["path"]).exists()
    after = {path: path.stat().st_ino for path in desk.final_files()}
    assert {row["path"] for row in others} == {str(path) for path in before.keys() & after.keys()}
    assert len(after) > len(before)
    same_rows(desk.archived(), rows)
    told = ask(desk, "story", "jobs.toml", first["slice"])
    assert told.document["slice"]["state"] == "superseded"
    assert "newer" in {item["relation"] for item in told.document["family"]}
    again = ask(desk, "redo", "--job", "web", "--slice", others[0]["slice"], "--no-progress")
    assert again.exit == 0, again.err
    assert [(item["slice"], item["outcome"]) for item in again.document["redone"]] == [
        (others[0]["slice"], "replaced")
    ]
    assert ask(desk, "verify").exit == 0
    manifest_is_intact(desk)
    nothing_leaks(desk, locked, told, again)


def test_a_redo_that_cannot_be_meant_is_refused(desk: Program) -> None:
    """Nothing exported yet, both ways of naming slices at once, none of them, an unknown slice: exit 2."""
    assert ask(desk, "redo", "--job", "web", *NIGHT).exit == 2
    assert not (desk.folder / "orchestrator.db").exists()
    assert ran(desk, *NIGHT).exit == 0
    assert ask(desk, "redo", "--job", "web").exit == 2
    assert ask(desk, "redo", "--job", "web", "--slice", "ffff", *NIGHT).exit == 2
    assert ask(desk, "redo", "--job", "web", "--slice", "zzzz").exit == 2
    later = ask(desk, "redo", "--job", "web", "--from", "2026-01-14T20:00:00Z", "--to", DAY[1])
    assert later.exit == 2
    assert "nothing was exported" in later.document["error"]["message"]


# --- story


def test_a_story_is_found_by_any_of_its_names(desk: Program) -> None:
    """Id, beginning of an id, uuid, name of the remote task: one and the same; what is unknown exits 2."""
    assert ran(desk, *NIGHT).exit == 0
    row = ledger(desk)[0]
    for wanted in (row["slice"], row["slice"][:8], row["uuid"], row["uuid"][:10], row["task_name"]):
        told = ask(desk, "story", "jobs.toml", wanted)
        assert told.exit == 0, told.err
        assert told.document["slice"]["slice"] == row["slice"]
        assert [task["uuid"] for task in told.document["remote_tasks"]] == [row["uuid"]]
        events = [line["event"] for line in told.document["story"]]
        assert events[0] == "planned"
        assert events[-1] == "published"
    unknown = ask(desk, "story", "jobs.toml", row["slice"][:12] + "zzzz")
    assert unknown.exit == 2
    assert row["slice"] in unknown.document["error"]["hint"]
    assert ask(desk, "forget", "--job", "web", "--yes").exit == 0
    ghost = ask(desk, "story", "jobs.toml", row["uuid"])
    assert ghost.exit == 0
    assert [line["event"] for line in ghost.document["story"]][-1] == "forgotten"
    assert "forgotten, only its journal is left" in desk.call("story", row["slice"]).out


# --- one manifest, several jobs


def test_whoever_writes_waits_for_the_lock(desk: Program) -> None:
    """While a run holds the manifest, every command that writes exits 8 and changes nothing."""
    desk.emulated.behave(run_base_s=8.0)
    child = desk.start("run", "--no-progress")
    until(lambda: own_running(desk))
    for arguments in (
        ("clean",),
        ("accept", "--job", "web", *WHOLE, "--reason", "x"),
        ("forget", "--job", "web", "--yes"),
    ):
        ended = ask(desk, *arguments)
        assert (ended.exit, ended.document["error"]["code"]) == (8, "manifest_locked"), arguments
    assert ask(desk, "clean", "--dry-run").exit == 0
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=PATIENCE_S)


def test_each_job_has_its_own_exit_and_stops_nobody_else(desk: Program, served: Program) -> None:
    """One job is refused at once, one has a gap that no run mends; the third is complete, and the worst
    speaks for all."""
    occupied(desk)
    night = truth(served.folder / "world.toml", DAY_MS[0], DAY_MS[0] + 6 * 3_600_000)
    text = (desk.folder / "jobs.toml").read_text()
    job = text[text.index("[[jobs]]") :]
    whole = job.replace('name = "web"', 'name = "whole"')
    refused = whole.replace('"whole"', '"refused"').replace('logstore = "web"', 'logstore = "absent"')
    (desk.folder / "jobs.toml").write_text(text + whole + refused)
    ended = ran(desk, *NIGHT)
    assert ended.exit == 5
    exits = {item["job"]: item["exit"] for item in ended.document["jobs"]}
    assert exits == {"web": 7, "whole": 0, "refused": 5}
    errors = {item["job"]: item["error"] and item["error"]["code"] for item in ended.document["jobs"]}
    assert errors == {"web": None, "whole": None, "refused": "refused"}
    found = sum((rows_of(path) for path in desk.final_files() if "/whole/" in str(path)), Rows())
    same_rows(found, night)
    (gone,) = [item for item in ended.document["jobs"] if item["job"] == "refused"]
    assert gone["remote_tasks_created"] == 0
    assert {gap["mend"] for gap in gone["gaps"]} == {
        f"orchestrator run {desk.folder / 'jobs.toml'} --job refused"
    }

"""The installed command against the emulator over HTTP: exit codes, streams, documents, signals."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import duck
from tests.e2e.conftest import DAY_ROWS, ORCHESTRATOR, Desk, Emulated

FAMILIES = {"create", "describe", "list", "link", "query", "histogram", "delete", "file"}
GAP = {"job", "from", "to", "logstream", "reason", "mendable", "mend", "accepted"}
RUN_JOB = {
    "job",
    "exit",
    "from",
    "to",
    "complete",
    "lines",
    "bytes_fetched",
    "bytes_stored",
    "files",
    "remote_tasks_created",
    "slices",
    "gaps",
}
PLAN_JOB = {
    "job",
    "from",
    "to",
    "lines",
    "slice_count",
    "requests",
    "planning_requests",
    "duration_s",
    "slices",
}
NARROW = ("--from", "2026-01-14T00:00:00Z", "--to", "2026-01-14T06:00:00Z")


def until(holds: Callable[[], bool], patience_s: float = 60.0) -> None:
    """Wait for what must come; looked at often, given up at last."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.02)


def states(desk: Desk) -> dict[str, int]:
    found = desk.call("status", "--json")
    slices: dict[str, int] = json.loads(found.out)["jobs"][0]["slices"]
    return slices


# --- the ordinary way


def test_check_shows_the_resolved_window_and_contacts_nobody(desk: Desk) -> None:
    """`check` works without credentials and without a service behind the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        text = (desk.folder / "jobs.toml").read_text()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (desk.folder / "jobs.toml").write_text(text.replace(desk.emulated.endpoint, endpoint))
        ended = desk.call("check", "--json", BCE_ACCESS_KEY_ID="", BCE_SECRET_ACCESS_KEY="")
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert ended.exit == 0
    (job,) = ended.document["jobs"]
    assert (job["from"], job["to"]) == ("2026-01-14T00:00:00Z", "2026-01-15T00:00:00Z")
    assert sorted(path.name for path in desk.folder.iterdir()) == ["jobs.toml"]


def test_plan_creates_nothing(desk: Desk, emulator: Emulated) -> None:
    """`plan` tells slices, lines and requests; neither a remote task nor a manifest comes of it."""
    before = emulator.stats()["tasks_made"]
    ended = desk.call("plan", "--json")
    assert ended.exit == 0
    (job,) = ended.document["jobs"]
    assert set(job) >= PLAN_JOB
    assert job["lines"] == DAY_ROWS
    assert job["slice_count"] == len(job["slices"]) >= 4
    assert {"from", "to", "logstream", "lines"} <= set(job["slices"][0])
    assert job["planning_requests"] > 0
    assert emulator.stats()["tasks_made"] == before
    assert sorted(path.name for path in desk.folder.iterdir()) == ["jobs.toml"]


def test_run_makes_the_coverage_true_and_a_second_run_has_nothing_to_do(
    desk: Desk, emulator: Emulated
) -> None:
    """The first run stores every line; the second one creates no remote task and fetches no byte."""
    first = desk.call("run", "--json", "--no-progress", "--report", "report.json")
    assert first.exit == 0
    document = first.document
    assert set(document["requests"]) >= FAMILIES
    (job,) = document["jobs"]
    assert set(job) >= RUN_JOB
    assert (document["complete"], document["settled_to"]) == (True, "2026-01-15T00:00:00Z")
    assert (job["lines"], len(desk.rows())) == (DAY_ROWS, DAY_ROWS)
    assert job["files"] == len(desk.files()) == job["remote_tasks_created"] == job["slices"]["done"]
    assert json.loads((desk.folder / "report.json").read_text()) == document
    before = emulator.stats()
    second = desk.call("run", "--json", "--no-progress").document
    assert (
        second["exit"],
        second["jobs"][0]["remote_tasks_created"],
        second["jobs"][0]["bytes_fetched"],
    ) == (0, 0, 0)
    assert second["requests"]["create"] == second["requests"]["file"] == 0
    assert emulator.stats()["bytes_served"] == before["bytes_served"]
    assert emulator.stats()["tasks_made"] == before["tasks_made"]


def test_readers_tell_the_same_story(exported: Desk) -> None:
    """status, gaps, verify, manifest and story agree with each other about a complete export."""
    status = exported.call("status", "--json")
    assert status.exit == 0
    (job,) = status.document["jobs"]
    assert (job["covered_percent"], job["lines"], job["failures"]) == (100.0, DAY_ROWS, 0)
    assert status.document["run"] is None
    assert exported.call("gaps", "--json").document["gaps"] == []
    verified = exported.call("verify", "--json", "--quiet").document
    assert (verified["exit"], verified["findings"], verified["files_checked"]) == (
        0,
        [],
        len(exported.files()),
    )
    rows = exported.call("manifest", "--json").document["rows"]
    lines = [json.loads(line) for line in exported.call("manifest", "--format", "jsonl").out.splitlines()]
    assert rows == lines
    assert sum(row["stored_rows"] for row in rows) == DAY_ROWS
    assert all(row["served_rows"] - row["dropped_rows"] == row["stored_rows"] for row in rows)
    by_prefix = exported.call("story", rows[0]["slice"][:8], "--json").document
    by_uuid = exported.call("story", "jobs.toml", rows[0]["uuid"], "--json").document
    assert by_prefix == by_uuid
    assert by_prefix["story"][-1]["event"] == "published"


def test_what_a_person_reads_has_both_times(exported: Desk) -> None:
    """Windows are printed in the job's timezone and in UTC; results go to stdout only."""
    text = (exported.folder / "jobs.toml").read_text()
    (exported.folder / "shanghai.toml").write_text(text + 'timezone = "Asia/Shanghai"\n')
    ended = exported.call("status", "shanghai.toml")
    assert "2026-01-14 08:00:00+08:00" in ended.out
    assert "2026-01-14T00:00:00Z" in ended.out
    assert ended.err == ""


def test_the_ledger_is_written_to_a_file_whole(exported: Desk, tmp_path: Path) -> None:
    """-o writes a file that sha256sum can check; a folder that does not exist is a storage error."""
    sums = tmp_path / "sums"
    assert exported.call("manifest", "--format", "sha256sums", "-o", str(sums)).exit == 0
    checked = subprocess.run(["sha256sum", "-c", "--quiet", str(sums)], check=False, capture_output=True)
    assert checked.returncode == 0
    assert len(sums.read_text().splitlines()) == len(exported.files())
    assert exported.call("manifest", "-o", str(tmp_path / "no" / "sums")).exit == 6
    assert [path.name for path in tmp_path.iterdir()] == ["sums"]


def test_the_ledger_as_parquet_is_the_ledger(exported: Desk, tmp_path: Path) -> None:
    """Into a file or a pipe, the same rows as in lines of JSON."""
    place = tmp_path / "ledger.parquet"
    assert exported.call("manifest", "--format", "parquet", "-o", str(place)).exit == 0
    rows = [json.loads(row) for row in exported.call("manifest", "--format", "jsonl").out.splitlines()]
    found = duck.asked(f"select uuid, stored_rows, path from '{place}'")
    assert found == [[row["uuid"], row["stored_rows"], row["path"]] for row in rows]
    piped = subprocess.run(
        [*ORCHESTRATOR, "manifest", "--format", "parquet"],
        cwd=exported.folder,
        env=exported.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert piped.stdout == place.read_bytes()


def test_a_reader_that_leaves_is_no_failure(exported: Desk) -> None:
    """`manifest --format jsonl | head -1` ends cleanly and says nothing."""
    child = exported.start("manifest", "--format", "jsonl")
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    _, err = child.communicate()
    assert (child.returncode, err) == (0, "")


def test_an_asked_window_speaks_for_itself(desk: Desk) -> None:
    """--from and --to narrow the run, its exit and its completeness; the rest stays a gap of the whole."""
    assert desk.call("run", "--no-progress", *NARROW).exit == 0
    assert desk.call("gaps", *NARROW).exit == 0
    whole = desk.call("gaps", "--json")
    assert whole.exit == 3
    (gap,) = whole.document["gaps"]
    assert set(gap) == GAP
    assert (gap["from"], gap["reason"], gap["mendable"]) == ("2026-01-14T06:00:00Z", "not exported yet", True)
    assert whole.document["settled_to"] == "2026-01-14T06:00:00Z"
    outside = desk.call("run", "--from", "2025-12-31", "--json")
    assert (outside.exit, outside.document["error"]["code"]) == (2, "usage")


# --- refusals


def test_wrong_credentials_are_refused_with_code_and_request_id(desk: Desk) -> None:
    """Exit 5, the service's code and request id, and the secret nowhere: not on screen, not in a file."""
    secret = "wrong-secret-that-nobody-may-see"
    ended = desk.call("run", "--json", "--verbose", "--no-progress", BCE_SECRET_ACCESS_KEY=secret)
    assert ended.exit == 5
    error = ended.document["error"]
    assert error["code"] == "refused"
    assert "SignatureDoesNotMatch" in error["message"]
    assert error["request_id"]
    assert error["request_id"] in ended.err
    kept = b"".join(path.read_bytes() for path in desk.folder.rglob("*") if path.is_file())
    assert secret not in ended.out + ended.err
    assert secret.encode() not in kept
    assert "Traceback" not in ended.err


def test_missing_credentials_are_named(desk: Desk) -> None:
    """Without any key the run says which variables to set, and makes no request."""
    ended = desk.call("run", "--json", BCE_ACCESS_KEY_ID="", BCE_SECRET_ACCESS_KEY="")
    assert (ended.exit, ended.document["error"]["code"]) == (5, "credentials")
    assert "BCE_SECRET_ACCESS_KEY, or" in ended.document["error"]["hint"]
    assert "BCE_SECRET_ACCESS_KEY, or" in ended.err


def test_a_verbose_run_shows_no_secret_and_no_link(desk: Desk, emulator: Emulated) -> None:
    """Everything a run leaves behind is free of the key and of presigned links."""
    ended = desk.call("run", "--verbose", "--log-format", "json", "--no-progress")
    assert ended.exit == 0
    assert all(json.loads(line)["event"] for line in ended.err.splitlines())
    places = [path for path in desk.folder.rglob("*") if path.is_file() and "archive" not in path.parts]
    kept = b"".join(path.read_bytes() for path in places)
    for hidden in (emulator.credentials["BCE_SECRET_ACCESS_KEY"], "bce-auth-v1/", "authorization="):
        assert hidden not in ended.out + ended.err
        assert hidden.encode() not in kept


def test_an_unreachable_service_asks_for_another_run(desk: Desk) -> None:
    """Nothing listens: exit 3, a document, and one clear block."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        text = (desk.folder / "jobs.toml").read_text()
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (desk.folder / "jobs.toml").write_text(text.replace(desk.emulated.endpoint, endpoint))
        ended = desk.call("run", "--json", "--no-progress")
    assert (ended.exit, ended.document["error"]["code"]) == (3, "unreachable")
    assert "error: " in ended.err


def test_a_bad_job_file_shows_all_complaints_and_contacts_nobody(desk: Desk) -> None:
    """Two mistakes, two lines; run and check say the same; nothing is created."""
    desk.write_jobs(job='compression = "rar"\nmax_line = 3\n')
    for command in ("check", "run", "status", "manifest"):
        ended = desk.call(command, "--json", BCE_ACCESS_KEY_ID="", BCE_SECRET_ACCESS_KEY="")
        assert (ended.exit, ended.document["error"]["code"]) == (2, "job_file")
        complaints = ended.document["error"]["complaints"]
        assert len(complaints) == 2
        assert all(complaint in ended.err.splitlines() for complaint in complaints)
    assert sorted(path.name for path in desk.folder.iterdir()) == ["jobs.toml"]


@pytest.mark.parametrize(
    "words",
    [["run", "--wait", "soon"], ["run", "--max-lines", "0"], ["run", "--nonsense"], ["status", "--job"]],
)
def test_a_mistyped_line_is_exit_2_with_a_document(desk: Desk, words: list[str]) -> None:
    """Also a command line that cannot be read answers in JSON when JSON was asked for."""
    ended = desk.call(words[0], "--json", *words[1:])
    assert (ended.exit, ended.document["error"]["code"]) == (2, "usage")


def test_unknown_commands_and_jobs_are_explained(desk: Desk) -> None:
    """A wrong word is answered with the nearest right one."""
    assert "run" in desk.call("rum").err
    ended = desk.call("plan", "--job", "wep", "--json")
    assert (ended.exit, ended.document["error"]["hint"]) == (2, "did you mean web?")


def test_a_full_disk_stops_cleanly(desk: Desk) -> None:
    """Less free than disk_reserve: exit 6, nothing published, and the next run completes."""
    desk.write_jobs(limits='disk_reserve = "900TB"')
    ended = desk.call("run", "--json", "--no-progress")
    assert (ended.exit, ended.document["error"]["code"]) == (6, "disk_full")
    assert desk.files() == []
    desk.write_jobs()
    again = desk.call("run", "--json", "--no-progress")
    assert again.exit == 0
    assert again.document["jobs"][0]["remote_tasks_created"] <= 1
    assert len(desk.rows()) == DAY_ROWS


def test_a_file_that_may_not_grow_is_a_full_disk(desk: Desk) -> None:
    """What the operating system refuses to write ends the run with exit 6 and without a traceback."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    child = subprocess.run(
        [*ORCHESTRATOR, "run", "--json", "--no-progress"],
        cwd=desk.folder,
        env=desk.environment,
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 6
    assert json.loads(child.stdout)["error"]["code"] in ("disk_full", "storage")
    assert "Traceback" not in child.stderr
    assert desk.call("run", "--no-progress").exit == 0
    assert len(desk.rows()) == DAY_ROWS


# --- one writer


def test_two_runs_at_once_are_one_too_many(desk: Desk, emulator: Emulated) -> None:
    """The second run exits 8 and names the first; --wait lets it wait its turn; readers never wait."""
    emulator.behave(run_base_s=2.0)
    first = desk.start("run", "--no-progress")
    until(lambda: (desk.folder / "orchestrator.db").exists())
    first.send_signal(signal.SIGSTOP)  # it holds the manifest for as long as the others take
    second = desk.call("run", "--json", "--no-progress")
    assert (second.exit, second.document["error"]["code"]) == (8, "manifest_locked")
    assert str(first.pid) in second.document["error"]["message"]
    assert json.loads(desk.call("status", "--json").out)["run"]["pid"] == first.pid
    first.send_signal(signal.SIGCONT)
    third = desk.call("run", "--json", "--no-progress", "--wait", "1m")
    assert (third.exit, third.document["jobs"][0]["remote_tasks_created"]) == (0, 0)
    assert desk.end(first).exit == 0


# --- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_a_further_run_completes(
    desk: Desk, emulator: Emulated, number: signal.Signals
) -> None:
    """Exit 130 with a whole document; then every line is there once, and no remote task was made twice."""
    emulator.behave(run_base_s=4.0)
    before = emulator.stats()["tasks_made"]
    child = desk.start("run", "--json", "--no-progress")
    until(lambda: emulator.stats()["tasks_made"] > before)
    child.send_signal(number)
    ended = desk.end(child)
    assert ended.exit == 130
    assert ended.document["jobs"][0]["complete"] is False
    emulator.reset()
    again = desk.call("run", "--json", "--no-progress")
    assert again.exit == 0
    assert len(desk.rows()) == DAY_ROWS
    made = emulator.stats()["tasks_made"] - before
    assert made == again.document["jobs"][0]["files"]
    assert emulator.stats()["duplicate_names_live"] == []


def test_the_second_signal_ends_at_once(desk: Desk, emulator: Emulated) -> None:
    """A drain that takes long is cut short; the next run goes on all the same."""
    emulator.behave(run_base_s=60.0, latency_s=8.0, latency_jitter=0.0)
    child = desk.start("run", "--json", "--no-progress")
    assert child.stderr is not None
    line = child.stderr.readline()
    assert "run.started" in line
    child.send_signal(signal.SIGINT)
    while "run.draining" not in line:
        line = child.stderr.readline()
        assert line, "it ended before it drained"
    child.send_signal(signal.SIGINT)
    sent_at = time.monotonic()
    ended = desk.end(child)
    assert ended.exit == 130
    assert time.monotonic() - sent_at < 4.0
    emulator.reset()
    assert desk.call("run", "--no-progress").exit == 0
    assert len(desk.rows()) == DAY_ROWS


def test_a_killed_run_is_resumed(desk: Desk, emulator: Emulated) -> None:
    """SIGKILL in the middle loses no line, stores none twice, and leaves no file half done under its name."""
    desk.write_jobs(limits='disk_reserve = "1MB"\ndownloads = 1')
    emulator.behave(file_bytes_per_s=1_500_000.0)
    child = desk.start("run", "--no-progress")
    until(lambda: len(desk.files()) >= 1)
    child.kill()
    desk.end(child)
    held = {path: path.stat().st_ino for path in desk.files()}
    emulator.reset()
    assert desk.call("run", "--no-progress").exit == 0
    rows = desk.rows()
    assert (len(rows), len(set(rows))) == (DAY_ROWS, DAY_ROWS)
    assert all(path.stat().st_ino == inode for path, inode in held.items())
    assert emulator.stats()["duplicate_names_live"] == []


def test_budgets_drain_early_and_are_no_interruption(desk: Desk) -> None:
    """--max-lines stops once enough is stored: exit 3, and what is stored stays."""
    desk.write_jobs(limits='disk_reserve = "1MB"\ndownloads = 1\ntasks = 1')
    ended = desk.call("run", "--json", "--no-progress", "--max-lines", "1_000")
    assert ended.exit == 3
    stored = ended.document["jobs"][0]["lines"]
    assert 1_000 <= stored < DAY_ROWS
    assert len(desk.rows()) == stored


def test_max_duration_drains(desk: Desk, emulator: Emulated) -> None:
    """A run that may take a second takes about a second, though the service takes a minute."""
    emulator.behave(run_base_s=60.0)
    begun = time.monotonic()
    ended = desk.call("run", "--json", "--no-progress", "--max-duration", "1s")
    assert ended.exit == 3
    assert time.monotonic() - begun < 20.0


# --- damage


def test_damage_is_found_marked_and_mended(desk: Desk) -> None:
    """`verify` exits 4 on a changed file; --no-mark changes nothing; the run after a marking mends it."""
    assert desk.call("run", "--no-progress").exit == 0
    intact = desk.rows()
    victim = desk.files()[0]
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)
    assert desk.call("verify", "--quick", "--quiet").exit == 0
    looked = desk.call("verify", "--no-mark", "--json", "--quiet")
    assert (looked.exit, looked.document["findings"][0]["problem"]) == (4, "digest differs")
    assert desk.call("gaps").exit == 0
    marked = desk.call("verify", "--json", "--quiet").document["findings"][0]
    assert marked["marked"] is True
    (gap,) = desk.call("gaps", "--json").document["gaps"]
    assert (gap["reason"], gap["mendable"]) == ("damaged", True)
    assert desk.call("run", "--no-progress").exit == 0
    assert desk.rows() == intact
    assert desk.call("verify", "--quiet").exit == 0


# --- the rest of the face


def test_init_writes_a_file_that_check_accepts(desk: Desk) -> None:
    """Without a terminal nothing is asked; what exists is left alone; odd names are quoted."""
    ended = desk.call("init", "new.toml", "--region", "gz", "--logstore", "web", "--destination", 'o"u t')
    assert ended.exit == 0
    (job,) = desk.call("check", "new.toml", "--json").document["jobs"]
    assert job["destination"] == str(desk.folder / 'o"u t')
    assert job["endpoint"] == "https://bls-log.gz.baidubce.com"
    again = desk.call("init", "new.toml")
    assert again.exit == 2
    assert "--force" in again.err
    assert desk.call("init", "new.toml", "--force").exit == 0


def test_emulate_says_when_its_port_is_taken(desk: Desk) -> None:
    """One clear block and exit 6, not a traceback."""
    port = desk.emulated.endpoint.rpartition(":")[2]
    ended = desk.call("emulate", "--port", port)
    assert ended.exit == 6
    assert f"127.0.0.1:{port}" in ended.err


def test_emulate_serves_records_from_a_file(desk: Desk, exported: Desk) -> None:
    """What was exported can be loaded, served and exported again, line by line the same."""
    (desk.folder / "again.jsonl").write_text("\n".join(exported.rows()[:500]) + "\n", encoding="utf-8")
    child = desk.start("emulate", "--port", "0", "--load", "again.jsonl")
    assert child.stdout is not None
    endpoint = child.stdout.readline().partition("=")[2].strip()
    text = (desk.folder / "jobs.toml").read_text().replace(desk.emulated.endpoint, endpoint)
    (desk.folder / "jobs.toml").write_text(text.replace('logstore = "web"', 'logstore = "again"'))
    ended = desk.call("run", "--json", "--no-progress")
    assert (ended.exit, ended.document["jobs"][0]["lines"]) == (0, 500)
    child.send_signal(signal.SIGINT)
    assert desk.end(child).exit == 0


def test_a_terminal_sees_the_run_go_on_and_stdout_stays_clean(desk: Desk, emulator: Emulated) -> None:
    """The live view is drawn on stderr only, and only there when stderr is a terminal."""
    emulator.behave(run_base_s=1.5)
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*ORCHESTRATOR, "run", "--json"],
        cwd=desk.folder,
        env={**desk.environment, "TERM": "xterm", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    desk.children.append(child)
    os.close(theirs)
    drawn = b""
    while child.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                drawn += os.read(ours, 65_536)
            except OSError:  # the other side is gone
                break
    os.close(ours)
    out, _ = child.communicate()
    assert child.returncode == 0
    assert json.loads(out)["exit"] == 0
    assert b"slices" in drawn
    assert b"at the service" in drawn
    assert b"\x1b[32m" not in drawn, "NO_COLOR is set"


def test_a_defect_leaves_one_line_and_a_traceback_in_the_log_file(desk: Desk) -> None:
    """What nobody foresaw exits 1, names the log file, and shows no traceback on screen."""
    program = (
        "import sys, orchestrator.cli.checking as c\n"
        "def broken(*a, **k): raise ZeroDivisionError('unforeseen')\n"
        "c.load = broken\n"
        "from orchestrator.cli import main\n"
        "sys.exit(main(['status', '--json', '--manifest', 'm.db']))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        cwd=desk.folder,
        env={**desk.environment, "TMPDIR": str(desk.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1
    assert json.loads(child.stdout)["error"]["code"] == "bug"
    assert "Traceback" not in child.stderr
    assert "orchestrator.log" in child.stderr
    assert "ZeroDivisionError: unforeseen" in (desk.folder / "orchestrator.log").read_text()


def test_the_module_is_the_command(desk: Desk) -> None:
    """`python -m orchestrator` is the same program."""
    child = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--version"], capture_output=True, text=True, check=True
    )
    assert child.stdout == desk.call("--version").out

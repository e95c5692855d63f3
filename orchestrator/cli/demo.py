"""What does the demo show? An export killed in the middle and resumed, proved complete, on this machine
alone.

Everything it runs is the ordinary program: the emulator, the exports and the verification are child processes
started from the same command line a person would type. What it tells is read from the manifest and from their
JSON documents, never assumed.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.app.reading import manifest_to_read
from orchestrator.cli.ending import Stage
from orchestrator.cli.print import bytes_text, print_table
from orchestrator.core.model import SliceState
from orchestrator.core.window import iso_utc
from orchestrator.errors import ExitCode, OrchestratorError, UsageError
from orchestrator.ports.store import JobCounts
from orchestrator.settings import environment

__all__ = ["demonstrate"]

JOB = "web-access"
LINES = 3_200_000
MAX_LINES_PER_SLICE = 500_000
PATIENCE_S = 110.0
POLL_S = 0.05
MARK = "# Written by `orchestrator demo`; a further demo in this folder begins anew."

WORLD = f"""\
{MARK}
seed = 14

[behaviour]                       # of the emulated service: each remote task takes a second or two
run_base_s = 1.0
run_per_line_s = 0.000_002

[[logstores]]
name    = "{JOB}"
start   = 2026-01-14T00:00:00Z
end     = 2026-01-15T00:00:00Z
density = {{ kind = "uniform", rows_per_day = {LINES} }}
"""


def _job_file(endpoint: str) -> str:
    return f"""\
{MARK}
[service]
endpoint = "{endpoint}"           # the emulator; a real one is reached by region = "bj"

[limits]
downloads = 2
disk_reserve = "200MB"

[[jobs]]
name      = "{JOB}"
logstore  = "{JOB}"
from      = 2026-01-14T00:00:00Z
to        = 2026-01-15T00:00:00Z
max_lines = {MAX_LINES_PER_SLICE}            # small slices, so that there is a middle to be killed in
destination = "archive"
output    = "jsonl"
compression = "gzip"
"""


@dataclass(frozen=True, slots=True)
class _Place:
    """The demo's folder and the command lines that work in it."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs.toml"

    @property
    def manifest(self) -> Path:
        return self.folder / "orchestrator.db"

    def command(self, name: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", name, str(self.jobs), *options]


def demonstrate(stage: Stage, folder: str) -> int:
    """Show the whole way and exit 0 only when every step held. Raises UsageError for a folder that holds
    something else, OrchestratorError when a step did not hold."""
    started = time.monotonic()
    place = _emptied(Path(folder).absolute())
    out = stage.out
    out.line(f"The demo works in {place}. No account, no network.")
    (place / "world.toml").write_text(WORLD, encoding="utf-8")
    with _emulator(place) as found:
        here = _Place(place, _children_see(found))
        here.jobs.write_text(_job_file(found["BLS_ENDPOINT"]), encoding="utf-8")
        out.line(
            f"An emulator of the log service holds {LINES:,} lines of one day ({found['BLS_ENDPOINT']})."
        )
        _say(stage, "\nExporting them, and killing the export in the middle with SIGKILL …")
        before = _killed_in_the_middle(here)
        done = before.slices.get(SliceState.DONE, 0)
        total = sum(before.slices.values())
        out.line(f"  killed: {done} of {total} slices were stored and proved, {before.lines:,} lines")
        _say(stage, "Running the same command again …")
        second = _document(here, "run", "--json", "--no-progress", "--quiet")
        _expect_success(second, "the second run", here)
        job = second["jobs"][0]
        out.line(
            f"  complete: {job['lines']:,} lines in {job['files']} files;"
            f" it made {job['remote_tasks_created']} new remote tasks and fetched"
            f" {bytes_text(job['bytes_fetched'])}, nothing of what was stored before"
        )
        _expect(job["lines"] == LINES, f"{job['lines']:,} lines stored, {LINES:,} exist", here)
        checked = _document(here, "verify", "--json", "--quiet")
        _expect_success(checked, "verify", here)
        out.line(f"Verified: {checked['files_checked']} files read and compared with the ledger, all agree.")
        third = _document(here, "run", "--json", "--no-progress", "--quiet")
        _expect_success(third, "the third run", here)
        _expect(
            third["requests"]["create"] == 0 and third["requests"]["file"] == 0,
            "a run after a complete one created or fetched something",
            here,
        )
        out.line("A third run found nothing to do: 0 remote tasks created, 0 bytes fetched.")
        seen = _seen_by_the_emulator(found["BLS_ENDPOINT"])
        made, twice = seen["tasks_made"], seen["duplicate_names_ever"]
        _expect(made == job["files"] and not twice, f"{made} remote tasks for {job['files']} files", here)
        out.line(f"The emulator agrees: {made} remote tasks were made for {made} slices, none twice.")
    out.line("\nThe ledger:")
    asyncio.run(_show_ledger(stage, here))
    _say_how_to_go_on(stage, here, found)
    out.line(f"\nThat took {time.monotonic() - started:.0f} s.")
    return ExitCode.COMPLETE


def _say(stage: Stage, text: str) -> None:
    """What is read while waiting must be there while waiting."""
    stage.out.line(text)
    stage.out.flush()


def _emptied(folder: Path) -> Path:
    """The folder, without what an earlier demo left. One that holds anything else is not touched."""
    jobs = folder / "jobs.toml"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        ours = jobs.is_file() and jobs.read_text(encoding="utf-8", errors="replace").startswith(MARK)
        world = folder / "world.toml"
        ours = ours or (world.is_file() and world.read_text("utf-8", "replace").startswith(MARK))
        if not ours:
            raise UsageError(f"{folder} holds something that is no demo", hint="name another folder")
        shutil.rmtree(folder / "archive", ignore_errors=True)
        for old in folder.glob("orchestrator.*"):
            old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _emulator(folder: Path) -> Iterator[dict[str, str]]:
    """The emulator as a child process on a free port; gives what it printed: its endpoint and credentials."""
    command = [sys.executable, "-m", "orchestrator", "emulate", "--port", "0"]
    with (folder / "emulator.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603  our own program
            [*command, "--world", str(folder / "world.toml")],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            found: dict[str, str] = {}
            assert child.stdout is not None  # noqa: S101  a pipe was asked for
            while len(found) < 3:
                line = child.stdout.readline()
                if not line:
                    raise OrchestratorError(f"the emulator ended at once; see {log.name}")
                name, _, value = line.strip().removeprefix("export ").partition("=")
                found[name] = shlex.split(value)[0]
            yield found
        finally:
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _children_see(found: Mapping[str, str]) -> dict[str, str]:
    """The environment of the exports: the emulator's credentials and nothing of the user's own."""
    kept = {
        name: value
        for name, value in environment().items()
        if not name.startswith(("BCE_", "ORCHESTRATOR_")) and name.lower() != "no_proxy"
    }
    return {**kept, **found, "NO_PROXY": "127.0.0.1"}


def _killed_in_the_middle(here: _Place) -> JobCounts:
    """Start the export and SIGKILL it once one slice is stored and another is not; what the manifest then
    holds."""
    with (here.folder / "first-run.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603  our own program
            here.command("run", "--no-progress"),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=here.environment,
        )
        try:
            give_up_at = time.monotonic() + PATIENCE_S
            while time.monotonic() < give_up_at:
                if child.poll() is not None:
                    ended = f"the export ended with exit {child.returncode} before it could be killed"
                    raise OrchestratorError(f"{ended}; see {log.name}")
                if _in_the_middle(asyncio.run(_counts(here))):
                    break
                time.sleep(POLL_S)
        finally:
            child.kill()
            child.wait()
    return asyncio.run(_counts(here))


async def _counts(here: _Place) -> JobCounts:
    async with manifest_to_read(str(here.manifest)) as manifest:
        return await manifest.counts(JOB)


def _in_the_middle(counts: JobCounts) -> bool:
    done = counts.slices.get(SliceState.DONE, 0)
    return 1 <= done < sum(counts.slices.values())


def _document(here: _Place, name: str, *options: str) -> dict[str, Any]:
    """What a command says in JSON; its log lines go to a file in the folder."""
    with (here.folder / f"{name}.log").open("ab") as log:
        ended = subprocess.run(  # noqa: S603  our own program
            here.command(name, *options),
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=here.environment,
            timeout=PATIENCE_S,
            check=False,
        )
    try:
        document: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        raise OrchestratorError(f"`{name}` ended with exit {ended.returncode}; see {log.name}") from None
    return document


def _seen_by_the_emulator(endpoint: str) -> dict[str, Any]:
    """The other side's count of what it was asked for."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{endpoint}/_emulator/stats", timeout=PATIENCE_S) as answer:
        stats: dict[str, Any] = json.load(answer)
    return stats


def _expect_success(document: Mapping[str, Any], what: str, here: _Place) -> None:
    why = document["error"]["message"] if document["error"] else "see what it left open"
    _expect(document["exit"] == 0, f"{what} ended with exit {document['exit']}: {why}", here)


def _expect(held: bool, otherwise: str, here: _Place) -> None:
    if not held:
        raise OrchestratorError(f"the demo did not hold: {otherwise}; the logs are in {here.folder}")


async def _show_ledger(stage: Stage, here: _Place) -> None:
    async with manifest_to_read(str(here.manifest)) as manifest:
        rows = [
            (
                f"{iso_utc(row.slice_start)[11:19]} to {iso_utc(row.slice_end)[11:19]}",
                row.state,
                row.stored_rows,
                row.evidence,
                (row.stored_sha256 or "-")[:12],
                row.uuid,
                str(Path(row.path).relative_to(here.folder)) if row.path else None,
            )
            async for row in manifest.ledger()
        ]
    head = ("14 January, UTC", "state", "lines", "evidence", "sha256", "remote task", "file")
    print_table(stage.out, head, rows, right=(2,))


def _say_how_to_go_on(stage: Stage, here: _Place, found: Mapping[str, str]) -> None:
    port = found["BLS_ENDPOINT"].rpartition(":")[2]
    folder = shlex.quote(str(here.folder))
    out = stage.out
    out.line(f"\nThe files are in {here.folder / 'archive'}, the ledger is {here.manifest}.")
    out.line("To go on by hand, start the emulator again in one terminal:")
    out.line(f"  orchestrator emulate --port {port} --world {folder}/world.toml")
    out.line("and in another one:")
    for name in ("BCE_ACCESS_KEY_ID", "BCE_SECRET_ACCESS_KEY"):
        out.line(f"  export {name}={shlex.quote(found[name])}")
    out.line(f"  cd {folder}")
    out.line("  orchestrator status; orchestrator gaps; orchestrator verify; orchestrator run")

"""What an export must hold, found out without the exporter: truth, archived rows, what was left behind."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.testing import archive
from orchestrator.testing.archive import Rows
from tests.e2e.conftest import PATIENCE_S, Desk, Emulated, Ended

PROGRAM = (sys.executable, "-m", "orchestrator")
DAY = ("2026-01-14T00:00:00Z", "2026-01-15T00:00:00Z")
DAY_MS = (1_768_348_800_000, 1_768_435_200_000)
HIDDEN = ("bce-auth-v1", "authorization=", "ticket=")
"""Signatures, presigned links and gateway tickets: none of them belongs into anything we leave."""


def describe_world(
    folder: Path, rows: int, behaviour: Mapping[str, object] = MappingProxyType({}), *, seed: int = 11
) -> Path:
    """A world file: the logstore ``web`` with so many evenly spread rows in one day."""
    switches = {"run_base_s": 0.1, "run_per_line_s": 0.0, **behaviour}
    written = "\n".join(f"{name} = {json.dumps(value)}" for name, value in switches.items())
    path = folder / "world.toml"
    path.write_text(
        f"seed = {seed}\n[behaviour]\n{written}\n[[logstores]]\n"
        f'name = "web"\nstart = {DAY[0]}\nend = {DAY[1]}\n'
        f'density = {{ kind = "uniform", rows_per_day = {rows} }}\n',
        encoding="utf-8",
    )
    return path


def truth(world: Path, start_ms: int = DAY_MS[0], end_ms: int = DAY_MS[1]) -> Rows:
    """Every row of the logstore ``web`` in the window, straight from the world and not over HTTP."""
    return archive.truth(world, project="default", logstore="web", start_ms=start_ms, end_ms=end_ms)


class Program(Desk):
    """The desk of the other end-to-end tests, with ``python -m orchestrator`` on it."""

    preparation: Callable[[], None] | None = None
    """What a child does before it becomes the program: limits on it."""
    made_before = 0
    """How many remote tasks the service had made before this desk was set up."""

    def write_job(self, keys: Mapping[str, object] = MappingProxyType({}), *, limits: str = "") -> None:
        """The job ``web`` over one day. Planning is not held back by the ceiling on requests."""
        job = {
            "name": "web",
            "logstore": "web",
            "from": DAY[0],
            "to": DAY[1],
            "max_lines": 1000,
            "destination": "archive",
            **keys,
        }
        text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in job.items())
        reserve = "" if "disk_reserve" in limits else 'disk_reserve = "1MB"'
        (self.folder / "jobs.toml").write_text(
            f'[service]\nendpoint = "{self.emulated.endpoint}"\n'
            f"[limits]\n{reserve}\nrequests_per_second = 500\n{limits}\n[[jobs]]\n{text}\n",
            encoding="utf-8",
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=self.preparation,
            text=True,
        )
        self.children.append(child)
        return child

    def run(self, *arguments: str, **environment: str) -> Ended:
        """One whole run with a document; fails on a traceback."""
        ended = self.end(self.start("run", "--json", "--no-progress", *arguments, **environment))
        assert "Traceback" not in ended.err, ended.err
        return ended

    def ledger(self) -> list[dict[str, Any]]:
        """Every row of the ledger; none while there is no manifest."""
        if not (self.folder / "orchestrator.db").exists():
            return []
        ended = self.call("manifest", "--format", "jsonl")
        assert ended.exit == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]

    def final_files(self) -> list[Path]:
        """Every file of the archive that stands under a final name."""
        return archive.final_files(self.folder / "archive")

    def archived(self) -> Rows:
        """Every row under a final name."""
        return sum((archive.rows_of(path) for path in self.final_files()), Rows())


def desk_beside(served: Program, folder: Path) -> Program:
    """Another desk in front of the same emulator, whose switches are put back."""
    served.emulated.reset()
    served.emulated.behave(run_base_s=0.1)
    desk = Program(folder, served.emulated, served.environment, served.children)
    desk.made_before = served.emulated.stats()["tasks_made"]
    return desk


@contextmanager
def program(folder: Path, *emulate: str) -> Iterator[Program]:
    """``python -m orchestrator emulate`` with these options, and a desk in front of it."""
    child = subprocess.Popen(
        [*PROGRAM, "emulate", "--port", "0", *emulate],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    desk: Program | None = None
    try:
        desk = Program(folder, _emulated(child), {})
        desk.environment = {**os.environ, **desk.emulated.credentials}
        desk.write_job()
        yield desk
    finally:
        for other in desk.children if desk else ():
            if other.poll() is None:
                other.kill()
            other.communicate()
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0, said
    assert "Traceback" not in said, said


def _emulated(child: subprocess.Popen[str]) -> Emulated:
    assert child.stdout is not None
    found = {}
    for _ in range(3):
        line = child.stdout.readline()
        assert line, f"the emulator did not start: {child.communicate()[1]}"
        name, _, value = line.strip().removeprefix("export ").partition("=")
        found[name] = shlex.split(value)[0]
    return Emulated(found.pop("BLS_ENDPOINT"), found)


# --- rows


def same_rows(found: Rows, expected: Rows) -> None:
    """Fails with numbers and a sample, not with a diff of a hundred thousand rows."""
    missing, surplus = expected - found, found - expected
    assert not missing, f"{missing.total()} rows missing, such as {archive.sample(missing)}"
    assert not surplus, f"{surplus.total()} rows too many, such as {archive.sample(surplus)}"


# --- what is left behind


def nothing_leaks(desk: Program, *ended: Ended, also: Sequence[str] = ()) -> None:
    """No key, link or ticket on stdout or stderr, in the log, the manifest, or the job's folder, and no
    traceback outside of the exported rows."""
    hidden = (*HIDDEN, desk.emulated.credentials["BCE_SECRET_ACCESS_KEY"], *also)
    for number, one in enumerate(ended):
        for word in (*hidden, "Traceback"):
            assert word not in one.out + one.err, f"{word!r} in the output of command {number}"
    for path in desk.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            rows = "archive" in path.relative_to(desk.folder).parts
            for word in hidden if rows else (*hidden, "Traceback"):
                assert word.encode() not in content, f"{word!r} in {path.relative_to(desk.folder)}"


def manifest_is_intact(desk: Program) -> None:
    """SQLite itself finds nothing wrong."""
    with sqlite3.connect(f"file:{desk.folder / 'orchestrator.db'}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    connection.close()


def only_verified_files(desk: Program, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every file under a final name is whole and is the one whose digest the ledger holds; every file of a
    done slice is there. ``rows`` is the ledger."""
    found = {(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in desk.final_files()}
    known = {(row["path"], row["stored_sha256"]) for row in rows if row["path"]}
    assert found <= known, f"not of the ledger: {sorted(path for path, _ in found - known)}"
    done = {(row["path"], row["stored_sha256"]) for row in rows if row["state"] == "done" and row["path"]}
    assert done <= found, f"done, but not there: {sorted(path for path, _ in done - found)}"


def sums_agree(desk: Program) -> None:
    """``sha256sum --check`` agrees with the ledger's checksums."""
    sums = desk.call("manifest", "--format", "sha256sums").out
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", "-"] if sums else ["true"],
        input=sums,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def nothing_left_to_do(desk: Program) -> None:
    """One more run creates no remote task and fetches no byte."""
    before = desk.emulated.stats()
    again = desk.run()
    after = desk.emulated.stats()
    assert again.exit == 0
    (job,) = again.document["jobs"]
    assert (job["remote_tasks_created"], job["bytes_fetched"]) == (0, 0)
    assert after["requests"].get("create", 0) == before["requests"].get("create", 0)
    assert after["bytes_served"] == before["bytes_served"]


@dataclass(frozen=True)
class Tasks:
    """Remote tasks as service and ledger tell of them."""

    made: int
    slices: int
    posts: int
    heard: int
    """Creates whose answer reached the caller."""

    @property
    def adopted(self) -> int:
        """Made without an answer, and found again."""
        return self.made - self.heard


def each_slice_one_task(desk: Program, ledger: Sequence[Mapping[str, Any]]) -> Tasks:
    """As many remote tasks as slices, no name twice, and the ledger knows every one by its uuid."""
    stats = desk.emulated.stats()
    rows = [row for row in ledger if row["uuid"]]
    slices = len({row["slice"] for row in rows})
    assert not stats["duplicate_names_live"], stats["duplicate_names_live"]
    assert not stats["duplicate_names_ever"], stats["duplicate_names_ever"]
    assert len({row["uuid"] for row in rows}) == len(rows), "a uuid stands in the ledger twice"
    made = stats["tasks_made"] - desk.made_before
    assert made == len(rows) == slices, (
        f"{made} remote tasks made, {len(rows)} in the ledger, {slices} slices"
    )
    heard = stats["statuses"].get("create 201", 0)
    return Tasks(made, slices, stats["requests"]["create"], heard)

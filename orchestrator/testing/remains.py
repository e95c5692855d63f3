"""What did a process leave behind? The manifest of an export that nobody runs, read with plain SQL from a
copy.

The copy is what makes it a look and not a touch: a reader of the original might recover its journal, and then
the next run would not meet what the dead one left.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.window import Window, WindowSet

__all__ = ["KnownTask", "Remains", "read_remains"]

_SETTLED = ("done", "empty", "cut")


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A remote task whose uuid the manifest holds. ``wanted`` means that a settled slice stands on it."""

    name: str
    surplus: bool
    deleted: bool
    wanted: bool


@dataclass(frozen=True, slots=True)
class Remains:
    """``names`` are those of all intents, ``tasks`` the remote tasks by uuid, ``files`` every path with the
    digest it was meant to have, ``leaves`` the windows of slices that no other slice took over, with the rows
    stored for them. ``findings`` say what contradicts itself."""

    manifest_id: str = ""
    names: frozenset[str] = frozenset()
    tasks: Mapping[str, KnownTask] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    coverage: WindowSet = ()
    leaves: tuple[tuple[Window, int], ...] = ()
    files: frozenset[tuple[str, str]] = frozenset()
    stored: frozenset[tuple[str, str]] = frozenset()
    findings: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """How the names of this manifest's remote tasks begin."""
        return f"o-{self.manifest_id}-"

    @property
    def covered_s(self) -> int:
        """How many seconds are covered."""
        return sum(window.end_s - window.start_s for window in self.coverage)


def read_remains(manifest: Path, job: str) -> Remains:
    """What the manifest holds of ``job``; nothing when no process came as far as making one."""
    if not manifest.exists():
        return Remains()
    with tempfile.TemporaryDirectory() as folder:
        for path in manifest.parent.glob(f"{manifest.name}*"):
            if not path.name.endswith((".lock", "-shm")):
                shutil.copy(path, Path(folder) / path.name)
        with closing(sqlite3.connect(Path(folder) / manifest.name)) as connection:
            connection.row_factory = sqlite3.Row
            if connection.execute("SELECT name FROM sqlite_master WHERE name = 'slices'").fetchone() is None:
                return Remains()
            return _read(connection, job)


def _read(connection: sqlite3.Connection, job: str) -> Remains:
    findings = [str(row[0]) for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
    findings += [f"{row[0]} refers to no {row[2]}" for row in connection.execute("PRAGMA foreign_key_check")]
    slices = connection.execute(
        "SELECT s.* FROM slices s JOIN jobs j ON j.key = s.job WHERE j.name = ?", (job,)
    ).fetchall()
    rows = connection.execute(
        "SELECT t.* FROM remote_tasks t JOIN jobs j ON j.key = t.job WHERE j.name = ?", (job,)
    ).fetchall()
    coverage = connection.execute(
        "SELECT c.start_s, c.end_s FROM coverage c JOIN jobs j ON j.key = c.job WHERE j.name = ?"
        " ORDER BY c.start_s",
        (job,),
    ).fetchall()
    wanted = {row["task_uuid"] for row in slices if row["state"] in _SETTLED and row["task_uuid"]}
    uuids = [row["uuid"] for row in rows if row["uuid"]]
    findings += [f"{uuid} stands twice" for uuid, count in Counter(uuids).items() if count > 1]
    return Remains(
        manifest_id=str(connection.execute("SELECT value FROM meta WHERE key = 'manifest_id'").fetchone()[0]),
        names=frozenset(row["name"] for row in rows),
        tasks={
            row["uuid"]: KnownTask(
                row["name"], bool(row["surplus"]), bool(row["deleted"]), row["uuid"] in wanted
            )
            for row in rows
            if row["uuid"]
        },
        states=Counter(row["state"] for row in slices),
        coverage=tuple(Window(row[0], row[1]) for row in coverage),
        leaves=tuple(
            (Window(row["start_s"], row["end_s"]), row["stored_rows"] or 0)
            for row in slices
            if row["state"] in ("done", "empty")
        ),
        files=frozenset(
            pair
            for row in slices
            for pair in (
                (row["path"], row["stored_sha256"]),
                (row["published_path"], row["published_sha256"]),
            )
            if pair[0] and pair[1]
        ),
        stored=frozenset(
            (row["path"], row["stored_sha256"]) for row in slices if row["state"] == "done" and row["path"]
        ),
        findings=tuple(findings),
    )

"""Which promises does an episode break: about rows, about files, about remote tasks, about bytes?"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import orjson

from orchestrator.core.window import Window, subtract
from orchestrator.emulator.world import World
from tests.crash.scripted import Deliveries, made_uuids

__all__ = ["Debt", "Ledger", "debts", "left_behind", "read_ledger", "safe_bytes", "unaccounted", "unsettled"]


@dataclass(frozen=True)
class Ledger:
    """What a manifest says about slices and remote tasks, read as anybody with SQLite would."""

    slices: tuple[dict[str, object], ...] = ()
    uuids: frozenset[str] = frozenset()
    surplus: frozenset[str] = frozenset()
    """Let go, and not known to be deleted."""
    deleted: int = 0
    """How many were let go and deleted."""

    def of(self, *states: str) -> list[dict[str, object]]:
        return [row for row in self.slices if row["state"] in states]


def read_ledger(connection: sqlite3.Connection) -> Ledger:
    """The committed state of a manifest."""
    found = connection.execute("select * from slices")
    names = [column[0] for column in found.description]
    slices = tuple(dict(zip(names, tuple(row), strict=True)) for row in found.fetchall())
    tasks = [tuple(row) for row in connection.execute("select uuid, surplus, deleted from remote_tasks")]
    return Ledger(
        slices,
        frozenset(uuid for uuid, _, _ in tasks if uuid),
        frozenset(uuid for uuid, surplus, deleted in tasks if uuid and surplus and not deleted),
        sum(1 for uuid, surplus, deleted in tasks if uuid and surplus and deleted),
    )


@lru_cache(4096)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unaccounted(files: dict[str, bytes], ledger: Ledger, foreign: Iterable[str] = ()) -> list[str]:
    """What is wrong between the visible files (full path to content) and the manifest, at any instant.

    Every file under a final name is whole and is the manifest's: the published file of a slice, or the one a
    slice that settles is about to have. Every file the manifest calls published stands, unless its slice is
    just replacing it.
    """
    found = []
    owed: dict[str, set[str]] = {}
    for row in ledger.slices:
        if row["published_path"]:
            owed.setdefault(str(row["published_path"]), set()).add(str(row["published_sha256"]))
        if row["state"] == "settling" and row["staged_path"]:
            owed.setdefault(str(row["path"]), set()).add(str(row["stored_sha256"]))
    strangers = set(foreign)
    for path, content in files.items():
        if path in strangers:
            continue
        if path not in owed:
            found.append(f"{path} is nobody's")
        elif _digest(content) not in owed[path]:
            found.append(f"{path} is not what the manifest says")
    for row in ledger.slices:
        path = str(row["published_path"])
        replacing = row["state"] == "settling" or (
            row["state"] in ("cut", "superseded") and _stands_elsewhere(row, ledger)
        )
        if path and not replacing and _digest(files.get(path, b"")) != row["published_sha256"]:
            found.append(f"{row['state']} slice {row['id']}: its file {path} does not stand")
        if row["state"] == "done" and not path:
            found.append(f"done slice {row['id']} has no file")
    return found


def _stands_elsewhere(row: dict[str, object], ledger: Ledger) -> bool:
    """Whether the window of a divided slice is stored by others."""
    stored = [Window(int(str(r["start_s"])), int(str(r["end_s"]))) for r in ledger.of("done", "empty")]
    return not subtract((Window(int(str(row["start_s"])), int(str(row["end_s"]))),), stored)


def unsettled(files: dict[str, bytes], ledger: Ledger) -> list[str]:
    """What is missing for slices to go on without a fetch: of each one that has a receipt, the staged file or
    the published one must be whole. ``files`` holds staging and final names."""
    found = []
    for row in ledger.of("settling", "transferring", "failed"):
        if not row["staged_path"]:
            continue
        if row["state"] == "failed" and row["reason"] != "path occupied":
            continue
        stands = [files.get(str(row["staged_path"])), files.get(str(row["path"]))]
        if not any(content is not None and _digest(content) == row["stored_sha256"] for content in stands):
            found.append(f"{row['state']} slice {row['id']}: neither staged nor published bytes stand")
    return found


@dataclass
class Debt:
    """What must not be fetched again after one death: safe bytes and bytes served so far, by attempt key. One
    remote task's file has more than one key only where it is to be fetched anew on purpose."""

    safe: dict[str, int] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)


def safe_bytes(staging: Path, ledger: Ledger, served: Counter[str]) -> dict[str, int]:
    """How many bytes of each attempt's file are verified and kept: all once a receipt was committed or
    recorded, the recorded offset before."""
    safe = {
        sidecar.name.removesuffix(".part.json"): _kept_bytes(sidecar)
        for sidecar in staging.glob("*.part.json")
    }
    for row in ledger.of("done", "settling"):
        if row["task_uuid"] and row["staged_path"]:
            key = os.path.basename(str(row["staged_path"])).removesuffix(".staged")
            safe[key] = served[key]
    return safe


def _kept_bytes(sidecar: Path) -> int:
    record = orjson.loads(sidecar.read_bytes())
    part = sidecar.with_name(sidecar.name.removesuffix(".json"))
    staged = sidecar.with_name(sidecar.name.removesuffix(".part.json") + ".staged")
    size = int(record["offset_bytes"])
    whole = record["receipt"] is not None and staged.exists()
    return size if whole or any(p.exists() and p.stat().st_size >= size for p in (part, staged)) else 0


def debts(deliveries: Deliveries, deaths: Iterable[Debt]) -> list[str]:
    """Bytes that were fetched again although they were verified and kept (P2). Each life may fetch what was
    not safe when it began; what was safe once stays safe."""
    found = []
    safest: Counter[str] = Counter()
    for death, following in pairwise([*deaths, Debt(served=deliveries.served)]):
        for key, safe in death.safe.items():
            safest[key] = max(safest[key], safe)
        for key, safe in safest.items():
            again = following.served[key] - death.served[key]
            size = deliveries.sizes.get(key, 0)
            if again > max(0, size - safe) and key not in deliveries.useless:
                found.append(f"{again} bytes of {key} came after {safe} of {size} were safe")
    return found


def left_behind(world: World, ledger: Ledger) -> list[str]:
    """What is wrong at the service once all is done: twins alive, remote tasks of ours that nobody knows or
    wants."""
    found = []
    if twins := world.witness.live_duplicate_names():
        found.append(f"twins alive: {twins}")
    if unknown := set(made_uuids(world)) - ledger.uuids:
        found.append(f"remote tasks that the manifest does not know: {sorted(unknown)}")
    own = {row["task_uuid"] for row in ledger.slices if row["task_uuid"]}
    if orphans := [task.request.name for task in world.tasks.tasks() if task.uuid not in own]:
        found.append(f"orphans: {orphans}")
    if ledger.surplus:
        found.append(f"{len(ledger.surplus)} surplus remote tasks were not deleted")
    return found


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by full path, staging too."""
    return {
        os.path.join(at, name): Path(at, name).read_bytes()
        for at, _, names in os.walk(folder)
        for name in names
    }

"""An export whose manifest is a real file, and every disk it may leave behind when the power goes."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import orjson

from orchestrator.errors import OrchestratorError
from orchestrator.manifest.store import SqliteManifest, open_writer
from orchestrator.ports.control import Boundary
from orchestrator.ports.store import Changes
from orchestrator.testing.disklog import DiskLog, Marked, Moved, Named, Wrote
from orchestrator.testing.episode import Life
from orchestrator.testing.loop import START_AT
from orchestrator.testing.oswatch import OsWatch
from orchestrator.testing.powerloss import WORST, Fate, Unsure, walk
from orchestrator.testing.sqlitewatch import SqliteWatch
from tests.crash.reckoning import Ledger, read_ledger, unaccounted, unsettled
from tests.crash.ring import STORIES, Ring

__all__ = [
    "Outage",
    "PowerRing",
    "Tally",
    "file_complaints",
    "manifest_complaints",
    "moments",
]

T = TypeVar("T")

CHECKPOINT_PAGES = 60
"""SQLite copies its log into the database after so many pages, here some times per life, else after 1000."""
EVERYTHING = WORST[1]


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits: a virtual loop's executors work inline."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("it waited")


@dataclass(frozen=True)
class State:
    """The manifest after one commit: a digest of all it says, and the part that files are held against."""

    fingerprint: str
    ledger: Ledger


def fingerprint(connection: sqlite3.Connection) -> str:
    """A digest of every row of every table."""
    digest = hashlib.sha256()
    tables = connection.execute(
        "select name from sqlite_schema where type = 'table' order by name"
    ).fetchall()
    for (table,) in map(tuple, tables):
        digest.update(f"\n{table}\n".encode())
        for row in sorted(repr(tuple(row)) for row in connection.execute(f"select * from {table}")):
            digest.update(row.encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Begun:
    """A commit was handed to SQLite; it would be this state."""

    state: int


@dataclass(frozen=True)
class Acked:
    """It was acknowledged."""

    state: int


class _OnDisk:
    """What ``MemoryManifest`` is to an episode, as a file that the product's own opener opens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: AbstractAsyncContextManager[SqliteManifest] | None = None
        self._connection: sqlite3.Connection

    def reopen(self, boundary: Boundary | None) -> SqliteManifest:
        self._open = writer(self.path, boundary)
        manifest = at_once(self._open.__aenter__())  # type: ignore[arg-type]
        self._connection = manifest._source.connection  # type: ignore[attr-defined]
        self._connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        return manifest

    async def close(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            with suppress(OrchestratorError):  # a dead process cannot write what closing would
                await opened.__aexit__(None, None, None)


def writer(path: Path, boundary: Boundary | None = None) -> AbstractAsyncContextManager[SqliteManifest]:
    """The product's opener; a manifest made twice is the same twice."""
    return open_writer(path, now=lambda: START_AT, new_id=lambda: "ab" * 8, boundary=boundary)


@dataclass(frozen=True)
class Outage:
    """The end of a life in one chapter, once so many steps were logged: the power goes and takes what
    ``fate`` says; without a fate only the process dies, and the system keeps what it was given."""

    chapter: int
    steps: int
    fate: Fate | None = None


class PowerRing(Ring):
    """A story with its manifest on disk. ``outages`` say when the power goes."""

    def __init__(self, story: str, root: Path, outages: Sequence[Outage] = ()) -> None:
        root.mkdir(parents=True)
        self.root = root.resolve()
        super().__init__(STORIES[story], root / "archive")
        self.manifest.close()
        self.manifest = self.kept = _OnDisk(self.root / "manifest.db")  # type: ignore[assignment]
        self.logs: list[DiskLog] = []
        self.states: list[State] = []
        self._acked: int | None = None
        self._outages = sorted(outages, key=lambda outage: (outage.chapter, outage.steps))

    # --- recording ---

    def _log(self) -> DiskLog:
        log = DiskLog(str(self.root))
        if hasattr(self, "logs"):
            self.logs.append(log)
        return log

    def _furnish(self, *args: Any) -> Any:
        known = self._acked
        if known is None:
            self.disk.mark(Begun(0))
        made = super()._furnish(*args)
        if known is None or self._state().fingerprint != self.states[known].fingerprint:
            # The first one; or what a dead process wrote and never synced: a commit that was not acknowledged
            # and becomes certain with the next one.
            self.states.append(self._state())
            self.disk.mark(Begun(len(self.states) - 1))
        if known is None:
            self.disk.mark(Acked(0))
            self._acked = 0
        return made

    def _state(self) -> State:
        connection = self.kept._connection
        return State(fingerprint(connection), read_ledger(connection))

    async def _leave(self) -> None:
        await self.kept.close()

    def about(self, changes: Changes) -> None:
        super().about(changes)
        self.disk.mark(Begun(len(self.states)))

    def committed(self) -> None:
        self.states.append(self._state())
        self._acked = len(self.states) - 1
        self.disk.mark(Acked(self._acked))

    def _watched(self, crash_at: int | None) -> Life:
        due = bool(self._outages) and self._outages[0].chapter == len(self.reports)
        outage = self._outages.pop(0) if due else None

        def dies(name: str) -> bool:
            return outage is not None and name.startswith("disk.") and len(self.disk.ops) >= outage.steps

        with SqliteWatch(self.disk, self.reached), OsWatch(self.disk, self.reached):
            try:
                life = self.live(1 if outage else None, counts=dies)
            except OrchestratorError:  # of opening the manifest, which nobody turns into a report
                if not self._plan.dead:
                    raise
                life = Life(None, None, (), 0.0, Counter())
                self.lives.append(life)
        if not self._plan.dead:
            self._compare()
            return life
        if outage is not None and outage.fate is not None:
            self._lose(outage.fate)
        return replace(life, report=None)

    def _compare(self) -> None:
        """The log tells the whole story, or what is concluded from it is worth nothing."""
        recorded, found = last(self.disk).disk(EVERYTHING).files, DiskLog(str(self.root)).first_files
        assert recorded.keys() == found.keys()
        assert recorded == found

    def _lose(self, fate: Fate) -> None:
        disk = last(self.disk).disk(fate)
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        disk.write(str(self.root), str(self.root))
        self.folder.mkdir(exist_ok=True)
        self.disk = self._log()

    def ledger(self) -> Ledger:
        """What the file says now, read from a copy: reading a manifest in WAL may write."""
        copy = self.root.with_name(self.root.name + "-copy")
        copy.mkdir()
        try:
            for path in self.root.glob("manifest.db*"):
                if not path.name.endswith("-shm"):
                    shutil.copy(path, copy)
            connection = sqlite3.connect(copy / "manifest.db")
            try:
                has = connection.execute(
                    "select count(*) from sqlite_schema where name = 'slices'"
                ).fetchone()[0]
                return read_ledger(connection) if has else Ledger()
            finally:
                connection.close()
        finally:
            shutil.rmtree(copy)


# --- what may be left at any moment ---


@dataclass(frozen=True)
class Moment:
    """After so many steps of a log: the disk, and what the manifest may say. The first of ``states`` was
    acknowledged; each further one was begun, and one that a dead process left unsynced may be among them.
    Without an acknowledged one there may be no manifest yet."""

    steps: int
    unsure: Unsure
    states: tuple[State, ...]
    founded: bool
    """Whether a manifest was ever acknowledged."""
    touched: bool
    """Whether the last step concerned what was asked for."""


def moments(ring: PowerRing, chapter: int, mine: Callable[[str], bool]) -> Iterator[Moment]:
    """Every moment of a chapter. ``mine`` says which paths matter; marks always do."""
    log = ring.logs[chapter]
    marks = [op.label for earlier in ring.logs[:chapter] for op in earlier.ops if isinstance(op, Marked)]
    acked = max((label.state for label in marks if isinstance(label, Acked)), default=-1)
    begun = max((label.state for label in marks if isinstance(label, Begun | Acked)), default=-1)
    paths = {number: path for path, number in log.first_numbers.items()}
    for steps, unsure in walk(log):
        op = log.ops[steps - 1] if steps else None
        match op:
            case Marked(label=Begun(state=number)):
                begun = number
            case Marked(label=Acked(state=number)):
                acked = begun = number
            case Named() | Moved():
                paths[op.file] = op.path if isinstance(op, Named) else op.target
        path = getattr(op, "path", None) or paths.get(getattr(op, "file", 0), ring.disk.root)
        touched = op is None or isinstance(op, Marked) or mine(path)
        yield Moment(steps, unsure, tuple(ring.states[max(acked, 0) : begun + 1]), acked >= 0, touched)


@dataclass
class Tally:
    """What was tried and what was found."""

    moments: int = 0
    states: int = 0
    broken: list[str] = field(default_factory=list)


def file_complaints(ring: PowerRing, chapter: int, fates: Sequence[Fate], tally: Tally) -> None:
    """Hold every disk that may be left against the manifest: as acknowledged, and as begun."""
    archive = str(ring.folder)
    staging = os.path.join(archive, ".orchestrator")
    log = ring.logs[chapter]
    bodies = _bodies(log)
    foreign = [path for path, content in log.first_files.items() if content.startswith(b"somebody")]
    for moment in moments(ring, chapter, lambda path: path.startswith(archive)):
        if not moment.touched:
            continue
        tally.moments += 1
        for fate in fates:
            tally.states += 1
            files = moment.unsure.disk(_seeded(fate, moment.steps)).files
            visible = {
                path: content
                for path, content in files.items()
                if path.startswith(archive) and not path.startswith(staging)
            }
            found = _bad_parts(files, bodies)
            for state in moment.states:
                found += unaccounted(visible, state.ledger, foreign) + unsettled(files, state.ledger)
            tally.broken += [f"chapter {chapter}, step {moment.steps}, {fate}: {what}" for what in found]


def _seeded(fate: Fate, steps: int) -> Fate:
    return Fate(fate.names, fate.bytes, fate.seed * 1_000_003 + steps)


def _bodies(log: DiskLog) -> dict[str, bytes]:
    """The longest content each part file ever had: what a resumed one must be a beginning of."""
    live = {number: log.first_files[path] for path, number in log.first_numbers.items()}
    names = {number: path for path, number in log.first_numbers.items() if path.endswith(".part")}
    longest = {path: live[number] for number, path in names.items()}
    for op in log.ops:
        if isinstance(op, Named) and op.path.endswith(".part"):
            names[op.file], live[op.file] = op.path, b""
        elif isinstance(op, Wrote) and op.file in names:
            live[op.file] = live[op.file][: op.at_bytes] + op.content
            path = names[op.file]
            if len(live[op.file]) > len(longest.get(path, b"")):
                longest[path] = live[op.file]
    return longest


def _bad_parts(files: dict[str, bytes], bodies: dict[str, bytes]) -> list[str]:
    """What a next transfer would believe and must not: a recorded prefix with other bytes, a recorded receipt
    whose artifact has the size but not the bytes."""
    found = []
    for path, content in files.items():
        if not path.endswith(".part.json"):
            continue
        record = orjson.loads(content)
        part, staged = path.removesuffix(".json"), path.removesuffix(".part.json") + ".staged"
        size, held = record["offset_bytes"], files.get(part)
        proves_itself = bool(record["sha256"])  # a part whose digest is recorded is held against it
        wrong = held is not None and len(held) >= size and held[:size] != bodies.get(part, b"")[:size]
        if wrong and not proves_itself:
            found.append(f"{part}: the first {size} bytes are not what was fetched")
        receipt, held = record["receipt"], files.get(staged)
        believed = receipt is not None and held is not None and len(held) == receipt["stored_bytes"]
        if believed and hashlib.sha256(held or b"").hexdigest() != receipt["stored_sha256"]:
            found.append(f"{staged} is not what its receipt says")
    return found


async def manifest_complaints(
    ring: PowerRing, chapter: int, fates: Sequence[Fate], scratch: Path, tally: Tally, *, every: int = 1
) -> None:
    """Open every manifest that may be left with the product's own opener: it must open, and hold what was
    acknowledged, or the one commit that was under way as well, and nothing else."""
    manifest = str(ring.kept.path)
    tried: set[tuple[object, ...]] = set()
    for moment in moments(ring, chapter, lambda path: path.startswith(manifest)):
        if not moment.touched:
            continue
        tally.moments += 1
        for number, fate in enumerate(fates):
            if (moment.steps + number) % every:
                continue
            disk = moment.unsure.disk(_seeded(fate, moment.steps))
            left = {path: content for path, content in disk.files.items() if path.startswith(manifest)}
            allowed = frozenset(state.fingerprint for state in moment.states)
            key = (allowed, moment.founded, *left.items())
            if key in tried:
                continue
            tried.add(key)
            tally.states += 1
            told = await _opened(left, manifest, scratch)
            if told not in allowed and (moment.founded or told != ring.states[0].fingerprint):
                tally.broken.append(f"chapter {chapter}, step {moment.steps}, {fate}: {_word(ring, told)}")


async def _opened(files: dict[str, bytes], manifest: str, scratch: Path) -> str:
    """The fingerprint of a rebuilt manifest, or what its opening raised."""
    scratch.mkdir()
    try:
        for path, content in files.items():
            scratch.joinpath("manifest.db" + path.removeprefix(manifest)).write_bytes(content)
        async with writer(scratch / "manifest.db") as opened:
            return await opened._ask(fingerprint)
    except OrchestratorError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(scratch)


def _word(ring: PowerRing, told: str) -> str:
    known = [number for number, state in enumerate(ring.states) if state.fingerprint == told]
    return f"state {known[0]} is back" if known else told


def last(log: DiskLog) -> Unsure:
    """The end of a log."""
    *_, (_, unsure) = walk(log)
    return unsure

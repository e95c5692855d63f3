"""The manifest's doors: one writer thread with every commit durable, readers beside it, and a twin in memory.

    open_writer(path)  → SqliteManifest      the caller holds ``ManifestLock``; the file is made or migrated
    open_reader(path)  → SqliteReader | None None when there is no manifest yet; nothing is created
    open_memory()      → MemoryManifest      for simulations: survives a crash of whoever used it

Every statement runs in an executor of one thread, so the event loop never waits for the disk and commits keep
their order.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from orchestrator.core.job import JobIdentity
from orchestrator.core.model import RemoteTask, Slice, SliceState
from orchestrator.core.window import Window, WindowSet
from orchestrator.errors import StorageError
from orchestrator.manifest import apply, read
from orchestrator.manifest.connection import (
    ReadOnly,
    Standing,
    connect_memory,
    connect_writer,
    make,
    schema_version,
)
from orchestrator.manifest.failures import as_storage_errors
from orchestrator.manifest.ledger import BEFORE_ALL_S, LedgerPage, ledger_page
from orchestrator.manifest.migrate import bring_up_to_date, refuse_newer
from orchestrator.manifest.named import Migration, migrations
from orchestrator.manifest.telling import Telling
from orchestrator.manifest.written import Written
from orchestrator.ports.control import Boundary
from orchestrator.ports.store import (
    Acceptance,
    Changes,
    Forgotten,
    JobCounts,
    LedgerRow,
    ManifestReader,
    ManifestWriter,
    SliceIds,
)

__all__ = ["MemoryManifest", "SqliteManifest", "SqliteReader", "open_memory", "open_reader", "open_writer"]

T = TypeVar("T")


class _Source(Protocol):
    def run(self, work: Callable[[sqlite3.Connection], T]) -> T: ...

    def close(self) -> None: ...


class _Writable:
    """The writer's own connection; what it reads is what it has committed."""

    def __init__(self, connection: sqlite3.Connection, place: str, standing: Standing | None = None) -> None:
        self.connection = connection
        self._place = place
        self._standing = standing

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with as_storage_errors(self._place):
            answer = work(self.connection)
            if self._standing is not None:  # only now: what was written may count
                self._standing.check()
            return answer

    def close(self) -> None:
        with as_storage_errors(self._place):
            self.connection.close()


class _NoBoundary:
    def reached(self, name: str) -> None:
        """Production: nothing happens here."""


class SqliteReader(Telling):
    """A ``ManifestReader``. Answers are what was committed when they were asked for."""

    def __init__(self, source: _Source, manifest_id: str, executor: ThreadPoolExecutor) -> None:
        self._source = source
        self._manifest_id = manifest_id
        self._executor = executor
        self._closed = False

    @property
    def manifest_id(self) -> str:
        return self._manifest_id

    async def next_number(self) -> int:
        return await self._ask(read.next_number)

    async def job_identity(self, job: str) -> JobIdentity | None:
        return await self._ask(lambda connection: read.job_identity(connection, job))

    async def slice(self, slice_id: str) -> Slice | None:
        return await self._ask(lambda connection: read.one_slice(connection, slice_id))

    async def live(self, job: str) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.live(connection, job))

    async def unfinished(
        self, job: str, window: Window | None = None, logstream: str | None = None
    ) -> WindowSet:
        return await self._ask(lambda connection: read.unfinished(connection, job, window, logstream))

    async def slices(
        self,
        job: str,
        states: Sequence[SliceState],
        *,
        window: Window | None = None,
        limit: int = 1000,
        after: str = "",
    ) -> tuple[Slice, ...]:
        return await self._ask(
            lambda connection: read.slices(connection, job, states, window=window, limit=limit, after=after)
        )

    async def admissible(
        self, job: str, now: float, limit: int, *, without: SliceIds = (), whole_end: int = 0
    ) -> tuple[Slice, ...]:
        return await self._ask(
            lambda connection: read.admissible(
                connection, job, now, limit, without=without, whole_end=whole_end
            )
        )

    async def surplus(self, job: str) -> tuple[RemoteTask, ...]:
        return await self._ask(lambda connection: read.surplus(connection, job))

    async def waited(self, job: str) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.waited(connection, job))

    async def parts(self, whole: str) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.parts(connection, whole))

    async def divided(self, job: str, window: Window) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.divided(connection, job, window))

    async def holding(self, job: str) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.holding(connection, job))

    async def next_due_at(self, job: str) -> float | None:
        return await self._ask(lambda connection: read.next_due_at(connection, job))

    async def coverage(self, job: str, logstream: str = "*") -> WindowSet:
        return await self._ask(lambda connection: read.coverage(connection, job, logstream))

    async def counts(self, job: str) -> JobCounts:
        return await self._ask(lambda connection: read.counts(connection, job))

    async def totals(self, job: str, window: Window) -> JobCounts:
        return await self._ask(lambda connection: read.totals(connection, job, window))

    async def jobs(self) -> tuple[str, ...]:
        return await self._ask(read.jobs)

    async def by_uuid(self, uuid: str) -> Slice | None:
        return await self._ask(lambda connection: read.by_uuid(connection, uuid))

    async def ledger(self, jobs: Sequence[str] = ()) -> AsyncIterator[LedgerRow]:
        """Page after page: no cursor stays open, so a long export neither holds up the writer nor its
        write-ahead log."""
        wanted = set(jobs)
        for job in await self.jobs():
            if wanted and job not in wanted:
                continue
            after_s: int | None = BEFORE_ALL_S
            while after_s is not None:
                page = await self._ledger_page(job, after_s)
                for row in page.rows:
                    yield row
                after_s = page.last_s

    async def in_doubt_since(self, at: float) -> tuple[RemoteTask, ...]:
        return await self._ask(lambda connection: read.in_doubt_since(connection, at))

    async def replaced(self, job: str) -> tuple[str, ...]:
        return await self._ask(lambda connection: read.replaced(connection, job))

    async def replacing(self, job: str, slice_id: str) -> tuple[Slice, ...]:
        return await self._ask(lambda connection: read.replacing(connection, job, slice_id))

    async def forgettable(self, job: str, window: Window | None) -> Forgotten:
        return await self._ask(lambda connection: apply.forgettable(connection, job, window))

    async def quick_check(self) -> tuple[str, ...]:
        """What SQLite finds wrong with the file; empty when all is well. Reads the whole file."""
        return await self._ask(read.quick_check)

    async def close(self) -> None:
        """Idempotent; a commit under way is finished first."""
        if not self._closed:
            self._closed = True
            await _finish(self._executor, self._source.close)
            self._executor.shutdown(wait=False)

    async def _ledger_page(self, job: str, after_s: int) -> LedgerPage:
        return await self._ask(lambda connection: ledger_page(connection, job, after_s))

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StorageError("this manifest was closed", hint="open it again")

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._refuse_closed()
        return await _finish(self._executor, lambda: self._source.run(work))


class SqliteManifest(SqliteReader):
    """The ``ManifestWriter``. One transaction per commit, in the order they were asked for."""

    def __init__(
        self,
        source: _Source,
        manifest_id: str,
        executor: ThreadPoolExecutor,
        boundary: Boundary | None = None,
    ) -> None:
        super().__init__(source, manifest_id, executor)
        self._boundary = boundary or _NoBoundary()
        self._written = Written()

    async def commit(self, changes: Changes) -> None:
        """Returns when ``changes`` are on disk, or raises and none of them are. Cancelled, it still finishes,
        then raises CancelledError: what was handed over is either wholly there or failed, never half. Raises
        ValueError, before anything is written, for a slice that carries another slice's remote task."""
        self._refuse_closed()
        self._boundary.reached("manifest.commit.before")
        await self._write(lambda connection: apply.write_changes(connection, changes, self._written))
        self._boundary.reached("manifest.commit.after")

    async def accept(
        self, job: str, window: Window, reason: str, by: str, at: float, logstream: str = "*"
    ) -> None:
        acceptance = Acceptance(job, window, reason, by, at, logstream)
        await self._write(lambda connection: apply.accept(connection, acceptance))

    async def forget(self, job: str, window: Window | None, at: float) -> WindowSet:
        """Drops coverage, slices, receipts and acceptances that meet ``window`` (None: all, and the job's
        identity). A slice goes whole, with its coverage. Remote tasks stay known and numbers are never used
        again. Returns what was covered and no longer is."""
        self._written.forget()
        return await self._write(lambda connection: apply.forget(connection, job, window, at))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def whole(connection: sqlite3.Connection) -> T:
            try:
                with apply.transaction(connection):
                    return work(connection)
            except BaseException:
                self._written.forget()
                raise

        return await self._ask(whole)


async def _finish(executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Runs ``work`` in the executor and waits for its end even when cancelled meanwhile; then CancelledError
    is raised."""
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # seen: the canceller decides, not the loop's "never retrieved"
        raise cancelled
    return future.result()


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="manifest")


@asynccontextmanager
async def open_writer(
    path: str | Path,
    *,
    now: Callable[[], float],
    new_id: Callable[[], str],
    boundary: Boundary | None = None,
    exclusive: bool = False,
    steps: Sequence[Migration] | None = None,
) -> AsyncIterator[SqliteManifest]:
    """Opens the manifest for its one writer; the caller holds ``ManifestLock``. Made when missing, migrated
    when older.

    ``now`` gives UTC epoch seconds and ``new_id`` 16 random hex digits; both are asked only for a new
    manifest. ``exclusive`` suits network file systems (readers then cannot open it). ``steps`` replaces the
    migrations in tests. Raises StorageError (a missing folder among them), DiskFull, ManifestDamaged,
    ManifestTooNew.
    """
    place = _absolute(path)
    executor = _executor()

    def up_to_date(at: Path, connection: sqlite3.Connection) -> None:
        bring_up_to_date(connection, steps or migrations(), path=at, now=now, new_id=new_id)

    def opened() -> tuple[_Writable, str]:
        if not place.exists():
            make(place, up_to_date)
        source = _Writable(connect_writer(place, exclusive=exclusive), str(place), Standing(place))
        try:
            source.run(lambda connection: up_to_date(place, connection))
            return source, source.run(read.manifest_id)
        except BaseException:
            source.connection.close()
            raise

    try:
        source, manifest_id = await _finish(executor, opened)
    except BaseException:
        executor.shutdown(wait=False)
        raise
    manifest = SqliteManifest(source, manifest_id, executor, boundary)
    try:
        yield manifest
    finally:
        await manifest.close()


@asynccontextmanager
async def open_reader(
    path: str | Path, *, steps: Sequence[Migration] | None = None
) -> AsyncIterator[SqliteReader | None]:
    """Opens the manifest for reading, locking and creating nothing; None when there is none yet.

    Raises StorageError (older than this version: the next writer migrates it), ManifestDamaged,
    ManifestTooNew.
    """
    place = _absolute(path)
    executor = _executor()
    source = ReadOnly(place)

    def opened() -> str | None:
        known = steps or migrations()
        if not place.exists():
            return None
        version = source.run(lambda connection: schema_version(connection, str(place)))
        if version == 0:  # a writer died, or is at work, before its first transaction
            return None
        refuse_newer(version, known, str(place))
        if version < known[-1].number:
            raise StorageError(
                f"manifest {place} has version {version}, older than this program's {known[-1].number}",
                hint="the next `orchestrator run` brings it up to date and keeps a copy",
            )
        return source.run(read.manifest_id)

    try:
        manifest_id = await _finish(executor, opened)
        if manifest_id is None:
            yield None
        else:
            yield SqliteReader(source, manifest_id, executor)
    finally:
        await _finish(executor, source.close)
        executor.shutdown(wait=False)


class _Kept(_Writable):
    """The connection belongs to the ``MemoryManifest``: closing a writer, or its death, leaves it open."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        super().__init__(connection, "in memory")
        self._lock = lock
        self.retired = False

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self.retired:
                raise StorageError("this manifest was reopened by somebody else")
            return super().run(work)

    def close(self) -> None:
        """Nothing is lost."""


class MemoryManifest:
    """A manifest in memory that outlives its users: whoever crashes, ``reopen`` finds the last commit and
    nothing later."""

    def __init__(self, connection: sqlite3.Connection, manifest_id: str) -> None:
        self._connection = connection
        self._manifest_id = manifest_id
        self._lock = threading.Lock()
        self._source = _Kept(connection, self._lock)

    def reopen(self, boundary: Boundary | None = None) -> SqliteManifest:
        """A writer on the committed state. The writer given before answers no more: what survived of a crash
        cannot write on."""
        with self._lock:
            self._source.retired = True
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._source = _Kept(self._connection, self._lock)
        return SqliteManifest(self._source, self._manifest_id, _executor(), boundary)

    def close(self) -> None:
        self._connection.close()


def open_memory(*, now: Callable[[], float], new_id: Callable[[], str]) -> MemoryManifest:
    """An empty manifest in memory; the same store otherwise."""
    connection = connect_memory()
    bring_up_to_date(connection, migrations(), path=None, now=now, new_id=new_id)
    return MemoryManifest(connection, read.manifest_id(connection))


if TYPE_CHECKING:

    def _keeps_the_ports(
        reader: SqliteReader, writer: SqliteManifest
    ) -> tuple[ManifestReader, ManifestWriter]:
        return reader, writer

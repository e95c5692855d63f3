"""How is the SQLite file opened: once for writing, and read-only without leaving a trace."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from orchestrator.errors import ManifestDamaged, StorageError
from orchestrator.manifest.failures import as_storage_errors
from orchestrator.manifest.lock import lock_path

__all__ = [
    "APPLICATION_ID",
    "ReadOnly",
    "Standing",
    "connect_memory",
    "connect_writer",
    "make",
    "refuse_foreign",
    "schema_version",
    "sync_folder",
]

T = TypeVar("T")

APPLICATION_ID = 0x6F726368
"""``orch`` in the file's header: tells a manifest from anybody else's SQLite file."""

_MAGIC = b"SQLite format 3\0"
_HEAD_BYTES = 100
BUSY_TIMEOUT_S = 10.0
CACHE_KIB = 16_384
WAL_KEPT_BYTES = 64 << 20


def connect_writer(path: Path, *, exclusive: bool = False) -> sqlite3.Connection:
    """A connection that may write, in WAL with ``synchronous=FULL``; creates the file but no folder.

    A file that is no manifest is refused before SQLite may write to it. ``exclusive`` keeps the file lock for
    the connection's life and needs no shared memory: for network file systems. Raises StorageError,
    ManifestDamaged, DiskFull.
    """
    if not path.parent.is_dir():
        raise StorageError(
            f"the folder {path.parent} of the manifest does not exist", hint=f"mkdir -p {path.parent}"
        )
    with as_storage_errors(str(path)):
        fresh = not path.exists()
        if not fresh:
            refuse_foreign(path)
        connection = _connect(f"file:{quote(str(path))}?mode=rwc", exclusive=exclusive)
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StorageError(
                    f"manifest {path}: the file system does not support a write-ahead log (mode {mode!r})",
                    hint="keep the manifest on a local disk",
                )
            _prepare_writing(connection)
            if fresh:
                sync_folder(path.parent)
            else:
                # A process killed inside a commit may have left a log that was never synced. It is read as
                # committed, so it is made durable before anything rests on it; readers do not hinder this.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def make(path: Path, fill: Callable[[Path, sqlite3.Connection], None]) -> None:
    """A new manifest, under its name only once ``fill`` has made it one: whoever finds an empty file there
    knows that something else went wrong. Raises as ``connect_writer``."""
    unfinished = path.with_name(path.name + ".new")
    with as_storage_errors(str(path)):
        if path.parent.is_dir():
            for ending in ("", "-wal", "-shm"):
                unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
        connection = connect_writer(unfinished)
        try:
            fill(unfinished, connection)
        finally:
            connection.close()  # the last one to leave writes the log into the file
        unfinished.replace(path)
        sync_folder(path.parent)


def refuse_foreign(path: Path) -> None:
    """Look at the file's first bytes, as SQLite lays them out: magic, the size of a page, the owner.

    Raises ManifestDamaged for a file that is empty, is not SQLite, or belongs to another program. A database
    of a single page holds no table yet: its maker died, and it may be used.
    """
    with path.open("rb") as file:
        head, size_bytes = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
    if not head:
        raise ManifestDamaged(
            f"manifest {path} is an empty file",
            hint="restore it from a backup; if there never was a manifest, delete the empty file",
        )
    if not head.startswith(_MAGIC) or len(head) < _HEAD_BYTES:
        raise ManifestDamaged(f"manifest {path}: file is not a database")
    owner, page_bytes = int.from_bytes(head[68:72], "big"), int.from_bytes(head[16:18], "big")
    if owner != APPLICATION_ID and size_bytes > page_bytes:
        raise _not_ours(str(path))


class Standing:
    """Whether the manifest at ``path``, and the lock beside it, are still the files they were.

    A file that was deleted or replaced can be written on without any error, and nobody will ever read it;
    without the lock another run may write at the same time.
    """

    def __init__(self, path: Path) -> None:
        beside = (str(path), str(lock_path(path)))
        self._were = {file: found for file in beside if (found := _identity(file)) is not None}

    def check(self) -> None:
        """Raises StorageError when one of them is not."""
        for file, was in self._were.items():
            if _identity(file) != was:
                raise StorageError(
                    f"{file} was removed or replaced while this run used it",
                    hint="see that no other run is at work; put the file back, or restore it from a backup; "
                    "then run again",
                )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # asked after every statement: a Path would take as long again
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def connect_memory() -> sqlite3.Connection:
    """A manifest of its own in memory, with the same rules as one on disk."""
    connection = _connect("file::memory:")
    _prepare_writing(connection)
    return connection


def _prepare_writing(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")


def schema_version(connection: sqlite3.Connection, place: str) -> int:
    """``PRAGMA user_version``: 0 for a file without any table. Raises ManifestDamaged for a database that is
    not ours."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise _not_ours(place)
    return version if tables else 0


def _not_ours(place: str) -> ManifestDamaged:
    return ManifestDamaged(
        f"{place} is a SQLite file, but not a manifest",
        hint="name another file with `manifest` or --manifest",
    )


class ReadOnly:
    """A read-only way into a manifest on disk that creates neither the file nor its ``-wal`` and ``-shm``
    companions.

    While a writer is there (a ``-wal`` file exists) SQLite's own snapshots do the work. Otherwise the file is
    opened ``immutable``, and an answer counts only if the file is still the same and still without a ``-wal``
    afterwards.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, ...] | None = None

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of ``work``, which must only read. Raises StorageError, ManifestDamaged."""
        with as_storage_errors(str(self._path)):
            while True:
                before = self._unchanging()
                if self._connection is None or before != self._seen:
                    self._reopen(before)
                assert self._connection is not None  # noqa: S101  _reopen gives one or raises
                try:
                    answer = work(self._connection)
                except (sqlite3.DatabaseError, StorageError):
                    if before is None or self._unchanging() == before:
                        raise
                    continue
                if before is None or self._unchanging() == before:
                    return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _unchanging(self) -> tuple[int, ...] | None:
        """What tells whether the file is still the same; None while a writer may be at work."""
        if self._wal.exists():
            return None
        found = self._path.stat()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _reopen(self, seen: tuple[int, ...] | None) -> None:
        self.close()
        mode = "mode=ro" if seen is None else "mode=ro&immutable=1"
        if seen is not None:  # a writer's own connection would lose its locks by the look at the file
            refuse_foreign(self._path)
        self._connection = _connect(f"file:{quote(str(self._path))}?{mode}")
        self._connection.execute("PRAGMA query_only = ON")
        self._seen = seen


def _connect(uri: str, *, exclusive: bool = False) -> sqlite3.Connection:
    # One thread at a time uses a connection, but not always the one that made it: a virtual-time loop runs
    # everything inline.
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.row_factory = sqlite3.Row
        if exclusive:  # before anything is read, or the shared memory is there already
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def sync_folder(folder: Path) -> None:
    """Makes a new file's name durable; some file systems cannot sync a folder and need not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

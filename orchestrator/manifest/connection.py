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

__all__ = ["APPLICATION_ID", "ReadOnly", "connect_memory", "connect_writer", "schema_version"]

T = TypeVar("T")

APPLICATION_ID = 0x6F726368
"""``orch`` in the file's header: tells a manifest from anybody else's SQLite file."""

BUSY_TIMEOUT_S = 10.0
CACHE_KIB = 16_384
WAL_KEPT_BYTES = 64 << 20


def connect_writer(path: Path, *, exclusive: bool = False) -> sqlite3.Connection:
    """A connection that may write, in WAL with ``synchronous=FULL``; creates the file but no folder.

    ``exclusive`` keeps the file lock for the connection's life and needs no shared memory: for network file
    systems. Raises StorageError, ManifestDamaged, DiskFull.
    """
    if not path.parent.is_dir():
        raise StorageError(
            f"the folder {path.parent} of the manifest does not exist", hint=f"mkdir -p {path.parent}"
        )
    with as_storage_errors(str(path)):
        fresh = not path.exists()
        connection = _connect(f"file:{quote(str(path))}?mode=rwc")
        try:
            if exclusive:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StorageError(
                    f"manifest {path}: the file system does not support a write-ahead log (mode {mode!r})",
                    hint="keep the manifest on a local disk",
                )
            _prepare_writing(connection)
            if fresh:
                _sync_folder(path.parent)
        except BaseException:
            connection.close()
            raise
        return connection


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
        raise ManifestDamaged(
            f"{place} is a SQLite file, but not a manifest",
            hint="name another file with `manifest` or --manifest",
        )
    return version if tables else 0


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
        self._connection = _connect(f"file:{quote(str(self._path))}?{mode}")
        self._connection.execute("PRAGMA query_only = ON")
        self._seen = seen


def _connect(uri: str) -> sqlite3.Connection:
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
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def _sync_folder(folder: Path) -> None:
    """Makes a new file's name durable; some file systems cannot sync a folder and need not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

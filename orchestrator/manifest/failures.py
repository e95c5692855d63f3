"""What does a SQLite failure mean to us: the one border where sqlite3's errors become those of
``errors.py``."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import DiskFull, ManifestDamaged, StorageError

__all__ = ["as_storage_errors", "translate"]

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_FULL_BYTES = 1 << 20
"""Less free than this beside an I/O error means the disk is full: SQLite says only "disk I/O error" when the
shared-memory file cannot grow."""


@contextmanager
def as_storage_errors(place: str) -> Iterator[None]:
    """Everything sqlite3 or the operating system raises inside leaves as StorageError or one of its kinds;
    ``place`` is the manifest's path for the message."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, place) from error
    except UnicodeEncodeError as error:
        raise StorageError(
            f"manifest {place}: a name that is not text cannot be kept: {error.object!r}"
        ) from error
    except OSError as error:
        kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StorageError
        raise kind(f"manifest {place}: {error.strerror or error}") from error


def translate(error: sqlite3.Error, place: str) -> StorageError:
    """The error of ours that says what ``error`` means for the manifest at ``place``."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    said = f"manifest {place}: {error}"
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _no_room(place)):
        return DiskFull(said)
    if primary in _DAMAGED or _lacks_schema(error):
        return ManifestDamaged(said)
    if primary in _BUSY:
        return StorageError(
            said, hint="another program holds the manifest open for writing; end it, then run again"
        )
    if primary in _UNWRITABLE:
        return StorageError(
            said, hint="check that folder and file exist and that this user may read and write them"
        )
    return StorageError(said)


def _lacks_schema(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith(
        ("no such table", "no such column")
    )


def _no_room(place: str) -> bool:
    try:
        return shutil.disk_usage(place).free < _FULL_BYTES
    except OSError:
        return False

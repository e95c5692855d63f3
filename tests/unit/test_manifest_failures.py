"""What SQLite's failures mean to whoever runs the program."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.errors import DiskFull, ManifestDamaged, StorageError
from orchestrator.manifest.failures import as_storage_errors, translate


def failure(code: int, text: str = "said") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, DiskFull),
        (sqlite3.SQLITE_CORRUPT, ManifestDamaged),
        (sqlite3.SQLITE_CORRUPT_VTAB, ManifestDamaged),
        (sqlite3.SQLITE_NOTADB, ManifestDamaged),
        (sqlite3.SQLITE_BUSY, StorageError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageError),
        (sqlite3.SQLITE_READONLY, StorageError),
        (sqlite3.SQLITE_CANTOPEN, StorageError),
        (sqlite3.SQLITE_IOERR_WRITE, StorageError),
        (sqlite3.SQLITE_CONSTRAINT, StorageError),
    ],
)
def test_each_code_has_its_class(tmp_path: Path, code: int, kind: type[StorageError]) -> None:
    """Primary and extended result codes lead to the same class, and the place is named."""
    found = translate(failure(code), str(tmp_path))
    assert type(found) is kind
    assert str(tmp_path) in found.message


def test_an_io_error_on_a_full_disk_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says only "disk I/O error" when its shared memory finds no room; the free space tells."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=4096))
    assert type(translate(failure(sqlite3.SQLITE_IOERR_SHMSIZE), "m.db")) is DiskFull


def test_a_missing_table_is_damage() -> None:
    """A manifest of the right version without its tables cannot be trusted."""
    error = sqlite3.OperationalError("no such table: slices")
    assert type(translate(error, "m.db")) is ManifestDamaged


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (OSError(errno.EDQUOT, "Quota exceeded"), DiskFull),
        (PermissionError(errno.EACCES, "Permission denied"), StorageError),
        (failure(sqlite3.SQLITE_FULL), DiskFull),
    ],
)
def test_what_the_system_says_becomes_ours(raised: Exception, kind: type[StorageError]) -> None:
    """Inside the border only our errors come out, with the first one as their cause."""
    with pytest.raises(StorageError) as caught, as_storage_errors("m.db"):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.__cause__ is raised


def test_a_name_that_is_not_text_is_a_storage_error() -> None:
    """A path with bytes that are no UTF-8 cannot be kept in the manifest and is said so."""
    with pytest.raises(StorageError, match="not text"), as_storage_errors("m.db"):
        sqlite3.connect(":memory:").execute("SELECT ?", ("\udc80",))


def test_other_errors_pass_unchanged() -> None:
    """A defect of ours stays what it is."""
    with pytest.raises(ValueError, match="ours"), as_storage_errors("m.db"):
        raise ValueError("ours")

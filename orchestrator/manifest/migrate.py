"""How does a manifest come to this version's schema: numbered steps in one transaction, after a copy of the
old file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import ManifestTooNew
from orchestrator.manifest.connection import APPLICATION_ID, schema_version, sync_folder
from orchestrator.manifest.named import Migration, sql, statements

__all__ = ["backup_path", "bring_up_to_date", "refuse_newer"]


def backup_path(path: Path, version: int) -> Path:
    """Where the copy of a manifest of ``version`` stands before it is migrated."""
    return path.with_name(f"{path.name}.bak-v{version}")


def refuse_newer(version: int, steps: Sequence[Migration], place: str) -> None:
    """Raises ManifestTooNew when ``version`` lies beyond the last of ``steps``."""
    if version > steps[-1].number:
        raise ManifestTooNew(
            f"manifest {place} has version {version}; this program knows up to {steps[-1].number}"
        )


def bring_up_to_date(
    connection: sqlite3.Connection,
    steps: Sequence[Migration],
    *,
    path: Path | None,
    now: Callable[[], float],
    new_id: Callable[[], str],
) -> None:
    """Creates or migrates the manifest, all or nothing. ``path`` is None in memory, where no copy is made.

    Raises ManifestTooNew, ManifestDamaged and whatever sqlite3 raises.
    """
    place = str(path or "in memory")
    version = schema_version(connection, place)
    refuse_newer(version, steps, place)
    pending = [step for step in steps if step.number > version]
    if not pending:
        return
    if version and path is not None:
        _copy(connection, backup_path(path, version))
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Somebody may have been quicker while this connection waited for the lock.
        version = schema_version(connection, place)
        for step in pending:
            if step.number > version:
                for statement in statements(step.text):
                    connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {steps[-1].number}")
        if version == 0:
            for key, value in (("manifest_id", new_id()), ("next_number", 1), ("created_at", now())):
                connection.execute(sql("set_meta"), {"key": key, "value": value})
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    """A complete copy under its final name, or none: written beside it, synced, renamed."""
    unfinished = target.with_name(target.name + ".part")
    unfinished.unlink(missing_ok=True)
    copy = sqlite3.connect(unfinished, isolation_level=None)
    try:
        copy.execute("PRAGMA synchronous = FULL")
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one plain file, whatever the original is
    finally:
        copy.close()
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.replace(target)
    sync_folder(target.parent)  # before the migration is committed: the copy is for when that goes wrong

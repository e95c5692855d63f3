"""Older manifests are brought up to date once, by a writer, after a copy; newer ones are left alone."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from orchestrator.core.model import Slice
from orchestrator.core.window import Window
from orchestrator.errors import ManifestDamaged, ManifestTooNew, StorageError
from orchestrator.manifest.connection import APPLICATION_ID
from orchestrator.manifest.migrate import backup_path
from orchestrator.manifest.named import Migration, migrations, statements
from orchestrator.manifest.store import open_reader, open_writer
from orchestrator.ports.store import Acceptance, Changes

NEXT = len(migrations()) + 1
LATER = (
    *migrations(),
    Migration(
        NEXT,
        "ALTER TABLE jobs ADD COLUMN note TEXT NOT NULL DEFAULT 'old';\nCREATE INDEX notes ON jobs (note);",
    ),
)
BROKEN = (*migrations(), Migration(NEXT, "CREATE TABLE half (x);\nINSERT INTO nowhere VALUES (1);"))

# What version 1 wrote: a manifest as SQL, beside the tables of its own migration, which never changes once
# released.
VERSION_1 = """
INSERT INTO meta (key, value)
  VALUES ('manifest_id', 'feedfacefeedface'), ('next_number', 8), ('created_at', 1.5);
INSERT INTO jobs (name, service, project, logstore, logstream, query, form)
  VALUES ('web', 'bj', 'default', 'web-access', '', '', '{}');
INSERT INTO coverage (job, logstream, start_s, end_s) VALUES (1, '*', 0, 50);
INSERT INTO acceptances (number, job, start_s, end_s, reason, by_whom, at)
  VALUES (1, 1, 50, 60, 'known', 'ann', 4.0);
"""


def writer(path: Path, steps: tuple[Migration, ...]):
    return open_writer(path, now=lambda: 1.0, new_id=lambda: "0123456789abcdef", steps=steps)


async def opened(path: Path, steps: tuple[Migration, ...]) -> None:
    async with writer(path, steps) as manifest:
        await manifest.commit(Changes(slices=(Slice("s1", "web", "", Window(0, 10)),)))


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A manifest of version 1 with one job, fifty covered seconds and seven used numbers."""
    path = tmp_path / "m.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (*statements(migrations()[0].text), *statements(VERSION_1)):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    return path


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()


def test_migrations_are_numbered_without_a_hole() -> None:
    """Every version leads to the next."""
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_manifest_of_version_1_is_read_by_this_version(version_1: Path) -> None:
    """What version 1 wrote is understood after opening it with a writer of today."""

    async def work() -> None:
        async with writer(version_1, migrations()) as manifest:
            assert manifest.manifest_id == "feedfacefeedface"
            assert await manifest.next_number() == 8
            assert await manifest.coverage("web") == (Window(0, 50),)
            identity = await manifest.job_identity("web")
            assert identity is not None
            assert identity.logstore == "web-access"
            assert await manifest.acceptances("web") == (
                Acceptance("web", Window(50, 60), "known", "ann", 4.0, "*"),
            )
            await manifest.commit(Changes(slices=(Slice("s1", "web", "", Window(0, 10)),)))

    asyncio.run(work())
    assert version_of(version_1) == len(migrations())
    assert version_of(backup_path(version_1, 1)) == 1


def test_a_manifest_of_version_1_is_not_read_before_a_writer_has_migrated_it(version_1: Path) -> None:
    """What it says of acceptances means something else now: a reader says what to do, and changes nothing."""

    async def work() -> None:
        with pytest.raises(StorageError) as refused:
            async with open_reader(version_1):
                pass
        assert "older than this program" in str(refused.value)

    asyncio.run(work())
    assert version_of(version_1) == 1


def test_an_older_manifest_is_migrated_by_the_next_writer_after_a_copy(tmp_path: Path) -> None:
    """The copy holds the old version whole, the manifest the new one, and what stood in it stands there
    still."""
    path = tmp_path / "m.db"
    asyncio.run(opened(path, migrations()))

    async def work() -> None:
        async with writer(path, LATER) as manifest:
            assert await manifest.slice("s1") is not None
        async with open_reader(backup_path(path, NEXT - 1)) as copy:
            assert copy is not None
            assert copy.manifest_id == manifest.manifest_id
            assert await copy.slice("s1") is not None

    asyncio.run(work())
    assert version_of(path) == NEXT
    assert version_of(backup_path(path, NEXT - 1)) == NEXT - 1
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.db", f"m.db.bak-v{NEXT - 1}"]


def test_a_new_or_current_manifest_needs_no_copy(tmp_path: Path) -> None:
    """Only a migration makes a copy."""
    asyncio.run(opened(tmp_path / "m.db", LATER))
    asyncio.run(opened(tmp_path / "m.db", LATER))
    assert [item.name for item in tmp_path.iterdir()] == ["m.db"]


def test_a_migration_that_fails_leaves_the_old_manifest(tmp_path: Path) -> None:
    """All steps are one transaction: after a failure the old version opens as before."""
    path = tmp_path / "m.db"
    asyncio.run(opened(path, migrations()))
    with pytest.raises(StorageError):
        asyncio.run(opened(path, BROKEN))
    assert version_of(path) == NEXT - 1
    asyncio.run(opened(path, migrations()))
    asyncio.run(opened(path, LATER))
    assert version_of(path) == NEXT


def test_a_creation_that_fails_is_made_up_for(tmp_path: Path) -> None:
    """A writer that died while making the manifest leaves nothing that stops the next, and no manifest for a
    reader."""
    path = tmp_path / "m.db"
    with pytest.raises((StorageError, ManifestDamaged)):
        asyncio.run(opened(path, BROKEN))
    assert not path.exists()

    async def work() -> None:
        async with open_reader(path) as reader:
            assert reader is None

    asyncio.run(work())
    asyncio.run(opened(path, migrations()))


def test_an_unfinished_copy_is_made_anew(tmp_path: Path) -> None:
    """Remains of a copy that was broken off do not stop the next migration."""
    path = tmp_path / "m.db"
    asyncio.run(opened(path, migrations()))
    Path(f"{backup_path(path, NEXT - 1)}.part").write_bytes(b"broken off")
    asyncio.run(opened(path, LATER))
    assert version_of(backup_path(path, NEXT - 1)) == NEXT - 1


def test_a_newer_manifest_is_left_alone(tmp_path: Path) -> None:
    """Reader and writer of an older version refuse it and change no byte."""
    path = tmp_path / "m.db"
    asyncio.run(opened(path, LATER))
    before = path.read_bytes()

    async def read() -> None:
        async with open_reader(path):
            pytest.fail("opened")

    for attempt in (read(), opened(path, migrations())):
        with pytest.raises(ManifestTooNew, match=f"version {NEXT}"):
            asyncio.run(attempt)
    assert path.read_bytes() == before


def test_a_reader_says_that_an_older_manifest_waits_for_its_writer(tmp_path: Path) -> None:
    """Readers change nothing, so an older manifest is refused with the way out."""
    path = tmp_path / "m.db"
    asyncio.run(opened(path, migrations()))

    async def read() -> None:
        async with open_reader(path, steps=LATER):
            pytest.fail("opened")

    with pytest.raises(StorageError, match="older") as caught:
        asyncio.run(read())
    assert "run" in caught.value.hint


def test_statements_keep_triggers_together() -> None:
    """Semicolons inside a trigger do not cut it."""
    text = (
        "CREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\nEND;\nDROP TABLE a"
    )
    assert [item.split()[1] for item in statements(text)] == ["TABLE", "TRIGGER", "TABLE"]

"""The manifest as a file: who may open it, what a failure leaves behind, what a cancelled or killed writer
leaves behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.model import Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.errors import DiskFull, ManifestDamaged, StorageError
from orchestrator.manifest.store import SqliteManifest, open_memory, open_reader, open_writer
from orchestrator.ports.store import Changes

ID = "0123456789abcdef"


def writer(path: Path, **options: object):
    return open_writer(path, now=lambda: 1.0, new_id=lambda: ID, **options)


def pieces(first: int, last: int) -> tuple[Slice, ...]:
    return tuple(
        Slice(f"s{place:07d}", "web", "", Window(place * 10, place * 10 + 10)) for place in range(first, last)
    )


async def filled(path: Path, count: int = 2000) -> None:
    async with writer(path) as manifest:
        await manifest.commit(Changes(slices=pieces(0, count)))


class Died(BaseException):
    """Stands for the end of the process: nobody handles it."""


class Bomb:
    """A boundary that raises at one of its points."""

    def __init__(self, point: str) -> None:
        self.point = point
        self.met: list[str] = []

    def reached(self, name: str) -> None:
        self.met.append(name)
        if name == self.point:
            raise Died(name)


def test_a_reader_of_a_missing_manifest_creates_nothing(tmp_path: Path) -> None:
    """Where there is no manifest a reader is None and the folder stays empty."""

    async def work() -> None:
        async with open_reader(tmp_path / "m.db") as reader:
            assert reader is None
        async with open_reader(tmp_path / "no" / "m.db") as reader:
            assert reader is None

    asyncio.run(work())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere: inside, it is nobody."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_a_reader_leaves_no_trace(shared_folder: Path) -> None:
    """Reading an idle manifest needs no permission but to read, creates no file and changes no byte."""
    path = shared_folder / "m.db"

    async def work() -> None:
        await filled(path)
        before = path.read_bytes()
        path.chmod(0o444)
        shared_folder.chmod(0o555)
        with unprivileged():
            async with open_reader(path) as reader:
                assert reader is not None
                assert (await reader.counts("web")).slices == {SliceState.PLANNED: 2000}
        shared_folder.chmod(0o755)
        async with open_reader(path) as reader:
            assert reader is not None
            assert os.listdir(shared_folder) == ["m.db"]
        assert os.listdir(shared_folder) == ["m.db"]
        assert path.read_bytes() == before

    asyncio.run(work())


def test_a_reader_sees_what_a_writer_commits_meanwhile(tmp_path: Path) -> None:
    """A reader opened before, during and after a writer's life always answers with the last commit."""
    path = tmp_path / "m.db"

    async def work() -> None:
        await filled(path, 1)
        async with open_reader(path) as reader:
            assert reader is not None
            assert reader.manifest_id == ID
            assert (await reader.counts("web")).slices == {SliceState.PLANNED: 1}
            async with writer(path) as manifest:
                await manifest.commit(Changes(slices=pieces(1, 500)))
                assert (await reader.counts("web")).slices == {SliceState.PLANNED: 500}
                await manifest.commit(Changes(slices=pieces(500, 501)))
                assert (await reader.counts("web")).slices == {SliceState.PLANNED: 501}
            assert (await reader.counts("web")).slices == {SliceState.PLANNED: 501}
            async with writer(path) as manifest:
                await manifest.commit(Changes(slices=pieces(501, 502)))
            assert len(await reader.slices("web", [SliceState.PLANNED], limit=-1)) == 502
            assert len([row async for row in reader.ledger()]) == 502

    asyncio.run(work())


def test_a_ledger_being_read_neither_stops_nor_is_stopped_by_commits(tmp_path: Path) -> None:
    """A commit between two ledger pages goes through, and every slice from before appears exactly once."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            await manifest.commit(Changes(slices=pieces(0, 1500)))
            seen = []
            async for row in manifest.ledger():
                seen.append(row.slice)
                if len(seen) % 400 == 0:
                    changed = replace(pieces(len(seen), len(seen) + 1)[0], state=SliceState.FAILED)
                    await manifest.commit(Changes(slices=(changed,)))
        assert seen == [item.id for item in pieces(0, 1500)]

    asyncio.run(work())


def test_a_missing_folder_is_named_and_not_created(tmp_path: Path) -> None:
    """Opening a manifest in a folder that does not exist says how to make it."""

    async def work() -> None:
        async with writer(tmp_path / "no" / "m.db"):
            pytest.fail("opened")

    with pytest.raises(StorageError, match="does not exist") as caught:
        asyncio.run(work())
    assert "mkdir -p" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_write_permission_is_a_storage_error(shared_folder: Path, exists: bool) -> None:
    """A manifest that can be neither made nor written is refused with a hint at permissions."""
    path = shared_folder / "m.db"
    if exists:
        asyncio.run(filled(path, 1))
        path.chmod(0o444)
    shared_folder.chmod(0o555)
    with unprivileged(), pytest.raises(StorageError) as caught:
        asyncio.run(filled(path, 1))
    assert not isinstance(caught.value, ManifestDamaged | DiskFull)
    assert "read and write" in caught.value.hint


def test_a_folder_in_the_manifests_place_is_a_storage_error(tmp_path: Path) -> None:
    """A folder is no manifest, for reader and writer."""

    async def read() -> None:
        async with open_reader(tmp_path):
            pytest.fail("opened")

    for attempt in (read(), filled(tmp_path, 1)):
        with pytest.raises(StorageError):
            asyncio.run(attempt)


def test_a_manifest_that_may_not_be_written_is_a_storage_error(tmp_path: Path) -> None:
    """A write refused by SQLite as read-only is our StorageError with a hint at permissions."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            connection_of(manifest).execute("PRAGMA query_only = ON")
            await manifest.commit(Changes(slices=pieces(0, 1)))

    with pytest.raises(StorageError, match="readonly") as caught:
        asyncio.run(work())
    assert not isinstance(caught.value, ManifestDamaged | DiskFull)
    assert "read and write" in caught.value.hint


def connection_of(manifest: SqliteManifest) -> sqlite3.Connection:
    return manifest._source.connection


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be looked at" * 40, b"x" * 40]
)
def test_a_file_that_is_no_database_is_damaged_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """Neither reader nor writer touches a foreign file; both call it damaged."""
    path = tmp_path / "m.db"
    path.write_bytes(content)

    async def read() -> None:
        async with open_reader(path):
            pytest.fail("opened")

    with pytest.raises(ManifestDamaged):
        asyncio.run(read())
    with pytest.raises(ManifestDamaged):
        asyncio.run(filled(path, 1))
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file with somebody else's tables is not taken for a manifest."""
    path = tmp_path / "m.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    async def read() -> None:
        async with open_reader(path):
            pytest.fail("opened")

    for attempt in (read(), filled(path, 1)):
        with pytest.raises(ManifestDamaged, match="not a manifest"):
            asyncio.run(attempt)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.01])
def test_a_truncated_manifest_is_damaged(tmp_path: Path, kept: float) -> None:
    """A manifest that lost its end is recognised by reader and writer."""
    path = tmp_path / "m.db"
    asyncio.run(filled(path))
    os.truncate(path, int(path.stat().st_size * kept))

    async def read() -> None:
        async with open_reader(path) as reader:
            assert reader is not None
            async for _ in reader.ledger():
                pass

    with pytest.raises(ManifestDamaged):
        asyncio.run(read())
    with pytest.raises(ManifestDamaged):
        asyncio.run(filled(path))


def test_damage_inside_is_found_by_the_check_and_reported_when_met(tmp_path: Path) -> None:
    """Overwritten pages make the check complain, and a question that meets them raises ManifestDamaged."""
    path = tmp_path / "m.db"
    asyncio.run(filled(path))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))

    async def work() -> None:
        async with open_reader(path) as reader:
            assert reader is not None
            assert await reader.quick_check() != ()
            async for _ in reader.ledger():
                pass

    with pytest.raises(ManifestDamaged):
        asyncio.run(work())


def test_a_row_nobody_can_have_written_is_damage(tmp_path: Path) -> None:
    """A slice in a state this version does not know is ManifestDamaged, not a crash."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            await manifest.commit(Changes(slices=pieces(0, 1)))
            connection_of(manifest).execute("UPDATE slices SET state = 'dancing'")
            await manifest.slice("s0000000")

    with pytest.raises(ManifestDamaged, match="dancing"):
        asyncio.run(work())


def test_a_full_disk_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """A commit that finds no room raises DiskFull, leaves the earlier ones, and a later smaller one works
    again."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            await manifest.commit(Changes(slices=pieces(0, 10)))
            connection = connection_of(manifest)
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 5}")
            with pytest.raises(DiskFull):
                await manifest.commit(Changes(slices=pieces(10, 5000)))
            assert len(await manifest.slices("web", [SliceState.PLANNED])) == 10
            await manifest.commit(Changes(slices=pieces(10, 12)))
            connection.execute("PRAGMA max_page_count = 1000000")
            await manifest.commit(Changes(slices=pieces(12, 5000)))
            assert (await manifest.counts("web")).slices == {SliceState.PLANNED: 5000}
            assert await manifest.quick_check() == ()

    asyncio.run(work())


def test_a_locked_database_is_a_storage_error_and_passes(tmp_path: Path) -> None:
    """While somebody else writes the commit fails as storage, and afterwards the same commit succeeds."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            connection_of(manifest).execute("PRAGMA busy_timeout = 10")
            other = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="locked"):
                await manifest.commit(Changes(slices=pieces(0, 1)))
            other.execute("ROLLBACK")
            other.close()
            await manifest.commit(Changes(slices=pieces(0, 1)))

    asyncio.run(work())


def test_commits_are_synced_and_the_log_is_a_write_ahead_log(tmp_path: Path) -> None:
    """What makes a commit durable is switched on: WAL, synchronous FULL, foreign keys, a busy timeout."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            pragma = {
                name: connection_of(manifest).execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}

    asyncio.run(work())


def test_an_exclusive_writer_needs_no_shared_memory(tmp_path: Path) -> None:
    """For network file systems: no ``-shm`` file, and the manifest is there afterwards."""

    async def work() -> None:
        async with writer(tmp_path / "m.db", exclusive=True) as manifest:
            await manifest.commit(Changes(slices=pieces(0, 3)))
            assert not (tmp_path / "m.db-shm").exists()
        async with open_reader(tmp_path / "m.db") as reader:
            assert reader is not None
            assert (await reader.counts("web")).slices == {SliceState.PLANNED: 3}

    asyncio.run(work())


@pytest.mark.parametrize("delay_steps", [0, 1, 2])
def test_a_cancelled_commit_is_whole_and_the_manifest_goes_on(tmp_path: Path, delay_steps: int) -> None:
    """Whoever cancels the wait for a commit gets CancelledError after it has ended; the next commit works."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            waiting = asyncio.ensure_future(manifest.commit(Changes(slices=pieces(0, 3000))))
            for _ in range(delay_steps):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            there = await manifest.slices("web", [SliceState.PLANNED], limit=-1)
            assert len(there) == (3000 if delay_steps else 0)
            await manifest.commit(Changes(slices=pieces(3000, 3001)))
            assert await manifest.quick_check() == ()

    asyncio.run(work())


def test_a_commit_cancelled_twice_still_ends_before_the_wait_does(tmp_path: Path) -> None:
    """Impatient cancelling does not let the caller go on while the transaction is still open."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            waiting = asyncio.ensure_future(manifest.commit(Changes(slices=pieces(0, 3000))))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not connection_of(manifest).in_transaction
            assert (await manifest.counts("web")).slices == {SliceState.PLANNED: 3000}

    asyncio.run(work())


def test_a_failed_commit_that_was_cancelled_is_not_reported_twice(tmp_path: Path) -> None:
    """The failure of a cancelled commit surfaces as CancelledError only; nothing is left for the loop to
    complain of."""
    complaints: list[dict] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with writer(tmp_path / "m.db") as manifest:
            connection_of(manifest).execute("PRAGMA query_only = ON")
            waiting = asyncio.ensure_future(manifest.commit(Changes(slices=pieces(0, 1))))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(work())
    assert complaints == []


@pytest.mark.parametrize(("point", "there"), [("manifest.commit.before", 0), ("manifest.commit.after", 1)])
def test_dying_around_a_commit_leaves_it_out_or_in(point: str, there: int) -> None:
    """Dead before the commit nothing is written, dead after it everything is; and the dead cannot write
    on."""

    async def work() -> None:
        memory = open_memory(now=lambda: 1.0, new_id=lambda: ID)
        bomb = Bomb(point)
        dead = memory.reopen(bomb)
        with pytest.raises(Died):
            await dead.commit(Changes(slices=pieces(0, 1)))
        alive = memory.reopen()
        assert alive.manifest_id == ID
        assert len(await alive.slices("web", [SliceState.PLANNED])) == there
        bomb.point = "disarmed"
        with pytest.raises(StorageError):
            await dead.commit(Changes(slices=pieces(5, 6)))
        await alive.commit(Changes(slices=pieces(1, 2)))
        assert len(await alive.slices("web", [SliceState.PLANNED])) == there + 1
        memory.close()
        assert bomb.met[0] == "manifest.commit.before"

    asyncio.run(work())


def test_in_memory_an_open_transaction_does_not_survive_a_crash() -> None:
    """What was written but not committed when its writer died is gone after reopening."""

    async def work() -> None:
        memory = open_memory(now=lambda: 1.0, new_id=lambda: ID)
        dead = memory.reopen()
        await dead.commit(Changes(slices=pieces(0, 1)))
        connection_of(dead).execute("BEGIN")
        connection_of(dead).execute("DELETE FROM slices")
        alive = memory.reopen()
        assert len(await alive.slices("web", [SliceState.PLANNED])) == 1
        memory.close()

    asyncio.run(work())


KILLED = """
    import asyncio, sys
    from orchestrator.core.model import Slice
    from orchestrator.core.window import Window
    from orchestrator.manifest.store import open_writer
    from orchestrator.ports.store import Changes, Covered

    async def write():
        async with open_writer(sys.argv[1], now=lambda: 1.0, new_id=lambda: "0123456789abcdef") as manifest:
            for batch in range(100_000):
                window = Window(batch * 10, batch * 10 + 10)
                pieces = tuple(Slice(f"{batch}-{n}", "web", "", window) for n in range(20))
                await manifest.commit(Changes(slices=pieces, covered=(Covered("web", "*", window),)))
                print(batch, flush=True)

    asyncio.run(write())
"""


def test_a_killed_writer_leaves_whole_commits_only(tmp_path: Path) -> None:
    """After SIGKILL everything it had reported is there, nothing is half there, and the next writer goes
    on."""
    path = tmp_path / "m.db"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    reported = -1
    for line in child.stdout:
        reported = int(line)
        if reported >= 30:
            break
    child.send_signal(signal.SIGKILL)
    reported = max([reported, *map(int, child.stdout.read().split())])
    child.stdout.close()
    child.wait()

    async def work() -> None:
        async with writer(path) as manifest:
            covered = await manifest.coverage("web")
            batches = covered[0].end_s // 10
            assert batches >= reported + 1
            assert covered == (Window(0, batches * 10),)
            assert (await manifest.counts("web")).slices == {SliceState.PLANNED: batches * 20}
            assert await manifest.counts("web") == await manifest.totals("web", Window(0, batches * 10))
            assert await manifest.quick_check() == ()
            await manifest.commit(Changes(slices=pieces(0, 1)))

    asyncio.run(work())


def test_a_manifest_copied_in_use_without_its_log_is_still_a_manifest(tmp_path: Path) -> None:
    """The file alone, copied while a writer lives, opens with an earlier state or as none at all, never as
    damaged."""

    async def work() -> None:
        async with writer(tmp_path / "m.db") as manifest:
            await manifest.commit(Changes(slices=pieces(0, 5000)))
            shutil.copy(tmp_path / "m.db", tmp_path / "copy.db")
        async with open_reader(tmp_path / "copy.db") as reader:
            assert reader is None or await reader.quick_check() == ()

    asyncio.run(work())

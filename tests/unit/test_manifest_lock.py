"""One writer at a time, named to the second, and none left over when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode, ManifestLocked, StorageError
from orchestrator.manifest.lock import FRESH_S, LockOwner, ManifestLock, lock_path, owner

HOLD = """
    import asyncio, sys
    from orchestrator.manifest.lock import ManifestLock

    async def hold():
        async with ManifestLock(sys.argv[1], now=lambda: 86_400.0).holding():
            print("held", flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(hold())
    print("released", flush=True)
"""

LOOK = """
    import sys
    from orchestrator.manifest.lock import owner

    print("up", flush=True)
    while True:
        owner(sys.argv[1])
"""


def lock(manifest: Path) -> ManifestLock:
    return ManifestLock(manifest, now=lambda: 0.0)


class Holder:
    """Another process that holds the lock until told to let go."""

    def __init__(self, manifest: Path) -> None:
        command = [sys.executable, "-c", textwrap.dedent(HOLD), str(manifest)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "held\n"

    def let_go(self) -> None:
        assert self.child.communicate()[0] == "released\n"

    def die(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.communicate()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    """While another process holds the lock, taking it fails with exit code 8 and names host, pid and time."""
    manifest = tmp_path / "m.db"
    holder = Holder(manifest)
    with pytest.raises(ManifestLocked) as caught:
        asyncio.run(lock(manifest).acquire())
    assert caught.value.exit_code is ExitCode.LOCKED
    said = f"process {holder.child.pid} on {socket.gethostname()} since 1970-01-02T00:00:00Z"
    assert said in caught.value.message
    assert owner(manifest) == LockOwner(socket.gethostname(), holder.child.pid, "1970-01-02T00:00:00Z")
    holder.let_go()
    assert owner(manifest) is None
    mine = lock(manifest)
    asyncio.run(mine.acquire())
    mine.release()


def test_a_dead_owner_holds_nothing(tmp_path: Path) -> None:
    """After SIGKILL the lock is free at once, whatever the file still says."""
    manifest = tmp_path / "m.db"
    holder = Holder(manifest)
    holder.die()
    assert str(holder.child.pid) in lock_path(manifest).read_text()
    assert owner(manifest) is None
    mine = lock(manifest)
    asyncio.run(mine.acquire())
    assert (owner(manifest) or LockOwner()).pid == os.getpid()
    mine.release()


def test_waiting_for_the_lock_ends_when_it_is_let_go(tmp_path: Path) -> None:
    """With a wait, the lock is taken as soon as its owner lets go."""
    manifest = tmp_path / "m.db"

    async def work() -> None:
        first, second = lock(manifest), lock(manifest)
        await first.acquire()
        waiting = asyncio.ensure_future(second.acquire(60.0))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        first.release()
        await waiting
        assert second.held
        second.release()

    asyncio.run(work())


def test_waiting_for_the_lock_ends_after_the_time_given(tmp_path: Path) -> None:
    """When the owner stays, waiting ends with ManifestLocked, and the lock can be asked for again."""
    manifest = tmp_path / "m.db"

    async def work() -> None:
        first, second = lock(manifest), lock(manifest)
        async with first.holding():
            with pytest.raises(ManifestLocked):
                await second.acquire(0.3)
            assert not second.held
        async with second.holding() as held:
            assert held.held

    asyncio.run(work())


def test_looking_at_the_owner_does_not_make_a_run_fail(tmp_path: Path) -> None:
    """A run that starts while somebody asks for the owner still gets the lock."""
    manifest = tmp_path / "m.db"
    lock_path(manifest).touch()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LOOK), str(manifest)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        for _ in range(20):
            mine = lock(manifest)
            asyncio.run(mine.acquire())
            mine.release()
    finally:
        child.kill()
        child.communicate()


def test_looking_creates_nothing(tmp_path: Path) -> None:
    """Asking for the owner of a manifest that was never locked makes no file."""
    assert owner(tmp_path / "m.db") is None
    assert owner(tmp_path / "no" / "m.db") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x", "host": 3}', "\x00\xff"])
def test_the_owners_text_decides_nothing(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, the lock is free when nobody holds it, and held when somebody does."""
    manifest = tmp_path / "m.db"
    lock_path(manifest).write_text(text, encoding="latin-1")
    assert owner(manifest) is None
    mine = lock(manifest)
    asyncio.run(mine.acquire())
    lock_path(manifest).write_text(text, encoding="latin-1")
    assert str(owner(manifest)) == "another process"
    mine.release()


def test_a_lock_is_not_taken_twice_by_its_holder(tmp_path: Path) -> None:
    """Taking a lock one holds already is a defect and is said at once."""

    async def work() -> None:
        async with lock(tmp_path / "m.db").holding() as mine:
            with pytest.raises(RuntimeError):
                await mine.acquire()

    asyncio.run(work())


def test_a_missing_folder_cannot_be_locked(tmp_path: Path) -> None:
    """The folder is named and not created."""
    with pytest.raises(StorageError, match="does not exist"):
        asyncio.run(lock(tmp_path / "no" / "m.db").acquire())


def test_releasing_twice_is_harmless(tmp_path: Path) -> None:
    """The second release does nothing, and the file remains for the next owner."""
    mine = lock(tmp_path / "m.db")
    asyncio.run(mine.acquire())
    mine.release()
    mine.release()
    assert lock_path(tmp_path / "m.db").read_bytes() == b""


def test_a_lock_tells_how_fresh_the_owner_before_may_be(tmp_path: Path) -> None:
    """Nobody before: none. Released just now: about a second, and less as time passes. Killed: the whole
    second, because nobody knows when."""

    async def taken(now: float) -> tuple[ManifestLock, float]:
        lock = ManifestLock(tmp_path / "m.db", now=lambda: now)
        await lock.acquire()
        return lock, lock.quiet_s

    async def work() -> None:
        real = time.time()
        lock, quiet_s = await taken(real)
        assert quiet_s == 0.0
        lock.release()
        released_at = lock_path(tmp_path / "m.db").stat().st_mtime
        for later_s, expected_s in ((0.0, FRESH_S), (0.5, FRESH_S - 0.5), (5.0, 0.0), (-900.0, FRESH_S)):
            lock, quiet_s = await taken(released_at + later_s)
            assert quiet_s == pytest.approx(expected_s, abs=0.01)
            lock.release()
            os.utime(lock_path(tmp_path / "m.db"), (released_at, released_at))
        lock_path(tmp_path / "m.db").write_text('{"pid": 1}')
        lock, quiet_s = await taken(released_at + 9_000)
        assert quiet_s == FRESH_S
        lock.release()

    asyncio.run(work())

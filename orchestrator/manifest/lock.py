"""Who may write the manifest: an OS lock beside it, so that a dead owner holds nothing.

The lock is ``flock`` on ``<manifest>.lock``; the kernel drops it with the process, however that ends. The
text inside the file says who took it, for people only: nothing is decided by it. The file stays when the lock
is released, because removing it would let two owners hold locks on two files of one name.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orchestrator.core.window import iso_utc
from orchestrator.errors import ManifestLocked, StorageError

__all__ = ["FRESH_S", "LockOwner", "ManifestLock", "lock_path", "owner"]

_PATIENCE_S = 0.3
"""Even who does not want to wait tries this long: `owner` holds the lock for an instant when it looks."""
_POLL_S = 0.01
_LONGEST_POLL_S = 0.5
FRESH_S = 1.05
"""So long a request counts against ``requests_per_second``."""


@dataclass(frozen=True, slots=True)
class LockOwner:
    """Who says to hold a manifest. ``since`` is ISO 8601 UTC; unknown parts are "" and 0."""

    host: str = ""
    pid: int = 0
    since: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid} on {self.host} since {self.since}"


def lock_path(manifest: str | Path) -> Path:
    """Where the lock of ``manifest`` stands."""
    path = Path(manifest).absolute()
    return path.with_name(path.name + ".lock")


def owner(manifest: str | Path) -> LockOwner | None:
    """Who holds ``manifest`` now; None when nobody does. Creates nothing. Raises StorageError."""
    path = lock_path(manifest)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if not _is_held(error):
            raise StorageError(f"lock {path}: {error.strerror}") from error
        return _owner_text(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


class ManifestLock:
    """The right to write one manifest, for one process. Not reentrant; released by ``release`` or by the
    process's end.

    ``now`` gives UTC epoch seconds, for the owner text. Child processes made by ``fork`` would share the
    lock; pools are started with ``spawn``.
    """

    def __init__(self, manifest: str | Path, *, now: Callable[[], float]) -> None:
        self._path = lock_path(manifest)
        self._now = now
        self._descriptor: int | None = None
        self.quiet_s = 0.0
        """How long, once the lock is taken, a request of the owner before may still lie within the last
        second. A killed owner leaves its text behind and not the time of its end."""

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    async def acquire(self, wait_s: float | None = None) -> None:
        """Takes the lock, trying for ``wait_s`` seconds (None: give up at once). Cancelling leaves nothing
        behind.

        Raises ManifestLocked, which names the owner, and StorageError when the file cannot be made.
        """
        if self.held:
            raise RuntimeError("this lock is held already")
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + _PATIENCE_S
        give_up_at = max(loop.time() + (wait_s or 0.0), patient_until)
        while not self._try():
            left_s = give_up_at - loop.time()
            if left_s <= 0:
                raise ManifestLocked(f"manifest {self._path.with_suffix('')} is held by {self._told_owner()}")
            pause_s = _POLL_S if loop.time() < patient_until else _LONGEST_POLL_S
            await asyncio.sleep(min(pause_s, left_s))

    def release(self) -> None:
        """Idempotent."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with suppress(OSError):  # the text is for display; the lock goes with the descriptor either way
            os.ftruncate(descriptor, 0)
            os.utime(descriptor)
        os.close(descriptor)

    @asynccontextmanager
    async def holding(self, wait_s: float | None = None) -> AsyncIterator[ManifestLock]:
        """The lock for the length of a block. Raises as ``acquire``."""
        await self.acquire(wait_s)
        try:
            yield self
        finally:
            self.release()

    def _try(self) -> bool:
        existed = self._path.exists()
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError as error:
            folder = self._path.parent
            if folder.is_dir():
                raise StorageError(f"lock {self._path}: it cannot be made in that folder") from error
            raise StorageError(
                f"the folder {folder} of the manifest does not exist", hint=f"mkdir -p {folder}"
            ) from error
        except OSError as error:
            raise StorageError(f"lock {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if _is_held(error):
                return False
            raise StorageError(f"lock {self._path}: {error.strerror}") from error
        if not _stands_at(self._path, descriptor):
            # Somebody deleted the file between our opening and locking it: who comes next locks another one.
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self.quiet_s = self._still_fresh_s(descriptor) if existed else 0.0
        self._introduce(descriptor)
        return True

    def _still_fresh_s(self, descriptor: int) -> float:
        left = os.fstat(descriptor)
        since_s = 0.0 if left.st_size else max(0.0, self._now() - left.st_mtime)
        return max(0.0, FRESH_S - since_s)

    def _introduce(self, descriptor: int) -> None:
        text = {"host": socket.gethostname(), "pid": os.getpid(), "since": iso_utc(self._now())}
        with suppress(OSError):  # on a full disk the lock holds as well, only nobody reads whose it is
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, orjson.dumps(text) + b"\n", 0)

    def _told_owner(self) -> LockOwner:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # deleted meanwhile, or no descriptor is left: the text is for display only
            return LockOwner()
        try:
            return _owner_text(descriptor)
        finally:
            os.close(descriptor)


def _stands_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _is_held(error: OSError) -> bool:
    return error.errno in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


def _owner_text(descriptor: int) -> LockOwner:
    """What the owner wrote, as far as it can be read: an owner may be between taking the lock and writing."""
    try:
        said: Any = orjson.loads(os.pread(descriptor, 4096, 0))
    except (orjson.JSONDecodeError, OSError):
        return LockOwner()
    if not isinstance(said, dict):
        return LockOwner()
    pid = said.get("pid")
    return LockOwner(
        str(said.get("host", "")), pid if isinstance(pid, int) else 0, str(said.get("since", ""))
    )

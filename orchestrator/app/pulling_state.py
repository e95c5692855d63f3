"""What is kept of a pull? Its manifest and its files, in the user's state folder, so that the same line goes
on where an earlier one was stopped.

A pull that is complete leaves nothing behind there. One that is not keeps what it has. The same line then
takes it up with *its* window, also when that was given relative to now, as long as it is younger than the
window is long; after that it begins anew, and what the old one had at the service is deleted there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.app.pull import JOB, Pull, narrowed
from orchestrator.core.model import SliceState
from orchestrator.core.window import Window
from orchestrator.engine.coverage import all_slices
from orchestrator.errors import OrchestratorError, StorageError

if TYPE_CHECKING:
    from orchestrator.app.wiring import House, Outside
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.ports.store import ManifestReader

__all__ = [
    "LET_GO",
    "NOTE",
    "Opened",
    "has_delivered",
    "has_tasks",
    "is_begun",
    "let_go",
    "note_delivery",
    "pulling",
    "remove",
]

NOTE = "pull.json"
"""What a line that can be taken up has in its folder; its date is that of the last such line."""
LET_GO = "let_go.json"
"""The same, of a line that is over but could not delete all it had at the service."""
_VERSION = 1
_NOTHING_YET = (SliceState.PLANNED, SliceState.EMPTY, SliceState.FAILED)


@dataclass(slots=True)
class Opened:
    """A pull at work. ``gone``: its state is to be removed when it ends."""

    pull: Pull
    house: House
    gone: bool = False


@asynccontextmanager
async def pulling(pull: Pull, outside: Outside, *, wait_s: float = 0.0) -> AsyncIterator[Opened]:
    """The house of a pull, its state locked: of the one that the same line began before, or of a new one.
    What was let go meanwhile is gone when this ends.

    Raises ManifestLocked when the same line runs already, StorageError, CredentialsError, UsageError.
    """
    from orchestrator.app.wiring import furnished
    from orchestrator.manifest.lock import ManifestLock
    from orchestrator.manifest.store import open_writer

    now = outside.clock.now
    manifest_path = pull.job_file.manifest
    async with _held(pull.folder, ManifestLock(manifest_path, now=now), wait_s) as lock:
        is_new = not _exists(manifest_path)
        stored = _stored(pull.folder)
        taken = _taken_up(pull, stored, now())
        if not taken.resumed:
            remove(pull.folder / "archive")
            _note(taken)
        else:
            with suppress(OSError):
                os.utime(pull.folder / NOTE)
        opened: Opened | None = None
        try:
            async with (
                open_writer(manifest_path, now=now, new_id=lambda: outside.rng.token_hex(8)) as manifest,
                furnished(taken.job_file, manifest, outside, quiet_s=lock.quiet_s) as house,
            ):
                if not taken.resumed:
                    await manifest.forget(JOB, None, now())
                opened = Opened(taken, house)
                yield opened
        except OrchestratorError:
            if opened is None and is_new:
                remove(pull.folder)
            raise
        if opened.gone:  # still locked: nobody else has begun in there
            remove(pull.folder)


async def has_tasks(manifest: ManifestReader) -> bool:
    """Whether something at the service waits for nobody else: what unfinished slices have there, what was let
    go, what a create in doubt may have made. What stands behind a stored file is the service's own record."""
    if any(slice_.task is not None for slice_ in await manifest.live(JOB)):
        return True
    return bool(await manifest.surplus(JOB) or await manifest.in_doubt_since(0.0))


async def is_begun(manifest: ManifestReader) -> bool:
    """Whether there is anything, here or at the service, that the same line could go on with. What was
    planned, proven empty or refused is as soon found out again."""
    states = (await manifest.counts(JOB)).slices
    if any(number for state, number in states.items() if state not in _NOTHING_YET):
        return True
    async for slice_ in all_slices(manifest, JOB, (SliceState.FAILED,)):
        if slice_.published_path or (slice_.task is not None and slice_.task.uuid):
            return True
    return await has_tasks(manifest)


async def let_go(opened: Opened, *, unfinished: bool) -> None:
    """The rows are where they belong: the state goes. ``unfinished``: slices that nobody wants any more are
    dropped, and their remote tasks deleted, first. When remote tasks could not be deleted the manifest stays,
    without a single row, for the same line to delete them."""
    from orchestrator.engine.clean import Surplus, delete_surplus

    pull, house = opened.pull, opened.house
    manifest = house.room.manifest
    (context,) = house.contexts
    if unfinished:
        await manifest.forget(JOB, None, house.room.clock.now())
        mine = [Surplus(context, task, "let go") for task in await manifest.surplus(JOB) if task.uuid]
        await delete_surplus(mine, house.room)
    remove(pull.folder / "archive")
    with suppress(OSError):
        (pull.folder / NOTE).replace(pull.folder / LET_GO)
    opened.gone = not await manifest.surplus(JOB)


def note_delivery(pull: Pull, part: Path, path: Path) -> None:
    """``part`` is about to become ``path``: whoever goes on with this pull may put another in its place;
    where that cannot be noted, only with --force."""
    with suppress(StorageError):
        _note(pull, _marks_of(part, path))


def has_delivered(pull: Pull, path: Path, now_s: float) -> bool:
    """Whether the file ``path`` is what an earlier line made of the pull that this one goes on with, and
    nobody changed it since."""
    stored = _stored(pull.folder)
    if stored is None or not _taken_up(pull, stored, now_s).resumed:
        return False
    try:
        return stored.delivered == _marks_of(path, path)
    except StorageError:
        return False


def _marks_of(file: Path, path: Path) -> dict[str, str | int]:
    """Those of ``file`` that a change of its name to ``path`` leaves as they are."""
    try:
        found = file.lstat()
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror or error}") from error
    return {
        "path": str(path),
        "device": found.st_dev,
        "inode": found.st_ino,
        "size_bytes": found.st_size,
        "modified_at_ns": found.st_mtime_ns,
    }


@asynccontextmanager
async def _held(folder: Path, lock: ManifestLock, wait_s: float) -> AsyncIterator[ManifestLock]:
    """The lock in a folder that is there, also when who held it before took the folder away with it."""
    while not lock.held:
        _make_private(folder)
        try:
            await lock.acquire(wait_s)
        except StorageError:
            if _is_folder(folder):
                raise
    try:
        yield lock
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class _Stored:
    window: Window
    begun_at: float
    delivered: object = None


def _stored(folder: Path) -> _Stored | None:
    """None when there is nothing to take up; what cannot be read counts as nothing."""
    try:
        found = json.loads((folder / NOTE).read_bytes())
        if found["version"] != _VERSION or not (folder / "pull.db").exists():
            return None
        window = Window(int(found["from_s"]), int(found["to_s"]))
        return _Stored(window, float(found["begun_at"]), found.get("delivered"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _taken_up(pull: Pull, stored: _Stored | None, now_s: float) -> Pull:
    """The pull with the window of an earlier line: of the same one, or of one that is younger than its window
    is long. A clock that was set back makes none too old."""
    if stored is None:
        return pull
    if stored.window != pull.window and now_s - stored.begun_at >= stored.window.length_s:
        return pull
    job = narrowed(pull.job, stored.window)
    return replace(pull, job_file=replace(pull.job_file, jobs=(job,)), begun_at=stored.begun_at, resumed=True)


def _note(pull: Pull, delivered: object = None) -> None:
    """On disk before anything is asked for: a kill from here on leaves something to take up."""
    identity = pull.job.identity
    text = json.dumps(
        {
            "version": _VERSION,
            "from_s": pull.window.start_s,
            "to_s": pull.window.end_s,
            "begun_at": pull.begun_at,
            "service": identity.service,
            "credentials": pull.job.service.credentials,
            "project": identity.project,
            "logstore": f"{identity.project}/{identity.logstore}",
            "query": identity.query,
            "delivered": delivered,
        }
    )
    place = pull.folder / NOTE
    part = place.with_suffix(".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    except OSError as error:
        raise StorageError(f"{place} cannot be written: {error.strerror or error}") from error


def _make_private(folder: Path) -> None:
    """Logs are nobody else's business. Raises StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {folder} cannot be made: {error.strerror or error}",
            hint="set XDG_STATE_HOME to a folder that can be written",
        ) from error


def _exists(place: str) -> bool:
    return Path(place).exists()


def _is_folder(place: Path) -> bool:
    return place.is_dir()


def remove(place: Path) -> None:
    """A folder and all in it; absent is fine. Raises StorageError when rows would stay behind unsaid."""
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{place} cannot be removed: {error.strerror or error}") from error

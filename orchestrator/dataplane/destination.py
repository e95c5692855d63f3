"""Where finished files stand: one folder, whose files appear under their final names whole or not at all.

A file is linked from the staging area to its final name, which fails when anything stands there, so a foreign
file cannot be overwritten even if it appears in the same instant. File systems without hard links get a look
and then a rename.

Names are resolved one folder at a time from the destination's root. A symbolic link on the way is followed
only when it leads to a place inside the destination; one that leads outside makes the path occupied, and so
does a symbolic link at the final name itself.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from orchestrator.dataplane.rowcount import rows_in
from orchestrator.dataplane.staging import FOLDER, SUFFIXES, storage_faults, sync_folder
from orchestrator.errors import IntegrityError, PathOccupied, StorageError
from orchestrator.ports.files import Publication, PublishOutcome

__all__ = ["FolderDestination", "stale_staging"]

T = TypeVar("T")

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_OF_ONE_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EXDEV})
"""What concerns one publication and not the whole destination; EXDEV is a disk mounted inside it."""
_BLOCK_BYTES: Final = 1 << 20
_STAGED_NAME: Final = re.compile(
    rf"([a-z0-9-]{{1,128}})(?:{'|'.join(re.escape(suffix) for suffix in SUFFIXES)})"
)


class FolderDestination:
    """``ports.files.Destination`` for a local folder. ``root`` is absolute; paths are relative to it, or
    absolute and inside.

    New folders and files get the rights the process's umask leaves them.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._certain: set[str] = set()
        """Folders whose names are known to be on disk. One that merely stands may have been made by a process
        that died before it synced, or by a batch that has not synced yet."""

    async def publish(self, batch: Sequence[Publication]) -> tuple[PublishOutcome, ...]:
        return await _off_loop(partial(_publish, self._root, tuple(batch), self._certain))

    async def staged_intact(self, staged_path: str, sha256: str, size_bytes: int) -> bool:
        return not await _off_loop(partial(_complaint, staged_path, size_bytes, sha256))

    async def discard(self, staged_path: str) -> None:
        await _off_loop(partial(_discard, staged_path))

    async def retire(self, path: str, sha256: str) -> bool:
        return await _off_loop(partial(_retire, os.path.join(self._root, path), sha256))

    async def check(self, path: str, *, size_bytes: int, sha256: str | None) -> str:
        return await _off_loop(partial(_complaint, os.path.join(self._root, path), size_bytes, sha256))

    async def rows(self, path: str, *, form: str, time_field: str, expected: int) -> int | None:
        return await _off_loop(partial(rows_in, os.path.join(self._root, path), form, time_field, expected))


def stale_staging(folder: str, keep: set[str]) -> list[str]:
    """The files of a destination's staging area that belong to no attempt key in ``keep``, sorted. Files this
    package did not name are never listed. Raises StorageError."""
    area = os.path.join(folder, FOLDER)
    try:
        with storage_faults(area):
            names = os.listdir(area)
    except StorageError:
        if not os.path.exists(area):
            return []
        raise
    found = [(match, name) for name in names if (match := _STAGED_NAME.fullmatch(name))]
    return sorted(os.path.join(area, name) for match, name in found if match.group(1) not in keep)


async def _off_loop(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, work)


class _EscapesError(Exception):
    """A name leads outside the destination, or through something that is no folder."""


class _Folders:
    """What a batch must sync: folders in which names were made, and those above a folder not known to be
    certain."""

    def __init__(self, certain: set[str]) -> None:
        self.to_sync: dict[str, None] = {}
        self._certain = certain
        self._met: set[str] = set()

    def met(self, folder: str, above: str, *, made: bool) -> None:
        if made or folder not in self._certain:
            self.to_sync[above] = None
            self._met.add(folder)

    def sync(self) -> None:
        for folder in self.to_sync:
            sync_folder(folder)
        self._certain |= self._met


def _publish(root: str, batch: tuple[Publication, ...], certain: set[str]) -> tuple[PublishOutcome, ...]:
    folders = _Folders(certain)
    outcomes: list[PublishOutcome] = []
    placed: list[str] = []
    with storage_faults(root):
        for item in batch:
            try:
                outcomes.append(_place(root, item, folders))
            except OSError as error:
                if error.errno not in _OF_ONE_NAME:
                    raise
                outcomes.append(PublishOutcome(item.key, StorageError(f"{item.path}: {error.strerror}")))
            if outcomes[-1].error is None:
                placed.append(item.staged_path)
        folders.sync()
        for staged in placed:  # only now: until the names are durable the staged file is the one that counts
            _discard(staged)
    return tuple(outcomes)


def _place(root: str, item: Publication, folders: _Folders) -> PublishOutcome:
    """Gives the staged file its final name; ``folders`` collects what must be synced."""
    try:
        parent, name = _parent_of(root, item.path, folders)
    except _EscapesError as error:
        return PublishOutcome(item.key, PathOccupied(f"{item.path}: {error}"))
    final = os.path.join(parent, name)
    folders.to_sync[parent] = None
    staged_stands = _size(item.staged_path) == item.size_bytes
    if staged_stands and _linked(item.staged_path, final):
        return PublishOutcome(item.key)
    there = _lstat(final)
    if there is not None and _is_ours(final, there, item):
        _sync_file(final)
        return PublishOutcome(item.key)
    if not staged_stands:
        message = f"{item.path}: neither the staged nor the published file is there"
        return PublishOutcome(item.key, IntegrityError(message), lost=True)
    if item.replaces_own and there is not None and stat.S_ISREG(there.st_mode):
        os.replace(item.staged_path, final)
        return PublishOutcome(item.key)
    return PublishOutcome(item.key, PathOccupied(f"{item.path}: a file that is not ours stands there"))


def _linked(staged: str, final: str) -> bool:
    """True when the staged file now has the final name too, False when something else has it."""
    try:
        os.link(staged, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _lstat(final) is not None:
            return False
        os.rename(staged, final)
    return True


def _parent_of(root: str, path: str, folders: _Folders) -> tuple[str, str]:
    """The real folder a path's last name stands in, made when missing, and that name. Raises
    _EscapesError."""
    relative = os.path.relpath(path, root) if os.path.isabs(path) else path
    names = [name for name in relative.split(os.sep) if name not in ("", ".")]
    if not names or ".." in names:
        raise _EscapesError("the path leads outside the destination")
    os.makedirs(root, exist_ok=True)
    real_root = os.path.realpath(root)
    at = real_root
    for name in names[:-1]:
        below = os.path.join(at, name)
        there = _lstat(below)
        if there is None:
            with suppress(FileExistsError):
                os.mkdir(below)
        folders.met(below, at, made=there is None)
        there = os.lstat(below)
        if stat.S_ISLNK(there.st_mode):
            below = os.path.realpath(below)
            if os.path.commonpath((real_root, below)) != real_root:
                raise _EscapesError(f"{name} is a symbolic link that leads outside the destination")
        if not os.path.isdir(below):
            raise _EscapesError(f"{name} is no folder")
        at = below
    return at, names[-1]


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _size(path: str) -> int | None:
    """Of a regular file, not through a symbolic link; None when there is none."""
    there = _lstat(path)
    return there.st_size if there is not None and stat.S_ISREG(there.st_mode) else None


def _is_ours(final: str, there: os.stat_result, item: Publication) -> bool:
    if not stat.S_ISREG(there.st_mode) or there.st_size != item.size_bytes:
        return False
    return _digest(final) == item.sha256


def _digest(path: str) -> str:
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            sha.update(block)
    return sha.hexdigest()


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complaint(path: str, size_bytes: int, sha256: str | None) -> str:
    """What is wrong with a file: "", ``missing``, ``not a file``, ``size differs`` or ``digest differs``. One
    that cannot be looked at is none of these: raises StorageError."""
    with storage_faults(path):
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return "not a file"
            if found.st_size != size_bytes:
                return "size differs"
            return "digest differs" if sha256 is not None and _digest(path) != sha256 else ""
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return (
                "not a file" if os.path.lexists(path) else "missing"
            )  # a link that leads nowhere stands there


def _retire(path: str, sha256: str) -> bool:
    """Delete a published file if its bytes are the ones the ledger knows; False leaves a changed one
    alone."""
    with storage_faults(path):
        try:
            if os.path.islink(path) or _digest(path) != sha256:
                return False
            os.unlink(path)
        except FileNotFoundError:
            return True
        sync_folder(os.path.dirname(path))
        return True


def _discard(staged_path: str) -> None:
    if not staged_path:
        return
    stem = staged_path.removesuffix(".staged")
    with storage_faults(staged_path):
        for path in (staged_path, *(stem + suffix for suffix in SUFFIXES)):
            with suppress(FileNotFoundError):
                os.unlink(path)

"""What does Python code do to files below a folder? ``os`` itself is watched, so nobody can pass unseen.

While watched, every call of ``os`` that changes or syncs something below the log's root is written down, and
``reached`` is told right before: raising there is a process that dies between two steps. SQLite does not go
through ``os``: see ``sqlitewatch``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from orchestrator.testing.disklog import Cut, DiskLog, FolderMade, FolderSynced, Synced, Wrote

__all__ = ["OsWatch", "kind_of"]

_KINDS: Final = (".part.json.new", ".part.json", ".part", ".draft", ".staged")


def kind_of(path: str) -> str:
    """What a file is in the data plane, by its name: ``.part``, ``.staged`` …, or ``final``."""
    return next((suffix for suffix in _KINDS if path.endswith(suffix)), "final")


class OsWatch:
    """Context manager: ``os`` is watched inside. One at a time; single-threaded programs only."""

    def __init__(self, log: DiskLog, reached: Callable[[str], None] = lambda _: None) -> None:
        self._log = log
        self._reached = reached
        self._real: dict[str, Any] = {}
        self._open: dict[int, int | str] = {}
        """What a descriptor stands for: the number of a file, or the path of a folder."""

    def __enter__(self) -> Self:
        for name in dir(type(self)):
            if name.startswith("os_") and hasattr(os, name[3:]):  # macOS has no fdatasync
                self._real[name[3:]] = getattr(os, name[3:])
                setattr(os, name[3:], getattr(self, name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        self._real.clear()
        self._open.clear()

    # --- descriptors ---

    def os_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        mine = self._mine(path, dir_fd)
        if mine is None:
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        stood = os.path.lexists(mine)
        cuts = bool(flags & os.O_TRUNC) and stood and os.path.getsize(mine) > 0
        if cuts or not stood:
            self._reached(f"disk.{'cut' if stood else 'create'} {kind_of(mine)}")
        descriptor = int(self._real["open"](path, flags, mode))
        if os.path.isdir(mine):
            self._open[descriptor] = mine
            return descriptor
        self._open[descriptor] = number = self._log.file(mine) if stood else self._log.made(mine)
        if cuts:
            self._log.note(Cut(number, 0))
        return descriptor

    def os_dup(self, descriptor: int) -> int:
        copy = int(self._real["dup"](descriptor))
        if descriptor in self._open:
            self._open[copy] = self._open[descriptor]
        return copy

    def os_close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._real["close"](descriptor)

    def os_write(self, descriptor: int, content: Any) -> int:
        number = self._open.get(descriptor)
        if not isinstance(number, int):
            return int(self._real["write"](descriptor, content))
        self._reached("disk.write")
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        size = int(self._real["write"](descriptor, content))
        self._log.note(Wrote(number, at, bytes(content[:size])))
        return size

    def os_ftruncate(self, descriptor: int, size: int) -> None:
        number = self._open.get(descriptor)
        if isinstance(number, int) and os.fstat(descriptor).st_size != size:
            self._reached("disk.cut .part")
            self._log.note(Cut(number, size))
        self._real["ftruncate"](descriptor, size)

    def os_fsync(self, descriptor: int) -> None:
        self._sync("fsync", descriptor)

    def os_fdatasync(self, descriptor: int) -> None:
        self._sync("fdatasync", descriptor)

    def _sync(self, how: str, descriptor: int) -> None:
        self._real[how](descriptor)
        match self._open.get(descriptor):
            case int(number):
                self._reached("disk.sync")
                self._log.note(Synced(number))
            case str(folder):
                self._reached("disk.sync")
                self._log.note(FolderSynced(folder))
            case None:
                pass

    # --- names ---

    def os_mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mine = self._mine(path, dir_fd)
        if mine is not None and not os.path.lexists(mine):
            self._reached("disk.mkdir")
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        if mine is not None:
            self._log.note(FolderMade(mine))

    def os_link(
        self,
        src: Any,
        dst: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        target = self._mine(dst, dst_dir_fd)
        if target is None:
            self._real["link"](src, dst, follow_symlinks=follow_symlinks)
            return
        if not os.path.lexists(target):
            self._reached(f"disk.link {kind_of(target)}")
        self._real["link"](src, dst, follow_symlinks=follow_symlinks)
        source = self._log.below(src)
        self._log.named(target, self._log.file(source or str(src)))

    def os_rename(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        self._move("rename", src, dst, src_dir_fd, dst_dir_fd)

    def os_replace(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        self._move("replace", src, dst, src_dir_fd, dst_dir_fd)

    def _move(self, how: str, src: Any, dst: Any, src_dir_fd: int | None, dst_dir_fd: int | None) -> None:
        source, target = self._mine(src, src_dir_fd), self._mine(dst, dst_dir_fd)
        if (source is None) != (target is None):
            raise LookupError(f"{src} and {dst} do not both lie below {self._log.root}")
        if source is None or target is None:
            self._real[how](src, dst)
            return
        if os.path.lexists(source):
            self._reached(f"disk.move {kind_of(target)}")
        self._real[how](src, dst)
        self._log.moved(source, target)

    def os_unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._remove("unlink", path, dir_fd)

    def os_remove(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._remove("remove", path, dir_fd)

    def _remove(self, how: str, path: Any, dir_fd: int | None) -> None:
        mine = self._mine(path, dir_fd)
        if mine is not None and os.path.lexists(mine):
            self._reached(f"disk.remove {kind_of(mine)}")
        self._real[how](path, dir_fd=dir_fd)
        if mine is not None:
            self._log.removed(mine)

    def _mine(self, path: Any, dir_fd: int | None) -> str | None:
        if isinstance(path, int):
            return None
        return self._log.below(os.fsdecode(path)) if dir_fd is None else None

"""What does SQLite do to its files? A layer between it and the system, in the very library Python uses.

SQLite reaches files through a table of functions, its VFS (sqlite.org/vfs.html). A copy of the default one is
registered in its place; files opened through it get a copy of their method table in which writing, cutting,
syncing and closing write a log first. The structures are those of sqlite3.h, which only ever grow at their
ends.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from orchestrator.testing.disklog import Cut, DiskLog, FolderSynced, Synced, Wrote

__all__ = ["SqliteWatch", "SymbolsHidden", "sqlite_library"]

_OK: Final = 0
_IOERR: Final = 10
_OPEN_CREATE: Final = 0x4
_OPEN_MAIN_JOURNAL: Final = 0x800
_OPEN_SUPER_JOURNAL: Final = 0x4000
_OPEN_WAL: Final = 0x80000
_JOURNALS: Final = _OPEN_MAIN_JOURNAL | _OPEN_SUPER_JOURNAL | _OPEN_WAL

_P = ctypes.c_void_p
_I = ctypes.c_int
_I64 = ctypes.c_int64


class SymbolsHidden(RuntimeError):
    """Python's own SQLite cannot be watched: it was linked without showing its functions."""


_Open = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, ctypes.POINTER(_I))
_Delete = ctypes.CFUNCTYPE(_I, _P, ctypes.c_char_p, _I)
_Close = ctypes.CFUNCTYPE(_I, _P)
_Write = ctypes.CFUNCTYPE(_I, _P, _P, _I, _I64)
_Truncate = ctypes.CFUNCTYPE(_I, _P, _I64)
_Sync = ctypes.CFUNCTYPE(_I, _P, _I)


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_: ClassVar = [
        ("iVersion", _I),
        ("szOsFile", _I),
        ("mxPathname", _I),
        ("pNext", _P),
        ("zName", ctypes.c_char_p),
        ("pAppData", _P),
        ("xOpen", _P),
        ("xDelete", _P),
        *((name, _P) for name in ("xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose")),
        *((name, _P) for name in ("xRandomness", "xSleep", "xCurrentTime", "xGetLastError")),
        *(
            (name, _P)
            for name in ("xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall", "xNextSystemCall")
        ),
    ]


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_: ClassVar = [
        ("iVersion", _I),
        *((name, _P) for name in ("xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize")),
        *((name, _P) for name in ("xLock", "xUnlock", "xCheckReservedLock", "xFileControl", "xSectorSize")),
        *(
            (name, _P)
            for name in ("xDeviceCharacteristics", "xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap")
        ),
        *((name, _P) for name in ("xFetch", "xUnfetch")),
    ]


def sqlite_library() -> ctypes.CDLL:
    """The library behind Python's ``sqlite3``, with the functions needed here declared. Raises
    SymbolsHidden."""
    module = sys.modules.get("_sqlite3")
    path = getattr(module, "__file__", None)
    library = ctypes.CDLL(path)  # None: built into the interpreter
    try:
        find, register, version = (
            library.sqlite3_vfs_find,
            library.sqlite3_vfs_register,
            library.sqlite3_libversion,
        )
    except AttributeError as error:
        raise SymbolsHidden(
            f"{path or sys.executable} does not show sqlite3_vfs_find and sqlite3_vfs_register: its SQLite "
            "is linked statically. Use one that links libsqlite3 dynamically, as Debian's does"
        ) from error
    version.restype = ctypes.c_char_p
    if version().decode() != sqlite3.sqlite_version:
        raise SymbolsHidden(
            f"found SQLite {version().decode()}, but Python's own is {sqlite3.sqlite_version}"
        )
    find.restype, find.argtypes = ctypes.POINTER(_Vfs), [ctypes.c_char_p]
    register.restype, register.argtypes = _I, [ctypes.POINTER(_Vfs), _I]
    return library


class SqliteWatch:
    """Context manager: files that SQLite opens below the log's root inside it are watched until they are
    closed.

    ``reached`` is told right before each step; when it raises, the step is not done and SQLite is told of an
    I/O error, as it is from then on: nothing a dead process tries reaches the disk. ``lazy`` leaves out the
    syncs themselves: for reading thousands of rebuilt disks.
    """

    def __init__(
        self, log: DiskLog | None, reached: Callable[[str], None] = lambda _: None, *, lazy: bool = False
    ) -> None:
        self._log = log
        self._reached = reached
        self._lazy = lazy
        self._library = sqlite_library()
        self._default = self._library.sqlite3_vfs_find(None)
        self._files: dict[int, int] = {}
        self._unsynced_names: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        self._kept: list[Any] = []
        self._vfs = self._copy()
        self.syncs = 0

    def __enter__(self) -> Self:
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._library.sqlite3_vfs_register(self._default, 1)
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        _OUTLIVING.append(self)  # a file still open goes on calling what was copied here

    # --- the copied tables ---

    def _copy(self) -> _Vfs:
        copy = _Vfs()
        ctypes.memmove(ctypes.byref(copy), self._default, ctypes.sizeof(_Vfs))
        if copy.iVersion < 3:
            raise SymbolsHidden(f"SQLite's VFS has version {copy.iVersion}, not 3")
        copy.zName = f"watched-{id(self)}".encode()
        real_open = _Open(copy.xOpen)
        real_delete = _Delete(copy.xDelete)
        address = ctypes.cast(self._default, _P)

        def opened(_vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
            path = self._below(ctypes.string_at(name) if name else b"")
            stood = path is not None and os.path.lexists(path)
            if (
                path is not None
                and not stood
                and flags & _OPEN_CREATE
                and not self._may("disk.sqlite create")
            ):
                return _IOERR
            code = int(real_open(address, name, file, flags, out))
            if code == _OK and (path is not None or self._lazy):
                self._watch(file, path, flags, stood=stood)
            return code

        def deleted(_vfs: int, name: bytes, folder_too: int) -> int:
            path = self._below(name)
            known = path is not None and self._log is not None and self._log.known(path)
            if known and not self._may("disk.sqlite delete"):
                return _IOERR
            code = int(real_delete(address, name, folder_too))
            if code == _OK and known and path is not None and self._log is not None:
                self._log.removed(path)
                if folder_too & 1:
                    self._log.note(FolderSynced(os.path.dirname(path)))
            return code

        for field, function in (("xOpen", _Open(opened)), ("xDelete", _Delete(deleted))):
            self._kept.append(function)
            setattr(copy, field, ctypes.cast(function, _P).value)
        self._kept += [real_open, real_delete]
        return copy

    def _watch(self, file: int, path: str | None, flags: int, *, stood: bool) -> None:
        """Give a file that was just opened our method table; ``file`` is the address of its
        sqlite3_file."""
        slot = ctypes.cast(file, ctypes.POINTER(ctypes.POINTER(_Methods)))
        original = ctypes.addressof(slot[0].contents)
        if original not in self._tables:
            self._tables[original] = self._methods(slot[0].contents)
        slot[0] = ctypes.pointer(self._tables[original])
        if path is None or self._log is None:
            return
        self._files[file] = self._log.file(path) if stood else self._log.made(path)
        if flags & _OPEN_CREATE and flags & _JOURNALS:
            # os_unix.c, unixOpen and unixSync: the first sync of a new journal or log syncs its folder too.
            self._unsynced_names[file] = os.path.dirname(path)

    def _methods(self, original: _Methods) -> _Methods:
        copy = _Methods()
        size = ctypes.sizeof(_Methods)
        if original.iVersion < 3:
            size = _Methods.xFetch.offset if original.iVersion == 2 else _Methods.xShmMap.offset
        ctypes.memmove(ctypes.byref(copy), ctypes.byref(original), size)
        real_close, real_write = _Close(original.xClose), _Write(original.xWrite)
        real_truncate, real_sync = _Truncate(original.xTruncate), _Sync(original.xSync)

        def closed(file: int) -> int:
            self._files.pop(file, None)
            self._unsynced_names.pop(file, None)
            return int(real_close(file))

        def wrote(file: int, content: int, size: int, at: int) -> int:
            number = self._files.get(file)
            if number is not None and not self._may("disk.sqlite write"):
                return _IOERR
            code = int(real_write(file, content, size, at))
            if number is not None and self._log is not None and code == _OK:
                self._log.note(Wrote(number, at, ctypes.string_at(content, size)))
            return code

        def truncated(file: int, size: int) -> int:
            number = self._files.get(file)
            if number is not None and not self._may("disk.sqlite cut"):
                return _IOERR
            code = int(real_truncate(file, size))
            if number is not None and self._log is not None and code == _OK:
                self._log.note(Cut(number, size))
            return code

        def synced(file: int, flags: int) -> int:
            number = self._files.get(file)
            if number is not None and not self._may("disk.sqlite sync"):
                return _IOERR
            code = _OK if self._lazy else int(real_sync(file, flags))
            if number is not None and self._log is not None and code == _OK:
                self.syncs += 1
                self._log.note(Synced(number))
                if (folder := self._unsynced_names.pop(file, None)) is not None:
                    self._log.note(FolderSynced(folder))
            return code

        ours = {
            "xClose": _Close(closed),
            "xWrite": _Write(wrote),
            "xTruncate": _Truncate(truncated),
            "xSync": _Sync(synced),
        }
        for field, function in ours.items():
            self._kept.append(function)
            setattr(copy, field, ctypes.cast(function, _P).value)
        self._kept += [real_close, real_write, real_truncate, real_sync, copy]
        return copy

    def _below(self, name: bytes) -> str | None:
        return self._log.below(os.fsdecode(name)) if self._log is not None and name else None

    def _may(self, step: str) -> bool:
        """Whether the process still lives. No exception can pass through SQLite: the crash is kept by whoever
        raised it and raised again at the next chance outside."""
        try:
            self._reached(step)
        except BaseException:  # noqa: BLE001  told to SQLite as an I/O error, and raised again outside
            return False
        return True


_OUTLIVING: list[SqliteWatch] = []

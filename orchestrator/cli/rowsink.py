"""How do rows reach stdout or a file? Bytes as they are; a reader that waits or leaves holds nothing up."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from orchestrator.cli.newname import check_name, place
from orchestrator.errors import DiskFull, StorageError

__all__ = ["FileRows", "Rows", "StdoutRows"]

LAST_WORDS_S = 1.0
"""How long a block that is half written may still wait for its reader once the end was ordered."""
_LOOK_S = 0.1


class Rows(Protocol):
    """A sink of rows, as ``app.pulling_rows.RowSink``. ``begin`` comes before the first row, ``finish`` makes
    all of it whole, ``discard`` leaves nothing."""

    reader_left: bool

    def begin(self) -> None: ...

    def write(self, rows: bytes) -> bool: ...

    def stop(self) -> None: ...

    def finish(self) -> None: ...

    def discard(self) -> None: ...


class StdoutRows:
    """Rows to stdout. A pipe is only written to when it takes a piece without waiting, so that a reader that
    stands still can be left at any time."""

    def __init__(self) -> None:
        self.reader_left = False
        self._stopped = threading.Event()
        self._stopped_at = 0.0
        self._descriptor = sys.stdout.fileno()
        waits = not stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._step = select.PIPE_BUF if waits else 1 << 20
        self._waits = waits

    def begin(self) -> None:
        """Nothing to prepare."""

    def write(self, rows: bytes) -> bool:
        if self._stopped.is_set() or self.reader_left:
            return False
        left = memoryview(rows)
        try:
            while left:
                if self._waits and not select.select([], [self._descriptor], [], _LOOK_S)[1]:
                    if self._stopped.is_set() and time.monotonic() > self._stopped_at + LAST_WORDS_S:
                        return False
                    continue
                left = left[self._written(left[: self._step]) :]
        except BrokenPipeError:
            self.reader_left = True
            return False
        except OSError as error:
            raise _told("stdout", error) from error
        return not self._stopped.is_set()

    def _written(self, piece: memoryview) -> int:
        try:
            return os.write(self._descriptor, piece)
        except BlockingIOError:  # somebody made it so; the next look waits
            return 0

    def stop(self) -> None:
        self._stopped_at = time.monotonic()
        self._stopped.set()

    def finish(self) -> None:
        """Everything is written already."""

    def discard(self) -> None:
        """What was read cannot be taken back."""


class FileRows:
    """A file beside its final name until ``finish``; a file that stands there is replaced only with
    ``replace``. ``key`` names what is written, so that whoever goes on after a kill takes the place of what
    that left. Raises UsageError when the name is taken, StorageError, DiskFull."""

    def __init__(self, path: str, key: str, *, replace: bool) -> None:
        self.reader_left = False
        self._stopped = threading.Event()
        self.path = Path(path).absolute()
        self.part = self.path.with_name(f".{self.path.name}.{key}.part")
        self._file: io.FileIO | None = None
        self._replace = replace
        check_name(self.path, replace=replace)

    def begin(self) -> None:
        try:
            self._file = io.FileIO(self.part, "wb")
        except OSError as error:
            raise _told(str(self.path), error) from error

    def write(self, rows: bytes) -> bool:
        if self._stopped.is_set():
            return False
        left = memoryview(rows)
        try:
            while left:
                left = left[self._open().write(left) or 0 :]
        except OSError as error:
            raise _told(str(self.path), error) from error
        return not self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()

    def finish(self) -> None:
        """Sync and rename."""
        try:
            os.fsync(self._open().fileno())
            self._open().close()
            place(self.part, self.path, replace=self._replace)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _told(str(self.path), error) from error

    def discard(self) -> None:
        """Leave nothing behind; harmless after ``finish``."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it is thrown away all the same
                self._file.close()
                self.part.unlink(missing_ok=True)

    def _open(self) -> io.FileIO:
        if self._file is None:
            self.begin()
        assert self._file is not None  # noqa: S101  ``begin`` opens it
        return self._file


def _told(place: str, error: OSError) -> StorageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return (DiskFull if full else StorageError)(f"{place} cannot be written: {error.strerror or error}")

"""How does a result reach a file? Under its name only when it is complete, and on disk when we say so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol

from orchestrator.errors import DiskFull, StorageError

__all__ = ["Outfile", "Sink"]


class Sink(Protocol):
    """Where text of a result goes; ``broken`` when nobody takes it any more."""

    broken: bool

    def write(self, text: str) -> None: ...

    def line(self, text: str = "") -> None: ...

    def flush(self) -> None: ...


class Outfile:
    """A file beside its final name until ``finish``; a device or a pipe is written to as it is, and never
    replaced. Raises StorageError, DiskFull."""

    def __init__(self, path: str) -> None:
        self.broken = False
        self._path = Path(path).absolute()
        self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        self._is_device = self._path.exists() and not (self._path.is_file() or self._path.is_dir())
        self._file: TextIOWrapper | None = None

    def write(self, text: str) -> None:
        with self._told():
            if self._file is None:
                place = self._path if self._is_device else self._part
                self._file = place.open("w", encoding="utf-8", newline="")
            self._file.write(text)

    def write_bytes(self, piece: bytes) -> None:
        self.write("")
        with self._told():
            assert self._file is not None  # noqa: S101  write has opened it
            self._file.flush()
            self._file.buffer.write(piece)

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    def flush(self) -> None:
        """Nothing is shown before ``finish``."""

    def finish(self) -> None:
        """Sync and rename; a file that stood there is replaced."""
        with self._told():
            self.write("")
            assert self._file is not None  # noqa: S101  write has opened it
            self._file.flush()
            if self._is_device:
                self._file.close()
                return
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Leave nothing behind; harmless after ``finish``."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it is thrown away all the same
                self._file.close()
        self._part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        import errno

        try:
            yield
        except OSError as error:
            self.broken = True
            kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
            raise kind(f"{self._path} cannot be written: {error.strerror or error}") from error

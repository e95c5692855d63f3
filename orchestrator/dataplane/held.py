"""What stands for the part file, and for a draft, of a file small enough to be held in memory?

Nothing of it is on disk before the artifact is: fetching it again costs less than recording how far it was
fetched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from orchestrator.dataplane.staging import storage_faults, write_all

__all__ = ["HeldFile"]


class HeldFile:
    """``staging.AppendFile`` in memory; one thread at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self.offset_bytes = 0
        self._pieces: list[bytes] = []

    @property
    def source(self) -> bytes:
        """What ``decode.decoded`` reads."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def open(self, keep_bytes: int) -> None:
        """Empty: nothing was kept."""
        if not self.is_open:
            self.is_open = True
            self.cut()

    def reopen(self, keep_bytes: int) -> bool:
        return self.is_open and self.offset_bytes >= keep_bytes

    def cut(self) -> None:
        self._pieces, self.offset_bytes = [], 0

    def append(self, block: Sequence[bytes], at: int) -> bool:
        if not self.is_open or at != self.offset_bytes:
            return False
        self._pieces += block
        self.offset_bytes += sum(map(len, block))
        return True

    def read(self, start: int, size_bytes: int) -> bytes:
        return self.source[start : start + size_bytes] if self.is_open else b""

    def sync(self) -> int:
        return 0

    def close(self) -> None:
        self.is_open = False
        self.cut()

    def become(self, path: str) -> None:
        """Stand at ``path``, whole and durable, as a file of its own: one that stands there may have a second
        name. The name is durable once it was published."""
        with storage_faults(path):
            with suppress(FileNotFoundError):
                os.unlink(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o666)
            try:
                write_all(descriptor, self.source)
                os.fsync(descriptor)
            except BaseException:
                with suppress(OSError):
                    os.unlink(path)
                raise
            finally:
                os.close(descriptor)

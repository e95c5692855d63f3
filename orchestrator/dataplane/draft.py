"""Where does an artifact of another form stand while it is written? On disk, or in memory as long as it is
small."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from orchestrator.dataplane.held import HeldFile
from orchestrator.dataplane.inflow import RECORD_BYTES
from orchestrator.dataplane.staging import AppendFile, StagingArea
from orchestrator.errors import StorageError

__all__ = ["Draft"]

_HELD_BYTES: Final = 1 << 20
"""What a small file becomes is written as it comes once it is longer than this."""


class Draft:
    """Of one transfer. ``promise`` makes room for so many more bytes, and may raise DiskFull. Calls come from
    pool threads, one at a time."""

    def __init__(self, area: StagingArea, promise: Callable[[int], None]) -> None:
        self._area = area
        self._promise = promise
        self._file: AppendFile | HeldFile = AppendFile(area.draft)

    def hold(self) -> None:
        """Begin in memory."""
        self._file = HeldFile()

    def open(self, coming: int) -> None:
        """Begin, or begin anew; ``coming`` is about how long it may become."""
        self._promise(coming)
        self._file.close()
        self._file.open(0)

    def write(self, content: bytes) -> None:
        """Raises StorageError, DiskFull."""
        file = self._file
        before = file.offset_bytes
        if isinstance(file, HeldFile) and before + len(content) > _HELD_BYTES:
            so_far, self._file = file.source, AppendFile(self._area.draft)
            file = self._file
            file.open(0)
            file.append((so_far,), 0)
        if not file.append((content,), before):
            raise StorageError(f"{self._area.draft}: closed while it was written")
        if before // RECORD_BYTES != file.offset_bytes // RECORD_BYTES:
            self._promise(0)

    def drop(self) -> None:
        """Nobody wants it; absent is fine."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self._area.draft)

    def stage(self) -> None:
        """It is whole: durable, under the name of the staged artifact."""
        self._file.become(self._area.staged)
        self._file.close()

    def close(self) -> None:
        self._file.close()

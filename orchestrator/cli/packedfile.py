"""How do rows reach a file? Packed as its name says, under that name only when all of them are there."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from orchestrator.cli.newname import check_name, place
from orchestrator.dataplane.disk import free_bytes
from orchestrator.dataplane.encode import Encoder
from orchestrator.dataplane.sniff import Packing
from orchestrator.dataplane.staging import storage_faults, sync_folder
from orchestrator.errors import DiskFull

__all__ = ["PackedFile"]

_PACKINGS: Final = {".gz": Packing.GZIP, ".zst": Packing.ZSTD}
_LOOK_AT_DISK_BYTES: Final = 64 << 20


class PackedFile:
    """A file beside its final name until ``finish``; a file that stands there is replaced only with
    ``replace``. One thread packs, digests and writes while the next rows are made; at least
    ``reserve_bytes`` of the disk stay free.

    Raises UsageError when the name is taken, StorageError, DiskFull.
    """

    def __init__(self, path: str, *, replace: bool, reserve_bytes: int = 0) -> None:
        self.path = Path(path).absolute()
        self._replace = replace
        self._reserve_bytes = reserve_bytes
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._looked_at = 0
        check_name(self.path, replace=replace)
        with storage_faults(str(self.path)):
            self._file = self._part.open("wb", buffering=1 << 20)
        self._encoder = Encoder(self._sink, _PACKINGS.get(self.path.suffix))
        self._aside = ThreadPoolExecutor(1, "packing")
        self._under_way: Future[None] | None = None

    @property
    def size_bytes(self) -> int:
        """Of the finished file, as ``sha256``."""
        return self._encoder.size_bytes

    @property
    def sha256(self) -> str:
        return self._encoder.sha256

    def write(self, piece: bytes) -> None:
        """In order; what went wrong with a piece is raised with the next one or by ``finish``."""
        self._settled()
        self._under_way = self._aside.submit(self._encoder.write, piece)

    def finish(self) -> None:
        """Sync and give it its name."""
        self._settled()
        with storage_faults(str(self.path)):
            self._encoder.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            place(self._part, self.path, replace=self._replace)
            sync_folder(str(self.path.parent))

    def discard(self) -> None:
        """Leave nothing behind; harmless after ``finish``."""
        self._aside.shutdown()
        with contextlib.suppress(OSError):  # it is thrown away all the same
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _settled(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            with storage_faults(str(self.path)):
                under_way.result()

    def _sink(self, packed: bytes) -> None:
        self._file.write(packed)
        if self._encoder.size_bytes - self._looked_at >= _LOOK_AT_DISK_BYTES:
            self._looked_at = self._encoder.size_bytes
            if free_bytes(str(self.path.parent)) < self._reserve_bytes:
                raise DiskFull(
                    f"{self.path}: less than {self._reserve_bytes} bytes are free on its disk",
                    hint="free space, or lower [limits] disk_reserve; the archive is untouched",
                )

"""How staged bytes are compressed, digested and written: the same rows always give the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Final, Protocol, cast

import zstandard

from orchestrator.dataplane.sniff import Packing

__all__ = ["Encoder"]

_GZIP_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3
_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)


class _Press(Protocol):
    def compress(self, plain: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Encoder:
    """Compresses what is written and hands it to ``sink``; after ``close``, ``size_bytes`` and ``sha256``
    describe all of it.

    A gzip header carries no name and no time. A zip holds one deflated member, whatever number the served
    archive had, and is dated 1980-01-01, the earliest the format knows.
    """

    def __init__(
        self, sink: Callable[[bytes], None], packing: Packing | None, *, member: str = "rows"
    ) -> None:
        self.size_bytes = 0
        self._sink = sink
        self._sha = hashlib.sha256()
        self._press: _Press | None = None
        if packing is Packing.GZIP:
            self._press = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
        elif packing is Packing.ZSTD:
            self._press = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
        elif packing is Packing.ZIP:
            self._press = _ZipPress(member)

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()

    def write(self, plain: bytes) -> None:
        self._pass(self._press.compress(plain) if self._press else plain)

    def close(self) -> None:
        if self._press:
            self._pass(self._press.flush())

    def _pass(self, stored: bytes) -> None:
        if stored:
            self._sink(stored)
            self._sha.update(stored)
            self.size_bytes += len(stored)


class _Pieces:
    """A file that cannot seek, so that zipfile writes every byte once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None: ...

    def drain(self) -> bytes:
        joined = b"".join(self._pieces)
        self._pieces = []
        return joined


class _ZipPress:
    def __init__(self, member: str) -> None:
        self._out = _Pieces()
        self._archive = zipfile.ZipFile(cast("IO[bytes]", self._out), "w")
        entry = zipfile.ZipInfo(member, _ZIP_DATE)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        self._member = self._archive.open(entry, "w", force_zip64=True)

    def compress(self, plain: bytes, /) -> bytes:
        self._member.write(plain)
        return self._out.drain()

    def flush(self) -> bytes:
        self._member.close()
        self._archive.close()
        return self._out.drain()

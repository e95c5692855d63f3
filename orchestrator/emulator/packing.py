"""How a file is compressed so that any block of it can be made again alone: gzip, zstd, zip.

Deflate blocks end with a full flush and so depend on nothing before them; together they are one ordinary
stream. zstd blocks are frames of their own: a file above one block is several frames, as the format allows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import zstandard

__all__ = ["BLOCK_BYTES", "Packer", "Tally", "gzip_packer", "zip_packer", "zstd_packer"]

BLOCK_BYTES = 2**20
"""Plain bytes in one block."""
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass(slots=True)
class Tally:
    """What the ends of a packed file tell about its middle."""

    crc: int = 0
    plain_bytes: int = 0
    packed_bytes: int = 0

    def add(self, plain: bytes, packed: bytes) -> None:
        """Counts one block in."""
        self.crc = zlib.crc32(plain, self.crc)
        self.plain_bytes += len(plain)
        self.packed_bytes += len(packed)


class Ends(Protocol):
    """Computes header and trailer, of lengths that do not depend on the tally."""

    def __call__(self, tally: Tally, /) -> tuple[bytes, bytes]: ...


@dataclass(frozen=True, slots=True)
class Packer:
    """``pack(block, is_last)`` packs one block; ``header`` has its final length from the beginning."""

    header: bytes
    pack: Callable[[bytes, bool], bytes]
    ends: Ends

    def tally(self) -> Tally:
        """A fresh count."""
        return Tally()

    def with_header(self, header: bytes) -> Packer:
        """The same with the header that the tally gave."""
        return replace(self, header=header)


def _deflated(block: bytes, is_last: bool) -> bytes:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return squeezer.compress(block) + squeezer.flush(zlib.Z_FINISH if is_last else zlib.Z_FULL_FLUSH)


def gzip_packer() -> Packer:
    """One gzip member."""

    def ends(tally: Tally) -> tuple[bytes, bytes]:
        return _GZIP_HEADER, struct.pack("<II", tally.crc, tally.plain_bytes & 0xFFFF_FFFF)

    return Packer(_GZIP_HEADER, _deflated, ends)


def zstd_packer() -> Packer:
    """One zstd frame per block."""

    def packed(block: bytes, _is_last: bool) -> bytes:
        return zstandard.ZstdCompressor(level=1).compress(block)

    return Packer(b"", packed, lambda _: (b"", b""))


def zip_packer(entry: str) -> Packer:
    """A zip archive with one deflated entry; below 4 GiB, as it is written without the 64-bit extension."""
    name = entry.encode()

    def ends(tally: Tally) -> tuple[bytes, bytes]:
        sizes = (tally.crc, tally.packed_bytes, tally.plain_bytes)
        local = (
            struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0x800, 8, 0, 0x21, *sizes, len(name), 0) + name
        )
        central = struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            b"PK\x01\x02",
            20,
            20,
            0x800,
            8,
            0,
            0x21,
            *sizes,
            len(name),
            0,
            0,
            0,
            0,
            0,
            0,
        )
        central += name
        at = len(local) + tally.packed_bytes
        return local, central + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(central), at, 0)

    return Packer(ends(Tally())[0], _deflated, ends)

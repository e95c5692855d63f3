"""How compressed bytes become plain ones: gzip, zstd and zip, in steps of bounded size."""

from __future__ import annotations

import errno
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

import zstandard

from orchestrator.dataplane.sniff import Packing, packing_of
from orchestrator.errors import BrokenBody

__all__ = ["STEP_BYTES", "decoded", "read_blocks"]

STEP_BYTES: Final = 1 << 20
"""No step of decoding hands out more, however far its input expands."""
_SIP_BYTES: Final = 16 * 1024
"""So much of a gzip stream is handed to zlib at a time: what follows the end of a member is copied once per
member, and members may be as short as twenty bytes."""
_DIRECTORY_BYTES: Final = 4 << 20
"""The largest directory of a zip that is read: zipfile makes ten times as much of it in memory. A served
archive has a member or two."""
_MAX_LAYERS: Final = 3
_WINDOW_BYTES: Final = 1 << 27
"""The largest zstd window accepted, libzstd's own default: it is memory."""
_ZSTD_FRAME: Final = 0xFD2FB528
_ZSTD_BLOCK_BYTES: Final = 128 * 1024
"""A zstd block never decodes to more (RFC 8878, 3.1.1.2.4)."""

_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a method or version zipfile does not know
    RuntimeError,  # encrypted
    ValueError,  # offsets that point nowhere, names that do not decode
    OverflowError,
    IndexError,
)


def read_blocks(source: str | bytes, size_bytes: int = STEP_BYTES) -> Iterator[bytes]:
    """The bytes of the file at a path, or those that are given, in order."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb", buffering=0) as file:
        while block := file.read(size_bytes):
            yield block


def decoded(
    source: str | bytes, layers: list[Packing] | None = None, *, step_bytes: int = STEP_BYTES
) -> Iterator[bytes | None]:
    """The plain bytes of a file, given by its path or by its bytes, in blocks of at most ``step_bytes`` (of
    zstd at least a block of its own, 128 KiB); None after each member of a zip.

    Compression is sniffed, also below another one (a gzip file served with Content-Encoding gzip); ``layers``
    receives what was found, outermost first. Raises BrokenBody when a stream is damaged or ends early.
    """
    found: list[Packing] = [] if layers is None else layers
    head = next(read_blocks(source, 4), b"")
    if packing_of(head) is not Packing.ZIP:
        yield from _peeled(read_blocks(source, step_bytes), found, step_bytes)
        return
    found.append(Packing.ZIP)
    try:
        for member in _zip_members(source, step_bytes):
            yield from _peeled(member, [], step_bytes)
            yield None
    except _ZIP_FAULTS as error:
        raise BrokenBody(f"damaged zip archive: {error}") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to where no file reaches
            raise BrokenBody(f"damaged zip archive: {error}") from error
        raise


def _peeled(blocks: Iterator[bytes], layers: list[Packing], step_bytes: int) -> Iterator[bytes]:
    """Takes compression off until plain bytes come out."""
    while True:
        head = b""
        for block in blocks:
            head += block
            if len(head) >= 4:
                break
        packing = packing_of(head)
        blocks = _chained(head, blocks)
        if packing is None or packing is Packing.ZIP:
            break
        if len(layers) == _MAX_LAYERS:
            raise BrokenBody(f"compressed more than {_MAX_LAYERS} times over")
        layers.append(packing)
        opened = _gunzipped if packing is Packing.GZIP else _unzstd
        blocks = opened(blocks, step_bytes)
    yield from blocks


def _chained(head: bytes, blocks: Iterable[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _gunzipped(blocks: Iterable[bytes], step_bytes: int) -> Iterator[bytes]:
    """All members of a gzip stream; zero padding between and after members is skipped, as gzip itself
    does."""
    member = zlib.decompressobj(wbits=31)
    between = False
    for raw in _sips(blocks):
        rest, full = raw, False
        while rest or full:
            if between:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                member, between = zlib.decompressobj(wbits=31), False
            try:
                plain = member.decompress(rest, step_bytes)
            except zlib.error as error:
                raise BrokenBody(f"damaged gzip stream: {error}") from error
            rest, full = member.unconsumed_tail, len(plain) == step_bytes
            if member.eof:
                rest, full, between = member.unused_data, False, True
            if plain:
                yield plain
    if not between:
        raise BrokenBody("a gzip stream ends early")


def _sips(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for at in range(0, len(block), _SIP_BYTES):
            yield block[at : at + _SIP_BYTES]


class _Pull:
    """Exactly as many bytes as asked for, from blocks of any size."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._block = b""
        self._at = 0

    def more(self) -> bool:
        while self._at == len(self._block):
            following = next(self._blocks, None)
            if following is None:
                return False
            self._block, self._at = following, 0
        return True

    def take(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            if not self.more():
                raise BrokenBody("a zstd stream ends early")
            piece = self._block[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, count: int) -> None:
        while count:
            count -= len(self.take(min(count, STEP_BYTES)))


def _unzstd(blocks: Iterable[bytes], step_bytes: int) -> Iterator[bytes]:
    """All frames of a zstd stream. The block structure (RFC 8878, 3.1.1) is walked here, because the library
    neither bounds how far one call expands nor says whether the last frame was whole."""
    stream = _Pull(blocks)
    context = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    while stream.more():
        magic = stream.take(4)
        number = int.from_bytes(magic, "little")
        if number & 0xFFFFFFF0 == 0x184D2A50:
            stream.skip(int.from_bytes(stream.take(4), "little"))
            continue
        if number != _ZSTD_FRAME:
            raise BrokenBody("something that is no zstd frame follows one")
        try:
            yield from _zstd_frame(stream, magic, context.decompressobj().decompress, step_bytes)
        except zstandard.ZstdError as error:
            raise BrokenBody(f"damaged zstd stream: {error}") from error


def _zstd_frame(
    stream: _Pull, magic: bytes, decompress: Callable[[bytes], bytes], step_bytes: int
) -> Iterator[bytes]:
    descriptor = stream.take(1)
    flags = descriptor[0]
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    header_bytes = (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    pending = [magic, descriptor, stream.take(header_bytes)]
    waiting = last = 0
    while not last:
        header = stream.take(3)
        value = int.from_bytes(header, "little")
        last, kind, size = value & 1, value >> 1 & 3, value >> 3
        if size > _ZSTD_BLOCK_BYTES or kind == 3:
            raise BrokenBody("damaged zstd stream: impossible block")
        pending += (header, stream.take(1 if kind == 1 else size))
        waiting += 1
        if last and checksum:
            pending.append(stream.take(4))
        if last or waiting * _ZSTD_BLOCK_BYTES >= step_bytes:
            plain = decompress(b"".join(pending))
            pending, waiting = [], 0
            if plain:
                yield plain


class _SmallReads(io.FileIO):
    """A file that refuses to be read in one piece larger than a directory may be."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(-1 if size is None else size) or b""


def _zip_members(source: str | bytes, step_bytes: int) -> Iterator[Iterator[bytes]]:
    """The members in archive order, folders left out. Each must be read to its end before the next."""
    opened = io.BytesIO(source) if isinstance(source, bytes) else _SmallReads(source)
    with opened as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BrokenBody(f"zip compression method {entry.compress_type} is not supported")
            with archive.open(entry) as member:
                yield iter(partial(member.read, step_bytes), b"")

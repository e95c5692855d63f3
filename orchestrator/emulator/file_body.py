"""What the file of a finished remote task holds, byte for byte, readable from any offset (bls-api.md 2.7,
10.11)."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.packing import BLOCK_BYTES, Packer, gzip_packer, zip_packer, zstd_packer
from orchestrator.emulator.record import Rows, RowStyle, header_bytes

__all__ = ["FileBody", "PackedBody", "PlainBody", "make_body", "md5_hex"]


class FileBody(Protocol):
    """The bytes of a file, the same at every reading."""

    @property
    def costly(self) -> bool:
        """Whether making a block takes long enough to leave the event loop for it."""
        ...

    def size_bytes(self) -> int:
        """All of it; the first call of a packed body reads through the whole file once."""
        ...

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``[start, end)`` in blocks of about a mebibyte or less."""
        ...


@dataclass(frozen=True, slots=True)
class PlainBody:
    """Rows between a prefix and a suffix; ``trim`` bytes of the last row's separator are left out."""

    rows: Rows
    style: RowStyle
    prefix: bytes = b""
    trim: int = 0
    suffix: bytes = b""

    @property
    def costly(self) -> bool:
        return False

    def size_bytes(self) -> int:
        return len(self.prefix) + self.rows.size_bytes(self.style) - self.trim + len(self.suffix)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        rows_size = self.rows.size_bytes(self.style) - self.trim
        if start < len(self.prefix):
            yield self.prefix[start:end]
        first = max(start - len(self.prefix), 0)
        last = min(end - len(self.prefix), rows_size)
        if first < last:
            yield from self.rows.read(self.style, first, last)
        at = end - len(self.prefix) - rows_size
        if at > 0:
            tail = self.suffix[max(start - len(self.prefix) - rows_size, 0) : at]
            if tail:
                yield tail


class PackedBody:
    """Another body, compressed in blocks that do not depend on each other, so that only an index has to be
    kept."""

    costly = True

    def __init__(self, plain: PlainBody, packer: Packer) -> None:
        self._plain = plain
        self._packer = packer
        self._starts: list[int] | None = None
        self._trailer = b""

    def size_bytes(self) -> int:
        return self._index()[-1] + len(self._trailer)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        starts = self._index()
        if start < starts[0]:
            yield self._packer.header[start:end]
        block = max(bisect_right(starts, start) - 1, 0)
        while block < len(starts) - 1 and starts[block] < end:
            at = starts[block]
            yield self._block(block, len(starts) - 1)[max(start - at, 0) : end - at]
            block += 1
        if end > starts[-1]:
            yield self._trailer[max(start - starts[-1], 0) : end - starts[-1]]

    def _raw(self, block: int) -> bytes:
        size = self._plain.size_bytes()
        return b"".join(self._plain.read(block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, size)))

    def _block(self, block: int, blocks: int) -> bytes:
        return self._packer.pack(self._raw(block), block == blocks - 1)

    def _index(self) -> list[int]:
        """Where each packed block begins, and at last where the trailer begins."""
        if self._starts is None:
            blocks = max(1, -(-self._plain.size_bytes() // BLOCK_BYTES))
            sizes = [len(self._packer.header)]
            tally = self._packer.tally()
            for block in range(blocks):
                raw = self._raw(block)
                packed = self._packer.pack(raw, block == blocks - 1)
                tally.add(raw, packed)
                sizes.append(len(packed))
            header, self._trailer = self._packer.ends(tally)
            self._packer = self._packer.with_header(header)
            self._starts = list(accumulate(sizes))
        return self._starts


def md5_hex(body: FileBody) -> str:
    """The MD5 of the whole file, as an object store would compute it."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in body.read(0, body.size_bytes()):
        digest.update(block)
    return digest.hexdigest()


def make_body(
    rows: Rows, behaviour: Behaviour, form: Literal["json", "csv"], tag_names: tuple[str, ...], file_name: str
) -> FileBody:
    """The file of these rows as the behaviour wants it."""
    plain = _plain(rows, behaviour, form, tag_names)
    if behaviour.file_compression == "gzip" or behaviour.content_encoding == "gzip":
        return PackedBody(plain, gzip_packer())
    if behaviour.file_compression == "zstd":
        return PackedBody(plain, zstd_packer())
    if behaviour.file_compression == "zip":
        return PackedBody(plain, zip_packer(f"{file_name}.{form}"))
    return plain


def _plain(
    rows: Rows, behaviour: Behaviour, form: Literal["json", "csv"], tag_names: tuple[str, ...]
) -> PlainBody:
    newline = "\r\n" if behaviour.crlf else "\n"
    prefix = b"\xef\xbb\xbf" if behaviour.byte_order_mark else b""
    array = form == "json" and behaviour.file_layout == "array"
    separator = "," + newline if array else newline
    style = RowStyle(form, behaviour.field_names, behaviour.record_time, separator, tag_names)
    last = newline.encode() if behaviour.final_newline else b""
    if array:
        return PlainBody(rows, style, prefix + b"[", len(separator) if rows.count else 0, b"]" + last)
    if form == "csv" and behaviour.csv_header:
        if rows.count == 0 and not behaviour.final_newline:
            newline = ""
        prefix += header_bytes(behaviour.field_names, tag_names, newline)
    return PlainBody(rows, style, prefix, 0 if last or rows.count == 0 else len(newline))

"""What a file is, judged by its first bytes and never by its name or headers (bls-api.md 2.7, 10 item 11)."""

from __future__ import annotations

import re
from enum import StrEnum

from orchestrator.errors import BrokenBody

__all__ = ["BOM", "HEAD_BYTES", "Packing", "Shape", "packing_of", "shape_of", "split_bom"]

BOM = b"\xef\xbb\xbf"
HEAD_BYTES = 64 * 1024
"""As much of a decoded file is looked at before its shape is decided, or all of it when it is shorter."""


class Packing(StrEnum):
    """How bytes are compressed; the word used in ``Receipt.form``."""

    GZIP = "gzip"
    ZSTD = "zstd"
    ZIP = "zip"

    @property
    def suffix(self) -> str:
        """File name suffix with its dot."""
        return {Packing.GZIP: ".gz", Packing.ZSTD: ".zst", Packing.ZIP: ".zip"}[self]


class Shape(StrEnum):
    """How rows lie in decoded bytes; the word used in ``Receipt.form``."""

    JSON_LINES = "jsonl"
    JSON_ARRAY = "json-array"
    CSV = "csv"

    @property
    def suffix(self) -> str:
        """File name suffix with its dot."""
        return {Shape.JSON_LINES: ".jsonl", Shape.JSON_ARRAY: ".json", Shape.CSV: ".csv"}[self]


_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ZSTD_MAGIC = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_ARRAY = re.compile(rb"\s*\[\s*(?:[{\[\]]|\Z)")
_OBJECT = re.compile(rb"\s*\{")
_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml)\b", re.IGNORECASE)


def packing_of(head: bytes) -> Packing | None:
    """The compression of a stream that begins with ``head`` (at least 4 bytes, or all there is); None for
    plain bytes.

    A zstd stream may begin with a skippable frame, a zip without members with its end record."""
    if head.startswith(b"\x1f\x8b"):
        return Packing.GZIP
    if _ZSTD_MAGIC.match(head):
        return Packing.ZSTD
    if head.startswith(_ZIP_MAGIC):
        return Packing.ZIP
    return None


def split_bom(head: bytes) -> tuple[bytes, bytes]:
    """The UTF-8 byte order mark (or b"") and what follows it."""
    return (BOM, head[len(BOM) :]) if head.startswith(BOM) else (b"", head)


def shape_of(head: bytes) -> Shape:
    """The shape of decoded bytes that begin with ``head``, without byte order mark.

    ``{`` begins JSON lines; ``[`` begins an array when an object, an array or its end follows (a CSV cell may
    begin with ``[`` too); everything else is CSV. Raises BrokenBody for a web page, which no log file is.
    """
    if _PAGE.match(head):
        raise BrokenBody(
            "the link answered with a page instead of rows",
            hint="check for a proxy between here and the file",
        )
    if _ARRAY.match(head):
        return Shape.JSON_ARRAY
    return Shape.JSON_LINES if _OBJECT.match(head) else Shape.CSV

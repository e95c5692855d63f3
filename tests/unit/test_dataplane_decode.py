"""Compression is believed by its bytes, read to its end, and never expands without bound."""

from __future__ import annotations

import gzip
import io
import random
import time
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.dataplane.decode import STEP_BYTES, decoded
from orchestrator.dataplane.sniff import Packing, Shape, packing_of, shape_of, split_bom
from orchestrator.errors import BrokenBody
from tests.unit.dataplane_kit import gzipped, zipped, zstandarded

TEXT = b"".join(b'{"@timestamp":%d}\n' % n for n in range(200_000))
SKIPPABLE = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"


def plain(folder: Path, body: bytes, layers: list[Packing] | None = None) -> bytes:
    path = folder / "body"
    path.write_bytes(body)
    blocks = list(decoded(str(path), layers))
    assert all(block is None or 0 < len(block) <= STEP_BYTES for block in blocks)
    return b"".join(block for block in blocks if block is not None)


@pytest.mark.parametrize(
    ("body", "layers"),
    [
        (TEXT, []),
        (b"", []),
        (b"abc", []),
        (gzipped(TEXT), [Packing.GZIP]),
        (gzipped(TEXT[:7]) + gzipped(b"") + gzipped(TEXT[7:]), [Packing.GZIP]),
        (gzipped(TEXT) + b"\0" * 512, [Packing.GZIP]),
        (gzipped(TEXT[:9]) + b"\0" * 9 + gzipped(TEXT[9:]), [Packing.GZIP]),
        (zstandarded(TEXT), [Packing.ZSTD]),
        (zstandarded(TEXT[:5]) + zstandarded(TEXT[5:]), [Packing.ZSTD]),
        (SKIPPABLE + zstandarded(TEXT) + SKIPPABLE, [Packing.ZSTD]),
        (zstandard.ZstdCompressor(write_content_size=False, threads=2).compress(TEXT), [Packing.ZSTD]),
        (zstandard.ZstdCompressor(level=19).compress(TEXT), [Packing.ZSTD]),
        (gzipped(gzipped(TEXT)), [Packing.GZIP, Packing.GZIP]),
        (gzipped(zstandarded(TEXT)), [Packing.GZIP, Packing.ZSTD]),
        (zipped(TEXT), [Packing.ZIP]),
        (zipped(TEXT[:9], b"", TEXT[9:]), [Packing.ZIP]),
        (zipped(), [Packing.ZIP]),
    ],
    ids=range(17),
)
def test_plain_bytes_come_back(tmp_path: Path, body: bytes, layers: list[Packing]) -> None:
    """One or many members or frames, padded, skippable, nested: the bytes are the same and the layers are
    named."""
    found: list[Packing] = []
    expected = {b"": b"", b"abc": b"abc", zipped(): b""}.get(body, TEXT)
    assert plain(tmp_path, body, found) == expected
    assert found == layers


@pytest.mark.parametrize("pack", [gzipped, zstandarded, zipped])
def test_an_early_end_anywhere_is_noticed(tmp_path: Path, pack: object) -> None:
    """However many bytes are missing, the file is not taken for whole."""
    assert callable(pack)
    body = pack(TEXT[:3000])
    for size in range(4, len(body)):
        with pytest.raises(BrokenBody):
            plain(tmp_path, body[:size])


@pytest.mark.parametrize("pack", [gzipped, zstandarded, zipped])
def test_a_flipped_bit_never_goes_unnoticed(tmp_path: Path, pack: object) -> None:
    """Damage raises BrokenBody or, in fields that carry no content, changes nothing."""
    assert callable(pack)
    body = pack(TEXT[:3000])
    draw = random.Random(7)
    for _ in range(300):
        damaged = bytearray(body)
        damaged[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
        if packing_of(bytes(damaged)) is not packing_of(body):
            continue
        try:
            found = plain(tmp_path, bytes(damaged))
        except BrokenBody:
            continue
        assert found in (TEXT[:3000], b"")  # a zip entry may have become a folder


@pytest.mark.parametrize(
    "body",
    [
        gzipped(b"x") + b"surplus",
        zstandarded(b"x") + b"surplus",
        zstandarded(b"x") + b"\x28\xb5\x2f\xfd",
        gzipped(gzipped(gzipped(gzipped(b"x")))),
        b"\x1f\x8b" + b"\0" * 30,
        b"PK\x03\x04" + b"\0" * 300,
        b"\x28\xb5\x2f\xfd\x00\x58\xff\xff\xff",
    ],
    ids=range(7),
)
def test_what_is_no_such_stream_is_broken(tmp_path: Path, body: bytes) -> None:
    """Garbage behind a stream, endless nesting, a magic number and nothing else."""
    with pytest.raises(BrokenBody):
        plain(tmp_path, body)


def test_archives_we_do_not_read_say_so(tmp_path: Path) -> None:
    """A zip by another method than deflate, or encrypted, is refused by name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"x" * 100)
    with pytest.raises(BrokenBody, match="method 12"):
        plain(tmp_path, out.getvalue())
    encrypted = bytearray(zipped(b"rows"))
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BrokenBody, match="encrypted"):
        plain(tmp_path, bytes(encrypted))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
def test_a_bomb_expands_in_small_steps(tmp_path: Path, kind: str) -> None:
    """Half a gigabyte out of a few hundred kilobytes never stands in memory at once."""
    total = 256 << 20
    path = tmp_path / "bomb"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as member:
            for _ in range(total >> 20):
                member.write(bytes(1 << 20))
    else:
        press = (
            zstandard.ZstdCompressor().compressobj()
            if kind == "zstd"
            else zlib.compressobj(9, zlib.DEFLATED, 31)
        )
        zeros = bytes(1 << 20)
        path.write_bytes(b"".join(press.compress(zeros) for _ in range(total >> 20)) + press.flush())
    tracemalloc.start()
    try:
        assert sum(len(block) for block in decoded(str(path)) if block) == total
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@given(
    st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PK\x05\x06"]), st.binary()
)
def test_random_bytes_raise_nothing_but_broken_body(
    tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes
) -> None:
    """Whatever follows a magic number, the decoder answers with bytes or with BrokenBody."""
    folder = tmp_path_factory.getbasetemp()
    with suppress(BrokenBody):
        plain(folder, magic + rest)


@given(st.binary(), st.integers(0, 60), st.sampled_from([gzip.compress, zstandarded]))
def test_members_may_be_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, at: int, pack: object
) -> None:
    """Two members or frames give the same bytes as one."""
    assume(packing_of(text) is None)
    assert callable(pack)
    assert plain(tmp_path_factory.getbasetemp(), pack(text[:at]) + pack(text[at:])) == text


def test_many_short_members_cost_what_their_bytes_cost(tmp_path: Path) -> None:
    """Two hundred thousand empty members are read in about the time that one member of that size takes, not
    in the square of their number."""
    body = gzip.compress(b"", mtime=0) * 200_000
    begun = time.process_time()
    assert plain(tmp_path, body) == b""
    assert time.process_time() - begun < 5.0


def test_a_zip_of_countless_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    """A directory of megabytes is no served archive; what zipfile would make of it never is in memory."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(90_000):
            archive.writestr(zipfile.ZipInfo(f"{number:08d}"), b"")
    tracemalloc.start()
    try:
        with pytest.raises(BrokenBody, match="directory"):
            plain(tmp_path, out.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (b'{"a":1}\n', Shape.JSON_LINES),
        (b'  \n{"a":1}\n', Shape.JSON_LINES),
        (b'[{"a":1}]', Shape.JSON_ARRAY),
        (b" [\n\n {", Shape.JSON_ARRAY),
        (b"[]", Shape.JSON_ARRAY),
        (b"[", Shape.JSON_ARRAY),
        (b"[2026-01-14 00:00:00],text", Shape.CSV),
        (b"@timestamp,@raw", Shape.CSV),
        (b'"a","b"', Shape.CSV),
        (b"\x00\xff", Shape.CSV),
        (b"", Shape.CSV),
    ],
)
def test_shapes_are_told_by_their_first_bytes(head: bytes, shape: Shape) -> None:
    """An object begins lines, an array of objects or nothing begins an array, everything else is CSV."""
    assert shape_of(head) is shape


@pytest.mark.parametrize("head", [b"<html>", b"\n<!DOCTYPE html>", b"<?xml version='1.0'?>"])
def test_a_page_is_no_file(head: bytes) -> None:
    """What a proxy or a storage service says in HTML or XML is never counted as rows."""
    with pytest.raises(BrokenBody, match="page"):
        shape_of(head)


def test_a_byte_order_mark_is_set_aside() -> None:
    """It belongs to the file, not to its first row."""
    assert split_bom(b"\xef\xbb\xbf{}") == (b"\xef\xbb\xbf", b"{}")
    assert split_bom(b"{}") == (b"", b"{}")

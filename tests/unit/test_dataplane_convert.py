"""From the served form to the stored one, without losing a byte that matters."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.job import Compression, Output, ServedFormat
from orchestrator.core.model import LinkExpired, Receipt
from orchestrator.dataplane import secondpass
from orchestrator.dataplane.convert import Rewriting
from orchestrator.dataplane.encode import Encoder
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.dataplane.sniff import Packing
from orchestrator.errors import BrokenBody, OrchestratorError
from tests.unit.dataplane_kit import (
    PACKED,
    START_S,
    WINDOW,
    Server,
    fetched,
    json_lines,
    rows,
    ticket,
    unpacked,
    zipped,
)

MS = START_S * 1000
BEFORE = MS - 1


def stored(folder: Path, body: bytes, **changes: object) -> bytes:
    """What a served body becomes, decompressed."""
    receipt = fetched(Server(body), ticket(folder, **changes))
    content = Path(receipt.staged_path).read_bytes()
    assert receipt.stored_sha256 == hashlib.sha256(content).hexdigest()
    return unpacked(content, receipt.form)


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (b'{"a":1,"@timestamp":%d}\n' % MS, b'{"a":1,"@timestamp":%d}\n' % MS),
        (b'\xef\xbb\xbf{"a":1}\r\n\r\n \n{"b":2.50}', b'{"a":1}\n{"b":2.50}\n'),
        (
            b'{"big":123456789012345678901234567890,"f":1.10}\n',
            b'{"big":123456789012345678901234567890,"f":1.10}\n',
        ),
        (b'{"raw":"\xff\xfe"}\r\n', b'{"raw":"\xff\xfe"}\n'),
        (b'[{"a": 1},\n {"b":\n  "\xff"}]', b'{"a": 1}\n{"b":   "\xff"}\n'),
        (b"@raw,n\r\nGET /,1\r\n", b'{"@raw":"GET /","n":"1"}\n'),
        (b'\xef\xbb\xbf@raw,n\n"a ""b""\nc",\n', b'{"@raw":"a \\"b\\"\\nc","n":""}\n'),
        (b"1768348800000,GET\n", b'{"#1":"1768348800000","#2":"GET"}\n'),
        (b"@raw,n\n1,2,3,4\n5\n", b'{"@raw":"1","n":"2","#3":"3","#4":"4"}\n{"@raw":"5"}\n'),
        (b"@raw,@raw,\n1,2,3\n", b'{"@raw":"1","@raw#2":"2","#3":"3"}\n'),
        (b"@raw\nab\xff\xc3\n\xc3\xbc\n", b'{"@raw":"ab\\udcff\\udcc3"}\n{"@raw":"\xc3\xbc"}\n'),
    ],
)
def test_everything_becomes_one_object_per_line(tmp_path: Path, served: bytes, expected: bytes) -> None:
    """JSON rows keep their own bytes, numbers of any size and broken UTF-8 included; CSV rows become objects
    of texts."""
    assert stored(tmp_path, served, output=Output.JSONL) == expected


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("raw", [b"plain", b"\xff\x80 not UTF-8", b"caf\xc3\xa9 \xed\xa0\x80"])
def test_undecodable_csv_bytes_can_be_had_back(tmp_path: Path, raw: bytes, compression: Compression) -> None:
    """The escape in the converted file names each byte that was not UTF-8."""
    line = stored(tmp_path, b"@raw,n\n" + raw + b",1\n", output=Output.JSONL, compression=compression)
    assert json.loads(line)["@raw"].encode("utf-8", "surrogateescape") == raw


@pytest.mark.parametrize("packed", list(PACKED))
@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (
            b'\xef\xbb\xbf{"@timestamp":%d}\r\n{"@timestamp":%d}' % (BEFORE, MS),
            b'\xef\xbb\xbf{"@timestamp":%d}\n' % MS,
        ),
        (b'[{"@timestamp":%d},{"@timestamp":%d}]' % (BEFORE, MS), b'[{"@timestamp":%d}]\n' % MS),
        (
            b'\xef\xbb\xbf@timestamp,r\r\n%d,a\r\n%d,"b\r\n"\r\n' % (BEFORE, MS),
            b'\xef\xbb\xbf@timestamp,r\r\n%d,"b\r\n"\r\n' % MS,
        ),
        (
            b'{"@timestamp":%d}\n{"@timestamp":%d,"r":"\xff"}\n' % (BEFORE, MS),
            b'{"@timestamp":%d,"r":"\xff"}\n' % MS,
        ),
    ],
)
def test_raw_files_are_rewritten_in_their_own_form(
    tmp_path: Path, packed: str, served: bytes, expected: bytes
) -> None:
    """When a row must go, byte order mark, header, line ends and compression stay."""
    assert stored(tmp_path, PACKED[packed](served)) == expected


def test_raw_files_are_untouched_when_every_row_is_kept(tmp_path: Path) -> None:
    """The bytes as served, whatever is odd about them."""
    for number, body in enumerate(
        (
            b'\xef\xbb\xbf{"@timestamp":%d}\r\n\r\n{"@timestamp":%d,"r":"\xff"}' % (MS, MS),
            zipped(json_lines(rows(2)), json_lines(rows(3))),
        )
    ):
        receipt = fetched(Server(body, encoding="gzip"), ticket(tmp_path, attempt_key=f"k-{number}"))
        assert Path(receipt.staged_path).read_bytes() == body


def test_several_members_become_one_when_a_zip_is_rewritten(tmp_path: Path) -> None:
    """Rows of all members stand in one, in the archive's order."""
    body = zipped(b'{"@timestamp":%d}' % BEFORE, b'{"@timestamp":%d}' % MS, b'{"@timestamp":%d}' % (MS + 1))
    receipt = fetched(Server(body), ticket(tmp_path))
    with zipfile.ZipFile(receipt.staged_path) as archive:
        assert archive.namelist() == ["rows.jsonl"]
        assert archive.testzip() is None
    assert (receipt.form, receipt.extension, receipt.stored_rows) == ("jsonl+zip", ".jsonl.zip", 2)


def test_doubly_compressed_files_are_read_and_named(tmp_path: Path) -> None:
    """A gzip file served with Content-Encoding gzip keeps both layers while nothing changes, and the outer
    one when it must."""
    body = gzip.compress(gzip.compress(json_lines(rows(3))))
    whole = fetched(Server(body), ticket(tmp_path))
    assert (whole.form, whole.extension) == ("jsonl+gzip+gzip", ".jsonl.gz.gz")
    cut = fetched(Server(body), ticket(tmp_path, attempt_key="b", limit=3))
    assert cut.stored_rows == 0


@pytest.mark.parametrize("packing", [None, *Packing])
def test_encoding_does_not_depend_on_the_pieces_it_comes_in(packing: Packing | None) -> None:
    """The same bytes in large and small pieces give one digest, today and tomorrow."""
    content = json_lines(rows(2_000))
    digests = set()
    for size in (100, 5_000, len(content)):
        out = io.BytesIO()
        encoder = Encoder(lambda piece, out=out: out.write(piece), packing)
        for at in range(0, len(content), size):
            encoder.write(content[at : at + size])
        encoder.close()
        assert encoder.size_bytes == len(out.getvalue())
        assert encoder.sha256 == hashlib.sha256(out.getvalue()).hexdigest()
        digests.add(encoder.sha256)
        assert unpacked(out.getvalue(), f"x+{packing}" if packing else "x") == content
    assert len(digests) == 1


@pytest.mark.parametrize("served", ["lines", "array", "csv"])
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_large_rows_and_many_rows_pass(tmp_path: Path, served: str, output: Output) -> None:
    """A hundred thousand elements, and records of 512 KB, in every form."""
    if served == "array":
        some = rows(100_000, step_ms=1)
        body = json.dumps(some).encode()
    else:
        some = rows(3, text="x" * 512 * 1024)
        body = (
            json_lines(some)
            if served == "lines"
            else b"@timestamp,@seq,@raw\n"
            + b"".join(b'%d,%d,"%s"\n' % (r["@timestamp"], r["@seq"], b"x" * 524_288) for r in some)
        )
    receipt = fetched(Server(body), ticket(tmp_path, output=output, format=ServedFormat.JSON))
    assert (receipt.stored_rows, receipt.kept) == (len(some), WINDOW)


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"{", b"[{", b"\x1f\x8b\x08", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b'@timestamp,"']),
)
def test_random_files_raise_nothing_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, prefix: bytes
) -> None:
    """Whatever the service hands out ends in a receipt whose counts add up, or in an error of ours."""
    folder = tmp_path_factory.mktemp("random")
    for output in (Output.RAW, Output.JSONL):
        try:
            fetched(Server(prefix + body), ticket(folder, attempt_key=output.value, output=output))
        except BrokenBody:
            pass
        except OrchestratorError as error:
            assert error.code == "rows_outside_window"  # noqa: PT017


@pytest.mark.parametrize("verbatim", [True, False])
def test_steps_are_stored_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verbatim: bool
) -> None:
    """While one step is compressed the next is decoded, but never compressed beside it: the stored file has
    every row in its place, whether rows are looked at or taken as they are."""
    monkeypatch.setattr(secondpass, "_STEP_BYTES", 1)
    store = Rewriting.store
    busy: list[int] = []

    def slowly(self: Rewriting, content: bytes) -> None:
        busy.append(1)
        assert len(busy) == 1
        time.sleep(0.001)
        store(self, content)
        busy.pop()

    monkeypatch.setattr(Rewriting, "store", slowly)
    body = json_lines(rows(20_000))
    body = body if verbatim else body.replace(b"\n", b"\r\n")
    asked = ticket(tmp_path, output=Output.JSONL, compression=Compression.ZSTD)

    async def once() -> Receipt | LinkExpired:
        plane = InlineDataPlane(Server(body))
        try:
            return await plane.transfer(asked)
        finally:
            await plane.close()

    receipt = asyncio.run(once())
    assert isinstance(receipt, Receipt)
    content = Path(receipt.staged_path).read_bytes()
    assert unpacked(content, receipt.form) == body.replace(b"\r\n", b"\n")
    assert receipt.stored_sha256 == hashlib.sha256(content).hexdigest()
    assert receipt.stored_rows == 20_000

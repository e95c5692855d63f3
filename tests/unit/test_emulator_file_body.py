"""The bytes of a file in every form the service may serve, whole and in pieces."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from itertools import product

import pytest
import zstandard

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.file_body import FileBody, make_body, md5_hex
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.record import Arrangement, Record, Rows
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.search import EVERYTHING

START_MS = 1_768_348_800_000
TAGS = ("level", "status")


def generated(lines: int) -> Rows:
    store = GeneratedStore(5, Uniform(86_400 * 500))
    found = store.matching(EVERYTHING, None, from_ms=0, visible_ms=10**15)
    return found.rows(START_MS, START_MS + 10**7, lines, Arrangement())


def loaded(*raws: str) -> Rows:
    store = RecordStore(
        Record(START_MS + n, n, "s/1", raw, (("level", "INFO"),)) for n, raw in enumerate(raws)
    )
    found = store.matching(EVERYTHING, None, from_ms=0, visible_ms=10**15)
    return found.rows(0, 10**15, 10**6, Arrangement())


def body_of(rows: Rows, form: str = "json", **switches: object) -> FileBody:
    return make_body(rows, Behaviour.from_dict(switches), form, TAGS, "name")  # type: ignore[arg-type]


def all_bytes(body: FileBody) -> bytes:
    return b"".join(body.read(0, body.size_bytes()))


@pytest.mark.parametrize("lines", [0, 1, 700])
@pytest.mark.parametrize(
    ("final_newline", "byte_order_mark", "crlf", "file_layout"),
    list(product([True, False], [True, False], [True, False], ["lines", "array"])),
)
def test_json_files_hold_every_row(
    lines: int, final_newline: bool, byte_order_mark: bool, crlf: bool, file_layout: str
) -> None:
    """Lines or one array, with any line end, mark and final newline: a JSON reader finds the same rows."""
    rows = generated(lines)
    body = body_of(
        rows,
        final_newline=final_newline,
        byte_order_mark=byte_order_mark,
        crlf=crlf,
        file_layout=file_layout,
    )
    text = all_bytes(body)
    assert len(text) == body.size_bytes()
    assert text.startswith(b"\xef\xbb\xbf") is byte_order_mark
    content = text.decode("utf-8-sig")
    newline = "\r\n" if crlf else "\n"
    if lines:
        assert content.endswith(newline) is final_newline
        assert (newline in content) is (lines > 1 or final_newline)
    found = (
        json.loads(content) if file_layout == "array" else [json.loads(line) for line in content.splitlines()]
    )
    assert [row["@seq"] for row in found] == [record.seq for record in rows.records(0, lines)]


@pytest.mark.parametrize("lines", [0, 1, 700])
@pytest.mark.parametrize(("csv_header", "final_newline"), list(product([True, False], [True, False])))
def test_csv_files_hold_every_row(lines: int, csv_header: bool, final_newline: bool) -> None:
    """With and without header and final newline a CSV reader finds the same rows."""
    rows = generated(lines)
    text = all_bytes(body_of(rows, "csv", csv_header=csv_header, final_newline=final_newline)).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))
    if csv_header:
        assert found.pop(0) == ["@timestamp", "@seq", "@stream", "@raw", "level", "status"]
    assert [int(row[1]) for row in found] == [record.seq for record in rows.records(0, lines)]
    assert all(len(row) == 6 for row in found)
    if lines or csv_header:
        assert text.endswith("\n") is final_newline


def unpacked(form: str, packed: bytes) -> bytes:
    if form == "gzip":
        return gzip.decompress(packed)
    if form == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
            return reader.read()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["name.json"]
        return archive.read("name.json")


@pytest.mark.parametrize("form", ["gzip", "zstd", "zip"])
@pytest.mark.parametrize("lines", [0, 10, 12_000])
def test_compressed_files_unpack_to_the_plain_one(form: str, lines: int) -> None:
    """Whatever the compression, one block or several, the usual tools unpack it."""
    plain = all_bytes(body_of(generated(lines)))
    body = body_of(generated(lines), file_compression=form)
    assert unpacked(form, all_bytes(body)) == plain
    assert all_bytes(body) == all_bytes(body_of(generated(lines), file_compression=form))


@pytest.mark.parametrize(
    "switches",
    [{}, {"file_layout": "array"}, {"file_compression": "gzip"}, {"file_compression": "zstd"},
     {"file_compression": "zip"}],
)  # fmt: skip
def test_pieces_of_a_file_fit_together(switches: dict[str, object]) -> None:
    """Any range of a file is that range of the whole, across rows, blocks, header and trailer."""
    body = body_of(generated(9_000), **switches)
    whole = all_bytes(body)
    size = len(whole)
    cuts = sorted({0, 1, 7, 11, 40, size // 3, size // 2, size - 90, size - 9, size - 1, size})
    for start, end in product(cuts, cuts):
        if start < end:
            assert b"".join(body.read(start, end)) == whole[start:end]


def test_names_and_times_have_several_spellings() -> None:
    """Fields are named as in query results or as in pull results, times in ms, s, us or ISO form."""
    rows = loaded("x")
    query = json.loads(all_bytes(body_of(rows)))
    assert query == {"@timestamp": START_MS, "@seq": 0, "@stream": "s/1", "@raw": "x", "level": "INFO"}
    pull = json.loads(all_bytes(body_of(rows, field_names="pull", record_time="iso")))
    assert (pull["timestamp"], pull["message"]) == ("2026-01-14T00:00:00.000Z", "x")
    assert json.loads(all_bytes(body_of(rows, record_time="s")))["@timestamp"] == START_MS // 1000
    assert json.loads(all_bytes(body_of(rows, record_time="us")))["@timestamp"] == START_MS * 1000


def test_bytes_that_are_no_text_go_out_as_they_came() -> None:
    """A raw line outside UTF-8 keeps its bytes."""
    raw = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    assert b"caf\xe9 \xff" in all_bytes(body_of(loaded(raw)))


def test_loaded_records_miss_no_column() -> None:
    """A record without a tag leaves its CSV column empty."""
    text = all_bytes(body_of(loaded("a", "b"), "csv", csv_header=False)).decode()
    assert [row[4:] for row in csv.reader(io.StringIO(text))] == [["INFO", ""], ["INFO", ""]]


def test_line_ends_in_a_csv_cell_are_quoted() -> None:
    """A text with line ends of any kind, and nothing else worth quoting, is one cell of one row."""
    raws = ["one\ntwo", "one\rtwo", "one\r\ntwo", "\n", "", "ends with\n"]
    text = all_bytes(body_of(loaded(*raws), "csv")).decode()
    read = csv.DictReader(io.StringIO(text, newline=""))
    assert [row["@raw"] for row in read] == raws


def test_the_md5_is_that_of_the_bytes() -> None:
    """The digest an object store would show is the digest of what is served."""
    body = body_of(generated(100))
    assert md5_hex(body) == hashlib.md5(all_bytes(body), usedforsecurity=False).hexdigest()

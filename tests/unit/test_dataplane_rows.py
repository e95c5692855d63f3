"""Rows are found wherever blocks happen to end."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.dataplane import rows as rows_module
from orchestrator.dataplane.csvform import CSV_ROWS, cells_of, header_of, tidy_cells
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import HEAD_BYTES, Shape
from orchestrator.dataplane.survey import count_rows
from orchestrator.errors import BrokenBody


def found(body: bytes, size: int, fallback: Shape = Shape.JSON_LINES) -> tuple[RowStream, list[bytes]]:
    """The rows of a body fed in pieces of ``size`` bytes."""
    stream = RowStream(fallback)
    regions = [stream.feed(body[at : at + size]) for at in range(0, len(body), size)]
    regions.append(stream.finish())
    rows = [row for region in regions for row in split_rows(region, stream.shape)]
    assert len(rows) == sum(count_rows(region, stream.shape) for region in regions)
    return stream, rows


@pytest.fixture(autouse=True)
def _short_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are decided after 8 bytes here, so that most pieces go through the cutters one by one."""
    monkeypatch.setattr(rows_module, "HEAD_BYTES", 8)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}\n', b'{"b":2}\n']),
        (b'{"a":1}\r\n\r\n\n{"b":2}', [b'{"a":1}\r\n', b'{"b":2}\n']),
        (b'\xef\xbb\xbf{"a":1}\n  \n', [b'{"a":1}\n']),
        (b'{"a":"\xff\xfe"}\n', [b'{"a":"\xff\xfe"}\n']),
        (b'{"a":1}\nno json\n', [b'{"a":1}\n', b"no json\n"]),
        (b'[{"a":1},{"b":[1,{"c":"],}"}]}]', [b'{"a":1}\n', b'{"b":[1,{"c":"],}"}]}\n']),
        (b'[\n {"a":\r\n 1}\n,\n{"b": "x\\n\\"y"}\n]\n\n', [b'{"a":   1}\n', b'{"b": "x\\n\\"y"}\n']),
        (b'[{"a":"raw\nnewline"}]', [b'{"a":"raw\\nnewline"}\n']),
        (b'[{"a":"\xff\xc3"}]', [b'{"a":"\xff\xc3"}\n']),
        (b"[{}, 12, true]", [b"{}\n", b"12\n", b"true\n"]),
        (b"a,b\n1,2\n", [b"a,b\n", b"1,2\n"][1:]),
        (b'@raw,t\r\n"x\r\n""y"", z",1\r\n\r\n"",2', [b'"x\r\n""y"", z",1\r\n', b'"",2\n']),
        (b'@raw\n5" disk\nsay "hi"\n', [b'5" disk\n', b'say "hi"\n']),
    ],
)
def test_rows_do_not_depend_on_blocks(body: bytes, expected: list[bytes], size: int) -> None:
    """Newlines in quotes, pretty-printed arrays, blank lines, CRLF, a missing last newline: the same rows
    from any pieces."""
    assert found(body, size)[1] == expected


CELL = st.text(st.sampled_from('ab,"\r\n é\x00'), max_size=6)


@given(
    st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=6),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_csv_rows_are_those_of_the_csv_library(
    table: list[list[str]], size: int, end: str, quote_all: bool
) -> None:
    """Quoted commas, quotes and newlines are read as the standard library writes them."""
    assume(
        quote_all or not any("\r" in cell for row in table for cell in row)
    )  # it leaves a lone CR unquoted
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerows([["@raw", "n"], *table])
    stream, rows = found(out.getvalue().encode(), size)
    assert stream.columns is not None
    assert stream.columns.names == ("@raw", "n")
    assert [[cell.decode() for cell in cells_of(row)] for row in rows] == table


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('a"\\[]{},:é\n'), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab{", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.sampled_from("ab]"), JSON, max_size=3), max_size=6),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_array_elements_are_those_of_the_json_library(
    elements: list[object], size: int, indent: int | None, ascii_only: bool
) -> None:
    """Any array of objects, printed on one line or many, gives its elements one per line."""
    body = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode()
    assert [json.loads(row) for row in found(body, size)[1]] == elements


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":1}',
        b'[{"a":1},',
        b'[{"a":1},]',
        b'[{"a":1} {"b":2}]',
        b'[{"a":1}] {"b":2}',
        b'[{"a":]}]',
        b'[{"a":"',
        b"[" * 100_000,
        b'{"a":1}\n{"b":',
        b'@raw,n\n1,"2',
    ],
)
def test_a_file_that_ends_inside_a_row_is_broken(body: bytes, size: int) -> None:
    """Unclosed arrays, strings and quotes, and what is no array at all, are not taken for whole files."""
    if size == 1 and len(body) > 1000:
        size = 1000
    with pytest.raises(BrokenBody):
        found(body, size)


@pytest.mark.parametrize("begin", [b'{"a":"', b'[{"a":"', b'@raw,n\n"'])
def test_a_row_without_end_is_broken(monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    """Memory is bounded by the longest row allowed, not by the file."""
    monkeypatch.setattr(rows_module, "MAX_ROW_BYTES", 100_000)
    stream = RowStream(Shape.JSON_LINES)
    stream.feed(begin)
    pieces = iter(lambda: b"x" * 5000, b"")
    with pytest.raises(BrokenBody, match="no end"):
        deque(map(stream.feed, islice(pieces, 100)), maxlen=0)


@pytest.mark.parametrize("shape", ["lines", "array", "csv"])
def test_rows_longer_than_blocks_are_whole(shape: str) -> None:
    """A record of the service's largest size, and one ten times that, pass in small blocks."""
    for size in (512 * 1024, 5 * 1024 * 1024):
        text = "x" * size
        row = json.dumps({"@raw": text})
        body = {
            "lines": f"{row}\n{row}\n",
            "array": f"[{row},{row}]",
            "csv": f'@raw,n\n"{text}\n",1\n{text},2\n',
        }[shape]
        rows = found(body.encode(), 64 * 1024)[1]
        assert len(rows) == 2
        assert all(len(row) > size for row in rows)


def test_members_of_an_archive_are_files_of_one_shape() -> None:
    """Each member begins and ends its own rows; a header that is repeated is no row; mixed shapes are
    refused."""
    stream = RowStream(Shape.JSON_LINES)
    regions = []
    for member in (b"@timestamp,b\n1,2\n", b"@timestamp,b\r\n3,4", b"", b"5,6\n"):
        regions += [stream.feed(member), stream.finish()]
    assert b"".join(regions) == b"1,2\n3,4\n5,6\n"
    with pytest.raises(BrokenBody, match="both"):
        stream.feed(b'{"a":1}\n')


@pytest.mark.parametrize(
    ("first", "time_field", "is_header", "names", "index"),
    [
        (b"@timestamp,@raw", "auto", True, ("@timestamp", "@raw"), 0),
        (b"a,timestamp\r\n", "auto", True, ("a", "timestamp"), 1),
        (b"timestamp,@timestamp", "auto", True, ("timestamp", "@timestamp"), 1),
        (b"when,what", "when", True, ("when", "what"), 0),
        (b"when,what", "auto", True, ("when", "what"), None),
        (b"1768348800000,GET", "auto", False, ("#1", "#2"), None),
        (b"1768348800000,GET", "#1", False, ("#1", "#2"), 0),
        (b"when,what", "#2", True, ("when", "what"), 1),
        (b"when,what", "#3", True, ("when", "what"), None),
        (b"2026-01-14T00:00:00Z,GET", "#1", False, ("#1", "#2"), 0),
        (b"GET,GET", "auto", False, ("#1", "#2"), None),
        (b'"@timestamp","","a","a"', "auto", True, ("@timestamp", "#2", "a", "a#4"), 0),
    ],
)
def test_a_header_is_told_from_a_row(
    first: bytes, time_field: str, is_header: bool, names: tuple[str, ...], index: int | None
) -> None:
    """Known names make a header; numbers and times make a row; `#3` counts columns from one; names become
    unique."""
    columns, header = header_of(first + b"\n", time_field)
    assert (header, columns.names, columns.time_index) == (is_header, names, index)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_random_bytes_raise_nothing_but_broken_body(body: bytes, size: int) -> None:
    """Every byte sequence is rows or is broken."""
    for prefix in (b"", b"[{", b'{"', b'"', b"\xef\xbb\xbf"):
        with suppress(BrokenBody):
            found(prefix + body, size)


def test_the_head_is_bounded() -> None:
    """A file of blank lines longer than the head is still read, block by block."""
    assert HEAD_BYTES == 64 * 1024
    assert found(b"\n" * 100_000, 4096)[1] == []


@pytest.mark.parametrize(
    "body",
    [
        b"@timestamp,@seq,@raw\n1,2,three\n4,5",
        b"1,2,three\n4,5",
        b'{"@raw":"a"}\n{"@raw":"b}',
        b'{"a":{"b":1}',
    ],
)
def test_a_last_row_without_line_end_must_be_all_there(body: bytes) -> None:
    """A file that was cut off inside its last row may hold as many rows as were counted."""
    stream = RowStream(Shape.JSON_LINES)
    stream.feed(body)
    with pytest.raises(BrokenBody, match="inside a row"):
        stream.finish()


@pytest.mark.parametrize("body", [b"a,b\n1,2\n3,4", b'{"a":1}\n{"b":"}"}', b"no json\nat all"])
def test_a_last_row_without_line_end_that_is_whole_is_one(body: bytes) -> None:
    """Files end without a newline, too."""
    stream = RowStream(Shape.JSON_LINES)
    region = stream.feed(body) + stream.finish()
    assert region.endswith(b"\n")
    assert stream.unterminated


CELLS = [b"", b"a", b" ", "ü".encode(), b"\xff", b"\0", b"a b", b'"a"', b'""', b'"a,b"', b'"a\nb"', b"'"]
CELLS += [b'"a\r\nb\rc"', b'"a""b"', b'"a"b', b'a"b', b'""a""', b"a\rb", b"\\", b"a" * 200_000]


@given(
    st.lists(
        st.lists(
            st.sampled_from(CELLS),
            min_size=1,
            max_size=4,
        ),
        max_size=6,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_tidy_rows_are_read_alike_quickly_and_slowly(table: list[list[bytes]], end: bytes) -> None:
    """All cells of a block at once are what each row's cells are, or nothing is said of them."""
    region = b"".join(b",".join(cells) + end for cells in table)
    if CSV_ROWS.fullmatch(region) is None:
        return
    found = tidy_cells(region)
    if found is not None:
        slow = [cells_of(row) for row in split_rows(region, Shape.CSV)]
        assert found == [[cell.decode() for cell in cells] for cells in slow]


def test_tidy_rows_are_most_rows() -> None:
    """Quotes around a cell, doubled quotes and newlines in them are no reason to look at each row; quotes
    inside of a cell, bytes that are no text and cells beyond measure are."""
    assert tidy_cells(b'1,"a ""b""\nc",\r\n\r\n2,,x\n') == [["1", 'a "b"\nc', ""], ["2", "", "x"]]
    for region in (b'a"b\n', b'"a"b\n', b"\xff\n", b"a\rb\n", b"a" * 200_000 + b"\n", b'"a\n'):
        assert tidy_cells(region) is None

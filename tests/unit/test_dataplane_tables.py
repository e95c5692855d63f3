"""Tables: every served form becomes CSV and Parquet that mean the same, in columns that all files share."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.columns import FIXED, Column, ColumnType, table_columns
from orchestrator.core.job import Compression, Order, Output, ServedFormat
from orchestrator.core.model import ColumnsFound, Receipt
from orchestrator.core.window import Window
from orchestrator.dataplane import parquet
from orchestrator.dataplane.arrow import Tables, lines_of
from orchestrator.dataplane.discovering import Discovery
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.dataplane.parquetread import lines_in, rows_of
from orchestrator.dataplane.record import fields_of, json_text
from orchestrator.dataplane.secondpass import SecondPass
from orchestrator.dataplane.sniff import Shape
from tests.unit.dataplane_kit import (
    PACKED,
    SERVED,
    START_S,
    Server,
    csv_text,
    fetched,
    json_array,
    json_lines,
    rows,
    ticket,
    transfer,
    unpacked,
)

AT_MS = START_S * 1000


def columns_found(body: bytes, folder: Path, **changes: Any) -> tuple[Column, ...]:
    found = transfer(Server(body), ticket(folder, output=Output.PARQUET, attempt_key="found", **changes))
    assert isinstance(found, ColumnsFound)
    return table_columns(found.columns, ())


def as_parquet(
    body: bytes, folder: Path, columns: tuple[Column, ...] | None = None, **changes: Any
) -> tuple[Receipt, pq.ParquetFile, list[dict[str, Any]]]:
    columns = columns_found(body, folder, **changes) if columns is None else columns
    receipt = fetched(Server(body), ticket(folder, output=Output.PARQUET, columns=columns, **changes))
    lines = b"".join(lines_in(receipt.staged_path)).splitlines()
    assert (receipt.form, receipt.extension) == ("parquet", ".parquet")
    assert rows_of(receipt.staged_path) == receipt.stored_rows == len(lines)
    return receipt, pq.ParquetFile(receipt.staged_path), [json.loads(line) for line in lines]


def as_csv(body: bytes, folder: Path, **changes: Any) -> tuple[Receipt, list[str], list[dict[str, Any]]]:
    """The header and the records: by the columns' types what stands alone, else what ``_raw`` says."""
    columns = columns_found(body, folder, **changes)
    receipt = fetched(Server(body), ticket(folder, output=Output.CSV, columns=columns, **changes))
    text = unpacked(Path(receipt.staged_path).read_bytes(), receipt.form).decode()
    header, *lines = cells(text)
    kinds = {column.name: column.type for column in columns}
    records = []
    for line in lines:
        assert len(line) == len(header)
        told = dict(zip(header, line, strict=True))
        record = told.pop("_raw")
        if record is not None:
            records.append(json.loads(record))
        else:
            records.append(
                {name: valued(cell, kinds[name]) for name, cell in told.items() if cell is not None}
            )
    assert receipt.stored_rows == len(records)
    return receipt, [name or "" for name in header], records


def cells(text: str) -> list[list[str | None]]:
    """RFC 4180 in which nothing is null and ``""`` an empty text, which Python's reader does not tell apart
    unless told by a mark."""
    found, row, at = [], [], 0
    while at < len(text):
        if text[at] == '"':
            end = at + 1
            while text[end] != '"' or text[end : end + 2] == '""':
                end += 2 if text[end] == '"' else 1
            row.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
        else:
            end = min(place for place in (text.find(",", at), text.find("\n", at)) if place >= 0)
            row.append(text[at:end] or None)
            at = end
        if text[at] == "\n":
            found.append(row)
            row = []
        at += 1
        if row and at < len(text) and text[at - 1] == "," and text[at] == "\n":
            row.append(None)
            found.append(row)
            row, at = [], at + 1
    assert not row
    return found


def valued(cell: str, kind: ColumnType) -> Any:
    if kind is ColumnType.STRING:
        return cell
    if kind is ColumnType.TIMESTAMP:
        return round(datetime.fromisoformat(cell).timestamp() * 1000)
    return json.loads(cell)


def without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("packing", PACKED)
def test_every_served_form_becomes_parquet(tmp_path: Path, served: str, packing: str) -> None:
    """JSON lines, arrays and CSV, packed in any way: a row for each, in order, typed."""
    some = rows(3_000)
    receipt, file, records = as_parquet(PACKED[packing](SERVED[served](some)), tmp_path)
    assert (receipt.served_rows, receipt.stored_rows) == (3_000, 3_000)
    assert records == some
    told = [(field.name, str(field.type)) for field in file.schema_arrow]
    assert told == [
        ("@timestamp", "timestamp[ms, tz=UTC]"),
        ("@stream", "string"),
        ("@seq", "int64"),
        ("@raw", "string"),
        ("_raw", "string"),
    ]
    group = file.metadata.row_group(0)
    assert group.column(0).compression == "ZSTD"
    assert group.column(0).statistics.min.timestamp() * 1000 == AT_MS
    assert group.sorting_columns == (pq.SortingColumn(0),)


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("compression", Compression)
def test_every_served_form_becomes_csv(tmp_path: Path, served: str, compression: Compression) -> None:
    """One header, times as ISO 8601, every text to the letter."""
    some = rows(500, text='a "quoted", \n text ')
    receipt, header, records = as_csv(SERVED[served](some), tmp_path, compression=compression)
    assert header == ["@timestamp", "@stream", "@seq", "@raw", "_raw"]
    assert records == some
    suffix = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}[compression]
    assert receipt.extension == ".csv" + suffix
    assert receipt.form.startswith("csv-table")


def test_every_reader_of_csv_reads_it(tmp_path: Path) -> None:
    """The csv module of Python sees the same rows."""
    receipt, header, _ = as_csv(json_lines(rows(50, text='x,"\n')), tmp_path)
    with Path(receipt.staged_path).open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found[0] == header
    assert [row[0] for row in found[1:3]] == ["2026-01-14T00:00:00.000Z", "2026-01-14T00:00:00.010Z"]
    assert len(found) == 51


texts = st.text(max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**22), 10**22)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = (
    st.sampled_from(["a", "b", "B", "@raw", "@stream", "@seq", "_raw", "", "ü", 'q"', "@timestamp"]) | texts
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """A line of JSON with a time in the window: any fields, names twice now and then, spelled in any way."""
    pairs = draw(st.lists(st.tuples(names, values), max_size=6))
    at = AT_MS + draw(st.integers(0, 599_999))
    pairs.append(("@timestamp", draw(st.sampled_from([at, str(at), at // 1000]))))
    ascii_ = draw(st.booleans())
    told = [
        f"{json.dumps(name, ensure_ascii=ascii_)}:{json.dumps(value, ensure_ascii=ascii_)}"
        for name, value in pairs
    ]
    return ("{" + draw(st.sampled_from([",", " , "])).join(told) + "}\n").encode("utf-8", "surrogatepass")


def meaning(line: bytes) -> Any:
    """What a line says, whatever its spelling: pairs in order, numbers as they are written; null is nothing,
    and a time a moment."""
    fields = fields_of(line)
    if fields is None:
        return line
    pairs = []
    for name, value in fields:
        if value is None:
            continue
        if name == "@timestamp" and len(fields) == len({name for name, _ in fields}):
            digits = str(value)
            pairs.append((name, str(int(digits) * (1000 if len(digits) == 10 else 1))))
        elif isinstance(value, str) and type(value) is not str:
            number = json.loads(value)
            pairs.append((name, repr(number if isinstance(number, float) else int(number))))
        else:
            pairs.append((name, json_text(value)))
    return sorted(pairs)


def same(one: bytes, other: bytes) -> bool:
    """Whole numbers in a column of fractions come back as fractions."""

    def plain(told: Any) -> Any:
        if isinstance(told, bytes):
            return told
        return [(name, float(text) if text.lstrip("-")[:1].isdigit() else text) for name, text in told]

    return bool(meaning(one) == meaning(other) or plain(meaning(one)) == plain(meaning(other)))


@given(st.lists(objects(), min_size=1, max_size=20))
@settings(max_examples=150, deadline=None)
def test_any_record_comes_back_from_parquet_with_equal_meaning(lines: list[bytes]) -> None:
    """Unicode, control characters, huge numbers, nested values, nulls, names that are there twice: what the
    columns and ``_raw`` say together is what was served."""
    region = b"".join(lines)
    discovery = Discovery()
    discovery.look(region, Shape.JSON_LINES, None)
    table = Tables(table_columns(discovery.columns(), ()), "@timestamp").table(region, Shape.JSON_LINES, None)
    back = [line + b"\n" for line in lines_of(table)]
    assert len(back) == len(lines)
    for served, stored in zip(lines, back, strict=True):
        assert same(served, stored), (served, stored)


@given(st.lists(objects(), min_size=1, max_size=20), st.booleans())
@settings(max_examples=150, deadline=None)
def test_both_ways_of_reading_give_the_same_table(lines: list[bytes], plain: bool) -> None:
    """What Arrow's reader takes at once, and what is read record by record."""
    if plain:
        lines = [json.dumps({"@timestamp": AT_MS, "@raw": "x", "a": n}).encode() + b"\n" for n in range(5)]
    region = b"".join(lines)
    discovery = Discovery()
    discovery.look(region, Shape.JSON_LINES, None)
    tables = Tables(table_columns(discovery.columns(), ()), "@timestamp")
    quick = tables._read_at_once(region)
    assert quick is not None or not plain
    if quick is not None:
        tables._read_at_once = lambda _: None  # type: ignore[method-assign]
        assert tables.table(region, Shape.JSON_LINES, None).equals(quick)


def test_columns_are_those_of_the_first_file_and_what_is_declared(tmp_path: Path) -> None:
    """Types as the rows show them; a declaration has the last word, also on fields no row has."""
    some = [
        {"@timestamp": AT_MS, "@raw": "r", "n": 1, "x": 1, "s": "a", "o": {"a": 1}, "m": 1, "z": None},
        {"@timestamp": AT_MS, "@raw": "r", "n": 2, "x": 1.5, "s": "b", "o": [1], "m": "a", "b": True},
    ]
    found = transfer(Server(json_lines(some)), ticket(tmp_path, output=Output.CSV))
    assert isinstance(found, ColumnsFound)
    columns = table_columns(found.columns, (("n", "string"), ("later", "float64"), ("_raw", "int64")))
    assert columns[: len(FIXED)] == FIXED
    assert {column.name: column.type.value for column in columns[len(FIXED) :]} == {
        "n": "string",
        "x": "float64",
        "s": "string",
        "o": "json",
        "m": "json",
        "z": "string",
        "b": "bool",
        "later": "float64",
    }


def test_a_later_file_with_other_fields_loses_no_row(tmp_path: Path) -> None:
    """A new field, and one that changes its type, stand in ``_raw``; the columns stay."""
    first = json_lines([{"@timestamp": AT_MS, "@raw": "r", "status": 200}])
    columns = columns_found(first, tmp_path)
    later = [
        {"@timestamp": AT_MS, "@raw": "r", "status": 201},
        {"@timestamp": AT_MS, "@raw": "r", "status": "none"},
        {"@timestamp": AT_MS, "@raw": "r", "status": 202, "user": "u"},
    ]
    _, file, records = as_parquet(json_lines(later), tmp_path, columns, attempt_key="later")
    assert records == later
    table = file.read()
    assert table.column("status").to_pylist() == [201, None, 202]
    assert [record is not None for record in table.column("_raw").to_pylist()] == [False, True, True]


def test_a_file_that_tells_its_columns_is_not_fetched_again(tmp_path: Path) -> None:
    """The second ticket finds it whole in the staging area, however small it is."""
    body = json_lines(rows(10))
    server = Server(body)
    found = transfer(server, ticket(tmp_path, output=Output.PARQUET))
    assert isinstance(found, ColumnsFound)
    receipt = fetched(
        server, ticket(tmp_path, output=Output.PARQUET, columns=table_columns(found.columns, ()))
    )
    assert receipt.stored_rows == 10
    assert server.sent == len(body)


def test_a_file_without_rows_tells_nothing_and_needs_no_columns(tmp_path: Path) -> None:
    """It must not decide what all others look like."""
    for body in (b"", b"[]", b"@timestamp,@raw\n"):
        receipt = fetched(Server(body), ticket(tmp_path, output=Output.PARQUET))
        assert (receipt.stored_rows, receipt.staged_path) == (0, "")


def test_rows_that_are_clipped_are_not_in_the_table(tmp_path: Path) -> None:
    """Counted and dropped as in any other form."""
    some = rows(3, first_ms=AT_MS - 1000, step_ms=1000)
    receipt, _, records = as_parquet(
        json_lines(some),
        tmp_path,
        window=Window(START_S, START_S + 1),
        requested=Window(START_S - 1, START_S + 2),
    )
    assert (receipt.served_rows, receipt.dropped_rows) == (3, 2)
    assert records == some[1:2]


def test_a_promise_of_order_is_made_only_if_it_is_kept(tmp_path: Path) -> None:
    """A file out of order, or with a row without time, is written all the same and promises nothing; one that
    goes back in time promises that."""
    straight = rows(100)
    for name, arranged, order, promised in (
        ("asc", straight, Order.ASC, (pq.SortingColumn(0),)),
        ("desc", straight[::-1], Order.DESC, (pq.SortingColumn(0, descending=True),)),
        ("mixed", straight[50:] + straight[:50], Order.ASC, ()),
        ("undated", [*straight, {"@raw": "x"}], Order.ASC, ()),
    ):
        _, file, records = as_parquet(json_lines(arranged), tmp_path / name, order=order)
        assert tuple(file.metadata.row_group(0).sorting_columns or ()) == promised
        assert records == arranged


def test_row_groups_are_cut_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small ones instead of one that grows with the file; order goes on from group to group."""
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1 << 20)
    _, file, records = as_parquet(json_lines(rows(40_000, text="x" * 200)), tmp_path)
    assert file.metadata.num_row_groups > 5
    assert len(records) == 40_000
    assert max(file.metadata.row_group(n).total_byte_size for n in range(5)) < 4 << 20


def test_a_record_of_half_a_megabyte_passes(tmp_path: Path) -> None:
    """The largest there is, in every form."""
    some = rows(3, text="ü" * 260_000)
    for body in (json_lines(some), json_array(some), csv_text(some)):
        for read in (as_parquet, as_csv):
            assert read(body, tmp_path / f"{hash(body)}{read.__name__}")[2] == some


def test_the_same_rows_give_the_same_parquet(tmp_path: Path) -> None:
    """A digest tells a file from another, so a second fetch must not give another one."""
    body = json_lines(rows(2_000))
    digests = {as_parquet(body, tmp_path / name)[0].stored_sha256 for name in ("a", "b")}
    assert len(digests) == 1


def test_served_csv_with_a_time_column_by_number(tmp_path: Path) -> None:
    """``#1`` dates the rows; in the table that is the first column, whatever it was called."""
    body = b"".join(b"%d,line %d\n" % (AT_MS + n, n) for n in range(5))
    _, file, _ = as_parquet(body, tmp_path, format=ServedFormat.CSV, time_field="#1")
    table = file.read()
    assert [moment.timestamp() * 1000 - AT_MS for moment in table.column("@timestamp").to_pylist()] == [
        *range(5)
    ]
    assert table.column("#2").to_pylist() == [f"line {n}" for n in range(5)]


def test_stretches_of_blank_lines_are_no_rows(tmp_path: Path) -> None:
    """However long: a block of nothing else is an empty piece of the table."""
    some = rows(4)
    blank = b"\n" * (2 << 20)
    for served in (json_lines, csv_text):
        _, _, records = as_parquet(served(some) + blank, tmp_path / served.__name__)
        assert records == some


def test_so_many_tables_are_written_at_once_as_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are fetched meanwhile and wait: memory is that of the tables that are written."""
    body = json_lines(rows(20_000))
    columns = columns_found(body, tmp_path)
    writing = most = 0
    rewrite = SecondPass.rewrite

    async def counted(self: SecondPass, *given: Any) -> None:
        nonlocal writing, most
        writing += 1
        most = max(most, writing)
        await rewrite(self, *given)
        writing -= 1

    monkeypatch.setattr(SecondPass, "rewrite", counted)

    async def all_of_them(plane: InlineDataPlane) -> list[Any]:
        asked = [
            ticket(tmp_path, output=Output.PARQUET, columns=columns, attempt_key=f"a-{number}")
            for number in range(4)
        ]
        try:
            return await asyncio.gather(*map(plane.transfer, asked))
        finally:
            await plane.close()

    for allowed in (1, 3):
        most = 0
        plane = InlineDataPlane(Server(body), tables_at_once=allowed)
        receipts = asyncio.run(all_of_them(plane))
        assert [receipt.stored_rows for receipt in receipts] == [20_000] * 4
        assert most == allowed
        shutil.rmtree(tmp_path / ".orchestrator")

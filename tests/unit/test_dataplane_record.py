"""What a record says in each column: to the letter, or whole beside the columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.core.columns import Column, ColumnType, table_columns
from orchestrator.dataplane.csvform import Columns
from orchestrator.dataplane.record import Records
from orchestrator.dataplane.sniff import Shape

BY_TYPE = {
    "s": ColumnType.STRING,
    "i": ColumnType.INT64,
    "f": ColumnType.FLOAT64,
    "b": ColumnType.BOOL,
    "t": ColumnType.TIMESTAMP,
    "j": ColumnType.JSON,
}
COLUMNS = table_columns([Column(name, type_) for name, type_ in BY_TYPE.items()], ())
NAMES = [column.name for column in COLUMNS]


def read(row: bytes, time_name: str | None = "@timestamp") -> tuple[dict[str, Any], str | None]:
    (cells, record), *others = Records(COLUMNS, time_name).rows(row, Shape.JSON_LINES, None)
    assert not others
    return {name: cell for name, cell in zip(NAMES, cells, strict=True) if cell is not None}, record


@pytest.mark.parametrize(
    ("name", "text", "cell"),
    [
        ("s", '"x"', "x"),
        ("s", '""', ""),
        ("s", '"a\\u0000\\n\\ud83d\\ude00ü"', "a\0\n😀ü"),
        ("i", "7", 7),
        ("i", "-9223372036854775808", -(2**63)),
        ("i", "9223372036854775807", 2**63 - 1),
        ("i", "-0", 0),
        ("f", "1.5", 1.5),
        ("f", "-1e3", -1000.0),
        ("f", "7", 7.0),
        ("f", "9007199254740992", 2.0**53),
        ("b", "true", True),
        ("b", "false", False),
        ("t", "1768348800123", 1_768_348_800_123),
        ("t", "1768348800", 1_768_348_800_000),
        ("t", "1768348800123000", 1_768_348_800_123),
        ("t", '"2026-01-14T08:00:00.5+08:00"', 1_768_348_800_500),
        ("t", '"2026-01-14T00:00:00.123000Z"', 1_768_348_800_123),
        ("j", '{"a": [1, 1.50, null, "x"], "a": {}}', '{"a":[1,1.50,null,"x"],"a":{}}'),
        ("j", "12345678901234567890123", "12345678901234567890123"),
        ("j", '"x"', '"x"'),
    ],
)
def test_what_fits_is_a_cell_and_nothing_else(name: str, text: str, cell: object) -> None:
    """Exactly that value, in that type."""
    cells, record = read(f'{{"{name}":{text}}}\n'.encode())
    assert (cells, record) == ({name: cell}, None)
    assert type(cells[name]) is type(cell)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s", "7"),
        ("s", "true"),
        ("s", "{}"),
        ("s", '"\\ud800"'),
        ("i", "7.0"),
        ("i", "1e2"),
        ("i", "true"),
        ("i", '"7"'),
        ("i", "9223372036854775808"),
        ("f", "9007199254740993"),
        ("f", "1e400"),
        ("f", '"1.5"'),
        ("b", "1"),
        ("b", '"true"'),
        ("t", "1768348800123456"),
        ("t", '"2026-01-14T00:00:00.1234Z"'),
        ("t", '"yesterday"'),
        ("t", "true"),
        ("t", "99999999999999999999999"),
        ("unknown", "1"),
        ("@seq", '"7"'),
        ("_raw", '"x"'),
        ("", "1"),
    ],
)
def test_what_does_not_fit_is_kept_whole_beside_what_does(name: str, text: str) -> None:
    """No rounding, no guessing: the record stands as it came, and its other fields in their columns too."""
    row = f'{{"@raw":"r","{name}":{text}}}'
    cells, record = read(row.encode() + b"\n")
    assert record == row
    assert cells == {"@raw": "r"}


@pytest.mark.parametrize(
    ("row", "record"),
    [
        (b'{"s":"a","s":"a"}\n', '{"s":"a","s":"a"}'),
        (b'{"s":"a\xff"}\r\n', '{"s":"a\\udcff"}'),
        (b"[1]\n", "[1]"),
        (b"no JSON\n", "no JSON"),
        (b'{"f":NaN}\n', '{"f":NaN}'),
        (b'{"j":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", '{"j":' + "[" * 100_000 + "]" * 100_000 + "}"),
    ],
)
def test_lines_that_no_table_holds_are_kept_as_they_are(row: bytes, record: str) -> None:
    """Equal names, bytes that are no text, what is no object."""
    assert read(row)[1] == record


def test_null_says_what_is_said_by_nothing() -> None:
    """Also of a field that no column has."""
    assert read(b'{"s":null,"unknown":null,"@timestamp":null}\n') == ({}, None)


def test_the_time_is_found_under_the_name_it_has_in_the_file() -> None:
    """And the field of that name stays what it is."""
    cells, record = read(b'{"i":1768348800,"s":"x"}\n', time_name="i")
    assert (cells, record) == ({"@timestamp": 1_768_348_800_000, "i": 1_768_348_800, "s": "x"}, None)
    own, _ = read(b'{"i":1768348800,"@timestamp":1768348801000}\n', time_name="i")
    assert own["@timestamp"] == 1_768_348_801_000


def test_cells_of_csv_are_read_by_the_type_of_their_column() -> None:
    """Empty is null but for texts; extra cells and what does not fit make the record stand whole, as JSON."""
    names = Columns(("@timestamp", "s", "i", "f", "b"), 0)
    rest = (b"x,7,1.5,true", b",,,", b"x,007,0x1,yes", b"a,1,1,true,more")
    region = b"".join(b"1768348800000," + cells + b"\n" for cells in rest)
    found = list(Records(COLUMNS, "@timestamp").rows(region, Shape.CSV, names))
    told = [
        {name: cell for name, cell in zip(NAMES, cells, strict=True) if cell is not None}
        for cells, _ in found
    ]
    at = {"@timestamp": 1_768_348_800_000}
    assert told[0] == at | {"s": "x", "i": 7, "f": 1.5, "b": True}
    assert told[1] == at | {"s": ""}
    assert told[2] == at | {"s": "x"}
    assert [record and json.loads(record) for _, record in found] == [
        None,
        None,
        {"@timestamp": "1768348800000", "s": "x", "i": "007", "f": "0x1", "b": "yes"},
        {"@timestamp": "1768348800000", "s": "a", "i": "1", "f": "1", "b": "true", "#6": "more"},
    ]

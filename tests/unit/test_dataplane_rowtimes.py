"""When rows happened to the millisecond: the quick ways of reading agree with the slow one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataplane.csvform import Columns, cells_of
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.rowtimes import RowTimes, row_times_for
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import millisecond_of
from tests.unit.dataplane_kit import START_S

S = START_S
FIRST = b'{"@timestamp":%d}\n' % (S * 1000)

TIMES = st.one_of(
    st.integers(S - 2, S + 9),
    st.integers((S - 2) * 1000, (S + 9) * 1000),
    st.integers((S - 2) * 10**6, (S + 9) * 10**6),
    st.integers((S - 2) * 10**9, (S + 9) * 10**9),
    st.integers(S, S + 5).map(lambda second: second + 0.25),
    st.integers(S, S + 5).map(lambda second: f"{second}123"),
    st.integers(S, S + 5).map(lambda second: f"{second}.5"),
    st.integers(10, 59).map(lambda second: f"2026-01-14T00:00:{second}.123456Z"),
    st.integers(10, 59).map(lambda second: f"2026-01-14 08:00:{second},5+08:00"),
    st.sampled_from([None, "never", [1], 17683488001, 176834880012345, -5, True, "0768348800123"]),
)
OTHERS = st.dictionaries(
    st.sampled_from(["a", "@raw", "@timestamps"]),
    st.one_of(
        st.integers(),
        st.text(st.sampled_from('x"\\{}é\n,:')),
        st.just('"@timestamp":1768348801000,'),
        st.fixed_dictionaries({"@timestamp": st.integers(S, S + 9)}),
    ),
    max_size=3,
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with a leading time of one notation, some of another one, behind other fields, or without."""
    kind = draw(st.sampled_from(["alike", "mixed"]))
    times = draw(st.lists(st.integers(S * 1000, S * 1000 + 5000), max_size=8))
    if kind == "alike":
        return [{"@timestamp": time, **draw(OTHERS)} for time in times]
    made: list[dict[str, Any]] = []
    for _ in times:
        fields = [("@timestamp", draw(TIMES)), *draw(OTHERS).items()]
        made.append(dict(draw(st.permutations(fields))) if draw(st.booleans()) else dict(fields[1:]))
    return made


@given(rows(), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_every_way_of_reading_json_gives_the_same_milliseconds(
    found: list[dict[str, Any]], separators: tuple[str, str], escaped: bool
) -> None:
    """Whatever stands in a row, its time is what a parser finds in it, and order is claimed only where it
    is."""
    region = b"".join(
        json.dumps(row, separators=separators, ensure_ascii=escaped).encode() + b"\n" for row in found
    )
    times = row_times_for(Shape.JSON_LINES, FIRST, None, "auto")
    assert times is not None
    expected = [millisecond_of(row.get("@timestamp")) for row in found]
    agrees(times, region, expected)


@given(
    st.lists(st.tuples(TIMES, st.text(st.sampled_from('x"\r\n,é'), max_size=4)), max_size=8),
    st.integers(0, 1),
)
def test_every_way_of_reading_csv_gives_the_same_milliseconds(
    found: list[tuple[Any, str]], column: int
) -> None:
    """Quoted cells, cells with newlines and missing ones included."""
    lines = []
    for time, text in found:
        cells = [str(time), '"' + text.replace('"', '""') + '"' if set(text) & set('"\r\n,') else text]
        lines.append(",".join(cells if not column else reversed(cells)) + "\n")
    region = "".join(lines).encode()
    times = row_times_for(Shape.CSV, region, Columns(("a", "b"), column), "auto")
    assert times is not None
    expected = []
    for row in split_rows(region, Shape.CSV):
        cells = cells_of(row)
        expected.append(millisecond_of(cells[column].decode()) if column < len(cells) else None)
    agrees(times, region, expected)


def agrees(times: RowTimes, region: bytes, expected: list[int | None]) -> None:
    assert times.keys(region) == expected
    span = times.span(region)
    if span is not None:
        assert span == (expected[0], expected[-1], len(expected))
        known = [key for key in expected if key is not None]
        assert known == sorted(expected, key=lambda key: key or 0)


@pytest.mark.parametrize(
    "row", [b'{"@timestamp":%d,"a":1}\n', b'{ "@timestamp" : %d }\n', b'{"@timestamp":"%d","a":1}\n']
)
def test_rows_with_a_leading_time_are_known_to_be_in_order_without_parsing(row: bytes) -> None:
    """The common form is read at the speed of C, and one row out of place is noticed."""
    times = row_times_for(Shape.JSON_LINES, row % (S * 1000), None, "auto")
    assert times is not None
    region = b"".join(row % (S * 1000 + ms) for ms in (5, 5, 7, 900))
    assert times.span(region) == (S * 1000 + 5, S * 1000 + 900, 4)
    assert times.span(region + row % (S * 1000 + 899)) is None
    assert times.span(region + b"\n") is None


def test_a_time_is_not_taken_from_a_field_that_looks_alike() -> None:
    """Names that differ in a digit, and a time behind something that only ends like the right name."""
    region = b'{"ts1":%d}\n{"ts2":%d,"ts1":%d}\n' % (S * 1000, S * 1000 + 1, S * 1000 + 2)
    times = row_times_for(Shape.JSON_LINES, region, None, "ts1")
    assert times is not None
    assert times.keys(region) == [S * 1000, S * 1000 + 2]
    assert times.span(region) is None


def test_leading_zeros_are_no_part_of_a_time() -> None:
    """The unit of a number goes by its size, and not by how many digits are written."""
    region = b'{"@timestamp":"%d"}\n{"@timestamp":"0000000000123"}\n' % (S * 1000)
    times = row_times_for(Shape.JSON_LINES, region, None, "auto")
    assert times is not None
    assert times.keys(region) == [S * 1000, 123_000]
    cells = row_times_for(Shape.CSV, b"", Columns(("a", "b"), 1), "auto")
    assert cells is not None
    assert cells.keys(b"x,%d\nx,0000000000123\n" % (S * 1000)) == [S * 1000, 123_000]


def test_a_leading_csv_time_is_known_to_be_in_order_without_parsing() -> None:
    """The same for the first column of CSV, with and without CR, and for a column that is the only one."""
    times = row_times_for(Shape.CSV, b"", Columns(("@timestamp",), 0), "auto")
    assert times is not None
    for end in (b"\n", b"\r\n", b",x\n"):
        region = b"".join(b"%d%b" % (S + second, end) for second in (1, 2, 2))
        assert times.span(region) == ((S + 1) * 1000, (S + 2) * 1000, 3)


def test_a_file_without_the_field_has_no_times() -> None:
    """A field that the first row lacks, and a CSV file without header, cannot be dated."""
    assert row_times_for(Shape.JSON_LINES, b'{"a":1}\n', None, "auto") is None
    assert row_times_for(Shape.CSV, b"1,2\n", Columns(("#1", "#2"), None), "auto") is None

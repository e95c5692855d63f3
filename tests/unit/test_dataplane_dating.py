"""When rows happened: units and notations, and that the quick ways of reading agree with the slow one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.window import Window
from orchestrator.dataplane.csvform import Columns, cells_of
from orchestrator.dataplane.dating import CsvDater, JsonDater, dater_for
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import second_of
from tests.unit.dataplane_kit import START_S

S = START_S
WINDOW = Window(S + 2, S + 6)


@pytest.mark.parametrize(
    ("value", "second"),
    [
        (S, S),
        (S * 10**3 + 999, S),
        (S * 10**6 + 999_999, S),
        (S * 10**9 + 999_999_999, S),
        (S + 0.999, S),
        (str(S), S),
        (f" {S}999 ", S),
        (f"{S}.5", S),
        ("2026-01-14T00:00:00Z", S),
        ("2026-01-14T00:00:00.999999Z", S),
        ("2026-01-14T00:00:00.999999999Z", S),
        ("2026-01-14 00:00:00", S),
        ("2026-01-14T08:00:00+08:00", S),
        ("2026-01-14T08:00:00,5+0800", S),
        (-1, -1),
        (-1.5, -2),
        (0, 0),
        (True, None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        ("", None),
        ("yesterday", None),
        ("99999-01-01", None),
        ({"a": 1}, None),
    ],
)
def test_values_are_read_without_knowing_their_unit(value: object, second: int | None) -> None:
    """Seconds to nanoseconds by magnitude, texts of digits, ISO 8601 with or without offset; anything else is
    no time."""
    assert second_of(value) == second


TIMES = st.one_of(
    st.integers(S - 2, S + 9),
    st.integers((S - 2) * 1000, (S + 9) * 1000),
    st.integers((S - 2) * 10**9, (S + 9) * 10**9),
    st.integers(S, S + 5).map(lambda second: second + 0.25),
    st.integers(S, S + 5).map(lambda second: f"{second}123"),
    st.integers(10, 59).map(lambda second: f"2026-01-14T00:00:{second}.123Z"),
    st.integers(10, 59).map(lambda second: f"2026-01-14 08:00:{second}+08:00"),
    st.sampled_from([None, "never", [1], 17683488001, 176834880012345, -5, True]),
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
def json_rows(draw: st.DrawFn) -> bytes:
    """Rows as a service might write them: the time first, last, nested, missing; blank lines and rubbish
    between."""
    uniform = draw(st.booleans())
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 6))):
        row: dict[str, Any] = draw(OTHERS) if not uniform else {}
        if uniform or draw(st.integers(0, 9)):
            time = {"@timestamp": draw(st.integers(S * 1000, (S + 8) * 1000) if uniform else TIMES)}
            row = {**time, **row} if draw(st.booleans()) else {**row, **time}
        separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\t")]))
        line = json.dumps(row, separators=separators, ensure_ascii=draw(st.booleans())).encode()
        line += draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"]))
        if not uniform:
            line += draw(
                st.sampled_from([b"", b"", b"", b"\n", b" \r\n", b"rubbish\n", b'{"@raw":"\xff"}\n'])
            )
        lines.append(line)
    return b"".join(lines)


def slow_second(row: bytes) -> int | None:
    """One row, by the standard library alone."""
    try:
        parsed = json.loads(row.decode("utf-8", "replace"))
    except ValueError:
        return None
    return second_of(parsed.get("@timestamp")) if isinstance(parsed, dict) else None


@given(json_rows())
def test_json_rows_are_dated_alike_quickly_and_slowly(region: bytes) -> None:
    """One pattern over a block gives each row the time that parsing the row gives it, or leaves the work to
    parsing."""
    expected = [slow_second(row) for row in split_rows(region, Shape.JSON_LINES)]
    assert JsonDater("@timestamp").seconds(region) == expected
    inside = JsonDater("@timestamp").all_inside(region, WINDOW)
    if inside is not None:
        assert inside == len(expected)
        assert all(second is not None and WINDOW.start_s <= second < WINDOW.end_s for second in expected)


def test_blocks_are_judged_whole_wherever_the_time_stands() -> None:
    """A block of rows written alike is known to lie inside without any of them being dated, in any order,
    with the time first, last or in any column."""
    first = b"".join(b'{"@timestamp":%d123,"a":"x"}\n' % (S + n) for n in (5, 2, 3, 2))
    later = b"".join(b'{"a":"x","@timestamp":%d123}\n' % (S + n) for n in (5, 2, 3, 2))
    for block in (first, later):
        dater = JsonDater("@timestamp")
        assert dater.all_inside(block, WINDOW) == 4
        assert dater.all_inside(block, Window(S + 3, S + 6)) is None
        assert dater.all_inside(block + b"\n", WINDOW) is None
    assert CsvDater(0).all_inside(b"%d123,x\r\n%d123,y\n" % (S + 5, S + 2), WINDOW) == 2
    assert CsvDater(1).all_inside(b"x,%d123\r\ny,%d123\n" % (S + 5, S + 2), WINDOW) == 2
    assert CsvDater(0).all_inside(b"%d123\n%d1\n" % (S + 5, S + 2), WINDOW) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "", 'a,"b"\n', "1768348801000", "ü"]), TIMES.map(str), st.integers(0, 9)
        ),
        min_size=1,
    ),
    st.integers(0, 1),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_cells_are_dated_alike_quickly_and_slowly(
    table: list[tuple[str, str, int]], index: int, end: str
) -> None:
    """One pattern over a block gives each row the time in its cell; rows that are too short have none."""
    lines = []
    for text, time, chance in table:
        quoted = '"' + text.replace('"', '""') + '"'
        cells = [time, quoted if chance else text] if index == 0 else [quoted, time]
        if ("," in text or "\n" in text) and index == 0:
            cells[1] = quoted
        lines.append(",".join(cells[: 1 + (chance > 1)]) + end + (end if chance == 2 else ""))
    region = "".join(lines).encode()
    rows = [cells_of(row) for row in split_rows(region, Shape.CSV)]
    expected = [second_of(row[index].decode()) if len(row) > index else None for row in rows]
    assert CsvDater(index).seconds(region) == expected
    inside = CsvDater(index).all_inside(region, WINDOW)
    if inside is not None:
        assert inside == len(rows)
        assert all(second is not None and WINDOW.start_s <= second < WINDOW.end_s for second in expected)


@pytest.mark.parametrize(
    ("row", "time_field", "second"),
    [
        (b'{"timestamp":1,"@timestamp":1768348800000}\n', "auto", S),
        (b'{"timestamp":1768348800000}\n', "auto", S),
        (b'{"when":"2026-01-14T00:00:00Z"}\n', "when", S),
        (b'{"w\xc3\xa4nn":1768348800}\n', "wänn", S),
        (b'{"when":1768348800}\n', "auto", None),
        (b'{"when":1768348800}\n', "#1", None),
        (b"[1]\n", "auto", None),
        (b'{"@timestamp":{"$date":1768348800000}}\n', "auto", None),
    ],
)
def test_the_time_field_is_found_or_there_is_none(row: bytes, time_field: str, second: int | None) -> None:
    """`auto` prefers @timestamp over timestamp; any other name must be there; columns are for CSV only."""
    dater = dater_for(Shape.JSON_LINES, row, None, time_field)
    assert (dater.seconds(row) if dater else None) == ([second] if second else None)


def test_csv_without_a_time_column_has_no_dater() -> None:
    """No header, no name, no number: nothing is guessed."""
    assert dater_for(Shape.CSV, b"1,2\n", Columns(("#1", "#2"), None), "auto") is None
    assert dater_for(Shape.CSV, b"1,2\n", None, "auto") is None


def test_a_row_that_is_no_json_is_still_dated_when_the_field_can_be_seen() -> None:
    """A stray byte or an unescaped quote in the message does not make the time unreadable."""
    dater = JsonDater("@timestamp")
    assert dater.seconds(b'{"@raw":"\xff","@timestamp":1768348800000}\n') == [S]
    assert dater.seconds(b'{"a":{},"@raw":"un"quoted","@timestamp":1768348800000}\n') == [S]
    assert dater.seconds(b'{"a":{},"@raw":"un"quoted","@timestamp":"never"}\n') == [None]

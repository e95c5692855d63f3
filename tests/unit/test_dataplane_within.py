"""Whole blocks judged at once: what is said of one is what reading each of its rows says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.window import Window
from orchestrator.dataplane.csvform import cells_of
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.times import second_of
from orchestrator.dataplane.within import cells_inside, objects_inside, seconds_pattern
from tests.unit.dataplane_kit import START_S

S = START_S
WINDOW = Window(S + 2, S + 6)
KEY = b'"@timestamp"'


@given(st.integers(10**9 - 5, 10**10 + 5), st.integers(1, 10**6), st.lists(st.integers(-20, 20)))
def test_a_pattern_knows_the_seconds_of_its_window(start_s: int, length_s: int, near: list[int]) -> None:
    """It matches each second of ten digits inside and none outside, at both borders and anywhere else."""
    pattern = re.compile(seconds_pattern(start_s, start_s + length_s))
    for second in (
        start_s,
        start_s - 1,
        *(border + n for border in (start_s, start_s + length_s) for n in near),
    ):
        expected = start_s <= second < start_s + length_s and 10**9 <= second < 10**10
        assert (pattern.fullmatch(str(second).encode()) is not None) == expected


def test_a_pattern_of_every_length_is_whole() -> None:
    """Each window of a thousand seconds around a change of many digits holds exactly its seconds."""
    for start_s in range(1_769_999_000, 1_770_000_000, 37):
        for end_s in (start_s + 1, start_s + 10, start_s + 1000, start_s + 1001):
            pattern = re.compile(seconds_pattern(start_s, end_s))
            found = [second for second in range(start_s - 12, end_s + 12) if pattern.match(b"%d" % second)]
            assert found == list(range(start_s, end_s))


VALUES = st.sampled_from(
    [
        "x",
        'a"b',
        "\\",
        '\\"',
        '"@timestamp":1768348803000}',
        "{",
        "}",
        "ü",
        5,
        -1.5,
        None,
        True,
        {"@timestamp": 5},
        [1],
    ]
)
KEYS = ["a", "@raw", "@timestamps", '"@timestamp', "x@timestamp", "\\"]


@st.composite
def alike_rows(draw: st.DrawFn) -> bytes:
    """Rows of one make, most of them: the same keys, the time in the same place; here and there one that is
    not like the others."""
    before = draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))
    after = draw(st.lists(st.sampled_from(KEYS), max_size=2, unique=True))
    size = draw(st.sampled_from([1, 1000, 10**9]))
    as_text = draw(st.booleans())
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\t")]))
    end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    fixed = draw(st.booleans())
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 8))):
        second = draw(st.integers(S + 2, S + 5) if draw(st.integers(0, 9)) else st.integers(S - 3, S + 9))
        time: Any = second * size + (draw(st.integers(0, size - 1)) if size > 1 else 0)
        row: dict[str, Any] = {key: "x" if fixed else draw(VALUES) for key in before}
        row["@timestamp"] = str(time) if as_text else time
        row |= {key: draw(VALUES) for key in after if key not in row}
        line = json.dumps(row, separators=separators, ensure_ascii=draw(st.booleans())).encode()
        mishap = draw(st.integers(0, 40))
        if mishap == 0:
            line = b""
        elif mishap == 1:
            line = b"rubbish"
        elif mishap == 2:
            line = line.replace(b"}", b',"@timestamp":5}')
        elif mishap == 3:
            line = line[:-1] + b"0}"
        elif mishap == 4:
            line = b'{"@timestamp":null,' + line[1:]
        elif mishap == 5:
            line = line.replace(b"{", b"[{", 1)
        elif mishap == 6:
            line = b'{"b":"' + line + b'"}'
        lines.append(line + end)
    return b"".join(lines)


def slow_second(row: bytes) -> int | None:
    """One row, by the standard library alone; of one that is no JSON the last time that can be seen in it."""
    try:
        parsed = json.loads(row.decode("utf-8", "replace"))
    except ValueError:
        seen = re.findall(rb'"@timestamp"\s*:\s*"?(\d+)', row)
        return second_of(int(seen[-1])) if seen else None
    return second_of(parsed.get("@timestamp")) if isinstance(parsed, dict) else None


def inside(second: int | None) -> bool:
    return second is not None and WINDOW.start_s <= second < WINDOW.end_s


@given(alike_rows())
def test_a_block_that_is_said_to_lie_inside_does(region: bytes) -> None:
    """Wherever the time stands and whatever else the rows hold, a block is passed only if each of its rows,
    parsed by itself, lies in the window, and their number is right."""
    count = objects_inside(region, KEY, WINDOW)
    if count is not None:
        seconds = [slow_second(row) for row in split_rows(region, Shape.JSON_LINES)]
        assert count == len(seconds)
        assert all(map(inside, seconds))


@pytest.mark.parametrize(
    "row",
    [
        b'{"@timestamp":%d123,"a":"x"}\n',
        b'{"@timestamp":"%d123","a":"x"}\n',
        b'{ "@timestamp" : %d , "a":{"b":[1]}}\r\n',
        b'{"@timestamp":%d}\n',
        b'{"a":"x","@timestamp":%d123}\n',
        b'{"a":{"b":"{"},"@timestamp": "%d123"}\r\n',
        b'{"a":"x\\"y","n":-1.5,"@timestamp":%d123456789,"c":null}\n',
    ],
)
def test_blocks_that_are_written_alike_are_passed_at_once(row: bytes) -> None:
    """With the time first, last or behind plain values, as number or text, in any order; not when one row
    lies outside, is written another way, is blank, or has a second time of that name."""
    times = (S + 5, S + 2, S + 3, S + 2)
    block = b"".join(row % at for at in times)
    assert objects_inside(block, KEY, WINDOW) == 4
    for other in (S + 1, S + 6, S - 10**9, S * 10):
        assert objects_inside(block + row % other, KEY, WINDOW) is None
        assert objects_inside(row % other + block, KEY, WINDOW) is None
        assert objects_inside(block + row % other + block, KEY, WINDOW) is None
    odd = row % (S + 3)
    for strange in (
        b"\n",
        b" \r\n",
        b"{}\n",
        odd.replace(b'"@timestamp"', b'"@timestamq"'),
        odd.replace(b'"@timestamp"', b'\\"@timestamp"'),
        odd.rstrip().removesuffix(b"}") + b',"@timestamp":null}\n',
    ):
        assert objects_inside(block + strange + block, KEY, WINDOW) is None, strange
        assert objects_inside(block + strange, KEY, WINDOW) is None, strange


@pytest.mark.parametrize(
    ("index", "row"), [(0, "{}123,x,y\r\n"), (0, "{}\n"), (1, "x,{}123,y\n"), (2, "x,y,{}\n")]
)
def test_columns_are_passed_at_once(index: int, row: str) -> None:
    """CSV without quotes, whichever column the time is in; not with a row outside, a blank or a short one."""
    block = "".join(row.format(at) for at in (S + 5, S + 2, S + 3)).encode()
    assert cells_inside(block, index, WINDOW) == 3
    for strange in (
        row.format(S + 6),
        row.format(S + 1),
        row.format(""),
        "\n",
        "x\n",
        '"x",' + row.format(S + 3),
    ):
        region = block + strange.encode() + block
        assert cells_inside(region, index, WINDOW) is None, strange
        assert cells_inside(block + strange.encode(), index, WINDOW) is None, strange


@given(
    st.lists(st.tuples(st.sampled_from(["x", "", "1768348804"]), st.integers(S, S + 8)), min_size=1),
    st.integers(0, 2),
)
def test_a_block_of_cells_that_is_said_to_lie_inside_does(table: list[tuple[str, int]], index: int) -> None:
    """Each row read cell by cell has its time in the window, and their number is right."""
    lines = []
    for text, at in table:
        cells = [text, text, "y"]
        cells.insert(index, str(at))
        lines.append(",".join(cells[: 4 if text else 2]) + "\n")
    region = "".join(lines).encode()
    count = cells_inside(region, index, WINDOW)
    if count is not None:
        found = [cells_of(row) for row in split_rows(region, Shape.CSV)]
        assert count == len(found)
        assert all(len(row) > index and inside(second_of(row[index].decode())) for row in found)

"""Times, packings and forms of foreign files: any of them is read the same on every way, or refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import strategies as st

from orchestrator.core.window import Window
from orchestrator.dataplane import dating
from orchestrator.dataplane.csvform import cells_of, header_of
from orchestrator.dataplane.dating import CsvDater, JsonDater, dater_for
from orchestrator.dataplane.decode import STEP_BYTES, decoded
from orchestrator.dataplane.encode import Encoder
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.survey import count_rows
from orchestrator.dataplane.times import second_of
from orchestrator.errors import BrokenBody
from tests.fuzz.aim import aimed, finding, outcome
from tests.fuzz.junk import JSON, ODD_VALUES, mutated, texts
from tests.unit.dataplane_kit import START_S

PLACE = os.path.join(tempfile.gettempdir(), f"orchestrator-fuzz-{os.getpid()}.bin")


@pytest.fixture(autouse=True, scope="module")
def _leave_nothing() -> Iterator[None]:
    """The one file all inputs are written to goes with the module."""
    yield
    Path(PLACE).unlink(missing_ok=True)


# --- one time ---

TIMES = texts(40) | mutated(
    (b"2026-01-14T00:00:00.123+08:00", b"1768348800123", b"2026-W03-3", b"20260114T000000Z", b"-1.5")
).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@aimed(
    "times",
    value=TIMES | JSON | st.integers() | st.floats() | st.sampled_from(ODD_VALUES),
    also=[{"value": 10**5000}, {"value": "9" * 5000}, {"value": "0001-01-01T00:00:00+23:59"}],
)
def test_any_value_is_a_second_or_none(value: Any) -> None:
    """Any value of a time field is a whole second or no time, whatever its type, size and text."""
    second = second_of(value)
    assert second is None or isinstance(second, int)
    assert second is None or not isinstance(value, bool | list | dict)


@aimed(
    "time-units",
    second=st.integers(0, 4_102_444_799),
    unit=st.sampled_from([1, 10**3, 10**6, 10**9]),
    part=st.floats(0, 0.999),
)
def test_units_are_told_by_magnitude(second: int, unit: int, part: float) -> None:
    """A moment of our time in s, ms, us or ns, as number, text or ISO 8601, is its second, rounded down."""
    if second >= 10**9:
        number = second * unit + int(part * unit)
        assert second_of(number) == second_of(str(number)) == second_of(f" {number}.75 ") == second
    at = datetime.fromtimestamp(second, UTC)
    assert second_of(f"{at:%Y-%m-%dT%H:%M:%S}Z") == second
    assert second_of(f"{at:%Y-%m-%d %H:%M:%S}.999999") == second
    assert second_of(f"{at:%Y-%m-%dT%H:%M:%S}+08:00") == second - 28_800


# --- all times of a region ---

LINES = (
    b'{"@timestamp":%s,"n":1}',
    b'{"n":1,"@timestamp":%s}',
    b'{"n":{"@timestamp":5},"@timestamp":%s}',
    b'{ "@timestamp" : %s }',
    b' {"@timestamp":%s}',
    b'{"@timestamp":%s,"@timestamp":1768348801000}',
    b'{"a\\"@timestamp":%s}',
    b'{"a":"{","@timestamp":%s}',
    b'{"a":["@timestamp",":1"],"@timestamp":%s}',
    b'{"@timestamp":%s',
    b'{"@timestamp":%s,"a":"\xff"}',
    b'"@timestamp":%s',
    b'["@timestamp",%s]',
    b'{"a":1}%.0s',
    b"{}%.0s",
    b"\t%.0s",
    b'{"@timestamp":%s,"n":' + b"9" * 500 + b"}",
)
STAMPS = st.sampled_from(
    [
        b"1768348800123",
        b"1768348800",
        b"1768348801999",
        b"17683488001",
        b"1768348800123456789",
        b"1768348800.5",
        b"1768348800123.9999999",
        b"1768348799.9999999999",
        b'"1768348800123"',
        b'"1768348800 "',
        b'"2026-01-14T00:00:00Z"',
        b'"2026-01-14 00:00:00,5+08:00"',
        b"null",
        b"1e12",
        b"-1768348800",
        b'"',
        b"01768348800",
    ]
) | st.integers(START_S - 2, START_S + 5).map(lambda second: b"%d123" % second)
REGION = st.tuples(st.sampled_from(LINES), st.sampled_from(LINES), st.lists(STAMPS, min_size=1, max_size=6))


def by_hand(row: bytes) -> int | None:
    """One row's second by the standard library alone; for a row that is no JSON the first time that stands
    in it."""
    try:
        parsed = json.loads(row.decode("utf-8", "replace"), strict=False)
    except ValueError:
        return JsonDater("@timestamp")._second(row)
    return second_of(parsed.get("@timestamp")) if isinstance(parsed, dict) else None


@aimed(
    "dating-json",
    suite=400,
    drawn=REGION,
    mixed=st.integers(0, 3),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
)
def test_quick_dating_is_slow_dating(drawn: tuple[bytes, bytes, list[bytes]], mixed: int, end: bytes) -> None:
    """However many rows are dated at once and by whatever way, each has the second its own JSON says."""
    usual, other, stamps = drawn
    lines = [(other if number == mixed else usual) % stamp for number, stamp in enumerate(stamps)]
    region = b"".join(line + end for line in lines)
    dater = JsonDater("@timestamp")
    expected = [by_hand(row) for row in split_rows(region, Shape.JSON_LINES)]
    assert dater.seconds(region) == expected
    assert count_rows(region, Shape.JSON_LINES) == len(expected)
    for window in (Window(START_S, START_S + 2), Window(0, 4_102_444_800)):
        found = dater.all_inside(region, window)
        inside = [
            second for second in expected if second is not None and window.start_s <= second < window.end_s
        ]
        assert found is None or found == len(expected) == len(inside)


CELLS = st.lists(
    st.sampled_from(
        [
            b"1768348800123",
            b"1768348800",
            b"1768348801999",
            b"17683488001",
            b'"1768348800123"',
            b" 1768348800123 ",
            b"2026-01-14T00:00:00Z",
            b"",
            b"x",
            b"1768348800123x",
            b'"a""b"',
            b'"a\nb"',
            b"a\r",
            b"\xff",
        ]
    ),
    min_size=1,
    max_size=3,
)


@aimed(
    "dating-csv",
    suite=400,
    rows=st.lists(CELLS, min_size=1, max_size=6),
    index=st.integers(0, 3),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
)
def test_quick_dating_of_csv_is_slow_dating(rows: list[list[bytes]], index: int, end: bytes) -> None:
    """Each CSV row has the second of its own cell, whatever the rows around it hold."""
    region = b"".join(b",".join(cells) + end for cells in rows)
    expected = []
    for row in split_rows(region, Shape.CSV):
        cells = cells_of(row)
        cell = cells[index] if index < len(cells) else b""
        expected.append(second_of(cell.strip().decode("utf-8", "replace")))
    dater = CsvDater(index)
    assert dater.seconds(region) == expected
    window = Window(START_S, START_S + 2)
    found = dater.all_inside(region, window)
    inside = [second for second in expected if second is not None and window.start_s <= second < window.end_s]
    assert found is None or found == len(expected) == len(inside)


@aimed(
    "dating-any-bytes",
    region=st.binary(max_size=60) | mutated((b'{"@timestamp":1768348800123,"a":"b"}\n{"@timestamp":"x"}\n',)),
    shape=st.sampled_from([Shape.JSON_LINES, Shape.CSV]),
    field=st.sampled_from(["auto", "@timestamp", "#1", "#2", "a b", 'x"y', "\udcff", "é"])
    | st.text(min_size=1),
)
def test_rows_of_any_bytes_are_dated_one_by_one(region: bytes, shape: Shape, field: str) -> None:
    """Any region of any bytes gets one second or none for each of its rows, with any name of a time field."""
    region = region.rstrip(b'"') + b"\n"
    if shape is Shape.CSV:
        region = b"".join(split_rows(region, shape))
    rows = split_rows(region, shape)
    if shape is Shape.CSV and b"".join(rows) != region:
        return  # an open quote: no region that a stream hands out
    columns = header_of(rows[0], field)[0] if shape is Shape.CSV and rows else None
    dater = dater_for(shape, region, columns, field)
    assert count_rows(region, shape) == len(rows)
    if dater is not None:
        seconds = dater.seconds(region)
        assert len(seconds) == len(rows)
        found = dater.all_inside(region, Window(0, 4_102_444_800))
        assert found is None or found == len(rows)


# --- packings ---


def zipped(*members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, member in enumerate(members):
            archive.writestr(f"m{number}", member)
    return out.getvalue()


PLAIN = b'{"@timestamp":1768348800123,"@raw":"x"}\n' * 3
PACKED = (
    gzip.compress(PLAIN, mtime=0),
    gzip.compress(PLAIN, mtime=0) + gzip.compress(b"y", mtime=0) + bytes(8),
    gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0),
    zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN),
    zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN) * 2,
    b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstandard.compress(PLAIN),
    zipped(PLAIN),
    zipped(PLAIN, b"", PLAIN),
    zipped(gzip.compress(PLAIN, mtime=0)),
    zipped(),
    zlib.compress(PLAIN),
    PLAIN,
)


def unpacked(content: bytes) -> Any:
    with open(PLACE, "wb") as file:
        file.write(content)
    return outcome(lambda: list(decoded(PLACE, [])), BrokenBody)


@aimed(
    "packings",
    content=mutated(PACKED) | st.binary(max_size=40) | mutated(PACKED, 1),
    also=[{"content": content} for content in PACKED] + [{"content": gzip.compress(bytes(9 << 20), mtime=0)}],
)
def test_any_packed_bytes_are_unpacked_or_broken(content: bytes) -> None:
    """Any bytes, damaged archives above all, give plain bytes in steps of bounded size or are a broken
    body."""
    told = unpacked(content)
    if isinstance(told, BrokenBody):
        assert len(told.message) < 500
        return
    assert all(block is None or len(block) <= STEP_BYTES for block in told)


@aimed(
    "packings-there-and-back",
    packing=st.sampled_from([*Packing, None]),
    blocks=st.lists(st.binary(max_size=30), min_size=1, max_size=5),
)
def test_what_is_packed_is_unpacked(packing: Packing | None, blocks: list[bytes]) -> None:
    """What the encoder writes, the decoder reads back; size and digest are those of the bytes written."""
    plain = b"{" + b"".join(blocks)
    out: list[bytes] = []
    encoder = Encoder(out.append, packing)
    encoder.write(b"{")
    for block in blocks:
        encoder.write(block)
    encoder.close()
    content = b"".join(out)
    assert encoder.size_bytes == len(content)
    assert b"".join(block or b"" for block in unpacked(content)) == plain


def test_a_dater_that_trusts_the_ends_of_a_block_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails when rows between the least and the greatest are not looked at: it can fail."""

    def trusting(region: bytes, key: bytes, window: Window) -> int | None:
        lines = region.split(b"\n")[:-1]
        ends = [re.match(rb'\{"@timestamp":(\d{10})', line) for line in (min(lines), max(lines)) if lines]
        inside = all(end and window.start_s <= int(end[1]) < window.end_s for end in ends)
        return len(lines) if ends and inside else None

    monkeypatch.setattr(dating, "objects_inside", trusting)
    assert finding("dating-json", 6_000) is not None

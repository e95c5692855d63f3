"""Rows are found, dated and clipped as a slow and simple reader would do it, wherever blocks happen to
end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st

from orchestrator.core.job import Order, Output
from orchestrator.core.model import Ticket
from orchestrator.core.window import Window
from orchestrator.dataplane import dating
from orchestrator.dataplane import rows as rows_module
from orchestrator.dataplane.clip import judge, needs_order
from orchestrator.dataplane.convert import Rewriting, stored_form
from orchestrator.dataplane.csvform import cells_of, header_of
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import Shape, packing_of, shape_of, split_bom
from orchestrator.dataplane.survey import Survey, count_rows
from orchestrator.errors import BrokenBody, OrchestratorError, RowsOutsideWindow
from tests.fuzz.aim import aimed, finding, outcome
from tests.fuzz.junk import mutated
from tests.unit.dataplane_kit import START_S, ticket

WINDOW = Window(START_S + 2, START_S + 8)
BORDERS = st.binary(max_size=8).map(lambda drawn: [3 * byte for byte in drawn])
HEADS = st.sampled_from([8, 64, 64 * 1024])


def pieces(body: bytes, borders: Iterable[int]) -> list[bytes]:
    """A body cut at some of its places, empty pieces among them."""
    places = sorted(border % (len(body) + 1) for border in borders)
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]


# --- rows of any bytes ---


def streamed(body: bytes, borders: Iterable[int], head_bytes: int, fallback: Shape) -> Any:
    """What a stream tells of a body, or the error that ends it."""
    with mock.patch.object(rows_module, "HEAD_BYTES", head_bytes):
        return outcome(lambda: _streamed(body, borders, fallback), BrokenBody)


def _streamed(body: bytes, borders: Iterable[int], fallback: Shape) -> Any:
    stream = RowStream(fallback)
    regions = [stream.feed(piece) for piece in pieces(body, borders)]
    regions.append(stream.finish())
    assert all(region == b"" or region.endswith(b"\n") for region in regions)
    rows = [row for region in regions for row in split_rows(region, stream.shape)]
    assert len(rows) == sum(count_rows(region, stream.shape) for region in regions)
    return stream.shape, stream.bom, stream.header, stream.columns, stream.unterminated, rows


BODIES = (
    b'{"@timestamp":1768348800123,"@raw":"GET \\"x\\" {}"}\r\n\n{"@timestamp":1768348801000,"@raw":"\xff"}\n',
    b'[{"@timestamp":1768348800123,"n":[1,{"a":"]"}]},\n 12 , "x\\"," ]\n',
    b'\xef\xbb\xbf@timestamp,@raw\r\n1768348800123,"a\r\n""b"",c"\r\n\r\n1768348801000,x\r\n',
    b'@timestamp,@raw\n1768348800123,5" disk\n',
)
ANY = st.binary(max_size=60) | st.text('{}[]",:\n\r \\a1', max_size=60).map(str.encode) | mutated(BODIES)


@aimed(
    "rows-any-bytes",
    suite=150,
    body=ANY,
    borders=BORDERS,
    head=HEADS,
    shape=st.sampled_from(Shape),
    also=[
        {"body": b"[" + b"9" * 5000 + b"]", "borders": [1], "head": 8, "shape": Shape.CSV},
        {"body": b"[" * 3000, "borders": [1], "head": 8, "shape": Shape.CSV},
        {"body": b'[{"a":"\n"}' + b"," * 40, "borders": [9], "head": 8, "shape": Shape.CSV},
        {"body": b"[ \n\t      x,y\n", "borders": [1, 9], "head": 8, "shape": Shape.CSV},
    ],
)
def test_rows_of_any_bytes_do_not_depend_on_blocks(
    body: bytes, borders: list[int], head: int, shape: Shape
) -> None:
    """Any bytes give the same rows, header and verdict from any pieces; nothing but BrokenBody is raised."""
    whole = streamed(body, [], head, shape)
    told = streamed(body, borders, head, shape)
    if isinstance(whole, BrokenBody):
        assert isinstance(told, BrokenBody)
    else:
        assert told == whole


@aimed(
    "sniff",
    suite=100,
    head=ANY | mutated((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd\x00", b"PK\x03\x04", b" <html>")),
    also=[
        {"head": b" " * 70_000 + b"<html>"},
        {"head": b"[" + b" " * 70_000},
    ],
)
def test_any_head_has_a_shape(head: bytes) -> None:
    """Any first bytes have one shape and at most one packing; only a web page is refused."""
    packing_of(head)
    bom, rest = split_bom(head)
    assert bom + rest == head
    shape = outcome(lambda: shape_of(rest), BrokenBody)
    if isinstance(shape, BrokenBody):
        assert rest.lstrip()[:1] == b"<"
    else:
        first = rest.lstrip()[:1]
        assert (shape is Shape.JSON_LINES) == (first == b"{")
        assert shape is not Shape.JSON_ARRAY or first == b"["


def naive_csv(body: bytes) -> list[bytes] | None:
    """CSV rows byte by byte, None when the file ends inside quotes; blank lines are no rows."""
    rows, row = [], bytearray()
    quoted, fresh = False, True
    at = 0
    body = body if body.endswith(b"\n") else body + b"\n"
    while at < len(body):
        char = body[at : at + 1]
        row += char
        at += 1
        if quoted:
            if char == b'"':
                if body[at : at + 1] == b'"':
                    row += b'"'
                    at += 1
                else:
                    quoted = False
        elif char == b"\n":
            rows.append(bytes(row))
            row.clear()
            fresh = True
            continue
        elif char == b'"' and fresh:
            quoted = True
        fresh = char == b"," and not quoted
    return None if quoted else [row for row in rows if row not in (b"\n", b"\r\n")]


@aimed(
    "rows-csv", suite=150, body=st.text('a,"\n\r1', max_size=40).map(str.encode), borders=BORDERS, head=HEADS
)
def test_csv_rows_are_those_of_a_slow_reader(body: bytes, borders: list[int], head: int) -> None:
    """Quotes, commas and newlines in any order make the rows that a reader byte by byte sees."""
    body = b"@timestamp,@raw\n" + body
    told = streamed(body, borders, head, Shape.CSV)
    expected = naive_csv(body)
    torn = expected and not body.removesuffix(b"\r").endswith(b"\n") and len(cells_of(expected[-1])) < 2
    if expected is None or torn:
        assert isinstance(told, BrokenBody)
        return
    assert told[-1] == expected[1:]
    for row in expected:
        cells = cells_of(row)
        assert len(cells) >= 1
        assert b"".join(cells).replace(b'"', b"") == re.sub(rb'[,"]', b"", _without_end(row)) or b'"' in row


def _without_end(row: bytes) -> bytes:
    return row[:-2] if row.endswith(b"\r\n") else row[:-1]


@aimed(
    "csv-header",
    row=st.binary(max_size=40) | mutated((b"@timestamp,@raw\n", b'"a","b, c"\r\n')),
    field=st.text(),
)
def test_any_first_row_names_columns_or_not(row: bytes, field: str) -> None:
    """Any first row of a CSV file has columns with names that differ, and a time column among them or
    none."""
    columns, _ = header_of(row, field)
    assert len(set(columns.names)) == len(columns.names) == len(cells_of(row))
    assert columns.time_index is None or 0 <= columns.time_index < len(columns.names)


# --- clipping, against a reader that knows every row's second ---

TEXTS = (
    "",
    "a",
    '"',
    '""',
    ",",
    "\n",
    "\r\n",
    "\r",
    "\\",
    '\\"',
    "{",
    "}",
    "{}",
    "[",
    "a,b",
    'a"b',
    '"a"',
    "é\u2028€😀",
    " ",
    ' "x',
    "a\n\nb",
    '\n"\n',
    '"@timestamp":1',
    "@timestamp",
    '\\"@timestamp\\":2',
    "timestamp",
    "x" * 300,
    "\t",
)
STYLES = st.sampled_from(["ms", "s", "ns", "text", "iso", "offset"])


def written(second: int, style: str, fraction: int) -> str:
    """A second as the service may write it, as JSON."""
    ms = second * 1000 + fraction
    at = datetime.fromtimestamp(second, UTC)
    return {
        "ms": str(ms),
        "s": str(second),
        "ns": str(ms * 1_000_000),
        "text": f'"{ms}"',
        "iso": f'"{at:%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"',
        "offset": f'"{at.replace(hour=at.hour):%Y-%m-%d %H:%M:%S},{fraction:03d}+00:00"',
    }[style]


@dataclass(frozen=True)
class Row:
    second: int
    body: bytes


def json_row(number: int, second: int, style: str, text: str, form: int, fraction: int) -> Row:
    """One JSON row in one of several layouts; its number stands in it as n."""
    time = written(second, style, fraction).encode()
    raw = json.dumps(text, ensure_ascii=form % 2 == 0).encode()
    count = b"%d" % number
    body = (
        b'{"@timestamp":%s,"@raw":%s,"n":%s}' % (time, raw, count),
        b'{"n":%s,"@raw":%s,"@timestamp":%s}' % (count, raw, time),
        b'{ "@timestamp" : %s ,"n":%s, "x":{"@timestamp":1} }' % (time, count),
        b'{"n":%s,"x":{"@timestamp":{"a":1}},"@timestamp":%s}' % (count, time),
        b'{"@timestamp":%s,"n":%s,"big":%s}' % (time, count, b"9" * 400),
        b'{"@timestamp":%s,"n":%s,"@raw":"\xff\xfe\x80"}' % (time, count),
        b'{"@timestamp":1000000000000,"n":%s,"@timestamp":%s}' % (count, time),
        b'{"x\\"@timestamp":1000000000000,"n":%s,"@timestamp":%s}' % (count, time),
        b'{"n":%s,"@raw":"a\tb","@timestamp":%s}' % (count, time),
        b'{"n":%s,"a":["@timestamp",":1000000000000"],"@timestamp":%s}' % (count, time),
    )[form % 10]
    return Row(second, body)


def csv_row(number: int, second: int, style: str, text: str, form: int, fraction: int) -> Row:
    """One CSV row: time, text, number; quoted when it must be, sometimes when it need not."""
    time = written(second, style, fraction).encode()
    if b'"' not in time and form % 3 == 0:
        time = b'"%s"' % time
    elif form % 3 and b"," not in time:
        time = time.strip(b'"')
    raw = text.encode()
    if form % 2 or re.search(rb'[",\n\r]', raw):
        raw = b'"%s"' % raw.replace(b'"', b'""')
    elif form == 8:
        raw = b"\xff\xfe"
    return Row(second, b"%s,%s,n%d" % (time, raw, number))


def _rows(program: bytes) -> list[tuple[int, str, int, int]]:
    """Four bytes make a row: its second, text, layout and fraction."""
    quads = [program[at : at + 4] for at in range(0, len(program) - 3, 4)]
    return [(a % 8 + 1, TEXTS[b % len(TEXTS)], c % 10, d * 999 // 255) for a, b, c, d in quads]


ROWS = st.binary(max_size=60).map(_rows)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \r\n"])


@dataclass(frozen=True)
class Clipped:
    """What a transfer leaves: counts as in a receipt, and the stored bytes."""

    served: int
    dropped: int
    stored: int
    body: bytes
    kept: Window | None
    rewritten: bool


def surveyed(blocks: list[bytes], asked: Ticket, **how: bool) -> Survey:
    survey = Survey(asked, **how)
    for block in blocks:
        survey.feed(block)
    survey.finish()
    return survey


def clip(body: bytes, asked: Ticket, wire: list[int], disk: list[int]) -> Clipped:
    """The steps of ``transfer`` in memory: ``wire`` and ``disk`` say where the blocks end that are seen
    while fetching and when the part file is read again."""
    survey = surveyed(pieces(body, wire), asked)
    blocks = pieces(body, disk)
    if needs_order(survey, asked):
        survey = surveyed(blocks, asked, in_order=True)
    verdict = judge(survey, asked)
    expected = survey.inside if verdict.time_known and verdict.kept == asked.window else None
    out: list[bytes] = []
    stored = survey.rows
    if not survey.rows or verdict.keep is None or expected == 0:
        stored = 0
    elif not verdict.clips:
        out = [body]
    else:
        form = stored_form(asked, survey.stream.shape, (), rewritten=True)
        rewriting = Rewriting(asked, verdict.keep, form, out.append)
        for block in blocks:
            rewriting.store(rewriting.taken(block))
        rewriting.store(rewriting.ended())
        rewriting.close()
        stored = rewriting.rows
    assert expected is None or stored == expected, "the same bytes gave different rows"
    return Clipped(survey.rows, survey.rows - stored, stored, b"".join(out), verdict.kept, verdict.clips)


def numbers(body: bytes, shape: Shape) -> list[int]:
    pattern = rb",n(\d+)\r?\n" if shape is Shape.CSV else rb'"n":(\d+)'
    return [int(found) for found in re.findall(pattern, body if body.endswith(b"\n") else body + b"\n")]


@aimed(
    "clip",
    suite=250,
    drawn=ROWS,
    shape=st.sampled_from(Shape),
    style=STYLES,
    order=st.sampled_from(Order),
    ordered=st.booleans(),
    end=ENDS,
    last=st.booleans(),
    bom=st.booleans(),
    wire=BORDERS,
    disk=BORDERS,
    head=HEADS,
)
def test_clipping_keeps_what_a_slow_reader_keeps(
    drawn: list[tuple[int, str, int, int]],
    shape: Shape,
    style: str,
    order: Order,
    ordered: bool,
    end: bytes,
    last: bool,
    bom: bool,
    wire: list[int],
    disk: list[int],
    head: int,
) -> None:
    """Exactly the rows inside the window are kept, as they stand and in their order; served less dropped is
    stored; clipping what was clipped changes nothing."""
    if ordered:
        drawn = sorted(drawn, key=lambda row: row[0], reverse=order is Order.DESC)
    maker = csv_row if shape is Shape.CSV else json_row
    rows = [
        maker(number, START_S + second, style, text, form, fraction)
        for number, (second, text, form, fraction) in enumerate(drawn)
    ]
    body = assembled(rows, shape, end, last=last, bom=bom)
    asked = ticket(None, window=WINDOW, order=order, limit=1_000)  # type: ignore[arg-type]
    with mock.patch.object(rows_module, "HEAD_BYTES", head):
        told = clip(body, asked, wire, disk)
        kept = [n for n, row in enumerate(rows) if WINDOW.start_s <= row.second < WINDOW.end_s]
        assert told.served - told.dropped == told.stored == len(kept)
        assert told.served == len(rows)
        assert numbers(told.body, shape) == kept
        if shape is not Shape.JSON_ARRAY:
            plain = told.body.replace(b"\r\n", b"\n")
            assert all(rows[n].body.replace(b"\r\n", b"\n") + b"\n" in plain + b"\n" for n in kept)
        if told.stored:
            again = clip(told.body, asked, disk, wire)
            assert (again.body, again.dropped, again.rewritten) == (told.body, 0, False)


def assembled(rows: list[Row], shape: Shape, end: bytes, *, last: bool, bom: bool) -> bytes:
    """Rows as one file of a shape."""
    bodies = [row.body for row in rows]
    if shape is Shape.JSON_ARRAY:
        body = b"[" + (b" ," + end.rstrip(b" ")).join(bodies) + b"]" + (end if last else b"")
    else:
        if shape is Shape.CSV:
            end = end.replace(b" ", b"")
            bodies.insert(0, b"@timestamp,@raw,number")
        body = end.join(bodies) + (end if last and bodies else b"")
    return (b"\xef\xbb\xbf" if bom else b"") + body


SECONDS = st.binary(min_size=1, max_size=12).map(lambda drawn: [byte % 12 - 1 for byte in drawn])


@aimed(
    "clip-any-order",
    suite=150,
    seconds=SECONDS,
    limit=st.integers(1, 12),
    order=st.sampled_from(Order),
    odd=st.sampled_from(["", "no time", "{}", '{"@timestamp":null}']),
    wire=BORDERS,
    disk=BORDERS,
)
def test_no_truncation_or_odd_time_breaks_the_law(
    seconds: list[int], limit: int, order: Order, odd: str, wire: list[int], disk: list[int]
) -> None:
    """Truncated files, rows far outside and rows without a time: counts add up, and what is kept is inside
    the kept window, or the file is refused whole."""
    lines = [f'{{"@timestamp":{START_S + second}000,"n":{n}}}' for n, second in enumerate(seconds)]
    if odd:
        lines.insert(max(len(lines) // 2, 1), odd)
    body = "\n".join(lines).encode()
    asked = ticket(None, window=WINDOW, order=order, limit=limit, output=Output.RAW)  # type: ignore[arg-type]
    told = outcome(lambda: clip(body, asked, wire, disk), RowsOutsideWindow)
    far = any(not -1 <= START_S + second - WINDOW.start_s <= WINDOW.length_s for second in seconds)
    if isinstance(told, OrchestratorError):
        assert far
        return
    assert told.served - told.dropped == told.stored
    assert told.served == len(lines)
    kept = numbers(told.body, Shape.JSON_LINES)
    if odd:
        assert len(kept) in (0, len(seconds))
        return
    assert not far
    inside = [n for n, second in enumerate(seconds) if WINDOW.start_s <= START_S + second < WINDOW.end_s]
    if len(lines) < limit:
        assert kept == inside
    elif told.kept is not None:
        held = told.kept
        assert kept == [n for n in inside if held.start_s <= START_S + seconds[n] < held.end_s]
    assert told.stored == len(kept)


def test_a_cutter_that_forgets_a_border_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails for a reader that takes the end of a block for the end of a row: it can fail."""
    real = rows_module._Lines.feed
    monkeypatch.setattr(
        rows_module._Lines,
        "feed",
        lambda self, plain: real(self, plain) or (plain and plain.rstrip() + b"\n"),
    )
    assert finding("rows-any-bytes") is not None


def test_a_dater_that_rounds_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails for a reader that rounds a row's time to the nearest second: it can fail."""

    def rounding(self: Any, region: bytes) -> list[int | None]:
        found = [re.search(rb'"@timestamp":(\d{13})', row) for row in split_rows(region, Shape.JSON_LINES)]
        return [round(int(match[1]) / 1000) if match else None for match in found]

    monkeypatch.setattr(dating.JsonDater, "seconds", rounding)
    assert finding("clip", 3_000) is not None

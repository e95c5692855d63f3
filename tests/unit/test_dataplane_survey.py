"""Counting at the edges: the quick survey of sorted files agrees with reading every row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator.dataplane.survey
from orchestrator.core.job import Order, Output
from orchestrator.core.window import Window
from orchestrator.dataplane import rows as rows_module
from orchestrator.dataplane.dating import JsonDater
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.survey import Survey, count_rows
from orchestrator.dataplane.surveyor import STEP_BYTES
from tests.unit.dataplane_kit import SERVED, START_S, csv_text, json_lines, rows, ticket

WINDOW = Window(START_S, START_S + 20)


@pytest.fixture(autouse=True)
def _short_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are decided early, so that small pieces become small blocks."""
    monkeypatch.setattr(rows_module, "HEAD_BYTES", 16)


def surveyed(body: bytes, size: int, **options: object) -> Survey:
    changes = {key: options.pop(key) for key in list(options) if key in ("order", "window", "output")}
    survey = Survey(ticket(Path("/nowhere"), **{"window": WINDOW, **changes}), **options)
    for at in range(0, len(body), size):
        survey.feed(body[at : at + size])
    survey.finish()
    return survey


def counts(survey: Survey) -> tuple[int, ...]:
    return survey.rows, survey.undated, survey.inside, survey.near, survey.far


@given(
    st.lists(st.integers(-1500, 21_500), min_size=1, max_size=200),
    st.sampled_from(["asc", "desc", "unsorted"]),
    st.sampled_from(list(Order)),
    st.sampled_from(sorted(SERVED)),
    st.integers(20, 4000),
)
def test_every_row_is_counted_where_it_lies(
    offsets_ms: list[int], arrangement: str, order: Order, served: str, size: int
) -> None:
    """In any form, order and blocks: inside the window, near it or far, each row is what its time says."""
    if arrangement != "unsorted":
        offsets_ms.sort(reverse=arrangement == "desc")
    some = [{**rows(1)[0], "@timestamp": START_S * 1000 + at} for at in offsets_ms]
    body = SERVED[served](some)
    survey = surveyed(body, size, order=order)
    seconds = [at // 1000 for at in offsets_ms]
    assert (survey.rows, survey.undated, survey.far) == (
        len(some),
        0,
        sum(not -1 <= second < 21 for second in seconds),
    )
    assert survey.inside == sum(0 <= second < 20 for second in seconds)
    assert survey.near == sum(-1 <= second < 21 for second in seconds) - survey.inside
    ordered = surveyed(body, size, order=order, in_order=True)
    assert ordered.ascending == (seconds == sorted(seconds))
    assert ordered.descending == (seconds == sorted(seconds, reverse=True))
    assert (ordered.earliest, ordered.latest) == (START_S + min(seconds), START_S + max(seconds))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were dated one by one, block after block."""
    found: list[int] = []
    seconds = JsonDater.seconds

    def counted(self: JsonDater, region: bytes) -> list[int | None]:
        dated = seconds(self, region)
        found.append(len(dated))
        return dated

    monkeypatch.setattr(JsonDater, "seconds", counted)
    return found


def test_rows_well_inside_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch, read: list[int]) -> None:
    """Only blocks that touch an edge of the window are; also where the order is not what was asked for."""
    monkeypatch.setattr(orchestrator.dataplane.survey, "_WORTH_JUDGING_BYTES", 1)
    some = [{"@timestamp": START_S * 1000 + at} for at in range(-500, 20_500)]
    shuffled = some[:500] + sorted(some[500:-500], key=lambda row: row["@timestamp"] % 7) + some[-500:]
    for arranged in (some, some[::-1], shuffled):
        read.clear()
        survey = surveyed(json_lines(arranged), 3000)
        assert (survey.rows, survey.inside, survey.near) == (21_000, 20_000, 1000)
        assert sum(read) < 2000


def test_a_large_file_is_judged_by_the_block_whatever_size_its_blocks_have(read: list[int]) -> None:
    """Whoever surveys beside a fetch takes blocks that are small by themselves."""
    some = [{"@timestamp": START_S * 1000 + at} for at in range(20_000)] * 2
    assert surveyed(json_lines(some), STEP_BYTES).inside == 40_000
    assert sum(read) < 15_000


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\n"])
def test_blank_lines_are_never_counted(blank: bytes) -> None:
    """Between rows of any block."""
    lines = json_lines(rows(4000, step_ms=4)).splitlines(keepends=True)
    lines.insert(2000, blank)
    assert surveyed(b"".join(lines), 10_000).rows == 4000


def test_a_row_without_a_time_makes_the_file_undated() -> None:
    """One row that cannot be dated means that nothing may be clipped or cut."""
    survey = surveyed(json_lines([*rows(5), {"@raw": "x"}]), 1000)
    assert not survey.time_known
    assert (survey.rows, survey.undated) == (6, 1)
    assert surveyed(b"", 1).time_known


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (b'{"a":1}\n', True),
        (b'{"a":1}', False),
        (b'{"a":1}\r\n', False),
        (b'\xef\xbb\xbf{"a":1}\n', False),
        (b'{"a":1}\n\n{"a":2}\n', False),
        (b'[{"a":1}]', False),
        (b"a,b\n", False),
    ],
)
def test_lines_that_need_no_rewriting_are_recognised(body: bytes, plain: bool) -> None:
    """Only bytes that already are what `jsonl` promises are taken over as they are."""
    assert surveyed(body, 100, output=Output.JSONL).plain_lines is plain


@given(st.lists(st.sampled_from([b'{"a":1}\n', b"\n", b"x\n", b" \n", b"\r\n", b'"a\n"\n', b"a,b\r\n"])))
def test_rows_are_counted_as_they_are_split(pieces: list[bytes]) -> None:
    """The quick count is the length of the split."""
    region = b"".join(pieces)
    for shape in (Shape.JSON_LINES, Shape.CSV):
        assert count_rows(region, shape) == len(split_rows(region, shape))


def test_csv_with_quotes_is_surveyed_row_by_row() -> None:
    """Newlines in quotes are not rows, wherever blocks end."""
    some = rows(500, text='a "b"\nc')
    assert surveyed(csv_text(some), 777).rows == 500

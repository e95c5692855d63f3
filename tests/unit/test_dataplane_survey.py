"""Counting at the edges: the quick survey of sorted files agrees with reading every row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.job import Order, Output
from orchestrator.core.window import Window
from orchestrator.dataplane import rows as rows_module
from orchestrator.dataplane.rows import split_rows
from orchestrator.dataplane.sniff import Shape
from orchestrator.dataplane.survey import Survey, count_rows
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
def test_the_quick_survey_agrees_with_reading_every_row(
    offsets_ms: list[int], arrangement: str, order: Order, served: str, size: int
) -> None:
    """In any form and any blocks a file sorted as asked is counted as if every row were read, and so is one
    in which no row was trusted for its neighbours; where trust was given too early the survey says that it
    must be repeated."""
    if arrangement != "unsorted":
        offsets_ms.sort(reverse=arrangement == "desc")
    some = [{**rows(1)[0], "@timestamp": START_S * 1000 + at} for at in offsets_ms]
    body = SERVED[served](some)
    quick = surveyed(body, size, order=order)
    every = surveyed(body, size, order=order, every_row=True)
    assert every.sampled == 0
    if quick.must_repeat:
        assert arrangement == "unsorted" or str(order) != arrangement
    elif arrangement == str(order) or not quick.sampled:
        assert counts(quick) == counts(every)
    seconds = [at // 1000 for at in offsets_ms]
    assert every.rows == len(some)
    assert every.inside == sum(0 <= second < 20 for second in seconds)
    assert every.near == sum(-1 <= second < 21 for second in seconds) - every.inside
    ordered = surveyed(body, size, order=order, in_order=True)
    assert ordered.ascending == (seconds == sorted(seconds))
    assert ordered.descending == (seconds == sorted(seconds, reverse=True))
    assert (ordered.earliest, ordered.latest) == (START_S + min(seconds), START_S + max(seconds))


def test_sorted_files_are_sampled_and_edges_are_read() -> None:
    """Inside a sorted file most rows are not read one by one; blocks at the edges are."""
    body = json_lines(rows(20_000, step_ms=1))
    survey = surveyed(body, 10_000)
    assert counts(survey) == (20_000, 0, 20_000, 0, 0)
    assert 15_000 < survey.sampled < 19_500
    descending = json_lines(rows(20_000, step_ms=1)[::-1])
    survey = surveyed(descending, 10_000, order=Order.DESC)
    assert survey.inside == 20_000
    assert survey.sampled > 15_000


def test_one_row_out_of_order_ends_sampling_and_asks_for_a_repeat() -> None:
    """Trust given to earlier blocks is withdrawn as soon as a sample steps back."""
    some = rows(20_000, step_ms=1)
    survey = surveyed(json_lines(some[:15_000] + some[5_000:]), 10_000)
    assert survey.must_repeat
    assert not surveyed(json_lines(some[::-1]), 10_000).must_repeat


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\n"])
def test_blank_lines_are_never_counted(blank: bytes) -> None:
    """Between sampled rows too."""
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

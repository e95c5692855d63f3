"""Generated logstores: any size, counted in closed form, readable from any byte."""

from __future__ import annotations

import csv
import io
import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.emulator.density import (
    Bursty,
    Density,
    Diurnal,
    Empty,
    GiantSecond,
    Uniform,
    density_from_dict,
    sparse,
)
from orchestrator.emulator.generated import GeneratedMatching, GeneratedStore
from orchestrator.emulator.generated_rows import GeneratedRows
from orchestrator.emulator.record import Arrangement, Lateness, RowStyle, row_bytes
from orchestrator.emulator.search import EVERYTHING, Search, parse_search

DAY_S = 86_400
START_S = 1_768_348_800
DENSITIES: tuple[Density, ...] = (
    Uniform(100_000),
    Diurnal(200_000),
    Bursty(150_000, seed=5),
    sparse(5_000, seed=5),
    GiantSecond(Uniform(50_000), START_S + 30, 3_000),
    Empty(),
)
FOREVER_MS = 10**15


def matching(
    store: GeneratedStore,
    search: Search = EVERYTHING,
    stream: str | None = None,
    visible_ms: int = FOREVER_MS,
) -> GeneratedMatching:
    return store.matching(search, stream, from_ms=0, visible_ms=visible_ms)


@pytest.mark.parametrize("density", DENSITIES, ids=lambda density: type(density).__name__)
@given(seconds=st.lists(st.integers(START_S, START_S + 3 * DAY_S), min_size=2, max_size=30))
def test_a_density_never_decreases(density: Density, seconds: list[int]) -> None:
    """Later seconds never have fewer records before them."""
    counts = [density.before(second) for second in sorted(seconds)]
    assert counts == sorted(counts)


@pytest.mark.parametrize("density", DENSITIES[:4], ids=lambda density: type(density).__name__)
def test_a_day_holds_what_was_asked_for(density: Density) -> None:
    """Every density with a daily volume holds it on each day."""
    per_day = density.rows_per_day  # type: ignore[attr-defined]
    for day in range(20_467, 20_475):
        assert density.before((day + 1) * DAY_S) - density.before(day * DAY_S) == per_day


def test_a_sparse_logstore_is_silent_most_of_the_time() -> None:
    """Fewer than one minute in ten of a sparse logstore holds a record."""
    density = sparse(5_000, seed=5)
    minutes = range(START_S, START_S + 7 * DAY_S, 60)
    busy = sum(density.before(minute + 60) > density.before(minute) for minute in minutes)
    assert 0 < busy < len(minutes) / 10


def test_the_giant_second_holds_its_rows() -> None:
    """All the extra records lie in the one second named."""
    store = GeneratedStore(1, GiantSecond(Uniform(DAY_S), START_S + 30, 2_000_000))
    assert matching(store).count((START_S + 30) * 1000, (START_S + 31) * 1000) == 2_000_001
    assert matching(store).count((START_S + 31) * 1000, (START_S + 32) * 1000) == 1


def test_a_year_of_ten_billion_records_is_counted_at_once() -> None:
    """Counting costs the same for a second and for a year."""
    store = GeneratedStore(1, Uniform(27_397_260))
    errors = matching(store, parse_search("match level:ERROR"))
    year = errors.count(START_S * 1000, (START_S + 365 * DAY_S) * 1000)
    total = matching(store).count(START_S * 1000, (START_S + 365 * DAY_S) * 1000)
    assert total == 365 * 27_397_260
    assert 0.02 < year / total < 0.10


@pytest.mark.parametrize("search", ["", "match level:ERROR", "match level:WARN or status:500"])
@pytest.mark.parametrize("stream", [None, "app/prod-2"])
def test_counts_agree_with_the_records(search: str, stream: str | None) -> None:
    """A count over a window is the number of records in it that match, one by one."""
    store = GeneratedStore(3, Uniform(DAY_S * 40))
    wanted = parse_search(search)
    start_ms, end_ms = START_S * 1000 + 250, (START_S + 25) * 1000 + 700
    everything = matching(store).rows(0, FOREVER_MS, 10**15, Arrangement())
    first = store.timeline.before(START_S)
    records = [store.timeline.record(number) for number in range(first, first + 40 * 27)]
    meant = [
        record
        for record in records
        if start_ms <= record.at_ms < end_ms
        and wanted.matches(record)
        and (stream is None or record.stream == stream)
    ]
    assert matching(store, wanted, stream).count(start_ms, end_ms) == len(meant) > 0
    assert (
        matching(store, wanted, stream).rows(start_ms, end_ms, 10**6, Arrangement()).records(0, 10**6)
        == meant
    )
    assert everything.count == store.timeline.before(store.timeline.end_s)


@pytest.mark.parametrize("density", DENSITIES, ids=lambda density: type(density).__name__)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("search", ["", "match level:ERROR"])
@pytest.mark.parametrize("form", ["json", "csv"])
@pytest.mark.parametrize("time", ["ms", "s", "us", "iso"])
def test_fast_rows_are_the_plain_ones(
    density: Density, descending: bool, search: str, form: str, time: str
) -> None:
    """Blocks joined from ready pieces are byte for byte the rows of the single records."""
    style = RowStyle(form, "query", time, "\n", ("level", "status"))  # type: ignore[arg-type]
    found = matching(GeneratedStore(4, density), parse_search(search))
    rows = found.rows((START_S - 100) * 1000, (START_S + 3000) * 1000, 5_000, Arrangement(descending))
    plain = b"".join(row_bytes(record, style) for record in rows.records(0, rows.count))
    assert b"".join(rows.read(style, 0, rows.size_bytes(style))) == plain


@cache
def stirred(jumble: str, descending: bool) -> tuple[GeneratedRows, bytes]:
    """Nine thousand rows, some milliseconds of which hold several, and all their bytes."""
    found = matching(GeneratedStore(4, Uniform(DAY_S * 2_500), late_per_mille=20, late_by_s=600))
    arrangement = Arrangement(descending, jumble, 77)  # type: ignore[arg-type]
    rows = found.rows(START_S * 1000, (START_S + 4) * 1000, 9_000, arrangement)
    return rows, b"".join(rows.read(RowStyle(), 0, rows.size_bytes(RowStyle())))


@pytest.mark.parametrize("jumble", ["none", "ties", "blocks"])
@pytest.mark.parametrize("descending", [False, True])
@given(data=st.data())
def test_any_range_is_a_piece_of_the_whole(jumble: str, descending: bool, data: st.DataObject) -> None:
    """Reading bytes from any offset gives what reading everything gives there."""
    rows, whole = stirred(jumble, descending)
    style = RowStyle()
    assert len(whole) == rows.size_bytes(style)
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start + 1, len(whole)))
    assert b"".join(rows.read(style, start, end)) == whole[start:end]


@pytest.mark.parametrize("jumble", ["ties", "blocks"])
def test_stirring_moves_rows_and_loses_none(jumble: str) -> None:
    """A stirred file holds the same rows in another order, and another order for another task."""
    style = RowStyle()
    found = matching(GeneratedStore(4, Uniform(DAY_S * 3_000)))

    def lines(jumble: str, salt: int) -> list[bytes]:
        arrangement = Arrangement(False, jumble, salt)  # type: ignore[arg-type]
        rows = found.rows(START_S * 1000, (START_S + 2) * 1000, 10**6, arrangement)
        whole = b"".join(rows.read(style, 0, rows.size_bytes(style))).splitlines()
        assert [row_bytes(record, style).rstrip() for record in rows.records(0, rows.count)] == whole
        return whole

    plain = lines("none", 1)
    assert lines(jumble, 1) != lines(jumble, 2) != plain
    assert sorted(lines(jumble, 1)) == sorted(lines(jumble, 2)) == sorted(plain)
    if jumble == "ties":
        times = [json.loads(line)["@timestamp"] for line in lines("ties", 1)]
        assert times == sorted(times)


@pytest.mark.parametrize(("descending", "kept"), [(False, slice(0, 50)), (True, slice(-50, None))])
def test_a_limit_keeps_the_end_that_was_asked_for(descending: bool, kept: slice) -> None:
    """A truncated selection holds the oldest records when ascending, the newest when descending."""
    found = matching(GeneratedStore(4, Uniform(DAY_S * 10)))
    window = START_S * 1000, (START_S + 20) * 1000
    every = found.rows(*window, 10**6, Arrangement()).records(0, 10**6)
    chosen = found.rows(*window, 50, Arrangement(descending)).records(0, 50)
    assert sorted(chosen, key=lambda record: record.seq) == every[kept]
    assert (chosen[0].at_ms > chosen[-1].at_ms) is descending


def test_late_records_show_up_later() -> None:
    """A share of the records can be seen only after their delay; then nothing is missing."""
    store = GeneratedStore(4, Uniform(DAY_S * 1_000), late_per_mille=50, late_by_s=600)
    window = START_S * 1000, (START_S + 10) * 1000
    early = matching(store, visible_ms=(START_S + 20) * 1000).count(*window)
    settled = matching(store, visible_ms=(START_S + 700) * 1000).count(*window)
    assert settled == 10_000
    assert 0.90 * settled < early < 0.98 * settled


def test_the_future_is_empty() -> None:
    """Records dated after the present do not exist yet."""
    found = matching(GeneratedStore(4, Uniform(DAY_S)), visible_ms=(START_S + 5) * 1000)
    assert found.count(START_S * 1000, (START_S + 100) * 1000) == 5


def test_csv_rows_survive_a_csv_reader() -> None:
    """Quotes, commas and line breaks inside a record come back whole from any CSV reader."""
    style = RowStyle("csv", "query", "ms", "\n", ("level", "status"))
    found = matching(GeneratedStore(4, Uniform(DAY_S * 100), multiline_per_mille=20))
    rows = found.rows(START_S * 1000, (START_S + 30) * 1000, 10**6, Arrangement())
    text = b"".join(rows.read(style, 0, rows.size_bytes(style))).decode()
    parsed = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[3] for row in parsed] == [record.raw for record in rows.records(0, rows.count)]
    assert len(text.splitlines()) > len(parsed)


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"kind": "wavy"}, "'wavy'"),
        ({"kind": "uniform", "rows": -1, "rows_per_day": -5}, "rows_per_day"),
        ({"kind": "giant-second"}, "at_s"),
        ({"knid": "uniform"}, "knid"),
        ({"rows_per_s": "many"}, "rows_per_s"),
    ],
)
def test_a_wrong_density_is_named(spec: dict[str, object], part: str) -> None:
    """A density that cannot be read says which key is wrong."""
    with pytest.raises(ValueError, match=part):
        density_from_dict(spec)


def test_densities_are_read_from_their_description() -> None:
    """Every kind can be asked for by name."""
    assert density_from_dict({"kind": "uniform", "rows_per_s": 2.5}) == Uniform(216_000)
    assert density_from_dict({"kind": "diurnal", "rows_per_day": 7}) == Diurnal(7)
    assert density_from_dict({"kind": "bursty", "rows_per_day": 7, "seed": 3}) == Bursty(7, 3)
    assert density_from_dict({"kind": "sparse", "rows_per_day": 7}) == sparse(7)
    assert density_from_dict({"kind": "empty"}) == Empty()
    giant = density_from_dict({"kind": "giant-second", "rows_per_day": 7, "at_s": 9, "rows": 8})
    assert giant == GiantSecond(Uniform(7), 9, 8)


def test_more_records_than_numbers_are_refused() -> None:
    """A logstore that would run out of record numbers is refused when it is described."""
    with pytest.raises(ValueError, match="10\\^15"):
        GeneratedStore(1, Uniform(10**12))


def test_equal_questions_share_their_answer() -> None:
    """Ten thousand tasks with one query keep one set of matching rows, not ten thousand."""
    store = GeneratedStore(1, Uniform(DAY_S), late_per_mille=5, late_by_s=60)
    first, second = (matching(store, parse_search("match level:ERROR"), "app/prod-1").ring for _ in range(2))
    assert first is second
    late = Lateness(5, 60)
    assert store.prompt_ring(first, late) is store.prompt_ring(second, late)

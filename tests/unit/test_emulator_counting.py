"""Counts, histograms and record pages of the emulated service, with the switches for their forms."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.analysis import parse_statement
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Diurnal, Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.reading import Ask, Table, histogram, query_records, run_analysis
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World

NOW_S = 1_768_465_800.0
START_S = 1_768_348_800
BUCKETS = (
    "select histogram(cast(`@timestamp` as timestamp), interval {}) as h, count(*) as c group by h order by h"
)


def world_of(*, indexed: bool = True) -> World:
    return World(
        [
            Logstore("web", GeneratedStore(7, Uniform(864_000)), indexed=indexed),
            Logstore("wave", GeneratedStore(7, Diurnal(864_000))),
        ]
    )


def ask(
    query: str,
    *,
    store: str = "web",
    start: str = "T00:00:00Z",
    end: str = "T00:10:00Z",
    indexed: bool = True,
) -> Ask:
    wish = {"query": query, "startDateTime": f"2026-01-14{start}", "endDateTime": f"2026-01-14{end}"}
    return world_of(indexed=indexed).ask(wish, store, NOW_S)


def analysed(asked: Ask, **switches: object) -> Table:
    return run_analysis(asked, parse_statement(asked.query), Behaviour.from_dict(switches))


@pytest.mark.parametrize(("form", "value"), [("int", 6000), ("float", 6000.0), ("string", "6000")])
def test_a_count_has_several_forms(form: str, value: object) -> None:
    """A count comes as a whole number, a fraction or a text."""
    table = analysed(ask("match * | select count(*) as c"), count_form=form)
    assert (table.columns, table.rows, table.query_type) == (("c",), [[value]], "match_and_sql")
    assert type(table.rows[0][0]) is type(value)


def test_a_count_without_match_counts_everything() -> None:
    """Plain SQL counts all records, a match part only its own."""
    total = analysed(ask("select count(*) as c")).rows[0][0]
    errors = analysed(ask("match level:ERROR | select count(*) as c")).rows[0][0]
    rest = analysed(ask("match not level:ERROR | select count(*) as c")).rows[0][0]
    assert total == 6000
    assert int(errors) + int(rest) == total
    assert int(errors) > 0


def test_counts_may_be_wrong_cut_or_refused() -> None:
    """A count can be off, marked as truncated, or refused, with an index or without."""
    query = "select count(*) as c"
    assert analysed(ask(query), count_error=0.01).rows == [[6060]]
    assert analysed(ask(query), count_error=-0.01).rows == [[5940]]
    assert analysed(ask(query), count_truncated=True).truncated
    for asked, switches in ((ask(query), {"count_refused": True}), (ask(query, indexed=False), {})):
        with pytest.raises(Refusal, match="InvalidParameter"):
            analysed(asked, **switches)
    assert analysed(ask(query, indexed=False), index_needed=False).rows == [[6000]]
    with pytest.raises(Refusal, match="413"):
        analysed(ask(query), overload_rows=5999)


@pytest.mark.parametrize(
    ("form", "first"),
    [("iso", "2026-01-14T00:00:00Z"), ("ms", START_S * 1000), ("text", "2026-01-14 00:00:00.000")],
)
def test_time_buckets_by_sql(form: str, first: object) -> None:
    """SQL buckets of a chosen width add up to the count, their time in any of three forms."""
    table = analysed(ask("match * | " + BUCKETS.format("1 minute")), sql_histogram_time=form)
    assert (table.rows[0][0], len(table.rows)) == (first, 10)
    assert sum(int(row[1]) for row in table.rows) == 6000


def test_sql_buckets_are_aligned_and_limited() -> None:
    """Buckets start at multiples of their width; more than the ceiling is truncated; a limit is honoured."""
    asked = ask("match * | " + BUCKETS.format("1 hour"), start="T00:30:00Z", end="T02:30:00Z")
    assert [row[1] for row in analysed(asked).rows] == [18_000, 36_000, 18_000]
    assert analysed(asked, sql_rows_max=2).truncated
    limited = analysed(ask(asked.query + " limit 2", start="T00:30:00Z", end="T02:30:00Z"))
    assert (len(limited.rows), limited.truncated) == (2, False)
    with pytest.raises(Refusal, match="InvalidParameter"):
        analysed(asked, sql_histogram="refused")


@pytest.mark.parametrize("alignment", ["epoch", "start"])
def test_histogram_buckets_add_up(alignment: str) -> None:
    """The server's own buckets cover the window without overlap and add up to its hits."""
    asked = ask("match *", store="wave", start="T00:00:30Z", end="T23:00:00Z")
    found = histogram(asked, Behaviour.from_dict({"histogram_alignment": alignment}))
    starts = [start_ms for start_ms, _ in found.buckets]
    assert all(later - earlier == found.width_s * 1000 for earlier, later in pairwise(starts))
    assert starts[0] == (START_S + 30 if alignment == "start" else START_S) * 1000
    assert sum(lines for _, lines in found.buckets) == found.hits
    assert (
        found.hits
        == analysed(ask("select count(*) as c", store="wave", start="T00:00:30Z", end="T23:00:00Z")).rows[0][
            0
        ]
    )


@pytest.mark.parametrize(
    ("how", "hits"), [("exact", 6000), ("too-high", 6007), ("too-low", 5993), ("missing", None)]
)
def test_histogram_hits_may_differ(how: str, hits: int | None) -> None:
    """The total may differ from the sum of the buckets, or be missing."""
    found = histogram(ask("match *"), Behaviour.from_dict({"histogram_hits": how}))
    assert (found.hits, sum(lines for _, lines in found.buckets)) == (hits, 6000)


def test_histogram_may_leave_empty_buckets_out() -> None:
    """Buckets without records are listed with zero, or not at all."""
    query = "match level:ERROR and status:504"
    narrow = {"histogram_width_s": 1}
    listed = histogram(ask(query), Behaviour.from_dict(narrow)).buckets
    left = histogram(
        ask(query), Behaviour.from_dict({**narrow, "histogram_empty_buckets": "left-out"})
    ).buckets
    assert len(listed) == 600
    assert left == [bucket for bucket in listed if bucket[1]]
    assert 0 < len(left) < 600


@pytest.mark.parametrize(("how", "status"), [("always", 500), ("timeout", 504)])
def test_histogram_may_fail(how: str, status: int) -> None:
    """A histogram can fail outright or run into its time limit, and needs an index."""
    with pytest.raises(Refusal, match=str(status)):
        histogram(ask("match *"), Behaviour.from_dict({"histogram_fails": how}))
    with pytest.raises(Refusal, match="InvalidParameter"):
        histogram(ask("match *", indexed=False), Behaviour())


@pytest.mark.parametrize("descending", [False, True])
def test_pages_of_records_join_without_seam(descending: bool) -> None:
    """Following the markers gives every matching record once, in order, and ends."""
    asked = ask("match level:ERROR")
    found, marker = [], ""
    while True:
        page = query_records(asked, Behaviour(), descending=descending, first=None, marker=marker, limit=70)
        found += page.records
        marker = page.next_marker
        if not marker:
            break
        assert len(page.records) == 70
    total = analysed(ask("match level:ERROR | select count(*) as c")).rows[0][0]
    assert len({record.seq for record in found}) == len(found) == total
    times = [record.at_ms for record in found]
    assert times == sorted(times, reverse=descending)


def test_a_strange_marker_is_refused() -> None:
    """A marker the service never gave is InvalidParameter."""
    for marker in ("x", "bm9uc2Vuc2U=", "ZnJvbSAtNQ=="):
        with pytest.raises(Refusal, match="marker"):
            query_records(ask("match *"), Behaviour(), descending=False, first=None, marker=marker, limit=10)


def test_a_window_that_runs_backwards_is_refused() -> None:
    """A query whose end lies before its start is InvalidParameter."""
    with pytest.raises(Refusal, match="InvalidParameter"):
        ask("match *", start="T00:10:00Z", end="T00:00:00Z")

"""The query language: which records a search means, and what an analysis asks for."""

from __future__ import annotations

import pytest

from orchestrator.emulator.analysis import Count, TimeBuckets, parse_statement
from orchestrator.emulator.record import Record
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.search import SearchError, parse_search

RECORD = Record(
    0, 0, "app/prod-1", 'GET /api/v1/cart 503 took "1.25 s" at node-7', (("level", "ERROR"), ("status", 503))
)


@pytest.mark.parametrize(
    ("search", "meant"),
    [
        ("", True),
        ("match *", True),
        ("MATCH *", True),
        ("match cart", True),
        ("match CART", True),
        ("match car", False),
        ("match car*", True),
        ("match c?rt", True),
        ("match level:ERROR", True),
        ("match level:error", True),
        ("match level:INFO", False),
        ("match level:*", True),
        ("match color:*", False),
        ("match status=503", True),
        ("match status>500", True),
        ("match status>=504", False),
        ("match status<503", False),
        ("match status in [500 504)", True),
        ("match status in (503 504]", False),
        ("match level>3", False),
        ("match cart and GET", True),
        ("match cart GET", True),
        ("match cart and POST", False),
        ("match cart or POST", True),
        ("match not POST", True),
        ("match not (GET or POST)", False),
        ("match POST or GET and not level:INFO", True),
        ("match 'took \"1.25'", True),
        ("match 'cart 504'", False),
        ('match "cart 503"', True),
        ("match level:'ERROR'", True),
        ("match @stream:app/prod-1", True),
    ],
)
def test_a_search_means_these_records(search: str, meant: bool) -> None:
    """Words, fields, ranges and their combinations select records as the service's pages describe."""
    assert parse_search(search).matches(RECORD) is meant


@pytest.mark.parametrize(
    "search",
    ["cart", "match", "match (cart", "match cart)", "match and cart", "match cart or", "match *art",
     "match level:?x", "match status>many", "match 'open"],
)  # fmt: skip
def test_what_is_no_search_is_refused(search: str) -> None:
    """A statement outside the language is an error, never a silent everything."""
    with pytest.raises(SearchError):
        parse_search(search)


BUCKETS = (
    "select histogram(cast(`@timestamp` as timestamp), interval {}) as h, count(*) as c group by h order by h"
)


def test_a_count_and_its_search_come_apart() -> None:
    """The part before the bar is the search, a bar inside quotes is none."""
    statement = parse_statement("match 'a|b' | select count(*) as c")
    assert (statement.search, statement.analysis) == ("match 'a|b'", Count("c"))
    assert statement.query_type == "match_and_sql"
    assert parse_statement("select count(*)").query_type == "sql"
    assert parse_statement("match level:ERROR").query_type == "match"


@pytest.mark.parametrize(
    ("interval", "width_s"), [("1 second", 1), ("5 minute", 300), ("2 hours", 7200), ("'1' day", 86_400)]
)
def test_time_buckets_have_the_width_asked_for(interval: str, width_s: int) -> None:
    """The histogram function takes a number and a unit."""
    assert parse_statement("match * | " + BUCKETS.format(interval)).analysis == TimeBuckets(
        width_s, "h", "c", None
    )
    assert parse_statement(BUCKETS.format(interval) + " limit 100").analysis == TimeBuckets(
        width_s, "h", "c", 100
    )


@pytest.mark.parametrize(
    "query",
    ["match * | select status, count(*) group by status", "select *", "match * | ",
     BUCKETS.format("0 second"), BUCKETS.format("1 second").replace("group by h", "group by c")],
)  # fmt: skip
def test_other_analyses_are_refused(query: str) -> None:
    """Everything but the two forms is InvalidParameter."""
    with pytest.raises(Refusal) as refusal:
        parse_statement(query)
    assert (refusal.value.status, refusal.value.code) == (400, "InvalidParameter")

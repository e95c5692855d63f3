"""A few rows by asking for them: what the answer says, and what is asked next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from orchestrator.app.first_rows import FirstRows, found_in
from orchestrator.core.job import Job, JobIdentity, ServiceSpec
from orchestrator.core.window import Window
from orchestrator.errors import MalformedAnswer
from orchestrator.remote.client import BlsClient
from orchestrator.remote.found_rows import FoundRows, rows_of

START_S = 1_768_348_800
WINDOW = Window(START_S, START_S + 60)
JOB = Job("pull", JobIdentity("bj", "default", "web", "", "match *"), ServiceSpec("", "http://x"), WINDOW, 0)
COLUMNS = ["@timestamp", "@seq", "@stream", "@raw"]


def answer(rows: Sequence[object], **other: object) -> dict[str, Any]:
    result = {"queryType": "match", "columns": COLUMNS, "rows": rows}
    return {"resultSet": result | cast("dict[str, Any]", other.pop("result", {})), **other}


def row(at_ms: object, seq: object = 0, raw: str = "x") -> list[object]:
    return [at_ms, seq, "app", raw]


def test_columns_go_by_their_names() -> None:
    """In whatever order they come; tags follow and hide no column; a short row lacks its last cells."""
    found = rows_of(
        {
            "resultSet": {
                "columns": ["@raw", "@timestamp", "@seq"],
                "rows": [["a", 5, 1], ["b", 6]],
                "tags": [{"level": "INFO", "@raw": "no"}],
            }
        },
        "",
    )
    assert found.rows == (
        {"@raw": "a", "@timestamp": 5, "@seq": 1, "level": "INFO"},
        {"@raw": "b", "@timestamp": 6},
    )


def test_numbers_may_come_as_texts() -> None:
    """A time or sequence number that is written as text or as a float is a number all the same; a raw line of
    digits stays a text."""
    found = rows_of(answer([row("1768348800123", 7.0, "123"), row("no time", "", "x")]), "")
    assert found.rows[0] == {"@timestamp": 1_768_348_800_123, "@seq": 7, "@stream": "app", "@raw": "123"}
    assert found.rows[1]["@timestamp"] == "no time"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (answer([], result={"isTruncated": True, "truncatedReason": "too much"}), "too much"),
        (answer([], datasetScanInfo={"isTruncated": "true"}), "the answer says that it is truncated"),
        (answer([], datasetScanInfo={"isTruncated": False}), ""),
        (answer([]), ""),
    ],
)
def test_a_search_that_was_cut_short_says_so(found: dict[str, Any], why: str) -> None:
    """Under either flag, with or without a reason."""
    assert rows_of(found, "").cut_short == why


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"resultSet": {"columns": COLUMNS, "rows": [5]}},
        {"resultSet": {"columns": ["a"], "rows": [[1, 2]]}},
        {"resultSet": {"columns": COLUMNS, "rows": {}}},
        answer([], nextMarker="x" * 5000),
    ],
)
def test_an_answer_of_another_shape_is_malformed(found: object) -> None:
    """And never taken for no rows."""
    with pytest.raises(MalformedAnswer):
        rows_of(found, "")


@dataclass
class Service:
    """Answers with pages of its rows; a page of more than ``most`` is too large."""

    rows_: list[dict[str, object]]
    most: int = 10**6
    short: int = 10**6
    """However many are asked for, no page has more."""
    cut_short: str = ""
    asked: list[tuple[int, str]] = field(default_factory=list)

    async def rows(
        self, identity: JobIdentity, logstream: str, window: Window, *, limit: int, marker: str = ""
    ) -> FoundRows:
        self.asked.append((limit, marker))
        if limit > self.most:
            raise MalformedAnswer("more than 4 MiB")
        at = int(marker or 0)
        end = at + min(limit, self.short)
        more = str(end) if end < len(self.rows_) else ""
        return FoundRows(tuple(self.rows_[at:end]), more, self.cut_short)


def asked(service: Service, limit: int) -> FirstRows:
    return asyncio.run(asyncio.wait_for(found_in(cast("BlsClient", service), JOB, WINDOW, limit), 10))


def numbered(count: int) -> list[dict[str, object]]:
    return [{"@timestamp": START_S * 1000 + number, "@seq": number} for number in range(count)]


def test_as_a_rule_it_is_one_call() -> None:
    """A page that holds as many as were wanted, or all there are, is the end."""
    full, less = Service(numbered(50)), Service(numbered(20))
    assert len(asked(full, 30).rows) == 30
    assert len(asked(less, 30).rows) == 20
    assert (full.asked, less.asked) == ([(30, "")], [(30, "")])


def test_short_pages_are_followed() -> None:
    """A page that came short with a word that there is more is followed by the next, and no row comes
    twice."""
    service = Service(numbered(50), short=8)
    found = asked(service, 30)
    assert found.rows == tuple(numbered(30))
    assert service.asked == [(30, ""), (22, "8"), (14, "16"), (6, "24")]


def test_rows_too_large_for_one_answer_come_in_smaller_pages() -> None:
    """What does not fit an answer is asked for again in parts, from the first row on."""
    service = Service(numbered(1000), most=200)
    assert asked(service, 900).rows == tuple(numbered(900))
    assert service.asked[:3] == [(900, ""), (112, ""), (112, "112")]
    with pytest.raises(MalformedAnswer):
        asked(Service(numbered(50), most=5), 30)


def test_rows_are_put_in_order_and_kept_inside_the_window() -> None:
    """A service that sorts otherwise, or counts the window's end in, gives the same rows."""
    rows = numbered(5)
    outside = [{"@timestamp": WINDOW.end_s * 1000}, {"@timestamp": START_S * 1000 - 1}]
    assert asked(Service([*outside, *rows[::-1]]), 30).rows == tuple(rows)


def test_a_cut_short_search_is_told_unless_there_are_enough() -> None:
    """Rows may be missing only when fewer came than were wanted."""
    assert asked(Service(numbered(5), cut_short="timeout"), 30).cut_short == "timeout"
    assert asked(Service(numbered(50), cut_short="timeout"), 30).cut_short == ""


def test_the_rows_are_lines_of_json() -> None:
    """As the files of remote tasks have them."""
    found = asked(Service(numbered(2)), 30)
    assert [orjson.loads(line) for line in found.region.rows.splitlines()] == numbered(2)

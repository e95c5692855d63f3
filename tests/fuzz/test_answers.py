"""Whatever the service answers, a reader gives a value or an error of the tree (bls-api.md 10)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st

from orchestrator.core.series import Series
from orchestrator.core.window import Window
from orchestrator.errors import MalformedAnswer, ServiceError
from orchestrator.ports.service import Histogram
from orchestrator.remote import answers
from orchestrator.remote.found_buckets import buckets_of
from orchestrator.remote.found_rows import rows_of
from orchestrator.remote.refusals import checked
from orchestrator.remote.wire import Answer, Fields, http_date, moment_of, request_id_of, whole_number
from tests.fuzz.aim import aimed, finding, outcome
from tests.fuzz.junk import JSON, ODD_TEXTS, ODD_VALUES, changed, mutated, places, texts

WINDOW = Window(1_768_348_800, 1_768_349_400)
TASK = {
    "uuid": "5b0c7f0e-52a1-4d0f-9f6e-0d9a64f2a7c1",
    "name": "o-0123456789abcdef-7",
    "project": "shop",
    "logStoreName": "web-access",
    "logStreamName": "",
    "query": "match *",
    "queryStartTime": "2026-01-14T00:00:00Z",
    "queryEndTime": "2026-01-14T00:10:00Z",
    "format": "json",
    "limit": 1000000,
    "order": "asc",
    "state": "SUCCESS",
    "failedCode": "",
    "failedMessage": "",
    "writtenRows": 734511,
    "fileDir": "",
    "fileName": "x_json_",
    "execStartTime": "2026-01-15T08:30:04Z",
    "execEndTime": "2026-01-15T08:31:57Z",
    "createdTime": "2026-01-15T08:30:01Z",
    "updatedTime": "2026-01-15T08:31:57Z",
}
STORE = {
    "creationDateTime": "2025-11-02T01:02:03Z",
    "lastModifiedTime": "2025-12-01T00:00:00Z",
    "project": "shop",
    "logStoreName": "web-access",
    "retention": 30,
    "indexEnabled": True,
}


def enveloped(result: Any) -> dict[str, Any]:
    return {"success": True, "code": "OK", "message": "", "result": result}


PAGE = {"order": "desc", "orderBy": "creationDateTime", "pageNo": 1, "pageSize": 10, "totalCount": 1}
VALID: Mapping[str, Any] = {
    "created": enveloped({"uuid": TASK["uuid"]}),
    "task": enveloped({"task": TASK}),
    "tasks": enveloped({"order": "desc", "pageNo": 1, "pageSize": 10, "total": 1, "tasks": [TASK]}),
    "link": enveloped({"fileDir": "", "fileName": "x", "link": "https://b.bj.bcebos.com/x?authorization=s"}),
    "count": {
        "resultSet": {
            "queryType": "match_and_sql",
            "columns": ["c"],
            "columnTypes": ["int"],
            "rows": [[734511]],
        },
        "datasetScanInfo": {
            "isTruncated": False,
            "statistics": {"executionTimeInMs": 41, "scanCount": 734511},
        },
    },
    "histogram": {
        "searchInfo": {"queryType": "match", "took": 37, "hits": 1468000},
        "searchStatistic": {
            "interval": 300000,
            "startTime": "2026-01-14T00:00:00Z",
            "histogram": [
                {"key": 1768348800000, "doc_count": 734511},
                {"key": 1768349100000, "doc_count": 733489},
            ],
        },
    },
    "buckets": {
        "resultSet": {
            "columns": ["h", "c"],
            "columnTypes": ["string", "int"],
            "rows": [["2026-01-14 00:00:00.000", 734511], ["2026-01-14T00:05:00Z", "733489"]],
        },
        "datasetScanInfo": {"isTruncated": False},
    },
    "rows": {
        "resultSet": {
            "columns": ["@timestamp", "@seq", "@stream", "@raw"],
            "rows": [[1768348800123, 0, "app/prod-1", "GET /cart 200"]],
        },
        "datasetScanInfo": {"isTruncated": False},
        "nextMarker": "CJq1",
    },
    "logstore": STORE,
    "logstores": {**PAGE, "result": [STORE]},
    "logstreams": {
        **PAGE,
        "result": [{"creationDateTime": "2025-11-02T02:00:00Z", "logStreamName": "app/prod-1"}],
    },
    "index": {"fulltext": True, "caseSensitive": False, "separators": " ", "fields": {"a": {"type": "text"}}},
}
READERS: dict[str, Callable[[object], Any]] = {
    "created": lambda found: answers.created_uuid(found, "r"),
    "task": lambda found: answers.task_of(found, "r"),
    "tasks": lambda found: answers.tasks_of(found, "r", 1.0),
    "link": lambda found: answers.link_of(found, "r"),
    "count": lambda found: answers.count_of(found, "r"),
    "histogram": lambda found: answers.histogram_of(found, "r", WINDOW),
    "buckets": lambda found: buckets_of(found, "r", WINDOW, 300),
    "rows": lambda found: rows_of(found, "r"),
    "logstore": lambda found: answers.logstore_of(found, "r", "p", "l"),
    "logstores": lambda found: answers.names_of(found, "r", "p", "ListLogStore"),
    "logstreams": lambda found: answers.names_of(found, "r", "p", "ListLogStream"),
    "index": lambda found: answers.index_of(found, "r"),
}
CALLS = st.sampled_from(sorted(READERS))
HEADERS = st.dictionaries(
    st.sampled_from(["date", "retry-after", "x-bce-request-id", "content-type"]), texts(), max_size=3
)


def read(call: str, found: object) -> Any:
    """What a reader makes of a JSON value, or the error it answers with."""
    value = outcome(lambda: READERS[call](found), ServiceError)
    assert len(str(value)) < 20_000
    return value


def refused(value: Any) -> bool:
    return isinstance(value, ServiceError)


@aimed(
    "answer-bytes",
    call=CALLS,
    status=st.integers(100, 599),
    headers=HEADERS,
    body=st.binary(max_size=60) | mutated(tuple(map(orjson.dumps, VALID.values()))),
    also=[
        {
            "call": "task",
            "status": 200,
            "headers": {},
            "body": b'{"success":' + b"[" * 1000 + b"]" * 1000 + b"}",
        },
        {"call": "task", "status": 200, "headers": {}, "body": b"[" * 100_000},
    ],
)
def test_any_bytes_are_read_or_refused(call: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """No body, status or header makes a reader raise anything but an error of the service."""
    answer = Answer(status, headers, body)
    found = outcome(lambda: checked(answer, "Call"), ServiceError)
    if isinstance(found, ServiceError):
        assert found.status in (status, 0)
        assert len(found.message) < 500
        return
    assert answer.ok
    assert len(request_id_of(answer, found)) <= 128
    read(call, found)


@aimed("answer-json", found=JSON | st.dictionaries(st.sampled_from(["result", "success", "code"]), JSON))
def test_any_json_is_read_or_refused(found: Any) -> None:
    """No JSON value, also one that no JSON text could hold, makes a reader raise anything else."""
    for call in READERS:
        read(call, found)


CHANGES: tuple[Callable[[Any], Any], ...] = (
    lambda value: [value],
    lambda value: {"a": value},
    lambda value: str(value),
    lambda value: [value, value],
    lambda value: float(value) if isinstance(value, int) else value,
    lambda value: {key: value[key] for key in list(value)[1:]} if isinstance(value, dict) else None,
    lambda value: {key.upper(): item for key, item in value.items()} if isinstance(value, dict) else "",
)
CHANGE = st.sampled_from(CHANGES) | (st.sampled_from(ODD_VALUES) | st.sampled_from(ODD_TEXTS) | JSON).map(
    lambda new: lambda value: new
)


@aimed(
    "answer-mutated",
    call=CALLS,
    edits=st.lists(st.tuples(st.integers(0, 60), CHANGE), min_size=1, max_size=4),
)
def test_any_change_of_a_valid_answer_is_read_or_refused(
    call: str, edits: list[tuple[int, Callable[[Any], Any]]]
) -> None:
    """A valid answer with any of its parts replaced gives values in their ranges, or is refused."""
    found = VALID[call]
    for place, change in edits:
        paths = places(found)
        found = changed(found, paths[place % len(paths)], change)
    value = read(call, found)
    if call == "count" and isinstance(value, int):
        assert 0 <= value < 2**63
    if call == "task" and not refused(value):
        assert value.uuid
        assert "/" not in value.uuid
        assert value.start_s is None or 0 <= value.start_s <= 4_102_444_800
        assert value.written_rows is None or 0 <= value.written_rows < 2**63
    if call in ("histogram", "buckets") and isinstance(value, Histogram):
        counts = [(bucket.start_s, bucket.lines) for bucket in value.buckets]
        series = Series.of_buckets(WINDOW, value.interval_s, counts)
        assert series.window == WINDOW
        assert series.total == sum(max(0, lines) for _, lines in counts)
    if call == "histogram" and not refused(value):
        assert 0 < value.interval_s < math.inf
        assert [bucket.start_s for bucket in value.buckets] == sorted(
            bucket.start_s for bucket in value.buckets
        )
    if call == "link" and not refused(value):
        assert value.reveal().lower().startswith(("http://", "https://"))
        assert "authorization=s" not in repr(value)


FRESH = st.text(max_size=6).map(lambda text: f"x{text}")


@aimed(
    "answer-extra",
    call=CALLS,
    place=st.integers(0, 60),
    extra=st.dictionaries(FRESH, JSON, min_size=1, max_size=3),
)
def test_unknown_fields_change_nothing(call: str, place: int, extra: dict[str, Any]) -> None:
    """A valid answer with fields nobody knows, anywhere in it, is read as without them."""
    objects = [path for path in places(VALID[call]) if isinstance(_at(VALID[call], path), dict)]
    path = objects[place % len(objects)]
    widened = changed(VALID[call], path, lambda value: {**extra, **value})
    assert read(call, widened) == read(call, VALID[call])
    assert not refused(read(call, widened))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


@aimed(
    "answer-scalars",
    value=JSON | texts(60) | st.integers() | st.floats() | st.sampled_from(ODD_VALUES),
    name=st.sampled_from(["a", "b"]),
    also=[
        {"value": 10**400, "name": "a"},
        {"value": "9" * 5000, "name": "a"},
        {"value": float("nan"), "name": "a"},
    ],
)
def test_scalars_are_values_of_their_type_or_refused(value: Any, name: str) -> None:
    """A field read as text, number, truth or time gives that type and its range, or is malformed."""
    fields = Fields({name: value}, "Call")
    kinds: dict[Callable[..., object], type | tuple[type, ...]] = {
        fields.text: str,
        fields.number: (int, type(None)),
        fields.truth: (bool, type(None)),
        fields.moment: (float, type(None)),
        fields.items: list,
        fields.sections: list,
        fields.section_or_none: (Fields, type(None)),
    }
    for reading, kind in kinds.items():
        found = outcome(lambda reading=reading: reading(name), MalformedAnswer)
        assert name in str(found) if refused(found) else isinstance(found, kind)
    number = outcome(lambda: whole_number(value), TypeError, ValueError)
    assert isinstance(number, Exception | None) or abs(number) < 2**63
    at = outcome(lambda: moment_of(value), TypeError)
    assert isinstance(at, TypeError | None) or 0 <= at <= 4_102_444_800


DATES = (
    b"Thu, 15 Jan 2026 08:30:00 GMT",
    b"Thu, 15 Jan 26 08:30:00 +0800",
    b"Thursday, 15-Jan-26 08:30:00 GMT",
    b"15 Jan 2026 8:30 EST",
)


@aimed(
    "answer-dates",
    suite=150,
    text=texts(40) | mutated(DATES).map(lambda raw: raw.decode("latin-1")),
    also=[
        {"text": "Thu, 15 Jan 2026 08:30:00 +" + "9" * 5000},
        {"text": "Thu, 15 Jan " + "9" * 5000 + " 08:30:00 GMT"},
    ],
)
def test_any_date_header_is_a_date_or_none(text: str) -> None:
    """A Date header gives a date a clock could show, or none."""
    at = http_date(text)
    assert at is None or 946_684_800 <= at <= 4_102_444_800


def test_a_reader_that_trusts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails for a reader that takes a field's shape for granted: it can fail."""
    monkeypatch.setitem(READERS, "task", lambda found: found["result"]["task"]["uuid"].lower())
    assert finding("answer-mutated") is not None

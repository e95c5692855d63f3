"""Reading what the service says, however it is spelled."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.model import RemoteTaskStatus
from orchestrator.core.redact import redact
from orchestrator.core.window import Window
from orchestrator.errors import (
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    ServiceFault,
    Throttled,
)
from orchestrator.remote import answers
from orchestrator.remote.refusals import (
    checked,
    concerns_credentials,
    from_the_service,
    proves_nothing_was_made,
    refusal,
    retry_after_s,
)
from orchestrator.remote.wire import (
    Answer,
    Fields,
    document,
    http_date,
    moment_of,
    payload,
    request_id_of,
    whole_number,
)

UUID = "5b0c7f0e-52a1-4d0f-9f6e-0d9a64f2a7c1"


def _answer(body: object, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        (" +7 ", 7),
        ("7.0", 7),
        ("7e2", 700),
        (2**62, 2**62),
        (5_000_000_000, 5_000_000_000),
        (None, None),
        ("", None),
        (" ", None),
        (-3, -3),
    ],
)
def test_numbers_come_in_every_spelling(value: object, number: int | None) -> None:
    """Int, float and text are one number; nothing and empty are none."""
    assert whole_number(value) == number


@pytest.mark.parametrize(
    "value",
    [
        True,
        [],
        {},
        "seven",
        7.5,
        "7.5",
        2**63,
        "9" * 30,
        "nan",
        "inf",
        float("inf"),
        "0x7",
        "1_0",
        "٣",
        "1e999",
    ],
)
def test_what_is_no_whole_number_is_said(value: object) -> None:
    """Truth values, lists, fractions and numbers beyond all counting are refused, not rounded."""
    with pytest.raises((TypeError, ValueError)):
        whole_number(value)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2026-01-15T08:30:00Z", 1_768_465_800.0),
        ("2026-01-15T08:30:00.25Z", 1_768_465_800.25),
        ("2026-01-15T08:30:00.123456789Z", 1_768_465_800.123456),
        ("2026-01-15T16:30:00+08:00", 1_768_465_800.0),
        (" 2026-01-15 08:30:00 ", 1_768_465_800.0),
        (1_768_465_800, 1_768_465_800.0),
        (1_768_465_800_250, 1_768_465_800.25),
        ("", None),
        (None, None),
        ("yesterday", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        (-1, None),
    ],
)
def test_times_come_in_every_spelling(value: object, at: float | None) -> None:
    """With or without fraction and offset, as text or epoch; empty, unreadable and zero times are "not
    known"."""
    assert moment_of(value) == at


@pytest.mark.parametrize("value", [[], {}, True])
def test_what_can_be_no_time_is_said(value: object) -> None:
    """A list is no time, not even an unknown one."""
    with pytest.raises(TypeError):
        moment_of(value)


@pytest.mark.parametrize("body", [b"{", b"[" * 5000, b"\xff", b'"\xed\xa0\x80"', b"NaN", b"<html>", b"1e999"])
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    """Broken, absurdly deep and undecodable bodies end the same way."""
    with pytest.raises(ValueError):
        document(body)


def test_a_body_may_be_empty_or_marked() -> None:
    """No body is None; a byte order mark and blanks are no part of it."""
    assert document(b"") is None
    assert document(b" \n") is None
    assert document(b'\xef\xbb\xbf {"a":1}\n') == {"a": 1}


def test_both_styles_hold_the_same_fields() -> None:
    """Enveloped and bare successes read alike, also when ``result`` is a list."""
    assert payload({"success": True, "code": "OK", "result": {"a": 1}}, "X").values == {"a": 1}
    assert payload({"a": 1}, "X").values == {"a": 1}
    assert payload({"result": [1]}, "X").items("result") == [1]
    with pytest.raises(MalformedAnswer, match="X: the answer should be an object, found a list"):
        payload([], "X")


def test_a_complaint_names_call_and_path() -> None:
    """What has the wrong shape is said with the call, the path inside the answer and both shapes."""
    fields = Fields({"a": {"b": [{"n": [1]}, 5]}}, "Call", request_id="r-1")
    with pytest.raises(MalformedAnswer, match=r"^Call: a\.b\[1\] should be an object, found a number$"):
        fields.section("a").sections("b")
    (first,) = Fields({"b": [{"n": [1]}]}, "Call", "a", request_id="r-1").sections("b")
    for read in (first.text, first.number, first.truth, first.moment, first.section):
        with pytest.raises(
            MalformedAnswer, match=r"^Call: a\.b\[0\]\.n should be .*, found a list$"
        ) as caught:
            read("n")
        assert caught.value.request_id == "r-1"
    with pytest.raises(MalformedAnswer, match="a list, found an object"):
        Fields({"x": {}}, "Call").items("x")


def test_fields_are_read_tolerantly() -> None:
    """Scalars of another type are spelled out, alternatives tried in order, nulls treated as missing."""
    fields = Fields(
        {"n": 5, "t": True, "f": False, "z": None, "second": "2", "neg": -1, "no": "FALSE", "o": 0}, "C"
    )
    assert [fields.text(name) for name in ("n", "t", "f", "z", "gone")] == ["5", "true", "false", "", ""]
    assert fields.number("z", "second") == 2
    assert fields.number("neg") is None
    assert [fields.truth(name) for name in ("t", "f", "z", "gone", "no", "o")] == [
        True,
        False,
        None,
        None,
        False,
        False,
    ]
    assert fields.section_or_none("z") is None
    assert fields.sections("gone") == []
    with pytest.raises(MalformedAnswer):
        Fields({"t": "perhaps"}, "C").truth("t")


FULL_TASK: dict[str, Any] = {
    "uuid": UUID,
    "name": "nightly",
    "project": "shop",
    "logStoreName": "web",
    "logStreamName": "",
    "query": "match *",
    "queryStartTime": "2026-01-14T00:00:00Z",
    "queryEndTime": "2026-01-14T00:10:00Z",
    "format": "json",
    "limit": "1000000",
    "order": "asc",
    "state": "SUCCESS",
    "failedCode": "",
    "failedMessage": None,
    "writtenRows": 734511.0,
    "fileDir": "",
    "fileName": "nightly_json_x",
    "execStartTime": "",
    "execEndTime": None,
    "createdTime": "2026-01-15T08:30:01Z",
    "updatedTime": "2026-01-15T08:31:57.5Z",
    "retry": 3,
}


def test_a_remote_task_is_read_whole() -> None:
    """Every documented field of a remote task comes in our types; unknown ones do not disturb."""
    assert answers.task_of({"success": True, "result": {"task": FULL_TASK}}, "r") == RemoteTaskStatus(
        uuid=UUID,
        name="nightly",
        state="SUCCESS",
        project="shop",
        logstore="web",
        logstream="",
        query="match *",
        start_s=1_768_348_800,
        end_s=1_768_349_400,
        format="json",
        limit=1_000_000,
        order="asc",
        written_rows=734_511,
        file_name="nightly_json_x",
        created_at=1_768_465_801.0,
        updated_at=1_768_465_917.5,
    )


def test_an_unknown_state_is_kept_verbatim() -> None:
    """A state nobody documented is a value like any other; a missing stream is told from an empty one."""
    found = answers.task_of({"result": {"task": {"uuid": UUID, "state": "Re-Indexing"}}}, "r")
    assert found == RemoteTaskStatus(UUID, state="Re-Indexing", logstream=None)


@pytest.mark.parametrize("uuid", ["", "a/b", "..", ".", "a b", "x" * 200, None, [], "é"])
def test_an_identifier_must_be_usable(uuid: object) -> None:
    """What the service calls a uuid goes into a path, so it must not be able to change it."""
    with pytest.raises(MalformedAnswer, match="uuid"):
        answers.task_of({"result": {"task": {**FULL_TASK, "uuid": uuid}}}, "r")


@pytest.mark.parametrize("field", ["state", "limit", "writtenRows", "queryStartTime", "logStoreName"])
def test_a_field_of_the_wrong_shape_is_named(field: str) -> None:
    """A task with an impossible field is malformed, by name."""
    with pytest.raises(MalformedAnswer, match=rf"tasks\[1\]\.{field}"):
        answers.tasks_of({"result": {"tasks": [FULL_TASK, {**FULL_TASK, field: {}}], "total": 2}}, "r", None)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidParameter", Refused),
        (400, "MalformedJSON", Refused),
        (401, "Unauthorized", Refused),
        (403, "AccessDenied", Refused),
        (413, "RequestOverload", Throttled),
        (429, "RequestLimited", Throttled),
        (500, "InternalError", ServiceFault),
        (503, "ServiceUnavailable", ServiceFault),
        (404, "LogStoreNotFound", Refused),
        (404, "ProjectNotFound", Refused),
        (404, "DownloadTaskNotFound", RemoteTaskNotFound),
        (403, "LogStoreStopped", Refused),
        (403, "InvalidAccessKeyId", Refused),
        (400, "SignatureDoesNotMatch", Refused),
        (400, "RequestExpired", Refused),
        (400, "InvalidHTTPAuthHeader", Refused),
        (400, "InvalidHTTPRequest", Refused),
        (400, "InvalidURI", Refused),
        (400, "InappropriateJSON", Refused),
        (404, "InvalidVersion", Refused),
        (403, "OptInRequired", Refused),
        (412, "PreconditionFailed", Refused),
        (400, "internalerror", ServiceFault),  # the code decides, whatever the status
        (500, "RequestLimited", Throttled),
        (200, "InternalError", ServiceFault),
        (500, "NeverHeardOf", ServiceFault),
        (502, "", ServiceFault),
        (408, "", ServiceFault),
        (404, "", RemoteTaskNotFound),
        (403, "NeverHeardOf", Refused),
        (409, "", Refused),
        (407, "", Refused),
        (302, "", MalformedAnswer),
        (200, "NeverHeardOf", ServiceFault),
    ],
)
def test_the_code_decides_and_then_the_status(status: int, code: str, kind: type[ServiceError]) -> None:
    """Every documented code, and every status without one, has its one meaning."""
    found = refusal(_answer({"code": code, "message": "m", "requestId": "r-1"}, status), "Call")
    assert type(found) is kind
    assert (found.status, found.request_id) == (status, "r-1")
    assert found.hint


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "code": "InternalError", "message": "m"},
        {"success": "false", "message": "m"},
        {"success": 0},
        {"code": "InternalError", "message": "m"},
    ],
)
def test_a_success_that_says_failure_is_one(body: dict[str, Any]) -> None:
    """2xx counts for nothing when the body says otherwise."""
    with pytest.raises(ServiceFault):
        checked(_answer(body), "Call")


@pytest.mark.parametrize(
    "body",
    [
        {"success": True, "code": "OK", "message": "", "result": {}},
        {"success": True, "code": "success"},
        {"success": True, "code": "Whatever", "message": "m"},
        {"code": "ok"},
        {"code": "X"},
        [],
        {},
    ],
)
def test_a_success_is_passed_on(body: object) -> None:
    """Both words for success, and none at all, are success."""
    assert checked(_answer(body, 201), "Call") == body


def test_a_success_must_be_json() -> None:
    """A login page with status 200 is malformed, and its text is not shown."""
    with pytest.raises(MalformedAnswer, match="no JSON") as caught:
        checked(_answer(b"<html>secret</html>", x_bce_request_id="r-2"), "Call")
    assert "secret" not in str(caught.value)
    assert caught.value.request_id == "r-2"


def test_messages_are_cut_and_cleaned() -> None:
    """A message of the service is shown in part, without links and signatures, cleaned of what the caller
    knows."""
    said = "see https://b.bcebos.com/f?authorization=bce-auth-v1%2Fx and key-1 " + "x" * 5000
    found = refusal(
        _answer({"code": "AccessDenied", "message": said}, 403),
        "Call",
        clean=lambda t: redact(t, ()).replace("key-1", "*"),
    )
    assert len(str(found)) < 400
    assert "bce-auth" not in str(found)
    assert "key-1" not in str(found)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"requestId": "a"}, {"x-bce-request-id": "h"}, "a"),
        ({"request_id": "b"}, {}, "b"),
        ({"requestId": 5}, {"x-bce-request-id": "h"}, "h"),
        ({"requestId": "a\nb"}, {}, ""),
        ([], {}, ""),
    ],
)
def test_the_request_id_is_found(body: object, headers: dict[str, str], expected: str) -> None:
    """Under either name in the body, or in the header; never anything unprintable."""
    assert request_id_of(Answer(400, headers, b""), body) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("99999999", 300.0),
        ("Thu, 15 Jan 2026 08:30:10 GMT", 10.0),
        ("Thu, 15 Jan 2026 08:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", 300.0),
    ],
)
def test_retry_after_in_both_forms(text: str, seconds: float | None) -> None:
    """Seconds or a date against the answer's own, bounded by an hour."""
    assert retry_after_s(text, "Thu, 15 Jan 2026 08:30:00 GMT") == seconds


def test_a_date_needs_a_date_to_compare() -> None:
    """Our own clock may be wrong, so a Retry-After date counts only beside the server's."""
    assert retry_after_s("Thu, 15 Jan 2026 08:30:10 GMT") is None
    assert http_date("Thu, 15 Jan 2026 08:30:10 GMT") == 1_768_465_810.0
    assert http_date("Thu, 15 Jan 2026 08:30:10 -0000") == 1_768_465_810.0


def test_what_proves_that_nothing_was_made() -> None:
    """Statuses and documented codes that refuse a create for sure, and nothing else."""
    sure = [(401, ""), (404, ""), (413, ""), (429, ""), (400, "InvalidParameter"), (403, "AccessDenied")]
    unsure = [
        (400, ""),
        (403, ""),
        (400, "New"),
        (403, "New"),
        (500, "InvalidParameter"),
        (409, ""),
        (302, ""),
        (200, ""),
    ]
    for status, code in sure:
        assert proves_nothing_was_made(_answer({"code": code}, status)), (status, code)
    for status, code in unsure:
        assert not proves_nothing_was_made(_answer({"code": code}, status)), (status, code)


def test_a_gateway_is_not_the_service() -> None:
    """Only an answer with the service's marks, and no gateway's status, comes from the service."""
    assert from_the_service(_answer({"code": "InternalError"}, 500))
    assert from_the_service(_answer(b"", 500, x_bce_request_id="r"))
    assert not from_the_service(_answer({"code": "InternalError"}, 502))
    assert not from_the_service(_answer(b"<html>", 500))


def test_which_refusals_fresher_keys_may_mend() -> None:
    """Refusals that speak of keys or tokens, by status or by code."""
    for status, code in [(401, ""), (403, ""), (400, "SignatureDoesNotMatch"), (400, "SecurityTokenExpired")]:
        assert concerns_credentials(_answer({"code": code}, status))
    assert not concerns_credentials(_answer({"code": "InvalidParameter"}, 400))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL_TASK, "result", "task"]), inner)
    ),
    max_leaves=12,
)
NAMES = [
    "result",
    "task",
    "tasks",
    "resultSet",
    "rows",
    "searchStatistic",
    "searchInfo",
    "histogram",
    "link",
    "uuid",
]


@given(st.dictionaries(st.sampled_from([*NAMES, *FULL_TASK]), JSON_VALUES | st.just(FULL_TASK), max_size=5))
def test_no_answer_crashes_a_reader(found: dict[str, Any]) -> None:
    """Whatever JSON the service sends, a reader returns a value or raises MalformedAnswer, and nothing
    else."""
    readers: list[Callable[[], object]] = [
        lambda: answers.created_uuid(found, ""),
        lambda: answers.task_of(found, ""),
        lambda: answers.tasks_of(found, "", None),
        lambda: answers.link_of(found, ""),
        lambda: answers.count_of(found, ""),
        lambda: answers.histogram_of(found, "", Window(0, 60)),
        lambda: answers.logstore_of(found, "", "p", "l"),
        lambda: answers.names_of(found, "", "p", "ListLogStream"),
        lambda: answers.index_of(found, ""),
    ]
    for read in readers:
        try:
            read()
        except MalformedAnswer as odd:
            assert ":" in str(odd)  # noqa: PT017  either outcome is fine


@given(
    st.binary(max_size=60),
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["date", "retry-after"]), st.text()),
)
def test_no_body_crashes_the_check(body: bytes, status: int, headers: dict[str, str]) -> None:
    """Whatever bytes, status and headers come, the outcome is a document or one of our errors."""
    answer = Answer(status, headers, body)
    try:
        checked(answer, "Call")
    except ServiceError as error:
        assert error.status in (0, status)  # noqa: PT017  either outcome is fine
    assert proves_nothing_was_made(answer) in (True, False)
    assert from_the_service(answer) in (True, False)

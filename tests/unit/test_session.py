"""Signed calls over real sockets: what is sent, what is repeated, what every answer becomes."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import aiohttp
import pytest
from baidubce.auth import bce_v1_signer
from baidubce.auth.bce_credentials import BceCredentials

from orchestrator.core.job import JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import CreateRequest, RemoteTaskStatus
from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials, Verdict, parse_authorization, parse_query, verify
from orchestrator.core.window import Window
from orchestrator.errors import (
    CreateUncertain,
    CredentialsError,
    MalformedAnswer,
    Refused,
    RemoteTaskNotFound,
    ServiceError,
    ServiceFault,
    Throttled,
    Unreachable,
    UsageError,
)
from orchestrator.ports.control import Family
from orchestrator.ports.service import (
    Bucket,
    CountApi,
    CountUnavailable,
    Histogram,
    LogStore,
    MetaApi,
    TaskApi,
)
from orchestrator.remote import client as client_module
from orchestrator.remote import session as session_module
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import CredentialSource, StaticCredentials
from orchestrator.remote.proxies import Proxies
from orchestrator.remote.session import Session, tls_context, unreachable
from tests.unit.loopback import (
    CountingRng,
    Loopback,
    RecordingGate,
    Reply,
    Seen,
    StillClock,
    answer,
    loopback,
)

T = TypeVar("T")

KEYS = Credentials("AKTEST", Secret("sk-of-the-test"))
TEMPORARY = Credentials("AKTEST", Secret("sk-of-the-test"), Secret("MTk4Yw==/sts+TOKEN~|fake="))
UUID = "5b0c7f0e-52a1-4d0f-9f6e-0d9a64f2a7c1"
WINDOW = Window(1_768_348_800, 1_768_349_400)  # 2026-01-14T00:00:00Z, ten minutes
IDENTITY = JobIdentity("bj", "shop", "web-access_log.v2", "", "match level:ERROR")
REQUEST = CreateRequest(
    "o-0123456789abcdef-7", IDENTITY, "app/prod-1", WINDOW, ServedFormat.JSON, 1_000_000, Order.ASC
)


def _json(body: object, status: int = 200, **headers: str) -> bytes:
    return answer(json.dumps(body).encode(), status, content_type="application/json", **headers)


def _error(code: str, status: int, **headers: str) -> bytes:
    return _json({"code": code, "message": f"about {code}", "requestId": "r-1"}, status, **headers)


def _enveloped(result: object = None, status: int = 200) -> bytes:
    return _json({"success": True, "code": "OK", "message": "", "result": result}, status)


@dataclass
class Notes:
    """An observer that remembers."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def changed(self, before: object, after: object, event: object) -> None:
        """Not of interest here."""

    def noted(self, name: str, **detail: str | float | None) -> None:
        self.seen.append((name, detail))


@dataclass
class Bench:
    """One client against one loopback server."""

    reply: Callable[[Seen], Reply]
    credentials: CredentialSource = field(default_factory=lambda: StaticCredentials(KEYS))
    clock: StillClock = field(default_factory=StillClock)
    rng: CountingRng = field(default_factory=CountingRng)
    gate: RecordingGate = field(default_factory=RecordingGate)
    notes: Notes = field(default_factory=Notes)
    prefix: str = ""
    seen: list[Seen] = field(default_factory=list)
    server: Loopback | None = None
    client: BlsClient | None = None

    def run(self, use: Callable[[BlsClient], Awaitable[T]]) -> T:
        async def main() -> T:
            async with loopback(self.reply) as here:
                self.seen, self.server = here.seen, here
                session = Session(
                    ServiceSpec("", here.origin + self.prefix),
                    credentials=self.credentials,
                    gate=self.gate,
                    clock=self.clock,
                    rng=self.rng,
                )
                self.client = BlsClient(session, observer=self.notes)
                try:
                    return await use(self.client)
                finally:
                    await self.client.close()

        return asyncio.run(main())

    def verdict(self, seen: Seen, keys: Credentials = KEYS) -> Verdict:
        return verify(
            seen.headers.get("authorization"),
            method=seen.method,
            raw_path=seen.raw_path,
            raw_query=seen.raw_query,
            headers=seen.headers.items(),
            find_secret=lambda key: keys.secret_access_key if key == keys.access_key_id else None,
            now_s=self.clock.now(),
        )


def _in_turn(*replies: Reply) -> Callable[[Seen], Reply]:
    """Answers one after the other, the last one for ever."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


TASK = {
    "uuid": UUID,
    "name": "n",
    "project": "shop",
    "logStoreName": "web-access_log.v2",
    "query": "match *",
    "queryStartTime": "2026-01-14T00:00:00Z",
    "queryEndTime": "2026-01-14T00:10:00Z",
    "format": "json",
    "limit": 1000000,
    "order": "asc",
    "state": "RUNNING",
    "writtenRows": 5,
}

CALLS: list[Any] = [
    pytest.param(lambda c: c.create(REQUEST, send_within_s=5), _enveloped({"uuid": UUID}, 201), id="create"),
    pytest.param(lambda c: c.describe(UUID), _enveloped({"task": TASK}), id="describe"),
    pytest.param(
        lambda c: c.list_page(project="shop", logstore="web", page_no=2, page_size=50),
        _enveloped({"tasks": [TASK], "total": 1, "pageSize": 10}),
        id="list",
    ),
    pytest.param(
        lambda c: c.link(UUID), _enveloped({"link": "https://b.bj.bcebos.com/x?authorization=y"}), id="link"
    ),
    pytest.param(lambda c: c.delete(UUID), answer(b"", 204), id="delete"),
    pytest.param(
        lambda c: c.count(IDENTITY, "app/prod-1", WINDOW),
        _json({"resultSet": {"columns": ["c"], "rows": [[7]]}, "datasetScanInfo": {"isTruncated": False}}),
        id="count",
    ),
    pytest.param(
        lambda c: c.histogram(IDENTITY, "", WINDOW),
        _json({"searchInfo": {"hits": 3}, "searchStatistic": {"interval": 1000, "histogram": []}}),
        id="histogram",
    ),
    pytest.param(
        lambda c: c.describe_logstore("shop", "日志 集+~"), _json({"retention": 30}), id="describe logstore"
    ),
    pytest.param(
        lambda c: c.list_logstores("shop"), _json({"result": [], "totalCount": 0}), id="list logstores"
    ),
    pytest.param(
        lambda c: c.list_logstreams("shop", "web"), _json({"result": [], "totalCount": 0}), id="list streams"
    ),
    pytest.param(lambda c: c.has_index("shop", "web"), _json({"fulltext": True}), id="index"),
]


def test_it_is_the_client_of_the_ports() -> None:
    """One object answers for tasks, counts and metadata as the ports ask."""

    async def use(client: BlsClient) -> None:
        tasks: TaskApi = client
        counts: CountApi = client
        meta: MetaApi = client
        assert {id(tasks), id(counts), id(meta)} == {id(client)}

    Bench(lambda _: None).run(use)


@pytest.mark.parametrize("keys", [KEYS, TEMPORARY], ids=["permanent keys", "temporary keys"])
@pytest.mark.parametrize(("use", "reply"), CALLS)
def test_every_call_verifies(
    use: Callable[[BlsClient], Awaitable[Any]], reply: bytes, keys: Credentials
) -> None:
    """What arrives at the server carries a signature that holds, over everything it should cover."""
    bench = Bench(lambda _: reply, StaticCredentials(keys))
    bench.run(use)
    (seen,) = bench.seen
    assert bench.verdict(seen, keys) is Verdict.OK
    given = parse_authorization(seen.headers["authorization"])
    assert given is not None
    listed = {"host", "x-bce-date", "x-bce-request-id"}
    listed |= {"content-type"} if seen.body else set()
    listed |= {"x-bce-security-token"} if keys is TEMPORARY else set()
    assert set(given.headers_to_sign) == listed
    assert seen.headers["x-bce-date"] == "2026-01-15T08:30:00Z"
    assert seen.headers["x-bce-request-id"] == "00000000-0000-0000-0000-000000000001"
    assert ("content-type" in seen.headers) == bool(seen.body)
    assert seen.headers["accept-encoding"] == "identity"
    assert "cookie" not in seen.headers


@pytest.mark.parametrize(("use", "reply"), CALLS)
def test_the_official_signer_agrees(use: Callable[[BlsClient], Awaitable[Any]], reply: bytes) -> None:
    """The service's own SDK computes the same signature for what we sent."""
    bench = Bench(lambda _: reply)
    bench.run(use)
    (seen,) = bench.seen
    given = parse_authorization(seen.headers["authorization"])
    assert given is not None
    theirs = bce_v1_signer.sign(
        BceCredentials("AKTEST", "sk-of-the-test"),
        seen.method.encode(),
        seen.raw_path.encode(),
        {name.encode(): seen.headers[name].encode() for name in given.headers_to_sign},
        {key.encode(): value.encode() for key, value in parse_query(seen.raw_query)},
        given.timestamp_s,
        given.expires_in_s,
        [name.encode() for name in given.headers_to_sign],
    )
    assert theirs.decode() == seen.headers["authorization"]


def test_what_is_not_meant_is_not_sent() -> None:
    """All streams and the service's own folder are asked for by leaving them out: an empty text might mean a
    stream without a name."""
    bench = Bench(lambda _: _enveloped({"uuid": UUID}, 201))
    bench.run(lambda c: c.create(replace(REQUEST, logstream=""), send_within_s=5))
    assert {"logStreamName", "fileDir"}.isdisjoint(json.loads(bench.seen[0].body))


def test_a_create_says_all_eleven_things_once() -> None:
    """A create is one POST with every documented field and a signature of thirty seconds."""
    bench = Bench(lambda _: _enveloped({"uuid": UUID}, 201))
    request = replace(REQUEST, file_dir="bucket/exports/")
    accepted = bench.run(lambda c: c.create(request, send_within_s=5))
    (seen,) = bench.seen
    assert (seen.method, seen.target) == ("POST", "/v2/logstore/download")
    assert json.loads(seen.body) == {
        "name": "o-0123456789abcdef-7",
        "project": "shop",
        "logStoreName": "web-access_log.v2",
        "logStreamName": "app/prod-1",
        "query": "match level:ERROR",
        "queryStartTime": "2026-01-14T00:00:00Z",
        "queryEndTime": "2026-01-14T00:10:00Z",
        "format": "json",
        "limit": 1_000_000,
        "order": "asc",
        "fileDir": "bucket/exports/",
    }
    assert "/30/" in seen.headers["authorization"]
    assert accepted.uuid == UUID
    assert bench.gate.asked == bench.gate.good == [Family.CREATE]


@pytest.mark.parametrize(
    ("reply", "answered"),
    [
        (None, False),
        (answer(b"<html>bad gateway</html>", 502), False),
        (_error("ServiceUnavailable", 504, x_bce_request_id="r"), False),
        (_error("InternalError", 500), True),
        (answer(b"", 500), False),
        (_error("ServiceUnavailable", 503), True),
        (_error("TooManyDownloads", 403), True),
        (_error("QuotaExceeded", 400), True),
        (answer(b"no json", 400), False),
        (_error("Odd", 409), True),
        (answer(b"", 302, location="http://elsewhere.invalid/"), False),
        (answer(b"", 201), False),
        (answer(b"<html>", 200), False),
        (_enveloped({}), False),
        (_enveloped({"uuid": "../list"}), False),
        (_enveloped({"uuid": ["x"]}), False),
        (_json({"success": False, "code": "InvalidParameter", "message": "m"}), True),
        (_json({"success": False}, x_bce_request_id="r"), True),
        (answer(b"{}", content_length="99999"), False),
    ],
)
def test_an_unclear_create_is_in_doubt(reply: bytes | None, answered: bool) -> None:
    """Whatever does not prove that a task was made, or was not, is CreateUncertain, after exactly one POST.

    ``answered`` is true only for a reply of the service itself: behind a gateway's the request may still
    run."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(reply or b"")
        await writer.drain()

    bench = Bench(lambda _: write)
    with pytest.raises(CreateUncertain) as caught:
        bench.run(lambda c: c.create(REQUEST, send_within_s=5))
    assert caught.value.answered is answered
    assert len(bench.seen) == 1
    assert bench.notes.seen == []


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("", 401, Refused),
        ("Unauthorized", 401, Refused),
        ("", 404, Refused),
        ("LogStoreNotFound", 404, Refused),
        ("ProjectNotFound", 404, Refused),
        ("AccessDenied", 403, Refused),
        ("LogStoreStopped", 403, Refused),
        ("InvalidParameter", 400, Refused),
        ("SignatureDoesNotMatch", 400, Refused),
        ("requestexpired", 400, Refused),
        ("", 429, Throttled),
        ("RequestLimited", 429, Throttled),
        ("RequestLimited", 400, Throttled),
        ("RequestOverload", 413, Throttled),
        ("", 413, Throttled),
    ],
)
def test_a_clearly_refused_create_made_nothing(code: str, status: int, kind: type[ServiceError]) -> None:
    """401, 404, 413, 429 and the documented codes under 400 and 403 are refusals, told apart from
    throttling."""
    bench = Bench(lambda _: _error(code, status, retry_after="3"))
    with pytest.raises(kind) as caught:
        bench.run(lambda c: c.create(REQUEST, send_within_s=5))
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert caught.value.hint
    assert len(bench.seen) == 1
    assert bench.gate.slowed == ([(Family.CREATE, 3.0)] if status == 429 else [])


def test_a_create_that_never_left_is_not_in_doubt() -> None:
    """Without a connection nothing was sent: Unreachable, and no look around is needed."""

    async def main() -> None:
        session = Session(
            ServiceSpec("", "http://127.0.0.1:9"),
            credentials=StaticCredentials(KEYS),
            gate=RecordingGate(),
            clock=StillClock(),
            rng=CountingRng(),
        )
        try:
            await BlsClient(session).create(REQUEST, send_within_s=5)
        finally:
            await session.close()

    with pytest.raises(Unreachable):
        asyncio.run(main())


def test_a_create_does_not_wait_for_ever() -> None:
    """A gate that stays shut makes a create Throttled, with nothing sent."""

    class ShutGate(RecordingGate):
        @asynccontextmanager
        async def request(self, family: Family) -> AsyncIterator[None]:
            await asyncio.sleep(30)
            yield

    bench = Bench(lambda _: _enveloped({"uuid": UUID}), gate=ShutGate())
    with pytest.raises(Throttled, match="no permission"):
        bench.run(lambda c: c.create(REQUEST, send_within_s=0.05))
    assert bench.seen == []


def test_a_create_is_not_sent_twice_on_a_connection_that_broke() -> None:
    """A kept connection that the server closed meanwhile makes a create uncertain, never double."""
    bench = Bench(lambda seen: None if seen.target.endswith("/download") else _enveloped({"task": TASK}))

    async def use(client: BlsClient) -> None:
        await client.describe(UUID)
        await client.create(REQUEST, send_within_s=5)

    with pytest.raises(CreateUncertain):
        bench.run(use)
    assert [seen.method for seen in bench.seen] == ["GET", "POST"]


def test_reads_are_repeated_on_what_may_pass() -> None:
    """Silence, 5xx, gateway pages and throttling are tried again, each time with permission and a new
    signature."""
    bench = Bench(
        _in_turn(
            None,
            _error("InternalError", 500),
            answer(b"<html>", 502),
            _error("RequestLimited", 429, retry_after="0"),
            _enveloped({"task": TASK}),
        )
    )
    status = bench.run(lambda c: c.describe(UUID))
    assert status.state == "RUNNING"
    assert bench.gate.asked == [Family.DESCRIBE] * 5
    assert bench.gate.slowed == [(Family.DESCRIBE, 0.0)]
    assert bench.gate.good == [Family.DESCRIBE]
    assert len({seen.headers["x-bce-request-id"] for seen in bench.seen}) == 5
    assert [detail["error"] for _, detail in bench.notes.seen] == [
        "unreachable",
        "service_fault",
        "service_fault",
        "throttled",
    ]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (None, Unreachable),
        (answer(b"", 503), ServiceFault),
        (answer(b"no json"), MalformedAnswer),
        (_error("RequestLimited", 429, retry_after="0"), Throttled),
        (_enveloped({"task": {"uuid": UUID, "limit": []}}), MalformedAnswer),
    ],
)
def test_repeating_ends(reply: bytes | None, kind: type[ServiceError]) -> None:
    """A fault that stays is raised after a bounded number of attempts."""
    bench = Bench(lambda _: reply)
    with pytest.raises(kind):
        bench.run(lambda c: c.describe(UUID))
    assert len(bench.seen) == client_module.ATTEMPTS


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_error("DownloadTaskNotFound", 404), RemoteTaskNotFound),
        (answer(b"", 404), RemoteTaskNotFound),
        (_error("LogStoreNotFound", 404), Refused),
        (_error("AccessDenied", 403), Refused),
        (_error("SomethingNew", 400), Refused),
        (_error("PreconditionFailed", 412), Refused),
    ],
)
def test_what_cannot_pass_is_not_repeated(reply: bytes, kind: type[ServiceError]) -> None:
    """A refusal and a missing task are said at once."""
    bench = Bench(lambda _: reply)
    with pytest.raises(kind) as caught:
        bench.run(lambda c: c.describe(UUID))
    assert type(caught.value) is kind
    assert len(bench.seen) == 1


def test_a_long_retry_after_is_handed_on() -> None:
    """A wait longer than a call may take is not slept through but told to the caller."""
    bench = Bench(lambda _: _error("RequestLimited", 429, retry_after="200"))
    with pytest.raises(Throttled) as caught:
        bench.run(lambda c: c.describe(UUID))
    assert caught.value.retry_after_s == 200
    assert len(bench.seen) == 1


def test_waits_are_jittered_and_honour_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is drawn between nothing and a doubling ceiling, and never shorter than the service asked."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    bench = Bench(
        _in_turn(
            _error("InternalError", 500),
            _error("InternalError", 500),
            _error("InternalError", 503, retry_after="2"),
            _error("InternalError", 500),
            _enveloped({"task": TASK}),
        ),
        rng=CountingRng(jitter=0.5),
    )
    bench.run(lambda c: c.describe(UUID))
    assert waits == [0.15, 0.3, 2.0, 1.2]


def test_a_wrong_clock_is_corrected_once() -> None:
    """RequestExpired with the server's Date makes the next signature right; the difference is remembered."""
    clock = StillClock()
    ahead_s = 4000.0

    def reply(seen: Seen) -> bytes:
        given = parse_authorization(seen.headers["authorization"])
        assert given is not None
        date = formatdate(clock.at + ahead_s, usegmt=True)
        if abs(given.timestamp_s - clock.at - ahead_s) > 900:
            return _error("RequestExpired", 400, date=date)
        return _enveloped({"task": TASK}) + b""

    bench = Bench(reply, clock=clock)

    async def use(client: BlsClient) -> float:
        await client.describe(UUID)
        await client.describe(UUID)
        return client.server_offset_s

    assert bench.run(use) == pytest.approx(ahead_s, abs=1)
    assert len(bench.seen) == 3
    assert bench.seen[1].headers["x-bce-date"] == "2026-01-15T09:36:40Z"


def test_a_clock_that_stays_wrong_does_not_spin() -> None:
    """RequestExpired without a Date to learn from is a refusal after one request."""
    bench = Bench(lambda _: _error("RequestExpired", 400))
    with pytest.raises(Refused, match="RequestExpired") as caught:
        bench.run(lambda c: c.describe(UUID))
    assert "clock" in caught.value.hint
    assert len(bench.seen) == 1


def test_a_create_with_a_wrong_clock_may_come_again_later() -> None:
    """An expired create was refused for our clock's sake: it is throttled, not refused for good, and not
    repeated."""
    date = formatdate(StillClock().at + 4000, usegmt=True)
    bench = Bench(lambda _: _error("RequestExpired", 400, date=date))
    with pytest.raises(Throttled):
        bench.run(lambda c: c.create(REQUEST, send_within_s=5))
    assert len(bench.seen) == 1
    assert bench.gate.slowed == []


@pytest.mark.parametrize(
    "date", ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon", ""]
)
def test_an_absurd_date_is_ignored(date: str) -> None:
    """No clock shows such a time, so none is learned."""
    bench = Bench(lambda _: _json({"retention": 1}, date=date))

    async def use(client: BlsClient) -> float:
        await client.describe_logstore("p", "l")
        return client.server_offset_s

    assert bench.run(use) == 0.0


class Rotating:
    """Keys that are fresher once they were refused."""

    name = "rotating"

    def __init__(self, *keys: Credentials) -> None:
        self.keys = list(keys)

    async def current(self) -> Credentials:
        if not self.keys:
            raise CredentialsError("gone")
        return self.keys[0]

    def invalidate(self, used: Credentials) -> None:
        if self.keys and self.keys[0] == used:
            self.keys.pop(0)


def test_fresher_credentials_are_tried_once() -> None:
    """Keys refused by the service are read again, and the call is signed anew with what was found."""
    old = Credentials("OLD", Secret("old"))
    bench = Bench(
        lambda seen: (
            _error("Unauthorized", 401)
            if "/OLD/" in seen.headers["authorization"]
            else _enveloped({"task": TASK})
        ),
        Rotating(old, KEYS),
    )
    assert bench.run(lambda c: c.describe(UUID)).uuid == UUID
    assert bench.verdict(bench.seen[1]) is Verdict.OK


def test_refused_keys_without_successors_are_a_refusal() -> None:
    """When nothing fresher is found, the service's refusal is what is said, not the search for keys."""
    bench = Bench(lambda _: _error("InvalidAccessKeyId", 403), Rotating(KEYS))
    with pytest.raises(Refused, match="InvalidAccessKeyId"):
        bench.run(lambda c: c.describe(UUID))
    assert len(bench.seen) == 1


def test_redirects_are_never_followed() -> None:
    """A signed request goes where it was signed for and nowhere else."""
    bench = Bench(
        lambda seen: answer(b"", 307, location="/stolen") if seen.target != "/stolen" else _enveloped({})
    )
    with pytest.raises(MalformedAnswer, match="redirect"):
        bench.run(lambda c: c.describe(UUID))
    assert {seen.raw_path for seen in bench.seen} == {f"/v2/logstore/download/{UUID}"}


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the cap is never kept in memory, whatever its length claims."""
    monkeypatch.setattr(session_module, "LARGEST_ANSWER_BYTES", 1000)
    bench = Bench(lambda _: answer(b"x" * 5000))
    with pytest.raises(MalformedAnswer, match="more than 1000 bytes"):
        bench.run(lambda c: c.describe(UUID))


def test_a_compressed_answer_is_read() -> None:
    """A server that compresses against our wish is understood, and bounded after unpacking."""
    packed = gzip.compress(json.dumps({"retention": 3}).encode())
    bench = Bench(lambda _: answer(packed, content_encoding="gzip"))
    assert bench.run(lambda c: c.describe_logstore("p", "l")).retention_days == 3


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "odd"])
def test_a_broken_encoding_is_an_error_of_ours(encoding: str) -> None:
    """A body that cannot be unpacked, or that is packed as nobody knows, is no crash."""
    bench = Bench(lambda _: answer(b"\x01\x02 not packed at all", content_encoding=encoding))
    with pytest.raises((Unreachable, MalformedAnswer)):
        bench.run(lambda c: c.describe(UUID))


@pytest.mark.parametrize(
    "head", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000 + b"\r\n\r\n"]
)
def test_what_is_no_http_is_an_error_of_ours(head: bytes) -> None:
    """Whatever answers instead of a web server, the call ends in Unreachable."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()

    with pytest.raises(Unreachable):
        Bench(lambda _: write).run(lambda c: c.delete(UUID))


@pytest.mark.parametrize(
    ("endpoint", "environment", "said"),
    [
        ("https://bls.invalid", {"https_proxy": "{origin}"}, "the proxy answered 407"),
        ("http://bls.invalid", {"http_proxy": "http://127.0.0.1:9"}, "the proxy cannot be reached"),
    ],
)
def test_the_way_to_the_service_is_named_when_it_fails(
    endpoint: str, environment: dict[str, str], said: str
) -> None:
    """A proxy that refuses and one that is gone are told apart; nothing was sent."""

    async def main() -> None:
        async with loopback(lambda _: answer(b"", 407)) as here:
            named = {name: value.replace("{origin}", here.origin) for name, value in environment.items()}
            session = Session(
                ServiceSpec("", endpoint),
                credentials=StaticCredentials(KEYS),
                gate=RecordingGate(),
                clock=StillClock(),
                rng=CountingRng(),
                proxies=Proxies.from_environment(named),
            )
            try:
                await BlsClient(session).create(REQUEST, send_within_s=5)
            finally:
                await session.close()

    with pytest.raises(Unreachable, match=said) as caught:
        asyncio.run(main())
    assert caught.value.hint


def test_an_endpoint_with_a_path_is_signed_as_sent() -> None:
    """A service behind a path prefix sees and verifies the whole path."""
    bench = Bench(lambda _: _enveloped({"task": TASK}), prefix="/bls/")
    bench.run(lambda c: c.describe(UUID))
    assert bench.seen[0].target == f"/bls/v2/logstore/download/{UUID}"
    assert bench.verdict(bench.seen[0]) is Verdict.OK


def test_connections_are_reused() -> None:
    """Calls in a row share one connection."""
    bench = Bench(lambda _: _enveloped({"task": TASK}))

    async def use(client: BlsClient) -> None:
        for _ in range(5):
            await client.describe(UUID)

    bench.run(use)
    assert bench.server is not None
    assert bench.server.connections == 1


def test_no_request_is_repeated_behind_the_gate() -> None:
    """Every sending passes the gate, also after a kept connection broke."""
    bench = Bench(lambda _: _enveloped({"task": TASK}))

    async def use(client: BlsClient) -> None:
        await client.describe(UUID)
        assert bench.server is not None
        bench.server.reply = _in_turn(None, _enveloped({"task": TASK}))
        await client.describe(UUID)

    bench.run(use)
    assert len(bench.gate.asked) == len(bench.seen) == 3


def test_a_netrc_entry_does_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc entry for the endpoint neither breaks nor replaces our Authorization."""
    (tmp_path / "netrc").write_text("default login me password secret\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    bench = Bench(lambda _: _enveloped({"task": TASK}))
    bench.run(lambda c: c.describe(UUID))
    assert bench.verdict(bench.seen[0]) is Verdict.OK


def test_a_proxy_sees_the_same_signed_request() -> None:
    """Through an HTTP proxy the request is signed for its target, and the proxy gets its own credentials."""

    async def main() -> Seen:
        async with loopback(lambda _: _json({"retention": 1})) as here:
            proxies = Proxies.from_environment({"http_proxy": here.origin.replace("//", "//me:pw@")})
            session = Session(
                ServiceSpec("", "http://bls.invalid:81"),
                credentials=StaticCredentials(KEYS),
                gate=RecordingGate(),
                clock=StillClock(),
                rng=CountingRng(),
                proxies=proxies,
            )
            client = BlsClient(session)
            try:
                await client.describe_logstore("p", "l")
            finally:
                await client.close()
            return here.seen[0]

    seen = asyncio.run(main())
    assert seen.target == "http://bls.invalid:81/v1/logstore/l?project=p"
    assert seen.headers["host"] == "bls.invalid:81"
    assert seen.headers["proxy-authorization"] == "Basic bWU6cHc="


@pytest.mark.parametrize(
    ("rows", "lines"),
    [([[734511]], 734511), ([[734511.0]], 734511), ([["734511"]], 734511), ([[" 7.3e1 "]], 73), ([[0]], 0)],
)
def test_a_count_is_read_in_every_spelling(rows: list[list[object]], lines: int) -> None:
    """A count may come as int, float or text."""
    bench = Bench(lambda _: _json({"resultSet": {"rows": rows}}))
    assert bench.run(lambda c: c.count(IDENTITY, "", WINDOW)) == lines


def test_a_count_asks_for_the_window_and_the_query() -> None:
    """The counting query is the job's search, or none for the second witness, over ``[start, end)``."""
    bench = Bench(lambda _: _json({"resultSet": {"rows": [[1]]}}))

    async def use(client: BlsClient) -> None:
        await client.count(IDENTITY, "app/prod-1", WINDOW)
        await client.count(JobIdentity("bj", "shop", "w", "", ""), "", WINDOW)
        await client.count(IDENTITY, "", WINDOW, match_all=True)

    bench.run(use)
    queries = [dict(parse_query(seen.raw_query)) for seen in bench.seen]
    assert queries[0] == {
        "project": "shop",
        "logStreamName": "app/prod-1",
        "query": "match level:ERROR | select count(*) as c",
        "startDateTime": "2026-01-14T00:00:00Z",
        "endDateTime": "2026-01-14T00:10:00Z",
    }
    assert [query["query"] for query in queries[1:]] == [
        "match * | select count(*) as c",
        "select count(*) as c",
    ]
    assert bench.gate.asked == [Family.QUERY] * 3


@pytest.mark.parametrize(
    "reply",
    [
        _json({"resultSet": {"rows": [[5]], "isTruncated": True, "truncatedReason": "too much"}}),
        _json({"resultSet": {"rows": [[5]]}, "datasetScanInfo": {"isTruncated": "true"}}),
        _error("InvalidParameter", 400),
        answer(b"", 400),
        _error("RequestOverload", 413),
        _error("InternalError", 500),
        answer(b"", 504),
    ],
)
def test_what_cannot_be_counted_is_said(reply: bytes) -> None:
    """A truncated, refused or timed-out count is CountUnavailable: a lower bound is no count."""
    bench = Bench(lambda _: reply)
    found = bench.run(lambda c: c.count(IDENTITY, "", WINDOW))
    assert isinstance(found, CountUnavailable)
    assert found.why


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (None, Unreachable),
        (answer(b"", 503), ServiceFault),
        (_error("LogStoreNotFound", 404), Refused),
        (answer(b"", 404), Refused),
        (_error("Unauthorized", 401), Refused),
        (_error("RequestLimited", 429, retry_after="0"), Throttled),
        (_json({"resultSet": {"rows": []}}), MalformedAnswer),
        (_json({"resultSet": {"rows": [[1], [2]]}}), MalformedAnswer),
        (_json({"resultSet": {"rows": [["many"]]}}), MalformedAnswer),
        (_json({"resultSet": {"rows": [[-1]]}}), MalformedAnswer),
        (_json({"resultSet": {"rows": [[None]]}}), MalformedAnswer),
        (_json({}), MalformedAnswer),
    ],
)
def test_an_outage_is_not_a_missing_count(reply: bytes | None, kind: type[ServiceError]) -> None:
    """What another try may mend, and what concerns the job, is raised: evidence must not weaken for it."""
    with pytest.raises(kind):
        Bench(lambda _: reply).run(lambda c: c.count(IDENTITY, "", WINDOW))


@pytest.mark.parametrize("spelling", ["searchStatistic", "searchStatics"])
def test_a_histogram_is_read_in_both_spellings(spelling: str) -> None:
    """Buckets come oldest first, in seconds, whatever the object is called."""
    buckets = [{"key": "1768349100000", "doc_count": 4.0}, {"key": 1768348800000, "doc_count": "3"}]
    body = {
        "searchInfo": {"hits": "7", "isTruncated": 1},
        spelling: {"interval": 300000, "histogram": buckets},
    }
    bench = Bench(lambda _: _json(body))
    found = bench.run(lambda c: c.histogram(IDENTITY, "", WINDOW))
    assert found == Histogram(300.0, (Bucket(1768348800.0, 3), Bucket(1768349100.0, 4)), 7, truncated=True)
    assert bench.seen[0].raw_path == "/v2/logstore/web-access_log.v2/loghistogram"
    assert bench.gate.asked == [Family.HISTOGRAM]


def test_a_histogram_may_be_nearly_empty() -> None:
    """Without buckets or interval what is known is kept; without anything the answer is malformed."""
    bench = Bench(
        _in_turn(_json({"searchInfo": {"hits": 0}}), _json({"searchStatistic": {"histogram": None}}))
    )

    async def use(client: BlsClient) -> list[object]:
        return [await client.histogram(IDENTITY, "", WINDOW) for _ in range(2)]

    assert bench.run(use) == [Histogram(600.0, (), 0), Histogram(600.0, (), None)]
    with pytest.raises(MalformedAnswer):
        Bench(lambda _: _json({})).run(lambda c: c.histogram(IDENTITY, "", WINDOW))
    with pytest.raises(MalformedAnswer, match=r"histogram\[0\]\.doc_count"):
        Bench(lambda _: _json({"searchStatistic": {"histogram": [{"key": 1}]}})).run(
            lambda c: c.histogram(IDENTITY, "", WINDOW)
        )


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"", 204),
        answer(b"", 200),
        _json({"success": True, "code": "success", "message": ""}),
        answer(b"deleted", 200),
        _error("DownloadTaskNotFound", 404),
        answer(b"", 404),
    ],
)
def test_deleting_is_idempotent(reply: bytes) -> None:
    """2xx with or without a body, and 404, mean that the task is gone."""
    bench = Bench(lambda _: reply)
    bench.run(lambda c: c.delete(UUID))
    assert [(seen.method, seen.target) for seen in bench.seen] == [
        ("DELETE", f"/v2/logstore/download/{UUID}")
    ]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (_error("AccessDenied", 403), Refused),
        (_error("InternalError", 500), ServiceFault),
        (_json({"success": False, "code": "InternalError", "message": ""}), ServiceFault),
        (answer(b"", 301), MalformedAnswer),
        (answer(b"<html>please log in</html>", 200), MalformedAnswer),
        (None, Unreachable),
    ],
)
def test_a_failed_delete_is_said_and_not_repeated(reply: bytes | None, kind: type[ServiceError]) -> None:
    """Only reads are repeated inside."""
    bench = Bench(lambda _: reply)
    with pytest.raises(kind):
        bench.run(lambda c: c.delete(UUID))
    assert len(bench.seen) == 1


def test_a_page_of_tasks_is_read_as_served() -> None:
    """Duplicates, foreign and half-empty tasks stay; total, page size and the server's time come along."""
    items = [TASK, TASK, {"uuid": "foreign", "state": "PONDERING", "writtenRows": None, "createdTime": ""}]
    body = {"success": True, "result": {"tasks": items, "totalCount": "3", "pageSize": 2}}
    bench = Bench(lambda _: _json(body, date="Thu, 15 Jan 2026 08:30:00 GMT"))
    page = bench.run(
        lambda c: c.list_page(
            project="shop", logstore="web", page_no=3, page_size=2, order_by="updatedTime", descending=False
        )
    )
    assert (page.total, page.page_size, page.server_at) == (3, 2, 1_768_465_800.0)
    assert [task.uuid for task in page.tasks] == [UUID, UUID, "foreign"]
    assert page.tasks[2] == RemoteTaskStatus("foreign", state="PONDERING")
    assert json.loads(bench.seen[0].body) == {
        "project": "shop",
        "logStoreName": "web",
        "orderBy": "updatedTime",
        "order": "asc",
        "pageNo": 3,
        "pageSize": 2,
    }


def test_a_list_without_tasks_is_empty_only_when_it_says_so() -> None:
    """``tasks`` may be missing where the total is 0; elsewhere its absence proves nothing."""
    use: Callable[[BlsClient], Awaitable[Any]] = lambda c: c.list_page(
        project="p", logstore="l", page_no=1, page_size=1
    )
    assert Bench(lambda _: _enveloped({"total": 0})).run(use).tasks == ()
    with pytest.raises(MalformedAnswer):
        Bench(lambda _: _enveloped({"total": 4})).run(use)


@pytest.mark.parametrize("link", ["", "ftp://x/y", "bos:/x", None, 5])
def test_a_link_must_be_an_address(link: object) -> None:
    """A link that leads nowhere is malformed, and not shown."""
    with pytest.raises(MalformedAnswer, match="link"):
        Bench(lambda _: _enveloped({"link": link})).run(lambda c: c.link(UUID))


def test_metadata_is_read() -> None:
    """Retention, index and creation time of a logstore come in our types."""
    body = {"retention": "30", "indexEnabled": "false", "creationDateTime": "2025-11-02T01:02:03.5+08:00"}
    found = Bench(lambda _: _json(body)).run(lambda c: c.describe_logstore("shop", "web"))
    assert found == LogStore("shop", "web", 30, index_enabled=False, created_at=1_762_016_523.5)


def test_lists_are_walked_to_their_end() -> None:
    """All pages are asked for, whatever size the server gives them; each name counts once."""
    names = [f"s{n}" for n in range(7)]

    def reply(seen: Seen) -> bytes:
        at = (int(dict(parse_query(seen.raw_query))["pageNo"]) - 1) * 3
        items = [{"logStreamName": name} for name in [*names[at : at + 3], "s0"]]
        return _json({"result": items, "totalCount": 7})

    bench = Bench(reply)
    assert bench.run(lambda c: c.list_logstreams("shop", "web")) == tuple(names)
    assert len(bench.seen) == 3


def test_a_list_that_repeats_itself_ends() -> None:
    """A server that ignores the page number cannot make us ask for ever."""
    bench = Bench(
        lambda _: _json({"result": [{"logStoreName": "a"}, {"logStoreName": ""}], "totalCount": 99})
    )
    found = bench.run(lambda c: c.list_logstores("shop"))
    assert [store.name for store in found] == ["a"]
    assert len(bench.seen) == 2


@pytest.mark.parametrize(
    ("reply", "index"),
    [
        (_json({"fulltext": True}), True),
        (_json({"fulltext": False, "fields": {"a": {"type": "long"}}}), True),
        (_json({"fulltext": False, "fields": {}}), False),
        (_json({}), None),
        (_error("IndexNotFound", 404), False),
        (_error("InvalidParameter", 400), None),
        (_error("AccessDenied", 403), None),
    ],
)
def test_whether_there_is_an_index(reply: bytes, index: bool | None) -> None:
    """Yes, no, or the service does not say."""
    assert Bench(lambda _: reply).run(lambda c: c.has_index("shop", "web")) is index


@pytest.mark.parametrize("reply", [_error("LogStoreNotFound", 404), _error("Unauthorized", 401)])
def test_asking_for_the_index_of_nothing_is_refused(reply: bytes) -> None:
    """A missing logstore is no logstore without an index."""
    with pytest.raises(Refused):
        Bench(lambda _: reply).run(lambda c: c.has_index("shop", "web"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_cannot_become_another_call(name: str) -> None:
    """Names that would change the path are refused before anything is sent."""
    bench = Bench(lambda _: _json({}))
    with pytest.raises(Refused):
        bench.run(lambda c: c.describe_logstore("shop", name))
    assert bench.seen == []


def test_odd_names_reach_the_server_whole() -> None:
    """Every other name is encoded so that the server decodes what was meant."""
    name = "a b+%2F日志~'?#"
    bench = Bench(lambda _: _json({}))
    bench.run(lambda c: c.describe_logstore("p", name))
    assert unquote(bench.seen[0].raw_path) == f"/v1/logstore/{name}"


def test_errors_do_not_repeat_secrets() -> None:
    """Whatever the service echoes, no error of ours holds a key, a token or a signature."""
    secrets = (TEMPORARY.secret_access_key.reveal(), (TEMPORARY.security_token or Secret("")).reveal())

    def reply(seen: Seen) -> bytes:
        echoed = (
            f"{seen.headers['authorization']} key={secrets[0]} x-bce-security-token:{secrets[1]} {secrets[1]}"
        )
        return _json({"code": "SignatureDoesNotMatch", "message": echoed}, 400)

    with pytest.raises(Refused) as caught:
        Bench(reply, StaticCredentials(TEMPORARY)).run(lambda c: c.describe(UUID))
    for secret in (*secrets, "/host;"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["", "bls.example", "ftp://h", "http://u:p@h", "http://h?x=1", "http://[", "http://"]
)
def test_an_endpoint_must_be_an_address(endpoint: str) -> None:
    """An endpoint that cannot be called is a usage error, told before anything is contacted."""
    with pytest.raises(UsageError):
        Session(
            ServiceSpec("", endpoint),
            credentials=StaticCredentials(KEYS),
            gate=RecordingGate(),
            clock=StillClock(),
            rng=CountingRng(),
        )


def test_a_ca_file_must_hold_certificates(tmp_path: Path) -> None:
    """A missing or broken ca_file is a usage error that names it; none means the system's authorities."""
    (tmp_path / "broken.pem").write_text("no certificate", encoding="ascii")
    assert tls_context("") is None
    for name in ("absent.pem", "broken.pem"):
        with pytest.raises(UsageError, match=name):
            tls_context(str(tmp_path / name))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (TimeoutError(), "no answer in time"),
        (aiohttp.ClientPayloadError("https://h/?authorization=x"), "broke off"),
        (aiohttp.ServerDisconnectedError("https://h/?authorization=x"), "without an answer"),
        (aiohttp.InvalidURL("https://h/?authorization=x"), "no usable HTTP"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (ssl.SSLCertVerificationError(1, "x"), "not trusted"),
    ],
)
def test_transport_faults_are_worded_without_addresses(fault: Exception, said: str) -> None:
    """Each way of not being reached has its own words, none with the address of a link."""
    error = unreachable("the file", "https://h", fault)
    assert said in str(error)
    assert "authorization" not in str(error)


def test_proxies_come_from_the_environment() -> None:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY mean what they mean everywhere."""
    from yarl import URL

    proxies = Proxies.from_environment(
        {
            "HTTPS_PROXY": "http://upper:1",
            "https_proxy": "lower:2",
            "ALL_PROXY": "http://all:3",
            "NO_PROXY": "internal, .corp, *.lan,10.0.0.0/8,[::1],h:81",
        }
    )

    def through(url: str) -> str:
        proxy = proxies.for_url(URL(url))
        return str(proxy.url) if proxy else ""

    assert through("https://a.example") == "http://lower:2"
    assert through("http://a.example") == "http://all:3"
    for url in (
        "http://internal",
        "https://x.corp",
        "http://y.z.lan",
        "http://10.1.2.3",
        "http://[::1]/",
        "http://h:81",
    ):
        assert through(url) == ""
    assert through("http://h:82") != ""
    assert through("http://notinternal") != ""
    assert through("ws://a.example") == ""
    assert Proxies.from_environment({"http_proxy": "p:1", "no_proxy": "*"}).for_url(URL("http://x")) is None
    assert Proxies.from_environment({}).for_url(URL("http://x")) is None
    for bad in ("socks5://h:1", "http://", "http://[x", "http://u:secret@"):
        with pytest.raises(UsageError) as caught:
            Proxies.from_environment({"http_proxy": bad})
        assert "secret" not in str(caught.value)
    assert "pw" not in repr(Proxies.from_environment({"http_proxy": "http://me:pw@h:1"}))

"""API answers at their worst, byte by byte over real sockets: each call ends as a value or as one of our
errors, soon, in little memory, and a create is sent once.

Answers without an end meet the production deadlines divided by a hundred.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import traceback
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple, dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from orchestrator.core.job import JobIdentity, Order, ServedFormat, ServiceSpec
from orchestrator.core.model import CreateRequest
from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials, parse_authorization
from orchestrator.core.window import Window
from orchestrator.errors import (
    CreateUncertain,
    MalformedAnswer,
    Refused,
    ServiceError,
    ServiceFault,
    Throttled,
    Unreachable,
)
from orchestrator.remote import client as client_module
from orchestrator.remote.client import ATTEMPTS, BlsClient, Deadlines
from orchestrator.remote.credentials import StaticCredentials
from orchestrator.remote.session import LARGEST_ANSWER_BYTES, Session
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

KEYS = Credentials("AKOFTHETEST0001", Secret("secret-of-the-test"), Secret("session-token-of-the-test"))
UUID = "5b0c7f0e-52a1-4d0f-9f6e-0d9a64f2a7c1"
WINDOW = Window(1_768_348_800, 1_768_349_400)
IDENTITY = JobIdentity("bj", "shop", "web", "", "match *")
REQUEST = CreateRequest("o-0123456789abcdef-7", IDENTITY, "", WINDOW, ServedFormat.JSON, 1_000_000, Order.ASC)
BUSY_MACHINE_S = 10.0
USUAL = Deadlines()
HURRIED = Deadlines(*(seconds / 100 for seconds in astuple(Deadlines())))

Use = Callable[[BlsClient], Awaitable[Any]]
CALLS: dict[str, Use] = {
    "create": lambda c: c.create(REQUEST, send_within_s=5),
    "describe": lambda c: c.describe(UUID),
    "list": lambda c: c.list_page(project="shop", logstore="web", page_no=1, page_size=100),
    "link": lambda c: c.link(UUID),
    "delete": lambda c: c.delete(UUID),
    "count": lambda c: c.count(IDENTITY, "", WINDOW),
    "histogram": lambda c: c.histogram(IDENTITY, "", WINDOW),
    "rows": lambda c: c.rows(IDENTITY, "", WINDOW, limit=10),
    "describe logstore": lambda c: c.describe_logstore("shop", "web"),
    "list logstores": lambda c: c.list_logstores("shop"),
    "list streams": lambda c: c.list_logstreams("shop", "web"),
    "index": lambda c: c.has_index("shop", "web"),
}
LENIENT = {"delete", "describe logstore", "list logstores", "list streams", "index"}
"""Calls whose answers may lack everything: nothing but their status has to be understood."""
TASK = {
    "uuid": UUID,
    "name": "o-0123456789abcdef-7",
    "project": "shop",
    "logStoreName": "web",
    "logStreamName": "",
    "query": "match *",
    "queryStartTime": "2026-01-14T00:00:00Z",
    "queryEndTime": "2026-01-14T00:10:00Z",
    "format": "json",
    "limit": 1_000_000,
    "order": "asc",
    "state": "SUCCESS",
    "failedCode": "",
    "failedMessage": "",
    "writtenRows": 5,
    "fileDir": "",
    "fileName": "x",
    "execStartTime": "2026-01-15T08:30:04Z",
    "execEndTime": "2026-01-15T08:31:57Z",
    "createdTime": "2026-01-15T08:30:01Z",
    "updatedTime": "2026-01-15T08:31:57Z",
}
GOOD: dict[str, dict[str, Any]] = {
    "create": {"success": True, "code": "OK", "message": "", "result": {"uuid": UUID}},
    "describe": {"success": True, "code": "OK", "message": "", "result": {"task": TASK}},
    "list": {
        "success": True,
        "result": {"tasks": [TASK], "total": 1, "pageNo": 1, "pageSize": 10, "order": "desc"},
    },
    "link": {"success": True, "result": {"fileDir": "", "fileName": "x", "link": "https://b.invalid/x?y=z"}},
    "delete": {"success": True, "code": "success", "message": ""},
    "count": {
        "resultSet": {"queryType": "sql", "columns": ["c"], "rows": [[7]], "isTruncated": False},
        "datasetScanInfo": {"isTruncated": False, "statistics": {"scanCount": 7}},
    },
    "rows": {
        "resultSet": {"columns": ["@timestamp", "@raw"], "rows": [[1768348800000, "x"]], "tags": [{"a": 1}]},
        "datasetScanInfo": {"isTruncated": False},
        "nextMarker": "m",
    },
    "histogram": {
        "searchInfo": {"hits": 3, "isTruncated": False},
        "searchStatistic": {"interval": 1000, "histogram": [{"key": 1768348800000, "doc_count": 3}]},
    },
    "describe logstore": {"project": "shop", "logStoreName": "web", "retention": 30, "indexEnabled": True},
    "list logstores": {"totalCount": 1, "result": [{"logStoreName": "web", "retention": 30}]},
    "list streams": {"totalCount": 1, "result": [{"logStreamName": "app"}]},
    "index": {"fulltext": True, "fields": {"a": {"type": "long"}}},
}


@dataclass
class Outcome:
    """What came of one call. ``value`` means nothing when there is an error."""

    error: ServiceError | None
    value: Any
    took_s: float
    requests: list[Seen] = field(default_factory=list)


@asynccontextmanager
async def clients(origin: str, deadlines: Deadlines = USUAL, clock: StillClock | None = None) -> Any:
    session = Session(
        ServiceSpec("", origin),
        credentials=StaticCredentials(KEYS),
        gate=RecordingGate(),
        clock=clock or StillClock(),
        rng=CountingRng(),
    )
    client = BlsClient(session, deadlines=deadlines)
    try:
        yield client
    finally:
        await client.close()


async def _called(name: str, reply: Callable[[Seen], Reply], deadlines: Deadlines) -> Outcome:
    async with loopback(reply) as here, clients(here.origin, deadlines) as client:
        begun = time.monotonic()
        value, error = None, None
        try:
            async with asyncio.timeout(30):
                value = await CALLS[name](client)
        except ServiceError as caught:
            error = caught
        return Outcome(error, value, time.monotonic() - begun, list(here.seen))


def called(name: str, reply: Reply, deadlines: Deadlines = USUAL) -> Outcome:
    """One call against a server that always answers so."""
    return asyncio.run(_called(name, lambda _: reply, deadlines))


def all_called(reply: Reply, deadlines: Deadlines = USUAL) -> dict[str, Outcome]:
    """Every call at the same time, each against a server of its own."""

    async def together() -> list[Outcome]:
        return await asyncio.gather(*(_called(name, lambda _: reply, deadlines) for name in CALLS))

    return dict(zip(CALLS, asyncio.run(together()), strict=True))


def sent(head: bytes, block: bytes = b"", times: int = 1, pause_s: float = 0.0) -> Reply:
    """``head``, then ``block`` again and again, byte by byte as given; then the connection is closed."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(times):
            writer.write(block)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
        await writer.drain()

    return write


async def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


OK = b"HTTP/1.1 200 OK\r\n"
FOREVER = 10**9
DEPTH = 100_000

NO_ANSWER: dict[str, Reply] = {
    "null": answer(b"null"),
    "a list": answer(b"[]"),
    "a text": answer(b'"x"'),
    "beyond floats": answer(b"1e400"),
    "NaN": answer(b'{"success": true, "result": NaN}'),
    "result null": answer(b'{"success": true, "result": null}'),
    "result text": answer(b'{"success": true, "result": "x"}'),
    "success twice": answer(b'{"success": true, "success": false}'),
    "lists in lists": answer(b'{"result":' + b"[" * DEPTH + b"]" * DEPTH + b"}"),
    "objects in objects": answer(b'{"a":' * DEPTH + b"1" + b"}" * DEPTH),
    "no UTF-8": answer(b'{"result": {"uuid": "\xff\xfe"}}'),
    "page 200": answer(b"<html>please log in</html>", content_type="text/html"),
    "nothing 200": answer(b""),
    "nothing 201": answer(b"", 201),
    "nothing 204": answer(b"", 204),
    "no length": sent(OK + b"Connection: close\r\n\r\n{}"),
    "HTTP/1.0": sent(b"HTTP/1.0 200 OK\r\n\r\n{}"),
    "odd encoding": answer(b"{}", content_encoding="bogus"),
    "odd transfer": sent(OK + b"Transfer-Encoding: bogus\r\n\r\n{}"),
    "odd cookies": sent(OK + b"Set-Cookie: \x01=;;;=\r\nSet-Cookie: a[b]=c\r\nContent-Length: 2\r\n\r\n{}"),
    "odd date": answer(b"{}", date="Fri, 31 Dec 99999999999999999999 23:59:59 GMT"),
}
"""Answers that are HTTP and say success, but not what was asked for."""

BROKEN: dict[str, Reply] = {
    "page 502": answer(b"<html>bad gateway</html>", 502),
    "shorter than its length": sent(OK + b"Content-Length: 100\r\n\r\n{}"),
    "longer than its length": sent(OK + b"Content-Length: 1\r\n\r\n{}"),
    "length below zero": sent(OK + b"Content-Length: -2\r\n\r\n{}"),
    "length beyond numbers": sent(OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}"),
    "two lengths": sent(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "length and chunks": sent(
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunks break off": sent(OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\n{"),
    "no chunk": sent(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
    "endless trailers": sent(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000, FOREVER),
    "gzip that is none": answer(b"{}", content_encoding="gzip"),
    "brotli that is none": answer(b"{}", content_encoding="br"),
    "header of megabytes": sent(OK + b"X-A: ", b"x" * 65536, FOREVER),
    "ten thousand headers": sent(OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n{}"),
    "header without colon": sent(OK + b"garbage\r\nContent-Length: 2\r\n\r\n{}"),
    "header with NUL": sent(OK + b"X-A: \0\r\nContent-Length: 2\r\n\r\n{}"),
    "status of letters": sent(b"HTTP/1.1 abc OK\r\n\r\n"),
    "status of five digits": sent(b"HTTP/1.1 20000 OK\r\n\r\n"),
    "status 000": sent(b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "status 999": answer(b"{}", 999),
    "status line of megabytes": sent(b"HTTP/1.1 200 ", b"x" * 65536, FOREVER),
    "another protocol": sent(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/0.9": sent(b"{}"),
    "HTTP/2": sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "switching protocols": sent(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n{}"),
    "hangs up": None,
    "resets": _reset,
    "elsewhere": answer(b"", 302, location="http://127.0.0.1:1/"),
    "elsewhere by ftp": answer(b"", 307, location="ftp://127.0.0.1/"),
    "elsewhere on this machine": answer(b"", 308, location="file:///etc/passwd"),
    "elsewhere nowhere": answer(b"", 301),
    "elsewhere in a circle": answer(b"", 303, location="/"),
    "not modified": answer(b"", 304),
}
"""Answers that cannot be read to their end, or say that something failed on the way."""

ENDLESS: dict[str, Reply] = {
    "silence": sent(b"", b"", FOREVER, 0.05),
    "head, a byte at a time": sent(OK + b"X-A: ", b"x", FOREVER, 0.02),
    "head, a line at a time": sent(OK, b"X-A: b\r\n", FOREVER, 0.05),
    "body, a byte at a time": sent(OK + b"Content-Length: 1000000\r\n\r\n", b"[", FOREVER, 0.02),
    "chunks of a byte": sent(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n", FOREVER, 0.02),
    "refusal without end": sent(b"HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\n", b"x", FOREVER, 0.02),
    "continue, for ever": sent(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 10, FOREVER, 0.005),
}
"""Answers whose next byte always comes, and never the last."""


def names_what_and_where(name: str, error: ServiceError) -> bool:
    """Every message begins with the call, by the service's name for it or as it was sent."""
    first = str(error).split(" ", 1)[0].rstrip(":")
    return bool(error.hint) and (first in ("GET", "POST", "DELETE") or first[0].isupper())


def is_ended(name: str, found: Outcome, *, may_pass: bool) -> None:
    """The call ended as it must, after as many requests as it may make."""
    if found.error is None:
        assert may_pass, f"{name}: {found.value!r}"
    else:
        assert names_what_and_where(name, found.error), str(found.error)
        assert "Traceback" not in str(found.error)
        assert len(str(found.error)) < 1000
    once = name in ("create", "delete")
    assert len(found.requests) <= (1 if once else ATTEMPTS)
    if name == "create":
        assert type(found.error) in (CreateUncertain, Throttled), repr(found.error)


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_a_success_that_says_nothing_is_no_success(fault: str) -> None:
    """A 2xx that does not hold what was asked for is MalformedAnswer, and doubt about a create."""
    for name, found in all_called(NO_ANSWER[fault]).items():
        is_ended(name, found, may_pass=name in LENIENT)
        if found.error is not None and name != "create":
            assert isinstance(found.error, MalformedAnswer | ServiceFault)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_answer_is_an_error_of_ours(fault: str) -> None:
    """Whatever is wrong with bytes, lengths, headers or the way: an error that may pass, doubt about a
    create, and no request ever leaves for another place."""
    for name, found in all_called(BROKEN[fault]).items():
        is_ended(name, found, may_pass=False)
        assert isinstance(found.error, Unreachable | MalformedAnswer | ServiceFault | CreateUncertain)
        assert not any(seen.raw_path == "/" for seen in found.requests)


@pytest.mark.parametrize("fault", ENDLESS)
def test_an_endless_answer_ends(fault: str) -> None:
    """A trickle puts no deadline off: in production terms, every call is over within some two minutes."""
    for name, found in all_called(ENDLESS[fault], HURRIED).items():
        is_ended(name, found, may_pass=False)
        assert found.took_s < 1.35 + BUSY_MACHINE_S, name


def test_production_deadlines_are_sensible() -> None:
    """A query is waited for longer than the service works on it, and no call without an answer holds anybody
    up for much longer than two minutes."""
    usual = Deadlines()
    assert usual.query_s > 60
    assert usual.answer_s <= 30
    assert usual.silence_s + max(usual.answer_s, usual.query_s) <= 140
    assert usual.total_s <= 180


# --- size


def _measured(name: str, reply: Reply) -> tuple[Outcome, int]:
    """The outcome, and the most memory that was in use meanwhile, the server's own included."""
    tracemalloc.start()
    try:
        found = called(name, reply, Deadlines())
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HUGE = 200 << 20
BLOCK = b"[]," * 20_000


@pytest.mark.parametrize("name", ["create", "describe", "list", "link", "delete", "count"])
def test_a_huge_answer_is_not_read(name: str) -> None:
    """Two hundred megabytes where some bytes are expected: no more than the cap is taken in, then it is
    malformed."""
    head = OK + b"Content-Length: %d\r\n\r\n[" % HUGE
    found, peak_bytes = _measured(name, sent(head, BLOCK, HUGE // len(BLOCK)))
    is_ended(name, found, may_pass=False)
    assert f"more than {LARGEST_ANSWER_BYTES} bytes" in str(found.error)
    assert peak_bytes < 4 * LARGEST_ANSWER_BYTES


def test_a_bomb_is_not_unpacked() -> None:
    """A compressed answer counts with what it expands to."""
    bomb = gzip.compress(b" " * HUGE, 9)
    found, peak_bytes = _measured("delete", answer(bomb, content_encoding="gzip"))
    assert isinstance(found.error, MalformedAnswer)
    assert peak_bytes < 6 * LARGEST_ANSWER_BYTES


def test_the_densest_answer_has_its_price() -> None:
    """What is just small enough to be read costs at most forty times its size in memory, and no list in it is
    looked at that was not asked for."""
    body = b'{"x":[' + b"[]," * ((LARGEST_ANSWER_BYTES - 20) // 3) + b"0]}"
    found, peak_bytes = _measured("delete", answer(body))
    assert found.error is None
    assert peak_bytes < 40 * LARGEST_ANSWER_BYTES


@pytest.mark.parametrize("status", [401, 500])
def test_a_huge_refusal_is_a_refusal(status: int) -> None:
    """The status of an answer is believed whatever follows it, and what follows is not read to its end."""
    head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, HUGE)
    found, peak_bytes = _measured("delete", sent(head, BLOCK, HUGE // len(BLOCK)))
    assert isinstance(found.error, Refused if status == 401 else ServiceFault)
    assert found.error.status == status
    assert peak_bytes < 2 * LARGEST_ANSWER_BYTES


# --- fields

ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    "\x00\x1b[31m\u2028",
    "9" * 5000,
    0,
    -1,
    2**70,
    1.5,
    -0.0,
    1e308,
    True,
    [],
    [[]],
    {},
    {"a": {"b": []}},
    "x" * 100_000,
)


def _mutants(good: Any) -> Iterator[Any]:
    """``good`` with one value at a time replaced by an odd one, or left out; at every depth."""
    yield from ODD
    if isinstance(good, dict):
        for key, value in good.items():
            yield {name: other for name, other in good.items() if name != key}
            for odd in _mutants(value):
                yield {**good, key: odd}
    elif isinstance(good, list):
        for at, value in enumerate(good):
            for odd in _mutants(value):
                yield [*good[:at], odd, *good[at + 1 :]]
        yield good * 2


async def _told(call: Awaitable[Any]) -> str:
    """What the error of a call says, "" when there is none; errors that are not ours pass through."""
    try:
        await call
    except ServiceError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", GOOD)
def test_no_odd_field_is_a_crash(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field of each answer, missing, null, of another type, huge or negative: a value or an error of
    ours; never a second create."""
    monkeypatch.setattr(client_module, "ATTEMPTS", 1)
    bodies = [json.dumps(mutant).encode() for mutant in _mutants(GOOD[name])]

    async def each() -> None:
        left = iter(bodies)
        async with (
            loopback(lambda _: answer(next(left, b"{}"))) as here,
            clients(here.origin, Deadlines()) as client,
        ):
            for body in bodies:
                before = len(here.seen)
                told = await _told(CALLS[name](client))
                assert len(told) < 1000, body[:200]
                assert told.isprintable()
                assert len(here.seen) == before + 1 or name.startswith("list ")

    asyncio.run(asyncio.wait_for(each(), 120))


@pytest.mark.parametrize("name", ["create", "describe", "list", "link", "count", "histogram"])
def test_a_good_answer_is_read(name: str) -> None:
    """The answers that the mutants are made of are understood."""
    assert called(name, answer(json.dumps(GOOD[name]).encode())).error is None


def test_the_state_of_another_remote_task_is_not_believed() -> None:
    """A describe that is answered for another uuid is no answer."""
    other = {"result": {"task": {**TASK, "uuid": "another"}}}
    found = called("describe", answer(json.dumps(other).encode()))
    assert isinstance(found.error, MalformedAnswer)
    assert "another remote task" in str(found.error)


# --- pace and clocks


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("-5", 0.0),
        ("1000000000000", 300.0),
        ("inf", 300.0),
        ("9" * 5000, 300.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Thu, 15 Jan 2026 08:29:00 GMT", 0.0),
        ("Thu, 15 Jan 2026 08:30:30 GMT", 30.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 300.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_an_absurd_retry_after_is_bounded(retry_after: str, seconds: float | None, status: int) -> None:
    """Nobody is made to wait longer than five minutes, and what is no time asks for nothing."""
    reply = answer(b"", status, retry_after=retry_after, date="Thu, 15 Jan 2026 08:30:00 GMT")
    found = called("delete", reply)
    assert isinstance(found.error, Throttled if status == 429 else ServiceFault)
    assert found.error.retry_after_s == seconds


class Judge:
    """A service that judges signatures by a clock of its own and may say another one in ``Date``."""

    def __init__(self, clock: StillClock, *, ahead_s: float = 0.0) -> None:
        self.clock = clock
        self.ahead_s = ahead_s
        self.date = ""
        self.gateway = b""

    def __call__(self, seen: Seen) -> Reply:
        if self.gateway:
            return self.gateway
        given = parse_authorization(seen.headers["authorization"])
        assert given is not None
        dated = {"date": self.date} if self.date else {}
        if abs(given.timestamp_s - self.clock.at - self.ahead_s) > 900:
            body = b'{"code": "RequestExpired", "message": "", "requestId": "r"}'
            return answer(body, 400, **dated)
        return answer(json.dumps(GOOD["describe"]).encode(), **dated)


def _judged(judge: Judge, use: Callable[[BlsClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with loopback(judge) as here, clients(here.origin, Deadlines(), judge.clock) as client:
            await use(client)

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize(
    "day", ["Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 2050 00:00:00 GMT", "x" * 5000]
)
def test_a_false_date_poisons_no_clock(day: str) -> None:
    """A service whose Date is not the clock it judges by is understood again after one refusal, and goes on
    being understood."""
    judge = Judge(StillClock())
    judge.date = day

    async def use(client: BlsClient) -> None:
        for _ in range(10):
            assert (await client.describe(UUID)).uuid == UUID

    _judged(judge, use)


def test_the_date_of_a_gateway_is_not_learned() -> None:
    """Pages that are no answer of the service move no clock: a create signed by theirs would hold for too
    long."""
    judge = Judge(StillClock())
    judge.gateway = answer(b"<html>", 502, date=formatdate(judge.clock.at + 600, usegmt=True))

    async def use(client: BlsClient) -> None:
        with pytest.raises(ServiceFault):
            await client.describe(UUID)
        assert client.server_offset_s == 0.0

    _judged(judge, use)


def test_a_clock_that_is_really_wrong_is_corrected_again_and_again() -> None:
    """The server's clock may be hours away and jump; each jump costs one refused call at most."""
    judge = Judge(StillClock(), ahead_s=7200.0)

    async def use(client: BlsClient) -> None:
        for ahead_s in (7200.0, -7200.0, 0.0, 86_400.0):
            judge.ahead_s = ahead_s
            judge.date = formatdate(judge.clock.at + ahead_s, usegmt=True)
            assert (await client.describe(UUID)).uuid == UUID

    _judged(judge, use)


def test_a_service_that_accepts_no_clock_is_a_refusal() -> None:
    """Neither its Date nor our time helps: the call is refused, a create too, instead of being tried for
    ever."""
    body = b'{"code": "RequestExpired", "message": "", "requestId": "r"}'
    dates = iter(range(1, 100))

    def reply(_: Seen) -> Reply:
        return answer(body, 400, date=formatdate(StillClock().at + next(dates) * 10_000, usegmt=True))

    async def main() -> None:
        async with loopback(reply) as here, clients(here.origin) as client:
            kinds = []
            for _ in range(5):
                with pytest.raises((Throttled, Refused)) as caught:
                    await client.create(REQUEST, send_within_s=5)
                kinds.append(type(caught.value))
            assert kinds == [Throttled, Throttled, Refused, Refused, Refused]
            assert len(here.seen) == 5

    asyncio.run(main())


# --- whose answer is it?


@pytest.mark.parametrize("late_s", [0.0, 0.05])
def test_a_late_answer_is_not_taken_for_the_next_one(late_s: float) -> None:
    """What a server sends without being asked, at once or while a connection rests, answers no later
    call: neither a count nor the uuid of a create."""
    stray = answer(json.dumps({**GOOD["count"], "result": {"uuid": "stray"}}).encode())

    def reply(seen: Seen) -> Reply:
        if "DownloadTask" in seen.target or seen.method == "POST":
            return answer(json.dumps(GOOD["create"]).encode())
        rows = {"resultSet": {"rows": [[8]]}}
        return answer(json.dumps(rows).encode())

    async def main() -> None:
        async with loopback(_then(reply, stray, late_s)) as here, clients(here.origin, Deadlines()) as client:
            for _ in range(3):
                assert await client.count(IDENTITY, "", WINDOW) == 8
                await asyncio.sleep(3 * late_s)
                assert (await client.create(REQUEST, send_within_s=5)).uuid == UUID
                await asyncio.sleep(3 * late_s)
            assert len(here.seen) == 6

    asyncio.run(asyncio.wait_for(main(), 30))


def _then(reply: Callable[[Seen], Reply], stray: bytes, late_s: float) -> Callable[[Seen], Reply]:
    """``reply``, and so much later another answer on the same connection, which stays open."""

    def both(seen: Seen) -> Reply:
        async def write(writer: asyncio.StreamWriter) -> None:
            first = reply(seen)
            assert isinstance(first, bytes)
            writer.write(first)
            await writer.drain()
            await asyncio.sleep(late_s)
            writer.write(stray)
            await writer.drain()
            await asyncio.sleep(0.5)

        return write

    return both


def test_no_redirect_leads_a_signature_away() -> None:
    """Wherever an answer points: nobody else is asked, and the endpoint is not asked with another path."""

    async def main() -> None:
        async with loopback(lambda _: answer(b"{}")) as thief:
            for status in (301, 302, 303, 307, 308):
                away = answer(b"", status, location=f"{thief.origin}/stolen")
                async with loopback(lambda _, away=away: away) as here, clients(here.origin) as client:
                    for name, call in CALLS.items():
                        with pytest.raises(ServiceError, match="redirect") as caught:
                            await call(client)
                        assert (type(caught.value) is CreateUncertain) == (name == "create")
                    assert all(seen.raw_path != "/stolen" for seen in here.seen)
            assert thief.connections == 0

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\0" * 5000, b""]
)
def test_garbage_in_place_of_tls_is_unreachable(greeting: bytes) -> None:
    """A server that speaks no TLS never saw a request: not even a create is in doubt."""
    greeted: set[asyncio.Task[None]] = set()

    async def greet(writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.add(asyncio.ensure_future(greet(writer)))

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server, clients(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
            for call in CALLS.values():
                with pytest.raises(Unreachable):
                    await call(client)
        await asyncio.gather(*greeted)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_server_that_is_silent_instead_of_tls_is_given_up() -> None:
    """A handshake that never comes ends by the same deadline as an answer."""

    async def main() -> None:
        async with loopback(lambda _: answer(b"{}")) as here:
            async with clients(here.origin.replace("http:", "https:"), HURRIED) as client:
                ends = await asyncio.gather(*(_told(call(client)) for call in CALLS.values()))
            assert all("no answer in time" in told for told in ends), ends
            assert here.seen == []

    asyncio.run(asyncio.wait_for(main(), 30))


# --- what is said


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 502])
def test_no_secret_is_echoed(status: int) -> None:
    """A service that quotes our keys, our signature or its own link in any field of any answer: nothing of it
    is in the error or in what is kept."""
    link = "https://b.invalid/f?authorization=bce-auth-v1%2FAK%2Fhidden"
    secrets = (
        "AKOFTHETEST0001",
        "secret-of-the-test",
        "session-token-of-the-test",
        "hidden",
        "bce-auth-v1/A",
    )

    def reply(seen: Seen) -> Reply:
        said = f"{link} {KEYS.access_key_id} {seen.headers} secret-of-the-test\x1b[2J"
        task = {**TASK, "state": said, "failedCode": said, "failedMessage": said}
        body = {"success": False, "code": said, "message": said, "requestId": KEYS.access_key_id, "x": task}
        if status == 200 and seen.target.endswith(UUID) and seen.method == "GET":
            body = {"result": {"task": task}}
        return answer(json.dumps(body).encode(), status, x_bce_request_id="session-token-of-the-test")

    async def main() -> list[Outcome]:
        return await asyncio.gather(*(_called(name, reply, USUAL) for name in CALLS))

    for name, found in zip(CALLS, asyncio.run(main()), strict=True):
        told = repr(found.value)
        if found.error is not None:
            error = found.error
            told += repr((error, error.message, error.hint, error.request_id, error.service_code))
            told += "".join(traceback.format_exception(error))
        assert [word for word in secrets if word in told] == [], name
        assert "\x1b" not in told
        assert "\\x1b" not in told


def test_every_connection_of_a_hostile_server_is_given_back() -> None:
    """After hundreds of broken answers a call works as the first one did: nothing was leaked or left
    waiting."""
    faults = [*NO_ANSWER.values(), *BROKEN.values()]
    servers: list[Loopback] = []

    async def main() -> None:
        left: list[Reply] = [fault for fault in faults for _ in range(4)]
        good = answer(json.dumps(GOOD["describe"]).encode())
        async with loopback(lambda _: left.pop() if left else good) as here, clients(here.origin) as client:
            servers.append(here)
            while left:
                try:
                    await client.describe(UUID)
                except ServiceError:
                    continue
            assert (await client.describe(UUID)).state == "SUCCESS"

    asyncio.run(asyncio.wait_for(main(), 60))
    assert servers[0].connections >= len(BROKEN)

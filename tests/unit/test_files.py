"""Fetching a file by its link, against servers that behave well, oddly and badly."""

from __future__ import annotations

import asyncio
import gzip
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.redact import PresignedLink
from orchestrator.errors import FileMissing, LinkRefused, ServiceError, ServiceFault, Unreachable
from orchestrator.ports.control import Family
from orchestrator.ports.service import FileAnswer, FileSource
from orchestrator.remote.files import HttpFileSource, Patience
from orchestrator.remote.proxies import Proxies
from tests.unit.loopback import Loopback, RecordingGate, Reply, Seen, answer, loopback

BODY = bytes(range(256)) * 40
QUERY = "authorization=bce-auth-v1%2FAK%2f2026-01-15T08%3A30%3A00Z%2F1800%2F%2Fcafe&x=~a+b%7E"
SIGNED = f"/dir//a/../%7efile%2Bn.json?{QUERY}"


def _fetch(
    reply: Callable[[Seen], Reply],
    *,
    target: str = SIGNED,
    offset_bytes: int = 0,
    etag: str = "",
    source: Callable[[str], HttpFileSource] = lambda _: HttpFileSource(),
    server: list[Loopback] | None = None,
) -> tuple[FileAnswer, bytes]:
    """What came of one GET: the answer and its whole body."""

    async def run() -> tuple[FileAnswer, bytes]:
        async with loopback(reply) as here:
            if server is not None:
                server.append(here)
            files = source(here.origin)
            try:
                link = PresignedLink(target if "://" in target else here.origin + target)
                async with files.open(link, offset_bytes=offset_bytes, etag=etag) as found:
                    return found, b"".join([block async for block in found.chunks])
            finally:
                await files.close()

    return asyncio.run(run())


def _ranged(seen: Seen) -> bytes:
    """A server that knows ranges and a strong ETag."""
    start = int(seen.headers.get("range", "bytes=0-")[6:-1])
    if "range" not in seen.headers or seen.headers.get("if-range", '"v1"') != '"v1"':
        return answer(BODY, etag='"v1"')
    if start >= len(BODY):
        return answer(b"", 416, content_range=f"bytes */{len(BODY)}")
    return answer(BODY[start:], 206, etag='"v1"', content_range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")


def test_it_is_the_file_source_of_the_ports() -> None:
    """The HTTP source fits the port that the data plane is written against."""
    ours = HttpFileSource()
    port: FileSource = ours
    assert port is ours


def test_a_link_is_sent_byte_for_byte() -> None:
    """Path and query reach the server exactly as the link spells them, with nothing of ours but
    ``identity``."""
    server: list[Loopback] = []
    found, body = _fetch(lambda _: answer(BODY, etag='"v1"'), server=server)
    (seen,) = server[0].seen
    assert seen.target == SIGNED
    assert (found.offset_bytes, found.total_bytes, found.etag, found.content_encoding) == (
        0,
        len(BODY),
        '"v1"',
        "",
    )
    assert body == BODY
    assert seen.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "range", "if-range", "content-type"} & set(seen.headers)


def test_a_range_continues_where_it_stopped() -> None:
    """From an offset with a strong ETag only the rest comes, and the answer says where it starts."""
    server: list[Loopback] = []
    found, body = _fetch(_ranged, offset_bytes=100, etag='"v1"', server=server)
    assert server[0].seen[0].headers["range"] == "bytes=100-"
    assert server[0].seen[0].headers["if-range"] == '"v1"'
    assert (found.offset_bytes, found.total_bytes) == (100, len(BODY))
    assert body == BODY[100:]


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: answer(BODY),
        lambda seen: _ranged(seen) if "range" not in seen.headers else answer(BODY, 200, etag='"v2"'),
        lambda seen: (
            answer(BODY)
            if "range" not in seen.headers
            else answer(BODY[5:], 206, etag='"v2"', content_range=f"bytes 100-{len(BODY) - 1}/{len(BODY)}")
        ),
        lambda seen: (
            answer(BODY)
            if "range" not in seen.headers
            else answer(BODY[90:], 206, content_range="bytes 90-10239/*")
        ),
        lambda seen: answer(BODY) if "range" not in seen.headers else answer(BODY[100:], 206),
        lambda seen: (
            answer(BODY) if "range" not in seen.headers else answer(b"", 416, content_range="bytes */50")
        ),
        lambda seen: answer(BODY) if "range" not in seen.headers else answer(b"", 416),
    ],
    ids=[
        "ranges ignored",
        "if-range failed",
        "if-range ignored",
        "placed elsewhere",
        "unplaced",
        "shrunk",
        "416 bare",
    ],
)
def test_what_cannot_be_continued_begins_anew(reply: Callable[[Seen], Reply]) -> None:
    """A server that ignores the range, or whose file changed, gives the whole file, reported as starting at
    0."""
    found, body = _fetch(reply, offset_bytes=100, etag='"v1"')
    assert found.offset_bytes == 0
    assert body == BODY


def _piece(reply: Callable[[Seen], Reply], server: list[Loopback] | None = None) -> tuple[FileAnswer, bytes]:
    """What came of asking for bytes 100 to 199."""

    async def run() -> tuple[FileAnswer, bytes]:
        async with loopback(reply) as here:
            if server is not None:
                server.append(here)
            files = HttpFileSource()
            try:
                link = PresignedLink(here.origin + SIGNED)
                async with files.piece(link, start_bytes=100, end_bytes=200, etag='"v1"') as found:
                    return found, b"".join([block async for block in found.chunks])
            finally:
                await files.close()

    return asyncio.run(run())


def _part(
    start: int = 100,
    end: int = 199,
    total: str = str(len(BODY)),
    etag: str = '"v1"',
    body: bytes = BODY[100:200],
) -> bytes:
    return answer(body, 206, etag=etag, content_range=f"bytes {start}-{end}/{total}")


def test_a_piece_is_asked_for_with_both_its_ends() -> None:
    """The request names first and last byte and the ETag, and exactly that piece is handed out."""
    server: list[Loopback] = []
    found, body = _piece(lambda _: _part(), server)
    (seen,) = server[0].seen
    assert (seen.headers["range"], seen.headers["if-range"]) == ("bytes=100-199", '"v1"')
    assert seen.target == SIGNED
    assert (found.offset_bytes, found.total_bytes, found.etag) == (100, len(BODY), '"v1"')
    assert body == BODY[100:200]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(BODY, etag='"v1"'), ServiceFault),
        (_part(start=99, end=198), ServiceFault),
        (_part(end=198), ServiceFault),
        (_part(total="*"), ServiceFault),
        (_part(etag='"v2"'), ServiceFault),
        (_part(etag='W/"v1"'), ServiceFault),
        (answer(BODY[100:200], 206, etag='"v1"'), ServiceFault),
        (answer(b"", 416, content_range=f"bytes */{len(BODY)}"), ServiceFault),
        (answer(b"", 503), ServiceFault),
        (answer(b"", 403), LinkRefused),
        (answer(b"", 404), FileMissing),
        (_part(body=BODY[100:150]), Unreachable),
        (None, Unreachable),
    ],
    ids=[
        "ranges ignored",
        "placed elsewhere",
        "shorter",
        "no length",
        "another etag",
        "weak etag",
        "unplaced",
        "416",
        "503",
        "403",
        "404",
        "cut off",
        "hung up",
    ],
)
def test_what_is_not_that_piece_is_refused(reply: Reply, error: type[ServiceError]) -> None:
    """Another place, length or version of the file, or all of it: an error, and no byte that would be taken
    for the piece."""
    with pytest.raises(error):
        _piece(lambda _: reply)


def test_a_file_already_whole_has_nothing_left() -> None:
    """An offset at the very end gives no bytes and no error."""
    found, body = _fetch(_ranged, offset_bytes=len(BODY), etag='"v1"')
    assert (found.offset_bytes, found.total_bytes, body) == (len(BODY), len(BODY), b"")


def test_a_part_nobody_asked_for_is_a_fault() -> None:
    """A server that insists on a part it cannot place has no whole file to give."""
    with pytest.raises(ServiceFault, match="range nobody asked for"):
        _fetch(lambda _: answer(b"abc", 206, content_range="bytes 5-7/10"), offset_bytes=2)


def test_a_refusal_that_breaks_off_is_still_a_refusal() -> None:
    """The status alone says what a refusal means."""
    with pytest.raises(LinkRefused):
        _fetch(lambda _: _closing(answer(b"<Err", 403, content_length="500")))


def test_a_weak_etag_is_no_etag() -> None:
    """Only a strong ETag may vouch for bytes."""
    assert _fetch(lambda _: answer(BODY, etag='W/"v1"'))[0].etag == ""


def test_an_encoding_is_kept_as_served() -> None:
    """Bytes come as on the wire: nothing is decompressed on the way."""
    packed = gzip.compress(BODY)
    found, body = _fetch(lambda _: answer(packed, content_encoding="gzip"))
    assert (found.content_encoding, body) == ("gzip", packed)
    assert _fetch(lambda _: answer(BODY, content_encoding="identity"))[0].content_encoding == ""


def test_an_encoding_nobody_knows_does_no_harm() -> None:
    """An unheard-of Content-Encoding is handed on like any other."""
    assert _fetch(lambda _: answer(BODY, content_encoding="br"))[1] == BODY


def test_a_chunked_body_has_no_known_length() -> None:
    """Without Content-Length the total is unknown, and the body whole all the same."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        await writer.drain()

    found, body = _fetch(lambda _: write)
    assert (found.total_bytes, body) == (None, b"abcde")


def test_an_empty_file_is_a_file() -> None:
    """Zero bytes, with 200 or 204, are an answer and no error."""
    assert _fetch(lambda _: answer(b""))[0].total_bytes == 0
    assert _fetch(lambda _: answer(b"", 204))[0].total_bytes == 0


@pytest.mark.parametrize(
    "sent",
    [
        answer(BODY[:1000], content_length=str(len(BODY))),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        answer(b"ab", 206, content_range="bytes 0-2/10"),
    ],
    ids=["short of its length", "chunk cut off", "short of its range"],
)
def test_a_body_that_ends_early_is_noticed(sent: bytes) -> None:
    """Truncated bodies raise Unreachable after their bytes were handed out."""
    got: list[bytes] = []

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async def run() -> None:
        async with loopback(lambda _: write) as here:
            files = HttpFileSource()
            try:
                async with files.open(PresignedLink(here.origin + SIGNED)) as found:
                    async for block in found.chunks:
                        got.append(block)  # noqa: PERF401  what came before the error counts
            finally:
                await files.close()

    with pytest.raises(Unreachable):
        asyncio.run(run())
    assert sent.endswith(b"".join(got))
    assert got


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", LinkRefused, "AccessDenied"),
        (400, b'{"code":"RequestExpired","message":"x"}', LinkRefused, "RequestExpired"),
        (401, b"", LinkRefused, ""),
        (404, b'{"code": "NoSuchKey"}', FileMissing, "NoSuchKey"),
        (410, b"", FileMissing, ""),
        (429, b"", ServiceFault, ""),
        (500, b"<html>", ServiceFault, ""),
        (503, b"", ServiceFault, ""),
        (418, b"", ServiceFault, ""),
        (304, b"", ServiceFault, ""),
    ],
)
def test_refusals_are_told_apart(status: int, body: bytes, kind: type[ServiceError], code: str) -> None:
    """A refused link, a missing file and a failing server are three different things."""
    with pytest.raises(kind) as caught:
        _fetch(lambda _: answer(body, status, retry_after="7"))
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.service_code, caught.value.retry_after_s) == (status, code, 7.0)


def test_nobody_there_is_unreachable() -> None:
    """A refused connection and a connection closed without a word are both Unreachable."""
    with pytest.raises(Unreachable):
        _fetch(lambda _: None)
    with pytest.raises(Unreachable):
        _fetch(lambda _: None, target="http://127.0.0.1:9/x")


@pytest.mark.parametrize(
    "reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000 + b"\r\n\r\n"]
)
def test_what_is_no_http_is_unreachable(reply: bytes) -> None:
    """A server that does not speak HTTP, or overflows our buffers, is an error of ours and not a crash."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    with pytest.raises(Unreachable):
        _fetch(lambda _: write)


@pytest.mark.parametrize(
    "broken",
    [lambda _: None, lambda _: answer(b"", 403), lambda _: answer(BODY[:9], content_length="10000")],
)
def test_no_error_shows_the_link(broken: Callable[[Seen], Reply]) -> None:
    """Neither message nor traceback of a failed fetch holds the link's path or signature."""
    with pytest.raises(ServiceError) as caught:
        _fetch(lambda seen: _closing(broken(seen)))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.hint
    assert "cafe" not in shown
    assert "authorization=" not in shown
    assert "127.0.0.1" in shown


def _closing(reply: Reply) -> Reply:
    """The same answer, followed by a hang-up."""
    if not isinstance(reply, bytes):
        return reply

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    return write


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_by_hand(status: int) -> None:
    """A redirect is followed as spelled, relative or absolute, with the range and still nothing of ours."""
    server: list[Loopback] = []
    steps = {SIGNED: "/next%2Fstep?sig=a%2Bb", "/next%2Fstep?sig=a%2Bb": "//127.0.0.1:{port}/end?é=a b"}

    def reply(seen: Seen) -> bytes:
        location = steps.get(seen.target, "").replace("{port}", seen.headers["host"].rpartition(":")[2])
        return answer(b"", status, location=location) if location else _ranged(seen)

    found, body = _fetch(reply, offset_bytes=10, server=server)
    assert [seen.target for seen in server[0].seen] == [*steps, "/end?%C3%A9=a%20b"]
    assert all(seen.headers["range"] == "bytes=10-" for seen in server[0].seen)
    assert (found.offset_bytes, body) == (10, BODY[10:])


def test_redirects_end() -> None:
    """A circle of redirects is a fault after a bounded number of steps."""
    server: list[Loopback] = []
    with pytest.raises(ServiceFault, match="redirects"):
        _fetch(lambda _: answer(b"", 302, location="/again"), server=server)
    assert len(server[0].seen) == 6


@pytest.mark.parametrize(
    "location", ["ftp://h/x", "file:///etc/passwd", "javascript:1", "https://", "http://h:99999/"]
)
def test_redirects_lead_to_http_only(location: str) -> None:
    """A redirect to anything but http(s) is refused, not followed."""
    with pytest.raises(LinkRefused):
        _fetch(lambda _: answer(b"", 302, location=location))


def test_a_redirect_to_nowhere_is_a_fault() -> None:
    """A redirect without Location is the server's mistake."""
    with pytest.raises(ServiceFault, match="nowhere"):
        _fetch(lambda _: answer(b"", 302))


@pytest.mark.parametrize(
    "link", ["http://h/a b", "http://h/a\r\nX: y", "http://hé/x", "ftp://h/x", "", "http://[x/", "://"]
)
def test_what_cannot_be_sent_is_refused(link: str) -> None:
    """A link that is no sendable address is refused before anything is sent, whatever it smuggles."""

    async def run() -> None:
        async with HttpFileSource().open(PresignedLink(link)):
            pass

    with pytest.raises(LinkRefused):
        asyncio.run(run())


@pytest.mark.parametrize(
    "patience",
    [Patience(silence_s=0.1), Patience(period_s=0.1, period_bytes=100)],
    ids=["silence", "trickle"],
)
def test_a_trickle_is_given_up(patience: Patience) -> None:
    """A server that stalls or drips is left after its patience, however politely it keeps the line open."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", content_length="1000000"))
        for wait_s in [0.02] * 20 + [30.0]:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(wait_s)

    with pytest.raises(Unreachable):
        asyncio.run(asyncio.wait_for(_drained(lambda _: drip, patience), 5))


async def _drained(reply: Callable[[Seen], Reply], patience: Patience, pause_s: float = 0.0) -> int:
    total = 0
    async with loopback(reply) as here:
        files = HttpFileSource(patience=patience)
        try:
            async with files.open(PresignedLink(here.origin + SIGNED)) as found:
                async for block in found.chunks:
                    total += len(block)
                    await asyncio.sleep(pause_s)
        finally:
            await files.close()
    return total


def test_a_slow_caller_is_no_trickle() -> None:
    """Time the caller spends on a block is not held against the server."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", content_length="8"))
        for _ in range(8):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.005)

    patience = Patience(period_s=0.3, period_bytes=100)
    assert asyncio.run(_drained(lambda _: write, patience, pause_s=0.1)) == 8


def test_a_server_that_never_answers_is_left() -> None:
    """No header in time is Unreachable."""

    async def wait(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    with pytest.raises(Unreachable, match="no answer in time"):
        asyncio.run(asyncio.wait_for(_drained(lambda _: wait, Patience(answer_s=0.1)), 5))


def test_every_request_is_counted_and_none_holds_the_gate() -> None:
    """Each GET asks the gate once, redirects included, and leaves it before the body is read."""
    gate = RecordingGate()

    def reply(seen: Seen) -> bytes:
        return answer(b"", 302, location="/end") if seen.target == SIGNED else answer(BODY)

    async def run() -> int:
        async with loopback(reply) as here:
            files = HttpFileSource(gate=gate)
            try:
                async with files.open(PresignedLink(here.origin + SIGNED)) as found:
                    inside = gate.inside
                    async for _ in found.chunks:
                        pass
                    return inside
            finally:
                await files.close()

    assert asyncio.run(run()) == 0
    assert gate.asked == [Family.FILE, Family.FILE]


def test_leaving_early_reads_no_more() -> None:
    """A caller that stops midway, or fails, keeps its own error and gets no second one."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", content_length=str(10**12)))
        while True:
            writer.write(BODY)
            await writer.drain()

    async def run() -> None:
        async with loopback(lambda _: endless) as here:
            files = HttpFileSource()
            try:
                async with files.open(PresignedLink(here.origin + SIGNED)) as found:
                    async for _ in found.chunks:
                        raise KeyError("the caller's own")
            finally:
                await files.close()

    with pytest.raises(KeyError, match="own"):
        asyncio.run(asyncio.wait_for(run(), 5))


def test_a_proxy_is_used_and_told_who_asks() -> None:
    """An http link goes through HTTP_PROXY with the proxy's own user, unless NO_PROXY names the host."""
    server: list[Loopback] = []

    def through(origin: str) -> HttpFileSource:
        proxy = origin.replace("http://", "http://me:pw@")
        return HttpFileSource(
            proxies=Proxies.from_environment({"HTTP_PROXY": proxy, "no_proxy": "other.invalid"})
        )

    found, _ = _fetch(
        lambda _: answer(BODY), target="http://files.invalid/a%2Fb?x=1", source=through, server=server
    )
    (seen,) = server[0].seen
    assert seen.target == "http://files.invalid/a%2Fb?x=1"
    assert seen.headers["proxy-authorization"] == "Basic bWU6cHc="
    assert "authorization" not in seen.headers
    assert found.total_bytes == len(BODY)


def test_a_netrc_entry_is_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that ~/.netrc holds for the link's host stay at home."""
    (tmp_path / "netrc").write_text("default login me password secret\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server: list[Loopback] = []
    _fetch(lambda _: answer(BODY), server=server)
    assert "authorization" not in server[0].seen[0].headers

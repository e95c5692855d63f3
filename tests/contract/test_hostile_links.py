"""Links and files at their worst, byte by byte over real sockets, from the link to the published file: what
is stored is one whole file as it was served, or there is one of our errors and the next call mends it."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import shutil
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.job import Compression, Output, ServedFormat
from orchestrator.core.model import LinkExpired, Receipt
from orchestrator.core.redact import PresignedLink
from orchestrator.dataplane import destination as destination_module
from orchestrator.dataplane import draft as draft_module
from orchestrator.dataplane import fetch as fetch_module
from orchestrator.dataplane import staging as staging_module
from orchestrator.dataplane import transfer as transfer_module
from orchestrator.dataplane.destination import FolderDestination
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.errors import (
    BrokenBody,
    DiskFull,
    FileMissing,
    OrchestratorError,
    ServiceFault,
    StorageError,
    Unreachable,
)
from orchestrator.ports.control import Boundary
from orchestrator.ports.files import Publication
from orchestrator.remote.files import HttpFileSource, Patience
from tests.unit.dataplane_kit import (
    csv_text,
    gzipped,
    json_array,
    json_lines,
    rows,
    staging_names,
    ticket,
    zipped,
    zstandarded,
)
from tests.unit.loopback import Reply, Seen, answer, loopback

BODY = json_lines(rows(4000))
OTHER = json_lines(rows(4000, text="GET /tram 404"))
"""As long as BODY, with other bytes: what is glued from both can be told."""
HALF = 150_000
QUERY = "?authorization=bce-auth-v1%2Fak%2Fhidden-signature"
IMPATIENT = Patience(answer_s=10.0, silence_s=10.0, period_s=0.3, period_bytes=64 * 1024)

assert len(BODY) == len(OTHER) > 2 * HALF


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between retries are not what is tested here."""
    monkeypatch.setattr(fetch_module, "_FIRST_PAUSE_S", 0.001)


@dataclass
class Fetched:
    """What came of a transfer, and what the server saw of it."""

    result: Receipt | LinkExpired | None
    error: OrchestratorError | None
    seen: list[Seen]

    @property
    def receipt(self) -> Receipt:
        assert isinstance(self.result, Receipt), repr(self.error or self.result)
        return self.result

    @property
    def stored(self) -> bytes:
        return Path(self.receipt.staged_path).read_bytes()


@asynccontextmanager
async def plane(patience: Patience = IMPATIENT, boundary: Boundary | None = None) -> Any:
    source = HttpFileSource(patience=patience)
    made = InlineDataPlane(source, boundary=boundary)
    try:
        yield made
    finally:
        await made.close()
        await source.close()


def fetched(
    folder: Path, reply: Callable[[Seen], Reply], link: str = "{origin}/file" + QUERY, **changes: Any
) -> Fetched:
    """One transfer of ``link`` from a server of its own into ``folder``."""

    async def main() -> Fetched:
        async with loopback(reply) as here, plane() as data_plane:
            opened = PresignedLink(link.replace("{origin}", here.origin))
            result, error = None, None
            try:
                async with asyncio.timeout(60):
                    result = await data_plane.transfer(ticket(folder, link=opened, **changes))
            except OrchestratorError as caught:
                error = caught
            return Fetched(result, error, here.seen)

    found = asyncio.run(main())
    told = repr((found.result, str(found.error), getattr(found.error, "hint", "")))
    assert "hidden-signature" not in told
    assert str(found.error).isprintable()
    return found


def always(reply: Reply) -> Callable[[Seen], Reply]:
    return lambda _: reply


def in_turn(*replies: Callable[[Seen], Reply]) -> Callable[[Seen], Reply]:
    """One after the other, the last one for ever."""
    left = list(replies)
    return lambda seen: (left.pop(0) if len(left) > 1 else left[0])(seen)


def ranged(body: bytes, etag: str = '"v1"') -> Callable[[Seen], bytes]:
    """A server as it should be, with Range and If-Range."""

    def reply(seen: Seen) -> bytes:
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        if "range" not in seen.headers or seen.headers.get("if-range", etag) != etag:
            return answer(body, etag=etag)
        if start >= len(body):
            return answer(b"", 416, content_range=f"bytes */{len(body)}")
        where = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return answer(body[start:], 206, etag=etag, content_range=where)

    return reply


def cut(reply: Callable[[Seen], Reply], at: int = HALF) -> Callable[[Seen], Reply]:
    """The same, hanging up after ``at`` bytes of body."""

    def shorter(seen: Seen) -> Reply:
        whole = reply(seen)
        assert isinstance(whole, bytes)
        head, _, body = whole.partition(b"\r\n\r\n")

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(head + b"\r\n\r\n" + body[:at])
            await writer.drain()

        return write

    return shorter


# --- links that do not open


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer(b"<Error><Code>RequestExpired</Code></Error>", 400), LinkExpired),
        (answer(b"", 401), LinkExpired),
        (answer(b"", 403), LinkExpired),
        (answer(b"", 404), FileMissing),
        (answer(b"", 410), FileMissing),
        (answer(b"", 429, retry_after="1e99"), ServiceFault),
        (answer(b"", 500), ServiceFault),
        (answer(b"<html>", 502), ServiceFault),
        (answer(b"", 503, retry_after="-1"), ServiceFault),
        (answer(b"", 416), ServiceFault),
        (answer(BODY, 206), ServiceFault),
        (answer(BODY, 206, content_range="bytes 5-9/10"), ServiceFault),
        (answer(BODY, 206, content_range="bytes 0-9/99999999999999999999"), ServiceFault),
        (answer(b"", 304), ServiceFault),
        (answer(b"", 302), ServiceFault),
        (answer(b"", 302, location="/file"), ServiceFault),
        (answer(b"", 302, location="ftp://127.0.0.1/"), LinkExpired),
        (answer(b"", 307, location="file:///etc/passwd"), LinkExpired),
        (answer(b"", 308, location="javascript:alert(1)"), LinkExpired),
        (answer(b"", 301, location="http://[::1"), LinkExpired),
        (answer(b"", 301, location="http://127.0.0.1:99999999/"), LinkExpired),
        (b"HTTP/1.1 302 F\r\nLocation: http://\xff\xfe/\xff\r\nContent-Length: 0\r\n\r\n", LinkExpired),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000\r\n\r\nx", ServiceFault),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", Unreachable),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Unreachable),
        (b"nonsense\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", Unreachable),
        (None, Unreachable),
        (answer(BODY, content_encoding="br"), BrokenBody),
        (answer(zlib.compress(BODY), content_encoding="deflate"), BrokenBody),
        (answer(BODY, content_encoding="gzip, br"), BrokenBody),
        (answer(b"<html>please log in</html>"), BrokenBody),
        (answer(b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"), BrokenBody),
        (answer(b"<Error><Code>NoSuchKey</Code></Error>"), BrokenBody),
        (answer(b'{"code":"NoSuchKey","message":"it is gone","requestId":"r"}'), BrokenBody),
        (answer(b'{\n "code": "NoSuchKey",\n "message": "it is gone",\n "requestId": "r"\n}\n'), BrokenBody),
    ],
)
def test_what_is_no_file_stores_nothing(tmp_path: Path, reply: Reply, expected: type) -> None:
    """Refusals ask for a fresh link, absence and faults are said, lies about lengths are no full disk; no
    link stands in what is said, few requests are made and nothing is staged."""
    found = fetched(tmp_path, always(reply))
    assert isinstance(found.result or found.error, expected)
    assert found.result in (None, LinkExpired(0))
    assert len(found.seen) <= 6
    assert not any(name.endswith((".staged", ".part")) for name in staging_names(tmp_path))


@pytest.mark.parametrize(
    "link",
    [
        "",
        "ftp://127.0.0.1/x",
        "http://",
        "http:///x",
        "http://[::1/x",
        "http://[::1]:1/x",
        "http://127.0.0.1:0/x",
        "http://127.0.0.1:65536/x",
        "http://127.0.0.1:-1/x",
        "http://user:pass@127.0.0.1:1/x",
        "http://a b/x",
        "{origin}/a b",
        "{origin}/a\r\nX-Evil: yes",
        "{origin}/a\x00b",
        "http://\x1b[31m.example/x",
        "http://例え.example/x",
        "http://%zz/x",
        "http://.../x",
        "http://xn--a/x",
        "http://1.2.3.4.5.6/x",
        "http://" + "a" * 70 + ".example/x",
        "http://" + "a." * 200 + "example/x",
    ],
)
def test_a_link_that_cannot_be_fetched_is_one_of_our_errors(tmp_path: Path, link: str) -> None:
    """No spelling of an address crashes, is sent in another spelling, or lets a line break into a request."""
    found = fetched(tmp_path, always(answer(BODY)), link)
    assert isinstance(found.result, LinkExpired) or isinstance(found.error, Unreachable)
    assert found.seen == []


@pytest.mark.parametrize(
    "path",
    ["/" + "x" * 100_000, "//a/../b/./c", "/%2e%2e/%00?a=%zz&&=;", "/?" + "a=b&" * 20_000, "/f#fragment"],
)
def test_an_odd_link_is_sent_as_it_is(tmp_path: Path, path: str) -> None:
    """However long or strange path and query are, the server sees what the link says; a fragment stays
    here."""
    found = fetched(tmp_path, always(answer(BODY)), "{origin}" + path)
    assert found.stored == BODY
    assert found.seen[0].target == path.partition("#")[0]


# --- redirects


def test_a_redirect_takes_nothing_along(tmp_path: Path) -> None:
    """Another host gets a bare GET: no user of the link, no cookie, no header of ours; and what it serves is
    the file."""

    async def main() -> tuple[Receipt | LinkExpired, list[Seen]]:
        async with loopback(ranged(BODY)) as there:
            away = answer(b"", 302, location=f"{there.origin}/moved", set_cookie="a=b; Domain=127.0.0.1")
            async with loopback(always(away)) as here, plane() as data_plane:
                link = here.origin.replace("://", "://user:pass@") + "/file" + QUERY
                return await data_plane.transfer(ticket(tmp_path, link=PresignedLink(link))), there.seen

    result, seen = asyncio.run(main())
    assert isinstance(result, Receipt)
    assert Path(result.staged_path).read_bytes() == BODY
    assert [request.target for request in seen] == ["/moved"]
    assert set(seen[0].headers) <= {"host", "user-agent", "accept", "accept-encoding"}


def test_a_redirect_is_followed_on_every_resume(tmp_path: Path) -> None:
    """A gateway that redirects each time may redirect to another place each time: the range goes along."""
    targets = iter(range(100))

    def gateway(seen: Seen) -> Reply:
        if seen.raw_path == "/file":
            return answer(b"", 307, location=f"/place/{next(targets)}?x=%7E~")
        return cut(ranged(BODY))(seen)

    found = fetched(tmp_path, gateway)
    assert found.stored == BODY
    assert [seen.raw_path for seen in found.seen[1::2]] == ["/place/0", "/place/1", "/place/2"]
    assert [seen.headers.get("range") for seen in found.seen[1::2]] == [
        None,
        f"bytes={HALF}-",
        f"bytes={2 * HALF}-",
    ]


# --- links that stop opening in the middle


@pytest.mark.parametrize(("status", "code"), [(403, ""), (400, "RequestExpired"), (401, "")])
def test_a_renewed_link_goes_on_where_the_old_one_stopped(tmp_path: Path, status: int, code: str) -> None:
    """A link that expires inside a body costs no byte: the fresh one, on another host, is asked for the rest
    with the tag of what is there."""
    old = in_turn(cut(ranged(BODY)), always(answer(f"<Code>{code}</Code>".encode(), status)))
    first = fetched(tmp_path, old)
    assert first.result == LinkExpired(HALF)
    second = fetched(tmp_path, ranged(BODY), "{origin}/renewed?authorization=hidden-signature-2")
    assert second.stored == BODY
    assert second.seen[0].headers["range"] == f"bytes={HALF}-"
    assert second.seen[0].headers["if-range"] == '"v1"'
    assert second.receipt.wire_bytes == len(BODY)


def test_a_file_that_is_gone_in_the_middle_is_said_and_what_came_is_kept(tmp_path: Path) -> None:
    """404 on a resume is the caller's to judge; should the file come back, the rest is enough."""
    first = fetched(tmp_path, in_turn(cut(ranged(BODY)), always(answer(b"", 404))))
    assert isinstance(first.error, FileMissing)
    second = fetched(tmp_path, ranged(BODY))
    assert second.stored == BODY
    assert second.receipt.wire_bytes == len(BODY)


def _later(status: int = 206, body: bytes = OTHER, **headers: str) -> Callable[[Seen], bytes]:
    """An answer to a resume that is about another file."""
    return lambda seen: (
        ranged(OTHER)(seen) if "range" not in seen.headers else answer(body, status, **headers)
    )


REST = f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"
RESUMED: dict[str, tuple[Callable[[Seen], Reply], Callable[[Seen], Reply]]] = {
    "range ignored, same tag": (ranged(BODY), always(answer(BODY, etag='"v1"'))),
    "range ignored, other tag": (ranged(BODY), always(answer(OTHER, etag='"v2"'))),
    "range ignored, no tag": (ranged(BODY, ""), always(answer(OTHER))),
    "range ignored, weak tag": (ranged(BODY, 'W/"v1"'), always(answer(OTHER, etag='W/"v1"'))),
    "if-range fails": (ranged(BODY), ranged(OTHER, '"v2"')),
    "if-range ignored": (ranged(BODY), _later(body=OTHER[HALF:], etag='"v2"', content_range=REST)),
    "tag lost, bytes changed, length too": (
        ranged(BODY),
        _later(body=b"x" * 10, content_range=f"bytes {HALF}-{HALF + 9}/{HALF + 10}"),
    ),
    "placed elsewhere": (
        ranged(BODY),
        _later(body=OTHER[HALF + 1 :], etag='"v1"', content_range=f"bytes {HALF + 1}-299999/300000"),
    ),
    "not placed": (ranged(BODY), _later(body=OTHER[HALF:], etag='"v1"')),
    "placed by nonsense": (ranged(BODY), _later(body=OTHER[HALF:], etag='"v1"', content_range="rows 1-2")),
    "another total": (
        ranged(BODY),
        _later(body=OTHER[HALF:], etag='"v1"', content_range=f"bytes {HALF}-999999/1000000"),
    ),
    "no tags, bytes changed": (ranged(BODY, ""), ranged(OTHER, "")),
    "weak tags, bytes changed": (ranged(BODY, 'W/"v1"'), ranged(OTHER, 'W/"v1"')),
    "no length, bytes changed": (
        lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY,
        ranged(OTHER),
    ),
    "placed backwards": (
        ranged(BODY),
        _later(body=OTHER[HALF:], etag='"v1"', content_range=f"bytes {HALF}-{HALF - 1}/{len(BODY)}"),
    ),
    "placed beyond its total": (
        ranged(BODY),
        _later(body=OTHER[HALF:], etag='"v1"', content_range=f"bytes {HALF}-999999/{len(BODY)}"),
    ),
    "416 for what should be there": (ranged(BODY), _later(416, b"", content_range="bytes */1000")),
    "416 bare": (ranged(BODY), _later(416, b"")),
}


@pytest.mark.parametrize("case", RESUMED)
def test_two_files_are_never_glued_together(tmp_path: Path, case: str) -> None:
    """However the server answers a resume, what is stored at last is one file from its first byte to its
    last."""
    before, after = RESUMED[case]
    found = fetched(tmp_path, in_turn(cut(before), after))
    assert found.stored in (BODY, OTHER)
    assert found.receipt.fetched_bytes == len(BODY)


def test_a_file_that_changes_all_the_time_is_given_up(tmp_path: Path) -> None:
    """A new tag with every answer ends after some beginnings."""
    tags = iter(range(1000))
    found = fetched(tmp_path, lambda seen: cut(ranged(BODY, f'"v{next(tags)}"'))(seen))
    assert isinstance(found.error, ServiceFault | Unreachable)
    assert len(found.seen) <= 12


# --- lengths and speed


@pytest.mark.parametrize(
    ("head", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BODY) + 1000), False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BODY) - 30), False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY), False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(BODY) + 1), False),
    ],
)
def test_a_length_is_held_against_what_comes(tmp_path: Path, head: bytes, whole: bool) -> None:
    """Shorter than announced is a lost connection, and what stops inside a row is broken; without a length
    the end of the connection is the end of the file."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head + BODY)
        await writer.drain()

    found = fetched(tmp_path, always(write))
    if whole:
        assert found.stored == BODY
    else:
        assert isinstance(found.error, Unreachable | BrokenBody)


def test_a_chunked_file_is_whole_with_its_last_chunk(tmp_path: Path) -> None:
    """Ten thousand tiny chunks are one file."""
    pieces = [BODY[at : at + 34] for at in range(0, len(BODY), 34)]
    body = b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert (
        fetched(tmp_path, always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)).stored
        == BODY
    )


@pytest.mark.parametrize("size", [1_000, 30_000])
def test_a_server_that_hangs_up_again_and_again_is_outlasted(tmp_path: Path, size: int) -> None:
    """Every answer brings something before the connection breaks, so each call of the engine gets further,
    and nothing is fetched twice."""
    body = json_lines(rows(80))
    for _ in range(100):
        found = fetched(tmp_path, cut(ranged(body), size))
        if found.error is None:
            break
        assert isinstance(found.error, Unreachable)
    assert found.stored == body
    assert found.receipt.wire_bytes == len(body)


@pytest.mark.parametrize("etag", ['"v1"', ""])
def test_a_range_that_is_answered_piece_by_piece_is_asked_for_piece_by_piece(
    tmp_path: Path, etag: str
) -> None:
    """A server that never sends more than a piece of a range is asked on, at once and as often as needed."""
    body = json_lines(rows(40_000))
    piece = 200_000

    def reply(seen: Seen) -> bytes:
        if "range" not in seen.headers:
            return answer(body, **({"etag": etag} if etag else {}))
        start = int(seen.headers["range"][6:-1])
        end = min(start + piece, len(body))
        tagged = {"etag": etag} if etag else {}
        return answer(body[start:end], 206, content_range=f"bytes {start}-{end - 1}/{len(body)}", **tagged)

    found = fetched(tmp_path, in_turn(cut(reply), reply))
    assert found.stored == body
    assert len(found.seen) > 10


def test_a_trickle_is_reset_and_resumed(tmp_path: Path) -> None:
    """A download below the floor rate holds no slot for ever: it is cut off and goes on from there, over a
    connection that may be better."""

    def trickle(seen: Seen) -> Reply:
        whole = ranged(BODY)(seen)
        head, _, body = whole.partition(b"\r\n\r\n")

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(head + b"\r\n\r\n")
            for at in range(len(body)):
                writer.write(body[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0.01)

        return write

    begun = time.monotonic()
    found = fetched(tmp_path, in_turn(trickle, ranged(BODY)))
    assert found.stored == BODY
    assert found.receipt.wire_bytes == len(BODY)
    assert len(found.seen) == 2
    assert time.monotonic() - begun < 20
    still = fetched(tmp_path / "still", trickle)
    assert isinstance(still.error, Unreachable)
    assert len(still.seen) == 4


def test_the_floor_in_production_is_a_kilobyte_a_second() -> None:
    """Slow lines may be slow; what brings less than that for a minute is as good as dead."""
    usual = Patience()
    assert usual.period_bytes / usual.period_s == pytest.approx(1092, rel=0.01)
    assert max(usual.answer_s, usual.silence_s, usual.period_s) <= 60


# --- what is inside

ZIP = zipped(BODY[: len(BODY) // 2], b"")
ENCRYPTED = bytearray(zipped(BODY))
ENCRYPTED[6] |= 1
ENCRYPTED[ENCRYPTED.rfind(b"PK\x01\x02") + 8] |= 1
FRAME = zstandarded(BODY)
SKIP = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"


def _lines_cut(body: bytes) -> int:
    return body.rfind(b"\n", 0, len(body) // 2) + 1


MIDDLE = _lines_cut(BODY)
PACKED: dict[str, bytes] = {
    "gzip": gzipped(BODY),
    "gzip in two members": gzipped(BODY[:MIDDLE]) + gzipped(BODY[MIDDLE:]),
    "gzip with zeros behind": gzipped(BODY) + bytes(5000),
    "gzip twice": gzipped(gzipped(BODY)),
    "zstd in two frames": zstandarded(BODY[:MIDDLE]) + SKIP + zstandarded(BODY[MIDDLE:]) + SKIP,
    "zstd behind a skippable frame": SKIP + FRAME,
    "zip of two, one above this folder": zipped(BODY[:MIDDLE], BODY[MIDDLE:]),
}


@pytest.mark.parametrize("case", PACKED)
@pytest.mark.parametrize("encoding", ["", "gzip", "zstd", "utf-8"])
def test_packed_files_are_read_by_their_bytes(tmp_path: Path, case: str, encoding: str) -> None:
    """Members, frames and layers are all read, and stored as they came; what Content-Encoding says of them is
    of no importance, and names inside an archive become no files."""
    body = PACKED[case]
    found = fetched(tmp_path, always(answer(body, **({"content_encoding": encoding} if encoding else {}))))
    assert found.stored == body
    assert found.receipt.stored_rows == 4000
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"a-1.staged", "a-1.part.json"}


SPOILT: dict[str, bytes] = {
    "gzip, wrong checksum": gzipped(BODY)[:-8] + bytes(8),
    "gzip, wrong size": gzipped(BODY)[:-4] + b"\xff\xff\xff\xff",
    "gzip, cut short": gzipped(BODY)[:-9],
    "gzip, garbage behind": gzipped(BODY) + b"garbage",
    "gzip, second member damaged": gzipped(BODY) + gzipped(BODY)[:-3],
    "gzip, four layers": gzipped(gzipped(gzipped(gzipped(BODY)))),
    "zstd, cut short": FRAME[:-1],
    "zstd, damaged": FRAME[:100] + bytes([FRAME[100] ^ 255]) + FRAME[101:],
    "zstd, wrong checksum": FRAME[:-1] + bytes([FRAME[-1] ^ 1]),
    "zstd, garbage behind": FRAME + b"garbage",
    "zstd, frame without end": FRAME + SKIP[:6],
    "zip, encrypted": bytes(ENCRYPTED),
    "zip, cut short": zipped(BODY)[:-30],
    "zip, damaged": zipped(BODY)[:200] + b"\xff\xff\xff" + zipped(BODY)[203:],
    "zip of zip-unknown method": zipped(BODY).replace(b"\x08\x00", b"\x63\x00"),
    "zip of two shapes": zipped(BODY, b"a,b\r\n1,2\r\n"),
    "row without end": b'{"@timestamp":1768348800000,"@raw":"' + b"x" * (65 << 20),
    "packed row without end": gzipped(b'{"@timestamp":1768348800000,"@raw":"' + bytes(200 << 20)),
    "array without end": json_array(rows(1000))[:-1],
    "array nested without end": b'[{"a":' + b"[" * 1_000_000,
    "inside a row": BODY[:-5],
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_file_is_broken_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    """Damage anywhere, and what never ends, is BrokenBody; the next fetch begins from nothing."""
    found = fetched(tmp_path, always(answer(SPOILT[case])))
    assert isinstance(found.error, BrokenBody)
    assert staging_names(tmp_path) == set()


STAMP = "2026-01-14T00:00:01Z"
CSV_ROWS = f'time,raw\r\n{STAMP},"two\r\nlines, and a ""quote"""\r\n{STAMP},plain\r\n'.encode()
TEXTS: dict[str, tuple[bytes, ServedFormat, int]] = {
    "CSV with newlines in quotes": (CSV_ROWS, ServedFormat.CSV, 2),
    "CSV with bare newlines": (CSV_ROWS.replace(b"\r\n", b"\n"), ServedFormat.CSV, 2),
    "CSV without the last newline": (CSV_ROWS[:-2], ServedFormat.CSV, 2),
    "CSV with a byte order mark": (b"\xef\xbb\xbf" + CSV_ROWS, ServedFormat.CSV, 2),
    "CSV that is not UTF-8": (CSV_ROWS + STAMP.encode() + b",\xff\xfe\xc3\r\n", ServedFormat.CSV, 3),
    "CSV with NUL": (CSV_ROWS + STAMP.encode() + b",a\0b\r\n", ServedFormat.CSV, 3),
    "lines with a byte order mark": (b"\xef\xbb\xbf" + BODY, ServedFormat.JSON, 4000),
    "lines with CRLF": (BODY.replace(b"\n", b"\r\n"), ServedFormat.JSON, 4000),
    "lines without the last newline": (BODY[:-1], ServedFormat.JSON, 4000),
    "lines that are not UTF-8": (BODY.replace(b"GET", b"\xff\xc3\x28"), ServedFormat.JSON, 4000),
    "lines with NUL": (BODY.replace(b"GET", b"\0\0\0"), ServedFormat.JSON, 4000),
    "an array": (json_array(rows(4000)), ServedFormat.JSON, 4000),
    "CSV asked for, lines served": (BODY, ServedFormat.CSV, 4000),
    "lines asked for, CSV served": (csv_text(rows(100)), ServedFormat.JSON, 100),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_rows_are_counted_in_every_spelling(tmp_path: Path, case: str, output: Output) -> None:
    """Quotes, line ends, marks and bytes that are no text change no count; raw bytes stay as they are, and as
    JSON lines there is one line a row."""
    body, served, count = TEXTS[case]
    found = fetched(tmp_path, always(answer(body)), format=served, output=output)
    assert (found.receipt.served_rows, found.receipt.stored_rows) == (count, count)
    if output is Output.RAW:
        assert found.stored == body
    else:
        assert found.stored.count(b"\n") == count


# --- memory


def _peak_of(work: Callable[[], Any]) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _one_row(size: int) -> bytes:
    return b'{"@timestamp":1768348800000,"@raw":"' + b"x" * (size - 39) + b'"}\n'


@pytest.mark.parametrize("size", [512 * 1024, 16 << 20, (64 << 20) - 100])
def test_one_huge_row_is_stored(tmp_path: Path, size: int) -> None:
    """A row of up to 64 MiB, over a hundred times what the service takes in, costs seven times its size in
    memory at most, besides what every transfer needs."""
    reply = answer(_one_row(size))
    found, peak_bytes = _peak_of(lambda: fetched(tmp_path, always(reply)))
    assert found.receipt.stored_rows == 1
    assert found.receipt.stored_bytes == size
    assert peak_bytes < 7 * size + (32 << 20)


@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_bomb_is_bounded_by_the_disk_and_not_by_memory(tmp_path: Path, output: Output) -> None:
    """A gzip file of rows that expands a thousandfold is stored as it is, or written as far as the reserve
    allows: flat in memory, and no full disk for anybody else."""
    bomb = gzip.compress(b'{"@timestamp":1768348800000,"@raw":"%b"}\n' % (b"x" * 4000) * 30_000, 9, mtime=0)
    free = shutil.disk_usage(tmp_path).free

    async def main() -> Receipt | LinkExpired:
        source = HttpFileSource(patience=IMPATIENT)
        written = 0

        def disk_free(_: str) -> int:
            nonlocal written
            used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
            written = max(written, used)
            return min(free, 60 << 20) - used

        made = InlineDataPlane(source, disk_free=disk_free)
        try:
            async with loopback(always(answer(bomb))) as here:
                link = PresignedLink(f"{here.origin}/bomb")
                asked = ticket(tmp_path, link=link, output=output, disk_reserve_bytes=20 << 20)
                return await made.transfer(asked)
        finally:
            await made.close()
            await source.close()

    def ended() -> Receipt | LinkExpired | DiskFull:
        try:
            return asyncio.run(main())
        except DiskFull as full:
            return full

    found, peak_bytes = _peak_of(ended)
    assert isinstance(found, Receipt if output is Output.RAW else DiskFull)
    assert peak_bytes < 64 << 20
    assert len(bomb) * 200 < 30_000 * 4000


# --- the disk, at every step


@dataclass
class FaultyOs:
    """The ``os`` module as the data plane sees it: from the ``at``-th call on that touches a file, or only
    that one, the system says ``code``."""

    at: int
    code: int
    lasting: bool
    calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    FAILING = frozenset(
        {"open", "write", "fsync", "fdatasync", "replace", "rename", "link", "mkdir", "makedirs", "ftruncate"}
    )

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.FAILING:
            return real

        def guarded(*args: Any, **options: Any) -> Any:
            with self._lock:
                self.calls += 1
                fails = self.calls >= self.at if self.lasting else self.calls == self.at
            if fails:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **options)

        return guarded


async def _once(folder: Path, link: str, asked: dict[str, Any]) -> None:
    """Transfer and publish."""
    async with plane() as data_plane:
        receipt = await data_plane.transfer(ticket(folder, link=PresignedLink(link), **asked))
    assert isinstance(receipt, Receipt)
    staged = (receipt.staged_path, "a/b/rows", receipt.stored_sha256, receipt.stored_bytes)
    (outcome,) = await FolderDestination(str(folder)).publish([Publication("k", *staged)])
    if outcome.error is not None:
        raise outcome.error


def _mended(folder: Path, count: int) -> None:
    """The one file stands whole, and nothing else."""
    (final,) = [path for path in folder.rglob("*") if path.is_file()]
    assert final == folder / "a" / "b" / "rows"
    stored = final.read_bytes()
    assert (gzip.decompress(stored) if stored[:1] == b"\x1f" else stored).count(b"\n") == count


async def _failing(folder: Path, link: str, asked: dict[str, Any]) -> OrchestratorError | None:
    """The error of one try; those that are not ours pass through."""
    try:
        await _once(folder, link, asked)
    except OrchestratorError as error:
        return error
    return None


async def _faulty_at_every_step(
    folder: Path, asked: dict[str, Any], code: int, *, lasting: bool, patch: pytest.MonkeyPatch
) -> int:
    """Returns how many steps there were."""
    expected = DiskFull if code == errno.ENOSPC else StorageError
    async with loopback(ranged(BODY)) as here:
        link = f"{here.origin}/file"
        for at in range(1, 1000):
            spot = folder / f"{code}-{lasting}-{at}"
            spot.mkdir()
            broken = FaultyOs(at, code, lasting=lasting)
            with patch.context() as scene:
                for module in (staging_module, transfer_module, draft_module, destination_module):
                    scene.setattr(module, "os", broken)
                error = await _failing(spot, link, asked)
            if error is None and broken.calls < at:
                return at
            if error is not None:
                assert type(error) is expected, f"step {at}: {error!r}"
                assert str(spot) in str(error)
                assert not any(name.endswith(".draft") for name in staging_names(spot))
                await _once(spot, link, asked)
            _mended(spot, 4000)
            shutil.rmtree(spot)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("lasting", [True, False])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_disk_that_fails_at_any_step_is_said_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: Output, code: int, lasting: bool
) -> None:
    """Full, broken or read-only from any step on, or at that step only, from the first folder to the last
    sync: the error says so and where, and the next try ends with the whole file and nothing else."""
    asked = {
        "output": output,
        "compression": Compression.GZIP if output is Output.JSONL else Compression.NONE,
    }
    steps = asyncio.run(
        asyncio.wait_for(
            _faulty_at_every_step(tmp_path, asked, code, lasting=lasting, patch=monkeypatch), 120
        )
    )
    assert steps > 15


class Vanishing:
    """A boundary at whose ``at``-th point the whole destination is gone."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.left = folder, at

    def reached(self, name: str) -> None:
        self.left -= 1
        if self.left == 0:
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("output", [Output.RAW, Output.JSONL])
def test_a_destination_that_vanishes_is_said_and_mended(tmp_path: Path, output: Output) -> None:
    """Unmounted or deleted at any point of a transfer: a storage error, or a file that publishing finds to be
    lost; the next try makes all of it anew."""
    body = json_lines(rows(40_000))

    async def main() -> int:
        async with loopback(ranged(body)) as here:
            link = PresignedLink(f"{here.origin}/file")
            for at in range(1, 100):
                folder = tmp_path / str(at)
                folder.mkdir()
                gone = Vanishing(folder, at)
                async with plane(boundary=gone) as data_plane:
                    try:
                        receipt = await data_plane.transfer(ticket(folder, link=link, output=output))
                    except StorageError:
                        receipt = None
                if isinstance(receipt, Receipt) and gone.left <= 0:
                    assert not os.path.exists(receipt.staged_path)
                await _once(folder, link.reveal(), {"output": output})
                if gone.left > 0:
                    return at
        raise AssertionError("it never ended")

    assert asyncio.run(asyncio.wait_for(main(), 60)) > 2

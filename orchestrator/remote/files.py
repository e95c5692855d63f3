"""The only way file bytes come in: a presigned link, fetched byte for byte as given (bls-api.md 8, design.md
5).

Nothing of ours goes along: no Authorization, no cookies, no netrc; ``Accept-Encoding: identity``, and
whatever encoding the server applies all the same is handed on as it is. Redirects are followed by hand, to
http(s) only. A link stands in no error, not even inside a chained one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin

import aiohttp
from yarl import URL

from orchestrator.core.redact import PresignedLink
from orchestrator.errors import FileMissing, LinkRefused, ServiceError, ServiceFault, Unreachable
from orchestrator.ports.control import Family, Gate
from orchestrator.ports.service import FileAnswer
from orchestrator.remote.proxies import Proxies
from orchestrator.remote.refusals import on_one_line, retry_after_s
from orchestrator.remote.session import (
    CONNECT_TIMEOUT_S,
    TRANSPORT_FAULTS,
    http_session,
    tls_context,
    unreachable,
)

__all__ = ["HttpFileSource", "Patience"]

MOST_REDIRECTS: Final = 5
BUFFER_BYTES: Final = 1024 * 1024
LARGEST_ERROR_BYTES: Final = 8 * 1024
LONGEST_ORIGIN: Final = 200
LARGEST_FILE_BYTES: Final = 1 << 43
"""Eight times what a million records of 512 KB make up (bls-api.md 6), which JSON may write in escapes. A
length beyond it is a lie, and must not pass for a disk that is too small."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(
    r"bytes\s+(?:(?P<start>[0-9]{1,18})-(?P<end>[0-9]{1,18})|\*)/(?P<total>[0-9]{1,18}|\*)"
)
_ERROR_CODE = re.compile(rb"(?:<Code>|\"code\"\s*:\s*\")([A-Za-z]{1,64})[<\"]")
"""A word in letters: what holds digits may be a part of what opens the link, quoted back."""
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_STRONG: Final = re.compile(r'"[!#-~]{0,254}"')
"""A strong ETag in ASCII: it is kept in a JSON file and sent back."""
_URL_SAFE: Final = "!#$%&'()*+,/:;=?@[]~-._"


@dataclass(frozen=True, slots=True)
class Patience:
    """How slow a server may be. Time counts only while we wait for bytes, not while the caller works on
    them."""

    answer_s: float = 60.0
    """From asking to the first header."""
    silence_s: float = 60.0
    """Without a single byte."""
    period_s: float = 60.0
    """Of waiting, in which at least ``period_bytes`` must arrive: a trickle is no download."""
    period_bytes: int = 64 * 1024


class HttpFileSource:
    """FileSource over HTTP. One per process; ``gate`` counts the requests where there is one (not in pool
    workers)."""

    def __init__(
        self,
        *,
        proxies: Proxies | None = None,
        ca_file: str = "",
        gate: Gate | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._proxies = proxies or Proxies({})
        self._ca_file = ca_file
        self._gate = gate
        self._patience = patience or Patience()
        self._http: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncGenerator[FileAnswer, None]:
        """The promise of ``FileSource.open``. An ``etag`` that the server answers differently, a range it
        cannot place and an offset beyond its file all begin anew at 0, in sight of the caller through
        ``offset_bytes``."""
        asked = {"Range": f"bytes={offset_bytes}-"} if offset_bytes else {}
        if offset_bytes and etag:
            asked["If-Range"] = etag
        response = await self._requested(link, asked)
        try:
            answer = await self._answer(link, response, offset_bytes, etag)
            if answer is None:
                response.close()
                response = await self._requested(link, {})
                answer = await self._answer(link, response, 0, "")
            if answer is None:
                raise ServiceFault(f"{_file(link)}: an answer to a range nobody asked for", status=206)
            yield answer
        finally:
            # Closing, not releasing: what is left of an unfinished body must not be read just to keep a
            # connection. A body read to its end has given its connection back already.
            response.close()

    @asynccontextmanager
    async def piece(
        self, link: PresignedLink, *, start_bytes: int, end_bytes: int, etag: str
    ) -> AsyncGenerator[FileAnswer, None]:
        """The promise of ``PieceSource.piece``."""
        asked = {"Range": f"bytes={start_bytes}-{end_bytes - 1}", "If-Range": etag}
        response = await self._requested(link, asked)
        try:
            if response.status >= 300 and response.status != 416:
                raise await _refused(link, response)
            start, end, total = _range_of(response)
            if (
                response.status != 206
                or (start, end) != (start_bytes, end_bytes)
                or total is None
                or _strong(response) != etag
            ):
                raise ServiceFault(
                    f"{_file(link)}: no piece of it where one was asked for", status=response.status
                )
            yield FileAnswer(
                offset_bytes=start_bytes,
                total_bytes=total,
                etag=etag,
                content_encoding=_encoding(response),
                chunks=self._chunks(link, response, end_bytes - start_bytes),
            )
        finally:
            response.close()

    async def close(self) -> None:
        """Close all connections; idempotent."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _requested(self, link: PresignedLink, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """The first answer that is no redirect."""
        address = _address(link, link.reveal())
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._get(link, address, headers)
            if response.status not in _REDIRECTS:
                return response
            location = response.headers.get("Location", "")
            response.close()
            if not location:
                raise ServiceFault(f"{_file(link)}: a redirect to nowhere", status=response.status)
            address = _address(link, _followed(str(address), location))
        raise ServiceFault(f"{_file(link)}: more than {MOST_REDIRECTS} redirects")

    async def _get(
        self, link: PresignedLink, address: URL, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        if self._http is None:
            self._http = http_session(tls_context(self._ca_file))
        proxy = self._proxies.for_url(address)
        patience = self._patience
        async with AsyncExitStack() as stack:
            if self._gate is not None:
                await stack.enter_async_context(self._gate.request(Family.FILE))
            try:
                async with asyncio.timeout(patience.answer_s):
                    return await self._http.get(
                        address,
                        headers=headers | (proxy.headers if proxy and address.scheme == "http" else {}),
                        proxy=proxy.url if proxy else None,
                        proxy_headers=proxy.headers if proxy else None,
                        timeout=aiohttp.ClientTimeout(
                            sock_connect=CONNECT_TIMEOUT_S, sock_read=patience.silence_s
                        ),
                        allow_redirects=False,
                        auto_decompress=False,
                        read_bufsize=BUFFER_BYTES,
                    )
            except (*TRANSPORT_FAULTS, ValueError) as fault:
                raise unreachable("the file", _origin(link), fault) from None

    async def _answer(
        self, link: PresignedLink, response: aiohttp.ClientResponse, offset_bytes: int, etag: str
    ) -> FileAnswer | None:
        """What the answer holds; None when it must be asked for again from the start. Raises what a refusal
        means."""
        if response.status == 416 and offset_bytes:
            total = _range_of(response)[2]  # all of it was fetched before, or the file is another one now
            whole = total == offset_bytes
            return (
                FileAnswer(offset_bytes, total, _strong(response), _encoding(response), _nothing())
                if whole
                else None
            )
        if response.status >= 300:
            raise await _refused(link, response)
        start, total, end = 0, None, None
        if response.status == 206:
            placed, end, total = _range_of(response)
            changed = bool(etag) and bool(response.headers.get("ETag")) and _strong(response) != etag
            if placed is None or placed != offset_bytes or changed:
                return None
            start = placed
        elif "Transfer-Encoding" not in response.headers:
            length = response.headers.get("Content-Length", "0" if response.status == 204 else "")
            total = int(length) if length.isdecimal() else None
        if total is not None and total > LARGEST_FILE_BYTES:
            raise ServiceFault(
                f"{_file(link)}: a length of {total} bytes, which no file here has",
                status=response.status,
            )
        end = total if end is None else end
        expected = None if end is None else end - start
        return FileAnswer(
            offset_bytes=start,
            total_bytes=total,
            etag=_strong(response),
            content_encoding=_encoding(response),
            chunks=self._chunks(link, response, expected),
        )

    async def _chunks(
        self, link: PresignedLink, response: aiohttp.ClientResponse, expected_bytes: int | None
    ) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Unreachable when it ends before ``expected_bytes``, stalls or
        trickles."""
        loop = asyncio.get_running_loop()
        received = period_bytes = 0
        waited_s = 0.0
        while True:
            began = loop.time()
            try:
                block = await response.content.readany()
            except TRANSPORT_FAULTS as fault:
                if rest := _arrived(response.content):
                    yield rest
                raise unreachable("the file", _origin(link), fault) from None
            waited_s += loop.time() - began
            received += len(block)
            period_bytes += len(block)
            if not block:
                break
            yield block
            if period_bytes >= self._patience.period_bytes:
                period_bytes, waited_s = 0, 0.0
            elif waited_s >= self._patience.period_s:
                raise Unreachable(f"{_file(link)}: {period_bytes} bytes in {waited_s:.0f} s")
        if expected_bytes is not None and received != expected_bytes:
            raise Unreachable(f"{_file(link)}: ended after {received} of {expected_bytes} bytes")


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """What came before the connection broke: aiohttp puts the error before it. Against a server that sends a
    little and hangs up, only these bytes are progress."""
    content._exception = None  # noqa: SLF001  there is no public way
    return content.read_nowait()


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for block in nothing:
        yield block


def _address(link: PresignedLink, text: str) -> URL:
    """``text`` unchanged. Raises LinkRefused when it cannot be sent as it is, or leads away from http(s)."""
    try:
        address = (
            URL(text, encoded=True) if text.isascii() and text.isprintable() and " " not in text else URL()
        )
        if address.scheme in ("http", "https") and address.raw_host and address.port:
            return address
    except ValueError:
        pass  # a broken port or host: said below, without the text
    raise LinkRefused(f"the link to {_origin(link) or 'the file'} does not lead to an http(s) address")


def _followed(address: str, location: str) -> str:
    """Where a redirect leads, "" when nowhere. Spaces and letters beyond ASCII cannot be sent; everything
    already encoded stays as it is."""
    try:
        return quote(urljoin(address, location), safe=_URL_SAFE)
    except ValueError:
        return ""  # brackets that are no IPv6 address, bytes that are no text


async def _refused(link: PresignedLink, response: aiohttp.ClientResponse) -> ServiceError:
    """What an answer that is no file means; a few bytes of its body may name a code."""
    status = response.status
    try:
        said = await response.content.read(LARGEST_ERROR_BYTES)
    except TRANSPORT_FAULTS:
        said = b""  # the status alone says enough
    found = _ERROR_CODE.search(said)
    code = found[1].decode() if found else ""
    request_id = response.headers.get("x-bce-request-id", "")
    if not _REQUEST_ID.fullmatch(request_id) or request_id in link.reveal():
        request_id = ""
    kind: type[ServiceError] = ServiceFault
    if status in (400, 401, 403):
        kind = LinkRefused
    elif status in (404, 410):
        kind = FileMissing
    response.close()
    return kind(
        f"{_file(link)}: {status}{f' {code}' if code else ''}",
        status=status,
        service_code=code,
        request_id=request_id
        if _REQUEST_ID.fullmatch(request_id) and request_id not in link.reveal()
        else "",
        retry_after_s=retry_after_s(
            response.headers.get("Retry-After", ""), response.headers.get("Date", "")
        ),
    )


def _file(link: PresignedLink) -> str:
    return f"the file at {_origin(link)}"


def _origin(link: PresignedLink) -> str:
    """Where the file is, for messages: the service may write anything into a link."""
    return on_one_line(link.origin)[:LONGEST_ORIGIN]


def _range_of(response: aiohttp.ClientResponse) -> tuple[int | None, int | None, int | None]:
    """First byte, the one behind the last, and total of a Content-Range. What it does not say is None, and
    all of it when it makes no sense."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None, None
    start, last, total = (int(text) if text and text != "*" else None for text in match.groups())
    end = None if last is None else last + 1
    if start is not None and end is not None and not start < end <= (total or end):
        return None, None, None
    return start, end, total


def _strong(response: aiohttp.ClientResponse) -> str:
    etag = response.headers.get("ETag", "").strip()
    return etag if _STRONG.fullmatch(etag) else ""


def _encoding(response: aiohttp.ClientResponse) -> str:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding[:64]

"""One signed call over HTTP: permission, then a fresh signature, then the request, then the whole answer.

    call ─▶ gate.request(family) ─▶ credentials, server's date ─▶ sign ─▶ send ─▶ read, bounded ─▶ Answer
              every attempt          every attempt               once per sending, nothing is sent twice
              unseen

The session knows no call of the service by name and repeats nothing, except once when a refusal has been
mended: the clock was corrected from the answer's Date, or fresher credentials were found.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp
from yarl import URL

from orchestrator.core.job import ServiceSpec
from orchestrator.core.redact import Redactor
from orchestrator.core.signing import Credentials, canonical_uri, query_on_wire, sign
from orchestrator.core.window import iso_utc
from orchestrator.errors import (
    CreateUncertain,
    CredentialsError,
    MalformedAnswer,
    Throttled,
    Unreachable,
    UsageError,
)
from orchestrator.ports.control import Family, Gate
from orchestrator.ports.time import Clock, Rng
from orchestrator.remote.credentials import CredentialSource
from orchestrator.remote.proxies import Proxies
from orchestrator.remote.refusals import (
    REQUEST_EXPIRED,
    concerns_credentials,
    from_the_service,
    on_one_line,
    refusal,
)
from orchestrator.remote.wire import Answer, http_date

__all__ = ["Call", "Session", "http_session", "tls_context", "unreachable"]

LARGEST_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""The largest page asked for has a hundred remote tasks. As Python values it may be thirty times as much."""
LARGEST_REFUSAL_BYTES: Final = 64 * 1024
"""Of an answer that is no success no more is read: its status speaks, and a code when there is one."""
CONNECT_TIMEOUT_S: Final = 15.0
KEEP_ALIVE_S: Final = 4.0
"""Idle connections are dropped before common servers and balancers do (five seconds and up): a create that
meets a connection the other side has just closed is a create in doubt."""
CLOCK_TOLERANCE_S: Final = 2.0
"""Date has whole seconds and the way takes time: smaller differences are noise."""
EXPIRED_IN_A_ROW: Final = 2
"""So many refusals for the clock are answered by another view of it: first the server's, then our own."""

TRANSPORT_FAULTS: Final = (
    aiohttp.ClientError,
    aiohttp.http_exceptions.HttpProcessingError,
    TimeoutError,
    OSError,
)
NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""Faults of connecting: not a byte of the request left this machine for the service."""


@dataclass(frozen=True, slots=True)
class Call:
    """What to send. ``path`` and ``query`` are decoded text; ``body`` is JSON.

    ``repeatable`` allows the one sending after a mended refusal; without it a lost answer is CreateUncertain.
    ``send_within_s`` bounds the wait for permission and keys, None waits as long as it takes.
    """

    family: Family
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = field(default=None, repr=False)
    expires_in_s: int = 1800
    repeatable: bool = True
    send_within_s: float | None = None


class Session:
    """The signed way to one endpoint. Connections are reused; redirects are never followed."""

    def __init__(
        self,
        service: ServiceSpec,
        *,
        credentials: CredentialSource,
        gate: Gate,
        clock: Clock,
        rng: Rng,
        proxies: Proxies | None = None,
    ) -> None:
        self._service = service
        self._endpoint = _endpoint(service.endpoint)
        self._credentials = credentials
        self._gate = gate
        self._clock = clock
        self._rng = rng
        self._proxy = (proxies or Proxies({})).for_url(self._endpoint)
        self._http: aiohttp.ClientSession | None = None
        self._redactor = Redactor(())
        self._known: Credentials | None = None
        self._offset_s = 0.0
        self._date_believed = True
        self._expired_in_a_row = 0

    @property
    def server_offset_s(self) -> float:
        """Server time minus ours, learned from the Date header; 0.0 before any answer."""
        return self._offset_s

    @property
    def rng(self) -> Rng:
        """Where jitter comes from."""
        return self._rng

    def clean(self, text: str) -> str:
        """``text`` of the service as it may be shown: on one line, without the keys in use."""
        return self._redactor(on_one_line(text))

    async def call(self, call: Call, *, timeout_s: float = 30.0) -> Answer:
        """The answer, whatever its status, within ``timeout_s`` of its sending.

        Raises Unreachable when none came, or CreateUncertain when the call is not repeatable and may have
        been sent; MalformedAnswer when the answer is too large; CredentialsError when there is nothing to
        sign with; Throttled when the gate did not open in time. After Unreachable (of a call that is not
        repeatable), CredentialsError and Throttled nothing was sent.
        """
        answer = await self._attempt(call, timeout_s)
        return await self._attempt(call, timeout_s) if answer.mended and call.repeatable else answer

    async def close(self) -> None:
        """Close all connections; idempotent."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _attempt(self, call: Call, timeout_s: float) -> Answer:
        permission = self._gate.request(call.family)
        used = await self._admitted(call, permission)
        try:
            if used != self._known:
                secrets = (text.reveal() for text in (used.secret_access_key, used.security_token) if text)
                self._known, self._redactor = used, Redactor((used.access_key_id, *secrets))
            offset_s = self._offset_s
            sent_at = self._clock.now()
            answer = await self._send(call, self._signed(call, used, int(sent_at + offset_s)), timeout_s)
            self._learn(answer, sent_at, offset_s)
        finally:
            await permission.__aexit__(None, None, None)
        if answer.status == 429:
            self._gate.throttled(call.family, refusal(answer, "").retry_after_s)
        elif answer.ok:
            self._gate.accepted(call.family)
        elif await self._mended(answer, used, offset_s):
            return replace(answer, mended=True)
        return answer

    async def _admitted(self, call: Call, permission: AbstractAsyncContextManager[None]) -> Credentials:
        """Permission, which is the caller's to give back, and keys to sign with; without keys it is given
        back here."""
        try:
            async with asyncio.timeout(call.send_within_s):
                await permission.__aenter__()
                try:
                    return await self._credentials.current()
                except BaseException:
                    await permission.__aexit__(None, None, None)
                    raise
        except TimeoutError:
            raise Throttled(
                f"{call.method} {call.path}: no permission within {call.send_within_s} s"
            ) from None

    async def _mended(self, answer: Answer, used: Credentials, offset_s: float) -> bool:
        """Whether the reason of a refusal was ours and is gone."""
        if answer.status < 400 or answer.status >= 500:
            return False
        if refusal(answer, "").service_code == REQUEST_EXPIRED:
            return self._offset_s != offset_s and self._expired_in_a_row <= EXPIRED_IN_A_ROW
        if not concerns_credentials(answer):
            return False
        self._credentials.invalidate(used)
        try:
            return await self._credentials.current() != used
        except CredentialsError:
            return False  # the refusal says more than that its cure failed

    def _signed(self, call: Call, credentials: Credentials, at_s: int) -> dict[str, str]:
        """All headers that matter, every one of them listed and signed, so that all verifiers agree
        (bls-api.md 7)."""
        headers = {
            "Host": self._endpoint.host_port_subcomponent or "",
            "x-bce-date": iso_utc(at_s),
            "x-bce-request-id": self._request_id(),
        }
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if credentials.security_token:
            headers["x-bce-security-token"] = credentials.security_token.reveal()
        headers["Authorization"] = sign(
            credentials,
            method=call.method,
            path=self._path(call),
            query=call.query,
            headers=headers.items(),
            headers_to_sign=tuple(headers),
            timestamp_s=at_s,
            expires_in_s=call.expires_in_s,
        )
        return headers

    async def _send(self, call: Call, headers: dict[str, str], timeout_s: float) -> Answer:
        if self._http is None:
            self._http = http_session(tls_context(self._service.ca_file))
        query = query_on_wire(call.query)
        target = f"{self._endpoint.origin()}{canonical_uri(self._path(call))}" + (
            f"?{query}" if query else ""
        )
        what = f"{call.method} {call.path}"
        try:
            async with self._http.request(
                call.method,
                URL(target, encoded=True),
                data=call.body,
                headers=headers
                | ({} if self._endpoint.scheme == "https" or not self._proxy else self._proxy.headers),
                proxy=self._proxy.url if self._proxy else None,
                proxy_headers=self._proxy.headers if self._proxy else None,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                body = await _read(response, what)
        except TRANSPORT_FAULTS as fault:
            lost = unreachable(what, str(self._endpoint.origin()), fault)
            if call.repeatable or isinstance(fault, NEVER_SENT):
                raise lost from None
            raise CreateUncertain(lost.message, answered=False) from None
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, names, body)

    def _learn(self, answer: Answer, sent_at: float, used_offset_s: float) -> None:
        """The server's date lies between sending and receiving; half a second makes up for its cut-off
        fraction.

        A gateway's date is not learned: its clock is not the one that judges signatures. A date that led to a
        refusal is given up for our own clock until that one is refused as well.
        """
        if not answer.ok and not from_the_service(answer):
            return
        expired = not answer.ok and refusal(answer, "").service_code == REQUEST_EXPIRED
        self._expired_in_a_row = self._expired_in_a_row + 1 if expired else 0
        date = http_date(answer.headers.get("date", ""))
        offset_s = None if date is None else date + 0.5 - (sent_at + self._clock.now()) / 2
        if expired:
            news = offset_s is not None and abs(offset_s - used_offset_s) > CLOCK_TOLERANCE_S
            self._date_believed = news or not used_offset_s
            if not self._date_believed:
                self._offset_s = 0.0
        if offset_s is None or not self._date_believed:
            return
        if abs(offset_s - self._offset_s) > CLOCK_TOLERANCE_S:
            self._offset_s = offset_s

    def _path(self, call: Call) -> str:
        """An endpoint may have a path of its own; what the server sees is what is signed."""
        return self._endpoint.path.rstrip("/") + call.path

    def _request_id(self) -> str:
        digits = self._rng.token_hex(16)
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


class _Connections(aiohttp.TCPConnector):
    """Connections that are used again only while they are silent.

    aiohttp looks at a connection when it comes back, not when it is taken again. What a server sends in
    between would be taken for the answer to the next request: another task's state, another window's count.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()
        return None


def http_session(tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """An HTTP client that adds nothing on its own: no cookies, no netrc, no unseen repetition."""
    session = aiohttp.ClientSession(
        connector=_Connections(ssl=tls or True, keepalive_timeout=KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "orchestrator", "Accept": "*/*", "Accept-Encoding": "identity"},
        skip_auto_headers=("Content-Type",),
    )
    # aiohttp sends an idempotent request again by itself when a kept connection breaks. That second sending
    # would pass no gate, so it would break the ceiling on requests per second; our own retries do the same in
    # sight.
    session._retry_connection = False  # noqa: SLF001  there is no public switch
    return session


def tls_context(ca_file: str) -> ssl.SSLContext | None:
    """The system's authorities plus those of ``ca_file``; None for the default. Raises UsageError for a bad
    file."""
    if not ca_file:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise UsageError(
            f"ca_file {ca_file} cannot be read as certificates", hint="name a PEM file in [service] ca_file"
        ) from None
    return context


def unreachable(what: str, origin: str, fault: Exception) -> Unreachable:
    """The foreign error as ours. Its own text is left out: aiohttp's may hold the whole address, a secret in
    a link."""
    hint = ""
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        reason, hint = "its name cannot be resolved", "check region or endpoint, and the network"
    elif isinstance(fault, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        reason, hint = (
            "its certificate is not trusted",
            "behind a company's proxy name its authority in [service] ca_file",
        )
    elif isinstance(fault, aiohttp.ClientHttpProxyError):
        reason, hint = f"the proxy answered {fault.status}", "check HTTPS_PROXY and NO_PROXY"
    elif isinstance(fault, aiohttp.ClientProxyConnectionError):
        reason, hint = "the proxy cannot be reached", "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    elif isinstance(fault, TimeoutError):
        reason = "no answer in time"
    elif isinstance(fault, aiohttp.ClientPayloadError):
        reason = "the answer broke off"
    elif isinstance(fault, aiohttp.ServerDisconnectedError):
        reason = "the connection was closed without an answer"
    else:
        reason = (
            fault.strerror if isinstance(fault, OSError) else ""
        ) or f"no usable HTTP ({type(fault).__name__})"
    return Unreachable(f"{what} at {origin}: {reason}", hint=hint)


async def _read(response: aiohttp.ClientResponse, what: str) -> bytes:
    """The whole body of a success; of any other answer, as much as can matter."""
    success = 200 <= response.status < 300
    body = bytearray()
    async for block in response.content.iter_any():
        body += block
        if success and len(body) > LARGEST_ANSWER_BYTES:
            response.close()
            raise MalformedAnswer(
                f"{what}: an answer of more than {LARGEST_ANSWER_BYTES} bytes", status=response.status
            )
        if not success and len(body) > LARGEST_REFUSAL_BYTES:
            response.close()
            break
    return bytes(body) if success else bytes(body[:LARGEST_REFUSAL_BYTES])


def _endpoint(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.raw_host or url.user or url.query_string:
        raise UsageError(
            "the endpoint is no http(s) address",
            hint='write endpoint = "https://host" without user, query or fragment',
        )
    return url

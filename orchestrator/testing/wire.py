"""HTTP without a network: client and emulated service in one virtual loop, joined by connections made of
memory.

Everything above the socket is real on both sides: aiohttp's client, its connection pool and parser, its
server, and the emulator's own handler. Names and TLS are not: any host and both schemes lead to the same
emulator. What crosses is kept as ``Exchange`` for tests that ask what the service really said.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import orjson
from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from orchestrator.emulator.http import Emulator

__all__ = ["Exchange", "Wire"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what went back. ``asked`` is the request's body, ``status`` 0 a broken connection,
    ``raw`` the answer as it was written, head and all; header names are lower-case."""

    method: str
    path: str
    scheme: str
    host: str
    sent: Mapping[str, str]
    asked: bytes
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        """What followed the head of the answer."""
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def document(self) -> Any:
        """The JSON of the answer; None for anything else."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class Wire:
    """Connections to one emulator in the running loop; ``exchanges`` grows in order of the requests' ends."""

    def __init__(self, emulator: Emulator) -> None:
        self._handle = emulator._handle  # noqa: SLF001  what web.Server is given, without its sockets
        self._loop = asyncio.get_running_loop()
        self._server = web.Server(self._served, access_log=None)
        self.exchanges: list[Exchange] = []

    def client(self) -> aiohttp.ClientSession:
        """A session as ``remote.session.http_session`` makes them, on these connections."""
        session = aiohttp.ClientSession(
            connector=_Connector(self),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "orchestrator", "Accept": "*/*", "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),
        )
        session._retry_connection = False  # noqa: SLF001  as in remote.session
        return session

    async def close(self) -> None:
        """Hangs up on everybody."""
        await self._server.shutdown(0.01)

    def connected(self, *, secure: bool) -> ResponseHandler:
        """The client's end of a new connection."""
        protocol = ResponseHandler(self._loop)
        near, far = _End(self._loop, secure), _End(self._loop, secure)
        near.peer, far.peer = far, near
        for end, spoken in ((far, self._server()), (near, protocol)):
            end.set_protocol(spoken)
            spoken.connection_made(end)
        return protocol

    async def _served(self, request: web.BaseRequest) -> web.StreamResponse:
        end = cast("_End | None", request.transport)
        before = len(end.written) if end is not None else 0
        answer: web.StreamResponse | None = None
        try:
            answer = await self._handle(request)
            return answer
        finally:
            asked = end.peer.written_since_asked() if end is not None else b""
            # The server writes the answer after this; what it wrote is known one turn of the loop later.
            self._loop.call_soon(self._loop.call_soon, self._noted, request, asked, end, before, answer)

    def _noted(
        self,
        request: web.BaseRequest,
        asked: bytes,
        end: _End | None,
        before: int,
        answer: web.StreamResponse | None,
    ) -> None:
        raw = bytes(end.written[before:]) if end is not None else b""
        head = raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1]) if head[0].startswith("HTTP/") else 0
        broken = answer is None or (end is not None and end.aborted)
        fields = (line.partition(":") for line in head[1:])
        self.exchanges.append(
            Exchange(
                request.method,
                request.path,
                "https" if end is not None and end.secure else "http",
                request.host,
                {name.lower(): value for name, value in request.headers.items()},
                asked.partition(b"\r\n\r\n")[2],
                0 if broken and not raw else status,
                {name.lower(): value.strip() for name, _, value in fields},
                raw,
            )
        )


class _Connector(aiohttp.BaseConnector):
    """Connects to nothing but the wire."""

    allowed_protocol_schema_set = frozenset({"", "http", "https"})

    def __init__(self, wire: Wire) -> None:
        super().__init__(keepalive_timeout=4.0)
        self._wire = wire

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: object,
        timeout: object,  # noqa: ASYNC109  aiohttp's own signature
    ) -> ResponseHandler:
        return self._wire.connected(secure=req.is_ssl())


class _End(asyncio.Transport):
    """One end of a connection. What is written here is read there, one turn of the loop later."""

    peer: _End

    def __init__(self, loop: asyncio.AbstractEventLoop, secure: bool) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = asyncio.Protocol()
        self._inbox: deque[bytes | None] = deque()
        self._paused = self._closing = self._lost = False
        self.secure = secure
        self.aborted = False
        self.written = bytearray()
        self._told = 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("memory", 0) if name in ("peername", "sockname") else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing and data:
            self.written += data
            self.peer.arrive(bytes(data))

    def written_since_asked(self) -> bytes:
        """What was written since this was last called."""
        found = bytes(self.written[self._told :])
        self._told = len(self.written)
        return found

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def arrive(self, data: bytes | None) -> None:
        """Something from the other end; None when it hung up."""
        self._inbox.append(data)
        self._loop.call_soon(self._read)

    def _read(self) -> None:
        while self._inbox and not self._paused and not self._lost:
            data = self._inbox.popleft()
            if data is None:
                self._end()
            elif not self._closing:
                self._protocol.data_received(data)

    def _end(self) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._protocol.eof_received()
            self._protocol.connection_lost(None)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._read)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.peer.arrive(None)
            self._loop.call_soon(self._gone)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def _gone(self) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

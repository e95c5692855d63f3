"""A signed client of the emulator, small enough to be judged by eye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from orchestrator.core.signing import Credentials, Pairs, canonical_uri, query_on_wire, sign
from orchestrator.emulator.http import TEST_CREDENTIALS


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class SignedClient:
    """Signs what it sends; ``now_s`` is the moment its signatures bear."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, now_s: float) -> None:
        self.session = session
        self.endpoint = endpoint
        self.now_s = now_s
        self.credentials: Credentials = TEST_CREDENTIALS

    async def call(self, method: str, path: str, query: Pairs = (), body: object = None) -> Reply:
        host = self.endpoint.removeprefix("http://")
        headers = [("host", host), ("content-type", "application/json")]
        if self.credentials.security_token is not None:
            headers.append(("x-bce-security-token", self.credentials.security_token.reveal()))
        headers.append(
            (
                "authorization",
                sign(
                    self.credentials,
                    method=method,
                    path=path,
                    query=query,
                    headers=headers,
                    headers_to_sign=[name for name, _ in headers],
                    timestamp_s=int(self.now_s),
                ),
            )
        )
        on_wire = query_on_wire(query)
        url = f"{self.endpoint}{canonical_uri(path)}" + (f"?{on_wire}" if on_wire else "")
        data = b"" if body is None else orjson.dumps(body)
        return await self.fetch(url, method=method, data=data, headers=dict(headers))

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        request = self.session.request(
            method, URL(url, encoded=True), data=data, headers=headers, allow_redirects=False
        )
        async with request as response:
            return Reply(response.status, response.headers, await response.read())

    async def create(self, **body: object) -> Reply:
        return await self.call("POST", "/v2/logstore/download", body=body)

    async def describe(self, uuid: str) -> Reply:
        return await self.call("GET", f"/v2/logstore/download/{uuid}")

    async def link(self, uuid: str) -> str:
        reply = await self.call("GET", f"/v2/logstore/download/link/{uuid}")
        link: str = reply.json["result"]["link"]
        return link

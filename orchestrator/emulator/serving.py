"""How a finished file goes out over HTTP: who may fetch it, ranges, entity tags, and what breaks on the way
(bls-api.md 8)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

import orjson
from aiohttp import web

from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials, Verdict, parse_query, presign, verify
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import hexdigits
from orchestrator.emulator.file_body import FileBody, md5_hex
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.remote_task import Task
from orchestrator.emulator.task_desk import Grant
from orchestrator.emulator.world import World

__all__ = ["FileDoor"]

FILES: Final = "/bls-download/"
HOPS: Final = "/bls-hop/"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TRICKLES_PER_S = 20


class FileDoor:
    """Makes links and serves what they open. Links are signed with keys of the emulator's own storage
    service."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = Credentials(
            "AKEMULATORSTORAGE0000000000000000", Secret(hexdigits(world.seed, "storage key"))
        )
        self._md5: dict[str, str] = {}
        self._open = 0

    def link(self, grant: Grant, host: str) -> str:
        """The address to fetch, on the host the caller used or on another name of it."""
        behaviour = self._world.behaviour
        scheme = behaviour.link_scheme
        if behaviour.link_host == "other":
            host = other_name(host)
        path = f"{FILES}{grant.uuid}/{grant.file_name}"
        if behaviour.link_kind == "presigned":
            link = presign(
                self._keys,
                scheme=scheme,
                host=host,
                path=path,
                timestamp_s=grant.issued_at_s,
                expires_in_s=grant.lifetime_s,
            ).reveal()
        else:
            query = f"issued={grant.issued_at_s}&lifetime={grant.lifetime_s}&ticket={grant.ticket}"
            link = f"{scheme}://{host}{FILES}{grant.uuid}/file?{query}"
        for _ in range(behaviour.link_redirects):
            link = f"{scheme}://{host}{HOPS}?to={link.encode().hex()}"
        return link

    @staticmethod
    def hop(raw_query: str, host: str) -> web.Response:
        """One redirect, to this host only."""
        target = bytes.fromhex(dict(parse_query(raw_query)).get("to", "")).decode()
        if not target.startswith((f"http://{host}/", f"https://{host}/")):
            return web.Response(status=400)
        return web.Response(status=302, headers={"Location": target})

    async def serve(self, request: web.BaseRequest, now_s: float, request_id: str) -> web.StreamResponse:
        """GET or HEAD of a file."""
        raw_path, _, raw_query = request.raw_path.partition("?")
        uuid = unquote(raw_path.removeprefix(FILES)).partition("/")[0]
        witness = self._world.witness
        witness.request("file", now_s, signed=False)
        witness.file_requests[uuid] += 1
        self._open += 1
        witness.max_files_at_once = max(witness.max_files_at_once, self._open)
        try:
            self._check_link(request, raw_path, raw_query, uuid, now_s)
            if self._world.chance.happens("file error", self._world.behaviour.file_error_probability):
                raise Refusal(503, "ServiceUnavailable", "Please slow down")
            task, body = self._world.tasks.open_file(uuid, now_s)
            return await self._answer(request, task, body, request_id)
        except Refusal as refusal:
            document = {"code": refusal.code, "message": refusal.message, "requestId": request_id}
            witness.answered("file", refusal.status)
            return web.Response(
                status=refusal.status,
                body=orjson.dumps(document),
                headers={"Content-Type": "application/json; charset=utf-8", "x-bce-request-id": request_id},
            )
        finally:
            self._open -= 1

    def _check_link(
        self, request: web.BaseRequest, raw_path: str, raw_query: str, uuid: str, now_s: float
    ) -> None:
        status = int(self._world.behaviour.link_refusal)
        query = dict(parse_query(raw_query))
        if "ticket" in query:
            issued, lifetime = query.get("issued", ""), query.get("lifetime", "")
            numbers = issued.isdecimal() and lifetime.isdecimal()
            if numbers and self._world.tasks.opens(uuid, int(issued), int(lifetime), query["ticket"], now_s):
                return
            raise Refusal(status, "AccessDenied", "Access denied")
        verdict = verify(
            None,
            method=request.method,
            raw_path=raw_path,
            raw_query=raw_query,
            headers=request.headers.items(),
            find_secret=lambda key: self._keys.secret_access_key if key == self._keys.access_key_id else None,
            now_s=now_s,
        )
        if verdict is Verdict.STALE:
            raise Refusal(status, "RequestExpired", "Request has expired")
        if verdict is not Verdict.OK:
            raise Refusal(status, "AccessDenied", "Access denied")

    async def _answer(
        self, request: web.BaseRequest, task: Task, body: FileBody, request_id: str
    ) -> web.StreamResponse:
        behaviour = self._world.behaviour
        size = await asyncio.to_thread(body.size_bytes) if body.costly else body.size_bytes()
        etag = await self._etag(task, body, behaviour)
        headers = {
            "Content-Type": "application/octet-stream",
            "x-bce-request-id": request_id,
            "Accept-Ranges": "bytes",
        }
        if etag:
            headers["ETag"] = etag
        if task.behaviour.content_encoding == "gzip":
            headers["Content-Encoding"] = "gzip"
        span = _span(request, size, etag) if behaviour.ranges == "honoured" else (0, size, 200)
        if span is None:
            return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        start, end, status = span
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response = web.StreamResponse(status=status, headers=headers)
        short = self._world.chance.happens("file short", behaviour.file_short_probability)
        if not short:
            response.content_length = end - start
        if short and start < end:
            end = start + int(self._world.chance.fraction("file cut") * (end - start))
        try:
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            broken = await self._send(request, response, task.uuid, body, start, end)
        except ConnectionError:
            broken = True  # the caller went away, which is its right
        self._world.witness.answered("file", 0 if broken else status)
        return response

    async def _send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        uuid: str,
        body: FileBody,
        start: int,
        end: int,
    ) -> bool:
        """Streams the bytes ``[start, end)``; True when the connection was broken on purpose."""
        behaviour, chance = self._world.behaviour, self._world.chance
        stop = end
        breaks = chance.happens("file reset", behaviour.file_reset_probability)
        if breaks:
            stop = start + int(chance.fraction("file cut") * (end - start))
        if request.transport is not None:
            request.transport.set_write_buffer_limits(high=2**21)
        blocks = body.read(start, stop)
        while (block := await _next(blocks, costly=body.costly)) is not None:
            for piece in _pieces(block, behaviour):
                await response.write(piece)
                self._world.witness.served(uuid, len(piece))
                if behaviour.file_bytes_per_s:
                    await asyncio.sleep(len(piece) / behaviour.file_bytes_per_s)
        if breaks:
            if request.transport is not None:
                request.transport.abort()
        else:
            await response.write_eof()
        return breaks

    async def _etag(self, task: Task, body: FileBody, behaviour: Behaviour) -> str:
        opaque = hexdigits(self._world.seed, "etag", task.uuid)
        match behaviour.etag:
            case "md5":
                if task.uuid not in self._md5:
                    self._md5[task.uuid] = await asyncio.to_thread(md5_hex, body)
                return f'"{self._md5[task.uuid]}"'
            case "opaque":
                return f'"{opaque}-7"'
            case "weak":
                return f'W/"{opaque}"'
            case "changing":
                return f'"{opaque}-{self._world.witness.file_requests[task.uuid]}"'
            case _:
                return ""


def other_name(host: str) -> str:
    """Another name under which this machine can be reached; a made-up one where no network is asked."""
    name, colon, port = host.partition(":")
    return {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(name, f"files.{name}") + colon + port


async def _next(blocks: Iterator[bytes], *, costly: bool) -> bytes | None:
    if costly:
        return await asyncio.to_thread(next, blocks, None)
    return next(blocks, None)


def _pieces(block: bytes, behaviour: Behaviour) -> Iterator[bytes]:
    """The block as it is, or in the pieces of a slow trickle."""
    if not behaviour.file_bytes_per_s:
        yield block
        return
    size = max(1, int(behaviour.file_bytes_per_s / _TRICKLES_PER_S))
    for at in range(0, len(block), size):
        yield block[at : at + size]


def _span(request: web.BaseRequest, size: int, etag: str) -> tuple[int, int, int] | None:
    """Start, end and status for the ``Range`` asked for; None when it cannot be satisfied."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or not (match[1] or match[2]):
        return 0, size, 200
    condition = request.headers.get("If-Range")
    if condition is not None and (condition != etag or etag.startswith("W/")):
        return 0, size, 200
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    return (start, end, 206) if start < end else None

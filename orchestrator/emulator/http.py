"""The emulator over HTTP: signed API calls, file downloads, and a small control door of its own under
``/_emulator/``.

GET  /_emulator/stats       what the emulator saw of its callers (witness.py)
GET  /_emulator/requests    the little of it that can be asked for often: requests and their statuses
GET  /_emulator/tasks       every remote task that has not been deleted, oldest first
GET  /_emulator/behaviour   the switches in force
POST /_emulator/behaviour   {"switch": value, …} changes some; with ?reset=1 starting from the defaults
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from email.utils import formatdate
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote

import orjson
from aiohttp import web

from orchestrator.core.redact import Secret
from orchestrator.core.signing import Credentials, Verdict, parse_query, verify
from orchestrator.emulator import answers
from orchestrator.emulator.api import Answer, Call, find_endpoint
from orchestrator.emulator.behaviour import Behaviour, BehaviourError
from orchestrator.emulator.chance import hexdigits
from orchestrator.emulator.mishap import Kind, Mishap, draw_latency, draw_mishap
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.remote_task import true_state
from orchestrator.emulator.serving import FILES, HOPS, FileDoor
from orchestrator.emulator.world import World

__all__ = ["TEST_CREDENTIALS", "Emulator", "run_emulator"]

TEST_CREDENTIALS: Final = Credentials(
    "AKEMULATOR00FAKE00FAKE00FAKE00FAKE", Secret("SKEMULATOR-not-a-real-secret-0123")
)
"""What every emulator accepts unless told otherwise; valid nowhere else."""

CONTROL: Final = "/_emulator/"
_JSON: Final = "application/json; charset=utf-8"
_GATEWAY_PAGE = (
    b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>\n"
)


class Emulator:
    """Serves a world on ``host:port`` (0: any free port) while its context is open.

    ``now`` gives UTC epoch seconds; it must be the clock the callers sign with. ``credentials`` are accepted,
    temporary ones only together with their token.
    """

    def __init__(
        self,
        world: World,
        *,
        now: Callable[[], float],
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: Sequence[Credentials] = (TEST_CREDENTIALS,),
    ) -> None:
        self.world = world
        self._now = now
        self._host = host
        self._port = port
        self._credentials = {each.access_key_id: each for each in credentials}
        self._files = FileDoor(world)
        self._runner: web.ServerRunner | None = None
        self._requests = 0
        self._queries = 0

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def endpoint(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://{self._host}:{self._port}"

    @property
    def server_now_s(self) -> float:
        """The server's own clock."""
        return self._now() + self.world.behaviour.clock_offset_s

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path, _, raw_query = request.raw_path.partition("?")
        if raw_path.startswith(CONTROL):
            return await self._control(request, raw_path)
        now_s = self.server_now_s
        self._requests += 1
        request_id = request.headers.get("x-bce-request-id") or hexdigits(
            self.world.seed, "request", self._requests
        )
        if raw_path.startswith(FILES):
            return await self._files.serve(request, now_s, request_id)
        if raw_path.startswith(HOPS):
            return self._files.hop(raw_query, request.host)
        return await self._api(request, raw_path, raw_query, now_s, request_id)

    async def _api(
        self, request: web.BaseRequest, raw_path: str, raw_query: str, now_s: float, request_id: str
    ) -> web.StreamResponse:
        body = await request.content.read()
        found = find_endpoint(request.method, unquote(raw_path, errors="surrogateescape"))
        name = found[0].name if found else "unknown"
        query = dict(parse_query(raw_query))
        if name == "query" and not query.get("query"):
            name = "pull"
        witness = self.world.witness
        witness.request(name, now_s)
        family = found[0].family if found else "read"
        slot = family == "query"
        self._queries += slot
        witness.max_queries_at_once = max(witness.max_queries_at_once, self._queries)
        try:
            self._check_signature(request, raw_path, raw_query)
            if found is None:
                raise Refusal(404, "InvalidURI", "Could not parse the specified URI")
            self.world.pace.admit(family, self.world.behaviour, now_s)
            if slot and 0 < self.world.behaviour.queries_at_once < self._queries:
                raise self.world.pace.too_many(self.world.behaviour)
            mishap = draw_mishap(self.world.behaviour, self.world.chance, family)
            latency_s = draw_latency(self.world.behaviour, self.world.chance)
            await asyncio.sleep(latency_s / 2)
            if name == "histogram" and self.world.behaviour.histogram_fails == "timeout":
                await asyncio.sleep(self.world.behaviour.histogram_timeout_s)
            answer = None
            call = Call(request.method, raw_path, query, body, found[1])
            if mishap is not None and mishap.after_effect and name == "create":
                self.world.create_task_unheard(call.body(), self.server_now_s)
            elif mishap is None or mishap.after_effect:
                answer = found[0].answer(self.world, call, self.server_now_s)
            await asyncio.sleep(latency_s / 2)
            if mishap is not None or answer is None:
                witness.reply_lost(name, carried_out=mishap is None or mishap.after_effect)
                return self._spoilt(request, name, mishap, request_id)
            witness.answered(name, answer.status)
            return self._reply(answer, request, request_id)
        except Refusal as refusal:
            witness.answered(name, refusal.status)
            return self._refused(refusal, request_id)
        finally:
            self._queries -= slot

    def _reply(self, answer: Answer, request: web.BaseRequest, request_id: str) -> web.Response:
        document = answer.document
        if answer.grant is not None and document is not None:
            document["result"]["link"] = self._files.link(answer.grant, request.host)
        if document is None or answer.status == 204:
            return web.Response(status=answer.status, headers=self._headers(request_id))
        return web.Response(
            status=answer.status,
            body=orjson.dumps(document),
            headers={**self._headers(request_id), "Content-Type": _JSON},
        )

    def _refused(self, refusal: Refusal, request_id: str) -> web.Response:
        headers = {**self._headers(request_id), "Content-Type": _JSON}
        if refusal.retry_after_s is not None:
            after_s = refusal.retry_after_s
            by_date = self.world.behaviour.retry_after_form == "date"
            headers["Retry-After"] = (
                formatdate(self.server_now_s + after_s, usegmt=True) if by_date else f"{after_s:g}"
            )
        document = answers.error_answer(refusal.code, refusal.message, request_id, self.world.behaviour)
        return web.Response(status=refusal.status, body=orjson.dumps(document), headers=headers)

    def _spoilt(
        self, request: web.BaseRequest, name: str, mishap: Mishap | None, request_id: str
    ) -> web.Response:
        """What the caller gets when something went wrong on the way."""
        kind = mishap.kind if mishap else Kind.DROP
        status = mishap.status if mishap else 0
        self.world.witness.answered(name, status)
        match kind:
            case Kind.DROP:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=500)
            case Kind.SERVER_ERROR:
                code = "InternalError" if status == 500 else "ServiceUnavailable"
                return self._refused(Refusal(status, code, "We encountered an internal error"), request_id)
            case Kind.GATEWAY_PAGE:
                return web.Response(status=status, body=_GATEWAY_PAGE, content_type="text/html")
            case Kind.MALFORMED:
                headers = {**self._headers(request_id), "Content-Type": _JSON}
                return web.Response(status=200, body=b'{"success": true, "result": {"uuid', headers=headers)

    def _headers(self, request_id: str) -> dict[str, str]:
        return {"x-bce-request-id": request_id, "Date": formatdate(self.server_now_s, usegmt=True)}

    def _check_signature(self, request: web.BaseRequest, raw_path: str, raw_query: str) -> None:
        verdict = verify(
            request.headers.get("Authorization"),
            method=request.method,
            raw_path=raw_path,
            raw_query=raw_query,
            headers=request.headers.items(),
            find_secret=self._secret(request),
            now_s=self.server_now_s,
        )
        if verdict is not Verdict.OK:
            raise auth_refusal(verdict, self.world.behaviour)

    def _secret(self, request: web.BaseRequest) -> Callable[[str], Secret | None]:
        given = request.headers.get("x-bce-security-token", "")

        def find(access_key_id: str) -> Secret | None:
            known = self._credentials.get(access_key_id)
            if known is None or (known.security_token is not None and known.security_token.reveal() != given):
                return None
            return known.secret_access_key

        return find

    async def _control(self, request: web.BaseRequest, raw_path: str) -> web.Response:
        match request.method, raw_path.removeprefix(CONTROL):
            case "GET", "stats":
                outstanding = self.world.tasks.outstanding(self.server_now_s)
                return _json(200, {**self.world.witness.stats(), "outstanding": outstanding})
            case "GET", "requests":
                witness = self.world.witness
                return _json(200, {"requests": witness.requests, "statuses": witness.statuses})
            case "GET", "tasks":
                return _json(200, {"tasks": self._tasks_now()})
            case "GET", "behaviour":
                return _json(200, asdict(self.world.behaviour))
            case "POST", "behaviour":
                return self._swap(await request.content.read(), reset="reset=1" in request.raw_path)
            case _:
                return _json(404, {"complaints": ["no such control"]})

    def _tasks_now(self) -> list[dict[str, str]]:
        """The truth, without what lists and answers make of it."""
        now_s = self.server_now_s
        self.world.tasks.advance(now_s)
        return [
            {
                "uuid": task.uuid,
                "name": task.request.name,
                "project": task.request.project,
                "logstore": task.request.logstore,
                "start": task.request.start_text,
                "end": task.request.end_text,
                "state": true_state(task, now_s),
            }
            for task in self.world.tasks.tasks()
        ]

    def _swap(self, body: bytes, *, reset: bool) -> web.Response:
        try:
            spec = orjson.loads(body or b"{}")
            if not isinstance(spec, dict):
                return _json(400, {"complaints": ["a JSON object of switches is needed"]})
            behaviour = Behaviour.from_dict(spec, None if reset else self.world.behaviour)
        except orjson.JSONDecodeError as error:
            return _json(400, {"complaints": [str(error)]})
        except BehaviourError as error:
            return _json(400, {"complaints": list(error.complaints)})
        self.world.behave(behaviour, self.server_now_s)
        return _json(200, asdict(behaviour))


def _json(status: int, document: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), headers={"Content-Type": _JSON})


def auth_refusal(verdict: Verdict, behaviour: Behaviour) -> Refusal:
    """How a signature that does not hold is refused: by the platform's codes, or by the service's own
    (bls-api.md 5)."""
    if behaviour.auth_style != "platform":
        status = int(behaviour.auth_style.removeprefix("bls-"))
        if verdict is Verdict.STALE:
            return Refusal(status, "RequestExpired", "Request has expired")
        return Refusal(status, "Unauthorized" if status == 401 else "AccessDenied", "Access denied")
    match verdict:
        case Verdict.NO_AUTHORIZATION:
            return Refusal(403, "AccessDenied", "Access denied")
        case Verdict.UNKNOWN_KEY:
            return Refusal(403, "InvalidAccessKeyId", "The access key does not exist")
        case Verdict.STALE:
            return Refusal(400, "RequestExpired", "Request has expired")
        case Verdict.MISMATCH:
            return Refusal(400, "SignatureDoesNotMatch", "The signature does not match")
        case _:
            return Refusal(400, "InvalidHTTPAuthHeader", "The Authorization header is invalid")


async def run_emulator(
    world: World,
    *,
    now: Callable[[], float],
    host: str = "127.0.0.1",
    port: int = 0,
    credentials: Sequence[Credentials] = (TEST_CREDENTIALS,),
    on_ready: Callable[[Emulator], None] = lambda _: None,
) -> None:
    """Serves until cancelled; ``on_ready`` is called once, when requests are taken."""
    async with Emulator(world, now=now, host=host, port=port, credentials=credentials) as emulator:
        on_ready(emulator)
        await asyncio.Event().wait()

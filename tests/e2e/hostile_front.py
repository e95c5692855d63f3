"""A front before the emulator: it quotes back whatever it was told, as careless services do, or does what a
test says."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

__all__ = ["Answer", "Front", "QuotingFront", "quoting_front"]

_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_TROUBLED = ("create", "describe", "list", "link", "query", "histogram", "delete", "file")


def family(method: str, path: str) -> str:
    """Which call a request is; "other" for what is passed on untouched."""
    place = urlsplit(path).path
    if place.startswith(("/bls-download/", "/bls-hop/")):
        return "file"
    if place == "/v2/logstore/download":
        return "create"
    if place == "/v2/logstore/download/list":
        return "list"
    if place.startswith("/v2/logstore/download/link/"):
        return "link"
    if place.startswith("/v2/logstore/download/"):
        return "delete" if method == "DELETE" else "describe"
    if place.endswith("/logrecord"):
        return "query"
    if place.endswith("/loghistogram"):
        return "histogram"
    return "other"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Front:
    """What the front knows and has seen. ``secrets`` are quoted in every error, beside what the request and
    the last link held."""

    endpoint: str
    secrets: Mapping[str, str]
    signatures: set[str] = field(default_factory=set)
    """Of every request and every link that passed."""
    links: list[str] = field(default_factory=list)
    quoted: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    silent: bool = False
    """Pass everything on and quote nothing."""
    refuse_before: tuple[str, ...] = ()
    """Families that never reach the emulator: ``interfere`` alone answers them."""
    here: threading.local = field(default_factory=threading.local)
    interfere: Callable[[str, bytes, Answer], Answer] | None = None
    """Given the call, its body and the emulator's answer: what is to be answered."""

    def path_of_this_thread(self) -> str:
        """The path and query of the request that is being answered."""
        return str(getattr(self.here, "path", ""))

    def quotation(self, headers: Mapping[str, str]) -> str:
        """All that must not be shown, in the words of an error message."""
        link = self.links[-1] if self.links else "none yet"
        parts = [f"Authorization: {headers.get('Authorization', 'none')}", f"link {link}"]
        parts += [f"{name} '{value}'" for name, value in self.secrets.items()]
        parts += [json.dumps({"headers": dict(headers)}), link.partition("//")[2]]
        return "; ".join(parts)


class QuotingFront(BaseHTTPRequestHandler):
    """Passes requests on, and answers every third of a family with an error that quotes."""

    protocol_version = "HTTP/1.1"
    front: ClassVar[Front]
    behind: ClassVar[tuple[str, int]]

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, front = family(self.command, self.path), self.front
        with front.lock:
            front.seen[kind] += 1
            number = front.seen[kind]
            front.signatures.update(
                _SIGNATURE.findall(f"{self.path} {self.headers.get('Authorization', '')}")
            )
        front.here.path = self.path
        if kind in front.refuse_before:
            status, headers, answer = 500, dict[str, str](), b""
        else:
            status, headers, answer = self._passed_on(body)
        if kind == "link" and status == 200:
            self._keep_link(answer)
        if kind in _TROUBLED and number % 3 == 2 and not front.silent:
            with front.lock:
                front.quoted[kind] += 1
            status, headers, answer = self._trouble(kind, number, headers)
        elif kind in ("describe", "list") and status == 200 and not front.silent:
            answer = self._seasoned(answer)
        if front.interfere is not None:
            other = front.interfere(kind, body, Answer(status, headers, answer))
            status, headers, answer = other.status, dict(other.headers), other.body
        self._answer(status, headers, answer)

    do_GET = do_POST = do_DELETE = _any  # noqa: N815  names that http.server looks for

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.behind, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            kept = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _keep_link(self, answer: bytes) -> None:
        found = re.search(rb'"link"\s*:\s*"([^"]+)"', answer)
        if found:
            link = json.loads(b'"' + found[1] + b'"')
            with self.front.lock:
                self.front.links.append(link)
                self.front.signatures.update(_SIGNATURE.findall(link))

    def _trouble(self, kind: str, number: int, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """An error of the service, of a gateway, or of the storage; its effect, if any, has taken place."""
        said = self.front.quotation(self.headers)
        words = list(self.front.secrets.values())
        odd = {**headers, "x-bce-request-id": words[number % len(words)]}
        if kind == "file":
            code = max(self.front.signatures, key=len, default="x")
            page = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>"
            return 403, {**odd, "Content-Type": "application/xml"}, page.encode()
        if kind in ("create", "delete") and number % 2:
            return 502, {**headers, "Content-Type": "text/html"}, f"<html>{said}</html>".encode()
        body: dict[str, Any] = {
            "code": f"Odd{words[0]}",
            "message": said,
            "requestId": words[-1],
            "success": False,
        }
        status = 403 if kind == "create" and number % 4 == 0 else 500
        return status, {**odd, "Content-Type": "application/json"}, json.dumps(body).encode()

    def _seasoned(self, answer: bytes) -> bytes:
        """Remote tasks whose texts quote; a state that no page names, now and then."""
        found = json.loads(answer)
        result = found.get("result", found)
        tasks = result.get("tasks") or [result.get("task")]
        for number, task in enumerate(task for task in tasks if task):
            task["failedMessage"] = self.front.quotation(self.headers)
            task["failedCode"] = next(iter(self.front.secrets.values()))
            if task.get("state") == "RUNNING" and number % 2 == 0:
                task["state"] = f"ODD {self.front.quotation(self.headers)}"
        return json.dumps(found).encode()

    def _answer(self, status: int, headers: Mapping[str, str], answer: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """What the front sees is nobody's business."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who was killed or let go does not read its answer: nothing to tell."""


@contextmanager
def quoting_front(behind: str, secrets: Mapping[str, str]) -> Iterator[Front]:
    """The front before the emulator at the endpoint ``behind``."""
    place = urlsplit(behind)
    server = _Quiet(("127.0.0.1", 0), QuotingFront)
    front = Front(f"http://127.0.0.1:{server.server_address[1]}", secrets)
    server.RequestHandlerClass = type(
        "Handler", (QuotingFront,), {"front": front, "behind": (place.hostname, place.port)}
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

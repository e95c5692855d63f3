"""The least service that an export needs, over raw sockets: what it answers can be replaced byte by byte, and
its one file may be of any size. It shares no code with the emulator."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.unit.loopback import Loopback, Reply, Seen, answer, loopback

START_S = 1_768_348_800
LENGTH_S = 600
JOB_WINDOW = ("2026-01-14T00:00:00Z", "2026-01-14T00:10:00Z")


@dataclass
class RawService:
    """One logstore whose records, ``rows`` of them, all lie in ``JOB_WINDOW``; every remote task succeeds at
    once and has ``file`` behind its link. ``instead`` may answer in its place."""

    rows: int
    file: Callable[[Seen], Reply]
    file_name: str = "rows.json"
    instead: Callable[[Seen], Reply | None] = lambda _: None
    origin: str = ""
    tasks: dict[str, dict[str, object]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def __call__(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        other = self.instead(seen)
        if other is not None:
            return other
        if seen.raw_path.startswith("/file/"):
            return self.file(seen)
        found = self._result(seen)
        if found is None:
            return _json({"code": "DownloadTaskNotFound", "message": "", "requestId": "r"}, 404)
        return _json(found)

    def _result(self, seen: Seen) -> dict[str, object] | None:
        path, last = seen.raw_path, seen.raw_path.rpartition("/")[2]
        if path == "/v2/logstore/download":
            uuid = f"task-{len(self.tasks) + 1}"
            self.tasks[uuid] = json.loads(seen.body)
            return {"success": True, "result": {"uuid": uuid}}
        if path == "/v2/logstore/download/list":
            return {"result": {"tasks": [self._task(uuid) for uuid in self.tasks], "total": len(self.tasks)}}
        if path.endswith("/loghistogram"):
            return {"searchInfo": {"hits": self.rows}}
        if path.endswith("/logrecord"):
            return {"resultSet": {"rows": [[self.rows]]}}
        if path.endswith("/index"):
            return {"fulltext": True}
        if path.startswith("/v1/"):
            return {"retention": 3650, "logStoreName": "web"}
        if last not in self.tasks:
            return None
        if seen.method == "DELETE":
            del self.tasks[last]
            return {"success": True}
        if "/link/" in path:
            link = f"{self.origin}/file/{last}?authorization=bce-auth-v1%2Fhidden"
            return {"result": {"link": link, "fileName": self.file_name, "fileDir": self.file_name}}
        return {"result": {"task": self._task(last)}}

    def _task(self, uuid: str) -> dict[str, object]:
        times = {"createdTime": "2026-01-15T08:30:01Z", "updatedTime": "2026-01-15T08:30:02Z"}
        names = {"fileName": self.file_name, "fileDir": self.file_name}
        return {
            **self.tasks[uuid],
            "uuid": uuid,
            "state": "SUCCESS",
            "writtenRows": self.rows,
            **times,
            **names,
        }


def _json(body: dict[str, object], status: int = 200) -> bytes:
    return answer(json.dumps(body).encode(), status, content_type="application/json")


def streamed(blocks: Callable[[], Iterator[bytes]], length: int | None = None) -> Reply:
    """A body that is made while it is sent; without ``length`` it ends with the connection."""

    async def write(writer: asyncio.StreamWriter) -> None:
        size = f"Content-Length: {length}\r\n" if length is not None else ""
        writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{size}\r\n".encode())
        for block in blocks():
            writer.write(block)
            await writer.drain()

    return write


@contextmanager
def served(service: RawService) -> Iterator[Loopback]:
    """``service`` on a thread and a loop of its own, for the length of a ``with``."""
    ready: list[Loopback] = []
    up, over = threading.Event(), threading.Event()

    async def main() -> None:
        async with loopback(service) as here:
            service.origin = here.origin
            ready.append(here)
            up.set()
            await asyncio.get_running_loop().run_in_executor(None, over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        assert up.wait(10)
        yield ready[0]
    finally:
        over.set()
        thread.join(30)

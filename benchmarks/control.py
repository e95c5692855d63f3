"""What does a slice cost in requests and in CPU, when hardly anything is in it?

Ten thousand slices of ten rows (``CONTROL_SLICES`` for another number) go through the installed command over
HTTP, children included. Beside it a bare aiohttp client in the same run, against the same emulator: as many
creates, list pages, descriptions and links, each call signed, and as many files read, with the same number
under way; it keeps no manifest, writes no file and checks nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import aiohttp

from benchmarks.emulated import ORCHESTRATOR, Emulated, emulated, environment
from benchmarks.report import Row, print_table
from benchmarks.startup import children_cpu_s

__all__ = ["main"]

SLICES = int(os.environ.get("CONTROL_SLICES", "10000"))
TASKS = 100
RUN_S = 1.0
START = datetime(2025, 1, 1, tzinfo=UTC)
ROWS_PER_HOUR = 10
LISTED = json.dumps(
    {"project": "default", "orderBy": "updatedTime", "order": "desc", "pageNo": 1, "pageSize": 100}
)
WORLD = f"""\
seed = 3
[behaviour]
executors = {TASKS}
run_base_s = {RUN_S}
run_per_line_s = 0.0
[[logstores]]
name = "web"
start = {START:%Y-%m-%dT%H:%M:%SZ}
end = {{end:%Y-%m-%dT%H:%M:%SZ}}
density = {{{{ kind = "uniform", rows_per_day = {ROWS_PER_HOUR * 24} }}}}
"""
JOBS = """\
[service]
endpoint = "{endpoint}"
[limits]
requests_per_second = 10000
tasks = {tasks}
downloads = 8
disk_reserve = "1MB"
[[jobs]]
name = "web"
logstore = "web"
from = {start:%Y-%m-%dT%H:%M:%SZ}
to = {end:%Y-%m-%dT%H:%M:%SZ}
align = "hour"
max_lines = 12
destination = "archive"
"""


@dataclass(frozen=True)
class Spent:
    """One client's run: seconds on the clock and of CPU, and what the emulator was asked."""

    wall_s: float
    cpu_s: float
    requests: dict[str, int]

    @property
    def signed(self) -> int:
        """Signed calls: all that was asked but the files themselves."""
        return sum(count for name, count in self.requests.items() if name != "file")


def main() -> None:
    """Print requests and CPU per slice beside their limits and beside the bare client."""
    end = START + timedelta(hours=SLICES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with emulated(folder, WORLD.format(end=end)) as service:
            ours = _ours(folder, service, end)
            bare = _bare(service, ours)
    watching = sum(ours.requests.get(family, 0) for family in ("list", "describe"))
    print_table(
        f"{SLICES:,} slices of {ROWS_PER_HOUR} rows, {TASKS} outstanding: requests per slice",
        "requests",
        "limit",
        [
            Row("signed requests per slice", ours.signed / SLICES, 2.3, target=1.0),
            Row("of these to watch", watching / SLICES, 0.3, target=1.0),
        ],
    )
    print_table(
        f"{SLICES:,} slices of {ROWS_PER_HOUR} rows: what our process costs",
        "ms per slice",
        "bare client",
        [
            Row("CPU, children included", ours.cpu_s / SLICES * 1e3, bare.cpu_s / SLICES * 1e3, target=2.0),
            Row("time on the clock", ours.wall_s / SLICES * 1e3, bare.wall_s / SLICES * 1e3),
        ],
    )


def _ours(folder: Path, service: Emulated, end: datetime) -> Spent:
    text = JOBS.format(endpoint=service.endpoint, tasks=TASKS, start=START, end=end)
    (folder / "jobs.toml").write_text(text, encoding="utf-8")
    command = [ORCHESTRATOR, "run", "jobs.toml", "--report", "report.json"]
    spent = _spent(command, folder, service)
    stored = sum(1 for path in (folder / "archive").rglob("*.jsonl") if path.is_file())
    if stored != SLICES:
        raise RuntimeError(f"{stored} of {SLICES} slices were stored")
    return spent


def _bare(service: Emulated, ours: Spent) -> Spent:
    wanted = json.dumps({"endpoint": service.endpoint, "slices": SLICES, "requests": ours.requests})
    return _spent([sys.executable, "-m", "benchmarks.control", wanted], Path.cwd(), service)


def _spent(command: list[str], folder: Path, service: Emulated) -> Spent:
    before, cpu_s, began = service.stats()["requests"], children_cpu_s(), time.perf_counter()
    child = subprocess.run(
        command,
        cwd=folder,
        env={**environment(), **service.credentials},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s, cpu_s = time.perf_counter() - began, children_cpu_s() - cpu_s
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {child.stderr[-2000:]}")
    after = service.stats()["requests"]
    return Spent(wall_s, cpu_s, {name: after[name] - before.get(name, 0) for name in after})


# --- the bare client, in a process of its own ---


class _Signer:
    """The platform's signature (bls-api.md 7) with as little work as it allows: the key of the day is kept,
    and the host alone is signed."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.access = os.environ["BCE_ACCESS_KEY_ID"]
        self.secret = os.environ["BCE_SECRET_ACCESS_KEY"].encode()
        self.key, self.prefix, self.until = b"", "", 0.0

    def __call__(self, method: str, path: str) -> dict[str, str]:
        now = time.time()
        if now > self.until:
            self.prefix = f"bce-auth-v1/{self.access}/{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}/1800"
            self.key = hmac.digest(self.secret, self.prefix.encode(), "sha256").hex().encode()
            self.until = now + 600
        canonical = f"{method}\n{path}\n\nhost:{quote(self.host, safe='')}"
        signature = hmac.digest(self.key, canonical.encode(), hashlib.sha256).hex()
        return {"Host": self.host, "Authorization": f"{self.prefix}/host/{signature}"}


async def _client(endpoint: str, slices: int, requests: dict[str, int]) -> None:
    origin = endpoint.rstrip("/")
    signed = _Signer(origin.partition("://")[2])
    looks = asyncio.Semaphore(0)
    uuids: list[str] = []
    hours = iter(range(slices))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def create(hour: int) -> str:
            start = START + timedelta(hours=hour)
            body = json.dumps(
                {
                    "name": f"bare-{hour}",
                    "project": "default",
                    "logStoreName": "web",
                    "query": "match *",
                    "queryStartTime": f"{start:%Y-%m-%dT%H:%M:%SZ}",
                    "queryEndTime": f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
                    "format": "json",
                    "limit": 12,
                    "order": "asc",
                }
            )
            uuid: str = json.loads(await call("POST", "/v2/logstore/download", body))["result"]["uuid"]
            return uuid

        async def call(method: str, path: str, body: str | None = None) -> bytes:
            headers = signed(method, path)
            if body is not None:
                headers["Content-Type"] = "application/json"
            async with http.request(method, origin + path, data=body, headers=headers) as answer:
                answer.raise_for_status()
                return await answer.read()

        async def one_after_another() -> None:
            for hour in hours:
                uuid = await create(hour)
                uuids.append(uuid)
                looks.release()
                await asyncio.sleep(RUN_S * 1.1)
                found = json.loads(await call("GET", f"/v2/logstore/download/link/{uuid}"))
                async with http.get(found["result"]["link"]) as answer:
                    answer.raise_for_status()
                    await answer.read()

        async def watching() -> None:
            pages, described = requests.get("list", 0), requests.get("describe", 0)
            every = max(1, slices // max(1, pages))
            for page in range(pages):
                if page * every < slices:
                    for _ in range(min(every, slices - page * every)):
                        await looks.acquire()
                json.loads(await call("POST", "/v2/logstore/download/list", LISTED))
            for place in range(described):
                json.loads(await call("GET", f"/v2/logstore/download/{uuids[place % len(uuids)]}"))

        await asyncio.gather(watching(), *(one_after_another() for _ in range(TASKS)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asked = json.loads(sys.argv[1])
        asyncio.run(_client(asked["endpoint"], asked["slices"], asked["requests"]))
    else:
        main()

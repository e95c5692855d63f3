"""What does a slice cost, in processor time and memory, with a thousand of them and with a million?

The engine and the manifest on disk are the real ones, under a virtual clock by which a commit takes some
milliseconds, as a disk's does. The service answers in process and remembers only what is outstanding, and
files hold nothing: no byte is moved, so what is measured is the control process alone, the service's share of
it included. Each size runs in a process of its own, then is run again with nothing left to do, then asked for
its ``status``. Beside it: the smallest size, and what is promised. ``SCALE_SLICES`` is the largest size
(100,000 unless said otherwise).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import Row, print_table
from orchestrator import load
from orchestrator.cli.collecting import collect_seldom
from orchestrator.core.job import JobIdentity, Limits
from orchestrator.core.model import Accepted, CreateRequest, Receipt, RemoteTaskStatus, TaskPage, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.report import Report
from orchestrator.core.window import Window
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.gate import RequestGate
from orchestrator.engine.run import run
from orchestrator.errors import RemoteTaskNotFound
from orchestrator.manifest.store import SqliteManifest, open_writer
from orchestrator.ports.control import Family, Observer
from orchestrator.ports.files import Publication, PublishOutcome
from orchestrator.ports.service import Bucket, Histogram, LogStore
from orchestrator.ports.store import Changes
from orchestrator.testing.loop import VirtualTime, run_virtual

LARGEST = int(os.environ.get("SCALE_SLICES", "100000"))
SMALLEST = 1_000
FLAT_FROM = 10_000
"""What a process spends once, whatever its size, is spread over so many slices."""
MOST_BYTES = 200_000_000
FLAT = 1.25
LINES_PER_S = 5
SLICE_S = 199
"""What the planner makes of a thousand lines at that rate, less the headroom."""
ENDS_AT_S = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
REMOTE_S = 5.0
"""How long a remote task runs."""
COMMIT_S = 0.005
LIMITS = Limits(requests_per_s=1000.0, tasks=100, downloads=20)


@dataclass(slots=True)
class _Remote:
    request: CreateRequest
    uuid: str
    created_at: float

    def status(self, now: float) -> RemoteTaskStatus:
        ended = now >= self.created_at + REMOTE_S
        window = self.request.window
        return RemoteTaskStatus(
            self.uuid,
            self.request.name,
            "SUCCESS" if ended else "RUNNING",
            logstore=self.request.identity.logstore,
            start_s=window.start_s,
            end_s=window.end_s,
            written_rows=window.length_s * LINES_PER_S if ended else None,
            created_at=self.created_at,
            updated_at=self.created_at + REMOTE_S if ended else self.created_at,
        )


class _Service:
    """A logstore with as many lines in every second, and the remote tasks that were not fetched yet."""

    server_offset_s = 0.0

    def __init__(self, time: VirtualTime, gate: RequestGate) -> None:
        self._time = time
        self._gate = gate
        self._remote: dict[str, _Remote] = {}
        self._made = 0

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        async with self._gate.request(Family.CREATE):
            self._made += 1
            uuid = hashlib.sha256(request.name.encode()).hexdigest()[:32]
            self._remote[uuid] = _Remote(request, uuid, self._time.clock.now())
        return Accepted(uuid, f"request-{self._made}")

    async def describe(self, uuid: str) -> RemoteTaskStatus:
        async with self._gate.request(Family.DESCRIBE):
            if uuid not in self._remote:
                raise RemoteTaskNotFound(f"no remote task {uuid}")
            return self._remote[uuid].status(self._time.clock.now())

    async def list_page(
        self,
        *,
        project: str,
        logstore: str,
        page_no: int,
        page_size: int,
        order_by: str = "createdTime",
        descending: bool = True,
        only: Container[str] | None = None,
    ) -> TaskPage:
        async with self._gate.request(Family.LIST):
            now = self._time.clock.now()
            found = [remote.status(now) for remote in self._remote.values()]
        by_update = order_by == "updatedTime"
        found.sort(
            key=lambda status: (status.updated_at if by_update else status.created_at) or 0,
            reverse=descending,
        )
        first = (page_no - 1) * page_size
        return TaskPage(tuple(found[first : first + page_size]), page_size, len(found), now)

    async def link(self, uuid: str) -> PresignedLink:
        async with self._gate.request(Family.LINK):
            self._remote.pop(uuid, None)
        return PresignedLink(f"http://files.invalid/{uuid}")

    async def delete(self, uuid: str) -> None:
        async with self._gate.request(Family.DELETE):
            self._remote.pop(uuid, None)

    async def count(
        self, identity: JobIdentity, logstream: str, window: Window, *, match_all: bool = False
    ) -> int:
        async with self._gate.request(Family.QUERY):
            return window.length_s * LINES_PER_S

    async def buckets(self, identity: JobIdentity, logstream: str, window: Window, width_s: int) -> Histogram:
        async with self._gate.request(Family.QUERY):
            starts = range(window.start_s, window.end_s, width_s)
            buckets = [Bucket(at_s, width_s * LINES_PER_S) for at_s in starts]
            last_s = window.end_s - starts[-1]
            return Histogram(width_s, (*buckets[:-1], Bucket(starts[-1], last_s * LINES_PER_S)), None)

    async def histogram(self, identity: JobIdentity, logstream: str, window: Window) -> Histogram:
        lines = window.length_s * LINES_PER_S
        async with self._gate.request(Family.HISTOGRAM):
            return Histogram(window.length_s, (Bucket(window.start_s, lines),), lines)

    async def describe_logstore(self, project: str, logstore: str) -> LogStore:
        async with self._gate.request(Family.META):
            return LogStore(project, logstore)

    async def list_logstores(self, project: str) -> tuple[LogStore, ...]:
        return ()

    async def list_logstreams(self, project: str, logstore: str) -> tuple[str, ...]:
        return ()

    async def has_index(self, project: str, logstore: str) -> bool | None:
        return True


class _DataPlane:
    """Files that nobody wrote: a receipt says what would be in them."""

    def __init__(self, gate: RequestGate) -> None:
        self._gate = gate

    async def transfer(self, ticket: Ticket) -> Receipt:
        async with self._gate.request(Family.FILE):
            await asyncio.sleep(0.1)
        rows = ticket.window.length_s * LINES_PER_S
        digest = hashlib.sha256(ticket.slice_id.encode()).hexdigest()
        size = rows * 100
        return Receipt(
            f"{ticket.destination.url}/.orchestrator/staging/{ticket.attempt_key}.staged",
            "jsonl",
            ".jsonl",
            size,
            digest,
            size,
            digest,
            served_rows=rows,
            dropped_rows=0,
            stored_rows=rows,
            kept=ticket.window,
            wire_bytes=size,
            start_met=True,
        )

    async def close(self) -> None:
        """Nothing to close."""


class _Destination:
    """Where such files take their place."""

    async def publish(self, batch: Sequence[Publication]) -> tuple[PublishOutcome, ...]:
        return tuple(PublishOutcome(publication.key) for publication in batch)

    async def staged_intact(self, staged_path: str, sha256: str, size_bytes: int) -> bool:
        return True

    async def discard(self, staged_path: str) -> None:
        """Nothing to delete."""

    async def retire(self, path: str, sha256: str) -> bool:
        return True

    async def check(self, path: str, *, size_bytes: int, sha256: str | None) -> str:
        return ""

    async def rows(self, path: str, *, form: str, time_field: str, expected: int) -> int | None:
        return expected


class _Manifest(SqliteManifest):
    """A manifest whose commits take time: meanwhile things happen that go into the next one."""

    async def commit(self, changes: Changes) -> None:
        await super().commit(changes)
        await asyncio.sleep(COMMIT_S)


class _NoBoundary:
    def reached(self, name: str) -> None:
        """Nothing happens here."""


class _Quiet(Observer):
    """Nobody looks on."""


def job_file(folder: Path, slices: int) -> Path:
    """A job whose window makes about so many slices."""
    path = folder / "jobs.toml"
    start_at = datetime.fromtimestamp(ENDS_AT_S - slices * SLICE_S, UTC).isoformat()
    path.write_text(
        '[service]\nendpoint = "http://127.0.0.1:9"\n[[jobs]]\nname = "web"\nlogstore = "web"\n'
        f'from = {start_at}\nto = 2024-01-01\nmax_lines = 1000\ndestination = "archive"\n',
        encoding="utf-8",
    )
    return path


def exported(folder: Path) -> Report:
    """Run the job file of ``folder`` to its end."""
    (job,) = load(folder / "jobs.toml").jobs

    async def main(time: VirtualTime) -> Report:
        gate = RequestGate(requests_per_s=LIMITS.requests_per_s, queries=LIMITS.queries, rng=time.rng)
        service = _Service(time, gate)
        opened = open_writer(
            folder / "orchestrator.db", now=time.clock.now, new_id=lambda: time.rng.token_hex(8)
        )
        async with opened as manifest:
            manifest.__class__ = _Manifest  # there is no other door to one on disk
            room = Room(
                manifest=manifest,
                data_plane=_DataPlane(gate),
                clock=time.clock,
                rng=time.rng,
                observer=_Quiet(),
                boundary=_NoBoundary(),
                limits=LIMITS,
                requests=lambda: gate.counts,
            )
            context = JobContext(job, UTC, service, service, service, _Destination())
            return await run([context], room, jobs_path="jobs.toml")

    return run_virtual(main)


def _child(folder: Path) -> None:
    """One run, told as JSON on stdout."""
    collect_seldom()  # as the command does
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    report = exported(folder)
    (job,) = report.jobs
    told = {
        "complete": report.complete,
        "slices": sum(job.slices.values()),
        "requests": sum(report.requests.values()),
        "virtual_s": report.duration_s,
        "wall_s": time.monotonic() - began_s,
        "cpu_s": time.process_time() - began_cpu_s,
        "memory_bytes": most_memory_bytes(),
    }
    print(json.dumps(told))


def most_memory_bytes() -> int:
    """The most this process ever held. What it inherits at its birth counts among it where the system does
    not tell the two apart."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Size:
    """What came of one size."""

    slices: int
    cpu_s: float
    memory_bytes: int
    manifest_bytes: int
    requests: int
    again_cpu_s: float
    again_memory_bytes: int
    status_s: float

    @property
    def each_us(self) -> float:
        """Processor time for one slice."""
        return 1e6 * self.cpu_s / self.slices


def measured(slices: int, place: str | None = None) -> Size:
    """Export about so many slices, run again, ask for the status."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        job_file(Path(folder), slices)
        first = _ran(folder)
        manifest_bytes = sum(path.stat().st_size for path in Path(folder).glob("orchestrator.db*"))
        again = _ran(folder)
        began_s = time.monotonic()
        told = json.loads(_said(folder, "orchestrator", "status", "--json"))
        status_s = time.monotonic() - began_s
        if not (first["complete"] and again["complete"] and told["complete"]):
            raise RuntimeError(f"{slices} slices: not complete: {first} {again}")
        return Size(
            int(first["slices"]),
            first["cpu_s"],
            int(first["memory_bytes"]),
            manifest_bytes,
            int(first["requests"]),
            again["cpu_s"],
            int(again["memory_bytes"]),
            status_s,
        )


def _ran(folder: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(_said(folder, "benchmarks.scale", "child"))
    return found


def _said(folder: str, module: str, *words: str) -> bytes:
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=folder, env=here, check=True, stdout=subprocess.PIPE).stdout


def sizes(largest: int) -> Iterator[int]:
    """From the smallest in steps of ten."""
    size = SMALLEST
    while size < largest:
        yield size
        size *= 10
    yield largest


def main() -> None:
    """Print what each size costs beside the smallest, and the memory beside what is promised."""
    found = [measured(size) for size in sizes(LARGEST)]
    smallest, largest = found[0], found[-1]
    flat_from = next((size for size in found if size.slices >= FLAT_FROM * 0.9), smallest)
    cost = [Row(f"{size.slices:,} slices", size.each_us, smallest.each_us) for size in found]
    label = f"a slice of {largest.slices:,} beside one of {flat_from.slices:,}"
    cost.append(Row(label, largest.each_us, flat_from.each_us, target=FLAT))
    print_table("Processor time of a slice, from plan to coverage", "µs", "smallest", cost)
    memory = [
        Row(f"{size.slices:,} slices{what}", taken / 1e6, MOST_BYTES / 1e6, 1.0 if size is largest else None)
        for size in found
        for what, taken in (("", size.memory_bytes), (", run again", size.again_memory_bytes))
    ]
    print_table("The most memory the process took", "MB", "promised", memory)
    on_disk = [(size.slices, size.manifest_bytes / size.slices) for size in found]
    rows = [Row(f"{slices:,} slices", each, on_disk[0][1]) for slices, each in on_disk]
    print_table("Manifest on disk, for a slice", "bytes", "smallest", rows)
    again = [Row(f"{size.slices:,} slices, run", size.again_cpu_s, smallest.again_cpu_s) for size in found]
    again += [Row(f"{size.slices:,} slices, status", size.status_s, smallest.status_s) for size in found]
    print_table("A run with nothing left to do (CPU), and `status` (wall)", "s", "smallest", again)


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        _child(Path.cwd())
    else:
        main()

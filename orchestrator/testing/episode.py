"""One export from beginning to end under a virtual clock, with as many deaths on the way as wished.

The engine, the store, the data plane and the destination are the real ones; the service is the emulator's
world in process. A *life* is one process: it ends by itself or at a fault point. The world, the archive
folder and the manifest's last commit outlive it, everything else is gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import orjson

from orchestrator.core.job import (
    DestinationSpec,
    Job,
    JobIdentity,
    Limits,
    Order,
    Output,
    ServedFormat,
    ServiceSpec,
)
from orchestrator.core.model import CreateRequest
from orchestrator.core.report import Report
from orchestrator.core.window import Window
from orchestrator.dataplane.destination import FolderDestination
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Density, Uniform
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.inprocess import InProcessFiles, InProcessService
from orchestrator.emulator.world import World
from orchestrator.engine.context import JobContext, Room, StopSignal
from orchestrator.engine.gate import RequestGate
from orchestrator.engine.run import run
from orchestrator.manifest.store import MemoryManifest, open_memory
from orchestrator.testing.boundary import FaultPlan, SimulatedCrash
from orchestrator.testing.loop import START_AT, SeededRng, VirtualTime, run_virtual

__all__ = ["Episode", "Life", "Setting"]

HORIZON_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What an episode is about. ``slices`` is roughly how many remote tasks the export takes."""

    seed: int = 0
    slices: int = 12
    lines_per_slice: int = 50
    window_s: int = 3600
    behaviour: Behaviour = field(default_factory=Behaviour)
    indexed: bool = True
    limits: Limits = field(default_factory=lambda: Limits(tasks=4, downloads=2, disk_reserve_bytes=0))
    output: Output = Output.JSONL
    attempts: int = 5
    density: Density | None = None

    @property
    def window(self) -> Window:
        end_s = int(START_AT) - 86_400
        return Window(end_s - self.window_s, end_s)


@dataclass(frozen=True, slots=True)
class Life:
    """One process of the episode: its report, or the crash that ended it, and the fault points it met."""

    report: Report | None
    crash: SimulatedCrash | None
    met: tuple[str, ...]
    virtual_s: float
    notes: Counter[str]


class _Notes:
    """The Observer that counts what is worth a line."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def changed(self, before: object, after: object, event: object) -> None:
        self.seen[type(event).__name__] += 1

    def noted(self, name: str, **detail: str | float | None) -> None:
        self.seen[name] += 1


class Episode:
    """Plays lives until the export is complete, and compares what is stored with what is true."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting = setting
        self.folder = folder
        rows = setting.slices * setting.lines_per_slice
        density = setting.density or Uniform(rows * 86_400 // setting.window_s)
        self._store = Logstore(
            "web", GeneratedStore(setting.seed, density), project="shop", indexed=setting.indexed
        )
        self.world = World([self._store], seed=setting.seed, behaviour=setting.behaviour)
        self.now_s = START_AT
        rng = SeededRng(f"manifest {setting.seed}")
        self.manifest: MemoryManifest = open_memory(now=lambda: self.now_s, new_id=lambda: rng.token_hex(8))
        self.lives: list[Life] = []

    def live(self, crash_at: int | None = None, *, counts: Callable[[str], bool] = bool) -> Life:
        """One process, from start to its end or its death at the ``crash_at``-th counted fault point."""
        plan = FaultPlan(crash_at, counts=counts)
        notes = _Notes()

        async def main(time: VirtualTime) -> tuple[Report | None, SimulatedCrash | None, float]:
            try:
                report = await run(*self._furnish(time, plan, notes), jobs_path="jobs.toml")
            except SimulatedCrash as crash:
                return None, crash, time.elapsed_s
            finally:
                await self._leave()
            return report, None, time.elapsed_s

        report, crash, virtual_s = run_virtual(
            main, seed=f"{self.setting.seed}.{len(self.lives)}", start_at=self.now_s, horizon_s=HORIZON_S
        )
        self.now_s += virtual_s + 1.0
        life = Life(report, crash, plan.met, virtual_s, notes.seen)
        self.lives.append(life)
        return life

    def _furnish(self, time: VirtualTime, plan: FaultPlan, notes: _Notes) -> tuple[list[JobContext], Room]:
        limits = self.setting.limits
        gate = RequestGate(
            requests_per_s=limits.requests_per_s, queries=limits.queries, rng=time.rng.fork("gate")
        )
        service = InProcessService(self.world, now=time.clock.now, gate=gate)
        files = InProcessFiles(self.world, now=time.clock.now, gate=gate)
        manifest = self.manifest.reopen(plan)
        destination = FolderDestination(str(self.folder))
        room = Room(
            manifest=manifest,
            data_plane=InlineDataPlane(files, boundary=plan),
            clock=time.clock,
            rng=time.rng,
            observer=notes,
            boundary=plan,
            limits=limits,
            requests=lambda: gate.counts,
            stop=StopSignal(),
        )
        context = JobContext(
            self.job, UTC, tasks=service, counts=service, meta=service, destination=destination
        )
        return [context], room

    async def _leave(self) -> None:
        """Closes what ``_furnish`` opened; a life whose doors are in process opens nothing."""

    @property
    def job(self) -> Job:
        setting = self.setting
        return Job(
            name="web",
            identity=JobIdentity("emulated", "shop", "web", "", "match *"),
            service=ServiceSpec("", "http://emulated"),
            window=setting.window,
            due_until_s=setting.window.end_s,
            max_lines=setting.lines_per_slice,
            destination=DestinationSpec(str(self.folder)),
            output=setting.output,
            attempts=setting.attempts,
        )

    # --- truth ---

    def archived(self) -> Counter[bytes]:
        """Every row that stands under a final name, as a multiset."""
        return Counter(_rows(path.read_bytes() for path in self._published()))

    def _published(self) -> list[Path]:
        return [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and ".orchestrator" not in path.relative_to(self.folder).parts
        ]

    def truth(self) -> Counter[bytes]:
        """Every row of the window, asked of a service that has no whim but its spelling."""
        window = self.setting.window

        async def main(time: VirtualTime) -> Counter[bytes]:
            whims = self.setting.behaviour
            spelling = Behaviour(field_names=whims.field_names, record_time=whims.record_time)
            world = World([self._store], seed=self.setting.seed, behaviour=spelling)
            service = InProcessService(world, now=time.clock.now)
            files = InProcessFiles(world, now=time.clock.now)
            found: Counter[bytes] = Counter()
            request = CreateRequest(
                "truth", self.job.identity, "", window, ServedFormat.JSON, 1_000_000, Order.ASC
            )
            accepted = await service.create(request, send_within_s=10.0)
            await asyncio.sleep(3600)
            async with files.open(await service.link(accepted.uuid)) as answer:
                found.update(_rows([b"".join([chunk async for chunk in answer.chunks])]))
            return found

        return run_virtual(main, seed="truth")


def _rows(bodies: Iterable[bytes]) -> Iterable[bytes]:
    for body in bodies:
        for line in body.splitlines():
            row = orjson.loads(line)
            yield orjson.dumps(row, option=orjson.OPT_SORT_KEYS)

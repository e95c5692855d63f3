"""One scenario played: lives, deaths and pauses, until the export is complete and a further run finds nothing
to do.

The engine, the store, the data plane and the destination are the real ones; the service is the emulator's
world, in process or behind the real client. Time is true time: the service goes by it, while the machine's
clock may be wrong. A crash leaves the manifest and the folder exactly as they were in its instant, whatever
still unwinds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from orchestrator.core.job import DestinationSpec, Job, JobIdentity, ServiceSpec
from orchestrator.core.model import Receipt, Slice, SliceState, remote_name
from orchestrator.core.report import Report
from orchestrator.dataplane.destination import FolderDestination
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.emulator.account import Logstore
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator
from orchestrator.emulator.inprocess import InProcessFiles, InProcessService
from orchestrator.emulator.world import World
from orchestrator.engine.context import JobContext, Room, StopSignal
from orchestrator.engine.gate import RequestGate
from orchestrator.engine.run import run
from orchestrator.engine.steady import SteadyClock
from orchestrator.manifest.store import MemoryManifest, open_memory
from orchestrator.ports.time import Clock
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import StaticCredentials
from orchestrator.remote.files import HttpFileSource
from orchestrator.remote.session import Session
from orchestrator.testing.boundary import SimulatedCrash
from orchestrator.testing.lines import Lines, draw_lines
from orchestrator.testing.loop import START_AT, VirtualTime, run_virtual
from orchestrator.testing.scenario import Scenario
from orchestrator.testing.script import Ending, Script
from orchestrator.testing.strangers import Strangers
from orchestrator.testing.watched import Seen, Tollgate, WatchedService
from orchestrator.testing.watched_files import WatchedFiles
from orchestrator.testing.wire import Wire

__all__ = ["JOB", "Installation", "Life", "Trial"]

JOB = "web"
HORIZON_S = 30 * 86_400.0
_STANDING = frozenset({SliceState.DONE, SliceState.EMPTY})
_ENDPOINT = "http://emulated"
_QUIET_S = 1.05
"""What ManifestLock asks for after another owner: its last second counts too."""


@dataclass(frozen=True, slots=True)
class Life:
    """One process: the report it gave, or the crash that ended it."""

    report: Report | None
    crash: SimulatedCrash | None
    ending: Ending | None
    """The ending that came, None when the life ended by itself."""
    virtual_s: float


class Installation:
    """A manifest and an archive folder that belong together, and what was seen of whoever works on them."""

    def __init__(self, scenario: Scenario, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        rng = scenario.rng(f"manifest {name}")
        self.manifest: MemoryManifest = open_memory(now=lambda: START_AT, new_id=lambda: rng.token_hex(8))
        self.seen = Seen()
        self.seen.owner = remote_name(self.manifest.reopen().manifest_id, 0).rpartition("-")[0]
        self.rows_stored = 0
        self.report: Report | None = None
        self._kept: dict[Path, bytes] | None = None

    @property
    def met(self) -> Counter[str]:
        return self.seen.met

    @property
    def complete(self) -> bool:
        return self.report is not None and self.report.complete

    def files(self) -> Iterator[Path]:
        """Every file of the folder."""
        return (path for path in sorted(self.folder.rglob("*")) if path.is_file())

    def freeze(self) -> None:
        """Remember the folder as it is: what unwinds from now on is done by nobody."""
        self._kept = {path: path.read_bytes() for path in self.files()}

    def thaw(self) -> None:
        """Back to what was remembered, if anything was."""
        if self._kept is None:
            return
        for path in self.files():
            if path not in self._kept:
                path.unlink()
        for path, content in self._kept.items():
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self._kept = None

    # --- the Observer port ---

    def changed(self, before: Slice | None, after: Slice, event: object) -> None:
        if event is not None:
            self.met[type(event).__name__] += 1
        self.met["short files"] += after.reason.startswith("short by ")
        if before is None or before.state is not after.state:
            self.met[f"became {after.state}"] += 1
        if after.state in _STANDING and (before is None or before.state not in _STANDING):
            receipt: Receipt | None = after.receipt
            self.rows_stored += receipt.stored_rows if receipt is not None else 0

    def noted(self, name: str, **detail: str | float | None) -> None:
        self.met[name] += 1


class Trial:
    """Plays one scenario. ``now_s`` is true time (UTC epoch seconds), ``clock_wrong_s`` by how much the
    machine's clock is ahead of it."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        export = scenario.export
        self.behaviour = scenario.behaviour
        server_s = START_AT + self.behaviour.clock_offset_s
        self.lines: Lines = draw_lines(
            scenario.rng("records"),
            scenario.window,
            rows=scenario.slices * scenario.lines_per_slice * (export.streams if export.logstream else 1),
            limit=scenario.lines_per_slice,
            shape=export.shape,
            streams=export.streams,
            ties=export.ties,
            late_from_s=server_s if export.late else None,
            spelling=self.behaviour.record_time,
        )
        self.world = World(
            [Logstore("web", self.lines, project="shop", indexed=export.indexed)],
            seed=scenario.seed,
            behaviour=self.behaviour,
        )
        window = scenario.window
        self.rows = self.lines.cells(window.start_s * 1000, window.end_s * 1000, export.logstream).total()
        self.now_s = START_AT
        self.clock_wrong_s = 0.0
        self.lives: list[Life] = []
        self.met: Counter[str] = Counter()
        """What befell the machine, beside what each installation met."""
        self.installations = [Installation(scenario, "first", folder / "first")]
        if export.neighbour:
            self.installations.append(Installation(scenario, "second", folder / "second"))
        self.strangers = Strangers(
            self.world,
            scenario.rng("strangers"),
            crowd=export.strangers,
            per_page=4 if export.strangers else 0,
            end_s=scenario.window.end_s,
        )
        self.strangers.settle(server_s)
        self._omitted: set[str] = set()

    @property
    def first(self) -> Installation:
        return self.installations[0]

    @property
    def complete(self) -> bool:
        return all(installation.complete for installation in self.installations)

    def pause(self) -> None:
        """Nobody runs for a while; the machine's clock may be another one afterwards."""
        export, rng = self.scenario.export, self.scenario.rng(f"pause {len(self.lives)}")
        pause_s = 0.05 + export.pause_s * rng.random()
        self.met["long pause"] += pause_s > 600
        self.now_s += pause_s
        if export.clock_wrong_s:
            self.clock_wrong_s = export.clock_wrong_s * (2 * rng.random() - 1)
            self.met["clock wrong at a start"] += 1

    def live(self, ending: Ending | None = None) -> Life:
        """One process of every installation, side by side, until all have ended; the ending is the first
        one's, and a crash takes them all."""

        async def main(time: VirtualTime) -> Life:
            time.clock.jump(self.clock_wrong_s)
            return await self._live(time, ending)

        self._behave()
        life = run_virtual(
            main,
            seed=f"{self.scenario.seed}.{len(self.lives)}",
            start_at=self.now_s,
            horizon_s=HORIZON_S,
        )
        for installation in self.installations:
            installation.thaw()
        self.now_s += life.virtual_s
        self.lives.append(life)
        return life

    def _behave(self) -> None:
        """The service has its spells."""
        export, whims = self.scenario.export, self.behaviour
        if export.spell and export.spell_life == len(self.lives):
            spell: dict[str, Any] = dict(export.spell)
            whims = replace(whims, **spell)
            self.met["a spell"] += 1
        self.world.behave(whims, self.now_s + whims.clock_offset_s)

    async def _live(self, time: VirtualTime, ending: Ending | None) -> Life:
        def dying() -> None:
            """The power fails for all of them in one instant."""
            for installation in self.installations:
                installation.freeze()
            for script in scripts[1:]:
                script.kill()

        stops = [StopSignal() for _ in self.installations]
        scripts = [
            Script(
                ending if place == 0 else None,
                self.scenario.jumps(len(self.lives)) if place == 0 else (),
                stored_percent=lambda: 100.0 * self.first.rows_stored / max(1, self.rows),
                clock=time.clock,
                stop=stops[place],
                dying=dying,
            )
            for place in range(len(self.installations))
        ]
        works = [
            asyncio.create_task(self._work(time, installation, script, stop))
            for installation, script, stop in zip(self.installations, scripts, stops, strict=True)
        ]
        crash: SimulatedCrash | None = None
        try:
            try:
                self.first.report = await works[0]
            except SimulatedCrash as crashed:
                crash, self.first.report = crashed, None
                for work in works[1:]:
                    work.cancel()
            for installation, work in zip(self.installations[1:], works[1:], strict=True):
                try:
                    installation.report = await work
                except (SimulatedCrash, asyncio.CancelledError):
                    if crash is None:
                        raise
                    installation.report = None
        finally:
            for script in scripts:
                script.close()
        self._count(scripts[0], crash)
        came = ending if scripts[0].came else None
        return Life(self.first.report, crash, came, time.elapsed_s)

    def _count(self, script: Script, crash: SimulatedCrash | None) -> None:
        if crash is not None:
            self.met[f"crash at {crash.name}"] += 1
        for by_s in script.jumped:
            self.met[f"clock set {'ahead' if by_s > 0 else 'back'}"] += 1
        if len(self.installations) > 1:
            self.met["another manifest at work"] += 1

    # --- one process ---

    async def _work(
        self, time: VirtualTime, installation: Installation, script: Script, stop: StopSignal
    ) -> Report:
        limits, seen = self.scenario.limits, installation.seen
        clock = SteadyClock(time.clock)  # shared by session and engine, as in app.wiring
        gate = RequestGate(
            requests_per_s=limits.requests_per_s,
            queries=limits.queries,
            rng=time.rng.fork("gate"),
            quiet_s=_QUIET_S if self.lives else 0.0,
        )
        toll = Tollgate(gate, seen)
        async with self._doors(time, clock, toll) as (client, files):
            export = self.scenario.export
            service = WatchedService(
                client,
                self.world,
                seen,
                now=lambda: self._true_now(time),
                clock=clock,
                toll=toll,
                rng=self.scenario.rng(f"omits {len(self.lives)}"),
                strangers=self.strangers,
                omits=export.omits,
                omitted=self._omitted,
                lands=export.lands,
                in_process=not export.wired,
            )
            source = WatchedFiles(files, self.world, seen)
            room = Room(
                manifest=installation.manifest.reopen(script),
                data_plane=InlineDataPlane(source, boundary=script, disk_free=script.free_bytes),
                clock=clock,
                rng=time.rng,
                observer=installation,
                boundary=script,
                limits=limits,
                requests=lambda: gate.counts,
                stop=stop,
            )
            context = JobContext(
                self.job(installation),
                UTC,
                tasks=service,
                counts=service,
                meta=service,
                destination=FolderDestination(str(installation.folder)),
            )
            return await run([context], room, jobs_path="jobs.toml")

    def _true_now(self, time: VirtualTime) -> float:
        return self.now_s + time.elapsed_s

    @asynccontextmanager
    async def _doors(self, time: VirtualTime, clock: Clock, toll: Tollgate) -> AsyncIterator[tuple[Any, Any]]:
        """The client and the file source of one process."""

        def now() -> float:
            return self._true_now(time)

        if not self.scenario.export.wired:
            yield (
                InProcessService(self.world, now=now, gate=toll),
                InProcessFiles(self.world, now=now, gate=toll),
            )
            return
        async with AsyncExitStack() as doors:
            wire = Wire(Emulator(self.world, now=now))
            doors.push_async_callback(wire.close)
            doors.push_async_callback(asyncio.sleep, 0.01)  # what was just connected is met before
            session = Session(
                ServiceSpec("", _ENDPOINT),
                credentials=StaticCredentials(TEST_CREDENTIALS),
                gate=toll,
                clock=clock,
                rng=time.rng.fork("session"),
            )
            files = HttpFileSource(gate=toll)
            session._http, files._http = wire.client(), wire.client()  # noqa: SLF001  the only socketless way in
            client = BlsClient(session)
            doors.push_async_callback(client.close)
            doors.push_async_callback(files.close)
            try:
                yield client, files
            finally:
                self.met["request over HTTP"] += len(wire.exchanges)

    def job(self, installation: Installation) -> Job:
        """What an installation is asked to make true."""
        scenario, export = self.scenario, self.scenario.export
        return Job(
            name=JOB,
            identity=JobIdentity("emulated", "shop", "web", export.logstream, export.query),
            service=ServiceSpec("", _ENDPOINT),
            window=scenario.window,
            due_until_s=scenario.window.end_s,
            max_lines=scenario.lines_per_slice,
            align=export.align,
            order=export.order,
            time_field=export.time_field,
            format=export.format,
            destination=DestinationSpec(str(installation.folder)),
            output=export.output,
            compression=export.compression,
            give_up_after_s=export.give_up_after_s,
            attempts=export.attempts,
        )

    # --- what is known in the end ---

    def all_met(self) -> Counter[str]:
        """Everything that befell anybody."""
        total = self.met.copy()
        for installation in self.installations:
            total += installation.met
        witness = self.world.witness
        for word, count in witness.statuses.items():
            status = word.rpartition(" ")[2]
            total["connection broken" if status == "0" else f"answer {status}"] += count
        total += Counter(f"ended by {life.ending.kind}" for life in self.lives if life.ending is not None)
        behaviour = self.behaviour
        total["latency"] += witness.requests.total() if behaviour.latency_s else 0
        total["slow file"] += witness.requests["file"] if behaviour.file_bytes_per_s else 0
        total["other clock at the service"] += witness.requests.total() if behaviour.clock_offset_s else 0
        total["strangers came and went"] += min(self.strangers.came, self.strangers.went)
        if self.lines.late:
            last_ms = max(record.arrived_at_ms for record in self.lines.records)
            hidden = [at for at in self.first.seen.executed_at.values() if at * 1000 < last_ms]
            total["record not visible yet"] += len(hidden)
        total["ten outstanding"] += self.first.seen.max_outstanding >= 10
        return +total

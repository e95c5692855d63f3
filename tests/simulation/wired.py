"""A rig whose engine talks to the emulated service over HTTP: the real client and file source, the real
handler, connections made of memory, and the virtual clock over all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.core.job import ServiceSpec
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.gate import RequestGate
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import StaticCredentials
from orchestrator.remote.files import HttpFileSource
from orchestrator.remote.session import Session
from orchestrator.testing.boundary import FaultPlan
from orchestrator.testing.episode import Setting
from orchestrator.testing.loop import VirtualTime
from orchestrator.testing.wire import Exchange, Wire
from tests.simulation.rig import Rig

__all__ = ["ENDPOINT", "WiredRig"]

ENDPOINT = "http://emulated"


class WiredRig(Rig):
    """``exchanges`` is everything that crossed the wire, of all lives, in order."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        super().__init__(setting, folder)
        self.exchanges: list[Exchange] = []
        self.credentials = TEST_CREDENTIALS
        self._open: list[Any] = []

    def _furnish(self, time: VirtualTime, plan: FaultPlan, notes: Any) -> tuple[list[JobContext], Room]:
        disturb, self.disturb = self.disturb, None  # what is disturbed is the wire, not what it replaces
        contexts, room = super()._furnish(time, plan, notes)
        self.disturb = disturb
        limits = self.setting.limits
        gate = RequestGate(
            requests_per_s=limits.requests_per_s, queries=limits.queries, rng=time.rng.fork("gate")
        )
        wire = Wire(Emulator(self.world, now=time.clock.now))
        wire.exchanges = self.exchanges
        session = Session(
            ServiceSpec("", ENDPOINT),
            credentials=StaticCredentials(self.credentials),
            gate=gate,
            clock=time.clock,
            rng=time.rng.fork("session"),
        )
        files = HttpFileSource(gate=gate)
        session._http, files._http = wire.client(), wire.client()
        client = BlsClient(session)
        self._open = [client, files, wire]
        room = replace(
            room,
            data_plane=InlineDataPlane(files, boundary=plan),
            requests=lambda: gate.counts,
        )
        contexts = [replace(each, tasks=client, counts=client, meta=client) for each in contexts]
        return disturb(contexts, room, time) if disturb else (contexts, room)

    async def _leave(self) -> None:
        for door in self._open:
            await door.close()
        self._open = []

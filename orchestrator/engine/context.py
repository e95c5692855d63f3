"""What a run is given: one context per job, one room for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from orchestrator.core.job import Job, Limits
from orchestrator.errors import OrchestratorError
from orchestrator.ports.control import Boundary, Observer
from orchestrator.ports.files import DataPlane, Destination
from orchestrator.ports.service import CountApi, MetaApi, TaskApi
from orchestrator.ports.store import ManifestWriter
from orchestrator.ports.time import Clock, Rng

__all__ = ["JobContext", "Room", "StopSignal"]


@dataclass(frozen=True, slots=True)
class JobContext:
    """One job with the doors it uses. ``zone`` is the job's timezone."""

    job: Job
    zone: tzinfo
    tasks: TaskApi
    counts: CountApi
    meta: MetaApi
    destination: Destination
    stopped: OrchestratorError | None = None
    """Why nothing is begun for the job in this run; what earlier runs left is brought to its end."""


@dataclass(slots=True)
class StopSignal:
    """How the outside asks a run to drain: ``set`` once, with the reason for people ("SIGINT",
    "--max-duration")."""

    reason: str = ""
    interrupted: bool = True
    """True for signals (exit 130), False for drains that the caller planned (exit 3)."""
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, reason: str, *, interrupted: bool = True) -> None:
        if not self._event.is_set():
            self.reason, self.interrupted = reason, interrupted
            self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True, slots=True)
class Room:
    """What all jobs of a run share. ``requests`` reads the live counters of requests by family."""

    manifest: ManifestWriter
    data_plane: DataPlane
    clock: Clock
    rng: Rng
    observer: Observer
    boundary: Boundary
    limits: Limits
    requests: Callable[[], Mapping[str, int]]
    stop: StopSignal = field(default_factory=StopSignal)

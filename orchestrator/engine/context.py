"""What a run is given: one context per job, one room for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import tzinfo

from orchestrator.core.job import Job, Limits
from orchestrator.errors import OrchestratorError
from orchestrator.ports.control import Boundary, NoStopwatch, Observer, Stopwatch
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
    "--max-duration"). May be set before the run begins, from any thread, and from a signal handler; stays
    set, also for the next run that is given it."""

    reason: str = ""
    interrupted: bool = True
    """True for signals (exit 130), False for drains that the caller planned (exit 3)."""
    _is_set: bool = False
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=list)

    def set(self, reason: str, *, interrupted: bool = True) -> None:
        """Ask for the drain and return at once; only the first call counts. ``interrupted`` makes the exit of
        an unfinished run 130, otherwise it is 3."""
        if self._is_set:
            return
        self.reason, self.interrupted = reason, interrupted
        self._is_set = True
        for loop, event in tuple(self._waiting):
            with suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(event.set)

    def is_set(self) -> bool:
        """Whether a drain was asked for."""
        return self._is_set

    async def wait(self) -> None:
        """Returns once a drain was asked for."""
        mine = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.append(mine)
        try:
            if not self._is_set:  # looked at after joining: whoever sets it from now on wakes this one too
                await mine[1].wait()
        finally:
            self._waiting.remove(mine)


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
    stopwatch: Stopwatch = field(default_factory=NoStopwatch)

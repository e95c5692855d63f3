"""A clock that does not jump: the wall clock read once, then the loop's own time."""

from __future__ import annotations

import asyncio

from orchestrator.ports.time import Clock

__all__ = ["SteadyClock"]


class SteadyClock:
    """Dates within one run are in order even when somebody sets the machine's clock meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._offset_s = clock.now() - self._loop.time()

    def now(self) -> float:
        return self._offset_s + self._loop.time()

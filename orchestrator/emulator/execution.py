"""When a remote task starts and ends: a queue before a fixed number of executors, as a function of time.

Nothing ticks. ``advance(now)`` works out, in order, every start that has become due since the last call, so
the outcome is the same however often anybody looks.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

__all__ = ["Executors"]


class Executors:
    """First come, first served, ``quota`` at once. Times are UTC epoch seconds."""

    def __init__(self, quota: int) -> None:
        self._free_at: list[tuple[float, str]] = [(float("-inf"), "")] * quota
        self._queue: deque[tuple[float, str]] = deque()
        self._withdrawn: set[str] = set()

    def enqueue(self, uuid: str, at_s: float) -> None:
        """One more waits from now on."""
        self._queue.append((at_s, uuid))

    def advance(self, now_s: float, begin: Callable[[str, float], float]) -> None:
        """Starts what is due until ``now_s``: ``begin(uuid, start_s)`` is told and returns the end (inf:
        never)."""
        while self._queue and self._free_at:
            queued_s, uuid = self._queue[0]
            if uuid in self._withdrawn:
                self._withdrawn.discard(uuid)
                self._queue.popleft()
                continue
            start_s = max(queued_s, self._free_at[0][0])
            if start_s > now_s:
                return
            self._queue.popleft()
            heapq.heapreplace(self._free_at, (begin(uuid, start_s), uuid))

    def withdraw(self, uuid: str, now_s: float, *, started: bool) -> None:
        """Takes one out; its executor is free from now on. Call ``advance`` first."""
        if not started:
            self._withdrawn.add(uuid)
            return
        for place, (end_s, running) in enumerate(self._free_at):
            if running == uuid and end_s > now_s:
                self._free_at[place] = (now_s, "")
                heapq.heapify(self._free_at)
                return

    def resize(self, quota: int, now_s: float) -> None:
        """Changes the number of executors; those that would be free first go first."""
        while len(self._free_at) < quota:
            heapq.heappush(self._free_at, (now_s, ""))
        while len(self._free_at) > quota:
            heapq.heappop(self._free_at)

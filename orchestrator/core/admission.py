"""Who goes next: the order in which jobs get room for one more remote task, and when there is room at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["Candidate", "Quota", "next_job", "room_for_creates"]

LEAVING_S = 86_400.0
"""A window that leaves retention within a day may be gone before the next nightly run."""
HALVE_EVERY_S = 60.0
"""What expires together is one sign, not many."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The oldest admissible slice of one job. ``leaves_in_s``: until its logstore no longer keeps the first
    of its records; infinite when that is not known or never."""

    job: str
    priority: int
    outstanding: int
    start_s: int
    leaves_in_s: float = math.inf


def next_job(candidates: Iterable[Candidate]) -> Candidate | None:
    """First what leaves retention within a day, soonest first. Then higher priority; among equals the job
    with the fewest remote tasks outstanding; then the oldest window."""

    def turn(candidate: Candidate) -> tuple[float, int, int, int, str]:
        c = candidate
        leaves_in_s = c.leaves_in_s if c.leaves_in_s < LEAVING_S else math.inf
        return leaves_in_s, -c.priority, c.outstanding, c.start_s, c.job

    return min(candidates, key=turn, default=None)


def room_for_creates(*, outstanding: int, tasks: int, unfetched: int, downloads: int) -> int:
    """How many more remote tasks may be asked for now: below the ceiling ``tasks``, and none while finished
    files pile up unfetched beyond twice the ``downloads`` (they expire at the service)."""
    if unfetched > 2 * downloads:
        return 0
    return max(0, tasks - outstanding)


@dataclass(frozen=True, slots=True)
class Quota:
    """How many remote tasks may be outstanding: the ceiling ``tasks``, or fewer while files expire before
    they can be fetched (design 5, Watching)."""

    ceiling: int
    share: float = 1.0
    halved_at: float = float("-inf")

    @property
    def tasks(self) -> int:
        """At least one."""
        return max(1, int(self.ceiling * self.share))

    def expired(self, now: float) -> Quota:
        """A slice lost its file to time for the second time: half as many, at most once a minute."""
        if now - self.halved_at < HALVE_EVERY_S:
            return self
        return replace(self, share=max(self.share / 2, 1 / self.ceiling), halved_at=now)

    def stored(self) -> Quota:
        """A file was stored in time: room for one more by the time a whole quota of them was."""
        return self if self.share >= 1 else replace(self, share=min(1.0, self.share + self._step))

    @property
    def _step(self) -> float:
        return 1 / (self.ceiling * self.tasks)

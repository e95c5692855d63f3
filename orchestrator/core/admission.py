"""Who goes next: the order in which jobs get room for one more remote task, and when there is room at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.core.model import Slice

__all__ = ["Candidate", "Quota", "largest_first", "most_unfetched", "next_job", "room_for_creates"]

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


def largest_first(last: Iterable[Slice]) -> list[Slice]:
    """The last slices of a job in the order that ends soonest: what takes longest begins first. Of unknown
    size are the largest of all."""
    return sorted(last, key=lambda s: -math.inf if s.expected_lines is None else -s.expected_lines)


def room_for_creates(*, outstanding: int, tasks: int, unfetched: int, most_unfetched: int) -> int:
    """How many more remote tasks may be asked for now: below the ceiling ``tasks``, and none while more than
    ``most_unfetched`` finished files wait (they expire at the service)."""
    if unfetched > most_unfetched:
        return 0
    return max(0, tasks - outstanding)


def most_unfetched(*, tasks: int, downloads: int, run_s: float | None, fetch_s: float | None) -> int:
    """How many finished files may wait: twice ``downloads``, or as many as are fetched while one remote task
    runs, for then they are gone when the next one ends; never more than ``tasks``. ``run_s`` and ``fetch_s``
    are what a remote task and a fetch take, None while not known."""
    least = 2 * downloads
    if run_s is None or not fetch_s:
        return least
    return max(least, min(tasks, int(downloads * run_s / fetch_s)))


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

"""Who goes next: the order in which jobs get room for one more remote task, and when there is room at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Candidate", "next_job", "room_for_creates"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """The oldest admissible slice of one job."""

    job: str
    priority: int
    outstanding: int
    start_s: int


def next_job(candidates: Iterable[Candidate]) -> Candidate | None:
    """Higher priority first; among equals the job with the fewest remote tasks outstanding; then the oldest
    window."""
    return min(candidates, key=lambda c: (-c.priority, c.outstanding, c.start_s, c.job), default=None)


def room_for_creates(*, outstanding: int, tasks: int, unfetched: int, downloads: int) -> int:
    """How many more remote tasks may be asked for now: below the ceiling ``tasks``, and none while finished
    files pile up unfetched beyond twice the ``downloads`` (they expire at the service)."""
    if unfetched > 2 * downloads:
        return 0
    return max(0, tasks - outstanding)

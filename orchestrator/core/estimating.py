"""What do earlier slices tell of the next ones: by how much files exceed their counts, how long a remote task
runs, how many bytes a line takes, and so how long all of it takes?

Estimates serve to plan by and to be read. Nothing is proved by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.core.job import Limits
from orchestrator.core.looking import looks_per_task

__all__ = ["Past", "Work", "bytes_for", "duration_of", "excess", "together", "typical_s", "watching_requests"]

_TELLS_FROM = 0.1
"""How full, as a share of ``max_lines``, a slice must have been for its excess to count: three lines instead
of two are no half more, and a small slice is far from its limit anyway."""
_LOOKS_EACH = 2.0
"""What a remote task costs to watch that is looked at alone."""


@dataclass(frozen=True, slots=True)
class Past:
    """What one slice of ``length_s`` seconds came to. ``came_lines`` is what its remote task had to carry,
    ``stored_rows`` and ``stored_bytes`` are the file's; ``ran_s`` from the remote task's creation to its end.
    None is not known."""

    expected_lines: int | None
    came_lines: int | None
    stored_rows: int = 0
    stored_bytes: int = 0
    ran_s: float | None = None
    length_s: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done for one job: ``slices`` that a remote task is to run for, ``run_s`` each (None: not
    known), ``requests`` in all, ``fetched_bytes`` if known."""

    slices: int
    run_s: float | None
    requests: int
    fetched_bytes: int | None = None


def excess(past: Iterable[Past], max_lines: int) -> float:
    """The largest share by which more lines came than were counted; 0.0 when nothing tells."""
    return max(
        (
            (item.came_lines - item.expected_lines) / item.expected_lines
            for item in past
            if item.came_lines is not None
            and item.expected_lines
            and max_lines * _TELLS_FROM <= item.expected_lines < item.came_lines
        ),
        default=0.0,
    )


def typical_s(run_times_s: Iterable[float]) -> float | None:
    """The upper median; None when there is none. A clock that went back tells nothing."""
    known = sorted(run_s for run_s in run_times_s if run_s >= 0)
    return known[len(known) // 2] if known else None


def bytes_for(lines: int | None, past: Iterable[Past]) -> int | None:
    """How many bytes ``lines`` will be stored as, going by what earlier ones took; None when nothing
    tells."""
    if lines == 0:
        return 0
    items = [item for item in past if item.stored_rows > 0]
    rows = sum(item.stored_rows for item in items)
    if lines is None or not rows:
        return None
    return round(lines * sum(item.stored_bytes for item in items) / rows)


def watching_requests(slices: int, tasks: int) -> int:
    """About how many looks ``slices`` remote tasks need, ``tasks`` of them out at once (``core.looking``)."""
    return math.ceil(slices * min(_LOOKS_EACH, looks_per_task(min(slices, tasks))))


def duration_of(work: Work, limits: Limits) -> float | None:
    """Seconds: as many waves as ``limits.tasks`` makes of the slices, and no less than the requests and the
    bytes take. None when slices are to run and nobody knows how long one does."""
    if work.slices and work.run_s is None:
        return None
    waves_s = math.ceil(work.slices / limits.tasks) * (work.run_s or 0.0)
    return max(waves_s, _least_s((work,), limits))


def together(works: Sequence[Work], limits: Limits) -> float | None:
    """The same for jobs that run side by side below the same ceilings; None when one of them is unknown."""
    alone = [duration_of(work, limits) for work in works]
    known = [duration_s for duration_s in alone if duration_s is not None]
    if len(known) < len(alone):
        return None
    run_s = sum(work.slices * (work.run_s or 0.0) for work in works)
    return max([run_s / limits.tasks, _least_s(works, limits), *known])


def _least_s(works: Sequence[Work], limits: Limits) -> float:
    """What requests and bytes take at the ceilings."""
    asking_s = sum(work.requests for work in works) / limits.requests_per_s
    if limits.bandwidth_bytes_per_s is None:
        return asking_s
    return max(asking_s, sum(work.fetched_bytes or 0 for work in works) / limits.bandwidth_bytes_per_s)

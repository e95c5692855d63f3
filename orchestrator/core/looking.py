"""When is the next look at remote tasks worth a request?

Nobody tells when a remote task will end, but those before it ran for a while, and rows already written tell
how far one has come. So each has an age at which it should be done, and a look goes when enough of them
should be.

    few outstanding: one at a time, each when it should be done      ≤ 3 + log2(run seconds) looks a task
    many:            one page shows all, when it will find several   ≤ 0.3 looks a task, on average
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

__all__ = [
    "FIRST_LOOK_S",
    "PER_TASK",
    "Budget",
    "RunTimes",
    "age_expected_s",
    "drawn",
    "look_at",
    "looks_per_task",
]

FIRST_LOOK_S = 0.6
MANY = 16
PER_TASK = 0.27
"""Looks for each remote task that ended, where at least ``MANY`` are out; fewer where twice as many are."""
FEW_PER_RUN = 14.0
MOST_PER_TASK = 2.5
"""With fewer out, looks during one run time of them all, and for each of them."""
LEAST_PATIENCE_S = 15.0
"""How long a remote task that should be done may wait for company before it is looked at all the same."""
KEPT = 40
EARLY = 0.35
"""Where between the last look that found it unfinished and the first that found it finished a remote task is
taken to have ended: rather early, since an executor that waits costs more than a look that the budget has."""
LATEST = 2.5
"""A look that came later than at so many times the age of the one before was held up by something else."""
GOLDEN = 0.618_033_988_75


class RunTimes:
    """How long the latest remote tasks took from their create to their end, in seconds."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def __bool__(self) -> bool:
        """Whether any has ended."""
        return bool(self._sorted)

    def learn(self, unfinished_s: float | None, finished_s: float) -> None:
        """One was seen finished at the age ``finished_s``, and last seen unfinished at ``unfinished_s``.

        One that was finished at the first look may have been so for long, and so may one that nobody could
        look at for a while: such an age says at most how long it took. It makes the next looks earlier, never
        later, and where nothing else is known it says nothing.
        """
        if unfinished_s is None:
            if not self._sorted and finished_s > 2 * FIRST_LOOK_S:
                return
            took_s = (0.5 + 0.5 * EARLY) * finished_s
            took_s = min(took_s, self.at(0.5)) if self._sorted else took_s
        else:
            took_s = unfinished_s + EARLY * (min(finished_s, LATEST * unfinished_s) - unfinished_s)
        self._latest.append(took_s)
        insort(self._sorted, took_s)
        if len(self._latest) > KEPT:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]

    def at(self, share: float) -> float:
        """The age at which ``share`` of them, in [0, 1], had ended."""
        place = share * (len(self._sorted) - 1)
        low = int(place)
        high = min(low + 1, len(self._sorted) - 1)
        return self._sorted[low] + (place - low) * (self._sorted[high] - self._sorted[low])

    def ended_by(self, age_s: float) -> float:
        """The share of them that had ended at that age."""
        return bisect_left(self._sorted, age_s) / len(self._sorted)


def drawn(number: int) -> float:
    """A place in (0, 1) for the ``number``-th remote task, such that those of any consecutive numbers are
    spread evenly: what each may draw from the run times of others."""
    return (number * GOLDEN) % 1.0


def age_expected_s(age_s: float, draw: float, past: RunTimes, done: float = 0.0) -> float:
    """The age at which a remote task that is not done at ``age_s`` should be looked at next.

    It is the ``draw``-th of the run times in ``past`` that are longer, so that of many remote tasks as many
    are expected to end at any time as will. ``done`` is the share of its rows that is written, 0.0 where that
    is not told: one that has written nearly all and goes on tells nothing. Overdue ones are looked at after
    steps that grow with their age.
    """
    if 0.02 < done < 0.98:
        told_s = 1.02 * age_s / done
        return min(max(told_s, age_s + _step(age_s, 0.1)), age_s + _step(age_s, 1.0))
    if not past:
        grow = 1.75 if age_s < 20 else 2.0
        return max(FIRST_LOOK_S, grow * age_s)
    over = past.ended_by(age_s)
    if over < 1:
        expected_s = past.at(over + (1 - over) * draw)
        if expected_s > age_s:
            return max(expected_s, age_s + FIRST_LOOK_S / 4)
    return age_s + _step(age_s, 0.12 if age_s < 1.5 * past.at(1.0) else 0.3)


def _step(age_s: float, share: float) -> float:
    return max(FIRST_LOOK_S / 3, share * age_s)


def looks_per_task(outstanding: int) -> float:
    """Requests that watching may cost for each remote task, on average, while so many are out."""
    if outstanding < MANY:
        return min(MOST_PER_TASK, FEW_PER_RUN / max(1, outstanding))
    return min(PER_TASK, 40 * PER_TASK / outstanding)


class Budget:
    """Looks that may go, so that over a run they stay at ``looks_per_task``."""

    MOST = 5.0

    def __init__(self) -> None:
        self._looks = self.MOST

    def ended(self, outstanding: int) -> None:
        """One more remote task came to its end while so many were out."""
        self._looks = min(self.MOST, self._looks + looks_per_task(outstanding))

    def looked(self) -> None:
        """One request was spent."""
        self._looks -= 1.0

    def wanted(self, outstanding: int) -> int:
        """How many remote tasks should be done before the next look: one where there is plenty to spend, else
        as many as pay for it."""
        if self._looks > self.MOST / 2 or outstanding <= 1:
            return 1
        pays = max(1.0, (1 - self._looks) / looks_per_task(outstanding), 0.8 / looks_per_task(outstanding))
        return min(outstanding, math.ceil(pays))


def look_at(expected_at: Iterable[float], wanted: int, past: RunTimes) -> float | None:
    """When ``wanted`` of them should be done; None when there are none. The first of them is kept waiting for
    the others for a fraction of a run time only: among them may be one that never ends."""
    at = sorted(expected_at)
    if not at:
        return None
    patience_s = max(LEAST_PATIENCE_S, past.at(0.5) / 4) if past else LEAST_PATIENCE_S
    return min(at[min(wanted, len(at)) - 1], at[0] + patience_s)

"""How long must a request wait so that no ceiling is ever passed? Answers in seconds; waiting is the
caller's.

Two brakes in a row. One ``SlidingWindow`` holds all signed calls together below the ceiling of the job file,
whatever happens. Below it each request family has a ``Pace`` of its own, off until the service refuses for
load: from then on it keeps to what the service seems to allow (``core.limit``).

Why 1.05 seconds. The promise is about any one-second interval *as the server sees it*, and requests let go
1.02 s apart may arrive 0.98 s apart when the first was held up on its way. No more than ``floor(ceiling)``
grants in any 1.05 s bear 50 ms of such jitter, at the price of 5 % of the ceiling. A bucket that refills
(``ceiling`` in hand plus ``ceiling`` a second) would let twice the ceiling through in its first second; a
window cannot.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from orchestrator.core.limit import Limit

__all__ = ["FLOOR_PER_S", "GUARD_INTERVAL_S", "Pace", "Pacer", "SlidingWindow", "rate_limit"]

GUARD_INTERVAL_S = 1.05
"""One second and the jitter of the way there."""

FLOOR_PER_S = 0.2
"""However often it is refused, a family may ask every five seconds: a run must end."""
CAREFUL = 0.9
"""So much of a rate that was refused once is not refused again."""
_FIRST_PAUSE_S = 0.5
_LONGEST_OWN_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0
"""A Retry-After beyond this is taken for a mistake; a run must end."""


class SlidingWindow:
    """At most ``floor(per_s)`` grants in any 1.05 s; below one a second, one grant per ``1 / per_s`` (never
    under 1.05 s).

    Grants are spread the more the fuller the window is: a few after a pause go out at once, a long row goes
    out evenly instead of in bursts, at the same total. A clock that goes back makes it wait longer, never
    less (``Pacer`` sees to it that none does). Raises ValueError unless ``per_s`` is a positive number.
    """

    def __init__(self, per_s: float) -> None:
        if not per_s > 0:
            raise ValueError(f"a rate of {per_s} a second grants nothing, ever")
        self.capacity = max(1, math.floor(min(per_s, 1e6)))
        self.interval_s = max(GUARD_INTERVAL_S, 1 / per_s)
        self._granted: deque[float] = deque(maxlen=self.capacity)

    def wait_s(self, now: float) -> float:
        """Seconds until one more request may go, from ``now``; 0.0 when it may go now."""
        granted = self._granted
        while granted and granted[0] + self.interval_s <= now:
            granted.popleft()
        if not granted:
            return 0.0
        spread_s = self.interval_s * len(granted) / self.capacity**2
        free_at = granted[-1] + spread_s
        if len(granted) == self.capacity:
            free_at = max(free_at, granted[0] + self.interval_s)
        return max(0.0, free_at - now)

    def take(self, now: float) -> None:
        """Record a grant. Raises ValueError when ``wait_s(now)`` is not zero: the promise is kept here, not
        by callers."""
        wait_s = self.wait_s(now)
        if wait_s > 0:
            raise ValueError(f"granted {wait_s:.6f} s too early")
        self._granted.append(now)


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of one request family: a value, every event gives a new one. Times must not decrease.

    ``limit`` is in requests a second; below its ceiling requests are spaced, at the ceiling the family adds
    nothing to what holds for all.
    """

    limit: Limit
    not_before: float = -math.inf
    refusals: int = 0
    """In a row, since the last answer that was none."""
    second: int = 0
    """The whole second ``sent_now`` belongs to; ``sent_before`` counts the one before it."""
    sent_now: int = 0
    sent_before: int = 0
    last_at: float = -math.inf
    gap_s: float = math.inf
    """Between the two last requests."""

    def wait_s(self, now: float) -> float:
        """Seconds until the family's next request may go."""
        return max(0.0, self.not_before - now)

    def sent_per_s(self, now: float) -> float:
        """The most that went out in a whole second, this one or the one before it; less than one where the
        last two were further apart; 0.0 when nothing went out lately."""
        age_s = math.floor(now) - self.second
        sent = max(self.sent_now, self.sent_before) if age_s == 0 else self.sent_now if age_s == 1 else 0
        return float(sent) if sent != 1 else min(1.0, 1 / max(self.gap_s, 1e-9))

    def granted(self, now: float, *, seeking: bool = True, jitter: float = 0.5) -> Pace:
        """One request went out. Without ``seeking`` the next one follows no sooner than surely may.

        ``jitter`` in [0, 1) makes the gap up to a half shorter or longer: of two clients in step with a
        service that counts by the second, one would come too late every time.
        """
        second = math.floor(now)
        age_s = second - self.second
        before = self.sent_before if age_s == 0 else self.sent_now if age_s == 1 else 0
        rate = self.limit.level(now) if seeking else CAREFUL * self.limit.known_level(now)
        return replace(
            self,
            second=second,
            sent_before=before,
            sent_now=self.sent_now + 1 if age_s == 0 else 1,
            last_at=now,
            gap_s=now - self.last_at,
            not_before=max(self.not_before, now + (0.75 + 0.5 * jitter) / rate)
            if rate < self.limit.ceiling
            else self.not_before,
        )

    def throttled(
        self,
        now: float,
        retry_after_s: float | None,
        jitter: float,
        *,
        cut: bool = True,
        proven: bool = False,
    ) -> Pace:
        """The service refused for load. ``retry_after_s`` is honoured as "not before"; without it the family
        pauses, longer with every refusal in a row, by ``jitter`` in [0, 1) ("full jitter"), so that many
        processes refused together do not come back together. ``cut=False``: the rate was not what it minded;
        ``proven``: as much was accepted before.

        Cut is what was really sent in the last seconds where that is less than what was allowed: cutting an
        allowance nobody uses slows nothing down.
        """
        limit = self.limit
        if cut:
            limit = limit.refused(
                now, min(self.sent_per_s(now) or limit.ceiling, limit.level(now)), proven=proven
            )
        if retry_after_s is None or not retry_after_s >= 0:
            pause_s = jitter * min(_LONGEST_OWN_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self.refusals, 10))
        else:
            pause_s = min(retry_after_s, _LONGEST_PAUSE_S) * (1 + 0.1 * jitter)
        return replace(
            self,
            limit=limit,
            refusals=self.refusals + 1,
            not_before=max(self.not_before, now + pause_s),
        )

    def accepted(self, now: float) -> Pace:
        """The service answered."""
        limit = self.limit.accepted(now)
        if limit is self.limit and not self.refusals:
            return self
        return replace(self, limit=limit, refusals=0)


class Pacer:
    """All families under one ceiling.

    ``now`` may come from any clock in seconds. A clock that goes back is taken to have stood still: nothing
    is granted early and nobody waits for it to catch up.
    """

    def __init__(self, per_s: float) -> None:
        self._common = SlidingWindow(per_s)
        self._per_s = per_s
        self._families: dict[str, Pace] = {}
        self._last_seen: float | None = None
        self._lost_s = 0.0

    def _forward(self, now: float) -> float:
        if self._last_seen is not None and now < self._last_seen:
            self._lost_s += self._last_seen - now
        self._last_seen = now
        return now + self._lost_s

    def family(self, family: str) -> Pace:
        """The family's pace as it stands."""
        return self._families.get(family) or Pace(rate_limit(self._per_s))

    def common_wait_s(self, now: float) -> float:
        """Seconds the common ceiling asks for."""
        return self._common.wait_s(self._forward(now))

    def family_wait_s(self, family: str, now: float) -> float:
        """Seconds the family's own pace asks for."""
        return self.family(family).wait_s(self._forward(now))

    def take(self, family: str, now: float, *, common: bool = True) -> None:
        """A request goes out; ``common=False`` leaves it out of the common ceiling (files are no signed
        calls). Raises ValueError when the common ceiling does not allow it."""
        at = self._forward(now)
        if common:
            self._common.take(at)
        self._families[family] = self.family(family).granted(at)

    def throttled(
        self, family: str, now: float, retry_after_s: float | None, jitter: float, *, cut: bool = True
    ) -> None:
        """The service refused a request of ``family`` for load; ``cut=False``: but not for its rate."""
        pace = self.family(family).throttled(self._forward(now), retry_after_s, jitter, cut=cut)
        self._families[family] = pace

    def accepted(self, family: str, now: float) -> None:
        """The service answered a request of ``family``."""
        pace = self._families.get(family)
        if pace is not None:
            self._families[family] = pace.accepted(self._forward(now))


def rate_limit(ceiling_per_s: float) -> Limit:
    """A rate nobody told, in requests a second, below the ceiling of the job file."""
    return Limit(ceiling_per_s, min(FLOOR_PER_S, ceiling_per_s))

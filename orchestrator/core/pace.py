"""How long must a request wait so that no ceiling is ever passed? Answers in seconds; waiting is the
caller's.

Two brakes in a row. One ``SlidingWindow`` holds all signed calls together below the ceiling of the job file,
whatever happens. Below it each request family has an ``Aimd`` of its own, off until the service refuses for
load: then the rate halves, and it creeps back while answers are clean (the scheme TCP shares a line with).

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

__all__ = ["GUARD_INTERVAL_S", "Aimd", "Pacer", "SlidingWindow"]

GUARD_INTERVAL_S = 1.05
"""One second and the jitter of the way there."""

_FLOOR_PER_S = 0.2
"""However often it is refused, a family may ask every five seconds: a run must end."""
_SETTLE_S = 1.0
"""Refusals this soon after a cut answer requests sent before it and say nothing about the new rate."""
_RECOVERY = 0.02
"""Share of the ceiling won back per clean second: from the floor to the top within a minute."""
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
class Aimd:
    """The pace of one request family below ``ceiling_per_s``; a value, every event gives a new one.

    ``rate_per_s`` None: never refused lately, nothing to add to the common ceiling. Times must not decrease.
    """

    ceiling_per_s: float
    rate_per_s: float | None = None
    not_before: float = -math.inf
    cut_at: float = -math.inf
    clean_since: float = -math.inf
    second: int = 0
    """The whole second ``sent_now`` belongs to; ``sent_before`` counts the one before it."""
    sent_now: int = 0
    sent_before: int = 0

    def wait_s(self, now: float) -> float:
        return max(0.0, self.not_before - now)

    def granted(self, now: float) -> Aimd:
        """One request went out."""
        second = math.floor(now)
        age_s = second - self.second
        before = self.sent_before if age_s == 0 else self.sent_now if age_s == 1 else 0
        spaced = (
            self.not_before if self.rate_per_s is None else max(self.not_before, now + 1 / self.rate_per_s)
        )
        return replace(
            self,
            second=second,
            sent_before=before,
            sent_now=self.sent_now + 1 if age_s == 0 else 1,
            not_before=spaced,
        )

    def throttled(self, now: float, retry_after_s: float | None, jitter: float) -> Aimd:
        """The service refused for load. ``retry_after_s`` is honoured as "not before"; without it the family
        pauses between nothing and two of its new spacings, by ``jitter`` in [0, 1) ("full jitter"), so that
        many processes refused together do not come back together.

        Halved is what was really sent in the last second where that is less than what was allowed: cutting an
        allowance nobody uses slows nothing down.
        """
        rate = self.rate_per_s
        if rate is None or now >= self.cut_at + _SETTLE_S:
            age_s = math.floor(now) - self.second
            sent = max(self.sent_now, self.sent_before) if age_s <= 1 else 0
            used = min(self.ceiling_per_s if rate is None else rate, float(sent) or math.inf)
            rate = max(used / 2, min(_FLOOR_PER_S, self.ceiling_per_s))
            cut_at = now
        else:
            cut_at = self.cut_at
        if retry_after_s is None or not retry_after_s >= 0:
            pause_s = 2 * jitter / rate
        else:
            pause_s = min(retry_after_s, _LONGEST_PAUSE_S) * (1 + 0.1 * jitter)
        return replace(
            self,
            rate_per_s=rate,
            cut_at=cut_at,
            clean_since=max(now, cut_at + _SETTLE_S),
            not_before=max(self.not_before, now + pause_s),
        )

    def accepted(self, now: float) -> Aimd:
        """The service answered. An answer wins back at most one second's worth: silence is no sign of
        health."""
        if self.rate_per_s is None or now <= self.clean_since:
            return self
        rate = self.rate_per_s + self.ceiling_per_s * _RECOVERY * min(1.0, now - self.clean_since)
        if rate >= self.ceiling_per_s:
            return replace(self, rate_per_s=None, clean_since=now)
        return replace(self, rate_per_s=rate, clean_since=now)


class Pacer:
    """All families under one ceiling.

    ``now`` may come from any clock in seconds. A clock that goes back is taken to have stood still: nothing
    is granted early and nobody waits for it to catch up.
    """

    def __init__(self, per_s: float) -> None:
        self._common = SlidingWindow(per_s)
        self._per_s = per_s
        self._families: dict[str, Aimd] = {}
        self._last_seen: float | None = None
        self._lost_s = 0.0

    def _forward(self, now: float) -> float:
        if self._last_seen is not None and now < self._last_seen:
            self._lost_s += self._last_seen - now
        self._last_seen = now
        return now + self._lost_s

    def family(self, family: str) -> Aimd:
        """The family's pace as it stands."""
        return self._families.get(family) or Aimd(self._per_s)

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

    def throttled(self, family: str, now: float, retry_after_s: float | None, jitter: float) -> None:
        """The service refused a request of ``family`` for load."""
        self._families[family] = self.family(family).throttled(self._forward(now), retry_after_s, jitter)

    def accepted(self, family: str, now: float) -> None:
        """The service answered a request of ``family``."""
        pace = self.family(family)
        if pace.rate_per_s is not None:
            self._families[family] = pace.accepted(self._forward(now))

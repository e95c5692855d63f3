"""How much does a service allow that does not say so? One answer for rates, places and slots alike.

A refusal says that the level in use was too high. The level then falls to ``BETA`` of it, comes back to it
quickly at first and slowly towards the end, stays there while that holds, and then tries beyond it, with care
at first and then faster and faster: the curve by which TCP CUBIC shares a line (RFC 9438).

    level                                          ╱
      knee ┄┄┄┄┄┄┄┄┄┄┄┄╭───────────────╮┄┄┄┄┄╭───╱     tried beyond: refused again, or a new knee
                    ╭──╯                ╲ BETA ╯
                 ╭─╯                     │
                 │ RECOVERY_S │ holds    │ cut

Below the knee the time alone counts. Beyond it the level goes only after ``PROOFS`` acceptances since the
cut, so that a slow client does not spend a large share of its few requests on refusals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["BETA", "PROOFS", "RECOVERY_S", "SETTLE_S", "Limit"]

BETA = 0.7
"""What is left after a refusal."""
STEP = 1.0
"""What is tried beyond the knee after another ``RECOVERY_S``, at least: who has little catches up with those
who have much."""
RECOVERY_S = 10.0
"""From a cut until the level is back at its knee."""
SETTLE_S = 1.0
"""Refusals this soon after a cut answer requests sent before it and say nothing about the new level."""
PROOFS = 5
"""Acceptances since the cut before more than the knee is tried."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit nobody told, as known so far; a value, every event gives a new one. Times must not decrease.

    ``ceiling`` is our own, never passed. Until the first refusal the level is ``opened``, the ceiling by
    default; a smaller one opens by one for each acceptance (slow start). ``least`` is the floor of all cuts.
    """

    ceiling: float
    least: float
    opened: float = math.inf
    knee: float | None = None
    """The highest level believed to hold: None while nothing was ever refused."""
    cut_at: float = -math.inf
    proofs: int = 0
    proved_at: float = math.inf

    def level(self, now: float) -> float:
        """What may be used now, between ``least`` and ``ceiling``."""
        if self.knee is None:
            return min(self.ceiling, self.opened)
        back_at = self.cut_at + RECOVERY_S
        if now < back_at:
            return self._within(self.knee * (1 - (1 - BETA) * ((back_at - now) / RECOVERY_S) ** 3))
        beyond = max(0.0, now - max(back_at, self.proved_at)) / RECOVERY_S
        return self._within(self.knee + max((1 - BETA) * self.knee, STEP) * beyond**3)

    def known_level(self, now: float) -> float:
        """The level without what is tried beyond the knee."""
        level = self.level(now)
        return level if self.knee is None else min(level, self.knee)

    def beyond_knee(self, used: float) -> bool:
        """Whether ``used`` is more than what is known to hold."""
        return self.knee is not None and used > self.knee

    def refused(self, now: float, used: float, *, counted: bool = False, proven: bool = False) -> Limit:
        """The service refused while ``used`` was in use: that much it may hold, less is sure. Refusals of one
        moment cut once; where ``used`` was counted and not estimated, the least of them is what may hold.

        An estimate that is refused before enough was accepted is too high itself and falls with the level,
        unless it is ``proven`` otherwise.
        """
        if now < self.cut_at + SETTLE_S:
            fewer = counted and self.knee is not None and used < self.knee
            return replace(self, knee=self._within(used)) if fewer else self
        held = counted or proven or self.knee is None or self.proofs >= PROOFS
        return replace(
            self, knee=self._within(used if held else BETA * used), cut_at=now, proofs=0, proved_at=math.inf
        )

    def accepted(self, now: float) -> Limit:
        """The service accepted something that was sent at this level."""
        if self.knee is None:
            return self if self.opened >= self.ceiling else replace(self, opened=self.opened + 1)
        if self.proofs >= PROOFS or now < self.cut_at + SETTLE_S:
            return self
        proofs = self.proofs + 1
        return replace(self, proofs=proofs, proved_at=now if proofs == PROOFS else math.inf)

    def _within(self, level: float) -> float:
        return min(self.ceiling, max(self.least, level))

"""How many remote tasks may be asked for now, of a service that does not say how many it allows?

Two things may be scarce: places (remote tasks outstanding at once) and creates in a second. A refusal names
neither. Both are searched for side by side (``core.limit``), and each refusal is laid to the one of them that
was stretched further beyond what is known to hold. Places open by doubling (slow start), so that a service
with few of them refuses few creates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from orchestrator.core.limit import Limit
from orchestrator.core.pace import Pace, rate_limit

__all__ = ["Creating", "creating"]

AT_SPEED = 3
"""So many creates within a second may themselves be what is refused."""
NEARLY = 0.9
"""A rate is known to the whole second only: this share of it may have been all of it."""
UNHURRIED = 0.6
"""So far below what the rate seems to be, it is not what was refused."""
PROVED_BY = 4
"""So many refusals with as many outstanding, further and further apart, and it is the places."""


@dataclass(frozen=True, slots=True)
class Creating:
    """What one run knows of both; a value. Times are of one clock in seconds and must not decrease."""

    places: Limit
    pace: Pace
    laid_to_places: int = 0
    """Refusals that were laid to the places since they were last refuted."""
    refused_at: float = -math.inf
    alone: bool = False
    """Whether none of ours has ended since that refusal: then one more that is accepted refutes it."""
    rate_before: Limit | None = None
    """What was known of the rate before refusals were laid to it that nothing has confirmed yet."""

    def tasks(self, now: float) -> int:
        """How many remote tasks may be outstanding, as far as the service is known; at least one."""
        level = max(1, int(self.places.level(now) + 0.5))
        knee = self.places.knee
        if knee is not None and now >= self._proof_due_at and level <= knee < self.places.ceiling:
            return int(knee) + 1
        return level

    @property
    def _proof_due_at(self) -> float:
        """When one more than the places seem to be is tried again: were it the rate, it would be accepted."""
        if self.laid_to_places >= PROVED_BY or not self.alone:
            return math.inf
        return self.refused_at + 2.0 ** (self.laid_to_places - 1)

    def room(self, now: float, outstanding: int, *, seeking: bool = True) -> int:
        """How many creates may go at once, ``outstanding`` being those that hold a place at the service.
        Without ``seeking``, no more than is known to be accepted."""
        if self.pace.wait_s(now) > 0:
            return 0
        tasks = self.tasks(now) if seeking else max(1, int(self.places.known_level(now) + 0.5))
        room = max(0, tasks - outstanding)
        spaced = self.paced(now) or not (seeking or self.pace.limit.knee is None)
        return min(room, 1) if spaced else room

    def paced(self, now: float) -> bool:
        """Whether creates are spaced because of their rate."""
        return self.pace.limit.level(now) < self.pace.limit.ceiling

    def asked(self, now: float, *, seeking: bool = True, jitter: float = 0.5) -> Creating:
        """One create goes out; ``jitter`` in [0, 1) spreads the next one."""
        return replace(self, pace=self.pace.granted(now, seeking=seeking, jitter=jitter))

    def accepted(self, now: float, outstanding: int, *, asked_at: float) -> Creating:
        """One was accepted that had gone out at ``asked_at``; ``outstanding`` with it."""
        pace, places = self.pace.accepted(now), self.places
        later = asked_at > self.refused_at and self.alone
        if later and places.beyond_knee(outstanding) and self.laid_to_places < PROVED_BY:
            rate = max(pace.limit.least, 1 / max(1.0, now - self.refused_at))
            pace = replace(pace, limit=replace(pace.limit, knee=rate, cut_at=now, proofs=0))
            return Creating(replace(places, knee=None, opened=2.0 * outstanding), pace)
        places = places.accepted(now)
        if places.knee is None and places.opened < places.ceiling:
            places = replace(places, opened=max(places.opened, 2.0 * outstanding))
        if places is self.places and pace is self.pace and self.rate_before is None:
            return self
        return replace(self, places=places, pace=pace, rate_before=None)

    def unheard(self, outstanding: int) -> Creating:
        """Nobody knows what came of one, ``outstanding`` with it: no refusal, so places go on opening."""
        if self.places.knee is not None or self.places.opened >= self.places.ceiling:
            return self
        return replace(self, places=replace(self.places, opened=max(self.places.opened, 2.0 * outstanding)))

    def refused(self, now: float, outstanding: int, retry_after_s: float | None, jitter: float) -> Creating:
        """One was refused for load while ``outstanding`` others held places.

        A refusal that was laid to the rate and is followed by another one, of a create that went alone, was
        none of the rate's: what was known of it is known again.
        """
        if not outstanding or not self._for_places(now, outstanding):
            pace = self.pace.throttled(now, retry_after_s, jitter, proven=True)
            return replace(self, pace=pace, rate_before=self.rate_before or self.pace.limit)
        places = self.places.refused(now, float(outstanding), counted=True)
        pace = self.pace.throttled(now, retry_after_s, jitter, cut=False)
        if self.rate_before is not None:
            pace = replace(pace, limit=self.rate_before)
        laid = self.laid_to_places if places is self.places else self.laid_to_places + 1
        return Creating(places, pace, laid, now, alone=True)

    def ended(self) -> Creating:
        """A remote task of ours has come to its end and given its place back."""
        return replace(self, alone=False) if self.alone else self

    def _for_places(self, now: float, outstanding: int) -> bool:
        """Whether a refusal is laid to the places. What is known to be scarce is suspected first; a rate that
        was far from reached is not, nor one that was just cut and is refused again."""
        sent, rate, knee = self.pace.sent_per_s(now), self.pace.limit, self.places.knee
        hurried = 0.0 if rate.knee is None else sent / rate.known_level(now)
        if knee is not None and outstanding + 1 > knee and (outstanding + 1) / knee >= hurried:
            return True
        if rate.knee is None:
            return sent < AT_SPEED
        return hurried < UNHURRIED or (hurried < NEARLY and self.pace.refusals > 0)


def creating(tasks: int, requests_per_s: float) -> Creating:
    """What is known at the beginning: our own ceilings, and that one create may be tried."""
    return Creating(Limit(float(tasks), 1.0, opened=1.0), Pace(rate_limit(requests_per_s)))

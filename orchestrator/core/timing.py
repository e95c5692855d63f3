"""Where did the time of a run go, and which limit would have made it shorter?

Every instant goes to exactly one cause, so the shares add up to the whole run. Much goes on at once; what
counts is what the run waited for. In this order (``cause_of``): all download slots busy; a request held back,
by the service or by our own ceiling; a file under way though others could be too; questions of the planner.
Waiting for remote tasks comes last: it is what is left when there was nothing else to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.core.job import Limits

__all__ = ["Brake", "Cause", "Going", "Timing", "Watch", "cause_of"]


class Cause(StrEnum):
    """What an instant of a run was spent on; public words."""

    SERVICE = "service"
    """Remote tasks waited or ran there, and nothing else was to be done."""
    THROTTLED = "throttled"
    """The service refused for load, or let no more remote tasks be made."""
    CEILING = "ceiling"
    """``requests_per_second`` held a request back."""
    FETCHING = "fetching"
    CONVERTING = "converting"
    """Files that are here were checked, cut to their window and written anew."""
    PLANNING = "planning"
    """Lines were counted at the service."""
    OTHER = "other"
    """The ledger, publishing, starting and ending, or nothing at all."""


class Brake(StrEnum):
    """What may hold back a request that wants to go, or a remote task that might be made."""

    CEILING = "requests_per_second"
    REFUSALS = "refusals"
    """The service answered 429 lately, to requests of this kind."""
    PLACES = "places"
    """The service lets no more remote tasks be outstanding."""
    QUERIES = "queries"


@dataclass(frozen=True, slots=True)
class Going:
    """What goes on at one moment. ``ready`` are finished remote tasks whose file is not asked for yet,
    ``planned`` slices that wait for their remote task."""

    outstanding: int = 0
    planned: int = 0
    ready: int = 0
    transfers: int = 0
    fetching: int = 0
    """Those of the transfers that receive bytes, or wait for some."""
    counting: int = 0
    """Questions about numbers of lines that are out."""
    brakes: frozenset[Brake] = frozenset()


def cause_of(going: Going, limits: Limits) -> Cause:
    """What the run waits for while this goes on."""
    transferring = Cause.FETCHING if going.fetching else Cause.CONVERTING
    if going.transfers >= limits.downloads:
        return transferring
    if going.brakes & {Brake.REFUSALS, Brake.PLACES}:
        return Cause.THROTTLED
    if Brake.CEILING in going.brakes:
        return Cause.CEILING
    if going.transfers:
        return transferring
    if going.counting:
        return Cause.PLANNING
    return Cause.SERVICE if going.outstanding else Cause.OTHER


def _full(going: Going, limits: Limits) -> list[str]:
    """The limits that something waits behind."""
    found = []
    if going.outstanding >= limits.tasks and going.planned > 0:
        found.append("tasks")
    if going.transfers >= limits.downloads and going.ready > 0:
        found.append("downloads")
    if Brake.QUERIES in going.brakes:
        found.append("queries")
    if Brake.CEILING in going.brakes:
        found.append("requests_per_second")
    return found


_NOTABLE = 0.1
"""From this share of the run on a limit is worth a word."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a run by cause, which add up to ``duration_s``, and by limit how long something waited
    because it was full: those may overlap."""

    duration_s: float
    seconds: Mapping[Cause, float]
    full_s: Mapping[str, float]
    limits: Limits = field(default_factory=Limits)

    def share(self, cause: Cause) -> float:
        """0 to 1; 0 for a run that took no time."""
        return self.seconds.get(cause, 0.0) / self.duration_s if self.duration_s > 0 else 0.0

    def full_share(self, limit: str) -> float:
        """How much of the run something waited behind ``limit``, a key of ``[limits]``; 0 to 1."""
        return self.full_s.get(limit, 0.0) / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def hints(self) -> tuple[str, ...]:
        """What would have made the run shorter, the most first; nothing where no limit mattered."""
        found: list[tuple[float, str]] = []
        for limit, cause in _FELT_AS.items():
            share = self.full_share(limit)
            if share >= _NOTABLE and self.share(cause) >= _NOTABLE:
                value = getattr(self.limits, "requests_per_s" if limit == "requests_per_second" else limit)
                text = f"{limit} = {value:g} was full for {share:.0%} of the run: raise [limits] {limit}"
                found.append((share, text))
        if self.share(Cause.THROTTLED) >= _NOTABLE:
            share = self.share(Cause.THROTTLED)
            text = f"the service held us back for {share:.0%} of the run: no limit of ours mends that"
            found.append((share, text))
        if self.limits.bandwidth_bytes_per_s is not None and self.share(Cause.FETCHING) >= _NOTABLE:
            share = self.share(Cause.FETCHING)
            text = f"fetching below a ceiling took {share:.0%} of the run: raise [limits] bandwidth"
            found.append((share, text))
        return tuple(text for _, text in sorted(found, key=lambda item: -item[0]))


_FELT_AS = {
    "tasks": Cause.SERVICE,
    "downloads": Cause.FETCHING,
    "queries": Cause.PLANNING,
    "requests_per_second": Cause.CEILING,
}
"""What a run waits for when the limit is full; a full one that nothing waited for does no harm."""


class Watch:
    """Adds up where the time goes: told of every change, when it happens. Times are of one clock in seconds;
    one that goes back is taken to have stood still."""

    def __init__(self, now: float, limits: Limits) -> None:
        self._limits = limits
        self._began = self._at = now
        self._going = Going()
        self._seconds = dict.fromkeys(Cause, 0.0)
        self._full_s: dict[str, float] = {}

    @property
    def going(self) -> Going:
        """What went on since the last change."""
        return self._going

    def change(self, now: float, going: Going) -> None:
        """From ``now`` on this goes on; until then what went on before."""
        passed_s = max(0.0, now - self._at)
        if passed_s:
            self._seconds[cause_of(self._going, self._limits)] += passed_s
            for limit in _full(self._going, self._limits):
                self._full_s[limit] = self._full_s.get(limit, 0.0) + passed_s
        self._at = max(self._at, now)
        self._going = going

    def read(self, now: float) -> Timing:
        """Everything up to ``now``."""
        self.change(now, self._going)
        return Timing(self._at - self._began, dict(self._seconds), dict(self._full_s), self._limits)

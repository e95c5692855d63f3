"""What a run keeps per job while it lasts: its context, who watches and looks for it, and how it stands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.core import events as ev
from orchestrator.core.model import Fault, Slice
from orchestrator.core.rules import Rules
from orchestrator.engine.context import JobContext
from orchestrator.engine.counting import Silence
from orchestrator.engine.lanes import Lanes
from orchestrator.engine.recovery import Resolver
from orchestrator.engine.stages.watch import Watcher

__all__ = ["Desk"]

HOPELESS_AFTER = 2
"""Lonely refusals in unknown words after which a job is taken to be refused and not throttled."""


@dataclass(slots=True)
class Desk:
    """What the driver keeps per job."""

    context: JobContext
    watcher: Watcher
    resolver: Resolver
    lanes: Lanes = field(default_factory=Lanes)
    silence: Silence = field(default_factory=Silence)
    open: bool = False
    """The service has answered for this job; before that nothing of it is admitted."""
    kept_s: float | None = None
    """How long the service keeps the job's records; None when unknown or for ever."""
    under_way: int = 0
    """Coroutines beside the driver that may still bring work: opening, planning, looking for strays."""
    stopped: Fault | None = None
    lonely_refusals: int = 0
    """Creates in a row that were refused in unknown words while no other remote task was outstanding."""
    padded: bool = False
    """Some slice needed a margin at its ends; the next ones get it at once."""
    dated: bool = False
    """Some file's rows could be dated."""
    start_inclusive: bool = False
    """Some file held a row dated exactly at its requested start; the next ones need not prove it again."""
    fresh: bool = True
    """Planned slices may have appeared since the manifest was last asked."""
    at_end: bool = False
    """All slices that are left were seen at once when the manifest was last asked."""
    due_at: float | None = None
    created: int = 0
    fetched_bytes: int = 0

    @property
    def rules(self) -> Rules:
        """What this run has learned, for the next transition."""
        return Rules(
            self.context.job,
            hopeless=self.lonely_refusals >= HOPELESS_AFTER,
            padded=self.padded,
            dated=self.dated,
            start_inclusive=self.start_inclusive,
        )

    def leaves_in_s(self, slice_: Slice, now: float) -> float:
        """How long the service will still keep all of the slice's window."""
        return math.inf if self.kept_s is None else slice_.window.start_s + self.kept_s - now

    def tally(self, event: ev.Event, *, alone: Callable[[], bool]) -> None:
        """Note what ``event`` tells about the job as a whole. ``alone``: whether no remote task of any job
        waits or runs."""
        match event:
            case ev.Created() | ev.Adopted():
                self.created += 1
                self.lonely_refusals = 0
            case ev.CreateDoubted() if event.fault.status in (400, 403):
                self.lonely_refusals = self.lonely_refusals + 1 if alone() else 0
            case ev.Staged():
                self.dated = self.dated or (event.receipt.time_known and event.receipt.served_rows > 0)
                self.start_inclusive = self.start_inclusive or event.receipt.start_met
                self.fetched_bytes += event.receipt.wire_bytes or event.receipt.fetched_bytes
            case _:
                pass

"""How far is the run, and how long will it take? Told from what observers see after each commit only.

Nothing is remembered of single slices: what an event says came before and after is enough to move counters.
So memory does not grow with the number of slices.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.events import Event
from orchestrator.core.model import Fault, Slice, SliceState

__all__ = ["Held", "Progress", "Snapshot"]

FINISHED = (SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED)
GONE = (SliceState.CUT, SliceState.SUPERSEDED, SliceState.ABANDONED)
"""Replaced by other slices or no longer wanted: neither done nor to do."""
REMOTE = (SliceState.SUBMITTING, SliceState.IN_DOUBT, SliceState.WAITING, SliceState.RUNNING)
LOCAL = (SliceState.TRANSFERRING, SliceState.SETTLING)
TO_DO = (SliceState.PLANNED, *REMOTE, SliceState.READY, *LOCAL)

RECENT_S = 60.0
"""Rates are those of the last minute, not of the whole run: they must follow a change within one."""
ESTIMATE_AFTER_S = 5.0
ESTIMATE_AFTER_SLICES = 2


@dataclass(frozen=True, slots=True)
class Held:
    """What the manifest holds of the asked windows when the run begins. ``missing_s`` is the length of what
    is not covered, ``in_slices_s`` how much of that unfinished slices take up already."""

    slices: Mapping[SliceState, int] = field(default_factory=dict)
    lines: int = 0
    missing_s: int = 0
    in_slices_s: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run at one instant. Rates are per second; what is not known is None.

    Slices and lines are those of the asked windows, earlier runs included; bytes and requests are this run's.
    ``slices_total`` grows while planning goes on (``planning``); ``time_left_s`` is None until all work is
    planned and enough of it is done to judge by.
    """

    elapsed_s: float
    slices_done: int
    slices_total: int
    slices_failed: int
    planning: bool
    remote: int
    local: int
    lines: int
    bytes_fetched: int
    lines_per_s: float
    bytes_per_s: float
    requests: int
    requests_per_s: float
    throttled: int
    time_left_s: float | None
    last_problem: str | None


@dataclass(slots=True)
class Progress:
    """An Observer that adds up. ``tick`` is a monotonic clock in seconds; ``requests`` the live counters by
    family; ``redact`` cleans what is shown of problems."""

    tick: Callable[[], float]
    requests: Callable[[], Mapping[str, int]]
    redact: Callable[[str], str] = lambda text: text
    held: Held = field(default_factory=Held)
    _begun_at: float = field(init=False)
    _slices: Counter[SliceState] = field(init=False)
    _lines: int = field(init=False)
    _in_slices_s: int = field(init=False)
    _finished: int = 0
    _bytes: int = 0
    _throttled: int = 0
    _problem: str | None = None
    _recent: deque[tuple[float, int, int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._begun_at = self.tick()
        self._slices = Counter(self.held.slices)
        self._lines = self.held.lines
        self._in_slices_s = self.held.in_slices_s
        self._recent.append((self._begun_at, self._lines, 0, sum(self.requests().values())))

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        self._note_fault(after, event)
        was = before.state if before else None
        if was != after.state:
            self._move(was, after)
        if after.receipt is not None and (before is None or before.receipt != after.receipt):
            self._bytes += after.receipt.wire_bytes or after.receipt.fetched_bytes

    def noted(self, name: str, **detail: str | float | None) -> None:
        if "throttled" in name or "throttled" in detail.values():
            self._throttled += 1
        if any(word in name for word in ("failed", "stopped", "unknown", "fault")):
            said = " ".join(f"{key}={value}" for key, value in detail.items() if value is not None)
            self._problem = f"{name} {said}".rstrip()

    def snapshot(self) -> Snapshot:
        now = self.tick()
        requests = sum(self.requests().values())
        self._recent.append((now, self._lines, self._bytes, requests))
        while len(self._recent) > 2 and self._recent[1][0] <= now - RECENT_S:
            self._recent.popleft()
        then, lines, fetched, asked = self._recent[0]
        span_s = max(now - then, 1e-3)
        elapsed_s = now - self._begun_at
        planning = self._in_slices_s < self.held.missing_s
        done, failed = self._sum(FINISHED), self._sum((SliceState.FAILED,))
        to_do = self._sum(TO_DO)
        return Snapshot(
            elapsed_s=elapsed_s,
            slices_done=done,
            slices_total=done + failed + to_do,
            slices_failed=failed,
            planning=planning,
            remote=self._sum(REMOTE),
            local=self._sum(LOCAL),
            lines=self._lines,
            bytes_fetched=self._bytes,
            lines_per_s=(self._lines - lines) / span_s,
            bytes_per_s=(self._bytes - fetched) / span_s,
            requests=requests,
            requests_per_s=(requests - asked) / span_s,
            throttled=self._throttled,
            time_left_s=None if planning else self._time_left_s(elapsed_s, to_do),
            last_problem=self.redact(self._problem) if self._problem else None,
        )

    def _move(self, was: SliceState | None, after: Slice) -> None:
        if was is not None:
            self._slices[was] -= 1
        self._slices[after.state] += 1
        if was in (None, SliceState.FAILED, SliceState.ABANDONED):
            self._in_slices_s += after.window.length_s
        if after.state in GONE:
            self._in_slices_s -= after.window.length_s
        elif after.state in FINISHED:
            self._finished += 1
            self._lines += after.receipt.stored_rows if after.receipt else 0
        elif after.state is SliceState.FAILED:
            self._problem = f"{after.job} {after.window!r}: {after.reason}"

    def _note_fault(self, slice_: Slice, event: Event | None) -> None:
        fault = getattr(event, "fault", None)
        if not isinstance(fault, Fault):
            return
        if fault.disposition == "throttle":
            self._throttled += 1
        self._problem = f"{slice_.job} {slice_.window!r}: {fault.message}"

    def _sum(self, states: tuple[SliceState, ...]) -> int:
        return sum(max(0, self._slices[state]) for state in states)

    def _time_left_s(self, elapsed_s: float, to_do: int) -> float | None:
        """By slices: the planner packs them about equally full."""
        if not to_do:
            return 0.0
        if elapsed_s < ESTIMATE_AFTER_S or self._finished < ESTIMATE_AFTER_SLICES:
            return None
        return elapsed_s * to_do / self._finished

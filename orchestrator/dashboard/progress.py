"""How far is the run, and how long will it take? Told from what observers see after each commit only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.events import Event
from orchestrator.core.model import Fault, Slice, SliceState
from orchestrator.core.window import WindowSet, seconds

__all__ = ["Progress", "Snapshot"]

FINISHED = frozenset({SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED})
GONE = frozenset({SliceState.CUT, SliceState.SUPERSEDED, SliceState.ABANDONED})
"""Replaced by other slices or no longer wanted: neither done nor to do."""
REMOTE = frozenset({SliceState.SUBMITTING, SliceState.IN_DOUBT, SliceState.WAITING, SliceState.RUNNING})
LOCAL = frozenset({SliceState.TRANSFERRING, SliceState.SETTLING})

RECENT_S = 60.0
"""Rates are those of the last minute, not of the whole run: they must follow a change within one."""
ESTIMATE_AFTER_S = 5.0
ESTIMATE_AFTER_SLICES = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run at one instant. Rates are per second; what is not known is None.

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
    lines_to_come: int | None
    bytes_fetched: int
    lines_per_s: float
    bytes_per_s: float
    requests: int
    requests_per_s: float
    throttled: int
    time_left_s: float | None
    last_problem: str | None


@dataclass(slots=True)
class _Known:
    """What is remembered of a slice between two events: enough to undo its share of the sums."""

    state: SliceState
    length_s: int
    expected: int | None


@dataclass(slots=True)
class Progress:
    """An Observer that adds up. ``tick`` is a monotonic clock in seconds; ``requests`` the live counters by
    family.

    ``missing`` is what of each job's asked window is not covered when the run starts. Memory is bounded by
    the slices that are not finished: one that ends is forgotten.
    """

    tick: Callable[[], float]
    requests: Callable[[], Mapping[str, int]]
    redact: Callable[[str], str] = lambda text: text
    missing: Mapping[str, WindowSet] = field(default_factory=dict)
    _begun_at: float = field(init=False)
    _open: dict[str, _Known] = field(default_factory=dict)
    _done: int = 0
    _failed: int = 0
    _lines: int = 0
    _bytes: int = 0
    _throttled: int = 0
    _problem: str | None = None
    _settled_s: int = 0
    _recent: deque[tuple[float, int, int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._begun_at = self.tick()
        self._recent.append((self._begun_at, 0, 0, 0))

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        self._note_fault(after, event)
        was = self._open.get(after.id)
        if after.state in FINISHED:
            if was is not None or before is None or before.state not in FINISHED:
                self._open.pop(after.id, None)
                self._finish(after)
        elif after.state is SliceState.FAILED:
            self._open.pop(after.id, None)
            if before is None or before.state is not SliceState.FAILED:
                self._failed += 1
                self._settled_s += after.window.length_s
                self._problem = f"{after.job} {after.window!r}: {after.reason}"
        elif after.state in GONE:
            self._open.pop(after.id, None)
        else:
            self._open[after.id] = _Known(after.state, after.window.length_s, after.expected_lines)
        if after.receipt is not None and (before is None or before.receipt != after.receipt):
            self._bytes += after.receipt.wire_bytes or after.receipt.fetched_bytes

    def noted(self, name: str, **detail: str | float | None) -> None:
        if "throttled" in name:
            self._throttled += 1
        if any(word in name for word in ("failed", "unknown", "fault")):
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
        planning = self._planning()
        return Snapshot(
            elapsed_s=elapsed_s,
            slices_done=self._done,
            slices_total=self._done + self._failed + len(self._open),
            slices_failed=self._failed,
            planning=planning,
            remote=sum(known.state in REMOTE for known in self._open.values()),
            local=sum(known.state in LOCAL for known in self._open.values()),
            lines=self._lines,
            lines_to_come=self._lines_to_come(),
            bytes_fetched=self._bytes,
            lines_per_s=(self._lines - lines) / span_s,
            bytes_per_s=(self._bytes - fetched) / span_s,
            requests=requests,
            requests_per_s=(requests - asked) / span_s,
            throttled=self._throttled,
            time_left_s=None if planning else self._time_left_s(elapsed_s),
            last_problem=self.redact(self._problem) if self._problem else None,
        )

    def _finish(self, slice_: Slice) -> None:
        self._done += 1
        self._settled_s += slice_.window.length_s
        if slice_.receipt is not None:
            self._lines += slice_.receipt.stored_rows

    def _note_fault(self, slice_: Slice, event: Event | None) -> None:
        fault = getattr(event, "fault", None)
        if not isinstance(fault, Fault):
            return
        if fault.disposition == "throttle":
            self._throttled += 1
        self._problem = f"{slice_.job} {slice_.window!r}: {fault.message}"

    def _planning(self) -> bool:
        """Whether part of what is missing is in no slice yet."""
        asked_s = sum(seconds(windows) for windows in self.missing.values())
        return self._settled_s + sum(known.length_s for known in self._open.values()) < asked_s

    def _lines_to_come(self) -> int | None:
        expected = [known.expected for known in self._open.values()]
        return None if any(count is None for count in expected) else sum(count or 0 for count in expected)

    def _time_left_s(self, elapsed_s: float) -> float | None:
        if not self._open:
            return 0.0
        if elapsed_s < ESTIMATE_AFTER_S or self._done < ESTIMATE_AFTER_SLICES:
            return None
        to_come = self._lines_to_come()
        if to_come is not None and self._lines:
            return elapsed_s * to_come / self._lines
        return elapsed_s * len(self._open) / self._done

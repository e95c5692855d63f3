"""Half-open windows ``[start, end)`` in UTC seconds, and the algebra on sets of them.

A *window set* is a tuple of windows that is sorted, free of overlap and merged where windows touch; every
function here returns one. Coverage, gaps and plans are all window sets, so ``covered ∪ missing = asked``
holds by construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["Window", "WindowSet", "intersect", "iso_utc", "normalise", "seconds", "subtract", "union"]

EARLIEST_S = 0
"""1970-01-01T00:00:00Z: the service dates records in epoch milliseconds (bls-api.md 1)."""
LATEST_S = 4_102_444_800
"""2100-01-01T00:00:00Z."""


def iso_utc(at_s: float) -> str:
    """UTC to the second with a literal ``Z``, the only form the service is known to accept (bls-api.md 1)."""
    return _iso_utc(int(at_s))


@lru_cache(4096)
def _iso_utc(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """``[start_s, end_s)`` in UTC epoch seconds; never empty. Raises ValueError when end is not after
    start."""

    start_s: int
    end_s: int

    def __post_init__(self) -> None:
        if self.end_s <= self.start_s:
            raise ValueError(f"window ends at {self.end_s}, not after its start {self.start_s}")

    def __repr__(self) -> str:
        return f"[{iso_utc(self.start_s)}, {iso_utc(self.end_s)})"

    @property
    def length_s(self) -> int:
        return self.end_s - self.start_s

    def holds(self, other: Window) -> bool:
        """Whether ``other`` lies inside this window."""
        return self.start_s <= other.start_s and other.end_s <= self.end_s

    def meets(self, other: Window) -> bool:
        """Whether the two share at least one second."""
        return self.start_s < other.end_s and other.start_s < self.end_s

    def split(self, at_s: int) -> tuple[Window, Window]:
        """Two windows that together are this one. Raises ValueError unless ``at_s`` lies strictly inside."""
        return Window(self.start_s, at_s), Window(at_s, self.end_s)


WindowSet = tuple[Window, ...]


def normalise(windows: Iterable[Window]) -> WindowSet:
    """Sort, merge what overlaps or touches."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start_s <= merged[-1].end_s:
            if window.end_s > merged[-1].end_s:
                merged[-1] = Window(merged[-1].start_s, window.end_s)
        else:
            merged.append(window)
    return tuple(merged)


def union(left: Iterable[Window], right: Iterable[Window]) -> WindowSet:
    """What stands in either."""
    return normalise([*left, *right])


def subtract(left: Iterable[Window], right: Iterable[Window]) -> WindowSet:
    """What of ``left`` is not in ``right``."""
    holes = normalise(right)
    kept: list[Window] = []
    first = 0
    for window in normalise(left):
        start_s = window.start_s
        while first < len(holes) and holes[first].end_s <= start_s:
            first += 1
        at = first
        while at < len(holes) and holes[at].start_s < window.end_s:
            if holes[at].start_s > start_s:
                kept.append(Window(start_s, holes[at].start_s))
            start_s = holes[at].end_s
            at += 1
        if start_s < window.end_s:
            kept.append(Window(start_s, window.end_s))
    return tuple(kept)


def intersect(left: Iterable[Window], right: Iterable[Window]) -> WindowSet:
    """What stands in both."""
    a, b = normalise(left), normalise(right)
    shared: list[Window] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start_s, end_s = max(a[i].start_s, b[j].start_s), min(a[i].end_s, b[j].end_s)
        if start_s < end_s:
            shared.append(Window(start_s, end_s))
        if a[i].end_s < b[j].end_s:
            i += 1
        else:
            j += 1
    return tuple(shared)


def seconds(windows: Iterable[Window]) -> int:
    """How long a window set is, all pieces together."""
    return sum(window.length_s for window in normalise(windows))

"""Lines over time: how many fall between one edge and the next?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.core.window import Window

__all__ = ["WIDTHS_S", "Series", "width_s_for"]

WIDTHS_S = (
    1,
    2,
    3,
    4,
    5,
    6,
    10,
    12,
    15,
    20,
    30,
    60,
    120,
    180,
    240,
    300,
    360,
    600,
    720,
    900,
    1200,
    1800,
    3600,
)
"""Bucket widths to ask for: they divide the hour, so that buckets begin at the same instants whichever time
zone of whole hours the service rounds them in."""


@dataclass(frozen=True, slots=True)
class Series:
    """``lines[n]`` lines from ``edges[n]`` to ``edges[n + 1]``, UTC epoch seconds; edges grow, one more than
    lines.

    ``exact``: every number was counted between just these edges. Without it they serve to plan by, and not as
    a count of any window.
    """

    edges: tuple[int, ...]
    lines: tuple[int, ...]
    exact: bool = True

    @staticmethod
    def single(window: Window, lines: int) -> Series:
        """One count of a whole window."""
        return Series((window.start_s, window.end_s), (lines,))

    @staticmethod
    def of_buckets(window: Window, width_s: float, buckets: Iterable[tuple[float, int]]) -> Series:
        """The series of ``window`` from buckets ``(start, lines)`` in any order. A stretch without a bucket
        holds nothing; buckets that lie outside, or share their time with another, go to the nearest edge that
        is left, so that no line is dropped. Starts that are no whole seconds make it inexact.
        """
        start_s, end_s = window.start_s, window.end_s
        exact = width_s == int(width_s)
        buckets = tuple(buckets)
        whole = _gapless(window, width_s, buckets) if exact else None
        if whole is not None:
            return whole
        found: dict[int, int] = {}
        for at, lines in buckets:
            exact = exact and at == int(at) and start_s - width_s < at < end_s and lines >= 0
            second = min(max(math.floor(at), start_s), end_s - 1)
            found[second] = found.get(second, 0) + max(0, lines)
        starts = sorted(found)
        edges, counts = [start_s], []
        for second, after_s in pairwise([*starts, end_s]):
            if edges[-1] < second:
                edges.append(second)
                counts.append(0)
            # The first bucket may begin before the window, and is cut to it: then it ends earlier too, which
            # only its neighbour's start tells.
            until_s = min(after_s, max(second + 1, second + math.ceil(width_s)))
            edges.append(until_s)
            counts.append(found[second])
        if edges[-1] < end_s:
            edges.append(end_s)
            counts.append(0)
        return Series(tuple(edges), tuple(counts), exact)

    @property
    def window(self) -> Window:
        return Window(self.edges[0], self.edges[-1])

    @property
    def total(self) -> int:
        return sum(self.lines)

    def part(self, first: int, last: int) -> Series:
        """Buckets ``first`` to ``last``, the latter not included; at least one."""
        return Series(self.edges[first : last + 1], self.lines[first:last], self.exact)


def _gapless(window: Window, width_s: float, buckets: tuple[tuple[float, int], ...]) -> Series | None:
    """The series of buckets that come in order and leave no stretch out, as a busy logstore's do: there is
    nothing to put right in them. None for all others."""
    if not buckets:
        return None
    starts = tuple([at for at, _ in buckets])
    lines = tuple([count for _, count in buckets])
    first_s, width = int(starts[0]), int(width_s)
    begins = window.start_s - width < first_s <= window.start_s
    expected = range(first_s, first_s + width * len(starts), width)
    if not begins or starts != tuple(expected) or min(lines) < 0:
        return None
    if starts[-1] >= window.end_s or starts[-1] + width < window.end_s:
        return None
    edges = (window.start_s, *expected[1:], window.end_s)
    return Series(edges, lines)


def width_s_for(wanted_s: float) -> int:
    """The widest of ``WIDTHS_S`` that is no wider than wanted; a second at least."""
    return next((width_s for width_s in reversed(WIDTHS_S) if width_s <= wanted_s), WIDTHS_S[0])

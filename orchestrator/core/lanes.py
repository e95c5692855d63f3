"""How long should a slice be where nothing can be counted?

Such a window is divided into *lanes*. Each asks for one slice at a time, and what that one brings says how
long the next should be: twice as long while hardly anything comes, else so long that about four fifths of
what a slice may hold should come. A slice that was too long is cut where its file ends, which tells as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from orchestrator.core.align import NextBoundary
from orchestrator.core.estimating import Past
from orchestrator.core.window import Window

__all__ = ["FIRST_S", "Lane", "first_length_s", "guessed", "lanes_over", "seconds_for"]

FIRST_S = 3600
"""How long the first slice is when nothing is known of the logstore."""
LONGEST_S = 31 * 86_400
"""However little comes: a remote task that has to look through years may never end."""
AIM = 0.8
"""The share of a slice's limit that the next one is to bring: density changes, and a full file is cut."""
_HARDLY_ANY = 0.1
_STRETCH = 1.2
"""A rest that is so much longer than the next slice should be goes with it."""


@dataclass(frozen=True, slots=True)
class Lane:
    """``rest`` is not yet asked for; its next slice should last ``length_s``, a second at least."""

    rest: Window
    length_s: int

    def next_slice(self, next_boundary: NextBoundary) -> tuple[Window, Lane | None]:
        """The window of the next slice, which crosses no boundary, and the lane after it; None at its end."""
        rest = self.rest
        length_s = rest.length_s
        if length_s > self.length_s * _STRETCH:
            length_s = min(self.length_s, math.ceil(length_s / 2))
        wall_s = next_boundary(rest.start_s)
        end_s = rest.start_s + length_s if wall_s is None else min(rest.start_s + length_s, wall_s)
        if end_s == rest.end_s:
            return rest, None
        slice_, left = rest.split(end_s)
        return slice_, replace(self, rest=left)

    def after(self, seen_s: int, rows: int, max_lines: int) -> Lane:
        """The lane after a slice of ``seen_s`` seconds brought ``rows``."""
        if rows * self.length_s < _HARDLY_ANY * max_lines * seen_s:
            return replace(self, length_s=min(2 * self.length_s, LONGEST_S))
        return replace(self, length_s=seconds_for(max_lines, seen_s, rows))


def seconds_for(max_lines: int, seen_s: int, rows: int) -> int:
    """How long a slice should be where ``seen_s`` seconds hold ``rows``, which are not none; a month at
    most."""
    return min(max(1, int(AIM * max_lines * seen_s / rows)), LONGEST_S)


def first_length_s(past: Iterable[Past], max_lines: int) -> int:
    """How long a lane's first slice should be, going by the newest slices of the job: as long as their
    density wants it, and no longer than twice the longest of them."""
    known = [item for item in past if item.length_s]
    if not known:
        return FIRST_S
    longest_s = min(2 * max(item.length_s for item in known), LONGEST_S)
    rows = sum(item.stored_rows for item in known)
    if not rows:
        return longest_s
    return min(longest_s, seconds_for(max_lines, sum(item.length_s for item in known), rows))


def guessed(windows: Iterable[Window], length_s: int, next_boundary: NextBoundary) -> Iterator[Window]:
    """The slices of ``windows`` if each were of ``length_s``: what can be said before anything came."""
    for window in windows:
        lane: Lane | None = Lane(window, length_s)
        while lane is not None:
            slice_, lane = lane.next_slice(next_boundary)
            yield slice_


def lanes_over(windows: Sequence[Window], count: int, length_s: int) -> tuple[Lane, ...]:
    """About ``count`` lanes of about equal length over ``windows``, oldest first; none shorter than one slice
    of ``length_s`` where its window allows that, and at least one in each."""
    share_s = max(length_s, math.ceil(sum(window.length_s for window in windows) / count))
    found: list[Lane] = []
    for window in windows:
        number = max(1, window.length_s // share_s)
        cuts = [window.start_s + window.length_s * at // number for at in range(number + 1)]
        found += [Lane(Window(start_s, end_s), length_s) for start_s, end_s in pairwise(cuts)]
    return tuple(found)

"""What stands in the planner's line, and what limits it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice, pairwise

from orchestrator.core.align import NextBoundary
from orchestrator.core.series import Series
from orchestrator.core.window import Window

__all__ = ["DONE", "OUT", "Is", "Piece", "Rules", "at_boundaries", "cells", "part_count", "parts"]

_MOST_PARTS = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """``capacity`` lines a slice at most (``capacity_lines``), no slice across a boundary, ``at_once``
    questions out at a time."""

    capacity: int
    next_boundary: NextBoundary
    at_once: int

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.at_once < 1:
            raise ValueError(f"capacity {self.capacity} and at_once {self.at_once} must be at least 1")

    def crossed(self, window: Window) -> int | None:
        """The first boundary strictly inside ``window``."""
        at_s = self.next_boundary(window.start_s)
        return at_s if at_s is not None and at_s < window.end_s else None

    def is_boundary(self, at_s: int) -> bool:
        return self.next_boundary(at_s - 1) == at_s


class Is(Enum):
    """How far a piece is."""

    TO_ASK = auto()
    ASKED = auto()
    KNOWN = auto()
    TO_WITNESS = auto()
    WITNESSED = auto()
    SLICE = auto()
    BLIND = auto()
    """Nothing can be counted in it."""
    PROOF = auto()


OUT = frozenset({Is.ASKED, Is.WITNESSED})
DONE = frozenset({Is.SLICE, Is.BLIND, Is.PROOF})


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the window and what is known about it."""

    window: Window
    state: Is = Is.TO_ASK
    series: Series | None = None
    """From KNOWN on, except for BLIND; of a TO_ASK piece what a coarser answer said."""
    counted_at: float = 0.0
    question_id: int = 0
    width_s: int = 0
    """Ask for buckets so wide; 0 asks for one count."""
    depth: int = 0
    """How often its time was asked about before."""
    refined: int = 0

    @property
    def lines(self) -> int:
        return self.series.total if self.series is not None else 0


def parts(window: Window, count: int) -> Iterator[Window]:
    """``count`` parts as equal as whole seconds allow. ``count`` must not exceed the seconds there are."""
    cuts = [window.start_s + window.length_s * number // count for number in range(count + 1)]
    for start_s, end_s in pairwise(cuts):
        yield Window(start_s, end_s)


def cells(window: Window, rules: Rules) -> Iterator[Window]:
    """``window`` cut at every boundary."""
    while (at_s := rules.crossed(window)) is not None:
        cell, window = window.split(at_s)
        yield cell
    yield window


def at_boundaries(window: Window, rules: Rules) -> list[Window]:
    """Every cell its own part if they are few, else at most 16 about equal bundles of cells."""
    few = list(islice(cells(window, rules), _MOST_PARTS + 1))
    if len(few) <= _MOST_PARTS:
        return few
    cuts = [window.start_s]
    for number in range(1, _MOST_PARTS):
        ideal_s = window.start_s + window.length_s * number // _MOST_PARTS
        at_s = rules.next_boundary(max(ideal_s - 1, cuts[-1]))
        if at_s is None or at_s >= window.end_s:
            break
        cuts.append(at_s)
    if len(cuts) == 1:  # all boundaries crowd at the start
        cuts.append(few[0].end_s)
    return [Window(start_s, end_s) for start_s, end_s in pairwise([*cuts, window.end_s])]


def part_count(lines: int, capacity: int, aim: float) -> int:
    """So many parts that each holds one slice's worth, or, where that is more than 16, about a whole number
    of them."""
    slices = math.ceil(lines / (capacity * aim))
    each = math.ceil(slices / _MOST_PARTS)
    return max(2, math.ceil(slices / each))

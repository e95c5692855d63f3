"""How does each stretch of a window stand: stored, a gap, accepted, on its way, never tried, not due?"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.reasons import Reason
from orchestrator.core.report import Gap
from orchestrator.core.window import Window, WindowSet, intersect, normalise, subtract

__all__ = ["Mark", "Standing", "columns", "edges", "stands"]


class Mark(StrEnum):
    """What one column of a bar says of its stretch of time."""

    STORED = "stored"
    PARTLY = "partly stored"
    FAILED = "gap"
    ACCEPTED = "gap, accepted"
    UNDER_WAY = "planned or under way"
    UNTRIED = "not tried yet"
    NOT_DUE = "not due"


@dataclass(frozen=True, slots=True)
class Standing:
    """The parts of ``window``. Of one log stream, or of a job without patterns of them, no two share a
    second, and together they are the window. Of several streams together a second may be a gap of one stream
    and never tried of another, ``stored`` is what is stored of all, and ``partly`` what is of some only."""

    window: Window
    stored: WindowSet = ()
    partly: WindowSet = ()
    failed: WindowSet = ()
    accepted: WindowSet = ()
    under_way: WindowSet = ()
    untried: WindowSet = ()
    not_due: WindowSet = ()


def stands(
    window: Window,
    *,
    covered: WindowSet,
    gaps: Iterable[Gap],
    unfinished: WindowSet,
    due_until_s: int,
    held: WindowSet = (),
) -> Standing:
    """How ``window`` stands. ``gaps`` are those of the part that is due, and with ``covered`` are that part;
    ``unfinished`` is where slices are planned or live; ``held`` what is stored of at least one log stream."""
    failed: list[Window] = []
    accepted: list[Window] = []
    rest: list[Window] = []
    for gap in gaps:
        if gap.accepted is not None:
            accepted.append(gap.window)
        elif gap.slice or gap.reason not in (Reason.NOT_EXPORTED, Reason.NOT_COMPARED):
            failed.append(gap.window)
        else:
            rest.append(gap.window)
    stored = intersect((window,), covered)
    untried = normalise(rest)
    under_way = intersect(untried, unfinished)
    return Standing(
        window,
        stored=stored,
        partly=intersect(subtract(held, stored), (window,)),
        failed=normalise(failed),
        accepted=normalise(accepted),
        under_way=under_way,
        untried=subtract(untried, under_way),
        not_due=(Window(max(due_until_s, window.start_s), window.end_s),)
        if due_until_s < window.end_s
        else (),
    )


def edges(window: Window, count: int) -> tuple[int, ...]:
    """Where ``window`` is parted into ``count`` columns, or one per second where it is shorter: both ends and
    what is between."""
    count = max(1, min(count, window.length_s))
    return tuple(window.start_s + window.length_s * number // count for number in range(count + 1))


def columns(standing: Standing, count: int) -> tuple[Mark, ...]:
    """One mark per column, at most ``count``. A column is told by what most needs to be seen in it: a gap
    however short, then what is missing beside what is stored."""
    parted = edges(standing.window, count)
    met = {
        name: _met(parted, getattr(standing, name))
        for name in ("stored", "partly", "failed", "accepted", "under_way", "untried")
    }

    def mark(number: int) -> Mark:
        there = {name for name, flags in met.items() if flags[number]}
        missing = there & {"under_way", "untried"}
        if "failed" in there:
            return Mark.FAILED
        if missing and there & {"stored", "partly"}:
            return Mark.PARTLY
        if missing:
            return Mark.UNDER_WAY if "under_way" in missing else Mark.UNTRIED
        if "accepted" in there:
            return Mark.ACCEPTED
        return Mark.STORED if "stored" in there else Mark.NOT_DUE

    return tuple(mark(number) for number in range(len(parted) - 1))


def _met(parted: tuple[int, ...], windows: WindowSet) -> bytearray:
    """Which columns share a second with one of ``windows``, which are sorted and apart."""
    flags = bytearray(len(parted) - 1)
    for window in windows:
        first = bisect_right(parted, window.start_s) - 1
        last = bisect_right(parted, window.end_s - 1)
        flags[max(first, 0) : last] = b"\1" * (min(last, len(flags)) - max(first, 0))
    return flags

"""How does a plan look? Lines over time as a row of characters, the cuts between slices as a second one.

        ▁▂▄▆█▆▄▂      ▒▒▒▒▒▒??????
    ····──┴─┴┴─┴──    ~~┴~~~~??┴???

Each column is a stretch of time. The upper row tells how dense the lines lie, the lower one what is known of
the stretch, and where slices meet; several cuts in one column are told by their number.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.core.raster import spread
from orchestrator.core.report import JobPlan, PlannedSlice
from orchestrator.core.series import Series
from orchestrator.core.window import Window

__all__ = ["ASCII", "BLOCKS", "Alphabet", "Picture", "alphabet_for", "draw"]


@dataclass(frozen=True, slots=True)
class Alphabet:
    """``counted`` and ``estimated`` from sparse to dense; the rest are the marks of the lower row, ``many``
    for more than nine cuts in one column."""

    counted: str
    estimated: str
    slice: str
    cut: str
    stored: str
    guess: str = "~"
    unknown: str = "?"
    many: str = "#"


BLOCKS = Alphabet("▁▂▃▄▅▆▇█", "░▒▓", "─", "┴", "·")
ASCII = Alphabet(".:-=+*%@", "~", "-", "|", "_")


def alphabet_for(encoding: str | None) -> Alphabet:
    """Blocks where they can be written."""
    marks = f"{BLOCKS.counted}{BLOCKS.estimated}{BLOCKS.slice}{BLOCKS.cut}{BLOCKS.stored}"
    try:
        marks.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


@dataclass(frozen=True, slots=True)
class Picture:
    """Two rows of equal length over ``window``; ``legend`` explains the marks that occur. ``highest`` is the
    density, in lines per second, of the fullest column; None when nothing is known to be there."""

    window: Window
    lines: str
    cuts: str
    legend: tuple[str, ...]
    highest: float | None

    @property
    def column_s(self) -> float:
        """Seconds a column stands for."""
        return self.window.length_s / len(self.lines)


@dataclass(slots=True)
class _Column:
    lines: float = 0.0
    cuts: int = 0
    sliced: bool = False
    estimated: bool = False
    unknown: bool = False
    empty: bool = False


def draw(plan: JobPlan, width: int, alphabet: Alphabet) -> Picture | None:
    """The picture of all that is planned or was found empty, at most ``width`` columns wide; None when there
    is nothing."""
    windows = [*(item.window for item in plan.slices), *plan.empty]
    if not windows:
        return None
    whole = Window(min(window.start_s for window in windows), max(window.end_s for window in windows))
    count = max(1, min(width, whole.length_s))
    edges = tuple(whole.start_s + whole.length_s * number // count for number in range(count + 1))
    columns = [_Column() for _ in range(count)]
    _mark_empty(columns, edges, plan.empty)
    for items in _by_stream(plan.slices):
        _mark_slices(columns, edges, items, plan.seen)
    rates = [
        column.lines / (end_s - start_s)
        for column, (start_s, end_s) in zip(columns, pairwise(edges), strict=True)
    ]
    highest = max(rates)
    upper = "".join(
        _level(column, rate / highest if highest else 0.0, alphabet)
        for column, rate in zip(columns, rates, strict=True)
    )
    lower = "".join(_mark(column, alphabet) for column in columns)
    return Picture(whole, upper, lower, tuple(_legend(upper, lower, alphabet)), highest or None)


def _by_stream(slices: Iterable[PlannedSlice]) -> Iterable[list[PlannedSlice]]:
    found: dict[str, list[PlannedSlice]] = {}
    for item in slices:
        found.setdefault(item.logstream, []).append(item)
    return found.values()


def _met(edges: tuple[int, ...], window: Window) -> range:
    """The columns that share a second with ``window``."""
    first = bisect_right(edges, window.start_s) - 1
    return range(first, bisect_right(edges, window.end_s - 1))


def _mark_empty(columns: list[_Column], edges: tuple[int, ...], empty: Iterable[Window]) -> None:
    for window in empty:
        for number in _met(edges, window):
            columns[number].empty = True


def _mark_slices(
    columns: list[_Column], edges: tuple[int, ...], slices: Sequence[PlannedSlice], seen: Series | None
) -> None:
    last = -1
    ends_s = None
    for item in slices:
        met = _met(edges, item.window)
        columns[met.start].cuts += item.window.start_s == ends_s or met.start == last
        last, ends_s = met[-1], item.window.end_s
        cells = [columns[at] for at in met]
        for cell in cells:
            cell.sliced = True
            cell.estimated |= item.estimated
            cell.unknown |= item.lines is None
        shares = _shares(item.window, edges[met.start : met.stop + 1], seen)
        for cell, share in zip(cells, shares, strict=True):
            cell.lines += (item.lines or 0) * share


def _shares(window: Window, edges: tuple[int, ...], seen: Series | None) -> list[float]:
    """How the lines of a slice fall on the columns it meets: as they were seen to, else evenly."""
    if len(edges) == 2:
        return [1.0]
    inner = (window.start_s, *edges[1:-1], window.end_s)
    if seen is not None:
        first = max(0, bisect_right(seen.edges, window.start_s) - 1)
        last = bisect_right(seen.edges, window.end_s - 1)
        if first < last <= len(seen.lines):
            found = spread(seen.part(first, last), inner)
            if total := sum(found):
                return [lines / total for lines in found]
    return [(end_s - start_s) / window.length_s for start_s, end_s in pairwise(inner)]


def _level(column: _Column, share: float, alphabet: Alphabet) -> str:
    """Unknown beats estimated beats counted: a column is as certain as the least certain of its slices."""
    if column.unknown:
        return alphabet.unknown
    marks = alphabet.estimated if column.estimated else alphabet.counted
    return marks[min(len(marks), math.ceil(share * len(marks))) - 1] if share > 0 else " "


def _mark(column: _Column, alphabet: Alphabet) -> str:
    if column.cuts > 1:
        return str(column.cuts) if column.cuts <= 9 else alphabet.many
    if column.cuts:
        return alphabet.cut
    if not column.sliced:
        return " " if column.empty else alphabet.stored
    if column.unknown:
        return alphabet.unknown
    return alphabet.guess if column.estimated else alphabet.slice


def _legend(upper: str, lower: str, alphabet: Alphabet) -> Iterable[str]:
    if alphabet.cut in lower:
        yield f"{alphabet.cut} a cut"
    if any(mark.isdigit() for mark in lower):
        yield "2 to 9 so many cuts"
    if alphabet.many in lower:
        yield f"{alphabet.many} more than 9 cuts"
    if any(mark in upper for mark in alphabet.estimated) or alphabet.guess in lower:
        yield f"{''.join(dict.fromkeys((*alphabet.estimated, alphabet.guess)))} estimated"
    if alphabet.unknown in upper:
        yield f"{alphabet.unknown} not counted"
    if alphabet.stored in lower:
        yield f"{alphabet.stored} not to be exported"
    if " " in lower:
        yield "blank: counted, and nothing there"

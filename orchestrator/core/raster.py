"""Lines over time on a grid of fixed size, from answers of any width and in any order.

Where answers overlap the finer one counts. What is kept does not grow with the number of answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from orchestrator.core.series import Series
from orchestrator.core.window import Window

__all__ = ["Raster", "spread", "together"]

_MOST_CELLS = 1000
"""More than any terminal has columns."""


def spread(series: Series, edges: tuple[int, ...]) -> list[float]:
    """The lines of ``series`` between each two neighbours of ``edges``, as if each bucket's came evenly.
    ``edges`` grow; what lies outside of them is left out."""
    found = [0.0] * (len(edges) - 1)
    at = 0
    for (start_s, end_s), lines in zip(pairwise(series.edges), series.lines, strict=True):
        while at < len(found) and edges[at + 1] <= start_s:
            at += 1
        cell = at
        while cell < len(found) and edges[cell] < end_s:
            shared_s = min(end_s, edges[cell + 1]) - max(start_s, edges[cell])
            if lines and shared_s > 0:
                found[cell] += lines * shared_s / (end_s - start_s)
            cell += 1
    return found


class Raster:
    """The grid over one window. Cells that no answer told of hold nothing."""

    def __init__(self, window: Window) -> None:
        cells = min(_MOST_CELLS, window.length_s)
        self.edges = tuple(window.start_s + window.length_s * number // cells for number in range(cells + 1))
        self._lines = [0.0] * cells
        self._width_s = [math.inf] * cells
        """How wide the buckets were that a cell is known from."""

    def add(self, series: Series) -> None:
        """Take in one answer."""
        window = series.window
        width_s = window.length_s / len(series.lines)
        for cell, lines in enumerate(spread(series, self.edges)):
            inside = window.start_s <= self.edges[cell] and self.edges[cell + 1] <= window.end_s
            if inside and width_s <= self._width_s[cell]:
                self._lines[cell] = lines
                self._width_s[cell] = width_s

    @property
    def lines(self) -> tuple[float, ...]:
        """Per cell."""
        return tuple(self._lines)


def together(rasters: Iterable[Raster]) -> Series | None:
    """All rasters of one window as one series, rounded up so that no line is drawn as none; None when there
    is no raster."""
    found = list(rasters)
    if not found:
        return None
    sums = (math.ceil(sum(lines)) for lines in zip(*(raster.lines for raster in found), strict=True))
    return Series(found[0].edges, tuple(sums), exact=False)

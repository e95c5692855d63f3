"""Where is what was counted too coarse to cut slices from, and how is it asked about again?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import pairwise

from orchestrator.core.pieces import Piece, Rules, at_boundaries, part_count, parts
from orchestrator.core.series import Series, width_s_for
from orchestrator.core.window import Window

__all__ = ["AIM", "Detail", "Sight", "divided", "looked_at_again"]

AIM = 0.95
"""A part is cut to hold this share of the capacity: where logs come evenly, one question makes one slice."""
_MOST_BUCKETS = 20_000
"""In one answer: about a megabyte of rows."""
_LEAST_BUCKETS = 16
"""Answers cut down to fewer buckets are not worth asking for."""
_MOST_DEPTH = 5
_GRAINS = 50
"""Slices cut between buckets of a fiftieth of them are full to one percent on the average."""
_FINER = 4
"""Logs are never even: buckets are asked for so many times narrower than their average would need."""


class Detail(Enum):
    """What the service tells about the lines of a window besides their number."""

    UNTRIED = auto()
    OURS = auto()
    """Buckets of the width asked for."""
    THEIRS = auto()
    """Buckets of a width of its own."""
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Sight:
    """What one answer can show: learned from the answers so far."""

    detail: Detail = Detail.UNTRIED
    most_buckets: int = _MOST_BUCKETS

    def seen(self, asked_width_s: int, series: Series) -> Sight:
        """After an answer in buckets; empty ones may have been left out and tell nothing of their width."""
        buckets = len(series.lines)
        widths = (end_s - start_s for start_s, end_s in pairwise(series.edges))
        widest_s = max(
            (width_s for width_s, lines in zip(widths, series.lines, strict=True) if lines), default=0
        )
        if buckets == 1 or (widest_s <= asked_width_s and self.detail is not Detail.THEIRS):
            return replace(self, detail=Detail.OURS) if buckets > 1 else self
        return Sight(Detail.THEIRS, max(2, buckets))

    def refused(self) -> Sight:
        """After no answer. What once worked is asked for again, a few times, before its window is counted."""
        return replace(self, detail=Detail.NONE) if self.detail is Detail.UNTRIED else self

    def cut_short(self) -> Sight:
        """After an answer that was too much for the service, or did not hold all that was counted."""
        fewer = self.most_buckets // 4
        if self.detail is Detail.THEIRS or fewer < _LEAST_BUCKETS:
            return replace(self, detail=Detail.NONE)
        return replace(self, most_buckets=fewer)

    def grain(self, rules: Rules) -> int:
        """How many lines a bucket may hold before it is looked at more closely."""
        return rules.capacity if self.detail is Detail.THEIRS else max(1, rules.capacity // _GRAINS)


def divided(piece: Piece, sight: Sight, rules: Rules) -> list[Piece]:
    """A known piece as pieces that slices can be cut from, and others that have to be asked about again."""
    series = piece.series
    if series is None or (len(series.lines) == 1 and not _too_much(piece, series, 0, rules)):
        return [piece]
    if len(series.lines) == 1:
        return list(looked_at_again(piece, sight, rules))
    exhausted = piece.depth >= _MOST_DEPTH or sight.detail is Detail.NONE
    found: list[Piece] = []
    done = 0
    for first, last in _coarse(series, rules.capacity if exhausted else sight.grain(rules)):
        if done < first:
            found.append(_cut(piece, series, done, first))
        found += looked_at_again(_cut(piece, series, first, last), sight, rules)
        done = last
    if done < len(series.lines):
        found.append(_cut(piece, series, done, len(series.lines)))
    return found


def _cut(piece: Piece, series: Series, first: int, last: int) -> Piece:
    part = series.part(first, last)
    return replace(piece, window=part.window, series=part)


def _too_much(piece: Piece, series: Series, bucket: int, rules: Rules) -> bool:
    lines = series.lines[bucket]
    if not lines or piece.window.length_s == 1:
        return False
    return lines > rules.capacity or rules.crossed(piece.window) is not None


def _coarse(series: Series, grain: int) -> Iterator[tuple[int, int]]:
    """Runs of buckets, none of them without one that holds more than ``grain`` in more than a second. Small
    gaps between them are bridged: what lies there is asked about once more, which costs nothing."""
    if max(series.lines) <= grain:
        return
    edges = series.edges
    first = last = -1
    for number, lines in enumerate(series.lines):
        if lines <= grain or edges[number + 1] - edges[number] <= 1:
            continue
        if first >= 0 and edges[number] - edges[last] > edges[last] - edges[first]:
            yield first, last
            first = -1
        first, last = (number if first < 0 else first), number + 1
    if first >= 0:
        yield first, last


def looked_at_again(piece: Piece, sight: Sight, rules: Rules) -> Iterator[Piece]:
    """``piece``, counted as a whole, as pieces to be asked about in buckets, or in counted parts."""
    window, lines = piece.window, piece.lines
    again = Piece(window, series=piece.series, depth=piece.depth + 1)
    if sight.detail is Detail.NONE or piece.depth >= _MOST_DEPTH:
        yield from _in_parts(again, rules)
        return
    theirs = sight.detail is Detail.THEIRS
    finer = 2 if theirs else _FINER
    wanted_s = window.length_s * sight.grain(rules) / (finer * lines) if lines else max(1, piece.width_s)
    if theirs:
        span_s = max(2, int(wanted_s * sight.most_buckets))
        width_s = 1
    else:
        width_s = width_s_for(wanted_s)
        span_s = width_s * sight.most_buckets
    if window.length_s <= span_s:
        yield replace(again, width_s=width_s)
        return
    for part in parts(window, math.ceil(window.length_s / span_s)):
        yield Piece(part, depth=again.depth, width_s=width_s)


def _in_parts(piece: Piece, rules: Rules) -> Iterator[Piece]:
    """To be counted one by one."""
    window = piece.window
    if piece.series is None:
        yield piece
        return
    if rules.crossed(window) is not None:
        windows: list[Window] = at_boundaries(window, rules)
    else:
        count = min(window.length_s, part_count(piece.lines, rules.capacity, AIM))
        windows = list(parts(window, count))
    for part in windows:
        yield Piece(part, depth=piece.depth)

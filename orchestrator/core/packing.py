"""Which neighbours make one slice?

Packing is greedy from the left, which gives the fewest slices for given buckets, and starts only where the
left edge is certain: behind a piece that is still asked about nothing is decided.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from itertools import accumulate

from orchestrator.core.pieces import Is, Piece, Rules, at_boundaries
from orchestrator.core.refining import AIM, Detail, Sight
from orchestrator.core.series import Series
from orchestrator.core.window import Window

__all__ = ["pack"]

_WELL_FILLED = 0.9
"""A slice this full is not worth another question."""
_MOST_REFINED = 2
_UNKNOWN = frozenset({Is.TO_ASK, Is.ASKED})


def pack(line: list[Piece], rules: Rules, sight: Sight) -> list[Piece]:
    """One pass from the left. A slice closes at a boundary, or when what follows does not fit; before an
    unknown piece it stays open."""
    packing = _Packing(rules, sight)
    rest = line[::-1]
    while rest:
        rest += packing.take(rest.pop())[::-1]
    packing.close()
    return packing.packed


@dataclass(slots=True)
class _Packing:
    rules: Rules
    sight: Sight

    packed: list[Piece] = field(default_factory=list)
    current: Piece | None = None
    """The slice being filled."""
    certain: bool = True
    """Whether the left edge of what comes next is fixed."""

    def close(self) -> None:
        """The slice being filled is one."""
        if self.current is not None:
            state = Is.SLICE if self.current.lines else Is.TO_WITNESS
            self.packed.append(replace(self.current, state=state))
            self.current = None

    def take(self, piece: Piece) -> list[Piece]:
        """Handle the next piece of the line; what is left of it comes next."""
        left = self.current or (self.packed[-1] if self.packed else None)
        at_s = piece.window.start_s
        if left is None or left.window.end_s != at_s or self.rules.is_boundary(at_s):
            self.close()
            self.certain = True
        if piece.state is not Is.KNOWN or piece.series is None:
            unknown = piece.state in _UNKNOWN
            if not unknown:
                self.close()
            elif self.current is not None:
                self.packed.append(self.current)
                self.current = None
            self.packed.append(piece)
            self.certain = not unknown
            return []
        if not self.certain:
            self.packed.append(piece)
            return []
        if self.current is None and not piece.lines and self.rules.crossed(piece.window) is not None:
            self.packed.append(replace(piece, state=Is.TO_WITNESS))  # it has no file, so it may cross
            return []
        return self._fill(piece, piece.series)

    def _fill(self, piece: Piece, series: Series) -> list[Piece]:
        """Buckets into slices until something has to be asked, or none is left."""
        edges, lines = series.edges, series.lines
        sums = list(accumulate(lines, initial=0))
        at = 0
        while at < len(lines):
            held = self.current.lines if self.current is not None else 0
            fit = max(at, bisect_right(sums, sums[at] + self.rules.capacity - held) - 1)
            wall_s = self.rules.next_boundary(edges[at])
            if wall_s is not None and wall_s < edges[-1]:
                before = bisect_right(edges, wall_s) - 1
                if fit >= before:
                    self._extend(piece, series, at, before)
                    return self._at_wall(piece, series.part(before, len(lines)), wall_s)
            self._extend(piece, series, at, fit)
            at = fit
            if at == len(lines):
                break
            if self.current is None:  # one bucket above the capacity: a second, nothing longer is left whole
                self._extend(piece, series, at, at + 1)
                self.close()
                at += 1
                continue
            finer = self._refined(piece, series.part(at, at + 1))
            if finer:
                return [*finer, *_later(piece, series, at + 1)]
            self.close()
        return []

    def _extend(self, piece: Piece, series: Series, first: int, last: int) -> None:
        """Put buckets into the slice being filled."""
        if first == last:
            return
        edges, lines = series.edges, sum(series.lines[first:last])
        whole = Series((edges[first], edges[last]), (lines,), series.exact)
        left = self.current
        if left is None:
            self.current = replace(piece, window=whole.window, series=whole)
            return
        joined = Series(
            (left.window.start_s, edges[last]),
            (left.lines + lines,),
            series.exact and (left.series is None or left.series.exact),
        )
        self.current = replace(
            left, window=joined.window, series=joined, counted_at=min(left.counted_at, piece.counted_at)
        )

    def _at_wall(self, piece: Piece, series: Series, wall_s: int) -> list[Piece]:
        """``series`` begins with the bucket that holds the boundary, or starts at it; no line may go over
        it."""
        edges = series.edges
        if edges[0] < wall_s and series.lines[0]:
            asked = [Piece(cell, depth=piece.depth) for cell in at_boundaries(_first(series), self.rules)]
            return [*asked, *_later(piece, series, 1)]
        if self.current is None or not self.current.lines:
            wall_s = self._quiet_until(series, wall_s)
        if edges[0] < wall_s:
            before = Series((edges[0], wall_s), (0,), series.exact)
            self._extend(piece, before, 0, 1)
        self.close()
        if wall_s == edges[-1]:
            return []
        kept = bisect_right(edges, wall_s)
        after = Series((wall_s, *edges[kept:]), series.lines[kept - 1 :], series.exact)
        return [replace(piece, window=after.window, series=after)]

    def _quiet_until(self, series: Series, wall_s: int) -> int:
        """The last boundary before the next line: over an empty stretch one proof may go, it has no file."""
        number = next((number for number, lines in enumerate(series.lines) if lines), len(series.lines))
        end_s = series.edges[number]
        while (next_s := self.rules.next_boundary(wall_s)) is not None and next_s <= end_s:
            wall_s = next_s
        return wall_s

    def _refined(self, piece: Piece, bucket: Series) -> list[Piece]:
        """The bucket that does not fit, in two, so that its left part just fills the slice; nothing when it
        is not worth it. To be counted, or, where the service's own buckets are all there is, estimated."""
        current, capacity = self.current, self.rules.capacity
        if current is None or current.lines >= _WELL_FILLED * capacity or piece.refined >= _MOST_REFINED:
            return []
        window, lines = bucket.window, bucket.total
        left_s = int(window.length_s * (capacity - current.lines) / lines * AIM)
        if not 0 < left_s < window.length_s:
            return []
        halves = window.split(window.start_s + left_s)
        if self.sight.detail is not Detail.THEIRS:
            return [Piece(half, depth=piece.depth, refined=piece.refined + 1) for half in halves]
        left_lines = lines * left_s // window.length_s
        shares = (left_lines, lines - left_lines)
        return [
            replace(
                piece,
                window=half,
                series=Series((half.start_s, half.end_s), (share,), exact=False),
            )
            for half, share in zip(halves, shares, strict=True)
        ]


def _first(series: Series) -> Window:
    return Window(series.edges[0], series.edges[1])


def _later(piece: Piece, series: Series, first: int) -> list[Piece]:
    if first == len(series.lines):
        return []
    part = series.part(first, len(series.lines))
    return [replace(piece, window=part.window, series=part)]

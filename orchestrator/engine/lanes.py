"""Which slices follow where nothing can be counted, and when?

What a lane has not asked for yet is written down nowhere: it is missing, like all that no slice was made for,
and a run that begins anew makes lanes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import events as ev
from orchestrator.core.align import NextBoundary
from orchestrator.core.job import Job
from orchestrator.core.lanes import Lane, lanes_over
from orchestrator.core.model import Slice, SliceState, slice_id
from orchestrator.core.window import Window

__all__ = ["Lanes"]

_GIVEN_UP = frozenset({SliceState.FAILED, SliceState.ABANDONED})


class Lanes:
    """The lanes of one run of a job, those of all its log streams. Each has one slice out; its next one is
    told as soon as that one's rows are, or when it is given up."""

    def __init__(self) -> None:
        self._next: dict[str, tuple[Job, Lane, NextBoundary]] = {}
        """What follows a slice, by its id."""

    def open(
        self,
        view: Job,
        windows: Sequence[Window],
        *,
        count: int,
        length_s: int,
        next_boundary: NextBoundary,
    ) -> tuple[Slice, ...]:
        """The first slices of about ``count`` lanes over ``windows``, of ``length_s`` each, oldest first;
        none crosses a boundary."""
        lanes = lanes_over(windows, count, length_s)
        return tuple(self._follow(view, lane, next_boundary) for lane in lanes)

    def follow(self, step: ev.Step) -> tuple[Slice, ...]:
        """The slice that comes next because of what became of another; none when it is not known yet, or that
        was the last of its lane, or of no lane."""
        known = self._next.get(step.slice.id)
        if known is None:
            return ()
        view, lane, next_boundary = known
        told = _told(step, view)
        if told is not None:
            lane = lane.after(*told, view.max_lines)
        elif not (step.parked or step.slice.state in _GIVEN_UP):
            return ()
        del self._next[step.slice.id]
        return (self._follow(view, lane, next_boundary),)

    def _follow(self, view: Job, lane: Lane, next_boundary: NextBoundary) -> Slice:
        window, left = lane.next_slice(next_boundary)
        stream = view.identity.logstream
        slice_ = Slice(slice_id(view, stream, window), view.name, stream, window)
        if left is not None:
            self._next[slice_.id] = (view, left, next_boundary)
        return slice_


def _told(step: ev.Step, job: Job) -> tuple[int, int] | None:
    """How many rows came in how many seconds, once that is known. Of a slice that could not be cut only that
    it was too much: as if twice the limit had come."""
    slice_ = step.slice
    match slice_.state:
        case SliceState.CUT:
            kept = step.children[0]
            return kept.window.length_s, kept.receipt.stored_rows if kept.receipt is not None else 0
        case SliceState.SUPERSEDED:
            return slice_.window.length_s, 2 * job.max_lines
        case SliceState.EMPTY:
            return slice_.window.length_s, 0
        case _ if slice_.receipt is not None:
            return slice_.window.length_s, slice_.receipt.stored_rows
        case _:
            return None

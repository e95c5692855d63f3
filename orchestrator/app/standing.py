"""How does a job stand, stretch by stretch, and how fast does the run in progress go: from the manifest
alone.

Nothing here walks over finished slices: coverage is merged ranges, gaps come one by one because they are
listed one by one, and of unfinished slices only the ends are asked for, column by column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.app.reading import JobStatus
from orchestrator.core.job import Job
from orchestrator.core.model import LIVE_STATES, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.standing import Standing, edges, stands
from orchestrator.core.streams import views
from orchestrator.core.window import Window, WindowSet, intersect, union
from orchestrator.engine.audit import covered_of
from orchestrator.ports.store import ManifestReader

__all__ = ["FEW_STREAMS", "Pace", "StreamStanding", "job_standing", "pace"]

FEW_STREAMS = 8
"""Up to so many log streams are told one by one beside the whole."""
RECENT_S = 300.0
ENOUGH_S = 5.0
ENOUGH_SLICES = 2
"""Fewer ended slices, or a shorter time, tell nothing of the time left."""


@dataclass(frozen=True, slots=True)
class StreamStanding:
    """``logstream`` is None for the job as a whole."""

    logstream: str | None
    standing: Standing


async def job_standing(
    status: JobStatus, manifest: ManifestReader, columns: int
) -> tuple[StreamStanding, ...]:
    """The job as a whole, then its log streams one by one where they are exported one by one and few; ()
    while the job has no window. Exact to the column where slices are planned or under way, to the second
    elsewhere."""
    job = status.job
    window = _shown(job)
    if window is None:
        return ()
    parted = edges(window, columns)
    each = views(job) if job.stream_patterns else ()
    held: WindowSet = ()
    found: list[StreamStanding] = []
    for view in each:
        covered = await covered_of(view, manifest)
        held = union(held, covered)
        if len(each) <= FEW_STREAMS:
            stream = view.identity.logstream
            standing = stands(
                window,
                covered=covered if job.window is None else intersect((job.window,), covered),
                gaps=[gap for gap in status.gaps if gap.logstream == stream],
                unfinished=await manifest.unfinished_spans(job.name, parted, stream),
                due_until_s=job.due_until_s,
            )
            found.append(StreamStanding(stream, standing))
    whole = stands(
        window,
        covered=status.covered,
        gaps=status.gaps,
        unfinished=await manifest.unfinished_spans(job.name, parted),
        due_until_s=job.due_until_s,
        held=held if job.window is None else intersect((job.window,), held),
    )
    return (StreamStanding(None, whole), *found)


def _shown(job: Job) -> Window | None:
    """The asked window with what of it is not due yet; None for a job that has no end and whose start is not
    due."""
    start_s = job.window.start_s if job.window else job.from_s
    ends = [job.to_s or start_s, job.window.end_s if job.window else start_s]
    return Window(start_s, max(ends)) if max(ends) > start_s else None


@dataclass(frozen=True, slots=True)
class Pace:
    """What was stored in the last ``over_s`` seconds of the run in progress. ``time_left_s`` is None as long
    as part of the windows is not planned, or too little has ended to judge by."""

    over_s: float
    lines_per_s: float
    time_left_s: float | None


async def pace(
    since: str, told: Sequence[tuple[JobStatus, Standing | None]], manifest: ManifestReader, now: float
) -> Pace | None:
    """How fast the run goes that began at ``since`` (ISO 8601), by what ended in its last five minutes; None
    when that cannot be told. The time left is that of the jobs that are ``told`` of, by slices: the planner
    packs them about equally full."""
    try:
        begun_at = datetime.fromisoformat(since).timestamp()
    except ValueError:
        return None
    ended = await manifest.ended_since(max(begun_at, now - RECENT_S))
    over_s = now - ended.since_at
    if over_s <= 0:
        return None
    mine = sum(ended.slices.get(status.job.name, 0) for status, _ in told)
    left_s = None
    if mine >= ENOUGH_SLICES and over_s >= ENOUGH_S and not any(_is_planning(*item) for item in told):
        left_s = _to_do(status for status, _ in told) * over_s / mine
    return Pace(over_s, sum(ended.lines.values()) / over_s, left_s)


def _is_planning(status: JobStatus, standing: Standing | None) -> bool:
    """Whether something was neither tried nor planned. Streams that only wait to be compared are not that."""
    untried = standing.untried if standing is not None else ()
    return bool(intersect(untried, (gap.window for gap in status.gaps if gap.reason == Reason.NOT_EXPORTED)))


def _to_do(statuses: Iterable[JobStatus]) -> int:
    return sum(
        count
        for status in statuses
        for state, count in status.counts.slices.items()
        if state in LIVE_STATES or state is SliceState.PLANNED
    )

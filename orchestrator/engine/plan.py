"""From missing windows to planned slices, and the dry run that only says what they would be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from orchestrator.core.estimating import Work, bytes_for, duration_of, watching_requests
from orchestrator.core.events import Resumed
from orchestrator.core.job import Deliver, Job, Limits, ServiceSpec
from orchestrator.core.lanes import guessed
from orchestrator.core.model import LIVE_STATES, OUTSTANDING_STATES, Evidence, Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason
from orchestrator.core.report import JobPlan, PlannedSlice
from orchestrator.core.series import Series
from orchestrator.core.slicing import Rules
from orchestrator.core.streams import views
from orchestrator.core.window import Window, WindowSet, normalise
from orchestrator.engine.audit import all_slices, gaps_of
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.counting import Counting
from orchestrator.engine.experience import Experience, blind_length_s, experience_of, observed_excess
from orchestrator.engine.faults import fault_of
from orchestrator.engine.lanes import Lanes
from orchestrator.engine.planner import parts_of, rules_for
from orchestrator.engine.sighting import Sighting
from orchestrator.engine.steady import SteadyClock
from orchestrator.engine.takeup import (
    Leftovers,
    check_identity,
    check_logstream,
    leftovers,
    missing_of,
    out_of_retention,
    retention_starts_at,
)
from orchestrator.errors import OrchestratorError, ServiceError, Unreachable, UsageError

__all__ = ["plan", "planned_slices"]


async def planned_slices(
    view: Job, missing: WindowSet, counting: Counting, lanes: Lanes, room: Room
) -> AsyncIterator[tuple[Slice, ...]]:
    """Slices for ``missing`` as they become known, oldest first: planned ones, and empty ones for proven
    silence. At last the first ones of ``lanes`` over all in which nothing can be counted. Raises
    CredentialsError when the keys are lost meanwhile."""
    rules = await _rules(view, room)
    blind: list[Window] = []
    async with aclosing(parts_of(missing, view.identity.logstream, rules, counting, room.clock)) as parts:
        async for part in parts:
            planned = [
                # What is only estimated is as good as not counted: its file is weighed against a count.
                _slice(view, w.window, SliceState.PLANNED, w.counted, w.counted_at)
                for w in part.ready
            ]
            silent = [_slice(view, p.window, SliceState.EMPTY, 0, p.counted_at) for p in part.proofs]
            blind += part.blind
            yield tuple(sorted(planned + silent, key=lambda slice_: slice_.window))
    if blind:
        yield lanes.open(
            view,
            normalise(blind),
            count=room.limits.tasks,
            length_s=await blind_length_s(view, room.manifest),
            next_boundary=rules.next_boundary,
        )


async def _rules(view: Job, room: Room) -> Rules:
    excess = await observed_excess(view, room.manifest)
    return rules_for(view, at_once=room.limits.queries, observed_excess=excess)


def _slice(job: Job, window: Window, state: SliceState, lines: int | None, counted_at: float | None) -> Slice:
    return Slice(
        id=slice_id(job, job.identity.logstream, window),
        job=job.name,
        logstream=job.identity.logstream,
        window=window,
        state=state,
        expected_lines=lines,
        counted_at=counted_at,
        evidence=Evidence.COUNT if state is SliceState.EMPTY else Evidence.NONE,
    )


async def plan(
    contexts: Sequence[JobContext], room: Room, *, to_be_drawn: bool = False
) -> tuple[JobPlan, ...]:
    """What ``run`` would do now; creates nothing, neither at the service nor in the manifest. A plan that is
    ``to_be_drawn`` takes one request more per job where planning itself saw nothing but sums.

    What the service or another identity has against one job stands in that job's plan, and the others are
    planned. A service that cannot be reached is not tried again for its other jobs. Raises CredentialsError,
    StorageError."""
    room = replace(room, clock=SteadyClock(room.clock))
    plans: list[JobPlan] = []
    unreachable: dict[ServiceSpec, OrchestratorError] = {}
    for context in contexts:
        job, before = context.job, sum(room.requests().values())
        try:
            if job.window is not None and job.service in unreachable:
                raise unreachable[job.service]
            plans.append(await _plan_job(context, room, to_be_drawn))
        except (ServiceError, UsageError) as error:
            if isinstance(error, Unreachable):
                unreachable[job.service] = error
            took = sum(room.requests().values()) - before
            plans.append(JobPlan(job.name, job.window, (), None, 0, took, error=fault_of(error)))
    return tuple(plans)


async def _plan_job(context: JobContext, room: Room, to_be_drawn: bool) -> JobPlan:
    job = context.job
    if job.window is None:
        return JobPlan(job.name, None, (), 0, 0, 0)
    await check_identity(job, room.manifest)
    before = sum(room.requests().values())
    if context.stopped is not None:
        raise context.stopped
    left = await leftovers(job, job.window, room.manifest)
    begun = await _begun(job, job.window, left, room)
    missing = {
        view: await missing_of(view, job.window, room.manifest, left.taken_of(view)) for view in views(job)
    }
    fresh = await _fresh(context, missing, room, to_be_drawn) if any(missing.values()) else _Fresh()
    slices = [PlannedSlice(item.window, item.logstream, item.expected_lines) for item in begun]
    planned = tuple(sorted([*slices, *fresh.slices], key=lambda slice_: slice_.window))
    known = [slice_.lines for slice_ in planned if slice_.lines is not None]
    lines = sum(known) if len(known) == len(planned) else None
    experience = await experience_of(job, room.manifest)
    work = _work(job, begun, len(fresh.slices), lines, experience, room.limits)
    return JobPlan(
        job=job.name,
        window=job.window,
        slices=planned,
        lines=lines,
        requests=work.requests,
        planning_requests=sum(room.requests().values()) - before,
        duration_s=duration_of(work, room.limits) if planned else 0.0,
        bytes_stored=bytes_for(lines, experience.stored),
        empty=normalise(fresh.empty),
        work=work,
        seen=fresh.seen,
        beyond_retention=normalise([*fresh.beyond, *await _known_beyond(job, job.window, room)]),
    )


async def _known_beyond(job: Job, window: Window, room: Room) -> list[Window]:
    """What an earlier run found to be older than anything that is kept, and nobody accepted."""
    gaps = await gaps_of(job, room.manifest, window, "")
    return [gap.window for gap in gaps if gap.reason == Reason.BEYOND_RETENTION and gap.accepted is None]


@dataclass(slots=True)
class _Fresh:
    """What planning a job anew came to."""

    slices: list[PlannedSlice] = field(default_factory=list)
    empty: list[Window] = field(default_factory=list)
    beyond: list[Window] = field(default_factory=list)
    seen: Series | None = None


async def _fresh(
    context: JobContext, missing: Mapping[Job, WindowSet], room: Room, to_be_drawn: bool
) -> _Fresh:
    starts_at = await retention_starts_at(context, room)
    await check_logstream(context, room)
    parted = {view: out_of_retention(view, lacking, starts_at) for view, lacking in missing.items()}
    due = {view: windows for view, (windows, _) in parted.items()}
    found = _Fresh(beyond=[slice_.window for _, gone in parted.values() for slice_ in gone])
    every = [window for windows in due.values() for window in windows]
    if not every:
        return found
    whole = Window(min(window.start_s for window in every), max(window.end_s for window in every))
    sighting = Sighting(context.counts, whole)
    counting = Counting(sighting, context.job.identity)
    for view, windows in due.items():
        stream = view.identity.logstream
        rules = await _rules(view, room)
        blind: list[Window] = []
        async with aclosing(parts_of(windows, stream, rules, counting, room.clock)) as parts:
            async for part in parts:
                found.slices += [
                    PlannedSlice(w.window, stream, w.lines, w.lines != w.counted) for w in part.ready
                ]
                found.empty += [proof.window for proof in part.proofs]
                blind += part.blind
        if blind:
            length_s = await blind_length_s(view, room.manifest)
            guesses = guessed(normalise(blind), length_s, rules.next_boundary)
            found.slices += [PlannedSlice(window, stream, None) for window in guesses]
    if to_be_drawn and len(due) == 1 and any(slice_.lines for slice_ in found.slices):
        await sighting.look(*due)
    found.seen = sighting.seen()
    return found


async def _begun(job: Job, window: Window, left: Leftovers, room: Room) -> list[Slice]:
    """The slices of earlier runs that this one would take to their end: what is planned, what is under way,
    and what failed and gets another chance."""
    planned = all_slices(room.manifest, job.name, (SliceState.PLANNED,), window)
    found = {slice_.id: slice_ async for slice_ in planned if slice_.logstream not in job.gone_streams}
    for slice_, event in left.events:
        ended = slice_.state in (SliceState.CUT, SliceState.SUPERSEDED, SliceState.DONE)
        if slice_.window.meets(window) and isinstance(event, Resumed) and not ended:
            found[slice_.id] = slice_
    return list(found.values())


def _work(
    job: Job, begun: Sequence[Slice], fresh: int, lines: int | None, experience: Experience, limits: Limits
) -> Work:
    """A slice costs a create, its share of watching and a link, as far as that is still before it."""
    to_create = fresh + sum(slice_.state not in _CREATED for slice_ in begun)
    to_run = to_create + sum(slice_.state in OUTSTANDING_STATES & _CREATED for slice_ in begun)
    to_fetch = fresh + sum(slice_.state is not SliceState.SETTLING for slice_ in begun)
    links = to_fetch if job.deliver is Deliver.FILES else 0
    watching = watching_requests(to_run, limits.tasks)
    fetched_bytes = bytes_for(lines, experience.stored) if links else 0
    return Work(to_run, experience.run_s, to_create + links + watching, fetched_bytes)


_CREATED = LIVE_STATES - {SliceState.SUBMITTING, SliceState.IN_DOUBT}

"""The beginning of a run for one job: what earlier runs left, what of the asked window is still missing, what
cannot be had."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.core import events as ev
from orchestrator.core.job import Job
from orchestrator.core.model import Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason, describe_reason
from orchestrator.core.retry import backoff_s
from orchestrator.core.streams import views
from orchestrator.core.submitting import limit_of
from orchestrator.core.walk import Doubt
from orchestrator.core.window import LATEST_S, Window, WindowSet, intersect, normalise, subtract
from orchestrator.engine.audit import signed_of
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.coverage import ALL_STREAMS, all_slices, covered_of
from orchestrator.engine.stages.divide import gather
from orchestrator.errors import Refused, ServiceError, Unreachable, UsageError
from orchestrator.ports.service import LogStore
from orchestrator.ports.store import Changes, Covered, JournalEntry, ManifestReader

__all__ = [
    "Leftovers",
    "all_begun_anew",
    "begun_anew",
    "check_identity",
    "check_logstream",
    "cover_again",
    "doubted_lately",
    "leftovers",
    "missing_of",
    "out_of_retention",
    "retention_starts_at",
]

PERMANENT_DAYS = 3650
"""bls-api.md 4.2."""
DAY_S = 86_400
_STORED = (SliceState.DONE, SliceState.EMPTY)
CONTACT_TRIES = 4
LONGEST_CONTACT_PAUSE_S = 30.0
CONTACT_PATIENCE_S = 45.0
LONGEST_CONTACT_S = 240.0
_NO_SUCH_STORE = frozenset({"LogStoreNotFound", "ProjectNotFound", "LogStoreStopped"})
_BAD_CREDENTIALS = frozenset(
    {
        "Unauthorized",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidHTTPAuthHeader",
        "RequestExpired",
        "OptInRequired",
    }
)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Slices of earlier runs with the first event for each, and the windows they keep from being planned
    again."""

    events: tuple[tuple[Slice, ev.Event], ...]
    taken: WindowSet
    by_stream: Mapping[str, WindowSet] = field(default_factory=dict)

    def taken_of(self, view: Job) -> WindowSet:
        """What they keep from being planned again of the job, or of the one stream that ``view`` is about."""
        return self.by_stream.get(view.identity.logstream, ()) if view.one_stream else self.taken


async def check_identity(job: Job, manifest: ManifestReader) -> None:
    """A job is what it exports: under one name that never changes. Raises UsageError with the difference."""
    known = await manifest.job_identity(job.name)
    if known is None or known == job.identity:
        return
    changed = [
        f"{word}: {getattr(known, word)!r} in the manifest, {getattr(job.identity, word)!r} in the job file"
        for word in ("service", "project", "logstore", "logstream", "query")
        if getattr(known, word) != getattr(job.identity, word)
    ]
    raise UsageError(
        f"job {job.name} is not the job this manifest holds under that name ({'; '.join(changed)})",
        hint=f"give the job a new name, or let the old one go with `orchestrator forget --job {job.name}`",
    )


async def retention_starts_at(context: JobContext, room: Room) -> int | None:
    """The UTC second before which the logstore keeps nothing, None when unknown or for ever. Doubles as the
    first contact: raises Refused when credentials or names are wrong, Unreachable and its kin when nobody
    answers."""
    job = context.job
    try:
        store = await _first_contact(context, room)
    except Refused as error:
        decisive = error.status in (401, 404) or error.service_code in _NO_SUCH_STORE | _BAD_CREDENTIALS
        if decisive:
            raise
        # Describing needs a permission of its own; exporting may be allowed without it.
        room.observer.noted("run.retention_unknown", job=job.name, why=str(error)[:200])
        return None
    days = store.retention_days
    if days is None or days <= 0 or days >= PERMANENT_DAYS:
        return None
    return int(room.clock.now()) - days * DAY_S


async def check_logstream(context: JobContext, room: Room) -> None:
    """A log stream that the logstore does not have may mean all of them, none, or an error to the service
    (bls-api.md 10.26): nothing is asked for in its name. Raises Refused when the list of streams lacks it; a
    list that cannot be had, or that is empty, decides nothing."""
    identity = context.job.identity
    if not identity.logstream or context.job.stream_patterns:  # listed streams are there
        return
    try:
        names = await context.meta.list_logstreams(identity.project, identity.logstore)
    except ServiceError as error:
        room.observer.noted("run.streams_unknown", job=context.job.name, why=str(error)[:200])
        return
    if names and identity.logstream not in names:
        known = ", ".join(sorted(name for name in names if name)[:5])
        raise Refused(
            f"logstore {identity.logstore} has no log stream {identity.logstream!r}; it has {known}"
            + (", …" if len(names) > 5 else ""),
            service_code="LogStreamNotFound",
            hint="name one that exists, or leave `logstream` out for all of them",
        )


async def _first_contact(context: JobContext, room: Room) -> LogStore:
    """As ``_contacted``, but whoever is told to come back in a year says so within minutes."""
    try:
        async with asyncio.timeout(LONGEST_CONTACT_S):
            return await _contacted(context, room)
    except TimeoutError:
        identity = context.job.identity
        raise Unreachable(
            f"{identity.service} let no question about logstore {identity.logstore} through "
            f"within {LONGEST_CONTACT_S:.0f} s"
        ) from None


async def _contacted(context: JobContext, room: Room) -> LogStore:
    """A service that does not answer at once is given some seconds more: a job that starts in a short outage
    shall not wait for the next night."""
    identity = context.job.identity
    patience_ends_at = asyncio.get_running_loop().time() + CONTACT_PATIENCE_S
    for tries in range(1, CONTACT_TRIES):
        try:
            return await context.meta.describe_logstore(identity.project, identity.logstore)
        except Refused:
            raise
        except ServiceError as error:
            if asyncio.get_running_loop().time() >= patience_ends_at:
                raise
            room.observer.noted("run.no_contact", job=context.job.name, error=str(error)[:200], round=tries)
            pause_s = backoff_s(f"contact:{context.job.name}", tries, at_least_s=error.retry_after_s)
            await asyncio.sleep(min(pause_s, LONGEST_CONTACT_PAUSE_S))
    return await context.meta.describe_logstore(identity.project, identity.logstore)


async def leftovers(
    job: Job, window: Window, manifest: ManifestReader, again: frozenset[str] = frozenset()
) -> Leftovers:
    """Unfinished slices that meet the window go on whole; others are let go, but for those of a redo, which
    stays begun. What failed before gets a new budget, unless another run cannot mend it, all of the gap was
    accepted, or newer slices are under way to replace it. The failed slices ``again`` get one in any case."""
    events: list[tuple[Slice, ev.Event]] = []
    taken: dict[str, list[Window]] = defaultdict(list)
    for slice_ in await manifest.live(job.name):
        must_resolve = slice_.state in (SliceState.SUBMITTING, SliceState.IN_DOUBT, SliceState.SETTLING)
        if slice_.window.meets(window) or must_resolve or slice_.replaces:
            events.append((slice_, ev.Resumed(slice_.id)))
        else:
            events.append((slice_, ev.Dropped(slice_.id)))
    for side in _outside(window):
        async for slice_ in all_slices(manifest, job.name, (SliceState.PLANNED,), side):
            if not slice_.window.meets(window) and not slice_.replaces:
                events += [(slice_, ev.Dropped(slice_.id))]
    if job.gone_streams:
        async for slice_ in all_slices(manifest, job.name, (SliceState.PLANNED,), window):
            if slice_.logstream in job.gone_streams:
                events += [(slice_, ev.Dropped(slice_.id))]
    for slice_ in await manifest.waited(job.name):
        if slice_.window.meets(window) and slice_.logstream not in job.gone_streams:
            events += [(slice_, ev.Resumed(slice_.id))]
    for view in views(job):
        stream = view.identity.logstream if view.one_stream else None
        taken[stream or ""] += await manifest.unfinished(job.name, window, stream)
    acceptances = await manifest.acceptances(job.name)
    signed: dict[str, WindowSet] = {}
    outlasting = frozenset(await manifest.replaced(job.name))
    async for slice_ in all_slices(manifest, job.name, (SliceState.FAILED,), window):
        if slice_.logstream in job.gone_streams or _is_tally(job, slice_):
            continue
        taken[slice_.logstream] += [slice_.window]
        if slice_.id in outlasting:
            continue
        if slice_.id in again:
            events.append((slice_, ev.Resumed(slice_.id)))
            continue
        stream = slice_.logstream
        if stream not in signed:
            signed[stream] = normalise(item.window for item in signed_of(job, stream, acceptances))
        left = subtract((slice_.window,), signed[stream])
        if signed[stream] and not subtract(left, await covered_of(job, manifest)):
            continue
        if describe_reason(slice_.reason).mendable or _may_go_on(job, slice_):
            events.append((slice_, ev.Resumed(slice_.id)))
    missing = subtract((window,), await covered_of(job, manifest))
    for whole in await manifest.divided(job.name, window):
        if not intersect(missing, (whole.window,)):
            continue
        # Its parts may have been stored by a run that died before it could say so of the whole.
        if await gather(whole.id, manifest) is not None:
            taken[whole.logstream] += [whole.window]
            events.append((whole, ev.Resumed(whole.id)))
    events += [(slice_, ev.Resumed(slice_.id)) for slice_ in await manifest.holding(job.name)]
    every = (piece for pieces in taken.values() for piece in pieces)
    return Leftovers(tuple(events), normalise(every), {name: normalise(taken[name]) for name in taken})


def _is_tally(job: Job, slice_: Slice) -> bool:
    """Whether it only says that listed streams do not add up: there is nothing to be exported in it."""
    return bool(job.stream_patterns) and not slice_.logstream


def _outside(window: Window) -> list[Window]:
    sides = [(0, window.start_s), (window.end_s, LATEST_S)]
    return [Window(start_s, end_s) for start_s, end_s in sides if start_s < end_s]


def _may_go_on(job: Job, slice_: Slice) -> bool:
    """Whether what no run could mend may have been mended from outside: the path freed, ``max_lines``
    raised."""
    task = slice_.task
    if slice_.reason == Reason.PATH_OCCUPIED:
        return True
    if slice_.reason != Reason.OVERFULL_SECOND or task is None:
        return False
    return task.limit < limit_of(slice_.window, task.window, job)


async def doubted_lately(job: Job, room: Room) -> tuple[tuple[Doubt, ...], frozenset[str], bool]:
    """Answered doubts whose name no create can bear again, every uuid known for them, and whether these are
    all there are: those of the last day, and all that were younger than a day when strays were last looked
    for. A run that lasts, or nights without one, let none of them slip through."""
    sought_at = await room.manifest.strays_sought_at(job.name)
    since_at = 0.0 if sought_at is None else min(sought_at, room.clock.now()) - DAY_S
    rows = [task for task in await room.manifest.in_doubt_since(since_at) if task.job == job.name]
    known = {task.number for task in rows if task.uuid}
    doubts: dict[int, Doubt] = {}
    all_of_them = True
    for task in rows:
        if task.number not in known:
            slice_ = await room.manifest.slice(task.slice_id)
            if slice_ is not None and slice_.task is not None and slice_.task.number == task.number:
                all_of_them = False  # may still be posted, or is being looked for
                continue
        doubts[task.number] = Doubt(task.slice_id, task, job.identity)
    return tuple(doubts.values()), frozenset(task.uuid for task in rows if task.uuid), all_of_them


async def begun_anew(slice_: Slice, manifest: ManifestReader) -> Slice:
    """As ``all_begun_anew``, one alone."""
    return (await all_begun_anew([slice_], manifest))[0]


async def all_begun_anew(slices: Sequence[Slice], manifest: ManifestReader) -> list[Slice]:
    """A window may have been a slice before: it begins anew under the same id, and remembers which file of it
    stands already."""
    known = await manifest.published([slice_.id for slice_ in slices])
    return [
        replace(slice_, published_path=known[slice_.id][0], published_sha256=known[slice_.id][1])
        if slice_.id in known
        else slice_
        for slice_ in slices
    ]


async def cover_again(job: Job, window: Window, room: Room) -> None:
    """What a stored slice holds is covered. Where the ledger has lost that, planning the window anew would
    store its rows twice."""
    found: list[Slice] = []
    for view in views(job):
        stream = view.identity.logstream
        for piece in subtract((window,), await covered_of(view, room.manifest)):
            stored = all_slices(room.manifest, job.name, _STORED, piece)
            found += [
                slice_
                async for slice_ in stored
                if slice_.logstream == stream and not (slice_.whole or slice_.replaces)
            ]
    if found:
        now = room.clock.now()
        covered = (Covered(job.name, slice_.logstream or ALL_STREAMS, slice_.window) for slice_ in found)
        journal = (JournalEntry(now, job.name, slice_.id, "covered_again") for slice_ in found)
        await room.manifest.commit(Changes(covered=tuple(covered), journal=tuple(journal)))
        room.observer.noted("run.covered_again", job=job.name, slices=len(found))


async def missing_of(job: Job, window: Window, manifest: ManifestReader, taken: WindowSet) -> WindowSet:
    """``window − coverage − what leftovers already take``."""
    return subtract(subtract((window,), await covered_of(job, manifest)), taken)


def out_of_retention(
    job: Job, missing: WindowSet, starts_at: int | None
) -> tuple[WindowSet, tuple[Slice, ...]]:
    """Split what is missing into what can still be asked for and slices that stand for what the service no
    longer keeps."""
    if starts_at is None or starts_at <= 0:
        return missing, ()
    gone = intersect(missing, (Window(0, starts_at),))
    slices = tuple(
        Slice(
            id=slice_id(job, job.identity.logstream, piece),
            job=job.name,
            logstream=job.identity.logstream,
            window=piece,
            state=SliceState.FAILED,
            reason=Reason.BEYOND_RETENTION,
        )
        for piece in gone
    )
    return subtract(missing, gone), slices

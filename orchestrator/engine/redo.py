"""Export anew what is stored already: how does a new generation of a slice take the place of the old one?

A slice that is stored stays what it is: its file, its row in the ledger, its coverage. Beside it one of the
next generation is planned, which says whom it ``replaces``; that is one commit, and from then on any run goes
on with it. Verified, it takes the place of the old one the way every file does: by rename where the path is
the same, else the old file goes last; the old slice ends as superseded in the commit that says the new one is
done.

If the new one has to be divided, its parts are verified one by one but withheld, and placed together by
``swap`` when the run is at its end: all of them, then the old file goes. If any of them fails, none takes its
place.

A second that was divided has no file of its own that could stand until then: it is asked for, and divided,
again. Its window is a gap until its parts are added up; their files stand until better ones take their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core import events as ev
from orchestrator.core.lifecycle import Rules, transition
from orchestrator.core.model import Slice, SliceState, slice_id
from orchestrator.core.reasons import Reason
from orchestrator.core.report import Redone, RedoOutcome
from orchestrator.core.window import subtract
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.stages.divide import gather
from orchestrator.engine.transaction import Transaction
from orchestrator.errors import OrchestratorError, PathOccupied
from orchestrator.ports.files import Publication
from orchestrator.ports.store import ManifestReader

__all__ = ["REDOABLE", "begin", "divided_anew", "next_generation", "outcomes", "swap"]

REDOABLE = (SliceState.DONE, SliceState.EMPTY, SliceState.FAILED)
_STORED = frozenset({SliceState.DONE, SliceState.EMPTY})
_HANDED_ON = frozenset({SliceState.CUT, SliceState.SUPERSEDED, SliceState.ABANDONED})
AT_ONCE = 500
"""New slices in one commit."""


async def begin(context: JobContext, chosen: Sequence[Slice], room: Room) -> None:
    """Plan the next generation of every stored slice among ``chosen`` that has none under way; seconds that
    were divided become gaps, to be tried again. Their parts alone are left: they are proven together only."""
    pending = frozenset(await room.manifest.replaced(context.job.name))
    fresh = [
        next_generation(context, slice_)
        for slice_ in chosen
        if slice_.state in _STORED and not slice_.whole and slice_.id not in pending
    ]
    for start in range(0, len(fresh), AT_ONCE):
        transaction = Transaction(room.clock.now())
        transaction.plan(tuple(fresh[start : start + AT_ONCE]), context.job)
        await room.manifest.commit(transaction.changes())
        room.boundary.reached("redo.begun")
    for slice_ in chosen:
        if slice_.state is SliceState.SUPERSEDED and await gather(slice_.id, room.manifest) is not None:
            await _reopened(context, slice_, Reason.NOT_EXPORTED, room)


async def divided_anew(context: JobContext, whole: Slice, reason: str, room: Room) -> Slice:
    """A second that was divided, planned once more. Until it is stored it is a gap for ``reason``, from this
    moment on."""
    failed = await _reopened(context, whole, reason, room)
    return transition(failed, ev.Resumed(failed.id), room.clock.now(), Rules(context.job)).slice


async def _reopened(context: JobContext, whole: Slice, reason: str, room: Room) -> Slice:
    now = room.clock.now()
    event = ev.Marked(whole.id, reason)
    step = transition(whole, event, now, Rules(context.job))
    transaction = Transaction(now)
    transaction.add(whole, event, step)
    await room.manifest.commit(transaction.changes())
    room.boundary.reached("redo.reopened")
    return step.slice


def next_generation(context: JobContext, old: Slice) -> Slice:
    """The slice that is to take the place of ``old``: counted anew, with no word of the old count."""
    stands = old.state is SliceState.DONE and old.receipt is not None
    return Slice(
        id=slice_id(context.job, old.logstream, old.window, old.generation + 1),
        job=old.job,
        logstream=old.logstream,
        window=old.window,
        generation=old.generation + 1,
        replaces=old.id,
        published_path=old.published_path or (old.path if stands else ""),
        published_sha256=old.published_sha256,
        published_rows=old.receipt.stored_rows if old.receipt is not None and stands else 0,
    )


async def swap(context: JobContext, room: Room) -> dict[str, str]:
    """End every redo of the job that can be ended now that nothing is under way: place what was withheld, or
    give it up. Done again after a crash, it does the same. Returns the reason by the id of each slice that
    was kept. Raises StorageError, DiskFull."""
    kept: dict[str, str] = {}
    for old_id in await room.manifest.replaced(context.job.name):
        members = await room.manifest.replacing(context.job.name, old_id)
        old = await room.manifest.slice(old_id)
        leaves = [member for member in members if member.state not in _HANDED_ON]
        if any(_under_way(leaf) for leaf in leaves):
            continue
        reason = _reason_against(old, leaves)
        if not reason and old is not None:
            reason = await _place(old, leaves, context, room)
        if reason:
            kept[old_id] = reason
            await _give_up(old, old_id, leaves, reason, context, room)
    return kept


def _under_way(leaf: Slice) -> bool:
    if leaf.state is SliceState.SETTLING:
        return not leaf.parent  # one that was not divided is published by the run itself
    return leaf.state not in (SliceState.FAILED, SliceState.EMPTY)


def _reason_against(old: Slice | None, leaves: Sequence[Slice]) -> str:
    """Why these must not take the place of ``old``; "" when they may."""
    failed = [leaf.reason for leaf in leaves if leaf.state is SliceState.FAILED]
    if failed:
        return failed[0]
    if old is None or subtract((old.window,), (leaf.window for leaf in leaves)):
        return Reason.NOT_EXPORTED
    before = old.receipt.stored_rows if old.receipt is not None and old.state is SliceState.DONE else 0
    return Reason.SOURCE_GONE if sum(map(_rows, leaves)) < before else ""


def _rows(leaf: Slice) -> int:
    return leaf.receipt.stored_rows if leaf.receipt is not None else 0


async def _place(old: Slice, leaves: Sequence[Slice], context: JobContext, room: Room) -> str:
    """Transaction A stands: old and new are in the manifest. Place the new, the one over the old file last;
    then delete the old; then commit B. Returns why it could not be."""
    staged = [leaf for leaf in leaves if leaf.receipt is not None and leaf.receipt.staged_path]
    beside = [leaf for leaf in staged if leaf.path != old.path]
    over = [leaf for leaf in staged if leaf.path == old.path]
    for batch in (beside, over):
        reason = await _publish(batch, old, context, room)
        if reason:
            for leaf in beside:
                if leaf.receipt is not None:
                    await context.destination.retire(leaf.path, leaf.receipt.stored_sha256)
            return reason
    room.boundary.reached("redo.placed")
    if old.published_path and not over:
        if not await context.destination.retire(old.published_path, old.published_sha256):
            room.observer.noted(
                "settle.changed_file_left", job=old.job, slice=old.id, path=old.published_path
            )
        room.boundary.reached("redo.retired")
    transaction = Transaction(room.clock.now())
    for leaf in staged:
        event = ev.Published(leaf.id, leaf.task.number if leaf.task is not None else 0)
        transaction.add(leaf, event, transition(leaf, event, room.clock.now(), Rules(context.job)))
    transaction.outlive(leaves[0], old.id)
    await room.manifest.commit(transaction.changes())
    return ""


async def _publish(batch: Sequence[Slice], old: Slice, context: JobContext, room: Room) -> str:
    orders = [
        Publication(
            key=leaf.id,
            staged_path=leaf.receipt.staged_path,
            path=leaf.path,
            sha256=leaf.receipt.stored_sha256,
            size_bytes=leaf.receipt.stored_bytes,
            replaces_own=leaf.path == old.path,
        )
        for leaf in batch
        if leaf.receipt is not None
    ]
    if not orders:
        return ""
    for outcome in await context.destination.publish(orders):
        if isinstance(outcome.error, PathOccupied):
            return Reason.PATH_OCCUPIED
        if outcome.lost:
            return Reason.DAMAGED
        if outcome.error is not None:
            raise outcome.error
    return ""


async def _give_up(
    old: Slice | None, old_id: str, leaves: Sequence[Slice], reason: str, context: JobContext, room: Room
) -> None:
    """The old generation stays; what was staged for the new one goes, and its remote tasks are surplus."""
    now = room.clock.now()
    transaction = Transaction(now)
    for leaf in leaves:
        event = ev.Withdrawn(leaf.id, reason)
        transaction.add(leaf, event, transition(leaf, event, now, Rules(context.job)))
    if old is not None:
        transaction.keep(old, reason)
    await room.manifest.commit(transaction.changes())
    room.observer.noted("redo.kept", job=context.job.name, slice=old_id, reason=reason)
    for order in transaction.orders:
        if isinstance(order, ev.DiscardStaged):
            try:
                await context.destination.discard(order.staged_path)
            except OrchestratorError as error:
                room.observer.noted("settle.discard_failed", job=order.job, error=str(error)[:200])


async def outcomes(
    chosen: Iterable[Slice], kept: dict[str, str], manifest: ManifestReader
) -> tuple[Redone, ...]:
    """What became of each slice that was to be exported anew, read from the manifest."""
    found: list[Redone] = []
    for slice_ in chosen:
        now = await manifest.slice(slice_.id)
        outcome, reason = RedoOutcome.UNFINISHED, ""
        if slice_.id in kept:
            outcome, reason = RedoOutcome.KEPT, kept[slice_.id]
        elif slice_.whole:
            outcome, reason = RedoOutcome.KEPT, Reason.OVERFULL_SECOND
        elif now is None or now.state in _HANDED_ON:
            outcome = RedoOutcome.REPLACED
        elif slice_.state in (SliceState.FAILED, SliceState.SUPERSEDED):
            # Tried again in its own place.
            if now.state in _STORED:
                outcome = RedoOutcome.REPLACED
            elif now.state is SliceState.FAILED:
                outcome, reason = RedoOutcome.KEPT, now.reason
        found.append(Redone(slice_.job, slice_.id, slice_.window, outcome, str(reason)))
    return tuple(found)

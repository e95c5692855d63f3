"""Settle: proved files take their place, and what cannot be proved yet is counted again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.core import events as ev
from orchestrator.core.model import Slice
from orchestrator.core.retry import backoff_s
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.counting import Silence
from orchestrator.engine.faults import fault_of
from orchestrator.engine.lineage import descendants
from orchestrator.errors import CredentialsError, OrchestratorError, Refused, ServiceError
from orchestrator.ports.files import Publication, PublishOutcome
from orchestrator.ports.service import CountUnavailable, Histogram

__all__ = ["discard", "publish", "recount"]

RECOUNT_TRIES = 6
"""Beyond the client's own retries; then the slice is judged without a count."""


async def publish(orders: Sequence[ev.Publish], context: JobContext, room: Room) -> list[ev.Event]:
    """Carry out several Publish of one job together, so that each folder is synced once."""
    batch = [
        Publication(
            key=order.slice.id,
            staged_path=order.receipt.staged_path,
            path=order.slice.path,
            sha256=order.receipt.stored_sha256,
            size_bytes=order.receipt.stored_bytes,
            replaces_own=bool(order.slice.published_path) and order.slice.published_path == order.slice.path,
        )
        for order in orders
        if order.receipt.staged_path
    ]
    numbers = {order.slice.id: order.slice.task.number if order.slice.task else 0 for order in orders}
    room.boundary.reached("settle.before")
    try:
        outcomes = {outcome.key: outcome for outcome in await context.destination.publish(batch)}
        for order in orders:
            outcome = outcomes.get(order.slice.id)
            if outcome is None or (outcome.error is None and not outcome.lost):
                await _retire_replaced(order, context, room)
    except OrchestratorError as error:
        return [ev.PublishFailed(key, number, fault_of(error)) for key, number in numbers.items()]
    room.boundary.reached("settle.after")
    seconds = {order.slice.id for order in orders if order.slice.window.length_s == 1}
    parts = {key: await descendants(key, room.manifest) for key in seconds}
    return [_answer(key, number, outcomes.get(key), parts.get(key, ())) for key, number in numbers.items()]


def _answer(slice_id: str, number: int, outcome: PublishOutcome | None, parts: tuple[Slice, ...]) -> ev.Event:
    if outcome is not None and outcome.lost:
        return ev.StagedLost(slice_id, number)
    if outcome is not None and outcome.error is not None:
        return ev.PublishFailed(slice_id, number, fault_of(outcome.error))
    return ev.Published(slice_id, number, parts)


async def _retire_replaced(order: ev.Publish, context: JobContext, room: Room) -> None:
    """A file of an earlier run whose rows now stand elsewhere, or nowhere, goes last: no row is ever missing
    in between. Done again after a crash, because the slice is still settling."""
    slice_ = order.slice
    old = slice_.published_path
    if not old or (old == slice_.path and order.receipt.staged_path):
        return
    if not await context.destination.retire(old, slice_.published_sha256):
        room.observer.noted("settle.changed_file_left", job=slice_.job, slice=slice_.id, path=old)


async def recount(order: ev.Recount, context: JobContext, room: Room, silence: Silence) -> ev.Event:
    """Carry out one Recount: SQL count first, the histogram's hits when that is refused; None when neither
    answers, or did not lately."""
    slice_ = order.slice
    count: int | None = None
    asked_at = room.clock.now()
    for tries in range(1, RECOUNT_TRIES + 1 if silence.worth_asking() else 1):
        asked_at = room.clock.now()  # what came while the answer was under way may not be in it
        try:
            answer = await _count(context, slice_)
            count = None if isinstance(answer, CountUnavailable) else answer
            if not (isinstance(answer, CountUnavailable) and answer.too_much):
                silence.heard(answer=count is not None)
            break
        except (Refused, CredentialsError) as error:
            silence.heard(answer=False)
            room.observer.noted(
                "settle.recount_refused", job=slice_.job, slice=slice_.id, error=str(error)[:200]
            )
            break
        except ServiceError as error:
            # Not an answer about the lines: an outage must not pass for "cannot be counted".
            room.observer.noted(
                "settle.recount_failed", job=slice_.job, slice=slice_.id, error=str(error)[:200]
            )
            await asyncio.sleep(backoff_s(f"recount:{slice_.id}", tries, at_least_s=error.retry_after_s))
    return ev.Recounted(slice_.id, order.number, count, asked_at)


async def _count(context: JobContext, slice_: Slice) -> int | CountUnavailable:
    identity = context.job.identity
    answer = await context.counts.count(identity, slice_.logstream, slice_.window)
    if isinstance(answer, CountUnavailable):
        return _hits(await context.counts.histogram(identity, slice_.logstream, slice_.window))
    return answer


def _hits(answer: Histogram | CountUnavailable) -> int | CountUnavailable:
    if isinstance(answer, CountUnavailable):
        return answer
    if answer.truncated or answer.hits is None:
        return CountUnavailable("the histogram gives no whole total", too_much=answer.truncated)
    return answer.hits


async def discard(order: ev.DiscardStaged, context: JobContext, room: Room) -> None:
    """Best effort: what stays behind is stale staging, found by its name later."""
    try:
        await context.destination.discard(order.staged_path)
    except OrchestratorError as error:
        room.observer.noted("settle.discard_failed", job=order.job, error=str(error)[:200])

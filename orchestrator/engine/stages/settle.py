"""Settle: proved files take their place, and what cannot be proved yet is counted again."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import events as ev
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.faults import fault_of
from orchestrator.errors import CredentialsError, OrchestratorError, ServiceError
from orchestrator.ports.files import Publication
from orchestrator.ports.service import CountUnavailable, Histogram

__all__ = ["discard", "publish", "recount"]


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
    ]
    numbers = {order.slice.id: order.slice.task.number if order.slice.task else 0 for order in orders}
    room.boundary.reached("settle.before")
    try:
        outcomes = await context.destination.publish(batch)
    except OrchestratorError as error:
        return [ev.PublishFailed(key, number, fault_of(error)) for key, number in numbers.items()]
    room.boundary.reached("settle.after")
    answers: list[ev.Event] = []
    for outcome in outcomes:
        number = numbers[outcome.key]
        if outcome.lost:
            answers.append(ev.StagedLost(outcome.key, number))
        elif outcome.error is not None:
            answers.append(ev.PublishFailed(outcome.key, number, fault_of(outcome.error)))
        else:
            answers.append(ev.Published(outcome.key, number))
    return answers


async def recount(order: ev.Recount, context: JobContext, room: Room) -> ev.Event:
    """Carry out one Recount: SQL count first, the histogram's hits when that is refused; None when neither
    answers."""
    slice_ = order.slice
    identity = context.job.identity
    try:
        answer: int | CountUnavailable = await context.counts.count(identity, slice_.logstream, slice_.window)
        if isinstance(answer, CountUnavailable):
            histogram = await context.counts.histogram(identity, slice_.logstream, slice_.window)
            answer = _hits(histogram)
    except (ServiceError, CredentialsError) as error:
        room.observer.noted("settle.recount_failed", job=slice_.job, slice=slice_.id, error=str(error)[:200])
        answer = CountUnavailable(str(error)[:200])
    count = None if isinstance(answer, CountUnavailable) else answer
    return ev.Recounted(slice_.id, order.number, count, room.clock.now())


def _hits(answer: Histogram | CountUnavailable) -> int | CountUnavailable:
    if isinstance(answer, CountUnavailable):
        return answer
    if answer.truncated or answer.hits is None:
        return CountUnavailable("the histogram gives no whole total")
    return answer.hits


async def discard(order: ev.DiscardStaged, context: JobContext, room: Room) -> None:
    """Best effort: what stays behind is stale staging, found by its name later."""
    try:
        await context.destination.discard(order.staged_path)
    except OrchestratorError as error:
        room.observer.noted("settle.discard_failed", job=order.job, error=str(error)[:200])

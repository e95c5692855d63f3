"""Submit: one intent becomes one POST, once."""

from __future__ import annotations

from orchestrator.core import events as ev
from orchestrator.core.model import CreateRequest, Fault
from orchestrator.core.submitting import CREATE_SIGNATURE_S, SEND_WITHIN_S
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.faults import fault_of
from orchestrator.errors import (
    CreateUncertain,
    CredentialsError,
    Refused,
    ServiceError,
    Throttled,
    Unreachable,
)

__all__ = ["submit"]


NO_SUCH_STREAM = Fault(
    "refused", "the log stream is no longer listed", "give up", service_code="LogStreamNotFound"
)
"""Sent all the same, such a create might mean every stream (bls-api.md 10.26)."""


async def submit(order: ev.Submit, context: JobContext, room: Room) -> ev.Event:
    """Carry out one Submit. Whatever is not a clear answer leaves the create in doubt; nothing here repeats
    it."""
    slice_, task = order.slice, order.task
    if slice_.logstream and slice_.logstream in context.job.gone_streams:
        return ev.CreateRefused(slice_.id, task.number, NO_SUCH_STREAM)
    request = CreateRequest(
        name=task.name,
        identity=context.job.identity,
        logstream=slice_.logstream,
        window=task.window,
        format=task.format,
        limit=task.limit,
        order=task.order,
        file_dir=context.job.file_dir,
    )
    room.boundary.reached("submit.before")
    try:
        accepted = await context.tasks.create(request, send_within_s=SEND_WITHIN_S)
    except (Refused, Throttled, Unreachable, CredentialsError) as error:
        return ev.CreateRefused(slice_.id, task.number, fault_of(error))
    except CreateUncertain as error:
        now = room.clock.now()
        expires_at = None if error.answered else now + CREATE_SIGNATURE_S
        return ev.CreateDoubted(slice_.id, task.number, fault_of(error), expires_at, now)
    except ServiceError as error:
        now = room.clock.now()
        return ev.CreateDoubted(slice_.id, task.number, fault_of(error), now + CREATE_SIGNATURE_S, now)
    room.boundary.reached("submit.after")
    return ev.Created(slice_.id, task.number, accepted.uuid, accepted.request_id, room.clock.now())

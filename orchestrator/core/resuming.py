"""What is the first thing to do about a slice that an earlier run left?"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.rules import IllegalEvent, Rules, task_of
from orchestrator.core.settling import withheld
from orchestrator.core.submitting import CREATE_SIGNATURE_S, SEND_WITHIN_S

__all__ = ["replanned", "resumed", "revived"]

S = SliceState


def resumed(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    """What an earlier run left, and the first thing to do about it. An uncertain create is looked for, never
    repeated. The budget is the new run's: what a death cost is not the slice's fault."""
    task = task_of(slice_)
    slice_ = replace(slice_, attempt=min(slice_.attempt, 1), throttled=0, expiries=0)
    match slice_.state:
        case S.SUBMITTING:
            # Killed between intent and answer: it was sent, if at all, within SEND_WITHIN_S of the intent.
            task = replace(task, expires_at=task.intent_at + SEND_WITHIN_S + CREATE_SIGNATURE_S)
            after = replace(slice_, state=S.IN_DOUBT, task=task)
            return ev.Step(after, (ev.Resolve(after, task),))
        case S.IN_DOUBT:
            return ev.Step(slice_, (ev.Resolve(slice_, task),))
        case S.WAITING | S.RUNNING:
            return ev.Step(slice_, (ev.Watch(slice_, task),))
        case S.TRANSFERRING:
            if slice_.receipt is not None or slice_.recounted_at is not None:
                return ev.Step(slice_, (ev.Recount(slice_, task.number),))
            return ev.Step(replace(slice_, state=S.READY, not_before_at=0.0))
        case S.SETTLING:
            if slice_.receipt is None:
                raise IllegalEvent(f"slice {slice_.id} has nothing to settle")
            if withheld(slice_):
                return ev.Step(slice_, parked=True)
            return ev.Step(slice_, (ev.Publish(slice_, slice_.receipt),))
        case _:
            return ev.Step(replace(slice_, not_before_at=0.0))


def revived(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    """A new run tries again what an earlier one gave up, with a full budget. The published file, if any,
    stays the ledger's until a better one replaces it. What only waited for its path is published."""
    if slice_.reason == Reason.PATH_OCCUPIED and slice_.receipt is not None:
        waiting = replace(slice_, state=S.SETTLING, reason="")
        return ev.Step(waiting, (ev.Publish(waiting, slice_.receipt),))
    task = slice_.task
    tasks = (task,) if task is not None else ()
    gone = (ev.DeleteRemote(task),) if task is not None and task.uuid and not task.deleted else ()
    after = replace(
        slice_,
        state=S.PLANNED,
        path="",
        attempt=0,
        throttled=0,
        refetched=0,
        expiries=0,
        task=None,
        receipt=None,
        best=None,
        recount=None,
        recounted_at=None,
        not_before_at=0.0,
        reason="",
    )
    return ev.Step(after, gone, tasks=tasks)


def still_divided(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    """Others carry its window; what was left to do about it when they were done is looked for again."""
    return ev.Step(slice_, (ev.Gather(slice_.job, slice_.id), ev.Relieve(slice_.job, slice_.id)))


def replanned(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    """A new run, a full budget."""
    return ev.Step(replace(slice_, attempt=0, throttled=0, refetched=0, expiries=0, not_before_at=0.0))

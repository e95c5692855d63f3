"""What follows when a remote task is used up: the next one, or the end."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core import events as ev
from orchestrator.core.letting_go import discard, fail
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.retry import backoff_s
from orchestrator.core.rules import Rules, task_of
from orchestrator.core.settling import settle_short

__all__ = ["again", "expired"]

S = SliceState


def again(
    slice_: Slice,
    now: float,
    rules: Rules,
    reason: str,
    orders: tuple[ev.Instruction, ...] = (),
    *,
    keep_staged: bool = False,
) -> ev.Step:
    """One attempt is used up: let its remote task go and plan the next, or end with ``reason``."""
    task = task_of(slice_)
    gone = (ev.DeleteRemote(task),) if task.uuid else ()
    best = slice_.best.staged_path if slice_.best is not None else ""
    orders = (*orders, *gone, *(() if keep_staged else discard(slice_, keep=best)))
    if slice_.attempt >= rules.job.attempts:
        counted = slice_.recount if slice_.recount is not None else slice_.expected_lines
        if slice_.best is not None and slice_.best.stored_rows >= (counted or 0):
            # As many rows as anybody counted, and still it is unsure whether the first ones are there.
            return fail(replace(slice_, best=None), Reason.EDGES_UNPROVEN, (*orders, *discard(slice_)))
        if slice_.best is not None:
            step = settle_short(replace(slice_, receipt=None), slice_.best)
            return replace(step, instructions=(*orders, *step.instructions))
        return fail(slice_, reason, orders)
    after = replace(
        slice_,
        state=S.PLANNED,
        task=None,
        receipt=None,
        path=slice_.path if slice_.best is not None else "",
        throttled=0,
        recount=None,
        recounted_at=None,
        not_before_at=now + backoff_s(slice_.id, slice_.attempt),
    )
    return ev.Step(after, orders, tasks=(task,))


def expired(slice_: Slice, now: float, rules: Rules) -> ev.Step:
    """The file is gone from the service, or the remote task is: an attempt used up by time alone."""
    seen = replace(slice_, expiries=slice_.expiries + 1)
    return again(seen, now, rules, Reason.EXPIRES_BEFORE_FETCH, (ev.Unwatch(task_of(slice_)),))

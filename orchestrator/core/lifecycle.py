"""The life of a slice: one table, every legal event in every state.

A slice exists to have exactly one verified file for its window. It walks forward

    planned → submitting → waiting → running → ready → transferring → settling → done

and every step is *intent → effect → fact*: ``transition`` yields the slice to commit (the intent) and the
instructions to carry out once that is on disk (the effect); the stage that carries one out answers with the
next event (the fact). So a crash at any instant leaves a state from which ``Resumed`` alone says what to do
next, and nothing else is recovery.

The one effect that cannot simply be repeated is the create: the service has no idempotency key (bls-api.md
2.1). A create whose answer did not arrive, or that was under way when the process died, is *in doubt*: it
goes to ``in_doubt`` with the instruction Resolve, never to Submit. Only a walk of the list that proves
absence leads back to ``planned``, with the same number and name.

A window that turns out too large for one remote task is handed on: ``cut`` keeps the whole part of a
truncated file and plans the rest, ``superseded`` halves the window. Both are ends; the children carry on.

``transition`` is pure. An event that is not in the table for the slice's state raises IllegalEvent and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.core import dividing, letting_go, resuming, settling, submitting, transferring, watching
from orchestrator.core import events as ev
from orchestrator.core.changing import replace
from orchestrator.core.model import Slice, SliceState
from orchestrator.core.rules import IllegalEvent, Rules

__all__ = ["TABLE", "IllegalEvent", "Row", "Rules", "transition"]

S = SliceState

Handler = Callable[[Slice, Any, float, Rules], ev.Step]


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of the table: what handles the event, and every state it may lead to."""

    handle: Handler
    targets: frozenset[SliceState]


def transition(slice_: Slice, event: ev.Event, now: float, rules: Rules) -> ev.Step:
    """Apply one event. Raises IllegalEvent when the table has no row for it, or when it speaks of another
    remote task."""
    row = TABLE.get((slice_.state, type(event)))
    if row is None:
        raise IllegalEvent(f"{type(event).__name__} means nothing to a slice that is {slice_.state}")
    number = getattr(event, "number", None)
    if (
        number is not None
        and not isinstance(event, ev.Admitted)
        and (slice_.task is None or slice_.task.number != number)
    ):
        raise IllegalEvent(f"{type(event).__name__} speaks of remote task {number}, not of the slice's own")
    step = row.handle(slice_, event, now, rules)
    if step.slice.state not in row.targets:  # pragma: no cover - a defect in this file
        raise AssertionError(f"{type(event).__name__} led from {slice_.state} to {step.slice.state}")
    return replace(step, slice=replace(step.slice, updated_at=now))


# --- the table ---

_AGAIN = (S.PLANNED, S.FAILED, S.SETTLING)
_WEIGHED = (S.TRANSFERRING, S.SETTLING, S.READY, S.CUT, S.SUPERSEDED, S.EMPTY, S.PLANNED, S.FAILED)
_WATCHED = (S.WAITING, S.RUNNING, S.READY, S.TRANSFERRING, S.EMPTY, *_AGAIN)


def _row(handle: Handler, *targets: SliceState) -> Row:
    return Row(handle, frozenset(targets))


TABLE: dict[tuple[SliceState, type[ev.Event]], Row] = {
    (S.PLANNED, ev.Resumed): _row(resuming.replanned, S.PLANNED),
    (S.PLANNED, ev.Admitted): _row(submitting.admitted, S.SUBMITTING),
    (S.PLANNED, ev.Dropped): _row(letting_go.dropped, S.ABANDONED),
    (S.SUBMITTING, ev.Created): _row(submitting.created, S.WAITING),
    (S.SUBMITTING, ev.CreateRefused): _row(submitting.create_refused, S.PLANNED, S.FAILED, S.SUPERSEDED),
    (S.SUBMITTING, ev.CreateDoubted): _row(submitting.create_doubted, S.IN_DOUBT),
    (S.SUBMITTING, ev.Resumed): _row(resuming.resumed, S.IN_DOUBT),
    (S.IN_DOUBT, ev.Adopted): _row(submitting.adopted, S.WAITING),
    (S.IN_DOUBT, ev.ProvedAbsent): _row(submitting.absent, S.PLANNED, S.FAILED),
    (S.IN_DOUBT, ev.LeftInDoubt): _row(submitting.left_in_doubt, S.IN_DOUBT),
    (S.IN_DOUBT, ev.WatchRefused): _row(watching.watch_refused, S.IN_DOUBT),
    (S.IN_DOUBT, ev.Resumed): _row(resuming.resumed, S.IN_DOUBT),
    **{
        (state, event): row
        for state in (S.WAITING, S.RUNNING)
        for event, row in (
            (ev.Observed, _row(watching.observed, *_WATCHED)),
            (ev.Vanished, _row(watching.vanished, *_AGAIN)),
            (ev.StoodStill, _row(watching.stood_still, S.FAILED)),
            (ev.WatchRefused, _row(watching.watch_refused, state)),
            (ev.Resumed, _row(resuming.resumed, state)),
            (ev.Dropped, _row(letting_go.dropped, S.ABANDONED)),
        )
    },
    (S.READY, ev.TransferAdmitted): _row(transferring.transfer_admitted, S.TRANSFERRING),
    (S.READY, ev.Resumed): _row(resuming.resumed, S.READY),
    (S.READY, ev.Dropped): _row(letting_go.dropped, S.ABANDONED),
    (S.TRANSFERRING, ev.Staged): _row(transferring.staged, *_WEIGHED),
    (S.TRANSFERRING, ev.Recounted): _row(transferring.recounted, S.RUNNING, *_WEIGHED),
    (S.TRANSFERRING, ev.Divided): _row(dividing.divided, S.SUPERSEDED, S.FAILED, S.PLANNED),
    (S.TRANSFERRING, ev.TransferFailed): _row(transferring.transfer_failed, S.READY, S.TRANSFERRING, *_AGAIN),
    (S.TRANSFERRING, ev.Resumed): _row(resuming.resumed, S.READY, S.TRANSFERRING),
    (S.TRANSFERRING, ev.Dropped): _row(letting_go.dropped, S.ABANDONED),
    (S.SETTLING, ev.Published): _row(settling.published, S.DONE, S.FAILED, S.EMPTY),
    (S.SETTLING, ev.PublishFailed): _row(settling.publish_failed, S.SETTLING, S.FAILED),
    (S.SETTLING, ev.StagedLost): _row(settling.staged_lost, S.READY, S.FAILED),
    (S.SETTLING, ev.Resumed): _row(resuming.resumed, S.SETTLING),
    (S.SUPERSEDED, ev.Gathered): _row(dividing.gathered, S.SUPERSEDED, S.FAILED),
    (S.SUPERSEDED, ev.Resumed): _row(resuming.still_divided, S.SUPERSEDED),
    (S.CUT, ev.Resumed): _row(resuming.still_divided, S.CUT),
    (S.SUPERSEDED, ev.Relieved): _row(dividing.relieved, S.SUPERSEDED),
    (S.CUT, ev.Relieved): _row(dividing.relieved, S.CUT),
    **{
        (state, ev.Withdrawn): _row(letting_go.withdrawn, S.ABANDONED)
        for state in (S.SETTLING, S.FAILED, S.EMPTY)
    },
    (S.DONE, ev.Marked): _row(letting_go.marked, S.FAILED),
    (S.EMPTY, ev.Marked): _row(letting_go.marked, S.FAILED),
    (S.SUPERSEDED, ev.Marked): _row(letting_go.marked, S.FAILED),
    (S.FAILED, ev.Resumed): _row(resuming.revived, S.PLANNED, S.SETTLING),
    (S.ABANDONED, ev.Resumed): _row(resuming.revived, S.PLANNED),
}
"""Every legal event in every state. The state diagram in docs is drawn from this."""

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
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.completeness import Ruling, judge
from orchestrator.core.job import MAX_LINES_PER_REMOTE_TASK, Job
from orchestrator.core.model import (
    Evidence,
    Fault,
    Receipt,
    RemoteState,
    RemoteTask,
    RemoteTaskStatus,
    Slice,
    SliceState,
    slice_id,
)
from orchestrator.core.reasons import Reason, short_by
from orchestrator.core.retry import MAX_LOST_CONNECTIONS, MAX_REFETCHES, MAX_THROTTLED, backoff_s
from orchestrator.core.window import LATEST_S, Window

__all__ = [
    "CREATE_SIGNATURE_S",
    "SEND_WITHIN_S",
    "TABLE",
    "IllegalEvent",
    "Row",
    "Rules",
    "limit_of",
    "transition",
]

S = SliceState

SEND_WITHIN_S = 10.0
"""A create leaves this machine within so many seconds of its committed intent, or not at all."""
CREATE_SIGNATURE_S = 30
"""How long the signature of a create is valid (design 5): after that nobody can execute it any more."""


NOTHING = Receipt("", "none", "", 0, "", 0, "", 0, 0, 0, None)
"""The receipt of a window that is proven to hold no row, where a file stood before."""


class IllegalEvent(ValueError):
    """An event that has no meaning in the slice's state: a defect of the caller."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a transition must know besides slice and event: the job, and how many remote tasks of it are
    outstanding."""

    job: Job
    hopeless: bool = False
    """Creates were refused in unknown words again and again, with nothing else outstanding."""
    padded: bool = False
    """This run has met a reason to ask for a second more at both ends from the first: an exclusive start, or
    low counts."""


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


def _task(slice_: Slice) -> RemoteTask:
    if slice_.task is None:
        raise IllegalEvent(f"slice {slice_.id} has no remote task")
    return slice_.task


# --- submitting ---


def _admitted(slice_: Slice, event: ev.Admitted, now: float, rules: Rules) -> ev.Step:
    job = rules.job
    padded = slice_.padded or rules.padded or slice_.expected_lines is None
    window = _padded(slice_.window) if padded else slice_.window
    if slice_.task is not None and slice_.task.number == event.number:
        task = replace(slice_.task, intent_at=now, answered_at=None, expires_at=None)
        attempt = slice_.attempt
    else:
        attempt = slice_.attempt + 1
        task = RemoteTask(
            number=event.number,
            name=event.name,
            slice_id=slice_.id,
            job=slice_.job,
            attempt=attempt,
            window=window,
            limit=limit_of(slice_.window, window, job),
            order=job.order,
            format=job.format,
            intent_at=now,
        )
    after = replace(
        slice_,
        state=S.SUBMITTING,
        attempt=attempt,
        task=task,
        recount=None,
        recounted_at=None,
        refetched=0,
        reason="",
    )
    return ev.Step(after, (ev.Submit(after, task),))


def limit_of(window: Window, asked: Window, job: Job) -> int:
    """How many lines to ask for at most: ``max_lines``; but a single second that is asked for with its
    neighbours has room for them too."""
    if window.length_s == 1 and asked != window:
        return min(MAX_LINES_PER_REMOTE_TASK, 3 * job.max_lines)
    return job.max_lines


def _padded(window: Window) -> Window:
    return Window(max(0, window.start_s - 1), min(LATEST_S, window.end_s + 1))


def _created(slice_: Slice, event: ev.Created, now: float, rules: Rules) -> ev.Step:
    task = replace(
        _task(slice_), uuid=event.uuid, request_id=event.request_id, created_at=event.at, answered_at=event.at
    )
    after = replace(slice_, state=S.WAITING, task=task, throttled=0)
    return ev.Step(after, (ev.Watch(after, task),))


def _create_refused(slice_: Slice, event: ev.CreateRefused, now: float, rules: Rules) -> ev.Step:
    fault = event.fault
    if fault.disposition == "refuse":
        return _fail(slice_, Reason.REFUSED, (ev.StopJob(slice_.job, fault),))
    # Busy, or out of reach: nothing was sent or made, so the intent stands and its number is used again.
    return _wait_out(slice_, fault, now)


def _wait_out(slice_: Slice, fault: Fault, now: float) -> ev.Step:
    """The service is busy: not the slice's fault, so no attempt is counted; the intent and its number
    stay."""
    rounds = slice_.throttled + 1
    if rounds > MAX_THROTTLED:
        return _fail(slice_, Reason.THROTTLED)
    pause_s = backoff_s(slice_.id, rounds, at_least_s=fault.retry_after_s)
    return ev.Step(replace(slice_, state=S.PLANNED, throttled=rounds, not_before_at=now + pause_s))


def _create_doubted(slice_: Slice, event: ev.CreateDoubted, now: float, rules: Rules) -> ev.Step:
    task = replace(
        _task(slice_),
        answered_at=event.at if event.expires_at is None else None,
        expires_at=event.expires_at,
        failed_code=event.fault.service_code or event.fault.code,
        failed_message=event.fault.message,
        request_id=event.fault.request_id,
        finished_at=None,
    )
    # An unknown 400/403 is a hidden quota until it recurs with nothing outstanding.
    unknown_refusal = event.fault.status in (400, 403)
    after = replace(
        slice_, state=S.IN_DOUBT, task=task, throttled=slice_.throttled + (1 if unknown_refusal else 0)
    )
    return ev.Step(after, (ev.Resolve(after, task),))


def _adopted(slice_: Slice, event: ev.Adopted, now: float, rules: Rules) -> ev.Step:
    task = replace(_task(slice_), uuid=event.status.uuid, created_at=event.status.created_at or now)
    task = replace(task, failed_code="", failed_message="", answered_at=now)
    twins = tuple(replace(task, uuid=twin.uuid, state=twin.state, deleted=False) for twin in event.twins)
    after = replace(slice_, state=S.WAITING, task=task, throttled=0)
    surplus = tuple(ev.DeleteRemote(twin) for twin in twins)
    return ev.Step(after, (ev.Watch(after, task), *surplus), tasks=twins)


def _absent(slice_: Slice, event: ev.ProvedAbsent, now: float, rules: Rules) -> ev.Step:
    task = _task(slice_)
    if slice_.throttled >= 2 and rules.hopeless:
        fault = Fault(
            "refused",
            task.failed_message,
            "refuse",
            service_code=task.failed_code,
            request_id=task.request_id,
        )
        return _fail(slice_, Reason.REFUSED, (ev.StopJob(slice_.job, fault),))
    if slice_.throttled > MAX_THROTTLED:
        return _fail(slice_, Reason.THROTTLED)
    if slice_.throttled:
        pause_s = backoff_s(slice_.id, slice_.throttled)
        return ev.Step(replace(slice_, state=S.PLANNED, not_before_at=now + pause_s))
    if slice_.attempt >= rules.job.attempts:
        return _fail(slice_, Reason.ATTEMPTS_EXHAUSTED)
    return ev.Step(replace(slice_, state=S.PLANNED, attempt=slice_.attempt + 1, not_before_at=now))


def _left_in_doubt(slice_: Slice, event: ev.LeftInDoubt, now: float, rules: Rules) -> ev.Step:
    return ev.Step(slice_, parked=True)


# --- watching ---


def _observed(slice_: Slice, event: ev.Observed, now: float, rules: Rules) -> ev.Step:
    status = event.status
    task = _read_status(_task(slice_), status, now)
    seen = replace(slice_, task=task)
    match status.state:
        case RemoteState.SUCCESS:
            return _succeeded(seen, task, now)
        case RemoteState.FAILED:
            if slice_.expected_lines == 0 and not status.written_rows:
                return _empty(seen, task, Evidence.COUNT)
            if slice_.expected_lines is None and not status.written_rows:
                return _ask_without_receipt(seen, task, (ev.Unwatch(task),))
            return _again(seen, now, rules, Reason.ATTEMPTS_EXHAUSTED, (ev.Unwatch(task),))
        case RemoteState.EXPIRED:
            return _expired(seen, now, rules)
        case RemoteState.RUNNING:
            return ev.Step(replace(seen, state=S.RUNNING))
        case RemoteState.WAITING:
            return ev.Step(replace(seen, state=S.WAITING))
        case _:
            return ev.Step(seen)


def _read_status(task: RemoteTask, status: RemoteTaskStatus, now: float) -> RemoteTask:
    ended = status.state in (RemoteState.SUCCESS, RemoteState.FAILED, RemoteState.EXPIRED)
    return replace(
        task,
        state=status.state,
        written_rows=status.written_rows,
        failed_code=status.failed_code,
        failed_message=status.failed_message,
        created_at=status.created_at or task.created_at,
        finished_at=(status.exec_end_at or task.finished_at or now) if ended else task.finished_at,
    )


def _succeeded(slice_: Slice, task: RemoteTask, now: float) -> ev.Step:
    if task.written_rows == 0 and slice_.expected_lines == 0:
        return _empty(slice_, task, Evidence.COUNT)
    return ev.Step(replace(slice_, state=S.READY, not_before_at=0.0), (ev.Unwatch(task),))


def _empty(slice_: Slice, task: RemoteTask, evidence: Evidence) -> ev.Step:
    seen = replace(slice_, evidence=evidence, reason="")
    if not slice_.published_path:
        after = replace(seen, state=S.EMPTY, receipt=None)
        return ev.Step(after, (ev.Unwatch(task), *_discard(slice_)), covered=slice_.window)
    step = _settle(seen, NOTHING)
    return replace(step, instructions=(ev.Unwatch(task), *step.instructions))


def _expired(slice_: Slice, now: float, rules: Rules) -> ev.Step:
    seen = replace(slice_, expiries=slice_.expiries + 1)
    return _again(seen, now, rules, Reason.EXPIRES_BEFORE_FETCH, (ev.Unwatch(_task(slice_)),))


def _vanished(slice_: Slice, event: ev.Vanished, now: float, rules: Rules) -> ev.Step:
    return _expired(slice_, now, rules)


def _stood_still(slice_: Slice, event: ev.StoodStill, now: float, rules: Rules) -> ev.Step:
    task = _task(slice_)
    return _fail(slice_, Reason.NOT_FINISHED, (ev.Unwatch(task), ev.DeleteRemote(task)))


def _watch_refused(slice_: Slice, event: ev.WatchRefused, now: float, rules: Rules) -> ev.Step:
    return ev.Step(slice_, (ev.Unwatch(_task(slice_)), ev.StopJob(slice_.job, event.fault)), parked=True)


# --- transferring ---


def _transfer_admitted(slice_: Slice, event: ev.TransferAdmitted, now: float, rules: Rules) -> ev.Step:
    after = replace(slice_, state=S.TRANSFERRING)
    return ev.Step(after, (ev.Fetch(after, _task(slice_)),))


def _staged(slice_: Slice, event: ev.Staged, now: float, rules: Rules) -> ev.Step:
    seen = replace(slice_, receipt=event.receipt, path=event.path, throttled=0)
    return _weigh(seen, event.receipt, now, rules)


def _recounted(slice_: Slice, event: ev.Recounted, now: float, rules: Rules) -> ev.Step:
    seen = replace(slice_, recount=event.count, recounted_at=event.at)
    if seen.receipt is not None:
        return _weigh(seen, seen.receipt, now, rules)
    task = _task(seen)
    if event.count == 0:
        return _empty(seen, task, Evidence.COUNT)
    silent = task.state == RemoteState.SUCCESS and task.written_rows == 0
    if event.count is None and seen.expected_lines is None and silent:
        if seen.refetched:
            return _empty(seen, task, Evidence.ROWS_ONLY)
        # Nothing written and no file, or a file that has just expired: its state, asked once more, tells.
        again = replace(seen, state=S.RUNNING, refetched=1, recounted_at=None)
        return ev.Step(again, (ev.Watch(again, task),))
    return _again(seen, now, rules, Reason.ATTEMPTS_EXHAUSTED)


def _weigh(slice_: Slice, receipt: Receipt, now: float, rules: Rules) -> ev.Step:
    task = _task(slice_)
    verdict = judge(slice_, task, receipt, attempts_left=slice_.attempt < rules.job.attempts)
    match verdict.ruling:
        case Ruling.COMPLETE:
            return _settle(replace(slice_, evidence=verdict.evidence, reason=""), receipt)
        case Ruling.RECOUNT:
            after = replace(slice_, state=S.TRANSFERRING)
            return ev.Step(after, (ev.Recount(after, task.number),))
        case Ruling.REFETCH:
            after = replace(_refetched(slice_), state=S.READY, receipt=None, not_before_at=now)
            return ev.Step(after, _discard(slice_))
        case Ruling.CUT:
            return _cut(slice_, receipt, rules)
        case Ruling.SPLIT:
            return _split(slice_, rules)
        case Ruling.RETRY:
            return _keep_best(slice_, receipt, now, rules)
        case Ruling.SHORT:
            return _settle_short(slice_, receipt)
        case Ruling.OVERFULL:
            return _fail(slice_, Reason.OVERFULL_SECOND, _discard(slice_))
        case _:
            return _fail(slice_, Reason.EDGES_UNPROVEN, _discard(slice_))


def _settle(slice_: Slice, receipt: Receipt) -> ev.Step:
    if receipt.stored_rows < slice_.published_rows:
        # What stands here already holds more, and the service no longer has it: nothing replaces it.
        return _fail(slice_, slice_.reason or Reason.SOURCE_GONE, _discard(slice_))
    if not receipt.staged_path and not slice_.published_path:
        after = replace(slice_, state=S.EMPTY, receipt=receipt, best=None)
        return ev.Step(after, _discard(slice_), covered=slice_.window)
    after = replace(slice_, state=S.SETTLING, receipt=receipt, best=None)
    losers = _discard(slice_, keep=receipt.staged_path)
    return ev.Step(after, (ev.Publish(after, receipt), *losers))


def _keep_best(slice_: Slice, receipt: Receipt, now: float, rules: Rules) -> ev.Step:
    best = _fuller(slice_.best, receipt)
    losers = _discard(slice_, keep=best.staged_path)
    expected = slice_.expected_lines if slice_.recount is None else slice_.recount
    seen = replace(slice_, best=best, receipt=None, padded=True, expected_lines=expected)
    return _again(seen, now, rules, Reason.ATTEMPTS_EXHAUSTED, losers, discard=False)


def _settle_short(slice_: Slice, receipt: Receipt) -> ev.Step:
    best = _fuller(slice_.best, receipt)
    counted = slice_.recount if slice_.recount is not None else slice_.expected_lines
    missing = (counted or 0) - best.stored_rows
    if not best.staged_path:
        return _fail(replace(slice_, receipt=best), short_by(missing), _discard(slice_))
    return _settle(replace(slice_, reason=short_by(missing), evidence=Evidence.NONE), best)


def _fuller(best: Receipt | None, receipt: Receipt) -> Receipt:
    return best if best is not None and best.stored_rows > receipt.stored_rows else receipt


def _cut(slice_: Slice, receipt: Receipt, rules: Rules) -> ev.Step:
    """Kept part and rest become slices of their own; the kept one takes the remote task and the staged file
    with it, and is weighed against a count of its own: the order of rows proves its end, not its start."""
    task, kept = _task(slice_), receipt.kept or slice_.window
    keep_left = kept.start_s == slice_.window.start_s
    rest = (
        Window(kept.end_s, slice_.window.end_s) if keep_left else Window(slice_.window.start_s, kept.start_s)
    )
    kept_id = slice_id(rules.job, slice_.logstream, kept, slice_.generation)
    child = replace(
        slice_,
        id=kept_id,
        window=kept,
        state=S.TRANSFERRING,
        parent=slice_.id,
        task=replace(task, slice_id=kept_id),
        receipt=replace(receipt, truncated=False),
        expected_lines=None,
        counted_at=None,
        recount=None,
        recounted_at=None,
        best=None,
        reason="",
        published_rows=0,
    )
    after = replace(_without_file(slice_), state=S.CUT, task=None)
    losers = _discard(slice_, keep=receipt.staged_path)
    rest_child = _child(slice_, rest, rules)
    return ev.Step(after, (ev.Recount(child, task.number), *losers), children=(child, rest_child))


def _split(slice_: Slice, rules: Rules) -> ev.Step:
    middle_s = slice_.window.start_s + slice_.window.length_s // 2
    halves = slice_.window.split(middle_s)
    task = _task(slice_)
    after = replace(_without_file(slice_), state=S.SUPERSEDED)
    orders = (*_discard(slice_), ev.DeleteRemote(task))
    left, right = (_child(slice_, half, rules) for half in halves)
    # One of them takes over the file that stands for the whole, if any, and replaces it when it settles.
    heir = replace(left, published_path=slice_.published_path, published_sha256=slice_.published_sha256)
    return ev.Step(after, orders, children=(heir, right))


def _without_file(slice_: Slice) -> Slice:
    """Others carry on: nothing staged, published or waited for is this slice's any more."""
    return replace(
        slice_,
        receipt=None,
        best=None,
        path="",
        published_path="",
        published_sha256="",
        published_rows=0,
        reason=Reason.REPLACED,
    )


def _child(parent: Slice, window: Window, rules: Rules) -> Slice:
    """Without a planned count: what is left of the parent's is a difference of figures that need not
    agree."""
    return Slice(
        id=slice_id(rules.job, parent.logstream, window, parent.generation),
        job=parent.job,
        logstream=parent.logstream,
        window=window,
        generation=parent.generation,
        parent=parent.id,
    )


def _transfer_failed(slice_: Slice, event: ev.TransferFailed, now: float, rules: Rules) -> ev.Step:
    fault, task = event.fault, _task(slice_)
    match fault.disposition:
        case "stop":
            return ev.Step(replace(slice_, state=S.READY), (ev.StopRun(fault),), parked=True)
        case "refuse":
            return ev.Step(replace(slice_, state=S.READY), (ev.StopJob(slice_.job, fault),), parked=True)
        case "give up":
            return _fail(slice_, Reason.ROWS_OUTSIDE_WINDOW, _discard(slice_))
        case "throttle":
            rounds = slice_.throttled + 1
            if rounds > MAX_THROTTLED:
                return _fail(slice_, Reason.THROTTLED)
            pause_s = backoff_s(slice_.id, rounds, at_least_s=fault.retry_after_s)
            return ev.Step(replace(slice_, state=S.READY, throttled=rounds, not_before_at=now + pause_s))
        case _:
            # Of the file, the link or the way to it: fetched again, then asked for anew.
            pass
    if fault.code in ("file_missing", "remote_task_not_found"):
        if not task.written_rows:
            return _ask_without_receipt(slice_, task, ())
        return _expired(slice_, now, rules)
    if fault.code == "broken_body" and slice_.refetched < MAX_REFETCHES:
        pause_s = backoff_s(slice_.id, slice_.refetched + 1)
        return ev.Step(replace(_refetched(slice_), state=S.READY, not_before_at=now + pause_s))
    if fault.code != "broken_body" and slice_.throttled < MAX_LOST_CONNECTIONS:
        # The way to the file is disturbed, the file is not: bytes that are safe are not fetched twice.
        rounds = slice_.throttled + 1
        pause_s = backoff_s(slice_.id, rounds, at_least_s=fault.retry_after_s)
        return ev.Step(replace(slice_, state=S.READY, throttled=rounds, not_before_at=now + pause_s))
    return _again(slice_, now, rules, Reason.ATTEMPTS_EXHAUSTED)


def _refetched(slice_: Slice) -> Slice:
    return replace(slice_, refetched=slice_.refetched + 1, fetch_round=slice_.fetch_round + 1)


def _ask_without_receipt(slice_: Slice, task: RemoteTask, before: tuple[ev.Instruction, ...]) -> ev.Step:
    """No file, and perhaps nothing to put in one: only a count can tell (bls-api.md 10.12)."""
    after = replace(slice_, state=S.TRANSFERRING, receipt=None)
    return ev.Step(after, (*before, ev.Recount(after, task.number)))


# --- settling ---


def _published(slice_: Slice, event: ev.Published, now: float, rules: Rules) -> ev.Step:
    receipt = slice_.receipt
    if receipt is None or not receipt.staged_path:
        bare = replace(
            slice_, state=S.EMPTY, path="", published_path="", published_sha256="", published_rows=0
        )
        return ev.Step(bare, covered=slice_.window)
    stands = replace(
        slice_,
        published_path=slice_.path,
        published_sha256=receipt.stored_sha256,
        published_rows=receipt.stored_rows,
    )
    if slice_.reason:
        # The fullest file of a slice that stayed short: stored and accounted for, but its window is a gap.
        return ev.Step(replace(stands, state=S.FAILED))
    return ev.Step(replace(stands, state=S.DONE), covered=slice_.window)


def _publish_failed(slice_: Slice, event: ev.PublishFailed, now: float, rules: Rules) -> ev.Step:
    if event.fault.code == "path_occupied" and slice_.reason:
        return _fail(replace(slice_, receipt=None), Reason.PATH_OCCUPIED, _discard(slice_))
    if event.fault.code == "path_occupied":
        # What is staged is proved: once the path is free it can take its place without being fetched again.
        return ev.Step(replace(slice_, state=S.FAILED, reason=Reason.PATH_OCCUPIED))
    return ev.Step(slice_, (ev.StopRun(event.fault),), parked=True)


def _staged_lost(slice_: Slice, event: ev.StagedLost, now: float, rules: Rules) -> ev.Step:
    after = replace(
        slice_, state=S.READY, receipt=None, fetch_round=slice_.fetch_round + 1, not_before_at=now
    )
    return ev.Step(after)


# --- ends and beginnings ---


def _again(
    slice_: Slice,
    now: float,
    rules: Rules,
    reason: str,
    orders: tuple[ev.Instruction, ...] = (),
    *,
    discard: bool = True,
) -> ev.Step:
    """One attempt is used up: let its remote task go and plan the next, or end with ``reason``."""
    task = _task(slice_)
    gone = (ev.DeleteRemote(task),) if task.uuid else ()
    best = slice_.best.staged_path if slice_.best is not None else ""
    orders = (*orders, *gone, *(_discard(slice_, keep=best) if discard else ()))
    if slice_.attempt >= rules.job.attempts:
        if slice_.best is not None:
            step = _settle_short(replace(slice_, receipt=None), slice_.best)
            return replace(step, instructions=(*orders, *step.instructions))
        return _fail(slice_, reason, orders)
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


def _fail(slice_: Slice, reason: str, orders: tuple[ev.Instruction, ...] = ()) -> ev.Step:
    return ev.Step(replace(slice_, state=S.FAILED, reason=reason, evidence=Evidence.NONE), orders)


def _discard(slice_: Slice, keep: str = "") -> tuple[ev.Instruction, ...]:
    staged = {r.staged_path for r in (slice_.receipt, slice_.best) if r is not None and r.staged_path}
    return tuple(ev.DiscardStaged(slice_.job, path) for path in sorted(staged - {keep}))


def _resumed(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    """What an earlier run left, and the first thing to do about it. An uncertain create is looked for, never
    repeated."""
    task = _task(slice_)
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
            return ev.Step(slice_, (ev.Publish(slice_, slice_.receipt),))
        case _:
            return ev.Step(replace(slice_, not_before_at=0.0))


def _revived(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    """A new run tries again what an earlier one gave up, with a full budget. The published file, if any,
    stays the ledger's until a better one replaces it. What only waited for its path is published."""
    if slice_.reason == Reason.PATH_OCCUPIED and slice_.receipt is not None:
        waiting = replace(slice_, state=S.SETTLING, reason="")
        return ev.Step(waiting, (ev.Publish(waiting, slice_.receipt),))
    tasks = (slice_.task,) if slice_.task is not None else ()
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
    return ev.Step(after, tasks=tasks)


def _marked(slice_: Slice, event: ev.Marked, now: float, rules: Rules) -> ev.Step:
    return ev.Step(
        replace(slice_, state=S.FAILED, reason=event.reason, evidence=Evidence.NONE), uncovered=slice_.window
    )


def _replanned(slice_: Slice, event: ev.Resumed, now: float, rules: Rules) -> ev.Step:
    return ev.Step(replace(slice_, attempt=0, throttled=0, refetched=0, expiries=0, not_before_at=0.0))


def _dropped(slice_: Slice, event: ev.Dropped, now: float, rules: Rules) -> ev.Step:
    task = slice_.task
    orders: tuple[ev.Instruction, ...] = _discard(slice_)
    if task is not None and task.uuid:
        orders = (ev.Unwatch(task), ev.DeleteRemote(task), *orders)
    return ev.Step(replace(slice_, state=S.ABANDONED, receipt=None, best=None), orders)


# --- the table ---

_AGAIN = (S.PLANNED, S.FAILED, S.SETTLING)
_WEIGHED = (S.TRANSFERRING, S.SETTLING, S.READY, S.CUT, S.SUPERSEDED, S.EMPTY, S.PLANNED, S.FAILED)
_WATCHED = (S.WAITING, S.RUNNING, S.READY, S.TRANSFERRING, S.EMPTY, *_AGAIN)


def _row(handle: Handler, *targets: SliceState) -> Row:
    return Row(handle, frozenset(targets))


TABLE: dict[tuple[SliceState, type[ev.Event]], Row] = {
    (S.PLANNED, ev.Resumed): _row(_replanned, S.PLANNED),
    (S.PLANNED, ev.Admitted): _row(_admitted, S.SUBMITTING),
    (S.PLANNED, ev.Dropped): _row(_dropped, S.ABANDONED),
    (S.SUBMITTING, ev.Created): _row(_created, S.WAITING),
    (S.SUBMITTING, ev.CreateRefused): _row(_create_refused, S.PLANNED, S.FAILED),
    (S.SUBMITTING, ev.CreateDoubted): _row(_create_doubted, S.IN_DOUBT),
    (S.SUBMITTING, ev.Resumed): _row(_resumed, S.IN_DOUBT),
    (S.IN_DOUBT, ev.Adopted): _row(_adopted, S.WAITING),
    (S.IN_DOUBT, ev.ProvedAbsent): _row(_absent, S.PLANNED, S.FAILED),
    (S.IN_DOUBT, ev.LeftInDoubt): _row(_left_in_doubt, S.IN_DOUBT),
    (S.IN_DOUBT, ev.WatchRefused): _row(_watch_refused, S.IN_DOUBT),
    (S.IN_DOUBT, ev.Resumed): _row(_resumed, S.IN_DOUBT),
    **{
        (state, event): row
        for state in (S.WAITING, S.RUNNING)
        for event, row in (
            (ev.Observed, _row(_observed, *_WATCHED)),
            (ev.Vanished, _row(_vanished, *_AGAIN)),
            (ev.StoodStill, _row(_stood_still, S.FAILED)),
            (ev.WatchRefused, _row(_watch_refused, state)),
            (ev.Resumed, _row(_resumed, state)),
            (ev.Dropped, _row(_dropped, S.ABANDONED)),
        )
    },
    (S.READY, ev.TransferAdmitted): _row(_transfer_admitted, S.TRANSFERRING),
    (S.READY, ev.Resumed): _row(_resumed, S.READY),
    (S.READY, ev.Dropped): _row(_dropped, S.ABANDONED),
    (S.TRANSFERRING, ev.Staged): _row(_staged, *_WEIGHED),
    (S.TRANSFERRING, ev.Recounted): _row(_recounted, S.RUNNING, *_WEIGHED),
    (S.TRANSFERRING, ev.TransferFailed): _row(_transfer_failed, S.READY, S.TRANSFERRING, *_AGAIN),
    (S.TRANSFERRING, ev.Resumed): _row(_resumed, S.READY, S.TRANSFERRING),
    (S.TRANSFERRING, ev.Dropped): _row(_dropped, S.ABANDONED),
    (S.SETTLING, ev.Published): _row(_published, S.DONE, S.FAILED, S.EMPTY),
    (S.SETTLING, ev.PublishFailed): _row(_publish_failed, S.SETTLING, S.FAILED),
    (S.SETTLING, ev.StagedLost): _row(_staged_lost, S.READY),
    (S.SETTLING, ev.Resumed): _row(_resumed, S.SETTLING),
    (S.DONE, ev.Marked): _row(_marked, S.FAILED),
    (S.EMPTY, ev.Marked): _row(_marked, S.FAILED),
    (S.FAILED, ev.Resumed): _row(_revived, S.PLANNED, S.SETTLING),
    (S.ABANDONED, ev.Resumed): _row(_revived, S.PLANNED),
}
"""Every legal event in every state. The state diagram in docs is drawn from this."""

"""From planned to a remote task that is known to exist, with all the ways a create can end."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core import events as ev
from orchestrator.core.changing import replace
from orchestrator.core.dividing import split
from orchestrator.core.job import MAX_LINES_PER_REMOTE_TASK, Job, Order
from orchestrator.core.letting_go import fail
from orchestrator.core.model import Fault, Part, RemoteTask, Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.retry import MAX_THROTTLED, backoff_s
from orchestrator.core.rules import Rules, task_of
from orchestrator.core.window import LATEST_S, Window

__all__ = [
    "CREATE_SIGNATURE_S",
    "SEND_WITHIN_S",
    "absent",
    "admitted",
    "adopted",
    "create_doubted",
    "create_refused",
    "created",
    "left_in_doubt",
]

S = SliceState

SEND_WITHIN_S = 10.0
"""A create leaves this machine within so many seconds of its committed intent, or not at all."""
CREATE_SIGNATURE_S = 30
"""How long the signature of a create is valid (design 5): after that nobody can execute it any more."""

_LAST_COMES: Mapping[str, Order] = {Reason.CROWDED_OUT: Order.DESC, Reason.CROWDED_LATE: Order.ASC}
"""In which order the rows that crowded others out come last: those before the start, those after the end."""

TOO_LARGE = 413
"""RequestOverload: the request asks for too much (bls-api.md 5)."""
SHRINK_AFTER = 2
"""So many refusals may be the service's own load; after that the request is what is too large."""


def admitted(slice_: Slice, event: ev.Admitted, now: float, rules: Rules) -> ev.Step:
    """Make the intent: a number drawn for good, or the one that stands from a create known to be unmade."""
    job = rules.job
    window = _asked(slice_, rules)
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
            order=_order_of(slice_, job),
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


def _order_of(slice_: Slice, job: Job) -> Order:
    if slice_.reason in _LAST_COMES:
        return _LAST_COMES[slice_.reason]
    return {Part.EARLY: Order.ASC, Part.LATE: Order.DESC}.get(slice_.part, job.order)


def limit_of(window: Window, asked: Window, job: Job) -> int:
    """How many lines to ask for at most: ``max_lines``; but a single second that is asked for with its
    neighbours has room for them too."""
    if window.length_s == 1 and asked != window:
        return min(MAX_LINES_PER_REMOTE_TASK, 3 * job.max_lines)
    return job.max_lines


def _asked(slice_: Slice, rules: Rules) -> Window:
    """The slice's window; a second wider at both ends where nothing is sure; from a second earlier where that
    spares the count that would otherwise have to show that the first rows are there."""
    start_s, end_s = slice_.window.start_s, slice_.window.end_s
    if slice_.reason == Reason.CROWDED_OUT:
        return Window(max(0, start_s - 1), end_s)
    if slice_.reason == Reason.CROWDED_LATE:
        return slice_.window
    if slice_.part:
        # Neighbours come first and push the part's own rows out: none but where its first rows are unsure.
        early = slice_.padded and slice_.part is Part.EARLY
        return Window(max(0, start_s - 1), end_s) if early else slice_.window
    if slice_.padded or rules.padded or slice_.expected_lines is None:
        return Window(max(0, start_s - 1), min(LATEST_S, end_s + 1))
    a_second = 1 + slice_.expected_lines // slice_.window.length_s
    roomy = slice_.expected_lines + 2 * a_second <= rules.job.max_lines
    early = rules.dated and not rules.start_inclusive and roomy
    return Window(max(0, start_s - 1), end_s) if early else slice_.window


def created(slice_: Slice, event: ev.Created, now: float, rules: Rules) -> ev.Step:
    """The answer named a uuid."""
    task = replace(
        task_of(slice_),
        uuid=event.uuid,
        request_id=event.request_id,
        created_at=event.at,
        answered_at=event.at,
    )
    after = replace(slice_, state=S.WAITING, task=task, throttled=0)
    return ev.Step(after, (ev.Watch(after, task),))


def create_refused(slice_: Slice, event: ev.CreateRefused, now: float, rules: Rules) -> ev.Step:
    """No remote task was made: final for the job, or to be tried again with the same intent."""
    fault = event.fault
    if fault.disposition == "refuse":
        return fail(slice_, Reason.REFUSED, (ev.StopJob(slice_.job, fault),))
    if fault.disposition == "give up":  # a refusal that concerns this slice alone
        return fail(slice_, Reason.REFUSED)
    if fault.status == TOO_LARGE and slice_.throttled >= SHRINK_AFTER and slice_.window.length_s > 1:
        return split(slice_, rules)
    # Busy, or out of reach: nothing was sent or made, so the intent stands and its number is used again.
    return _wait_out(slice_, fault, now)


def _wait_out(slice_: Slice, fault: Fault, now: float) -> ev.Step:
    """The service is busy: not the slice's fault, so no attempt is counted; the intent and its number
    stay."""
    rounds = slice_.throttled + 1
    if rounds > MAX_THROTTLED:
        return fail(slice_, Reason.THROTTLED)
    pause_s = backoff_s(slice_.id, rounds, at_least_s=fault.retry_after_s)
    return ev.Step(replace(slice_, state=S.PLANNED, throttled=rounds, not_before_at=now + pause_s))


def create_doubted(slice_: Slice, event: ev.CreateDoubted, now: float, rules: Rules) -> ev.Step:
    """Perhaps a remote task was made, perhaps not: only a walk of the list can tell."""
    task = replace(
        task_of(slice_),
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


def adopted(slice_: Slice, event: ev.Adopted, now: float, rules: Rules) -> ev.Step:
    """A walk found it. Twins of the same name are entered and let go."""
    task = replace(task_of(slice_), uuid=event.status.uuid, created_at=event.status.created_at or now)
    task = replace(task, failed_code="", failed_message="", answered_at=now)
    twins = tuple(replace(task, uuid=twin.uuid, state=twin.state, deleted=False) for twin in event.twins)
    after = replace(slice_, state=S.WAITING, task=task, throttled=0)
    surplus = tuple(ev.DeleteRemote(twin) for twin in twins)
    return ev.Step(after, (ev.Watch(after, task), *surplus), tasks=twins)


def absent(slice_: Slice, event: ev.ProvedAbsent, now: float, rules: Rules) -> ev.Step:
    """Walks late enough did not find it: the same name may be posted again."""
    task = task_of(slice_)
    if slice_.throttled >= 2 and rules.hopeless:
        fault = Fault(
            "refused",
            task.failed_message,
            "refuse",
            service_code=task.failed_code,
            request_id=task.request_id,
        )
        return fail(slice_, Reason.REFUSED, (ev.StopJob(slice_.job, fault),))
    if slice_.throttled > MAX_THROTTLED:
        return fail(slice_, Reason.THROTTLED)
    if slice_.throttled:
        pause_s = backoff_s(slice_.id, slice_.throttled)
        return ev.Step(replace(slice_, state=S.PLANNED, not_before_at=now + pause_s))
    if slice_.attempt >= rules.job.attempts:
        return fail(slice_, Reason.ATTEMPTS_EXHAUSTED)
    return ev.Step(replace(slice_, state=S.PLANNED, attempt=slice_.attempt + 1, not_before_at=now))


def left_in_doubt(slice_: Slice, event: ev.LeftInDoubt, now: float, rules: Rules) -> ev.Step:
    """The run could not find out: the doubt stays in the manifest."""
    return ev.Step(slice_, parked=True)

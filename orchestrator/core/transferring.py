"""From a finished remote task to rows that were fetched and weighed."""

from __future__ import annotations

from orchestrator.core import events as ev
from orchestrator.core.attempts import again, expired
from orchestrator.core.changing import replace
from orchestrator.core.completeness import Ruling, judge
from orchestrator.core.dividing import cut, split
from orchestrator.core.letting_go import discard, fail
from orchestrator.core.model import Evidence, Receipt, RemoteState, Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.retry import MAX_LOST_CONNECTIONS, MAX_REFETCHES, MAX_THROTTLED, backoff_s
from orchestrator.core.rules import Rules, task_of
from orchestrator.core.settling import ask_without_receipt, fuller, settle, settle_empty, settle_short

__all__ = ["recounted", "staged", "transfer_admitted", "transfer_failed"]

S = SliceState


def transfer_admitted(slice_: Slice, event: ev.TransferAdmitted, now: float, rules: Rules) -> ev.Step:
    """There is a slot: fetch."""
    after = replace(slice_, state=S.TRANSFERRING)
    return ev.Step(after, (ev.Fetch(after, task_of(slice_)),))


def staged(slice_: Slice, event: ev.Staged, now: float, rules: Rules) -> ev.Step:
    """The rows are here: weigh them."""
    seen = replace(slice_, receipt=event.receipt, path=event.path, throttled=0)
    return _weigh(seen, event.receipt, now, rules)


def recounted(slice_: Slice, event: ev.Recounted, now: float, rules: Rules) -> ev.Step:
    """The service was asked again: weigh what is here, or judge by the count alone."""
    seen = replace(slice_, recount=event.count, recounted_at=event.at)
    if seen.receipt is not None:
        return _weigh(seen, seen.receipt, now, rules)
    task = task_of(seen)
    if event.count == 0:
        return settle_empty(seen, task, Evidence.COUNT)
    silent = task.state == RemoteState.SUCCESS and task.written_rows == 0
    if event.count is None and seen.expected_lines is None and silent:
        if seen.refetched:
            return settle_empty(seen, task, Evidence.ROWS_ONLY)
        # Nothing written and no file, or a file that has just expired: its state, asked once more, tells.
        looking = replace(seen, state=S.RUNNING, refetched=1, recounted_at=None)
        return ev.Step(looking, (ev.Watch(looking, task),))
    return again(seen, now, rules, Reason.ATTEMPTS_EXHAUSTED)


def _weigh(slice_: Slice, receipt: Receipt, now: float, rules: Rules) -> ev.Step:
    task = task_of(slice_)
    verdict = judge(
        slice_,
        task,
        receipt,
        attempts_left=slice_.attempt < rules.job.attempts,
        start_inclusive=rules.start_inclusive,
    )
    match verdict.ruling:
        case Ruling.COMPLETE:
            return settle(replace(slice_, evidence=verdict.evidence, reason=""), receipt)
        case Ruling.RECOUNT:
            after = replace(slice_, state=S.TRANSFERRING)
            return ev.Step(after, (ev.Recount(after, task.number),))
        case Ruling.REFETCH:
            after = replace(_refetched(slice_), state=S.READY, receipt=None, not_before_at=now)
            best = slice_.best.staged_path if slice_.best is not None else ""
            return ev.Step(after, discard(slice_, keep=best))
        case Ruling.CUT:
            return cut(slice_, receipt, rules)
        case Ruling.SPLIT:
            return split(slice_, rules)
        case Ruling.RETRY:
            return _keep_best(slice_, receipt, now, rules)
        case Ruling.SHORT:
            return settle_short(slice_, receipt)
        case Ruling.CROWDED:
            return again(replace(slice_, reason=Reason.CROWDED_OUT), now, rules, Reason.CROWDED_OUT)
        case Ruling.CROWDED_LATE:
            return again(replace(slice_, reason=Reason.CROWDED_LATE), now, rules, Reason.CROWDED_LATE)
        case Ruling.OVERFULL if slice_.part:  # the two ends do not meet
            return fail(slice_, Reason.OVERFULL_SECOND, discard(slice_))
        case Ruling.OVERFULL:
            after = replace(slice_, state=S.TRANSFERRING)
            return ev.Step(after, (ev.Divide(after, task.number),))
        case _:
            return fail(slice_, Reason.EDGES_UNPROVEN, discard(slice_))


def _keep_best(slice_: Slice, receipt: Receipt, now: float, rules: Rules) -> ev.Step:
    best = fuller(slice_.best, receipt)
    losers = discard(slice_, keep=best.staged_path)
    expected = slice_.expected_lines if slice_.recount is None else slice_.recount
    seen = replace(slice_, best=best, receipt=None, padded=True, expected_lines=expected)
    return again(seen, now, rules, Reason.ATTEMPTS_EXHAUSTED, losers, keep_staged=True)


def transfer_failed(slice_: Slice, event: ev.TransferFailed, now: float, rules: Rules) -> ev.Step:
    """Who pays? Nobody (wait), the file (fetch again), the remote task (ask anew), the job, the run."""
    fault, task = event.fault, task_of(slice_)
    match fault.disposition:
        case "stop":
            return ev.Step(replace(slice_, state=S.READY), (ev.StopRun(fault),), parked=True)
        case "refuse":
            return ev.Step(replace(slice_, state=S.READY), (ev.StopJob(slice_.job, fault),), parked=True)
        case "give up":
            return fail(slice_, Reason.ROWS_OUTSIDE_WINDOW, discard(slice_))
        case "throttle":
            rounds = slice_.throttled + 1
            if rounds > MAX_THROTTLED:
                return fail(slice_, Reason.THROTTLED)
            pause_s = backoff_s(slice_.id, rounds, at_least_s=fault.retry_after_s)
            return ev.Step(replace(slice_, state=S.READY, throttled=rounds, not_before_at=now + pause_s))
        case _:
            # Of the file, the link or the way to it: fetched again, then asked for anew.
            pass
    if fault.code in ("file_missing", "remote_task_not_found"):
        if not task.written_rows:
            return ask_without_receipt(slice_, task, ())
        return expired(slice_, now, rules)
    if fault.code == "broken_body" and slice_.refetched < MAX_REFETCHES:
        pause_s = backoff_s(slice_.id, slice_.refetched + 1)
        return ev.Step(replace(_refetched(slice_), state=S.READY, not_before_at=now + pause_s))
    if fault.code != "broken_body" and slice_.throttled < MAX_LOST_CONNECTIONS:
        # The way to the file is disturbed, the file is not: bytes that are safe are not fetched twice.
        rounds = slice_.throttled + 1
        pause_s = backoff_s(slice_.id, rounds, at_least_s=fault.retry_after_s)
        return ev.Step(replace(slice_, state=S.READY, throttled=rounds, not_before_at=now + pause_s))
    return again(slice_, now, rules, Reason.ATTEMPTS_EXHAUSTED)


def _refetched(slice_: Slice) -> Slice:
    return replace(slice_, refetched=slice_.refetched + 1, fetch_round=slice_.fetch_round + 1)

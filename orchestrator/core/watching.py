"""What the service's words about a remote task mean for its slice."""

from __future__ import annotations

from orchestrator.core import events as ev
from orchestrator.core.attempts import again, expired
from orchestrator.core.changing import replace
from orchestrator.core.letting_go import fail
from orchestrator.core.model import Evidence, RemoteState, RemoteTask, RemoteTaskStatus, Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.rules import Rules, task_of
from orchestrator.core.settling import ask_without_receipt, settle_empty

__all__ = ["observed", "stood_still", "vanished", "watch_refused"]

S = SliceState


def observed(slice_: Slice, event: ev.Observed, now: float, rules: Rules) -> ev.Step:
    """Take the service at its word about the state, and at nothing else."""
    status = event.status
    task = _read_status(task_of(slice_), status, now)
    seen = replace(slice_, task=task)
    match status.state:
        case RemoteState.SUCCESS:
            return _succeeded(seen, task, now)
        case RemoteState.FAILED:
            if slice_.expected_lines == 0 and not status.written_rows:
                return settle_empty(seen, task, Evidence.COUNT)
            if slice_.expected_lines is None and not status.written_rows:
                return ask_without_receipt(seen, task, (ev.Unwatch(task),))
            return again(seen, now, rules, Reason.ATTEMPTS_EXHAUSTED, (ev.Unwatch(task),))
        case RemoteState.EXPIRED:
            return expired(seen, now, rules)
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
        return settle_empty(slice_, task, Evidence.COUNT)
    return ev.Step(replace(slice_, state=S.READY, not_before_at=0.0), (ev.Unwatch(task),))


def vanished(slice_: Slice, event: ev.Vanished, now: float, rules: Rules) -> ev.Step:
    """The service no longer knows it."""
    return expired(slice_, now, rules)


def stood_still(slice_: Slice, event: ev.StoodStill, now: float, rules: Rules) -> ev.Step:
    """Given up: a gap, and the remote task is deleted."""
    task = task_of(slice_)
    return fail(slice_, Reason.NOT_FINISHED, (ev.Unwatch(task), ev.DeleteRemote(task)))


def watch_refused(slice_: Slice, event: ev.WatchRefused, now: float, rules: Rules) -> ev.Step:
    """The job may not ask about it: the job stops, the slice waits for the next run."""
    return ev.Step(slice_, (ev.Unwatch(task_of(slice_)), ev.StopJob(slice_.job, event.fault)), parked=True)

"""How do results read to a program? The public shapes inside ``--json`` documents (design 2.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.cli.document import FAMILIES, fault_value, iso_or_null
from orchestrator.core.window import Window, iso_utc
from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.app.reading import JobStatus
    from orchestrator.app.story import Relative
    from orchestrator.core.job import Job
    from orchestrator.core.model import Fault, RemoteTask, Slice
    from orchestrator.core.report import Gap, JobPlan, JobReport, Redone, Report
    from orchestrator.core.streams import Streams
    from orchestrator.engine.audit import Finding
    from orchestrator.ports.store import JournalLine

__all__ = [
    "fault_json",
    "finding_json",
    "gap_json",
    "hint_of",
    "job_json",
    "line_json",
    "plan_json",
    "redone_json",
    "relative_json",
    "report_error",
    "requests_json",
    "run_job_json",
    "slice_json",
    "status_json",
    "streams_json",
    "task_json",
    "window_json",
]


def window_json(window: Window | None) -> dict[str, str | None]:
    """``from`` and ``to``; both null when nothing is due."""
    return {
        "from": iso_or_null(window.start_s if window else None),
        "to": iso_or_null(window.end_s if window else None),
    }


def job_json(job: Job, hide: Callable[[str], str]) -> dict[str, Any]:
    """What ``check`` says of a job; ``not_due_from`` is where its settling margin begins. ``hide`` masks what
    came from the environment."""
    return {
        "job": job.name,
        **window_json(job.window),
        "not_due_from": iso_utc(job.due_until_s),
        "timezone": job.timezone,
        "service": hide(job.identity.service),
        "endpoint": hide(job.service.endpoint),
        "project": hide(job.identity.project),
        "logstore": hide(job.identity.logstore),
        "logstream": hide(job.identity.logstream),
        "query": hide(job.identity.query),
        "destination": hide(job.destination.url) if job.destination else None,
        "enabled": job.enabled,
    }


def gap_json(gap: Gap) -> dict[str, Any]:
    """One gap."""
    from orchestrator.app.reading import pointed  # brings the ledger along, which `check` is told without

    return {
        "job": gap.job,
        **window_json(gap.window),
        "logstream": gap.logstream,
        "reason": gap.reason,
        "mendable": gap.mendable,
        "mend": pointed(gap).mend,
        "accepted": gap.accepted,
    }


def plan_json(plan: JobPlan) -> dict[str, Any]:
    """One job of a plan, its slices in full."""
    return {
        "job": plan.job,
        **window_json(plan.window),
        "lines": plan.lines,
        "slice_count": len(plan.slices),
        "requests": plan.requests,
        "planning_requests": plan.planning_requests,
        "duration_s": plan.duration_s,
        "bytes_stored": plan.bytes_stored,
        "slices": [
            {
                **window_json(item.window),
                "logstream": item.logstream,
                "lines": item.lines,
                "estimated": item.estimated,
            }
            for item in plan.slices
        ],
        "empty": [window_json(window) for window in plan.empty],
        "error": fault_json(plan.error),
        "beyond_retention": [window_json(window) for window in plan.beyond_retention],
    }


def run_job_json(report: JobReport) -> dict[str, Any]:
    """One job of a run."""
    return {
        "job": report.job,
        "exit": int(report.exit),
        **window_json(report.window),
        "complete": report.complete,
        "lines": report.lines,
        "bytes_fetched": report.bytes_fetched,
        "bytes_stored": report.bytes_stored,
        "files": report.files,
        "remote_tasks_created": report.remote_tasks_created,
        "slices": {str(state): count for state, count in report.slices.items()},
        "gaps": [gap_json(gap) for gap in report.gaps],
        "not_due": [window_json(window) for window in report.not_due],
        "streams": streams_json(report.streams),
        "error": fault_json(report.error),
    }


def streams_json(found: Streams | None) -> dict[str, list[str]] | None:
    """The log streams of a job with patterns of them; None for any other job."""
    if found is None:
        return None
    return {"listed": list(found.listed), "vanished": list(found.gone), "unmatched": list(found.idle)}


def redone_json(item: Redone) -> dict[str, Any]:
    """What became of one slice of a redo."""
    return {
        "job": item.job,
        "slice": item.slice,
        **window_json(item.window),
        "outcome": item.outcome.value,
        "reason": item.reason or None,
    }


def requests_json(requests: dict[str, int]) -> dict[str, int]:
    """Every public family, also those without a request, then whatever else was counted."""
    return {**dict.fromkeys(FAMILIES, 0), **{str(family): count for family, count in requests.items()}}


def status_json(status: JobStatus) -> dict[str, Any]:
    """One job of ``status``."""
    counts = status.counts
    return {
        "job": status.job.name,
        **window_json(status.job.window),
        "timezone": status.job.timezone,
        "complete": status.complete,
        "settled_to": iso_or_null(status.settled_to),
        "covered_percent": round(100 * status.share, 3),
        "missing": [window_json(window) for window in status.missing],
        "gaps": [gap_json(gap) for gap in status.gaps],
        "lines": counts.lines,
        "bytes_stored": counts.stored_bytes,
        "files": counts.files,
        "remote_tasks": counts.remote_tasks,
        "failures": sum(count for state, count in counts.slices.items() if state == "failed"),
        "next_due_at": iso_or_null(status.next_due_at),
        "vanished_since": iso_or_null(status.vanished_since),
        "streams": streams_json(status.streams),
        "not_due_from": iso_utc(status.job.due_until_s),
        "slices": {state.value: count for state, count in counts.slices.items()},
        "error": fault_json(status.error),
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """One disagreement between ledger and files."""
    return {
        "job": finding.job,
        **window_json(finding.window),
        "slice": finding.slice or None,
        "path": finding.path or None,
        "problem": finding.problem,
        "marked": finding.marked,
        "mend": finding.mend or None,
        "advice": finding.advice or None,
    }


def slice_json(slice_: Slice) -> dict[str, Any]:
    """One slice as ``story`` shows it."""
    task, receipt = slice_.task, slice_.receipt
    return {
        "slice": slice_.id,
        "job": slice_.job,
        **window_json(slice_.window),
        "logstream": slice_.logstream,
        "state": slice_.state.value,
        "attempt": slice_.attempt,
        "expected_lines": slice_.expected_lines,
        "stored_rows": receipt.stored_rows if receipt else None,
        "evidence": slice_.evidence.value,
        "reason": slice_.reason or None,
        "path": slice_.path or None,
        "task_name": task.name if task else None,
        "uuid": (task.uuid or None) if task else None,
    }


def relative_json(item: Relative) -> dict[str, Any]:
    """A slice of the same family; ``relation`` is ``parent`` or ``child``, of any degree, ``older`` or
    ``newer``."""
    return {"relation": item.relation, "parent": item.slice.parent or None, **slice_json(item.slice)}


def task_json(task: RemoteTask) -> dict[str, Any]:
    """One remote task as ``story`` and ``clean`` show it."""
    return {
        "slice": task.slice_id or None,
        "job": task.job,
        "name": task.name,
        "uuid": task.uuid or None,
        "attempt": task.attempt,
        **window_json(task.window),
        "limit": task.limit,
        "state": task.state or None,
        "written_rows": task.written_rows,
        "failed_code": task.failed_code or None,
        "failed_message": task.failed_message or None,
        "request_id": task.request_id or None,
        "intent_at": iso_or_null(task.intent_at),
        "created_at": iso_or_null(task.created_at),
        "finished_at": iso_or_null(task.finished_at),
        "surplus": task.surplus,
        "deleted": task.deleted,
    }


def line_json(line: JournalLine) -> dict[str, Any]:
    """One line of the journal."""
    entry = line.entry
    return {
        "number": line.number,
        "at": iso_utc(entry.at),
        "event": entry.event,
        "job": entry.job,
        "slice": entry.slice_id,
        "detail": dict(entry.detail),
    }


def fault_json(fault: Fault | None) -> dict[str, Any] | None:
    """A fault as the value of ``error``; None when there is none."""
    if fault is None:
        return None
    return fault_value(fault.code, fault.message, fault.hint or hint_of(fault.code), fault.request_id)


def report_error(report: Report) -> Fault | None:
    """What speaks for a run's exit code: its own fault, else that of the first job that ended with the same
    code. Nothing does for a run that is complete."""
    if report.error is not None or report.exit == ExitCode.COMPLETE:
        return report.error
    return next((job.error for job in report.jobs if job.error and job.exit == report.exit), None)


def hint_of(code: str) -> str:
    """How to mend an error of which only the code came through."""
    kinds: list[type[OrchestratorError]] = [OrchestratorError]
    while kinds:
        kind = kinds.pop()
        if kind.code == code:
            return kind.default_hint
        kinds += kind.__subclasses__()
    return ""

"""What a remote task is, and what it looks like at a given moment (bls-api.md 2.2, 2.6, 10.20)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.chance import fraction
from orchestrator.emulator.record import Rows

__all__ = ["Task", "TaskRequest", "TaskView", "true_state", "updated_at_s", "view"]


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """The body of CreateDownloadTask, read. ``start_text`` and ``end_text`` are echoed as they came; the
    window that is searched is ``[start_ms, end_ms)`` after the switches for its ends. ``logstream`` None was
    left out."""

    name: str
    project: str
    logstore: str
    logstream: str | None
    query: str
    start_text: str
    end_text: str
    start_ms: int
    end_ms: int
    format: Literal["json", "csv"]
    limit: int
    order: Literal["asc", "desc"]
    file_dir: str


@dataclass(frozen=True, slots=True)
class Task:
    """A remote task as the service keeps it. Times are UTC epoch seconds.

    ``behaviour`` is the one in force when it started: it decides the form of the file. ``rows`` exists from
    the start on.
    """

    uuid: str
    number: int
    request: TaskRequest
    created_at_s: float
    behaviour: Behaviour
    started_at_s: float | None = None
    ends_at_s: float = float("inf")
    fate: Literal["SUCCESS", "FAILED"] = "SUCCESS"
    failed_code: str = ""
    failed_message: str = ""
    rows: Rows | None = None
    tag_names: tuple[str, ...] = ()
    expires_at_s: float = float("inf")
    first_link_at_s: float | None = None
    store_generation: int = 0

    @property
    def file_name(self) -> str:
        """``<task name>_<format>_…`` (bls-api.md 2.7)."""
        return f"{self.request.name or 'task'}_{self.request.format}_{self.uuid[:8]}"


@dataclass(frozen=True, slots=True)
class TaskView:
    """A remote task as the service shows it. ``written_rows`` None: the field is left out."""

    task: Task
    state: str
    written_rows: int | None
    exec_start_at_s: float | None
    exec_end_at_s: float | None
    updated_at_s: float
    failed_code: str = ""
    failed_message: str = ""


def true_state(task: Task, now_s: float) -> str:
    """The state without any oddity."""
    if task.started_at_s is None or now_s < task.started_at_s:
        return "WAITING"
    if now_s < task.ends_at_s:
        return "RUNNING"
    if task.fate == "FAILED":
        return "FAILED"
    return "EXPIRED" if now_s >= task.expires_at_s else "SUCCESS"


def updated_at_s(task: Task, now_s: float) -> float:
    """When the task last changed its true state."""
    state = true_state(task, now_s)
    if state == "WAITING" or task.started_at_s is None:
        return task.created_at_s
    if state == "RUNNING":
        return task.started_at_s
    return task.expires_at_s if state == "EXPIRED" else task.ends_at_s


def view(task: Task, now_s: float, behaviour: Behaviour, seed: int) -> TaskView:
    """How the task shows itself now."""
    state = true_state(task, now_s)
    shown = _shown(task, state, now_s, behaviour, seed)
    done = state not in ("WAITING", "RUNNING")
    failed = shown == "FAILED"
    return TaskView(
        task=task,
        state=shown,
        written_rows=_written(task, state, now_s, behaviour),
        exec_start_at_s=task.started_at_s if state != "WAITING" else None,
        exec_end_at_s=task.ends_at_s if done else None,
        updated_at_s=updated_at_s(task, now_s),
        failed_code=task.failed_code if failed else "",
        failed_message=task.failed_message if failed else "",
    )


def _shown(task: Task, state: str, now_s: float, behaviour: Behaviour, seed: int) -> str:
    if state != "RUNNING" or task.started_at_s is None:
        return state
    if not behaviour.running_shown:
        return "WAITING"
    progress = (now_s - task.started_at_s) / (task.ends_at_s - task.started_at_s)
    if 1 / 3 <= progress < 2 / 3 and fraction(seed, "setback", task.uuid) < behaviour.setback_probability:
        return "WAITING"
    if behaviour.unknown_state and fraction(seed, "odd", task.uuid) < behaviour.unknown_state_probability:
        return behaviour.unknown_state
    return state


def _written(task: Task, state: str, now_s: float, behaviour: Behaviour) -> int | None:
    """``writtenRows`` as item 13 of bls-api.md 10 has it."""
    how = behaviour.written_rows
    if how == "missing":
        return None
    rows = task.rows.count if task.rows is not None and task.fate == "SUCCESS" else 0
    if how == "zero" or state in ("WAITING", "FAILED"):
        return None if how == "at-end" and state == "WAITING" else 0
    if state == "RUNNING" and task.started_at_s is not None:
        if how == "at-end":
            return None
        if how == "zero-until-end":
            return 0
        return int(rows * (now_s - task.started_at_s) / (task.ends_at_s - task.started_at_s))
    return {"limit": task.request.limit, "one-less": max(rows - 1, 0), "one-more": rows + 1}.get(how, rows)

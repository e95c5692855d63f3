"""What a run says when it ends: values that the library returns and the command line prints."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.core.model import Fault
from orchestrator.core.window import Window, WindowSet

__all__ = ["Gap", "JobPlan", "JobReport", "PlannedSlice", "Report"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the asked window that is not proven stored. ``logstream`` is ``*`` when all streams are
    meant."""

    job: str
    window: Window
    logstream: str
    reason: str
    mendable: bool
    mend: str
    accepted: str | None = None


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job of one run. ``lines``, ``bytes_stored``, ``files`` and ``slices`` are what the manifest holds
    for the asked window when the run ends; ``bytes_fetched`` and ``remote_tasks_created`` are what this run
    did."""

    job: str
    exit: int
    window: Window | None
    complete: bool
    lines: int = 0
    bytes_fetched: int = 0
    bytes_stored: int = 0
    files: int = 0
    remote_tasks_created: int = 0
    slices: dict[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    not_due: WindowSet = ()
    error: Fault | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. ``requests`` counts every signed request by family, and file GETs as ``file``.
    ``settled_to`` is the UTC second up to which every job is proven stored without a hole from the start of
    its window; None when no job is."""

    exit: int
    complete: bool
    settled_to: int | None
    duration_s: float
    requests: dict[str, int]
    jobs: tuple[JobReport, ...]
    error: Fault | None = None


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """One slice of a plan; ``lines`` None when nothing could be counted."""

    window: Window
    logstream: str
    lines: int | None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a run would do for one job. ``requests`` is the estimate for the run, ``planning_requests`` what
    planning took; ``duration_s`` None when no earlier remote task tells how long one runs."""

    job: str
    window: Window | None
    slices: tuple[PlannedSlice, ...]
    lines: int | None
    requests: int
    planning_requests: int
    duration_s: float | None = None

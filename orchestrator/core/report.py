"""What a run says when it ends: values that the library returns and the command line prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.core.estimating import Work
from orchestrator.core.fleets import Found
from orchestrator.core.model import Fault
from orchestrator.core.reasons import Reason, describe_reason, mend_line
from orchestrator.core.series import Series
from orchestrator.core.streams import Streams
from orchestrator.core.timing import Timing
from orchestrator.core.window import Window, WindowSet
from orchestrator.errors import ExitCode

__all__ = [
    "Gap",
    "JobPlan",
    "JobReport",
    "PlannedSlice",
    "RedoOutcome",
    "Redone",
    "Report",
    "exit_of_gaps",
    "exit_of_reason",
    "is_of_lost_logstore",
    "of_lost_logstore",
    "settled_to",
]


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the asked window that is not proven stored. ``logstream`` is ``*`` when all streams are
    meant; ``reason`` is a word of ``Reason``, ``mendable`` whether another run can mend it; ``mend`` is the
    command line that mends it, ``advice`` what a person does besides; ``accepted`` is the reason somebody
    gave for leaving it, ``slice`` the slice that failed there, if one did, and ``path`` where its file
    belongs."""

    job: str
    window: Window
    logstream: str
    reason: str
    mendable: bool
    mend: str
    accepted: str | None = None
    advice: str = ""
    slice: str = ""
    path: str = ""


NO_SUCH_LOGSTORE = (
    'the service knows no such logstore: correct its name or leave it out, in a pattern by "!name"; '
    "or sign the gap off"
)
"""What a person does about what a logstore that is gone never gave."""


def of_lost_logstore(gap: Gap, jobs: str, *, by_stream: bool, once_known: bool) -> Gap:
    """A gap of a job whose logstore the service does not know: what was not exported of it is refused, and
    no run can mend that. ``jobs`` is what a shell is to be told of the job file, ``by_stream`` whether the
    job's gaps are told by log stream. One that is not ``once_known``, of which nothing was ever exported, is
    more likely misspelt than gone, and nothing to be signed off."""
    if gap.reason != Reason.NOT_EXPORTED:
        return gap
    if gap.accepted is not None:
        return replace(gap, reason=Reason.REFUSED, mendable=False)
    mend = mend_line(
        Reason.REFUSED,
        jobs=jobs,
        job=gap.job,
        window=gap.window,
        logstream=gap.logstream if by_stream else "",
        accepted=False,
        gone=once_known,
    )
    return replace(gap, reason=Reason.REFUSED, mendable=False, mend=mend, advice=NO_SUCH_LOGSTORE)


def is_of_lost_logstore(gap: Gap) -> bool:
    """Whether ``of_lost_logstore`` made it."""
    return gap.reason == Reason.REFUSED and not gap.mendable


class RedoOutcome(StrEnum):
    """What became of one slice that was to be exported anew."""

    REPLACED = "replaced"
    """The new export is verified and has taken its place."""
    KEPT = "kept"
    """The new export failed or fell short: the old file and its coverage stay."""
    UNFINISHED = "unfinished"
    """The next `run` or `redo` goes on; the old file stays until then."""


@dataclass(frozen=True, slots=True)
class Redone:
    """One slice of a redo; ``reason`` is why the old one was kept, "" otherwise."""

    job: str
    slice: str
    window: Window
    outcome: RedoOutcome
    reason: str = ""


def exit_of_reason(reason: str) -> int:
    """What a window that could not be exported anew for ``reason`` comes to."""
    if reason == Reason.REFUSED:
        return ExitCode.REFUSED
    if reason == Reason.ROWS_OUTSIDE_WINDOW:
        return ExitCode.INTEGRITY
    return ExitCode.INCOMPLETE if describe_reason(reason).mendable else ExitCode.UNMENDABLE


def exit_of_gaps(gaps: Iterable[Gap]) -> int:
    """What the gaps of one job come to; what was accepted does not count."""
    open_gaps = [gap for gap in gaps if gap.accepted is None]
    if not open_gaps:
        return ExitCode.COMPLETE
    if any(gap.reason == Reason.ROWS_OUTSIDE_WINDOW for gap in open_gaps):
        return ExitCode.INTEGRITY
    if any(is_of_lost_logstore(gap) for gap in open_gaps):
        return ExitCode.REFUSED
    return ExitCode.INCOMPLETE if any(gap.mendable for gap in open_gaps) else ExitCode.UNMENDABLE


def settled_to(window: Window, gaps: Iterable[Gap]) -> int | None:
    """Up to where a window is settled from its start on: stored, or its gaps accepted. None when its first
    second is neither."""
    first_s = min((gap.window.start_s for gap in gaps if gap.accepted is None), default=window.end_s)
    return first_s if first_s > window.start_s else None


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job of one run, complete when every gap that is left was accepted; ``exit`` is an ``ExitCode``.
    ``window`` is what was asked for, None when nothing is due. ``lines``, ``bytes_stored``, ``files`` and
    ``slices`` (number by state) are what the manifest holds for the asked window when the run ends;
    ``bytes_fetched`` and ``remote_tasks_created`` are what this run did. ``gaps`` come oldest first, accepted
    ones too; ``not_due`` is what lies in the lag or in the future; ``error`` is what stopped the job, if
    anything did."""

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
    redone: tuple[Redone, ...] = ()
    """Of a redo: what became of each slice."""
    error: Fault | None = None
    streams: Streams | None = None
    """Of a job with patterns of log streams: which they are."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. ``exit`` is an ``ExitCode``, the one that speaks for all jobs; ``complete`` when every job
    is. ``requests`` counts every signed request by family, and file GETs as ``file``; ``error`` is what
    speaks for the exit, None when only gaps do. ``settled_to`` is the UTC second up to which every job is
    stored from the start of its window on without a gap that nobody accepted; None when no job is."""

    exit: int
    complete: bool
    settled_to: int | None
    duration_s: float
    requests: dict[str, int]
    jobs: tuple[JobReport, ...]
    error: Fault | None = None
    fleets: tuple[Found, ...] = ()
    """What each table with a pattern of logstores came to."""
    timing: Timing | None = None
    """Where the time went, of a run that was asked to note it."""


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """One slice of a plan; ``lines`` counted, or ``estimated`` from buckets of the service's own; None when
    nothing could be counted."""

    window: Window
    logstream: str
    lines: int | None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a run would do for one job. ``requests`` is the estimate for the run, ``planning_requests`` what
    planning took; ``duration_s`` None when no earlier remote task tells how long one runs, ``bytes_stored``
    None when no earlier slice tells how long a line is."""

    job: str
    window: Window | None
    slices: tuple[PlannedSlice, ...]
    lines: int | None
    requests: int
    planning_requests: int
    duration_s: float | None = None
    bytes_stored: int | None = None
    empty: WindowSet = ()
    """Windows that were counted to hold nothing: a run makes no remote task for them."""
    work: Work | None = None
    """What ``duration_s`` was reckoned from."""
    seen: Series | None = None
    """How the lines lie in time, as far as planning saw it: to draw from, of no use as a count."""
    error: Fault | None = None
    """Why this job could not be planned; the rest of its plan is empty then."""
    beyond_retention: WindowSet = ()
    """What is missing and older than the logstore keeps its records: no run can export it."""

"""The closed list of gap reasons, and for each whether another run can mend it and which command does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Reason", "ReasonText", "describe_reason", "short_by"]


class Reason(StrEnum):
    """Public words; ``short by n`` is written with its number."""

    NOT_EXPORTED = "not exported yet"
    ATTEMPTS_EXHAUSTED = "attempts exhausted"
    EXPIRES_BEFORE_FETCH = "expires before fetch"
    NOT_FINISHED = "not finished in time"
    THROTTLED = "throttled"
    REFUSED = "refused"
    SHORT = "short by n"
    OVERFULL_SECOND = "overfull second"
    EDGES_UNPROVEN = "edges unproven"
    ROWS_OUTSIDE_WINDOW = "rows outside window"
    PATH_OCCUPIED = "path occupied"
    BEYOND_RETENTION = "beyond retention"
    DAMAGED = "damaged"
    SOURCE_GONE = "source gone"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class ReasonText:
    """A reason for people: what it means, whether another run can mend it, and how."""

    meaning: str
    mendable: bool
    mend: str


_TEXTS: dict[Reason, ReasonText] = {
    Reason.NOT_EXPORTED: ReasonText(
        "no remote task has covered this window so far", True, "orchestrator run {jobs}"
    ),
    Reason.ATTEMPTS_EXHAUSTED: ReasonText("every attempt of the run failed", True, "orchestrator run {jobs}"),
    Reason.EXPIRES_BEFORE_FETCH: ReasonText(
        "the service dropped the file before it could be fetched",
        True,
        "lower [limits] tasks or raise downloads, then: orchestrator run {jobs}",
    ),
    Reason.NOT_FINISHED: ReasonText(
        "the remote task was not finished within give_up_after", True, "orchestrator run {jobs}"
    ),
    Reason.THROTTLED: ReasonText(
        "the service kept refusing for load", True, "lower [limits], then: orchestrator run {jobs}"
    ),
    Reason.REFUSED: ReasonText(
        "the service refused the job",
        True,
        "mend credentials, permissions or names, then: orchestrator run {jobs}",
    ),
    Reason.SHORT: ReasonText(
        "the fullest file holds fewer rows than the service counts", True, "orchestrator run {jobs}"
    ),
    Reason.OVERFULL_SECOND: ReasonText(
        "one second holds more lines than one remote task may carry",
        False,
        "raise max_lines if it is below 1,000,000, or export the streams apart with `logstream`, then: "
        "orchestrator run {jobs}",
    ),
    Reason.EDGES_UNPROVEN: ReasonText(
        "rows carry no readable time and no count agrees with them",
        True,
        "set time_field, then: orchestrator run {jobs}",
    ),
    Reason.ROWS_OUTSIDE_WINDOW: ReasonText(
        "the file held rows far outside the window asked for",
        True,
        "check time_field, then: orchestrator run {jobs}",
    ),
    Reason.PATH_OCCUPIED: ReasonText(
        "a file that is not ours stands at the path",
        False,
        "move that file away, then: orchestrator run {jobs}",
    ),
    Reason.BEYOND_RETENTION: ReasonText(
        "older than the logstore keeps its records",
        False,
        "let `from` of job {job} begin no earlier than {to}; orchestrator check {jobs}",
    ),
    Reason.DAMAGED: ReasonText(
        "the stored file no longer agrees with the ledger", True, "orchestrator run {jobs}"
    ),
    Reason.SOURCE_GONE: ReasonText(
        "damaged here and no longer at the service",
        False,
        "restore the file from a copy; orchestrator verify {jobs}",
    ),
    Reason.REPLACED: ReasonText("other slices took over the window", True, "orchestrator run {jobs}"),
}


def short_by(missing: int) -> str:
    """The reason of a file that holds ``missing`` rows fewer than counted."""
    return f"short by {missing}"


def describe_reason(reason: str) -> ReasonText:
    """Meaning and mend of a stored reason; an unknown word (written by another version) reads as ``not
    exported yet``."""
    if reason.startswith("short by "):
        return _TEXTS[Reason.SHORT]
    try:
        return _TEXTS[Reason(reason)]
    except ValueError:
        return _TEXTS[Reason.NOT_EXPORTED]

"""What is said of a pull: while it goes on, when it ended, and in its document?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from orchestrator.app.pull import Pull
from orchestrator.app.pulling_order import Hole
from orchestrator.app.pulling_rows import Written
from orchestrator.cli import values
from orchestrator.cli.document import iso_or_null
from orchestrator.cli.ending import complain
from orchestrator.cli.print import bytes_text, counted
from orchestrator.core.model import Fault
from orchestrator.core.report import Gap
from orchestrator.core.window import iso_utc
from orchestrator.dataplane.outgoing import Outgoing
from orchestrator.errors import DiskFull, ExitCode

if TYPE_CHECKING:
    from orchestrator.cli.ending import Stage

__all__ = ["ROOM", "How", "Outcome", "complain_of", "say_begun", "say_hole", "say_unsettled", "tell"]

ROOM = (
    "free space there and give the same line again: nothing is lost; or begin anew where there is more, with "
    "another FILE or $XDG_STATE_HOME"
)
"""How to mend a full disk: there is no job file whose keys could be changed."""
_STDOUT = "-"


@dataclass(frozen=True, slots=True)
class How:
    """How the rows are to come out. ``file`` is "-" for stdout, ``limit`` 0 for all of them; with ``force`` a
    file that exists is replaced."""

    file: str
    limit: int
    allow_gaps: bool
    force: bool = False
    form: Outgoing = Outgoing.RAW

    @property
    def to_stdout(self) -> bool:
        return self.file == _STDOUT


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a pull. ``delivered``: all rows that were to come out have. Up to
    ``settled_to`` these are all there will ever be. ``gaps`` is what the export left, ``fault`` what speaks
    for ``exit`` if anything but gaps does."""

    pull: Pull
    written: Written
    exit: int
    requests: dict[str, int]
    duration_s: float
    delivered: bool
    settled_to: int | None
    gaps: tuple[Gap, ...] = ()
    fault: Fault | None = None

    @property
    def mendable_fault(self) -> Fault | None:
        """The fault with what mends it here."""
        if self.fault is None:
            return None
        full = self.fault.code == DiskFull.code
        return replace(self.fault, hint=ROOM if full else self.fault.hint or values.hint_of(self.fault.code))


def complain_of(stage: Stage, how: How, outcome: Outcome) -> None:
    """Say on stderr what is missing, and how to mend it."""
    fault, code = outcome.mendable_fault, outcome.exit
    if fault is not None and code not in (ExitCode.COMPLETE, ExitCode.INTERRUPTED):
        complain(stage.redaction, fault.message, fault.hint, fault.request_id)
    elif code in (ExitCode.INCOMPLETE, ExitCode.UNMENDABLE, ExitCode.INTEGRITY):
        again = "give the same line again" if code == ExitCode.INCOMPLETE else "another try will not help"
        hint = again if how.allow_gaps else f"{again}; --allow-gaps writes what there is"
        until = iso_utc(outcome.written.until_s)
        complain(stage.redaction, f"incomplete: rows are proven up to {until} only", hint)


def tell(stage: Stage, how: How, outcome: Outcome) -> int:
    """The document, or a line about the file; the exit code."""
    _document(stage, how, outcome)
    if outcome.delivered and not how.to_stdout and not stage.asked.json:
        written = outcome.written
        stage.out.line(f"{counted(written.rows, 'row')}, {bytes_text(written.size_bytes)} in {how.file}")
    return outcome.exit


def _document(stage: Stage, how: How, outcome: Outcome) -> None:
    document, pull, written = stage.document, outcome.pull, outcome.written
    if document is None:
        return
    document.put("from", iso_utc(pull.window.start_s))
    document.put("to", iso_utc(pull.window.end_s))
    document.put("unsettled_from", iso_or_null(_unsettled_from(pull)))
    document.put("rows", written.rows)
    document.put("bytes", written.size_bytes)
    document.put("file", how.file if outcome.delivered and not how.to_stdout else None)
    document.put("resumed", pull.resumed)
    document.put("duration_s", round(outcome.duration_s, 3))
    document.put("requests", values.requests_json(outcome.requests))
    gaps = () if written.enough else outcome.gaps
    document.stream(
        "gaps",
        ({**values.gap_json(gap), "mend": "the same line again" if gap.mendable else ""} for gap in gaps),
    )
    fault, error = outcome.mendable_fault, None
    if fault is not None and outcome.exit != ExitCode.COMPLETE:
        error = values.fault_json(replace(fault, message=stage.redaction(fault.message)))
    complete = outcome.exit == ExitCode.COMPLETE and outcome.delivered
    document.end(outcome.exit, complete=complete, settled_to=outcome.settled_to, error=error)


def say_begun(pull: Pull, log_file: str) -> None:
    """Over which window, and since when."""
    log = structlog.get_logger()
    window = {"from_": iso_utc(pull.window.start_s), "to": iso_utc(pull.window.end_s)}
    if pull.resumed:
        log.info("pull.resumed", **window, begun_at=iso_utc(pull.begun_at))
    log.info("pull.started", **window, state=str(pull.folder), log_file=log_file)


def say_unsettled(pull: Pull) -> None:
    """The service takes records late: what is young may not be all there is."""
    since_s = _unsettled_from(pull)
    if since_s is not None:
        structlog.get_logger().warning(
            "pull.unsettled", since=iso_utc(max(since_s, pull.window.start_s)), why="rows may still arrive"
        )


def say_hole(hole: Hole, *, goes_on: bool) -> None:
    """Where the rows end or are interrupted, and why."""
    structlog.get_logger().warning(
        "pull.gap",
        from_=iso_utc(hole.window.start_s),
        to=iso_utc(hole.window.end_s),
        reason=hole.reason,
        rows="go on behind it" if goes_on else "end here",
    )


def _unsettled_from(pull: Pull) -> int | None:
    return pull.settled_until_s if pull.settled_until_s < pull.window.end_s else None

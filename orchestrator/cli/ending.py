"""How does a command end? Every way out becomes an exit code, one clear block on stderr, and a whole
document.

What is raised on purpose is explained to the person; what is not is a defect of ours, and its traceback goes
to the log file only. Secrets known by then are masked in both.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import signals
from orchestrator.cli.asked import Asked
from orchestrator.cli.document import Document, error_value
from orchestrator.cli.outfile import Outfile, Sink
from orchestrator.cli.stdout import Stdout
from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.logs import Redaction, clean

if TYPE_CHECKING:
    from orchestrator.core.model import Fault

__all__ = ["Stage", "cleaned", "complain", "crashed", "ended"]


@dataclass(slots=True)
class Stage:
    """What every command stands on: where results go, what must not be shown, where a traceback would go."""

    asked: Asked
    out: Stdout = field(default_factory=Stdout)
    redaction: Redaction = field(default_factory=Redaction)
    log_path: Path | None = None
    document: Document | None = None
    """Set when ``--json`` or ``--report`` was asked for."""
    report: Outfile | None = None

    def __post_init__(self) -> None:
        sinks: list[Sink] = [self.out] if self.asked.json else []
        if self.asked.report:
            self.report = Outfile(self.asked.report)
            sinks.append(self.report)
        if sinks:
            self.document = Document(self.asked.command, *sinks)
        if self.asked.log_file:
            self.log_path = Path(self.asked.log_file)


Command = Callable[[Stage], int]


def ended(asked: Asked, command: Command) -> int:
    """Run ``command`` to its end, whatever that is, and give the exit code."""
    stage = Stage(asked)
    try:
        if asked.command != "run":  # which has not begun before it obeys signals itself
            signals.reading()
        if stage.report is not None:
            stage.report.write("")  # a place that cannot be written is told now, not after hours of work
        code = command(stage)
        stage.out.flush()
        _keep_report(stage)
    except OrchestratorError as error:
        code = int(error.exit_code)
        _say_last(stage, code, error)
    except KeyboardInterrupt:
        code = int(ExitCode.INTERRUPTED)
        _say_last(stage, code, _Interrupted())
    except Exception as error:  # noqa: BLE001  the last border: everything unknown is a defect, told once
        code = int(ExitCode.BUG)
        _say_last(stage, code, _defect(stage, error))
    return code


def complain(redaction: Redaction, message: str, hint: str = "", request_id: str = "") -> None:
    """One block on stderr: what happened and where, how to mend it, and the service's own record of it."""
    lines = [redaction(f"error: {message}")]
    if hint:
        lines.append(f"  how to mend it: {redaction.own_words(hint)}")
    if request_id:
        lines.append(redaction(f"  request id: {request_id}"))
    with contextlib.suppress(OSError, ValueError):  # a closed stderr leaves the exit code to speak
        print("\n".join(lines), file=sys.stderr, flush=True)


def cleaned(redaction: Redaction, fault: Fault | None) -> Fault | None:
    """Faults may quote the service and the job file: the same without what came from the environment, and
    without every secret known by now."""
    if fault is None:
        return None
    return replace(fault, message=redaction(fault.message), hint=redaction.own_words(fault.hint))


class _Interrupted(OrchestratorError):
    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED
    default_hint = "nothing was left half done; the same command may be given again"

    def __init__(self) -> None:
        super().__init__("interrupted")


def _say_last(stage: Stage, code: int, error: OrchestratorError) -> None:
    complain(stage.redaction, error.message, error.hint, error.request_id)
    if stage.document is not None and not stage.document.ended:
        value = error_value(error)
        cleaned = {**clean(value, stage.redaction), "hint": stage.redaction.own_words(value["hint"])}
        with contextlib.suppress(OrchestratorError):  # stdout itself may be what failed
            stage.document.end(code, error=cleaned)
            _keep_report(stage)
    if stage.report is not None:
        stage.report.discard()


def _keep_report(stage: Stage) -> None:
    if stage.report is not None:
        stage.report.finish()


def crashed(error: Exception, *, json: bool) -> int:
    """The end of a command that failed before it began; the same exit 1 as any other defect."""
    stage = Stage(Asked("", json=json))
    _say_last(stage, ExitCode.BUG, _defect(stage, error))
    return ExitCode.BUG


def _defect(stage: Stage, error: Exception) -> OrchestratorError:
    import tempfile

    from orchestrator.clock import SystemClock
    from orchestrator.logs import note_exception

    path = stage.log_path or Path(tempfile.gettempdir()) / "orchestrator.log"
    noted = note_exception(path, error, stage.redaction, SystemClock().now())
    where = f"the traceback is in {path}" if noted else "and no log file could be written"
    return OrchestratorError(f"a defect of this program ({type(error).__name__}): {where}")

"""What do the signals do to a command at work? The first drains it, the second ends the process at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator

import structlog

from orchestrator.cli import signals
from orchestrator.cli.document import fault_value
from orchestrator.cli.ending import Stage, complain
from orchestrator.engine.context import StopSignal
from orchestrator.errors import ExitCode

__all__ = ["signals_obeyed"]


@contextlib.contextmanager
def signals_obeyed(stage: Stage, stop: StopSignal) -> Iterator[set[str]]:
    """First signal: drain, or stop waiting for the lock while the set yielded is not empty. Second: end at
    once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    waiting = {"lock"}

    def drain(name: str) -> None:
        stop.set(name)
        stop.interrupted = True
        structlog.get_logger().warning("run.draining", signal=name, again="stops at once")
        if waiting and task is not None:
            task.cancel()

    with signals.obeyed(
        drain=lambda name: loop.call_soon_threadsafe(drain, name),
        at_once=lambda: signals.at_once(lambda: _last_words(stage)),
    ):
        yield waiting


def _last_words(stage: Stage) -> None:
    """Nothing is tidied up: the next run does that. Only the streams are left in order."""
    complain(stage.redaction, "stopped at once by a second signal", "run again: what was committed is kept")
    if stage.document is not None and not stage.document.ended:
        stage.document.end(
            ExitCode.INTERRUPTED,
            error=fault_value("interrupted", "stopped at once by a second signal", "run again", ""),
        )
        if stage.report is not None:
            stage.report.finish()
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # the live view had hidden the cursor
    sys.stderr.flush()
    sys.stdout.flush()

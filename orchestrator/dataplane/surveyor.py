"""How is a large file surveyed beside its fetch? By another process, which reads the part file as it grows,
so that receiving and looking at rows do not wait for each other.

The child gets commands and answers with one finished survey, both pickled. Whatever happens to it, nothing is
lost but its work: then the part file is surveyed afterwards, here.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from orchestrator.core.model import Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.dataplane.survey import Survey

__all__ = ["Surveyor", "Surveyors", "main", "processors"]

WORTH_BYTES: Final = 64 << 20
"""Starting the child costs as much as surveying a good part of this."""
STEP_BYTES: Final = 128 * 1024
"""The survey passes over its bytes more than once: so many stay near the processor."""
_ANSWER_S: Final = 600.0
_START: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; from orchestrator.dataplane.surveyor import main; main()"
)
_NO_LINK: Final = PresignedLink("")


class Surveyor:
    """The parent's end of one child. Calls come from pool threads, one at a time."""

    def __init__(self) -> None:
        """Raises OSError when no process can be started."""
        self._child = subprocess.Popen(  # noqa: S603  it is this program
            [sys.executable, "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def begin(self, path: str, ticket: Ticket) -> None:
        """Survey what will stand at ``path`` from its first byte on. This and all that follows raises OSError
        when the child is gone."""
        self._say(("begin", path, replace(ticket, link=_NO_LINK)))

    def goes_on(self, size_bytes: int) -> None:
        """So many bytes are there now."""
        self._say(("goes on", size_bytes))

    def finish(self) -> Survey | None:
        """The finished survey; None when the child could not make one."""
        self._say(("finish",))
        out = self._child.stdout
        if out is None:
            return None
        with selectors.DefaultSelector() as answer:
            answer.register(out, selectors.EVENT_READ)
            if not answer.select(_ANSWER_S):
                return None
        try:
            found = pickle.load(out)  # noqa: S301  our own child speaks
        except (EOFError, pickle.UnpicklingError):
            return None
        return found if isinstance(found, Survey) else None

    def end(self) -> None:
        """Idempotent; returns when the child is gone."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _say(self, command: tuple[Any, ...]) -> None:
        if self._child.stdin is None:
            raise BrokenPipeError
        self._child.stdin.write(pickle.dumps(command))
        self._child.stdin.flush()


class Surveyors:
    """The children of one data plane: as many at once as there are processors to spare, one used after the
    other."""

    def __init__(self, most: int | None = None) -> None:
        self._most = processors() - 1 if most is None else most
        self._idle: list[Surveyor] = []
        self._busy = 0
        self._lock = threading.Lock()

    def lend(self, size_bytes: int | None) -> Surveyor | None:
        """One for a file of that size; None when it is not worth it, or none is free."""
        if size_bytes is None or size_bytes < WORTH_BYTES:
            return None
        with self._lock:
            if self._busy >= self._most:
                return None
            self._busy += 1
            if self._idle:
                return self._idle.pop()
        try:
            return Surveyor()
        except OSError:
            with self._lock:
                self._busy -= 1
            return None

    def take_back(self, surveyor: Surveyor, *, sound: bool) -> None:
        """``sound``: it waits for its next file; otherwise it is ended."""
        if not sound:
            surveyor.end()
        with self._lock:
            self._busy -= 1
            if sound:
                self._idle.append(surveyor)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for surveyor in idle:
            surveyor.end()


def processors() -> int:
    """How many there are for this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Work:
    """The child's view of one file."""

    def __init__(self, path: str, ticket: Ticket) -> None:
        self._survey: Survey | None = Survey(ticket)
        self._path = path
        self._at = 0

    def up_to(self, size_bytes: int) -> None:
        if self._survey is None:
            return
        with open(self._path, "rb", buffering=0) as file:
            file.seek(self._at)
            while self._at < size_bytes:
                block = file.read(min(STEP_BYTES, size_bytes - self._at))
                if not block:
                    self._survey = None  # another file begins there
                    return
                self._at += len(block)
                self._survey.feed(block)

    def finished(self) -> Survey | None:
        if self._survey is not None:
            self._survey.finish()
        return self._survey


def main() -> None:
    """The child: until its commands end. What goes wrong with a file is found again by the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands, answers = sys.stdin.buffer, sys.stdout.buffer
    work: _Work | None = None
    while True:
        try:
            command = pickle.load(commands)  # noqa: S301  our own parent speaks
        except EOFError:
            return
        found: Survey | None = None
        try:
            match command:
                case ("begin", str() as path, Ticket() as ticket):
                    work = _Work(path, ticket)
                case ("goes on", int() as size_bytes) if work is not None:
                    work.up_to(size_bytes)
                case ("finish",) if work is not None:
                    found = work.finished()
        except Exception:  # noqa: BLE001  the parent surveys the file itself then, and says what is wrong
            work = None
        if command == ("finish",):
            work = None
            answers.write(pickle.dumps(found))
            answers.flush()

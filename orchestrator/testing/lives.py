"""How does a life of the exporting process end? By itself, or as planned: at a moment, behind a create, after
so many files, after a SIGTERM.

Moments count from the first request that reached the service, so that a slow machine dies amid the work as
well, and not always amid its imports.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.testing.emulated import PROGRAM, EmulatedService
from orchestrator.testing.loop import SeededRng

__all__ = ["Death", "Export", "Life", "draw_death"]

_POLL_S = 0.02
_LONGEST_BIRTH_S = 60.0
_LONGEST_S = 75.0
"""What a create whose outcome is unknown may need before it is known: its signature and the list's lag."""
_AHEAD = 0.3
"""An export this far ahead of its kills is given short lives only."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a life shall end: ``at_s`` seconds after its first request at the latest (after its start, when it
    is to be ``unborn``), behind the next create, or once ``files`` more were fetched. With ``terminated``
    SIGTERM comes first, SIGKILL ``grace_s`` later."""

    kind: str
    at_s: float
    unborn: bool = False
    behind_create: bool = False
    files: int = 0
    terminated: bool = False
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Life:
    """A process that has ended. ``exit`` is negative for a signal; ``document`` is what it printed as JSON,
    empty when it came to no word."""

    death: str
    exit: int
    lived_s: float
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def killed(self) -> bool:
        return self.exit == -signal.SIGKILL


def draw_death(rng: SeededRng, *, stretch: float, stalled: bool, files: int) -> Death:
    """One way to die. ``stretch`` lengthens or shortens lives, so that kills are spread over the export; one
    life in which doubts can be resolved is granted when nothing moves (``stalled``): it ends with ``files``
    more of them."""
    if stalled:
        return Death("long", _LONGEST_S, files=files)
    draw, part = rng.random(), rng.random()
    if stretch < _AHEAD:
        draw *= 0.6
    if draw < 0.1:
        return Death("at birth", 0.02 + 0.5 * part, unborn=True)
    if draw < 0.6:
        return Death("young", 2.0 * part * stretch)
    if draw < 0.8:
        return Death("grown", 1.0 + 4.0 * part * stretch)
    if draw < 0.9:
        return Death("behind a create", 2.0 + stretch, behind_create=True)
    return Death("terminated", 2.5 * part * stretch, terminated=True, grace_s=1.5 * rng.random())


class Export:
    """The command line in the folder of one job file. What children say on stderr is gathered in
    ``lives.log``."""

    def __init__(self, folder: Path, service: EmulatedService) -> None:
        self.folder = folder
        self._service = service
        self._environment = service.environment
        self._said = folder / "said.json"

    @property
    def log(self) -> Path:
        return self.folder / "lives.log"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command with ``--json``; it must have ended before the next one is started."""
        with self._said.open("wb") as said, self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  our own program
                [*PROGRAM, *arguments, "--json"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=log,
            )

    def whole(self, command: Sequence[str], patience_s: float) -> Life:
        """A command that is left alone. One that takes longer than ``patience_s`` is killed."""
        begun = time.monotonic()
        child = self.start(*command)
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        return self._ended("none", child, begun)

    def live(self, death: Death) -> Life:
        """One run up to its death, if that comes first."""
        begun = time.monotonic()
        before = self._service.requests()
        child = self.start("run", "--no-progress")
        if death.unborn:
            self._wait(child, death.at_s, lambda: False)
        else:
            self._wait(child, _LONGEST_BIRTH_S, lambda: self._service.requests() != before)
            self._wait(child, death.at_s, lambda: self._has_come(death, before))
        if death.terminated and child.poll() is None:
            child.send_signal(signal.SIGTERM)
            self._wait(child, death.grace_s, lambda: False)
        child.kill()
        child.wait()
        return self._ended(death.kind, child, begun)

    @staticmethod
    def _wait(child: subprocess.Popen[bytes], longest_s: float, has_come: Callable[[], bool]) -> None:
        """Until the child has ended, what is waited for has come, or the time is over."""
        give_up_at = time.monotonic() + longest_s
        while child.poll() is None and not has_come():
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(_POLL_S, left_s))

    def _has_come(self, death: Death, before: Mapping[str, Any]) -> bool:
        if not death.behind_create and not death.files:
            return False
        now = self._service.requests()
        if death.behind_create and now["requests"].get("create", 0) > before["requests"].get("create", 0):
            return True
        return 0 < death.files <= _files(now) - _files(before)

    def _ended(self, kind: str, child: subprocess.Popen[bytes], begun: float) -> Life:
        try:
            document = json.loads(self._said.read_bytes())
        except ValueError:
            document = {}
        return Life(kind, child.returncode, time.monotonic() - begun, document)


def _files(seen: Mapping[str, Any]) -> int:
    """How many files the service served whole."""
    return sum(seen["statuses"].get(f"file {status}", 0) for status in (200, 206))

"""What happens to a process during one life besides its work: how it ends before its time, and when somebody
sets the clock.

Moments are named by progress, so that they exist in every episode: "once 40 % of the rows are stored, at the
seventh fault point from then on".
"""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.engine.context import StopSignal
from orchestrator.errors import DiskFull
from orchestrator.testing.boundary import FaultPlan, SimulatedCrash
from orchestrator.testing.loop import VirtualClock

__all__ = ["Ending", "EndingKind", "Jump", "Moment", "Script", "endings_from"]

_SMALLEST_WRITE_BYTES: Final = 64
"""While the disk is full no file can grow beyond this: the system itself refuses the write that would."""
_TEXT: Final = re.compile(r"(?:([a-z ]+)@)?(?:(\d+)%\+)?(\d+)")


class EndingKind(StrEnum):
    """What ends a life. Only a crash is sudden; after the others the program says how it ended."""

    CRASH = "crash"
    STOP = "stop"
    DISK_FULL = "disk full"
    NO_ROOM = "no room"
    COMMIT_FAILS = "commit fails"


@dataclass(frozen=True, slots=True)
class Moment:
    """The ``points``-th fault point (from 1) once ``percent`` of all rows are stored."""

    percent: int
    points: int


@dataclass(frozen=True, slots=True)
class Ending:
    """An end and its moment; ``str`` of one is what ``endings_from`` reads: ``17``, ``40%+7``,
    ``stop@3``."""

    kind: EndingKind
    moment: Moment

    def __str__(self) -> str:
        kind = "" if self.kind is EndingKind.CRASH else f"{self.kind}@"
        percent = f"{self.moment.percent}%+" if self.moment.percent else ""
        return f"{kind}{percent}{self.moment.points}"


@dataclass(frozen=True, slots=True)
class Jump:
    """The machine's clock is set by so many seconds while the process runs."""

    moment: Moment
    by_s: float


def endings_from(text: str) -> tuple[Ending, ...]:
    """Reads a comma-separated list. Raises ValueError naming what cannot be read."""
    found = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = _TEXT.fullmatch(part)
        if match is None or int(match[3]) < 1 or (match[1] and match[1] not in list(EndingKind)):
            kinds = ", ".join(EndingKind)
            raise ValueError(f"{part!r}: write 17, 40%+7 or KIND@17, where KIND is one of {kinds}")
        kind = EndingKind(match[1]) if match[1] else EndingKind.CRASH
        found.append(Ending(kind, Moment(int(match[2] or 0), int(match[3]))))
    return tuple(found)


_FELT_LATER = frozenset({EndingKind.COMMIT_FAILS, EndingKind.NO_ROOM})


class Script(FaultPlan):
    """The Boundary port of one life.

    ``stored_percent`` tells the progress. ``dying`` is called in the instant of a crash, before anything
    unwinds. ``free_bytes`` stands for the free space of the disk.
    """

    def __init__(
        self,
        ending: Ending | None = None,
        jumps: Sequence[Jump] = (),
        *,
        stored_percent: Callable[[], float] = lambda: 0.0,
        clock: VirtualClock | None = None,
        stop: StopSignal | None = None,
        dying: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._ending = ending
        self._stored_percent = stored_percent
        self._clock = clock
        self._stop = stop
        self._dying = dying
        self._waited: dict[Moment, int] = {}
        self._jumps = list(jumps)
        self._fired = False
        self.came = False
        """Whether the ending was felt: room that is gone is, once somebody needs it."""
        self.jumped: list[float] = []
        self._limits: tuple[int, int] | None = None

    def reached(self, name: str) -> None:
        super().reached(name)
        for jump in [jump for jump in self._jumps if self._has_come(jump.moment)]:
            self._jumps.remove(jump)
            if self._clock is not None:
                self._clock.jump(jump.by_s)
                self.jumped.append(jump.by_s)
        if self._ending is not None and not self._fired and self._has_come(self._ending.moment):
            self._fired = True
            self.came = self._ending.kind not in _FELT_LATER
            self._end(self._ending.kind, name)
        if self._fired and name == "manifest.commit.before" and self._is(EndingKind.COMMIT_FAILS):
            self.came = True
            raise DiskFull("no room left for the manifest")

    def kill(self) -> None:
        """The power fails: nothing more is done from now on."""
        if not self.dead:
            self.die(SimulatedCrash(self.points, "power"))

    def free_bytes(self, path: str) -> int:
        """Room on the disk: plenty, until there is none."""
        if not (self._fired and self._is(EndingKind.NO_ROOM)):
            return 1 << 40
        self.came = True
        return 0

    def close(self) -> None:
        """There is room again."""
        if self._limits is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
            self._limits = None

    def _has_come(self, moment: Moment) -> bool:
        if moment not in self._waited and self._stored_percent() < moment.percent:
            return False
        self._waited[moment] = self._waited.get(moment, 0) + 1
        return self._waited[moment] >= moment.points

    def _is(self, kind: EndingKind) -> bool:
        return self._ending is not None and self._ending.kind is kind

    def _end(self, kind: EndingKind, name: str) -> None:
        if kind is EndingKind.CRASH:
            self._dying()
            crash = SimulatedCrash(self.points, name)
            self.die(crash)
            raise crash
        if kind is EndingKind.STOP and self._stop is not None:
            self._stop.set("SIGTERM")
        if kind is EndingKind.DISK_FULL:
            self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_SMALLEST_WRITE_BYTES, self._limits[1]))

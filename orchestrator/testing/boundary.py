"""Where does the program die this time? Named points, counted, with a crash at the n-th.

A run with a plan that never crashes says how many points an episode has (``points``); the crash ring then
repeats the episode once for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["FaultPlan", "SimulatedCrash"]


class SimulatedCrash(BaseException):
    """The process dies here. Not an Exception: nothing in the program may mend it."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(f"crash at point {number}: {name}")
        self.number = number
        self.name = name


class FaultPlan:
    """The Boundary port for tests.

    ``crash_at`` counts from 1 over all points met, or over those whose name ``counts`` accepts (all, unless
    given); None never crashes. Once dead, every further point raises the same crash again: clean-up code that
    runs because the crash unwinds the stack must not do what a dead process cannot. Doubles that have effects
    of their own ask ``dead`` first.
    """

    def __init__(self, crash_at: int | None = None, *, counts: Callable[[str], bool] = bool) -> None:
        if crash_at is not None and crash_at < 1:
            raise ValueError(f"points are counted from 1, not {crash_at}")
        self._crash_at = crash_at
        self._counts = counts
        self._crash: SimulatedCrash | None = None
        self._counted = 0
        self._met: list[str] = []

    def reached(self, name: str) -> None:
        if self._crash is not None:
            raise self._crash
        self._met.append(name)
        if self._counts(name):
            self._counted += 1
            if self._counted == self._crash_at:
                self._crash = SimulatedCrash(self._counted, name)
                raise self._crash

    def die(self, crash: SimulatedCrash) -> None:
        """From now on every point raises ``crash``."""
        self._crash = crash

    @property
    def points(self) -> int:
        """How many points were counted: ``crash_at`` may be anything from 1 to this."""
        return self._counted

    @property
    def met(self) -> tuple[str, ...]:
        """Names of all points in the order they were reached, the deadly one last."""
        return tuple(self._met)

    @property
    def tally(self) -> Counter[str]:
        """How often each name was reached."""
        return Counter(self._met)

    @property
    def dead(self) -> bool:
        """Whether the crash has happened."""
        return self._crash is not None

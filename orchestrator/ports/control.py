"""Gate, observers and fault points: what stands between the engine and the world without being part of
either."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

from orchestrator.core.events import Event
from orchestrator.core.model import Slice
from orchestrator.core.timing import Brake

__all__ = ["Boundary", "Family", "Gate", "NoStopwatch", "Observer", "Stopwatch"]


class Family(StrEnum):
    """Request families; paced separately below one common ceiling. Public words of ``requests`` in
    reports."""

    CREATE = "create"
    DESCRIBE = "describe"
    LIST = "list"
    LINK = "link"
    QUERY = "query"
    HISTOGRAM = "histogram"
    DELETE = "delete"
    META = "meta"
    FILE = "file"


class Gate(Protocol):
    """Permission to make one request. Every attempt asks, retries included."""

    def request(self, family: Family) -> AbstractAsyncContextManager[None]:
        """Waits until a request of ``family`` keeps within every ceiling; query families hold a query slot
        while inside. FILE requests are counted but not paced by ``requests_per_second``."""
        ...

    def throttled(self, family: Family, retry_after_s: float | None) -> None:
        """The service refused for load: slow down."""
        ...

    def accepted(self, family: Family) -> None:
        """The service answered: recover a little."""
        ...


class Observer(Protocol):
    """Told after the commit, never before, on the event loop's own thread. Must not block, and must not
    raise: what it raises ends the run there and then, as a kill would, and is raised to the caller. A
    subclass needs only the one of the two that it wants."""

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        """A slice is on disk as ``after``. ``before`` is None when it is new; ``event`` is what led there,
        None for what was planned. The same slice may come several times in one commit."""
        return

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Anything else worth a log line: ``name`` is a stable event name such as ``watch.unknown_state``."""
        return


class Boundary(Protocol):
    """A named point where a crash must do no harm. Production: does nothing. Tests: may raise or kill."""

    def reached(self, name: str) -> None: ...


class Stopwatch(Protocol):
    """Told what a run waits for beside its slices, on the event loop's own thread, whenever that changes;
    telling it the same twice is harmless. Must not block, and must not raise."""

    def held(self, by: Brake, *, on: bool) -> None:
        """Something that wants to go is held back by ``by`` from now on, or nothing is any more."""
        ...

    def counting(self, questions: int) -> None:
        """So many questions about numbers of lines are out."""
        ...


class NoStopwatch:
    """Nobody wants to know."""

    def held(self, by: Brake, *, on: bool) -> None:
        """Not noted."""

    def counting(self, questions: int) -> None:
        """Not noted."""

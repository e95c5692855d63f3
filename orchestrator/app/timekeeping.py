"""What does a run wait for? Noted by an observer of its slices and a watch on its doors, for ``--timing``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from orchestrator.core.events import Event
from orchestrator.core.job import Limits
from orchestrator.core.model import ColumnsFound, LinkExpired, Receipt, Slice, SliceState, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.timing import Brake, Going, Timing, Watch
from orchestrator.ports.files import DataPlane
from orchestrator.ports.service import FileAnswer, FileSource

__all__ = ["TimedDataPlane", "TimedFiles", "Timekeeper"]

_AT_SERVICE = (SliceState.SUBMITTING, SliceState.WAITING, SliceState.RUNNING)
_COUNTED = frozenset({*_AT_SERVICE, SliceState.READY})


class Timekeeper:
    """Observer and Stopwatch of one run, on the clock of its event loop; to be made inside that loop."""

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._watch = Watch(self._loop.time(), limits)
        self._states: dict[str, SliceState] = {}
        self._slices: Counter[SliceState] = Counter()

    def begin(self, *, planned: int) -> None:
        """The run begins now, and not before. ``planned`` are slices that earlier runs left to wait for their
        remote task."""
        going = replace(self._watch.going, planned=planned)
        self._slices[SliceState.PLANNED] = planned
        self._watch = Watch(self._loop.time(), self._limits)
        self._watch.change(self._loop.time(), going)

    def read(self) -> Timing:
        """Everything up to now."""
        return self._watch.read(self._loop.time())

    def changed(self, before: Slice | None, after: Slice, event: Event | None) -> None:
        """The same slice may be met first in any state: an earlier run may have left it."""
        was = before.state if before is not None else None
        if was is SliceState.PLANNED and after.state is not SliceState.PLANNED:
            self._slices[SliceState.PLANNED] -= 1
        if after.state is SliceState.PLANNED and was is not SliceState.PLANNED:
            self._slices[SliceState.PLANNED] += 1
        known = self._states.pop(after.id, None)
        if known is not None:
            self._slices[known] -= 1
        if after.state in _COUNTED:
            self._states[after.id] = after.state
            self._slices[after.state] += 1
        self._change(
            outstanding=sum(self._slices[state] for state in _AT_SERVICE),
            planned=self._slices[SliceState.PLANNED],
            ready=self._slices[SliceState.READY],
        )

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Only slices and doors tell what is waited for."""

    def held(self, by: Brake, *, on: bool) -> None:
        brakes = self._watch.going.brakes
        if on != (by in brakes):
            self._change(brakes=brakes | {by} if on else brakes - {by})

    def counting(self, questions: int) -> None:
        if questions != self._watch.going.counting:
            self._change(counting=questions)

    def transferring(self, by: int) -> None:
        """So many transfers more, or less, are under way."""
        self._change(transfers=self._watch.going.transfers + by)

    def fetching(self, by: int) -> None:
        """So many of them more, or less, receive bytes."""
        self._change(fetching=self._watch.going.fetching + by)

    def _change(self, **now: int | frozenset[Brake]) -> None:
        going: Going = replace(self._watch.going, **now)  # type: ignore[arg-type]  # names and types as above
        self._watch.change(self._loop.time(), going)


class TimedDataPlane:
    """A DataPlane whose transfers are noted."""

    def __init__(self, behind: DataPlane, timekeeper: Timekeeper) -> None:
        self._behind = behind
        self._timekeeper = timekeeper

    async def transfer(self, ticket: Ticket) -> Receipt | LinkExpired | ColumnsFound:
        self._timekeeper.transferring(+1)
        try:
            return await self._behind.transfer(ticket)
        finally:
            self._timekeeper.transferring(-1)

    async def close(self) -> None:
        await self._behind.close()


class TimedFiles:
    """A FileSource that notes while bytes come, or are waited for."""

    def __init__(self, behind: FileSource, timekeeper: Timekeeper) -> None:
        self._behind = behind
        self._timekeeper = timekeeper

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncIterator[FileAnswer]:
        self._timekeeper.fetching(+1)
        try:
            async with self._behind.open(link, offset_bytes=offset_bytes, etag=etag) as answer:
                yield answer
        finally:
            self._timekeeper.fetching(-1)

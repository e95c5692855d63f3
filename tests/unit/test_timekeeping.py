"""The timekeeper follows slices from state to state and transfers from byte to byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

from orchestrator.app.timekeeping import TimedDataPlane, TimedFiles, Timekeeper
from orchestrator.core.job import Limits
from orchestrator.core.model import LinkExpired, Receipt, Slice, SliceState, Ticket
from orchestrator.core.redact import PresignedLink
from orchestrator.core.timing import Brake, Cause, Timing
from orchestrator.core.window import Window
from orchestrator.ports.service import FileAnswer
from orchestrator.testing.loop import VirtualTime, run_virtual

LIMITS = Limits(tasks=2, downloads=1)
LINK = PresignedLink("http://files.invalid/x")
S = SliceState


def piece(number: int, state: SliceState = S.PLANNED) -> Slice:
    return Slice(f"s{number}", "web", "", Window(number * 60, number * 60 + 60), state=state)


def moved(keeper: Timekeeper, number: int, before: SliceState | None, after: SliceState) -> None:
    keeper.changed(None if before is None else piece(number, before), piece(number, after), None)


def test_waiting_for_the_service_is_what_is_left() -> None:
    """Outstanding remote tasks count while nothing of ours goes on, and `tasks` is full while more is
    planned."""

    async def main(time: VirtualTime) -> Timing:
        keeper = Timekeeper(LIMITS)
        await asyncio.sleep(100)
        keeper.begin(planned=1)
        for number in (1, 2):
            moved(keeper, number, None, S.PLANNED)
            moved(keeper, number, S.PLANNED, S.SUBMITTING)
        await asyncio.sleep(30)
        moved(keeper, 3, S.PLANNED, S.SUBMITTING)  # the one that an earlier run left
        await asyncio.sleep(10)
        moved(keeper, 1, S.SUBMITTING, S.DONE)
        moved(keeper, 2, S.SUBMITTING, S.FAILED)
        moved(keeper, 3, S.SUBMITTING, S.RUNNING)
        await asyncio.sleep(5)
        moved(keeper, 3, S.RUNNING, S.READY)
        await asyncio.sleep(2)
        return keeper.read()

    timing = run_virtual(main)
    assert timing.duration_s == 47
    assert (timing.seconds[Cause.SERVICE], timing.seconds[Cause.OTHER]) == (45, 2)
    assert timing.full_s == {"tasks": 30}


def test_a_slice_of_an_earlier_run_may_be_met_in_any_state() -> None:
    """What is resumed counts from the first word about it, once, however often that is said."""

    async def main(time: VirtualTime) -> Timing:
        keeper = Timekeeper(LIMITS)
        keeper.begin(planned=0)
        for _ in range(3):
            moved(keeper, 1, S.RUNNING, S.RUNNING)
        await asyncio.sleep(3)
        moved(keeper, 1, S.RUNNING, S.DONE)
        await asyncio.sleep(4)
        return keeper.read()

    timing = run_virtual(main)
    assert (timing.seconds[Cause.SERVICE], timing.seconds[Cause.OTHER]) == (3, 4)


class Files:
    """Ten seconds until the first byte, ten more to the last."""

    @asynccontextmanager
    async def open(
        self, link: PresignedLink, *, offset_bytes: int = 0, etag: str = ""
    ) -> AsyncIterator[FileAnswer]:
        await asyncio.sleep(10)
        yield cast("FileAnswer", None)
        await asyncio.sleep(10)


class Plane:
    """Fetches, then converts for five seconds, and fails at last."""

    def __init__(self, files: TimedFiles) -> None:
        self._files = files
        self.closed = False

    async def transfer(self, ticket: Ticket) -> Receipt | LinkExpired:
        async with self._files.open(LINK):
            pass
        await asyncio.sleep(5)
        raise ValueError("broken")

    async def close(self) -> None:
        self.closed = True


def test_a_transfer_fetches_and_then_converts() -> None:
    """While bytes are waited for it is fetching, afterwards converting; a failed one is over."""

    async def main(time: VirtualTime) -> Timing:
        keeper = Timekeeper(LIMITS)
        keeper.begin(planned=0)
        behind = Plane(TimedFiles(Files(), keeper))
        plane = TimedDataPlane(behind, keeper)
        moved(keeper, 1, S.READY, S.READY)
        try:
            await plane.transfer(cast("Ticket", None))
        except ValueError:
            await asyncio.sleep(1)
        await plane.close()
        assert behind.closed
        return keeper.read()

    timing = run_virtual(main)
    found = {cause: seconds for cause, seconds in timing.seconds.items() if seconds}
    assert found == {Cause.FETCHING: 20, Cause.CONVERTING: 5, Cause.OTHER: 1}
    assert timing.full_s == {"downloads": 25}


def test_brakes_are_put_on_and_let_go() -> None:
    """Told twice, a brake is on once; others stay as they are."""

    async def main(time: VirtualTime) -> Timing:
        keeper = Timekeeper(replace(LIMITS, downloads=4))
        keeper.begin(planned=0)
        for _ in range(2):
            keeper.held(Brake.CEILING, on=True)
        await asyncio.sleep(1)
        keeper.held(Brake.PLACES, on=True)
        await asyncio.sleep(2)
        keeper.held(Brake.CEILING, on=False)
        await asyncio.sleep(4)
        keeper.held(Brake.PLACES, on=False)
        keeper.counting(3)
        await asyncio.sleep(8)
        keeper.counting(0)
        keeper.noted("anything")
        return keeper.read()

    timing = run_virtual(main)
    assert timing.seconds[Cause.CEILING] == 1
    assert timing.seconds[Cause.THROTTLED] == 6
    assert timing.seconds[Cause.PLANNING] == 8
    assert timing.full_s == {"requests_per_second": 3}

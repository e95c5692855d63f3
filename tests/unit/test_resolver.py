"""Doubtful creates are looked for in a list that hides things."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from orchestrator.core import events as ev
from orchestrator.core.job import JobIdentity, Order, ServedFormat
from orchestrator.core.model import Accepted, CreateRequest, RemoteTask, RemoteTaskStatus, TaskPage
from orchestrator.core.redact import PresignedLink
from orchestrator.core.walk import Doubt
from orchestrator.core.window import Window
from orchestrator.engine.recovery import Resolver
from orchestrator.errors import Refused
from orchestrator.testing.loop import START_AT, VirtualTime, run_virtual

IDENTITY = JobIdentity("emulated", "default", "web", "", "match *")
WINDOW = Window(1_768_348_800, 1_768_352_400)
TASKS = 130


@dataclass
class RestingList:
    """A list in which nothing changes, and whose pages begin one item late, all but the first."""

    tasks: tuple[RemoteTaskStatus, ...]
    ceiling: int
    rejects: bool
    tells_total: bool
    sizes: set[int] = field(default_factory=set)
    server_offset_s: float = 0.0

    async def list_page(
        self,
        *,
        project: str,
        logstore: str,
        page_no: int,
        page_size: int,
        order_by: str = "createdTime",
        descending: bool = True,
    ) -> TaskPage:
        await asyncio.sleep(0.01)
        if page_size > self.ceiling and self.rejects:
            raise Refused("pageSize", status=400, service_code="InvalidParameter")
        size = min(page_size, self.ceiling)
        self.sizes.add(size)
        first = (page_no - 1) * size + (page_no > 1)
        total = len(self.tasks) if self.tells_total else None
        return TaskPage(self.tasks[first : first + size], total=total)

    async def create(self, request: CreateRequest, *, send_within_s: float) -> Accepted:
        raise NotImplementedError

    async def describe(self, uuid: str) -> RemoteTaskStatus:
        raise NotImplementedError

    async def link(self, uuid: str) -> PresignedLink:
        raise NotImplementedError

    async def delete(self, uuid: str) -> None:
        raise NotImplementedError


class Silent:
    """An observer that does nothing."""

    def changed(self, before: object, after: object, event: object) -> None:
        """Nobody watches."""

    def noted(self, name: str, **detail: str | float | None) -> None:
        """Nobody listens."""


def doubt(number: int) -> Doubt:
    task = RemoteTask(
        number=number,
        name=f"o-0123456789abcdef-{number}",
        slice_id=f"s{number}",
        job="web",
        attempt=1,
        window=WINDOW,
        limit=1000,
        order=Order.ASC,
        format=ServedFormat.JSON,
        intent_at=START_AT - 30.0,
        answered_at=START_AT - 29.0,
    )
    return Doubt(task.slice_id, task, IDENTITY)


@pytest.mark.parametrize("tells_total", [True, False])
@pytest.mark.parametrize("rejects", [False, True])
@pytest.mark.parametrize("ceiling", [1000, 60, 10])
def test_nothing_hides_at_the_border_of_a_page_for_long(
    ceiling: int, *, rejects: bool, tells_total: bool
) -> None:
    """Whichever item a list at rest loses between two pages, walks that cut it into other pages find it: no
    create that was carried out is taken for absent, and so made twice."""
    doubts = [doubt(number) for number in range(TASKS)]
    listed = tuple(
        RemoteTaskStatus(f"u{one.task.number}", one.task.name, "RUNNING", created_at=START_AT - 29.5)
        for one in reversed(doubts)
    )
    hiding = RestingList(listed, ceiling, rejects, tells_total)

    async def main(time: VirtualTime) -> list[ev.Event]:
        resolver = Resolver(hiding, "default", clock=time.clock, observer=Silent())
        try:
            return await asyncio.gather(*(resolver.resolve(one) for one in doubts))
        finally:
            await resolver.close()

    answers = run_virtual(main, horizon_s=600.0)
    absent = [answer for answer in answers if not isinstance(answer, ev.Adopted)]
    assert absent == []
    assert len(hiding.sizes) > 1


def test_what_is_not_there_is_absent_all_the_same() -> None:
    """In the same list a create that was not carried out is proved absent, after the time it needs to
    show."""
    hiding = RestingList((), 10, rejects=False, tells_total=True)

    async def main(time: VirtualTime) -> tuple[ev.Event, float]:
        resolver = Resolver(hiding, "default", clock=time.clock, observer=Silent())
        try:
            return await resolver.resolve(doubt(1)), time.elapsed_s
        finally:
            await resolver.close()

    answer, after_s = run_virtual(main, horizon_s=600.0)
    assert isinstance(answer, ev.ProvedAbsent)
    assert after_s >= 15.0

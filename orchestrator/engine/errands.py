"""Who carries out what was ordered? Instructions become coroutines of the stages, and their answers events.

Nothing is decided here. What is under way is kept in three groups, because a drain treats them differently:
creates and publishes are waited for, since their effect may already stand; everything else can be begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from orchestrator.core import events as ev
from orchestrator.core.model import RemoteState, Slice
from orchestrator.core.retry import backoff_s
from orchestrator.core.walk import Doubt
from orchestrator.engine.agreeing import Agreement
from orchestrator.engine.arrivals import ColumnsTold, Deleted, PlannedBatch
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.desk import Desk
from orchestrator.engine.stages import divide, settle
from orchestrator.engine.stages.submit import submit
from orchestrator.engine.stages.transfer import fetch
from orchestrator.engine.takeup import begun_anew
from orchestrator.errors import OrchestratorError

__all__ = ["Errands"]

Order = TypeVar("Order", bound=ev.Instruction)

DELETE_TRIES = 5
ENDED = frozenset({RemoteState.SUCCESS, RemoteState.FAILED, RemoteState.EXPIRED})


class Errands:
    """Carries out instructions; ``post`` takes the answers, ``ended`` is called when one is done, with the
    error when it was a defect."""

    def __init__(
        self,
        desks: Mapping[str, Desk],
        room: Room,
        *,
        post: Callable[[ev.Event | PlannedBatch | ColumnsTold | Deleted], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._desks = desks
        self._room = room
        self._post = post
        self._ended = ended
        self._creates: set[asyncio.Task[None]] = set()
        self._publishes: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._agreements: dict[str, Agreement] = {}
        self.deleting = 0
        """Remote tasks that were let go while they waited or ran, and may still do so."""

    def __bool__(self) -> bool:
        """Whether anything is under way."""
        return bool(self._creates or self._publishes or self._others)

    def carry_out(self, orders: Sequence[ev.Instruction]) -> None:
        """Begin all of them; those of one job that publish go together."""
        publishes: dict[str, list[ev.Publish]] = {}
        for order in orders:
            if isinstance(order, ev.Publish):
                publishes.setdefault(order.slice.job, []).append(order)
            else:
                self._begin(order)
        for job, batch in publishes.items():
            self._spawn(self._publish(batch, self._desks[job].context), self._publishes)

    def plan(self, slices: Sequence[Slice]) -> None:
        """Have them planned, as new ones."""
        for slice_ in slices:
            self._spawn(self._plan(slice_), self._others)

    async def let_go(self, *, grace_s: float) -> None:
        """Cancel what can be begun anew, and wait up to ``grace_s`` for effects that may already stand."""
        for task in tuple(self._others):
            task.cancel()
        under_way = self._creates | self._publishes
        if under_way:
            await asyncio.wait(under_way, timeout=grace_s)

    async def close(self) -> None:
        """Cancel everything and wait until it has ended."""
        left = self._creates | self._publishes | self._others
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _begin(self, order: ev.Instruction) -> None:
        match order:
            case ev.Submit():
                self._spawn(self._answer(submit, order, self._context(order.slice)), self._creates)
            case ev.Fetch():
                self._spawn(self._fetch(order), self._others)
            case ev.Recount():
                self._spawn(self._recount(order), self._others)
            case ev.Divide():
                self._spawn(self._answer(divide.divide, order, self._context(order.slice)), self._others)
            case ev.Gather():
                self._spawn(self._gather(order), self._others)
            case ev.Relieve():
                self._spawn(self._relieve(order), self._others)
            case ev.Resolve():
                self._spawn(self._resolve(order), self._others)
            case ev.Watch():
                self._watch(order)
            case ev.Unwatch():
                self._desks[order.task.job].watcher.unwatch(order.task.number)
            case ev.DeleteRemote() if not order.task.uuid:
                pass
            case ev.DeleteRemote():
                runs = order.task.state not in ENDED
                self.deleting += runs
                self._spawn(self._delete(order, runs=runs), self._others)
            case ev.DiscardStaged():
                context = self._desks[order.job].context
                self._spawn(settle.discard(order, context, self._room), self._others)
            case ev.Publish() | ev.StopJob() | ev.StopRun():
                raise AssertionError(f"{type(order).__name__} is not begun here")

    def _context(self, slice_: Slice) -> JobContext:
        return self._desks[slice_.job].context

    def _watch(self, order: ev.Watch) -> None:
        desk = self._desks[order.slice.job]
        job = desk.context.job
        desk.watcher.watch(
            order.slice, order.task, logstore=job.identity.logstore, give_up_after_s=job.give_up_after_s
        )

    async def _answer(
        self,
        stage: Callable[[Order, JobContext, Room], Awaitable[ev.Event]],
        order: Order,
        context: JobContext,
    ) -> None:
        self._post(await stage(order, context, self._room))

    async def _fetch(self, order: ev.Fetch) -> None:
        context = self._context(order.slice)
        name = context.job.name
        if name not in self._agreements:
            self._agreements[name] = Agreement(context.job, self._room.manifest, self._post)
        self._post(await fetch(order, context, self._room, self._agreements[name]))

    async def _plan(self, slice_: Slice) -> None:
        anew = await begun_anew(slice_, self._room.manifest)
        self._post(PlannedBatch((anew,), asyncio.Event()))

    async def _recount(self, order: ev.Recount) -> None:
        desk = self._desks[order.slice.job]
        self._post(await settle.recount(order, desk.context, self._room, desk.silence))

    async def _publish(self, batch: Sequence[ev.Publish], context: JobContext) -> None:
        for event in await settle.publish(batch, context, self._room):
            self._post(event)

    async def _gather(self, order: ev.Gather) -> None:
        event = await divide.gather(order.whole, self._room.manifest)
        if event is not None:
            self._post(event)

    async def _relieve(self, order: ev.Relieve) -> None:
        async for event in divide.relieve(order, self._desks[order.job].context, self._room):
            self._post(event)

    async def _resolve(self, order: ev.Resolve) -> None:
        desk = self._desks[order.slice.job]
        doubt = Doubt(order.slice.id, order.task, desk.context.job.identity)
        self._post(await desk.resolver.resolve(doubt))

    async def _delete(self, order: ev.DeleteRemote, *, runs: bool) -> None:
        """Best effort: what cannot be deleted now stays known as surplus, and the next run tries again."""
        task = order.task
        try:
            for tries in range(1, DELETE_TRIES + 1):
                try:
                    await self._desks[task.job].resolver.delete(task.uuid)
                except OrchestratorError as error:
                    self._room.observer.noted("delete.failed", uuid=task.uuid, error=str(error)[:200])
                    await asyncio.sleep(backoff_s(f"delete:{task.uuid}", tries))
                else:
                    self._post(Deleted(task))
                    return
        finally:
            self.deleting -= runs

    def _spawn(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        group.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            group.discard(task)
            self._ended(None if task.cancelled() else task.exception())

        task.add_done_callback(ended)

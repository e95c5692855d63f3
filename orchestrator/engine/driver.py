"""The driver: the one loop through which everything goes, and the manifest's only writer during a run.

Take all waiting events, apply the table, commit one transaction, and only when it is on disk hand out the
instructions and tell observers. So the manifest never lags behind an effect, and a crash between any two
lines of this file is answered by the table's ``Resumed`` row. When a commit fails nothing is handed out:
memory is never the truth.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

from orchestrator.core import events as ev
from orchestrator.core.job import Job
from orchestrator.core.lifecycle import IllegalEvent, transition
from orchestrator.core.model import LIVE_STATES, Fault, Slice, SliceState
from orchestrator.core.submitting import CREATE_SIGNATURE_S
from orchestrator.engine.admitting import Admission
from orchestrator.engine.arrivals import Arrival, ColumnsTold, PlannedBatch
from orchestrator.engine.context import Room
from orchestrator.engine.desk import Desk
from orchestrator.engine.errands import Errands
from orchestrator.engine.faults import fault_of
from orchestrator.engine.lanes import Lanes
from orchestrator.engine.recovery import Resolver
from orchestrator.engine.roll import Roll
from orchestrator.engine.transaction import Transaction
from orchestrator.errors import OrchestratorError

__all__ = ["Driver"]

BATCH = 256
BREATH_S = 0.01
"""Commits follow each other at this distance at least: one costs as much as a dozen events, and a hundredth
of a second is missed by nobody."""
CREATES_GRACE_S = 10.0
"""How long a drain waits for creates that are under way; without a reply they stay in doubt."""
LONGEST_NAP_S = 60.0
NEVER_SENT = Fault("unreachable", "the run ended before this create was sent", "retry")
NO_REPLY = Fault("create_uncertain", "the run ended before the service replied", "look")


Item = ev.Event | Arrival


class Driver:
    """Runs slices of several jobs until nothing is left to do, or until told to drain."""

    def __init__(self, desks: Iterable[Desk], room: Room, *, next_number: int) -> None:
        self._desks = {desk.context.job.name: desk for desk in desks}
        self._room = room
        self._roll = Roll()
        self._inbox: deque[Item] = deque()
        self._batch: list[Item] = []
        self._arrived = asyncio.Event()
        self._errands = Errands(self._desks, room, post=self.post, ended=self._errand_ended)
        self._admission = Admission(
            self._desks,
            self._roll,
            room,
            next_number=next_number,
            deleting=lambda: self._errands.deleting,
            post=self.post,
        )
        self._next_turn_at = float("-inf")
        self._crash: BaseException | None = None
        self.fault: Fault | None = None
        """What made the whole run stop, if anything did."""

    # --- what others call ---

    def post(self, item: Item) -> None:
        """Hand in one event; safe from any coroutine of this loop."""
        self._inbox.append(item)
        self._arrived.set()

    def resume(self, slice_: Slice, event: ev.Event) -> None:
        """Take a slice that an earlier run left into memory, with the first event for it."""
        self._roll.put(slice_)
        self.post(event)

    async def add_planned(self, slices: Sequence[Slice], *, job: Job | None = None) -> None:
        """Commit new slices, and ``job`` as known; returns when they are on disk."""
        batch = PlannedBatch(tuple(slices), asyncio.Event(), job)
        self.post(batch)
        await batch.committed.wait()

    def stop(self, fault: Fault) -> None:
        """A fault of this machine: drain."""
        self.fault = self.fault or fault
        self._arrived.set()

    def stop_job(self, job: str, fault: Fault) -> None:
        desk = self._desks[job]
        if desk.stopped is None:
            desk.stopped = fault
            self._room.observer.noted("job.stopped", job=job, code=fault.code, message=fault.message)
        self._arrived.set()

    def resolver_of(self, job: str) -> Resolver:
        return self._desks[job].resolver

    def lanes_of(self, job: str) -> Lanes:
        return self._desks[job].lanes

    def open(self, job: str, keeps_from_s: int | None) -> None:
        """The service answers for this job: its slices may be admitted. ``keeps_from_s``: the UTC second
        before which it keeps nothing now."""
        kept_s = None if keeps_from_s is None else self._room.clock.now() - keeps_from_s
        self._desks[job].open, self._desks[job].kept_s = True, kept_s
        self._arrived.set()

    def working_on(self, job: str, by: int) -> None:
        """Count one more (or less) coroutine beside the driver that may still bring work for the job."""
        self._desks[job].under_way += by
        self._arrived.set()

    def crash(self, error: BaseException) -> None:
        """A defect somewhere: end the run with it."""
        self._crash = self._crash or error
        self._arrived.set()

    async def run(self) -> None:
        """Drive until done or drained. Raises what is not ours to turn into a fault."""
        watchers = [asyncio.create_task(self._watch(desk)) for desk in self._distinct("watcher")]
        stop = asyncio.create_task(self._await_stop())
        try:
            while not await self._at_rest():
                await self._admission.admit()
                if not self._inbox:
                    await self._nap()
                # What comes in the same breath is written in one commit.
                await asyncio.sleep(max(0.0, self._next_turn_at - asyncio.get_running_loop().time()))
                await asyncio.sleep(0)
                await self._turn()
            if self._draining():
                await self._drain()
        except OrchestratorError as error:
            self.fault = self.fault or fault_of(error)
            await self._report_unsaved()
        finally:
            for task in (*watchers, stop):
                task.cancel()
            await asyncio.gather(*watchers, stop, return_exceptions=True)
            await self._errands.close()
            for desk in self._distinct("resolver"):
                await desk.resolver.close()
        if self._crash is not None:
            raise self._crash

    # --- the loop ---

    def _draining(self) -> bool:
        return self.fault is not None or self._room.stop.is_set()

    async def _at_rest(self) -> bool:
        """Whether the run is at its end. What arrives from here on ends the next nap: cleared any later, a
        word that came while we looked would be forgotten."""
        self._arrived.clear()
        return await self._finished()

    async def _finished(self) -> bool:
        if self._draining() or self._crash is not None:
            return True
        if self._inbox or self._errands or any(desk.under_way for desk in self._desks.values()):
            return False
        if not self._roll.all_parked():
            return False
        if not self._admission.has_place():
            return True  # all that holds the room is parked: nothing can be admitted in this run
        for desk in self._desks.values():
            open_ = desk.open and desk.stopped is None
            if open_ and await self._room.manifest.next_due_at(desk.context.job.name) is not None:
                return False
        return True

    async def _nap(self) -> None:
        """Until something arrives or something falls due."""
        now = self._room.clock.now()
        dues = [
            max(slice_.not_before_at, now + LONGEST_NAP_S if slice_.not_before_at <= now else 0.0)
            for slice_ in self._roll.going(SliceState.READY)
        ]
        if self._admission.has_place():
            not_before = now + self._admission.held_back_s()
            for desk in self._desks.values():
                if desk.open and desk.stopped is None and not self._admission.held(desk):
                    desk.due_at = await self._room.manifest.next_due_at(desk.context.job.name)
                    dues += [] if desk.due_at is None else [max(desk.due_at, not_before)]
        pause_s = min([LONGEST_NAP_S, *(due - now for due in dues)])
        if self._inbox:
            return
        try:
            async with asyncio.timeout(max(0.0, pause_s)):
                await self._arrived.wait()
        except TimeoutError:
            pass

    async def _turn(self) -> None:
        """One batch: apply, commit, then act."""
        if not self._inbox:
            return
        batch = self._batch = [self._inbox.popleft() for _ in range(min(BATCH, len(self._inbox)))]
        now = self._room.clock.now()
        transaction = Transaction(now)
        for item in batch:
            self._apply(item, transaction, now)
        if not self._draining():
            for begun in self._admission.transfers(transaction.slices(), parked=transaction.parked):
                self._apply(begun, transaction, now)
        changes = transaction.changes()
        if changes:
            self._room.boundary.reached("driver.commit.before")
            await self._room.manifest.commit(changes)
            self._room.boundary.reached("driver.commit.after")
            self._next_turn_at = asyncio.get_running_loop().time() + BREATH_S
        self._batch = []
        self._remember(transaction)
        for item in batch:
            if isinstance(item, PlannedBatch | ColumnsTold):
                item.committed.set()
        for before, after, event in transaction.told:
            self._room.observer.changed(before, after, event)
        self._act(transaction.orders, transaction.next)

    def _apply(self, item: Item, transaction: Transaction, now: float) -> None:
        if isinstance(item, Arrival):
            transaction.arrived(item)
            return
        slice_ = transaction.current(item.slice_id) or self._roll.get(item.slice_id)
        if slice_ is None and isinstance(item, ev.Gathered | ev.Relieved):
            slice_ = item.whole  # divided long ago, and not in memory
        if slice_ is None:
            self._room.observer.noted("driver.late_event", event=type(item).__name__, slice=item.slice_id)
            return
        desk = self._desks[slice_.job]
        try:
            step = transition(slice_, item, now, desk.rules)
        except IllegalEvent as error:
            self._room.observer.noted(
                "driver.late_event", event=type(item).__name__, slice=slice_.id, why=str(error)
            )
            return
        transaction.add(slice_, item, step)
        transaction.next += desk.lanes.follow(step)
        desk.padded = desk.padded or (step.slice.padded and not slice_.padded)
        self._admission.tell(slice_, step.slice, item, now)
        desk.tally(item, alone=lambda: not self._roll.count(SliceState.WAITING, SliceState.RUNNING))

    def _remember(self, transaction: Transaction) -> None:
        """Memory follows the manifest: live slices stay, all others leave."""
        for slice_ in transaction.slices():
            if slice_.state in LIVE_STATES:
                self._roll.put(slice_, parked=slice_.id in transaction.parked)
            else:
                self._roll.drop(slice_.id)
                if slice_.state is SliceState.PLANNED:
                    self._desks[slice_.job].fresh = True
            if slice_.state is not SliceState.TRANSFERRING:
                self._admission.fetching.pop(slice_.id, None)

    def _act(self, orders: Sequence[ev.Instruction], following: Sequence[Slice]) -> None:
        """After the commit. A drain begins nothing more: the next run finds every intent and resumes it."""
        begun: list[ev.Instruction] = []
        for order in orders:
            match order:
                case ev.StopRun():
                    self.stop(order.fault)
                case ev.StopJob():
                    self.stop_job(order.job, order.fault)
                case ev.Fetch():
                    self._admission.fetching.setdefault(order.slice.id, asyncio.get_running_loop().time())
                    begun.append(order)
                case ev.Recount() | ev.Divide():
                    self._admission.fetching.pop(order.slice.id, None)
                    begun.append(order)
                case _:
                    begun.append(order)
        if not self._draining():
            self._errands.carry_out(begun)
            self._errands.plan(following)
            return
        for order in begun:
            if isinstance(order, ev.Submit):  # it never left: the next run has nothing to look for
                self.post(ev.CreateRefused(order.slice.id, order.task.number, NEVER_SENT))

    def _errand_ended(self, error: BaseException | None) -> None:
        if error is not None:
            self._crash = self._crash or error
        self._arrived.set()

    # --- ends ---

    def _distinct(self, part: str) -> list[Desk]:
        """One desk per shared watcher or resolver."""
        seen: dict[int, Desk] = {}
        for desk in self._desks.values():
            seen.setdefault(id(getattr(desk, part)), desk)
        return list(seen.values())

    async def _watch(self, desk: Desk) -> None:
        try:
            await desk.watcher.run(self.post)
        except Exception as error:
            self.crash(error)
            raise

    async def _await_stop(self) -> None:
        await self._room.stop.wait()
        self._arrived.set()

    async def _drain(self) -> None:
        """Admit nothing more, let fetches go (their bytes are kept), but wait for creates and publishes under
        way: what they answer is still written down."""
        self._room.observer.noted(
            "run.draining", reason=self._room.stop.reason or (self.fault.code if self.fault else "")
        )
        if self._crash is not None:
            return
        await self._errands.let_go(grace_s=CREATES_GRACE_S)
        if self.fault is not None and self.fault.code in ("manifest_damaged", "manifest_too_new"):
            return
        await self._errands.close()
        while self._inbox:
            await self._turn()
        now = self._room.clock.now()
        for slice_ in self._roll.of(SliceState.SUBMITTING):
            if slice_.task is not None:
                self.post(
                    ev.CreateDoubted(slice_.id, slice_.task.number, NO_REPLY, now + CREATE_SIGNATURE_S, now)
                )
        while self._inbox:
            await self._turn()

    async def _report_unsaved(self) -> None:
        """The manifest could not be written: say which uuids it does not hold, so that nothing at the service
        is lost."""
        await self._errands.let_go(grace_s=CREATES_GRACE_S)
        for item in (*self._batch, *self._inbox):
            if isinstance(item, ev.Created):
                self._room.observer.noted("manifest.unsaved", uuid=item.uuid, slice=item.slice_id)

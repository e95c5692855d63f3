"""Which slice gets the next remote task, and which file is fetched next? Asked once a turn of the driver.

The rules are pure (``core.admission``, ``core.creating``); here they meet what is in memory and what the
manifest holds. Nothing is sent from here: an admitted slice becomes an event for the driver.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from orchestrator.core import events as ev
from orchestrator.core.admission import (
    Candidate,
    Quota,
    largest_first,
    most_unfetched,
    next_job,
    room_for_creates,
)
from orchestrator.core.creating import creating
from orchestrator.core.model import OUTSTANDING_STATES, Slice, SliceState, remote_name
from orchestrator.core.timing import Brake
from orchestrator.engine.context import Room
from orchestrator.engine.desk import Desk
from orchestrator.engine.roll import Roll

__all__ = ["Admission"]

S = SliceState
LOOK_AGAIN_S = 0.5
"""While the service's own limit holds slices back, it is tried again so soon at the latest."""
END_S = 20.0
"""When all that is left fits into so long, no more is asked of the service than it surely allows: a create
that is refused in unknown words stays in doubt for most of that time, and would end the run later."""
MOST_LOOKED_AHEAD = 400
"""Slices that are read to find out whether they are the last."""


class Admission:
    """Admits creates and transfers of one run, below the ceilings of the job file and below what the service
    seems to allow. ``deleting`` tells how many remote tasks were let go and may still run."""

    def __init__(
        self,
        desks: Mapping[str, Desk],
        roll: Roll,
        room: Room,
        *,
        next_number: int,
        deleting: Callable[[], int],
        post: Callable[[ev.Event], None],
    ) -> None:
        self._desks = desks
        self._roll = roll
        self._room = room
        self._next_number = next_number
        self._deleting = deleting
        self._post = post
        self._quota = Quota(room.limits.tasks)
        self._creating = creating(room.limits.tasks, room.limits.requests_per_s)
        self._held_back = False
        """Whether the service's limits, as far as known, kept a slice waiting at the last look."""
        self.fetching: dict[str, float] = {}
        """Slices whose file is being fetched, and since when."""
        self._fetch_s: float | None = None

    # --- what the driver tells ---

    def tell(self, before: Slice, after: Slice, event: ev.Event, now: float) -> None:
        """An event was applied: learn from it."""
        match event:
            case ev.Created():
                took_s = now - before.task.intent_at if before.task is not None else 0.0
                self._creating = self._creating.accepted(
                    self._time(), self._holding(but=before) + 1, asked_at=self._time() - max(0.0, took_s)
                )
            case ev.CreateRefused(fault=fault) if fault.status == 429:
                self._refused(before, fault.retry_after_s)
            case ev.CreateDoubted(fault=fault) if fault.status in (400, 403):
                self._refused(before, fault.retry_after_s)
            case ev.CreateDoubted():
                self._creating = self._creating.unheard(self._roll.count(*OUTSTANDING_STATES))
            case ev.Observed() | ev.Vanished() | ev.StoodStill() if after.state not in (S.WAITING, S.RUNNING):
                self._creating = self._creating.ended()
            case ev.Staged() if before.id in self.fetching:
                took_s = self._time() - self.fetching[before.id]
                self._fetch_s = took_s if self._fetch_s is None else 0.8 * self._fetch_s + 0.2 * took_s
            case ev.Published():
                self._quota = self._quota.stored()
            case _:
                pass
        if after.expiries >= 2 and after.expiries > before.expiries:
            self._quota = self._lowered(self._quota.expired(now), after.job)

    def has_place(self) -> bool:
        """Whether the ceilings of the job file leave room for one more remote task."""
        return self._ceiling_room() > 0

    def held_back_s(self) -> float:
        """Seconds until creates that the service's limits hold back may be looked at again; 0.0 when nothing
        is held back."""
        if not self._held_back:
            return 0.0
        return max(0.001, min(LOOK_AGAIN_S, self._creating.pace.wait_s(self._time()) or LOOK_AGAIN_S))

    # --- creates ---

    async def admit(self) -> None:
        """Post what may begin now."""
        for event in self.transfers():
            self._post(event)
        now = self._room.clock.now()
        ceiling_room, holding = self._ceiling_room(), self._holding()
        room = min(ceiling_room, self._creating.room(self._time(), holding))
        in_the_end = self._goes_through_in_the_end(holding)
        self._held_back = room < ceiling_room
        waits = any(desk.fresh or desk.due_at is not None for desk in self._desks.values())
        self._room.stopwatch.held(Brake.PLACES, on=self._held_back and waits)
        waiting: dict[str, deque[Slice]] = {}
        rest = 0.0
        for name, desk in self._desks.items():
            due = desk.fresh or (desk.due_at is not None and desk.due_at <= now)
            if room > 0 and due and desk.open and desk.stopped is None and not self.held(desk):
                waiting[name], is_end = await self._waiting(desk, now, room, in_the_end)
                rest += len(waiting[name]) if is_end else math.inf
                desk.fresh, desk.due_at = len(waiting[name]) >= room, None
        seeking = rest > in_the_end
        if room > 0 and not seeking:
            room = min(room, self._creating.room(self._time(), holding, seeking=False))
            self._held_back = room < ceiling_room
        admitted: dict[str, int] = {}
        for _ in range(room):
            choice = next_job(
                Candidate(
                    name,
                    self._desks[name].context.job.priority,
                    self._roll.outstanding_of(name) + admitted.get(name, 0),
                    queue[0].window.start_s,
                    self._desks[name].leaves_in_s(queue[0], now),
                )
                for name, queue in waiting.items()
                if queue
            )
            if choice is None:
                break
            admitted[choice.job] = admitted.get(choice.job, 0) + 1
            self._admit_create(waiting[choice.job].popleft(), seeking=seeking)
            if not self._desks[choice.job].created:
                del waiting[choice.job]
                self._desks[choice.job].fresh = True
        for name, queue in waiting.items():
            self._desks[name].fresh = self._desks[name].fresh or bool(queue)

    async def _waiting(self, desk: Desk, now: float, room: int, in_the_end: int) -> tuple[deque[Slice], bool]:
        """The next slices of a job, in the order they should go, and whether these are all of them."""
        found = await self._room.manifest.admissible(
            desk.context.job.name,
            now,
            room + 1,
            without=self._roll,
            whole_end=max(self._room.limits.tasks, min(MOST_LOOKED_AHEAD, in_the_end)),
        )
        if len(found) != room + 1:  # as many may be all that is left, or all that was asked for
            desk.at_end = not desk.under_way
        return deque(largest_first(found) if desk.at_end else found), desk.at_end

    def _goes_through_in_the_end(self, holding: int) -> int:
        """How many slices go through within the time that is called the end of a run; none while some job may
        still bring more."""
        run_s = self._run_s()
        if run_s is None or any(desk.under_way for desk in self._desks.values()):
            return 0
        return int(holding * END_S / max(run_s, 0.1))

    def held(self, desk: Desk) -> bool:
        """Until the service has accepted one create of the job, they go one at a time: what it refuses to all
        of them, it refuses once."""
        if desk.created:
            return False
        job = desk.context.job.name
        return any(s.job == job for state in (S.SUBMITTING, S.PLANNED) for s in self._roll.of(state))

    def _admit_create(self, slice_: Slice, *, seeking: bool) -> None:
        task = slice_.task
        if task is not None and not task.uuid:
            number, name = task.number, task.name
        else:
            number, self._next_number = self._next_number, self._next_number + 1
            name = remote_name(self._room.manifest.manifest_id, number)
        self._creating = self._creating.asked(self._time(), seeking=seeking, jitter=self._room.rng.random())
        self._roll.put(slice_)
        self._post(ev.Admitted(slice_.id, number, name))

    def _ceiling_room(self) -> int:
        """What the ceilings leave. A planned slice in memory is one whose Admitted is in the inbox; a remote
        task that was let go while it ran still runs at the service until its delete is through."""
        limits = self._room.limits
        return room_for_creates(
            outstanding=self._roll.count(*OUTSTANDING_STATES, S.PLANNED) + self._deleting(),
            tasks=self._quota.tasks,
            unfetched=self._roll.count_going(S.READY, S.TRANSFERRING),
            most_unfetched=most_unfetched(
                tasks=limits.tasks, downloads=limits.downloads, run_s=self._run_s(), fetch_s=self._fetch_s
            ),
        )

    def _run_s(self) -> float | None:
        """The shortest time a remote task takes, of all services and projects."""
        known = [desk.watcher.run_s for desk in self._desks.values()]
        return min((run_s for run_s in known if run_s is not None), default=None)

    def _holding(self, *, but: Slice | None = None) -> int:
        """How many remote tasks may hold a place at the service. A create it has answered with a refusal in
        unknown words holds none, as far as its limits go; one under way may be refused as well."""
        doubted = sum(s.task is None or s.task.answered_at is None for s in self._roll.going(S.IN_DOUBT))
        under_way = 0 if but is not None else self._roll.count_going(S.SUBMITTING, S.PLANNED)
        return (
            self._roll.count_going(S.WAITING, S.RUNNING)
            + doubted
            + under_way
            + self._deleting()
            - (but is not None and but.state in (S.WAITING, S.RUNNING))
        )

    def _refused(self, slice_: Slice, retry_after_s: float | None) -> None:
        now = self._time()
        before = self._creating.tasks(now)
        holding = self._holding(but=slice_)
        self._creating = self._creating.refused(now, holding, retry_after_s, self._room.rng.random())
        if self._creating.tasks(now) < before:
            self._room.observer.noted("admission.places_found", job=slice_.job, tasks=holding)

    def _lowered(self, quota: Quota, job: str) -> Quota:
        if quota.tasks < self._quota.tasks:
            self._room.observer.noted("admission.lowered", job=job, tasks=quota.tasks)
        return quota

    # --- transfers ---

    def transfers(self, changed: Sequence[Slice] = (), *, parked: Collection[str] = ()) -> list[ev.Event]:
        """What may be fetched now, as admitted. ``changed``: slices as the batch in the making leaves them,
        ``parked`` those of them that wait for another run."""
        now = self._room.clock.now()
        free = self._room.limits.downloads - len(self.fetching)
        if free <= 0:
            return []
        anew = {s.id for s in changed}
        ready = [s for s in self._roll.going(S.READY) if s.id not in anew]
        ready += [s for s in changed if s.state is S.READY and s.id not in parked]
        due = [
            (s.task.finished_at or 0.0, s, s.task.number)
            for s in ready
            if s.not_before_at <= now and s.id not in self.fetching and s.task is not None
        ]
        # The file that was finished first expires first.
        due.sort(key=lambda item: item[0])
        for _, slice_, _ in due[:free]:
            self.fetching[slice_.id] = self._time()
        return [ev.TransferAdmitted(slice_.id, number) for _, slice_, number in due[:free]]

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

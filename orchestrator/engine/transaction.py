"""One batch in the making: what will be committed together, and what shall be done and told afterwards."""

from __future__ import annotations

import re
from functools import cache

from orchestrator.core import events as ev
from orchestrator.core.changing import replace
from orchestrator.core.columns import Column
from orchestrator.core.job import Job
from orchestrator.core.model import RemoteTask, Slice, SliceState
from orchestrator.engine.arrivals import Arrival, ColumnsTold, Deleted, Noted, PlannedBatch, Stray
from orchestrator.ports.store import Changes, Covered, JournalEntry, Outlived

__all__ = ["Transaction"]

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class Transaction:
    """Collects steps in the order of their events; later states of a slice replace earlier ones."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._slices: dict[str, Slice] = {}
        self._tasks: dict[tuple[int, str], RemoteTask] = {}
        self._covered: list[Covered] = []
        self._uncovered: list[Covered] = []
        self._journal: list[JournalEntry] = []
        self._jobs: list[Job] = []
        self._outlived: list[Outlived] = []
        self._columns: list[tuple[str, tuple[Column, ...]]] = []
        self.orders: list[ev.Instruction] = []
        self.told: list[tuple[Slice | None, Slice, ev.Event | None]] = []
        self.parked: set[str] = set()
        self.next: list[Slice] = []
        """Slices that follow in their lanes, to be planned after this batch."""

    def current(self, slice_id: str) -> Slice | None:
        """The slice as this batch has changed it so far."""
        return self._slices.get(slice_id)

    def slices(self) -> tuple[Slice, ...]:
        return tuple(self._slices.values())

    def arrived(self, item: Arrival) -> None:
        """What reaches the driver besides events of slices."""
        match item:
            case PlannedBatch():
                self.plan(item.slices, item.job)
            case ColumnsTold():
                self._columns.append((item.job, item.columns))
                names = ", ".join(column.name for column in item.columns)
                self._journal.append(
                    JournalEntry(self._now, item.job, "", "columns_found", {"columns": names[:500]})
                )
            case Stray():
                self.note_task(replace(item.task, surplus=True))
                self.orders.append(ev.DeleteRemote(item.task))
            case Deleted():
                self.note_task(replace(item.task, surplus=True, deleted=True))
            case Noted():
                self._journal.append(item.entry)

    def plan(self, slices: tuple[Slice, ...], job: Job | None = None) -> None:
        """New slices; one that is born empty is covered at once. ``job`` is remembered with its identity."""
        if job is not None:
            self._jobs.append(job)
        for slice_ in slices:
            self._slices[slice_.id] = slice_
            self.told.append((None, slice_, None))
            event = {SliceState.EMPTY: "proved_empty", SliceState.FAILED: "ruled_out"}.get(
                slice_.state, "planned"
            )
            self._note(slice_, event, lines=slice_.expected_lines, reason=slice_.reason)
            if slice_.state is SliceState.EMPTY:
                self._covered.append(_covered(slice_))

    def note_task(self, task: RemoteTask) -> None:
        """A remote-task row on its own."""
        self._tasks[task.number, task.uuid] = task

    def add(self, before: Slice, event: ev.Event, step: ev.Step) -> None:
        after = step.slice
        self._slices[after.id] = after
        for task in step.tasks:
            self.note_task(task)
        for child in step.children:
            self._slices[child.id] = child
            self._note(child, "born", parent=after.id)
            self.told.append((None, child, None))
        for part in step.outdated:
            self._slices[part.id] = part
            self._note(part, "outdated", state=part.state.value, reason=part.reason)
        for order in step.instructions:
            if isinstance(order, ev.DeleteRemote):
                self.note_task(replace(order.task, surplus=True))
        if step.covered is not None:
            self._covered.append(_covered(after))
        if step.uncovered is not None:
            self._uncovered.append(_covered(after))
            self._uncovered += [
                Covered(after.job, stream or "*", step.uncovered) for stream in step.also_uncovered
            ]
        if before.replaces and not after.replaces and after.state in (SliceState.DONE, SliceState.EMPTY):
            self.outlive(before, before.replaces)
        if step.parked:
            self.parked.add(after.id)
        else:
            self.parked.discard(after.id)
        self.orders.extend(step.instructions)
        self.told.append((before, after, event))
        self._note(after, _word(type(event).__name__), **_detail(before, after, event))

    def outlive(self, newer: Slice, older: str) -> None:
        """The slice ``older`` gives way: its window is held by ``newer``, or by that one's siblings too."""
        item = Outlived(newer.job, older)
        if item not in self._outlived:
            self._outlived.append(item)
            self._journal.append(
                JournalEntry(self._now, newer.job, older, "outlived", {"by": newer.id, "state": "superseded"})
            )

    def keep(self, older: Slice, reason: str) -> None:
        """The redo of ``older`` has failed for ``reason``: it stays what it is."""
        self._outlived.append(Outlived(older.job, older.id, kept=True))
        self._note(older, "kept", state=older.state.value, reason=reason)

    def changes(self) -> Changes:
        return Changes(
            slices=tuple(self._slices.values()),
            tasks=tuple(self._tasks.values()),
            covered=tuple(self._covered),
            uncovered=tuple(self._uncovered),
            journal=tuple(self._journal),
            jobs=tuple(self._jobs),
            outlived=tuple(self._outlived),
            columns=tuple(self._columns),
        )

    def _note(self, slice_: Slice, event: str, **detail: str | float | None) -> None:
        kept = dict(detail)
        for key in [key for key, value in detail.items() if value is None or value == ""]:
            del kept[key]
        self._journal.append(JournalEntry(self._now, slice_.job, slice_.id, event, kept))


@cache
def _word(name: str) -> str:
    """What an event of that class is called in the journal."""
    return _WORD.sub("_", name).lower()


def _covered(slice_: Slice) -> Covered:
    return Covered(slice_.job, slice_.logstream or "*", slice_.window)


def _detail(before: Slice, after: Slice, event: ev.Event) -> dict[str, str | int | float | None]:
    """What a reader of the story needs to follow it: where it went, with which remote task, and why."""
    task = after.task or before.task
    detail: dict[str, str | int | float | None] = {
        "state": after.state.value,
        "attempt": after.attempt or None,
    }
    if task is not None:
        detail |= {"name": task.name, "uuid": task.uuid or None}
    if after.reason:
        detail["reason"] = after.reason
    match event:
        case (
            ev.CreateRefused(fault=fault)
            | ev.CreateDoubted(fault=fault)
            | ev.LeftInDoubt(fault=fault)
            | ev.WatchRefused(fault=fault)
            | ev.TransferFailed(fault=fault)
            | ev.PublishFailed(fault=fault)
        ):
            detail |= {"fault": fault.code, "message": fault.message, "request_id": fault.request_id or None}
        case ev.Created(request_id=request_id):
            detail["request_id"] = request_id or None
        case ev.Observed(status=status):
            detail |= {"remote_state": status.state[:100], "written_rows": status.written_rows}
            detail |= {
                "failed_code": status.failed_code[:100] or None,
                "failed_message": status.failed_message[:300] or None,
            }
        case ev.Staged(receipt=receipt):
            detail |= {
                "rows": receipt.stored_rows,
                "dropped": receipt.dropped_rows,
                "bytes": receipt.fetched_bytes,
            }
        case ev.Recounted(count=count):
            detail["count"] = count
        case ev.Divided(streams=streams):
            detail["streams"] = len(streams)
        case ev.Gathered(rows=rows):
            detail["rows"] = rows
        case ev.Published():
            detail["path"] = after.path
        case _:
            pass
    return detail

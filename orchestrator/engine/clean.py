"""Which remote tasks of ours does nobody want any more, and how do they go?

Three kinds: those the manifest has marked as let go; those under one of its names that it knows and wants no
more; and those under one of its names that it never heard of. Whatever goes stands in the manifest as surplus
first, so that a crash between any two deletes leaves nothing unknown.

What a live slice waits for is wanted, and so is what a create in doubt may have made: a run adopts it. What
stands behind a stored file is kept too: it is the service's own record of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.core.job import Deliver, Order, ServedFormat
from orchestrator.core.model import LIVE_STATES, Fault, RemoteTask, RemoteTaskStatus, Slice, SliceState
from orchestrator.core.reasons import Reason
from orchestrator.core.retry import backoff_s
from orchestrator.core.window import Window
from orchestrator.engine.audit import all_slices
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.faults import fault_of
from orchestrator.engine.recovery import Resolver
from orchestrator.engine.stages.transfer import attempt_key
from orchestrator.errors import CredentialsError, ExitCode, OrchestratorError, Refused, ServiceError
from orchestrator.ports.store import Changes, JournalEntry, ManifestReader

__all__ = ["Deletion", "Surplus", "delete_surplus", "find_surplus", "wanted_staging"]

TRIES = 4
AT_ONCE = 8
"""Deletes under way together; the gate says how fast they may go."""
_SETTLED = frozenset({SliceState.DONE, SliceState.EMPTY, SliceState.DELIVERED})


@dataclass(frozen=True, slots=True)
class Surplus:
    """A remote task of ours that is to go. ``why`` is ``let go``, ``no longer wanted`` or ``unknown``."""

    context: JobContext
    task: RemoteTask
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to delete, and what could not be looked at."""

    surplus: tuple[Surplus, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of one remote task: ``fault`` is None when it is gone."""

    surplus: Surplus
    fault: Fault | None = None
    exit: int = ExitCode.COMPLETE


async def find_surplus(contexts: Sequence[JobContext], manifest: ManifestReader, room: Room) -> Found:
    """All that ``delete_surplus`` would delete for these jobs; asks the service's list, changes nothing. A
    list that cannot be read leaves what the manifest knows."""
    mine = [context for context in contexts if context.job.deliver is not Deliver.BOS]
    found: dict[str, Surplus] = {}
    for context in mine:
        for task in await manifest.surplus(context.job.name):
            if task.uuid:
                found[task.uuid] = Surplus(context, task, "let go")
    faults: list[Fault] = []
    for group in _by_project(mine):
        resolver = Resolver(
            group[0].tasks, group[0].job.identity.project, clock=room.clock, observer=room.observer
        )
        prefix = f"o-{manifest.manifest_id}-"
        try:
            listed = await resolver.named(prefix, await manifest.created_at())
        except (ServiceError, CredentialsError) as error:
            faults.append(fault_of(error))
            continue
        for uuid, status in sorted(listed.items()):
            one = None if uuid in found else await _unwanted(status, prefix, group, manifest)
            if one is not None:
                found[uuid] = one
    return Found(tuple(found.values()), tuple(faults))


def _by_project(contexts: Iterable[JobContext]) -> list[list[JobContext]]:
    groups: dict[tuple[int, str], list[JobContext]] = {}
    for context in contexts:
        groups.setdefault((id(context.tasks), context.job.identity.project), []).append(context)
    return list(groups.values())


async def _unwanted(
    status: RemoteTaskStatus, prefix: str, group: Sequence[JobContext], manifest: ManifestReader
) -> Surplus | None:
    """The listed remote task as surplus, None when it is wanted, or not for us to judge."""
    found = re.fullmatch(r"[1-9][0-9]{0,17}", status.name.removeprefix(prefix))
    if found is None or status.file_dir:
        return None  # no name of ours, or one that delivers into a bucket
    number = int(found[0])
    rows = await manifest.tasks_of_number(number)
    if not rows:
        return _never_heard_of(status, number, group)
    own = next((row for row in rows if row.uuid == status.uuid), None)
    context = next((item for item in group if item.job.name == rows[0].job), None)
    if context is None:
        return None  # of a job this call is not about
    slice_ = await manifest.slice(rows[0].slice_id)
    if slice_ is not None and _wants(slice_, number, status.uuid):
        return None
    if own is not None:
        return Surplus(context, replace(own, surplus=True, deleted=False), "no longer wanted")
    task = replace(rows[0], uuid=status.uuid, state=status.state, surplus=True, deleted=False)
    return Surplus(context, task, "unknown")


def _wants(slice_: Slice, number: int, uuid: str) -> bool:
    task = slice_.task
    if task is None or task.number != number or task.uuid not in ("", uuid):
        return False
    if slice_.state in LIVE_STATES:
        return True  # without a uuid it is in doubt: perhaps this very one
    waits_for_its_path = slice_.state is SliceState.FAILED and slice_.reason == Reason.PATH_OCCUPIED
    return task.uuid == uuid and (slice_.state in _SETTLED or waits_for_its_path)


def _never_heard_of(status: RemoteTaskStatus, number: int, group: Sequence[JobContext]) -> Surplus | None:
    """Named after this manifest, yet not in it: it was made after the copy that this manifest was restored
    from. The number counts as used from now on."""
    context = next((item for item in group if item.job.identity.logstore == status.logstore), None)
    if context is None:
        return None
    start_s, end_s = status.start_s or 0, status.end_s or 0
    task = RemoteTask(
        number=number,
        name=status.name,
        slice_id="",
        job=context.job.name,
        attempt=0,
        window=Window(start_s, end_s) if start_s < end_s else Window(0, 1),
        limit=status.limit or 0,
        order=Order.DESC if status.order == Order.DESC else Order.ASC,
        format=ServedFormat.CSV if status.format == ServedFormat.CSV else ServedFormat.JSON,
        intent_at=status.created_at or 0.0,
        uuid=status.uuid,
        state=status.state,
        created_at=status.created_at,
        surplus=True,
    )
    return Surplus(context, task, "unknown")


async def delete_surplus(surplus: Sequence[Surplus], room: Room) -> tuple[Deletion, ...]:
    """Enter all of it in the manifest, then delete it at the service, within the run's ceilings. 404 counts
    as gone. What is refused or out of reach stays known as surplus, for the next time."""
    if not surplus:
        return ()
    await room.manifest.commit(Changes(tasks=tuple(replace(item.task, surplus=True) for item in surplus)))
    room.boundary.reached("clean.entered")
    places = asyncio.Semaphore(AT_ONCE)
    locked_out: dict[int, OrchestratorError] = {}

    async def delete(item: Surplus) -> Deletion:
        async with places:
            return await _delete(item, room, locked_out)

    return tuple(await asyncio.gather(*(delete(item) for item in surplus)))


async def _delete(item: Surplus, room: Room, locked_out: dict[int, OrchestratorError]) -> Deletion:
    task, client = item.task, item.context.tasks
    for tries in range(1, TRIES + 1):
        if id(client) in locked_out:
            error: OrchestratorError = locked_out[id(client)]
            break
        try:
            await client.delete(task.uuid)
        except CredentialsError as refused:
            locked_out[id(client)] = error = refused
            break
        except Refused as refused:
            if refused.status == 401:
                locked_out[id(client)] = refused
            error = refused
            break
        except ServiceError as failed:
            error = failed
            room.observer.noted("delete.failed", uuid=task.uuid, error=str(failed)[:200])
            if tries < TRIES:
                pause_s = backoff_s(f"delete:{task.uuid}", tries, at_least_s=failed.retry_after_s)
                await asyncio.sleep(pause_s)
        else:
            room.boundary.reached("clean.deleted")
            gone = replace(task, surplus=True, deleted=True)
            entry = JournalEntry(
                room.clock.now(), task.job, task.slice_id, "deleted", {"name": task.name, "uuid": task.uuid}
            )
            await room.manifest.commit(Changes(tasks=(gone,), journal=(entry,)))
            return Deletion(replace(item, task=gone))
    return Deletion(item, fault_of(error), error.exit_code)


async def wanted_staging(manifest: ManifestReader) -> set[str]:
    """The attempt keys whose staging files somebody still needs: a transfer that can be resumed, a receipt
    that waits to be published, the fullest short file so far. Of all jobs: they may share a destination."""
    keys: set[str] = set()
    states = (*LIVE_STATES, SliceState.PLANNED, SliceState.FAILED)
    for job in await manifest.jobs():
        async for slice_ in all_slices(manifest, job, states):
            if slice_.state in LIVE_STATES and slice_.task is not None and slice_.task.uuid:
                keys.add(attempt_key(slice_, slice_.task))
            for receipt in (slice_.receipt, slice_.best):
                if receipt is not None and receipt.staged_path:
                    keys.add(receipt.staged_path.rsplit("/", 1)[-1].removesuffix(".staged"))
    return keys

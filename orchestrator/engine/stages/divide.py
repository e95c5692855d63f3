"""Divide: one second holds more than a remote task may carry. By what can it be asked for, and is it whole
again?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from orchestrator.core import events as ev
from orchestrator.core.model import Evidence, Slice, SliceState
from orchestrator.core.retry import backoff_s
from orchestrator.core.window import subtract
from orchestrator.engine.context import JobContext, Room
from orchestrator.engine.coverage import all_slices
from orchestrator.engine.lineage import descendants
from orchestrator.errors import CredentialsError, OrchestratorError, Refused, ServiceError
from orchestrator.ports.service import CountUnavailable
from orchestrator.ports.store import ManifestReader

__all__ = ["divide", "gather", "relieve"]

TRIES = 6
"""Beyond the client's own retries; then the streams are taken not to tell."""
STORED = frozenset({SliceState.DONE, SliceState.EMPTY})
DIVIDED = frozenset({SliceState.CUT, SliceState.SUPERSEDED})


async def divide(order: ev.Divide, context: JobContext, room: Room) -> ev.Event:
    """Carry out one Divide."""
    slice_ = order.slice
    earlier = await room.manifest.parts(slice_.whole or slice_.id)
    streams: tuple[tuple[str, int], ...] = ()
    untold = False
    for tries in range(1, TRIES + 1):
        try:
            told = await _streams(slice_, context)
            # The whole second could be counted: that one of its streams cannot may pass.
            streams, untold = told or (), told is None and slice_.recount is not None
            break
        except (Refused, CredentialsError) as error:
            _note(room, slice_, error)
            untold = False
            break
        except ServiceError as error:
            # An outage must not pass for "no streams to divide by".
            _note(room, slice_, error)
            untold = True
            await asyncio.sleep(backoff_s(f"divide:{slice_.id}", tries, at_least_s=error.retry_after_s))
    return ev.Divided(slice_.id, order.number, streams, earlier, untold)


async def _streams(slice_: Slice, context: JobContext) -> tuple[tuple[str, int], ...] | None:
    """Every log stream with its lines in the slice's window; None when one of them cannot be counted."""
    if slice_.logstream:
        return ()
    identity = context.job.identity
    names = await context.meta.list_logstreams(identity.project, identity.logstore)
    counted: list[tuple[str, int]] = []
    for name in sorted({name for name in names if name}):
        lines = await context.counts.count(identity, name, slice_.window)
        if isinstance(lines, CountUnavailable):
            return None
        counted.append((name, lines))
    return tuple(counted)


def _note(room: Room, slice_: Slice, error: Exception) -> None:
    room.observer.noted("divide.failed", job=slice_.job, slice=slice_.id, error=str(error)[:200])


async def gather(whole_id: str, manifest: ManifestReader) -> ev.Gathered | None:
    """What the parts of an overfull second hold together, once all of them are stored; None before."""
    parts = [part for part in await manifest.parts(whole_id) if part.state is not SliceState.SUPERSEDED]
    whole = await manifest.slice(whole_id)
    if whole is None or whole.state is not SliceState.SUPERSEDED or not parts:
        return None
    if any(part.state not in STORED for part in parts):
        return None
    return ev.Gathered(whole_id, whole, sum(part.published_rows for part in parts))


async def relieve(order: ev.Relieve, context: JobContext, room: Room) -> AsyncIterator[ev.Relieved]:
    """Carry out one Relieve: from the slice upwards, until one is met whose window is not all stored. What an
    earlier division left that nothing rests on any more goes as well."""
    slice_ = await room.manifest.slice(order.slice_id)
    while slice_ is not None and (slice_.state in STORED or await _stands_elsewhere(slice_, room.manifest)):
        parts = await descendants(slice_.id, room.manifest) if slice_.window.length_s == 1 else ()
        outdated = [part for part in parts if await _outdated(part, room.manifest)]
        for held in (*outdated, slice_):
            if held.published_path and held.state in DIVIDED:
                try:
                    kept = not await context.destination.retire(held.published_path, held.published_sha256)
                except OrchestratorError as error:
                    _note(room, held, error)
                    return
                if kept:
                    room.observer.noted("settle.changed_file_left", job=held.job, slice=held.id)
                yield ev.Relieved(held.id, held)
        slice_ = await room.manifest.slice(slice_.parent) if slice_.parent else None


async def _stands_elsewhere(slice_: Slice, manifest: ManifestReader) -> bool:
    """Whether every slice a divided one was handed on to is stored, through all generations; of one that had
    to give way to others, whether these hold its window."""
    if slice_.state not in DIVIDED:
        return False
    children = await manifest.children(slice_.id)
    if not children and not slice_.whole and slice_.state is SliceState.SUPERSEDED:
        return await _held_by_others(slice_, manifest)
    whole_id = children[0].whole if children else slice_.whole
    if whole_id:
        whole = await manifest.slice(whole_id)
        if whole is None or whole.evidence is Evidence.NONE:
            return False
    for child in children:
        if child.state not in STORED and not await _stands_elsewhere(child, manifest):
            return False
    return bool(whole_id or children)


async def _held_by_others(slice_: Slice, manifest: ManifestReader) -> bool:
    window = slice_.window
    stored = [one async for one in all_slices(manifest, slice_.job, tuple(STORED), window)]
    divided = [whole for whole in await manifest.divided(slice_.job, window) if whole.state in DIVIDED]
    others = [one for one in stored if not one.whole and not one.replaces]
    others += [whole for whole in divided if whole.evidence is not Evidence.NONE]
    return not subtract((window,), [one.window for one in others if one.logstream == slice_.logstream])


async def _outdated(part: Slice, manifest: ManifestReader) -> bool:
    return part.state is SliceState.SUPERSEDED and not await manifest.children(part.id)
